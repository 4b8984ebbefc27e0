"""Many networks: figures across them against plain loops, folders, what is kept, and resuming."""

import json
import math
import multiprocessing
import os
import pickle
import re
import sys
from dataclasses import replace
from statistics import mean, median

import pytest
import torch

import coset_circuits as cc
from coset_circuits import CosetAlgorithm, CosetCircuitsError, IrrepAlgorithm, compare
from coset_circuits.comparison.across import Count, Ratio
from coset_circuits.comparison.compare import Comparison
from coset_circuits.comparison.many import Ensemble
from coset_circuits.comparison.question import asked
from coset_circuits.comparison.sources import is_collection, sources
from coset_circuits.findings.statistics import Estimate
from coset_circuits.findings.storage import Kept
from coset_circuits.networks import planted_coset, planted_gcr
from coset_circuits.networks.files import write_folder
from coset_circuits.report import full_text, plain_text

COSET = [CosetAlgorithm()]
# The bilinear variant is silent on many rows.
SEVERAL = [*cc.ALGORITHMS["coset"], IrrepAlgorithm(), IrrepAlgorithm("bilinear")]


def untrained(seed, group="S3", width=8):
    network = cc.GroupMLP.initialised(cc.group(group), d_mlp=width, d_embed=6, seed=seed)
    network.label = f"{group}-seed{seed}"
    return network


@pytest.fixture(scope="module")
def networks():
    """Five of one kind, of which one is planted among untrained ones, and one of another kind."""
    alike = [untrained(seed, width=18) for seed in range(4)]
    return [*alike, planted_coset(cc.group("S3"), "C2"), planted_gcr(cc.group("C3"))]


@pytest.fixture(scope="module")
def ensemble(networks):
    return compare(networks, SEVERAL)


@pytest.fixture(scope="module")
def found(ensemble):
    return ensemble.to_dict()


@pytest.fixture
def light_reports(monkeypatch):
    """Reports without pages and figures, which take seconds each."""

    def save(self, folder):
        text = json.dumps(self.to_dict(), allow_nan=False)
        return write_folder(folder, lambda: {"findings.json": text})

    monkeypatch.setattr(Comparison, "save", save)


@pytest.fixture
def counted(monkeypatch):
    """The labels of the networks that are really analysed."""
    module = sys.modules["coset_circuits.comparison.compare"]
    original, seen = module._compare_one, []

    def count(network, *rest):
        seen.append(network.label)
        return original(network, *rest)

    monkeypatch.setattr(module, "_compare_one", count)
    # What is counted in another process is not seen here.
    monkeypatch.setattr(sys.modules["coset_circuits.comparison.many"], "_workers", lambda *_: 1)
    return seen


# What each network is told by itself


def test_one_network_is_a_comparison_and_several_are_an_ensemble(networks):
    one = compare(networks[0], COSET)
    assert isinstance(one, Comparison)
    assert isinstance(compare(networks[:1], COSET), Ensemble)
    named = compare("s4", COSET)
    assert isinstance(named, Comparison) and named.network.label == "s4"


def test_each_network_is_told_what_it_is_told_alone(networks, ensemble, found):
    assert [n.name for n in ensemble] == [n.label for n in networks]
    for network, told in zip(networks[4:], list(ensemble)[4:], strict=True):
        alone = compare(network, SEVERAL).to_dict()
        assert told.summary.to_dict() == alone
        mine = [f for f in found["findings"] if f["network"] == told.name]
        assert mine == [{"network": told.name, **f} for f in alone["findings"]]
        circuits = [c for c in found["circuits"] if c["network"] == told.name]
        assert circuits == [{"network": told.name, **c} for c in alone["circuits"]]
        (about,) = [n for n in found["networks"] if n["name"] == told.name]
        assert (
            about["verdict"] == alone["verdict"] and about["sha256"] == alone["network"]["sha256"]
        )


