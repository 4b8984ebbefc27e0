"""Whatever goes wrong in an experiment, the user's model comes back as it was given.

Every experiment of the table below is broken off at every site (first, middle and last visit) and
at lines spread over all of its stages, by an error and by Ctrl-C. Another experiment is one more
line of the table.
"""

import contextlib
import signal
import sys
import threading
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import transformer_lens
from transformer_lens.hook_points import HookPoint

import coset_circuits as cc
from coset_circuits import INTERVENTIONS
from coset_circuits.experiments.ablation import (
    ablation,
    ablation_by_threshold,
    completeness,
    minimality,
)
from coset_circuits.experiments.interchange import interchange
from coset_circuits.experiments.patching import activation_patching, attribution_patching
from coset_circuits.experiments.path_patching import path_patching
from coset_circuits.experiments.scrubbing import scrub
from coset_circuits.experiments.substitution import substitution
from coset_circuits.networks import SITES, planted_coset

PACKAGE = str(Path(cc.__file__).parent)
BOTH = (PACKAGE, str(Path(transformer_lens.__file__).parent))


class FaultError(Exception):
    """Raised by these tests and by nothing else."""


def interventions(network):
    for row in INTERVENTIONS.values():
        row.run(network, network.group.pairs(), seed=1)


def fits(*algorithms):
    """Fit and build the surrogate with all claims, with none, and with each alone."""

    def experiment(network):
        for algorithm in algorithms:
            circuit = algorithm.fit(network)
            claims = circuit.default_claims
            whole = len(claims) == 1
            for some in (None, claims, *([] if whole else [set(), *({c} for c in claims)])):
                circuit.surrogate(some)(network.group.pairs())

    return experiment


def measured(network):
    models = {"network": network, "coset": cc.CosetAlgorithm(even=True).fit(network).surrogate()}
    for id in ("base", "swap_tables", "noise_rel_0.5", "square"):
        cc.measure(INTERVENTIONS[id], models, network.group.pairs(), chunk=10)


class OneForm(cc.CosetAlgorithm):
    """The coset hypothesis without its other variants: a comparison takes less time."""

    def variants(self):
        return (self,)


def with_circuit(experiment, **options):
    return lambda network: experiment(cc.CosetAlgorithm().fit(network), **options)


def with_groups(experiment, **options):
    """Neurons grouped by their role, and the wrong ones beside them."""

    def run(network):
        return experiment(network, cc.CosetAlgorithm().fit(network), pairs=6, **options)

    return run


EXPERIMENTS = {
    "Intervention.run": interventions,
    "measure": measured,
    "coset": fits(cc.CosetAlgorithm(), cc.CosetAlgorithm(even=True)),
    "irrep": fits(cc.IrrepAlgorithm(), cc.IrrepAlgorithm("bilinear")),
    "nulls": fits(cc.DullNull(), cc.RawWeights()),
    "compare": lambda network: cc.compare(network, [OneForm()], pairs=6),
    "scrub": with_circuit(scrub, samples=2),
    "substitution": with_circuit(substitution, pairs=torch.tensor([[0, 1], [2, 3], [4, 4]])),
    "interchange": with_circuit(interchange, controls=1, pairs=6),
    "ablation_by_threshold": with_circuit(ablation_by_threshold, controls=1, pairs=6),
    "ablation": with_groups(ablation, controls=1),
    "completeness": with_groups(completeness, parts=2, controls=1),
    "minimality": with_groups(minimality, controls=1),
    "activation_patching": with_groups(activation_patching, controls=1),
    "path_patching": with_groups(path_patching, controls=1),
    "attribution_patching": with_groups(attribution_patching),
}
each_experiment = pytest.mark.parametrize("experiment", EXPERIMENTS.values(), ids=EXPERIMENTS)


@pytest.fixture
def network():
    """A coset network of S3, small but not empty to any algorithm; its flags are no defaults."""
    network = planted_coset(cc.group("S3"), "C2")
    network.train()
    network.hook_post.eval()
    network.W_U.requires_grad_(False)
    network.W_E_left.grad = torch.full_like(network.W_E_left, 0.5)
    network.hook_pre.ctx["mine"] = 3
    return network


