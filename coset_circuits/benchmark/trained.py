"""Train networks whose tables are restricted to a hypothesis, and unrestricted null networks.

Every table of a neuron is a combination of given functions. Gradient descent finds the
coefficients, so the network can never leave the hypothesis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from coset_circuits.errors import CosetCircuitsError
from coset_circuits.experiments.controls import random_names
from coset_circuits.groups import FiniteGroup, RealBlock, Subgroup, SubgroupClass, double_cosets
from coset_circuits.networks import GroupMLP
from coset_circuits.networks.spoilt import relabelled
from coset_circuits.training import train

STEPS = 3_000
"""Maximum number of Adam steps on all pairs; training ends earlier at a loss of :data:`ENOUGH`."""
SCALE = 4.0
"""Scale of the initial coefficients: large, and without weight decay. With decay, networks of
irreps drift to functions on cosets and networks of cosets to few irreps, so that both hypotheses
become true of both."""
ENOUGH = 1e-5
"""Mean loss in nats, as grokked networks of this size reach."""
ATTEMPTS = 5
"""Number of retries with other subgroups, bases and initial coefficients after a failure."""

Functions = Float[Tensor, "order functions"]


@dataclass(frozen=True)
class Neuron:
    """The functions on the group that one neuron's tables combine, one per column.

    Attributes:
        left, right: combined with the same coefficients if they are ``shared``.
        unembed: combined with separate coefficients.
    """

    left: Functions
    right: Functions
    unembed: Float[Tensor, "order written"]
    shared: bool = True


def coset_neurons(classes: Sequence[SubgroupClass]) -> list[Neuron]:
    """Levels on the right cosets of H, R(b) = −L(x b⁻¹), levels on the double cosets HgK."""
    neurons = []
    for subgroup in (h for found in classes for h in found.conjugates):
        group, left = subgroup.group, _indicators(subgroup.right_cosets)
        for x in (subgroup.right_cosets == c for c in range(subgroup.index)):
            first = int(x.nonzero()[0])
            mirrored = -left[group.table[first, group.inverses]]
            products = double_cosets(subgroup, subgroup.conjugate(first))
            neurons.append(Neuron(left, mirrored, _indicators(products)))
    return neurons


def irrep_neurons(blocks: Sequence[RealBlock]) -> list[Neuron]:
    """All matrix elements of one irrep, with separate coefficients for each table."""
    bases = [block.basis * len(block.basis) ** 0.5 for block in blocks]
    return [Neuron(basis, basis, basis, shared=False) for basis in bases]


def rho_neurons(block: RealBlock, subgroup: Subgroup) -> list[Neuron]:
    """L(g) = aᵀρ(g⁻¹)b, R(g) = −aᵀρ(g)b′, U(g) = u·bᵀρ(g)b′ (Wu et al., arXiv 2410.07476).

    b and b′ come from the orbit of a vector that the subgroup fixes; a and u are trained.
    """
    rho, scale = block.matrices, block.dimension**0.5
    vector = torch.linalg.eigh(rho[subgroup.array].mean(0)).eigenvectors[:, -1]
    first = [int((subgroup.left_cosets == c).nonzero()[0]) for c in range(subgroup.index)]
    orbit = scale * rho[first] @ vector
    return [
        Neuron(
            einsum(rho, b, "g j i, j -> g i"),
            -einsum(rho, c, "g i j, j -> g i"),
            einsum(b, rho, c, "i, g i j, j -> g")[:, None] / scale,
        )
        for b, c in product(orbit, orbit)
    ]


def trained(
    group: FiniteGroup, kinds: Sequence[Sequence[Neuron]], *, seed: int, d_mlp: int = 64
) -> GroupMLP:
    """Train a network on all pairs, with neurons of the given kinds in turn, each in random order.

    Raises:
        CosetCircuitsError: none of the attempts is right on all pairs.
    """
    pairs = group.pairs()
    for attempt in range(ATTEMPTS):
        generator = torch.Generator().manual_seed(1000 * seed + attempt)
        dealt = [_dealt(neurons, -(-d_mlp // len(kinds)), generator) for neurons in kinds]
        neurons = [neuron for turn in zip(*dealt, strict=True) for neuron in turn][:d_mlp]
        network = _fitted(group, neurons, generator)
        with torch.no_grad():
            right = (network(pairs).argmax(1) == group.products(pairs)).all()
        if right:
            network.seed = seed
            return network
    raise CosetCircuitsError(
        f"No network of {group.name} with {d_mlp} neurons of this kind became right on all pairs "
        f"in {ATTEMPTS} attempts of {STEPS} steps; give it more neurons."
    )


def _dealt(neurons: Sequence[Neuron], count: int, generator: torch.Generator) -> list[Neuron]:
    """The given number of neurons in random order; all are used once before any repeats."""
    order = torch.randperm(len(neurons), generator=generator).tolist()
    return [neurons[order[j % len(neurons)]] for j in range(count)]


def permuted_labels(group: FiniteGroup, seed: int, d_mlp: int) -> GroupMLP:
    """An unrestricted network trained on randomly renamed products, without group structure."""
    names = random_names(group, np.random.default_rng((seed, 2)))
    if names is None:
        raise CosetCircuitsError(
            f"Every renaming of {group.name} keeps its structure; choose a larger group."
        )
    network = train(group, seed, d_mlp=d_mlp, d_embed=d_mlp, fraction=0.8)
    assert isinstance(network, GroupMLP)
    return relabelled(network, torch.from_numpy(names), inputs=True, outputs=True)


def _fitted(group: FiniteGroup, neurons: Sequence[Neuron], generator: torch.Generator) -> GroupMLP:
    bases = [
        _padded([getattr(neuron, side) for neuron in neurons])
        for side in ("left", "right", "unembed")
    ]
    shared = torch.tensor([neuron.shared for neuron in neurons])[:, None]
    numbers = [
        (
            torch.randn(basis.shape[1:], generator=generator) * SCALE / basis.shape[2] ** 0.5
        ).requires_grad_()
        for basis in bases
    ]
    pairs = group.pairs()
    labels = group.products(pairs)
    optimizer = torch.optim.Adam(numbers, lr=0.1, betas=(0.9, 0.98))

    def tables() -> list[Tensor]:
        of_left, of_right, of_unembed = numbers
        every = (of_left, torch.where(shared, of_left, of_right), of_unembed)
        return [
            einsum(basis, number, "g m k, m k -> g m")
            for basis, number in zip(bases, every, strict=True)
        ]

    for step in range(STEPS):
        left, right, written = tables()
        post = F.relu(left[pairs[:, 0]] + right[pairs[:, 1]])
        loss = F.cross_entropy(post @ written.T, labels)
        if step % 25 == 0 and loss.item() < ENOUGH:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        left, right, written = (table.double() for table in tables())
    return GroupMLP.from_weights(
        group,
        left_table=left,
        right_table=right,
        W_U=written.T,
        label=f"trained-{group.name}",
    )


def _padded(
    functions: Sequence[Float[Tensor, "order _"]],
) -> Float[Tensor, "order d_mlp functions"]:
    """Stack the neurons' functions; those with fewer functions are padded with zeros."""
    width = max(one.shape[1] for one in functions)
    return torch.stack([F.pad(one, (0, width - one.shape[1])) for one in functions], 1).float()


def _indicators(labels: Tensor) -> Functions:
    return F.one_hot(labels).double()