def test_findings_hold_no_network(ensemble):
    held = pickle.dumps(ensemble)
    assert b"GroupMLP" not in held and b"_rebuild_tensor" not in held


# Across networks


def across(found, **wanted):
    (finding,) = [
        f
        for f in found["findings"]
        if f["network"] is None and all(f.get(k) == v for k, v in wanted.items())
    ]
    return finding


@pytest.mark.parametrize("quantity", ["accuracy", "loss"])
@pytest.mark.parametrize("algorithm", [None, "coset", "irrep-bilinear", "coset, relabelled"])
@pytest.mark.parametrize("experiment", ["base", "noise_1_1", "swap_inputs"])
def test_means_and_medians_are_those_of_the_networks(
    ensemble, found, experiment, algorithm, quantity
):
    members = {n.name for n in ensemble if n.kind[0] == "S3"}
    key = {"experiment": experiment, "algorithm": algorithm, "quantity": quantity}
    values = [
        f["value"]
        for f in found["findings"]
        if f["network"] in members
        and all(f[k] == v for k, v in key.items())
        and f["value"] is not None
    ]
    if not values:
        assert algorithm == "irrep-bilinear" and experiment == "noise_1_1"
        return
    assert len(values) == 5
    for statistic, centre in (("mean", mean), ("median", median)):
        finding = across(found, statistic=statistic, **key)
        assert finding["value"] == pytest.approx(centre(values), rel=1e-12)
        assert finding["networks"] == 5 and finding["group"] == "S3" and finding["d_mlp"] == 18
        low, high = finding["interval"]
        assert min(values) - 1e-12 <= low <= high <= max(values) + 1e-12


def test_a_figure_across_networks_stands_beside_its_control(found):
    for statistic in ("mean", "median"):
        network = across(
            found, experiment="abs", algorithm=None, quantity="loss", statistic=statistic
        )
        double = across(
            found, experiment="double", algorithm=None, quantity="loss", statistic=statistic
        )
        assert network["control"]["experiment"] == "double"
        assert network["control"]["value"] == pytest.approx(double["value"])
        for experiment, quantity in (
            ("base", "loss"),
            ("fidelity", "bits_per_neuron"),
        ):
            key = {"experiment": experiment, "quantity": quantity, "statistic": statistic}
            mine = across(found, algorithm="coset", **key)
            relabelled = across(found, algorithm="coset, relabelled", **key)
            assert mine["control"]["algorithm"] == "coset, relabelled"
            assert mine["control"]["value"] == pytest.approx(relabelled["value"])


def test_the_verdicts_are_counted(ensemble, found):
    (stratum, _) = ensemble.strata
    count, members = stratum.count, stratum.networks
    by = [n.verdict.explained_by for n in members]
    assert sum(count.shortest.values()) + count.open + count.nothing == count.networks == 5
    assert count.nothing == sum(not names for names in by) == 4
    for name in stratum.hypotheses:
        assert count.shortest[name] == sum(names == (name,) for names in by)
        values = [n.circuits[name].compression.value for n in members]
        assert count.compression[name].value == pytest.approx(median(values))
    (ratio,) = [r for r in count.ratios if (r.one, r.two) == ("coset", "irrep-projected")]
    ratios = [
        n.circuits["coset"].bits_at_fidelity.value
        / n.circuits["irrep-projected"].bits_at_fidelity.value
        for n in members
    ]
    assert ratio.figure.value == pytest.approx(median(ratios))
    assert ratio.range == pytest.approx((min(ratios), max(ratios)))
    # Five networks can give no significant p.
    assert ratio.p is None
    assert "nothing in 4" in found["verdict"]["sentence"]
    kinds = [(k["group"], k["networks"]) for k in found["verdict"]["kinds"]]
    assert kinds == [("S3", 5), ("C3", 1)]


