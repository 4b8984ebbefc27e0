"""What a run leaves on disk: nothing is lost, whatever ends it, and nothing is mixed up."""

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors import safe_open

import coset_circuits as cc
from coset_circuits import CosetCircuitsError
from coset_circuits.networks import files
from coset_circuits.training.run_folder import log_spaced

SMALL = {"d_mlp": 12, "d_embed": 6, "fraction": 0.6}


def same_weights(one, two):
    left, right = one.state_dict(), two.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


class Killed(Exception):
    pass


def stop_at(step, error):
    def report(progress):
        if progress.step == step:
            if isinstance(error, signal.Signals):
                signal.raise_signal(error)
            else:
                raise error

    return report


@pytest.mark.parametrize("batch_size", [None, 5])
@pytest.mark.parametrize(
    ("error", "stop", "begins"),
    # A signal saves the state where it is; a kill leaves the last that was due.
    [
        (signal.SIGTERM, 130, 130),
        (signal.SIGTERM, 10, 10),
        (Killed, 130, 129),
        (Killed, 200, 199),
    ],
)
def test_a_run_taken_up_again_ends_in_the_same_network(tmp_path, error, stop, begins, batch_size):
    settings = {**SMALL, "max_steps": 200, "every": 10, "batch_size": batch_size}
    whole = cc.train("S3", 4, **settings)
    with pytest.raises(error if error is Killed else KeyboardInterrupt):
        cc.train("S3", 4, out=tmp_path, save_every=0, report=stop_at(stop, error), **settings)
    assert not (tmp_path / "network.safetensors").exists()
    with safe_open(tmp_path / "checkpoints" / "state.safetensors", "pt") as file:
        assert json.loads(file.metadata()["run"])["step"] == begins
    resumed = cc.train("S3", 4, out=tmp_path, resume=True, **settings)
    assert same_weights(resumed, whole)
    looks = [[p["step"], p["loss"]] for p in whole.provenance["curve"]]
    assert [[p["step"], p["loss"]] for p in resumed.provenance["curve"]] == looks
    assert not (tmp_path / "checkpoints" / "state.safetensors").exists()


def test_the_clean_up_is_taken_up_where_it_was(tmp_path):
    """With a falling learning rate, the step at which the clean-up began must be known."""
    settings = {"d_mlp": 64, "d_embed": 32, "fraction": 0.8, "loss_bound": 1e-2, "every": 50}
    settings |= {"final_learning_rate": 1e-4, "max_steps": 6000}
    whole = cc.train("S4", 1, **settings)

    def stop(progress):
        if progress.last_step < 6000 and progress.step < progress.last_step:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        cc.train("S4", 1, out=tmp_path, report=stop, **settings)
    assert same_weights(cc.train("S4", 1, out=tmp_path, resume=True, **settings), whole)


RUN = """
import sys, coset_circuits as cc
cc.train("S3", 4, out=sys.argv[1], save_every=0, max_steps=100_000, loss_bound=0.0, d_mlp=12,
         d_embed=6, fraction=0.6, report=lambda look: print(look.step, flush=True))
"""


@pytest.mark.slow
def test_a_run_that_is_killed_is_taken_up_bit_for_bit(tmp_path):
    """kill -9 at moments nobody chose, again and again."""
    settings = {**SMALL, "loss_bound": 0.0, "max_steps": 2000}
    command = [sys.executable, "-c", RUN.replace("100_000", "2000"), str(tmp_path)]
    for wait in (0.0, 0.11, 0.23):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout.readline()
            time.sleep(wait)
            process.kill()
        command[2] = RUN.replace("100_000", "2000").replace("out=", "resume=True, out=")
    assert (tmp_path / "checkpoints" / "state.safetensors").exists()
    resumed = cc.train("S3", 4, out=tmp_path, resume=True, **settings)
    assert same_weights(resumed, cc.train("S3", 4, **settings))


