"""Cross-entropy against arbitrary precision, where float32 and the textbook formula fail."""

import mpmath
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from coset_circuits.networks import cross_entropy
from coset_circuits.networks.losses import cross_entropy_gradient


def exact(logits, label):
    """−log softmax with fifty digits."""
    with mpmath.workdps(50):
        numbers = [mpmath.mpf(x) for x in logits.tolist()]
        right = numbers.pop(label)
        return float(mpmath.log1p(mpmath.fsum(mpmath.exp(x - right) for x in numbers)))


def logits_of_loss(loss, order=120):
    """One row whose label 0 has very nearly this loss: the others share exp(loss) − 1."""
    with mpmath.workdps(50):
        gap = mpmath.log((order - 1) / mpmath.expm1(mpmath.mpf(loss)))
    others = torch.linspace(-1, 1, order - 1, dtype=torch.float64)
    return torch.cat([torch.tensor([float(gap)], dtype=torch.float64), others])[None]


@pytest.mark.parametrize("loss", [1e-300, 1e-20, 1e-12, 1e-6, 0.7, 20.0, 50.0, 700.0])
def test_a_loss_is_right_at_any_size(loss):
    logits = logits_of_loss(loss)
    found = cross_entropy(logits, torch.tensor([0]))
    assert found.dtype == torch.float64
    assert found.item() == pytest.approx(exact(logits[0], 0), rel=1e-13, abs=0)


def test_the_textbook_formula_is_nought_where_this_is_not():
    logits = logits_of_loss(1e-20)
    assert F.cross_entropy(logits, torch.tensor([0])).item() == 0
    # exp spreads the other logits by at most e either way.
    assert 1e-20 / 3 < cross_entropy(logits, torch.tensor([0])).item() < 3e-20


@given(
    st.lists(st.floats(-200, 200), min_size=2, max_size=8),
    st.integers(0, 7),
    st.floats(-1000, 1000),
)
def test_every_row_agrees_with_fifty_digits_whatever_is_added_to_it(values, position, shift):
    label = position % len(values)
    logits = torch.tensor([values], dtype=torch.float64) + shift
    found = cross_entropy(logits, torch.tensor([label])).item()
    assert found == pytest.approx(exact(logits[0], label), rel=1e-12, abs=1e-300)


@pytest.mark.parametrize("loss", [1e-30, 1e-9, 0.7, 50.0])
def test_the_loss_of_float32_logits_is_exact_to_their_rounding(loss):
    logits = logits_of_loss(loss).float()
    found = cross_entropy(logits, torch.tensor([0]))
    assert found.dtype == torch.float64
    assert found.item() == pytest.approx(exact(logits[0].double(), 0), rel=1e-5, abs=0)


def random_batch(scale):
    generator = torch.Generator().manual_seed(0)
    logits = scale * torch.randn(40, 24, generator=generator, dtype=torch.float64)
    return logits, torch.randint(24, (40,), generator=generator)


def torchs_gradient(logits, labels):
    leaf = logits.clone().requires_grad_()
    F.cross_entropy(leaf, labels).backward()
    return leaf.grad


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
def test_the_trainers_gradient_is_torchs_in_float64(scale):
    logits, labels = random_batch(scale)
    found = cross_entropy_gradient(logits, labels)
    torch.testing.assert_close(found, torchs_gradient(logits, labels), rtol=1e-12, atol=1e-15)


def test_the_gradient_is_the_derivative_of_the_loss():
    logits, labels = random_batch(2.0)
    leaf = logits.clone().requires_grad_()
    (expected,) = torch.autograd.grad(cross_entropy(leaf, labels).mean(), leaf)
    found = cross_entropy_gradient(logits, labels)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-15)


def relative_error(gradient, expected):
    return ((gradient.double() - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize("loss", [4e-8, 1e-12, 1e-20])
def test_in_float32_the_gradient_stays_right_where_torchs_does_not(loss):
    logits, labels = logits_of_loss(loss).float(), torch.tensor([0])
    # Its own label part cancels in float64 too at such losses; ours does not.
    expected = cross_entropy_gradient(logits.double(), labels)
    if loss > 1e-9:
        assert relative_error(torchs_gradient(logits.double(), labels), expected) < 1e-7
    assert relative_error(cross_entropy_gradient(logits, labels), expected) < 1e-4
    assert relative_error(torchs_gradient(logits, labels), expected) > 0.1


@pytest.mark.parametrize("shift", [0.0, 1e4, -1e4])
def test_the_gradient_is_finite_however_large_the_logits(shift):
    logits, labels = random_batch(1e3)
    found = cross_entropy_gradient(logits.float() + shift, labels)
    assert torch.isfinite(found).all()
    assert (found.gather(1, labels[:, None]) >= -1 / len(labels)).all()


def test_a_gradient_adds_up_to_nothing():
    logits, labels = random_batch(5.0)
    sums = cross_entropy_gradient(logits, labels).sum(1)
    torch.testing.assert_close(sums, torch.zeros_like(sums), rtol=0, atol=1e-16)
