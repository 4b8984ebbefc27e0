"""The whole comparison on networks whose explanation is known, and on those that have none."""

import copy
import json
import math

import pytest
import torch

import coset_circuits as cc
from coset_circuits import (
    INTERVENTIONS,
    CosetAlgorithm,
    CosetCircuitsError,
    compare,
)
from coset_circuits.comparison import Summary
from coset_circuits.experiments import commuting_fraction
from coset_circuits.experiments.claims import Claims
from coset_circuits.experiments.forms import SELECTION
from coset_circuits.networks import planted_coset, planted_gcr

HYPOTHESES = list(cc.ALGORITHMS)


@pytest.fixture(scope="module")
def of_coset(coset_network):
    return compare(coset_network)


@pytest.fixture(scope="module")
def of_gcr(gcr_network):
    return compare(gcr_network)


@pytest.fixture(scope="module")
def small():
    return planted_coset(cc.group("S3"), "C2")


def test_a_planted_coset_circuit_is_explained_by_cosets_alone(of_coset):
    assert of_coset.verdict.explained_by == ("coset",)
    error = of_coset.predicted["coset"]
    assert error.worst_log_loss < 1e-6 and error.worst_accuracy == 0
    assert [c.name for c in of_coset.hypotheses] == HYPOTHESES


def test_a_planted_gcr_is_explained_by_irreps_alone(of_gcr):
    assert of_gcr.verdict.explained_by == ("irrep",)
    # Bilinear GCR is this very network, but it says nothing where single neurons are disturbed.
    assert of_gcr.predicted["bilinear"].worst_log_loss < 1e-5
    assert "it is silent on" in of_gcr.verdict.fails["bilinear"]


def test_nothing_explains_an_untrained_network(untrained):
    found = compare(untrained)
    assert found.verdict.explained_by == found.verdict.equal == ()
    assert found.fidelity.is_capped
    assert "Nothing explains" in found.verdict.sentence
    for candidate in found.hypotheses:
        if candidate.name != "bilinear":
            assert candidate.circuit.roles.coverage == 0


def test_nothing_explains_a_network_that_only_memorised():
    network = cc.train("S4", 0, recipe="memorise", d_mlp=64, d_embed=32)
    found = compare(network)
    # 230 of 576 pairs were trained on.
    assert 230 / 576 <= found.base.accuracy < 0.45
    assert found.verdict.explained_by == ()


def test_claims_are_chosen_on_rows_that_are_then_no_evidence(of_coset):
    """The smallest median over the three rows, each measured here by itself."""
    chosen = [f for f in of_coset.forms if f.chosen]
    assert [f.hypothesis for f in chosen] == [k for k in HYPOTHESES if len(cc.ALGORITHMS[k]) > 1]
    for form in chosen:
        rivals = [f.median_log_loss for f in of_coset.forms if f.hypothesis == form.hypothesis]
        assert form.median_log_loss == pytest.approx(min(rivals), abs=1e-9)
    for row in of_coset.rows:
        expected = row.intervention.id in SELECTION
        assert expected <= (row.used_by >= {c.key for c in of_coset.candidates})
        if expected:
            assert of_coset.separations[row.intervention.id] == ()
    (found,) = [f for f in of_coset.forms if f.form == "coset"]
    surrogate = CosetAlgorithm().fit(of_coset.network).surrogate()
    off = []
    for id in SELECTION:
        pair = {"network": of_coset.network, "x": surrogate}
        seen = cc.measure(INTERVENTIONS[id], pair, of_coset.network.group.pairs())
        off.append(abs(math.log10(seen["x"].loss / seen["network"].loss)))
    assert found.median_log_loss == pytest.approx(sorted(off)[1], abs=1e-6)
    forms = [f for f in of_coset.to_dict()["findings"] if f["experiment"] == "forms"]
    assert [f["at"]["form"] for f in forms] == [f.form for f in of_coset.forms]


def test_without_a_choice_no_row_is_used_up(small):
    found = compare(small, [CosetAlgorithm()])
    assert not found.forms and not any(row.used_by for row in found.rows)


