"""Prove a network's accuracy at less cost than running every pair.

If a neuron reads cosets, the two cosets of its inputs decide whether it is on or off. When it is
on, it adds a function of the left input and one of the right input to the logits. These functions
are tabulated once per element and coset, for all neurons with the same cosets together. What
remains are the pairs on which a neuron is on although its cosets say off, or the reverse. A good
explanation leaves few such pairs; they are bounded or multiplied out. Nothing is assumed about the
explanation: a wrong one makes the proof expensive, never false. The approach follows Gross et al.
(arXiv 2406.11779) and Wu et al. (arXiv 2410.07476).
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from coset_circuits.algorithms.algorithm import Circuit, Tables
from coset_circuits.algorithms.table_circuit import TableCircuit
from coset_circuits.errors import CosetCircuitsError, brief, checked
from coset_circuits.networks.mlp import GroupMLP

SLOPES = {"relu": (0.0, 1.0), "abs": (-1.0, 1.0)}
"""The activations for which a proof exists, with their slopes below and above zero."""
LOGITS, HIDDEN = 2**25, 2**19
"""The largest count of numbers in memory at once, whatever the group."""
MISREAD = 0.2
"""Neurons that are misread on more than this share of pairs are multiplied out first."""


@dataclass(frozen=True)
class Certificate:
    """A proved lower bound on accuracy over all pairs; ties count as wrong.

    The statement is about the network with its tables as float64 numbers, in exact arithmetic. A
    float64 sum of N terms, in any order, is off by at most N·2⁻⁵³/(1 − N·2⁻⁵³) times the sum of
    the terms' absolute values. A margin counts only if it exceeds twice the sum of all such errors.

    Attributes:
        algorithm: the explanation that the proof uses.
        bound: fraction of all pairs proved right within the budget.
        accuracy: fraction of all pairs proved right by multiplying everything out.
        flops: multiplications, additions and comparisons that ``bound`` needs; multiplications by
            zeros that a sparse product skips are not counted.
        flops_for_95: the operations that prove 95% of all pairs right; None if the network's
            accuracy is lower.
        brute_force_flops: the operations of the unembedding over all pairs, 2·width·order³.
        seconds: the function's running time. It includes trying several proofs and multiplying
            out everything.
        proof: the proof that reaches the bound.
        lost: each step's share of ``brute_force_flops``, the most expensive first.
        neurons: each neuron's share of the uncertainty before anything is multiplied out.
        curve: the bound at budgets from 0 to 1 in steps of 0.01.
        control: the certificate from tables of the same ranks without group theory (truncated
            SVD).
    """

    algorithm: str
    bound: float
    accuracy: float
    flops: int
    flops_for_95: int | None
    brute_force_flops: int
    seconds: float
    proof: str
    lost: dict[str, float]
    neurons: Float[Tensor, "d_mlp"]
    curve: tuple[float, ...]
    control: Certificate | None = None

    def to_dict(self) -> dict[str, object]:
        """The certificate as ``coset-circuits certify --json`` prints it."""
        return {
            "algorithm": self.algorithm,
            "bound": self.bound,
            "accuracy": self.accuracy,
            "flops": self.flops,
            "brute_force_flops": self.brute_force_flops,
            "seconds": self.seconds,
            "control": None if self.control is None else self.control.to_dict(),
        }


@checked
@torch.no_grad()
def certify(circuit: Circuit, budget: float = 0.25, *, control: bool = True) -> Certificate:
    """Prove a lower bound on a network's accuracy from an explanation fitted to it.

    Several proofs are tried with the explanation's tables, and the one that proves most within the
    budget is used. The rest of the budget multiplies out single pairs.

    Args:
        budget: the number of operations, as a share of the 2·width·order³ of brute force.
        control: also compute the certificate without group theory.

    Raises:
        CosetCircuitsError: the network is not an MLP with ReLU or absolute values, the explanation
            has no tables, or the budget is not positive.
    """
    if not isinstance(circuit, TableCircuit):
        given = getattr(circuit, "name", brief(circuit))
        raise CosetCircuitsError(
            f"{given} cannot be certified, because it does not say what a neuron's tables "
            "are; fit a hypothesis about tables, such as coset or irrep."
        )
    network = circuit.network
    name = network.activation.name if network.activation.is_named else "a function of its own"
    if not isinstance(network, GroupMLP) or name not in SLOPES or not network.is_additive:
        raise CosetCircuitsError(
            f"{network.label} is a {type(network).__name__} with the activation {name} and cannot "
            f"be certified; give an MLP with {' or '.join(SLOPES)} whose linear half is not "
            "cancelled."
        )
    if not budget > 0:
        raise CosetCircuitsError(f"The budget is {budget}; give a positive share, such as 0.25.")
    certificate = _certificate(network, circuit.fitted, circuit.name, budget)
    if not control:
        return certificate
    ranked = _of_the_same_ranks(Tables.of(network), circuit.fitted)
    same = _certificate(network, ranked, "truncated SVD of the same ranks", budget)
    return replace(certificate, control=same)


def _certificate(network: GroupMLP, fitted: Tables, name: str, budget: float) -> Certificate:
    started = time.perf_counter()
    folded = _Folded.of(network)
    curves, right, uncertain = _proofs(folded, fitted)
    brute = 2 * folded.width * folded.order**3
    budgets = brute * torch.tensor([budget, *(0.01 * k for k in range(101))], dtype=torch.float64)
    bounds = torch.stack([curve.at(budgets) for curve in curves])
    bound = float(bounds[:, 0].max())
    reach = [curve for curve in curves if curve.needed(bound) is not None]
    best = min(reach or curves, key=lambda curve: curve.needed(bound) or 0)
    enough = [flops for curve in curves if (flops := curve.needed(0.95)) is not None]
    flops = best.needed(bound) or 0
    steps = {**best.proof.steps, "pairs multiplied out": max(0, flops - best.proof.flops)}
    return Certificate(
        algorithm=name,
        bound=bound,
        accuracy=float(right.double().mean()),
        flops=flops,
        flops_for_95=min(enough, default=None),
        brute_force_flops=brute,
        seconds=time.perf_counter() - started,
        proof=best.proof.name,
        lost={
            step: count / brute
            for step, count in sorted(steps.items(), key=lambda item: -item[1])
            if count
        },
        neurons=uncertain,
        curve=tuple(bounds[:, 1:].amax(0).tolist()),
    )


@dataclass(frozen=True)
class _Folded:
    """The numbers used in a proof, scaled by powers of two, which changes no answer."""

    left: Float[Tensor, "order d_mlp"]
    right: Float[Tensor, "order d_mlp"]
    unembed: Float[Tensor, "d_mlp order"]
    bias: Float[Tensor, "order"]
    answers: Int[Tensor, "order order"]
    slopes: tuple[float, float]

    @classmethod
    def of(cls, network: GroupMLP) -> _Folded:
        tables = Tables.of(network)
        power = _power(tables.left, tables.right)
        by = _power(tables.unembed)
        bias = torch.zeros(len(tables.left), dtype=torch.float64)
        if network.b_U is not None:
            bias = _times(network.b_U.detach().double().cpu(), power + by)
        unembed = _times(tables.unembed.T, by)
        return cls(
            _times(tables.left, power),
            _times(tables.right, power),
            # Adding a number to all logits of a pair changes no answer either.
            unembed - unembed.mean(1, keepdim=True),
            bias,
            network.group.table.cpu(),
            SLOPES[network.activation.name],
        )

    @property
    def order(self) -> int:
        return len(self.left)

    @property
    def width(self) -> int:
        return self.left.shape[1]

    @cached_property
    def slack(self) -> float:
        """An upper bound on the rounding error of a difference of two logits.

        A logit is a sum of the bias and at most five terms per neuron. The factors of each term
        are rounded at most four times. The constant covers products below 2⁻¹⁰²².
        """
        reach = self.left.abs().amax(0) + self.right.abs().amax(0)
        mass = 5 * float((reach * self.unembed.abs().amax(1)).sum()) + float(self.bias.abs().max())
        terms = 8 * self.width + self.order + 32
        return 4 * mass * terms * 2.0**-53 / (1 - terms * 2.0**-53) + 2.0**-900

    @cached_property
    def gaps(self) -> Float[Tensor, "order d_mlp"]:
        """The most that another logit can gain on an element's, per unit of a neuron."""
        return (self.unembed.amax(1, keepdim=True) - self.unembed).T.contiguous()

    def blocks(self) -> Iterator[tuple[slice, Float[Tensor, "rows order d_mlp"]]]:
        """Pre-activations in batches of left elements; their signs are exact, being single sums."""
        for rows in _slices(self.order, self.order * self.width, HIDDEN):
            yield rows, self.left[rows, None] + self.right

    def correct(self, unknown: Bool[Tensor, "order order"]) -> Bool[Tensor, "order order"]:
        """Which of these pairs are right, by multiplying everything out."""
        below, above = self.slopes
        right = torch.zeros_like(unknown)
        pairs = unknown.nonzero()
        for part in _slices(len(pairs), self.width + self.order, HIDDEN):
            x, y = pairs[part].T
            pre = self.left[x] + self.right[y]
            logits = torch.where(pre > 0, above * pre, below * pre) @ self.unembed + self.bias
            answers = self.answers[x, y][:, None]
            others = logits.scatter(1, answers, -torch.inf).amax(1)
            right[x, y] = logits.gather(1, answers)[:, 0] - others > self.slack
        return right