def test_paired_ratios_have_the_exact_test():
    """Seven networks, all ratios on one side: 2·2⁻⁷."""
    networks = [planted_coset(cc.group("S3"), "C2", seed=seed) for seed in range(7)]
    found = compare(networks, [CosetAlgorithm(), IrrepAlgorithm()])
    (ratio,) = found.strata[0].count.ratios
    sides = {(n.bits("coset") > n.bits("irrep-projected")) for n in found}
    assert len(sides) == 1
    assert ratio.p == pytest.approx(2 * 2.0**-7)


def test_the_share_of_networks_that_a_hypothesis_explains(ensemble, found):
    explained = [n.name for n in ensemble if n.verdict.explained_by]
    assert "planted-coset-S3-C2" in explained
    (mine,) = [n for n in ensemble if n.name == "planted-coset-S3-C2"]
    assert all(name.startswith("coset") for name in mine.verdict.explained_by)
    name = mine.verdict.explained_by[0]
    share = across(found, experiment="verdict", algorithm=name, quantity="explains")
    assert share["value"] == pytest.approx(1 / 5) and share["networks"] == 5
    assert share["interval"][0] < 1 / 5 < share["interval"][1]


def plain_errors(network, one, two, floor=1e-16):
    """Both medians of |Δlog10 loss| over the rows that both answer and neither's fit has used."""
    content = network.summary.to_dict()
    loss = {
        (f["experiment"], f["algorithm"]): f["value"]
        for f in content["findings"]
        if f["quantity"] == "loss"
    }
    used = {
        row for c in content["circuits"] if c["algorithm"] in (one, two) for row in c["used_rows"]
    }
    equal = {f["experiment"] for f in content["findings"] if "equals" in f}
    rows = [
        e
        for e, algorithm in loss
        if algorithm is None
        and e not in used
        and e not in equal
        and None not in (loss[e, one], loss[e, two])
    ]

    def gap(row, name):
        mine, seen = (math.log10(max(loss[row, n], floor)) for n in (name, None))
        return abs(mine - seen)

    return [median(gap(row, name) for row in rows) for name in (one, two)]


@pytest.mark.parametrize(
    ("family", "one", "two"),
    [
        ("between", "coset", "irrep-projected"),
        ("between", "coset", "irrep-bilinear"),
        ("controlled", "coset", "coset, relabelled"),
    ],
)
def test_paired_differences_are_taken_over_common_rows(ensemble, found, family, one, two):
    members = [n for n in ensemble if n.kind[0] == "S3"]
    pairs = [plain_errors(n, one, two) for n in members]
    differences = [a - b for a, b in pairs]
    finding = across(
        found,
        experiment=f"paired_{family}",
        algorithm=one,
        against=two,
        quantity="prediction_error",
    )
    assert finding["value"] == pytest.approx(median(differences), abs=1e-8)
    assert finding["mean_difference"] == pytest.approx(mean(differences), abs=1e-8)
    assert finding["networks"] == 5 and finding["margin"] == 0.1
    bits = across(
        found,
        experiment=f"paired_{family}",
        algorithm=one,
        against=two,
        quantity="bits_per_neuron",
    )
    wanted = [n.circuits[one].bits_at_fidelity.value for n in members]
    others = [n.circuits[two].bits_at_fidelity.value for n in members]
    gaps = [a - b for a, b in zip(wanted, others, strict=True)]
    assert bits["value"] == pytest.approx(median(gaps), abs=1e-8)


def test_a_family_is_all_pairs_of_hypotheses_in_both_quantities(ensemble):
    (stratum, _) = ensemble.strata
    count = len(stratum.hypotheses)
    assert len(stratum.between) == count * (count - 1)
    assert {p.family for p in stratum.between} == {count * (count - 1)}
    assert len(stratum.controlled) == 2 * count
    assert {p.family for p in stratum.controlled} == {2 * count}


