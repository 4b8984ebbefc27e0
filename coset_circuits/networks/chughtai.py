"""The one-hidden-layer networks that Chughtai et al. (arXiv 2302.03025) released."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from coset_circuits.errors import CosetCircuitsError
from coset_circuits.networks.file import CheckpointFile, check_tensors, halves, in_our_order, why
from coset_circuits.networks.model import GroupModel

_TENSORS = ("W_x", "W_y", "W", "W_U")
_GROUPS = {"SymmetricGroup": "S", "AlternatingGroup": "A", "CyclicGroup": "C", "DihedralGroup": "D"}


class ChughtaiMLP:
    """Embeddings W_x, W_y, concatenated before one matrix W; no biases."""

    suffixes = (".pt",)
    folder_files = ("model.pt",)
    expects = "W_x, W_y, W, W_U (Chughtai et al.)"

    def read(self, file: CheckpointFile, order: str | None) -> GroupModel | None:
        content, path = file.content, file.path
        if not (isinstance(content, dict) and content.keys() >= set(_TENSORS)):
            return None
        check_tensors(path, content, _TENSORS)
        weights = {
            "W_E_left": content["W_x"],
            "W_E_right": content["W_y"],
            "W_U": content["W_U"],
            **halves(content["W_x"], content["W"]),
        }
        cfg = _cfg(path.with_name("cfg.json"))
        names = None
        kind, parameter = str(cfg.get("group")), cfg.get("group_parameter")
        if kind in _GROUPS and isinstance(parameter, int):
            names = [f"{_GROUPS[kind]}{parameter}"]
        folder = path.absolute().parent.name
        source = "Chughtai et al. 2023, " + (
            f"{folder}/{path.name}" if path.name == "model.pt" else path.name
        )
        label = folder if path.name == "model.pt" else path.stem
        label = label or "network"
        network = in_our_order(path, weights, names, order, label, source, cfg.get("seed"))
        if recipe := _recipe(cfg):
            network.provenance["recipe"] = recipe
        if network.seed is not None and "frac_train" in cfg:
            network.provenance["shuffle"] = {
                "order": network.provenance["element_order"].partition(", ")[2],
                "fraction": cfg["frac_train"],
                "seed": network.seed,
            }
        return network


def _recipe(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """How the network was trained, under the names of our own recipes."""
    names = {
        "lr": "learning_rate",
        "weight_decay": "weight_decay",
        "betas": "betas",
        "frac_train": "fraction",
        "num_epochs": "max_steps",
    }
    return {ours: cfg[theirs] for theirs, ours in names.items() if theirs in cfg}


def _cfg(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        cfg = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError) as error:
        raise CosetCircuitsError(
            f"{path}, beside the checkpoint, is no JSON ({why(error)}); mend it or take it away."
        ) from error
    return cfg if isinstance(cfg, dict) else {}
