"""Ablation, interchange, substitution and GCR evidence as a comparison runs them."""

import json
from dataclasses import replace

import pytest

import coset_circuits as cc
from coset_circuits.experiments.ablation import (
    ablation,
    ablation_by_threshold,
    completeness,
    minimality,
)
from coset_circuits.experiments.interchange import CIRCUIT
from coset_circuits.networks import planted_coset

FUNCTIONS = {
    "substitution": cc.substitution,
    "interchange": cc.interchange,
    "ablation": lambda circuit: ablation(circuit.network, circuit),
    "ablation_by_threshold": ablation_by_threshold,
    "completeness": lambda circuit: completeness(circuit.network, circuit),
    "minimality": lambda circuit: minimality(circuit.network, circuit, controls=3),
    "gcr": lambda circuit: cc.gcr_evidence(circuit.network),
}


@pytest.fixture(scope="module")
def comparison():
    """Two classes of subgroups, so that a set of neurons has others to be compared with."""
    network = planted_coset(cc.group("S4"), "C2", "S3")
    return cc.compare(network, [cc.CosetAlgorithm()], experiments=list(FUNCTIONS))


def kept(comparison, id, **at):
    findings = [f for f in comparison.summary().findings if f.experiment == id]
    return [f for f in findings if at.items() <= f.at.items()]


def of_subject(finding, subject):
    control = finding.control and replace(finding.control, subject=subject)
    return replace(finding, subject=subject, control=control)


@pytest.mark.parametrize("id", FUNCTIONS)
def test_a_comparison_keeps_the_figures_of_the_public_function(comparison, id):
    circuit = comparison.candidate("coset").circuit
    subject = None if id == "gcr" else "coset"
    expected = [of_subject(f, subject) for f in FUNCTIONS[id](circuit).findings()]
    assert expected and kept(comparison, id) == expected
    assert len({f.key for f in expected}) == len(expected)
    assert all(f.unit for f in expected)


@pytest.mark.parametrize(
    ("id", "place"),
    [
        ("substitution", {}),
        ("interchange", {"model": CIRCUIT, "group": "C2"}),
        ("ablation", {"group": "C2"}),
        ("completeness", {"group": "C2"}),
        ("minimality", {"step": 1}),
        ("gcr", {"irrep": "(3,1)"}),
    ],
)
def test_the_main_figures_have_a_control(comparison, id, place):
    for finding in kept(comparison, id, **place):
        has_control = finding.quantity not in ("loss_ratio", "moved") and "of" not in finding.at
        assert (finding.control is not None) == has_control
        if has_control:
            assert finding.control.quantity == finding.quantity
            assert finding.control.unit == finding.unit


def test_where_no_other_neurons_are_left_there_is_no_control(comparison):
    """Every neuron of a planted circuit concentrates: none above a threshold, all below."""
    assert {f.control for f in kept(comparison, "ablation_by_threshold")} == {None}
    assert {f.control for f in kept(comparison, "ablation", group="all")} == {None}


def test_a_relabelled_group_scores_as_nothing(comparison):
    for finding in kept(comparison, "substitution", kind="whole"):
        if finding.quantity == "accuracy":
            assert finding.value == 1 and finding.control.value < 0.2
        if finding.quantity == "logit_r2":
            assert finding.value > 1 - 1e-9 and finding.control.value < 0.1
    for site in ("hook_left_pre", "hook_right_pre"):
        here = {"site": site, "group": "C2"}
        by_model = {
            model: {
                f.quantity: f.value for f in kept(comparison, "interchange", **here, model=model)
            }
            for model in (CIRCUIT, "relabelled group", "no interchange")
        }
        assert by_model[CIRCUIT]["change_r2"] > 1 - 1e-9
        assert abs(by_model["relabelled group"]["change_r2"]) < 0.1
        assert by_model["no interchange"]["iia_moved"] == 0
    for finding in kept(comparison, "gcr", irrep="key irreps"):
        if "of" not in finding.at and finding.quantity == "similarity":
            assert finding.value > 0.5 and abs(finding.control.value) < 0.05
        if "of" not in finding.at and finding.quantity == "restricted_loss":
            assert finding.value < 1e-3 and finding.control.value > 3


def test_removing_a_role_costs_more_than_removing_as_many_at_random(comparison):
    accuracy = {
        f.at["group"]: f
        for f in kept(comparison, "ablation", mode="keep")
        if f.quantity == "accuracy"
    }
    assert accuracy["all"].value == 1 and accuracy["all"].control is None
    # Each class alone does what the network does; as many neurons from both do not.
    for name in ("C2", "S3"):
        assert accuracy[name].value == 1 > accuracy[name].control.value


def test_they_are_printed_and_go_through_json(comparison):
    content = json.loads(json.dumps(comparison.to_dict(), allow_nan=False))
    printed = " ".join(comparison.tables().split())
    for id in FUNCTIONS:
        assert comparison.on_request[id].title in printed
        assert id in {f["experiment"] for f in content["findings"]}


def test_a_hypothesis_without_the_measurement_is_listed_with_the_reason():
    network = planted_coset(cc.group("S4"), "C2")
    comparison = cc.compare(
        network, [cc.IrrepAlgorithm()], experiments=["ablation_by_threshold"], pairs=48
    )
    (reason,) = comparison.results["ablation_by_threshold"].missing.values()
    assert "no measurements 'concentration'" in reason
