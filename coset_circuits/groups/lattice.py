"""The lattice of subgroups up to conjugacy: which classes contain which, and how often."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from coset_circuits.errors import CosetCircuitsError
from coset_circuits.groups.group import FiniteGroup
from coset_circuits.groups.subgroup_search import PrimePowerCyclic
from coset_circuits.groups.subgroups import SubgroupClass


@dataclass(frozen=True)
class Edge:
    """An edge of the lattice: subgroups of one class are maximal subgroups of another class's.

    Attributes:
        upper: the class of the larger subgroups.
        lower: the class of the smaller ones.
        below: the number of subgroups in ``lower`` that are maximal in one subgroup of ``upper``.
        above: the number of subgroups in ``upper`` in which one subgroup of ``lower`` is maximal.
    """

    upper: SubgroupClass
    lower: SubgroupClass
    below: int

    @property
    def above(self) -> int:
        return self.below * self.upper.count // self.lower.count

    def __repr__(self) -> str:
        return (
            f"Edge({self.upper.name} > {self.lower.name}: {self.below} below, {self.above} above)"
        )


class SubgroupLattice:
    """The subgroups of a group by containment, up to conjugacy.

    Each class is computed when it is first needed. A subgroup is stored as a bit set of the cyclic
    subgroups of prime-power order that it contains.

    Attributes:
        group: the group.
        classes: its classes of subgroups, by rising order.
    """

    def __init__(self, group: FiniteGroup) -> None:
        self.group = group
        self.classes = group.subgroup_classes
        self._place = {c: place for place, c in enumerate(self.classes)}
        self._starts = np.cumsum([0, *(c.count for c in self.classes)])
        self._class_of = np.repeat(np.arange(len(self.classes)), [c.count for c in self.classes])
        self._orders = np.array([c.order for c in self.classes])[self._class_of]
        self._maximal: dict[int, tuple[Edge, ...]] = {}

    @cached_property
    def _bits(self) -> np.ndarray:
        cyclic = PrimePowerCyclic(self.group)
        packed = np.concatenate(
            [cyclic.bits(np.stack([h.array for h in c.conjugates])) for c in self.classes]
        )
        padded = np.zeros((len(packed), -(-packed.shape[1] // 8) * 8), dtype=np.uint8)
        padded[:, : packed.shape[1]] = packed
        return padded.view(np.uint64)

    @property
    def size(self) -> int:
        """The number of subgroups."""
        return len(self._class_of)

    def count(self, upper: SubgroupClass, lower: SubgroupClass) -> int:
        """The number of subgroups of the lower class in one subgroup of the upper class."""
        first, place = self._first(upper), self._first(lower)
        bits = self._bits[place : place + lower.count]
        return int(self._within(bits, first).sum())

    def maximal_subgroups(self, upper: SubgroupClass) -> tuple[Edge, ...]:
        """The edges from a class to its maximal subgroups, by rising order."""
        first = self._first(upper)
        if first not in self._maximal:
            found = Counter(self._class_of[self._maximal_in(first)].tolist())
            self._maximal[first] = tuple(
                Edge(upper, self.classes[place], found[place]) for place in sorted(found)
            )
        return self._maximal[first]

    def minimal_supergroups(self, lower: SubgroupClass) -> tuple[Edge, ...]:
        """The edges from a class to its minimal supergroups, by rising order."""
        self._first(lower)
        return tuple(edge for edge in self.edges if edge.lower is lower)

    @cached_property
    def edges(self) -> tuple[Edge, ...]:
        """Every edge of the Hasse diagram, by rising order of the upper class."""
        return tuple(edge for c in self.classes for edge in self.maximal_subgroups(c))

    def _first(self, known: SubgroupClass) -> int:
        """The position of the representative among all subgroups."""
        if known not in self._place:
            raise CosetCircuitsError(
                f"{known!r} is not one of the classes of {self.group.name}; "
                "give one of group.subgroup_classes."
            )
        return int(self._starts[self._place[known]])

    def _maximal_in(self, first: int) -> list[int]:
        candidates = np.flatnonzero(self._orders[first] % self._orders[:first] == 0)
        left = candidates[self._within(self._bits[candidates], first)]
        maximal = []
        while len(left):
            largest = int(left[-1])
            maximal.append(largest)
            left = left[~self._within(self._bits[left], largest)]
        return maximal

    def _within(self, bits: np.ndarray, place: int) -> np.ndarray:
        return ~(bits & ~self._bits[place]).any(axis=1)

    def __repr__(self) -> str:
        return (
            f"SubgroupLattice({self.group.name}: {self.size} subgroups "
            f"in {len(self.classes)} classes)"
        )
