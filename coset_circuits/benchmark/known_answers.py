"""Networks whose algorithm is known because it was put there, and what is to be said of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from coset_circuits.algorithms import Tables
from coset_circuits.algorithms.blocks import block_shares
from coset_circuits.errors import CosetCircuitsError
from coset_circuits.experiments.controls import random_names
from coset_circuits.groups import FiniteGroup, RealBlock, SubgroupClass, spectrum
from coset_circuits.groups import group as named_group
from coset_circuits.networks import GroupMLP, planted_coset, planted_gcr
from coset_circuits.networks.spoilt import joined, noisy, relabelled
from coset_circuits.training import train

COSET, IRREP = "coset", "irrep"
NOTHING, ALIKE = "nothing", "cannot be told apart"

PLANTED = ("coset circuit", "GCR", "cosets and GCR")
NULLS = ("memorised", "untrained", "permuted labels", "permuted outputs")
NOISE = (0.02, 0.05, 0.1, 0.2, 0.5)
"""Standard deviations of the noise, in those of each neuron's own tables and unembedding."""

_BASES = 20
"""Random bases of an irrep that are tried before a larger one; levels on cosets are tried longer,
for there is no other class to turn to."""
_LEVELS = 1000
AWAY = 0.02
"""Most neurons planted as one algorithm's alone leave more of their variance than this to the
other: twice what would count as explained."""

LARGE = 60
"""From this order on circuits are planted with few conjugates, and pairs are sampled."""


@dataclass(frozen=True)
class Case:
    """One kind of network, a network for every seed.

    Attributes:
        kind: one of :data:`PLANTED` or :data:`NULLS`.
        truth: the hypotheses that are true of it: ``coset``, ``irrep``, both or none.
        make: from a seed to the network.
        noise: its size, for a planted network that got some.
    """

    name: str
    kind: str
    group: str
    truth: frozenset[str]
    make: Callable[[int], GroupMLP]
    noise: float | None = None

    @property
    def expected(self) -> str:
        """What is to be said of it."""
        return ALIKE if len(self.truth) > 1 else next(iter(self.truth), NOTHING)


def known_cases(groups: Iterable[str]) -> list[Case]:
    """All cases of some groups.

    Raises:
        CosetCircuitsError: none given, one that is not understood, or one in which no coset
            circuit multiplies.
    """
    names = list(dict.fromkeys(groups))
    if not names:
        raise CosetCircuitsError("No group was given; give such as S4 or D4.")
    return [case for name in names for case in _of_group(named_group(name))]


def usable_classes(group: FiniteGroup) -> list[SubgroupClass]:
    """The classes whose cosets make a circuit that multiplies: no element is in all conjugates."""
    return [
        found
        for found in group.subgroup_classes
        if found.order > 1 and found.representative.core.is_trivial
    ]


def irreps_suffice(found: SubgroupClass) -> bool:
    """Whether the irrep hypothesis is true of cosets of this class as well.

    Functions on the cosets of H lie in the irreps with vectors that H fixes; the hypothesis allows
    a neuron as many functions as half the order.
    """
    group = found.representative.group
    shares = spectrum(found.representative, real=True)
    blocks: dict[str, RealBlock] = {block.name: block for block in group.real_blocks}
    functions = sum(blocks[name].parameters for name, share in shares.items() if share > 0)
    return functions <= group.order // 2


def _of_group(group: FiniteGroup) -> Iterator[Case]:
    classes = usable_classes(group)
    if not classes:
        raise CosetCircuitsError(
            f"In {group.name} no coset circuit multiplies: every subgroup's conjugates share more "
            "than the identity; choose another group, such as S4 or D4."
        )
    yield from (_of_class(group, found) for found in classes)
    yield from _with_sign(group, classes)
    yield from _gcr(group)
    yield from _mixed(group, classes)
    yield from _noisy(group, classes)
    yield from _nulls(group, classes)


def _case(group: FiniteGroup, what: str, kind: str, truth: Iterable[str], make: Callable) -> Case:
    return Case(f"{group.name}: {what}", kind, group.name, frozenset(truth), make)


def _coset(group: FiniteGroup, seed: int, *names: str) -> GroupMLP:
    # The closest levels of a subgroup with many cosets are told apart as well as those of one with
    # few only where they write more.
    index = max(c.index for c in group.subgroup_classes if c.name in names)
    scale, few = max(3.0, index / 4), group.order >= LARGE
    return planted_coset(group, *names, seed=seed, scale=scale, few=few)