def test_equal_rows_of_an_abelian_group_count_once_and_refute_nothing():
    """In an abelian group a·b = b·a, so swapped inputs only exchange the pairs."""
    network = cc.train("C4xC4", seed=0, d_mlp=64, d_embed=64, fraction=0.8, max_steps=2500)
    found = compare(network)
    rows = {row.intervention.id: row for row in found.rows}
    assert rows["swap_inputs"].equals == "base"
    assert rows["scale_both_2"].equals == "double"
    assert rows["swap_inputs"].used_by == {c.key for c in found.candidates}
    finding = find(found.to_dict(), "swap_inputs", None, "loss")
    assert finding["equals"] == "base"
    assert "swap_inputs" not in " ".join(found.verdict.fails.values())
    joint = [a for key in ("coset", "irrep") for a in cc.ALGORITHMS[key]]
    explicit = compare(network, joint)
    for candidate in explicit.hypotheses:
        if candidate.circuit.seen:
            assert (
                candidate.key
                in {row.intervention.id: row for row in explicit.rows}["swap_inputs"].used_by
            )
    assert "inputs swapped" not in " ".join(explicit.verdict.fails.values())


def test_a_few_pairs_explain_nothing(coset_network):
    found = compare(coset_network, ["coset"], pairs=1)
    assert found.verdict.explained_by == ()
    assert found.verdict.sentence.startswith("Too few pairs were measured")
    two = compare(coset_network, ["coset"], pairs=2).to_dict()
    low, high = find(two, "base", None, "accuracy")["interval"]
    # Wilson's interval of 2 of 2.
    assert (low, high) == (pytest.approx(2 / (2 + 1.959964**2), abs=1e-6), 1)


def test_bits_at_fidelity_are_those_of_the_circuit(of_coset):
    point = of_coset.fidelity
    for candidate in of_coset.candidates:
        length = candidate.circuit.description_length(point.delta)
        assert candidate.bits[point.delta] == pytest.approx(length.bits_per_neuron)
    value, (low, high) = of_coset.compression(of_coset.candidate("coset"))
    bits = of_coset.candidate("raw weights").bits, of_coset.candidate("coset").bits
    assert value == pytest.approx(bits[0][point.delta] / bits[1][point.delta])
    assert low <= value <= high


def test_a_group_of_prime_order_has_no_coset_hypothesis():
    found = compare(planted_gcr(cc.group("C7")))
    assert set(found.not_applicable) == {"coset", "rho-set", "coset-irrep", "mixed"}
    assert "no proper non-trivial subgroup" in found.not_applicable["coset"]
    assert [c.name for c in found.hypotheses] == ["irrep", "bilinear"]
    assert found.to_dict()["verdict"]["not_applicable"] == found.not_applicable


def test_a_group_without_other_names_is_compared_without_that_control():
    found = compare(planted_gcr(cc.group("C3")), [*cc.ALGORITHMS["irrep"]])
    assert [c.kind for c in found.candidates] == ["hypothesis"] * 3 + ["null"] * 3
    assert any("no relabelled-group control" in note for note in found.notes)


def test_every_hypothesis_has_its_relabelled_control_and_there_are_three_nulls(of_coset):
    for candidate in of_coset.hypotheses:
        (control,) = [c for c in of_coset.candidates if c.of == candidate.name]
        assert control.kind == "control" and control.name == f"{candidate.name}, relabelled"
    nulls = [c.name for c in of_coset.candidates if c.kind == "null"]
    assert nulls == ["dull null", "low rank", "raw weights"]
    raw = of_coset.predicted["raw weights"]
    assert raw.worst_log_loss < 1e-9 and raw.same_answer == raw.logit_r2 == 1


def test_rows_are_all_interventions_for_all_models(of_coset):
    assert [row.intervention.id for row in of_coset.rows] == list(INTERVENTIONS)
    names = {"network", *(c.name for c in of_coset.candidates)}
    assert all(set(row.outcomes) == names for row in of_coset.rows)
    assert of_coset.swapped_commuting == commuting_fraction(of_coset.network.group) == 5 / 24


# findings.json


def keys(value):
    return set(value)


