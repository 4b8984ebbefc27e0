"""The transform of 256 functions against the dense product of its shape and a loop over elements.

Times and ratios are of one run, on one thread (see conftest), printed with -s.
"""

import time

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from coset_circuits.groups import fourier_basis, group, power, transform
from coset_circuits.groups.fourier import decompose

pytestmark = pytest.mark.slow

FUNCTIONS = 256


def fastest(works, repeats):
    """The least time of each, taken in turn, so that a busy moment does not hit one alone."""
    times = [[] for _ in works]
    for _ in range(repeats):
        for work, found in zip(works, times, strict=True):
            begun = time.perf_counter()
            work()
            found.append(time.perf_counter() - begun)
    return [min(found) for found in times]


def by_definition(g, functions, sample):
    """f̂(ρ)_ij = √(d/n) Σ_g f(g) ρ(g)_ij, over the first elements only."""
    parts = []
    for block in g.real_blocks:
        total = torch.zeros(block.parameters, functions.shape[1], dtype=functions.dtype)
        for x in range(sample):
            entries = block.matrices[x].flatten().to(functions.dtype)
            total += entries[:, None] * functions[x]
        parts.append(total * (block.dimension / g.order) ** 0.5)
    return torch.cat(parts)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("name", "sample", "repeats"), [("S5", 120, 300), ("S6", 20, 100), ("S7", 3, 3)]
)
def test_transform_costs_what_its_dense_product_costs(name, sample, repeats, dtype, unchecked):
    g = group(name)
    generator = torch.Generator().manual_seed(0)
    functions = torch.randn(g.order, FUNCTIONS, generator=generator, dtype=dtype)
    begun = time.perf_counter()
    basis = fourier_basis(g, dtype)
    built = time.perf_counter() - begun
    matrix = torch.randn(g.order, g.order, generator=generator, dtype=dtype)

    cut = torch.cat([functions[:sample], torch.zeros_like(functions[sample:])])
    assert torch.allclose(by_definition(g, cut, sample), transform(g, cut), atol=1e-4)

    ours, dense = fastest([lambda: transform(g, functions), lambda: matrix @ functions], repeats)
    looped, energies, parts = fastest(
        [
            lambda: by_definition(g, functions, sample),
            lambda: power(g, functions),
            lambda: decompose(g, functions),
        ],
        repeats=3,
    )
    looped *= g.order / sample
    flop = 2 * g.order**2 * FUNCTIONS
    print(
        f"\n{name} {dtype}: {FUNCTIONS} functions, floor {flop / 1e9:.3f} GFLOP"
        f"\n  transform {ours * 1e3:.2f} ms ({flop / ours / 1e9:.0f} GFLOP/s), "
        f"dense product {dense * 1e3:.2f} ms: {ours / dense:.2f} times it"
        f"\n  loop over elements {looped:.3f} s (timed on {sample} of {g.order} and scaled): "
        f"{looped / ours:.0f} times the transform"
        f"\n  power {energies * 1e3:.2f} ms, decompose {parts * 1e3:.2f} ms"
        f"\n  kept basis {basis.nbytes / 1e6:.1f} MB, got in {built:.2f} s; "
        f"functions and result {2 * functions.nbytes / 1e6:.1f} MB"
    )
    assert looped > 2 * ours
    with FlopCounterMode(display=False) as counter:
        transform(g, functions)
    assert counter.get_total_flops() == flop
