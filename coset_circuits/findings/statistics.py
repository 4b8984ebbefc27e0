"""Statistics over networks: intervals, paired comparisons, Holm's correction, equivalence.

The unit is the network (one seed), never the neuron: neurons of one network share its
initialisation and its training pairs, so they are not independent samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from coset_circuits.errors import CosetCircuitsError
from coset_circuits.findings.intervals import wilson_interval
from coset_circuits.thresholds import DEFAULT, Thresholds

Statistic = Literal["mean", "median"]
Verdict = Literal[
    "equal", "different", "equivalent", "different, equivalent", "undecided", "too few networks"
]
RESAMPLES = 10_000
SERIES_AT_ONCE = 128
METHOD = f"expanded percentile bootstrap over networks, {RESAMPLES:,} resamples"
"""A description of how the intervals are computed."""


@dataclass(frozen=True)
class Estimate:
    """A figure over networks; its interval is None if there are too few networks."""

    value: float
    interval: tuple[float, float] | None
    networks: int

    def text(self, form: str) -> str:
        """The figure and its interval, each in a format such as ``.2f``."""
        between = (
            "" if self.interval is None else " [{:{f}}, {:{f}}]".format(*self.interval, f=form)
        )
        return f"{self.value:{form}}{between}"


@dataclass(frozen=True)
class Question:
    """A paired comparison to make: ``differences`` are one − two, one value per network."""

    one: str
    two: str
    quantity: str
    unit: str
    margin: float
    differences: Float[np.ndarray, "networks"]


@dataclass(frozen=True)
class Paired:
    """The result of a paired comparison over the same networks.

    Attributes:
        median, mean: of the differences one − two.
        effect: matched-pairs rank-biserial correlation (Kerby 2014), from −1 to 1: the positive
            differences' share of the rank sum minus the negative differences' share.
        p: exact two-sided Wilcoxon signed-rank test of no difference; None with too few networks.
        p_holm: ``p`` after Holm's correction over the family.
        margin: differences within ± this count as equivalent.
        p_equivalent: the larger p of two one-sided exact tests, against −margin and +margin.
        p_equivalent_holm: ``p_equivalent`` after Holm's correction over the family.
        family: the number of comparisons that were corrected together.
    """

    one: str
    two: str
    quantity: str
    unit: str
    median: Estimate
    mean: Estimate
    effect: float
    p: float | None
    p_holm: float | None
    margin: float
    p_equivalent: float | None
    p_equivalent_holm: float | None
    family: int
    verdict: Verdict

    @property
    def networks(self) -> int:
        return self.median.networks


def smallest_p(networks: int, sides: int = 2) -> float:
    """The smallest p that a sign-flip test can give: 2⁻ⁿ per side, if all differences agree."""
    return min(1.0, sides * 2.0**-networks)


def networks_needed(thresholds: Thresholds = DEFAULT, *, family: int = 1, sides: int = 2) -> int:
    """The smallest number of networks for a significant test after Holm's correction."""
    return math.ceil(math.log2(sides * family / thresholds.significance) - 1e-12)


def too_few(networks: int, thresholds: Thresholds = DEFAULT) -> str | None:
    """A sentence to print instead of a p-value; None if there are enough networks."""
    if smallest_p(networks) <= thresholds.significance:
        return None
    count = "1 network" if networks == 1 else f"{networks} networks"
    return (
        f"With {count} no difference can be significant: the smallest two-sided p that any paired "
        f"test can give is 2·2^-{networks} = {smallest_p(networks):.2g}, above "
        f"{thresholds.significance:g}; use at least {networks_needed(thresholds)} networks."
    )


def estimates(
    values: Float[np.ndarray, "networks series"],
    statistic: Statistic = "median",
    *,
    thresholds: Thresholds = DEFAULT,
    seed: int = 0,
) -> list[Estimate]:
    """Mean or median over networks of several series, each with a bootstrap interval.

    The interval is Hesterberg's expanded percentile (What Teachers Should Know About the Bootstrap,
    2015): percentiles at the level of Student's t. Plain and BCa intervals are too short for few
    networks. All series share the resampled networks. For a heavy-tailed series, such as a loss,
    the interval of the mean covers less often than its nominal level.

    Raises:
        CosetCircuitsError: there is no network, or a value is not a finite number.
    """
    _check(values)
    networks = len(values)
    centre = (np.mean if statistic == "mean" else np.median)(values, axis=0)
    if smallest_p(networks, sides=1) > thresholds.significance:
        return [Estimate(float(c), None, networks) for c in centre]
    # The level at which the bootstrap of a normal mean has Student's t interval.
    t = student_t(1 - thresholds.significance, networks - 1)
    tail = NormalDist().cdf(-math.sqrt(networks / (networks - 1)) * t)
    resampled = _resampler(networks, statistic, seed)
    parts = [
        np.quantile(resampled(values[:, i : i + SERIES_AT_ONCE]), [tail, 1 - tail], axis=0)
        for i in range(0, values.shape[1], SERIES_AT_ONCE)
    ]
    bounds = np.concatenate(parts, axis=1) if parts else np.empty((2, 0))
    return [
        Estimate(float(c), (float(low), float(high)), networks)
        for c, low, high in zip(centre, *bounds, strict=True)
    ]


