"""What is printed and written holds what was found, is safe to open, and is the same each time."""

import base64
import copy
import dataclasses
import hashlib
import io
import json
import os
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from rich.console import Console

import coset_circuits as cc
from coset_circuits import report
from coset_circuits.findings import Finding, Findings, without_nan
from coset_circuits.networks import planted_coset, save
from coset_circuits.report import brief, hypotheses, lattice, tables
from coset_circuits.report.figures import PLATES, all_figures
from coset_circuits.report.neurons import gallery
from coset_circuits.report.printed import print_comparison
from coset_circuits.report.repeat import one_row, whole_comparison
from coset_circuits.report.style import FAINT, look, png

HOSTILE = '<script>alert("1")</script> [bold]&\x1b[31m $x$'


class Foreign(cc.CosetAlgorithm):
    def variants(self):
        return (self,)


VOID = {"meta", "link", "br", "hr", "img", "wbr", "input"}


@pytest.fixture(scope="module")
def comparison():
    network = cc.GroupMLP.initialised(cc.group("S3"), d_mlp=8, d_embed=8, seed=0)
    network.label = HOSTILE
    return cc.compare(network)


@pytest.fixture(scope="module")
def nothing_applies():
    network = cc.GroupMLP.initialised(cc.group("C5"), d_mlp=4, d_embed=4, seed=0)
    return cc.compare(network, [cc.CosetAlgorithm()])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Cosets of C2 and a run's folder, as training writes it: two checkpoints and a curve."""
    network = planted_coset(cc.group("S3"), "C2")
    network.provenance["curve"] = [
        {"step": s, "train_loss": 1 / s, "loss": 9 / s, "train_accuracy": 1.0, "test_accuracy": 0.5}
        for s in (1, 10, 100)
    ]
    run = tmp_path_factory.mktemp("run")
    save(network.float(), run / "network.safetensors")
    save(network, run / "checkpoints" / "step-000100.safetensors", card=False)
    generator = torch.Generator().manual_seed(0)
    for table in (network.W_E_left, network.W_E_right):
        table.data += torch.randn(table.shape, generator=generator)
    save(network, run / "checkpoints" / "step-000010.safetensors", card=False)
    return cc.compare(cc.load(run))


def drawn(comparison):
    """The names of the figures that apply."""
    return [name for name, plate in PLATES.items() if plate.applies(comparison)]


@pytest.fixture(scope="module")
def folder(comparison, tmp_path_factory):
    return report.save(comparison, tmp_path_factory.mktemp("out") / "new" / "report")


@pytest.fixture(scope="module")
def page(folder):
    return (folder / "report.html").read_text(encoding="utf-8")


class Page(HTMLParser):
    """Checks that tags close in order; keeps tags, ids, text and references."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.ids, self.links, self.words = [], [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            if name in ("src", "href", "xlink:href", "srcset", "data", "poster"):
                self.links.append(value)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def test_public_names():
    assert report.__all__ == ["full_text", "plain_text", "save"]


@pytest.mark.parametrize("width", [80, 60, 100])
def test_no_line_is_longer_than_the_width(comparison, nothing_applies, width):
    for each in (comparison, nothing_applies):
        for text in (report.plain_text(each, width), report.full_text(each, width)):
            assert max(map(len, text.splitlines())) <= width


def test_what_is_printed_fits_a_screen(comparison, nothing_applies, trained):
    """With the report's line, and an empty one before it, at most 40 lines."""
    flags = (False, True)
    many = [
        cc.CosetAlgorithm(even=even, joint=joint, unexplained=unexplained)
        for even in flags
        for joint in flags
        for unexplained in ("mean", "project", "keep")
    ]
    for each in (comparison, nothing_applies, trained, cc.compare(trained.network, many)):
        text = str(each)
        assert text == report.plain_text(each, 80) and len(text.splitlines()) <= 38
        words = " ".join(text.split())
        assert " ".join(tables.clean(each.verdict.sentence).split())[:300] in words
        assert "Rule" not in words and each.verdict.rule.splitlines()[0] not in words