def _power(*tables: Tensor) -> int:
    """The power of two that scales the largest number to at most 1."""
    return -math.frexp(max(float(table.abs().max()) for table in tables))[1]


def _times(table: Tensor, power: int) -> Tensor:
    """Multiply a table by a power of two, in steps that neither overflow nor underflow."""
    steps = [power // 4 + (k < power % 4) for k in range(4)]
    for step in steps:
        table = table * 2.0**step
    return table


def _slices(count: int, numbers: int, most: int) -> Iterator[slice]:
    """Split a range into slices that each need at most a given count of numbers."""
    step = max(1, most // max(1, numbers))
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))


@dataclass(frozen=True)
class _Proof:
    """Pairs proved right, with the operations of each step of the proof."""

    name: str
    steps: dict[str, int]
    proved: Bool[Tensor, "order order"]

    @property
    def flops(self) -> int:
        return sum(self.steps.values())


@dataclass(frozen=True)
class _Curve:
    """A proof and the pairs it leaves open, which are multiplied out one by one, cheapest first."""

    proof: _Proof
    pairs: int
    spent: Int[Tensor, "left"]
    right: Int[Tensor, "left"]

    @classmethod
    def of(cls, proof: _Proof, exact: Tensor, cost: Tensor) -> _Curve:
        costs, order = cost[~proof.proved].sort()
        right = exact[~proof.proved][order].long().cumsum(0)
        start = torch.tensor([0])
        spent = proof.flops + torch.cat([start, costs.cumsum(0)])
        return cls(proof, exact.numel(), spent, int(proof.proved.sum()) + torch.cat([start, right]))

    def at(self, flops: Float[Tensor, "budgets"]) -> Float[Tensor, "budgets"]:
        """The bounds within given numbers of operations."""
        reached = torch.searchsorted(self.spent.double(), flops, right=True)
        proved = torch.cat([torch.tensor([0]), self.right])[reached]
        return proved.double() / self.pairs

    def needed(self, bound: float) -> int | None:
        """The operations needed to prove a given share of the pairs; None if it is not reached."""
        enough = (self.right >= bound * self.pairs - 1e-6).nonzero()
        return int(self.spent[enough[0, 0]]) if bound and len(enough) else None