def test_the_dictionary_has_the_documented_shape(of_coset):
    found = of_coset.to_dict()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["schema"] == 2
    assert keys(found) >= {
        "schema",
        "network",
        "fidelity",
        "circuits",
        "verdict",
        "thresholds",
        "findings",
        "formation",
        "versions",
        "seed",
        "device",
    }
    network = found["network"]
    assert keys(network) >= {"name", "group", "order", "d_mlp", "pairs", "accuracy", "sha256"}
    assert (network["group"], network["order"], network["d_mlp"]) == ("S4", 24, 144)
    assert (network["pairs"], network["accuracy"]) == (576, 1)
    assert keys(network["loss"]) == {"mean", "median"}
    assert keys(found["verdict"]) >= {
        "sentence",
        "explained_by",
        "equal",
        "refuted",
        "not_applicable",
        "rule",
    }
    assert keys(found["fidelity"]) >= {"delta", "interval", "curve", "threshold"}
    for point in found["fidelity"]["curve"]:
        assert keys(point) == {"delta", "median_log_loss", "accuracy"}
    assert (network["kind"], network["additive_share"]) == ("mlp", 1)
    assert found["thresholds"]["fvu"] == 1e-2
    for circuit in found["circuits"]:
        assert keys(circuit) >= {"algorithm", "kind", "of", "claims", "coverage", "silent"}
        for name in ("bits_at_fidelity", "compression"):
            low, high = circuit[name]["interval"]
            assert low <= circuit[name]["value"] <= high
        assert keys(circuit["prediction"]) >= {
            "median_log_loss",
            "mean_accuracy",
            "logit_r2",
            "rows",
        }
        assert keys(circuit["bits_per_neuron"]) == {"0.3", "0.1", "0.03"}
        for role in circuit["roles"]:
            assert keys(role) >= {"role", "neurons", "fvu_left", "fvu_right"}
        assert sum(role["neurons"] for role in circuit["roles"]) == 144
    for finding in found["findings"]:
        assert keys(finding) >= {
            "experiment",
            "algorithm",
            "quantity",
            "value",
            "unit",
            "interval",
            "control",
            "separates",
            "source",
        }


def find(found, experiment, algorithm, quantity):
    (finding,) = [
        f
        for f in found["findings"]
        if (f["experiment"], f["algorithm"], f["quantity"]) == (experiment, algorithm, quantity)
    ]
    return finding


@pytest.mark.parametrize("quantity", ["accuracy", "loss"])
@pytest.mark.parametrize("id", INTERVENTIONS)
def test_a_controls_value_is_the_figure_of_its_own_row(of_coset, id, quantity):
    found = of_coset.to_dict()
    control = find(found, id, None, quantity)["control"]
    wanted = INTERVENTIONS[id].control
    if wanted is None or (wanted == "commuting_pairs" and quantity == "loss"):
        assert control is None
    elif wanted == "commuting_pairs":
        assert control["value"] == 5 / 24
    else:
        assert control["experiment"] == wanted
        assert control["value"] == find(found, wanted, None, quantity)["value"]
    for name in HYPOTHESES:
        finding = find(found, id, name, quantity)
        relabelled = find(found, id, f"{name}, relabelled", quantity)
        if relabelled["value"] is None:
            assert finding["control"] is None and finding["silent"]
        else:
            assert finding["control"]["algorithm"] == f"{name}, relabelled"
            assert finding["control"]["value"] == relabelled["value"]


def test_swapped_inputs_have_the_exact_value(of_coset):
    found = of_coset.to_dict()
    assert find(found, "swap_inputs", None, "accuracy")["value"] == pytest.approx(5 / 24, abs=0)


def test_separations_are_symmetrical_and_told_to_both(of_coset):
    found = of_coset.to_dict()
    for row in of_coset.rows:
        pairs = of_coset.separations[row.intervention.id]
        assert len({frozenset(pair) for pair in pairs}) == len(pairs)
        for one, two in pairs:
            for name in (one, two, None):
                told = find(found, row.intervention.id, name, "loss")["separates"]
                assert [one, two] in told
    assert any(of_coset.separations.values())


