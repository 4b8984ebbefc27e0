"""The pairs that an experiment is measured on, in blocks for the bootstrap."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange, reduce, repeat
from jaxtyping import Float, Int
from torch import Tensor

from coset_circuits.errors import whole
from coset_circuits.experiments.measure import pairs_to_use
from coset_circuits.groups import FiniteGroup


@dataclass(frozen=True)
class Blocks:
    """Pairs with the same number of right elements for every left element.

    One block is one left element. Pairs that share it are not independent, so intervals are
    bootstrapped over blocks and not over pairs.
    """

    pairs: Int[Tensor, "order size 2"]

    @property
    def is_exhaustive(self) -> bool:
        return self.pairs.shape[0] == self.pairs.shape[1]

    @property
    def source(self) -> str:
        """The number of pairs in words, for tables."""
        blocks, size, _ = self.pairs.shape
        return f"{'all' if self.is_exhaustive else 'a sample of'} {blocks * size} pairs"

    def chunks(self, rows: int) -> Iterator[tuple[slice, Int[Tensor, "batch 2"]]]:
        """Chunks of whole blocks, at least one, of about ``rows`` pairs, with their positions.

        Raises:
            CosetCircuitsError: ``rows`` is below 1.
        """
        step = max(1, whole("number of pairs in a chunk", rows) // self.pairs.shape[1])
        for start in range(0, len(self.pairs), step):
            part = slice(start, start + step)
            yield part, rearrange(self.pairs[part], "left right pair -> (left right) pair")

    def means(self, values: Float[Tensor, "*stats batch"]) -> Float[Tensor, "*stats blocks"]:
        """The mean of each block of a chunk."""
        return reduce(values, "... (blocks size) -> ... blocks", "mean", size=self.pairs.shape[1])


def sample_blocks(group: FiniteGroup, wanted: int | None, seed: int) -> Blocks:
    """All pairs, or a sample with the same number of right elements for every left one.

    ``wanted`` is rounded up to a multiple of the order. None means all pairs if there are at most
    60,000, and otherwise about 10,000.

    Raises:
        CosetCircuitsError: fewer than one pair was asked for.
    """
    n = group.order
    wanted = None if wanted is None else whole("number of pairs", wanted)
    size = min(n, -(-pairs_to_use(n * n, wanted) // n))
    if size == n:
        return Blocks(rearrange(group.pairs(), "(left right) pair -> left right pair", left=n))
    rng = np.random.default_rng(seed % 2**63)
    right = torch.from_numpy(np.stack([np.sort(rng.permutation(n)[:size]) for _ in range(n)]))
    left = repeat(torch.arange(n), "left -> left size", size=size)
    return Blocks(torch.stack([left, right], 2))