def test_what_is_printed_has_the_table_and_the_roles_of_what_explains(trained):
    lines = str(trained).splitlines()
    for candidate in trained.candidates:
        if candidate.kind == "control":
            continue
        (row,) = [line for line in lines if line.startswith(f"{candidate.name} ")]
        bits = candidate.bits[trained.fidelity.delta]
        assert f" {trained.compression(candidate)[0]:.1f} " in row
        assert f" {round(bits):,} [" in row
        error = tables.decades(trained.predicted[candidate.key].median_log_loss)
        assert error in row.split()
        if candidate.kind == "hypothesis":
            assert f"{candidate.circuit.roles.coverage:.0%}" in row.split()
            verdict = trained.verdict.on(candidate.key)
            assert row.split()[-1] == verdict if verdict else row.split()[-1] in ("wider", "longer")
    told = [line.split(":")[0] for line in lines if line.startswith("Neurons under")]
    names = [trained.candidate(key).name for key in trained.verdict.explained_by]
    assert told == [f"Neurons under {name}" for name in names[:3]]
    roles = trained.candidate(trained.verdict.explained_by[0]).circuit.roles.names
    (first, *_) = [line for line in lines if line.startswith("Neurons under")]
    assert f"{roles.count(roles[0])} {roles[0]}" in first


def test_the_notes_explain_every_verdict_and_noun_that_is_printed(trained):
    words = " ".join(str(trained).split())
    said = {row[-1] for row in hypotheses.of_one(trained).rows}
    assert {"explains", "null"} < said
    for word in said - {"explains"}:
        assert f"{word}: {hypotheses.WORDS[word]}" in words
    for candidate in trained.hypotheses:
        if candidate.noun in trained.verdict.sentence and candidate.key not in candidate.noun:
            assert f"{tables.clean(candidate.key)}: {tables.clean(candidate.noun)}" in words


def test_a_cut_list_does_not_end_in_a_count():
    roles = ", ".join(f"{k} C{k}" for k in range(10, 60))
    for width in range(30, 60):
        (line,) = brief._cut(f"Neurons under coset: {roles}", width, 1)
        assert len(line) <= width and re.search(r"\d+ C\d+, …$", line)
    assert brief._cut("Neurons under coset: 1 C2", 30, 1) == ["Neurons under coset: 1 C2"]


def test_why_nothing_applies_is_printed_in_full(nothing_applies):
    (why,) = (why for _, why in tables.not_applicable(nothing_applies))
    assert len(why) > 60 and why in " ".join(str(nothing_applies).split())


@dataclasses.dataclass(frozen=True)
class Proof(Findings):
    """A certificate as the table of hypotheses reads it."""

    title = "a certificate"

    def to_dataframe(self):
        return pd.DataFrame({"bound": [0.75]})

    def findings(self):
        yield Finding("certificate", "coset", "certified", 0.75, "fraction")


def test_proofs_have_a_column_where_they_were_asked_for(trained):
    assert "proof" not in str(trained)
    proved = dataclasses.replace(trained, results={**trained.results, "certificate": Proof()})
    rows = {line.split()[0]: line.split() for line in str(proved).splitlines() if line}
    assert rows["hypothesis"][-2:] == ["proof", "verdict"]
    assert rows["coset"][-2] == "0.7500" and rows["irrep"][-2] == tables.MISSING


def test_plain_text_has_every_row_candidate_and_verdict(comparison):
    text = report.full_text(comparison)
    words = " ".join(text.split())
    for row in comparison.rows:
        # Once among the accuracies, once among the losses, where the row's own name stands.
        starts = [line.split()[1:2] for line in text.splitlines()]
        assert starts.count([row.intervention.id]) >= 2
        assert row.intervention.title in words
    for candidate in comparison.candidates:
        assert candidate.name.replace(", relabelled", " (relab.)") in words
    for sentence in (
        comparison.verdict.sentence,
        *comparison.verdict.details,
        *comparison.verdict.rule.splitlines(),
    ):
        assert " ".join(tables.clean(sentence).split()) in words
    assert "\x1b" not in text


def test_terminal_prints_the_observed_figures(comparison):
    """The accuracies of one row, over as many tables as the hypotheses need."""
    text = report.full_text(comparison)
    accuracies = text[text.index("INTERVENTIONS: ACCURACY") : text.index("INTERVENTIONS: LOSS")]
    rows = [line.split() for line in accuracies.splitlines() if line.split()[1:2] == ["base"]]
    outcomes = comparison.rows[0].outcomes
    names = ["network", *(c.name for c in comparison.hypotheses)]
    expected = [f"{outcomes[name].accuracy:.4f}" for name in names]
    shown = [cell for row in rows for cell in row[2:]]
    assert shown[: len(expected)] == expected


