"""All subgroups of a finite group up to conjugacy, and their cosets."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from coset_circuits.errors import CosetCircuitsError
from coset_circuits.groups.group import FiniteGroup
from coset_circuits.groups.names import class_names, type_name
from coset_circuits.groups.subgroup_search import (
    conjugate_families,
    conjugates,
    greedy_generators,
    normalising,
)


class Subgroup:
    """A subgroup H of a group. Members of ``group.subgroups`` also store their conjugates.

    Two subgroups are equal when their groups' tables are equal and their elements are equal.

    Attributes:
        group: the group that contains it.
        array: its elements in rising order (NumPy).
    """

    def __init__(self, group: FiniteGroup, elements: Iterable[int], name: str | None = None):
        given = tuple(sorted({int(h) for h in elements}))
        inside = all(0 <= h < group.order for h in given)
        if not inside or tuple(group.closure(greedy_generators(group, given)).tolist()) != given:
            shown = str(list(given)) if len(given) <= 12 else f"A set of {len(given)} elements"
            raise CosetCircuitsError(
                f"{shown} is not a subgroup of {group.name}; "
                "give the elements of a closed set, or use Subgroup.generated."
            )
        self._set(group, np.array(given, dtype=np.int64), name)

    def _set(self, group: FiniteGroup, array: np.ndarray, name: str | None) -> None:
        self.group, self.array, self._name = group, array, name
        self._class: SubgroupClass | None = None
        self._conjugator = group.identity

    @classmethod
    def generated(cls, group: FiniteGroup, elements: Iterable[int]) -> Subgroup:
        """The smallest subgroup that contains some elements."""
        return _known_or_new(group, group.closure(list(elements)))

    @classmethod
    def _trusted(cls, group: FiniteGroup, array: np.ndarray, name: str | None = None) -> Subgroup:
        subgroup = cls.__new__(cls)
        subgroup._set(group, array, name)
        return subgroup

    @cached_property
    def name(self) -> str:
        """The name of its conjugacy class, such as ``"S3xS2"``, or else its isomorphism type."""
        return type_name(self.group, self.array) if self._name is None else self._name

    @cached_property
    def elements(self) -> tuple[int, ...]:
        """The elements in rising order."""
        return tuple(self.array.tolist())

    @property
    def order(self) -> int:
        """The number of elements."""
        return len(self.array)

    @property
    def index(self) -> int:
        """The number of cosets, [G:H]."""
        return self.group.order // self.order

    @property
    def is_trivial(self) -> bool:
        return self.order == 1

    @property
    def is_whole(self) -> bool:
        return self.order == self.group.order

    @property
    def is_normal(self) -> bool:
        return self.normaliser.is_whole

    @cached_property
    def generators(self) -> tuple[int, ...]:
        """A small generating set, found greedily from the elements of highest order."""
        return greedy_generators(self.group, self.array)

    @cached_property
    def right_cosets(self) -> Int[Tensor, " order"]:
        """The label of Hg for each g, numbered by first appearance."""
        return _numbered(self.group.array[self.array].min(axis=0))

    @cached_property
    def left_cosets(self) -> Int[Tensor, " order"]:
        """The label of gH for each g, numbered by first appearance."""
        return _numbered(self.group.array[:, self.array].min(axis=1))

    def conjugate(self, x: int) -> Subgroup:
        """x⁻¹Hx; if H is in ``group.subgroups``, the result is the object from that list."""
        if self._class is not None:
            position = self._class.positions[self.group.array[self._conjugator, x]]
            return self._class.conjugates[position]
        table = self.group.array
        moved = table[table[self.group.inverse_array[x], self.array], x]
        return _known_or_new(self.group, np.sort(moved))

    def contains(self, other: Subgroup) -> bool:
        """Whether every element of the other subgroup is one of H."""
        _check_same_group(self, other)
        return self.order % other.order == 0 and bool(np.isin(other.array, self.array).all())

    @cached_property
    def normaliser(self) -> Subgroup:
        """The largest subgroup in which H is normal."""
        return _known_or_new(self.group, np.flatnonzero(normalising(self.group, self.array)))

    @cached_property
    def core(self) -> Subgroup:
        """The intersection of H's conjugates: the kernel of the action on its cosets."""
        inside = np.isin(conjugates(self.group, self.array), self.array).all(axis=0)
        return _known_or_new(self.group, self.array[inside])

    def as_group(self) -> FiniteGroup:
        """The subgroup as a group of its own; its element i is ``elements[i]`` here."""
        table = np.searchsorted(self.array, self.group.array[self.array[:, None], self.array])
        images = self.group.permutations
        labels = [self.group.labels[h] for h in self.elements]
        return FiniteGroup(table, self.name, labels, None if images is None else images[self.array])

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Subgroup)
            and np.array_equal(self.array, other.array)
            and (self.group is other.group or self.group == other.group)
        )

    def __hash__(self) -> int:
        return hash(self.array.tobytes())

    def __repr__(self) -> str:
        made_by = ", ".join(self.group.labels[g] for g in self.generators) or "e"
        return f"Subgroup({self.name} of {self.group.name}: order {self.order}, ⟨{made_by}⟩)"


