"""The shipped networks are what their cards say, and the main job says of them what is true."""

import hashlib
import json

import pytest
import torch

import coset_circuits as cc
from coset_circuits.networks import cross_entropy
from coset_circuits.training import split

CLEAN = ("s5", "s5_b", "s5_a4", "s4")
ALL_RIGHT = (*CLEAN, "s5_paper", "s6", "a5", "d30", "s5_transformer")


def figures(network, pairs):
    labels = network.group.products(pairs)
    with torch.no_grad():
        logits = network(pairs)
    return float((logits.argmax(1) == labels).double().mean()), cross_entropy(logits, labels)


@pytest.mark.parametrize("name", cc.shipped())
def test_the_card_is_true(name):
    path = cc.shipped()[name]
    card = json.loads(path.with_suffix(".json").read_text())
    assert hashlib.sha256(path.read_bytes()).hexdigest() == card["sha256"]
    network = cc.load(name, dtype=torch.float64)
    provenance = card["provenance"]
    assert provenance["command"].startswith(f"coset-circuits train {network.group.name} --seeds ")
    last = provenance["curve"][-1]
    assert last["step"] == provenance["steps"]
    total = sum(figures(network, p)[1].sum() for p in network.group.pairs().split(40_000))
    assert float(total) / network.group.order**2 == pytest.approx(last["loss"], rel=1e-3)


@pytest.mark.parametrize("name", ALL_RIGHT)
def test_grokked_networks_are_right_everywhere(name):
    network = cc.load(name)
    for pairs in network.group.pairs().split(40_000):
        assert figures(network, pairs)[0] == 1.0


@pytest.mark.parametrize("name", CLEAN)
def test_clean_networks_have_small_losses_and_clean_cosets(name):
    network = cc.load(name, dtype=torch.float64)
    losses = figures(network, network.group.pairs())[1]
    assert float(losses.mean()) < 1e-5
    roles = cc.CosetAlgorithm().fit(network).roles
    assert roles.coverage > 0.95
    frame = roles.to_dataframe().query("role not in ('unexplained', 'negligible')")
    assert frame["fvu_left"].median() < 1e-4
    assert frame["fvu_right"].median() < 1e-4


def test_the_recipes_are_those_that_the_docs_name():
    paper = cc.load("s5_paper").provenance
    assert (paper["recipe"]["name"], paper["steps"]) == ("paper", 250_000)
    s6 = cc.load("s6").provenance["recipe"]
    assert (s6["d_mlp"], s6["d_embed"], s6["batch_size"]) == (256, 512, 16_384)
    a4 = cc.CosetAlgorithm().fit(cc.load("s5_a4")).roles.to_dataframe()
    assert (a4["role"] == "A4").mean() > 0.4


def test_the_transformers_attention_routes_and_its_neurons_are_cosets():
    network = cc.load("s5_transformer", dtype=torch.float64)
    assert isinstance(network, cc.GroupTransformer)
    assert network.additive_share > 0.9999
    assert cc.CosetAlgorithm(thresholds=cc.Thresholds(fvu=1e-2)).fit(network).roles.coverage > 0.95


def test_the_memorised_network_knows_its_training_pairs_only():
    network = cc.load("s5_memorised")
    train, test = split(network.group, 0.4, network.seed)
    assert figures(network, train)[0] == 1.0
    assert figures(network, test)[0] < 0.01


@pytest.mark.slow
def test_cosets_and_full_irreps_predict_s5_and_the_bilinear_reading_is_refuted():
    comparison = cc.compare(cc.load("s5"), ["coset", "irrep", "bilinear"])
    assert comparison.verdict.explained_by
    assert "bilinear" in comparison.verdict.refuted
    bits = {c.name: c.bits[comparison.fidelity.delta] for c in comparison.candidates}
    assert max(bits["coset"], bits["irrep"]) < 0.5 * bits["dull null"]
    for control in (c for c in comparison.candidates if c.kind == "control"):
        assert control.circuit.roles.coverage == 0
        assert bits[control.name] > 0.99 * bits["raw weights"]


@pytest.mark.slow
def test_nothing_explains_the_memorised_network():
    comparison = cc.compare(cc.load("s5_memorised"))
    assert comparison.verdict.explained_by == ()
