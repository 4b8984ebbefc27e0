"""Ratios of times within one run; printed with -s, asserted only where the order is certain."""

import time

import pytest
import torch

import coset_circuits as cc
from coset_circuits.networks.losses import cross_entropy_gradient

pytestmark = pytest.mark.slow


def fastest(work, repeats=15):
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return min(times)


@pytest.fixture(scope="module")
def network():
    return cc.load("s5").requires_grad_(False)


def test_factorised_forward_beats_embedding_every_pair(network):
    pairs = network.group.pairs()
    a, b = pairs.T

    def per_pair():
        left = network.W_E_left[a] @ network.W_in_left
        right = network.W_E_right[b] @ network.W_in_right
        return torch.relu(left + right) @ network.W_U

    assert torch.allclose(per_pair(), network(pairs), atol=1e-4)
    ratio = fastest(per_pair) / fastest(lambda: network(pairs))
    # FLOPs: 2·n²·d_mlp·(2·d_embed + n) against 2·n²·d_mlp·n, a floor of 5.3 for the products.
    print(f"\nper-pair embedding / factorised forward: {ratio:.1f}")
    assert ratio > 1.5


def test_careful_loss_beats_a_float64_softmax(network):
    pairs = network.group.pairs()[::3]
    labels = network.group.products(pairs)
    logits = network(pairs)

    def in_float64():
        given = logits.clone().requires_grad_()
        torch.nn.functional.cross_entropy(given.double(), labels).backward()

    double = fastest(in_float64)
    careful = fastest(lambda: cross_entropy_gradient(logits, labels))
    print(f"\nfloat64 cross-entropy / careful float32: {double / careful:.1f}")
    assert double > careful
