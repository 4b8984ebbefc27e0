"""The families of groups that can be named in a word: ``group("S5")``, ``group("D59")``, …"""

from __future__ import annotations

import re
from functools import cache
from itertools import permutations

import numpy as np

from coset_circuits.errors import CosetCircuitsError
from coset_circuits.groups.group import FiniteGroup

LARGEST_ORDER = 5040


def symmetric(degree: int) -> FiniteGroup:
    """S_n: all permutations of n points in lexicographic one-line order, ``(σ·τ)(i) = σ(τ(i))``."""
    return from_permutations(list(permutations(range(degree))), f"S{degree}")


def alternating(degree: int) -> FiniteGroup:
    """A_n: the even permutations of n points in lexicographic one-line order."""
    even = [p for p in permutations(range(degree)) if parity(p) == 0]
    return from_permutations(even, f"A{degree}")


def cyclic(order: int) -> FiniteGroup:
    """C_n: addition modulo n."""
    grid = np.arange(order)
    return FiniteGroup((grid[:, None] + grid) % order, f"C{order}")


def dihedral(sides: int) -> FiniteGroup:
    """D_n, the 2n symmetries of an n-gon: rotation r^i is element i, reflection r^i s is n + i.

    In coordinates (i, s)·(j, t) = (i + (−1)^s j, s + t).
    """
    rotation = np.tile(np.arange(sides), 2)
    flip = np.repeat([0, 1], sides)
    sign = 1 - 2 * flip
    table = (rotation[:, None] + sign[:, None] * rotation) % sides
    table += sides * ((flip[:, None] + flip) % 2)
    labels = [f"r{i}" for i in range(sides)] + [f"r{i}s" for i in range(sides)]
    return FiniteGroup(table, f"D{sides}", labels)


def from_permutations(elements: list[tuple[int, ...]], name: str) -> FiniteGroup:
    """The group on a list of permutations that is closed under composition, in the list's order."""
    images = np.array(elements, dtype=np.int64).reshape(len(elements), -1)
    degree = images.shape[1]
    weights = (degree + 1) ** np.arange(degree)[::-1]
    codes = images @ weights
    rank = np.argsort(codes)
    table = np.empty((len(elements), len(elements)), dtype=np.int64)
    for a, image in enumerate(images):
        table[a] = rank[np.searchsorted(codes[rank], image[images] @ weights)]
    return FiniteGroup(table, name, [cycle_notation(p) for p in elements], images)


def parity(permutation: tuple[int, ...]) -> int:
    """0 for an even permutation, 1 for an odd one."""
    return (len(permutation) - len(_cycles(permutation))) % 2


def cycle_notation(permutation: tuple[int, ...]) -> str:
    """Disjoint cycles on the points 1..n, such as ``"(1 2)(3 4)"``; ``"e"`` for the identity."""
    moved = [c for c in _cycles(permutation) if len(c) > 1]
    return "".join("(" + " ".join(str(i + 1) for i in c) + ")" for c in moved) or "e"


def _cycles(permutation: tuple[int, ...]) -> list[list[int]]:
    seen: set[int] = set()
    cycles = []
    for start in range(len(permutation)):
        if start in seen:
            continue
        cycle = [start]
        while permutation[cycle[-1]] != start:
            cycle.append(permutation[cycle[-1]])
        seen.update(cycle)
        cycles.append(cycle)
    return cycles


_FAMILIES = {
    "S": (symmetric, range(1, 8), "S1 to S7 (symmetric)"),
    "A": (alternating, range(1, 8), "A1 to A7 (alternating)"),
    "C": (cyclic, range(1, LARGEST_ORDER + 1), f"C1 to C{LARGEST_ORDER} (cyclic)"),
    "D": (
        dihedral,
        range(1, LARGEST_ORDER // 2 + 1),
        f"D1 to D{LARGEST_ORDER // 2} (dihedral, D_n of order 2n)",
    ),
}


@cache
def group(text: str) -> FiniteGroup:
    """The group that a word names: ``"S5"``, ``"A5"``, ``"C113"``, ``"D59"``.

    Raises:
        CosetCircuitsError: the word is not understood; the sentence lists what is.
    """
    match = re.fullmatch(r"([SACD])_?([0-9]{1,5})", text.strip())
    if match and int(match[2]) in _FAMILIES[match[1]][1]:
        return _FAMILIES[match[1]][0](int(match[2]))
    raise CosetCircuitsError(
        f"No group is called {text!r}; understood are "
        + ", ".join(words for _, _, words in _FAMILIES.values())
        + ". Any other group can be given by its Cayley table with FiniteGroup.from_table."
    )
