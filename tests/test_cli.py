"""The command line, run as a user runs it."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file
from typer.testing import CliRunner

import coset_circuits as cc
from coset_circuits import cli
from coset_circuits.benchmark import known_cases
from coset_circuits.cli.running import Stopped, interruptible
from coset_circuits.experiments import INTERVENTIONS
from coset_circuits.networks import planted_coset


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
    for command in ("compare", "train", "reproduce", "group", "import", "networks"):
        assert command in done.stdout


@pytest.mark.slow
def test_compare_writes_a_report_and_prints_the_evidence(tmp_path, command):
    done = command("compare", "s4", "--out", "report", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) <= 40 and max(map(len, lines)) <= 80
    assert lines[-1] == "Report: report/report.html"
    options = ("--algorithms", "coset", "--out", tmp_path / "tables", "-v")
    done = command("compare", "s4", *options, cwd=tmp_path)
    for intervention in INTERVENTIONS:
        assert intervention in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80 + len(str(tmp_path))
    findings = json.loads((tmp_path / "report" / "findings.json").read_text())
    assert findings["network"]["accuracy"] == 1.0
    assert findings["network"]["pairs"] == 576
    assert "bilinear" in findings["verdict"]["refuted"]
    assert (tmp_path / "report" / "report.html").exists()
    assert list((tmp_path / "report" / "figures").glob("*.svg"))


@pytest.mark.slow
def test_json_is_the_only_output(tmp_path, command):
    done = command("compare", "s4", "--json", "--algorithms", "coset", cwd=tmp_path)
    findings = json.loads(done.stdout)
    assert findings["schema"] == 2
    assert {c["algorithm"] for c in findings["circuits"] if c["kind"] == "hypothesis"} == {"coset"}
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def runs(tmp_path):
    """A folder of eight networks and a file that is none."""
    for seed in range(8):
        network = planted_coset(cc.group("S3"), "C2", seed=seed)
        network.label = f"S3-seed{seed}"
        cc.save(network.float(), tmp_path / "runs" / network.label / "network.safetensors")
    (tmp_path / "runs" / "bad.pt").write_bytes(b"nonsense")
    return tmp_path / "runs"


@pytest.mark.slow
def test_compare_takes_several_networks_and_folders(runs, tmp_path, command):
    given = ("compare", runs / "S3-seed1", runs / "S3-seed0", runs / "bad.pt")
    options = ("--algorithms", "coset", "--out", tmp_path / "report")
    short = command(*given, *options, cwd=tmp_path).stdout
    assert len(short.splitlines()) <= 40
    assert short.startswith("2 networks: 2 of S3, ")
    done = command(*given, *options, "--verbose", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert max(map(len, lines[:-1])) <= 80
    for words in ("S3-seed0", "ACROSS 2 NETWORKS OF S3", "bad.pt", "no difference can be"):
        assert words in " ".join(done.stdout.split())
    told = command(*given, *options, "--json", cwd=tmp_path)
    found = json.loads(told.stdout)
    assert found == json.loads((tmp_path / "report" / "findings.json").read_text())
    assert [n["name"] for n in found["networks"]] == ["S3-seed1", "S3-seed0"]
    assert [Path(n["file"]).name for n in found["skipped"]] == ["bad.pt"]
    for name in ("S3-seed0", "S3-seed1", "."):
        assert (tmp_path / "report" / name / "report.html").exists()


STOPPED = """
import itertools, os, signal, sys
from coset_circuits import cli