def test_networks_of_other_kinds_are_not_taken_together(ensemble, found):
    assert [(s.group, len(s.networks)) for s in ensemble.strata] == [("S3", 5), ("C3", 1)]
    assert ensemble.strata[1].findings == () and ensemble.strata[1].between == ()
    assert {f["group"] for f in found["findings"] if f["network"] is None} == {"S3"}
    notes = " ".join(ensemble.notes)
    assert "only over networks of the same group, width and activation" in notes
    assert "4 of 5 networks are not right on all pairs" in notes
    few = compare([untrained(0), untrained(1), untrained(2, width=9)], COSET)
    assert [len(s.networks) for s in few.strata] == [2, 1]
    assert any("2 networks no difference can be significant" in n for n in few.notes)
    for stratum in few.strata:
        assert all(
            e.interval is None
            for f in stratum.findings
            for e in f.estimates.values()
            if f.experiment != "verdict"
        )


def test_json_and_tables(ensemble, found):
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["schema"] == 2 and found["skipped"] == [] and "network" not in found
    contract = {"experiment", "algorithm", "quantity", "value", "unit", "interval", "control"}
    assert all(contract | {"network", "separates", "source"} <= set(f) for f in found["findings"])
    frame = ensemble.to_dataframe()
    assert len(frame) == len(found["circuits"])
    planted = frame.query("network == 'planted-coset-S3-C2' and algorithm == 'coset'").iloc[0]
    assert planted["verdict"] in ("explains", None) and planted["worst_log_loss"] < 1e-6
    assert len(ensemble.across_dataframe()) + len(ensemble.paired_dataframe()) == sum(
        f["network"] is None for f in found["findings"]
    )


def test_the_same_networks_give_the_same_findings():
    one, two, other = (
        compare([untrained(0), untrained(1)], COSET, seed=seed).to_dict() for seed in (3, 3, 4)
    )
    assert json.dumps(one) == json.dumps(two)
    assert json.dumps(one["findings"]) != json.dumps(other["findings"])


# What is printed


@pytest.mark.parametrize("width", [80, 61])
def test_no_line_is_longer_than_the_width(ensemble, width):
    for text in (plain_text(ensemble, width), full_text(ensemble, width)):
        assert max(map(len, text.splitlines())) <= width


def test_what_is_printed_fits_a_screen(ensemble):
    """With the report's line, and an empty one before it, at most 40 lines."""
    text = str(ensemble)
    assert len(text.splitlines()) <= 38
    words = " ".join(text.split())
    for network in ensemble:
        by = " and ".join(network.verdict.explained_by) or "nothing"
        assert f"{network.name}: {by}" in words
    several = [s for s in ensemble.strata if len(s.networks) > 1]
    assert several and all(s.count.sentence in words for s in several)


def test_the_sentence_speaks_of_what_explains():
    """Two hypotheses explain, a third does not: the figures are those of the two."""
    count = Count(
        networks=8,
        shortest={"a": 1, "b": 3, "c": 0},
        explaining={"a": 4, "b": 6, "c": 0},
        open=3,
        nothing=1,
        compression={
            name: Estimate(x, (x - 1, x + 1), 8) for name, x in zip("abc", (5, 4, 6), strict=True)
        },
        ratios=tuple(
            Ratio(one, two, Estimate(1.5, (1.25, 1.75), 8), (1.0, 2.0), 0.0078125)
            for one, two in (("a", "b"), ("a", "c"), ("b", "c"))
        ),
        nouns={"a": "As", "b": "Bs", "c": "Cs"},
    )
    assert count.leading == ["b", "a"]
    assert [(r.one, r.two) for r in count.leading_ratios] == [("a", "b")]
    assert count.sentence == (
        "Shortest: As in 1 of 8, Bs in 3, order open in 3, nothing in 1; times shorter than the "
        "weights: Bs 4.0 [3.0, 5.0], As 5.0 [4.0, 6.0]; As to Bs: paired ratio of bits 1.50 "
        "[1.25, 1.75], exact signed-rank test p = 0.0078."
    )
    none = dict.fromkeys("abc", 0)
    failed = replace(count, shortest=none, explaining=none, open=0, nothing=8, ratios=())
    assert failed.sentence == (
        "No hypothesis explains any of the 8 networks; times shorter than the weights: Cs 6.0 "
        "[5.0, 7.0]."
    )


