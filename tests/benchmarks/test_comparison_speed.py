"""How long comparisons take, in forward passes and against one another, within one run.

What decides is counted; times are printed, because a busy machine changes them.
"""

import os
import time
from contextlib import contextmanager

import pytest
import torch
from torch.nn.modules.module import register_module_forward_pre_hook

import coset_circuits as cc
from coset_circuits.experiments import INTERVENTIONS, measured
from coset_circuits.experiments.measure import DistinctModels
from coset_circuits.networks import GroupModel

pytestmark = pytest.mark.slow


def seconds(work):
    """Of this process's own time, which others on the machine change least."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


@contextmanager
def counted_pairs():
    """How many pairs all models together are run on, in a list of one number."""
    total = [0]

    def count(module, args):
        if isinstance(module, GroupModel):
            total[0] += len(args[0])

    hook = register_module_forward_pre_hook(count)
    try:
        yield total
    finally:
        hook.remove()


def fastest(work, repeats=5):
    return min(seconds(work) for _ in range(repeats))


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_a_comparison_is_some_hundred_forward_passes(one_thread):
    """About 360 passes over all pairs are needed on S5: 100 find the fidelity point, 66 choose
    forms, 190 are the other interventions on 11 distinct models."""
    network = measured(cc.load("s5"))
    pairs = network.group.pairs()

    def all_pairs():
        for part in pairs.split(2_000):
            network(part)

    once = fastest(all_pairs)
    with counted_pairs() as run:
        whole = seconds(lambda: cc.compare(network))
    passes = run[0] / len(pairs)
    print(f"\ncomparison of s5: {passes:.0f} passes, the time of {whole / once:.0f}")
    assert passes < 400


def test_what_is_known_is_not_measured_again():
    network = measured(cc.load("s5"))
    models = {"network": network, "untrained": measured(network.untrained(1))}
    known = {}
    pairs = network.group.pairs()

    def work():
        return DistinctModels(models, known).measure(INTERVENTIONS["abs"], pairs)

    with counted_pairs() as first:
        work()
    with counted_pairs() as again:
        work()
    assert first == [2 * len(pairs)] and again == [0]


@pytest.mark.parametrize("width", [512])
def test_a_wide_network_costs_what_its_neurons_cost(width, one_thread):
    """Four times the neurons, about four times the time: what grew with width squared took 16."""

    def compared(d_mlp):
        network = cc.GroupMLP.initialised(cc.group("S4"), d_mlp=d_mlp, d_embed=32)
        return seconds(lambda: cc.compare(network, ["coset", "irrep"]))

    compared(width)
    narrow, wide = compared(width), compared(4 * width)
    print(f"\nfour times as wide: {wide / narrow:.1f} times as long")
    assert wide < 10 * narrow


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two cores are needed")
def test_two_processes_are_faster_than_one():
    networks = [cc.GroupMLP.initialised(cc.group("S4"), d_mlp=64, seed=s) for s in range(4)]

    def taken(workers):
        begun = time.perf_counter()
        cc.compare(networks, ["coset", "irrep"], workers=workers)
        return time.perf_counter() - begun

    one, two = taken(1), taken(2)
    print(f"\none after the other / two at a time: {one / two:.2f}")
    # Processes that wait for each other would take many times as long.
    assert two < 3 * one
