"""The lattice of subgroups against S4's Hasse diagram, GAP's counts and brute force."""

import numpy as np
import pytest

from coset_circuits.errors import CosetCircuitsError
from coset_circuits.groups import group
from coset_circuits.groups.lattice import SubgroupLattice

# (larger, smaller): how many of the smaller are maximal in one of the larger, and in how many of
# the larger one of the smaller is maximal.
S4 = {
    ("C2", "C1"): (1, 6),
    ("C2⟨(1 2)(3 4)⟩", "C1"): (1, 3),
    ("C3", "C1"): (1, 4),
    ("C2xC2", "C2"): (2, 1),
    ("C2xC2", "C2⟨(1 2)(3 4)⟩"): (1, 1),
    ("V4", "C2⟨(1 2)(3 4)⟩"): (3, 1),
    ("C4", "C2⟨(1 2)(3 4)⟩"): (1, 1),
    ("S3", "C2"): (3, 2),
    ("S3", "C3"): (1, 1),
    ("D8", "C2xC2"): (1, 1),
    ("D8", "V4"): (1, 3),
    ("D8", "C4"): (1, 1),
    ("A4", "V4"): (1, 1),
    ("A4", "C3"): (4, 1),
    ("S4", "S3"): (4, 1),
    ("S4", "D8"): (3, 1),
    ("S4", "A4"): (1, 1),
}

# Pairs of a subgroup class's representative and a maximal subgroup of it, of GAP's
# MaximalSubgroupsLattice; its list of every class's maximal subgroups agreed too.
GAPS_PAIRS = {"S4": 30, "S5": 98, "S6": 435, "A7": 422, "S7": 1029, "PSL(2,7)": 73}


def brute_force(g):
    """The edges by definition, from the sets of elements."""
    sets = {h: frozenset(h.elements) for h in g.subgroups}
    edges = {}
    for upper in g.subgroup_classes:
        h = sets[upper.representative]
        inside = [k for k, elements in sets.items() if elements < h]
        for lower in g.subgroup_classes:
            maximal = [
                k
                for k in lower.conjugates
                if sets[k] < h and not any(sets[k] < sets[m] for m in inside)
            ]
            if maximal:
                edges[upper.name, lower.name] = len(maximal)
    return edges


def test_hasse_diagram_of_s4():
    edges = SubgroupLattice(group("S4")).edges
    assert {(e.upper.name, e.lower.name): (e.below, e.above) for e in edges} == S4


@pytest.mark.parametrize("name", ["S1", "C12", "Q8", "F20", "S3xS3", "C2^3", "D6", "A5", "S5"])
def test_edges_by_definition(name):
    edges = SubgroupLattice(group(name)).edges
    assert {(e.upper.name, e.lower.name): e.below for e in edges} == brute_force(group(name))


@pytest.mark.parametrize("name", ["F20", "S5", "D6"])
def test_edges_counted_from_below(name):
    g = group(name)
    lattice = SubgroupLattice(g)
    for edge in lattice.edges:
        k = edge.lower.representative
        inside = [h for h in edge.upper.conjugates if h.contains(k)]
        between = [
            h
            for h in inside
            if any(h.contains(m) and m.contains(k) and m not in (h, k) for m in g.subgroups)
        ]
        assert edge.above == len(inside) - len(between)


@pytest.mark.parametrize(
    "name", [n if n != "S7" else pytest.param(n, marks=pytest.mark.slow) for n in GAPS_PAIRS]
)
def test_number_of_maximal_pairs_is_gaps(name):
    edges = SubgroupLattice(group(name)).edges
    assert sum(e.below for e in edges) == GAPS_PAIRS[name]


def test_maximal_subgroups_of_s5_and_s6():
    s5, s6 = SubgroupLattice(group("S5")), SubgroupLattice(group("S6"))
    found = {e.lower.name: e.below for e in s5.maximal_subgroups(s5.classes[-1])}
    assert found == {"S3xS2": 10, "F20": 6, "S4": 5, "A5": 1}
    found = {e.lower.name: e.below for e in s6.maximal_subgroups(s6.classes[-1])}
    assert found == {
        "S4xS2": 15,
        "S4xC2": 15,
        "S3wrS2": 10,
        "S5": 6,
        "S5 transitive": 6,
        "A6": 1,
    }


def test_minimal_supergroups_are_the_edges_from_below():
    lattice = SubgroupLattice(group("S5"))
    a4 = next(c for c in lattice.classes if c.name == "A4")
    assert {e.upper.name: e.above for e in lattice.minimal_supergroups(a4)} == {"S4": 1, "A5": 1}
    assert lattice.minimal_supergroups(lattice.classes[-1]) == ()
    assert lattice.maximal_subgroups(lattice.classes[0]) == ()


@pytest.mark.parametrize("name", ["S4", "F21", "S3xS3"])
def test_counts_of_all_contained_subgroups(name):
    lattice = SubgroupLattice(group(name))
    for upper in lattice.classes:
        h = upper.representative
        for lower in lattice.classes:
            inside = sum(h.contains(k) for k in lower.conjugates)
            assert lattice.count(upper, lower) == inside
            assert upper.contains(lower) == (inside > 0)


def test_maximal_subgroups_of_a_p_group_have_index_p():
    """And there are 1 modulo p of them; the Frattini quotient of Q8 and of D4 is C2xC2."""
    for name, number in [("Q8", 3), ("D4", 3), ("C2^4", 15), ("C9", 1)]:
        lattice = SubgroupLattice(group(name))
        edges = lattice.maximal_subgroups(lattice.classes[-1])
        assert sum(e.below for e in edges) == number
        assert {e.lower.index for e in edges} == {3 if name == "C9" else 2}


def test_the_lattice_of_a_copy_is_the_same():
    g = group("S5")
    copy = g.relabelled(np.random.default_rng(1).permutation(120))
    here, there = (
        [(e.upper.name, e.lower.name, e.below, e.above) for e in SubgroupLattice(x).edges]
        for x in (g, copy)
    )
    assert here == there


def test_a_class_of_another_group_is_refused():
    lattice = SubgroupLattice(group("S4"))
    with pytest.raises(CosetCircuitsError, match="is not one of the classes of S4"):
        lattice.maximal_subgroups(group("S5").subgroup_classes[3])
