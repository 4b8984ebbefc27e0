"""The one-layer MLPs and transformers that Chughtai et al. (arXiv 2302.03025) released."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from coset_circuits.errors import CosetCircuitsError
from coset_circuits.groups import FiniteGroup
from coset_circuits.networks.file import (
    CheckpointFile,
    check_tensors,
    halves,
    in_our_order,
    json_beside,
    network_from,
)
from coset_circuits.networks.lens_names import is_transformer, transformer_weights
from coset_circuits.networks.model import Activation, GroupModel
from coset_circuits.networks.transformer import GroupTransformer

_TENSORS = ("W_x", "W_y", "W", "W_U")
_GROUPS = {"SymmetricGroup": "S", "AlternatingGroup": "A", "CyclicGroup": "C", "DihedralGroup": "D"}
_COPIES = {"x_embed": 2, "y_embed": 2}
"""Entries of their transformers' files that are not weights, such as a copy of the embedding."""


class ChughtaiMLP:
    """Reads their MLPs: embeddings W_x and W_y are concatenated and read by W; no biases."""

    suffixes = (".pt",)
    folder_files = ("model.pt",)
    expects = "W_x, W_y, W, W_U (Chughtai et al.)"

    def read(self, file: CheckpointFile, order: str | None) -> GroupModel | None:
        content, path = file.weights, file.path
        if not content.keys() >= set(_TENSORS):
            return None
        check_tensors(path, content, dict.fromkeys(_TENSORS, 2))
        weights = {
            "W_E_left": content["W_x"],
            "W_E_right": content["W_y"],
            "W_U": content["W_U"],
            **halves(content["W_x"], content["W"]),
        }
        return _released(
            path,
            len(content["W_x"]),
            lambda group, about: network_from(
                group, weights, act_fn=file.facts.get("act_fn", "relu"), **about
            ),
            order,
        )


class ChughtaiTransformer:
    """Reads their transformers: TransformerLens's names, tokens [a, b, =], logits at =."""

    suffixes = (".pt",)
    folder_files = ("model.pt",)
    expects = "embed.W_E, blocks.0.attn.W_Q, … (a one-layer transformer of Chughtai et al.)"

    def read(self, file: CheckpointFile, order: str | None) -> GroupModel | None:
        content, path = file.weights, file.path
        if not is_transformer(content):
            return None
        weights = transformer_weights(path, content, _COPIES)
        _check_copies(path, content)
        activation = Activation.named(file.facts.get("act_fn", "relu"))
        size, vocabulary = weights["W_unembed"].shape[1], len(weights["W_E"])
        if vocabulary != size + 1:
            raise CosetCircuitsError(
                f"{path} has {vocabulary} tokens and {size} outputs; expected are an output for "
                "each element, and one more token, =. Build the network with GroupTransformer, its "
                "argument tokens, and the columns of W_unembed that are elements."
            )
        return _released(
            path,
            size,
            lambda group, about: GroupTransformer(
                group, weights, tokens=(0, 0, size), activation=activation, **about
            ),
            order,
        )


def _check_copies(path: Path, content: Mapping[str, Any]) -> None:
    """Check that the file's extra entries agree with what its weights compute without them."""
    for name in ("x_embed", "y_embed"):
        if name in content and not torch.equal(content[name], content["embed.W_E"]):
            raise CosetCircuitsError(
                f"{path} holds {name} that differs from embed.W_E, but only embed.W_E is used; it "
                "cannot be read."
            )


def _released(
    path: Path,
    size: int,
    build: Callable[[FiniteGroup, Mapping[str, Any]], GroupModel],
    order: str | None,
) -> GroupModel:
    """A released network, with the facts from its folder's name and its cfg.json."""
    cfg = json_beside(path.with_name("cfg.json"), "how the network was trained")
    names = None
    kind, parameter = str(cfg.get("group")), cfg.get("group_parameter")
    if kind in _GROUPS and isinstance(parameter, int):
        names = [f"{_GROUPS[kind]}{parameter}"]
    folder, is_usual = path.absolute().parent.name, path.name == "model.pt"
    about = {
        "label": (folder if is_usual else path.stem) or "network",
        "seed": cfg.get("seed"),
        "provenance": {
            "source": "Chughtai et al. 2023, "
            + (f"{folder}/{path.name}" if is_usual else path.name)
        },
    }
    network = in_our_order(path, size, lambda group: build(group, about), names, order)
    if recipe := _recipe(cfg):
        network.provenance["recipe"] = recipe
    if network.seed is not None and "frac_train" in cfg:
        named = network.provenance["element_order"].rpartition(", ")[2]
        network.provenance["shuffle"] = {
            "order": network.provenance.get("elements", named),
            "fraction": cfg["frac_train"],
            "seed": network.seed,
        }
    return network


def _recipe(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """The training recipe, under the names that our recipes use."""
    names = {
        "lr": "learning_rate",
        "weight_decay": "weight_decay",
        "betas": "betas",
        "frac_train": "fraction",
        "num_epochs": "max_steps",
    }
    return {ours: cfg[theirs] for theirs, ours in names.items() if theirs in cfg}
