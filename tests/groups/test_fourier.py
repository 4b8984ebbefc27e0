"""Plancherel, round trips and translations in the Fourier basis."""

import gc
import weakref
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coset_circuits.errors import CosetCircuitsError
from coset_circuits.groups import (
    FiniteGroup,
    fourier,
    fourier_basis,
    group,
    inverse,
    power,
    project,
    transform,
)
from coset_circuits.groups.equivariance import translate
from coset_circuits.groups.fourier import decompose

NAMES = ["S1", "S4", "S5", "A4", "A5", "C7", "C8", "C113", "D4", "D9", "Q8"]
PRECISION = {torch.float32: 2e-5, torch.float64: 1e-10}


def quaternions():
    """±1, ±i, ±j, ±k, of the quaternionic type; element 4s + u is (−1)^s times the unit u."""
    units = [[0, 1, 2, 3], [1, 0, 3, 2], [2, 3, 0, 1], [3, 2, 1, 0]]
    signs = [[0, 0, 0, 0], [0, 1, 0, 1], [0, 1, 1, 0], [0, 0, 1, 1]]
    units, signs = np.array(units), np.array(signs)
    sign, unit = np.divmod(np.arange(8), 4)
    total = (sign[:, None] + sign + signs[unit[:, None], unit]) % 2
    return FiniteGroup.from_table(4 * total + units[unit[:, None], unit], "Q8")


Q8 = quaternions()


def named(name):
    return Q8 if name == "Q8" else group(name)


def noise(g, *shape, seed=0, dtype=torch.float64):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(g.order, *shape))).to(dtype)


groups = st.sampled_from(NAMES).map(named)
shapes = st.lists(st.integers(1, 3), max_size=2)
seeds = st.integers(0, 2**32 - 1)
precisions = st.sampled_from([torch.float32, torch.float64])


@pytest.fixture
def small_bound(monkeypatch):
    """No basis is kept: pieces of at most 24 columns of S4, 4 of S5."""
    monkeypatch.setattr(fourier, "LARGEST_KEPT", 24 * 24 * 8 - 1)


@pytest.mark.parametrize("name", [*NAMES, "S6"])
def test_the_basis_is_orthogonal(name):
    g = named(name)
    basis = fourier_basis(g)
    identity = torch.eye(g.order, dtype=torch.float64)
    assert torch.allclose(basis.T @ basis, identity, atol=1e-10)
    assert torch.allclose(basis @ basis.T, identity, atol=1e-10)


def test_the_types_of_blocks_are_all_met():
    types = {block.type for name in NAMES for block in named(name).real_blocks}
    assert types == {"real", "complex", "quaternionic"}


@settings(deadline=None)
@given(groups, shapes, seeds, precisions)
def test_inverse_undoes_the_transform(g, shape, seed, dtype):
    functions = noise(g, *shape, seed=seed, dtype=dtype)
    coefficients = transform(g, functions)
    assert coefficients.shape == functions.shape
    assert coefficients.dtype == inverse(g, coefficients).dtype == dtype
    assert torch.allclose(inverse(g, coefficients), functions, atol=PRECISION[dtype])
    assert torch.allclose(transform(g, inverse(g, functions)), functions, atol=PRECISION[dtype])


@settings(deadline=None)
@given(groups, shapes, seeds, precisions)
def test_plancherel(g, shape, seed, dtype):
    """⟨f, h⟩ is the product of the coefficients, and the blocks' energies add up to ‖f‖²."""
    f, h = (noise(g, *shape, seed=s, dtype=dtype) for s in (seed, seed + 1))
    products = (transform(g, f) * transform(g, h)).sum(0)
    close = {"rtol": PRECISION[dtype], "atol": g.order * PRECISION[dtype]}
    assert torch.allclose(products, (f * h).sum(0), **close)
    energies = power(g, f)
    assert energies.shape == (len(g.real_blocks), *shape)
    assert torch.allclose(energies.sum(0), f.square().sum(0), **close)


