"""Accuracy that is proved, at less cost than running every pair.

An explanation says which few functions of an element the unembedding is made of. The logits in
their span are multiplied out; of the rest only what depends on one element is, and Cauchy and
Schwarz bound what remains (in the spirit of Gross et al., arXiv 2406.11779).
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from coset_circuits.errors import CosetCircuitsError
from coset_circuits.networks import GroupMLP


@dataclass(frozen=True)
class Certificate:
    """A lower bound on accuracy over all pairs; ties count as wrong.

    Attributes:
        bound: the fraction of pairs proved right.
        rank: how many functions of an element were multiplied out.
        flops: multiplications and additions that the proof took, its decomposition not counted.
        brute_force_flops: those of the unembedding over all pairs, 2·width·order³.
        seconds: what the proof took, its decomposition included.
    """

    bound: float
    rank: int
    flops: int
    brute_force_flops: int
    seconds: float


@torch.no_grad()
def certify(
    network: GroupMLP, unembedding: Float[Tensor, "d_mlp order"], rank: int | None = None
) -> Certificate:
    """Prove a lower bound on a network's accuracy from what is said of its unembedding.

    What is proved is of the folded network, its tables as float64 numbers, in exact arithmetic.
    The unembedding is U = AB + R for whatever A and B are found, so a wrong explanation gives a
    loose bound, never a wrong one.

    Args:
        unembedding: the explanation's unembedding, or the network's own for the control.
        rank: only this many of its strongest directions.

    Raises:
        CosetCircuitsError: the network is no MLP with ReLU, or a shape does not match.
    """
    if not isinstance(network, GroupMLP) or network.activation.name != "relu":
        raise CosetCircuitsError(
            "A certificate was asked for a network that is not an MLP with ReLU; only for these is "
            "there a proof: give a GroupMLP with act_fn='relu'."
        )
    if not network.is_additive:
        raise CosetCircuitsError(
            "A certificate was asked for a network whose linear half is cancelled; only for plain "
            "ReLU is there a proof: certify the network as it was loaded."
        )
    if unembedding.shape != network.W_U.shape:
        raise CosetCircuitsError(
            f"An unembedding of shape {tuple(unembedding.shape)} was given for a network whose own "
            f"has {tuple(network.W_U.shape)}; give one column an element."
        )
    started = time.perf_counter()
    left, right, own = (
        table.detach().double().cpu()
        for table in (network.left_table, network.right_table, network.W_U)
    )
    # A positive factor of all logits changes no answer, and keeps products from over- or underflow.
    tables, unembeds = _size(left, right), _size(own)
    left, right, own = left / tables, right / tables, own / unembeds
    # So does a number added to all logits of a pair.
    own = own - own.mean(1, keepdim=True)
    bias = torch.zeros(own.shape[1], dtype=torch.float64)
    if network.b_U is not None:
        bias = network.b_U.detach().double().cpu() / tables / unembeds
    basis = _directions(unembedding.detach().double().cpu(), rank)
    right_pairs, flops = _proved(network, left, right, own, bias, basis)
    width, order = own.shape
    return Certificate(
        right_pairs / order**2,
        len(basis),
        flops,
        2 * width * order**3,
        time.perf_counter() - started,
    )


def _size(*tables: Tensor) -> float:
    return max(float(table.abs().max()) for table in tables) or 1.0


def _directions(unembedding: Tensor, rank: int | None) -> Float[Tensor, "rank order"]:
    deviations = unembedding - unembedding.mean(1, keepdim=True)
    _, values, basis = torch.linalg.svd(deviations / _size(deviations), full_matrices=False)
    used = int((values > 1e-9 * values[0]).sum())
    return basis[: used if rank is None else min(rank, used)]


def _proved(
    network: GroupMLP, left: Tensor, right: Tensor, own: Tensor, bias: Tensor, basis: Tensor
) -> tuple[int, int]:
    """How many pairs are proved right, and the operations that took."""
    width, order = own.shape
    rank = len(basis)
    part = own @ basis.T
    rest = own - part @ basis
    # relu(t) = t/2 + |t|/2. The mean and main effects of |t|/2 go through the rest exactly.
    by_left = torch.stack([(row + right).abs().mean(0) for row in left]) / 2
    by_right = torch.stack([(row + left).abs().mean(0) for row in right]) / 2
    by_right -= by_left.mean(0)
    from_left = left @ own / 2 + by_left @ rest + bias
    from_right = right @ own / 2 + by_right @ rest
    apart = torch.cdist(rest.T, rest.T, compute_mode="donot_use_mm_for_euclid_dist")
    # Every number summed is below this many units; each rounding loses at most 2⁻⁵² of one.
    units = 8 * width * order * (rank + 2) + float(bias.abs().max())
    slack = units * 8 * (width + order + rank + 10) * 2.0**-52
    proved = 0
    for x, row in enumerate(left):
        half = (row + right).abs() / 2
        odd = (half - by_left[x] - by_right).norm(dim=1, keepdim=True)
        known = from_left[x] + from_right + (half @ part) @ basis
        answers = network.group.products(
            torch.stack([torch.full((order,), x), torch.arange(order)], 1)
        )
        ahead = known.gather(1, answers[:, None]) - known - odd * apart[answers]
        least = ahead.scatter(1, answers[:, None], torch.inf).amin(1)
        proved += int((least > slack).sum())
    once = 4 * width * order * rank + 11 * width * order**2 + 3 * width * order
    each = 2 * rank * (width + order) + 11 * width + 8 * order
    return proved, once + each * order**2
