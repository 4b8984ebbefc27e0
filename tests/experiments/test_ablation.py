"""Ablations against plain hooks, and on networks where what is left can be worked out."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

import coset_circuits as cc
from coset_circuits import CosetAlgorithm, CosetCircuitsError, GroupMLP, IrrepAlgorithm
from coset_circuits.algorithms import concentration
from coset_circuits.experiments.ablation import (
    ablation,
    ablation_by_threshold,
    completeness,
    minimality,
    site_mean,
)
from coset_circuits.experiments.counterfactuals import source_pairs
from coset_circuits.experiments.neuron_sets import ALL, neuron_sets
from coset_circuits.networks import NEURON_SITES, cross_entropy


@pytest.fixture(scope="module")
def circuit(coset_network):
    return CosetAlgorithm().fit(coset_network)


def removed_by_hooks(network, neurons, kind, site="hook_post", seed=0):
    """Accuracy and loss of all pairs with some neurons' values replaced."""
    pairs = network.group.pairs()
    values = network.run_with_cache(pairs)[1][site]
    donors = {
        "zero": torch.zeros_like(values),
        "mean": values.mean(0).expand_as(values),
        "resample": network.run_with_cache(source_pairs(network.group, pairs, seed))[1][site],
    }[kind]

    def remove(value, hook):
        left = value.clone()
        left[:, neurons] = donors[:, neurons]
        return left

    logits = network.run_with_hooks(pairs, fwd_hooks=[(site, remove)])
    labels = network.group.products(pairs)
    right = (logits.argmax(1) == labels).double().mean().item()
    return right, cross_entropy(logits, labels).mean().item()


# Against plain hooks.


@pytest.mark.parametrize("kind", ["zero", "mean", "resample"])
@pytest.mark.parametrize("site", NEURON_SITES)
def test_every_ablation_is_the_hook_it_stands_for(untrained, kind, site):
    groups = {"one": [3], "some": [0, 1, 2, 30], "most": list(range(28))}
    found = ablation(untrained, groups, kind=kind, site=site, seed=2, controls=0)
    frame = found.to_dataframe().set_index(["group", "mode"])
    for name, members in {**groups, ALL: list(range(32))}.items():
        rest = [j for j in range(32) if j not in members]
        for mode, removed in (("remove", members), ("keep", rest)):
            accuracy, loss = removed_by_hooks(untrained, removed, kind, site, 2)
            row = frame.loc[name, mode]
            assert row["accuracy"] == pytest.approx(accuracy)
            assert row["loss"] == pytest.approx(loss, rel=1e-9)
            assert row["loss_ratio"] == pytest.approx(loss / found.loss)
    plain = removed_by_hooks(untrained, [], kind, site)
    assert (found.accuracy, found.loss) == pytest.approx(plain)


def test_a_mean_is_over_all_pairs(untrained):
    values = untrained.run_with_cache(untrained.group.pairs())[1]
    for site in NEURON_SITES:
        found = site_mean(untrained, site, chunk=37)
        torch.testing.assert_close(found, values[site].mean(0).detach())


# What is left can be worked out.


def test_without_neurons_the_answer_is_always_the_same(coset_network):
    """24 answers, one of them right for each pair: exactly 1/24, whatever the rounding."""
    for kind in ("zero", "mean"):
        frame = ablation(coset_network, {"g": [0]}, kind=kind, controls=0).to_dataframe()
        row = frame.set_index(["group", "mode"]).loc[ALL, "remove"]
        assert row["accuracy"] == pytest.approx(1 / 24, abs=1e-12)
    assert math.log(24) - 1e-9 < row["loss"]
    zero = ablation(coset_network, {"g": [0]}, kind="zero", controls=0).to_dataframe()
    assert zero["loss"][0] == pytest.approx(math.log(24))


def test_rounding_is_no_answer(coset_network):
    """Few neurons work here; what is left when they are removed must not be read as logits."""
    unembed = coset_network.W_U.detach().clone()
    unembed[40:] = 0
    network = GroupMLP.from_weights(
        coset_network.group,
        left_table=coset_network.left_table,
        right_table=coset_network.right_table,
        W_U=unembed,
    )
    frame = ablation(network, {"working": list(range(40))}, kind="zero", controls=0).to_dataframe()
    row = frame.set_index(["group", "mode"]).loc["working", "remove"]
    assert row["accuracy"] == pytest.approx(1 / 24, abs=1e-12)
    assert row["loss"] == pytest.approx(math.log(24))


