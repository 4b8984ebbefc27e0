"""A certificate is never above the accuracy, whatever the network and the explanation."""

import os

import numpy as np
import pytest
import torch
from released import PEERS, needs_peers

import coset_circuits as cc
from coset_circuits.algorithms import TableCircuit, certify
from coset_circuits.networks import planted_coset


def networks(count, seed=0):
    """Random, right, spoilt, nearly tied and wrong networks of every scale, with biases."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    groups = cc.group("D4"), cc.group("S4")
    for i in range(count):
        group = groups[i % 10 == 9]
        n, width = group.order, 2 + i % 13
        scale = 10.0 ** (-140, -9, 0, 0, 0, 9, 140)[i % 7]
        left, right, unembed = normal(n, width), normal(n, width), normal(width, n)
        if i % 3 == 1:  # neurons fitted to the products, spoilt more or less
            width = 2 * n
            left, right = normal(n, width), normal(n, width)
            if i % 2:  # on cosets, more or less
                labels = group.subgroups[1 + i % 4].right_cosets
                left = left[labels] + 10.0 ** -(i % 5) * normal(n, width)
            hidden = (left[:, None] + right).relu().reshape(n * n, width)
            ones = torch.eye(n, dtype=torch.float64)[group.products(group.pairs())]
            unembed = torch.linalg.lstsq(hidden, ones).solution
            unembed = unembed + 10.0 ** -(i % 8) * unembed.std() * normal(width, n)
        if i % 3 == 2:
            planted = planted_coset(group, group.subgroup_classes[1 + i % 3].name, seed=i)
            left, right, unembed = planted.left_table, planted.right_table, planted.W_U
            left, right, unembed = (t.detach().double() for t in (left, right, unembed))
            left = left + 10.0 ** -(i % 9) * left.std() * normal(*left.shape)
            width = left.shape[1]
        if i % 4 == 1:  # nearly tied
            unembed = unembed[:, :1] + 10.0 ** -(8 + i % 9) * unembed
        if i % 11 == 0:  # one number dwarfs the others
            unembed[0, 0] *= 1e12
        yield cc.GroupMLP.made_of(
            group,
            {
                "left_table": left * scale,
                "right_table": right * scale,
                "W_U": unembed * scale,
                **({"b_in": normal(width) * scale} if i % 2 else {}),
                **({"b_U": normal(n) * scale**2 * 0.1} if i % 5 == 0 else {}),
            },
            act_fn=("relu", "abs")[i % 6 == 0],
        )


def explained(network, kind):
    """A true, a wrong or no explanation of the network's tables."""
    if kind == 0:
        return cc.RawWeights().fit(network)
    if kind == 1:
        return cc.DullNull(levels=2).fit(network)
    try:
        return cc.CosetAlgorithm(relative_error=(0.3, 0.05)[kind % 2]).fit(network)
    except cc.DoesNotApplyError:
        return cc.LowRank().fit(network)


def integers(*tables):
    """Float64 numbers as integers times one power of two, exactly."""
    parts = [np.frexp(table.double().numpy()) for table in tables]
    power = min((int(e[m != 0].min()) for m, e in parts if m.any()), default=0) - 53

    def whole(m, e):
        numbers = zip(m.ravel(), e.ravel(), strict=True)
        shifted = [int(v * 2**53) << max(0, int(k) - 53 - power) for v, k in numbers]
        return np.array(shifted, dtype=object).reshape(m.shape)

    return [whole(*part) for part in parts], power


@torch.no_grad()
def right_pairs(network):
    """How many answers are larger than every other logit, in exact arithmetic."""
    (left, right), power = integers(network.left_table, network.right_table)
    (unembed,), by = integers(network.W_U)
    table, found = network.group.table.numpy(), 0
    bias, shift = np.zeros(len(table), dtype=object), 0
    if network.b_U is not None:
        (bias,), own = integers(network.b_U)
        shift = own - power - by
    for row, answers in zip(left, table, strict=True):
        pre = row + right
        hidden = abs(pre) if network.activation.name == "abs" else pre * (pre > 0)
        logits = (hidden @ unembed) * 2 ** max(0, -shift) + bias * 2 ** max(0, shift)
        for answer, line in zip(answers, logits, strict=True):
            found += line[answer] > max(np.delete(line, answer))
    return found


