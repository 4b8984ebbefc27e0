"""Subgroups against known counts, brute force, SymPy and the theorems of Lagrange and Sylow."""

from collections import Counter
from fractions import Fraction
from itertools import combinations
from math import gcd

import numpy as np
import pytest
import torch
from sympy.combinatorics import Permutation, PermutationGroup

from coset_circuits.errors import CosetCircuitsError
from coset_circuits.groups import (
    FiniteGroup,
    Subgroup,
    double_cosets,
    group,
    spectrum,
    subgroup_search,
    subgroups,
)

# Subgroups and classes of subgroups; S_n is OEIS A005432 and A000638, C2^n is A006116.
COUNTS = {
    "S1": (1, 1),
    "S2": (2, 2),
    "S3": (6, 4),
    "S4": (30, 11),
    "S5": (156, 19),
    "S6": (1455, 56),
    "A4": (10, 5),
    "A5": (59, 9),
    "A6": (501, 22),
    "C113": (2, 2),
    "C118": (4, 4),
    "D4": (10, 8),
    "D59": (62, 4),
    "D61": (64, 4),
    "Q8": (6, 6),
    "Dic3": (8, 6),
    "F20": (14, 6),
    "F21": (10, 4),
    "S3xS3": (60, 22),
    "PSL(2,7)": (179, 15),
    "C2^3": (16, 16),
    "C2^4": (67, 67),
    "C2^5": (374, 374),
}
LARGE_COUNTS = {
    "S7": (11300, 96),
    "A7": (3786, 40),
    "C2^6": (2825, 2825),
    "C2^7": (29212, 29212),
    # Perfect subgroups of many kinds; counts of GAP.
    "A5xA5": (8381, 113),
    "PSL(2,7)xS4": (17084, 312),
}
FAMILIES = ["Q8", "Dic3", "F20", "F21", "S3xS3", "D6", "C12", "C2^4", "A5"]

S5_NAMES = {
    "C1": 1,
    "C2": 10,
    "C2⟨(1 2)(3 4)⟩": 15,
    "C3": 10,
    "C2xC2": 15,
    "V4": 5,
    "C4": 15,
    "C5": 6,
    "S3": 10,
    "S3 twisted": 10,
    "C6": 10,
    "D8": 15,
    "D10": 6,
    "A4": 5,
    "S3xS2": 10,
    "F20": 6,
    "S4": 5,
    "A5": 1,
    "S5": 1,
}


def named(g, name):
    return next(c for c in g.subgroup_classes if c.name == name).representative


@pytest.mark.parametrize("name", COUNTS)
def test_number_of_subgroups_and_classes(name):
    g = group(name)
    assert (len(g.subgroups), len(g.subgroup_classes)) == COUNTS[name]
    assert len(set(g.subgroups)) == len(g.subgroups)


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE_COUNTS)
def test_number_of_subgroups_of_large_groups(name):
    g = group(name)
    assert (len(g.subgroups), len(g.subgroup_classes)) == LARGE_COUNTS[name]


@pytest.mark.parametrize("sides", [6, 12, 30])
def test_dihedral_groups_have_divisors_plus_divisor_sum_subgroups(sides):
    divisors = [d for d in range(1, sides + 1) if sides % d == 0]
    assert len(group(f"D{sides}").subgroups) == len(divisors) + sum(divisors)


@pytest.mark.parametrize("name", ["S3", "D4", "A4", "D6"])
def test_all_subgroups_by_brute_force(name):
    g = group(name)
    spanned = {
        tuple(g.closure(chosen).tolist())
        for size in range(4)
        for chosen in combinations(range(g.order), size)
    }
    assert {h.elements for h in g.subgroups} == spanned


@pytest.mark.parametrize("name", [*FAMILIES, "S4"])
def test_all_subgroups_are_the_joins_of_cyclic_ones(name):
    g = group(name)
    cyclic = {tuple(g.closure([x]).tolist()) for x in range(g.order)}
    joins, fresh = set(cyclic), cyclic
    while fresh:
        fresh = {tuple(g.closure([*h, *c]).tolist()) for h in fresh for c in cyclic} - joins
        joins |= fresh
    assert {h.elements for h in g.subgroups} == joins


@pytest.mark.parametrize("name", [*FAMILIES, "S4", "S5", "D12", "C118"])
def test_every_subgroup_is_closed_and_lagrange_holds(name):
    g = group(name)
    for h in g.subgroups:
        assert set(g.array[np.ix_(h.array, h.array)].ravel().tolist()) == set(h.elements)
        assert h.order * h.index == g.order
        assert g.closure(h.generators).tolist() == list(h.elements)


