"""Intervals of figures of one network: how sure they are of *this* network, not of others.

Intervals over networks are in :mod:`coset_circuits.findings.statistics`.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

DRAWS = 1_000
CONFIDENCE = 0.95


def normal_interval(values: Float[Tensor, "sample"]) -> tuple[float, float]:
    """95% interval of the mean of independent values, such as those of sampled pairs."""
    half = 1.96 * float(values.std()) / math.sqrt(len(values))
    mean = float(values.mean())
    return mean - half, mean + half


def ratio_interval(
    numerator: Float[Tensor, "*cells blocks"],
    denominator: Float[Tensor, "*cells blocks"],
    seed: int = 0,
) -> tuple[Float[Tensor, "*cells"], Float[Tensor, "*cells"]]:
    """95% percentile bootstrap interval, over blocks, of a ratio of means; NaN where it is 0/0."""
    blocks = numerator.shape[-1]
    rng = np.random.default_rng(seed % 2**63)
    drawn = rng.multinomial(blocks, np.full(blocks, 1 / blocks), size=DRAWS)
    weights = torch.from_numpy(drawn).double().T
    ratios = (numerator @ weights) / (denominator @ weights)
    tail = (1 - CONFIDENCE) / 2
    low, high = torch.quantile(ratios, torch.tensor([tail, 1 - tail], dtype=torch.float64), dim=-1)
    return low, high


def mean_interval(
    values: Float[Tensor, "*cells blocks"], seed: int = 0
) -> tuple[Float[Tensor, "*cells"], Float[Tensor, "*cells"]]:
    """95% percentile bootstrap interval, over blocks, of a mean."""
    return ratio_interval(values, torch.ones_like(values), seed)
