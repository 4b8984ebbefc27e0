"""Sweeps against plain hooks put on one by one, and against what the theory says must come out."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import torch
import transformer_lens.patching
from transformer_lens.tools import analysis

import coset_circuits as cc
from coset_circuits import CosetAlgorithm, CosetCircuitsError, GroupMLP, IrrepAlgorithm
from coset_circuits.experiments.bench import measured
from coset_circuits.experiments.blocks import sample_blocks
from coset_circuits.experiments.counterfactuals import corrupted, source_pairs
from coset_circuits.experiments.neuron_sets import ALL, as_neuron_sets, neuron_sets
from coset_circuits.experiments.patching import activation_patching, attribution_patching
from coset_circuits.experiments.path_patching import path_patching
from coset_circuits.experiments.splice import METRICS, AdditiveRun, HookedRun, scores
from coset_circuits.findings.intervals import mean_interval, ratio_interval
from coset_circuits.networks import (
    NEURON_SITES,
    SITES,
    SilentSiteError,
    cross_entropy,
    planted_coset,
)
from coset_circuits.networks.transformer import GroupTransformer


def random_network(name="S3", width=5, act_fn="relu", seed=0):
    """Every weight drawn, both biases."""
    group = cc.group(name)
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return GroupMLP.from_weights(
        group,
        W_E_left=normal(group.order, 4),
        W_E_right=normal(group.order, 4),
        W_in_left=normal(4, width),
        W_in_right=normal(4, width),
        W_U=normal(width, group.order),
        b_in=normal(width),
        b_U=normal(group.order),
        act_fn=act_fn,
        label="random",
    )


@pytest.fixture(scope="module")
def network():
    return random_network()


@pytest.fixture(scope="module")
def few():
    """Eight neurons on S4."""
    return random_network("S4", 8)


def two_runs(network, corrupt, direction, seed):
    """The pairs that are patched, those patched from, the own answers and the other ones."""
    clean = network.group.pairs()
    other = corrupted(network.group, clean, corrupt, seed)
    own, rival = network.group.products(clean), network.group.products(other)
    base, source = (other, clean) if direction == "denoise" else (clean, other)
    return base, source, own, rival


def by_hand(logits, own, rival, base):
    answers = logits.argmax(1)
    change = logits - base
    rows = range(len(own))
    return {
        "accuracy": (answers == own).double().mean().item(),
        "counterfactual": (answers == rival).double().mean().item(),
        "loss": np.mean(
            [math.log(sum(math.exp(x - row[y]) for x in row)) for row, y in
             zip(logits.tolist(), own.tolist(), strict=True)]
        ),
        "logit_difference": np.mean(
            [logits[i, own[i]].item() - logits[i, rival[i]].item() for i in rows]
        ),
        "logit_change": (change - change.mean(1, keepdim=True)).square().mean().item(),
    }  # fmt: skip


# Against plain TransformerLens hooks.


@pytest.mark.parametrize("corrupt", ["left", "right", "both"])
@pytest.mark.parametrize("direction", ["denoise", "noise"])
def test_every_patch_is_the_hook_it_stands_for(network, corrupt, direction):
    base, source, own, rival = two_runs(network, corrupt, direction, seed=3)
    _, cache = network.run_with_cache(source)
    found = activation_patching(network, corrupt=corrupt, direction=direction, seed=3)
    frame = found.to_dataframe()
    assert len(frame) == len(SITES) + 5 * len(NEURON_SITES)
    ends = [by_hand(network(pairs), own, rival, network(base)) for pairs in (base, source)]
    for row in frame.to_dict("records"):
        chosen = slice(None) if row["neuron_set"] == ALL else int(row["neuron_set"])

        def patch(value, hook, chosen=chosen):
            patched = value.clone()
            patched[:, chosen] = cache[hook.name][:, chosen]
            return patched

        logits = network.run_with_hooks(base, fwd_hooks=[(row["site"], patch)])
        expected = by_hand(logits, own, rival, network(base))
        for metric in METRICS:
            assert row[metric] == pytest.approx(expected[metric], abs=1e-12), (row, metric)
        low, high = (end["logit_difference"] for end in ends)
        share = (expected["logit_difference"] - low) / (high - low)
        assert row["recovery"] == pytest.approx(share, abs=1e-9)


@pytest.mark.parametrize("act_fn", ["relu", "gelu", "square", "identity"])
def test_updates_and_hooks_agree(act_fn):
    """Two ways to put some neurons' values: a rank-k update, and hooks."""
    network = random_network("S4", 7, act_fn)
    pairs = network.group.pairs()
    source = source_pairs(network.group, pairs, 1)
    fast, plain = AdditiveRun(network, pairs), HookedRun(network, pairs)
    torch.testing.assert_close(fast.logits, plain.logits)
    donor = AdditiveRun(network, source)
    outputs = torch.stack([network.group.products(pairs), network.group.products(source)], 1)
    for site in NEURON_SITES:
        torch.testing.assert_close(fast.values[site], plain.values[site])
        for neurons in ([2], [0, 5], [1, 2, 3, 4, 5, 6], list(range(7))):
            chosen = torch.tensor(neurons)
            values = donor.values[site][:, chosen]
            found = fast.put(site, chosen, values)
            torch.testing.assert_close(found, plain.put(site, chosen, values))
            few = fast.put(site, chosen, values, outputs)
            torch.testing.assert_close(few, found.gather(1, outputs))
    for site in SITES:
        torch.testing.assert_close(fast.values[site], plain.values[site])
        whole = fast.put(site, None, donor.values[site])
        torch.testing.assert_close(whole, plain.put(site, None, donor.values[site]))


