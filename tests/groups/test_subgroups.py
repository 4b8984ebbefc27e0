"""Subgroups against known counts, brute force, SymPy and the theorems of Lagrange and Sylow."""

from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
import torch
from sympy.combinatorics import Permutation, PermutationGroup

from coset_circuits.errors import CosetCircuitsError
from coset_circuits.groups import FiniteGroup, Subgroup, double_cosets, group, spectrum

# Subgroups and classes of subgroups; S_n is OEIS A005432 and A000638.
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
}

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


@pytest.mark.parametrize("name", ["S4", "S5", "A5", "D12", "C118"])
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


@pytest.mark.parametrize("name", ["S4", "S5", "S6", "A5", "D12", "C118"])
def test_names_are_unique(name):
    names = [c.name for c in group(name).subgroup_classes]
    assert len(set(names)) == len(names)


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


@pytest.mark.parametrize("name", ["S4", "S5", "D12"])
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


@pytest.mark.parametrize("name", ["S4", "D12"])
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


@pytest.mark.parametrize("name", ["S4", "S5", "A5", "D12"])
def test_orbit_stabiliser_normaliser_and_core(name):
    g = group(name)
    for c in g.subgroup_classes:
        h = c.representative
        assert c.count == h.normaliser.index
        assert h.normaliser.contains(h)
        common = set.intersection(*(set(k.elements) for k in c.conjugates))
        assert set(h.core.elements) == common
        assert h.core.is_normal
        assert h.is_normal == (c.count == 1)


def test_sylow_counts():
    for name, prime, order in [("S5", 2, 8), ("S5", 3, 3), ("S5", 5, 5), ("A5", 2, 4)]:
        count = sum(h.order == order for h in group(name).subgroups)
        assert count % prime == 1
        assert (group(name).order // order) % count == 0


def test_double_cosets_have_the_product_formulas_size():
    """|HgK| = |H||K| / |H ∩ gKg⁻¹|, and each label's cell is HgK."""
    g = group("S5")
    picked = [named(g, n) for n in ("S4", "F20", "S3xS2", "A4", "C2", "A5")]
    for h in picked:
        for k in picked:
            labels = double_cosets(h, k)
            for x in (0, 17, 63):
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
        with pytest.raises(CosetCircuitsError, match="no subgroup of S3"):
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


@pytest.mark.parametrize("name", ["S4", "D6", "A5"])
def test_relabelling_carries_subgroups_to_subgroups(name):
    g = group(name)
    forward = np.random.default_rng(3).permutation(g.order)
    copy = g.relabelled(forward)
    carried = {tuple(sorted(forward[h.array].tolist())) for h in g.subgroups}
    assert {h.elements for h in copy.subgroups} == carried
    assert len({c.name for c in copy.subgroup_classes}) == len(g.subgroup_classes)
