"""Folders as people have them: links, what cannot be read, and networks that nothing works on."""

import logging
import os
import shlex
import sys

import pytest
import torch
from safetensors.torch import save_file

import coset_circuits as cc
from coset_circuits import CosetCircuitsError
from coset_circuits.comparison import compare
from coset_circuits.comparison.sources import sources
from coset_circuits.errors import unexpected
from coset_circuits.findings.storage import Kept
from coset_circuits.networks import planted_coset

COSET = [cc.CosetAlgorithm()]


def small(group, **about):
    named = cc.group(group)
    generator = torch.Generator().manual_seed(0)
    shapes = {"left_table": (named.order, 4), "right_table": (named.order, 4)}
    weights = {k: torch.randn(*shape, generator=generator) for k, shape in shapes.items()}
    write = torch.randn(4, named.order, generator=generator)
    return cc.GroupMLP.from_weights(named, **weights, W_U=write, **about)


@pytest.fixture
def folder(tmp_path):
    """One network that works among those that do not, or hardly."""
    place = tmp_path / "runs"
    cc.save(planted_coset(cc.group("S3"), "C2"), place / "good.safetensors")
    cc.save(small("C1"), place / "c1.safetensors")
    cc.save(small("S1"), place / "s1.safetensors")
    cc.save(small("S3").bfloat16(), place / "bfloat16.safetensors")
    cc.save(small("S3", label="l" * 300).half(), place / "long.safetensors")
    (place / "empty.pt").write_bytes(b"")
    (place / "private.pt").symlink_to(tmp_path / "private" / "network.pt")
    (place / "loop").symlink_to(place)
    os.mkfifo(place / "pipe.pt")
    return place


@pytest.fixture
def private(monkeypatch, tmp_path):
    """Nobody may look into the folder; a superuser, whom rights do not stop, may not either."""
    own = os.stat

    def stat(path, *args, **options):
        if "private" in str(path) and options.get("follow_symlinks", True):
            raise PermissionError(13, "Permission denied", str(path))
        return own(path, *args, **options)

    monkeypatch.setattr(os, "stat", stat)


def test_each_is_a_line_and_the_others_are_compared(folder, private, tmp_path, unchecked):
    found = compare(folder, COSET, pairs=36, out=tmp_path / "reports")
    assert {n.name for n in found} == {"planted-coset-S3-C2", "network (edited)", "l" * 200}
    skipped = {os.path.basename(file): reason for file, reason in found.skipped.items()}
    assert skipped.keys() == {"c1.safetensors", "s1.safetensors", "empty.pt", "private.pt"}
    assert "a group of one element" in skipped["c1.safetensors"]
    assert "cannot be read" in skipped["private.pt"]


def test_an_error_that_nobody_expected_is_a_line_too(folder, monkeypatch, caplog, unchecked):
    module = sys.modules["coset_circuits.comparison.compare"]
    whole = module._compare_one

    def fails(network, *rest):
        if network.label == "planted-coset-S3-C2":
            return whole(network, *rest)
        raise RuntimeError("\x1b[31mno luck\x1b[0m\nat all")

    monkeypatch.setattr(module, "_compare_one", fails)
    with caplog.at_level(logging.DEBUG, "coset_circuits"):
        found = compare(folder, COSET, pairs=36, workers=1)
    assert [n.name for n in found] == ["planted-coset-S3-C2"]
    assert "RuntimeError: no luck at all." in found.skipped.values()
    assert "Traceback" in caplog.text

    def breaks(study):
        raise RuntimeError("no luck")

    monkeypatch.setattr("coset_circuits.reproduction.study.Study.base", property(breaks))
    with pytest.raises(CosetCircuitsError, match="RuntimeError: no luck"):
        cc.reproduce("table1", folder)


def test_reproduce_lists_them_as_well(folder, private, tmp_path, unchecked):
    made = cc.reproduce("fig6", folder, out=tmp_path / "pages")
    assert "planted-coset-S3-C2" in {n.name for n in made.networks}
    assert {os.path.basename(file) for file in made.skipped} == {"empty.pt", "private.pt"}


def test_links_to_runs_are_followed_and_sorted_as_people_count(tmp_path):
    network = small("S3")
    for seed in (10, 2, 1):
        network.W_U.data += 1
        cc.save(network, tmp_path / "disk" / f"S3-seed{seed}" / "network.safetensors")
        link = tmp_path / "links" / f"seed{seed}"
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(tmp_path / "disk" / f"S3-seed{seed}")
    (tmp_path / "links" / "self").symlink_to(tmp_path / "links")
    (tmp_path / "disk" / "S3-seed1" / "up").symlink_to(tmp_path)
    found = [str(source.given) for source in sources(tmp_path / "links")]
    assert [path.split("/")[-2] for path in found] == ["seed1", "seed2", "seed10"]
    assert len(sources(tmp_path)) == 3


def test_a_dangling_link_is_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = cc.save(planted_coset(cc.group("S3"), "C2"), tmp_path / "n.safetensors")
    for name in ("gone.safetensors", "loop.pt"):
        (tmp_path / name).symlink_to(tmp_path / name)
    for given in (tmp_path, [path, "gone.safetensors", "loop.pt"]):
        made = compare(given, COSET)
        assert len(made.networks) == 1 and len(made.skipped) == 2
    with pytest.raises(CosetCircuitsError, match="No network is called 'absent'"):
        compare([path, "absent"], COSET)


def test_a_path_that_no_file_system_takes(unchecked, tmp_path):
    for name in ("x" * 300, f"{'x' * 300}/network.safetensors"):
        with pytest.raises(CosetCircuitsError, match="no file or folder has that path"):
            compare([name], COSET)
        with pytest.raises(CosetCircuitsError, match="File name too long"):
            Kept(tmp_path / name)


def test_the_command_that_repeats_can_be_pasted(tmp_path):
    place = tmp_path / "my runs (2)"
    place.mkdir()
    network = planted_coset(cc.group("S3"), "C2")
    tables = {name: getattr(network, name).detach() for name in ("left_table", "right_table")}
    save_file({**tables, "W_U": network.W_U.detach()}, place / "n.safetensors")
    made = cc.reproduce("fig6", place, seed=1, order="S3, lexicographic")
    words = shlex.split(made.command)
    assert words[-6:] == ["--networks", str(place), "--seed", "1", "--order", "S3, lexicographic"]


def test_a_card_has_only_commands_that_run():
    group = cc.group("S3")
    named = cc.train(group, d_mlp=4, max_steps=1).provenance
    assert named["command"].startswith("coset-circuits train S3 ")
    own = cc.FiniteGroup.from_table(group.table, "mine")
    assert "command" not in cc.train(own, d_mlp=4, max_steps=1).provenance


def test_messages_are_one_line_of_plain_text():
    error = CosetCircuitsError("a\x1b[1;31mb\x1b[0m\nc\x07d")
    assert str(error) == "ab c d"
    assert unexpected(ValueError()) == "ValueError: no message."


def test_shapes_in_messages_are_those_that_were_given(unchecked):
    group, zeros = cc.group("S3"), torch.zeros
    for left, right, write in ((4, 8, 8), (4, 4, 0), (3, 4, 5)):
        given = {"left_table": zeros(6, left), "right_table": zeros(6, right)}
        with pytest.raises(CosetCircuitsError) as refused:
            cc.GroupMLP.from_weights(group, **given, W_U=zeros(write, 6))
        said = str(refused.value)
        assert "no neurons" in said or f"left_table has shape (6, {left})" in said
        assert "(6, 0)" not in said
