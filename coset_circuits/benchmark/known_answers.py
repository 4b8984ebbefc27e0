"""Networks built with a given algorithm, each with the verdict that is right for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from coset_circuits.algorithms import Tables
from coset_circuits.algorithms.blocks import block_shares
from coset_circuits.errors import CosetCircuitsError
from coset_circuits.experiments.controls import random_names
from coset_circuits.groups import FiniteGroup, SubgroupClass, spectrum
from coset_circuits.groups import group as named_group
from coset_circuits.networks import GroupMLP, planted_coset, planted_gcr
from coset_circuits.networks.planted import is_faithful
from coset_circuits.networks.spoilt import joined, noisy, relabelled
from coset_circuits.training import train

COSET, IRREP, RHO_SET, MIXED = "coset", "irrep", "rho-set", "mixed"
BETWEEN = "coset-irrep"
NOTHING = "nothing"

PLANTED = ("coset circuit", "GCR", "cosets and GCR")
TRAINED = ("trained on cosets", "trained on irreps", "trained on ρ-sets", "trained on both")
NULLS = ("memorised", "untrained", "permuted labels", "permuted outputs", "trained, permuted")
NOISE = (0.02, 0.05, 0.1, 0.2, 0.5)
"""Standard deviations of the noise, relative to that of each neuron's tables and unembedding."""

AWAY = 0.02
"""In a network of only one algorithm, the other one leaves more than this share of the variance of
most neurons unexplained. It is twice the threshold for an explained neuron."""
LARGE = 60
"""Groups of at least this order get circuits with few conjugates, and a sample of pairs."""

_BASES = 20
"""The number of random bases tried for an irrep before the next larger irrep."""
_LEVELS = 1000
"""The number of random levels tried on cosets; no other class of subgroups could be tried."""


@dataclass(frozen=True)
class Case:
    """One kind of network; every seed gives a different one.

    Attributes:
        kind: one of :data:`PLANTED`, :data:`TRAINED` or :data:`NULLS`.
        put: the hypothesis it was built with, by its key in the registry, or :data:`NOTHING`.
        also: other hypotheses that are also true of it; a verdict may name them too.
        make: maps a seed to the network.
        noise: the size of the noise added to a planted network, if any.
        covers: the hypotheses that are run on it, by their keys in the registry.
    """

    name: str
    kind: str
    group: str
    put: str
    also: frozenset[str]
    make: Callable[[int], GroupMLP]
    noise: float | None = None
    covers: tuple[str, ...] = (COSET, IRREP, RHO_SET, BETWEEN, MIXED)

    def is_right(self, explained_by: Iterable[str]) -> bool:
        """Whether a verdict names the planted hypothesis and no false one."""
        named = set(explained_by)
        if self.put == NOTHING:
            return not named
        return self.put in named and named <= {self.put, *self.also}


def known_cases(groups: Iterable[str]) -> list[Case]:
    """All cases of some groups.

    Raises:
        CosetCircuitsError: no group was given, a name is not understood, or no coset circuit can
            multiply in a group.
    """
    return [case for group in named_groups(groups) for case in _cases(group)]


def named_groups(names: Iterable[str]) -> list[FiniteGroup]:
    """The groups with these names, each once; at least one."""
    groups = [named_group(name) for name in dict.fromkeys(names)]
    if not groups:
        raise CosetCircuitsError("No group was given; give at least one, such as S4.")
    return groups


def usable_classes(group: FiniteGroup) -> list[SubgroupClass]:
    """The classes of subgroups whose cosets give a circuit that multiplies.

    The conjugates of such a subgroup share only the identity.
    """
    return [
        subgroups
        for subgroups in group.subgroup_classes
        if subgroups.order > 1 and subgroups.representative.core.is_trivial
    ]


def irreps_suffice(subgroups: SubgroupClass) -> bool:
    """Whether the irrep hypothesis is true of cosets of this class as well.

    Functions on the cosets of H are combinations of matrix elements of the irreps in which H fixes
    a vector. The hypothesis allows a neuron as many functions as half the order of the group.
    """
    group = subgroups.representative.group
    shares = spectrum(subgroups.representative, real=True)
    functions = sum(block.parameters for block in group.real_blocks if shares.get(block.name))
    return functions <= group.order // 2


def numbers_saved(subgroups: SubgroupClass) -> int:
    """Free numbers per table that cosets save, compared with irreps of free rank.

    A function on the cosets of H has a coefficient matrix in each irrep ρ. Its columns are in the
    space that H fixes. Let this space have dimension k and the irrep dimension d, both over its
    division algebra. The matrix then has dk free numbers, while any matrix of rank k has k(2d − k).
    """
    subgroup = subgroups.representative
    saved = 0
    for block in subgroup.group.real_blocks:
        fixed = float(block.matrices[subgroup.array].mean(0).trace())
        k, d = round(fixed / block.dim_end), block.dimension // block.dim_end
        saved += block.dim_end * k * (d - k)
    return saved


