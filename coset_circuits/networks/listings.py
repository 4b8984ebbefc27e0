"""Named orders in which published code lists a group's elements."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
from jaxtyping import Int

from coset_circuits.groups import FiniteGroup
from coset_circuits.groups import group as named_group
from coset_circuits.groups.names import factors, is_named
from coset_circuits.groups.permutations import parity

Listing = Int[np.ndarray, "order"]


def listings(group: FiniteGroup) -> dict[str, Listing]:
    """For every named order: the library's number of each element in that order."""
    family = re.fullmatch(r"([A-Z][a-z]*)\d+", group.name)
    if group.permutations is not None and family and family[1] in ("S", "A"):
        index = {tuple(p): i for i, p in enumerate(group.permutations.tolist())}
        return {name: np.array([index[p] for p in listed]) for name, listed in _permutations(group)}
    if family and family[1] in ("D", "Dic", "Q"):
        return _two_halves(group.order // 2)
    factors = _factors(group)
    return _products(factors) if factors else {"native": np.arange(group.order)}


def _permutations(group: FiniteGroup) -> Iterator[tuple[str, list[tuple[int, ...]]]]:
    assert group.permutations is not None
    lexicographic = sorted(map(tuple, group.permutations.tolist()))
    yield "sympy", _sympy(group)
    # Stander et al.
    yield "parity", sorted(lexicographic, key=lambda p: (parity(p), p))
    yield "lexicographic", lexicographic
    yield "colexicographic", sorted(lexicographic, key=lambda p: p[::-1])
    members = set(lexicographic)
    yield "heap", [p for p in _heap(group.permutations.shape[1]) if p in members]


def _sympy(group: FiniteGroup) -> list[tuple[int, ...]]:
    """SymPy's ``generate()``, from the generators that Chughtai et al. gave it."""
    from sympy.combinatorics import Permutation, PermutationGroup
    from sympy.combinatorics.named_groups import AlternatingGroup, SymmetricGroup

    degree = group.permutations.shape[1]  # type: ignore[union-attr]
    if group.name == "A5":
        listed = PermutationGroup(Permutation(0, 1, 2, 3, 4), Permutation(1, 2)(3, 4))
    else:
        listed = (SymmetricGroup if group.name.startswith("S") else AlternatingGroup)(degree)
    return [tuple(p) for p in listed.generate(af=True)]  # type: ignore[arg-type]


def _heap(degree: int) -> Iterator[tuple[int, ...]]:
    """Heap's algorithm (1963): each permutation differs from the last by one exchange."""
    now, done = list(range(degree)), [0] * degree
    yield tuple(now)
    place = 1
    while place < degree:
        if done[place] == place:
            done[place] = 0
            place += 1
            continue
        other = done[place] if place % 2 else 0
        now[place], now[other] = now[other], now[place]
        yield tuple(now)
        done[place] += 1
        place = 1


def _two_halves(half: int) -> dict[str, Listing]:
    """Rotations r^i and reflections r^i·s or s·r^i, one half after the other or interleaved.

    For dicyclic groups they are a^i and a^i·x. Stander et al. use r^0, r^0·s, r^1, r^1·s, ….
    """
    rotations = np.arange(half)
    after = half + rotations
    before = half + -rotations % half
    return {
        "native": np.concatenate([rotations, after]),
        "interleaved": np.stack([rotations, after], 1).ravel(),
        "reflection-first": np.concatenate([rotations, before]),
        "interleaved-reflection-first": np.stack([rotations, before], 1).ravel(),
    }


def _factors(group: FiniteGroup) -> list[FiniteGroup]:
    """The factors of a direct product of named groups; none for any other group."""
    parts = [named_group(part) for part in factors(group.name)] if is_named(group) else []
    return parts if len(parts) > 1 else []


def _products(factors: list[FiniteGroup]) -> dict[str, Listing]:
    """Tuples with each factor in the order of the same name, or in the library's order."""
    of_factors = [listings(factor) for factor in factors]
    shape = [factor.order for factor in factors]
    found = {}
    for name in dict.fromkeys(["native", *(name for listed in of_factors for name in listed)]):
        rows = [listed.get(name, np.arange(n)) for listed, n in zip(of_factors, shape, strict=True)]
        grid = np.ravel_multi_index(np.meshgrid(*rows, indexing="ij"), shape)
        found[name] = grid.ravel()
        found[f"{name}-first-fastest"] = grid.ravel(order="F")
    return found