def share(count: int, networks: int, thresholds: Thresholds = DEFAULT) -> Estimate:
    """A share of networks with its Wilson score interval."""
    if networks < 1 or not 0 <= count <= networks:
        raise CosetCircuitsError(f"{count} of {networks} networks is not a share.")
    p = count / networks
    return Estimate(p, wilson_interval(p, networks, 1 - thresholds.significance), networks)


def signed_rank_p(
    differences: Float[np.ndarray, "networks"],
    alternative: Literal["two-sided", "greater", "less"] = "two-sided",
) -> float:
    """Exact Wilcoxon signed-rank test that differences are symmetric about zero.

    Under the null hypothesis every flip of signs is equally likely, for any number of networks.
    Ties get their mean rank, and differences of zero are left out (Wilcoxon's rule).
    """
    ranks, positive = _doubled_ranks(differences)
    total = int(ranks[positive].sum())
    chances = _subset_sums(ranks)
    greater, less = float(chances[total:].sum()), float(chances[: total + 1].sum())
    if alternative == "two-sided":
        return min(1.0, 2 * min(greater, less))
    return min(1.0, greater if alternative == "greater" else less)


def equivalence_p(differences: Float[np.ndarray, "networks"], margin: float) -> float:
    """Two one-sided exact signed-rank tests (TOST): p is small if differences are within ± margin.

    Raises:
        CosetCircuitsError: the margin is not above zero.
    """
    if not margin > 0:
        raise CosetCircuitsError(f"The margin is {margin}; give one above 0.")
    above = signed_rank_p(differences + margin, "greater")
    below = signed_rank_p(differences - margin, "less")
    return max(above, below)


