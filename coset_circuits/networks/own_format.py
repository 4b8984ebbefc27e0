"""The library's file format: safetensors with a description of the network in the header."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as to_bytes
from torch import Tensor

from coset_circuits.errors import CosetCircuitsError, brief, checked, plain
from coset_circuits.groups import FiniteGroup
from coset_circuits.groups import group as named_group
from coset_circuits.groups.names import is_named
from coset_circuits.networks.file import CheckpointFile, naming, network_from, one_line, why
from coset_circuits.networks.files import refuse_to_replace, write_whole
from coset_circuits.networks.mlp import GroupMLP
from coset_circuits.networks.model import Activation, GroupModel
from coset_circuits.networks.transformer import BIASES, SHAPES, GroupTransformer

SCHEMA = 1
_DESCRIPTION = {"schema", "label", "group", "act_fn", "seed", "provenance"}
_TRANSFORMER = {"tokens", "attention"}
"""Extra entries in a transformer's description; an MLP's has no ``architecture``."""
_OF_THE_FILE = ("sha256", "path", "shipped", "order")
"""Provenance entries about the file that was read, which would be wrong in a new file."""
_OF_AN_MLP = ("W_E_left", "W_E_right", "W_in_left", "W_in_right", "W_U", "b_in", "b_U")
_TABLES = ("given_left", "given_right", "given_W_U")
_OF_A_SURROGATE = (*_TABLES, "cancelled", "reference_scale")
"""Attributes of a surrogate that are not weights."""


class OwnFormat:
    """Reads a network written by :func:`save`."""

    suffixes = (".safetensors",)
    folder_files = ("network.safetensors",)
    expects = "a .safetensors file saved by coset_circuits"

    def read(self, file: CheckpointFile, order: str | None) -> GroupModel | None:
        if "coset_circuits" not in file.metadata:
            return None
        if order is not None:
            raise CosetCircuitsError(
                f"order= (--order) was given as {one_line(order)!r}, but {file.path} is a file of "
                "ours, whose order is known; leave it out. Give other projects' files apart, or "
                "import them first."
            )
        return _read(file)


@checked
def save(network: GroupModel, path: str | os.PathLike[str], *, card: bool = True) -> Path:
    """Save a network with its configuration and provenance; the file is written atomically.

    A ``card`` is a readable ``.json`` file beside it, with the provenance and the file's hash.

    Masks of ``torch.nn.utils.prune`` and parametrisations are applied: the file holds the weights
    that the network computes with.

    Raises:
        CosetCircuitsError: the file cannot be written, would overwrite a file that the library did
            not write, or cannot represent the network.
    """
    path = Path(path)
    _refuse(network, path)
    beside = path.with_suffix(".json")
    refuse_to_replace(path.parent, [path.name, beside.name] if card else [path.name])
    tensors = _weights(network)
    described_group, of_group = _described_group(network.group)
    tensors |= of_group
    label, known = network.identity()
    description: dict[str, Any] = {
        "schema": SCHEMA,
        "label": label,
        **described_group,
        "act_fn": network.activation.name,
        "seed": network.seed,
        "provenance": {k: v for k, v in known.items() if k not in _OF_THE_FILE},
    }
    if network.silent:
        description["silent"] = sorted(network.silent)
    if isinstance(network, GroupTransformer):
        description |= {"architecture": "transformer", "tokens": network.tokens}
        description |= {"attention": network.attention}
    text = json.dumps(plain("description", description))
    content = to_bytes(tensors, {"coset_circuits": text})
    if described_hash(path) is not None:
        # A card left over from an old file would report the new file as damaged.
        beside.unlink(missing_ok=True)
    write_whole(path, content)
    if card:
        described = {**json.loads(text), "sha256": hashlib.sha256(content).hexdigest()}
        write_whole(beside, (json.dumps(described, indent=1) + "\n").encode())
    return path


def _refuse(network: GroupModel, path: Path) -> None:
    """Check that the network can be stored in a file and that the path has the right ending."""
    if not isinstance(network, (GroupMLP, GroupTransformer)):
        raise CosetCircuitsError(
            f"{brief(network)} is a {type(network).__name__}, which cannot be saved; give a "
            "GroupMLP or a GroupTransformer, such as a circuit's surrogate()."
        )
    if not network.activation.is_named:
        raise CosetCircuitsError(
            f"{network.label} has the activation {network.activation.name}, a Python function "
            "that a file cannot hold; keep the code that makes the network."
        )
    if not _is_safetensors(path):
        raise CosetCircuitsError(
            f"The network cannot be written to {path}; give a name that ends in .safetensors, "
            "the format of the file."
        )


def _weights(network: GroupModel) -> dict[str, Tensor]:
    """The tensors that the network computes with."""
    names = _OF_AN_MLP if isinstance(network, GroupMLP) else (*SHAPES, *BIASES)
    held = {name: getattr(network, name, None) for name in (*names, *_OF_A_SURROGATE)}
    weights = {k: v.detach().cpu().contiguous() for k, v in held.items() if v is not None}
    for side in ("left", "right") if isinstance(network, GroupMLP) else ():
        matrix = weights[f"W_in_{side}"]
        if matrix.shape[0] == matrix.shape[1] and (matrix == torch.eye(len(matrix))).all():
            del weights[f"W_in_{side}"]
            weights[f"{side}_table"] = weights.pop(f"W_E_{side}")
    # Two names may share one tensor, which a safetensors file does not allow.
    return {name: tensor.clone() for name, tensor in weights.items()}


def _described_group(group: FiniteGroup) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The group's name if that suffices; else its labels and, as a tensor, its Cayley table."""
    if is_named(group) and named_group(group.name).labels == group.labels:
        return {"group": group.name}, {}
    return {"group": group.name, "elements": list(group.labels)}, {"group.table": group.table}