def test_one_of_two_equal_halves_is_enough(coset_network):
    """Every neuron twice, each writing half as much: half the network has half the logits."""
    doubled = GroupMLP.from_weights(
        coset_network.group,
        left_table=coset_network.left_table.repeat(1, 2),
        right_table=coset_network.right_table.repeat(1, 2),
        W_U=coset_network.W_U.repeat(2, 1) / 2,
    )
    first = {"first": list(range(144))}
    frame = ablation(doubled, first, kind="zero", controls=0).to_dataframe()
    frame = frame.set_index(["group", "mode"])
    assert frame.loc["first", "keep"]["accuracy"] == frame.loc["first", "remove"]["accuracy"] == 1
    pairs = coset_network.group.pairs()
    half = cross_entropy(coset_network(pairs) / 2, coset_network.group.products(pairs)).mean()
    assert frame.loc["first", "keep"]["loss"] == pytest.approx(half.item())
    gaps = completeness(doubled, first, kind="zero", parts=2, controls=0, pairs=100).to_dataframe()
    # The other half does its work too: taking the whole group away costs it all, the network none.
    assert gaps["worst_accuracy_gap"].item() == pytest.approx(1 - 1 / 24, abs=0.03)


def test_random_groups_of_neurons_that_are_all_alike_do_as_much():
    """With copies of one neuron, which of them are removed makes no difference."""
    generator = torch.Generator().manual_seed(1)
    column = torch.randn(6, 1, generator=generator, dtype=torch.float64)
    write = torch.randn(1, 6, generator=generator, dtype=torch.float64)
    network = GroupMLP.from_weights(
        cc.group("S3"),
        left_table=column.repeat(1, 8),
        right_table=column.flip(0).repeat(1, 8),
        W_U=write.repeat(8, 1),
    )
    frame = ablation(network, {"g": [0, 1, 2]}, kind="mean", controls=5).to_dataframe()
    part = frame[frame["group"] == "g"]
    for column in ("control", "control_low", "control_high"):
        assert np.allclose(part[column], part["accuracy"], atol=1e-12)
    assert np.allclose(part["control_loss"], part["loss"], rtol=1e-9)


def test_controls_by_hand(untrained):
    groups = {"g": [0, 1, 2, 3, 4]}
    found = ablation(untrained, groups, controls=4, seed=3).to_dataframe()
    named = neuron_sets(CosetAlgorithm().fit(untrained))
    drawn = [named.random(torch.arange(5), 3, d).tolist() for d in range(4)]
    for mode in ("remove", "keep"):
        sets = [x if mode == "remove" else [j for j in range(32) if j not in x] for x in drawn]
        outcomes = np.array([removed_by_hooks(untrained, x, "mean") for x in sets])
        row = found.set_index(["group", "mode"]).loc["g", mode]
        assert row["control"] == pytest.approx(outcomes[:, 0].mean())
        assert row["control_low"] == pytest.approx(outcomes[:, 0].min())
        assert row["control_high"] == pytest.approx(outcomes[:, 0].max())
        assert row["control_loss"] == pytest.approx(outcomes[:, 1].mean())


# By threshold.


def test_the_least_concentration_by_brute_force(coset_network, gcr_network, untrained):
    for network in (coset_network, gcr_network, untrained):
        group = network.group
        subgroups = [h for h in group.subgroups if not h.is_trivial and not h.is_whole]
        left, right = (t.detach() for t in (network.left_table, network.right_table))
        expected = torch.maximum(
            torch.stack([concentration(left, h.right_cosets) for h in subgroups]).amin(0),
            torch.stack([concentration(right, h.left_cosets) for h in subgroups]).amin(0),
        )
        found = CosetAlgorithm().fit(network).roles.to_dataframe()["concentration"]
        assert np.allclose(found, expected, rtol=1e-6, atol=1e-12)
    # Nothing concentrates where nothing was learnt; a planted circuit does entirely.
    assert found.min() > 0.5
    planted = CosetAlgorithm().fit(coset_network).roles.to_dataframe()["concentration"]
    assert planted.max() < 1e-20