def test_print_comparison_takes_a_console(comparison):
    console = Console(width=80, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    with console.file:
        print_comparison(comparison, console)
    assert "VERDICT" in console.export_text()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2.43e-6, "2.4e-06"),
        (0.0634, "0.063"),
        (29.1, "29"),
        (164.2, "164"),
        (5.31, "5.3"),
        (0, "0"),
    ],
)
def test_losses_have_two_digits(value, text):
    assert tables.loss(value) == text


def test_only_a_perfect_network_has_accuracy_one():
    assert tables.accuracy(1.0) == "1.0000"
    assert tables.accuracy(1 - 1e-6) == "0.9999"
    assert tables.accuracy(0.0) == "0.0000"
    assert tables.accuracy(1e-6) == "0.0001"
    assert tables.accuracy(float("nan")) == tables.MISSING


def test_separations_in_few_words():
    names = ["a", "b", "c", "d"]
    assert tables.separation_text([], names) == "no"
    assert tables.separation_text([("a", "b"), ("a", "c")], names) == "a from b, c"
    assert tables.separation_text([("a", "d"), ("b", "d"), ("c", "d")], names) == (
        "d from all others"
    )
    pairs = [(a, b) for a in names for b in names if a < b]
    assert tables.separation_text(pairs, names) == "all from each other"
    assert tables.separation_text(pairs[:-1], names) == "all but c and d"


def test_a_shared_fit_is_shown_once(comparison):
    comparison = cc.compare(comparison.network, [*cc.ALGORITHMS["coset"], cc.IrrepAlgorithm()])
    families = [family.names for family in tables.role_families(comparison)]
    # No neuron has a role here, so levels fitted together are no others.
    assert families[0] == tuple(form.name for form in cc.ALGORITHMS["coset"])
    assert sum(map(len, families)) == len(comparison.hypotheses)
    for family in tables.role_families(comparison):
        assert sum(line.neurons for line in family.lines) == comparison.network.cfg.d_mlp


def test_swapped_inputs_have_the_exact_control_where_the_network_is_right(comparison):
    def swapped(found):
        return next(x for x in tables.interventions(found) if x.id == "swap_inputs")

    right = cc.compare(planted_coset(cc.group("S3"), "C2"), [cc.CosetAlgorithm()])
    control = swapped(right).control
    # S3 has three conjugacy classes, so 3/6 of its pairs commute.
    assert control is not None and control.accuracy == 0.5 and control.loss is None
    assert swapped(right).observed.accuracy == 0.5
    # An untrained network owes the commuting pairs nothing.
    assert swapped(comparison).control is None


def test_rows_that_a_fit_has_used_are_marked(comparison, page):
    used = {
        (c.name, row.intervention.id)
        for c in comparison.hypotheses
        for row in comparison.rows
        if c.key in row.used_by
    }
    assert used
    lines = tables.interventions(comparison)
    assert {(name, line.id) for line in lines for name in line.used} == used
    # What is silent has no figure that could stand in brackets.
    spoken = [
        (name, row)
        for name, row in used
        for r in comparison.rows
        if r.intervention.id == row and r.outcomes[name] is not None
    ]
    assert page.count("<small>(") == len(spoken)
    words = " ".join(report.full_text(comparison).split())
    assert "Claims were chosen on the rows abs, base, noise_rel_0.5" in words


def test_findings_are_the_comparisons_own_numbers(comparison, folder):
    written = json.loads(
        (folder / "findings.json").read_text(encoding="utf-8"),
        parse_constant=lambda word: pytest.fail(f"{word} is not JSON"),
    )
    assert written == comparison.to_dict()
    first = next(f for f in written["findings"] if f["quantity"] == "loss")
    assert first["value"] == comparison.rows[0].outcomes["network"].loss


def test_nan_becomes_null():
    assert without_nan({"a": [float("nan"), 1.5, (float("inf"),)]}) == {"a": [None, 1.5, [None]]}


