"""Convert weights in their usual forms to the matrices of a GroupMLP."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from functools import reduce
from itertools import chain, combinations
from typing import Any

import numpy as np
import torch
from torch import Tensor

from coset_circuits.errors import CosetCircuitsError
from coset_circuits.groups import FiniteGroup
from coset_circuits.networks.element_orders import other_reading
from coset_circuits.networks.model import GroupModel

_LARGEST_READ = 128
"""The largest order for which weights that are hardly ever right are read on all pairs."""
_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_MATRICES = ("W_E_left", "W_E_right", "W_in_left", "W_in_right", "W_U")
_EXCLUDES = {
    "W_E": ("W_E_left", "W_E_right", "left_table", "right_table"),
    "W_in": ("W_in_left", "W_in_right", "left_table", "right_table"),
    "left_table": ("W_E_left", "W_in_left"),
    "right_table": ("W_E_right", "W_in_right"),
}
"""Arguments that exclude each other, because one would make the other redundant."""

NAMES = (*_MATRICES, "W_E", "W_in", "left_table", "right_table", "b_in", "b_U")
"""The weights that :meth:`GroupMLP.from_weights` takes."""

_TRANSPOSED = "torch.nn.Linear stores its weight as (out, in): give its transpose, .T."


def as_matrices(group: FiniteGroup, given: Mapping[str, Any]) -> tuple[dict[str, Tensor], str]:
    """Embeddings, input matrices, unembedding and biases of one dtype, and what was cast.

    Args:
        group: the group that the network multiplies in.
        given: tensors or NumPy arrays, under the argument names of :meth:`GroupMLP.from_weights`.
            They are copied.

    Raises:
        CosetCircuitsError: a matrix is missing, misshapen, given twice, not floating-point or not
            finite.
    """
    for name, others in _EXCLUDES.items():
        clash = [other for other in others if other in given]
        if name in given and clash:
            raise CosetCircuitsError(
                f"{name} and {' and '.join(clash)} were both given but mean the same; give only "
                "one of them."
            )
    weights = {name: _tensor(name, value) for name, value in given.items()}
    widest = reduce(torch.promote_types, [t.dtype for t in weights.values()] or [torch.float32])
    cast = [f"{k} from {_short(t.dtype)}" for k, t in weights.items() if t.dtype != widest]
    weights = {name: tensor.to(widest) for name, tensor in weights.items()}
    if "W_E" in weights:
        weights["W_E_left"] = weights.pop("W_E")
        weights["W_E_right"] = weights["W_E_left"].clone()
    for side in ("left", "right"):
        table = weights.pop(f"{side}_table", None)
        if table is not None:
            weights[f"W_E_{side}"] = table
            weights[f"W_in_{side}"] = torch.eye(table.shape[1], dtype=widest, device=table.device)
    if "W_in" in weights:
        weights.update(_sides(weights))
    called = {f"W_E_{s}": n for s in ("left", "right") for n in (f"{s}_table", "W_E") if n in given}
    _check(group, weights, called)
    return weights, f"{', '.join(cast)} to {_short(widest)}" if cast else ""


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _tensor(name: str, value: Any) -> Tensor:
    if name not in NAMES:
        raise CosetCircuitsError(
            f"{name} is not a weight of this network; its weights are {', '.join(NAMES)}."
        )
    value = as_tensor(name, value)
    if value.ndim != (1 if name.startswith("b_") else 2):
        raise CosetCircuitsError(
            f"{name} has shape {tuple(value.shape)}; a matrix (or, for a bias, a vector) is "
            "expected."
        )
    return value


def as_tensor(name: str, value: Any) -> Tensor:
    """A copy of a weight as a tensor, from a tensor, a NumPy array or lists.

    Raises:
        CosetCircuitsError: it is none of these, not floating-point, or not finite.
    """
    if isinstance(value, (list, tuple)):
        try:
            value = np.array(value, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise CosetCircuitsError(
                f"{name} is a list that is not a matrix of numbers; give rows of equal length."
            ) from error
    if isinstance(value, np.ndarray):
        try:
            value = torch.from_numpy(
                np.array(value, dtype=value.dtype.newbyteorder("="), order="C")
            )
        except TypeError as error:
            raise CosetCircuitsError(
                f"{name} holds {value.dtype}; give floating-point weights of 16, 32 or 64 bits."
            ) from error
    if not isinstance(value, Tensor):
        raise CosetCircuitsError(
            f"{name} is a {type(value).__name__}; give a tensor or a NumPy array."
        )
    if value.is_meta:
        raise CosetCircuitsError(
            f"{name} is on the meta device, which has no values; load its weights first."
        )
    if value.layout != torch.strided:
        value = value.to_dense()
    if value.dtype not in _DTYPES:
        raise CosetCircuitsError(
            f"{name} holds {value.dtype}; give floating-point weights of 16, 32 or 64 bits."
        )
    value = value.detach()
    if not torch.isfinite(value).all():
        bad = int((~torch.isfinite(value)).sum())
        raise CosetCircuitsError(
            f"{name} holds {bad} values that are not finite (NaN or infinity); the network "
            "cannot be analysed."
        )
    return value.clone()


def _sides(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Split one input matrix between the embeddings, or use it for both if they are summed."""
    matrix = weights.pop("W_in")
    if not {"W_E_left", "W_E_right"} <= weights.keys():
        raise CosetCircuitsError(
            "W_in was given without embeddings; give W_E_left and W_E_right, or W_E for both."
        )
    left, right = weights["W_E_left"].shape[1], weights["W_E_right"].shape[1]
    if len(matrix) == left + right:
        return {"W_in_left": matrix[:left].clone(), "W_in_right": matrix[left:].clone()}
    if len(matrix) == left == right:
        return {"W_in_left": matrix, "W_in_right": matrix.clone()}
    summed = f", or {left} for their sum" if left == right else ""
    raise CosetCircuitsError(
        f"W_in has shape {tuple(matrix.shape)}; the embeddings need {left + right} rows for left "
        f"and right side by side{summed}."
        + (f" {_TRANSPOSED}" if matrix.shape[1] in (left + right, left) else "")
    )


