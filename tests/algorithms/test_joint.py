"""Levels fitted together: against a dense least-squares oracle, and what they do for prediction."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import coset_circuits as cc
from coset_circuits.algorithms.algorithm import Tables
from coset_circuits.algorithms.coset import cell_means
from coset_circuits.algorithms.joint import joint_unembedding, level_means
from coset_circuits.experiments import INTERVENTIONS, measure
from coset_circuits.experiments.controls import relabelled_group
from coset_circuits.networks import planted_coset
from coset_circuits.networks.spoilt import relabelled


def small_network(seed=0):
    return (
        cc.GroupMLP.initialised(cc.group("S3"), d_mlp=5, d_embed=4, seed=seed)
        .double()
        .requires_grad_(False)
    )


def test_level_means_are_each_columns_cell_means():
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(24, 7, generator=generator).double()
    labels = torch.randint(4, (24, 7), generator=generator)
    expected = torch.stack([cell_means(t, c) for t, c in zip(table.T, labels.T, strict=True)], 1)
    assert torch.allclose(level_means(labels)(table), expected, atol=1e-12)


@pytest.mark.parametrize("noise", [0.03, 0.3, 2.0])
def test_the_minimum_is_that_of_dense_least_squares(noise):
    """Every pair, output and level written out as one linear system with the ridge as rows."""
    network, surrogate = small_network(), small_network(seed=1)
    labels = torch.tensor(
        [[0, 0, 0, 1, 1, 1], [0, 1, 2, 0, 1, 2], [0] * 6, [0, 1] * 3, [*range(6)]]
    ).T
    found = joint_unembedding(network, surrogate, level_means(labels), noise)
    pairs = network.group.pairs()
    post, target = (
        torch.relu(m.left_table[pairs[:, 0]] + m.right_table[pairs[:, 1]]).detach()
        for m in (surrogate, network)
    )
    logits = target @ network.W_U.detach()
    columns, ridges, anchors = [], [], []
    for j in range(5):
        weight = noise * float(network.pre_scale[j]) * len(pairs) ** 0.5
        for level in labels[:, j].unique():
            indicator = (labels[:, j] == level).double()
            column = post[:, j, None] * (indicator - indicator.mean())
            columns.append(column.flatten())
            size = float(indicator.sum())
            ridges.append(weight * size**0.5)
            anchors.append(weight * size**-0.5 * float(indicator @ surrogate.W_U[j].detach()))
    design = torch.cat([torch.stack(columns, 1), torch.diag(torch.tensor(ridges).double())])
    wanted = torch.cat([(logits - logits.mean(1, keepdim=True)).flatten(), torch.tensor(anchors)])
    levels = iter(torch.linalg.lstsq(design, wanted[:, None]).solution[:, 0])
    expected = torch.zeros(6, 5).double()
    for j in range(5):
        for level in labels[:, j].unique():
            expected[labels[:, j] == level, j] = next(levels)
    assert torch.allclose(found, expected, atol=1e-6)


def test_a_planted_circuit_stays_what_it_is(coset_network):
    circuit = cc.CosetAlgorithm(joint=True).fit(coset_network)
    own = Tables.of(coset_network).unembed
    assert torch.allclose(circuit.fitted.unembed, own, atol=1e-6)
    assert circuit.name == "coset+joint"


def test_a_float32_network_gets_the_same_levels():
    single, double = cc.load("s4", dtype=torch.float32), cc.load("s4", dtype=torch.float32).double()
    for algorithm in (cc.CosetAlgorithm(even=True, joint=True), cc.IrrepAlgorithm(joint=True)):
        found, expected = (algorithm.fit(n).fitted.unembed for n in (single, double))
        assert torch.allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("algorithm", [cc.CosetAlgorithm(even=True), cc.IrrepAlgorithm(even=True)])
def test_the_levels_are_as_many_and_of_the_same_kind(algorithm):
    network = cc.load("s4", dtype=torch.float64)
    alone, joint = algorithm.fit(network), replace(algorithm, joint=True).fit(network)
    assert joint.name == alone.name + "+joint"
    assert torch.equal(joint.levels, alone.levels)
    assert torch.equal(joint.structure, alone.structure)
    assert torch.equal(joint.fitted.left, alone.fitted.left)
    assert not torch.allclose(joint.fitted.unembed, alone.fitted.unembed)
    used = {row.id for row in cc.INTERVENTIONS.values() if row.is_used_by(joint)}
    assert used == {"base", "sign_both"} and alone.seen == frozenset()
    # The roles and the bits are those of the levels that the surrogate carries.
    centred = Tables.of(network).unembed - Tables.of(network).unembed.mean(0)
    left = (Tables.of(network).unembed - joint.fitted.unembed).square().sum(0)
    expected = (left / centred.square().sum(0)).numpy()
    assert np.allclose(joint.roles.fvu_unembed.numpy(), expected)


def test_coset_levels_stay_constant_on_double_cosets():
    network = cc.load("s4", dtype=torch.float64)
    circuit = cc.CosetAlgorithm(even=True, joint=True).fit(network)
    products = circuit.classes("hook_post")[0].product
    again = level_means(products)(circuit.fitted.unembed)
    assert torch.allclose(again, circuit.fitted.unembed, atol=1e-9)


def test_irrep_levels_stay_in_the_neurons_irreps():
    network = cc.load("s4", dtype=torch.float64)
    blocks = {b.name: b for b in network.group.real_blocks}
    circuit = cc.IrrepAlgorithm(even=True, joint=True).fit(network)
    for j, used in enumerate(circuit.roles.notes["irreps"]):
        column = circuit.fitted.unembed[:, j] - circuit.fitted.unembed[:, j].mean()
        for name in filter(None, used.split("+")):
            column = column - blocks[name].basis @ (blocks[name].basis.T @ column)
        assert float(column.norm()) < 1e-9


def median_error(network, models):
    rows = ["noise_0_1", "noise_1_1", "noise_rel_0.5", "scale_left_2", "abs"]
    errors = {name: [] for name in models}
    for row in rows:
        outcomes = measure(
            INTERVENTIONS[row], {"network": network, **models}, network.group.pairs()
        )
        for name in models:
            ratio = outcomes[name].loss / outcomes["network"].loss
            errors[name].append(abs(np.log10(ratio)))
    return {name: float(np.median(e)) for name, e in errors.items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["s5_b", "s5_a4"])
def test_joint_levels_predict_rows_that_they_were_not_fitted_to(name):
    network = cc.load(name, dtype=torch.float64)
    other = relabelled_group(network.group, 0)
    algorithm = cc.CosetAlgorithm(even=True, joint=True)
    models = {
        "alone": cc.CosetAlgorithm(even=True).fit(network).surrogate(),
        "joint": algorithm.fit(network).surrogate(),
        "relabelled": algorithm.fit(network, other).surrogate(),
    }
    errors = median_error(network, models)
    assert errors["joint"] < 0.6 * errors["alone"]
    assert errors["relabelled"] > 5 * errors["joint"]


def test_a_circuit_that_explains_nothing_keeps_finite_levels():
    """Its activations are constant, so own levels are the best from the start, but for rounding."""
    planted = planted_coset(cc.group("A5"), "A4", seed=1, few=True)
    permutation = torch.from_numpy(np.random.default_rng((1, 1)).permutation(60))
    network = relabelled(planted, permutation)
    for seed in range(4):
        other = relabelled_group(network.group, seed)
        circuit = cc.IrrepAlgorithm(even=True, joint=True).fit(network, other)
        assert circuit.roles.coverage == 0
        assert torch.isfinite(circuit.surrogate().W_U).all()
