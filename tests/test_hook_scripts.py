"""The scripts in hooks/ run on a shipped network and on a file, and print what the theory says."""

import re
import runpy
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

import coset_circuits as cc
from coset_circuits.networks import save

HOOKS = Path(__file__).parents[1] / "hooks"
SCRIPTS = sorted(path.name for path in HOOKS.glob("*.py"))
needs_nnsight = pytest.mark.skipif(
    find_spec("nnsight") is None, reason="nnsight is not installed (the extra coset-circuits[test])"
)


def main(script):
    return runpy.run_path(str(HOOKS / script))["main"]


@pytest.fixture(scope="module")
def network():
    return cc.load("s4", dtype=torch.float64)


def test_a_neuron_is_flat_on_its_own_cosets_only(network, capsys):
    fvu = main("look_at_pre_activations.py")("s4")
    right, left, random = fvu.values()
    assert right < 1e-4
    assert left > 0.1
    printed = capsys.readouterr().out
    neuron = int(re.search(r"neuron (\d+), role S3", printed)[1])
    rows = re.findall(r"^ +\d+ +(\d+) +(-?[\d.]+) +([\d.]+)  ", printed, re.MULTILINE)
    sizes, means, deviations = (torch.tensor([float(r[k]) for r in rows]) for k in range(3))
    assert sizes.tolist() == [6] * 4
    # The total variance is that between the printed cosets and that within them.
    table = network.left_table[:, neuron].detach()
    between = (sizes * (means - table.mean()) ** 2).sum() / 24
    within = (sizes * deviations**2).sum() / 24
    assert float(between + within) == pytest.approx(float(table.var(correction=0)), rel=1e-3)
    assert float(within / (between + within)) == pytest.approx(right, rel=0.02)
    # Cells of four that do not matter leave (n − 4)/(n − 1) on average.
    assert random == pytest.approx(20 / 23, abs=0.25)


def test_there_is_nothing_to_look_at_in_a_memorised_network():
    with pytest.raises(cc.CosetCircuitsError, match="No neuron of s5_memorised is constant"):
        main("look_at_pre_activations.py")("s5_memorised")


def test_signs_are_anti_correct_and_swaps_keep_the_commuting_pairs(capsys):
    rows = main("signs_and_swaps.py")("s4")
    assert rows["base"][:2] == (1, 1) == rows["sign_both"][:2]
    for id in ("sign_left", "sign_right"):
        assert rows[id][0] == 0
        assert rows[id][1] > 22
    # With the left input gone, each b has one answer, which is right for one a of 24.
    assert rows["mean_left"][:2] == pytest.approx((1 / 24, 12.5))
    # 5 conjugacy classes of 24 elements.
    assert rows["swap_inputs"][0] == rows["commuting_pairs"][0] == 5 / 24
    assert rows["commuting_pairs"][1] == 1
    assert "if and only if it commutes in 100.00%" in capsys.readouterr().out


def test_abs_is_temperature(capsys):
    rows = main("abs_and_temperature.py")("s4")
    assert all(row["accuracy"] == 1 for row in rows.values())
    # The network has no biases: twice the activation and both sides doubled are one function.
    for id in ("double", "scale_both_2"):
        assert rows[id]["loudness"] == pytest.approx(2)
        assert rows[id]["r"] == pytest.approx(1)
        assert rows[id]["as_loud"] == pytest.approx(rows["base"]["log_loss"])
    assert rows["double"]["log_loss"] < rows["base"]["log_loss"] - 6
    assert rows["abs"]["log_loss"] == pytest.approx(rows["double"]["log_loss"], abs=0.1)
    assert rows["abs"]["as_loud"] == pytest.approx(rows["base"]["log_loss"], abs=0.1)
    assert rows["abs"]["r"] < 1 - 1e-4
    assert "|x| for the activation" in capsys.readouterr().out


def test_an_intervention_of_ones_own_is_predicted(network, capsys):
    rows = main("own_intervention.py")("s4")
    pairs = network.group.pairs()
    for found, share in zip(rows["network"][1], (-0.5, -0.25, 0.0, 0.25, 0.5), strict=True):
        shift = (
            share
            * (
                network.left_table.var(0, correction=0) + network.right_table.var(0, correction=0)
            ).sqrt()
        )
        a, b = pairs.T
        pre = network.left_table[a] + network.right_table[b] + shift
        logits = pre.clamp(min=0) @ network.W_U
        loss = torch.nn.functional.cross_entropy(logits, network.group.products(pairs))
        assert found == pytest.approx(loss.item(), rel=1e-6)
    bits, errors = ({name: row[k] for name, row in rows.items()} for k in (0, 2))
    assert errors["network"] == 0
    for name in ("coset+even", "irrep-projected", "dull null"):
        assert errors[name] < 0.5
    assert errors["coset+even, relabelled"] > 2
    assert bits["coset+even"] < bits["irrep-projected"] < bits["dull null"]
    assert "+0.50σ" in capsys.readouterr().out


@needs_nnsight
def test_nnsight_gives_the_same_logits(capsys):
    rows = main("with_nnsight.py")("s4")
    assert rows == {
        "sign_left": (0.0, 0.0, 0.0),
        "sign_right": (0.0, 0.0, 0.0),
        "sign_both": (1.0, 0.0, 0.0),
    }
    assert "both signs flipped" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize(
    "script",
    [
        "look_at_pre_activations.py",
        "signs_and_swaps.py",
        "abs_and_temperature.py",
        "own_intervention.py",
        pytest.param("with_nnsight.py", marks=needs_nnsight),
    ],
)
def test_a_file_is_looked_at_like_a_shipped_network(script, tmp_path, capsys):
    file = save(cc.load("s4"), tmp_path / "own.safetensors")
    rows = main(script)(str(file))
    printed = capsys.readouterr().out.splitlines()
    assert repr(rows) == repr(main(script)("s4"))
    assert printed[0].startswith("GroupMLP(")
    # The network's own description apart, every line is the same.
    assert printed[1:] == capsys.readouterr().out.splitlines()[1:]


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_wrong_name_ends_in_a_sentence(script, monkeypatch):
    monkeypatch.setattr(sys, "argv", [script, "nowhere"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(HOOKS / script), run_name="__main__")
    missing = script == "with_nnsight.py" and find_spec("nnsight") is None
    wrong = "nnsight is not installed" if missing else "No network is called 'nowhere'"
    assert str(ended.value.code).startswith(f"Error: {wrong}")


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_is_short_and_says_how_to_run_it(script):
    text = (HOOKS / script).read_text()
    assert len(text.splitlines()) <= 75
    assert f"python hooks/{script} [NETWORK" in text