def _check(group: FiniteGroup, weights: Mapping[str, Tensor], called: Mapping[str, str]) -> None:
    lacking = [name for name in _MATRICES if name not in weights]
    if lacking:
        raise CosetCircuitsError(
            f"The weights lack {', '.join(lacking)}; give embeddings with their input matrices (or "
            "the two pre-activation tables) and W_U."
        )
    widths = [weights["W_U"].shape[0], weights["W_in_left"].shape[1]]
    widths += [weights["W_in_right"].shape[1], *(len(weights[k]) for k in ["b_in"] if k in weights)]
    # If widths disagree, the only matrix with a different width is the wrong one.
    d_mlp = Counter(widths).most_common(1)[0][0]
    # A table must be as wide as the hidden layer; an embedding may have any width.
    left, right = (
        d_mlp if called.get(f"W_E_{side}") == f"{side}_table" else weights[f"W_E_{side}"].shape[1]
        for side in ("left", "right")
    )
    if not len(weights["W_U"]):
        raise CosetCircuitsError("The network has no neurons; W_U must have at least one row.")
    expected = {
        "W_U": (d_mlp, group.order),
        "W_E_left": (group.order, left),
        "W_E_right": (group.order, right),
        "W_in_left": (weights["W_E_left"].shape[1], d_mlp),
        "W_in_right": (weights["W_E_right"].shape[1], d_mlp),
        "b_in": (d_mlp,),
        "b_U": (group.order,),
    }
    for name, shape in expected.items():
        found = tuple(weights[name].shape) if name in weights else shape
        if found != shape:
            raise CosetCircuitsError(
                f"{called.get(name, name)} has shape {found} where the other weights and the group "
                f"{group.name} of order {group.order} need {shape}."
                + (f" {_TRANSPOSED}" if found[::-1] == shape else "")
            )


def _warn_of_other_numbering(network: GroupModel, score: float) -> None:
    """Warn if the network is right in another numbering of the group's elements.

    Raises:
        CosetCircuitsError: it multiplies in another group.
    """
    if network.group.order > _LARGEST_READ:
        return
    if other_reading(network.answers(), network.group) is not None:
        warnings.warn(
            f"{network.label} is right on {score:.1%} of the pairs of {network.group.name} in the "
            "numbering of group.labels, and its answers are right in another numbering. Reorder "
            "its weights with network.reordered(elements, group), or let cc.load or "
            "cc.from_module find the numbering.",
            stacklevel=5,
        )


@torch.no_grad()
def warn_of_likely_mistake(
    network: GroupModel,
    given: Mapping[str, Any],
    rebuilt: Callable[[Mapping[str, Any]], GroupModel],
    sample: int = 4000,
) -> None:
    """Warn if another interpretation of the weights would be right much more often.

    A square matrix also fits transposed, and the other order of multiplication and other
    numberings of the elements always fit.

    Args:
        network: the network built from ``given``.
        rebuilt: a function that builds a network from changed weights.
        sample: the largest number of pairs to check.

    Raises:
        CosetCircuitsError: the network multiplies in another group.
    """
    group = network.group
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(group.order, (sample, 2), generator=generator)
    pairs = (drawn if group.order**2 > sample else group.pairs()).to(network.device)

    def right(model: GroupModel) -> tuple[float, float]:
        answers = model(pairs).argmax(1)
        labels = (group.products(pairs), group.products(pairs.flip(1)))
        return tuple(float((answers == label).double().mean()) for label in labels)  # type: ignore

    score, opposite = right(network)
    if score >= 0.5:
        return
    readings = [(opposite, "", True)]
    square = [k for k, v in given.items() if v.ndim == 2 and v.shape[0] == v.shape[1]]
    for names in chain.from_iterable(combinations(square, k + 1) for k in range(len(square))):
        plain, other = right(rebuilt({**given, **{name: given[name].T for name in names}}))
        turned = " and ".join(names)
        readings += [(plain, turned, False), (other, turned, True)]
    best, turned, is_opposite = max(readings, key=lambda reading: reading[0])
    if best < max(0.5, 2 * score):
        _warn_of_other_numbering(network, score)
        return
    changes = [f"{turned} transposed"] if turned else []
    changes += ["b·a for a·b, the other order of multiplication,"] if is_opposite else []
    advice = [_TRANSPOSED] if turned else []
    if is_opposite:
        advice.append("Exchange the left and right weights, or give the group of table.T.")
    warnings.warn(
        f"{network.label} is right on {score:.1%} of the pairs of {group.name}; with "
        f"{' and '.join(changes)} it would be right on {best:.1%}. {' '.join(advice)}",
        stacklevel=4,
    )
