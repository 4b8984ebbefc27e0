"""The patching and ablation scripts in hooks/ run, and what they print is what the theory says."""

import runpy
from pathlib import Path

import numpy as np
import pytest

import coset_circuits as cc

HOOKS = Path(__file__).parents[1] / "hooks"
SCRIPTS = (
    "patch_coset_neurons",
    "ablate_by_concentration",
    "path_patching",
    "activation_patching",
    "interchange_variables",
)


def script(name):
    return runpy.run_path(str(HOOKS / f"{name}.py"))["main"]


@pytest.mark.slow
@pytest.mark.parametrize("name", SCRIPTS)
def test_a_checkpoint_is_patched_like_a_shipped_network(name, tmp_path, capsys):
    file = cc.save(cc.load("s4"), tmp_path / "own.safetensors")
    expected = str(script(name)("s4"))
    assert str(script(name)(str(file))) == expected


def test_inputs_of_the_same_coset_change_next_to_nothing(capsys):
    rows = script("patch_coset_neurons")("s4")
    assert len(rows) == 12
    for _, neurons, same, anywhere, control in rows:
        assert neurons > 1
        assert same < 0.01 * anywhere and same < 0.01 * control
    assert "random neurons, same coset" in capsys.readouterr().out


def test_removing_what_concentrates_removes_the_answer(capsys):
    frame = script("ablate_by_concentration")("s4").set_index(["threshold", "side"])
    assert frame.loc[(1, "above"), "accuracy"].item() == 1
    assert frame.loc[(1, "below"), "accuracy"].item() == pytest.approx(1 / 24)
    # What the paper's figure does not say: above 1 stand only neurons that nobody misses.
    assert frame.loc[(1, "above"), "neurons"].item() == frame.loc[(1, "above"), "negligible"].item()
    assert frame.loc[(1, "above"), "control"].item() == 1


def test_the_linear_half_cancels_here_and_not_where_nothing_was_learnt(capsys):
    frame = script("path_patching")("s4").query("neuron_set == 'all' and sender == 'both'")
    share = frame.set_index(["model", "half"])["recovery"]
    assert share["network", "odd"] < 0.02
    assert share["untrained", "odd"] > 0.3
    assert share["network", "whole"] == pytest.approx(1) == share["untrained", "whole"]


def test_the_surrogate_predicts_the_sweep(capsys):
    frame, errors = script("activation_patching")("s4")
    assert np.abs(frame["predicted"] - frame["recovery"]).max() < 0.01
    errors = errors.set_index("site")
    assert errors.loc["hook_post", "worst_error"] < 1e-12
    assert errors.loc["hook_pre", "sum_attributed"] == pytest.approx(0.5, abs=0.03)
    assert "attributed" in capsys.readouterr().out


def test_the_dull_null_follows_as_well(capsys):
    frame = script("interchange_variables")("s4").query("group == 'all'").set_index("algorithm")
    assert (frame["change_r2"] > 0.98).all()
    assert frame.loc["coset+even", "control_r2"] < 0.1
    # A relabelled group is nothing to it.
    assert frame.loc["dull null", "verdict"] == "no better"