@pytest.mark.parametrize("name", NAMES)
def test_a_blocks_own_functions_have_power_in_it_alone(name):
    g = named(name)
    for number, block in enumerate(g.real_blocks):
        expected = torch.zeros(len(g.real_blocks), block.parameters, dtype=torch.float64)
        expected[number] = 1
        assert torch.allclose(power(g, block.basis), expected, atol=1e-10)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", PRECISION)
def test_projections_are_idempotent_and_add_up(name, dtype):
    g = named(name)
    functions = noise(g, 2, dtype=dtype)
    parts = decompose(g, functions)
    assert parts.dtype == dtype
    assert torch.allclose(parts.sum(dim=0), functions, atol=PRECISION[dtype])
    for block, part, energy in zip(g.real_blocks, parts, power(g, functions), strict=True):
        assert torch.allclose(project(block, functions), part, atol=PRECISION[dtype])
        assert torch.allclose(project(block, part), part, atol=PRECISION[dtype])
        assert torch.allclose(part.square().sum(dim=0), energy, rtol=1e-4, atol=PRECISION[dtype])


def test_several_blocks_are_projected_on_together():
    g = group("S4")
    functions = noise(g, 2)
    chosen = g.real_blocks[1:3]
    expected = decompose(g, functions)[1:3].sum(0)
    assert torch.allclose(project(chosen, functions), expected, atol=1e-12)
    assert torch.allclose(project([*chosen, chosen[0]], functions), expected, atol=1e-12)
    assert torch.equal(project([], functions), torch.zeros_like(functions))


@pytest.mark.parametrize("name", NAMES)
def test_the_projector_is_convolution_with_the_character(name):
    """P f = (dim / dim End / |G|) Σ_y χ(x y⁻¹) f(y), an oracle that uses no basis."""
    g = named(name)
    functions = noise(g, 2)
    quotients = g.table[:, g.inverses]
    for block in g.real_blocks:
        scale = block.dimension / block.dim_end / g.order
        expected = scale * block.character[quotients] @ functions
        assert torch.allclose(project(block, functions), expected, atol=1e-9)


@settings(deadline=None)
@given(groups, st.data())
def test_projections_commute_with_translations(g, data):
    a, b = (data.draw(st.integers(0, g.order - 1)) for _ in range(2))
    functions = noise(g, 2)
    moved = translate(g, functions, left=a, right=b)
    assert torch.allclose(power(g, moved), power(g, functions), atol=1e-9)
    for part, whole in zip(decompose(g, moved), decompose(g, functions), strict=True):
        assert torch.allclose(part, translate(g, whole, left=a, right=b), atol=1e-9)


def test_power_of_a_cosine_is_the_discrete_fourier_transforms():
    g = group("C113")
    signal = noise(g, 1)
    spectrum = np.abs(np.fft.rfft(signal[:, 0].numpy())) ** 2 / 113
    spectrum[1:] *= 2  # both signs of a frequency share one real block
    assert np.allclose(power(g, signal)[:, 0].numpy(), spectrum, atol=1e-10)


@pytest.mark.parametrize("name", ["S4", "S5", "C113", "D12"])
def test_pieces_give_what_the_whole_basis_gives(name, request):
    g = named(name)
    functions = noise(g, 2)
    calls = [transform, inverse, power, decompose]
    whole = [call(g, functions) for call in calls]
    request.getfixturevalue("small_bound")
    pieces = [basis for _, basis in fourier._pieces(g, functions)]
    assert len(pieces) > 1
    assert sum(basis.shape[1] for basis in pieces) == g.order
    largest = max(block.basis.nbytes for block in g.real_blocks)
    assert all(basis.nbytes <= max(24 * 24 * 8 - 1, largest) for basis in pieces)
    for call, expected in zip(calls, whole, strict=True):
        assert torch.allclose(call(g, functions), expected, atol=1e-12)