def rank_biserial(differences: Float[np.ndarray, "networks"]) -> float:
    """Matched-pairs rank-biserial correlation; 0 if all differences are zero."""
    ranks, positive = _doubled_ranks(differences)
    total = int(ranks.sum())
    return float((2 * int(ranks[positive].sum()) - total) / total) if total else 0.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction; returns adjusted p-values in the given order."""
    adjusted, largest = [0.0] * len(p_values), 0.0
    for place, i in enumerate(np.argsort(p_values, kind="stable")):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[i]))
        adjusted[i] = largest
    return adjusted


def compare_paired(
    questions: Sequence[Question], *, thresholds: Thresholds = DEFAULT, seed: int = 0
) -> list[Paired]:
    """Make a family of paired comparisons, with p-values corrected over the whole family.

    Differences below ``thresholds.no_difference`` are rounding errors and count as zero.
    """
    values = [_without_dust(q.differences, thresholds) for q in questions]
    differ = _corrected(values, lambda i: signed_rank_p(values[i]), 2, thresholds)
    alike = _corrected(
        values, lambda i: equivalence_p(values[i], questions[i].margin), 1, thresholds
    )
    centres = _centres(values, thresholds, seed)
    family = len(questions)
    return [
        Paired(
            one=q.one,
            two=q.two,
            quantity=q.quantity,
            unit=q.unit,
            median=median,
            mean=mean,
            effect=rank_biserial(v),
            p=p,
            p_holm=p_holm,
            margin=q.margin,
            p_equivalent=p_alike,
            p_equivalent_holm=p_alike_holm,
            family=family,
            verdict=_verdict(v, p_holm, p_alike_holm, family, thresholds),
        )
        for q, v, (median, mean), (p, p_holm), (p_alike, p_alike_holm) in zip(
            questions, values, centres, differ, alike, strict=True
        )
    ]


def _centres(
    values: Sequence[np.ndarray], thresholds: Thresholds, seed: int
) -> list[tuple[Estimate, Estimate]]:
    """Median and mean of each question; questions with equally many networks are batched."""
    centres: dict[int, tuple[Estimate, Estimate]] = {}
    for count in {len(v) for v in values}:
        places = [i for i, v in enumerate(values) if len(v) == count]
        together = np.stack([values[i] for i in places], axis=1)
        medians, means = (
            estimates(together, statistic, thresholds=thresholds, seed=seed)
            for statistic in ("median", "mean")
        )
        centres.update(zip(places, zip(medians, means, strict=True), strict=True))
    return [centres[i] for i in range(len(values))]


def _corrected(
    values: Sequence[np.ndarray], test: Callable[[int], float], sides: int, thresholds: Thresholds
) -> list[tuple[float | None, float | None]]:
    """Raw and Holm-corrected p of each question; None if it has too few networks."""
    raw = [
        test(i) if smallest_p(len(v), sides) <= thresholds.significance else None
        for i, v in enumerate(values)
    ]
    # A question that cannot be answered was still asked, so it counts.
    adjusted = holm([1.0 if p is None else p for p in raw])
    return [(p, None if p is None else a) for p, a in zip(raw, adjusted, strict=True)]


def _verdict(
    values: np.ndarray,
    p_different: float | None,
    p_alike: float | None,
    family: int,
    thresholds: Thresholds,
) -> Verdict:
    if not values.any():
        return "equal"
    different = p_different is not None and p_different <= thresholds.significance
    alike = p_alike is not None and p_alike <= thresholds.significance
    if different:
        return "different, equivalent" if alike else "different"
    if alike:
        return "equivalent"
    answerable = len(values) >= networks_needed(thresholds, family=family)
    return "undecided" if answerable else "too few networks"


def _without_dust(values: np.ndarray, thresholds: Thresholds) -> np.ndarray:
    values = np.asarray(values, dtype=np.float64)
    _check(values[:, None])
    return np.where(np.abs(values) <= thresholds.no_difference, 0.0, values)


def _check(values: np.ndarray) -> None:
    if len(values) == 0:
        raise CosetCircuitsError("There is no network to take a figure over; give at least one.")
    if not np.isfinite(values).all():
        raise CosetCircuitsError(
            "Some networks have no finite value for this figure; leave them out."
        )


def _resampler(
    networks: int, statistic: Statistic, seed: int
) -> Callable[[Float[np.ndarray, "networks series"]], Float[np.ndarray, "resamples series"]]:
    """Bootstrap replicates of the statistic; the resampled networks are drawn once."""
    drawn = np.random.default_rng(seed).integers(networks, size=(RESAMPLES, networks))
    if statistic == "mean":
        rows = np.repeat(np.arange(RESAMPLES), networks)
        weights = np.zeros((RESAMPLES, networks))
        np.add.at(weights, (rows, drawn.ravel()), 1 / networks)
        return lambda values: weights @ values
    # A median depends on ranks only, so ranks are resampled instead of networks.
    ranks = np.sort(drawn, axis=1)
    low, high = ranks[:, (networks - 1) // 2], ranks[:, networks // 2]

    def medians(values: np.ndarray) -> np.ndarray:
        ordered = np.sort(values, axis=0)
        return (ordered[low] + ordered[high]) / 2

    return medians


def student_t(confidence: float, degrees: int) -> float:
    """The t with this probability within ±t in Student's distribution (Abramowitz & Stegun
    26.7.3–4)."""
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        angle = (low + high) / 2
        low, high = (angle, high) if _within(angle, degrees) < confidence else (low, angle)
    return math.sqrt(degrees) * math.tan(low)


def _within(angle: float, degrees: int) -> float:
    """P(|T| ≤ √degrees·tan(angle)) by the finite series for whole degrees of freedom."""
    cosine, sine = math.cos(angle), math.sin(angle)
    odd = degrees % 2
    term, series = (cosine if odd else 1.0), 0.0
    for k in range(2 + odd, degrees + 1, 2):
        series += term
        term *= cosine**2 * (k - 1) / k
    return 2 / math.pi * (angle + sine * series) if odd else sine * series


def _doubled_ranks(
    differences: np.ndarray,
) -> tuple[Int[np.ndarray, "ranked"], np.ndarray]:
    """Twice the mid-ranks of the non-zero values (whole numbers), and which are positive."""
    kept = np.asarray(differences, dtype=np.float64)
    kept = kept[kept != 0]
    _, places, counts = np.unique(np.abs(kept), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (2 * last - counts + 1)[places], kept > 0


def _subset_sums(ranks: np.ndarray) -> Float[np.ndarray, "sums"]:
    """The probability of each sum over a random subset of the ranks."""
    chances = np.zeros(int(ranks.sum()) + 1)
    chances[0] = 1.0
    for rank in ranks:
        moved = np.zeros_like(chances)
        moved[rank:] = chances[: len(chances) - rank]
        chances = (chances + moved) / 2
    return chances
