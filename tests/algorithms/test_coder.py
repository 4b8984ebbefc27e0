"""Descriptions in few bits, against brute force, counting by hand and networks of known kind."""

import copy
import math

import numpy as np
import pytest
import torch
from rare import rare

import coset_circuits as cc
from coset_circuits.algorithms import (
    CosetIrrepAlgorithm,
    LowRank,
    MixedAlgorithm,
    RhoSetAlgorithm,
    Tables,
)
from coset_circuits.algorithms.alike import directions
from coset_circuits.algorithms.coder import Coder
from coset_circuits.algorithms.counting import BETWEEN, COSETS, IRREPS, RHO_SETS
from coset_circuits.networks import planted_coset, planted_gcr
from coset_circuits.networks.spoilt import joined

ALL_TYPES = ["S4", "A4", "C7", "Q8", "Dic3", "D5", "C2xC2xC2"]
FAMILIES = {"coset": COSETS, "irrep": IRREPS, "between": BETWEEN, "rho-set": RHO_SETS}


def random_table(order, neurons, seed=0):
    return np.random.default_rng(seed).normal(size=(order, neurons))


def rank_one(group, block, fixed_by=None, seed=0):
    """aᵀρ(g⁻¹)b over the reals, b fixed by a subgroup."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, block.dimension))
    rho = block.matrices.numpy()
    if fixed_by is not None:
        b = rho[fixed_by.array].mean(0) @ b
    return np.einsum("i,gji,j->g", a, rho, b)


@pytest.mark.parametrize("name", ALL_TYPES)
def test_coefficients_hold_a_function_and_its_length(name):
    group = cc.group(name)
    coder, table = Coder(group, 0.05), random_table(group.order, 5)
    found = coder.coefficients(table)
    np.testing.assert_allclose(coder.functions(found), table, atol=1e-10)
    energies = sum(np.square(matrix).sum((1, 2)) for matrix in found)
    np.testing.assert_allclose(energies, np.square(table).sum(0))


@pytest.mark.parametrize("name", ALL_TYPES)
def test_the_mirror_image_and_the_best_one_are_those_of_brute_force(name):
    group = cc.group(name)
    coder, rng = Coder(group, 0.05), np.random.default_rng(1)
    left, right = random_table(group.order, 4), random_table(group.order, 4, seed=2)
    x = rng.integers(group.order, size=4)
    images = np.stack([-left[group.array[x[j], group.inverse_array], j] for j in range(4)], axis=1)
    mirrored = coder.mirrored(coder.coefficients(left), x)
    np.testing.assert_allclose(coder.functions(mirrored), images, atol=1e-10)
    back = coder.unmirrored(coder.coefficients(images), x)
    np.testing.assert_allclose(coder.functions(back), left, atol=1e-10)
    best = coder.best_mirror(coder.coefficients(left), coder.coefficients(right))
    every = np.stack([-left[group.array[g, group.inverse_array]] for g in range(group.order)])
    errors = np.square(every - right).sum(1)
    np.testing.assert_allclose(errors[best, np.arange(4)], errors.min(0))


@pytest.mark.parametrize("name", ["S4", "Q8", "A4"])
def test_what_a_subgroup_fixes_are_the_functions_on_its_cosets(name):
    group = cc.group(name)
    coder, table = Coder(group, 0.05), random_table(group.order, 3)
    for i, subgroup in enumerate(coder.subgroups):
        places = np.full(3, i)
        found = coder.on_right_cosets(coder.coefficients(table), places)
        means = np.stack([table[group.array[h]] for h in subgroup.array]).mean(0)
        np.testing.assert_allclose(coder.functions(found), means, atol=1e-10)
        found = coder.on_left_cosets(coder.coefficients(table), places)
        means = np.stack([table[group.array[:, h]] for h in subgroup.array]).mean(0)
        np.testing.assert_allclose(coder.functions(found), means, atol=1e-10)
        # Frobenius: the multiplicities of the permutation representation add up to the index.
        degrees = coder.fixed_degrees[i]
        ends = np.array(coder.ends)
        assert (ends * coder.degrees * degrees).sum() == subgroup.index


@pytest.mark.parametrize("name", ["S4", "C7", "Q8", "A4"])
def test_a_direction_costs_as_many_numbers_as_it_has(name):
    """Over the reals, the complex numbers (C7, A4) and the quaternions (Q8)."""
    group = cc.group(name)
    coder = Coder(group, 0.05)
    for b, block in enumerate(coder.blocks):
        if b == 0:
            continue
        table = rank_one(group, block)[:, None]
        unit = table / np.linalg.norm(table - table.mean(0))
        whole = np.broadcast_to(coder.degrees, (1, len(coder.degrees)))
        total = np.square(unit).sum(0)
        fit, numbers, _ = coder.code(coder.coefficients(unit), whole, whole, total, IRREPS)
        np.testing.assert_allclose(coder.functions(fit), unit, atol=1e-8)
        degree, end = coder.degrees[b], coder.ends[b]
        assert numbers[0] == end * (2 * degree - 1)
        # With every direction it is the whole block.
        assert sum(end * (2 * degree - 2 * r + 1) for r in range(1, degree + 1)) == block.parameters


@pytest.mark.parametrize("family", list(FAMILIES))
@pytest.mark.parametrize("make", ["s4", "a5", "planted"])
def test_bits_are_the_choices_the_numbers_and_what_is_left(family, make):
    network = planted_coset(cc.group("D4"), "C2⟨r0s⟩") if make == "planted" else cc.load(make)
    tables = Tables.of(network)
    coder = Coder(network.group, 0.05)
    code = coder.fit(tables, FAMILIES[family], np.ones(tables.left.shape[1], dtype=bool))
    left_over = [
        ((table - fit).square().sum(0) / (table - table.mean(0)).square().sum(0)).numpy()
        for table, fit in zip(tables, code.fitted, strict=True)
    ]
    np.testing.assert_allclose(np.stack(left_over, 1), code.residual, atol=1e-9)
    rest = coder.residual_bits(code.residual).sum(1)
    assert not len(code.shared)
    np.testing.assert_allclose(code.structure + code.levels * coder.level + rest, code.bits)


def planted_rho_set(group, block, subgroup, directions=6):
    """Wu et al.'s formula, written down: two vectors of the orbit of b and a direction a neuron."""
    generator = torch.Generator().manual_seed(0)
    rho = block.matrices
    b = torch.linalg.eigh(rho[subgroup.array].mean(0)).eigenvectors[:, -1]
    orbit = (
        rho[torch.unique(subgroup.left_cosets, return_inverse=True)[1].argsort()[:: subgroup.order]]
        @ b
    )
    alpha = torch.randn(directions, block.dimension, generator=generator, dtype=torch.float64)
    moved = torch.einsum("gij,bj->gib", rho, orbit)
    right = torch.einsum("ai,gib->gab", alpha, moved)
    n = len(orbit)
    i, k = torch.arange(n).repeat_interleave(n), torch.arange(n).repeat(n)
    unembed = -torch.einsum("bi,gic->gbc", orbit, moved)[:, i, k]
    return cc.GroupMLP.from_weights(
        group,
        left_table=right[group.inverses][:, :, i].flatten(1),
        right_table=-right[:, :, k].flatten(1),
        W_U=unembed.repeat(1, directions).T,
        label="planted ρ-set",
    )