def state(network):
    """Everything that a user may have set, and what the process shares."""
    modules = dict(network.named_modules())
    return {
        "weights": [
            (name, id(w), w.dtype, w.device, w.requires_grad, w.numpy(force=True).tobytes())
            for name, w in [*network.named_parameters(), *network.named_buffers()]
        ],
        "gradients": [
            None if w.grad is None else w.grad.numpy().tobytes() for w in network.parameters()
        ],
        "training": {name: module.training for name, module in modules.items()},
        "attributes": {name: sorted(vars(module)) for name, module in modules.items()},
        "hooks": {
            name: [
                (id(handle.user_hook), handle.is_permanent, handle.context_level)
                for handle in [*point.fwd_hooks, *point.bwd_hooks]
            ]
            for name, point in network.hook_dict.items()
        },
        # What torch itself would call, whether TransformerLens knows of it or not.
        "torch_hooks": {
            name: [
                list(getattr(module, kind))
                for kind in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")
            ]
            for name, module in modules.items()
        },
        "contexts": {name: dict(point.ctx) for name, point in network.hook_dict.items()},
        "level": network.context_level,
        # Not Python's own: the shape checker of these tests draws from it.
        "random": (
            torch.get_rng_state().numpy().tobytes(),
            np.random.get_state()[1].tobytes(),
        ),
        "torch": (torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_num_threads()),
    }


@contextlib.contextmanager
def visits(monkeypatch, site=None, number=None, fault=FaultError):
    """Count what passes the hook points of any model; the numbered visit of a site fails."""
    seen = Counter()
    forward = HookPoint.forward

    def visited(self, x):
        seen[self.name] += 1
        if (self.name, seen[self.name]) == (site, number):
            raise fault
        return forward(self, x)

    with monkeypatch.context() as patch:
        patch.setattr(HookPoint, "forward", visited)
        yield seen


@contextlib.contextmanager
def lines(number=None, within=PACKAGE):
    """Count the lines of this package as they run; Ctrl-C comes at the numbered one."""
    seen = [0]

    def at_line(frame, event, arg):
        if event == "line":
            seen[0] += 1
            if seen[0] == number:
                raise KeyboardInterrupt
        return at_line

    def at_call(frame, event, arg):
        return at_line if frame.f_code.co_filename.startswith(within) else None

    displaced = sys.gettrace()
    sys.settrace(at_call)
    try:
        yield seen
    finally:
        sys.settrace(displaced)


@each_experiment
def test_a_network_is_not_changed(network, experiment):
    before = state(network)
    experiment(network)
    assert state(network) == before
    assert network.list_hooks() == {}


@pytest.mark.slow
@each_experiment
def test_a_fault_at_any_site_leaves_nothing(network, experiment, monkeypatch, unchecked):
    before = state(network)
    with visits(monkeypatch) as total:
        experiment(network)
    assert set(total) <= set(SITES)
    for site, last in total.items():
        for number, fault in {
            1: FaultError,
            last: FaultError,
            (1 + last) // 2: KeyboardInterrupt,
        }.items():
            with visits(monkeypatch, site, number, fault), pytest.raises(fault):
                experiment(network)
            assert state(network) == before, f"{fault.__name__} at visit {number} of {site}"


@pytest.mark.slow
@each_experiment
def test_ctrl_c_in_any_stage_leaves_nothing(network, experiment, unchecked):
    experiment(network)  # What is computed once and kept must not shift the lines.
    before = state(network)
    with lines() as total:
        experiment(network)
    # Not to the very last line: what one run keeps may spare the next one some.
    for number in np.unique(np.linspace(1, 0.9 * total[0], 10).astype(int)).tolist():
        with pytest.raises(KeyboardInterrupt), lines(number):
            experiment(network)
        assert state(network) == before, f"at line {number} of {total[0]}"