@pytest.mark.skipif(
    not hasattr(analysis, "SubspaceInterchange"), reason="TransformerLens 4.3 brought it"
)
@pytest.mark.parametrize("act_fn", ["relu", "gelu", "square", "identity"])
def test_updates_and_transformer_lens_agree(act_fn):
    network = random_network("S4", 7, act_fn).eval()
    pairs = network.group.pairs()
    fast = AdditiveRun(network, pairs)
    donor = AdditiveRun(network, source_pairs(network.group, pairs, 1))
    for site in NEURON_SITES:
        for neurons in ([2], [0, 5], [1, 2, 3, 4, 5, 6], list(range(7))):
            found = fast.put(site, torch.tensor(neurons), donor.values[site][:, neurons])
            subspace = analysis.SubspaceInterchange(analysis.neuron_basis(7, neurons))
            theirs = analysis.intervened_logits(
                network, site, subspace, pairs, donor.values[site], network
            )
            torch.testing.assert_close(found, theirs)


def test_scores_by_hand(network):
    logits = torch.tensor([[1.0, 3.0, 2.0], [0.0, -1.0, 5.0]], dtype=torch.float64)
    base = torch.tensor([[1.0, 3.0, 2.0], [6.0, -1.0, 5.0]], dtype=torch.float64)
    found = scores(logits, torch.tensor([1, 0]), torch.tensor([0, 2]), base)
    assert found[:2].tolist() == [[1, 0], [0, 1]]
    assert found[2].tolist() == cross_entropy(logits, torch.tensor([1, 0])).tolist()
    assert found[3].tolist() == [2, -5]
    assert found[4].tolist() == pytest.approx([0, 8])


# What must come out.


@pytest.mark.parametrize("model", ["coset_network", "gcr_network", "untrained"])
def test_whole_sites_do_what_they_must(model, request):
    network = request.getfixturevalue(model)
    for corrupt, left in (("left", 1), ("right", 0)):
        table = activation_patching(network, {"one": [0]}, corrupt=corrupt).table().loc[ALL]
        for site in ("hook_left_embed", "hook_left_pre"):
            assert table[site] == pytest.approx(left, abs=1e-9)
        for site in ("hook_right_embed", "hook_right_pre"):
            assert table[site] == pytest.approx(1 - left, abs=1e-9)
        for site in ("hook_pre", "hook_post", "hook_logits"):
            assert table[site] == pytest.approx(1, abs=1e-9)
    # Left and right from two different pairs make a third product.
    frame = activation_patching(network, {"one": [0]}, corrupt="both").to_dataframe()
    frame = frame[frame["neuron_set"] == ALL].set_index("site")
    clean = (network(network.group.pairs()).argmax(1) == network.group.products(
        network.group.pairs())).double().mean().item()  # fmt: skip
    assert frame.loc["hook_pre", "accuracy"] == pytest.approx(clean)
    if clean == 1:
        for site in ("hook_left_pre", "hook_right_pre"):
            assert frame.loc[site, ["accuracy", "counterfactual"]].tolist() == [0, 0]


def test_what_neurons_recover_after_the_activation_adds_up(few):
    """The logits are linear in the activations."""
    table = activation_patching(few, sites=["hook_post"]).table()["hook_post"]
    assert table.drop(index=ALL).sum() == pytest.approx(1, abs=1e-9)


def test_pre_and_post_patches_of_the_same_neurons_are_the_same(few):
    table = activation_patching(few, sites=["hook_pre", "hook_post"]).table()
    assert np.allclose(table["hook_pre"], table["hook_post"], atol=1e-12)


def test_noise_and_denoise_share_their_ends(untrained):
    one, two = (
        activation_patching(untrained, {"g": [0, 1]}, direction=d) for d in ("denoise", "noise")
    )
    assert torch.equal(one.base[:4], two.source[:4]) and torch.equal(one.source[:4], two.base[:4])
    torch.testing.assert_close(one.source[4], two.source[4])
    assert one.base[4].abs().max() == two.base[4].abs().max() == 0


