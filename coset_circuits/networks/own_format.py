"""Our own files: safetensors with a description of the network in their header."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as to_bytes
from torch import Tensor

from coset_circuits.errors import CosetCircuitsError
from coset_circuits.groups import FiniteGroup
from coset_circuits.groups import group as named_group
from coset_circuits.networks.file import CheckpointFile, naming, network_from, one_line, why
from coset_circuits.networks.files import write_whole
from coset_circuits.networks.mlp import GroupMLP
from coset_circuits.networks.model import Activation, GroupModel
from coset_circuits.networks.transformer import BIASES, SHAPES, GroupTransformer

SCHEMA = 1
_DESCRIPTION = {"schema", "label", "group", "act_fn", "seed", "provenance"}
_TRANSFORMER = {"tokens", "attention"}
"""What the description of a transformer has beside; without ``architecture`` it is an MLP's."""
_OF_THE_FILE = ("sha256", "path")
"""Facts about a file that was read, which would be wrong in the next one."""


class OwnFormat:
    """A network that :func:`save` wrote."""

    suffixes = (".safetensors",)
    folder_files = ("network.safetensors",)
    expects = "a .safetensors file saved by coset_circuits"

    def read(self, file: CheckpointFile, order: str | None) -> GroupModel | None:
        return _read(file) if "coset_circuits" in file.metadata else None


def save(network: GroupModel, path: str | os.PathLike[str], *, card: bool = True) -> Path:
    """Write a network with its configuration and provenance; the file appears whole or not at all.

    A ``card`` (``.json`` beside it, the provenance and the file's hash) is written for people.

    Raises:
        CosetCircuitsError: it cannot be written, or is a surrogate that a file cannot hold.
    """
    path = Path(path)
    _refuse_surrogates(network)
    tensors = {k: v.detach().cpu().contiguous() for k, v in network.named_parameters()}
    if isinstance(network, GroupMLP):
        tensors = _without_identities(tensors)
    try:
        is_named = named_group(network.group.name) == network.group
    except CosetCircuitsError:
        is_named = False
    if not is_named:
        tensors["group.table"] = network.group.table
    description = {
        "schema": SCHEMA,
        "label": network.label,
        "group": network.group.name,
        "act_fn": network.activation.name,
        "seed": network.seed,
        "provenance": {k: v for k, v in network.provenance.items() if k not in _OF_THE_FILE},
    }
    if isinstance(network, GroupTransformer):
        description |= {"architecture": "transformer", "tokens": network.tokens}
        description |= {"attention": network.attention}
    content = to_bytes(tensors, {"coset_circuits": json.dumps(description)})
    if described_hash(path) is not None:
        # A card that outlives its file would accuse the next one of damage.
        path.with_suffix(".json").unlink(missing_ok=True)
    write_whole(path, content)
    if card:
        described = {**description, "sha256": hashlib.sha256(content).hexdigest()}
        write_whole(path.with_suffix(".json"), (json.dumps(described, indent=1) + "\n").encode())
    return path


def _refuse_surrogates(network: GroupModel) -> None:
    if not isinstance(network, (GroupMLP, GroupTransformer)):
        raise CosetCircuitsError(
            f"{network.label} is a {type(network).__name__}, which our files cannot hold; save a "
            "GroupMLP or a GroupTransformer."
        )
    if not network.activation.is_named:
        raise CosetCircuitsError(
            f"{network.label} has the activation {network.activation.name}, a function in Python "
            "that a file cannot hold; keep the code that makes the network."
        )
    claim = "cancels its linear half" if network.cancelled is not None else ""
    if isinstance(network, GroupTransformer) and network.given_left is not None:
        claim = "has tables in place of its attention"
    if claim:
        raise CosetCircuitsError(
            f"{network.label} is a surrogate that {claim}, which a checkpoint cannot hold; save "
            "the network and fit it again."
        )


