"""Finite groups as arrays: elements are ``0..order-1``, ``table[a, b]`` is ``a·b``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from coset_circuits.errors import CosetCircuitsError, brief, text

# Functions that build the irreps, real blocks and subgroups of a group. Their modules import this
# one, so the package's __init__ registers them here instead of this module importing them.
_builders: dict[str, Callable[..., Any]] = {}


def build_with(**builders: Callable[..., Any]) -> None:
    """Register the functions that build a group's ``irreps``, ``real_blocks`` and so on.

    ``as_named`` takes a table that has the name of a group of the library, and returns it with
    that group's names for elements, subgroups and irreps.
    """
    _builders.update(builders)


class FiniteGroup:
    """A finite group given by its Cayley table.

    Build one with :func:`coset_circuits.group`, a family such as
    :func:`coset_circuits.groups.symmetric`, or :meth:`from_table`.

    Attributes:
        name: the group's name in reports, such as ``"S5"``.
        labels: a readable name for each element, such as ``"(1 2)(3 4)"``.
        permutations: one-line notation of each element (``(σ·τ)(i) = σ(τ(i))``) if the
            group was made from permutations, else None.
        identity: the index of the neutral element.
        origin: for a relabelled group, the group it was made from and where each element went.

    A family passes ``irreps``, a function that gives its irreps in closed form.
    """

    def __init__(
        self,
        table: np.ndarray,
        name: str,
        labels: Sequence[str] | None = None,
        permutations: np.ndarray | None = None,
        origin: tuple[FiniteGroup, np.ndarray] | None = None,
        irreps: Callable[[FiniteGroup], tuple[Irrep, ...]] | None = None,
    ) -> None:
        self.name = text("name", name)
        self.array = np.ascontiguousarray(table, dtype=np.int64)
        self.array.setflags(write=False)
        given = range(len(table)) if labels is None else labels
        self.labels = tuple(text("label", label) for label in given)
        self.permutations = permutations
        self.origin = origin
        self._build_irreps = irreps
        rows = np.flatnonzero((self.array == np.arange(len(table))).all(axis=1))
        self.identity = int(rows[0])

    @classmethod
    def from_table(
        cls,
        table: Int[Tensor, "order order"] | np.ndarray | Sequence[Sequence[int]],
        name: str = "group",
        labels: Sequence[str] | None = None,
    ) -> FiniteGroup:
        """Build a group from a Cayley table, after checking every axiom.

        Closure, identity and inverses are read off the table. Associativity is checked by Light's
        test: ``(a·s)·b = a·(s·b)`` for all a, b and for s in a generating set only.

        If ``name`` is the name of a group of the library, such as ``"S4"``, the elements,
        subgroups and irreps get the library's names; the table's numbering is kept.

        Args:
            name: the group's name.
            labels: a name for each element.

        Raises:
            CosetCircuitsError: the table is not a group (the message names the failing elements),
                or ``name`` is a group of the library that the table is not isomorphic to.
        """
        checked = check_table(table)
        if labels is not None and len(labels) != len(checked):
            raise CosetCircuitsError(
                f"{len(labels)} labels were given for a group of order {len(checked)}; "
                "give one label for each element, or none."
            )
        return _builders["as_named"](cls(checked, name, labels), labels is None)

    @property
    def order(self) -> int:
        """The number of elements."""
        return len(self.array)

    @cached_property
    def table(self) -> Int[Tensor, "order order"]:
        """The Cayley table: ``table[a, b]`` is ``a·b``."""
        return _tensor(self.array)

    @cached_property
    def inverse_array(self) -> np.ndarray:
        """``inverse_array[a]`` is ``a⁻¹`` (NumPy)."""
        return np.argmax(self.array == self.identity, axis=1)

    @cached_property
    def inverses(self) -> Int[Tensor, "order"]:
        """``inverses[a]`` is ``a⁻¹``."""
        return _tensor(self.inverse_array)

    @cached_property
    def is_abelian(self) -> bool:
        return bool((self.array == self.array.T).all())

    @cached_property
    def element_orders(self) -> np.ndarray:
        """The order of each element."""
        orders = np.ones(self.order, dtype=np.int64)
        power = np.arange(self.order)
        alive = power != self.identity
        while alive.any():
            orders[alive] += 1
            power = self.array[power, np.arange(self.order)]
            alive &= power != self.identity
        return orders

    @cached_property
    def class_labels(self) -> np.ndarray:
        """The conjugacy class of each element, numbered by first appearance."""
        labels = np.full(self.order, -1)
        number = 0
        for g in range(self.order):
            if labels[g] < 0:
                labels[self.array[self.array[:, g], self.inverse_array]] = number
                number += 1
        return labels

    @cached_property
    def conjugacy_classes(self) -> tuple[np.ndarray, ...]:
        """The conjugacy classes as sorted arrays of elements."""
        return tuple(
            np.flatnonzero(self.class_labels == c) for c in range(self.class_labels.max() + 1)
        )

    @cached_property
    def generators(self) -> tuple[int, ...]:
        """A small generating set, found greedily."""
        return tuple(_generators(self.array, self.identity))

    @cached_property
    def subgroups(self) -> tuple[Subgroup, ...]:
        """Every subgroup, class by class, from the trivial one to the group itself."""
        return tuple(h for c in self.subgroup_classes for h in c.conjugates)

    @cached_property
    def subgroup_classes(self) -> tuple[SubgroupClass, ...]:
        """The subgroups up to conjugacy, by rising order."""
        return _builders["subgroup_classes"](self)

    @cached_property
    def irreps(self) -> tuple[Irrep, ...]:
        """The irreducible representations over the *complex* numbers, the trivial one first.

        Their squared dimensions add up to the order. Networks are projected on the
        :attr:`real_blocks` instead. Families have closed-form irreps, and a relabelled group takes
        over the irreps of the original. For any other group they are computed by numerical
        decomposition of its table.

        Raises:
            CosetCircuitsError: the numerical decomposition failed, or would be too large.
        """
        if self.origin is not None:
            base, forward = self.origin
            return tuple(rho.carried(self, np.argsort(forward)) for rho in base.irreps)
        if self._build_irreps is not None:
            return self._build_irreps(self)
        return _builders["irreps"](self)

    @cached_property
    def real_blocks(self) -> tuple[RealBlock, ...]:
        """The irreducible *real* representations; a complex pair ρ, ρ̄ makes one block.

        The real functions on the group are the orthogonal sum of the blocks' function spaces.
        """
        return _builders["real_blocks"](self.irreps)

    def pairs(self) -> Int[Tensor, "pairs 2"]:
        """Every pair (a, b), row-major: row ``a * order + b`` is (a, b)."""
        grid = torch.arange(self.order)
        return torch.cartesian_prod(grid, grid)

    def products(self, pairs: Int[Tensor, "batch 2"]) -> Int[Tensor, "batch"]:
        """The label of each pair: ``a·b``."""
        return self.table.to(pairs.device)[pairs[:, 0], pairs[:, 1]]

    def permutation(self, given: Any) -> Int[np.ndarray, "order"]:
        """A list, array or tensor with the number of each element once.

        Raises:
            CosetCircuitsError: it is something else.
        """
        with suppress(TypeError, ValueError, RuntimeError, OverflowError):
            forward = np.asarray(given)
            if forward.dtype.kind in "iu" and forward.shape == (self.order,):
                forward = forward.astype(np.int64)
                if np.array_equal(np.sort(forward), np.arange(self.order)):
                    return forward
        raise CosetCircuitsError(
            f"{brief(given)} is not a permutation of 0..{self.order - 1}; give each element once."
        )

    def closure(self, elements: Iterable[int]) -> np.ndarray:
        """The subgroup generated by some elements, as a sorted array."""
        return np.flatnonzero(_closure(self.array, self.identity, list(elements)))

    def relabelled(self, permutation: np.ndarray | Int[Tensor, "order"]) -> FiniteGroup:
        """The same group with renumbered elements: element a becomes ``permutation[a]``.

        This isomorphic copy with another Cayley table is the relabelled-group control.
        """
        forward = self.permutation(permutation)
        table = np.empty_like(self.array)
        table[np.ix_(forward, forward)] = forward[self.array]
        backward = np.argsort(forward)
        labels = [self.labels[i] for i in backward]
        images = None if self.permutations is None else self.permutations[backward]
        name = f"{self.name} (relabelled)"
        return FiniteGroup(table, name, labels, images, origin=(self, forward))

    def __getstate__(self) -> dict[str, Any]:
        """The state that is pickled, without anything that can be recomputed."""
        computed = {
            name for name in vars(self) if isinstance(vars(FiniteGroup).get(name), cached_property)
        }
        return {name: value for name, value in vars(self).items() if name not in computed}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FiniteGroup) and np.array_equal(self.array, other.array)

    def __hash__(self) -> int:
        return hash(self.array.tobytes())

    def __repr__(self) -> str:
        kind = "abelian" if self.is_abelian else "non-abelian"
        return f"FiniteGroup({self.name}: order {self.order}, {kind})"


def _tensor(array: np.ndarray) -> Tensor:
    # The tensor is cached; made in inference mode, it would break a later backward pass.
    with torch.inference_mode(False):
        return torch.from_numpy(array.copy())


def check_table(
    table: Int[Tensor, "order order"] | np.ndarray | Sequence[Sequence[int]],
) -> np.ndarray:
    """Check a Cayley table and return it as an integer array; errors name the failing axiom."""
    try:
        given = table.detach().cpu().numpy() if isinstance(table, Tensor) else np.array(table)
    except (ValueError, TypeError, RuntimeError) as error:
        raise CosetCircuitsError(
            "The Cayley table cannot be read as an array: its rows have different lengths or its "
            "type is not supported; give order × order integers."
        ) from error
    if given.ndim != 2 or given.shape[0] != given.shape[1] or given.shape[0] == 0:
        raise CosetCircuitsError(
            f"The Cayley table has shape {given.shape}; give a square table of order × order."
        )
    if given.dtype.kind not in "iu":
        raise CosetCircuitsError(
            f"The Cayley table holds {given.dtype} values; give integers, elements 0..order-1."
        )
    array = given.astype(np.int64)
    order = len(array)
    outside = np.argwhere((array < 0) | (array >= order))
    if len(outside):
        a, b = map(int, outside[0])
        raise CosetCircuitsError(
            f"The Cayley table is not closed: {a}·{b} = {array[a, b]} is not one of 0..{order - 1}."
        )
    grid = np.arange(order)
    identities = np.flatnonzero((array == grid).all(1) & (array == grid[:, None]).all(0))
    if not len(identities):
        raise CosetCircuitsError(
            "The Cayley table has no identity: no row and column both repeat 0..order-1."
        )
    identity = int(identities[0])
    for a, row in enumerate(array):
        inverses = np.flatnonzero(row == identity)
        if not any(array[b, a] == identity for b in inverses):
            raise CosetCircuitsError(
                f"The Cayley table gives element {a} no inverse: no b has {a}·b = b·{a} = "
                f"{identity}, the identity."
            )
    for s in _generators(array, identity):
        failing = np.argwhere(array[array[:, s]] != array[:, array[s]])
        if len(failing):
            a, b = map(int, failing[0])
            raise CosetCircuitsError(
                f"The Cayley table is not associative: ({a}·{s})·{b} = {array[array[a, s], b]} "
                f"but {a}·({s}·{b}) = {array[a, array[s, b]]}."
            )
    return array


def _closure(table: np.ndarray, identity: int, generators: Sequence[int]) -> np.ndarray:
    member = np.zeros(len(table), dtype=bool)
    member[identity] = True
    frontier = np.array([identity])
    while len(frontier):
        reached = (
            np.unique(table[np.ix_(frontier, np.array(generators))])
            if len(generators)
            else frontier
        )
        frontier = reached[~member[reached]]
        member[frontier] = True
    return member


def _generators(table: np.ndarray, identity: int) -> list[int]:
    generators: list[int] = []
    member = _closure(table, identity, generators)
    while not member.all():
        generators.append(int(np.flatnonzero(~member)[0]))
        member = _closure(table, identity, generators)
    return generators