def bits_of(network, relative_error=0.05):
    kinds = {
        "coset": cc.CosetAlgorithm,
        "irrep": cc.IrrepAlgorithm,
        "rho-set": RhoSetAlgorithm,
        "coset-irrep": CosetIrrepAlgorithm,
        "mixed": MixedAlgorithm,
    }
    return {
        key: kind(relative_error=relative_error)
        .fit(network)
        .description_length(relative_error)
        .bits_per_neuron
        for key, kind in kinds.items()
    }


def test_a_planted_coset_circuit_is_shortest_as_one(coset_network):
    bits = bits_of(coset_network)
    assert min(bits, key=bits.get) == "coset"
    assert bits["coset-irrep"] < bits["irrep"]


def test_a_planted_gcr_is_shortest_in_irreps(gcr_network):
    bits = bits_of(gcr_network)
    assert min(bits, key=bits.get) == "irrep"
    assert bits["coset-irrep"] - bits["irrep"] < 3


@pytest.mark.parametrize(
    ("group", "irrep"), [("S4", "(3,1)"), pytest.param("S5", "(3,2)", marks=rare)]
)
def test_a_planted_rho_set_is_shortest_as_one(group, irrep):
    group = cc.group(group)
    block = next(b for b in group.real_blocks if b.name == irrep)
    found = next(
        c
        for c in group.subgroup_classes
        if c.order > 1 and abs(block.matrices[c.representative.array].mean(0).trace() - 1) < 1e-6
    )
    network = planted_rho_set(group, block, found.representative)
    bits = bits_of(network)
    assert min(bits, key=bits.get) == "rho-set"
    d = block.dimension
    circuit = RhoSetAlgorithm(relative_error=0.05).fit(network)
    # a has d numbers, the unembedding one; the three means are zero and cost nothing.
    assert set(circuit.levels.tolist()) == {d + 1.0}


