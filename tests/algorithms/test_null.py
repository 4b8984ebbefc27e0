"""The dull null and the raw weights: what rounding without group theory does, and what it costs."""

import pytest
import torch

from coset_circuits.algorithms import DullNull, RawWeights
from coset_circuits.algorithms.null import k_means


def table(seed=0, rows=60, columns=40):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, columns, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("levels", [1, 2, 6])
def test_each_column_has_its_own_few_levels(levels):
    rounded = k_means(table(), levels)
    assert max(len(column.unique()) for column in rounded.T) <= levels
    if levels == 1:
        torch.testing.assert_close(rounded, table().mean(0).expand(60, -1))


def test_rounding_ends_at_a_fixed_point():
    """Every value stands at the nearest level, and every level is the mean of its values."""
    values = table()
    rounded = k_means(values, 6)
    for column, fitted in zip(values.T, rounded.T, strict=True):
        centres = fitted.unique()
        nearest = centres[(column[:, None] - centres).abs().argmin(1)]
        assert torch.equal(nearest, fitted)
        for centre in centres:
            assert column[fitted == centre].mean().item() == pytest.approx(centre.item())


def test_columns_of_few_levels_are_kept():
    values = torch.tensor([0.0, 1, 2, 3, 4, 5], dtype=torch.float64).repeat_interleave(4)[:, None]
    assert torch.equal(k_means(values, 6), values)
    assert torch.equal(k_means(k_means(values, 3), 3), k_means(values, 3))


def test_rounding_beats_equal_widths_over_all_columns():
    """Not in each: Lloyd's algorithm stops at the nearest fixed point, not at the best."""
    values = table()
    low, high = values.amin(0), values.amax(0)
    width = (high - low) / 6
    bins = ((values - low) / width).floor().clamp(max=5)
    equal = low + (bins + 0.5) * width
    rounded = k_means(values, 6)
    assert (values - rounded).square().sum() < 0.9 * (values - equal).square().sum()


@pytest.mark.parametrize("delta", [0.3, 0.1, 0.03])
def test_raw_weights_cost_every_entry_and_err_nowhere(untrained, delta):
    circuit = RawWeights().fit(untrained)
    length = circuit.description_length(delta)
    # Three tables of 24 entries.
    expected = 3 * 24 * float(torch.log2(torch.tensor(1 / delta, dtype=torch.float64)))
    assert length.bits_per_neuron == pytest.approx(expected, rel=1e-12)
    assert (length.structure, length.residual) == (0, 0)
    pairs = untrained.group.pairs()
    torch.testing.assert_close(circuit.surrogate()(pairs), untrained(pairs))
    assert circuit.roles.coverage == 1


def test_the_dull_null_says_the_level_of_each_element(untrained):
    circuit = DullNull().fit(untrained)
    length = circuit.description_length(0.1)
    log2 = torch.log2(torch.tensor([6.0, 10.0], dtype=torch.float64))
    assert length.structure / 32 == pytest.approx(3 * 24 * float(log2[0]))
    assert length.levels / 32 == pytest.approx(3 * 6 * float(log2[1]))
    surrogate = circuit.surrogate()
    assert max(len(c.unique()) for c in surrogate.left_table.T) <= 6
    torch.testing.assert_close(surrogate.W_U.T, k_means(untrained.W_U.T.detach(), 6))


def test_a_relabelling_changes_nothing_for_the_nulls(untrained):
    other = untrained.group.relabelled(torch.randperm(24).numpy())
    pairs = untrained.group.pairs()
    for null in (DullNull(), RawWeights()):
        one, two = null.fit(untrained).surrogate(), null.fit(untrained, other).surrogate()
        assert torch.equal(one(pairs), two(pairs))
