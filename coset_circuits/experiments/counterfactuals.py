"""The other input of a patch: which pair an activation is taken from, keyed by (seed, pair)."""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from coset_circuits.errors import CosetCircuitsError
from coset_circuits.experiments.resampling import uniform
from coset_circuits.groups import FiniteGroup

Side = Literal["left", "right", "both"]
SIDES = ("left", "right", "both")


# Each kind of draw has a key of its own, so that no two share their randomness.
_SOURCE_A, _SOURCE_B, _CORRUPT_A, _CORRUPT_B, _CELL, _SHUFFLED_A, _SHUFFLED_B, _CELL_B = range(8)


def _drawn(
    seed: int, kind: int, pairs: Int[Tensor, "batch 2"], order: int
) -> Float[Tensor, "batch"]:
    """One number from [0, 1) a pair."""
    keys = pairs[:, 0] * order + pairs[:, 1]
    return torch.from_numpy(uniform(seed, kind, keys.cpu().numpy()))


def source_pairs(
    group: FiniteGroup, pairs: Int[Tensor, "batch 2"], seed: int = 0, *, shuffled: bool = False
) -> Int[Tensor, "batch 2"]:
    """For each pair another, drawn from all pairs alike; ``shuffled`` draws an unrelated one."""
    kinds = (_SHUFFLED_A, _SHUFFLED_B) if shuffled else (_SOURCE_A, _SOURCE_B)
    draws = [_drawn(seed, kind, pairs, group.order) for kind in kinds]
    return (torch.stack(draws, 1) * group.order).long()


def corrupted(
    group: FiniteGroup, pairs: Int[Tensor, "batch 2"], change: Side = "both", seed: int = 0
) -> Int[Tensor, "batch 2"]:
    """Each pair with another left element, another right one, or both, and another product.

    Raises:
        CosetCircuitsError: ``change`` is no side, or the group is too small to change it.
    """
    if change not in SIDES:
        raise CosetCircuitsError(
            f"{change!r} is no side to corrupt; choose one of {', '.join(SIDES)}."
        )
    least = 3 if change == "both" else 2
    if group.order < least:
        raise CosetCircuitsError(
            f"{group.name} of order {group.order} has no pair with another product and "
            f"{'both elements' if change == 'both' else f'the {change} element'} changed; "
            f"a group of order {least} or more is needed."
        )
    n = group.order
    a, b = pairs.cpu().T
    if change != "right":
        shift = 1 + (_drawn(seed, _CORRUPT_A, pairs, n) * (n - 1)).long()
        new_a = (a + shift) % n
    else:
        new_a = a
    if change == "left":
        return torch.stack([new_a, b], 1)
    if change == "right":
        shift = 1 + (_drawn(seed, _CORRUPT_B, pairs, n) * (n - 1)).long()
        return torch.stack([a, (b + shift) % n], 1)
    # b itself is left out, and the one element with which the product would stay.
    same = group.table[group.inverses[new_a], group.table[a, b]]
    low, high = torch.minimum(b, same), torch.maximum(b, same)
    new_b = (_drawn(seed, _CORRUPT_B, pairs, n) * (n - 2)).long()
    new_b += (new_b >= low).long()
    new_b += (new_b >= high).long()
    return torch.stack([new_a, new_b], 1)


