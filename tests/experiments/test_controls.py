"""Controls that must differ from the group, and exact values they are read against."""

import numpy as np
import pytest
import torch

import coset_circuits as cc
from coset_circuits.experiments import commuting_fraction, relabelled_group
from coset_circuits.experiments.controls import keeps_structure

KLEIN = [[a ^ b for b in range(4)] for a in range(4)]


@pytest.mark.parametrize("name", ["S3", "S4", "D5", "A4", "C7", "C6", "D4", "C5", "C4"])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_relabelled_group_is_the_same_group_under_other_names(name, seed):
    group = cc.group(name)
    other = relabelled_group(group, seed)
    assert other is not None and other.origin is not None
    cc.FiniteGroup.from_table(other.table)
    sizes = [sorted(len(c) for c in g.conjugacy_classes) for g in (group, other)]
    assert sizes[0] == sizes[1]
    assert sorted(group.element_orders) == sorted(other.element_orders)
    base, forward = other.origin
    assert base is group
    for a in range(group.order):
        assert (other.array[forward[a], forward] == forward[group.array[a]]).all()
    assert not np.array_equal(other.array, group.array)
    assert not keeps_structure(group, forward)


def test_a_seed_fixes_the_relabelling():
    group = cc.group("S4")
    one, same, other = (relabelled_group(group, seed) for seed in (0, 0, 1))
    assert one == same and one != other


def cosets_kept(group, names):
    """How many partitions into cosets are sent to partitions into cosets, set by set."""
    table = group.array
    partitions = {
        frozenset(frozenset(int(x) for x in coset) for coset in cosets)
        for h in group.subgroups
        if 1 < h.order < group.order
        for cosets in (table[h.array].T, table[:, h.array])
    }
    moved = [frozenset(frozenset(int(names[x]) for x in c) for c in p) for p in partitions]
    return sum(partition in partitions for partition in moved)


@pytest.mark.parametrize(("name", "fewest"), [("D4", 0), ("C2^3", 0), ("C6", 0), ("S3", 2)])
def test_cosets_do_not_stay_cosets(name, fewest):
    """In S3 they cannot all be broken up: no permutation keeps fewer than two of its seven."""
    group = cc.group(name)
    kept = []
    for seed in range(40):
        other = relabelled_group(group, seed)
        kept.append(cosets_kept(group, other.origin[1]))
    assert set(kept) == {fewest}
    drawn = [np.random.default_rng(seed).permutation(group.order) for seed in range(60)]
    least = [cosets_kept(group, names) for names in drawn if not keeps_structure(group, names)]
    assert min(least) == fewest
    assert max(least) > 0  # the first draw would not always have done


def test_d4s_irrep_does_not_survive_where_cosets_of_the_centre_did():
    """Seed 18 once drew names that keep the centre's cosets, and with them all odd functions."""
    group = cc.group("D4")
    names = np.random.default_rng(18).permutation(group.order)

    def onto_irrep(of):
        """The projection onto its functions, up to scale: its character of g h⁻¹."""
        block = next(b for b in of.real_blocks if b.dimension == 2)
        return block.character[of.table[:, of.inverses]]

    assert torch.allclose(onto_irrep(group.relabelled(names)), onto_irrep(group))
    assert not torch.allclose(onto_irrep(relabelled_group(group, 18)), onto_irrep(group))


@pytest.mark.parametrize("name", ["C1", "C2", "C3", "klein"])
def test_where_every_relabelling_keeps_the_structure_there_is_none(name):
    """|Aut|·order (and inversion) is already order! here."""
    group = cc.FiniteGroup.from_table(KLEIN) if name == "klein" else cc.group(name)
    assert relabelled_group(group) is None


@pytest.mark.parametrize("name", ["S4", "D5", "C7", "A4"])
def test_maps_that_respect_the_product_up_to_a_shift_are_found_out(name):
    group = cc.group(name)
    table, inverse = group.array, group.inverse_array
    g = group.order - 1
    inner = table[table[g], inverse[g]]
    assert keeps_structure(group, np.arange(group.order))
    assert keeps_structure(group, inner)
    assert keeps_structure(group, inverse)
    assert keeps_structure(group, table[g])
    assert keeps_structure(group, table[:, g])
    assert keeps_structure(group, table[g, inverse][inner])
    swapped = np.arange(group.order)
    swapped[[1, 2]] = swapped[[2, 1]]
    # In C7 the exchange of 1 and 2 fixes the generator 3; elsewhere it moves a coset too.
    assert not keeps_structure(group, swapped)


def test_an_outer_automorphism_keeps_the_structure():
    group = cc.group("C7")
    assert keeps_structure(group, 3 * np.arange(7) % 7)
    assert keeps_structure(group, (3 * np.arange(7) + 2) % 7)


@pytest.mark.parametrize("name", ["S3", "S4", "S5", "D59", "C13", "A5"])
def test_the_commuting_fraction_by_brute_force(name):
    group = cc.group(name)
    assert commuting_fraction(group) == pytest.approx((group.array == group.array.T).mean())


def test_the_commuting_fraction_of_s5():
    assert commuting_fraction(cc.group("S5")) == 7 / 120
