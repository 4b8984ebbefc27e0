"""Fit the unembedding's levels jointly, a claim that every table hypothesis can make.

Levels fitted neuron by neuron leave errors that add up over the neurons, mostly main effects of one
input. A joint fit has equally many numbers, so the claim costs no bits. But components that cancel
in the logits of all pairs are then undetermined, and noise would reveal them. Both problems are
solved by fitting the logits as if every pre-activation had noise: a ridge penalty towards the
levels of the separate fits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from coset_circuits.algorithms.algorithm import SEEN_LOGITS, Tables, residuals, some_pairs
from coset_circuits.algorithms.table_circuit import TableCircuit
from coset_circuits.networks.model import GroupModel

Unembedding = Float[Tensor, "order d_mlp"]

# The fit has about a thousand unknowns, so at most this many pairs are sampled.
PAIRS = 60_000
CHUNK = 4_000

# Conjugate gradients stop at this share of the first gradient, or after this many steps.
TOLERANCE = 1e-10
# … or at the rounding error, if the unembedding is right from the start.
ROUNDING = 1e-15
STEPS = 1_000


def jointly(
    circuit: TableCircuit, allowed: Callable[[Tensor], Tensor], noise: float
) -> TableCircuit:
    """The same circuit with its unembedding's levels fitted jointly.

    The fit uses the network's logits, so interventions that do not change them are not evidence
    for it.
    """
    network = circuit.network
    surrogate = circuit.surrogate().double()
    unembed = joint_unembedding(network, surrogate, allowed, noise).cpu()
    fitted = replace(circuit.fitted, unembed=unembed)
    residual = circuit.residual.clone()
    # A neuron without a role keeps its mean and its description.
    fits = unembed.std(0, correction=0) > 0
    residual[fits, 2] = residuals(Tables.of(network), fitted)[fits, 2]
    return replace(
        circuit,
        fitted=fitted,
        residual=residual,
        roles=replace(circuit.roles, fvu_unembed=residual[:, 2].clamp(max=1)),
        seen=circuit.seen | {SEEN_LOGITS},
    )


def level_means(labels: Int[Tensor, "order d_mlp"]) -> Callable[[Tensor], Tensor]:
    """The projection on tables whose columns are constant on elements with equal labels."""
    width = int(labels.max()) + 1
    cells = labels + width * torch.arange(labels.shape[1])
    sizes = torch.bincount(cells.flatten(), minlength=width * labels.shape[1]).clamp_min(1)

    def project(table: Tensor) -> Tensor:
        where = cells.to(table.device).flatten()
        sums = torch.zeros(len(sizes), dtype=table.dtype, device=table.device)
        means = sums.index_add(0, where, table.flatten()) / sizes.to(table.device)
        return means[where].view(table.shape)

    return project


@torch.no_grad()
def joint_unembedding(
    network: GroupModel,
    surrogate: GroupModel,
    allowed: Callable[[Tensor], Tensor],
    noise: float,
) -> Unembedding:
    """Fit a surrogate's unembedding so that its logits are as close as possible to the network's.

    Conjugate gradients minimise Σ‖(post @ U − logits)C‖² + Σ_j λ_j‖U_j − start_j‖² over allowed U.
    Here C subtracts the mean over the outputs, λ_j is pairs·(noise·std(pre_j))², and start is the
    surrogate's current unembedding.

    Args:
        network: the network whose logits to fit.
        surrogate: the surrogate whose activations to use, in float64.
        allowed: the orthogonal projection of an unembedding on those that the hypothesis allows.
        noise: the assumed noise, in standard deviations of each pre-activation over all pairs.
    """
    start = allowed(surrogate.W_U.detach().double().T)
    found = _Moments.of(network, surrogate)
    ridge = found.pairs * (noise * network.pre_scale.double()) ** 2
    # A neuron with constant activation has nothing to fit.
    ridge = ridge + 1e-12 * found.squares.max()

    def applied(unembed: Tensor) -> Tensor:
        return allowed(_centred(found.product(unembed)) + ridge * unembed)

    solution = start
    wanted = allowed(found.target + ridge * start)
    left = wanted - applied(start)
    enough = torch.maximum(TOLERANCE * left.norm(), ROUNDING * wanted.norm())
    scale = 1 / (found.squares + ridge)
    turned = allowed(scale * left)
    direction, fall = turned, (left * turned).sum()
    for _ in range(STEPS):
        if left.norm() <= enough:
            break
        image = applied(direction)
        step = fall / (direction * image).sum()
        solution = solution + step * direction
        left = left - step * image
        turned = allowed(scale * left)
        fresh = (left * turned).sum()
        direction, fall = turned + fresh / fall * direction, fresh
    return solution


@dataclass(frozen=True)
class _Moments:
    """Sums over pairs of a surrogate's activations, and of these with a network's logits.

    Attributes:
        square: Σ post·post; or the activations themselves, if these are fewer numbers.
        squares: the diagonal of Σ post·post.
        target: Σ logits·post, centred over the outputs.
    """

    square: Float[Tensor, "_ d_mlp"]
    squares: Float[Tensor, "d_mlp"]
    target: Unembedding
    pairs: int

    def product(self, unembed: Unembedding) -> Unembedding:
        """Σ (unembed @ post)·post."""
        if len(self.square) == len(self.squares):
            return unembed @ self.square
        return (unembed @ self.square.T) @ self.square

    @classmethod
    def of(cls, network: GroupModel, surrogate: GroupModel) -> _Moments:
        pairs = some_pairs(network.group, PAIRS)
        tables = [
            table.detach().double()
            for model in (surrogate, network)
            for table in (model.left_table, model.right_table)
        ]
        write = network.W_U.detach().double()
        width = len(write)
        few = 2 * len(pairs) < width
        square = write.new_zeros(0 if few else width, width)
        target = write.new_zeros(network.group.order, width)
        for part in pairs.to(network.device).split(CHUNK):
            a, b = part.T
            post = surrogate.activate(tables[0][a] + tables[1][b])
            square = torch.cat([square, post]) if few else square.addmm_(post.T, post)
            logits = network.activate(tables[2][a] + tables[3][b]) @ write
            target.addmm_(logits.T, post)
        squares = square.square().sum(0) if few else square.diagonal()
        return cls(square, squares, _centred(target), len(pairs))


def _centred(unembed: Unembedding) -> Unembedding:
    return unembed - unembed.mean(0)
