"""How long comparisons take, in forward passes and against one another, within one run."""

import os
import time

import pytest
import torch

import coset_circuits as cc
from coset_circuits.experiments import INTERVENTIONS, measured
from coset_circuits.experiments.measure import DistinctModels

pytestmark = pytest.mark.slow


def seconds(work):
    """Of this process's own time, which others on the machine change least."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


def fastest(work, repeats=5):
    return min(seconds(work) for _ in range(repeats))


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_a_comparison_is_some_hundred_forward_passes(one_thread):
    """About 370 passes over all pairs are needed on S5: 103 find the fidelity point, 45 choose
    forms, 180 are the other interventions on 12 distinct models, 68 single claims."""
    network = measured(cc.load("s5"))
    pairs = network.group.pairs()

    def all_pairs():
        for part in pairs.split(2_000):
            network(part)

    once = fastest(all_pairs)
    whole = seconds(lambda: cc.compare(network))
    print(f"\ncomparison of s5 / forward pass: {whole / once:.0f}")
    # 507 were measured.
    assert whole < 800 * once


def test_what_is_known_is_not_measured_again(one_thread):
    network = measured(cc.load("s5"))
    models = {"network": network, "untrained": measured(network.untrained(1))}
    known = {}
    pairs = network.group.pairs()

    def work():
        return DistinctModels(models, known).measure(INTERVENTIONS["abs"], pairs)

    first, again = seconds(work), seconds(work)
    print(f"\nmeasured / known: {first / again:.0f}")
    assert first > 3 * again


@pytest.mark.parametrize("width", [512])
def test_a_wide_network_costs_what_its_neurons_cost(width, one_thread):
    """Four times the neurons, at most six times the time: nothing grows with width squared."""

    def compared(d_mlp):
        network = cc.GroupMLP.initialised(cc.group("S4"), d_mlp=d_mlp, d_embed=32)
        return seconds(lambda: cc.compare(network, ["coset", "irrep"]))

    compared(width)
    narrow, wide = compared(width), compared(4 * width)
    print(f"\nfour times as wide: {wide / narrow:.1f} times as long")
    assert wide < 6 * narrow


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two cores are needed")
def test_two_processes_are_faster_than_one():
    networks = [cc.GroupMLP.initialised(cc.group("S4"), d_mlp=64, seed=s) for s in range(4)]

    def taken(workers):
        begun = time.perf_counter()
        cc.compare(networks, ["coset", "irrep"], workers=workers)
        return time.perf_counter() - begun

    one, two = taken(1), taken(2)
    print(f"\none after the other / two at a time: {one / two:.2f}")
    assert two < 1.2 * one
