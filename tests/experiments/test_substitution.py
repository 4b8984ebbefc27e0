"""A circuit in its network's place: exact where it is right, nothing where it is relabelled."""

import pytest
import torch

import coset_circuits as cc
from coset_circuits.experiments import substitution


def test_a_planted_circuit_replaces_every_site(coset_network):
    found = substitution(cc.CosetAlgorithm().fit(coset_network)).to_dataframe().set_index("part")
    assert (found["accuracy"] == 1).all()
    assert (found["logit_r2"] > 1 - 1e-9).all()
    assert found.loc["surrogate alone", "control_accuracy"] < 0.2


@torch.no_grad()
def test_each_row_is_the_hook_written_by_hand():
    network = cc.load("s4", dtype=torch.float64).requires_grad_(False)
    circuit = cc.CosetAlgorithm().fit(network)
    pairs = network.group.pairs()
    labels = network.group.products(pairs)
    found = substitution(circuit)
    _, cache = circuit.surrogate().run_with_cache(pairs)
    for site in ("hook_left_pre", "hook_right_pre", "hook_pre", "hook_post"):
        logits = network.run_with_hooks(
            pairs, fwd_hooks=[(site, lambda value, hook: cache[hook.name])]
        )
        outcome = found.rows[site][1]
        assert outcome.accuracy == float((logits.argmax(1) == labels).double().mean())
        expected = torch.nn.functional.cross_entropy(logits, labels)
        assert outcome.loss == pytest.approx(float(expected), rel=1e-6)
    whole = circuit.surrogate()(pairs)
    assert found.rows["surrogate alone"][1].loss == pytest.approx(
        float(torch.nn.functional.cross_entropy(whole, labels)), rel=1e-6
    )


def test_claims_have_rows_of_their_own_and_the_unembedding_is_to_blame():
    found = substitution(cc.CosetAlgorithm().fit(cc.load("s5"))).to_dataframe().set_index("part")
    claims = found[found["kind"] == "claim"]
    assert set(claims.index) == {"claim left", "claim right", "claim unembed"}
    assert claims["loss_ratio"].idxmax() == "claim unembed"
    # Both pre-activations are the tables, which two claims replace one at a time.
    assert found.loc["hook_left_pre", "loss"] == pytest.approx(found.loc["claim left", "loss"])
    assert found.loc["hook_pre", "loss"] == pytest.approx(
        found.loc["hook_left_pre + hook_right_pre", "loss"]
    )


def test_silent_sites_are_left_out():
    circuit = cc.IrrepAlgorithm("bilinear").fit(cc.load("s4"))
    parts = set(substitution(circuit).to_dataframe()["part"])
    assert not parts & circuit.silent
    assert "surrogate alone" in parts


def test_a_memorised_network_is_replaced_by_nothing():
    found = substitution(cc.CosetAlgorithm().fit(cc.load("s5_memorised"))).to_dataframe()
    whole = found.set_index("part").loc["surrogate alone"]
    assert whole["accuracy"] < 0.05
    assert abs(whole["logit_r2"]) < 0.1


def test_it_prints_its_base_and_leaves_no_hooks():
    network = cc.load("s4")
    text = str(substitution(cc.CosetAlgorithm().fit(network)))
    assert "base accuracy 1.0000" in text
    assert not any(point.has_hooks() for point in network.hook_points())