@pytest.mark.parametrize("kind", ["zero", "mean"])
def test_above_and_below_a_threshold(coset_network, gcr_network, kind):
    """Coset neurons and others in one network: a threshold takes one kind away."""
    join = [
        torch.cat([getattr(one, name), getattr(two, name)], -1).detach()
        for name in ("left_table", "right_table")
        for one, two in [(coset_network, gcr_network)]
    ]
    network = GroupMLP.from_weights(
        coset_network.group,
        left_table=join[0],
        right_table=join[1],
        W_U=torch.cat([coset_network.W_U, gcr_network.W_U]).detach(),
    )
    found = ablation_by_threshold(
        CosetAlgorithm().fit(network), kind=kind, levels=[1e-3], controls=3
    )
    frame = found.to_dataframe().set_index("side")
    assert frame["neurons"].to_dict() == {"above": 54, "below": 144}
    for side, removed in (("above", range(144, 198)), ("below", range(144))):
        accuracy, loss = removed_by_hooks(network, list(removed), kind)
        assert frame.loc[side, "accuracy"] == pytest.approx(accuracy)
        assert frame.loc[side, "loss"] == pytest.approx(loss)
    assert frame.loc["above", "accuracy"] == 1 > frame.loc["below", "accuracy"]


def test_the_papers_levels_are_the_default(circuit):
    found = ablation_by_threshold(circuit, controls=1, pairs=48)
    frame = found.to_dataframe()
    levels = [1, 0.5, 0.1, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8]
    assert frame["threshold"].tolist() == [level for level in levels for _ in range(2)]
    both = frame.groupby("threshold")["neurons"].sum()
    assert (both == 144).all()
    # All neurons are at most any of them: nothing to remove above, all below.
    assert set(frame[frame["side"] == "above"]["neurons"]) == {0}
    assert (frame[frame["side"] == "above"]["accuracy"] == 1).all()
    assert frame[["control"]].isna().to_numpy().all()


def test_a_neuron_at_the_threshold_is_below_it(untrained):
    circuit = CosetAlgorithm().fit(untrained)
    values = circuit.roles.to_dataframe()["concentration"].sort_values()
    found = ablation_by_threshold(circuit, levels=[values.iloc[9]], controls=0, pairs=24)
    assert found.to_dataframe()["neurons"].tolist() == [22, 10]


def test_any_measurement_of_any_hypothesis_cuts(gcr_network):
    circuit = IrrepAlgorithm().fit(gcr_network)
    found = ablation_by_threshold(circuit, "fvu_left", levels=[0.01], controls=1, pairs=48)
    assert found.to_dataframe()["neurons"].tolist() == [0, 54]
    with pytest.raises(CosetCircuitsError, match=r"no measurements 'role' .*fvu_left, fvu_right"):
        ablation_by_threshold(circuit, "role")
    with pytest.raises(CosetCircuitsError, match="no measurements 'concentration'"):
        ablation_by_threshold(circuit)


def test_nothing_of_a_memorised_network_concentrates():
    circuit = CosetAlgorithm().fit(cc.load("s5_memorised"))
    found = ablation_by_threshold(circuit, levels=[1e-3], controls=1, pairs=1200).to_dataframe()
    assert found["neurons"].tolist() == [128, 0]
    assert found["accuracy"][0] == pytest.approx(1 / 120, abs=0.01)


# Completeness and minimality.


def test_all_neurons_together_are_complete(untrained):
    frame = completeness(untrained, {"all of them": list(range(32))}, parts=3, controls=1)
    row = frame.to_dataframe().iloc[0]
    assert row["accuracy_gap"] == row["loss_gap"] == row["worst_loss_gap"] == 0


def test_completeness_by_hand(untrained):
    members = [0, 1, 2, 3, 4, 5, 6, 7]
    found = completeness(untrained, {"g": members}, parts=4, controls=0, seed=5).to_dataframe()
    gaps = []
    for number in range(5):
        rng = np.random.default_rng([5, number, *members])
        chosen = np.array(members)[rng.random(8) < 0.5].tolist() if number < 4 else members
        alone = removed_by_hooks(untrained, [*range(8, 32), *chosen], "mean")
        whole = removed_by_hooks(untrained, chosen, "mean")
        gaps.append([abs(alone[0] - whole[0]), abs(math.log10(alone[1] / whole[1]))])
    gaps = np.array(gaps)
    expected = [gaps[:, 0].mean(), gaps[:, 0].max(), gaps[:, 1].mean(), gaps[:, 1].max()]
    columns = ["accuracy_gap", "worst_accuracy_gap", "loss_gap", "worst_loss_gap"]
    assert found[columns].iloc[0].tolist() == pytest.approx(expected)