def said_of_mixture(classes: Sequence[SubgroupClass]) -> tuple[str, tuple[str, ...]]:
    """The right answer, and what is also true, if half the neurons are on these cosets.

    Irreps describe the other half, and may describe this half too. A mixture saves half of
    :func:`numbers_saved` per neuron. The verdict names it only if it saves more than one number.
    """
    if all(irreps_suffice(c) or numbers_saved(c) <= 2 for c in classes):
        return IRREP, (BETWEEN, MIXED)
    return MIXED, (BETWEEN,)


def _cases(group: FiniteGroup) -> Iterator[Case]:
    classes = usable_classes(group)
    if not classes:
        raise CosetCircuitsError(
            f"In {group.name} no coset circuit multiplies: every subgroup's conjugates share more "
            "than the identity; choose another group, such as S4 or D4."
        )
    both_true = [subgroups for subgroups in classes if irreps_suffice(subgroups)]
    only_coset = [subgroups for subgroups in classes if subgroups not in both_true]
    yield from (_coset_case(subgroups) for subgroups in classes)
    # A subgroup of index 2 is the kernel of an irrep of dimension 1.
    half = next((c for c in group.subgroup_classes if c.index == 2), None)
    if half is not None and both_true:
        yield _coset_case(both_true[0], half, note=" (sign neurons)")
    square = _case(group, "GCR, x²", PLANTED[1], IRREP, partial(_gcr_circuit, group, "square"))
    relu = _case(group, "GCR, ReLU", PLANTED[1], IRREP, partial(_gcr_circuit, group, "relu"))
    yield from (square, relu)
    for subgroups in (*only_coset[:1], *both_true[:1]):
        put, also = said_of_mixture([subgroups])
        what = f"cosets of {subgroups.name} and GCR"
        yield _case(group, what, PLANTED[2], put, partial(_mixture, subgroups), also)
    to_disturb = dict.fromkeys([classes[-1], *only_coset[-1:]])
    yield from _with_noise([*map(_coset_case, to_disturb), relu])
    yield from _nulls(group, classes[-1])


def _case(
    group: FiniteGroup,
    what: str,
    kind: str,
    put: str,
    make: Callable[[int], GroupMLP],
    also: Iterable[str] = (),
) -> Case:
    return Case(f"{group.name}: {what}", kind, group.name, put, frozenset(also), make)


def _coset_case(*classes: SubgroupClass, note: str = "") -> Case:
    """A case with cosets of some classes; the first decides whether irreps are also true of it.

    They are where cosets save at most one number: then the verdict leaves the order open.
    """
    group = classes[0].representative.group
    also: tuple[str, ...] = ()
    if irreps_suffice(classes[0]):
        also = (IRREP, RHO_SET)
    elif numbers_saved(classes[0]) <= 1:
        also = (IRREP,)
    what = f"cosets of {' and '.join(c.name for c in classes)}{note}"
    return _case(group, what, PLANTED[0], COSET, partial(_coset_circuit, classes), also)


def _nulls(group: FiniteGroup, subgroups: SubgroupClass) -> Iterator[Case]:
    width = 4 * group.order if group.order < 16 else 64

    def memorised(seed: int) -> GroupMLP:
        network = train(group, seed, recipe="memorise", d_mlp=width, d_embed=width)
        assert isinstance(network, GroupMLP)
        return network

    def untrained(seed: int) -> GroupMLP:
        return GroupMLP.initialised(group, d_mlp=width, d_embed=width, seed=seed)

    yield _case(group, "memorised", "memorised", NOTHING, memorised)
    yield _case(group, "untrained", "untrained", NOTHING, untrained)
    for kind, inputs in (("permuted labels", True), ("permuted outputs", False)):
        what = f"cosets of {subgroups.name}, {kind}"
        yield _case(group, what, kind, NOTHING, partial(_permuted, subgroups, inputs))


def _with_noise(cases: Iterable[Case]) -> Iterator[Case]:
    def make(case: Case, size: float, seed: int) -> GroupMLP:
        return noisy(case.make(seed), size, seed=seed)

    for case in cases:
        for size in NOISE:
            name = f"{case.name}, noise {size:g}"
            yield replace(case, name=name, make=partial(make, case, size), noise=size)


def _planted(classes: Iterable[SubgroupClass], seed: int) -> GroupMLP:
    first, *more = classes
    group = first.representative.group
    # With many cosets the levels are closer together; a larger scale keeps the answers as clear.
    scale = max(3.0, max(c.index for c in (first, *more)) / 4)
    names = (c.name for c in more)
    return planted_coset(
        group, first.name, *names, seed=seed, scale=scale, few=group.order >= LARGE
    )


