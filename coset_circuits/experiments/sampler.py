"""The recursive sampler of causal scrubbing, for all neurons and pairs at once.

Elements are held as integers of shape (columns, x, y): the pair at (x, y) of a grid of pairs is
meant, and an axis of length 1 stands for all of it, so that a left input does not vary along y. One
column stands for all neurons; else there is one a neuron, or one a donor that neurons share.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from coset_circuits.experiments.partitions import PAIR, SIDES, Partition
from coset_circuits.experiments.resampling import uniform
from coset_circuits.experiments.scrub_result import Scrubbed
from coset_circuits.experiments.threads import side_by_side
from coset_circuits.networks.model import GroupModel
from coset_circuits.progress import Progress

SCRUBBED_SITES = ("hook_post", "hook_pre", "hook_left_pre", "hook_right_pre")
"""The sites that can be scrubbed, from the output backwards, as the recursion visits them."""

Elements = Int[Tensor, "_ _ _"]
Pairs = tuple[Elements, Elements]


class Stage:
    """One node of the recursion: a donor for every reference input, within its cell."""

    def __init__(self, partition: Partition, seed: int, device: torch.device) -> None:
        self.partition, self.seed, self.device = partition, seed, device
        self.column = partition.column.to(device)

    def drawn(self, sample: int) -> dict[str, Int[Tensor, "columns order"]]:
        """For every column and element a member of its cell, on each side.

        Drawn once a sample, not once a pair: each pair's donors are distributed as they should
        be, so the expected figures are the same. Cells of listed pairs are left out.
        """
        elements = np.arange(self.partition.group.order)[:, None]
        return {
            side: cells.draw(self._uniform(sample, side, elements, self.partition.keys))
            .T.contiguous()
            .to(self.device)
            for side, cells in self.partition.cells.items()
            if side != PAIR
        }

    def donors(self, a: Elements, b: Elements, drawn: dict[str, Tensor], sample: int) -> Pairs:
        """A donor pair, one a neuron, for each reference pair (a, b)."""
        is_first, partition = len(a) == len(b) == 1, self.partition

        def member(side: str, elements: Elements) -> Elements:
            if side != PAIR:
                values = drawn[side]
                return at(elements, values if is_first else values.index_select(0, self.column))
            column = torch.arange(len(partition.keys)) if is_first else partition.column
            column = column[:, None, None]
            pair = elements.cpu().expand(len(column), -1, -1)
            draws = self._uniform(sample, PAIR, pair.numpy(), partition.keys[column])
            return partition.cells[PAIR].draw(draws, pair, column).to(self.device)

        a, b = partition.resampled(a, b, member)
        if not is_first:
            return a, b
        return a.index_select(0, self.column), b.index_select(0, self.column)

    def _uniform(
        self, sample: int, side: str, elements: np.ndarray, keys: Tensor
    ) -> Float[Tensor, "..."]:
        site = SCRUBBED_SITES.index(self.partition.site)
        purpose = 4 * site + (*SIDES, PAIR).index(side)
        return torch.from_numpy(uniform(self.seed, sample, purpose, elements, keys.numpy()))


def at(elements: Elements, values: Shaped[Tensor, "columns order"]) -> Shaped[Tensor, "_ _ _"]:
    """The value of each element in each column: another element, or a pre-activation."""
    index = elements.expand(len(values), -1, -1)
    return values.gather(1, index.flatten(1)).reshape(index.shape)


class Runner:
    """Runs a network on its pairs, chunk by chunk, with or without resampled inputs.

    All it needs of a network that is additive is its tables, one row a neuron, and no hook. Of
    another it also keeps, for every pair, what its pre-activations have beyond the tables (which
    moves with a neuron's donor) and what its logits have beyond the neurons (which stays).

    Args:
        pairs: the pairs to run, or None for every pair of the group.

    Attributes:
        base: accuracy, loss and margin of the network itself.
        reference_loss: its expected loss on permuted labels.
    """

    def __init__(
        self,
        network: GroupModel,
        pairs: Int[Tensor, "pairs 2"] | None,
        samples: int,
        seed: int,
        chunk: int,
    ) -> None:
        self.network, self.pairs = network, pairs
        self.samples, self.seed, self.chunk = samples, seed, chunk
        self.left, self.right, self.write = (
            weights.detach().float().T.contiguous()
            for weights in (network.left_table, network.right_table, network.W_U)
        )
        self.table = network.group.table.to(network.device)
        self.interaction, self.around = None, None
        if not network.is_additive:
            self.interaction, self.around = self._beyond_tables()
        elif network.b_U is not None:
            self.around = network.b_U.detach().float()[:, None]
        self.count = network.group.order**2 if pairs is None else len(pairs)
        sums, reference = torch.zeros(3, dtype=torch.float64), 0.0
        for base, products in self._chunks():
            logits = self._logits(base, base, base)
            # Each answer is as likely as the others when the labels are permuted.
            reference += float((logits.logsumexp(0) - logits.mean(0)).double().sum())
            sums += _tally(logits, products)
        self.base, self.reference_loss = sums / self.count, reference / self.count

    def outcome(
        self, means: Float[Tensor, "3"], error: float = 0.0, freedom: float | None = None
    ) -> Scrubbed:
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

    def scrubbed(self, partitions: Sequence[Partition], progress: Progress) -> Scrubbed:
        """The network with every node's inputs resampled, a mean over all samples."""
        text = " + ".join(partition.site for partition in partitions)
        progress(text, 0, self.samples)
        freedoms = [f for p in partitions if (f := p.mean_freedom()) is not None]
        freedom = max(freedoms, default=None)
        if all(float(p.freedom().max()) == 0 for p in partitions):
            # Every input is its own only donor.
            return self.outcome(self.base, 0.0, freedom)
        stages = [Stage(p, self.seed, self.network.device) for p in partitions]
        samples: list[Tensor] = []
        with side_by_side(self.network.device) as each:
            for sample in each(partial(self._sample, stages), range(self.samples)):
                samples.append(sample)
                progress(text, len(samples), self.samples)
        means = torch.stack(samples)
        error = float(means[:, 1].std()) / math.sqrt(self.samples) if self.samples > 1 else math.nan
        return self.outcome(means.mean(0), error, freedom)

    def _sample(self, stages: list[Stage], sample: int) -> Float[Tensor, "3"]:
        drawn = [stage.drawn(sample) for stage in stages]
        sums = torch.zeros(3, dtype=torch.float64)
        for base, products in self._chunks():
            # What each neuron's two inputs read, from the output backwards.
            a, b = left, right = base
            for stage, maps in zip(stages, drawn, strict=True):
                donor_left, donor_right = stage.donors(a, b, maps, sample)
                # The two inputs are the last nodes: each has a donor of its own for the pair above.
                reads = stage.partition.reads
                left = donor_left if "left" in reads else left
                right = donor_right if "right" in reads else right
                a, b = (left, right) if len(reads) == 2 else (a, b)
            sums += _tally(self._logits((left, right), (a, b), base), products)
        return sums / self.count

    def _logits(self, inputs: Pairs, pre: Pairs, base: Pairs) -> Float[Tensor, "order pairs"]:
        """The logits where each neuron's inputs, its interaction and the rest read these pairs."""
        hidden = at(inputs[0], self.left) + at(inputs[1], self.right)
        if self.interaction is not None:
            hidden = hidden + at(pre[0] * len(self.table) + pre[1], self.interaction)
        logits = self.write @ self.network.activation.function(hidden.flatten(1))
        if self.around is None:
            return logits
        if self.interaction is None:
            return logits.add_(self.around)
        return logits.add_(self.around[:, (base[0] * len(self.table) + base[1]).flatten()])

    def _beyond_tables(self) -> tuple[Float[Tensor, "d_mlp pairs"], Float[Tensor, "order pairs"]]:
        model, beyond = self.network.single(), []
        for pairs in model.group.pairs().split(self.chunk):
            logits, cache = model.run_with_cache(pairs, names_filter="hook_pre")
            a, b = pairs.T.to(model.device)
            pre = cache["hook_pre"].T
            written = self.write @ model.activation.function(pre)
            beyond.append((pre - self.left[:, a] - self.right[:, b], logits.T - written))
        interaction, around = (torch.cat(parts, 1) for parts in zip(*beyond, strict=True))
        return interaction, around

    def _chunks(self) -> Iterator[tuple[Pairs, Int[Tensor, "pairs"]]]:
        """Grids of pairs: some left inputs with every right input, or a list of pairs."""
        if self.pairs is None:
            every = torch.arange(len(self.table), device=self.table.device)
            for a in every.split(max(1, self.chunk // len(self.table))):
                yield (a[None, :, None], every[None, None]), self.table[a].flatten()
        else:
            for part in self.pairs.to(self.table.device).split(self.chunk):
                a, b = part.T
                yield (a[None, :, None], b[None, :, None]), self.table[a, b]


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