def _proofs(
    folded: _Folded, fitted: Tables
) -> tuple[list[_Curve], Bool[Tensor, "order order"], Float[Tensor, "d_mlp"]]:
    """Every proof, the pairs that are right, and each neuron's share of the uncertainty."""
    n, width = folded.order, folded.width
    cells = _Cells.of(folded, fitted)
    misread = cells.misread()
    (bare, added), steps = cells.margins(misread.often)
    by_cells = bare - misread.need > folded.slack
    by_some = added - misread.rest > folded.slack
    spans = list(_spans(folded, fitted.unembed.T))
    proved = torch.stack([by_cells, by_some, *(proof.proved for proof in spans)]).any(0)
    right = proved | folded.correct(~proved)
    steps = {"signs": 3 * width * n**2, **steps}
    counts = misread.counts
    bounded = {**steps, "bound of what is misread": 2 * int(counts.sum())}
    often = {"neurons multiplied out": 2 * n * int(counts[misread.often].sum())}
    every = {"neurons multiplied out": 2 * n * int(counts.sum())}
    proofs = [
        _Proof("every pair", {"signs": 2 * width * n**2}, torch.zeros_like(right)),
        _Proof("cells", bounded, by_cells),
        _Proof("cells and some neurons", bounded | often, by_some),
        _Proof("cells and all neurons", steps | every, right),
        *spans,
    ]
    return [_Curve.of(proof, right, misread.cost) for proof in proofs], right, misread.neurons


