"""Coset concentration of many neurons on every subgroup of S6 against a loop over subgroups.

Times and ratios are of one run, on one thread (see conftest), printed with -s.
"""

import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coset_circuits.algorithms import concentration, coset_fvu
from coset_circuits.algorithms.coset import cell_means, coset_fvus
from coset_circuits.groups import group

NEURONS = 256


def labels_of(subgroup, cosets):
    return subgroup.right_cosets if cosets == "right" else subgroup.left_cosets


@settings(deadline=None, max_examples=30)
@given(
    st.sampled_from(["S4", "A5", "C12", "D6"]),
    st.sampled_from(["left", "right"]),
    st.data(),
)
def test_all_subgroups_at_once_give_what_one_at_a_time_gives(name, cosets, data):
    """To a relative 1e-5, for columns on cosets too, whose FVU is next to nothing."""
    g = group(name)
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 999)))
    subgroup = data.draw(st.sampled_from(g.subgroups[:-1]))
    table = torch.randn(g.order, 6, generator=generator, dtype=torch.float64)
    table[:, :4] = cell_means(table[:, :4], labels_of(subgroup, cosets))
    table += torch.tensor([0, 1e-9, 1e-6, 1e-3, 0, 0]) * table[:, [4, 5, 4, 5, 4, 5]]
    table[:, 5] = 0
    found = coset_fvus(g, g.subgroups, table, cosets)
    for row, h in zip(found, g.subgroups, strict=True):
        torch.testing.assert_close(
            row, coset_fvu(table, labels_of(h, cosets)), rtol=1e-5, atol=1e-28
        )


@pytest.mark.slow
def test_concentration_of_a_layer_on_every_subgroup_of_s6(unchecked):
    g = group("S6")
    subgroups = g.subgroups
    assert len(subgroups) == 1455
    generator = torch.Generator().manual_seed(0)
    left, right = torch.randn(2, g.order, NEURONS, generator=generator, dtype=torch.float64)
    index = torch.tensor([h.index for h in subgroups], dtype=torch.float64)[:, None]
    sample = subgroups[:: len(subgroups) // 48]
    sampled = {side: [labels_of(h, side) for h in sample] for side in ("left", "right")}

    begun = time.process_time()
    ours = [
        index * coset_fvus(g, subgroups, left, "right"),
        index * coset_fvus(g, subgroups, right, "left"),
    ]
    took = time.process_time() - begun

    begun = time.process_time()
    looped = [
        [concentration(table, labels) for labels in sampled[cosets]]
        for table, cosets in ((left, "right"), (right, "left"))
    ]
    loop = (time.process_time() - begun) * len(subgroups) / len(sample)

    position = [subgroups.index(h) for h in sample]
    for found, expected in zip(ours, looped, strict=True):
        torch.testing.assert_close(found[position], torch.stack(expected), rtol=1e-9, atol=1e-12)
    overlaps = (g.order + int((g.element_orders <= 2).sum())) // 2
    products = 2 * overlaps * g.order * NEURONS
    sums = 2 * NEURONS * sum(h.order for h in subgroups)
    flop = 2 * products + sums
    print(
        f"\n{NEURONS} neurons of S6, {len(subgroups)} subgroups, both sides: {took:.2f} s"
        f"\n  floor {flop / 1e9:.2f} GFLOP, reading {8 * products / 1e9:.2f} GB "
        f"of a table of {left.nbytes / 1e6:.1f} MB: {flop / took / 1e9:.1f} GFLOP/s"
        f"\n  loop over subgroups {loop:.2f} s (timed on {len(sample)} and scaled), "
        f"its coset labels not counted: {loop / took:.1f} times"
        f"\n  memory: tables {2 * left.nbytes / 1e6:.1f} MB, overlaps and the rows moved "
        f"{3 * left.nbytes / 1e6:.1f} MB, result {2 * ours[0].nbytes / 1e6:.1f} MB"
    )
    assert loop > 2 * took
