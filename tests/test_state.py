"""What was done before with a network changes nothing: sequences, threads, torch.compile."""

import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from torch.nn.utils import prune

import coset_circuits as cc
from coset_circuits.networks import model as model_module
from coset_circuits.networks import planted_coset

S3 = cc.group("S3")
PAIRS = S3.pairs()
SITES = ("hook_left_embed", "hook_left_pre", "hook_pre", "hook_post", "hook_logits")


def zero(value, hook):
    return torch.zeros_like(value)


def fail(value, hook):
    raise ArithmeticError


def rebuilt(network):
    """A network that nobody has touched, from the numbers alone."""
    weights = {name: weight.detach() for name, weight in network.weights.items()}
    if isinstance(network, cc.GroupTransformer):
        return cc.GroupTransformer(S3, weights, tokens=network.tokens)
    return cc.GroupMLP(S3, weights)


class Sequences(RuleBasedStateMachine):
    @initialize(kind=st.sampled_from(["mlp", "transformer"]))
    def start(self, kind):
        self.network = cc.train("S3", 1, architecture=kind, d_mlp=6, max_steps=2)

    @rule(site=st.sampled_from(SITES), leaves=st.booleans())
    def hook(self, site, leaves):
        if site in self.network.sites:
            with self.network.hooks(fwd_hooks=[(site, zero)]):
                if leaves:
                    self.network(PAIRS)

    @rule(site=st.sampled_from(SITES))
    def fail_in_a_hook(self, site):
        if site in self.network.sites and site != "hook_left_embed":
            with pytest.raises(ArithmeticError):
                self.network.run_with_hooks(PAIRS, fwd_hooks=[(site, fail)])

    @rule()
    def cache(self):
        self.network.run_with_cache(PAIRS, incl_bwd=False)

    @rule(call=st.sampled_from(["ablation", "gcr_evidence", "activation_patching", "fit", "repr"]))
    def measure(self, call):
        if call == "fit":
            cc.DullNull().fit(self.network).surrogate()(PAIRS)
        elif call == "repr":
            assert repr(self.network) and self.network.content()
        else:
            try:
                getattr(cc, call)(self.network)
            except cc.CosetCircuitsError:
                assert isinstance(self.network, cc.GroupTransformer)

    @rule(dtype=st.sampled_from([torch.float64, torch.float32]))
    def move(self, dtype):
        self.network.to(dtype)

    @rule(factor=st.sampled_from([0.5, -1.0, 2.0]))
    def edit(self, factor):
        weight = next(self.network.parameters())
        with torch.no_grad():
            weight.mul_(factor)

    @rule(
        call=st.sampled_from(
            [
                lambda network: network(torch.tensor([[0, 6]])),
                lambda network: network.run_with_cache(PAIRS, names_filter="nosuch"),
                lambda network: network.reordered(torch.zeros(6).long(), S3),
                lambda network: cc.compare(network, ["nosuch"]),
                lambda network: cc.save(network, "nosuch.pt"),
            ]
        )
    )
    def refused(self, call):
        with pytest.raises(cc.CosetCircuitsError):
            call(self.network)

    @rule()
    def through_pickle(self):
        self.network = pickle.loads(pickle.dumps(self.network))

    @rule()
    def prune(self):
        name = "W_U" if isinstance(self.network, cc.GroupMLP) else "W_in"
        if not hasattr(self.network, f"{name}_mask"):
            prune.l1_unstructured(self.network, name, 0.3)

    @rule()
    def backward(self):
        self.network(PAIRS).square().sum().backward()
        self.network.zero_grad()

    @invariant()
    def equals_a_fresh_network(self):
        if not hasattr(self, "network"):
            return
        fresh = rebuilt(self.network)
        with torch.no_grad():
            logits, cache = self.network.run_with_cache(PAIRS)
            expected, wanted = fresh.run_with_cache(PAIRS)
        assert torch.equal(logits, expected) and cache.keys() == wanted.keys()
        assert all(torch.equal(value, wanted[name]) for name, value in cache.items())
        assert torch.equal(self.network.left_table, fresh.left_table)
        assert self.network.content() == fresh.content()
        row, both = cc.INTERVENTIONS["noise_rel_0.5"], {"one": self.network, "two": fresh}
        one, two = cc.measure(row, both, PAIRS).values()
        assert torch.equal(one.losses, two.losses)


Sequences.TestCase.settings = settings(
    max_examples=8,
    stateful_step_count=14,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestSequences = Sequences.TestCase


def test_hooks_of_three_threads_do_not_meet():
    network = planted_coset(S3, "C2")
    factors = (0.0, 1.0, 3.0)

    def scaled(factor):
        return network.run_with_hooks(
            PAIRS, fwd_hooks=[("hook_left_pre", lambda value, hook: factor * value)]
        )

    with torch.no_grad():
        alone = [scaled(factor) for factor in factors]
    wrong = []

    def often(number):
        with torch.no_grad():
            for _ in range(60):
                if not torch.equal(scaled(factors[number]), alone[number]):
                    wrong.append(number)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(often, range(3)))
    assert not wrong


def test_a_thread_does_not_wait_for_ever_for_anothers_hooks(monkeypatch):
    monkeypatch.setattr(model_module, "PATIENCE", 0.1)
    network, said = planted_coset(S3, "C2"), []

    def run():
        try:
            network(PAIRS)
        except cc.CosetCircuitsError as error:
            said.append(str(error))

    with network.hooks(fwd_hooks=[("hook_pre", zero)]):
        other = threading.Thread(target=run)
        other.start()
        other.join()
    assert len(said) == 1 and "network.unhooked()" in said[0]
    run()
    assert len(said) == 1


def test_hooks_act_on_a_compiled_network_and_it_compares_as_itself(unchecked):
    network = planted_coset(S3, "C2")
    compiled = torch.compile(network, backend="eager")
    with torch.no_grad():
        plain = compiled(PAIRS)
        hooked = network.run_with_hooks(PAIRS, fwd_hooks=[("hook_pre", zero)])
        assert torch.equal(plain, network(PAIRS)) and not torch.equal(plain, hooked)
        for model in (network, compiled):
            with model.hooks(fwd_hooks=[("hook_pre", zero)]):
                assert torch.equal(compiled(PAIRS), hooked)
        assert torch.equal(compiled(PAIRS), plain)
    given = cc.compare(compiled, ["coset"]).to_dict()["findings"]
    assert given == cc.compare(network, ["coset"]).to_dict()["findings"]
    assert cc.gcr_evidence(compiled).to_dict() == cc.gcr_evidence(network).to_dict()
