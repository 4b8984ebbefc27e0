"""Permutations in one-line notation on the points 0..n-1, and in cycles on the points 1..n."""

from __future__ import annotations

import re
from collections.abc import Sequence
from operator import index

import numpy as np

from coset_circuits.errors import CosetCircuitsError


def parity(permutation: Sequence[int]) -> int:
    """0 for an even permutation, 1 for an odd one."""
    return (len(permutation) - len(_cycles(permutation))) % 2


def cycle_notation(permutation: Sequence[int]) -> str:
    """Disjoint cycles on the points 1..n, such as ``"(1 2)(3 4)"``; ``"e"`` for the identity."""
    moved = [c for c in _cycles(permutation) if len(c) > 1]
    return "".join("(" + " ".join(str(i + 1) for i in c) + ")" for c in moved) or "e"


def as_images(permutations: Sequence[Sequence[int] | str]) -> np.ndarray:
    """Convert permutations to rows of one-line notation, all of the same degree.

    Each is either the images of 0..n-1 in order or, as text, disjoint cycles on 1..n.

    Raises:
        CosetCircuitsError: one of them is not a permutation.
    """
    rows = [_images(p) for p in permutations]
    degree = max((len(row) for row in rows), default=0)
    full = [[*row, *range(len(row), degree)] for row in rows]
    return np.array(full, dtype=np.int64).reshape(len(full), degree)


def _images(permutation: Sequence[int] | str) -> list[int]:
    if isinstance(permutation, str):
        return _read_cycles(permutation)
    try:
        # Not int(), which would accept 1.5 as 1.
        images = [index(i) for i in permutation]
    except TypeError:
        images = [-1]
    if sorted(images) != list(range(len(images))):
        raise CosetCircuitsError(
            f"{permutation!r} is not a permutation; give the images of 0..n-1, each once, such as "
            '[1, 2, 0], or disjoint cycles of the points 1..n as text, such as "(1 2 3)".'
        )
    return images


def _read_cycles(text: str) -> list[int]:
    if text.strip() in {"e", "()", ""}:
        return []
    if not re.fullmatch(r"(\s*\(\s*\d{1,4}([\s,]+\d{1,4})*\s*\))+\s*", text):
        raise CosetCircuitsError(
            f'{text!r} is not a product of cycles; write one such as "(1 2 3)(4 5)", with points '
            "from 1."
        )
    cycles = [[int(n) for n in re.findall(r"\d+", c)] for c in re.findall(r"\(([^)]*)\)", text)]
    points = [n for c in cycles for n in c]
    if min(points) < 1 or len(set(points)) < len(points):
        raise CosetCircuitsError(
            f"The cycles of {text!r} are not disjoint, or a point is 0; write each point once, "
            "counted from 1."
        )
    images = list(range(max(points)))
    for cycle in cycles:
        for here, there in zip(cycle, [*cycle[1:], cycle[0]], strict=True):
            images[here - 1] = there - 1
    return images


def _cycles(permutation: Sequence[int]) -> list[list[int]]:
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
