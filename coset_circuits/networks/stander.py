"""The one-hidden-layer networks of Stander et al. (ICML 2024), as their code saves them."""

from __future__ import annotations

from coset_circuits.errors import CosetCircuitsError
from coset_circuits.networks.file import (
    CheckpointFile,
    check_tensors,
    halves,
    in_our_order,
    network_from,
)
from coset_circuits.networks.model import GroupModel

_MATRICES = ("lembed.weight", "rembed.weight", "linear.weight", "unembed.weight")
_BIASES = ("linear.bias", "unembed.bias")


class StanderMLP:
    """torch Linear layers (transposed weights), with biases before the ReLU and on the logits."""

    suffixes = (".pth", ".safetensors", ".npz")
    folder_files = ("full_run.pth",)
    expects = "model/lembed.weight, … (Stander et al.)"

    def read(self, file: CheckpointFile, order: str | None) -> GroupModel | None:
        model, path = file.weights, file.path
        if "lembed.weight" not in model:
            return None
        missing = set(_MATRICES) - set(model)
        if missing:
            raise CosetCircuitsError(
                f"{path} looks like a run of Stander et al. but lacks "
                f"{', '.join(sorted(missing))}; only one hidden layer over two embeddings can be "
                "read."
            )
        check_tensors(path, model, {**dict.fromkeys(_MATRICES, 2), **dict.fromkeys(_BIASES, 1)})
        weights = {
            "W_E_left": model["lembed.weight"],
            "W_E_right": model["rembed.weight"],
            "W_U": model["unembed.weight"].T,
            **halves(model["lembed.weight"], model["linear.weight"].T),
        }
        if "linear.bias" in model:
            weights["b_in"] = model["linear.bias"]
        if "unembed.bias" in model:
            weights["b_U"] = model["unembed.bias"]
        folder = path.absolute().parent.name
        source = f"Stander et al. 2024, {folder}/{path.name}"
        label = folder or path.stem
        about = {
            "label": label,
            "provenance": {"source": source},
            "act_fn": file.facts.get("act_fn", "relu"),
        }
        return in_our_order(
            path,
            len(weights["W_E_left"]),
            lambda group: network_from(group, weights, **about),
            None,
            order,
        )
