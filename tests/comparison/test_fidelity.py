"""The fidelity point: quantised tables, and where a network stops to behave like itself."""

import pytest
import torch

import coset_circuits as cc
from coset_circuits.algorithms import Tables
from coset_circuits.comparison.fidelity import RATIO, Fidelity, fidelity, quantised
from coset_circuits.experiments import measured

T = cc.Thresholds()


@pytest.fixture(scope="module")
def s4():
    return measured(cc.load("s4"))


@pytest.fixture(scope="module")
def point(s4):
    return fidelity(s4)


@pytest.mark.parametrize("delta", [0.01, 0.1, 0.3])
def test_the_error_of_a_column_is_delta_of_its_deviation(delta):
    """Subtractive dither: uniform in a step, so of s.d. step/√12, whatever the column is."""
    generator = torch.Generator().manual_seed(1)
    table = torch.randn(40_000, 3, generator=generator, dtype=torch.float64)
    # Three values only, and a constant.
    table[:, 1] = (table[:, 1] > 0.5).double() - (table[:, 1] < -1).double()
    table[:, 2] = 7.3
    tables = Tables(table, table, table, torch.arange(len(table)))
    for error in (q - table for q in quantised(tables, delta, draw=0)):
        for column in (0, 1):
            deviation = float(table[:, column].std(correction=0))
            assert float(error[:, column].std()) == pytest.approx(delta * deviation, rel=0.02)
            assert float(error[:, column].mean()) == pytest.approx(0, abs=0.02 * delta * deviation)
            assert float(error[:, column].abs().max()) <= delta * deviation * 12**0.5 / 2 * 1.0001
        assert float(error[:, 2].abs().max()) == 0


def test_other_draws_have_other_dither_and_the_same_draw_the_same(s4):
    tables = Tables.of(s4)
    one, same, other = (quantised(tables, 0.1, draw).left for draw in (0, 0, 1))
    assert torch.equal(one, same) and not torch.allclose(one, other)


def test_the_point_of_s4_is_where_it_was_measured_before(point):
    """0.03 to 0.05 by an earlier pilot with other dithers; a factor of 1.5 is allowed."""
    assert 0.03 / 1.5 < point.delta < 0.05 * 1.5
    assert point.interval[0] <= point.delta <= point.interval[1]
    assert point.delta in point.draws and len(point.draws) == T.dither_draws
    assert point.pairs == 576


def test_the_curve_rises_and_crosses_at_the_point(point):
    """In the mean over finer and coarser halves, far below and far above."""
    fine = [p.median_log_loss for p in point.curve if p.delta < point.interval[0] / 1.5]
    coarse = [p.median_log_loss for p in point.curve if p.delta > point.interval[1] * 1.5]
    near = [
        p.median_log_loss
        for p in point.curve
        if point.interval[0] / RATIO <= p.delta <= point.interval[1] * RATIO
    ]
    assert max(fine) < T.fidelity_log_loss < min(coarse)
    assert max(fine) < sum(near) / len(near) < min(coarse)
    assert [p.delta for p in point.curve] == sorted(p.delta for p in point.curve)


def test_what_never_changes_gets_the_cap(untrained):
    found = fidelity(untrained, thresholds=cc.Thresholds(fidelity_cap=0.2))
    assert found.is_capped and found.delta == found.cap == 0.2


def test_ratios_are_symmetric_and_lengths_are_those_of_the_draws():
    point = Fidelity(0.05, (0.04, 0.06), (0.04, 0.05, 0.06), (), 0.1, 0.3, 1, 1)
    assert set(point.deltas) == {0.05, 0.025, 0.1, 0.04, 0.06}
    one = {0.025: 9.0, 0.04: 8.0, 0.05: 6.0, 0.06: 5.0, 0.1: 4.0}
    two = {0.025: 10.0, 0.04: 4.0, 0.05: 3.0, 0.06: 2.0, 0.1: 5.0}
    assert point.length(one) == (6, (5, 8))
    value, (low, high) = point.ratio(one, two)
    assert (value, low, high) == pytest.approx((2, 0.8, 2.5))
    value, (low, high) = point.ratio(two, one)
    assert (value, low, high) == pytest.approx((1 / 2, 1 / 2.5, 1 / 0.8))


def test_it_can_be_read_again(point):
    assert Fidelity.from_dict(point.to_dict()) == point


def test_equal_interventions_count_once(s4):
    """Twice the activation and both inputs twice are the same of a network without biases."""
    assert s4.is_unbiased
    names = ("base", "abs", "double", "scale_both_2")
    found = fidelity(s4, [cc.INTERVENTIONS[name] for name in names])
    assert found.rows == 3
