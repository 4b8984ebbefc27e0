"""The command in surroundings that are not ours: every subcommand, and nowhere a traceback."""

import errno
import os
import re
import signal
import subprocess
import sys

import pytest
from rare import rare
from typer.testing import CliRunner

import coset_circuits as cc
from coset_circuits import CosetCircuitsError, cli, comparison, training
from coset_circuits.networks import planted_coset

ALL = """
import sys
from coset_circuits.cli import main
for line in open(sys.argv[1], encoding="utf-8").read().splitlines():
    sys.argv = ["coset-circuits", *line.split()]
    print("#", line, flush=True)
    try:
        main()
    except SystemExit as end:
        print("# exit", end.code, flush=True)
"""
"""Runs commands one after the other: importing torch for each of them would take minutes."""


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    own = planted_coset(cc.group("S3"), "C2")
    own.label = "größe ≤ 3 → δ 中"
    return cc.save(own.float(), tmp_path_factory.mktemp("networks") / "own.safetensors")


def commands(network):
    """Each with the code that it ends with."""
    return {
        "--version": 0,
        "--help": 0,
        "networks": 0,
        "group S4": 0,
        "group S4 --json": 0,
        f"import {network} --out copy.safetensors": 0,
        "train S3 --width 8 --embedding 4 --max-steps 20 --set stop_when_memorised=false": 0,
        f"compare {network} --algorithms coset --out report": 0,
        f"compare {network} nosuch.pt": 2,
        f"compare {network} {network.parent} --algorithms coset --out reports": 0,
        f"reproduce table5 fig6 --networks {network} --out pages": 0,
        "selftest --groups Q99": 2,
        "frobnicate": 2,
    }


def surroundings(**changes):
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("LC_", "LANG", "COLUMNS"))}
    return {k: v for k, v in {**kept, **changes}.items() if v is not None}


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"PYTHONIOENCODING": "cp1252", "COLUMNS": "0"},
        {
            "PYTHONIOENCODING": "ascii",
            "COLUMNS": "40",
            "MPLBACKEND": "module://no_such_module",
            "HOME": None,
            "MPLCONFIGDIR": "/proc/none",
        },
        {
            "LANG": "C",
            "LC_ALL": "C",
            "PYTHONUTF8": "0",
            "PYTHONIOENCODING": None,
            "COLUMNS": "1",
        },
        pytest.param({"PYTHONIOENCODING": "latin-1"}, marks=rare),
    ],
    ids=lambda changes: "-".join(f"{k}={v}" for k, v in changes.items()),
)
def test_every_command_works(changes, network, tmp_path):
    wanted = commands(network)
    (tmp_path / "commands").write_text("\n".join(wanted), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", ALL, "commands"],
        cwd=tmp_path,
        env=surroundings(**changes),
        capture_output=True,
        check=False,
    )
    output = done.stdout.decode(changes.get("PYTHONIOENCODING") or "utf-8")
    assert "Traceback" not in output + done.stderr.decode(errors="replace"), (output, done.stderr)
    ended = dict(re.findall(r"^# (.+)\n(?:(?!# ).*\n)*?# exit (\d+)$", output, re.MULTILINE))
    assert {command: int(code) for command, code in ended.items()} == wanted, done.stderr.decode()
    for file in ("report/report.html", "reports/report.html", "pages/reproduction.md"):
        assert (tmp_path / file).is_file()
    if "COLUMNS" in changes:
        width = 80 if changes["COLUMNS"] == "0" else 40
        rules = [len(line) for line in output.splitlines() if re.match("[-─]{9}", line)]
        assert rules and max(rules) <= width


def run(*arguments, env=None, **options):
    command = [sys.executable, "-m", "coset_circuits", *map(str, arguments)]
    return subprocess.run(
        command, env=env or surroundings(), stderr=subprocess.PIPE, check=False, **options
    )


@pytest.mark.parametrize("arguments", [("group", "S3"), ("group", "S3", "--json"), ("--help",)])
def test_an_output_that_is_full_is_one_sentence(arguments):
    with open("/dev/full", "w") as full:
        done = run(*arguments, stdout=full)
    sentence = b"Error: the output cannot be written (No space left on device).\n"
    assert (done.returncode, done.stderr) == (1, sentence)


def test_a_reader_that_goes_away_ends_the_command_by_the_signal():
    """As it ends cat and grep; the shell's exit code is 128 + 13."""
    read, write = os.pipe()
    os.close(read)
    done = run("group", "S4", stdout=write)
    os.close(write)
    assert (done.returncode, done.stderr) == (-signal.SIGPIPE, b"")


def test_results_that_cannot_be_written_are_printed(monkeypatch, tmp_path, unchecked):
    """The disk is full when the work is done."""
    network = planted_coset(cc.group("S3"), "C2")
    path = cc.save(network, tmp_path / "own.safetensors")

    def full(self, *args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    for given in ([path], [path, path]):
        arguments = [*map(str, given), "--algorithms", "coset", "--out", str(tmp_path / "report")]
        done = CliRunner().invoke(cli.app, ["compare", *arguments])
        assert isinstance(done.exception, CosetCircuitsError)
        assert "No space left on device" in str(done.exception)
        assert "coset" in done.stdout and len(done.stdout.splitlines()) > 8
    assert sorted(tmp_path.iterdir()) == [path.with_suffix(".json"), path]


def test_a_place_that_cannot_be_written_is_refused_before_the_work(
    monkeypatch, tmp_path, unchecked
):
    monkeypatch.chdir(tmp_path)

    def read_only(**options):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("tempfile.TemporaryFile", read_only)
    work = lambda *a, **k: pytest.fail("work was done")  # noqa: E731
    for module, name in (
        (comparison, "compare"),
        (sys.modules["coset_circuits.benchmark.selftest"], "_kept"),
        (training, "train_many"),
    ):
        monkeypatch.setattr(module, name, work)
    for command in (
        ["compare", "s4"],
        ["compare", "s4", "s5"],
        ["selftest"],
        ["train", "S3"],
        ["reproduce", "table1"],
    ):
        done = CliRunner().invoke(cli.app, command)
        assert isinstance(done.exception, CosetCircuitsError), done.exception
        assert "Read-only file system" in str(done.exception)