@dataclass(frozen=True)
class _Misread:
    """The pairs on which a neuron is on although its cells say off, or the reverse.

    Attributes:
        counts: the number of misread pairs of each neuron.
        often: the neurons that are misread on more than a given share of the pairs.
        need: the most that all misreadings can reduce a pair's margin.
        rest: the same for the neurons that are not misread often.
        neurons: each neuron's share of ``need``, over all pairs.
        cost: the operations that multiply out one pair.
    """

    counts: Int[Tensor, "d_mlp"]
    often: Int[Tensor, "some"]
    need: Float[Tensor, "order order"]
    rest: Float[Tensor, "order order"]
    neurons: Float[Tensor, "d_mlp"]
    cost: Int[Tensor, "order order"]


@dataclass(frozen=True)
class _Cells:
    """For each neuron, the cells on which the explanation's left and right tables are constant.

    Attributes:
        left_labels, right_labels: the cell of each element; a single cell if few neurons share the
            same cells.
        left_means, right_means: the network's tables, averaged over the cells.
    """

    folded: _Folded
    left_labels: Int[Tensor, "order d_mlp"]
    right_labels: Int[Tensor, "order d_mlp"]
    left_means: Float[Tensor, "order d_mlp"]
    right_means: Float[Tensor, "order d_mlp"]

    @classmethod
    def of(cls, folded: _Folded, fitted: Tables) -> _Cells:
        labels = [_levels(table) for table in (fitted.left, fitted.right)]
        few = sum(label.amax(0) + 1 for label in labels) <= folded.order / 2
        shared = [(label[:, :, None] == label[:, None, :]).all(0).sum(0) > 1 for label in labels]
        used = few & shared[0] & shared[1]
        left, right = (label * used for label in labels)
        return cls(
            folded, left, right, _cell_means(folded.left, left), _cell_means(folded.right, right)
        )

    def slopes(self, left: Tensor, right: Tensor) -> Tensor:
        """The activation's slope according to the cells, from averages over them."""
        below, above = self.folded.slopes
        return torch.where(left + right > 0, above, below)

    def left_over(self, rows: slice, pre: Tensor, neurons: Tensor) -> Float[Tensor, "rows y i"]:
        """Activation minus slope times pre-activation; by convexity it is not negative."""
        pre = pre[..., neurons]
        on = self.left_means[rows, None][..., neurons] + self.right_means[:, neurons] > 0
        below, above = self.folded.slopes
        return ((pre > 0) != on) * pre.abs() * (above - below)

    def misread(self) -> _Misread:
        folded = self.folded
        n, width = folded.order, folded.width
        counts = torch.zeros(width, dtype=torch.int64)
        needs = torch.zeros(width, dtype=torch.float64)
        cost = torch.zeros(n, n, dtype=torch.int64)
        need, often_need = torch.zeros(2, n, n, dtype=torch.float64)
        every = torch.arange(width)
        for rows, pre in folded.blocks():
            extra = self.left_over(rows, pre, every)
            counts += (extra != 0).sum((0, 1))
            extra *= folded.gaps[folded.answers[rows]]
            need[rows] = extra.sum(2)
            needs += extra.sum((0, 1))
            on = (pre > 0) if folded.slopes[0] == 0 else (pre != 0)
            cost[rows] = n + 2 * n * on.sum(2)
        often = (counts > MISREAD * n**2).nonzero()[:, 0]
        for rows, pre in folded.blocks() if len(often) else ():
            extra = self.left_over(rows, pre, often)
            often_need[rows] = (extra * folded.gaps[:, often][folded.answers[rows]]).sum(2)
        share = needs / needs.sum().clamp_min(1e-300)
        return _Misread(counts, often, need, need - often_need, share, cost)

    def margins(self, often: Tensor) -> tuple[list[Float[Tensor, "order order"]], dict[str, int]]:
        """The right logit minus the largest other: from cells, and with some neurons exact."""
        folded = self.folded
        n = folded.order
        by_right, by_left = _Sets.of(self.right_labels), _Sets.of(self.left_labels)
        right = torch.full((2, n, n), -torch.inf, dtype=torch.float64)
        other = right.clone()
        products = 0
        for part in _slices(n, n**2, LOGITS):
            unembed = folded.unembed[:, part]
            logits = folded.bias[part].expand(n, n, -1).clone()
            for sets, means, table, others in (
                (by_right, self.left_means, folded.left, self.right_means),
                (by_left, self.right_means, folded.right, self.left_means),
            ):
                for rows in _slices(n, n * unembed.shape[1], HIDDEN):
                    parts = []
                    for neurons, first in zip(sets.neurons, sets.first, strict=True):
                        slopes = self.slopes(means[rows, None, neurons], others[first][:, neurons])
                        products += 2 * int((slopes != 0).sum()) * unembed.shape[1]
                        parts.append((slopes * table[rows, None, neurons]) @ unembed[neurons])
                    into = logits if sets is by_right else logits.transpose(0, 1)
                    into[rows] += sets.summed(parts)
            answers = folded.answers - part.start
            _keep(right[0], other[0], logits, answers)
            for rows, pre in folded.blocks() if len(often) else ():
                logits[rows] += self.left_over(rows, pre, often) @ unembed[often]
            _keep(right[1], other[1], logits, answers)
        sums = (by_right.additions + by_left.additions + n) * n**2
        return list(right - other), {"tables": products, "sums": sums, "largest logits": n**3}