def test_the_text_says_what_was_found(ensemble):
    words = " ".join(ensemble.tables().split())
    for network in ensemble:
        assert network.name in words
    assert " ".join(ensemble.strata[0].count.sentence.split()) in words
    assert "ACROSS 5 NETWORKS OF S3, 18 relu neurons" in words
    assert "ACROSS 1 NETWORK OF C3" in words
    assert all(line in words for line in ensemble.rule.splitlines())
    assert "Holm" in words and "bootstrap" in words


# Folders


@pytest.fixture
def folder(tmp_path):
    """A run's folders, loose files, and what is no network."""
    runs = tmp_path / "runs"
    for seed in (10, 2):
        network = untrained(seed)
        cc.save(network, runs / f"S3-seed{seed}" / "network.safetensors")
        (runs / f"S3-seed{seed}" / "checkpoints").mkdir()
        (runs / f"S3-seed{seed}" / "checkpoints" / "state.safetensors").write_bytes(b"state")
    cc.save(untrained(3), runs / "loose.safetensors")
    (runs / "bad.pt").write_bytes(b"nonsense")
    (runs / "unfinished" / "checkpoints").mkdir(parents=True)
    (runs / "unfinished" / "checkpoints" / "state.safetensors").write_bytes(b"state")
    (runs / "README.md").write_text("runs")
    (runs / ".hidden").mkdir()
    (runs / ".hidden" / "x.safetensors").write_bytes(b"")
    return runs


def test_a_folder_is_all_networks_below_it_in_natural_order(folder):
    found = [s.given.relative_to(folder).as_posix() for s in sources(folder)]
    assert found == [
        "S3-seed2/network.safetensors",
        "S3-seed10/network.safetensors",
        "bad.pt",
        "loose.safetensors",
        "unfinished/checkpoints/state.safetensors",
    ]


