"""Homomorphisms between groups, and the ways in which one group can act on another."""

from __future__ import annotations

from itertools import product
from math import prod

import numpy as np
from jaxtyping import Int

from coset_circuits.errors import CosetCircuitsError
from coset_circuits.groups.families import LARGEST_ORDER, from_images
from coset_circuits.groups.group import FiniteGroup

_MOST_NUMBERS = 20_000_000  # held at once, 8 bytes each


def homomorphisms(source: FiniteGroup, target: FiniteGroup) -> Int[np.ndarray, "maps order"]:
    """Every homomorphism between two groups, one per row: element i goes to ``row[i]``.

    Raises:
        CosetCircuitsError: there are too many images of the generators to try.
    """
    generators = source.generators
    candidates = [
        np.flatnonzero(source.element_orders[g] % target.element_orders == 0) for g in generators
    ]
    if prod(map(len, candidates)) * source.order > _MOST_NUMBERS:
        raise CosetCircuitsError(
            f"There are too many maps from {source.name} to {target.name} to try all; build "
            "the group with from_generators, or with semidirect_product and the action you mean."
        )
    images = np.array(list(product(*candidates)), dtype=np.int64)
    maps = np.full((len(images), source.order), target.identity)
    reached = {source.identity}
    frontier = [source.identity]
    for x in frontier:
        for number, g in enumerate(generators):
            y = int(source.array[x, g])
            if y not in reached:
                maps[:, y] = target.array[maps[:, x], images[:, number]]
                reached.add(y)
                frontier.append(y)
    for number, g in enumerate(generators):
        products = target.array[maps, images[:, number, None]]
        holds = (maps[:, source.array[:, g]] == products).all(axis=1)
        maps, images = maps[holds], images[holds]
    return maps


def automorphisms(group: FiniteGroup) -> FiniteGroup:
    """Aut(G), as permutations of G's elements.

    Raises:
        CosetCircuitsError: there are more than 5,040, or too many maps to try.
    """
    maps = homomorphisms(group, group)
    maps = maps[(np.sort(maps, axis=1) == np.arange(group.order)).all(axis=1)]
    if len(maps) > LARGEST_ORDER:
        raise CosetCircuitsError(
            f"{group.name} has {len(maps):,} automorphisms; up to {LARGEST_ORDER:,} are searched "
            "for actions. Give the action you mean to semidirect_product."
        )
    return from_images(maps, f"Aut({group.name})")


def actions(normal: FiniteGroup, acting: FiniteGroup) -> list[Int[np.ndarray, "acting normal"]]:
    """Every non-trivial action of H on N by automorphisms, up to automorphisms of both.

    Each has the form that :func:`semidirect_product` takes: ``action[h][n]`` is h(n). Actions with
    the smallest kernels come first.
    """
    moving = automorphisms(normal)
    assert moving.permutations is not None
    every = np.arange(moving.order)[:, None]
    conjugated = moving.array[moving.array, moving.inverse_array[:, None]]  # [a, x] is a·x·a⁻¹
    renamings = automorphisms(acting).permutations
    assert renamings is not None
    seen: set[bytes] = set()
    found = []
    for row in homomorphisms(acting, moving):
        if row.tobytes() not in seen:
            found.append(moving.permutations[row])
            for renaming in renamings:
                seen |= {same.tobytes() for same in conjugated[every, row[renaming]]}
    found.sort(key=kernel_order)
    return [action for action in found if kernel_order(action) < acting.order]


def kernel_order(action: Int[np.ndarray, "acting normal"]) -> int:
    """How many elements of H fix all of N; 1 for a faithful action."""
    return int((action == np.arange(action.shape[1])).all(axis=1).sum())