def assert_sound(network, *certificates):
    right = right_pairs(network) / network.group.order**2
    for one in certificates:
        assert max(one.bound, one.accuracy, *one.curve) <= right + 1e-9


@pytest.mark.slow
def test_no_certificate_is_above_the_accuracy():
    """``make test-all`` sets FUZZED_NETWORKS to 10,000, which takes three quarters of an hour."""
    proved = right = 0
    for i, network in enumerate(networks(int(os.environ.get("FUZZED_NETWORKS", "80")))):
        circuit = explained(network, i % 7)
        certificate = certify(circuit, (0.1, 0.25, 0.6, 3.0)[i % 4])
        assert_sound(network, certificate, certificate.control)
        for one in (certificate, certificate.control):
            assert one.flops <= (0.1, 0.25, 0.6, 3.0)[i % 4] * one.brute_force_flops
        if i % 4 == 3:
            proved += certificate.bound
            right += certificate.accuracy
    assert proved > 0.9 * right > 0


def test_everything_multiplied_out_proves_what_is_right():
    for network in networks(30):
        certificate = certify(cc.RawWeights().fit(network), 3.0, control=False)
        assert certificate.bound == certificate.accuracy
        assert_sound(network, certificate)


def test_exact_cosets_leave_nothing_to_multiply_out():
    """Where cells tell every sign, the tables are the network."""
    network = planted_coset(cc.group("S4"), "S3")
    certificate = certify(cc.CosetAlgorithm(relative_error=0.05).fit(network), 1.0)
    assert certificate.proof.startswith("cells")
    assert certificate.bound == 1
    assert "neurons multiplied out" not in certificate.lost
    # Such tables are exactly of low rank, so that their truncation has the same cells.
    assert certificate.flops == certificate.control.flops


def test_a_relabelled_group_proves_little():
    network = cc.load("s5").double()
    algorithm = cc.CosetAlgorithm(relative_error=0.05)
    group = network.group.relabelled(
        torch.randperm(120, generator=torch.Generator().manual_seed(0))
    )
    own, other = (certify(algorithm.fit(network, g), control=False) for g in (None, group))
    assert own.bound == own.accuracy == 1 and own.flops_for_95 < 0.25 * own.brute_force_flops
    assert other.flops_for_95 > 0.4 * own.brute_force_flops


def test_operations_are_counted():
    """With one cell a neuron: two tables, their sum, and misread signs multiplied out."""
    network = next(networks(1, seed=5))
    assert network.activation.name == "abs"
    with torch.no_grad():
        left, right = network.left_table, network.right_table
        pre = left[:, None] + right
        misread = int(((pre > 0) != (left.mean(0) + right.mean(0) > 0)).sum())
    n, width = left.shape
    certificate = certify(cc.RawWeights().fit(network), 9.0, control=False)
    assert certificate.proof == "cells and all neurons"
    assert certificate.flops == 4 * width * n**2 + 2 * n**3 + 3 * width * n**2 + 2 * n * misread


@needs_peers
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 9))
def test_released_networks_are_proved_at_a_quarter_of_brute_force(seed):
    network = cc.load(PEERS / f"S5_MLP_seed{seed}").double()
    certificate = certify(cc.CosetAlgorithm(relative_error=0.05).fit(network))
    assert 0.95 <= certificate.bound <= certificate.accuracy
    assert certificate.control.bound < 0.6


def test_what_cannot_be_certified_is_refused():
    network = cc.GroupMLP.initialised(cc.group("D4"), act_fn="gelu")
    with pytest.raises(cc.CosetCircuitsError, match="give an MLP with relu or abs"):
        certify(cc.CosetAlgorithm().fit(network))
    network = planted_coset(cc.group("S4"), "S3")
    circuit = cc.CosetAlgorithm().fit(network)
    with pytest.raises(cc.CosetCircuitsError, match="linear half is not cancelled"):
        even = circuit.surrogate({"left", "even"})
        certify(cc.RawWeights().fit(even))
    with pytest.raises(cc.CosetCircuitsError, match="positive share"):
        certify(circuit, 0.0)
    bilinear = cc.ALGORITHMS["bilinear"][0].fit(cc.load("s4").double())
    assert not isinstance(bilinear, TableCircuit)
    with pytest.raises(cc.CosetCircuitsError, match="hypothesis about tables"):
        certify(bilinear)
