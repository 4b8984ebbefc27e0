"""Permutation tests, power and rank correlation over independent networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from coset_circuits.findings.statistics import Estimate, too_few
from coset_circuits.thresholds import DEFAULT

DRAWS = 10_000
POWER = 0.8
SIMULATIONS = 1_000
Samples = Sequence[Float[np.ndarray, "networks ..."]]


class Tested(NamedTuple):
    """A statistic of several samples, its mean when networks are shuffled among them, and p."""

    value: float
    chance: float
    p: float


def shuffled(samples: Samples, statistic: Callable[[Samples], float], draws: int = DRAWS) -> Tested:
    """A permutation test: p is the share of shuffles with at least the observed statistic."""
    rng = np.random.default_rng(0)
    ends = np.cumsum([len(sample) for sample in samples])[:-1]
    together = np.concatenate(samples)
    value = statistic(samples)
    chances = np.array([statistic(np.split(rng.permutation(together), ends)) for _ in range(draws)])
    reached = int((chances >= value - 1e-12 * max(1.0, abs(value))).sum())
    return Tested(value, float(chances.mean()), (1 + reached) / (1 + draws))


def rank_test(samples: Samples) -> float:
    """p of Kruskal and Wallis's test by shuffling; of two samples it is Mann and Whitney's."""
    ends = np.cumsum([len(sample) for sample in samples])[:-1]
    ranked = np.split(_ranks(np.concatenate(samples)), ends)
    return shuffled(ranked, lambda s: sum(len(x) * x.mean() ** 2 for x in s)).p


def detectable(
    one: Float[np.ndarray, "networks"], two: Float[np.ndarray, "networks"]
) -> float | None:
    """The smallest shift between two samples that a two-sided rank test shows with 80% power.

    Simulated: deviations from each sample's median are drawn again, and one sample is shifted.
    None if no shift can be significant with so few networks.
    """
    sizes = len(one), len(two)
    rng = np.random.default_rng(0)
    ranks = np.argsort(rng.random((DRAWS, sum(sizes))), axis=1)[:, : sizes[0]].sum(1)
    middle = sizes[0] * (sum(sizes) - 1) / 2
    needed = np.quantile(abs(ranks - middle), 1 - DEFAULT.significance, method="higher")
    largest = sizes[0] * sizes[1] / 2
    if needed >= largest:
        return None
    deviations = np.concatenate([one - np.median(one), two - np.median(two)])
    spread = float(deviations.std()) or 1e-12
    # Without ties, which would make the draws discrete.
    drawn = rng.choice(deviations, (SIMULATIONS, sum(sizes)))
    drawn = drawn + 1e-6 * spread * rng.standard_normal(drawn.shape)

    def power(shift: float) -> float:
        moved = drawn.copy()
        moved[:, : sizes[0]] += shift
        places = moved.argsort(1).argsort(1)[:, : sizes[0]].sum(1)
        return float((abs(places - middle) > needed).mean())

    low, high = 0.0, 20 * spread
    if power(high) < POWER:
        return None
    for _ in range(20):
        half = (low + high) / 2
        low, high = (half, high) if power(half) < POWER else (low, half)
    return high


def rank_correlation(
    one: Float[np.ndarray, "networks"], two: Float[np.ndarray, "networks"]
) -> Estimate | None:
    """Spearman's rank correlation with a percentile bootstrap interval over networks.

    None for fewer than three networks, or if a sample is constant.
    """
    if len(one) < 3 or np.ptp(one) == 0 or np.ptp(two) == 0:
        return None
    value = _correlation(one, two)
    if too_few(len(one)):
        return Estimate(value, None, len(one))
    drawn = np.random.default_rng(0).integers(len(one), size=(SIMULATIONS, len(one)))
    found = [_correlation(one[i], two[i]) for i in drawn]
    tail = DEFAULT.significance / 2
    low, high = np.nanquantile(found, [tail, 1 - tail])
    return Estimate(value, (float(low), float(high)), len(one))


def _correlation(one: np.ndarray, two: np.ndarray) -> float:
    if np.ptp(one) == 0 or np.ptp(two) == 0:
        return float("nan")
    return float(np.corrcoef(_ranks(one), _ranks(two))[0, 1])


def _ranks(values: Float[np.ndarray, "networks"]) -> Float[np.ndarray, "networks"]:
    """Mid-ranks."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[places]
