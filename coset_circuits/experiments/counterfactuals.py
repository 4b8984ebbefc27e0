"""The source of a patch: which pair an activation is taken from, keyed by (seed, pair)."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from coset_circuits.errors import CosetCircuitsError
from coset_circuits.experiments.partitions import PairDonors, completed
from coset_circuits.experiments.resampling import uniform
from coset_circuits.groups import FiniteGroup

Side = Literal["left", "right", "both"]
SIDES = ("left", "right", "both")


# Each kind of draw has a key of its own, so that no two share their randomness.
_SOURCE_A, _SOURCE_B, _CORRUPT_A, _CORRUPT_B, _CELL, _SHUFFLED_A, _SHUFFLED_B, _CELL_B = range(8)


def _drawn(
    seed: int, kind: int, pairs: Int[Tensor, "batch 2"], order: int
) -> Float[Tensor, "batch"]:
    """One uniform number from [0, 1) per pair."""
    keys = pairs[:, 0] * order + pairs[:, 1]
    return torch.from_numpy(uniform(seed, kind, keys.cpu().numpy()))


def source_pairs(
    group: FiniteGroup, pairs: Int[Tensor, "batch 2"], seed: int = 0, *, shuffled: bool = False
) -> Int[Tensor, "batch 2"]:
    """For each pair a uniformly random pair; ``shuffled`` draws an unrelated one."""
    kinds = (_SHUFFLED_A, _SHUFFLED_B) if shuffled else (_SOURCE_A, _SOURCE_B)
    draws = [_drawn(seed, kind, pairs, group.order) for kind in kinds]
    return (torch.stack(draws, 1) * group.order).long()


def corrupted(
    group: FiniteGroup, pairs: Int[Tensor, "batch 2"], change: Side = "both", seed: int = 0
) -> Int[Tensor, "batch 2"]:
    """Change the left element, the right one or both of each pair, so that the product changes.

    Raises:
        CosetCircuitsError: ``change`` is not a side, or the group is too small to change it.
    """
    if change not in SIDES:
        raise CosetCircuitsError(
            f"{change!r} is not a side to corrupt; choose one of {', '.join(SIDES)}."
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

    def moved(elements: Int[Tensor, "batch"], kind: int) -> Int[Tensor, "batch"]:
        return (elements + 1 + (_drawn(seed, kind, pairs, n) * (n - 1)).long()) % n

    if change == "right":
        return torch.stack([a, moved(b, _CORRUPT_B)], 1)
    new_a = moved(a, _CORRUPT_A)
    if change == "left":
        return torch.stack([new_a, b], 1)
    # Excluded are b itself and the one element that would leave the product unchanged.
    same = group.table[group.inverses[new_a], group.table[a, b]]
    new_b = (_drawn(seed, _CORRUPT_B, pairs, n) * (n - 2)).long()
    new_b += (new_b >= torch.minimum(b, same)).long()
    new_b += (new_b >= torch.maximum(b, same)).long()
    return torch.stack([new_a, new_b], 1)


class CellDonors(PairDonors):
    """For each pair a uniformly random pair from its cell.

    Args:
        group: the group.
        left, right, product: one label per element. Two pairs share a cell if the labels of their
            left elements, right elements and products agree. None ignores that part.
    """

    def __init__(
        self,
        group: FiniteGroup,
        left: Int[Tensor, "order"] | None = None,
        right: Int[Tensor, "order"] | None = None,
        product: Int[Tensor, "order"] | None = None,
    ) -> None:
        given = {"left": left, "right": right, "product": product}
        columns = {side: labels[:, None] for side, labels in given.items() if labels is not None}
        super().__init__(group, completed(columns, group.order, 1))

    def draw(self, pairs: Int[Tensor, "batch 2"], seed: int = 0) -> Int[Tensor, "batch 2"]:
        """A pair of the same cell for each pair."""
        # The first side of the alphabet has the first key.
        draws = {
            side: _drawn(seed, kind, pairs, self.group.order)
            for side, kind in zip(sorted(self.cells), (_CELL, _CELL_B), strict=False)
        }
        a, b = pairs.cpu().T
        return torch.stack(
            self.resampled(a, b, lambda side, x: self.cells[side].draw(draws[side], x)), 1
        )

    def freedom(self, reads: Side = "both") -> float:
        """H(input | cell) / H(input) of the input that a site reads; 0 leaves no choice."""
        return float(self.freedoms(("left", "right") if reads == "both" else (reads,)))


def shuffled(labels: Int[Tensor, "order"] | None, seed: int) -> Int[Tensor, "order"] | None:
    """Cells of the same sizes with random elements."""
    if labels is None:
        return None
    generator = torch.Generator().manual_seed(seed)
    return labels[torch.randperm(len(labels), generator=generator)]
