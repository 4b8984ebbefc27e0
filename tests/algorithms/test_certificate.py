"""A certificate is never above the accuracy, and is exact where nothing is left out."""

import pytest
import torch

import coset_circuits as cc
from coset_circuits.algorithms import certify


def networks(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for i in range(count):
        group = cc.group(("D4", "S4")[i % 10 == 9])
        width = 2 + i % 13

        def normal(*shape):
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        n, scale = group.order, 10.0 ** (-140, -9, 0, 0, 0, 9, 140)[i % 7]
        left, right, unembed = normal(n, width), normal(n, width), normal(width, n)
        if i % 3:  # neurons that fire for one product only, spoilt more or less
            width = n
            left, right = normal(n, n), normal(n, n)
            rho = torch.eye(n, dtype=torch.float64)
            hidden = torch.stack([(left[x] + right).relu() for x in range(n)]).reshape(n * n, n)
            labels = group.products(group.pairs())
            unembed = torch.linalg.lstsq(hidden, rho[labels]).solution
        if i % 4 == 1:  # nearly tied
            unembed = unembed[:, :1] + 1e-13 * unembed
        bias = normal(n) * scale**2 * 0.1 if i % 5 == 0 else None
        yield cc.GroupMLP.from_weights(
            group,
            left_table=left * scale,
            right_table=right * scale,
            W_U=unembed * scale,
            b_in=normal(width) * scale if i % 2 else None,
            b_U=bias,
        )


def strict_accuracy(network):
    with torch.no_grad():
        pairs = network.group.pairs()
        logits, labels = network(pairs), network.group.products(pairs)[:, None]
        others = logits.scatter(1, labels, -torch.inf).amax(1)
        return (logits.gather(1, labels)[:, 0] > others).double().mean().item()


@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.slow)])
def test_no_certificate_is_above_the_accuracy(count):
    some = 0
    for i, network in enumerate(networks(count)):
        proved = certify(network, network.W_U, rank=None if i % 2 else 1 + i % 8).bound
        assert proved <= strict_accuracy(network) + 1e-12
        some += proved > 0
    assert some > count / 4


def test_nothing_left_out_proves_what_is_right():
    network = next(networks(1))
    assert certify(network, network.W_U).bound == pytest.approx(strict_accuracy(network))


def test_other_activations_are_refused():
    network = cc.GroupMLP.initialised(cc.group("D4"), act_fn="gelu")
    with pytest.raises(cc.CosetCircuitsError, match="MLP with ReLU"):
        certify(network, network.W_U)
