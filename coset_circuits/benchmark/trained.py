"""Networks that were trained to multiply with tables of a known kind, and free ones that were not.

Every table of a neuron is a combination of given functions, so gradient descent finds the numbers
and can never leave the hypothesis.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

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

STEPS = 6_000
"""At most so many steps of Adam on all pairs; a loss of :data:`ENOUGH` ends them earlier."""
ENOUGH = 1e-5
"""Mean loss in nats: that of grokked networks of this size."""
ATTEMPTS = 5
"""Other subgroups, bases and first numbers that are tried where a network is not right."""

Functions = Float[Tensor, "order functions"]


@dataclass(frozen=True)
class Neuron:
    """What one neuron's tables are made of: functions on the group, one a column.

    Attributes:
        left, right: combined with the same numbers where they are ``shared``.
        unembed: with numbers of its own.
    """

    left: Functions
    right: Functions
    unembed: Functions
    shared: bool = True


Kind = Callable[[FiniteGroup, torch.Generator], Neuron]


def coset_neuron(classes: Sequence[SubgroupClass]) -> Kind:
    """Levels on the right cosets of H, R(b) = −L(x b⁻¹), levels on the double cosets HgK."""

    def draw(group: FiniteGroup, generator: torch.Generator) -> Neuron:
        found = classes[_choice(len(classes), generator)]
        subgroup = found.conjugates[_choice(found.count, generator)]
        x = _choice(group.order, generator)
        left = _indicators(subgroup.right_cosets)
        mirrored = -left[group.table[x, group.inverses]]
        return Neuron(left, mirrored, _indicators(double_cosets(subgroup, subgroup.conjugate(x))))

    return draw


def irrep_neuron(blocks: Sequence[RealBlock]) -> Kind:
    """All matrix elements of one irrep, with numbers of their own in each table."""

    def draw(group: FiniteGroup, generator: torch.Generator) -> Neuron:
        basis = blocks[_choice(len(blocks), generator)].basis * group.order**0.5
        return Neuron(basis, basis, basis, shared=False)

    return draw


def rho_neuron(block: RealBlock, subgroup: Subgroup) -> Kind:
    """L(g) = aᵀρ(g⁻¹)b, R(g) = −aᵀρ(g)b′, U(g) = u·bᵀρ(g)b′ (Wu et al., arXiv 2410.07476).

    b and b′ come from the orbit of a vector that the subgroup fixes; a and u are trained.
    """
    rho = block.matrices
    vector = torch.linalg.eigh(rho[subgroup.array].mean(0)).eigenvectors[:, -1]

    def draw(group: FiniteGroup, generator: torch.Generator) -> Neuron:
        b, c = (rho[_choice(group.order, generator)] @ vector for _ in range(2))
        scale = block.dimension**0.5
        return Neuron(
            scale * einsum(rho, b, "g j i, j -> g i"),
            -scale * einsum(rho, c, "g i j, j -> g i"),
            scale * einsum(b, rho, c, "i, g i j, j -> g")[:, None],
        )

    return draw


def trained(group: FiniteGroup, kinds: Sequence[Kind], *, seed: int, d_mlp: int = 64) -> GroupMLP:
    """A network of which every neuron is of one of these kinds, in turn, trained on all pairs.

    Raises:
        CosetCircuitsError: none of the attempts is right on all pairs.
    """
    for attempt in range(ATTEMPTS):
        generator = torch.Generator().manual_seed(1000 * seed + attempt)
        neurons = [kinds[j % len(kinds)](group, generator) for j in range(d_mlp)]
        network = _fitted(group, neurons, generator)
        pairs = group.pairs()
        with torch.no_grad():
            right = (network(pairs).argmax(1) == group.products(pairs)).all()
        if right:
            network.seed = seed
            return network
    raise CosetCircuitsError(
        f"No network of {group.name} with {d_mlp} neurons of this kind became right on all pairs "
        f"in {ATTEMPTS} attempts of {STEPS} steps; give it more neurons."
    )


def permuted_labels(group: FiniteGroup, seed: int, d_mlp: int) -> GroupMLP:
    """A free network trained on products under random names, which keep nothing of the group."""
    names = random_names(group, np.random.default_rng((seed, 2)))
    if names is None:
        raise CosetCircuitsError(
            f"Every renaming of {group.name} keeps its structure; choose a larger group."
        )
    network = train(group, seed, d_mlp=d_mlp, d_embed=d_mlp)
    assert isinstance(network, GroupMLP)
    return relabelled(network, torch.from_numpy(names), inputs=True, outputs=True)


def _fitted(group: FiniteGroup, neurons: Sequence[Neuron], generator: torch.Generator) -> GroupMLP:
    bases = [
        _padded([getattr(neuron, side) for neuron in neurons])
        for side in ("left", "right", "unembed")
    ]
    shared = torch.tensor([neuron.shared for neuron in neurons])[:, None]
    numbers = [
        (torch.randn(basis.shape[1:], generator=generator) / basis.shape[2] ** 0.5).requires_grad_()
        for basis in bases
    ]
    pairs = group.pairs()
    labels = group.products(pairs)
    optimizer = torch.optim.Adam(numbers, lr=0.02, betas=(0.9, 0.98))

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
        penalty = torch.stack([number.square().sum() for number in numbers]).sum()
        optimizer.zero_grad()
        (loss + 1e-6 * penalty).backward()
        optimizer.step()
        if step % 50 == 0 and float(loss) < ENOUGH:
            break
    with torch.no_grad():
        left, right, written = (table.double() for table in tables())
    return GroupMLP.from_weights(
        group,
        left_table=left,
        right_table=right,
        W_U=written.T,
        label=f"trained-{group.name}",
    )


def _padded(functions: Sequence[Functions]) -> Float[Tensor, "order d_mlp functions"]:
    """Neurons of fewer functions than others get zeros, which combine to nothing."""
    width = max(one.shape[1] for one in functions)
    return torch.stack([F.pad(one, (0, width - one.shape[1])) for one in functions], 1).float()


def _indicators(labels: Tensor) -> Functions:
    return F.one_hot(labels).double()


def _choice(count: int, generator: torch.Generator) -> int:
    return int(torch.randint(count, (1,), generator=generator))
