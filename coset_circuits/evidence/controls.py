"""The measurements where a hypothesis should fail."""

from __future__ import annotations

import numpy as np

from coset_circuits.groups import FiniteGroup


def relabelled_group(group: FiniteGroup, seed: int = 0, tries: int = 200) -> FiniteGroup | None:
    """The group under random names that keep none of its structure, or None where there are none.

    Maps that respect the product up to translation (automorphisms and anti-automorphisms followed
    by a shift) are redrawn: under them cosets stay cosets. Groups of order below 4 and C2×C2 have
    no others.
    """
    rng = np.random.default_rng(seed)
    for _ in range(tries):
        permutation = rng.permutation(group.order)
        if not keeps_structure(group, permutation):
            return group.relabelled(permutation)
    return None


def keeps_structure(group: FiniteGroup, permutation: np.ndarray) -> bool:
    """Whether a relabelling is an automorphism or anti-automorphism up to translation."""
    table = group.array
    shift = group.inverse_array[permutation[group.identity]]
    moved = table[shift, permutation]
    images = moved[table]
    products = table[np.ix_(moved, moved)]
    return bool((images == products).all() or (images == products.T).all())


def commuting_fraction(group: FiniteGroup) -> float:
    """Share of pairs with ab = ba, the number of conjugacy classes over the order.

    It is the accuracy after swapping the inputs of *any* network that is right everywhere.
    """
    return len(group.conjugacy_classes) / group.order