def _without_identities(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """A side whose embeddings are its pre-activations is held as one table."""
    for side in ("left", "right"):
        matrix = weights[f"W_in_{side}"]
        if torch.equal(matrix, torch.eye(*matrix.shape, dtype=matrix.dtype)):
            del weights[f"W_in_{side}"]
            weights[f"{side}_table"] = weights.pop(f"W_E_{side}")
    return weights


def described_hash(path: Path) -> str | None:
    """The hash on the card beside one of our files; None where there is no such card."""
    if not _is_safetensors(path):
        return None
    try:
        card = json.loads(path.with_suffix(".json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    described = isinstance(card, dict) and {"sha256", "provenance"} <= card.keys()
    return str(card["sha256"]) if described else None


def check_card(path: Path, digest: str) -> None:
    """Refuse a file that the card beside it does not describe."""
    described = described_hash(path)
    if described not in (None, digest):
        raise CosetCircuitsError(
            f"{path} is not the file that its card {path.with_suffix('.json').name} describes: the "
            "hashes differ, so one of them is damaged or of another network; take the card away to "
            "read the file all the same."
        )


def _is_safetensors(path: Path) -> bool:
    return path.suffix == ".safetensors"


def _read(file: CheckpointFile) -> GroupModel:
    path, weights = file.path, dict(file.content)
    try:
        description = json.loads(file.metadata["coset_circuits"])
    except (ValueError, RecursionError) as error:
        raise CosetCircuitsError(
            f"{path} has a description that cannot be read ({why(error)}); it is damaged."
        ) from error
    if not isinstance(description, dict) or description.get("schema") != SCHEMA:
        raise CosetCircuitsError(
            f"{path} is a safetensors file but no network of schema {SCHEMA} saved by "
            "coset_circuits; wrap its weights with GroupMLP.from_weights."
        )
    architecture = description.get("architecture", "mlp")
    if architecture not in ("mlp", "transformer"):
        raise CosetCircuitsError(
            f"{path} holds a network of the architecture {one_line(architecture)!r}, which this "
            "version does not read; it reads mlp and transformer."
        )
    expected = _DESCRIPTION | (_TRANSFORMER if architecture == "transformer" else set())
    if not description.keys() >= expected:
        raise CosetCircuitsError(
            f"{path} lacks {', '.join(sorted(expected - description.keys()))} in its "
            "description; it is damaged."
        )
    if not isinstance(description["provenance"], dict):
        raise CosetCircuitsError(
            f"{path} has a provenance that is not a list of names and values; it is damaged."
        )
    table = weights.pop("group.table", None)
    name = one_line(description["group"])
    group = named_group(name) if table is None else FiniteGroup.from_table(table, name)
    about = {
        "label": one_line(description["label"]),
        "seed": description["seed"],
        "provenance": {**description["provenance"], "file": path.name},
    }
    with naming(path):
        if architecture == "transformer":
            return _transformer(group, weights, description, about)
        return network_from(group, weights, act_fn=str(description["act_fn"]), **about)


def _transformer(
    group: FiniteGroup,
    weights: dict[str, Tensor],
    description: dict[str, Any],
    about: dict[str, Any],
) -> GroupTransformer:
    unknown = [one_line(name) for name in weights if name not in (*SHAPES, *BIASES)]
    if unknown:
        raise CosetCircuitsError(
            f"{', '.join(unknown[:4])} is not a weight of a transformer; its weights are "
            f"{', '.join((*SHAPES, *BIASES))}."
        )
    tokens, attention = description["tokens"], description["attention"]
    if not (
        isinstance(tokens, list)
        and len(tokens) == 3
        and all(
            type(t) is int and t >= 0 for t in (tokens if tokens[2] is not None else tokens[:2])
        )
    ):
        raise CosetCircuitsError(
            f"Its tokens are {one_line(tokens)}; expected are where the left elements begin, where "
            "the right ones do, and the third position's token or null."
        )
    if type(attention) not in (int, float) or not 0 <= attention <= 1:
        raise CosetCircuitsError(
            f"Its attention is {one_line(attention)}; expected is a number from 0 to 1."
        )
    return GroupTransformer(
        group,
        weights,
        tokens=(tokens[0], tokens[1], tokens[2]),
        attention=attention,
        activation=Activation.named(str(description["act_fn"])),
        **about,
    )
