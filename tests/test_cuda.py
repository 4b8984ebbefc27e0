"""Everything that takes a network, with the network on a GPU: the CPU's answers, on the GPU."""

import copy
import dataclasses
import math

import numpy as np
import pytest
import torch

import coset_circuits as cc
from coset_circuits.training.recipes import recipe_for
from coset_circuits.training.run import Lockstep
from coset_circuits.training.state import Run

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="torch sees no CUDA device; run the suite where it does"
)
NETWORKS = ("s4", "s5_transformer")


@pytest.fixture(scope="module", params=NETWORKS)
def both(request):
    """One network twice: on the CPU and on the GPU, in float64 so that rounding decides nothing."""
    network = cc.load(request.param).double()
    return network, copy.deepcopy(network).to("cuda")


def close(ours, theirs, tolerance=1e-6):
    """Whether two results are equal, whatever holds their numbers."""
    if isinstance(theirs, torch.Tensor):
        return torch.allclose(ours.cpu().double(), theirs.cpu().double(), tolerance, 1e-9)
    if isinstance(theirs, bool | str) or theirs is None:
        return ours == theirs
    if isinstance(theirs, int | float | np.number):
        both_nan = math.isnan(theirs) and math.isnan(ours)
        return both_nan or math.isclose(ours, theirs, rel_tol=tolerance, abs_tol=1e-9)
    if isinstance(theirs, dict):
        return theirs.keys() == ours.keys() and all(close(ours[k], theirs[k]) for k in theirs)
    if isinstance(theirs, list | tuple):
        return len(ours) == len(theirs) and all(map(close, ours, theirs))
    if dataclasses.is_dataclass(theirs):
        names = [field.name for field in dataclasses.fields(theirs)]
        return all(close(getattr(ours, name), getattr(theirs, name)) for name in names)
    raise TypeError(type(theirs))


def test_logits_cache_and_hooks(both):
    cpu, gpu = both
    pairs = cpu.group.pairs()[:500]
    logits, cache = gpu.run_with_cache(pairs.to("cuda"))
    expected, known = cpu.run_with_cache(pairs)
    assert logits.device.type == "cuda" and close(logits, expected)
    assert all(close(cache[name], known[name]) for name in known)
    hook = [("hook_pre", lambda pre, hook: pre.abs())]
    assert close(
        gpu.run_with_hooks(pairs.to("cuda"), fwd_hooks=hook),
        cpu.run_with_hooks(pairs, fwd_hooks=hook),
    )


@pytest.mark.parametrize("key", cc.ALGORITHMS)
def test_every_hypothesis_fits_and_predicts(both, key):
    cpu, gpu = both
    algorithm = cc.ALGORITHMS[key][0]
    ours, theirs = algorithm.fit(gpu), algorithm.fit(cpu)
    assert ours.description_length(0.1).bits == pytest.approx(theirs.description_length(0.1).bits)
    pairs = cpu.group.pairs()[:300]
    logits = ours.surrogate()(pairs.to("cuda"))
    assert logits.device.type == "cuda" and close(logits, theirs.surrogate()(pairs))


BY_HAND = {
    "gcr": lambda circuit: cc.gcr_evidence(circuit.network),
    "scrub": lambda circuit: cc.scrub(circuit, pairs=100),
    "substitution": cc.substitution,
    "interchange": lambda circuit: cc.interchange(circuit, pairs=100),
    "ablation": lambda circuit: cc.ablation(circuit.network, circuit, pairs=100),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_experiments_by_hand(both, name):
    gpu, cpu = (BY_HAND[name](cc.CosetAlgorithm().fit(network)) for network in reversed(both))
    assert close(gpu.to_dict(), cpu.to_dict())


@pytest.mark.parametrize("name", NETWORKS)
def test_a_comparison_with_every_experiment(name):
    network = cc.load(name)
    asked = ["scrub", "gcr", "substitution", "interchange", "ablation", "activation_patching"]
    ours = cc.compare(copy.deepcopy(network).to("cuda"), experiments=asked, pairs=400).to_dict()
    theirs = cc.compare(network, experiments=asked, pairs=400).to_dict()
    assert ours["verdict"] == theirs["verdict"]
    assert close(ours["findings"], theirs["findings"])


@pytest.mark.parametrize("architecture", ["mlp", "transformer"])
@pytest.mark.parametrize("batch", [None, 64])
def test_the_recorded_step_is_the_plain_one(architecture, batch):
    group = cc.group("S4")
    small = {"d_mlp": 64} if architecture == "mlp" else {"d_mlp": 64, "d_model": 32}
    recipe = recipe_for(group, "fast", {"architecture": architecture, "batch_size": batch, **small})
    trained = []
    for device in ("cpu", "cuda"):
        runs = [Run.start(group, recipe, seed, device) for seed in (0, 1)]
        lockstep = Lockstep(runs)
        for _ in range(20):
            lockstep.advance()
        trained.append(lockstep.stack.flat.cpu())
    cpu, gpu = trained
    # Adam divides by a gradient's size, so where that is rounding a weight moves differently.
    assert (gpu - cpu).norm() < 1e-2 * cpu.norm()


@pytest.mark.parametrize("architecture", ["mlp", "transformer"])
def test_networks_grok_on_a_gpu(architecture, tmp_path):
    outcomes = cc.train_many(
        "S5",
        seeds=[0, 1],
        device="cuda",
        out=tmp_path,
        **({} if architecture == "mlp" else {"architecture": architecture}),
    )
    assert all(outcome.grokked for outcome in outcomes)
    assert all(cc.load(outcome.folder).device.type == "cpu" for outcome in outcomes)