def test_checkpoints_over_training_are_no_networks_of_their_own(tmp_path):
    """An unfinished run has its state and its steps; the steps are looked at where asked for."""

    def stop(progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cc.train("S3", 0, out=tmp_path / "run", d_mlp=8, d_embed=4, report=stop, save_every=0)
    cc.save(untrained(1), tmp_path / "other" / "network.safetensors")
    found = [source.given.relative_to(tmp_path) for source in sources(tmp_path)]
    assert [str(path) for path in found] == [
        "other/network.safetensors",
        "run/checkpoints/state.safetensors",
    ]
    steps = sources(tmp_path / "run" / "checkpoints")
    assert len(steps) == 1 + len(cc.training_checkpoints(tmp_path / "run"))


def test_bad_files_are_listed_and_the_others_analysed(folder, unchecked):
    ensemble = compare(folder, COSET)
    assert [n.name for n in ensemble] == ["S3-seed2", "S3-seed10", "S3-seed3"]
    reasons = {name.removeprefix(f"{folder}/"): why for name, why in ensemble.skipped.items()}
    assert set(reasons) == {"bad.pt", "unfinished/checkpoints/state.safetensors"}
    assert "cannot be read as a checkpoint" in reasons["bad.pt"]
    assert "unfinished run" in reasons["unfinished/checkpoints/state.safetensors"]
    assert [s["file"] for s in ensemble.to_dict()["skipped"]] == list(ensemble.skipped)
    assert f"Not analysed: {folder / 'bad.pt'} cannot be read" in plain_text(ensemble, 400)
    text = " ".join(ensemble.tables().split())
    assert "not analysed" in text and "unfinished run" in text


def test_a_network_given_twice_is_counted_once(folder):
    given = [folder / "S3-seed2", folder / "S3-seed2" / "network.safetensors", folder / "S3-seed10"]
    ensemble = compare(given, COSET)
    assert len(ensemble) == 2
    (why,) = ensemble.skipped.values()
    assert "counted once" in why


def test_networks_of_one_label_get_names_of_their_own():
    one, two = untrained(0), untrained(1)
    one.label = two.label = "mine"
    names = [n.name for n in compare([one, two], COSET)]
    assert names[0] == "mine" and re.fullmatch(r"mine-[0-9a-f]{8}", names[1])


def test_which_arguments_mean_several(folder):
    assert is_collection(folder) and is_collection([folder]) and is_collection(("s4",))
    for one in ("s4", folder / "S3-seed2", folder / "loose.safetensors", untrained(0), "nosuch"):
        assert not is_collection(one)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], "No network was given"),
        (["s4", 3], "Network 2 is int"),
        (["s4", "nosuch"], "'nosuch'.*shipped networks are .*s4"),
        (["s4", ""], "No network is called ''"),
        ("empty", "holds no network.*it is empty"),
        ("texts", r"holds no network.*a\.txt, b\.txt"),
        ("bad", "All 2 checkpoints found cannot be used.*cannot be read"),
    ],
    ids=["nothing", "number", "misspelt", "nameless", "empty", "other files", "all bad"],
)
def test_bad_input_is_a_sentence(given, words, tmp_path, monkeypatch, unchecked):
    monkeypatch.chdir(tmp_path)
    for name in ("empty", "texts", "bad"):
        (tmp_path / name).mkdir()
    for name in ("a.txt", "b.txt"):
        (tmp_path / "texts" / name).write_text("text")
    for name in ("a.pt", "b.safetensors"):
        (tmp_path / "bad" / name).write_bytes(b"bad")
    given = tmp_path / given if isinstance(given, str) else given
    with pytest.raises(CosetCircuitsError, match=f"(?s){words}") as caught:
        compare(given, COSET)
    assert "Traceback" not in str(caught.value)


@pytest.mark.parametrize(
    ("algorithms", "options", "sentence"),
    [
        ([], {}, "No algorithm was given"),
        ([CosetAlgorithm(), CosetAlgorithm()], {}, "coset was given twice"),
        (COSET, {"pairs": 0}, "The number of pairs is 0"),
    ],
)
def test_bad_options_are_told_before_any_network_is_read(algorithms, options, sentence, counted):
    with pytest.raises(CosetCircuitsError, match=sentence):
        compare([untrained(0)], algorithms, **options)
    assert counted == []


# What is kept


def test_the_second_call_computes_nothing(folder, tmp_path, light_reports, counted):
    first = compare(folder, COSET, out=tmp_path / "out")
    assert counted == ["S3-seed2", "S3-seed10", "S3-seed3"]
    counted.clear()
    second = compare(folder, COSET, out=tmp_path / "out")
    assert counted == []
    assert json.dumps(second.to_dict()) == json.dumps(first.to_dict())
    assert [n.report for n in second] == ["S3-seed2", "S3-seed10", "S3-seed3"]


@pytest.mark.parametrize(
    "options",
    [
        {"seed": 1},
        {"pairs": 30},
        {"algorithms": [CosetAlgorithm(unexplained="keep")]},
        {"thresholds": cc.Thresholds(fvu=0.5)},
    ],
    ids=lambda options: next(iter(options)),
)
def test_other_options_are_computed_anew(options, tmp_path, light_reports, counted):
    network = untrained(0)
    compare([network], COSET, out=tmp_path)
    for _ in range(2):
        compare([network], **{"algorithms": COSET, **options}, out=tmp_path)
        assert counted == ["S3-seed0"] * 2


