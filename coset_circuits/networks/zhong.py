"""The networks that Zhong et al. (arXiv 2306.17844) released: Clocks and Pizzas.

Most are one-layer transformers. Their linear networks A, D and X have one hidden layer; B and C
have two and are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from einops import rearrange
from torch import Tensor

from coset_circuits.errors import CosetCircuitsError
from coset_circuits.networks.file import (
    CheckpointFile,
    check_tensors,
    halves,
    in_our_order,
    json_beside,
    network_from,
    why,
)
from coset_circuits.networks.model import Activation, GroupModel
from coset_circuits.networks.transformer import GroupTransformer

_ATTENTION, _MLP = "blocks.0.attn", "blocks.0.mlp"
_DIMENSIONS = {
    "embed.W_E": 2,
    "pos_embed.W_pos": 2,
    "unembed.W_U": 2,
    **{f"{_ATTENTION}.{name}": 3 for name in ("W_K", "W_Q", "W_V")},
    f"{_ATTENTION}.W_O": 2,
    f"{_ATTENTION}.mask": 2,
    **{f"{_MLP}.{name}": 2 for name in ("W_in", "W_out")},
    **{f"{_MLP}.{name}": 1 for name in ("b_in", "b_out")},
}


class ZhongTransformer:
    """Reads their transformers for addition modulo C, which have no attention mask.

    Their matrices are transposed compared with TransformerLens. Attention weights are mixed with a
    constant: ``attn_coeff`` in the configuration beside the file is the share of softmax. The
    configuration also gives the tokens. Without it the file is refused.
    """

    suffixes = (".pt",)
    folder_files = ()
    expects = "model_ID.pt with config_ID.json (a one-layer transformer of Zhong et al.)"

    def read(self, file: CheckpointFile, order: str | None) -> GroupModel | None:
        weights, path = file.weights, file.path
        matrix = weights.get(f"{_ATTENTION}.W_O")
        if not (isinstance(matrix, Tensor) and matrix.ndim == 2):
            return None
        check_tensors(path, weights, _DIMENSIONS)
        lacking = [name for name in _DIMENSIONS if name not in weights and "mask" not in name]
        if lacking:
            raise CosetCircuitsError(f"{path} lacks {', '.join(lacking)}.")
        config = _config(path)
        size = config["C"]
        try:
            given = _in_our_shapes(weights, size)
        except Exception as error:
            raise CosetCircuitsError(f"{path} cannot be used: {why(error)}") from error
        last = len(weights["embed.W_E"][0]) - 1 if config["eqn_sign"] else None
        about: dict[str, Any] = {
            "tokens": (0, size if config["diff_vocab"] else 0, last),
            "activation": Activation.named(str(config["act_fn"]).lower()),
            "attention": float(config["attn_coeff"]),
            "label": path.stem,
            "provenance": {"source": f"Zhong et al. 2023, {path.name}"},
        }
        return in_our_order(
            path,
            size,
            lambda group: GroupTransformer(group, given, **about),
            [f"C{size}"],
            order,
        )


class ZhongLinear:
    """Reads their linear networks for addition modulo C: embeddings, l1, ReLU, unembed.

    Model D concatenates and model A adds the embeddings of both inputs, from one table. Model X
    adds embeddings from two tables. The shapes of the weights tell which model it is.
    """

    suffixes = (".pt",)
    folder_files = ()
    expects = "embed.weight, l1.weight, unembed.weight (a linear network of Zhong et al.)"

    def read(self, file: CheckpointFile, order: str | None) -> GroupModel | None:
        weights, path = file.weights, file.path
        left = "embed1.weight" if "embed1.weight" in weights else "embed.weight"
        right = left.replace("1", "2")
        if not weights.keys() >= {left, right, "l1.weight", "unembed.weight"}:
            return None
        if "l2.weight" in weights:
            raise CosetCircuitsError(
                f"{path} is a linear network of Zhong et al. with two hidden layers (their model B "
                "or C). Only networks with one can be read: the second layer's pre-activations are "
                "not a sum of a function of a and a function of b."
            )
        matrices = dict.fromkeys([left, right, "l1.weight", "unembed.weight"], 2)
        check_tensors(path, weights, {**matrices, "l1.bias": 1})
        embedding, matrix = weights[left], weights["l1.weight"].T
        is_added = left != right or matrix.shape[0] == embedding.shape[1]
        given = {
            "W_E_left": embedding,
            "W_E_right": weights[right],
            "W_U": weights["unembed.weight"].T,
            **(
                {"W_in_left": matrix, "W_in_right": matrix}
                if is_added
                else halves(embedding, matrix)
            ),
        }
        if "l1.bias" in weights:
            given["b_in"] = weights["l1.bias"]
        about = {
            "label": path.stem,
            "provenance": {"source": f"Zhong et al. 2023, {path.name}"},
        }
        return in_our_order(
            path,
            len(embedding),
            lambda group: network_from(group, given, **about),
            [f"C{len(embedding)}"],
            order,
        )


def _in_our_shapes(weights: Mapping[str, Tensor], size: int) -> dict[str, Tensor]:
    """The weights in TransformerLens's names and shapes, with the elements' logits only."""
    heads = len(weights[f"{_ATTENTION}.W_Q"])
    turned = {
        name: rearrange(
            weights[f"{_ATTENTION}.{name}"], "heads d_head d_model -> heads d_model d_head"
        )
        for name in ("W_Q", "W_K", "W_V")
    }
    return {
        **turned,
        "W_E": weights["embed.W_E"].T,
        "W_pos": weights["pos_embed.W_pos"],
        "W_O": rearrange(
            weights[f"{_ATTENTION}.W_O"],
            "d_model (heads d_head) -> heads d_head d_model",
            heads=heads,
        ),
        "W_in": weights[f"{_MLP}.W_in"].T,
        "b_in": weights[f"{_MLP}.b_in"],
        "W_out": weights[f"{_MLP}.W_out"].T,
        "b_out": weights[f"{_MLP}.b_out"],
        "W_unembed": weights["unembed.W_U"][:, :size],
    }


def _config(path: Path) -> dict[str, Any]:
    """The entries of the configuration beside a file that affect what it computes."""
    beside = path.with_name(f"{path.stem.replace('model', 'config', 1)}.json")
    if not beside.is_file():
        raise CosetCircuitsError(
            f"{path} is a transformer of Zhong et al., which cannot be read without "
            f"{beside.name} beside it, which says how much of its attention is constant."
        )
    config = {"act_fn": "relu", **json_beside(beside, "how much of the attention is constant")}
    kinds = {"C": int, "attn_coeff": (int, float), "diff_vocab": int, "eqn_sign": int}
    for name, kind in kinds.items():
        if not isinstance(config.get(name), kind):
            raise CosetCircuitsError(
                f"{beside} lacks {name}, on which the network's answers depend."
            )
    if not 0 <= config["attn_coeff"] <= 1:
        raise CosetCircuitsError(f"{beside} has attn_coeff {config['attn_coeff']}, not in [0, 1].")
    return config
