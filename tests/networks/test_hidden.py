"""Moments of the hidden layer against every pair's activations."""

import pytest
import torch

import coset_circuits as cc
from coset_circuits.errors import CosetCircuitsError
from coset_circuits.experiments import relabelled_group
from coset_circuits.networks import GroupMLP, hidden_moments, planted_gcr


@pytest.mark.parametrize("chunk", [1, 20, 10_000])
def test_moments_are_those_of_the_cached_activations(chunk):
    group = cc.group("S3")
    network = GroupMLP.initialised(group, d_mlp=5, d_embed=4, seed=3).double()
    pairs = group.pairs()
    _, cache = network.run_with_cache(pairs, names_filter="hook_post")
    post = cache["hook_post"].detach()
    other = relabelled_group(group)
    steps = []
    own, relabelled = hidden_moments(
        network, [group, other], chunk=chunk, step=lambda *s: steps.append(s)
    )
    for g in range(6):
        torch.testing.assert_close(own.by_left[g], post[pairs[:, 0] == g].mean(0))
        torch.testing.assert_close(own.by_right[g], post[pairs[:, 1] == g].mean(0))
        torch.testing.assert_close(own.by_product[g], post[group.products(pairs) == g].mean(0))
        torch.testing.assert_close(
            relabelled.by_product[g], post[other.products(pairs) == g].mean(0)
        )
    torch.testing.assert_close(own.mean, post.mean(0))
    assert own.variance() == pytest.approx(float(post.var(0, correction=0).sum()))
    write = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert own.variance(write) == pytest.approx(float((post @ write).var(0, correction=0).sum()))
    assert steps[-1] == (36, 36) and steps == sorted(steps)


def test_what_does_not_vary_has_no_variance():
    network = GroupMLP.from_weights(
        cc.group("S3"),
        left_table=torch.full((6, 2), 0.1, dtype=torch.float64),
        right_table=torch.full((6, 2), 0.2, dtype=torch.float64),
        W_U=torch.ones(2, 6, dtype=torch.float64),
    )
    assert hidden_moments(network, [network.group])[0].variance() == 0


def test_a_model_without_a_hidden_layer_and_a_group_of_another_order_are_refused():
    network = planted_gcr(cc.group("S3"))
    bilinear = cc.IrrepAlgorithm("bilinear").fit(network).surrogate()
    with pytest.raises(CosetCircuitsError, match="silent at hook_post"):
        hidden_moments(bilinear, [network.group])
    with pytest.raises(CosetCircuitsError, match="S4 has 24 elements"):
        hidden_moments(network, [cc.group("S4")])


def test_moments_of_a_transformer_hold_its_interaction():
    group = cc.group("S3")
    generator = torch.Generator().manual_seed(1)
    shapes = {
        "W_E": (7, 5), "W_pos": (3, 5), "W_Q": (2, 5, 3), "W_K": (2, 5, 3), "W_V": (2, 5, 3),
        "W_O": (2, 3, 5), "W_in": (5, 4), "W_out": (4, 5), "W_unembed": (5, 6),
    }  # fmt: skip
    weights = {
        name: torch.randn(shape, generator=generator, dtype=torch.float64)
        for name, shape in shapes.items()
    }
    network = cc.GroupTransformer(group, weights, tokens=(0, 0, 6))
    assert network.additive_share < 0.99
    _, cache = network.run_with_cache(group.pairs(), names_filter="hook_post")
    post = cache["hook_post"].detach()
    (moments,) = hidden_moments(network, [group], chunk=7)
    assert moments.variance() == pytest.approx(float(post.var(0, correction=0).sum()))
    for g in range(6):
        rows = group.products(group.pairs()) == g
        torch.testing.assert_close(moments.by_product[g], post[rows].mean(0))
