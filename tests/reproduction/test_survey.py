"""The study of a folder of networks: every table against its own computation from findings."""

import csv
import json
import math
import re
import sys
from collections import Counter
from statistics import median

import pytest
import torch

import coset_circuits as cc
from coset_circuits import CosetCircuitsError
from coset_circuits.algorithms import Tables
from coset_circuits.cli.reproduce import reproduce
from coset_circuits.experiments import Bench
from coset_circuits.experiments.unexplained import UnexplainedExperiment
from coset_circuits.groups import character_table
from coset_circuits.reproduction import survey
from coset_circuits.reproduction.survey import twin

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
    patch.setattr(sys.modules[survey.__module__], "CHECKPOINTS", 3)
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
    counted = Counter(" + ".join(by) or "nothing" for by in explained)
    assert dict(re.findall(r"([^,]+?) (\d+)(?:, |$)", row["explained by (networks)"])) == {
        name: str(count) for name, count in counted.items()
    }


def test_ratios_are_geometric_medians(made, findings):
    (row,) = [r for r in of_kind(rows(made, "ratios"), "S3") if r["hypotheses"] == "coset / irrep"
              and "fast" in r["kind"]]  # fmt: skip
    logs = []
    for seed in (0, 1):
        circuits = {c["algorithm"]: c for c in findings[f"S3-seed{seed}"]["circuits"]}
        one, two = (circuits[k]["bits_at_fidelity"]["value"] for k in ("coset", "irrep"))
        logs.append(math.log(one / two))
    assert float(row["ratio"]) == pytest.approx(math.exp(sum(logs) / 2), rel=6e-3)
    # Two networks allow no test.
    assert row["p"] == row["p, Holm"] == ""


def test_rows_that_separate_are_counted(made, findings):
    (row,) = [r for r in of_kind(rows(made, "apart"), "D4") if r["second"] == "irrep"]
    separating = {
        f["experiment"]
        for f in findings["D4-seed0"]["findings"]
        if f["subject"] is None and f["quantity"] == "loss" and "equals" not in f
        if ["coset", "irrep"] in f["separates"]
    }
    named = re.findall(r"(\S+) 1", row["rows that separate most often"])
    assert set(named) <= separating and len(named) == min(3, len(separating)) > 0


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


def test_groups_with_one_character_table_stand_side_by_side(made):
    table = rows(made, "twins")
    assert [row["groups"] for row in table] == ["D4 and Q8"] * 2
    assert [row["kind"][:2] for row in table] == ["D4", "Q8"]


def test_the_table_of_results_has_every_network(made, findings):
    table = {row["network"]: row for row in rows(made, "results")}
    assert table.keys() == findings.keys() and len(table) == 5
    for name, row in table.items():
        assert float(row["loss"]) == pytest.approx(findings[name]["network"]["loss"]["mean"])


def test_training_is_looked_at_through_its_checkpoints(made, runs):
    table = rows(made, "training")
    steps = cc.training_checkpoints(runs / "S3-seed0")
    assert len(table) == 3 and {int(row["step"]) for row in table} <= set(steps) - {0}
    last = table[-1]
    model = cc.load(steps[int(last["step"])])
    pairs = model.group.pairs()
    right = (model(pairs).argmax(1) == model.group.products(pairs)).double().mean()
    assert float(last["accuracy"]) == pytest.approx(float(right))


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


def test_unexplained_neurons_by_hand(runs):
    """One neuron of noise in a network of cosets: that neuron is named, with all of it left."""
    network = cc.load(runs / "D4-seed0").double()
    left, right, unembed = (t.detach().clone() for t in Tables.of(network))
    generator = torch.Generator().manual_seed(0)
    for table in (left, right, unembed):
        spread = table.std(0).max()
        table[:, 5] = spread * torch.randn(8, generator=generator, dtype=torch.float64)
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
    shares = {f.subject: f for f in found.findings() if f.quantity == "left"}
    assert shares["coset"].control.value > shares["coset"].value


def test_the_command_makes_the_study_alone(tmp_path):
    for what, workers in ((["study", "table4"], None), (["table4"], 2)):
        with pytest.raises(CosetCircuitsError, match="separate page"):
            reproduce(what, out=tmp_path, workers=workers)