def described_hash(path: Path) -> str | None:
    """The hash on the card beside a network's file; None if there is no such card."""
    if not _is_safetensors(path):
        return None
    try:
        card = json.loads(path.with_suffix(".json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    described = isinstance(card, dict) and {"sha256", "provenance"} <= card.keys()
    return str(card["sha256"]) if described else None


def check_card(path: Path, digest: str) -> None:
    """Refuse a file whose hash differs from the hash on its card."""
    described = described_hash(path)
    if described not in (None, digest):
        raise CosetCircuitsError(
            f"{path} is not the file that its card {path.with_suffix('.json').name} describes: the "
            "hashes differ, so one of them is damaged or of another network. Remove the card to "
            "read the file anyway."
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
            f"{path} is a safetensors file but not a network of schema {SCHEMA} saved by "
            "coset_circuits; wrap its weights with GroupMLP.from_weights."
        )
    architecture = description.get("architecture", "mlp")
    if architecture not in ("mlp", "transformer"):
        raise CosetCircuitsError(
            f"{path} holds a network of the architecture {one_line(architecture)!r}, which this "
            "version cannot read; it can read mlp and transformer."
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
    about = {
        "label": one_line(description["label"]),
        "seed": description["seed"],
        "provenance": {**description["provenance"], "file": path.name},
    }
    with naming(path):
        labels = description.get("elements")
        labels = [one_line(label) for label in labels] if isinstance(labels, list) else None
        group = named_group(name) if table is None else FiniteGroup.from_table(table, name, labels)
        kind = GroupTransformer if architecture == "transformer" else GroupMLP
        about["silent"] = _silent(description.get("silent", []), kind.sites)
        more = {key: weights.pop(key) for key in _OF_A_SURROGATE if key in weights}
        if architecture == "transformer":
            tables = tuple(more[key] for key in _TABLES if key in more)
            network = _transformer(group, weights, description, {**about, "tables": tables or None})
        else:
            network = network_from(group, weights, act_fn=str(description["act_fn"]), **about)
        _check_shapes(network, more)
    network.register_buffer("cancelled", more.get("cancelled"))
    network.reference_scale = more.get("reference_scale")
    return network


def _silent(names: Any, sites: Iterable[str]) -> list[str]:
    known = list(sites)
    if not isinstance(names, list) or not all(name in known for name in names):
        raise CosetCircuitsError(
            f"It says that it is silent at {one_line(names)}; sites are {', '.join(known)}."
        )
    return names


def _check_shapes(network: GroupModel, more: dict[str, Tensor]) -> None:
    n, d_mlp = network.group.order, network.W_U.shape[0]
    expected = {"given_left": (n, d_mlp), "given_right": (n, d_mlp), "given_W_U": (d_mlp, n)}
    expected |= {"reference_scale": (d_mlp,)}
    for name, tensor in more.items():
        shape = expected.get(name, (*tensor.shape[:1], d_mlp))
        if tensor.shape != shape or not tensor.isfinite().all():
            raise CosetCircuitsError(
                f"{name} has shape {tuple(tensor.shape)}; expected are finite numbers of shape "
                f"{shape}."
            )


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
    tokens: Any = description["tokens"]
    return GroupTransformer(
        group,
        weights,
        tokens=tuple(tokens) if isinstance(tokens, list) else tokens,
        attention=description["attention"],
        activation=Activation.named(str(description["act_fn"])),
        **about,
    )
