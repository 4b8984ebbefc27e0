"""Resampling hooks for any ``HookedRootModule``: activations exchanged within classes of inputs.

A factory returns a TransformerLens hook ``fn(activation, hook)``. The first axis of an activation
is the batch; nothing else is assumed about the model. TransformerLens's own
``tools.analysis.interchange`` moves whole ``d_model`` rows, or a subspace of them, from a source
that the caller has matched to each base; it has no classes and no donors by unit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from coset_circuits.errors import CosetCircuitsError

ResamplingHook = Callable[..., Any]
"""``fn(activation, hook)``, as TransformerLens calls it; it never changes the activation."""


@dataclass(frozen=True)
class Cells:
    """The rows of each column sorted by label, so that a donor is one look-up.

    Attributes:
        members: row numbers, cell after cell.
        first: the start of each row's cell among the members.
        size: the number of rows in it.
    """

    members: Int[Tensor, "rows columns"]
    first: Int[Tensor, "rows columns"]
    size: Int[Tensor, "rows columns"]

    @classmethod
    def of(cls, labels: Int[Tensor, "rows columns"]) -> Cells:
        """Cells of rows with equal labels, column by column."""
        in_order, members = labels.sort(dim=0, stable=True)
        columns, sought = in_order.T.contiguous(), labels.T.contiguous()
        first, end = (torch.searchsorted(columns, sought, side=s) for s in ("left", "right"))
        return cls(members, first.T.contiguous(), (end - first).T.contiguous())

    @property
    def entropy(self) -> Float[Tensor, "columns"]:
        """H(row | its cell) in nats, rows being uniform: the mean log of the cells' sizes."""
        return self.size.double().log().mean(0)

    def draw(
        self,
        uniform: Float[Tensor, "*drawn"],
        rows: Int[Tensor, "*drawn"] | None = None,
        columns: Int[Tensor, "..."] | int = 0,
    ) -> Int[Tensor, "*drawn"]:
        """A member of each row's cell, itself among them, for uniform numbers from [0, 1).

        All rows of all columns by default; else some rows, each of its column.
        """
        if rows is None:
            return self.members.gather(0, self.first + (uniform * self.size).long())
        step = (uniform * self.size[rows, columns]).long()
        return self.members[self.first[rows, columns] + step, columns]


def intersected(labels: Int[Tensor, "rows columns"]) -> Int[Tensor, "rows"]:
    """Intersect columns: rows share a cell if all columns give them the same label."""
    if labels.shape[1] == 1:
        return labels[:, 0]
    return torch.unique(labels, dim=0, return_inverse=True)[1]


