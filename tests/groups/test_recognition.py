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


@pytest.mark.parametrize("name", ["S4", "D6", "Q8", "S3xS3", "C12"])
def test_a_table_that_is_called_like_a_group_of_the_library_has_its_names(name):
    known = cc.group(name)
    table = renumbered(known, 0)
    named = cc.FiniteGroup.from_table(table, name)
    assert named.name == name and (named.array == table).all()
    # Names multiply as those of the group do, so they are an isomorphism.
    place = {label: i for i, label in enumerate(known.labels)}
    images = np.array([place[label] for label in named.labels])
    assert (images[table] == known.array[np.ix_(images, images)]).all()
    names = [c.name for c in known.subgroup_classes]
    assert [c.name for c in named.subgroup_classes] == names
    for subgroup in named.subgroups:
        assert named.closure(subgroup.elements).tolist() == sorted(subgroup.elements)
    assert [rho.name for rho in named.irreps] == [rho.name for rho in known.irreps]
    own = [f"g{i}" for i in range(known.order)]
    assert cc.FiniteGroup.from_table(table, name, own).labels == tuple(own)
    assert cc.FiniteGroup.from_table(table, "mine").labels == tuple(map(str, range(known.order)))


@pytest.mark.parametrize(
    ("table", "name", "sentence"),
    [
        ("Q8", "D4", "8 elements is named D4 but is not that group.*its type is Q8"),
        ("S3", "C2", "6 elements is named C2 but is not that group, which has 2 elements"),
        ("D4", "D8", "is named D8 but is not that group, which has 16 elements; its type is D4"),
    ],
)
def test_a_table_that_is_called_like_another_group_is_refused(table, name, sentence):
    with pytest.raises(cc.CosetCircuitsError, match=sentence):
        cc.FiniteGroup.from_table(renumbered(cc.group(table), 0), name)


def test_a_network_on_such_a_table_is_compared_under_its_names():
    s4 = cc.load("s4")
    table, numbers = renumbered(s4.group, 0), np.random.default_rng(0).permutation(24)
    network = cc.GroupMLP.from_weights(
        cc.FiniteGroup.from_table(table, "S4"),
        left_table=s4.left_table[numbers],
        right_table=s4.right_table[numbers],
        W_U=s4.W_U[:, numbers],
    )
    roles = [cc.CosetAlgorithm().fit(n).roles.to_dataframe() for n in (network, s4)]
    assert roles[0]["role"].tolist() == roles[1]["role"].tolist()
    assert roles[0]["fvu_left"].to_numpy() == pytest.approx(roles[1]["fvu_left"].to_numpy())
