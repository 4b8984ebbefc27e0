"""Scrubbing against the plain way, a hook called once for every neuron: ratios within one run.

Of processor time, so that a busy machine does not decide them.
"""

import time

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import coset_circuits as cc
from coset_circuits.experiments.partitions import cells
from coset_circuits.experiments.scrubbing import scrub
from coset_circuits.networks import cross_entropy

pytestmark = pytest.mark.slow


def fastest(work, repeats=3):
    times = []
    for _ in range(repeats):
        begun = time.process_time()
        work()
        times.append(time.process_time() - begun)
    return min(times)


@pytest.fixture(scope="module")
def circuit():
    return cc.CosetAlgorithm().fit(cc.load("s5").requires_grad_(False))


def plainly(network, classes, site, seed, neurons=None):
    """One sample: for each neuron a hook that finds donors by their label and swaps its column."""
    pairs = network.group.pairs()
    found = cells(classes, network.group, pairs)
    generator = torch.Generator().manual_seed(seed)

    def swapped(neuron):
        def hook_fn(value, hook):
            order = torch.randperm(len(pairs), generator=generator)
            # A random order within each cell, lined up with the rows of that cell.
            shuffled = order[found[order, neuron].argsort(stable=True)]
            rows = found[:, neuron].argsort(stable=True)
            moved = value.clone()
            moved[rows, neuron] = value[shuffled, neuron]
            return moved

        return hook_fn

    neurons = range(network.cfg.d_mlp) if neurons is None else neurons
    logits = network.run_with_hooks(pairs, fwd_hooks=[(site, swapped(j)) for j in neurons])
    return cross_entropy(logits, network.group.products(pairs)).mean()


@pytest.mark.parametrize("site", ["hook_pre", "hook_post"])
def test_a_sample_beats_a_hook_for_every_neuron(circuit, site):
    network, classes = circuit.network, circuit.classes(site)[0]
    few = range(16)
    plain = fastest(lambda: plainly(network, classes, site, 0, few)) - fastest(
        lambda: plainly(network, classes, site, 0, [])
    )
    plain *= network.cfg.d_mlp / len(few)
    options = {"controls": (), "outside": "keep"}
    more, less = (fastest(lambda n=n: scrub(circuit, site, samples=n, **options)) for n in (12, 2))
    ours = (more - less) / 10
    print(f"\n{site}, one sample: {1e3 * ours:.0f} ms, {1e3 * plain:.0f} ms plainly")
    assert plain > 2 * ours


def test_a_hundred_samples_cost_what_their_products_do(circuit):
    """14,400 pairs × 128 neurons × 120 outputs each: 44 GFLOP that no way of sampling avoids.

    The products are counted and not timed, so that neither the machine nor its load decides.
    """
    post = torch.randn(2_000, 128)
    write = circuit.network.W_U.detach()
    products = fastest(lambda: [post @ write for _ in range(72)]) * 10
    options = {"controls": (), "outside": "keep"}

    def work(samples):
        with FlopCounterMode(display=False) as counter:
            scrub(circuit, "hook_pre", samples=samples, **options)
        return counter.get_total_flops()

    assert work(12) - work(2) == 10 * 2 * 14_400 * 128 * 120
    begun = time.process_time()
    scrub(circuit, "hook_pre", samples=100, **options)
    ours = time.process_time() - begun
    print(f"\n100 samples: {ours:.1f} s, their matrix products alone {products:.1f} s")
