"""Relabelled groups and exact values that serve as controls of hypotheses."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from coset_circuits.experiments.partitions import canonical
from coset_circuits.groups import FiniteGroup

SMALL = 24
"""In larger groups a random order of the elements preserves a partition into cosets less than once
in ten thousand times, so this is not checked."""


def relabelled_group(group: FiniteGroup, seed: int = 0) -> FiniteGroup | None:
    """The group with randomly renamed elements, which destroys its structure.

    None if no renaming does, as for groups of order below 4 and C2×C2; see :func:`random_names`.
    """
    names = random_names(group, np.random.default_rng(seed))
    return None if names is None else group.relabelled(names)


def random_names(
    group: FiniteGroup, rng: np.random.Generator, tries: int = 200
) -> Int[np.ndarray, "order"] | None:
    """A random permutation of the elements that maps cosets to other sets; None if there is none.

    Maps that respect the product up to translation (automorphisms and anti-automorphisms followed
    by a shift) are redrawn. So are maps that send all cosets of some subgroup to cosets: keeping
    the cosets of D4's centre, for example, would keep its irrep of dimension 2. If every draw keeps
    some cosets, as in S3, the first that keeps the fewest is used.
    """
    partitions = _coset_partitions(group) if group.order <= SMALL else None
    drawn = []
    for _ in range(tries):
        permutation = rng.permutation(group.order)
        if keeps_structure(group, permutation):
            continue
        kept = 0 if partitions is None else _cosets_kept(partitions, permutation)
        if not kept:
            return permutation
        drawn.append((kept, permutation))
    return min(drawn, key=lambda one: one[0])[1] if drawn else None


def _coset_partitions(group: FiniteGroup) -> Int[Tensor, "order partitions"] | None:
    """Every partition into right or left cosets, once; None if there is no proper subgroup."""
    labels = [
        cosets
        for subgroup in group.subgroups
        if 1 < subgroup.order < group.order
        for cosets in (subgroup.right_cosets, subgroup.left_cosets)
    ]
    if not labels:
        return None
    return torch.unique(canonical(torch.stack(labels, 1)), dim=1)


def _cosets_kept(partitions: Int[Tensor, "order partitions"], permutation: np.ndarray) -> int:
    both = torch.cat([partitions, canonical(partitions[torch.from_numpy(permutation)])], 1)
    return both.shape[1] - torch.unique(both, dim=1).shape[1]


def keeps_structure(group: FiniteGroup, permutation: np.ndarray) -> bool:
    """Whether a relabelling is an automorphism or anti-automorphism up to translation."""
    table = group.array
    shift = group.inverse_array[permutation[group.identity]]
    moved = table[shift, permutation]
    images = moved[table]
    products = table[np.ix_(moved, moved)]
    return bool((images == products).all() or (images == products.T).all())


def commuting_fraction(group: FiniteGroup) -> float:
    """Share of pairs with ab = ba: the number of conjugacy classes over the order.

    *Any* network that is right everywhere has this accuracy after its inputs are swapped.
    """
    return len(group.conjugacy_classes) / group.order
