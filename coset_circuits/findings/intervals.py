"""Confidence intervals for figures of *one* network; they say nothing about other networks.

Intervals over networks are in :mod:`coset_circuits.findings.statistics`.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

DRAWS = 1_000
CONFIDENCE = 0.95


def wilson_interval(
    share: float, count: int, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """Wilson's score interval of a share (Newcombe 1998).

    Unlike the normal interval it always has a positive width. A share of 0 or 1 is one of its
    bounds.
    """
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    weight = z * z / count
    middle = (share + weight / 2) / (1 + weight)
    half = z / (1 + weight) * math.sqrt(share * (1 - share) / count + weight / (4 * count))
    # Shares of 0 and 1 are bounds themselves, which rounding would miss.
    return (middle - half if share > 0 else 0.0), (middle + half if share < 1 else 1.0)


def normal_interval(values: Float[Tensor, "sample"]) -> tuple[float, float] | None:
    """95% interval of the mean of independent values, such as those of sampled pairs.

    It is None for a single value, whose scatter is unknown.
    """
    if len(values) < 2:
        return None
    half = 1.96 * float(values.std()) / math.sqrt(len(values))
    mean = float(values.mean())
    return mean - half, mean + half


def ratio_interval(
    numerator: Float[Tensor, "*cells blocks"],
    denominator: Float[Tensor, "*cells blocks"],
    seed: int = 0,
) -> tuple[Float[Tensor, "*cells"], Float[Tensor, "*cells"]]:
    """95% percentile bootstrap interval, over blocks, of a ratio of means; NaN if it is 0/0."""
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