class SubgroupClass:
    """A conjugacy class of subgroups.

    Attributes:
        name: unique among the classes of the group.
        conjugates: the subgroups, the representative first.
        positions: for each x, the position of x⁻¹Hx among the conjugates of the representative H.
    """

    def __init__(self, name: str, conjugates: tuple[Subgroup, ...], positions: np.ndarray) -> None:
        self.name = name
        self.conjugates = conjugates
        self.positions = positions
        movers = np.unique(positions, return_index=True)[1].tolist()
        for subgroup, mover in zip(conjugates, movers, strict=True):
            subgroup._class, subgroup._conjugator = self, mover

    @property
    def representative(self) -> Subgroup:
        """The first conjugate; for permutations, the one that moves the first points."""
        return self.conjugates[0]

    @property
    def order(self) -> int:
        """The order of each of the subgroups."""
        return self.representative.order

    @property
    def index(self) -> int:
        """The number of cosets of each of the subgroups."""
        return self.representative.index

    @property
    def count(self) -> int:
        """The number of conjugates."""
        return len(self.conjugates)

    def contains(self, other: SubgroupClass) -> bool:
        """Whether a subgroup of this class contains a subgroup of the other class."""
        lower = other.representative
        return any(upper.contains(lower) for upper in self.conjugates)

    @cached_property
    def _by_elements(self) -> dict[bytes, Subgroup]:
        return {subgroup.array.tobytes(): subgroup for subgroup in self.conjugates}

    def __repr__(self) -> str:
        return f"SubgroupClass({self.name}: order {self.order}, {self.count} conjugates)"


def subgroup_classes(group: FiniteGroup) -> tuple[SubgroupClass, ...]:
    """Every subgroup up to conjugacy, by rising order (cached as ``group.subgroup_classes``).

    A relabelled group's subgroups are the original group's, in the same order.

    Raises:
        CosetCircuitsError: the group has too many subgroups to list.
    """
    if group.origin is not None:
        base, forward = group.origin
        return tuple(_carried(group, c, forward) for c in base.subgroup_classes)
    families = conjugate_families(group)
    names = class_names(group, [family.members[0] for family in families])
    return tuple(
        SubgroupClass(name, tuple(Subgroup._trusted(group, m, name) for m in members), positions)
        for name, (members, positions) in zip(names, families, strict=True)
    )


def _carried(group: FiniteGroup, known: SubgroupClass, forward: np.ndarray) -> SubgroupClass:
    moved = (np.sort(forward[h.array]) for h in known.conjugates)
    positions = np.empty(group.order, dtype=np.int64)
    positions[forward] = known.positions
    return SubgroupClass(
        known.name, tuple(Subgroup._trusted(group, m, known.name) for m in moved), positions
    )


def double_cosets(left: Subgroup, right: Subgroup) -> Int[Tensor, " order"]:
    """The label of HgK for each g, numbered by first appearance; H is ``left``, K is ``right``."""
    _check_same_group(left, right)
    right_of = left.right_cosets.numpy()
    return _numbered(right_of[left.group.array[:, right.array]].min(axis=1))


def _check_same_group(one: Subgroup, other: Subgroup) -> None:
    if one.group is not other.group and one.group != other.group:
        raise CosetCircuitsError(
            f"The subgroups belong to different groups, {one.group.name} and {other.group.name}; "
            "give two subgroups of one group."
        )


def _numbered(keys: np.ndarray) -> Int[Tensor, " order"]:
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    return torch.from_numpy(np.argsort(np.argsort(first))[inverse.reshape(-1)])


def _known_or_new(group: FiniteGroup, elements: np.ndarray) -> Subgroup:
    # Computing every subgroup only to look one up would cost seconds on a large group.
    for known in vars(group).get("subgroup_classes", ()):
        if known.order == len(elements):
            subgroup = known._by_elements.get(elements.tobytes())
            if subgroup is not None:
                return subgroup
    return Subgroup._trusted(group, elements)