def test_classes_of_s5_by_name():
    g = group("S5")
    assert {c.name: c.count for c in g.subgroup_classes} == S5_NAMES
    orders = [c.order for c in g.subgroup_classes]
    assert orders == sorted(orders)


def test_outer_pairs_of_s6_are_told_apart():
    g = group("S6")
    assert named(g, "S5").order == named(g, "S5 transitive").order == 120
    assert named(g, "A5").order == named(g, "A5 transitive").order == 60
    moved = g.permutations[list(named(g, "S5").generators)]
    assert (moved[:, 5] == 5).all()


def test_v4_is_the_normal_klein_group():
    s4 = group("S4")
    assert named(s4, "V4").is_normal
    assert not named(s4, "C2xC2").is_normal
    assert [s4.labels[i] for i in named(s4, "V4").array] == [
        "e",
        "(1 2)(3 4)",
        "(1 3)(2 4)",
        "(1 4)(2 3)",
    ]


@pytest.mark.parametrize("name", ["S4", "S5", "A5"])
def test_sympy_agrees_on_the_subgroups(name):
    g = group(name)
    assert g.permutations is not None
    whole = PermutationGroup([Permutation(p.tolist()) for p in g.permutations[list(g.generators)]])
    for c in g.subgroup_classes[1:]:
        h = c.representative
        oracle = PermutationGroup([Permutation(g.permutations[i].tolist()) for i in h.generators])
        assert oracle.order() == h.order
        assert oracle.is_normal(whole) == h.is_normal
        if c.name[0] == "C":
            assert oracle.is_abelian
        if c.name in ("A4", "S4", "F20", "D10"):
            derived = {"A4": 4, "S4": 12, "F20": 5, "D10": 5}[c.name]
            assert oracle.derived_subgroup().order() == derived


