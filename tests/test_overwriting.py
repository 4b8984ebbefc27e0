"""What the library did not write is never overwritten."""

import sys

import pytest
from typer.testing import CliRunner

import coset_circuits as cc
from coset_circuits import CosetCircuitsError, cli, comparison, reproduction
from coset_circuits.benchmark import SelfTest
from coset_circuits.comparison import Comparison
from coset_circuits.findings.storage import Kept
from coset_circuits.networks import planted_coset
from coset_circuits.networks.files import check_place, write_folder

MINE = "written by hand"


def invoke(*arguments):
    return CliRunner().invoke(cli.app, [*map(str, arguments)])


def theirs(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(MINE)
    return path


@pytest.mark.parametrize("name", ["results.json", "results.safetensors"])
def test_neither_the_file_nor_its_card_takes_anothers_place(name, tmp_path, unchecked):
    mine = theirs(tmp_path / name)
    with pytest.raises(CosetCircuitsError, match=f"{name} was not written by coset-circuits"):
        cc.save(cc.load("s4"), tmp_path / "results.safetensors")
    done = invoke("import", cc.shipped()["s4"], "--out", tmp_path / "results.safetensors")
    assert isinstance(done.exception, CosetCircuitsError)
    assert mine.read_text() == MINE and [*tmp_path.iterdir()] == [mine]


def test_a_network_of_ours_is_replaced(tmp_path):
    for name in ("s4", "s5"):
        path = cc.save(cc.load(name), tmp_path / "n.safetensors")
        assert cc.load(path).label == name


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (("compare", "s4"), "report.html"),
        (("compare", "s4", "s5"), "findings.json"),
        (("reproduce", "table5"), "reproduction.json"),
        (("reproduce", "table5"), "reproduction.md"),
        (("selftest",), "selftest.json"),
    ],
)
def test_a_command_refuses_before_any_work(command, name, tmp_path, monkeypatch, unchecked):
    mine = theirs(tmp_path / name)
    selftest = sys.modules["coset_circuits.benchmark.selftest"]
    for module, work in ((comparison, "compare"), (reproduction, "reproduce"), (selftest, "_kept")):
        monkeypatch.setattr(module, work, lambda *a, **k: pytest.fail("work was done"))
    done = invoke(*command, "--out", tmp_path)
    assert isinstance(done.exception, CosetCircuitsError), done.exception
    assert f"{name} was not written by coset-circuits" in str(done.exception)
    assert mine.read_text() == MINE


@pytest.mark.parametrize("name", ["network.safetensors", "network.json"])
def test_a_run_refuses_before_it_trains(name, tmp_path):
    mine = theirs(tmp_path / name)
    for resume in (False, True):
        with pytest.raises(CosetCircuitsError, match=f"{name} was not written by"):
            cc.train("S3", out=tmp_path, max_steps=10**6, resume=resume)
    assert mine.read_text() == MINE


def test_a_kept_report_takes_no_place_of_anothers(tmp_path):
    mine = theirs(tmp_path / "s4" / "notes.txt")
    also = theirs(tmp_path / "s4-01234567" / "asked.json")
    kept = Kept(tmp_path)
    assert kept.keep(None, "0123456789", "s4", lambda at: pytest.fail("it was written")) is None
    assert "asked.json was not written by" in kept.failures[0]
    assert (mine.read_text(), also.read_text()) == (MINE, MINE)


def test_figures_of_anothers_stay(tmp_path):
    mine = theirs(tmp_path / "figures" / "front.svg")
    files = {"report.html": "ours", "figures/front.svg": "ours"}
    with pytest.raises(CosetCircuitsError, match=r"front\.svg was not written by"):
        write_folder(tmp_path, lambda: files, below=("figures",))
    assert mine.read_text() == MINE and not (tmp_path / "report.html").exists()
    mine.unlink()
    for text in ("ours", "newer", "newest"):
        write_folder(tmp_path, lambda: dict.fromkeys(files, text), below=("figures",))  # noqa: B023
        assert mine.read_text() == text
    # Of the same name, elsewhere.
    with pytest.raises(CosetCircuitsError, match=r"report\.html was not written by"):
        write_folder(theirs(tmp_path / "other" / "report.html").parent, lambda: files)


def test_what_was_edited_since_stays(tmp_path):
    for text in ("first", "second"):
        write_folder(tmp_path, lambda: {"report.html": text, "findings.json": text})  # noqa: B023
    # A kill between two renames leaves a file of before beside the new list.
    (tmp_path / "report.html").write_text("first")
    write_folder(tmp_path, lambda: {"report.html": "third"})
    edited = theirs(tmp_path / "report.html")
    for files in (["report.html"], ["findings.json", "report.html"]):
        with pytest.raises(CosetCircuitsError, match=r"report\.html was changed since"):
            write_folder(tmp_path, lambda: dict.fromkeys(files, "fourth"))  # noqa: B023
    assert edited.read_text() == MINE and (tmp_path / "findings.json").read_text() == "second"


def test_a_card_with_notes_stays(tmp_path):
    path = cc.save(cc.load("s4"), tmp_path / "n.safetensors")
    card = path.with_suffix(".json")
    assert cc.save(cc.load("s5"), path) == path
    card.write_text(card.read_text().replace('"label": "s5"', '"label": "the good one"'))
    before = path.read_bytes()
    with pytest.raises(CosetCircuitsError, match=r"n\.json was changed since"):
        cc.save(cc.load("s4"), path)
    assert "the good one" in card.read_text() and path.read_bytes() == before
    path.unlink()
    assert cc.save(cc.load("s4"), path) == path


def test_an_edited_report_is_refused_before_any_work(tmp_path, monkeypatch, unchecked):
    cc.compare(planted_coset(cc.group("S3"), "C2"), ["coset"]).save(tmp_path)
    report = tmp_path / "report.html"
    report.write_text(report.read_text().replace("<title>", "<title>My notes: "))
    monkeypatch.setattr(comparison, "compare", lambda *a, **k: pytest.fail("work was done"))
    done = invoke("compare", "s4", "--out", tmp_path)
    assert isinstance(done.exception, CosetCircuitsError)
    assert "report.html was changed since it was written" in str(done.exception)
    assert "My notes" in report.read_text()


def test_a_dangling_link_and_a_folder_are_not_ours(tmp_path):
    (tmp_path / "report.html").symlink_to(tmp_path / "gone")
    (tmp_path / "findings.json").mkdir()
    for name, sentence in (("report.html", "was not written"), ("findings.json", "is a folder")):
        with pytest.raises(CosetCircuitsError, match=sentence):
            check_place(tmp_path, [name])


def test_every_result_asks_first():
    """Results are written through one function, which the tests above are about."""
    from coset_circuits.report import ensemble, folder, selftest
    from coset_circuits.reproduction import page

    assert all(m.write_folder is write_folder for m in (ensemble, folder, selftest, page))
    assert Comparison.save is SelfTest.save
