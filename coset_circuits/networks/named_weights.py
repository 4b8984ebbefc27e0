"""Read files whose weights have the names of :meth:`GroupMLP.from_weights`."""

from __future__ import annotations

from typing import Any

from coset_circuits.errors import CosetCircuitsError
from coset_circuits.groups import FiniteGroup, isomorphism
from coset_circuits.groups import group as named_group
from coset_circuits.networks.file import (
    CheckpointFile,
    check_tensors,
    elements,
    in_our_order,
    naming,
    network_from,
    of_elements,
)
from coset_circuits.networks.model import GroupModel
from coset_circuits.networks.weights import NAMES


class NamedWeights:
    """Reads W_U with embeddings or tables; ``act_fn`` and ``group`` may be stored as text."""

    suffixes = (".safetensors", ".npz")
    folder_files = ()
    expects = "W_U, W_E_left, W_E_right, W_in, … (the names of GroupMLP.from_weights)"

    def read(self, file: CheckpointFile, order: str | None) -> GroupModel | None:
        weights, path = file.weights, file.path
        if "W_U" not in weights or not weights.keys() & {"W_E", "W_E_left", "left_table"}:
            return None
        check_tensors(path, weights, {name: 1 if name.startswith("b_") else 2 for name in NAMES})
        assumed = "" if "act_fn" in file.facts else ", which names no activation: ReLU is assumed"
        about: dict[str, Any] = {
            "label": path.stem,
            "act_fn": file.facts.get("act_fn", "relu"),
            "provenance": {"source": f"weights in {path.name}{assumed}"},
        }
        names = [file.facts["group"]] if "group" in file.facts else None

        def build(group: FiniteGroup) -> GroupModel:
            return network_from(group, of_elements(weights, group.order), **about)

        with naming(path):
            vocabulary = weights["W_U"].shape[1]
            size = elements(vocabulary, build)
            if size < vocabulary:
                about["provenance"]["vocabulary"] = vocabulary
            network = in_our_order(path, size, build, names, order)
            if names and not order and isomorphism(network.group, named_group(names[0])) is None:
                raise CosetCircuitsError(
                    f"It names the group {names[0]}, and its answers are those of "
                    f"{network.group.name}; correct the name or remove it."
                )
        return network