@pytest.mark.parametrize("name", ["S4", "C7", "Q8", "A4"])
@pytest.mark.parametrize("dimensions", [1, 2])
def test_common_directions_are_paid_for_once(name, dimensions):
    """Tables aᵀρ(g⁻¹)b and −aᵀρ(g)b′ with a in one space: over ℝ, ℂ (C7, A4) and ℍ (Q8)."""
    group = cc.group(name)
    coder, rng, neurons = Coder(group, 0.05), np.random.default_rng(0), 40
    b = max(range(len(coder.blocks)), key=lambda b: (coder.degrees[b], b))
    rho = coder.matrices[b]
    dimensions = min(dimensions, coder.degrees[b])
    space = rng.normal(size=(dimensions, rho.shape[1]))
    a = rng.normal(size=(neurons, dimensions)) @ space
    read, written = rng.normal(size=(2, neurons, rho.shape[1]))
    left = np.einsum("mi,gji,mj->gm", a, rho, read)
    right = -np.einsum("mi,gij,mj->gm", a, rho, written)
    found = [coder.coefficients(t / np.linalg.norm(t, axis=0)) for t in (left, right)]
    lefts, rights, spaces = directions(coder, *found)
    assert spaces.dimensions[b] == dimensions and spaces.dimensions.sum() == dimensions
    assert spaces.numbers == coder.ends[b] * dimensions * (coder.degrees[b] - dimensions)
    for before, after in zip(found, (lefts, rights), strict=True):
        np.testing.assert_allclose(coder.functions(before), coder.functions(after), atol=1e-8)


def test_neurons_with_one_direction_need_one_number_less_for_each_of_its_dimensions():
    group = cc.group("S5")
    block = next(b for b in group.real_blocks if b.name == "(3,2)")
    found = next(
        c
        for c in group.subgroup_classes
        if c.order > 1 and abs(block.matrices[c.representative.array].mean(0).trace() - 1) < 1e-6
    )
    network = planted_rho_set(group, block, found.representative, directions=1)
    circuit = RhoSetAlgorithm(relative_error=0.05).fit(network)
    # A scale and the unembedding's number; the direction's d − 1 are shared by all neurons.
    expected = 2 + (block.dimension - 1) / network.cfg.d_mlp
    assert circuit.levels.tolist() == pytest.approx([expected] * network.cfg.d_mlp)


def test_an_unembedding_in_irreps_that_all_neurons_write_is_named_once(coset_network):
    """Any functions in one irrep: every family that may do without cosets pays its numbers."""
    network = copy.deepcopy(coset_network)
    coder = Coder(network.group, 0.05)
    written = [next(b for b, degree in enumerate(coder.degrees) if degree == 3)]
    rng, width = np.random.default_rng(0), network.cfg.d_mlp
    parts = [
        rng.normal(size=(width, *rho.shape[1:])) * (b in written)
        for b, rho in enumerate(coder.matrices)
    ]
    with torch.no_grad():
        network.W_U.copy_(torch.from_numpy(coder.functions(parts).T))
    kept = np.ones(width, dtype=bool)
    for family in (IRREPS, BETWEEN):
        before = coder.fit(Tables.of(coset_network), family, kept)
        after = coder.fit(Tables.of(network), family, kept)
        assert after.residual[:, 2].max() < 1e-9
        # Nine numbers a neuron, or fewer where its own function happens to need fewer.
        assert (after.levels <= before.levels + 9).all()
    # Coset circuits write functions on cosets, so they cannot say this.
    assert coder.fit(Tables.of(network), COSETS, kept).residual[:, 2].mean() > 0.1


def bent(group, irrep, size, neurons=300):
    """Three tables of any functions in one irrep, all bent by the same small error."""
    block = next(b for b in group.real_blocks if b.name == irrep)
    rng, functions = np.random.default_rng(0), block.basis.numpy()
    elsewhere = np.concatenate([b.basis.numpy() for b in group.real_blocks if b is not block], 1)
    straight, tables, errors = [], [], []
    for _ in range(3):
        numbers = rng.normal(size=(functions.shape[1], neurons))
        error = elsewhere[:, 1:] @ rng.normal(size=(elsewhere.shape[1] - 1, functions.shape[1]))
        errors.append(size * error / np.linalg.norm(error, axis=0))
        straight.append(functions @ numbers)
        tables.append(straight[-1] + errors[-1] @ numbers)
    left, right, unembed = map(torch.from_numpy, tables)
    made = Tables(left, right, unembed, torch.arange(group.order))
    return made, straight, np.concatenate(errors, 1), block.parameters


@pytest.mark.parametrize("family", [IRREPS, BETWEEN])
def test_an_error_that_all_neurons_share_is_coded_once_for_each_function(family):
    tables, straight, errors, parameters = bent(cc.group("S4"), "(3,1)", 0.2)
    coder, kept = Coder(cc.group("S4"), 0.05), np.ones(300, dtype=bool)
    code = coder.fit(tables, family, kept)
    for fit, table in zip(code.fitted, straight, strict=True):
        # The description is what was there before it was bent.
        np.testing.assert_allclose(fit.numpy(), table, atol=0.01 * table.std())
    np.testing.assert_allclose(code.shared, np.square(errors).sum(0), rtol=0.02)
    assert code.residual.max() < 1e-4
    # Every neuron has nine numbers a table, and what all share is divided by them.
    once = coder.residual_bits(np.square(errors).sum(0)).sum() / 300
    bits = 3 * parameters * coder.level + once
    assert code.bits.mean() == pytest.approx(bits, abs=0.5)


