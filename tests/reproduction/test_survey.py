"""The study of a folder of networks: every table against its own computation from findings."""

import csv
import json
import math
import re
import sys
from collections import Counter
from dataclasses import replace
from statistics import median

import numpy as np
import pytest
import torch

import coset_circuits as cc
from coset_circuits import CosetCircuitsError
from coset_circuits.algorithms import Tables
from coset_circuits.cli.reproduce import reproduce
from coset_circuits.comparison import Ensemble
from coset_circuits.comparison.across import NetworkSummary
from coset_circuits.experiments import Bench
from coset_circuits.experiments.coset_irreps import irrep_shares
from coset_circuits.experiments.unexplained import KINDS, UnexplainedExperiment
from coset_circuits.groups import character_table
from coset_circuits.groups.fourier import project
from coset_circuits.reproduction import Table, lengths, survey
from coset_circuits.reproduction.kinds import Survey, by_kind
from coset_circuits.reproduction.neurons import subgroups
from coset_circuits.reproduction.permutations import (
    detectable,
    rank_correlation,
    rank_test,
    shuffled,
)
from coset_circuits.reproduction.survey import QUESTIONS
from coset_circuits.reproduction.twins import twin
from coset_circuits.thresholds import DEFAULT

RECIPE = {"d_mlp": 24, "d_embed": 24, "fraction": 1.0, "max_steps": 1200}
KEYS = ("coset", "irrep", "rho-set")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two networks of S3 with checkpoints, one each of D4 and Q8, one that has learnt nothing."""
    folder = tmp_path_factory.mktemp("runs")
    for name, seed in (("S3", 0), ("S3", 1), ("D4", 0), ("Q8", 0)):
        kept = None if (name, seed) == ("S3", 0) else []
        cc.train(name, seed, out=folder / f"{name}-seed{seed}", checkpoints=kept, **RECIPE)
    untrained = cc.GroupMLP.initialised(cc.group("S3"), d_mlp=24, d_embed=24, seed=9)
    cc.save(untrained, folder / "untrained.safetensors")
    return folder


@pytest.fixture(scope="module")
def made(runs, tmp_path_factory):
    out = tmp_path_factory.mktemp("study")
    patch = pytest.MonkeyPatch()
    patch.setattr(lengths, "CHECKPOINTS", 3)
    yield survey(runs, out=out, algorithms=KEYS), out
    patch.undo()


@pytest.fixture(scope="module")
def findings(made):
    """What each network's own folder holds, by the network's name."""
    found = [json.loads(p.read_text()) for p in (made[1] / "networks").glob("*/findings.json")]
    return {content["network"]["name"]: content for content in found}


def rows(made, name, number=1):
    with (made[1] / "tables" / f"{name}-{number}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def of_kind(table, start):
    return [row for row in table if row["kind"].startswith(start)]


def test_networks_are_taken_together_by_group_architecture_width_and_recipe(made):
    kinds = [row["kind"] for row in rows(made, "shortest")]
    assert sorted(kinds) == [
        "D4 mlp 24, fast, fraction 1",
        "Q8 mlp 24, fast, fraction 1",
        "S3 mlp 24, fast, fraction 1",
        "S3 mlp 24, untrained, not learnt",
    ]


def test_compressions_are_medians_of_the_networks_own(made, findings):
    (row,) = of_kind(rows(made, "shortest"), "S3 mlp 24, fast")
    assert row["networks"] == "2"
    for key in KEYS:
        values = []
        for seed in (0, 1):
            circuits = {c["algorithm"]: c for c in findings[f"S3-seed{seed}"]["circuits"]}
            bits = [circuits[k]["bits_at_fidelity"]["value"] for k in ("raw weights", key)]
            values.append(bits[0] / bits[1])
        assert float(row[key]) == pytest.approx(median(values), rel=6e-3)


def test_verdicts_are_counted(made, findings):
    (row,) = of_kind(rows(made, "shortest", 2), "S3 mlp 24, fast")
    explained = [findings[f"S3-seed{seed}"]["verdict"]["explained_by"] for seed in (0, 1)]
    assert int(row["open"]) == sum(len(by) > 1 for by in explained)
    assert int(row["nothing"]) == sum(not by for by in explained)
    for key in KEYS:
        assert int(row[key]) == explained.count([key])
    (row,) = of_kind(rows(made, "ambiguous"), "S3 mlp 24, fast")
    counted = Counter(" + ".join(sorted(by)) or "nothing" for by in explained)
    assert dict(re.findall(r"([^,]+?) (\d+)(?:, |$)", row["explained by (networks)"])) == {
        name: str(count) for name, count in counted.items()
    }


def test_ratios_are_geometric_medians(made, findings):
    table = of_kind(rows(made, "shortest", 3), "S3 mlp 24, fast")
    (row,) = [r for r in table if r["hypotheses"] == "coset / irrep"]
    logs = []
    for seed in (0, 1):
        circuits = {c["algorithm"]: c for c in findings[f"S3-seed{seed}"]["circuits"]}
        one, two = (circuits[k]["bits_at_fidelity"]["value"] for k in ("coset", "irrep"))
        logs.append(math.log(one / two))
    assert float(row["ratio"]) == pytest.approx(math.exp(sum(logs) / 2), rel=6e-3)
    # Two networks allow no test.
    assert row["p"] == row["p, Holm"] == ""


def test_rows_that_separate_are_counted(made, findings):
    """Of networks of which two hypotheses both hold; each row of the table names one or "none"."""
    table = rows(made, "ambiguous", 2)
    for row in table:
        pair, start = [row["first"], row["second"]], row["kind"].split()[0]
        together, separating = 0, []
        for name, content in findings.items():
            if name.startswith(f"{start}-") and set(pair) <= set(
                content["verdict"]["explained_by"]
            ):
                together += 1
                separating.append(
                    {
                        f["experiment"]
                        for f in content["findings"]
                        if f["subject"] is None and f["quantity"] == "loss" and "equals" not in f
                        if pair in f["separates"] or pair[::-1] in f["separates"]
                    }
                )
        assert int(row["both hold"]) == together > 0
        assert int(row["separated"]) == sum(map(bool, separating))
        named = re.findall(r"(\S+) (\d+)", row["rows that separate most often"])
        for experiment, count in named:
            assert int(count) == sum(experiment in found for found in separating)
    explained = [content["verdict"]["explained_by"] for content in findings.values()]
    assert bool(table) == any(len(by) > 1 for by in explained)


def test_twins_have_one_character_table_and_other_subgroups():
    """Class sizes and the values in each column agree; all characters here are real."""
    assert twin("D4") == ("Dic2", "Q8") and twin("D52") == ("Dic26",)
    assert twin("D6") == twin("S4") == ()
    for one, two in (("D4", "Q8"), ("D52", "Dic26")):
        tables = [character_table(cc.group(name)) for name in (one, two)]
        columns = [
            sorted(
                (int(size), sorted(map(float, values.real.round(decimals=6) + 0.0)))
                for size, values in zip(table.sizes, table.values.T, strict=True)
            )
            for table in tables
        ]
        assert columns[0] == columns[1]
        orders = [sorted(c.order for c in cc.group(n).subgroup_classes) for n in (one, two)]
        assert orders[0] != orders[1]


def test_groups_with_one_character_table_stand_side_by_side(made, findings):
    table = rows(made, "twins")
    assert [row["groups"] for row in table] == ["D4 and Q8"] * 4
    values = {row["measure"]: row for row in table}
    ratio = values["bits by cosets / by irreps"]
    expected = []
    for name in ("D4-seed0", "Q8-seed0"):
        circuits = {c["algorithm"]: c for c in findings[name]["circuits"]}
        one, two = (circuits[k]["bits_at_fidelity"]["value"] for k in ("coset", "irrep"))
        expected.append(one / two)
    assert [float(ratio[name]) for name in ("first", "second")] == pytest.approx(expected, rel=6e-3)
    assert float(ratio["difference"]) == pytest.approx(expected[1] / expected[0], rel=1e-3)
    # All subgroups of Q8 are normal.
    assert float(values["neurons on cosets, not normal"]["second"]) == 0


def test_the_table_of_results_has_every_network(made, findings):
    table = {row["network"]: row for row in rows(made, "results")}
    assert table.keys() == findings.keys() and len(table) == 5
    for name, row in table.items():
        assert float(row["loss"]) == pytest.approx(findings[name]["network"]["loss"]["mean"])


def test_training_is_looked_at_through_its_checkpoints(made, runs):
    table = [row for row in rows(made, "training", 2) if row["run"] == "S3-seed0"]
    steps = cc.training_checkpoints(runs / "S3-seed0")
    assert len(table) == 3 and {int(row["step"]) for row in table} <= set(steps) - {0}
    last = table[-1]
    model = cc.load(steps[int(last["step"])])
    pairs = model.group.pairs()
    right = (model(pairs).argmax(1) == model.group.products(pairs)).double().mean()
    assert float(last["accuracy"]) == pytest.approx(float(right))


def test_when_a_run_is_right_is_measured_on_its_checkpoints(made, runs, findings):
    """The first checkpoint from which 99% of the pairs stay right."""
    right = {}
    for step, path in cc.training_checkpoints(runs / "S3-seed0").items():
        model = cc.load(path)
        pairs = model.group.pairs()
        right[step] = (
            model(pairs).argmax(1) == model.group.products(pairs)
        ).double().mean() >= 0.99
    wrong = [step for step in right if not right[step]]
    expected = min(step for step in right if step > max(wrong))
    found = {f["quantity"]: f["value"] for f in findings["S3-seed0"]["findings"]
             if f["experiment"] == "formation"}  # fmt: skip
    assert found["step_learnt"] == expected
    (row,) = of_kind(rows(made, "training"), "S3")
    assert float(row["right from step"]) == expected and row["runs"] == "1"


def test_coset_neurons_in_one_irrep_are_counted(runs):
    """On cosets of C2 in D4, one neuron of one irrep and one that mixes two."""
    group = cc.group("D4")
    (reflections,) = [c for c in group.subgroup_classes if c.name == "C2⟨r0s⟩"]
    labels = reflections.representative.right_cosets
    cosets = torch.nn.functional.one_hot(labels).double()
    parts = torch.stack([project(block, cosets) for block in group.real_blocks[1:]])
    large = [part for part in parts if part.abs().max() > 1e-9]
    assert len(large) == 2
    one, mixed = large[0][:, 0], large[0][:, 0] / large[0][:, 0].norm()
    mixed = mixed + large[1][:, 0] / large[1][:, 0].norm()
    shares = irrep_shares(group, torch.stack([one, mixed], 1)).amax(0)
    assert shares.tolist() == pytest.approx([1.0, 0.5])


def test_the_first_sentences_are_the_answers(made, findings):
    text = (made[1] / "study.md").read_text()
    opening = text.split("\n## ")[0]
    assert [question.name for question in QUESTIONS if f"\n## {question.name}: " in text] == [
        section.artifact.name for section in made[0].sections
    ]
    explained = [
        content["verdict"]["explained_by"]
        for content in findings.values()
        if content["network"]["accuracy"] >= 0.99
    ]
    assert "Of 4 networks that have learnt their group" in opening
    for noun, key in (("coset circuits", "coset"), ("irreps", "irrep")):
        if any(key in by for by in explained):
            assert f"{noun} in {explained.count([key])}" in opening
    assert f"several explain {sum(len(by) > 1 for by in explained)} at" in opening
    assert f"nothing explains {explained.count([])}" in opening
    assert "In D4 and Q8, which have the same characters" in opening


def test_the_page_holds_its_figures_and_fetches_nothing(made):
    page = (made[1] / "study.html").read_text()
    assert page.count("<svg") == len(list((made[1] / "figures").glob("*.svg"))) >= 3
    assert "<img" not in page and page.count("<table") == page.count("</table>")
    text = (made[1] / "study.md").read_text()
    assert text.count("\n## ") == len(made[0].sections)
    assert "coset-circuits reproduce study --networks" in text


def test_what_was_found_is_not_computed_again(made, runs, monkeypatch):
    def never(*args, **kwargs):
        pytest.fail("a network was compared again")

    monkeypatch.setattr(sys.modules["coset_circuits.comparison.compare"], "_compare_one", never)
    again = survey(runs, out=made[1], algorithms=KEYS)
    assert again.made_from == made[0].made_from and again.is_saved_in(made[1])
    # Reports of other code are taken as they are on request.
    monkeypatch.setattr("coset_circuits.comparison.question.source_hash", lambda rooms: "other")
    kept = survey(runs, out=made[1], algorithms=KEYS, kept=True)
    assert kept.to_dict()["sections"] == made[0].to_dict()["sections"]


def test_without_a_report_there_is_nothing_to_keep(runs, tmp_path):
    with pytest.raises(CosetCircuitsError, match="no report on any"):
        survey(runs, out=tmp_path, kept=True)


def test_subgroups_of_architectures_are_compared_by_shuffling_networks(made):
    """Three networks of S3 on one subgroup, called transformers, against three on another."""
    summary = cc.load_comparison(made[1] / "networks" / "S3-seed1")
    coset = summary.by_key["coset"]
    networks = []
    for kind, role in (("mlp", "C2"), ("transformer", "C3")):
        circuit = replace(coset, roles=[{"role": role, "neurons": 20}])
        circuits = tuple(circuit if c is coset else c for c in summary.circuits)
        facts = {**summary.network, "kind": kind}
        for i in range(3):
            one = replace(summary, network=facts, circuits=circuits)
            networks.append(NetworkSummary(f"{kind}{i}", one, f"{kind}{i}"))
    ensemble = Ensemble(tuple(networks), {}, (), DEFAULT, 0, {})
    study = Survey(by_kind(ensemble), lambda name, given: pytest.fail("nothing is compared"))
    tests, shares = [x for x in subgroups(study) if isinstance(x, Table)]
    ((group, _, distance, chance, p),) = tests.rows
    # Of 20 ways to choose 3 of 6, 2 separate them (distance 1), 18 leave a distance of 1/3.
    assert (group, distance) == ("S3", 1)
    assert chance == pytest.approx((2 + 18 / 3) / 20, abs=0.03)
    assert p == pytest.approx(0.1, abs=0.03)
    assert [row[:2] for row in shares.rows] == [["S3", "C2"], ["S3", "C3"]]


def test_unexplained_neurons_by_hand(runs):
    """A neuron of noise in a network of cosets is named, with all of it left, as spread.

    Its energy is 0.4 in the irrep of degree 2 and 0.2 in each sign. So two irreps hold 0.6. Cosets
    of the centre leave 0.4 of it and all others at least as much.
    """
    network = cc.load(runs / "D4-seed0").double()
    left, right, unembed = (t.detach().clone() for t in Tables.of(network))
    generator = torch.Generator().manual_seed(0)
    for table in (left, right, unembed):
        spread = table.std(0).max()
        noise = torch.randn(8, generator=generator, dtype=torch.float64)
        parts = [(b.dimension, project(b, noise)) for b in network.group.real_blocks[1:]]
        table[:, 5] = 8**0.5 * spread * sum((0.2 * d) ** 0.5 * p / p.norm() for d, p in parts)
    spoilt = cc.GroupMLP.from_weights(
        network.group, left_table=left, right_table=right, W_U=unembed.T
    )
    bench = Bench.fitted(spoilt, ["coset"], relative_error=0.05)
    found = UnexplainedExperiment(most=3).run(bench)
    spread = (left.var(0, correction=0) + right.var(0, correction=0)).sqrt()
    salience = spread * unembed.norm(dim=0)
    first = found.neurons.iloc[0]
    assert first["neuron"] == 5 and first["least"] > 0.1
    assert first["salience"] == pytest.approx(float(salience[5] / salience.sum()))
    kinds = found.kinds.set_index("what")["neurons"]
    assert list(kinds.index) == list(KINDS) and kinds["spread over irreps"] == 1
    shares = {f.subject: f for f in found.findings() if f.quantity == "left"}
    assert shares["coset"].control.value > shares["coset"].value


def test_a_rank_test_of_two_samples_is_mann_and_whitneys():
    """Of 20 ways to choose 3 of 6 networks, 2 are as extreme as complete separation."""
    low, high = np.array([1.0, 2.0, 3.0]), np.array([4.0, 5.0, 6.0])
    assert rank_test([low, high]) == pytest.approx(2 / 20, abs=0.01)
    assert rank_test([low, low]) == pytest.approx(1.0)


def test_shuffles_give_the_mean_under_the_null():
    samples = [np.array([0.0, 0.0]), np.array([1.0, 1.0])]
    tested = shuffled(samples, lambda s: abs(float(s[0].mean() - s[1].mean())))
    # Of 6 ways to choose 2 of 4, 2 separate them and 4 give equal means.
    assert tested.value == 1 and tested.chance == pytest.approx(1 / 3, abs=0.02)
    assert tested.p == pytest.approx(1 / 3, abs=0.02)


def test_the_detectable_shift_is_that_of_a_normal_sample():
    """For normal samples, 20 and 20, against the asymptotic formula."""
    rng = np.random.default_rng(1)
    values = rng.standard_normal((2, 20))
    needed = detectable(*values)
    # For normal samples Mann and Whitney's test needs 3/π more networks than Student's:
    # (1.96 + 0.84)·√(2/20·π/3) = 0.91 standard deviations.
    assert needed == pytest.approx(0.91 * values.std(), rel=0.15)
    assert detectable(np.arange(3.0), np.arange(3.0)) is None


def test_rank_correlation_ignores_monotone_maps():
    values = np.arange(8.0)
    found = rank_correlation(values, np.exp(values))
    assert (
        found is not None
        and found.value == pytest.approx(1)
        and found.interval == pytest.approx((1, 1))
    )
    # Σd² = 8 of four pairs: ρ = 1 − 6·8/(4·15).
    assert rank_correlation(np.array([1.0, 2, 3, 4]), np.array([3.0, 2, 1, 4])).value == (
        pytest.approx(1 - 6 * 8 / 60)
    )
    assert rank_correlation(np.ones(5), values[:5]) is None


def test_a_broken_file_is_left_out_and_a_stopped_study_continues(runs, tmp_path, monkeypatch):
    """Ctrl-C after one of two networks: the first is not compared again."""
    (tmp_path / "broken.safetensors").write_bytes(b"no weights")
    given = [runs / "D4-seed0", runs / "Q8-seed0", tmp_path / "broken.safetensors"]
    compare = sys.modules["coset_circuits.comparison.compare"]
    one, calls = compare._compare_one, []

    def stopped(*args, **kwargs):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return one(*args, **kwargs)

    options = {"out": tmp_path / "out", "algorithms": KEYS, "experiments": (), "workers": 1}
    monkeypatch.setattr(lengths, "RUNS", 0)
    monkeypatch.setattr(compare, "_compare_one", stopped)
    with pytest.raises(KeyboardInterrupt):
        survey(given, **options)
    made = survey(given, **options)
    assert len(calls) == 3
    assert list(made.skipped) == [str(tmp_path / "broken.safetensors")]
    page = (tmp_path / "out" / "study.md").read_text()
    assert "broken.safetensors" in page.split("## shortest")[0]


def test_the_command_makes_the_study_alone(tmp_path):
    for what, workers in ((["study", "table4"], None), (["table4"], 2)):
        with pytest.raises(CosetCircuitsError, match="separate page"):
            reproduce(what, out=tmp_path, workers=workers)