@pytest.mark.slow
def test_a_second_process_in_the_folder_is_refused(tmp_path):
    command = [sys.executable, "-c", RUN, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline()
            with pytest.raises(CosetCircuitsError, match="Another process is training in"):
                cc.train("S3", 4, out=tmp_path, resume=True, max_steps=10, **SMALL)
        finally:
            process.kill()


def test_a_folder_is_free_again_when_its_run_has_failed(tmp_path):
    with pytest.raises(Killed):
        cc.train("S3", 4, out=tmp_path, report=stop_at(10, Killed), every=10, **SMALL)
    cc.train("S3", 4, out=tmp_path, resume=True, max_steps=20, **SMALL)


def interrupted(folder, **settings):
    with pytest.raises(KeyboardInterrupt):
        cc.train("S3", 4, out=folder, report=stop_at(20, signal.SIGINT), **settings)


def test_a_state_of_another_recipe_seed_or_width_is_refused(tmp_path):
    settings = {**SMALL, "max_steps": 40, "every": 10}
    interrupted(tmp_path, **settings)
    for seed, changes in ((5, {}), (4, {"learning_rate": 0.1}), (4, {"d_mlp": 13})):
        with pytest.raises(CosetCircuitsError, match="belongs to another group, recipe or seed"):
            cc.train("S3", seed, out=tmp_path, resume=True, **{**settings, **changes})
    # C6 has as many elements: its weights would fit.
    for group in ("C6", "C5"):
        with pytest.raises(CosetCircuitsError, match="belongs to another group, recipe or seed"):
            cc.train(group, 4, out=tmp_path, resume=True, **settings)


def test_an_unfinished_run_is_not_overwritten(tmp_path):
    settings = {**SMALL, "max_steps": 40, "every": 10}
    interrupted(tmp_path, **settings)
    with pytest.raises(CosetCircuitsError, match="holds an unfinished run; resume it"):
        cc.train("S3", 4, out=tmp_path, **settings)


def test_a_finished_network_is_neither_overwritten_nor_trained_again(tmp_path):
    settings = {**SMALL, "max_steps": 40}
    network = cc.train("S3", 4, out=tmp_path, **settings)
    with pytest.raises(CosetCircuitsError, match="exists already; resume to keep it"):
        cc.train("S3", 4, out=tmp_path, **settings)
    again = cc.train("S3", 4, out=tmp_path, resume=True, report=pytest.fail, **settings)
    assert same_weights(again, network)
    for changes in ({"max_steps": 50}, {"fraction": 0.5}):
        with pytest.raises(CosetCircuitsError, match="of another group, recipe or seed"):
            cc.train("S3", 4, out=tmp_path, resume=True, **{**settings, **changes})


def test_a_damaged_state_is_refused(tmp_path):
    state = tmp_path / "checkpoints" / "state.safetensors"
    state.parent.mkdir()
    state.write_bytes(b"no state at all")
    with pytest.raises(CosetCircuitsError, match=r"state.safetensors cannot be read"):
        cc.train("S3", 0, out=tmp_path, resume=True, max_steps=10, **SMALL)


def test_a_half_of_a_state_is_refused(tmp_path):
    interrupted(tmp_path, max_steps=40, every=10, **SMALL)
    state = tmp_path / "checkpoints" / "state.safetensors"
    state.write_bytes(state.read_bytes()[:-100])
    with pytest.raises(CosetCircuitsError, match=r"state.safetensors cannot be read"):
        cc.train("S3", 4, out=tmp_path, resume=True, max_steps=40, every=10, **SMALL)


def test_a_full_disk_is_told_in_a_sentence_and_the_last_state_is_kept(tmp_path, monkeypatch):
    settings = {**SMALL, "max_steps": 200, "every": 10}
    whole = cc.train("S3", 4, **settings)
    interrupted(tmp_path, **settings)
    kept = (tmp_path / "checkpoints" / "state.safetensors").read_bytes()

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", full)
        with pytest.raises(CosetCircuitsError, match=r"cannot be written \(No space left on dev"):
            cc.train("S3", 4, out=tmp_path, resume=True, save_every=0, **settings)
    assert (tmp_path / "checkpoints" / "state.safetensors").read_bytes() == kept
    assert not list(tmp_path.rglob("*.partial"))
    assert same_weights(cc.train("S3", 4, out=tmp_path, resume=True, **settings), whole)


def test_a_file_that_must_not_grow_leaves_the_old_one(tmp_path):
    """A real limit of the system, hit in the middle of writing."""
    path = tmp_path / "file"
    files.write_whole(path, b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(CosetCircuitsError, match=r"cannot be written \(File too large\)"):
            files.write_whole(path, b"new" * 10_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_checkpoints_over_training_compute_what_the_network_did(tmp_path):
    settings = {**SMALL, "fraction": 0.9}
    cc.train("S3", 4, out=tmp_path, checkpoints=(0, 7, 30), max_steps=40, **settings)
    kept = cc.training_checkpoints(tmp_path)
    assert list(kept) == [0, 7, 30]
    pairs = cc.group("S3").pairs()
    untrained = cc.GroupMLP.initialised(cc.group("S3"), d_mlp=12, d_embed=6, seed=4)
    for step, path in kept.items():
        then = untrained if step == 0 else cc.train("S3", 4, max_steps=step, **settings)
        loaded = cc.load(path)
        torch.testing.assert_close(loaded(pairs), then(pairs))
        torch.testing.assert_close(loaded.left_table, then.left_table, rtol=0, atol=0)
        assert loaded.label == f"S3-seed4-step{step}" and loaded.provenance["step"] == step
        # Two tables of 6 by 12 and the unembedding, in float32; no identity matrices.
        assert path.stat().st_size < 3 * 72 * 4 + 1500
        assert not path.with_suffix(".json").exists()


def test_checkpoints_are_log_spaced_unless_told(tmp_path):
    assert log_spaced(100) == (0, 10, 13, 18, 24, 32, 42, 56, 75, 100)
    assert log_spaced(5) == (0,)
    cc.train("S3", 4, out=tmp_path, max_steps=20, **SMALL)
    assert list(cc.training_checkpoints(tmp_path)) == [0, 10, 13, 18]


def test_a_folder_without_checkpoints_says_so(tmp_path):
    cc.train("S3", 4, out=tmp_path, max_steps=20, checkpoints=(), **SMALL)
    with pytest.raises(CosetCircuitsError, match="holds no checkpoints over training"):
        cc.training_checkpoints(tmp_path)


def test_a_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(CosetCircuitsError, match="cannot be written"):
        cc.train("S3", 4, out=tmp_path / "taken", max_steps=20, **SMALL)


SMALL_TRANSFORMER = {"architecture": "transformer", "d_mlp": 12, "d_model": 8, "n_heads": 2}
SMALL_TRANSFORMER |= {"d_head": 4, "max_steps": 60, "every": 10, "batch_size": 5}


def test_a_transformers_run_is_taken_up_bit_for_bit(tmp_path):
    whole = cc.train("S3", 4, **SMALL_TRANSFORMER)
    with pytest.raises(KeyboardInterrupt):
        stop = stop_at(20, signal.SIGINT)
        cc.train("S3", 4, out=tmp_path, report=stop, **SMALL_TRANSFORMER)
    resumed = cc.train("S3", 4, out=tmp_path, resume=True, **SMALL_TRANSFORMER)
    assert same_weights(resumed, whole)
    assert same_weights(cc.load(tmp_path), whole)
    assert same_weights(cc.train("S3", 4, out=tmp_path, resume=True, **SMALL_TRANSFORMER), whole)


def test_checkpoints_of_a_transformer_are_whole_networks(tmp_path):
    settings = {**SMALL_TRANSFORMER, "max_steps": 20}
    cc.train("S3", 4, out=tmp_path, checkpoints=(0, 20), **settings)
    first, last = (cc.load(path) for path in cc.training_checkpoints(tmp_path).values())
    sizes = {k: settings[k] for k in ("d_mlp", "d_model", "n_heads", "d_head")}
    assert same_weights(first, cc.GroupTransformer.initialised(cc.group("S3"), **sizes, seed=4))
    assert same_weights(last, cc.load(tmp_path / "network.safetensors"))


def test_main_effects_of_a_trained_transformer_are_those_of_its_last_weights(tmp_path):
    """The step writes to weights behind the network's back; a stale table would show here."""
    network = cc.train("S3", 4, out=tmp_path, **SMALL_TRANSFORMER)
    torch.testing.assert_close(network.left_table, cc.load(tmp_path).left_table, rtol=0, atol=0)


def test_a_run_of_before_architectures_is_finished_still(tmp_path):
    settings = {**SMALL, "max_steps": 20}
    network = cc.train("S3", 4, out=tmp_path, **settings)
    for name in ("architecture", "d_model", "n_heads", "d_head"):
        del network.provenance["recipe"][name]
    cc.networks.save(network, tmp_path / "network.safetensors")
    assert same_weights(cc.train("S3", 4, out=tmp_path, resume=True, **settings), network)