def _coset_circuit(classes: tuple[SubgroupClass, ...], seed: int) -> GroupMLP:
    """A coset circuit of which the irrep hypothesis is true exactly if irreps suffice.

    Some choices of levels need fewer irreps than most. On four cosets in D4, one in three orders of
    equally spaced levels needs only a single irrep.
    """
    found, group = classes[0], classes[0].representative.group
    has_right_label = _is_of_irreps if irreps_suffice(found) else _is_away_from_irreps
    for k in range(_LEVELS):
        network = _planted(classes, seed + 1000 * k)
        if has_right_label(network):
            return network
    raise CosetCircuitsError(
        f"All levels tried on the cosets of {found.name} in {group.name} need other irreps than "
        "most levels do, so it is not clear whether irreps are true of them; choose another "
        "group, such as S4 or D4."
    )


def _gcr_circuit(group: FiniteGroup, act_fn: Literal["square", "relu"], seed: int) -> GroupMLP:
    """GCR in a random basis that does not make it nearly a coset circuit too.

    For one in four bases of the plane, the rotations and reflections of D4 are constant on cosets
    up to 1% of their variance, and both hypotheses are true. Nearly all bases of (4,1) of S5 are
    like this, because a transposition almost fixes each vector, so larger irreps are tried next.
    """
    faithful = [block for block in group.real_blocks if is_faithful([block])]
    choices = [[b.name] for b in sorted(faithful, key=lambda b: b.dimension)] or [None]
    scale = 8.0 if act_fn == "square" else 2.0
    for names in choices:
        for k in range(_BASES):
            network = planted_gcr(group, names, seed=1000 * seed + k, scale=scale, act_fn=act_fn)
            if is_away_from_cosets(network):
                return network
    raise CosetCircuitsError(
        f"Every basis tried for the irreps of {group.name} is nearly constant on cosets, so both "
        "hypotheses are true of GCR there; choose another group, such as S4 or D4."
    )


def _mixture(subgroups: SubgroupClass, seed: int) -> GroupMLP:
    group = subgroups.representative.group
    return joined([_coset_circuit((subgroups,), seed), _gcr_circuit(group, "relu", seed)])


def _permuted(subgroups: SubgroupClass, inputs: bool, seed: int) -> GroupMLP:
    """A coset circuit with randomly renamed elements, which destroys the group structure."""
    # A comparison's relabelled control uses another random stream. With the same stream, the
    # control of seed 3 would undo the permutation of seed 3.
    names = random_names(subgroups.representative.group, np.random.default_rng((seed, 1)))
    assert names is not None  # only groups too small for a coset circuit have none
    network = _planted([subgroups], seed)
    return relabelled(network, torch.from_numpy(names), inputs=inputs, outputs=True)


@torch.no_grad()
def is_away_from_cosets(network: GroupMLP) -> bool:
    """Whether most neurons vary much within the cosets of every subgroup.

    Either the left table varies within right cosets, or the right table within left cosets of a
    conjugate.
    """
    group = network.group
    least = torch.ones(network.d_mlp, dtype=network.left_table.dtype)
    for subgroups in group.subgroup_classes:
        if 1 < subgroups.order < group.order:
            arrays = [h.array for h in subgroups.conjugates]
            left = [_share_within(network.left_table, group.table[h]) for h in arrays]
            right = [_share_within(network.right_table, group.table[:, h].T) for h in arrays]
            worse_side = torch.maximum(torch.stack(left).amin(0), torch.stack(right).amin(0))
            least = torch.minimum(least, worse_side)
    return _are_most(least > AWAY)


def _share_within(
    table: Float[Tensor, "order d_mlp"], cosets: Int[Tensor, "subgroup order"]
) -> Float[Tensor, "d_mlp"]:
    """The share of each column's variance within cosets; each column of ``cosets`` is one coset."""
    means = table[cosets].mean(0)
    return 1 - means.var(0, correction=0) / table.var(0, correction=0)


def _is_away_from_irreps(network: GroupMLP) -> bool:
    """Whether most neurons have much variance outside any irreps that the hypothesis allows.

    See :func:`irreps_suffice`. The left table alone is enough: as R(b) = −L(xb⁻¹), both tables of
    a coset neuron have the same share in each irrep.
    """
    shares, _, _ = _irrep_shares(network)
    # most[k]: the largest share that irreps with k functions in all can hold (a knapsack).
    most = torch.zeros(network.group.order // 2 + 1, shares.shape[1], dtype=shares.dtype)
    for block, share in zip(network.group.real_blocks[1:], shares, strict=True):
        size = block.parameters
        most[size:] = torch.maximum(most[size:], most[:-size] + share)
    return _are_most(1 - most[-1] > AWAY)


def _is_of_irreps(network: GroupMLP) -> bool:
    """Whether every irrep in a neuron's unembedding also has a share in its tables.

    The hypothesis takes the fewest irreps that hold a neuron's tables. It would be false of a
    neuron with an irrep in its unembedding only.
    """
    read, _, written = _irrep_shares(network)
    return bool(((read > AWAY) | (written < 1e-9)).all())


def _irrep_shares(network: GroupMLP) -> Float[Tensor, "3 irreps d_mlp"]:
    return block_shares(Tables.of(network), list(network.group.real_blocks[1:]))


def _are_most(neurons: Bool[Tensor, "d_mlp"]) -> bool:
    return float(neurons.double().mean()) > 0.75