@pytest.mark.parametrize("corrupt", ["left", "right", "both"])
@pytest.mark.parametrize("name", ["C3", "S3", "D5"])
def test_corrupted_pairs(name, corrupt):
    group = cc.group(name)
    pairs = group.pairs()
    seen = {}
    for seed in range(60):
        other = corrupted(group, pairs, corrupt, seed)
        assert torch.equal(other, corrupted(group, pairs, corrupt, seed))
        # Keyed by pair, whatever the batch.
        assert torch.equal(other[5:7], corrupted(group, pairs[5:7], corrupt, seed))
        assert ((other != pairs)[:, 0] == (corrupt != "right")).all()
        assert ((other != pairs)[:, 1] == (corrupt != "left")).all()
        assert (group.products(other) != group.products(pairs)).all()
        for key, value in zip(pairs.tolist(), other.tolist(), strict=True):
            seen.setdefault(tuple(key), set()).add(tuple(value))
    n = group.order
    possible = {"left": n - 1, "right": n - 1, "both": (n - 1) * (n - 2)}[corrupt]
    counts = [len(values) for values in seen.values()]
    assert max(counts) <= possible
    # Of 60 draws from k, k·(1 − (1−1/k)^60) are different.
    expected = possible * (1 - (1 - 1 / possible) ** 60)
    assert np.mean(counts) == pytest.approx(expected, rel=0.05)


def test_a_group_of_two_has_no_pair_with_both_elements_changed():
    group = cc.group("C2")
    with pytest.raises(CosetCircuitsError, match=r"C2 of order 2 has no pair.*order 3 or more"):
        corrupted(group, group.pairs(), "both")
    assert corrupted(group, group.pairs(), "left").tolist() == [[1, 0], [1, 1], [0, 0], [0, 1]]


# Attribution.


def test_attribution_is_exact_where_the_logits_are_linear(few):
    found = activation_patching(few, seed=2)
    frame = found.to_dataframe().set_index("site")
    for site in ("hook_post", "hook_logits"):
        part = frame.loc[[site]]
        assert np.allclose(part["attributed"], part["recovery"], atol=1e-12)
    error = found.attribution_error().set_index("site")
    assert error.loc["hook_post", "correlation"] == pytest.approx(1)
    assert error.loc["hook_post", "worst_error"] < 1e-12
    assert error.loc["hook_pre", "worst_error"] > 1e-3


def test_attribution_of_a_linear_network_is_exact_everywhere():
    frame = activation_patching(random_network(act_fn="identity")).to_dataframe()
    assert np.allclose(frame["attributed"], frame["recovery"], atol=1e-9)


def test_the_error_of_attribution_by_hand():
    """With t² the first order misses exactly (t′ − t)², times what the neuron writes."""
    network = random_network(act_fn="square")
    base, source, own, rival = two_runs(network, "both", "denoise", 0)
    found = activation_patching(network, sites=["hook_pre"])
    missed = found.values[3].mean(1) - found.base[3].mean() - found.attributed
    step = AdditiveRun(network, source).values["hook_pre"] - HookedRun(network, base).values[
        "hook_pre"]  # fmt: skip
    write = network.W_U.T[own] - network.W_U.T[rival]
    expected = (step.square() * write).mean(0)
    torch.testing.assert_close(missed[1:], expected.detach(), rtol=1e-9, atol=1e-12)
    assert missed[0].item() == pytest.approx(expected.sum().item())


