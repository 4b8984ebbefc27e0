"""Interchange interventions where the high-level model is known to be right, or wrong."""

import dataclasses
import math
from collections import Counter

import numpy as np
import pytest
import torch

import coset_circuits as cc
from coset_circuits import CosetAlgorithm, CosetCircuitsError, IrrepAlgorithm
from coset_circuits.experiments.controls import relabelled_group
from coset_circuits.experiments.counterfactuals import (
    CellDonors,
    shuffled,
    source_pairs,
)
from coset_circuits.experiments.interchange import CIRCUIT, CONTROLS, GROUP_LAW, interchange
from coset_circuits.experiments.neuron_sets import ALL, neuron_sets
from coset_circuits.experiments.resampling import intersected
from coset_circuits.networks import NEURON_SITES, SilentSiteError

COLUMNS = ["iia", "moved", "iia_moved", "change_r2"]


@pytest.fixture(scope="module")
def circuit(coset_network):
    return CosetAlgorithm().fit(coset_network)


@pytest.fixture(scope="module")
def few(circuit):
    """Neurons of three shared cosets, and a third of all neurons."""
    shared = list(neuron_sets(circuit, "hook_post"))[:3]
    return {**{name: x.tolist() for name, x in shared}, "third": list(range(48))}


@pytest.fixture(scope="module")
def found(circuit, few):
    return interchange(circuit, few)


# A network that is what the hypothesis says.


def test_a_planted_circuit_is_followed_exactly(found, few):
    frame = found.to_dataframe()
    own = frame[frame["model"] == CIRCUIT]
    assert len(own) == len(NEURON_SITES) * (1 + len(few))
    assert own["change_r2"].min() > 1 - 1e-9
    assert own["iia"].min() > 0.98 and own[own["group"] == "third"]["moved"].min() > 0.2
    law = frame[frame["model"] == GROUP_LAW]
    assert set(law["group"]) == {ALL} and (law["iia"] == 1).all() and (law["iia_moved"] == 1).all()


def test_the_controls_are_not_followed(found):
    frame = found.to_dataframe().query("group == 'third'").set_index(["site", "model"])
    for site in NEURON_SITES:
        cell = frame.loc[site]
        assert cell.loc["no interchange", "iia_moved"] == 0
        assert cell.loc["no interchange", "change_r2"] == pytest.approx(0)
        for control in ("random group", "shuffled variable", "relabelled group"):
            assert cell.loc[control, "iia_moved"] < cell.loc[CIRCUIT, "iia_moved"] - 0.2
            assert cell.loc[control, "change_r2"] < 0.6
    assert (found.table()["verdict"][found.table()["group"] == "third"] == "").all()


def test_an_interchange_that_moves_nothing_is_vacuous(circuit, coset_network):
    """One neuron of 144: no answer depends on it, and the figure says nothing."""
    found = interchange(circuit, {"one": [0]}, sites=["hook_post"], controls=1)
    row = found.table().set_index("group").loc["one"]
    assert row["moved"] <= 0.01 and row["verdict"] == "vacuous"
    logits = found.table("change_r2").set_index("group").loc["one"]
    assert logits[CIRCUIT] > 1 - 1e-9 and logits["random group"] < 0.5


def test_sources_of_the_same_coset_change_nothing(found, few):
    """Left on right cosets, right on left cosets: exactly. Random classes of equal size do."""
    table = found.same_class_table().set_index(["site", "group", "model"])
    for site in ("hook_left_pre", "hook_right_pre", "hook_pre"):
        for group in few:
            own = table.loc[site, group, CIRCUIT]
            assert own["kept"] == 1 and own["change"] < 1e-12
            if group != "third":
                random = table.loc[site, group, "random classes"]
                assert random["change"] > 0.3
                assert random["freedom"] == pytest.approx(own["freedom"])
                # One H of order 2: a may move to one other element.
                assert own["freedom"] == pytest.approx(math.log(2) / math.log(24))


def test_a_class_that_holds_nothing_else_has_no_freedom(circuit):
    """Neurons of all conjugates: their cosets have one element in common."""
    table = interchange(circuit, sites=["hook_left_pre"], controls=0).same_class_table()
    assert (table["freedom"].abs() < 1e-12).all() and (table["change"] == 0).all()


# By hand.


