"""Statistics over networks against plain loops, exact enumeration, tables and simulation."""

import itertools
import math
from statistics import NormalDist

import numpy as np
import pytest

from coset_circuits import CosetCircuitsError, Thresholds
from coset_circuits.findings.statistics import (
    Question,
    compare_paired,
    equivalence_p,
    estimates,
    holm,
    networks_needed,
    rank_biserial,
    share,
    signed_rank_p,
    smallest_p,
    student_t,
    too_few,
)

# Darwin's maize, in eighths of an inch: the textbook example of paired differences.
MAIZE = np.array([49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48], dtype=float)


def mid_ranks(values):
    """Mean rank of each |value| among them, by counting."""
    sizes = [abs(v) for v in values]
    return [sum(s < t for s in sizes) + (sum(s == t for s in sizes) + 1) / 2 for t in sizes]


def enumerated(differences, alternative):
    """The signed-rank test by flipping every sign, one pattern after the other."""
    kept = [d for d in differences if d != 0]
    ranks = mid_ranks(kept)
    seen = sum(r for r, d in zip(ranks, kept, strict=True) if d > 0)
    sums = [
        sum(r for r, sign in zip(ranks, signs, strict=True) if sign)
        for signs in itertools.product((False, True), repeat=len(kept))
    ]
    above = sum(s >= seen for s in sums) / len(sums)
    below = sum(s <= seen for s in sums) / len(sums)
    two = min(1.0, 2 * min(above, below))
    return {"greater": above, "less": below, "two-sided": two}[alternative]


# The signed-rank test


@pytest.mark.parametrize("alternative", ["two-sided", "greater", "less"])
@pytest.mark.parametrize("seed", range(12))
def test_the_test_is_the_enumeration_of_all_signs(seed, alternative):
    """Whole numbers, so that there are ties and noughts."""
    rng = np.random.default_rng(seed)
    differences = rng.integers(-4, 6, size=1 + seed % 10).astype(float)
    found = signed_rank_p(differences, alternative)
    assert found == pytest.approx(enumerated(differences, alternative), abs=1e-12)


def test_darwins_maize():
    """W = 96 and p = 0.04126, as R's wilcox.test and textbooks have it."""
    assert signed_rank_p(MAIZE) == pytest.approx(0.04126, abs=5e-6)
    assert rank_biserial(MAIZE) == pytest.approx((96 - 24) / 120)


@pytest.mark.parametrize("networks", [1, 2, 5, 6, 11, 50])
def test_no_p_is_below_the_smallest(networks):
    assert signed_rank_p(np.arange(1.0, networks + 1)) == smallest_p(networks)
    assert signed_rank_p(np.arange(1.0, networks + 1), "greater") == smallest_p(networks, 1)
    assert smallest_p(networks) == min(1.0, 2 / 2**networks)


def test_nothing_but_noughts_shows_nothing():
    assert signed_rank_p(np.zeros(9)) == 1
    assert rank_biserial(np.zeros(9)) == 0


@pytest.mark.parametrize("seed", range(5))
def test_the_effect_size_is_the_balance_of_rank_sums(seed):
    differences = np.random.default_rng(seed).integers(-5, 8, size=9).astype(float)
    kept = [d for d in differences if d]
    ranks = mid_ranks(kept)
    balance = sum(math.copysign(r, d) for r, d in zip(ranks, kept, strict=True))
    assert rank_biserial(differences) == pytest.approx(balance / sum(ranks))
    assert rank_biserial(-differences) == -rank_biserial(differences)


def test_hardly_ever_different_where_there_is_no_difference():
    """8 networks: the test can be wrong in 10 of 256 sign patterns, 3.9%, whatever the values."""
    rng = np.random.default_rng(0)
    values = rng.standard_normal((2000, 8)) * np.exp(rng.standard_normal((2000, 8)))
    wrong = np.mean([signed_rank_p(v) <= 0.05 for v in values])
    assert wrong == pytest.approx(10 / 256, abs=0.013)


# Equivalence


@pytest.mark.parametrize("spread", [0.02, 0.2, 1.0])
def test_at_the_margin_equivalence_is_hardly_ever_found(spread):
    rng = np.random.default_rng(1)
    values = 0.1 + spread * rng.standard_normal((2000, 10))
    found = np.mean([equivalence_p(v, 0.1) <= 0.05 for v in values])
    assert found <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 2000)
    if spread == 0.02:
        # Far from the other margin the bound is nearly reached: 43 of 1,024 patterns.
        assert found == pytest.approx(43 / 1024, abs=0.013)


def test_well_within_the_margin_equivalence_is_found():
    rng = np.random.default_rng(2)
    values = 0.02 * rng.standard_normal((200, 10))
    assert np.mean([equivalence_p(v, 0.1) <= 0.05 for v in values]) > 0.99


