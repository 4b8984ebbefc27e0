"""What is said of a network is said of the weights that were analysed."""

import json

import pytest
import torch
from safetensors.torch import save_file

import coset_circuits as cc
from coset_circuits.networks import planted_coset
from coset_circuits.networks.checkpoints import weights_sha256
from coset_circuits.report.repeat import one_row, whole_comparison
from coset_circuits.training import training_pairs

COSET = [cc.CosetAlgorithm()]


def test_an_edited_network_is_not_the_file_that_it_was_read_from(tmp_path):
    network, file = cc.load("s4"), cc.load("s4").provenance["sha256"]
    assert weights_sha256(network) == file
    network.W_U.data[:, :5] = 0
    comparison = cc.compare(network, COSET)
    facts = comparison.to_dict()["network"]
    assert facts["accuracy"] < 1 and facts["name"] == "s4 (edited)"
    assert facts["sha256"] == network.content() != file
    assert facts["source"].endswith("edited since") and "edited since" in repr(network)
    assert training_pairs(cc.load("s4")) is not None is training_pairs(comparison.network)
    assert "cc.load(" not in whole_comparison(comparison)
    again = cc.load(cc.save(network, tmp_path / "mine.safetensors"))
    assert again.label == "s4 (edited)" and "command" not in again.provenance
    assert network.label == "s4" and "command" in network.provenance


@pytest.mark.parametrize("change", ["nothing", "dtype", "label"])
def test_what_leaves_the_weights_as_they_are_leaves_their_origin(change):
    network = cc.load("s4")
    if change == "dtype":
        network = network.double()
    if change == "label":
        network.label = "mine"
    label, known = network.identity()
    assert known == network.provenance and label == network.label


def test_another_activation_and_another_group_are_edits_too():
    for name in ("activation", "group"):
        network, other = cc.load("s4"), cc.GroupMLP.initialised(cc.group("S4"), act_fn="gelu")
        before = network.content()
        other.group = cc.group("S4").relabelled(torch.randperm(24))
        setattr(network, name, getattr(other, name))
        assert network.content() != before and network.identity()[0] == "s4 (edited)"


def test_the_line_repeats_thresholds_order_experiments_and_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = planted_coset(cc.group("S3"), "C2")
    tables = {name: getattr(given, name).detach() for name in ("left_table", "right_table", "W_U")}
    save_file(tables, "mine.safetensors")
    network = cc.load("mine.safetensors", order="lexicographic")
    network.label = "s4"
    thresholds = cc.Thresholds(fvu=0.02, relative_errors=(0.2, 0.1))
    algorithms = ["coset", cc.IrrepAlgorithm(thresholds=thresholds)]
    comparison = cc.compare(
        network, algorithms, seed=3, thresholds=thresholds, experiments=["substitution"]
    )
    line = whole_comparison(comparison)
    assert "cc.load(\"mine.safetensors\", order='lexicographic')" in line and "#" not in line
    exec(line, {})
    again = json.loads((tmp_path / "report" / "findings.json").read_text())
    first = json.loads(json.dumps(comparison.to_dict()))
    for part in ("findings", "thresholds", "circuits", "fidelity", "seed"):
        assert again[part] == first[part]


def test_the_line_says_what_it_cannot_repeat():
    network = cc.train("S3", 5, architecture="transformer", d_mlp=8, max_steps=2)
    comparison = cc.compare(network, COSET)
    for line in (whole_comparison(comparison), one_row(comparison, "base")):
        code, comment = line.split("#")
        assert "network" in code and "cc.load" not in code
        assert "coset-circuits train S3 --seeds 5 --recipe fast --architecture" in comment


def test_no_command_trains_a_group_that_only_a_table_gives():
    table = cc.FiniteGroup.from_table(cc.group("S3").table, name="mine")
    network = cc.train(table, 0, d_mlp=8, max_steps=2)
    assert "command" not in network.provenance
    assert "trained by coset_circuits" in whole_comparison(cc.compare(network, COSET))
