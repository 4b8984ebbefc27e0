"""Many seeds: in processes, side by side, and shared out by torchrun; each as if it were alone."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

import coset_circuits as cc
from coset_circuits import CosetCircuitsError
from coset_circuits.training import many
from coset_circuits.training.state import Run

SMALL = {"d_mlp": 12, "d_embed": 6, "fraction": 0.6, "max_steps": 60, "every": 20}


def same_weights(one, two):
    left, right = one.state_dict(), two.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


@pytest.mark.slow
def test_processes_give_what_single_runs_give(tmp_path):
    heard = []
    outcomes = cc.train_many(
        "S3",
        (4, 0, 7),
        out=tmp_path,
        workers=2,
        report=lambda seed, look: heard.append((seed, look.step)),
        **SMALL,
    )
    assert [o.seed for o in outcomes] == [0, 4, 7]
    assert sorted(heard) == [(seed, step) for seed in (0, 4, 7) for step in (20, 40, 60)]
    for outcome in outcomes:
        assert outcome.failure is None and outcome.last.step == 60
        assert outcome.folder == tmp_path / f"S3-seed{outcome.seed}"
        assert same_weights(cc.load(outcome.folder), cc.train("S3", outcome.seed, **SMALL))


@pytest.mark.slow
def test_a_group_without_a_name_reaches_the_processes(tmp_path):
    table = cc.group("S3").array
    group = cc.FiniteGroup.from_table(table, "mine")
    outcomes = cc.train_many(group, (0, 1), out=tmp_path, workers=2, **SMALL)
    assert [o.failure for o in outcomes] == [None, None]
    assert (cc.load(outcomes[0].folder).group.array == table).all()


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_seed_that_fails_does_not_stop_the_others(tmp_path, workers):
    """One folder holds a foreign state; the other seeds are trained."""
    state = tmp_path / "S3-seed1" / "checkpoints" / "state.safetensors"
    state.parent.mkdir(parents=True)
    state.write_bytes(b"no state")
    outcomes = cc.train_many("S3", (0, 1, 2), out=tmp_path, resume=True, workers=workers, **SMALL)
    assert [o.failure is None for o in outcomes] == [True, False, True]
    assert "cannot be read as the state of a run" in outcomes[1].failure
    assert not outcomes[1].grokked


@pytest.mark.slow
def test_a_process_that_is_killed_is_told_of(tmp_path, monkeypatch):
    """As the system does when memory runs out."""
    monkeypatch.setattr(many, "_train", _die)
    outcomes = cc.train_many("S3", (0, 1), out=tmp_path, workers=2, **SMALL)
    assert [o.failure for o in outcomes] == ["Its process ended with code -9; resume the run."] * 2


def _die(*_):
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("batch_size", [None, 5])
def test_side_by_side_gives_what_single_runs_give(tmp_path, batch_size):
    settings = {**SMALL, "batch_size": batch_size}
    heard = []
    outcomes = cc.train_many(
        "S3",
        (4, 0, 7),
        out=tmp_path,
        side_by_side=True,
        report=lambda seed, look: heard.append((seed, look.step)),
        **settings,
    )
    assert [o.seed for o in outcomes] == [0, 4, 7]
    assert sorted(heard) == [(seed, step) for seed in (0, 4, 7) for step in (20, 40, 60)]
    for outcome in outcomes:
        found, alone = cc.load(outcome.folder), cc.train("S3", outcome.seed, **settings)
        for name, parameter in alone.named_parameters():
            torch.testing.assert_close(getattr(found, name), parameter, rtol=1e-3, atol=1e-5)


def test_transformers_side_by_side_are_what_single_runs_give(tmp_path):
    settings = {"architecture": "transformer", "d_mlp": 12, "d_model": 8, "n_heads": 2}
    settings |= {"d_head": 4, "max_steps": 20, "every": 20}
    outcomes = cc.train_many("S3", (4, 0), out=tmp_path, side_by_side=True, **settings)
    assert [o.folder.name for o in outcomes] == ["S3-transformer-seed0", "S3-transformer-seed4"]
    for outcome in outcomes:
        found, alone = cc.load(outcome.folder), cc.train("S3", outcome.seed, **settings)
        for name, parameter in alone.named_parameters():
            torch.testing.assert_close(getattr(found, name), parameter, rtol=1e-3, atol=1e-5)


@pytest.fixture
def in_float64(monkeypatch):
    """Products of one network and of several round differently, which training amplifies."""
    start = Run.start

    def double(*arguments):
        run = start(*arguments)
        run.network.double()
        return run

    monkeypatch.setattr(Run, "start", double)


@pytest.mark.usefixtures("in_float64")
def test_side_by_side_each_ends_at_its_own_step(tmp_path):
    """Seeds that grok at different steps; those left go on as if nothing had happened."""
    settings = {"d_mlp": 64, "d_embed": 32, "fraction": 0.8, "loss_bound": 1e-2}
    settings |= {"max_steps": 1500, "learning_rate": 1e-2, "clean_up": 0.5}
    settings |= {"final_learning_rate": 1e-4}
    outcomes = cc.train_many("S4", (0, 1, 3), out=tmp_path, side_by_side=True, **settings)
    ends = [o.last.step for o in outcomes]
    assert len(set(ends)) == 3 and max(ends) == 1500
    for outcome in outcomes:
        alone = cc.train("S4", outcome.seed, **settings).provenance["curve"][-1]
        assert outcome.last.step == alone["step"]
        assert outcome.last.loss == pytest.approx(alone["loss"], rel=1e-3)


def test_side_by_side_one_that_fails_does_not_stop_the_others(tmp_path, monkeypatch):
    start = Run.start

    def one_of_them_broken(group, recipe, seed, device="cpu"):
        run = start(group, recipe, seed, device)
        if seed == 1:
            run.network.W_U.data.fill_(float("nan"))
        return run

    monkeypatch.setattr(Run, "start", one_of_them_broken)
    outcomes = cc.train_many(
        "S3", (0, 1, 2), out=tmp_path, side_by_side=True, checkpoints=(), **SMALL
    )
    assert [o.failure is None for o in outcomes] == [True, False, True]
    assert "S3-seed1 stopped at step 20: its loss" in outcomes[1].failure
    assert not (tmp_path / "S3-seed1" / "network.safetensors").exists()


def test_side_by_side_runs_at_different_steps_are_taken_up(tmp_path):
    def stop(seed, look):
        if look.step == 20:
            signal.raise_signal(signal.SIGINT)

    for seeds in ((0, 1), (2,)):
        with pytest.raises(KeyboardInterrupt):
            cc.train_many(
                "S3", seeds, out=tmp_path, side_by_side=True, report=stop, resume=True, **SMALL
            )
    cc.train_many("S3", (0,), out=tmp_path, side_by_side=True, resume=True, **SMALL)
    outcomes = cc.train_many("S3", range(4), out=tmp_path, side_by_side=True, resume=True, **SMALL)
    assert [o.failure for o in outcomes] == [None] * 4
    for outcome in outcomes:
        found, alone = cc.load(outcome.folder), cc.train("S3", outcome.seed, **SMALL)
        for name, parameter in alone.named_parameters():
            torch.testing.assert_close(getattr(found, name), parameter, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("seeds", [(), (1, 1)])
def test_no_seeds_or_one_twice_is_refused(tmp_path, seeds):
    with pytest.raises(CosetCircuitsError, match="give at least one, each only once"):
        cc.train_many("S3", seeds, out=tmp_path, **SMALL)


LONG = ("train", "S3", "--width", "12", "--embedding", "6", "--set", "loss_bound=0.0")


def command(*arguments):
    return [sys.executable, "-m", "coset_circuits", *arguments]


def wait_until(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("to_all", [True, False])
def test_ctrl_c_saves_every_seed_and_resuming_ends_them(tmp_path, to_all):
    """From a terminal every process gets it; from ``kill -INT`` the first alone."""
    arguments = (*LONG, "--seeds", "0-1", "--out", str(tmp_path), "--workers", "2")
    folders = [tmp_path / f"S3-seed{seed}" for seed in (0, 1)]
    with subprocess.Popen(
        command(*arguments, "--max-steps", "1000000"), start_new_session=True, stderr=-1, text=True
    ) as process:
        wait_until(
            lambda: all((f / "checkpoints/step-000100.safetensors").exists() for f in folders)
        )
        if to_all:
            os.killpg(process.pid, signal.SIGINT)
        else:
            process.send_signal(signal.SIGINT)
        errors = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert "Stopped. Results so far are in" in errors and "Traceback" not in errors
    assert all((f / "checkpoints" / "state.safetensors").exists() for f in folders)


@pytest.mark.slow
def test_when_the_first_process_is_killed_the_others_save_and_end(tmp_path):
    arguments = (*LONG, "--seeds", "0-1", "--out", str(tmp_path), "--workers", "2")
    states = [tmp_path / f"S3-seed{seed}/checkpoints/state.safetensors" for seed in (0, 1)]
    with subprocess.Popen(
        command(*arguments, "--max-steps", "1000000"), stderr=subprocess.DEVNULL
    ) as process:
        wait_until(lambda: all((s.parent / "step-000100.safetensors").exists() for s in states))
        process.kill()
    wait_until(lambda: all(state.exists() for state in states))
    # Their locks go with them: the folders can be taken up at once.
    seed0 = {"d_mlp": 12, "d_embed": 6, "loss_bound": 0.0, "max_steps": 1000000}

    def stop(look):
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        cc.train("S3", 0, out=tmp_path / "S3-seed0", resume=True, report=stop, **seed0)


@pytest.mark.slow
def test_two_ranks_take_disjoint_seeds_and_one_tells_of_all(tmp_path):
    """torchrun with gloo, as on two machines."""
    arguments = (*LONG, "--max-steps", "200", "--seeds", "0-4", "--workers", "1")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*torchrun, "-m", "coset_circuits", *arguments, "--out", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = [line for line in done.stdout.splitlines() if line.startswith("S3 seed")]
    assert [line.split(":")[0] for line in told] == [f"S3 seed {seed}" for seed in range(5)]
    for seed in range(5):
        card = json.loads((tmp_path / f"S3-seed{seed}" / "network.json").read_text())
        assert card["provenance"]["steps"] == 200
    alone = cc.train("S3", 3, d_mlp=12, d_embed=6, loss_bound=0.0, max_steps=200)
    assert same_weights(cc.load(tmp_path / "S3-seed3"), alone)
