"""Certificates in comparisons and on the command line."""

import json

import pytest

import coset_circuits as cc
from coset_circuits.experiments.certificate import CertificateExperiment, certificates
from coset_circuits.networks import planted_coset
from coset_circuits.report import hypotheses
from coset_circuits.report.certificates import sentence


@pytest.fixture(scope="module")
def network():
    return planted_coset(cc.group("S3"), "C2")


def test_a_comparison_reports_the_certificate_with_its_controls(network, tmp_path):
    comparison = cc.compare(network, [cc.CosetAlgorithm()], experiments=["certificate"])
    (part,) = comparison.on_request["certificate"].parts.values()
    findings = [f for f in comparison.to_dict()["findings"] if f["experiment"] == "certificate"]
    own = next(f for f in findings if f["quantity"] == "certified" and "at" not in f)
    assert own["value"] == part.certificate.bound
    assert own["control"]["value"] == part.certificate.control.bound
    relabelled = next(f for f in findings if f.get("at") == {"control": "relabelled group"})
    assert relabelled["value"] <= own["value"]
    comparison.save(tmp_path)
    assert (tmp_path / "figures/certificate.svg").exists()
    page = (tmp_path / "report.html").read_text()
    assert "Proved accuracy against operations" in page


def test_what_is_proved_stands_in_the_table_of_hypotheses(network):
    """That of the hypothesis, not that of its control."""
    comparison = cc.compare(network, [cc.CosetAlgorithm()], experiments=["certificate"])
    bound = cc.certify(comparison.candidate("coset").circuit).bound
    sheet = hypotheses.of_one(comparison)
    (row,) = [row for row in sheet.rows if row[0] == "coset"]
    shown = dict(zip((*sheet.names, *sheet.numbers), row, strict=True))["proof"]
    assert float(shown) == pytest.approx(bound, abs=1e-4)


def test_several_networks_are_certified(tmp_path):
    networks = [planted_coset(cc.group("S3"), "C2", seed=seed) for seed in (0, 1)]
    for number, one in enumerate(networks):
        one.label = f"network {number}"
    ensemble = cc.compare(
        networks, [cc.CosetAlgorithm()], experiments=["certificate"], out=tmp_path
    )
    rows = ensemble.across_dataframe().query("experiment == 'certificate'")
    assert set(rows["networks"]) == {2}


def test_hypotheses_that_prove_nothing_are_listed(network):
    result = certificates(network, ["coset", "bilinear"])
    assert list(result.parts) == ["coset"]
    assert "hypothesis about tables" in result.missing["bilinear"]
    with pytest.raises(cc.CosetCircuitsError, match="hypothesis about tables"):
        certificates(network, ["bilinear"])


def test_the_budget_is_kept(network):
    circuit = cc.CosetAlgorithm(relative_error=0.05).fit(network)
    for budget in (0.1, 0.4):
        experiment = CertificateExperiment(budget)
        part = experiment.of(circuit, cc.experiments.Bench.around(circuit))
        for proof in (part.certificate, part.certificate.control, part.relabelled):
            assert proof.flops <= budget * proof.brute_force_flops


def test_the_command_prints_a_table_or_json(network, tmp_path, command):
    path = cc.save(network, tmp_path / "network.safetensors")
    done = command("certify", path, "--algorithms", "coset,irrep")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) <= 30
    assert "coset proves that" in done.stdout
    content = json.loads(command("certify", path, "--algorithms", "coset", "--json").stdout)
    (entry,) = content["certificates"]
    keys = "algorithm bound accuracy flops brute_force_flops seconds control"
    assert list(entry) == keys.split()
    assert entry["algorithm"] == "coset" and entry["bound"] <= entry["accuracy"] == 1
    assert entry["brute_force_flops"] == 2 * network.d_mlp * 6**3
    assert list(entry["control"]) == keys.split()


def test_the_sentence_says_when_the_hypothesis_adds_nothing():
    """On s4 all of the smaller budget goes into running pairs, which needs no hypothesis."""
    circuit = cc.CosetAlgorithm().fit(cc.load("s4"))
    for budget, adds in ((0.25, False), (0.5, True)):
        part = CertificateExperiment(budget).of(circuit, cc.experiments.Bench.around(circuit))
        said = sentence(circuit.network, "coset", part)
        assert (part.certificate.bound > part.certificate.control.bound) == adds
        assert said.endswith(", so the hypothesis adds nothing.") != adds


def test_the_command_refuses_in_a_sentence(command):
    done = command("certify", "s5_transformer", "--algorithms", "coset")
    assert done.returncode == 2 and done.stdout == ""
    assert "cannot be certified; give an MLP" in done.stderr