def test_single_claims_of_a_true_hypothesis_bring_no_error(of_coset):
    found = Claims().run(of_coset.bench).to_dataframe()
    claims = found[found["algorithm"] == "coset"].set_index("claim")["median_log_loss"]
    assert set(claims.index) >= {"left", "right", "unembed"}
    assert claims.max() < 1e-6
    assert found[found["algorithm"] == "rho-set"]["median_log_loss"].max() > 0.5


def test_the_same_seed_gives_the_same_findings(small):
    one, two, other = (compare(small, seed=seed).to_dict() for seed in (3, 3, 4))
    # As text: undefined figures are NaN, which is not equal to itself.
    assert json.dumps(one) == json.dumps(two)
    assert json.dumps(one["findings"]) != json.dumps(other["findings"])
    assert find(one, "abs", None, "loss") == find(other, "abs", None, "loss")


def test_the_network_is_not_touched(small):
    network = copy.deepcopy(small).float()
    network.add_hook("hook_pre", lambda pre, hook: pre)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    found = compare(network, [CosetAlgorithm()])
    assert network.cfg.dtype == "float32" and found.network.cfg.dtype == "float64"
    assert list(network.list_hooks()) == ["hook_pre"]
    assert all(p.requires_grad for p in network.parameters())
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_a_sample_has_intervals_and_the_base_figures_do_not(small):
    found = compare(small, [CosetAlgorithm()], pairs=20)
    assert found.is_sampled and len(found.pairs) == 20
    assert len(found.base.losses) == 36
    finding = find(found.to_dict(), "noise_1_1", None, "loss")
    low, high = finding["interval"]
    assert low < finding["value"] < high
    assert "sample of 20 pairs" in finding["source"]
    rows = {tuple(row) for row in found.pairs.tolist()}
    assert len(rows) == 20
    assert (
        find(compare(small, [CosetAlgorithm()]).to_dict(), "abs", None, "loss")["interval"] is None
    )


def test_progress_counts_up_to_its_total(small):
    seen = []
    compare(small, [CosetAlgorithm()], progress=lambda *step: seen.append(step))
    assert [done for _, done, _ in seen] == list(range(len(seen)))
    assert {total for _, _, total in seen} == {len(seen)}


@pytest.mark.parametrize(
    ("algorithms", "options", "sentence"),
    [
        ([], {}, "No algorithm was given"),
        ([CosetAlgorithm(), CosetAlgorithm()], {}, "coset was given twice"),
        (["rho"], {}, "No algorithm is called 'rho'"),
        ([CosetAlgorithm()], {"pairs": 0}, "The number of pairs is 0"),
        ([CosetAlgorithm()], {"interventions": []}, "No intervention was given"),
        (
            [CosetAlgorithm()],
            {"interventions": [*INTERVENTIONS.values(), INTERVENTIONS["abs"]]},
            "Two interventions have the id 'abs'",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused(small, algorithms, options, sentence):
    with pytest.raises(CosetCircuitsError, match=sentence):
        compare(small, algorithms, **options)


def test_only_the_interventions_that_are_given_are_done(small):
    third = cc.Intervention(
        "third", "left × 3", lambda *_: [("hook_left_pre", lambda value, hook: 3 * value)]
    )
    given = [INTERVENTIONS["noise_1_1"], third]
    comparison = compare(small, [CosetAlgorithm()], interventions=given)
    assert [row.intervention for row in comparison.rows] == given
    assert {p.rows for p in comparison.predicted.values()} == {2}
    whole = compare(small, [CosetAlgorithm()])
    alone = find(comparison.to_dict(), "noise_1_1", None, "loss")
    assert alone["value"] == find(whole.to_dict(), "noise_1_1", None, "loss")["value"]
    assert third.id not in INTERVENTIONS


def test_findings_of_an_earlier_schema_are_refused(of_coset):
    content = of_coset.to_dict()
    assert Summary.from_dict(content).to_dict() == content
    with pytest.raises(CosetCircuitsError, match="have schema 1, but this version reads 2"):
        Summary.from_dict({**content, "schema": 1})


def test_an_unknown_candidate_is_refused_with_the_known_ones(of_coset):
    assert of_coset.candidate("coset").name == "coset"
    with pytest.raises(CosetCircuitsError, match=r"'rho'; choose from coset, irrep"):
        of_coset.candidate("rho")
