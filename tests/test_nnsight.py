"""Through nnsight everything is as through TransformerLens, and nothing is left behind."""

import copy
import importlib
import subprocess
import sys
import types
from importlib.util import find_spec

import pytest
import torch
from torch import nn
from transformer_lens import HookedRootModule
from transformer_lens.hook_points import HookPoint

import coset_circuits as cc
from coset_circuits import INTERVENTIONS, CosetCircuitsError, GroupMLP
from coset_circuits.networks import SITES, SilentSiteError

MODULE = "coset_circuits.experiments.with_nnsight"
needs_nnsight = pytest.mark.skipif(
    find_spec("nnsight") is None, reason="nnsight is not installed (the extra coset-circuits[test])"
)


@pytest.fixture(scope="module")
def through():
    """The module under test."""
    return importlib.import_module(MODULE)


def drawn():
    """A network of S3 with every weight drawn, both biases and two widths of embedding."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return GroupMLP.from_weights(
        cc.group("S3"),
        W_E_left=normal(6, 4),
        W_E_right=normal(6, 4),
        W_in_left=normal(4, 5),
        W_in_right=normal(4, 5),
        W_U=normal(5, 6),
        b_in=normal(5),
        b_U=normal(6),
        act_fn="gelu",
    )


MODELS = {
    "drawn": drawn,
    "trained": lambda: cc.load("s4", dtype=torch.float64),
    "single precision": lambda: cc.load("s4"),
    "coset": lambda: cc.CosetAlgorithm(even=True).fit(MODELS["trained"]()).surrogate(),
    "irrep": lambda: cc.IrrepAlgorithm().fit(MODELS["trained"]()).surrogate(),
    "bilinear": lambda: cc.IrrepAlgorithm("bilinear").fit(MODELS["trained"]()).surrogate(),
}


@pytest.fixture(params=MODELS, scope="module")
def model(request):
    return MODELS[request.param]()


@pytest.fixture
def network():
    return drawn()


def read(model, site, pairs):
    """What nnsight sees at a site."""
    with model.trace(pairs):
        value = model.get(site).output.save()
    return value


@needs_nnsight
def test_every_site_has_the_value_that_transformerlens_caches(model, through):
    pairs = model.group.pairs()
    wrapped = through.wrap(model)
    logits, cache = model.run_with_cache(pairs)
    assert set(cache) == set(SITES) - model.silent
    for site in cache:
        assert torch.equal(read(wrapped, site, pairs), cache[site])
    with wrapped.trace(pairs) as tracer:
        result = tracer.result.save()
    assert torch.equal(result, logits)


@needs_nnsight
def test_every_site_can_be_written(model, through):
    pairs = model.group.pairs()
    wrapped = through.wrap(model)
    for site in sorted(set(SITES) - model.silent):
        expected = model.run_with_hooks(pairs, fwd_hooks=[(site, lambda value, hook: 1 - value)])
        with wrapped.trace(pairs):
            wrapped.get(site).output = 1 - wrapped.get(site).output
            found = wrapped.output.save()
        assert torch.equal(found, expected)


@needs_nnsight
@pytest.mark.parametrize("id", INTERVENTIONS)
def test_every_intervention_gives_the_same_logits(model, id, through):
    """Bit for bit: the same hook functions meet the same values."""
    pairs, row = model.group.pairs(), INTERVENTIONS[id]
    plain = model.unhooked()
    wrapped = through.wrap(model)
    try:
        expected = row.run(model, pairs, seed=7)
    except SilentSiteError as error:
        for run in (lambda: through.run(wrapped, row, pairs), lambda: row.run(plain, pairs)):
            with pytest.raises(SilentSiteError) as found:
                run()
            assert str(found.value) == str(error)
        return
    assert torch.equal(through.run(wrapped, row, pairs, seed=7), expected)
    # Unwrapped, the embeddings are not looked at and the tables take their place.
    close = {"rtol": 1e-12, "atol": 1e-12} if plain.dtype == torch.float64 else {}
    torch.testing.assert_close(row.run(plain, pairs, seed=7), expected, **close)
    again = through.through_nnsight(row).run(plain, pairs, seed=7)
    torch.testing.assert_close(again, expected, **close)


@needs_nnsight
def test_an_intervention_is_measured_alike(through):
    network = MODELS["trained"]()
    models = {"network": network}
    for algorithm in (cc.CosetAlgorithm(), cc.IrrepAlgorithm("bilinear")):
        models[algorithm.name] = algorithm.fit(network).surrogate()
    pairs = network.group.pairs()
    for id in ("abs", "noise_rel_0.5", "swap_inputs", "scale_left_2"):
        expected = cc.measure(INTERVENTIONS[id], models, pairs, seed=2, chunk=100)
        row = through.through_nnsight(INTERVENTIONS[id])
        assert (row.id, row.title, row.control) == (id, row.title, INTERVENTIONS[id].control)
        found = cc.measure(row, models, pairs, seed=2, chunk=100)
        for name, outcome in expected.items():
            assert (found[name] is None) == (outcome is None)
            if outcome is not None:
                torch.testing.assert_close(found[name].losses, outcome.losses, rtol=1e-9, atol=0)
                assert torch.equal(found[name].correct, outcome.correct)


@needs_nnsight
def test_the_gradient_is_the_same(network, through):
    pairs, row = network.group.pairs(), INTERVENTIONS["noise_rel_0.5"]
    gradients = []
    for logits in (row.run(network, pairs), through.run(through.wrap(network), row, pairs)):
        found = torch.autograd.grad(logits.square().sum(), list(network.parameters()))
        gradients.append(found)
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-12, atol=1e-12)


# Hooks as edits.


@needs_nnsight
def test_hooks_work_in_the_order_given_and_none_changes_nothing(network, through):
    pairs = network.group.pairs()
    seen = []

    def look(value, hook):
        seen.append((hook.name, float(value.detach().sum())))

    hooks = [
        ("hook_pre", lambda value, hook: value + 1),
        ("hook_post", look),
        (lambda name: name.endswith("pre"), look),
        ("hook_pre", lambda value, hook: 3 * value),
        ("hook_pre", look),
    ]
    wrapped = through.wrap(network)
    expected = network.run_with_hooks(pairs, fwd_hooks=hooks)
    theirs = seen.copy()
    seen.clear()
    found = through.with_hooks(wrapped, hooks).trace(pairs, trace=False)
    assert torch.equal(found, expected)
    assert [name for name, _ in seen] == [
        "hook_left_pre",
        "hook_right_pre",
        "hook_pre",
        "hook_pre",
        "hook_post",
    ]
    assert seen == theirs


@needs_nnsight
def test_a_trace_reads_what_the_hooks_have_made_and_the_original_stays(network, through):
    pairs = network.group.pairs()
    wrapped = through.wrap(network)
    clean = network(pairs)
    hooks = INTERVENTIONS["abs"].hooks(network, pairs, 0)
    edited = through.with_hooks(wrapped, hooks)
    twice = through.with_hooks(edited, [("hook_post", lambda value, hook: 2 * value)])
    for _ in range(2):
        with edited.trace(pairs):
            pre = edited.hook_pre.output.save()
            post = edited.hook_post.output.save()
        assert torch.equal(post, pre.abs())
    assert torch.equal(read(twice, "hook_post", pairs), 2 * pre.abs())
    assert torch.equal(wrapped.trace(pairs, trace=False), clean)
    assert torch.equal(network(pairs), clean)


@needs_nnsight
def test_resampling_hooks_give_the_same(network, through):
    """A scrub is hooks like any other: donors of one class, at every site."""
    resampling = pytest.importorskip("coset_circuits.experiments.resampling")
    pairs = network.group.pairs()
    labels = torch.randint(3, (36, 5), generator=torch.Generator().manual_seed(0))
    factories = [
        resampling.resample(labels, seed=1),
        resampling.resample(labels, seed=1, groups=[[0, 2], [1, 3, 4]]),
        resampling.mean_over(labels),
        resampling.shuffle(seed=4, each_unit=True),
    ]
    wrapped = through.wrap(network)
    for site in ("hook_left_pre", "hook_right_pre", "hook_pre", "hook_post"):
        for hook in factories:
            expected = network.run_with_hooks(pairs, fwd_hooks=[(site, hook)])
            edited = through.with_hooks(wrapped, [(site, hook)])
            assert torch.equal(edited.trace(pairs, trace=False), expected)


class Blocks(HookedRootModule):
    """Some other hooked model, with a hook point inside a list."""

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.hook_out = HookPoint()

        def forward(self, x):
            return self.hook_out(x + 1)

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([self.Block(), self.Block()])
        self.setup()

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return x


@needs_nnsight
def test_any_hooked_model_takes_hooks_as_edits(through):
    from nnsight import NNsight

    model = Blocks()
    hooks = [("blocks.0.hook_out", lambda value, hook: 10 * value)]
    x = torch.arange(3.0)
    found = through.with_hooks(NNsight(model), hooks).trace(x, trace=False)
    assert torch.equal(found, 10 * (x + 1) + 1)
    assert torch.equal(model(x), x + 2)
    with pytest.raises(CosetCircuitsError, match="wraps a Blocks; wrap a network"):
        through.run(NNsight(model), INTERVENTIONS["base"], torch.zeros(1, 2).long())


# What is refused.


@needs_nnsight
def test_a_silent_site_is_refused_when_read_or_written(through):
    surrogate = MODELS["bilinear"]()
    wrapped = through.wrap(surrogate)
    pairs = surrogate.group.pairs()
    assert surrogate.silent == {"hook_left_embed", "hook_right_embed", "hook_pre", "hook_post"}
    for site in surrogate.silent:
        with pytest.raises(SilentSiteError, match=f"irrep-bilinear is silent at {site}"):
            read(wrapped, site, pairs)
        with pytest.raises(SilentSiteError, match=site), wrapped.trace(pairs):
            wrapped.get(site).output = 0
    assert torch.equal(wrapped.trace(pairs, trace=False), surrogate(pairs))


@needs_nnsight
def test_wrong_names_and_wrong_models_are_refused(network, through, unchecked):
    pairs = network.group.pairs()
    wrapped = through.wrap(network)
    with pytest.raises(CosetCircuitsError, match="'hook_mid' is not a site of this model"):
        through.with_hooks(wrapped, [("hook_mid", lambda value, hook: value)])
    for given, kind in ((network, "GroupMLP"), (None, "NoneType")):
        with pytest.raises(CosetCircuitsError, match=f"A {kind} was given; give an nnsight model"):
            through.with_hooks(given, [])
    with pytest.raises(CosetCircuitsError, match="A Linear was given"):
        through.with_hooks(through.NNsight(nn.Linear(2, 2)), [])
    with pytest.raises(CosetCircuitsError, match="give pairs of shape"):
        through.run(wrapped, INTERVENTIONS["abs"], pairs[:, :1])


@needs_nnsight
def test_transformerlens_hooks_and_nnsight_do_not_meet_on_one_site(network, through):
    """nnsight reads a site before the TransformerLens hooks on it, whichever came first."""
    pairs = network.group.pairs()
    wrapped = through.wrap(network)
    clean = read(wrapped, "hook_pre", pairs)
    with network.hooks(fwd_hooks=[("hook_pre", lambda value, hook: 0 * value)]):
        assert torch.equal(read(wrapped, "hook_pre", pairs), clean)
        with pytest.raises(CosetCircuitsError, match="TransformerLens hook at hook_pre"):
            through.run(wrapped, INTERVENTIONS["noise_0_1"], pairs)
        # At other sites they get along.
        found = through.run(wrapped, INTERVENTIONS["sign_left"], pairs)
        assert torch.equal(found, INTERVENTIONS["sign_left"].run(network, pairs))


# What is left behind.


def attributes(network):
    return {name: sorted(vars(module)) for name, module in network.named_modules()}


class FaultError(Exception):
    pass


@needs_nnsight
@pytest.mark.parametrize("fault", [None, FaultError, KeyboardInterrupt])
def test_a_plain_network_is_left_as_it_was(network, through, fault):
    pairs = network.group.pairs()
    before, clean = attributes(network), network(pairs)
    for site in SITES:

        def hook(value, hook):
            if fault is not None:
                raise fault

        row = cc.Intervention("mine", "", lambda *_, site=site, hook=hook: [(site, hook)])
        row = through.through_nnsight(row)
        if fault is None:
            row.run(network, pairs)
        else:
            with pytest.raises(fault):
                row.run(network, pairs)
        assert attributes(network) == before
        assert torch.equal(network(pairs), clean)
        assert network.list_hooks() == {}


@needs_nnsight
@pytest.mark.parametrize("fault", [FaultError, KeyboardInterrupt])
def test_a_wrapped_network_works_again_after_a_fault(network, through, fault):
    wrapped = through.wrap(network)
    pairs = network.group.pairs()
    clean = network(pairs)

    def fail(value, hook):
        raise fault

    for site in SITES:
        with pytest.raises(fault):
            through.with_hooks(wrapped, [(site, fail)]).trace(pairs, trace=False)
        with pytest.raises(fault), wrapped.trace(pairs):
            wrapped.get(site).output = fail(None, None)
        assert torch.equal(wrapped.trace(pairs, trace=False), clean)
        assert torch.equal(network(pairs), clean)
    network.hook_pre.forward = fail
    assert through.through_nnsight(INTERVENTIONS["base"]).run(drawn(), pairs).equal(clean)


@needs_nnsight
def test_a_network_that_the_user_has_wrapped_stays_wrapped(network, through):
    wrapped = through.wrap(network)
    before, pairs = attributes(network), network.group.pairs()
    expected = read(wrapped, "hook_left_embed", pairs)
    through.through_nnsight(INTERVENTIONS["swap_tables"]).run(network, pairs)
    assert attributes(network) == before
    assert torch.equal(read(wrapped, "hook_left_embed", pairs), expected)


@needs_nnsight
def test_copies_of_a_wrapped_network_are_networks_of_their_own(network, through):
    through.wrap(network)
    pairs = network.group.pairs()
    for twin in (network.unhooked(), copy.deepcopy(network)):
        assert torch.equal(twin(pairs), network(pairs))
        with torch.no_grad():
            twin.W_U.zero_()
            twin.b_U.zero_()
        assert twin(pairs).abs().max() == 0 != network(pairs).abs().max()


@needs_nnsight
@pytest.mark.slow
def test_a_comparison_of_a_wrapped_network_finds_the_same(through, coset_network):
    expected = cc.compare(coset_network, [cc.CosetAlgorithm()], pairs=50).to_dict()
    own = coset_network.unhooked()
    through.wrap(own)
    found = cc.compare(own, [cc.CosetAlgorithm()], pairs=50).to_dict()
    assert found["verdict"] == expected["verdict"]
    assert found["network"] == expected["network"]


# With and without nnsight.


def test_embeddings_are_computed_for_whoever_wraps_their_site(network):
    """nnsight's way, without nnsight: the site's ``forward`` is replaced on the instance."""
    pairs = network.group.pairs()
    expected = network.run_with_hooks(
        pairs, fwd_hooks=[("hook_left_embed", lambda value, hook: 2 * value)]
    )
    network.hook_left_embed.forward = lambda value: 2 * value
    assert torch.equal(network(pairs), expected)
    surrogate = cc.RawWeights().fit(network).surrogate()
    clean = surrogate(pairs)
    surrogate.hook_left_embed.forward = lambda value: 2 * value
    assert torch.equal(surrogate(pairs), clean)


@pytest.mark.parametrize(
    ("installed", "sentence"),
    [
        (None, r"nnsight is not installed; .* pip install 'coset-circuits\[nnsight\]'"),
        ("0.4.11", r"nnsight 0.4.11 is installed; this module works with 0.8.x"),
    ],
)
def test_without_the_right_nnsight_there_is_a_sentence(monkeypatch, installed, sentence):
    stand_in = None
    if installed is not None:
        stand_in = types.ModuleType("nnsight")
        stand_in.__version__ = installed
        stand_in.NNsight = stand_in.Envoy = object
    monkeypatch.setitem(sys.modules, "nnsight", stand_in)
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    with pytest.raises(CosetCircuitsError, match=sentence) as found:
        importlib.import_module(MODULE)
    assert isinstance(found.value, ImportError)
    # Nothing else of the package needs it.
    assert cc.INTERVENTIONS["abs"].run(drawn(), cc.group("S3").pairs()).shape == (36, 6)


@needs_nnsight
@pytest.mark.slow
def test_saving_still_works_beside_nnsight(tmp_path):
    """nnsight gives every object in the process a method ``save``, the package included."""
    code = (
        "import nnsight, coset_circuits as cc\n"
        f"path = cc.save(cc.load('s4'), {str(tmp_path / 'network.safetensors')!r})\n"
        "assert (cc.load(path).W_U == cc.load('s4').W_U).all()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