def test_gradients_by_finite_differences():
    network = random_network("S3", 4, "gelu")
    base, source, own, rival = two_runs(network, "left", "denoise", 1)
    found = activation_patching(network, corrupt="left", seed=1)
    step = 1e-6
    for i, cell in enumerate(found.cells.to_dict("records")):
        site, chosen = cell["site"], cell["neuron_set"]
        values = HookedRun(network, base).values[site]
        units = slice(None) if chosen == ALL else int(chosen)
        moved = torch.zeros_like(values)
        moved[:, units] = (HookedRun(network, source).values[site] - values)[:, units]
        ends = []
        for sign in (1, -1):
            logits = network.run_with_hooks(
                base, fwd_hooks=[(site, lambda v, hook, s=sign, m=moved: v + s * step * m)]
            )
            ends.append(logits.gather(1, own[:, None]) - logits.gather(1, rival[:, None]))
        slope = ((ends[0] - ends[1]) / (2 * step)).mean().item()
        assert found.attributed[i].item() == pytest.approx(slope, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("direction", ["denoise", "noise"])
def test_attribution_patching_is_the_column_beside_the_sweep(few, direction):
    sweep = activation_patching(few, seed=4, direction=direction)
    alone = attribution_patching(few, seed=4, direction=direction)
    assert alone.cells.equals(sweep.cells)
    expected = torch.tensor(sweep.to_dataframe()["attributed"].to_numpy())
    torch.testing.assert_close(alone.recovery(), expected, rtol=0, atol=1e-12)
    low, high = alone.interval()
    assert ((low <= alone.recovery() + 1e-9) & (alone.recovery() <= high + 1e-9)).all()


def test_parameters_get_no_gradients(untrained):
    activation_patching(untrained, {"g": [0]})
    assert all(p.grad is None and p.requires_grad for p in untrained.parameters())
    with torch.inference_mode():
        inside = activation_patching(untrained, {"g": [0]})
    assert torch.isfinite(inside.attributed).all()


def all_runs(network):
    """Every base pair beside every source pair, and the pre-activations of both."""
    pairs = network.group.pairs()
    base = pairs.repeat_interleave(len(pairs), 0)
    source = pairs.repeat(len(pairs), 1)
    pre = [network.run_with_cache(x)[1]["hook_pre"].detach() for x in (base, source)]
    return base, source, *pre


@pytest.mark.parametrize(("act_fn", "degree"), [("relu", 1), ("square", 2)])
def test_attribution_finds_a_share_that_is_no_evidence(act_fn, degree):
    """Over all independent runs of *any* network σ(t) = σ′(t)·t / degree: degree / 2.

    The pre-activations have mean nought, or what comes would be worth something by its mean.
    """
    generator = torch.Generator().manual_seed(0)
    left, right, write = (
        torch.randn(*shape, generator=generator, dtype=torch.float64)
        for shape in ((6, 5), (6, 5), (5, 6))
    )
    network = GroupMLP.from_weights(
        cc.group("S3"),
        left_table=left - left.mean(0),
        right_table=right - right.mean(0),
        W_U=write,
        act_fn=act_fn,
    )
    base, source, t, moved = all_runs(network)
    gradient = (t > 0).double() if act_fn == "relu" else 2 * t
    own, rival = network.group.products(source), network.group.products(base)
    towards = write.T[own] - write.T[rival]
    attributed = (gradient * (moved - t) * towards).sum(1).mean()
    ends = [(network.activate(x).detach() * towards).sum(1).mean().item() for x in (t, moved)]
    assert attributed.item() == pytest.approx(degree / 2 * (ends[1] - ends[0]), rel=1e-9)


def test_the_linear_half_moves_no_mean_logit_difference():
    """Whatever the network: the product is independent of either input alone."""
    network = random_network()
    base, source, t, moved = all_runs(network)
    own, rival = network.group.products(source), network.group.products(base)
    towards = network.W_U.T[own] - network.W_U.T[rival]
    assert ((moved - t) / 2 * towards).sum(1).mean().item() == pytest.approx(0, abs=1e-12)
    third = network.left_table[source[:, 0]] + network.right_table[base[:, 1]]
    linear = (third - t) / 2
    assert (linear * towards).sum(1).mean().item() == pytest.approx(0, abs=1e-12)
    # Its size is another matter: the metric that has no sign sees it.
    found = path_patching(network, halves=("whole", "odd"), senders=("both",))
    change = found.to_dataframe("logit_change").query("neuron_set == 'all'")
    assert change.query("half == 'odd'")["recovery"].item() > 0.1


# Paths.


def test_paths_add_up(few):
    found = path_patching(
        few, senders=("left", "right"), receivers=("logits", "own", "other"), controls=0
    )
    frame = found.to_dataframe()
    table = frame.set_index(["sender", "half", "receiver", "neuron_set"])["recovery"]
    for sender, half in itertools.product(("left", "right"), ("whole", "even", "odd")):
        cell = table[sender][half]
        assert cell["own"][ALL] + cell["other"][ALL] == pytest.approx(cell["logits"][ALL])
        assert cell["logits"].drop(ALL).sum() == pytest.approx(cell["logits"][ALL])
        for group in ("0", "7"):
            assert cell["own"][group] + cell["other"][group] == pytest.approx(
                cell["logits"][group], abs=1e-12
            )
    for sender in ("left", "right"):
        halves = table[sender]
        assert halves["even"]["logits"][ALL] + halves["odd"]["logits"][ALL] == pytest.approx(
            halves["whole"]["logits"][ALL]
        )


def test_a_whole_path_is_an_activation_patch(few):
    paths = path_patching(few, senders=("left", "right", "both"), halves=("whole",))
    sites = activation_patching(few, sites=["hook_left_pre", "hook_right_pre", "hook_pre"])
    torch.testing.assert_close(paths.values, sites.values, rtol=0, atol=1e-12)


def test_a_path_through_half_an_activation_by_hooks(untrained):
    base, source, own, rival = two_runs(untrained, "both", "denoise", 0)
    found = path_patching(
        untrained, {"g": [3, 8]}, senders=("left",), halves=("even",), receivers=("own", "other")
    )
    left = untrained.left_table[source[:, 0]] + untrained.right_table[base[:, 1]]
    pre = untrained.left_table[base[:, 0]] + untrained.right_table[base[:, 1]]
    change = (left.abs() - pre.abs()) / 2

    def patch(post, hook):
        patched = post.clone()
        patched[:, [3, 8]] += change[:, [3, 8]]
        return patched

    whole = untrained.run_with_hooks(base, fwd_hooks=[("hook_post", patch)])
    for receiver, answer in (("own", own), ("other", rival)):
        logits = untrained(base).clone()
        logits[torch.arange(576), answer] = whole[torch.arange(576), answer]
        expected = by_hand(logits, own, rival, untrained(base))
        frame = found.to_dataframe()
        (row,) = frame[(frame["neuron_set"] == "g") & (frame["receiver"] == receiver)].to_dict(
            "records"
        )
        for metric in METRICS:
            assert row[metric] == pytest.approx(expected[metric], abs=1e-9)


def test_the_linear_half_of_a_coset_circuit_carries_nothing(coset_network):
    """Its neurons come in pairs ±t that write the same: t/2 − t/2 = 0."""
    table = path_patching(coset_network, {"pair": [0, 1], "one": [0]}).table()
    for sender in ("left", "right"):
        odd, even, whole = (
            table[f"{sender} · {half} · logits"] for half in ("odd", "even", "whole")
        )
        assert abs(odd[ALL]) < 1e-12 and abs(odd["pair"]) < 1e-12 and abs(odd["one"]) > 1e-4
        assert np.allclose(even[[ALL, "pair"]], whole[[ALL, "pair"]])


def test_an_even_activation_has_no_odd_half(gcr_network):
    table = path_patching(gcr_network, {"one": [0]}).table()
    assert table["left · odd · logits"].abs().max() < 1e-12


def test_a_surrogate_that_cancels_the_linear_half_has_no_single_paths(coset_network):
    surrogate = CosetAlgorithm(even=True).fit(coset_network).surrogate()
    with pytest.raises(CosetCircuitsError, match="do not simply add up in the logits"):
        path_patching(surrogate)


# Models, groups and what does not matter.


def test_a_surrogate_predicts_its_own_sweep(coset_network):
    """Of a network that is what the hypothesis says, exactly."""
    circuit = CosetAlgorithm().fit(coset_network)
    groups = {name: x.tolist() for name, x in list(neuron_sets(circuit, "hook_post"))[:4]}
    options = {"sites": NEURON_SITES, "controls": 1, "metrics": ("loss", "logit_difference")}
    own = activation_patching(coset_network, groups, **options)
    predicted = activation_patching(circuit.surrogate(), groups, **options)
    torch.testing.assert_close(predicted.values, own.values, rtol=1e-6, atol=1e-6)
    assert own.recovery().abs().min() > 1e-3


def test_where_neurons_do_not_add_up_hooks_are_used(coset_network):
    surrogate = CosetAlgorithm(even=True).fit(coset_network).surrogate()
    base, source, own, rival = two_runs(surrogate, "both", "denoise", 0)
    found = activation_patching(surrogate, {"g": [0, 5]}, sites=["hook_left_pre"], controls=0)
    donor = surrogate.left_table[source[:, 0]]

    def patch(pre, hook):
        patched = pre.clone()
        patched[:, [0, 5]] = donor[:, [0, 5]]
        return patched

    logits = surrogate.run_with_hooks(base, fwd_hooks=[("hook_left_pre", patch)])
    expected = scores(logits, own, rival, surrogate(base)).mean(1)
    torch.testing.assert_close(found.values[:, 1].mean(1), expected.detach())


def test_a_silent_site_is_left_out_or_refused(gcr_network):
    surrogate = IrrepAlgorithm("bilinear").fit(gcr_network).surrogate()
    found = activation_patching(surrogate, {"g": [0, 1]})
    assert list(found.cells["site"].unique()) == ["hook_left_pre", "hook_right_pre", "hook_logits"]
    with pytest.raises(SilentSiteError, match="silent at hook_pre"):
        activation_patching(surrogate, sites=["hook_pre"])


@pytest.mark.parametrize("corrupt", ["left", "both"])
@pytest.mark.parametrize("sweep", [activation_patching, path_patching])
def test_the_chunk_changes_nothing(few, corrupt, sweep):
    groups = {"one": [0], "more": list(range(6))}
    one, two = (sweep(few, groups, corrupt=corrupt, chunk=c, controls=2) for c in (10_000, 150))
    torch.testing.assert_close(one.values, two.values, rtol=0, atol=1e-12)
    torch.testing.assert_close(one.controls, two.controls, equal_nan=True, rtol=0, atol=1e-12)
    again = sweep(few, groups, corrupt=corrupt, chunk=150, controls=2)
    assert torch.equal(again.values, two.values)
    assert again.to_dataframe().equals(two.to_dataframe())
    other = sweep(few, groups, corrupt=corrupt, chunk=150, controls=2, seed=1)
    assert not torch.equal(other.values, two.values)


def test_two_logits_are_enough_for_their_difference(few):
    for sweep in (activation_patching, path_patching):
        one = sweep(few, controls=2)
        two = sweep(few, controls=2, metrics=("logit_difference",))
        torch.testing.assert_close(one.values[3:4], two.values, rtol=0, atol=1e-12)
        torch.testing.assert_close(
            one.controls[3:4], two.controls, equal_nan=True, rtol=0, atol=1e-12
        )


def test_single_precision_is_measured_in_double(untrained):
    single = GroupMLP.from_weights(
        untrained.group,
        **{
            k: getattr(untrained, k).detach().float()
            for k in ("W_E_left", "W_E_right", "W_in_left", "W_in_right", "W_U")
        },
    )
    found = activation_patching(single, {"g": [0, 1, 2]})
    assert found.values.dtype == torch.float64
    assert single.dtype == torch.float32
    double = activation_patching(measured(single), {"g": [0, 1, 2]})
    assert torch.equal(found.values, double.values)


def test_controls_are_groups_of_equal_size_that_matter_as_much(coset_network):
    unembed = coset_network.W_U.detach().clone()
    unembed[:44] = 0
    network = GroupMLP.from_weights(
        coset_network.group,
        left_table=coset_network.left_table,
        right_table=coset_network.right_table,
        W_U=unembed,
    )
    groups = neuron_sets(CosetAlgorithm().fit(network))
    assert [(name, len(members)) for name, members in groups] == [("C2", 100), ("negligible", 44)]
    mixed = torch.tensor([0, 1, 50, 60, 70])
    draws = [groups.random(mixed, 0, draw) for draw in range(20)]
    for drawn in draws:
        assert len(drawn.unique()) == 5 and (drawn < 44).sum() == 2
    assert len({tuple(drawn.tolist()) for drawn in draws}) == 20
    assert torch.equal(draws[3], groups.random(torch.tensor([43, 3, 99, 98, 97]), 0, 3))
    assert torch.equal(groups.random(mixed, -1, 0), groups.random(mixed, -1, 0))
    frame = activation_patching(network, groups, controls=3).to_dataframe()
    dull = frame[(frame["neuron_set"] == "negligible")]
    assert (
        (dull[["recovery", "control", "control_low", "control_high"]].abs() < 1e-12)
        .to_numpy()
        .all()
    )


def test_controls_by_hand(untrained):
    groups = as_neuron_sets(untrained, {"g": [0, 1, 2]})
    found = activation_patching(untrained, {"g": [0, 1, 2]}, controls=4)
    named = {str(d): groups.random(groups.members["g"], 0, d).tolist() for d in range(4)}
    drawn = activation_patching(untrained, named, controls=0)
    for site in NEURON_SITES:
        recovered = drawn.table()[site].drop(index=ALL)
        (row,) = (
            found.to_dataframe().query("site == @site and neuron_set == 'g'").to_dict("records")
        )
        assert row["control"] == pytest.approx(recovered.mean())
        assert row["control_low"] == pytest.approx(recovered.min())
        assert row["control_high"] == pytest.approx(recovered.max())
    assert "control" not in drawn.to_dataframe()


def test_groups_by_what_a_circuit_says(coset_network):
    circuit = CosetAlgorithm().fit(coset_network)
    assert list(neuron_sets(circuit).members) == ["C2"]
    assert len(neuron_sets(circuit, "neuron")) == 144
    shared = neuron_sets(circuit, "hook_post")
    # Six conjugates of ⟨(1 2)⟩ with twelve cosets each, two neurons ±t to a coset.
    assert len(shared) == 72 and {len(members) for _, members in shared} == {2}
    for _, members in shared:
        left = coset_network.left_table[:, members]
        torch.testing.assert_close(left[:, 0], -left[:, 1])
    both = neuron_sets(circuit, ["role", "conjugator"])
    frame = circuit.roles.to_dataframe()
    for name, members in both:
        assert {f"C2 · {x}" for x in frame["conjugator"].iloc[members.tolist()]} == {name}


def test_groups_that_make_no_sense(coset_network, gcr_network, unchecked):
    circuit = CosetAlgorithm().fit(coset_network)
    for groups, said in (
        ({"g": [0, 144]}, "'g' holds neurons from 0 to 144; give neurons from 0 to 143"),
        ({"g": []}, "'g' holds no neurons"),
        ({"g": [1, 1]}, "names a neuron twice"),
        ({"g": [0.5]}, "'g' is not a list of neurons"),
        ({"all": [0]}, "A neuron set is called 'all', which every table has"),
        ([0, 1], "The neurons are a list; give a circuit"),
    ):
        with pytest.raises(CosetCircuitsError, match=said):
            as_neuron_sets(coset_network, groups)
    with pytest.raises(CosetCircuitsError, match=r"no column 'sort'.*role, subgroup, conjugator"):
        neuron_sets(circuit, "sort")
    with pytest.raises(CosetCircuitsError, match="fvu_left of coset holds measurements"):
        neuron_sets(circuit, "fvu_left")
    with pytest.raises(CosetCircuitsError, match="no neurons that share a donor at hook_left_pre"):
        neuron_sets(circuit, "hook_left_pre")
    with pytest.raises(CosetCircuitsError, match=r"of 144 neurons, .* has 54"):
        activation_patching(gcr_network, neuron_sets(circuit))


def test_arguments_that_make_no_sense(untrained, unchecked):
    for arguments, said in (
        ({"corrupt": "up"}, "'up' is not a side"),
        ({"direction": "back"}, "'back' is not a direction"),
        ({"metrics": ("speed",)}, "'speed' is not a metric"),
        ({"metrics": ()}, "not a list of metrics"),
        ({"metrics": "loss"}, "not a list of metrics"),
        ({"sites": ["hook_resid"]}, "'hook_resid' is not a site"),
        ({"sites": []}, "No site was given"),
        ({"controls": -1}, "The number of controls is -1"),
        ({"pairs": 0}, "The number of pairs is 0"),
        ({"chunk": 0}, "The number of pairs in a chunk is 0"),
    ):
        with pytest.raises(CosetCircuitsError, match=said):
            activation_patching(untrained, {"g": [0]}, **arguments)
    for arguments, said in (
        ({"senders": ("up",)}, "'up' is not a sender"),
        ({"halves": ("third",)}, "'third' is not a half"),
        ({"receivers": ("noone",)}, "'noone' is not a receiver"),
    ):
        with pytest.raises(CosetCircuitsError, match=said):
            path_patching(untrained, {"g": [0]}, **arguments)
    found = activation_patching(untrained, {"g": [0]}, metrics=("loss",))
    with pytest.raises(
        CosetCircuitsError, match="'accuracy' was not measured; this sweep has loss"
    ):
        found.to_dataframe("accuracy")
    with pytest.raises(CosetCircuitsError, match="has no attribution"):
        found.attribution_error()


@pytest.mark.parametrize("direction", ["denoise", "noise"])
def test_a_transformer_is_patched_at_its_heads_and_its_skip_path(direction):
    """Sites of more than one axis are patched as a whole, single neurons where there are any."""
    shapes = {"W_E": (7, 4), "W_pos": (3, 4), "W_in": (4, 5), "W_out": (5, 4), "W_unembed": (4, 6)}
    shapes |= {"W_Q": (2, 4, 3), "W_K": (2, 4, 3), "W_V": (2, 4, 3), "W_O": (2, 3, 4)}
    generator = torch.Generator().manual_seed(0)
    weights = {
        name: torch.randn(shape, generator=generator, dtype=torch.float64)
        for name, shape in shapes.items()
    }
    network = GroupTransformer(cc.group("S3"), weights, tokens=(0, 0, 6))
    base, source, own, rival = two_runs(network, "both", direction, 0)
    _, cache = network.run_with_cache(source)
    frame = activation_patching(network, direction=direction, controls=1).to_dataframe()
    assert list(frame["site"].unique()) == list(network.sites)
    assert {"blocks.0.attn.hook_pattern", "hook_skip"} < set(frame["site"])
    for row in frame.to_dict("records"):

        def patch(value, hook, chosen=row["neuron_set"]):
            patched = value.clone()
            at = slice(None) if chosen == ALL else int(chosen)
            patched[:, at] = cache[hook.name][:, at]
            return patched

        logits = network.run_with_hooks(base, fwd_hooks=[(row["site"], patch)])
        expected = by_hand(logits, own, rival, network(base))
        for metric in METRICS:
            assert row[metric] == pytest.approx(expected[metric], abs=1e-12), (row, metric)
    whole = frame[frame["neuron_set"] == ALL].set_index("site")
    # The logits are linear in the activations and in what goes past them.
    assert whole.loc[["hook_post", "hook_skip"], "recovery"].sum() == pytest.approx(1)
    for site in ("hook_post", "hook_skip", "hook_logits"):
        assert whole.loc[site, "attributed"] == pytest.approx(whole.loc[site, "recovery"])


# Samples, intervals, other forms.


def test_a_sample_has_as_many_right_elements_for_every_left_one(untrained):
    blocks = sample_blocks(untrained.group, 50, seed=1)
    assert blocks.pairs.shape == (24, 3, 2) and not blocks.is_exhaustive
    assert blocks.source == "a sample of 72 pairs"
    assert torch.equal(blocks.pairs[:, :, 0], torch.arange(24)[:, None].expand(24, 3))
    assert all(len(row.unique()) == 3 for row in blocks.pairs[:, :, 1])
    assert sample_blocks(untrained.group, None, 0).is_exhaustive
    assert sample_blocks(untrained.group, 10**6, 0).source == "all 576 pairs"
    found = activation_patching(untrained, {"g": [0]}, pairs=50, seed=1)
    whole = activation_patching(untrained, {"g": [0]}, seed=1)
    assert found.measured_on == "a sample of 72 pairs" and whole.measured_on == "all 576 pairs"
    # The draws are keyed by pair: the sample's pairs are patched as they are among all.
    assert found.recovery()[-1].item() == pytest.approx(1)


def test_a_bootstrap_interval_in_plain_loops():
    generator = np.random.default_rng(5)
    numerator, denominator = generator.normal(3, 1, 12), generator.normal(5, 1, 12)
    low, high = ratio_interval(torch.tensor(numerator), torch.tensor(denominator), seed=7)
    rng = np.random.default_rng(7)
    counts = rng.multinomial(12, np.full(12, 1 / 12), size=1000)
    ratios = [
        np.mean(np.repeat(numerator, row)) / np.mean(np.repeat(denominator, row)) for row in counts
    ]
    assert [low.item(), high.item()] == pytest.approx(np.quantile(ratios, [0.025, 0.975]).tolist())
    assert low < numerator.mean() / denominator.mean() < high
    same = torch.full((12,), 2.0, dtype=torch.float64)
    assert [x.item() for x in mean_interval(same)] == [2, 2]


def test_an_interval_holds_the_mean_of_a_population():
    """About 95 of 100 samples' intervals; 12 standard errors of the binomial are 0.26."""
    rng = np.random.default_rng(0)
    samples = torch.tensor(rng.normal(1, 1, (400, 40)))
    low, high = mean_interval(samples)
    covered = ((low < 1) & (high > 1)).double().mean().item()
    assert 0.9 < covered < 0.98


@pytest.mark.skipif(
    not hasattr(transformer_lens.patching, "PatchingResult"),
    reason="TransformerLens 4.2 brought it",
)
def test_transformer_lens_own_result(untrained):
    found = activation_patching(untrained, {"g": [0, 1]})
    theirs = found.to_transformer_lens()
    difference = theirs["logit_difference"]
    torch.testing.assert_close(difference.mean(), found.values[3].mean(1))
    torch.testing.assert_close(
        difference.effect().mean(1), found.values[3].mean(1) - found.base[3].mean()
    )
    assert theirs.metric_names == list(METRICS)
    long = theirs.to_dataframe()
    assert isinstance(long, pd.DataFrame) and len(long) == len(METRICS) * len(found.cells) * 24


def test_an_older_transformer_lens_has_no_result_of_its_own(untrained, monkeypatch):
    monkeypatch.delattr(transformer_lens.patching, "PatchingResult", raising=False)
    found = activation_patching(untrained, {"g": [0]})
    with pytest.raises(CosetCircuitsError, match=r"has no PatchingResult, 4\.2 brought it"):
        found.to_transformer_lens()


def test_what_is_named_twice_is_done_once(few):
    once, twice = (
        activation_patching(few, {"g": [0]}, sites=["hook_pre"] * k, controls=1) for k in (1, 2)
    )
    assert once.table().equals(twice.table())
    once, twice = (path_patching(few, {"g": [0]}, senders=["left"] * k, controls=1) for k in (1, 2))
    assert once.table().equals(twice.table())


def test_it_says_what_it_is(untrained):
    found = activation_patching(untrained, {"g": [0]}, seed=9)
    assert "activation patching of network, both corrupted, denoise, all 576 pairs" in str(found)
    assert repr(found).startswith("Patching(activation patching of network")
    assert "<table" in found._repr_html_()
    losses = activation_patching(untrained, {"g": [0]}, metrics=("loss",))
    assert "loss" in str(losses)


# In a comparison.


def test_a_comparison_has_the_figures_of_the_functions():
    network = planted_coset(cc.group("S3"), "C2")
    sweeps = (activation_patching, path_patching, attribution_patching)
    comparison = cc.compare(
        network, [CosetAlgorithm()], experiments=[sweep.__name__ for sweep in sweeps]
    )
    (hypothesis,) = comparison.hypotheses
    for sweep in sweeps:
        experiment = cc.EXPERIMENTS[sweep.__name__]
        options = {} if sweep is attribution_patching else {"metrics": ("logit_difference",)}
        alone = sweep(network, hypothesis.circuit, controls=experiment.controls, **options)
        findings = list(comparison.results[sweep.__name__].findings())
        rows = alone.to_dataframe().to_dict("records")
        assert len(findings) == len(rows) > len(alone.cells["neuron_set"].unique()) == 2
        for finding, row in zip(findings, rows, strict=True):
            assert (finding.experiment, finding.subject) == (sweep.__name__, hypothesis.key)
            assert (finding.quantity, finding.unit) == ("recovery", "fraction")
            assert finding.at == {axis: row[axis] for axis in alone.axes}
            assert finding.value == row["recovery"]
            assert finding.interval == (row["low"], row["high"])
            # No other set is as large as all neurons together.
            if row["neuron_set"] == ALL:
                assert finding.control is None
            else:
                assert finding.control.value == row["control"]
    assert "attribution_patching of 1 hypotheses" in str(comparison.results["attribution_patching"])


def test_first_order_controls_are_sums_over_random_neuron_sets(few):
    alone = attribution_patching(few, {"g": [1, 4, 6]}, controls=3)
    sets = as_neuron_sets(few, {"g": [1, 4, 6]})
    single = attribution_patching(few, controls=0).to_dataframe()
    single = single.set_index(["site", "neuron_set"])["recovery"]
    for row in alone.to_dataframe().query("neuron_set == 'g'").to_dict("records"):
        drawn = [sets.random(sets.members["g"], 0, draw).tolist() for draw in range(3)]
        expected = [sum(single[row["site"], str(j)] for j in chosen) for chosen in drawn]
        assert row["control"] == pytest.approx(np.mean(expected))
        assert row["control_high"] == pytest.approx(max(expected))


# The user's model.


@pytest.mark.parametrize("sweep", [activation_patching, path_patching])
def test_a_broken_sweep_leaves_nothing_behind(untrained, sweep):
    before = {k: v.clone() for k, v in untrained.state_dict().items()}

    def broken(*told):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep(untrained, {"g": [0]}, progress=broken)
    assert untrained.list_hooks() == {}
    assert all(torch.equal(v, before[k]) for k, v in untrained.state_dict().items())


def test_the_users_hooks_stay_and_are_not_heard(untrained):
    expected = activation_patching(untrained, {"g": [0]})
    calls = []
    with untrained.hooks(fwd_hooks=[("hook_pre", lambda pre, hook: calls.append(1) or 0 * pre)]):
        found = activation_patching(untrained, {"g": [0]})
        assert list(untrained.list_hooks()) == ["hook_pre"]
    assert torch.equal(found.values, expected.values) and not calls
    assert untrained.list_hooks() == {}


def test_progress_is_told(untrained):
    told = []
    activation_patching(untrained, {"g": [0]}, chunk=200, progress=lambda *x: told.append(x))
    assert told == [("activation patching", done, 24) for done in (0, 8, 16)]
