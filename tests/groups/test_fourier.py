"""Plancherel, round trips and translations in the Fourier basis."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coset_circuits.errors import CosetCircuitsError
from coset_circuits.groups import fourier_basis, group, inverse, power, project, transform

NAMES = ["S1", "S4", "S5", "A4", "A5", "C8", "C113", "D4", "D9"]


def noise(g, *shape):
    return torch.from_numpy(np.random.default_rng(0).normal(size=(g.order, *shape)))


@pytest.mark.parametrize("name", [*NAMES, "S6"])
def test_the_basis_is_orthogonal(name):
    basis = fourier_basis(group(name))
    identity = torch.eye(group(name).order, dtype=torch.float64)
    assert torch.allclose(basis.T @ basis, identity, atol=1e-10)
    assert torch.allclose(basis @ basis.T, identity, atol=1e-10)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_inverse_undoes_the_transform(name, shape):
    g = group(name)
    functions = noise(g, *shape)
    assert transform(g, functions).shape == functions.shape
    assert torch.allclose(inverse(g, transform(g, functions)), functions, atol=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_plancherel(name):
    g = group(name)
    functions = noise(g, 4)
    energies = power(g, functions)
    assert energies.shape == (len(g.real_blocks), 4)
    assert torch.allclose(energies.sum(dim=0), functions.square().sum(dim=0), atol=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_projections_are_idempotent_and_add_up(name):
    g = group(name)
    functions = noise(g, 2)
    parts = [project(block, functions) for block in g.real_blocks]
    assert torch.allclose(torch.stack(parts).sum(dim=0), functions, atol=1e-10)
    for block, part, energy in zip(g.real_blocks, parts, power(g, functions), strict=True):
        assert torch.allclose(project(block, part), part, atol=1e-10)
        assert torch.allclose(part.square().sum(dim=0), energy, atol=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_the_projector_is_convolution_with_the_character(name):
    """P f = (dim / dim End / |G|) Σ_y χ(x y⁻¹) f(y), an oracle that uses no basis."""
    g = group(name)
    functions = noise(g, 2)
    quotients = g.table[:, g.inverses]
    for block in g.real_blocks:
        scale = block.dimension / block.dim_end / g.order
        expected = scale * block.character[quotients] @ functions
        assert torch.allclose(project(block, functions), expected, atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 119), st.integers(0, 119))
def test_power_does_not_see_translations(a, b):
    g = group("S5")
    functions = noise(g, 1)
    moved = functions[g.table[g.table[a], b]]
    assert torch.allclose(power(g, moved), power(g, functions), atol=1e-9)


def test_power_of_a_cosine_is_the_discrete_fourier_transforms():
    g = group("C113")
    signal = noise(g, 1)
    spectrum = np.abs(np.fft.rfft(signal[:, 0].numpy())) ** 2 / 113
    spectrum[1:] *= 2  # both signs of a frequency share one real block
    assert np.allclose(power(g, signal)[:, 0].numpy(), spectrum, atol=1e-10)


def test_single_precision_stays_single():
    g = group("S4")
    functions = noise(g, 2).float()
    assert transform(g, functions).dtype == torch.float32
    assert torch.allclose(inverse(g, transform(g, functions)), functions, atol=1e-5)


def test_functions_on_another_group_are_refused():
    for call in (transform, inverse, power):
        with pytest.raises(CosetCircuitsError, match="6 rows but S4 has 24 elements"):
            call(group("S4"), torch.zeros(6, 1))
    with pytest.raises(CosetCircuitsError, match="one row an element"):
        project(group("S4").real_blocks[1], torch.zeros(6, 1))