def test_equivalence_is_both_one_sided_tests():
    rng = np.random.default_rng(3)
    for values in rng.standard_normal((20, 7)):
        one = enumerated(values + 0.5, "greater")
        two = enumerated(values - 0.5, "less")
        assert equivalence_p(values, 0.5) == pytest.approx(max(one, two), abs=1e-12)


# Holm


@pytest.mark.parametrize("seed", range(10))
def test_holm_is_bonferroni_closed_under_subsets(seed):
    """Adjusted p: the largest Bonferroni p of any subset that has the hypothesis in it."""
    p = np.random.default_rng(seed).choice([0.001, 0.01, 0.02, 0.04, 0.3, 0.9], size=1 + seed % 6)
    for i, adjusted in enumerate(holm(list(p))):
        subsets = (
            s
            for size in range(1, len(p) + 1)
            for s in itertools.combinations(range(len(p)), size)
            if i in s
        )
        wanted = max(min(1.0, len(s) * min(p[j] for j in s)) for s in subsets)
        assert adjusted == pytest.approx(wanted, abs=1e-12)


def test_holm_keeps_the_order_and_never_lowers_a_p():
    p = list(np.random.default_rng(0).random(40) ** 3)
    adjusted = holm(p)
    assert all(a >= raw for a, raw in zip(adjusted, p, strict=True))
    ordered = [adjusted[i] for i in np.argsort(p)]
    assert ordered == sorted(ordered)
    assert holm([]) == []


# Intervals


def test_students_t_is_that_of_the_tables():
    table = {1: 12.7062, 2: 4.3027, 3: 3.1824, 4: 2.7764, 7: 2.3646, 9: 2.2622, 30: 2.0423}
    for degrees, t in table.items():
        assert student_t(0.95, degrees) == pytest.approx(t, abs=5e-5)
    assert student_t(0.99, 4) == pytest.approx(4.6041, abs=5e-5)


@pytest.mark.parametrize("statistic", ["mean", "median"])
def test_the_bootstrap_is_that_of_all_resamples(statistic):
    """Five networks have 3,125 resamples: the interval's ends are percentiles of all of them."""
    values = np.array([0.3, 1.0, -2.0, 4.0, 0.5])
    centre = getattr(np, statistic)
    every = sorted(centre(values[list(i)]) for i in itertools.product(range(5), repeat=5))
    tail = NormalDist().cdf(-math.sqrt(5 / 4) * student_t(0.95, 4))
    (found,) = estimates(values[:, None], statistic)
    assert found.value == centre(values) and found.networks == 5
    for bound, level in zip(found.interval, (tail, 1 - tail), strict=True):
        # 10,000 draws put the percentile's level within three standard errors.
        reach = 3 * math.sqrt(tail / 10_000)
        low, high = (np.quantile(every, np.clip(level + r, 0, 1)) for r in (-reach, reach))
        assert low - 1e-12 <= bound <= high + 1e-12


@pytest.mark.slow
@pytest.mark.parametrize(
    ("networks", "statistic", "draw", "truth", "least"),
    [
        (5, "mean", "normal", 0, 0.90),
        (5, "median", "normal", 0, 0.91),
        (8, "mean", "normal", 0, 0.92),
        (20, "mean", "normal", 0, 0.93),
        (20, "median", "exponential", math.log(2), 0.93),
        (50, "mean", "exponential", 1, 0.925),
    ],
)
def test_intervals_cover_the_truth(networks, statistic, draw, truth, least):
    """Nominally 95%; with 5 networks nothing can cover a median more than 15 times in 16."""
    rng = np.random.default_rng(7)
    values = getattr(rng, f"standard_{draw}")((networks, 1500))
    found = estimates(values, statistic, seed=1)
    covered = np.mean([e.interval[0] <= truth <= e.interval[1] for e in found])
    assert least <= covered <= 0.985


def test_a_plain_percentile_interval_would_be_too_short():
    """Why it is widened: 84% instead of 95% for the mean of 5 normal values."""
    rng = np.random.default_rng(7)
    values = rng.standard_normal((5, 1000))
    drawn = rng.integers(5, size=(2000, 5))
    plain = np.quantile(values[drawn].mean(1), [0.025, 0.975], axis=0)
    wide = np.array([e.interval for e in estimates(values, "mean")]).T
    plainly, widely = (np.mean((low <= 0) & (high >= 0)) for low, high in (plain, wide))
    assert plainly < 0.87 and widely > 0.90


