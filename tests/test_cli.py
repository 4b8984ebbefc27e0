"""The command line, run as a user runs it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

import coset_circuits as cc
from coset_circuits.evidence import INTERVENTIONS


def run(*arguments, cwd=None):
    return subprocess.run(
        [sys.executable, "-m", "coset_circuits", *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


def one_sentence(done):
    assert done.returncode == 2, (done.returncode, done.stderr)
    assert done.stderr.startswith("Error: ")
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    return done.stderr


def test_help_needs_no_torch():
    code = (
        "import sys, coset_circuits.cli as c\n"
        "try: c.app(['--help'])\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules and 'transformer_lens' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for command in ("compare", "train", "group", "import", "networks"):
        assert command in done.stdout


@pytest.mark.slow
def test_compare_writes_a_report_and_prints_the_evidence(tmp_path):
    done = run("compare", "s4", "--out", tmp_path / "report", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for intervention in INTERVENTIONS:
        assert intervention in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80 + len(str(tmp_path))
    findings = json.loads((tmp_path / "report" / "findings.json").read_text())
    assert findings["network"]["accuracy"] == 1.0
    assert findings["network"]["pairs"] == 576
    assert "irrep-bilinear" in findings["verdict"]["refuted"]
    assert (tmp_path / "report" / "report.html").exists()
    assert list((tmp_path / "report" / "figures").glob("*.svg"))


@pytest.mark.slow
def test_json_is_the_only_output(tmp_path):
    done = run("compare", "s4", "--json", "--algorithms", "coset", cwd=tmp_path)
    findings = json.loads(done.stdout)
    assert findings["schema"] == 1
    assert {c["algorithm"] for c in findings["circuits"] if c["kind"] == "hypothesis"} == {
        "coset",
        "coset+even",
    }
    assert list(tmp_path.iterdir()) == []


def test_group_json_has_exact_spectra():
    done = run("group", "S4", "--json")
    described = json.loads(done.stdout)
    assert described["order"] == 24
    assert sum(s["count"] for s in described["subgroups"]) == 30
    assert len(described["subgroups"]) == 11
    spectra = {s["name"]: s["spectrum"] for s in described["subgroups"]}
    assert spectra["S3"]["(3,1)"] == [1, 1]
    assert spectra["A4"]["(1,1,1,1)"] == [1, 1]


@pytest.mark.slow
def test_train_stop_resume_compare(tmp_path):
    arguments = ("train", "S3", "--seeds", "0-1", "--width", 16, "--embedding", 8)
    done = run(*arguments, "--fraction", 0.9, "--max-steps", 200, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    files = [tmp_path / f"S3-seed{i}" / "network.safetensors" for i in (0, 1)]
    assert all(file.exists() for file in files)
    card = json.loads(files[0].with_suffix(".json").read_text())
    assert card["provenance"]["command"] == (
        "coset-circuits train S3 --seeds 0 --recipe fast --width 16 --embedding 8 --fraction 0.9 "
        "--max-steps 200"
    )
    again = run(*arguments, "--fraction", 0.9, "--max-steps", 200, "--out", tmp_path, "--resume")
    assert again.stdout.count("finished already") == 2


def test_import_keeps_the_network(tmp_path):
    network = cc.load("s4")
    cc.save(network, tmp_path / "mine.safetensors")
    done = run("import", tmp_path / "mine.safetensors", "--out", tmp_path / "copy.safetensors")
    assert done.returncode == 0, done.stderr
    copied, own = load_file(tmp_path / "copy.safetensors"), dict(network.named_parameters())
    assert all((copied[name] == own[name]).all() for name in own)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("compare", "nosuch"), ("nosuch", "s5", "s4")),
        (("compare", "s4", "--algorithms", "magic"), ("magic", "coset, irrep")),
        (("compare", "s4", "--pairs", "-3"), ("--pairs", "-3")),
        (("train", "Q9"), ("Q9", "S1 to S7")),
        (("train", "S3", "--seeds", "5-1"), ("--seeds", "5-1")),
        (("train", "S3", "--recipe", "slow"), ("slow", "fast")),
        (("train", "S3", "--fraction", "2"), ("fraction", "2")),
        (("group", "S99"), ("S99",)),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else "",
)
def test_bad_input_is_one_sentence(arguments, words, tmp_path):
    sentence = one_sentence(run(*arguments, cwd=tmp_path))
    assert all(word in sentence for word in words)
    assert list(tmp_path.iterdir()) == []


def test_an_out_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    sentence = one_sentence(run("compare", "s4", "--out", tmp_path / "file" / "report"))
    assert "cannot be written" in sentence
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_damaged_file(tmp_path):
    whole = Path(cc.shipped()["s4"]).read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    assert "cut.safetensors" in one_sentence(run("compare", tmp_path / "cut.safetensors"))
