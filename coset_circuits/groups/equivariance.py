"""Translations of functions on a group: translate, average over cosets, and orbits of vectors.

A pair (a, b) moves a function to ((a, b)·f)(g) = f(a⁻¹ g b). A function that every (h, k) in H×K
leaves unchanged is constant on the double cosets HgK. Coset circuits read and write such functions
(Stander et al., ICML 2024, section 5).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Complex, Float, Int, Shaped
from torch import Tensor

from coset_circuits.errors import CosetCircuitsError
from coset_circuits.groups.fourier import check_rows
from coset_circuits.groups.group import FiniteGroup
from coset_circuits.groups.irreps import Irrep, RealBlock
from coset_circuits.groups.subgroups import Subgroup, double_cosets

# The largest relative error of ρ(s)ρ(g)v against ρ(sg)v that rounding can cause.
ROUNDING = 1e-8


def translate(
    group: FiniteGroup,
    functions: Shaped[Tensor, "order ..."],
    *,
    left: int | None = None,
    right: int | None = None,
) -> Shaped[Tensor, "order ..."]:
    """Translate functions (or labels) by a on the left and b on the right: g ↦ f(a⁻¹ g b).

    Translating by (c, d) and then by (a, b) is translating by (ac, bd). Both default to the
    identity.

    Raises:
        CosetCircuitsError: the functions do not have one row for each element, or a or b is not
            an element of the group.
    """
    check_rows(functions, group.order, group.name)
    for element in (left, right):
        if element is not None and not 0 <= element < group.order:
            raise CosetCircuitsError(
                f"{group.name} has no element {element}; give one of 0..{group.order - 1}."
            )
    source = np.arange(group.order)
    if left is not None:
        source = group.array[group.inverse_array[left]]
    if right is not None:
        source = group.array[source, right]
    return functions[torch.from_numpy(source.astype(np.int64)).to(functions.device)]


def average_over(
    group: FiniteGroup,
    functions: Float[Tensor, "order ..."],
    *,
    left: Subgroup | None = None,
    right: Subgroup | None = None,
) -> Float[Tensor, "order ..."]:
    """The mean of f(hgk) over h in H (on the left) and k in K (on the right).

    This is the mean over the double coset HgK. With H alone it is the mean over the right coset
    Hg, with K alone over the left coset gK. It projects orthogonally onto the functions that are
    constant on those cosets.

    Raises:
        CosetCircuitsError: neither H nor K was given, a subgroup is of another group, the
            functions do not have one row for each element, or their values are neither real nor
            complex numbers.
    """
    check_rows(functions, group.order, group.name)
    if not (functions.is_floating_point() or functions.is_complex()):
        raise CosetCircuitsError(
            f"The functions hold {functions.dtype}, which has no means; give functions.double()."
        )
    labels = _coset_labels(group, left, right).to(functions.device)
    sizes = labels.bincount()
    sums = functions.new_zeros(len(sizes), *functions.shape[1:]).index_add(0, labels, functions)
    means = sums / sizes.reshape(-1, *[1] * (functions.ndim - 1))
    return means[labels]


@dataclass(frozen=True)
class Orbit:
    """The distinct images of a vector under an irrep, a ρ-set (Wu et al., arXiv 2410.07476).

    Attributes:
        points: the images, numbered by first appearance, in double precision.
        labels: for each g, the number of the point ρ(g)v. Equal labels are the left cosets of the
            stabiliser.
        stabiliser: the elements that fix v.
    """

    points: Float[Tensor, "points dimension"] | Complex[Tensor, "points dimension"]
    labels: Int[Tensor, "order"]
    stabiliser: Subgroup


def orbit(
    group: FiniteGroup,
    irrep: Irrep | RealBlock,
    vector: Float[Tensor, "dimension"] | Complex[Tensor, "dimension"],
    *,
    tolerance: float = 1e-6,
) -> Orbit:
    """Every image ρ(g)v of a vector, and which elements share one.

    There are as many points as the stabiliser has left cosets. Two images count as the same point
    when their distance is less than ``tolerance``·‖v‖.

    Raises:
        CosetCircuitsError: the vector has another length than ρ's or is not finite; ρ is not an
            irrep of this group; or the elements that move v by less than the tolerance are not a
            subgroup.
    """
    matrices = irrep.matrices
    if vector.shape != matrices.shape[1:2]:
        raise CosetCircuitsError(
            f"The vector has shape {tuple(vector.shape)}, but {irrep.name} acts on "
            f"{matrices.shape[1]} coordinates; give one number for each coordinate."
        )
    dtype = torch.promote_types(matrices.dtype, vector.dtype)
    matrices, v = matrices.to(dtype), vector.detach().cpu().to(dtype)
    if not v.isfinite().all():
        raise CosetCircuitsError("The vector has entries that are not finite; give finite numbers.")
    images = matrices @ v
    _check_action(group, irrep.name, matrices, images)
    moved = (images - v).norm(dim=1)
    fixing = np.flatnonzero((moved <= tolerance * v.norm()).numpy())
    stabiliser = _stabiliser(group, fixing, tolerance)
    labels = stabiliser.left_cosets
    first = np.unique(labels.numpy(), return_index=True)[1]
    return Orbit(images[torch.from_numpy(first)], labels, stabiliser)


def _coset_labels(
    group: FiniteGroup, left: Subgroup | None, right: Subgroup | None
) -> Int[Tensor, "order"]:
    for subgroup in (left, right):
        if subgroup is not None and subgroup.group is not group and subgroup.group != group:
            raise CosetCircuitsError(
                f"The subgroup {subgroup.name} is in {subgroup.group.name}, but the functions "
                f"are on {group.name}; give a subgroup of {group.name}."
            )
    if left is not None:
        return left.right_cosets if right is None else double_cosets(left, right)
    if right is not None:
        return right.left_cosets
    raise CosetCircuitsError(
        "No subgroup was given to average over; give left=H for the right cosets Hg, right=K for "
        "the left cosets gK, or both for the double cosets HgK."
    )


def _check_action(group: FiniteGroup, name: str, matrices: Tensor, images: Tensor) -> None:
    """Check ρ(s)ρ(g)v = ρ(sg)v for generators s; nothing else about ρ is used."""
    fits = len(matrices) == group.order
    for s in group.generators if fits else ():
        source = torch.from_numpy(group.array[s].astype(np.int64))
        gaps = (images @ matrices[s].T - images[source]).norm(dim=1)
        fits &= bool((gaps <= ROUNDING * images.norm(dim=1)).all())
    if not fits:
        raise CosetCircuitsError(
            f"{name} is not an irrep of {group.name}: its matrices do not multiply as the elements "
            f"do; give one of {group.name}'s irreps or real_blocks."
        )


def _stabiliser(group: FiniteGroup, fixing: np.ndarray, tolerance: float) -> Subgroup:
    try:
        found = Subgroup(group, fixing.tolist())
    except CosetCircuitsError as error:
        raise CosetCircuitsError(
            f"The {len(fixing)} elements that move the vector by less than {tolerance} of its "
            "length are not a subgroup, so it is only nearly symmetric; give another tolerance."
        ) from error
    return Subgroup.generated(group, found.generators)
