"""The hand-written step against autograd and torch's AdamW, in float64."""

import pytest
import torch

import coset_circuits as cc
from coset_circuits.training import step as step_module
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
    monkeypatch.setattr(step_module, "_CHUNK", chunk)
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