def test_other_weights_under_the_same_label_are_another_network(tmp_path, light_reports, counted):
    network = cc.load("s4")
    one = compare([network], COSET, out=tmp_path)
    with torch.no_grad():
        network.W_U.mul_(2)
    two = compare([network], COSET, out=tmp_path)
    assert counted == ["s4", "s4"]
    assert [n.report for n in one] == ["s4"]
    (report,) = [n.report for n in two]
    assert report == "s4_edited_"
    # Twice the logits: a smaller loss at the same answers.
    assert next(iter(two)).loss < next(iter(one)).loss
    assert len(compare([network, "s4"], COSET, out=tmp_path)) == 2


def test_findings_changed_by_hand_are_not_believed(tmp_path, light_reports, counted):
    network = untrained(0)
    compare([network], COSET, out=tmp_path)
    path = tmp_path / "S3-seed0" / "findings.json"
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 5'))
    assert compare([network], COSET, out=tmp_path).to_dict()["seed"] == 0
    assert len(counted) == 2
    (tmp_path / "S3-seed0" / "asked.json").write_text("{")
    compare([network], COSET, out=tmp_path)
    assert len(counted) == 3


def scaled(factor):
    def hooks(model, pairs, seed):
        return [("hook_left_pre", lambda value, hook: factor * value)]

    return cc.Intervention("scaled", "left scaled", hooks)


def test_interventions_of_ones_own_are_told_apart(tmp_path, light_reports, counted):
    network = untrained(0)
    for factor, times in ((2, 1), (2, 1), (3, 2), (torch.tensor(2), 3), (torch.tensor(2), 4)):
        # What a tensor holds is not looked at, so that nothing is taken for the same.
        compare([network], COSET, interventions=[scaled(factor)], out=tmp_path)
        assert len(counted) == times


def test_a_row_that_was_put_in_the_librarys_place_is_not_taken_for_it():
    own = replace(cc.INTERVENTIONS["abs"], hooks=scaled(2).hooks)
    ours, theirs = (asked("network", [], {}, [one]) for one in (cc.INTERVENTIONS["abs"], own))
    assert ours is not None and theirs is not None and ours != theirs


class Nameless:
    """An algorithm that does not say what its parameters are."""

    name = "nameless"

    def fit(self, network, group=None):
        return CosetAlgorithm().fit(network, group)


def test_an_algorithm_that_hides_its_parameters_is_not_kept(tmp_path, light_reports, counted):
    for _ in range(2):
        compare([untrained(0)], [Nameless()], out=tmp_path)
    assert len(counted) == 2


def test_a_stopped_call_goes_on_where_it_stopped(tmp_path, light_reports, counted):
    networks = [untrained(seed) for seed in range(3)]

    def stop(text, done, total):
        if text.startswith("network 2 of 3: |x|"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare(networks, COSET, out=tmp_path, progress=stop)
    assert counted == ["S3-seed0", "S3-seed1"]
    assert [p.name for p in tmp_path.iterdir()] == ["S3-seed0"]
    counted.clear()
    whole = compare(networks, COSET, out=tmp_path)
    assert counted == ["S3-seed1", "S3-seed2"]
    assert [n.name for n in whole] == ["S3-seed0", "S3-seed1", "S3-seed2"]


def test_a_report_that_was_half_written_is_made_again(
    tmp_path, monkeypatch, light_reports, counted
):
    light = Comparison.save

    def fail(self, folder):
        light(self, folder)
        raise KeyboardInterrupt

    monkeypatch.setattr(Comparison, "save", fail)
    with pytest.raises(KeyboardInterrupt):
        compare([untrained(0)], COSET, out=tmp_path)
    monkeypatch.setattr(Comparison, "save", light)
    compare([untrained(0)], COSET, out=tmp_path)
    assert len(counted) == 2


def test_progress_says_which_network_and_ends_at_its_total(networks):
    seen = []
    compare(networks[:3], COSET, progress=lambda *step: seen.append(step))
    assert {total for _, _, total in seen} == {300}
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)
    assert seen[-1][1] == 300
    assert any(text.startswith("network 3 of 3: ") for text, _, _ in seen)