def test_intervals_do_not_depend_on_what_else_is_asked():
    values = np.random.default_rng(0).standard_normal((9, 300))
    together = estimates(values, "mean", seed=4)
    (alone,) = estimates(values[:, 170:171], "mean", seed=4)
    assert alone.value == together[170].value
    assert alone.interval == pytest.approx(together[170].interval, abs=1e-12)
    assert estimates(values, "mean", seed=4) == together
    assert estimates(values, "mean", seed=5) != together


def test_equal_values_have_an_interval_without_width():
    (found,) = estimates(np.full((7, 1), 0.25), "mean")
    assert found.value == 0.25 and found.interval == pytest.approx((0.25, 0.25))


@pytest.mark.parametrize("count", [0, 1, 3, 5])
def test_a_share_has_wilsons_interval(count):
    """Its ends are the shares p from which count/5 lies just 1.96 standard errors away."""
    found = share(count, 5)
    assert found.value == count / 5
    z = NormalDist().inv_cdf(0.975)
    for p in found.interval:
        if 0 < p < 1:
            assert abs(count / 5 - p) == pytest.approx(z * math.sqrt(p * (1 - p) / 5))
    assert 0 <= found.interval[0] <= found.value <= found.interval[1] <= 1


# Families of questions


def question(differences, margin=0.1, name="a"):
    return Question(name, "b", "prediction_error", "decades", margin, np.array(differences))


def verdicts(*questions):
    return [p.verdict for p in compare_paired(questions)]


def test_every_verdict():
    spread = np.linspace(-1, 1, 12)
    assert verdicts(question(0.3 + 0.1 * spread)) == ["different"]
    assert verdicts(question(0.05 + 0.01 * spread)) == ["different, equivalent"]
    assert verdicts(question(0.02 * np.r_[spread[:6], -spread[:6]])) == ["equivalent"]
    assert verdicts(question(np.r_[spread, -spread])) == ["undecided"]
    assert verdicts(question(np.full(12, 1e-12))) == ["equal"]
    assert verdicts(question([0.3, 0.4, 0.5])) == ["too few networks"]


def test_a_family_is_corrected_together():
    """12 networks on one side: p = 2/4096, too much only for a family of more than 102."""
    clear = question(np.linspace(0.2, 0.3, 12))
    mixed = question(np.r_[np.linspace(0.2, 0.8, 6), -np.linspace(0.21, 0.81, 6)])
    found = compare_paired([clear] + [mixed] * 102)
    assert found[0].p == 2 / 4096 and found[0].p_holm == pytest.approx(103 * 2 / 4096)
    assert found[0].verdict == "too few networks" and found[0].family == 103
    assert compare_paired([clear] + [mixed] * 101)[0].verdict == "different"


def test_what_cannot_be_asked_still_counts_in_the_family():
    clear, few = question(np.linspace(0.2, 0.3, 12)), question([0.1, 0.2])
    found = compare_paired([clear, few])
    assert found[0].p_holm == 2 * found[0].p
    assert (found[1].p, found[1].p_holm, found[1].p_equivalent) == (None, None, None)


def test_five_networks_can_be_equivalent_but_not_different():
    """One-sided 2^-5 = 0.031, two-sided 0.0625."""
    found = compare_paired([question([0.01, -0.01, 0.02, 0.0, 0.01])])[0]
    assert found.p is None and found.p_equivalent == 1 / 32
    assert found.verdict == "equivalent"
    assert found.median.value == 0.01 and found.mean.value == pytest.approx(0.006)


def test_too_few_networks_get_a_sentence():
    assert [n for n in range(1, 12) if too_few(n) is not None] == [1, 2, 3, 4, 5]
    sentence = too_few(4)
    assert "4 networks" in sentence and "0.12" in sentence and "at least 6 networks" in sentence
    assert estimates(np.ones((4, 1)))[0].interval is None
    assert estimates(np.ones((5, 1)))[0].interval is not None


@pytest.mark.parametrize(("family", "sides"), [(1, 2), (1, 1), (20, 2), (42, 1)])
def test_the_fewest_networks_are_found_by_counting_up(family, sides):
    wanted = next(n for n in itertools.count(1) if family * sides * 2.0**-n <= 0.05)
    assert networks_needed(family=family, sides=sides) == wanted
    strict = Thresholds(significance=0.0625)
    assert networks_needed(strict) == 5


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: estimates(np.empty((0, 2))), "no network"),
        (lambda: estimates(np.array([[1.0], [math.nan]])), "no finite value"),
        (lambda: equivalence_p(np.ones(3), 0.0), "margin is 0"),
        (lambda: share(3, 2), "3 of 2"),
        (lambda: compare_paired([question([])]), "no network"),
    ],
)
def test_bad_input_is_a_sentence(call, words):
    with pytest.raises(CosetCircuitsError, match=words):
        call()
