"""The scripts that scrub run on shipped networks and on a file, and find what the theory says."""

import runpy
from pathlib import Path

import pytest

import coset_circuits as cc
from coset_circuits.networks import GroupMLP, planted_coset

HOOKS = Path(__file__).parents[1] / "hooks"


def main(name):
    return runpy.run_path(str(HOOKS / name))["main"]


@pytest.mark.parametrize("name", ["scrub_cosets.py", "scrub_irreps.py"])
def test_scripts_are_short(name):
    assert len((HOOKS / name).read_text().splitlines()) <= 60


def test_cosets_survive_and_wrong_ones_do_not(capsys):
    result, by_hand = main("scrub_cosets.py")("s4", samples=3)
    found = next(s for s in result.scrubs if s.sites == ("hook_pre",) and not s.shared)
    assert found.outcome.accuracy == by_hand == 1
    assert found.controls["wrong conjugate"].accuracy < 0.3
    printed = capsys.readouterr().out
    assert "wrong conjugate" in printed and "usually passes too" in printed
    shares = [row.split() for row in printed.splitlines() if row.startswith("S3 ")]
    # Role, FVU, then the shares explained by the double coset and by the product itself.
    assert float(shares[0][2]) == pytest.approx(float(shares[0][3]), abs=1e-4)


def test_irreps_are_free_only_after_the_activation(capsys):
    frame = main("scrub_irreps.py")("s5_b", samples=2).set_index(["hypothesis", "scrub"])
    irrep = frame.loc["irrep-projected"]
    # All but the sign neurons' cells hold one element.
    assert irrep.loc["left_pre: kernels", "freedom"] < 0.1
    assert irrep.loc["post: ρ(ab) by cluster", "verdict"] == "passes"
    coset = frame.loc["coset"]
    cluster, cosets = (
        irrep.loc["post: ρ(ab) by cluster", "loss ratio"],
        coset.loc["post: double cosets", "loss ratio"],
    )
    assert cluster < 2 and cosets > 10
    assert coset.loc["pre: both cosets", "verdict"] == "passes"
    assert coset.loc["pre: both cosets", "best control"] < 0.06
    assert frame.loc[("dull null", "pre: both levels"), "verdict"] == "blind"
    assert "best control" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["scrub_cosets.py", "scrub_irreps.py"])
def test_on_a_file(name, tmp_path, capsys):
    path = cc.save(planted_coset(cc.group("S4"), "S3"), tmp_path / "own.safetensors")
    main(name)(str(path), samples=1)
    assert "passes" in capsys.readouterr().out


def test_on_a_network_that_learnt_nothing(tmp_path, capsys):
    untrained = GroupMLP.initialised(cc.group("S4"), d_mlp=8, d_embed=4)
    path = cc.save(untrained, tmp_path / "untrained.safetensors")
    main("scrub_cosets.py")(str(path), samples=1)
    assert "nothing is explained" in capsys.readouterr().out