@pytest.mark.parametrize("site", NEURON_SITES)
def test_every_figure_by_hooks_and_loops(untrained, site):
    """A hypothesis that is half wrong here, so that no figure is 0 or 1."""
    network, seed = untrained, 5
    circuit = cc.DullNull(levels=3).fit(network)
    members = list(range(0, 32, 2))
    other = cc.DullNull(levels=5).fit(network)
    found = interchange(
        circuit, {"g": members}, sites=[site], seed=seed, controls=0, relabelled=other
    )
    rows = found.to_dataframe().query("group == 'g'").set_index("model")
    pairs = network.group.pairs()

    def put(model, source):
        donor = model.run_with_cache(source)[1][site]

        def hook(value, hook):
            patched = value.clone()
            patched[:, members] = donor[:, members]
            return patched

        return model.run_with_hooks(pairs, fwd_hooks=[(site, hook)]).detach()

    source = source_pairs(network.group, pairs, seed)
    unrelated = source_pairs(network.group, pairs, seed, shuffled=True)
    surrogate = circuit.surrogate()
    low, low_base = put(network, source), network(pairs).detach()
    for name, model, high in (
        (CIRCUIT, surrogate, put(surrogate, source)),
        ("shuffled variable", surrogate, put(surrogate, unrelated)),
        ("relabelled group", other.surrogate(), put(other.surrogate(), source)),
        ("no interchange", surrogate, surrogate(pairs).detach()),
    ):
        high_base = model(pairs).detach()
        counts = Counter()
        error = energy = 0.0
        for i in range(len(pairs)):
            agree = bool(low[i].argmax() == high[i].argmax())
            moved = bool(low[i].argmax() != low_base[i].argmax())
            either = moved or bool(high[i].argmax() != high_base[i].argmax())
            counts.update(agree=agree, moved=moved, either=either, both=agree and either)
            change, guess = low[i] - low_base[i], high[i] - high_base[i]
            change, guess = change - change.mean(), guess - guess.mean()
            error += float((change - guess).square().sum())
            energy += float(change.square().sum())
        row = rows.loc[name]
        assert row["iia"] == pytest.approx(counts["agree"] / 576)
        assert row["moved"] == pytest.approx(counts["moved"] / 576)
        assert row["iia_moved"] == pytest.approx(counts["both"] / counts["either"])
        assert row["change_r2"] == pytest.approx(1 - error / energy)
        assert row["low"] <= row["iia_moved"] <= row["high"]
    assert 0.05 < rows.loc[CIRCUIT, "iia_moved"] < 0.99


@pytest.mark.parametrize("name", ["S3", "D5"])
def test_donors_lie_in_the_cell_and_are_drawn_alike(name):
    group = cc.group(name)
    n = group.order
    generator = torch.Generator().manual_seed(0)
    left, right, product = (torch.randint(k, (n,), generator=generator) for k in (3, 2, 2))
    pairs = group.pairs()
    for labels in (
        {"left": left},
        {"right": right},
        {"product": product},
        {"left": left, "right": right},
        {"left": left, "product": product},
        {"right": right, "product": product},
        {"left": left, "right": right, "product": product},
        {},
    ):
        donors = CellDonors(group, **labels)

        def cell(pair, labels=labels):
            a, b = pair
            at = {"left": a, "right": b, "product": int(group.table[a, b])}
            return tuple(int(labels[side][at[side]]) for side in labels)

        cells = Counter(cell(pair) for pair in pairs.tolist())
        seen = Counter()
        for seed in range(200):
            drawn = donors.draw(pairs[:1], seed)[0].tolist()
            assert cell(drawn) == cell(pairs[0].tolist())
            seen[tuple(drawn)] += 1
        size = cells[cell(pairs[0].tolist())]
        # 200 draws from a cell of this size: no member is drawn wildly often.
        assert max(seen.values()) < 200 / size + 6 * math.sqrt(200 / size) + 1
        assert len(seen) > 0.8 * size * (1 - (1 - 1 / size) ** 200)
        whole = donors.draw(pairs, 3)
        assert torch.equal(whole[4:9], donors.draw(pairs[4:9], 3))
        entropy = sum(k / n**2 * math.log(k) for k in cells.values())
        assert donors.freedom() == pytest.approx(entropy / math.log(n**2))
        # H(a | cell) = Σ p(cell) H(a within it), cell by cell.
        for column, side in enumerate(("left", "right")):
            entropy = 0.0
            for one, size in cells.items():
                inside = Counter(p[column] for p in pairs.tolist() if cell(p) == one)
                entropy -= sum(k / n**2 * math.log(k / size) for k in inside.values())
            assert donors.freedom(side) == pytest.approx(entropy / math.log(n))


def test_joint_and_shuffled_cells():
    labels = torch.tensor([[0, 0], [0, 1], [0, 0], [1, 0], [1, 0]])
    joint = intersected(labels)
    assert [joint[i].item() == joint[j].item() for i, j in ((0, 2), (3, 4), (0, 1), (0, 3))] == [
        True,
        True,
        False,
        False,
    ]
    assert shuffled(None, 0) is None
    other = shuffled(joint, 3)
    assert sorted(other.tolist()) == sorted(joint.tolist()) and not torch.equal(other, joint)


# Hypotheses that are wrong, silent, or say nothing of classes.


