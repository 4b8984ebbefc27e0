"""Modified networks: joined neurons, noise on the weights, or exchanged labels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from coset_circuits.errors import CosetCircuitsError
from coset_circuits.groups import FiniteGroup
from coset_circuits.networks.mlp import GroupMLP


def joined(networks: Sequence[GroupMLP]) -> GroupMLP:
    """Join several networks into one that has all their neurons.

    Its logits are the sum of the networks' logits, scaled to the variance of the first network's
    so that each contributes equally.

    Raises:
        CosetCircuitsError: no network was given, they differ in group or activation, or one has an
            output bias.
    """
    if not networks:
        raise CosetCircuitsError("No network was given; give the networks to join.")
    first = networks[0]
    for other in networks[1:]:
        if other.group != first.group or other.activation.name != first.activation.name:
            raise CosetCircuitsError(
                f"{first.label} and {other.label} differ in group or activation; join networks "
                "with the same group and activation."
            )
    if any(network.b_U is not None for network in networks):
        raise CosetCircuitsError("A network with an output bias cannot be joined; remove it.")
    spreads = [_spread(network) for network in networks]
    names = " and ".join(network.label for network in networks)
    return _made(
        first,
        torch.cat([network.left_table for network in networks], 1),
        torch.cat([network.right_table for network in networks], 1),
        torch.cat([n.W_U * spreads[0] / own for n, own in zip(networks, spreads, strict=True)]),
        names,
        f"joined: {names}",
    )


@torch.no_grad()
def _spread(network: GroupMLP) -> float:
    """The standard deviation of the logits, after subtracting each pair's mean."""
    logits = network(network.group.pairs())
    return float((logits - logits.mean(1, keepdim=True)).square().mean().sqrt())


def noisy(network: GroupMLP, size: float, *, seed: int = 0) -> GroupMLP:
    """A copy of the network with normal noise on both tables and the unembedding.

    Args:
        network: the network, which is not changed.
        size: the noise's standard deviation, relative to the standard deviation of each neuron's
            table or row.
        seed: random seed for the noise.
    """
    generator = torch.Generator().manual_seed(seed)

    def disturbed(table: Tensor) -> Tensor:
        draw = torch.randn(table.shape, generator=generator, dtype=torch.float64)
        return table + size * table.std(0, correction=0) * draw.to(table.device, table.dtype)

    return _made(
        network,
        disturbed(network.left_table),
        disturbed(network.right_table),
        disturbed(network.W_U.T).T,
        f"{network.label}, noise {size:g}",
        f"{network.provenance.get('source', network.label)}, with noise {size:g}, seed {seed}",
    )


def relabelled(
    network: GroupMLP,
    permutation: Int[Tensor, "order"],
    *,
    inputs: bool = True,
    outputs: bool = True,
    group: FiniteGroup | None = None,
) -> GroupMLP:
    """A copy of the network with element a renumbered ``permutation[a]``, at inputs or outputs.

    It no longer multiplies, unless the permutation is an automorphism or ``group`` is the
    relabelled group.
    """
    back = torch.argsort(permutation)
    left, right, write = network.left_table, network.right_table, network.W_U
    made = _made(
        network,
        left[back] if inputs else left,
        right[back] if inputs else right,
        write[:, back] if outputs else write,
        f"{network.label}, relabelled",
        f"{network.provenance.get('source', network.label)}, relabelled",
        group=group,
    )
    if network.b_U is not None:
        made.b_U = torch.nn.Parameter((network.b_U[back] if outputs else network.b_U).detach())
    return made


def _made(
    like: GroupMLP,
    left: Tensor,
    right: Tensor,
    write: Tensor,
    label: str,
    source: str,
    *,
    group: FiniteGroup | None = None,
) -> GroupMLP:
    given = {"left_table": left, "right_table": right, "W_U": write}
    return GroupMLP.made_of(
        like.group if group is None else group,
        given if like.b_U is None else {**given, "b_U": like.b_U},
        act_fn=like.activation,
        label=label,
        seed=like.seed,
        provenance={"source": source},
    )