@pytest.mark.parametrize("name", [*FAMILIES, "S4", "S5", "D12"])
def test_cosets_are_equal_cells_with_the_right_members(name):
    g = group(name)
    for c in g.subgroup_classes:
        h = c.conjugates[-1]
        for labels in (h.right_cosets, h.left_cosets):
            assert torch.equal(torch.bincount(labels), torch.full((h.index,), h.order))
            firsts = [int(torch.nonzero(labels == k)[0]) for k in range(h.index)]
            assert firsts == sorted(firsts)
        for x in (0, g.order // 2, g.order - 1):
            assert len(set(h.right_cosets[g.array[h.array, x]].tolist())) == 1  # Hx
            assert len(set(h.left_cosets[g.array[x, h.array]].tolist())) == 1  # xH


def test_right_cosets_are_the_left_cosets_of_the_inverses():
    g = group("S5")
    for h in g.subgroups[::7]:
        same_left = h.left_cosets[:, None] == h.left_cosets
        inverted = h.right_cosets[g.inverses]
        assert torch.equal(inverted[:, None] == inverted, same_left)


@pytest.mark.parametrize("name", ["S4", "D12", "F21", "Dic3"])
def test_conjugates_by_definition_and_by_identity(name):
    g = group(name)
    for h in g.subgroups:
        for x in range(g.order):
            x_inverse = g.inverse_array[x]
            moved = sorted(g.array[g.array[x_inverse, k], x] for k in h.elements)
            assert list(h.conjugate(x).elements) == moved
            assert any(h.conjugate(x) is known for known in g.subgroups)


def test_the_shared_coset_is_a_left_coset_of_the_conjugate():
    """Hx = xK with K = x⁻¹Hx."""
    g = group("S5")
    h = named(g, "F20")
    for x in range(0, g.order, 11):
        k = h.conjugate(x)
        assert set(g.array[h.array, x].tolist()) == set(g.array[x, k.array].tolist())


@pytest.mark.parametrize("name", [*FAMILIES, "S4", "S5", "D12"])
def test_orbit_stabiliser_normaliser_and_core(name):
    g = group(name)
    for c in g.subgroup_classes:
        h = c.representative
        assert c.count == h.normaliser.index
        assert h.normaliser.contains(h)
        common = set.intersection(*(set(k.elements) for k in c.conjugates))
        assert set(h.core.elements) == common
        assert h.core.is_normal
        assert h.contains(h.core)
        assert h.is_normal == (c.count == 1)


@pytest.mark.parametrize("name", [*FAMILIES, "S5", "PSL(2,7)"])
def test_sylow(name):
    """The Sylow p-subgroups are one class, as many as 1 modulo p."""
    g = group(name)
    for prime in (2, 3, 5, 7):
        power = gcd(g.order, prime**6)
        (sylow,) = (c for c in g.subgroup_classes if c.order == power)
        if power > 1:
            assert sylow.count % prime == 1


@pytest.mark.parametrize("name", [*FAMILIES, "S5", "PSL(2,7)"])
def test_every_cyclic_subgroup_and_normaliser_is_there(name):
    g = group(name)
    known = {id(h) for h in g.subgroups}
    assert all(id(Subgroup.generated(g, [x])) in known for x in range(g.order))
    assert all(id(c.representative.normaliser) in known for c in g.subgroup_classes)
    assert all(id(c.representative.core) in known for c in g.subgroup_classes)


@pytest.mark.parametrize("name", ["S3xS3", "F20", "Dic3", "A4"])
def test_containment_is_an_order(name):
    held = {h: {k for k in group(name).subgroups if h.contains(k)} for h in group(name).subgroups}
    for h, within in held.items():
        assert h in within
        for k in within:
            assert held[k] <= within
            assert k is h or not k.contains(h)
            assert h.order % k.order == 0


def test_classes_contain_classes():
    s5 = {c.name: c for c in group("S5").subgroup_classes}
    assert s5["S4"].contains(s5["V4"])
    assert s5["A5"].contains(s5["A4"])
    assert s5["F20"].contains(s5["C4"])
    assert not s5["A5"].contains(s5["C2"])
    assert not s5["S4"].contains(s5["S3 twisted"])
    assert not s5["C2"].contains(s5["S4"])
    with pytest.raises(CosetCircuitsError, match="S5 and S4"):
        s5["S4"].contains(group("S4").subgroup_classes[2])


@pytest.mark.parametrize("name", ["S5", "F20", "S3xS3", "PSL(2,7)", "Q8"])
def test_double_cosets_have_the_product_formulas_size(name):
    """|HgK| = |H||K| / |H ∩ gKg⁻¹|, and each label's cell is HgK."""
    g = group(name)
    picked = [c.representative for c in g.subgroup_classes[1:-1]][::3]
    for h in picked:
        for k in picked:
            labels = double_cosets(h, k)
            for x in (0, g.order // 7, g.order // 2):
                cell = set(torch.nonzero(labels == labels[x]).flatten().tolist())
                assert cell == set(g.array[g.array[h.array, x]][:, k.array].ravel().tolist())
                meet = set(h.elements) & set(k.conjugate(int(g.inverse_array[x])).elements)
                assert len(cell) == h.order * k.order // len(meet)


def test_two_transitive_subgroups_have_two_double_cosets():
    g = group("S5")
    two = {n for n in S5_NAMES if double_cosets(named(g, n), named(g, n)).max() == 1}
    assert two == {"S4", "F20", "A5"}


@pytest.mark.parametrize("name", ["S4", "S5", "A4", "A5", "C12", "D8", "D9"])
def test_spectra_are_probabilities(name):
    g = group(name)
    for c in g.subgroup_classes[:-1]:
        shares = spectrum(c.representative)
        assert sum(shares.values()) == 1
        assert all(share >= 0 for share in shares.values())


def test_spectrum_is_the_energy_of_the_indicator():
    g = group("S5")
    for c in g.subgroup_classes[:-1]:
        h = c.representative
        indicator = torch.zeros(g.order, dtype=torch.float64)
        indicator[h.array] = 1
        indicator -= indicator.mean()
        for block in g.real_blocks[1:]:
            energy = (block.basis.T @ indicator).square().sum() / indicator.square().sum()
            assert float(energy) == pytest.approx(float(spectrum(h)[block.name]), abs=1e-12)


def test_spectra_of_s5_that_are_one_irrep():
    g = group("S5")

    def support(name):
        return {k: v for k, v in spectrum(named(g, name)).items() if v}

    assert support("S4") == {"(4,1)": 1}
    assert support("A5") == {"(1,1,1,1,1)": 1}
    assert support("F20") == {"(2,2,1)": 1}
    assert support("S3xS2") == {"(4,1)": Fraction(4, 9), "(3,2)": Fraction(5, 9)}


def test_whole_group_has_no_spectrum():
    with pytest.raises(CosetCircuitsError, match="proper subgroup"):
        spectrum(group("S3").subgroups[-1])


def test_subgroups_of_different_groups_have_no_double_cosets():
    with pytest.raises(CosetCircuitsError, match="S3 and S4"):
        double_cosets(group("S3").subgroups[0], group("S4").subgroups[0])


def test_a_set_that_is_not_closed_is_refused():
    for elements in ([0, 3], [1], [], [0, 99]):
        with pytest.raises(CosetCircuitsError, match="not a subgroup of S3"):
            Subgroup(group("S3"), elements)


def test_generated_finds_the_known_object():
    g = group("S4")
    for h in g.subgroups:
        assert Subgroup.generated(g, h.generators) is h
        assert Subgroup(g, h.elements) == h


def test_a_subgroup_works_without_the_search_for_all_of_them():
    g = FiniteGroup(group("S4").array, "fresh")
    h = Subgroup.generated(g, group("S4").subgroups[20].elements)
    twin = group("S4").subgroups[20]
    assert "subgroup_classes" not in vars(g)
    assert h == twin
    assert h.normaliser == twin.normaliser
    assert h.core == twin.core
    assert all(h.conjugate(x) == twin.conjugate(x) for x in range(24))


@pytest.mark.parametrize("name", ["S4", "D6", "A5", "Q8", "S3xS3"])
def test_a_relabelled_groups_subgroups_are_carried_over(name):
    g = group(name)
    forward = np.random.default_rng(3).permutation(g.order)
    copy = g.relabelled(forward)
    for known, carried in zip(g.subgroup_classes, copy.subgroup_classes, strict=True):
        assert carried.name == known.name
        for h, moved in zip(known.conjugates, carried.conjugates, strict=True):
            assert moved.group is copy
            assert moved.name == h.name
            assert moved.elements == tuple(sorted(forward[h.array].tolist()))
            assert set(forward[list(h.generators)]) <= set(moved.elements)
        assert np.array_equal(carried.positions[forward], known.positions)


def test_a_carried_subgroup_is_a_subgroup_of_the_copy():
    g = group("S4")
    forward = np.random.default_rng(5).permutation(g.order)
    copy = g.relabelled(forward)
    searched = FiniteGroup(copy.array, "searched").subgroups
    assert set(copy.subgroups) == set(searched)
    for h in copy.subgroups:
        for x in range(g.order):
            inverse = copy.inverse_array[x]
            moved = sorted(copy.array[copy.array[inverse, k], x] for k in h.elements)
            assert list(h.conjugate(x).elements) == moved
        assert (
            h.normaliser.order * next(c.count for c in copy.subgroup_classes if h in c.conjugates)
            == 24
        )


def test_a_copy_of_a_copy_is_not_searched(monkeypatch):
    g = group("S4")
    known = [c.name for c in g.subgroup_classes]
    turn = np.roll(np.arange(24), 5)
    copy = g.relabelled(turn).relabelled(turn)
    monkeypatch.setattr(subgroups, "conjugate_families", None)
    assert [c.name for c in copy.subgroup_classes] == known
    carried = {tuple(sorted(turn[turn[h.array]].tolist())) for h in g.subgroups}
    assert {h.elements for h in copy.subgroups} == carried


def test_a_group_with_too_many_subgroups_is_refused(monkeypatch):
    g = FiniteGroup(group("S4").array, "four letters")
    monkeypatch.setattr(subgroup_search, "MOST_SUBGROUPS", 20)
    with pytest.raises(
        CosetCircuitsError, match=r"four letters has more than 20 subgroups: 2\d in"
    ):
        subgroups.subgroup_classes(g)
    h = Subgroup.generated(g, [1, 2])
    assert (h.order, h.name) == (6, "S3")
    monkeypatch.undo()
    assert len(g.subgroups) == 30


# The subgroups of C2^n and C3^n: OEIS A006116 and A006117.
@pytest.mark.parametrize(
    ("name", "number"),
    [("C2^8", "417,199"), ("C2^12", "488,176,700,923"), ("C3^7", "2,052,656"), ("C6^4", "14,204")],
)
def test_the_centre_alone_may_have_too_many(monkeypatch, name, number):
    monkeypatch.setattr(subgroup_search, "MOST_SUBGROUPS", 14_000)
    with pytest.raises(CosetCircuitsError, match=f"its centre alone has {number}"):
        subgroups.subgroup_classes(group(name))


def test_an_interrupted_search_leaves_nothing_behind(monkeypatch):
    g = FiniteGroup(group("S4").array, "interrupted")
    calls = Counter()
    whole = subgroup_search.normalising

    def interrupt(*given):
        calls["made"] += 1
        if calls["made"] > 10:
            raise KeyboardInterrupt
        return whole(*given)

    monkeypatch.setattr(subgroup_search, "normalising", interrupt)
    with pytest.raises(KeyboardInterrupt):
        print(len(g.subgroups))
    assert not {"subgroups", "subgroup_classes"} & set(vars(g))
    monkeypatch.undo()
    assert len(g.subgroups) == 30
