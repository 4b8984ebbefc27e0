"""The benchmark's trained networks, each kind with its right verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial

from coset_circuits.benchmark.known_answers import (
    COSET,
    IRREP,
    NOTHING,
    NULLS,
    RHO_SET,
    TRAINED,
    Case,
    irreps_suffice,
    is_away_from_cosets,
    named_groups,
    said_of_mixture,
    usable_classes,
)
from coset_circuits.benchmark.trained import (
    Neuron,
    coset_neurons,
    irrep_neurons,
    permuted_labels,
    rho_neurons,
    trained,
)
from coset_circuits.errors import CosetCircuitsError
from coset_circuits.groups import FiniteGroup, RealBlock, SubgroupClass
from coset_circuits.networks import GroupMLP
from coset_circuits.networks.planted import is_faithful

Kind = Callable[[], list[Neuron]]
_GENERAL_POSITION = 20
"""Maximum number of irrep networks trained in search of one that is not near cosets."""


def trained_cases(groups: Iterable[str]) -> list[Case]:
    """All cases of some groups.

    Raises:
        CosetCircuitsError: no group was given, a name is not understood, or a group has no usable
            class of subgroups or no faithful irrep.
    """
    return [case for group in named_groups(groups) for case in _cases(group)]


def _cases(group: FiniteGroup) -> Iterator[Case]:
    classes = usable_classes(group)
    faithful = [block for block in group.real_blocks if is_faithful([block])]
    only_coset = [c for c in classes if not irreps_suffice(c)]
    if not classes or not faithful or not only_coset:
        raise CosetCircuitsError(
            f"{group.name} has no class of subgroups, or no faithful irrep, on which networks "
            "of one kind can be trained; choose another group, such as S4 or A5."
        )
    # With 128 neurons in A5, ρ-sets are not right on all pairs.
    width = max(128, 3 * group.order)
    largest = max(only_coset, key=lambda c: c.order)

    def case(kind: str, what: str, put: str, kinds: list[Kind], also: tuple[str, ...] = ()) -> Case:
        def make(seed: int) -> GroupMLP:
            return trained(group, [kind() for kind in kinds], seed=seed, d_mlp=width)

        return Case(f"{group.name}: {what}", kind, group.name, put, frozenset(also), make)

    on_largest, on_cosets = (partial(coset_neurons, found) for found in ([largest], only_coset))
    yield case(TRAINED[0], f"trained, cosets of {largest.name}", COSET, [on_largest])
    yield case(TRAINED[0], "trained, cosets of several classes", COSET, [on_cosets])
    in_irreps = partial(irrep_neurons, faithful)
    general = partial(_in_general_position, group, faithful, width)
    name = f"{group.name}: trained, irreps in general position"
    yield Case(name, TRAINED[1], group.name, IRREP, frozenset(), general)
    block, found = _rho_set(group, faithful)
    rho = partial(rho_neurons, block, found.representative)
    what = f"trained, ρ-set of {block.name} on {found.name}"
    yield case(TRAINED[2], what, RHO_SET, [rho], (COSET, IRREP))
    put, also = said_of_mixture(only_coset)
    yield case(TRAINED[3], "trained, cosets and irreps", put, [on_cosets, in_irreps], also)
    permuted = partial(permuted_labels, group, d_mlp=width)
    name = f"{group.name}: trained freely, labels permuted"
    yield Case(name, NULLS[-1], group.name, NOTHING, frozenset(), permuted)


def _in_general_position(
    group: FiniteGroup, blocks: list[RealBlock], width: int, seed: int
) -> GroupMLP:
    """A network of irreps that is not constant on any cosets up to 2% of its variance.

    Networks are drawn until one qualifies.
    """
    for k in range(_GENERAL_POSITION):
        network = trained(group, [irrep_neurons(blocks)], seed=seed + 10_000 * k, d_mlp=width)
        if is_away_from_cosets(network):
            return network
    raise CosetCircuitsError(
        f"All {_GENERAL_POSITION} networks of irreps of {group.name} that were trained are nearly "
        "constant on cosets; choose another group, such as S4 or A5."
    )


def _rho_set(group: FiniteGroup, blocks: list[RealBlock]) -> tuple[RealBlock, SubgroupClass]:
    """The irrep and the largest subgroup that fixes a line in it, with the smallest set B."""
    found = [
        (block, classes)
        for block in blocks
        if block.type == "real"
        for classes in group.subgroup_classes
        if 1 < classes.order < group.order
        and abs(float(block.matrices[classes.representative.array].mean(0).trace()) - 1) < 1e-6
    ]
    if not found:
        raise CosetCircuitsError(
            f"No subgroup of {group.name} fixes a line in a faithful irrep, so it has no ρ-set; "
            "choose another group, such as S4 or A5."
        )
    return min(found, key=lambda pair: (pair[1].index, -pair[0].dimension))
