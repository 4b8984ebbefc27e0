"""The recursive sampler of causal scrubbing, for all neurons and pairs at once.

Elements are held as integers of shape (columns, x, y): the pair at (x, y) of a grid of pairs is
meant, and an axis of length 1 stands for all of it, so that a left input does not vary along y. One
column stands for all neurons; else there is one a neuron, or one a donor that neurons share.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from coset_circuits.experiments.partitions import SIDES, Partition
from coset_circuits.experiments.resampling import Cells, uniform
from coset_circuits.experiments.scrub_result import Scrubbed
from coset_circuits.networks.model import GroupModel
from coset_circuits.progress import Progress

SCRUBBED_SITES = ("hook_post", "hook_pre", "hook_left_pre", "hook_right_pre")
"""The sites that can be scrubbed, from the output backwards, as the recursion visits them."""

Elements = Int[Tensor, "_ _ _"]


class Stage:
    """One node of the recursion: a donor for every reference input, within its cell."""

    def __init__(self, partition: Partition, device: torch.device) -> None:
        self.partition, self.device = partition, device
        self.number = SCRUBBED_SITES.index(partition.site)
        self.table = partition.group.table.to(device)
        self.inverses = partition.group.inverses.to(device)
        self.column = partition.column.to(device)
        whole = len(partition.labels) == 3
        self.pair_cells = Cells.of(partition.of_pairs()) if whole else None
        self.cells = {} if whole else {s: Cells.of(x) for s, x in partition.labels.items()}

    def drawn(self, seed: int, sample: int) -> dict[str, Int[Tensor, "columns order"]]:
        """For every column and element a member of its cell, on each side.

        Drawn once a sample, not once a pair: each pair's donors are distributed as they should
        be, so the expected figures are the same.
        """
        elements, keys = np.arange(len(self.table))[:, None], self.partition.keys.numpy()
        found = {}
        for side, own in self.cells.items():
            purpose = 4 * self.number + SIDES.index(side)
            draws = uniform(seed, sample, purpose, elements, keys)
            found[side] = own.draw(torch.from_numpy(draws)).T.contiguous().to(self.device)
        return found

    def donors(
        self, a: Elements, b: Elements, drawn: dict[str, Tensor], seed: int, sample: int
    ) -> tuple[Elements, Elements]:
        """A donor pair, one a neuron, for each reference pair (a, b)."""
        first = len(a) == len(b) == 1
        maps = drawn if first else {s: m.index_select(0, self.column) for s, m in drawn.items()}
        if self.pair_cells is not None:
            a, b = self._of_listed_cells(a, b, self.pair_cells, seed, sample)
        elif "product" not in maps:
            a, b = _at(a, maps["left"]), _at(b, maps["right"])
        else:
            product = _at(self._times(a, b), maps["product"])
            if "left" in maps:
                a = _at(a, maps["left"])
                b = self._times(self.inverses[a], product)
            else:
                b = _at(b, maps["right"])
                a = self._times(product, self.inverses[b])
        if not first:
            return a, b
        return a.index_select(0, self.column), b.index_select(0, self.column)

    def _times(self, a: Elements, b: Elements) -> Elements:
        return self.table.take(a * len(self.table) + b)

    def _of_listed_cells(
        self, a: Elements, b: Elements, found: Cells, seed: int, sample: int
    ) -> tuple[Elements, Elements]:
        """Cells on left, right and product at once do not factorise: their pairs are listed.

        It takes 24 bytes for each of order² pairs and each column, where the others take none.
        """
        order, keys = len(self.table), self.partition.keys
        column = torch.arange(len(keys)) if len(a) == 1 else self.partition.column
        pair = (a * order + b).cpu().expand(len(column), -1, -1)
        column = column[:, None, None]
        purpose = 4 * self.number + len(SIDES)
        draws = uniform(seed, sample, purpose, pair.numpy(), keys[column].numpy())
        step = (torch.from_numpy(draws) * found.size[pair, column]).long()
        donor = found.members[found.first[pair, column] + step, column].to(self.device)
        return donor // order, donor % order


def _at(elements: Elements, values: Shaped[Tensor, "columns order"]) -> Shaped[Tensor, "_ _ _"]:
    """The value of each element in each column: another element, or a pre-activation."""
    index = elements.expand(len(values), -1, -1)
    return values.gather(1, index.flatten(1)).reshape(index.shape)


@dataclass
class Tables:
    """What scrubbing needs of a network: its tables, one row a neuron, and no hook."""

    left: Float[Tensor, "d_mlp order"]
    right: Float[Tensor, "d_mlp order"]
    write: Float[Tensor, "order d_mlp"]
    bias: Float[Tensor, "order"] | None
    activation: Callable[[Tensor], Tensor]

    @classmethod
    def of(cls, network: GroupModel) -> Tables:
        return cls(
            network.left_table.detach().T.contiguous(),
            network.right_table.detach().T.contiguous(),
            network.W_U.detach().T.contiguous(),
            None if network.b_U is None else network.b_U.detach(),
            network.activation.function,
        )

    def logits(self, a: Elements, b: Elements) -> Float[Tensor, "order pairs"]:
        """The logits of what the left input reads from a and the right input from b."""
        pre = _at(a, self.left) + _at(b, self.right)
        logits = self.write @ self.activation(pre.flatten(1))
        return logits if self.bias is None else logits.add_(self.bias[:, None])


class Samples:
    """Counts samples that are done, under the title of the scrub that takes them."""

    def __init__(self, progress: Progress, total: int) -> None:
        self.progress, self.total, self.count, self.text = progress, total, 0, "base"

    def title(self, text: str) -> None:
        """Begin another scrub."""
        self.text = text
        self(0)

    def __call__(self, samples: int) -> None:
        self.count += samples
        self.progress(self.text, self.count, self.total)


@dataclass
class Runner:
    """Runs a network on its pairs, chunk by chunk, with or without resampled inputs.

    Attributes:
        pairs: the pairs to run, or None for every pair of the group.
        base: accuracy, loss and margin of the network itself.
        reference_loss: its expected loss on permuted labels.
    """

    network: GroupModel
    pairs: Int[Tensor, "pairs 2"] | None
    samples: int
    seed: int
    chunk: int
    done: Samples

    def __post_init__(self) -> None:
        group, device = self.network.group, self.network.device
        self.tables = Tables.of(self.network)
        self.table = group.table.to(device)
        self.count = group.order**2 if self.pairs is None else len(self.pairs)
        sums, reference = torch.zeros(3, dtype=torch.float64), 0.0
        for a, b, products in self._chunks():
            logits = self.tables.logits(a, b)
            # Each answer is as likely as the others when the labels are permuted.
            reference += float((logits.logsumexp(0) - logits.mean(0)).double().sum())
            sums += _tally(logits, products)
        self.base, self.reference_loss = sums / self.count, reference / self.count

    def outcome(self, means: Tensor, error: float, freedom: float | None) -> Scrubbed:
        """Figures from mean accuracy, loss and margin."""
        accuracy, loss, margin = means.tolist()
        base = float(self.base[1])
        gain = self.reference_loss - base
        return Scrubbed(
            accuracy=accuracy,
            loss=loss,
            loss_error=error,
            loss_ratio=loss / base if base > 0 else math.inf if loss > 0 else 1.0,
            margin=margin,
            recovered=(self.reference_loss - loss) / gain if gain else math.nan,
            freedom=freedom,
        )

    def scrubbed(self, partitions: Sequence[Partition]) -> Scrubbed:
        """The network with every node's inputs resampled, a mean over all samples."""
        known = [f for p in partitions if (f := p.mean_freedom()) is not None]
        freedom = max(known, default=None)
        if all(float(p.freedom().max()) == 0 for p in partitions):
            # Every input is its own only donor.
            self.done(self.samples)
            return self.outcome(self.base, 0.0, freedom)
        stages = [Stage(p, self.network.device) for p in partitions]
        means = torch.stack([self._sample(stages, sample) for sample in range(self.samples)])
        error = float(means[:, 1].std()) / math.sqrt(self.samples) if self.samples > 1 else math.nan
        return self.outcome(means.mean(0), error, freedom)

    def _sample(self, stages: list[Stage], sample: int) -> Float[Tensor, "3"]:
        drawn = [stage.drawn(self.seed, sample) for stage in stages]
        sums = torch.zeros(3, dtype=torch.float64)
        for a, b, products in self._chunks():
            left, right = self._resampled(a, b, stages, drawn, sample)
            sums += _tally(self.tables.logits(left, right), products)
        self.done(1)
        return sums / self.count

    def _resampled(
        self, a: Elements, b: Elements, stages: list[Stage], drawn: list, sample: int
    ) -> tuple[Elements, Elements]:
        """The elements that each neuron's left and right input read, from the output backwards."""
        left, right = a, b
        for stage, maps in zip(stages, drawn, strict=True):
            found = stage.donors(a, b, maps, self.seed, sample)
            # The two inputs are the last nodes: each has a donor of its own for the pair above.
            if stage.partition.site == "hook_left_pre":
                left = found[0]
            elif stage.partition.site == "hook_right_pre":
                right = found[1]
            else:
                a, b = left, right = found
        return left, right

    def _chunks(self) -> Iterator[tuple[Elements, Elements, Int[Tensor, "pairs"]]]:
        """Grids of pairs: some left inputs with every right input, or a list of pairs."""
        if self.pairs is None:
            every = torch.arange(len(self.table), device=self.table.device)
            for a in every.split(max(1, self.chunk // len(self.table))):
                yield a[None, :, None], every[None, None], self.table[a].flatten()
        else:
            for part in self.pairs.to(self.table.device).split(self.chunk):
                a, b = part.T
                yield a[None, :, None], b[None, :, None], self.table[a, b]


def _tally(
    logits: Float[Tensor, "order pairs"], products: Int[Tensor, "pairs"]
) -> Float[Tensor, "3"]:
    """Sums of right answers, losses (the label kept apart, as in ``cross_entropy``) and margins.

    The logits are used up.
    """
    index = products[None]
    odds = logits.sub_(logits.gather(0, index)).scatter_(0, index, -torch.inf)
    best = odds.amax(0)
    ceiling = best.clamp_min(0)
    total = odds.sub_(ceiling).exp_().sum(0)
    losses = torch.where(ceiling > 0, ceiling + ((-ceiling).exp() + total).log(), total.log1p())
    return torch.stack(
        [(best < 0).double().sum(), losses.double().sum(), -best.double().sum()]
    ).cpu()