def test_nothing_is_shared_where_the_error_is_large_or_the_group_renamed():
    from coset_circuits.experiments.controls import random_names

    coder, kept = Coder(cc.group("S4"), 0.05), np.ones(300, dtype=bool)
    tables, *_ = bent(cc.group("S4"), "(3,1)", 0.2)
    names = torch.from_numpy(random_names(cc.group("S4"), np.random.default_rng(0)))
    left, right, unembed = (table[names] for table in tables)
    renamed = Tables(left, right, unembed, names)
    assert not len(coder.fit(renamed, IRREPS, kept).shared)
    assert coder.fit(renamed, IRREPS, kept).bits.mean() > 0.9 * 3 * 24 * coder.level
    # As large as the functions themselves: they are then functions of another kind.
    large, *_ = bent(cc.group("S4"), "(3,1)", 1.0)
    assert not len(coder.fit(large, IRREPS, kept).shared)


def test_functions_in_a_space_that_all_neurons_use_cost_its_dimensions():
    """Any functions in two dimensions of the nine of an irrep, which no direction explains."""
    group, rng, neurons = cc.group("S4"), np.random.default_rng(0), 200
    block = next(b for b in group.real_blocks if b.name == "(3,1)")
    left, right, unembed = (
        block.basis @ torch.from_numpy(rng.normal(size=(9, 2)) @ rng.normal(size=(2, neurons)))
        for _ in range(3)
    )
    coder, made = Coder(group, 0.05), Tables(left, right, unembed, torch.arange(24))
    code = coder.fit(made, IRREPS, np.ones(neurons, dtype=bool))
    assert code.levels == pytest.approx(np.full(neurons, 3 * (2 + 2 * (9 - 2) / neurons)))
    assert code.residual.max() < 1e-9


def test_a_mixture_is_shortest_mixed(coset_network):
    group = cc.group("S4")
    both = joined([coset_network, planted_gcr(group, act_fn="relu")])
    bits = bits_of(both)
    assert bits["mixed"] < min(bits["coset"], bits["irrep"], bits["rho-set"])
    roles = MixedAlgorithm(relative_error=0.05).fit(both).roles.names
    assert {name.split(":")[0] for name in roles} >= {"coset", "irrep"}


def test_a_renamed_group_describes_nothing(coset_network):
    from coset_circuits.experiments import relabelled_group

    renamed = relabelled_group(coset_network.group, 0)
    whole = 3 * 24 * math.log2(20)
    for kind in (cc.CosetAlgorithm, cc.IrrepAlgorithm, CosetIrrepAlgorithm, MixedAlgorithm):
        circuit = kind(relative_error=0.05).fit(coset_network, renamed)
        assert circuit.description_length(0.05).bits_per_neuron > 0.75 * whole
        assert circuit.roles.coverage < 0.2


def test_more_is_never_longer_than_what_it_contains_and_the_choice():
    """The family between has both ends in it; the mixture has its parts."""
    for name in ("s4", "a5"):
        bits = bits_of(cc.load(name))
        slack = 1 + math.log2(16)
        assert bits["coset-irrep"] <= min(bits["coset"], bits["irrep"]) + slack
        assert bits["mixed"] <= min(bits["coset"], bits["irrep"], bits["rho-set"]) + math.log2(3)


def test_low_rank_counts_the_numbers_of_a_matrix_of_low_rank():
    group, rank, width = cc.group("S4"), 2, 30
    generator = torch.Generator().manual_seed(0)

    def table():
        one = torch.randn(24, rank, generator=generator, dtype=torch.float64)
        return one @ torch.randn(rank, width, generator=generator, dtype=torch.float64)

    network = cc.GroupMLP.from_weights(
        group, left_table=table(), right_table=table(), W_U=table().T
    )
    circuit = LowRank(relative_error=0.05).fit(network)
    length = circuit.description_length(0.05)
    numbers = 3 * (rank * (24 + width - rank) + width)
    assert length.levels == pytest.approx(numbers * math.log2(20))
    assert length.residual == pytest.approx(0, abs=1e-6)
    torch.testing.assert_close(circuit.surrogate().left_table, network.left_table)


def test_low_rank_of_noise_is_the_weights_themselves(untrained):
    raw = 3 * 24 * math.log2(20)
    bits = LowRank(relative_error=0.05).fit(untrained).description_length(0.05).bits_per_neuron
    assert bits == pytest.approx(raw, rel=0.15)
