"""The axioms, the refusals, and SymPy as an oracle for the families."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sympy.combinatorics import Permutation, PermutationGroup

from coset_circuits.errors import CosetCircuitsError
from coset_circuits.groups import FiniteGroup, dihedral, group

NAMES = [
    *("S1", "S3", "S4", "S5", "A4", "A5", "C1", "C12", "C113", "D1", "D2", "D4", "D7", "D59"),
    *("Dic1", "Dic3", "Dic4", "Q8", "Q16", "F20", "F21", "AGL(1,7)", "V4", "C2^4", "S3xS3"),
    *("PSL(2,4)", "PSL(2,7)", "Q8xC3", "D4xA4"),
]

# A loop: a Latin square with an identity and two-sided inverses in which (1·1)·2 ≠ 1·(1·2).
LOOP = [
    [0, 1, 2, 3, 4],
    [1, 0, 3, 4, 2],
    [2, 4, 0, 1, 3],
    [3, 2, 4, 0, 1],
    [4, 3, 1, 2, 0],
]


@pytest.mark.parametrize("name", NAMES)
def test_families_satisfy_the_axioms(name):
    g = group(name)
    table, order = g.array, g.order
    assert (np.sort(table, axis=0) == np.arange(order)[:, None]).all()
    assert (np.sort(table, axis=1) == np.arange(order)).all()
    a, b, c = np.random.default_rng(0).integers(0, order, (3, 5000))
    assert (table[table[a, b], c] == table[a, table[b, c]]).all()
    assert (table[g.inverse_array, np.arange(order)] == g.identity).all()
    assert FiniteGroup.from_table(table) == g


@pytest.mark.parametrize("name", ["S4", "S5", "A4", "A5"])
def test_products_are_sympys_with_the_right_factor_first(name):
    g = group(name)
    assert g.permutations is not None
    ours = [Permutation(p.tolist()) for p in g.permutations]
    for a, b in np.random.default_rng(1).integers(0, g.order, (200, 2)):
        # SymPy writes p*q for "p, then q"; we write στ for "τ, then σ".
        assert ours[b] * ours[a] == ours[g.array[a, b]]


@pytest.mark.parametrize("name", ["S4", "S5", "A4", "A5"])
def test_classes_centre_and_orders_are_sympys(name):
    g = group(name)
    assert g.permutations is not None
    oracle = PermutationGroup([Permutation(g.permutations[i].tolist()) for i in g.generators])
    assert oracle.order() == g.order
    assert oracle.is_abelian == g.is_abelian
    expected = sorted(len(c) for c in oracle.conjugacy_classes())
    assert sorted(map(len, g.conjugacy_classes)) == expected
    for i in range(g.order):
        assert Permutation(g.permutations[i].tolist()).order() == g.element_orders[i]


@pytest.mark.parametrize("name", NAMES)
def test_class_equation(name):
    g = group(name)
    sizes = [len(c) for c in g.conjugacy_classes]
    assert sum(sizes) == g.order
    assert all(g.order % size == 0 for size in sizes)
    commuting = (g.array == g.array.T).sum()
    assert commuting == len(sizes) * g.order  # Burnside: commuting pairs are classes × order


@pytest.mark.parametrize("sides", [1, 2, 3, 4, 7, 8])
def test_dihedral_relations(sides):
    g = dihedral(sides)
    r, s = 1 % sides, sides
    assert g.array[g.array[s, r], s] == g.inverse_array[r]
    assert g.element_orders[r] == sides
    assert (g.element_orders[sides:] == 2).all()


@pytest.mark.parametrize("name", NAMES)
def test_generators_generate(name):
    g = group(name)
    assert g.closure(g.generators).tolist() == list(range(g.order))


def test_pairs_are_row_major_and_products_read_the_table():
    g = group("S3")
    pairs = g.pairs()
    assert pairs[4 * g.order + 2].tolist() == [4, 2]
    assert torch.equal(g.products(pairs), g.table.flatten())


def test_labels_are_cycles_of_the_one_line_notation():
    g = group("S3")
    assert g.labels == ("e", "(2 3)", "(1 2)", "(1 2 3)", "(1 3 2)", "(1 3)")


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(12)))
def test_relabelled_is_an_isomorphic_copy(forward):
    g = group("A4")
    copy = g.relabelled(np.array(forward))
    f = np.array(forward)
    a, b = np.meshgrid(np.arange(12), np.arange(12))
    assert (f[g.array[a, b]] == copy.array[f[a], f[b]]).all()
    assert copy.identity == f[g.identity]
    assert all(copy.labels[f[i]] == g.labels[i] for i in range(12))
    assert (copy.element_orders[f] == g.element_orders).all()
    assert FiniteGroup.from_table(copy.array) == copy


def test_relabelling_with_a_repeated_element_is_refused():
    with pytest.raises(CosetCircuitsError, match=r"not a permutation of 0\.\.2"):
        group("C3").relabelled(np.array([0, 0, 1]))


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ([[0, 1], [1, 2]], r"not closed: 1·1 = 2"),
        ([[1, 0], [1, 0]], r"no identity"),
        ([[0, 1], [1, 1]], r"element 1 no inverse"),
        (LOOP, r"not associative: \((\d)·(\d)\)·(\d) = (\d) but \1·\(\2·\3\) = (\d)"),
        ([[0, 1], [1]], r"different lengths"),
        ([[0.0, 1.0], [1.0, 0.0]], r"float64"),
        ([[0, 1, 2], [1, 2, 0]], r"shape \(2, 3\)"),
        ([0, 1], r"shape \(2,\)"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_what_is_no_group_is_refused_by_its_failing_elements(table, sentence):
    with pytest.raises(CosetCircuitsError, match=sentence):
        FiniteGroup.from_table(table)


def test_the_loops_named_triple_really_fails():
    with pytest.raises(CosetCircuitsError) as caught:
        FiniteGroup.from_table(LOOP)
    a, s, b, left, _, _, _, right = (int(d) for d in str(caught.value) if d.isdigit())
    assert LOOP[LOOP[a][s]][b] == left
    assert LOOP[a][LOOP[s][b]] == right
    assert left != right


def test_unknown_names_are_answered_with_what_is_known():
    with pytest.raises(CosetCircuitsError, match=r"'M11'.*symmetric.*dihedral.*from_table"):
        group("M11")


def test_wrong_number_of_labels_is_refused():
    with pytest.raises(CosetCircuitsError, match=r"3 labels .* order 2"):
        FiniteGroup.from_table([[0, 1], [1, 0]], labels=["a", "b", "c"])