def test_an_unwritable_folder_is_told_before_any_work(tmp_path, counted):
    (tmp_path / "file").write_text("in the way")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(CosetCircuitsError, match="a file, not a folder"):
            compare([untrained(0)], COSET, out=out)
    assert counted == []
    assert Kept(tmp_path / "new").places == {} and not (tmp_path / "new").exists()


@pytest.mark.slow
def test_the_folder_has_a_page_that_leads_to_each_report(tmp_path):
    hostile = untrained(1)
    hostile.label = '<b>"x"</b> & seed/1'
    ensemble = compare([untrained(0), hostile], COSET, out=tmp_path)
    ensemble.save(tmp_path)
    page = (tmp_path / "report.html").read_text()
    links = re.findall(r'<a href="([^"#]+)"', page)
    assert len(links) == 2 and all((tmp_path / link).exists() for link in links)
    assert "<b>&quot;" not in page and '<b>"x"' not in page
    assert json.loads((tmp_path / "findings.json").read_text()) == ensemble.to_dict()
    assert page.count("<table>") == page.count("</table>") >= 10
    for name in ("findings.json", "report.html"):
        assert not list(tmp_path.glob(f".{name}*"))


def test_registered_hypotheses_are_described_by_their_forms():
    """Asked by key, the same is found again, and other forms make another question."""
    one, two = (
        asked("network", [], {}, [("coset", forms)])
        for forms in (cc.ALGORITHMS["coset"], cc.ALGORITHMS["coset"][:1])
    )
    assert one is not None and one == asked("network", [], {}, [("coset", cc.ALGORITHMS["coset"])])
    assert one != two


# Processes


def test_processes_find_what_one_after_the_other_finds(networks, tmp_path, light_reports):
    """Two of one label, of which the second gets another folder, and one that cannot be read."""
    twin = untrained(7, width=18)
    twin.label = networks[0].label
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"nothing")
    given = [networks[0], twin, str(broken), networks[5], networks[0]]
    one, two = (compare(given, COSET, workers=n, out=tmp_path / str(n)) for n in (1, 2))
    assert one.to_dict() == two.to_dict()
    assert len(two) == 3 and len(two.skipped) == 2
    for network in two:
        kept = [(tmp_path / n / network.report / "findings.json").read_bytes() for n in "12"]
        assert kept[0] == kept[1]


def test_processes_are_stopped_and_go_on(tmp_path, light_reports):
    given, heard = [untrained(seed) for seed in range(4)], []

    def stop(text, done, total):
        heard.append((text, done, total))
        if text.startswith("network 4"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare(given, COSET, workers=2, out=tmp_path, progress=stop)
    assert not multiprocessing.active_children()
    kept = {path.parent.name for path in tmp_path.glob("*/asked.json")}
    assert {"S3-seed0", "S3-seed1"} <= kept and "S3-seed3" not in kept
    again = compare(given, COSET, workers=2, out=tmp_path)
    assert again.to_dict()["circuits"] == compare(given, COSET, workers=1).to_dict()["circuits"]


def test_a_process_that_dies_is_that_networks_line(monkeypatch):
    module = sys.modules["coset_circuits.comparison.compare"]
    original = module._compare_one

    def die(network, *rest):
        if network.label == "S3-seed1":
            os._exit(3)
        return original(network, *rest)

    monkeypatch.setattr(module, "_compare_one", die)
    found = compare([untrained(seed) for seed in range(3)], COSET, workers=2)
    assert [network.name for network in found] == ["S3-seed0", "S3-seed2"]
    assert "ended with code 3" in " ".join(found.skipped.values())


def test_workers_that_are_none_are_refused():
    with pytest.raises(CosetCircuitsError, match="The number of workers is 0; give"):
        compare([untrained(0), untrained(1)], COSET, workers=0)