def test_a_basis_is_kept_with_its_group_and_goes_with_it(small_bound, monkeypatch):
    bound = fourier.LARGEST_KEPT
    g = FiniteGroup(group("S4").array, "copy")
    assert fourier_basis(g) is not fourier_basis(g)  # one byte too large to keep
    monkeypatch.setattr(fourier, "LARGEST_KEPT", bound + 1)
    kept = fourier_basis(g)
    assert fourier_basis(g) is kept
    assert fourier_basis(g, torch.float32) is fourier_basis(g, torch.float32, "cpu")
    assert fourier_basis(g, torch.float32).dtype == torch.float32
    assert [basis for _, basis in fourier._pieces(g, kept)] == [kept]
    gone = [weakref.ref(g), weakref.ref(kept)]
    del g, kept
    gc.collect()
    assert [ref() for ref in gone] == [None, None]


def test_coefficients_are_on_the_functions_device():
    """The meta device, which every machine has, refuses tensors of any other."""
    g = group("A4")
    functions = torch.zeros(12, 3, device="meta")
    block = g.real_blocks[1]
    for result in (transform(g, functions), inverse(g, functions), project(block, functions)):
        assert result.device.type == "meta"
        assert result.shape == (12, 3)
    assert transform(g, torch.ones(12, 3)).device.type == "cpu"


def test_gradients_pass_even_after_inference_mode():
    """The gradient of ‖f‖², of one block's energy of it, is twice the projection."""
    g = FiniteGroup(group("A4").array, "copy")
    functions = noise(g, 2).requires_grad_()
    block, other = g.real_blocks[1:3]
    with torch.inference_mode():
        assert block.basis.is_inference()
        power(g, functions)
        project([block, other], functions)
    power(g, functions)[1].sum().backward()
    part = project(block, functions)
    assert functions.grad is not None
    assert torch.allclose(functions.grad, 2 * part, atol=1e-12)
    project([block, other], functions).sum().backward()


def test_a_block_is_not_copied_to_be_projected_on():
    block = group("A5").real_blocks[1]
    assert fourier._block_basis(block, noise(group("A5"))) is block.basis


def test_functions_on_another_group_are_refused():
    for call in (transform, inverse, power, decompose):
        with pytest.raises(CosetCircuitsError, match="6 rows but S4 has 24 elements"):
            call(group("S4"), torch.zeros(6, 1))
    with pytest.raises(CosetCircuitsError, match="one row for each element"):
        project(group("S4").real_blocks[1], torch.zeros(6, 1))
    with pytest.raises(CosetCircuitsError, match=r"block \(2,1\)'s group has 6 elements"):
        project([group("S4").real_blocks[1], group("S3").real_blocks[2]], torch.zeros(24, 1))


@pytest.mark.parametrize(
    ("dtype", "words"),
    [
        (torch.int64, r"torch.int64; .*functions.double\(\)"),
        (torch.bool, "torch.bool; give float32 or float64"),
        (torch.bfloat16, "torch.bfloat16; give float32 or float64"),
        (torch.complex64, "torch.complex64, but real blocks .* functions.real and functions.imag"),
    ],
)
def test_functions_of_other_numbers_are_refused(dtype, words, unchecked):
    g = group("S3")
    functions = torch.ones(6, 1, dtype=dtype)
    for call in (transform, inverse, power, decompose):
        with pytest.raises(CosetCircuitsError, match=words):
            call(g, functions)
    with pytest.raises(CosetCircuitsError, match=words):
        project(g.real_blocks[0], functions)
    with pytest.raises(CosetCircuitsError, match="no rows but S3 has 6 elements"):
        transform(g, torch.tensor(1.0))


def test_an_irrep_is_no_real_block(unchecked):
    g = group("C7")
    irrep: Any = g.irreps[1]
    for wrong in (irrep, [irrep]):
        with pytest.raises(CosetCircuitsError, match=r"freq_1.* is not a real block; give one of"):
            project(wrong, noise(g, 1))
