"""The hand-written step against autograd and torch's AdamW, in float64."""

import pytest
import torch

import coset_circuits as cc
from coset_circuits.training import gradients
from coset_circuits.training.step import Stack

BETAS = (0.9, 0.98)


def networks(count, act_fn="relu", group="S4"):
    return [
        cc.GroupMLP.initialised(
            cc.group(group), d_mlp=20, d_embed=10, act_fn=act_fn, seed=seed
        ).double()
        for seed in range(count)
    ]


def batches(group, count, size=200):
    """For each network pairs of its own; some elements come up several times, some not at all."""
    generator = torch.Generator().manual_seed(3)
    chosen = torch.randint(group.order**2, (count, size), generator=generator)
    return group.pairs()[chosen]


def plain_loss(network, pairs):
    """The same network, each pair embedded, in autograd; a grouping of terms of our own."""
    a, b = pairs.T
    pre = network.W_E_left[a] @ network.W_in_left + network.W_E_right[b] @ network.W_in_right
    logits = network.activation.function(pre) @ network.W_U
    return torch.nn.functional.cross_entropy(logits, network.group.products(pairs))


def differentiate(stack, group, pairs):
    stack.differentiate(
        pairs[..., 0], pairs[..., 1], torch.stack([group.products(p) for p in pairs])
    )


@pytest.mark.parametrize("act_fn", ["relu", "gelu", "silu", "abs", "square", "identity"])
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("chunk", [2048, 64])
def test_gradients_are_those_of_autograd(count, act_fn, chunk, monkeypatch):
    monkeypatch.setattr(gradients, "CHUNK", chunk)
    plain, ours = networks(count, act_fn), networks(count, act_fn)
    group = ours[0].group
    pairs = batches(group, count)
    stack = Stack(ours)
    differentiate(stack, group, pairs)
    for row, network in enumerate(plain):
        plain_loss(network, pairs[row]).backward()
        for name, parameter in network.named_parameters():
            found = stack.gradients[name][row]
            assert (found - parameter.grad).norm() <= 1e-10 * parameter.grad.norm(), name


def plain_transformer_loss(w, activation, pairs, products):
    """Position by position and head by head; the query, too, is that of each pair."""
    order = w["W_unembed"].shape[1]
    tokens = torch.cat([pairs, torch.full((len(pairs), 1), order)], 1)
    x = w["W_E"][tokens] + w["W_pos"]
    resid = x[:, 2]
    for head in range(len(w["W_Q"])):
        query, key, value = (x @ w[name][head] for name in ("W_Q", "W_K", "W_V"))
        scores = query @ key.mT / query.shape[-1] ** 0.5
        future = torch.ones(3, 3, dtype=torch.bool).triu(1)
        pattern = scores.masked_fill(future, -torch.inf).softmax(-1)
        resid = resid + (pattern @ value @ w["W_O"][head])[:, 2]
    out = resid + activation(resid @ w["W_in"]) @ w["W_out"]
    return torch.nn.functional.cross_entropy(out @ w["W_unembed"], products)


@pytest.mark.parametrize("act_fn", ["relu", "gelu"])
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("chunk", [2048, 64])
def test_gradients_of_transformers_are_those_of_the_plain_model(count, act_fn, chunk, monkeypatch):
    monkeypatch.setattr(gradients, "CHUNK", chunk)
    group = cc.group("S4")
    sizes = {"d_mlp": 20, "d_model": 12, "n_heads": 3, "d_head": 5, "act_fn": act_fn}
    ours = [cc.GroupTransformer.initialised(group, **sizes, seed=i).double() for i in range(count)]
    plain = [{k: v.detach().clone() for k, v in n.named_parameters()} for n in ours]
    pairs = batches(group, count)
    stack = Stack(ours)
    differentiate(stack, group, pairs)
    for row, weights in enumerate(plain):
        for weight in weights.values():
            weight.requires_grad_()
        activation = ours[row].activation.function
        plain_transformer_loss(
            weights, activation, pairs[row], group.products(pairs[row])
        ).backward()
        for name, weight in weights.items():
            found = stack.gradients[name][row]
            assert (found - weight.grad).norm() <= 1e-10 * weight.grad.norm(), name


def test_hundreds_of_steps_are_those_of_torchs_adamw():
    plain, ours = networks(2), networks(2)
    group, rates = ours[0].group, torch.tensor([[1e-2], [3e-3]], dtype=torch.float64)
    optimisers = [
        torch.optim.AdamW(n.parameters(), lr=rate.item(), weight_decay=1.0, betas=BETAS)
        for n, rate in zip(plain, rates, strict=True)
    ]
    pairs, stack = batches(group, 2), Stack(ours)
    for step in range(1, 301):
        differentiate(stack, group, pairs)
        stack.update(torch.tensor([float(step)], dtype=torch.float64), rates, 1.0, BETAS)
        for row, (network, optimiser) in enumerate(zip(plain, optimisers, strict=True)):
            optimiser.zero_grad()
            plain_loss(network, pairs[row]).backward()
            optimiser.step()
    for one, other in zip(ours, plain, strict=True):
        for name, parameter in other.named_parameters():
            torch.testing.assert_close(getattr(one, name), parameter, rtol=1e-9, atol=1e-11)


def test_a_networks_parameters_are_the_stacks_own():
    (network,) = networks(1)
    stack = Stack([network])
    stack.flat.zero_()
    assert all((parameter == 0).all() for parameter in network.parameters())


def test_networks_side_by_side_do_not_know_of_each_other():
    """In float32: the second of three is what it is alone, but for the rounding of a product."""
    group = cc.group("S4")
    pairs = batches(group, 3)

    def trained(rows):
        stack = Stack([networks(3)[row].float() for row in rows])
        for step in range(1, 21):
            differentiate(stack, group, pairs[rows])
            rates = torch.full((len(rows), 1), 1e-2, dtype=torch.float64)
            stack.update(torch.tensor([float(step)], dtype=torch.float64), rates, 1.0, BETAS)
        return stack.flat

    torch.testing.assert_close(trained([0, 1, 2])[1], trained([1])[0], rtol=1e-4, atol=1e-6)