def test_minimality_is_greedy(coset_network):
    """By the definition, step by step, with plain hooks."""
    groups = {f"block {i}": list(range(24 * i, 24 * i + 24)) for i in range(6)}
    found = minimality(coset_network, groups, kind="zero", controls=1)
    frame = found.to_dataframe()
    waiting, kept = dict(groups), []
    for row in frame.to_dict("records"):

        def outcome(name, kept=tuple(kept)):
            removed = [j for j in range(144) if j not in {*kept, *waiting[name]}]
            return removed_by_hooks(coset_network, removed, "zero")

        best = min(waiting, key=lambda name, outcome=outcome: outcome(name)[1])
        # Conjugates are alike, so two blocks may be equally good.
        assert outcome(row["group"])[1] == pytest.approx(outcome(best)[1])
        assert row["accuracy"] == pytest.approx(outcome(row["group"])[0])
        kept += waiting.pop(row["group"])
        assert row["neurons"] == len(kept)
        assert row["enough"] == (row["accuracy"] >= 0.99)
    assert frame["neurons"].tolist() == [24 * k for k in range(1, 7)]
    assert frame["accuracy"].iloc[-1] == 1 and not frame["enough"].iloc[0]


def test_neurons_that_do_nothing_come_last(coset_network):
    unembed = coset_network.W_U.detach().clone()
    unembed[:24] = 0
    network = GroupMLP.from_weights(
        coset_network.group,
        left_table=coset_network.left_table,
        right_table=coset_network.right_table,
        W_U=unembed,
    )
    found = minimality(network, CosetAlgorithm().fit(network), kind="zero", controls=0)
    assert found.to_dataframe()["group"].tolist() == ["C2", "negligible"]


# Samples, chance and what does not matter.


def test_where_nothing_is_drawn_there_is_no_interval(untrained):
    groups = {"g": list(range(16))}
    for kind in ("zero", "mean"):
        frame = ablation(untrained, groups, kind=kind, controls=0).to_dataframe()
        assert frame[["low", "high"]].isna().to_numpy().all()
    for options in ({"kind": "resample"}, {"pairs": 240}):
        frame = ablation(untrained, groups, controls=0, **options).to_dataframe()
        part = frame[frame["group"] == "g"]
        assert ((part["low"] <= part["accuracy"]) & (part["accuracy"] <= part["high"])).all()


def test_the_chunk_changes_nothing(untrained):
    groups = {"g": [0, 1, 2], "h": list(range(20))}
    for kind in ("mean", "resample"):
        one, two = (
            ablation(untrained, groups, kind=kind, controls=2, chunk=c) for c in (10_000, 100)
        )
        pd.testing.assert_frame_equal(one.rows, two.rows, rtol=1e-12)
        again = ablation(untrained, groups, kind=kind, controls=2, chunk=100)
        assert again.rows.equals(two.rows)
    other = ablation(untrained, groups, kind="resample", controls=2, seed=1)
    assert not other.rows.equals(one.rows)


def test_a_surrogate_can_be_ablated(coset_network):
    for even in (False, True):
        surrogate = CosetAlgorithm(even=even).fit(coset_network).surrogate()
        frame = ablation(surrogate, {"g": list(range(50))}, controls=0, pairs=96).to_dataframe()
        assert frame.set_index(["group", "mode"]).loc[ALL, "keep"]["accuracy"] == 1


def test_arguments_that_make_no_sense(untrained, unchecked):
    for arguments, said in (
        ({"kind": "burn"}, "'burn' is not a kind of ablation; choose one of zero, mean, resample"),
        ({"site": "hook_logits"}, "'hook_logits' is not a site for this experiment"),
        ({"controls": -1}, "The number of controls is -1"),
        ({"pairs": 0}, "The number of pairs is 0"),
    ):
        with pytest.raises(CosetCircuitsError, match=said):
            ablation(untrained, {"g": [0]}, **arguments)
    with pytest.raises(CosetCircuitsError, match="The number of parts is 0"):
        completeness(untrained, {"g": [0]}, parts=0)


def test_it_says_what_it_is(untrained):
    found = ablation(untrained, {"g": [0]}, controls=0)
    assert "necessity and sufficiency of network, mean at hook_post, all 576 pairs" in str(found)
    assert repr(found).startswith("Ablation(") and "<table" in found._repr_html_()


@pytest.mark.parametrize("experiment", [ablation, completeness, minimality])
def test_a_broken_ablation_leaves_nothing_behind(untrained, experiment):
    before = {k: v.clone() for k, v in untrained.state_dict().items()}

    def broken(*told):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        experiment(untrained, {"g": [0]}, progress=broken)
    assert untrained.list_hooks() == {}
    assert all(torch.equal(v, before[k]) for k, v in untrained.state_dict().items())
