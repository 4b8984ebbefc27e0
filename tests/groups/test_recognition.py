"""A Cayley table in any numbering is recognised, and its elements are matched by an isomorphism."""

import numpy as np
import pytest

import coset_circuits as cc
from coset_circuits.groups.recognition import isomorphism, recognise

NAMES = (
    "C1 C2 C12 C113 C2xC2xC2xC2 C4xC4 S3 Q8 D4 D4xC2 F20 S3xS3 D30 Dic26 D52 A4 S4 A5 S5 A6 S6 "
    "PSL(2,7) S3xS3xS3 S4xS4"
)


def renumbered(group, seed):
    """The group's table with its elements numbered at random: element i is the group's names[i]."""
    names = np.random.default_rng(seed).permutation(group.order)
    return np.argsort(names)[group.array[np.ix_(names, names)]]


@pytest.mark.parametrize("name", NAMES.split())
def test_a_renumbered_group_is_recognised(name):
    table = renumbered(cc.group(name), seed=1)
    known = recognise(table)
    assert known.group.order == len(table)
    assert sorted(known.elements) == list(range(len(table)))
    products = known.group.array[np.ix_(known.elements, known.elements)]
    assert (products == known.elements[table]).all()
    if name not in ("C1", "C113"):
        assert known.group.name == cc.group(name).name


@pytest.mark.parametrize(
    ("one", "other"),
    [("Q8", "D4"), ("D52", "Dic26"), ("S3xS3", "D18"), ("C4xC4", "C2xC8"), ("C60", "D30")],
)
def test_groups_of_one_order_are_told_apart(one, other):
    assert isomorphism(cc.group(one), cc.group(other)) is None
    assert recognise(renumbered(cc.group(one), 0)).group.name == cc.group(one).name


def test_both_directions_of_multiplication_are_the_same_group():
    S4 = cc.group("S4")
    known = recognise(S4.array.T)
    assert known.group.name == "S4"
    assert (
        known.group.array[np.ix_(known.elements, known.elements)] == known.elements[S4.array.T]
    ).all()


def test_a_group_without_a_name_keeps_its_own_numbering():
    C2, C8 = cc.group("C2"), cc.group("C8")
    action = [list(range(8)), [(5 * i) % 8 for i in range(8)]]
    from coset_circuits.groups import semidirect_product

    modular = semidirect_product(C8, C2, action)
    known = recognise(modular.array)
    assert known.group.order == 16 and (known.elements == np.arange(16)).all()
    assert (known.group.array == modular.array).all()


def test_a_preferred_name_is_taken_where_it_fits():
    assert recognise(cc.group("S3").array, "D3").group.name == "D3"
    assert recognise(cc.group("S3").array, "C6").group.name == "S3"


def test_what_is_not_a_group_is_refused():
    table = cc.group("C5").array.copy()
    table[1, [2, 3]] = table[1, [3, 2]]
    with pytest.raises(cc.CosetCircuitsError):
        recognise(table)