class CellDonors:
    """For each pair another from its cell, all pairs of the cell alike.

    Any two of left element, right element and product are independent and make the pair, so where
    at most two of them are labelled each is drawn by itself, from tables of the group's order. Only
    cells on all three are listed pair by pair.

    Args:
        group: the group.
        left, right, product: a label an element; two pairs share a cell where the labels of their
            left elements, of their right elements and of their products agree. None: no matter.
    """

    def __init__(
        self,
        group: FiniteGroup,
        left: Int[Tensor, "order"] | None = None,
        right: Int[Tensor, "order"] | None = None,
        product: Int[Tensor, "order"] | None = None,
    ) -> None:
        self.group = group
        given = {"left": left, "right": right, "product": product}
        self.labels = {side: labels for side, labels in given.items() if labels is not None}
        sides = list(self.labels)
        for side in ("left", "right"):
            if len(sides) < 2 and side not in sides:
                sides.append(side)
        anything = torch.zeros(group.order, dtype=torch.int64)
        self.sides = {side: _Cells(self.labels.get(side, anything)) for side in sorted(sides)}
        self.whole = _Cells(self._pair_cells()) if len(sides) == 3 else None

    def draw(self, pairs: Int[Tensor, "batch 2"], seed: int = 0) -> Int[Tensor, "batch 2"]:
        """A pair of the same cell for each pair."""
        n = self.group.order
        a, b = pairs.cpu().T
        draws = [_drawn(seed, kind, pairs, n) for kind in (_CELL, _CELL_B)]
        if self.whole is not None:
            found = self.whole.draw(a * n + b, draws[0])
            return torch.stack([found // n, found % n], 1)
        own = {"left": a, "right": b, "product": self.group.table[a, b]}
        drawn = {
            side: cells.draw(own[side], uniform)
            for (side, cells), uniform in zip(self.sides.items(), draws, strict=True)
        }
        table, inverses = self.group.table, self.group.inverses
        if "right" not in drawn:
            drawn["right"] = table[inverses[drawn["left"]], drawn["product"]]
        if "left" not in drawn:
            drawn["left"] = table[drawn["product"], inverses[drawn["right"]]]
        return torch.stack([drawn["left"], drawn["right"]], 1)

    def freedom(self, reads: Side = "both") -> float:
        """H(input | cell) / H(input), the input being what a site reads: 0 leaves no choice."""
        n = self.group.order
        if n == 1:
            return 0.0
        if self.whole is None and reads == "both":
            return sum(cells.entropy for cells in self.sides.values()) / (2 * math.log(n))
        if self.whole is None and reads in self.sides:
            return self.sides[reads].entropy / math.log(n)
        a, b = self.group.pairs().T
        read = {"left": a, "right": b, "both": a * n + b}[reads]
        cells = self._pair_cells()
        joint = torch.unique(cells * n * n + read, return_counts=True)[1]
        left = _entropy(joint) - _entropy(torch.bincount(cells))
        return left / (math.log(n) * (2 if reads == "both" else 1))

    def _pair_cells(self) -> Int[Tensor, "pairs"]:
        pairs = self.group.pairs()
        elements = {
            "left": pairs[:, 0],
            "right": pairs[:, 1],
            "product": self.group.products(pairs),
        }
        cells = torch.zeros(len(pairs), dtype=torch.int64)
        for side, labels in self.labels.items():
            cells = cells * (int(labels.max()) + 1) + labels[elements[side]]
            cells = torch.unique(cells, return_inverse=True)[1]
        return cells


class _Cells:
    """Things sorted by label, so that another of the same cell is one look-up."""

    def __init__(self, labels: Int[Tensor, "things"]) -> None:
        self.members = labels.argsort(stable=True)
        sizes = torch.bincount(labels)
        self.size = sizes[labels]
        self.first = (sizes.cumsum(0) - sizes)[labels]

    def draw(
        self, things: Int[Tensor, "batch"], uniform: Float[Tensor, "batch"]
    ) -> Int[Tensor, "batch"]:
        return self.members[self.first[things] + (uniform * self.size[things]).long()]

    @property
    def entropy(self) -> float:
        """H(thing | cell), of things that are all as likely."""
        return float(self.size.double().log().mean())


def _entropy(counts: Int[Tensor, "cells"]) -> float:
    share = counts[counts > 0].double() / counts.sum()
    return float(-(share * share.log()).sum())


def joint_cells(labels: Int[Tensor, "order neurons"] | None) -> Int[Tensor, "order"] | None:
    """Elements that every neuron labels alike share a cell."""
    if labels is None:
        return None
    return torch.unique(labels, dim=0, return_inverse=True)[1]


def shuffled(labels: Int[Tensor, "order"] | None, seed: int) -> Int[Tensor, "order"] | None:
    """The same cell sizes, the elements in them drawn at random."""
    if labels is None:
        return None
    generator = torch.Generator().manual_seed(seed)
    return labels[torch.randperm(len(labels), generator=generator)]
