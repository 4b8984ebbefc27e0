"""SymPy as an oracle for permutation groups: what the table says is what its algorithms find."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sympy.combinatorics import Permutation, PermutationGroup

from coset_circuits.groups import Subgroup, from_generators, group

NAMES = ["S4", "S5", "A4", "A5", "F20", "F21", "AGL(1,7)", "PSL(2,7)", "S3xS3", "A4xS3"]


def sympys(g, elements) -> Any:
    """SymPy's group of some of our elements; its p*q is our q·p, so its subgroups are ours."""
    return PermutationGroup([Permutation(g.permutations[i].tolist()) for i in elements])


def indices(g, permutations):
    """Our numbers of SymPy's permutations."""
    place = {tuple(image): i for i, image in enumerate(g.permutations.tolist())}
    return {place[image] for image in images(permutations)}


def images(permutations: Any):
    return {tuple(p.array_form) for p in permutations}


@pytest.mark.parametrize("name", NAMES)
def test_classes_element_by_element(name):
    g = group(name)
    theirs = sympys(g, g.generators).conjugacy_classes()
    assert sorted(map(sorted, (indices(g, c) for c in theirs))) == sorted(
        members.tolist() for members in g.conjugacy_classes
    )


@pytest.mark.parametrize("name", NAMES)
def test_centre_and_derived_subgroup_are_read_off_the_characters(name):
    """The centre is where every |χ| = χ(1), the derived subgroup where every linear χ is 1."""
    g = group(name)
    oracle = sympys(g, g.generators)
    characters = np.stack([rho.character.numpy() for rho in g.irreps])
    degrees = characters[:, [g.identity]]
    centre = np.flatnonzero((np.abs(np.abs(characters) - degrees) < 1e-9).all(axis=0))
    assert set(centre.tolist()) == indices(g, oracle.center().elements)
    linear = characters[[rho.dimension == 1 for rho in g.irreps]]
    derived = np.flatnonzero((np.abs(linear - 1) < 1e-9).all(axis=0))
    assert set(derived.tolist()) == indices(g, oracle.derived_subgroup().elements)


@pytest.mark.parametrize("name", NAMES)
def test_normal_closures_of_the_subgroups(name):
    g = group(name)
    oracle = sympys(g, g.generators)
    normal = [h for h in g.subgroups if h.is_normal]
    for c in g.subgroup_classes[1:]:
        h = c.representative
        smallest = min((n for n in normal if n.contains(h)), key=lambda n: n.order)
        theirs = oracle.normal_closure(sympys(g, h.generators))
        assert set(smallest.elements) == indices(g, theirs.elements)


@pytest.mark.parametrize("name", ["S4", "A5", "F20", "AGL(1,7)", "S3xS3"])
def test_transversals_meet_every_coset_once(name):
    g = group(name)
    oracle = sympys(g, g.generators)
    for c in g.subgroup_classes[1:]:
        h = c.representative
        # SymPy's right cosets are our left ones.
        met = sorted(
            int(h.left_cosets[i])
            for p in oracle.coset_transversal(sympys(g, h.generators))
            for i in indices(g, [p])
        )
        assert met == list(range(h.index))


generator_lists = st.integers(1, 6).flatmap(
    lambda degree: st.lists(st.permutations(range(degree)), min_size=1, max_size=3)
)


@settings(max_examples=40, deadline=None)
@given(generator_lists)
def test_random_generators_generate_what_they_do_in_sympy(generators):
    g = from_generators(generators)
    ours = g.permutations
    assert ours is not None
    oracle = PermutationGroup([Permutation(p) for p in generators])
    assert g.order == oracle.order()
    assert {tuple(image) for image in ours.tolist()} == images(oracle.elements)
    for a, b in np.random.default_rng(g.order).integers(g.order, size=(10, 2)):
        assert (ours[g.array[a, b]] == ours[a][ours[b]]).all()


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(["S4", "A5", "PSL(2,7)", "S3xS3"]),
    st.lists(st.integers(0, 10**6), min_size=1, max_size=2),
)
def test_generated_subgroups(name, numbers):
    g = group(name)
    chosen = [n % g.order for n in numbers]
    h = Subgroup.generated(g, chosen)
    oracle = sympys(g, chosen)
    assert set(h.elements) == indices(g, oracle.elements)
    assert h.is_normal == oracle.is_normal(sympys(g, g.generators))