def uniform(seed: int, *keys: np.ndarray | int) -> np.ndarray:
    """Uniform numbers from [0, 1), one for each combination of the (broadcast) keys.

    They depend only on the keys, so they are the same for any batch or chunk.
    """
    bits = _mixed(np.array([seed], dtype=np.int64).astype(np.uint64))
    for key in keys:
        bits = _mixed(bits ^ np.asarray(key, dtype=np.int64).astype(np.uint64))
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mixed(x: np.ndarray) -> np.ndarray:
    """splitmix64 (Steele, Lea, Flood 2014), a hash of 64-bit counters."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def donors(
    labels: Int[Tensor, "batch *rest"],
    *,
    seed: int = 0,
    groups: Sequence[Sequence[int]] | None = None,
) -> Int[Tensor, "batch *rest"]:
    """For every label a donor row: any row of the batch with the same label.

    Donors are uniform, may be the row itself, and are independent for each column of labels. They
    allow exchanging activations of a whole data set (TransformerLens's ``collect_activations``)
    across batches: ``replace(activations[donors(labels)])``.

    Args:
        labels: see :func:`resample`.
        seed: the draws are keyed by (seed, row, column).
        groups: columns of the last axis that share one donor; their labels are intersected.

    Raises:
        CosetCircuitsError: the labels are not integers, or the groups name no columns.
    """
    labels, first = _shared(_checked_labels(labels), groups or ())
    flat = labels.flatten(1) if labels.ndim > 1 else labels[:, None]
    inner = flat.shape[1] // max(1, len(first))
    columns = (torch.arange(inner)[:, None] * len(first) + first).flatten()
    draws = uniform(seed, np.arange(len(flat))[:, None], columns.numpy())
    return Cells.of(flat).draw(torch.from_numpy(draws)).reshape(labels.shape)


def resample(
    labels: Int[Tensor, "batch *rest"] | Sequence[int],
    *,
    seed: int = 0,
    groups: Sequence[Sequence[int]] | None = None,
) -> ResamplingHook:
    """A hook that replaces activations by those of another example with the same label.

    Args:
        labels: integers, one an example (``(batch,)``: whole activations move), or as many axes
            as the activation has, each as long as the activation's or 1. An axis of length 1
            moves as a whole, one donor for all of it: ``(batch, 1, units)`` gives every unit of a
            ``(batch, position, unit)`` activation its own donors, ``(batch, position, 1)`` every
            position.
        seed: the donors are keyed by (seed, row, column), so one seed gives the same donors at
            every site and in every call; independent donors need different seeds.
        groups: columns of the last axis that share one donor, their labels intersected.

    Raises:
        CosetCircuitsError: the labels are not integers or, when it runs, do not fit the activation.
    """
    rows = donors(_checked_labels(labels), seed=seed, groups=groups)

    def resampled(activation: Tensor, hook: Any) -> Tensor:
        index = _spread(rows, activation, hook)
        return activation.gather(0, index)

    return resampled


def shuffle(*, seed: int = 0, each_unit: bool = False) -> ResamplingHook:
    """A hook that resamples from the whole batch, ignoring labels.

    Args:
        each_unit: every unit of the last axis has its own donors; else whole activations move.
    """

    def shuffled(activation: Tensor, hook: Any) -> Tensor:
        _check_activation(activation, hook)
        last = activation.shape[-1] if each_unit and activation.ndim > 1 else 1
        shape = (len(activation), *[1] * (activation.ndim - 2), last)[: activation.ndim]
        rows = donors(torch.zeros(shape).long(), seed=seed)
        index = _spread(rows, activation, hook)
        return activation.gather(0, index)

    return shuffled


def mean_over(labels: Int[Tensor, "batch *rest"] | Sequence[int]) -> ResamplingHook:
    """A hook that replaces activations by the mean of their class, the expectation of resampling.

    Args:
        labels: see :func:`resample`.

    Raises:
        CosetCircuitsError: the labels are not integers or, when it runs, do not fit the activation.
    """
    values, cells = torch.unique(_checked_labels(labels), return_inverse=True)

    def averaged(activation: Tensor, hook: Any) -> Tensor:
        index = _spread(cells, activation, hook)
        shape = (len(values), *activation.shape[1:])
        sums = activation.new_zeros(shape).scatter_add(0, index, activation)
        sizes = activation.new_zeros(shape).scatter_add(0, index, torch.ones_like(activation))
        return (sums / sizes.clamp_min(1)).gather(0, index)

    return averaged


def replace(values: Tensor) -> ResamplingHook:
    """A hook that replaces the activation by given values.

    Args:
        values: a tensor of the activation's shape, or one that broadcasts to it.

    Raises:
        CosetCircuitsError: when it runs, the values do not fit the activation.
    """

    def replaced(activation: Tensor, hook: Any) -> Tensor:
        _check_activation(activation, hook)
        try:
            fitting = values.to(activation.device, activation.dtype).expand_as(activation)
        except RuntimeError as error:
            raise CosetCircuitsError(
                f"Values of shape {tuple(values.shape)} do not fit the activation of shape "
                f"{tuple(activation.shape)} at {_site(hook)}; give one of that shape."
            ) from error
        # A copy, so that later in-place changes cannot reach the caller's values.
        return fitting.clone()

    return replaced


def only(units: Iterable[int], change: ResamplingHook) -> ResamplingHook:
    """A hook that lets another hook change some units of the last axis and no others.

    Raises:
        CosetCircuitsError: when it runs, a unit is not one of the activation's.
    """
    chosen = sorted({int(unit) for unit in units})

    def changed(activation: Tensor, hook: Any) -> Tensor | None:
        _check_activation(activation, hook)
        width = activation.shape[-1]
        if chosen and not 0 <= chosen[0] <= chosen[-1] < width:
            raise CosetCircuitsError(
                f"The units run from {chosen[0]} to {chosen[-1]}, the activation at {_site(hook)} "
                f"has units 0 to {width - 1}."
            )
        new = change(activation, hook)
        if new is None:
            return None
        mask = torch.zeros(width, dtype=torch.bool, device=activation.device)
        mask[chosen] = True
        return torch.where(mask, new, activation)

    return changed


def _checked_labels(labels: Any) -> Tensor:
    try:
        given = torch.as_tensor(labels)
    except (TypeError, ValueError, RuntimeError) as error:
        raise CosetCircuitsError(
            f"The labels are {type(labels).__name__} and no tensor of integers; give one label an "
            "example."
        ) from error
    if given.is_floating_point() or given.is_complex() or given.ndim == 0:
        raise CosetCircuitsError(
            f"The labels are {given.dtype} of shape {tuple(given.shape)}; give integers, one an "
            "example at least."
        )
    return given.detach().cpu().long()


def _shared(labels: Tensor, groups: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Intersect the labels of columns that share a donor; also the first column of each."""
    width = labels.shape[-1] if labels.ndim > 1 else 0
    named = [int(column) for group in groups for column in group]
    if len(set(named)) != len(named) or any(not 0 <= column < width for column in named):
        raise CosetCircuitsError(
            f"The groups name the columns {sorted(named)}; labels of shape {tuple(labels.shape)} "
            f"have {width} columns on their last axis, each in one group at most."
        )
    labels, first = labels.clone(), torch.arange(width or 1)
    for members in map(list, filter(len, groups)):
        joint = intersected(labels[..., members].flatten(0, -2))
        labels[..., members] = joint.reshape(*labels.shape[:-1], 1)
        first[members] = min(members)
    return labels, first


def _spread(index: Tensor, activation: Tensor, hook: Any) -> Tensor:
    """Expand an index by example (or with axes of length 1) to the activation's shape."""
    _check_activation(activation, hook)
    shape = tuple(activation.shape)
    fits = index.ndim in (1, len(shape)) and all(
        given == wanted or (given == 1 and axis > 0)
        for axis, (given, wanted) in enumerate(zip(index.shape, shape, strict=False))
    )
    if not fits:
        raise CosetCircuitsError(
            f"Labels of shape {tuple(index.shape)} do not fit the activation of shape {shape} at "
            f"{_site(hook)}; give one an example, ({shape[0]},), or {len(shape)} axes that are "
            "each as long as the activation's or 1."
        )
    if index.ndim == 1:
        index = index.reshape(-1, *[1] * (len(shape) - 1))
    return index.to(activation.device).expand(shape)


def _check_activation(activation: Any, hook: Any) -> None:
    if not isinstance(activation, Tensor) or activation.ndim == 0:
        raise CosetCircuitsError(
            f"The activation at {_site(hook)} is {type(activation).__name__}, not a tensor with a "
            "batch axis; hook a site inside it."
        )


def _site(hook: Any) -> str:
    return getattr(hook, "name", None) or "this site"
