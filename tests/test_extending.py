"""A hypothesis, an experiment, an architecture: each one file and one registration."""

import dataclasses
import json

import pytest
import torch
from toys.architecture import SkipReader
from toys.experiment import LogitSize
from toys.hypothesis import IdentityAlgorithm

import coset_circuits as cc
from coset_circuits.algorithms import Tables
from coset_circuits.experiments import EXPERIMENTS
from coset_circuits.networks import checkpoints, planted_coset


@pytest.fixture(scope="module")
def network():
    return planted_coset(cc.group("S3"), "C2")


@pytest.fixture
def registered(monkeypatch):
    """One line for each: this is all that a user or a developer has to do."""
    monkeypatch.setitem(cc.ALGORITHMS, "toy", (IdentityAlgorithm(),))
    monkeypatch.setitem(EXPERIMENTS, "logit_size", LogitSize())
    monkeypatch.setattr(checkpoints, "READERS", [*checkpoints.READERS, SkipReader()])


def test_a_new_hypothesis_and_experiment_are_compared(registered, network):
    default = cc.compare(network)
    assert "toy" in [c.key for c in default.hypotheses]
    chosen = cc.compare(
        network, [cc.CosetAlgorithm(), IdentityAlgorithm()], experiments=["logit_size"]
    )
    assert [c.key for c in chosen.hypotheses] == ["coset", "identity-reader"]
    # Two levels are not what a coset circuit reads: the rule says so of the toy, too.
    assert chosen.verdict.explained_by == ("coset",)
    findings = [f for f in chosen.to_dict()["findings"] if f["experiment"] == "logit_size"]
    assert [f["subject"] for f in findings] == ["coset", "identity-reader"]
    coset = findings[0]
    assert coset["value"] == pytest.approx(coset["control"]["value"], rel=1e-9)
    circuits = {c["algorithm"]: c for c in chosen.to_dict()["circuits"]}
    assert circuits["identity-reader, relabelled"]["of"] == "identity-reader"


def test_they_are_in_the_report(registered, network, tmp_path):
    comparison = cc.compare(
        network, [cc.CosetAlgorithm(), IdentityAlgorithm()], experiments=["logit_size"]
    )
    comparison.save(tmp_path)
    page = (tmp_path / "report.html").read_text()
    for words in ("identity-reader", "size of the logits"):
        assert words in page.replace("<wbr>", "")
        assert words in " ".join(comparison.tables().split()).lower()


def test_they_are_compared_across_networks(registered, network, tmp_path):
    networks = [network, cc.GroupMLP.initialised(cc.group("S3"), d_mlp=18, seed=1)]
    for number, one in enumerate(networks):
        one.label = f"network {number}"
    hypotheses = [cc.CosetAlgorithm(), IdentityAlgorithm()]
    ensemble = cc.compare(networks, hypotheses, experiments=["logit_size"], out=tmp_path)
    rows = ensemble.across_dataframe().query("experiment == 'logit_size'")
    assert set(rows["algorithm"]) == {"coset", "identity-reader"}
    assert set(rows["networks"]) == {2} and rows["control"].notna().all()
    again = cc.compare(networks, hypotheses, experiments=["logit_size"], out=tmp_path)
    assert again.to_dict() == ensemble.to_dict()
    assert "logit_size" in ensemble.tables().lower()


def test_the_command_knows_them(registered, network, tmp_path, command):
    path = cc.save(network, tmp_path / "network.safetensors")
    options = ["--algorithms", "coset,toy", "--experiments", "logit_size", "--json"]
    done = command("compare", path, *options)
    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout)
    assert "toy" in [c["algorithm"] for c in content["circuits"]]
    assert "logit_size" in {f["experiment"] for f in content["findings"]}
    refused = command("compare", path, "--experiments", "nosuch")
    assert refused.returncode == 2
    assert "'nosuch'" in refused.stderr and "logit_size" in refused.stderr


@pytest.fixture(scope="module")
def skip_files(tmp_path_factory, network):
    """Two networks of the toy architecture: a coset circuit with a faint skip path."""
    folder = tmp_path_factory.mktemp("skip")
    names = {"left": "left_table", "right": "right_table", "W_U": "W_U"}
    tables = {key: getattr(network, name).detach() for key, name in names.items()}
    for seed in (0, 1):
        generator = torch.Generator().manual_seed(seed)
        content = {
            "skip_network": "S3",
            **tables,
            "skip": 0.1 * torch.randn(6, 6, generator=generator, dtype=torch.float64),
        }
        torch.save(content, folder / f"seed{seed}.skip")
    return folder


def test_a_new_architecture_is_loaded_compared_and_scrubbed(registered, skip_files, tmp_path):
    network = cc.load(skip_files / "seed0.skip")
    pairs = network.group.pairs()
    assert (network(pairs).argmax(1) == network.group.products(pairs)).all()
    asked = [id for id, experiment in EXPERIMENTS.items() if not experiment.by_default]
    comparison = cc.compare(network, [cc.CosetAlgorithm(), IdentityAlgorithm()], experiments=asked)
    # S3 is not cyclic: one experiment says so, all others are done.
    (note,) = comparison.notes
    assert "clock_pizza could not be done" in note and "S3 is not cyclic" in note
    assert list(comparison.on_request) == [id for id in asked if id != "clock_pizza"]
    # The skip path is the network's own in every surrogate, so that cosets explain it all.
    assert comparison.predicted["coset"].worst_log_loss < 1e-6
    assert comparison.verdict.explained_by == ("coset",)
    findings = comparison.to_dict()["findings"]
    patched = [f["at"] for f in findings if f["experiment"] == "activation_patching"]
    assert {at["site"] for at in patched} >= {"hook_skip", "hook_post"}
    comparison.save(tmp_path)
    assert "skip" in (tmp_path / "report.html").read_text()


def test_a_folder_of_a_new_architecture_is_an_ensemble(registered, skip_files):
    ensemble = cc.compare(skip_files, [cc.CosetAlgorithm()])
    assert [n.name for n in ensemble] == ["seed0", "seed1"]
    assert [n.verdict.explained_by for n in ensemble] == [("coset",)] * 2


def test_the_command_reads_a_new_architecture(registered, skip_files, tmp_path, command):
    done = command("compare", skip_files, "--algorithms", "coset", "--out", tmp_path, "--quiet")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "seed1" / "report.html").exists()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (lambda c: {"structure": c.structure - 9}, r"structure of identity-reader must be .* 0 up"),
        (lambda c: {"levels": c.levels * torch.nan}, "levels of identity-reader must be finite"),
        (lambda c: {"residual": c.residual[:3]}, r"residual of .* of shape \(3, 3\)"),
        (lambda c: {"residual": c.residual * 0}, "not what its fitted tables leave"),
        (lambda c: {"fitted": Tables.of(c.network)}, "not what its fitted tables leave"),
        (lambda c: {"site_classes": {"hook_left": ()}}, "'hook_left' is not a site"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_a_hypothesis_that_would_pay_too_little_is_refused(changes, sentence):
    """Its bits are what it says of itself: too small a residual would make it the shortest."""
    circuit = IdentityAlgorithm().fit(cc.GroupMLP.initialised("S3", d_mlp=8, d_embed=4).double())
    with pytest.raises(cc.CosetCircuitsError, match=sentence):
        dataclasses.replace(circuit, **changes(circuit))
