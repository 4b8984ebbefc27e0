"""The one-hidden-layer networks of Wu et al. (arXiv 2410.07476), as their code saves them.

Their repository is LouisYRYJ/Finite-groups. It saves ``ckpts/final.pt``, with ``params.json`` in
the folder above. The first axis of every tensor is the instance: networks trained side by side.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from coset_circuits.errors import CosetCircuitsError
from coset_circuits.networks.file import (
    CheckpointFile,
    check_tensors,
    in_our_order,
    json_beside,
    naming,
    network_from,
)
from coset_circuits.networks.model import GroupModel

_OF_INSTANCES = {
    "embedding_left": "W_E_left",
    "embedding_right": "W_E_right",
    "linear_left": "W_in_left",
    "linear_right": "W_in_right",
    "linear": "W_in",
    "unembedding": "W_U",
    "unembed_bias": "b_U",
}
_OF_LAYERS = {
    "embedding_left.weight": "W_E_left",
    "embedding_right.weight": "W_E_right",
    "linear.weight": "W_in",
    "linear.bias": "b_in",
    "unembedding.weight": "W_U",
    "unembedding.bias": "b_U",
}


class WuMLP:
    """Reads embeddings with one input matrix each, with one matrix for their sum, or with none."""

    suffixes = (".pt",)
    folder_files = ("ckpts/final.pt",)
    expects = "embedding_left, embedding_right, unembedding, … (Wu et al.)"

    def read(self, file: CheckpointFile, order: str | None) -> GroupModel | None:
        path, held = file.path, file.weights
        if "embedding_left" in held:
            given = _one_instance(path, held)
        elif "embedding_left.weight" in held:
            given = _of_layers(path, held)
        else:
            return None
        params = _params(path)
        if "W_U" not in given:
            raise CosetCircuitsError(f"{path} looks like a network of Wu et al. but has no W_U.")
        is_run = path.absolute().parent.name == "ckpts"
        label = path.absolute().parents[1].name if is_run else path.stem
        activation = params.get("activation") or file.facts.get("act_fn", "relu")
        about = {
            "label": label,
            "seed": params["seed"] if isinstance(params.get("seed"), int) else None,
            "act_fn": "identity" if activation == "linear" else str(activation),
            "provenance": {"source": f"Wu et al. 2024, {label}"},
        }
        with naming(path):
            return in_our_order(
                path,
                given["W_U"].shape[1],
                lambda group: network_from(group, given, **about),
                None,
                order,
            )


def _one_instance(path: Path, held: Mapping[str, Any]) -> dict[str, Tensor]:
    check_tensors(path, held, {name: 2 if "bias" in name else 3 for name in _OF_INSTANCES})
    instances = len(held["embedding_left"])
    if instances != 1 or any(len(tensor) != 1 for tensor in held.values()):
        raise CosetCircuitsError(
            f"{path} holds {instances} networks side by side; save one of them in its own file: "
            "torch.save(model[0].state_dict(), …)."
        )
    given = {ours: held[theirs][0] for theirs, ours in _OF_INSTANCES.items() if theirs in held}
    if not given.keys() & {"W_in", "W_in_left", "W_in_right"}:
        # Without an input matrix, their embeddings are the pre-activations.
        given["left_table"], given["right_table"] = (
            given.pop(f"W_E_{side}", None) for side in ("left", "right")
        )
    return {name: tensor for name, tensor in given.items() if tensor is not None}


def _of_layers(path: Path, held: Mapping[str, Any]) -> dict[str, Tensor]:
    check_tensors(path, held, {name: 1 if "bias" in name else 2 for name in _OF_LAYERS})
    given = {ours: held[theirs] for theirs, ours in _OF_LAYERS.items() if theirs in held}
    return {name: t.T if name in ("W_in", "W_U") else t for name, t in given.items()}


def _params(path: Path) -> dict[str, Any]:
    """``params.json`` of the run, the only record of the activation; empty if it is missing."""
    places = (path.absolute().parents[1] / "params.json", path.with_name("params.json"))
    beside = next((place for place in places if place.is_file()), places[1])
    return json_beside(beside, f"the activation of {path.name}")