def _keep(right: Tensor, other: Tensor, logits: Tensor, answers: Tensor) -> None:
    """Write the right logit and the largest other logit, in place."""
    here = (answers >= 0) & (answers < logits.shape[2])
    index = answers.clamp(0, logits.shape[2] - 1)[..., None]
    values = logits.gather(2, index)
    right[here] = values[..., 0][here]
    hidden = torch.where(here[..., None], -torch.inf, values)
    torch.maximum(other, logits.scatter(2, index, hidden).amax(2), out=other)


@dataclass(frozen=True)
class _Sets:
    """Sets of neurons with the same cells on one side, and the order of adding their tables.

    The tables of two sets are added once per pair of cells. The two sets with the fewest cells come
    first, so that only the last additions are done for every element.

    Attributes:
        neurons: the neurons of each set.
        first: an element of each cell of each set.
        merges: pairs of tables, and the cells of each that make up a cell of their sum.
        labels: the cell of each element in the last table.
        additions: the number of additions for each row and each logit.
    """

    neurons: list[Tensor]
    first: list[Tensor]
    merges: list[tuple[int, int, Tensor, Tensor]]
    labels: Int[Tensor, "order"]
    additions: int

    @classmethod
    def of(cls, labels: Int[Tensor, "order d_mlp"]) -> _Sets:
        kinds, which = torch.unique(labels.T, dim=0, return_inverse=True)
        tables = dict(enumerate(kinds))
        merges, additions = [], 0
        joint = {pair: _joint(tables[pair[0]], tables[pair[1]]) for pair in combinations(tables, 2)}
        while len(tables) > 1:
            i, j = min(joint, key=lambda pair: (len(joint[pair][1]), pair))
            cells, first = joint[i, j]
            merges.append((i, j, tables[i][first], tables[j][first]))
            additions += len(first)
            del tables[i], tables[j]
            joint = {pair: found for pair, found in joint.items() if not {i, j} & set(pair)}
            new = len(kinds) + len(merges) - 1
            joint |= {(k, new): _joint(table, cells) for k, table in tables.items()}
            tables[new] = cells
        return cls(
            [(which == k).nonzero()[:, 0] for k in range(len(kinds))],
            [_first(kind) for kind in kinds],
            merges,
            next(iter(tables.values())),
            additions,
        )

    def summed(self, tables: list[Tensor]) -> Float[Tensor, "rows order part"]:
        """The sum of all tables, for every element of the side."""
        for i, j, of_i, of_j in self.merges:
            tables.append(tables[i][:, of_i] + tables[j][:, of_j])
        return tables[-1][:, self.labels]


def _first(labels: Int[Tensor, "order"]) -> Int[Tensor, "cells"]:
    """The first element of each cell."""
    numbers = torch.arange(len(labels))
    first = torch.full((int(labels.max()) + 1,), len(labels))
    return first.scatter_reduce(0, labels, numbers, "amin")