def test_page_is_whole_and_loads_nothing(page, comparison):
    parsed = Page(page)
    links = [link for link in parsed.links if link != "data:,"]
    assert all(link.startswith("#") for link in links)
    assert {link[1:] for link in links} <= set(parsed.ids)
    assert len(parsed.ids) == len(set(parsed.ids))
    tags = [tag for tag, _ in parsed.tags]
    assert not {"img", "iframe", "object", "embed"} & set(tags)
    assert [attrs.get("type") for tag, attrs in parsed.tags if tag == "script"] == [
        "application/json",
        None,
    ]
    assert "@import" not in page and "url(http" not in page
    assert dict(parsed.tags)["html"]["lang"] == "en"
    assert tags.count("h1") == 1 and tags.count("svg") == len(drawn(comparison))


def test_the_browser_is_told_to_fetch_nothing_and_run_one_script(page):
    policy = next(a["content"] for t, a in Page(page).tags if t == "meta" and "content" in a)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    script = page[page.rindex("<script>") + len("<script>") : page.rindex("</script>")]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert rules["default-src"] == "'none'" and rules["script-src"] == f"'sha256-{digest}'"
    assert "</" not in script


def test_page_has_every_row_and_the_verdict(page, comparison):
    words = " ".join(" ".join(Page(page).words).split())
    for row in comparison.rows:
        assert row.intervention.title in words
    assert all(point in words for point in tables.rule(comparison.verdict.rule))
    assert "prefers-color-scheme: dark" in page and "@media print" in page


def test_what_cannot_explain_does_not_look_like_an_explanation(comparison, page, trained):
    # The network is untrained.
    assert comparison.verdict.explained_by == ()
    for text in (page, report.full_text(comparison)):
        words = " ".join(text.split())
        assert "Nothing explains" in words
        assert words.count("(cannot explain it)") >= len(tables.role_families(comparison))
    assert trained.verdict.explained_by
    for family in tables.role_families(trained):
        fails = set(family.names) <= set(trained.verdict.fails)
        assert family.title == ", ".join(family.names) + " (cannot explain it)" * fails


def test_page_can_be_used_without_eyes_or_mouse(page):
    parsed = Page(page)
    for tag, attrs in parsed.tags:
        if tag == "th":
            assert attrs["scope"] in ("col", "row")
        if tag == "svg":
            assert attrs["role"] == "img" and len(attrs["aria-label"]) > 20
        if "scroll" in attrs.get("class", "").split():
            assert attrs["tabindex"] == "0" and attrs["aria-label"]
    tags = [tag for tag, _ in parsed.tags]
    assert tags.count("table") == tags.count("caption")


def test_labels_are_escaped(page, comparison):
    assert "<script>alert" not in page and "\x1b" not in page
    assert "&lt;script&gt;" in page
    assert "[bold]" in report.plain_text(comparison) and "[bold]" in report.full_text(comparison)


def test_figures_are_the_same_each_time(comparison, folder, tmp_path):
    again = report.save(comparison, tmp_path)
    names = sorted(path.name for path in (folder / "figures").iterdir())
    kept = drawn(comparison)
    assert names == sorted(f"{name}.svg" for name in kept)
    for name in (*(f"figures/{name}" for name in names), "findings.json", "report.html"):
        assert (folder / name).read_bytes() == (again / name).read_bytes()


def test_figures_are_xml_with_text_as_text(folder):
    for path in (folder / "figures").glob("*.svg"):
        root = ET.fromstring(path.read_text(encoding="utf-8"))
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert root.findall(".//{http://www.w3.org/2000/svg}text")
        assert "$" not in "".join(root.itertext())


def test_every_axis_is_labelled(comparison, nothing_applies, trained):
    for each in (comparison, nothing_applies, trained):
        figures = all_figures(each)
        assert next(iter(figures)) == "front"
        for name, figure in figures.items():
            (ax,) = figure.axes
            # Classes of one order stand beside each other in no order of their own.
            assert ax.get_xlabel() or name == "lattice"
            assert ax.get_ylabel(), name


def test_a_figure_draws_on_the_axes_it_is_given(trained):
    assert drawn(trained) == [name for name in PLATES if name != "certificate"]
    with look():
        for name in drawn(trained):
            ax = Figure().add_subplot()
            assert PLATES[name].draw(trained, ax) is ax


def test_a_png_is_dark_on_white(trained):
    content = png(all_figures(trained)["training_loss"])
    assert content.startswith(b"\x89PNG") and content == png(all_figures(trained)["training_loss"])
    pixels = matplotlib.image.imread(io.BytesIO(content))
    assert pixels[0, 0, :3].tolist() == [1, 1, 1] and pixels.shape[1] > 900


