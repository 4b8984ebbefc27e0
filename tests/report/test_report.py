"""What is printed and written holds what was found, is safe to open, and is the same each time."""

import copy
import json
import os
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import pytest
from matplotlib.figure import Figure
from rich.console import Console

import coset_circuits as cc
from coset_circuits import report
from coset_circuits.evidence.compare import without_nan
from coset_circuits.networks import planted_coset
from coset_circuits.report import tables
from coset_circuits.report.figures import PLATES, all_figures
from coset_circuits.report.style import look

HOSTILE = '<script>alert("1")</script> [bold]&\x1b[31m $x$'
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
    assert report.__all__ == ["plain_text", "print_comparison", "save"]


@pytest.mark.parametrize("width", [80, 60, 100])
def test_no_line_is_longer_than_the_width(comparison, nothing_applies, width):
    for each in (comparison, nothing_applies):
        assert max(map(len, report.plain_text(each, width).splitlines())) <= width


def test_plain_text_has_every_row_candidate_and_verdict(comparison):
    text = report.plain_text(comparison)
    words = " ".join(text.split())
    for row in comparison.rows:
        # Once among the accuracies, once among the losses, where the row's own name stands.
        starts = [line.split()[1:2] for line in text.splitlines()]
        assert starts.count([row.intervention.id]) >= 2
        assert row.intervention.title in words
    for candidate in comparison.candidates:
        assert candidate.name.replace(", relabelled", " (relab.)") in words
    for sentence in (*comparison.verdict.sentences, comparison.verdict.rule):
        assert " ".join(sentence.split()) in words
    assert "\x1b" not in text


def test_terminal_prints_the_observed_figures(comparison):
    first, second = [
        line.split()
        for line in report.plain_text(comparison).splitlines()
        if line.split()[1:2] == ["base"]
    ][:2]
    outcomes = comparison.rows[0].outcomes
    observed, *shown = [
        f"{outcomes[name].accuracy:.4f}"
        for name in ["network", *(c.name for c in comparison.hypotheses)]
    ]
    # Seven hypotheses do not fit on 80 columns: five stand in the first table.
    assert first[2:8] == [observed, *shown[:5]]
    assert second[2:5] == [observed, *shown[5:]]


def test_print_comparison_takes_a_console(comparison):
    console = Console(width=80, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    with console.file:
        report.print_comparison(comparison, console)
    assert "VERDICT" in console.export_text()


def test_short_names_are_short_and_differ():
    names = [f"hypothesis-{i}" for i in range(12)]
    short = tables.short_names(names)
    assert len(set(short.values())) == 12
    assert max(map(len, short.values())) <= 7
    assert tables.short_names(["coset", "coset+even", "irrep-projected+even"]) == {
        "coset": "coset",
        "coset+even": "coset+e",
        "irrep-projected+even": "proj+e",
    }


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
    families = [family.names for family in tables.role_families(comparison)]
    # No neuron has a role here, so levels fitted together are no others.
    assert families[0] == ("coset", "coset+even", "coset+even+joint")
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
    used = {(c.name, id) for c in comparison.hypotheses for id in c.circuit.used_rows}
    assert used
    lines = tables.interventions(comparison)
    assert {(name, line.id) for line in lines for name in line.used} == used
    assert page.count("used to fit</small>") == len(used)
    assert "has already used" in " ".join(report.plain_text(comparison).split())


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


def test_page_is_whole_and_loads_nothing(page):
    parsed = Page(page)
    assert all(link.startswith("#") for link in parsed.links)
    assert {link[1:] for link in parsed.links} <= set(parsed.ids)
    assert len(parsed.ids) == len(set(parsed.ids))
    tags = [tag for tag, _ in parsed.tags]
    assert not {"script", "link", "img", "iframe", "object", "embed"} & set(tags)
    assert "@import" not in page and "url(http" not in page
    assert dict(parsed.tags)["html"]["lang"] == "en"
    assert tags.count("h1") == 1 and tags.count("svg") == len(PLATES)


def test_page_has_every_row_and_the_verdict(page, comparison):
    words = " ".join(" ".join(Page(page).words).split())
    for row in comparison.rows:
        assert row.intervention.title in words
    assert " ".join(comparison.verdict.rule.split()) in words
    assert "prefers-color-scheme:dark" in page and "@media print" in page


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
    assert "<script" not in page and "\x1b" not in page
    assert "&lt;script&gt;" in page
    assert "[bold]" in report.plain_text(comparison)


def test_figures_are_the_same_each_time(comparison, folder, tmp_path):
    again = report.save(comparison, tmp_path)
    names = sorted(path.name for path in (folder / "figures").iterdir())
    assert names == sorted(f"{name}.svg" for name in PLATES)
    for name in (*(f"figures/{name}" for name in names), "findings.json", "report.html"):
        assert (folder / name).read_bytes() == (again / name).read_bytes()


def test_figures_are_xml_with_text_as_text(folder):
    for path in (folder / "figures").iterdir():
        root = ET.fromstring(path.read_text(encoding="utf-8"))
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert root.findall(".//{http://www.w3.org/2000/svg}text")
        assert "$" not in "".join(root.itertext())


def test_every_axis_is_labelled(comparison, nothing_applies):
    for each in (comparison, nothing_applies):
        figures = all_figures(each)
        assert next(iter(figures)) == "front"
        for name, figure in figures.items():
            (ax,) = figure.axes
            assert ax.get_xlabel(), name
            assert ax.get_ylabel() or name == "roles"


def test_a_figure_draws_on_the_axes_it_is_given(comparison):
    with look():
        for plate in PLATES.values():
            ax = Figure().add_subplot()
            assert plate.draw(comparison, ax) is ax


def test_front_has_a_marker_for_each_candidate(comparison):
    delta = comparison.thresholds.headline_error
    ax = all_figures(comparison)["front"].axes[0]
    drawn = {(x, y) for line in ax.lines for x, y in line.get_xydata() if line.get_marker() != ""}
    for candidate in comparison.candidates:
        error = comparison.predicted[candidate.name].median_log_loss
        assert (candidate.bits[delta], error) in drawn


def test_a_report_where_nothing_applies(nothing_applies, tmp_path):
    page = (report.save(nothing_applies, tmp_path) / "report.html").read_text(encoding="utf-8")
    assert "no proper non-trivial subgroup" in page
    assert "no proper non-trivial subgroup" in " ".join(report.plain_text(nothing_applies).split())


@pytest.mark.parametrize("where", ["taken", "taken/report", "report"])
def test_a_file_in_the_way_is_refused(comparison, tmp_path, where):
    (tmp_path / "taken").write_text("mine")
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "figures").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(cc.CosetCircuitsError, match=r"cannot be written to .* is a file"):
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