def _joint(one: Tensor, two: Tensor) -> tuple[Tensor, Tensor]:
    """The intersections of two partitions' cells, and the first element of each."""
    labels = torch.unique(one * (two.max() + 1) + two, return_inverse=True)[1]
    return labels, _first(labels)


def _levels(table: Float[Tensor, "order d_mlp"]) -> Int[Tensor, "order d_mlp"]:
    """Label elements by their value in each column; cells are numbered by first appearance."""
    values, order = table.sort(0)
    apart = values.diff(dim=0) > 1e-9 * table.abs().amax(0)
    ranks = torch.cat([torch.zeros_like(order[:1]), apart.long().cumsum(0)])
    labels = torch.zeros_like(order).scatter(0, order, ranks)
    return torch.stack(
        [_first(column)[column].unique(return_inverse=True)[1] for column in labels.T], 1
    )


def _cell_means(table: Tensor, labels: Tensor) -> Float[Tensor, "order d_mlp"]:
    totals, counts = torch.zeros(2, *table.shape, dtype=torch.float64)
    totals.scatter_add_(0, labels, table)
    counts.scatter_add_(0, labels, torch.ones_like(table))
    return (totals / counts.clamp_min(1)).gather(0, labels)


def _spans(folded: _Folded, unembedding: Float[Tensor, "d_mlp order"]) -> Iterator[_Proof]:
    """Proofs that use the span of the few functions that the explained unembedding consists of.

    The logits within the span are multiplied out. Outside it only main effects are, and the rest
    is bounded by Cauchy–Schwarz. A proof that costs more than all non-zero products is not tried.
    """
    n, width = folded.order, folded.width
    deviations = unembedding - unembedding.mean(1, keepdim=True)
    largest = float(deviations.abs().max()) or 1.0
    _, values, basis = torch.linalg.svd(deviations / largest, full_matrices=False)
    used = int((values > 1e-9 * values[0]).sum())
    for rank in sorted({min(used, math.ceil(used * share)) for share in (0.25, 0.5, 1)}):
        once = 4 * width * n * (rank + n) + 11 * width * n**2
        each = 2 * rank * (width + n) + 11 * width + 8 * n
        if each < width * n:
            proved = _spanned(folded, basis[:rank])
            yield _Proof(f"span of {rank} functions", {"span": once + each * n**2}, proved)


def _spanned(folded: _Folded, basis: Float[Tensor, "rank order"]) -> Bool[Tensor, "order order"]:
    left, right, own = folded.left, folded.right, folded.unembed
    below, above = folded.slopes
    part = own @ basis.T
    rest = own - part @ basis
    # The activation is linear plus a multiple of |t|, whose mean and main effects are exact.
    even, linear = (above - below) / 2, (above + below) / 2
    by_left = torch.stack([(row + right).abs().mean(0) for row in left]) * even
    by_right = torch.stack([(row + left).abs().mean(0) for row in right]) * even
    by_right -= by_left.mean(0)
    from_left = linear * left @ own + by_left @ rest + folded.bias
    from_right = linear * right @ own + by_right @ rest
    apart = torch.cdist(rest.T, rest.T, compute_mode="donot_use_mm_for_euclid_dist") * (1 + 1e-9)
    # A row of the unembedding and its coordinates are at most √order times its largest entry.
    slack = 8 * folded.order * folded.slack
    proved = torch.zeros_like(folded.answers, dtype=torch.bool)
    for x, row in enumerate(left):
        half = (row + right).abs() * even
        odd = (half - by_left[x] - by_right).norm(dim=1, keepdim=True)
        known = from_left[x] + from_right + (half @ part) @ basis
        answers = folded.answers[x][:, None]
        ahead = known.gather(1, answers) - known - odd * apart[answers[:, 0]]
        proved[x] = ahead.scatter(1, answers, torch.inf).amin(1) > slack
    return proved


def _of_the_same_ranks(tables: Tables, fitted: Tables) -> Tables:
    """The network's tables, truncated by SVD to the ranks of the fitted tables."""
    cut = []
    for table, fit in zip(tables, fitted, strict=True):
        rank = int(torch.linalg.matrix_rank(fit - fit.mean(0)))
        rows, values, columns = torch.linalg.svd(table - table.mean(0), full_matrices=False)
        cut.append((rows[:, :rank] * values[:rank]) @ columns[:rank] + table.mean(0))
    left, right, unembed = cut
    return Tables(left, right, unembed, tables.frame)