@pytest.mark.slow
@each_experiment
@pytest.mark.parametrize("broken", [False, True], ids=["whole", "broken off"])
def test_the_users_own_hooks_stay_and_work(network, experiment, broken, unchecked):
    calls = Counter()

    def counting(name):
        def hook(value, hook, held=None):
            calls[name] += 1

        return hook

    network.add_hook("hook_pre", counting("added"))
    network.add_perma_hook("hook_logits", counting("permanent"))
    network.add_hook("hook_post", counting("backward"), dir="bwd")
    outside = state(network)
    # What a hook holds need not be copyable: a lock, a tensor with its graph.
    held = threading.Lock(), 2 * network(network.group.pairs())
    own = [(site, partial(counting(site), held=held)) for site in SITES]
    with network.hooks(fwd_hooks=own):
        inside = state(network)
        with lines() as total:
            experiment(network)
        if broken:
            with pytest.raises(KeyboardInterrupt), lines(total[0] // 2):
                experiment(network)
        assert state(network) == inside
        calls.clear()
        network(network.group.pairs()).sum().backward()
        assert calls == dict.fromkeys([*SITES, "added", "permanent", "backward"], 1)
    network.zero_grad()
    network.W_E_left.grad = torch.full_like(network.W_E_left, 0.5)
    assert state(network) == outside


@pytest.mark.slow
def test_ctrl_c_while_hooks_go_on_or_off_leaves_nothing(network, unchecked):
    """At every line of this package and of TransformerLens, between the user's own hooks."""
    pairs, row = network.group.pairs(), INTERVENTIONS["sign_both"]
    network.add_hook("hook_pre", lambda value, hook: None)
    with network.hooks(fwd_hooks=[("hook_left_pre", lambda value, hook: None)]):
        before = state(network)
        with lines(within=BOTH) as total:
            row.run(network, pairs)
        assert total[0] > 200
        for number in range(1, total[0] + 1):
            with pytest.raises(KeyboardInterrupt), lines(number, BOTH):
                row.run(network, pairs)
            assert state(network) == before, f"at line {number} of {total[0]}"


def test_a_hook_that_is_added_to_stay_outlives_the_context(network):
    """Also where Ctrl-C ends the context; the hooks of the context itself go."""

    def mine(value, hook):
        return None

    def passing(value, hook):
        return None

    for end in (contextlib.nullcontext(), pytest.raises(KeyboardInterrupt)):
        with end, network.hooks([("hook_pre", passing)], [("hook_pre", passing)]):
            network.add_hook("hook_pre", mine)
            if isinstance(end, contextlib.nullcontext):
                continue
            raise KeyboardInterrupt
    assert [h.user_hook for h in network.hook_pre.fwd_hooks] == [mine, mine]
    assert len(network.hook_pre._forward_hooks) == 2
    assert network.hook_pre.bwd_hooks == [] and not network.hook_pre._backward_hooks
    assert network.context_level == 0
    network.reset_hooks()
    assert not network.hook_pre._forward_hooks


def test_a_real_ctrl_c_inside_a_hook_leaves_nothing(network):
    before = state(network)

    def interrupt(value, hook):
        signal.raise_signal(signal.SIGINT)

    for site in SITES:
        row = cc.Intervention("interrupted", site, lambda *_, site=site: [(site, interrupt)])
        with pytest.raises(KeyboardInterrupt):
            row.run(network, network.group.pairs())
        with pytest.raises(KeyboardInterrupt):
            cc.measure(row, {"network": network}, network.group.pairs())
        assert state(network) == before


def test_a_hook_that_cannot_be_put_on_takes_the_others_off(network):
    """The second name is wrong, or the site is silent: the first hook is on by then."""
    before = state(network)

    def keep(value, hook):
        return None

    wrong = cc.Intervention("wrong", "", lambda *_: [("hook_pre", keep), ("hook_nowhere", keep)])
    with pytest.raises(cc.CosetCircuitsError, match="'hook_nowhere' is not a site"):
        wrong.run(network, network.group.pairs())
    assert state(network) == before
    surrogate = cc.CosetAlgorithm().fit(network).surrogate()
    before = state(surrogate)
    silent = cc.Intervention(
        "silent", "", lambda *_: [("hook_pre", keep), ("hook_left_embed", keep)]
    )
    with pytest.raises(cc.CosetCircuitsError, match="silent at hook_left_embed"):
        silent.run(surrogate, network.group.pairs())
    assert state(surrogate) == before


def test_a_comparison_does_not_hear_the_users_hooks(network):
    """It measures a copy without hooks: a hook left on must not change what is found."""
    expected = cc.compare(network, [OneForm()], pairs=6).to_dict()
    calls = []
    network.add_perma_hook("hook_pre", lambda pre, hook: calls.append(hook.name) or 0 * pre)
    found = cc.compare(network, [OneForm()], pairs=6).to_dict()
    assert found == expected
    assert calls == []


def test_these_checks_would_notice(network):
    """A hook, a flag or a bit that is left behind is seen."""
    before = state(network)
    handle = network.hook_pre.register_forward_hook(lambda *_: None)
    assert state(network) != before and network.list_hooks() == {}
    handle.remove()
    assert state(network) == before
    with torch.no_grad():
        network.W_U[0, 0] = torch.nextafter(network.W_U[0, 0], network.W_U[0, 0] + 1)
    assert state(network) != before