def _of_class(group: FiniteGroup, found: SubgroupClass) -> Case:
    truth = {COSET, IRREP} if irreps_suffice(found) else {COSET}
    what = f"cosets of {found.name}"
    return _case(group, what, PLANTED[0], truth, lambda seed: _of_cosets(group, seed, found))


def _of_cosets(group: FiniteGroup, seed: int, found: SubgroupClass, *more: str) -> GroupMLP:
    """A coset circuit that is one of irreps exactly where irreps hold all functions on its cosets.

    Levels may lie in fewer irreps than most: on four cosets in D4 one order of equally spaced
    levels in three lies in one.
    """
    is_wanted = _is_of_irreps if irreps_suffice(found) else _is_away_from_irreps
    for k in range(_LEVELS):
        drawn = _coset(group, seed + 1000 * k, found.name, *more)
        if is_wanted(drawn):
            return drawn
    raise CosetCircuitsError(
        f"All levels on the cosets of {found.name} in {group.name} that were tried lie in other "
        "irreps than most, so that it cannot be said whether irreps are true of them; choose "
        "another group, such as S4 or D4."
    )


def _with_sign(group: FiniteGroup, classes: list[SubgroupClass]) -> Iterator[Case]:
    """Sign neurons, on the cosets of a subgroup of index 2, which is the kernel of an irrep."""
    half = next((c for c in group.subgroup_classes if c.index == 2), None)
    both = next((c for c in classes if irreps_suffice(c)), None)
    if half is not None and both is not None:
        yield _case(
            group,
            f"cosets of {both.name} and {half.name} (sign neurons)",
            PLANTED[0],
            {COSET, IRREP},
            lambda seed: _of_cosets(group, seed, both, half.name),
        )


def _gcr(group: FiniteGroup) -> Iterator[Case]:
    def maker(act_fn: Literal["square", "relu"]) -> Callable[[int], GroupMLP]:
        return lambda seed: _planted_gcr(group, seed, act_fn)

    for make, sign in ((maker("square"), "x²"), (maker("relu"), "ReLU")):
        yield _case(
            group,
            f"GCR, {sign}",
            PLANTED[1],
            {IRREP},
            make,
        )


def _planted_gcr(group: FiniteGroup, seed: int, act_fn: Literal["square", "relu"]) -> GroupMLP:
    """GCR in a random basis in which it is no coset circuit either, nor nearly one.

    In one of four bases of the plane the rotations and reflections of D4 are within a hundredth of
    their variance of being constant on cosets, and then both hypotheses are true; in (4,1) of S5
    nearly all are, each vector being almost fixed by a transposition. So larger irreps follow.
    """
    faithful = [block for block in group.real_blocks if _is_faithful(block)]
    choices = [[b.name] for b in sorted(faithful, key=lambda b: b.dimension)] or [None]
    scale = 8.0 if act_fn == "square" else 2.0
    for names in choices:
        for k in range(_BASES):
            drawn = planted_gcr(group, names, seed=1000 * seed + k, scale=scale, act_fn=act_fn)
            if _is_away_from_cosets(drawn):
                return drawn
    raise CosetCircuitsError(
        f"Every basis of the irreps of {group.name} that was tried is near its cosets, so that "
        "both hypotheses are true of GCR there; choose another group, such as S4 or D4."
    )


def _is_faithful(block: RealBlock) -> bool:
    return int((block.character > block.character.max() - 1e-9).sum()) == 1


@torch.no_grad()
def _is_away_from_cosets(network: GroupMLP) -> bool:
    """Whether most neurons leave much of their variance within any cosets, on their worse side.

    The left table within right cosets, the right table within left cosets of a conjugate.
    """
    group = network.group
    found = []
    for conjugates in (c.conjugates for c in group.subgroup_classes if 1 < c.order < group.order):
        left, right = (
            torch.stack([_within(table, moved(h.array)) for h in conjugates]).amin(0)
            for table, moved in (
                (network.left_table, lambda h: group.table[h]),
                (network.right_table, lambda h: group.table[:, h].T),
            )
        )
        found.append(torch.maximum(left, right))
    return _are_most(torch.stack(found).amin(0) > AWAY)


def _are_most(neurons: Bool[Tensor, "d_mlp"]) -> bool:
    return float(neurons.double().mean()) > 0.75


