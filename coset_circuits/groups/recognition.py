"""Recognise the group that a Cayley table belongs to, and identify its elements.

The answers of a network that is always right form a Cayley table in some numbering. The axioms are
checked and the isomorphism type is named. If the library can build a group of that type, an
isomorphism gives the elements their names.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Int

from coset_circuits.errors import CosetCircuitsError
from coset_circuits.groups.group import FiniteGroup
from coset_circuits.groups.names import (
    group,
    group_of_type,
    isomorphism_type,
    product_names,
    single_names,
)


@dataclass(frozen=True)
class Recognised:
    """A Cayley table that has been recognised.

    Attributes:
        group: a group of the same type built by the library, or else the table itself as a group.
        elements: element i of the table is element ``elements[i]`` of the group.
    """

    group: FiniteGroup
    elements: Int[np.ndarray, "order"]


def recognise(table: Int[np.ndarray, "order order"], name: str | None = None) -> Recognised:
    """Recognise the group of a Cayley table, in any numbering.

    Args:
        table: ``table[a, b]`` is a·b. The identity may be any element.
        name: a group to prefer if the table is isomorphic to it. Otherwise the library's name for
            the isomorphism type is used.

    Raises:
        CosetCircuitsError: the table is not a group; the message says which axiom fails.
    """
    own = FiniteGroup.from_table(table)
    kind = isomorphism_type(own, np.arange(own.order))
    for model in _models(name, kind, own.order):
        images = None if model is None else isomorphism(own, model)
        if model is not None and images is not None:
            return Recognised(model, images)
    return Recognised(FiniteGroup(own.array, kind), np.arange(own.order))


def as_named(own: FiniteGroup, take_labels: bool) -> FiniteGroup:
    """Give a table the names of the library's group of the same name, if there is one.

    Args:
        take_labels: also take the names of the elements.

    Raises:
        CosetCircuitsError: the table is not isomorphic to the group whose name it has.
    """
    try:
        model = group(own.name)
    except CosetCircuitsError:
        return own
    images = isomorphism(own, model)
    if images is None:
        kind = recognise(own.array).group.name
        raise CosetCircuitsError(
            f"The Cayley table of {own.order} elements is named {own.name} but is not that group, "
            f"which has {model.order} elements; its type is {kind}. Give it another name."
        )
    made = model.relabelled(np.argsort(images))
    made.name = own.name
    made.labels = made.labels if take_labels else own.labels
    return made


def _models(name: str | None, kind: str, order: int) -> Iterator[FiniteGroup | None]:
    """Candidate groups for a table; None for a candidate that cannot be built."""
    if name is not None:
        wanted = group(name)
        if wanted.order == order:
            yield wanted
    built = _built(kind)
    if built is not None:
        yield built
    elif kind == f"G{order}":
        # The catalogue names no products of these orders, because other groups may have the same
        # fingerprint. Here an explicit isomorphism proves the name.
        yield from map(_built, product_names(order))


def groups_of_order(order: int) -> Iterator[FiniteGroup]:
    """Every group of an order that the library can name and build, families before products."""
    for kind in dict.fromkeys([*single_names(order), *product_names(order)]):
        built = _built(kind)
        if built is not None:
            yield built


def _built(kind: str) -> FiniteGroup | None:
    try:
        return group_of_type(kind)
    except CosetCircuitsError:
        return None


def isomorphism(one: FiniteGroup, other: FiniteGroup) -> Int[np.ndarray, "order"] | None:
    """An isomorphism, ``image[i]`` for element i of the first group; None if there is none."""
    if one.order != other.order:
        return None
    mine, theirs = _invariants(one), _invariants(other)
    if not np.array_equal(np.sort(mine), np.sort(theirs)):
        return None
    chain = _Chain(one, mine)
    return chain.mapped(other, theirs)


def _invariants(group: FiniteGroup) -> Int[np.ndarray, "order"]:
    """A number for each element that isomorphisms keep: order, class size, square roots, powers."""
    table = group.array
    classes = (table == table.T).sum(1)
    squares = table.diagonal()
    roots = np.bincount(squares, minlength=group.order)
    values = group.element_orders
    for part in (classes, roots, roots[squares], classes[squares]):
        values = values * (group.order + 1) + part
        # Equal invariants get equal numbers, in both groups alike.
        values = values % (2**31 - 1)
    return values


class _Chain:
    """A chain of subgroups, each generated by one more generator than the last."""

    def __init__(self, group: FiniteGroup, invariants: Int[np.ndarray, "order"]) -> None:
        self.group, self.invariants = group, invariants
        counts = {
            int(v): int(c) for v, c in zip(*np.unique(invariants, return_counts=True), strict=True)
        }
        # Elements with rare invariants come first, because they have few possible images.
        order = sorted(range(group.order), key=lambda g: (counts[int(invariants[g])], g))
        self.generators: list[int] = []
        self.words: list[list[tuple[int, int, int]]] = []
        inside = {group.identity}
        while len(inside) < group.order:
            best = self._best(order, inside)
            self.generators.append(best)
            self.words.append(self._words(inside))
            inside |= {word[0] for word in self.words[-1]}

    def _best(self, order: Sequence[int], inside: set[int]) -> int:
        """Among the rarest elements that are not generated yet, the one that adds most."""
        outside = [g for g in order if g not in inside][:8]
        rank = {g: i for i, g in enumerate(outside)}
        return max(outside, key=lambda g: (self._size([*self.generators, g]), -rank[g]))

    def _size(self, generators: Sequence[int]) -> int:
        table, seen, frontier = self.group.array, {self.group.identity}, [self.group.identity]
        while frontier:
            frontier = [int(y) for x in frontier for y in table[x, generators]]
            frontier = [y for y in dict.fromkeys(frontier) if y not in seen]
            seen.update(frontier)
        return len(seen)

    def _words(self, inside: set[int]) -> list[tuple[int, int, int]]:
        """Each new element as (element, earlier element, number of a generator), breadth first."""
        table, seen, words = self.group.array, set(inside), []
        frontier = list(inside)
        while frontier:
            grown = []
            for x in frontier:
                for number, g in enumerate(self.generators):
                    y = int(table[x, g])
                    if y not in seen:
                        seen.add(y)
                        grown.append(y)
                        words.append((y, x, number))
            frontier = grown
        return words

    @cached_property
    def members(self) -> list[Int[np.ndarray, "subgroup"]]:
        """The elements of each subgroup of the chain."""
        found, so_far = [], [self.group.identity]
        for words in self.words:
            so_far = [*so_far, *(word[0] for word in words)]
            found.append(np.array(so_far))
        return found

    def mapped(
        self, other: FiniteGroup, invariants: Int[np.ndarray, "order"]
    ) -> Int[np.ndarray, "order"] | None:
        """The first isomorphism that a search over the generators' images finds."""
        image = np.full(self.group.order, -1)
        image[self.group.identity] = other.identity
        return self._extended(0, [], image, other, invariants)

    def _extended(
        self,
        depth: int,
        chosen: list[int],
        image: Int[np.ndarray, "order"],
        other: FiniteGroup,
        invariants: Int[np.ndarray, "order"],
    ) -> Int[np.ndarray, "order"] | None:
        if depth == len(self.generators):
            return image
        generator = self.generators[depth]
        candidates = np.flatnonzero(invariants == self.invariants[generator]).tolist()
        if depth == 0:
            # Conjugation is an automorphism, so one image per class is enough.
            candidates = [c for c in candidates if c == _conjugates(other, c).min()]
        for candidate in candidates:
            tried = self._on_subgroup(depth, [*chosen, candidate], image, other)
            if tried is not None:
                whole = self._extended(depth + 1, [*chosen, candidate], tried, other, invariants)
                if whole is not None:
                    return whole
        return None

    def _on_subgroup(
        self, depth: int, chosen: list[int], image: Int[np.ndarray, "order"], other: FiniteGroup
    ) -> Int[np.ndarray, "order"] | None:
        """The map on the next subgroup of the chain, if it is an injective homomorphism there."""
        table, extended = other.array, image.copy()
        for element, earlier, number in self.words[depth]:
            extended[element] = table[extended[earlier], chosen[number]]
        members = self.members[depth]
        if len(np.unique(extended[members])) < len(members):
            return None
        for generator, target in zip(self.generators, chosen, strict=False):
            products = self.group.array[members, generator]
            if (extended[products] != table[extended[members], target]).any():
                return None
        return extended


def _conjugates(group: FiniteGroup, element: int) -> Int[np.ndarray, "order"]:
    """g·x·g⁻¹ for every g."""
    every = np.arange(group.order)
    return group.array[group.array[every, element], group.inverse_array]