def test_a_trained_network_shows_its_training(trained):
    curve = trained.network.provenance["curve"]
    figures = all_figures(trained)
    first, second = figures["training_loss"].axes[0].lines
    assert first.get_ydata().tolist() == [look["train_loss"] for look in curve if look["step"]]
    assert second.get_ydata().tolist() == [look["loss"] for look in curve if look["step"]]
    assert figures["training_accuracy"].axes[0].get_ylim()[0] < 0
    forming = figures["structure_forming"].axes[0].lines[0]
    kept = trained.formation.fvu_left.numpy()
    kept = kept[:, ~np.isnan(kept).any(0)]
    assert forming.get_xdata().tolist() == [s for s in trained.formation.steps if s]
    assert forming.get_ydata()[-1] == pytest.approx(np.median(kept[-1]))


def test_a_line_of_python_repeats_its_row(trained, capsys):
    row = next(row for row in trained.rows if row.intervention.id == "noise_1_1")
    line = one_row(trained, "noise_1_1")
    assert "\n" not in line
    exec(line, {})
    printed = capsys.readouterr().out
    for outcome in row.outcomes.values():
        if repr(outcome) in printed:
            printed = printed.replace(repr(outcome), "")
    assert "Outcome" not in printed and "network" in printed


def test_a_line_of_python_repeats_the_comparison(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(whole_comparison(trained), {})
    again = json.loads((tmp_path / "report" / "findings.json").read_text())
    assert again["findings"] == trained.to_dict()["findings"]


def test_the_line_that_repeats_a_comparison_names_a_foreign_algorithm():
    comparison = cc.compare(planted_coset(cc.group("S3"), "C2"), [Foreign(), cc.IrrepAlgorithm()])
    assert "[Foreign(...), cc.IrrepAlgorithm()]" in whole_comparison(comparison)


def test_the_line_that_repeats_a_comparison_names_an_intervention_of_ones_own():
    own = cc.Intervention("fold", "left side folded", lambda *_: [])
    network, algorithms = planted_coset(cc.group("S3"), "C2"), [cc.CosetAlgorithm()]
    known = list(cc.INTERVENTIONS.values())
    for given, words in (
        ([*known, own], "[*cc.INTERVENTIONS.values(), cc.Intervention('fold', ...)]"),
        ([own, known[0]], """[cc.Intervention('fold', ...), cc.INTERVENTIONS["base"]]"""),
    ):
        comparison = cc.compare(network, algorithms, interventions=given)
        assert f"interventions={words}" in whole_comparison(comparison)
    assert "cc.measure(cc.Intervention('fold', ...), " in one_row(comparison, "fold")
    assert "interventions=" not in whole_comparison(cc.compare(network, algorithms))


def test_the_lattice_marks_the_classes_in_use(trained):
    ax = all_figures(trained)["lattice"].axes[0]
    names = [text.get_text().splitlines()[0] for text in ax.texts]
    assert names == [c.name for c in cc.group("S3").subgroup_classes]
    roles = trained.candidate("coset").circuit.roles.names
    for text in ax.texts:
        name, *count = text.get_text().splitlines()
        neurons = roles.count(name)
        assert count == ([f"{neurons} neuron{'s' * (neurons > 1)}"] if neurons else [])
    # C2 and C3 in S3, C1 in both.
    assert len(ax.lines) == 4


@pytest.mark.parametrize(
    ("name", "used"),
    [
        ("S5", ("A5", "D10", "C5")),
        ("S6", ("S5 transitive", "S4⟨(3 5 4 6), (1 3 2 4)⟩", "S3 transitive")),
    ],
)
def test_no_line_between_used_classes_runs_through_another(name, used, trained, monkeypatch):
    """A line that crosses a third class would read as two lines that end there."""
    network = cc.GroupMLP.initialised(cc.group(name), d_mlp=4, d_embed=4, seed=0)
    comparison = dataclasses.replace(
        trained, bench=dataclasses.replace(trained.bench, network=network)
    )
    monkeypatch.setattr(lattice, "used_classes", lambda _: dict.fromkeys(used, 1))
    with look():
        figure = Figure(figsize=lattice.size(comparison))
        ax = lattice.lattice(comparison, figure.add_axes((0, 0, 1, 1)))
    figure.draw_without_rendering()
    boxes = [label.get_bbox_patch().get_window_extent() for label in ax.texts]
    dark = [line for line in ax.lines if line.get_alpha() > FAINT]
    assert len(dark) == 2
    for line in dark:
        path = line.get_path().transformed(line.get_transform())
        # Its two ends, and no third.
        assert sum(path.intersects_bbox(box) for box in boxes) == 2


def test_the_pages_tables_are_the_networks(trained):
    data = gallery(trained)
    network = trained.network
    for table, own in zip(data["tables"], (network.left_table, network.right_table), strict=False):
        levels = np.frombuffer(base64.b64decode(table["levels"]), np.uint8).reshape(-1, 6)
        low, high = np.array(table["low"])[:, None], np.array(table["high"])[:, None]
        told = low + (high - low) / 255 * levels
        assert np.abs(told - own.detach().T.numpy()).max() < 0.01 * (high - low).max()
    shares = np.array(data["shares"])
    assert shares.shape == (network.cfg.d_mlp, 3, 2) and np.allclose(shares.sum(2), 1, atol=1e-3)
    cosets, notes = data["cosets"], trained.candidate("coset").circuit.roles.notes
    for j, x in enumerate(cosets["x"]):
        H, K = (cosets["subgroups"][cosets[side][j]] for side in "HK")
        assert H["name"] == K["name"] == notes["subgroup"][j]
        right = np.frombuffer(base64.b64decode(H["cosets"]), "<u2")
        conjugate = np.frombuffer(base64.b64decode(K["cosets"]), "<u2")
        # Hx = xK: the left coset of x, which are the right cosets of inverses.
        inverse = np.array(cosets["inverse"])
        shared = right == right[x]
        assert (shared == (conjugate[inverse] == conjugate[inverse[x]])).all()


def test_front_has_a_marker_for_each_candidate(comparison):
    delta = comparison.fidelity.delta
    ax = all_figures(comparison)["front"].axes[0]
    drawn = {(x, y) for line in ax.lines for x, y in line.get_xydata() if line.get_marker() != ""}
    for candidate in comparison.candidates:
        error = comparison.predicted[candidate.name].median_log_loss
        assert (candidate.bits[delta], error) in drawn


def test_a_report_where_nothing_applies(nothing_applies, tmp_path):
    page = (report.save(nothing_applies, tmp_path) / "report.html").read_text(encoding="utf-8")
    assert "no proper non-trivial subgroup" in page
    for text in (report.plain_text(nothing_applies), report.full_text(nothing_applies)):
        assert "no proper non-trivial subgroup" in " ".join(text.split())


def test_a_row_that_could_not_be_measured_says_why(tmp_path):
    generator = torch.Generator().manual_seed(0)
    shapes = {"W_E_left": (6, 3), "W_E_right": (6, 5), "W_in": (8, 4), "W_U": (4, 6)}
    weights = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    network = cc.GroupMLP.from_weights(cc.group("S3"), **weights)
    found = cc.compare(network, [cc.CosetAlgorithm()])
    text = (found.save(tmp_path) / "report.html").read_text(encoding="utf-8")
    words = " ".join(" ".join(Page(text).words).split())
    assert "swap_tables: not done. The embeddings of" in words and "widths 3 and 5" in words


@pytest.mark.parametrize("where", ["taken", "taken/report", "report"])
def test_a_file_in_the_way_is_refused(comparison, tmp_path, where):
    (tmp_path / "taken").write_text("mine")
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "figures").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(cc.CosetCircuitsError, match=r"cannot be written: .* is a file"):
        report.save(comparison, tmp_path / where)
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "taken").read_text() == "mine"


def test_a_failed_write_leaves_nothing(comparison, tmp_path, monkeypatch):
    def full(self, *args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(cc.CosetCircuitsError, match="No space left on device"):
        report.save(comparison, tmp_path / "new" / "report")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_where_a_file_belongs_is_refused(comparison, tmp_path):
    (tmp_path / "report.html").mkdir()
    with pytest.raises(cc.CosetCircuitsError, match="is a folder"):
        report.save(comparison, tmp_path)
    assert not (tmp_path / "findings.json").exists()


def test_saving_leaves_the_comparison_alone(comparison, tmp_path):
    before = copy.deepcopy(comparison.to_dict())
    report.save(comparison, tmp_path)
    assert comparison.to_dict() == before