forks = itertools.count(1)
os.register_at_fork(after_in_parent=lambda: next(forks) == 4 and signal.raise_signal(signal.SIGINT))
sys.argv[0] = "coset-circuits"
cli.main()
"""
"""The command, with Ctrl-C while its fourth process starts."""


@pytest.mark.slow
def test_ctrl_c_among_many_networks_keeps_what_is_done(runs, tmp_path):
    arguments = ("compare", runs, "--algorithms", "coset", "--out", tmp_path / "report", "--quiet")
    command = [sys.executable, "-c", STOPPED, *map(str, arguments), "--workers", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 130, done.stderr
    assert done.stderr.startswith("Stopped.") and len(done.stderr.splitlines()) == 1
    assert "rerun the command to continue" in done.stderr
    # Two run when the fourth begins.
    assert len(list(tmp_path.glob("report/*/asked.json"))) == 2
    assert not (tmp_path / "report" / "report.html").exists()


def test_group_json_has_exact_spectra(command):
    done = command("group", "S4", "--json")
    described = json.loads(done.stdout)
    assert described["order"] == 24
    assert sum(s["count"] for s in described["subgroups"]) == 30
    assert len(described["subgroups"]) == 11
    spectra = {s["name"]: s["spectrum"] for s in described["subgroups"]}
    assert spectra["S3"]["(3,1)"] == [1, 1]
    assert spectra["A4"]["(1,1,1,1)"] == [1, 1]


def test_no_color_is_respected(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    arguments = [sys.executable, "-m", "coset_circuits", "group", "S3"]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    # Bold is no colour; 30 to 49 and 90 to 107 are.
    assert "S3" in done.stdout and not re.search(r"\x1b\[[\d;]*[349]\dm", done.stdout)


def test_networks_are_listed_for_machines(command):
    listed = json.loads(command("networks", "--json").stdout)
    assert [n["name"] for n in listed] == list(cc.shipped())
    for facts in listed:
        network = cc.load(facts["name"])
        assert facts["command"].startswith(f"coset-circuits train {facts['group']} ")
        assert facts["group"] == network.group.name and facts["d_mlp"] == network.d_mlp
        assert facts["act_fn"] == network.activation.name
        for key in ("command", "steps", "seed", "sha256"):
            assert facts[key] == network.provenance[key]


def test_the_list_of_networks_fits_the_terminal(command):
    text = command("networks").stdout
    assert max(map(len, text.splitlines())) <= 80
    words = " ".join(text.split())
    for name in cc.shipped():
        assert f"{name} {cc.load(name).group.name}" in words


@pytest.mark.slow
def test_quiet_says_where_the_report_is(tmp_path, command):
    done = command("compare", "s4", "--algorithms", "coset", "--quiet", "--out", tmp_path / "r")
    assert done.stdout == f"Report: {tmp_path / 'r' / 'report.html'}\n" and done.stderr == ""


@pytest.mark.slow
def test_train_stop_resume_compare(tmp_path, command):
    arguments = ("train", "S3", "--seeds", "0-1", "--width", 16, "--embedding", 8)
    arguments += ("--set", "batch_size=null", "--set", "betas=[0.9, 0.99]", "--activation", "gelu")
    arguments += ("--fraction", 0.9, "--max-steps", 200, "--out", tmp_path)
    done = command(*arguments)
    assert done.returncode == 0, done.stderr
    files = [tmp_path / f"S3-seed{i}" / "network.safetensors" for i in (0, 1)]
    assert all(file.exists() for file in files)
    assert f"Next: coset-circuits compare {tmp_path}\n" in done.stdout
    again = command(*arguments, "--resume")
    assert again.stdout == done.stdout
    told = command(*arguments, "--resume", "--json")
    assert told.returncode == 0 and told.stderr == ""
    for found, file in zip(json.loads(told.stdout), files, strict=True):
        last = cc.load(file).provenance["curve"][-1]
        assert (found["file"], found["failure"], found["group"]) == (str(file), None, "S3")
        assert found.items() >= {k: last[k] for k in ("step", "loss", "test_accuracy")}.items()
    # Without --resume what is there stays: no network, and why.
    refused = command(*arguments, "--json")
    assert refused.returncode == 1 and refused.stderr == ""
    for found in json.loads(refused.stdout):
        assert found["file"] is found["state"] is found["loss"] is None
        assert "exists already" in found["failure"]
    card = json.loads(files[0].with_suffix(".json").read_text())
    words = shlex.split(card["provenance"]["command"])
    assert words[0] == "coset-circuits"
    assert command(*words[1:], "--out", tmp_path / "again").returncode == 0
    same = tmp_path / "again" / "S3-seed0" / "network.safetensors"
    one, other = load_file(files[0]), load_file(same)
    assert one.keys() == other.keys() and all((one[k] == other[k]).all() for k in one)


def test_a_transformer_is_trained_and_its_card_repeats_it(tmp_path, command):
    arguments = ("train", "S3", "--architecture", "transformer", "--width", 12, "--d-model", 8)
    arguments += ("--n-heads", 2, "--d-head", 4, "--max-steps", 20)
    done = command(*arguments, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    file = tmp_path / "S3-transformer-seed0" / "network.safetensors"
    cfg = cc.load(file).cfg
    assert (cfg.d_mlp, cfg.d_model, cfg.n_heads, cfg.d_head) == (12, 8, 2, 4)
    words = shlex.split(json.loads(file.with_suffix(".json").read_text())["provenance"]["command"])
    assert command(*words[1:], "--out", tmp_path / "again").returncode == 0
    one, other = (load_file(f) for f in (file, tmp_path / "again" / file.relative_to(tmp_path)))
    assert one.keys() == other.keys() and all((one[k] == other[k]).all() for k in one)
    refused = command(*arguments, "--embedding", 8, "--out", tmp_path / "other")
    assert refused.returncode != 0
    assert "the architecture transformer has no d_embed" in one_sentence(refused)


def test_reproduce_writes_a_page_and_prints_json_alone(tmp_path, command):
    done = command("reproduce", "table5", "fig6", "--networks", "s4", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout)
    assert content["command"] == "coset-circuits reproduce table5 fig6 --networks s4"
    assert [section["name"] for section in content["sections"]] == ["table5", "fig6"]
    folder = tmp_path / "coset-circuits-report" / "reproduction"
    assert json.loads((folder / "reproduction.json").read_text()) == content
    assert (folder / "figures" / "fig6-S4-64-relu.svg").is_file()


def test_import_keeps_the_network(tmp_path, command):
    network = cc.load("s4")
    cc.save(network, tmp_path / "mine.safetensors")
    done = command("import", tmp_path / "mine.safetensors", "--out", tmp_path / "copy.safetensors")
    assert done.returncode == 0, done.stderr
    copied, own = load_file(tmp_path / "copy.safetensors"), dict(network.named_parameters())
    assert all((copied[name] == own[name]).all() for name in own)
    told = command(
        "import", tmp_path / "mine.safetensors", "--out", tmp_path / "n.safetensors", "--json"
    )
    assert told.returncode == 0 and told.stderr == ""
    assert json.loads(told.stdout) == {
        "name": "s4",
        "group": "S4",
        "d_mlp": 64,
        "act_fn": "relu",
        "element_order": None,
        "file": str(tmp_path / "n.safetensors"),
    }


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("compare", "nosuch"), ("nosuch", "s5", "s4")),
        (("compare", "s4", "nosuch"), ("nosuch", "s5", "s4")),
        (("compare", "."), ("no network", "it is empty")),
        (("compare", "s4", "--algorithms", "magic"), ("magic", "coset, irrep")),
        (("compare", "s4", "-v", "--json"), ("--verbose", "give one of them")),
        (("compare", "s4", "--pairs", "-3"), ("--pairs", "-3")),
        (("compare", "s4", "--seed", "one"), ("--seed", "integer", "compare --help")),
        (("compare", "s4", "--sed", "1"), ("--sed", "--seed")),
        (("frobnicate",), ("frobnicate", "coset-circuits --help")),
        (("train",), ("GROUP", "train --help")),
        (("train", "S3", "--workers", "0"), ("--workers", "1")),
        (("compare", "s4", "--workers", "0"), ("--workers", "1")),
        (("train", "S3", "--seeds", "0-100000"), ("0-100000", "at most 100,000")),
        (("comapre", "s4"), ("'compare'? See coset-circuits --help.",)),
        (("train", "Q9"), ("order 9", "power of 2")),
        (("train", "S3", "--seeds", "5-1"), ("--seeds", "5-1")),
        (("train", "S3", "--recipe", "slow"), ("slow", "fast")),
        (("train", "S3", "--fraction", "2"), ("fraction", "2")),
        (("train", "S3", "--set", "learning_rate=fast"), ("'fast'", "above 0")),
        (("train", "S3", "--set", "lr"), ("--set", "learning_rate=0.02")),
        (("group", "S99"), ("S99",)),
        (("reproduce", "table9"), ("table9", "table1", "fig8", "all")),
        (("reproduce", "fig6", "--networks", "nosuch"), ("nosuch", "s5")),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else "",
)
def test_bad_input_is_one_sentence(arguments, words, tmp_path, command):
    sentence = one_sentence(command(*arguments, cwd=tmp_path))
    assert all(word in sentence for word in words)
    assert list(tmp_path.iterdir()) == []


def test_an_out_that_cannot_be_written(tmp_path, command):
    (tmp_path / "file").write_text("in the way")
    sentence = one_sentence(command("compare", "s4", "--out", tmp_path / "file" / "report"))
    assert "cannot be written" in sentence
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_file_that_is_no_network(tmp_path, command):
    (tmp_path / "notes.txt").write_text("hello")
    for word in ("compare", "import"):
        assert "notes.txt" in one_sentence(command(word, tmp_path / "notes.txt"))


def test_a_damaged_file(tmp_path, command):
    whole = Path(cc.shipped()["s4"]).read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    assert "cut.safetensors" in one_sentence(command("compare", tmp_path / "cut.safetensors"))


@pytest.mark.slow
def test_selftest_says_what_was_put_there_and_goes_on(tmp_path, monkeypatch, unchecked):
    chosen = [case for case in known_cases(["D4"]) if case.noise is None][:3]
    monkeypatch.setattr(
        sys.modules["coset_circuits.benchmark.selftest"], "known_cases", lambda groups: chosen
    )
    arguments = ["selftest", "--groups", "D4", "--seeds", "1", "--out", str(tmp_path), "--json"]
    first, again = (CliRunner().invoke(cli.app, arguments) for _ in range(2))
    assert first.exit_code == 0 and first.stdout == again.stdout
    answers = json.loads(first.stdout)["answers"]
    assert [a["put"] for a in answers] == ["coset", "coset", "irrep"]
    assert all(a["is_right"] for a in answers)
    assert (tmp_path / "selftest.json").is_file()


@pytest.mark.parametrize(
    ("failure", "code", "said"),
    [
        (KeyboardInterrupt(), 130, "Stopped.\n"),
        (MemoryError(), 2, "Error: there is not enough memory; use a smaller network, group or "),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: 9"), 2, "Error: there is not "),
    ],
)
def test_what_stops_any_command_is_said(monkeypatch, capsys, failure, code, said):
    def stop(name):
        raise failure

    monkeypatch.setattr(cc.groups, "group", stop)
    monkeypatch.setattr(sys, "argv", ["coset-circuits", "group", "S3"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    printed = capsys.readouterr()
    assert ended.value.code == code and printed.out == ""
    assert printed.err.startswith(said) and printed.err.count("\n") == 1


@pytest.mark.parametrize("exists", [False, True])
def test_ctrl_c_names_a_folder_only_if_it_exists(tmp_path, exists):
    folder = tmp_path / "out"
    if exists:
        folder.mkdir()
    with pytest.raises(Stopped) as stopped, interruptible(folder):
        raise KeyboardInterrupt
    kept = f"Results so far are in {folder}; rerun the command to continue."
    assert str(stopped.value) == (kept if exists else "Nothing is kept.")