def _within(
    table: Float[Tensor, "order d_mlp"], cosets: Int[Tensor, "subgroup order"]
) -> Float[Tensor, "d_mlp"]:
    means = table[cosets].mean(0)
    return 1 - means.var(0, correction=0) / table.var(0, correction=0)


def _is_away_from_irreps(network: GroupMLP) -> bool:
    """Whether most neurons leave much of their variance to any irreps that the hypothesis allows.

    See :func:`irreps_suffice`. Both tables of a coset neuron hold the same shares, R(b) being
    −L(xb⁻¹), so the left one is looked at.
    """
    read, _, _ = _shares(network)
    held = torch.zeros(network.group.order // 2 + 1, read.shape[1], dtype=read.dtype)
    for block, share in zip(_irreps(network.group), read, strict=True):
        # The most that irreps so far hold, by the number of their functions: each is taken once.
        size = block.parameters
        held[size:] = torch.maximum(held[size:], held[:-size] + share)
    return _are_most(1 - held[-1] > AWAY)


def _is_of_irreps(network: GroupMLP) -> bool:
    """Whether every irrep that a neuron writes is seen in what it reads.

    The hypothesis takes the fewest irreps that hold a neuron's tables. Without one that only the
    unembedding holds, it would not be true of it.
    """
    read, _, written = _shares(network)
    return bool(((read > AWAY) | (written < 1e-9)).all())


def _shares(network: GroupMLP) -> Float[Tensor, "3 irreps d_mlp"]:
    return block_shares(Tables.of(network), _irreps(network.group))


def _irreps(group: FiniteGroup) -> list[RealBlock]:
    return list(group.real_blocks[1:])


def _mixed(group: FiniteGroup, classes: list[SubgroupClass]) -> Iterator[Case]:
    """Neurons of both kinds: neither hypothesis is true of all, unless irreps hold the cosets."""
    for suffice in (False, True):
        found = next((c for c in classes if irreps_suffice(c) is suffice), None)
        if found is not None:
            yield _case(
                group,
                f"cosets of {found.name} and GCR",
                PLANTED[2],
                {IRREP} if suffice else set(),
                lambda seed, found=found: _mixture(group, seed, found),
            )


def _mixture(group: FiniteGroup, seed: int, found: SubgroupClass) -> GroupMLP:
    return joined([_of_cosets(group, seed, found), _planted_gcr(group, seed, "relu")])


def _noisy(group: FiniteGroup, classes: list[SubgroupClass]) -> Iterator[Case]:
    clean = [_of_class(group, classes[-1]), list(_gcr(group))[1]]
    only = next((c for c in reversed(classes) if not irreps_suffice(c)), None)
    if only is not None and only is not classes[-1]:
        clean.insert(1, _of_class(group, only))
    for case in clean:
        for size in NOISE:
            yield Case(
                f"{case.name}, noise {size:g}",
                case.kind,
                case.group,
                case.truth,
                lambda seed, case=case, size=size: noisy(case.make(seed), size, seed=seed),
                noise=size,
            )


def _nulls(group: FiniteGroup, classes: list[SubgroupClass]) -> Iterator[Case]:
    width = 4 * group.order if group.order < 16 else 64
    yield _case(
        group,
        NULLS[0],
        NULLS[0],
        (),
        lambda seed: train(group, seed, recipe="memorise", d_mlp=width, d_embed=width),
    )
    yield _case(
        group,
        NULLS[1],
        NULLS[1],
        (),
        lambda seed: GroupMLP.initialised(group, d_mlp=width, d_embed=width, seed=seed),
    )
    for kind, inputs in ((NULLS[2], True), (NULLS[3], False)):
        yield _case(
            group,
            f"cosets of {classes[-1].name}, {kind}",
            kind,
            (),
            lambda seed, inputs=inputs: _permuted(group, seed, classes[-1].name, inputs),
        )


def _permuted(group: FiniteGroup, seed: int, name: str, inputs: bool) -> GroupMLP:
    """A coset circuit under random names of the elements that keep nothing of the group."""
    # A stream apart from that of a comparison's relabelled control: with the same one, the control
    # of seed 3 would undo the permutation of seed 3.
    names = random_names(group, np.random.default_rng((seed, 1)))
    assert names is not None  # there is a circuit, so the group is not as small as that
    return relabelled(
        _coset(group, seed, name), torch.from_numpy(names), inputs=inputs, outputs=True
    )