def test_a_hypothesis_that_explains_nothing_predicts_no_change(gcr_network, untrained):
    for network in (gcr_network, untrained):
        circuit = CosetAlgorithm().fit(network)
        assert set(circuit.roles.names) == {"unexplained"}
        found = interchange(circuit, controls=1)
        own = found.to_dataframe().query("model == @CIRCUIT")
        assert np.allclose(own["change_r2"], 0, atol=1e-9)
        assert len(found.same_class_table()) == 0


def test_the_memorised_network_follows_nothing():
    circuit = CosetAlgorithm().fit(cc.load("s5_memorised"))
    found = interchange(circuit, sites=["hook_left_pre"], controls=1, pairs=1200)
    own = found.to_dataframe().query("model == @CIRCUIT")
    assert own["change_r2"].max() < 0.05
    assert (found.table()["verdict"] == "no better").all()


def test_irreps_are_followed_on_their_own_network(gcr_network):
    projected = interchange(IrrepAlgorithm().fit(gcr_network), {"half": list(range(27))})
    own = projected.to_dataframe().query("model == @CIRCUIT")
    assert own["change_r2"].min() > 1 - 1e-9
    bilinear = interchange(IrrepAlgorithm("bilinear").fit(gcr_network), {"half": list(range(27))})
    rows = bilinear.to_dataframe().query("model == @CIRCUIT and group == 'all'")
    assert list(rows["site"]) == ["hook_left_pre", "hook_right_pre"]
    # One temperature is fitted in steps, so the size of the logits is not exact.
    assert rows["change_r2"].min() > 0.9 and rows["iia_moved"].min() > 0.99


def test_a_silent_site_is_refused(gcr_network):
    circuit = IrrepAlgorithm("bilinear").fit(gcr_network)
    with pytest.raises(SilentSiteError, match="irrep-bilinear is silent at hook_post"):
        interchange(circuit, sites=["hook_post"])


def test_sites_without_neurons_are_refused(circuit):
    with pytest.raises(CosetCircuitsError, match="'hook_logits' is not a site for this experiment"):
        interchange(circuit, sites=["hook_logits"])
    with pytest.raises(CosetCircuitsError, match="number of controls is -2"):
        interchange(circuit, controls=-2)


def test_a_relabelled_circuit_of_another_network_is_refused(circuit, untrained):
    with pytest.raises(CosetCircuitsError, match="was fitted to network, which is not this"):
        interchange(circuit, relabelled=CosetAlgorithm().fit(untrained))


def test_a_hypothesis_without_classes_says_so(circuit, few):
    silent = dataclasses.replace(circuit, site_classes={})
    found = interchange(silent, few, sites=["hook_pre"], controls=1)
    assert found.notes == ("coset names no classes at hook_pre: no source of the same class.",)
    assert len(found.same_class_table()) == 0
    assert set(found.to_dataframe()["variable"]) == {"values"}


def test_without_an_algorithm_the_relabelled_control_is_missed_aloud(circuit, few):
    orphan = dataclasses.replace(circuit, algorithm=None)
    found = interchange(orphan, few, sites=["hook_pre"], controls=1)
    assert "relabelled group" not in set(found.to_dataframe()["model"])
    assert "does not name the algorithm that fitted it (or give relabelled=" in found.notes[0]
    group = relabelled_group(circuit.network.group, 0)
    given = interchange(
        orphan, few, sites=["hook_pre"], controls=1, relabelled=CosetAlgorithm().fit(
            circuit.network, group)
    )  # fmt: skip
    plain = interchange(circuit, few, sites=["hook_pre"], controls=1)
    assert given.to_dataframe().equals(plain.to_dataframe())


# What does not matter.


def test_the_chunk_changes_nothing(circuit, few):
    one, two = (
        interchange(circuit, few, sites=["hook_pre"], controls=2, chunk=c) for c in (10_000, 150)
    )
    torch.testing.assert_close(one.sums, two.sums, rtol=1e-9, atol=1e-9)
    again = interchange(circuit, few, sites=["hook_pre"], controls=2, chunk=150)
    assert torch.equal(again.sums, two.sums)
    assert again.same_class_table().equals(two.same_class_table())
    other = interchange(circuit, few, sites=["hook_pre"], controls=2, chunk=150, seed=1)
    assert not torch.equal(other.sums, two.sums)


def test_it_says_what_it_is(found):
    assert "interchange interventions of coset on planted-coset-S4-C2, all 576 pairs" in str(found)
    assert repr(found).startswith("Interchange(") and "<table" in found._repr_html_()
    frame = found.to_dataframe()
    assert set(frame["variable"]) == {"right cosets", "left cosets", "both cosets", "double cosets"}
    assert set(frame["model"]) == {CIRCUIT, *CONTROLS, GROUP_LAW}


def test_a_broken_interchange_leaves_nothing_behind(circuit):
    network = circuit.network
    before = {k: v.clone() for k, v in network.state_dict().items()}

    def broken(*told):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interchange(circuit, progress=broken)
    assert network.list_hooks() == {}
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
