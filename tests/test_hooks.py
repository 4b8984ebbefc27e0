"""The scripts in hooks/ run, and what they print is what the theory says."""

import runpy
from pathlib import Path

import pytest

HOOKS = Path(__file__).parents[1] / "hooks"


def script(name):
    return runpy.run_path(str(HOOKS / name))["main"]


def test_one_sided_scaling_tells_the_bilinear_reading_apart(capsys):
    rows = {
        (factor, name): (accuracy, loss)
        for factor, name, accuracy, loss in script("scale_one_side.py")("s4")
    }
    assert rows[-1.0, "network"][0] == 0.0
    observed, coset, bilinear = (
        rows[2.0, n][1] for n in ("network", "coset+even", "irrep-bilinear")
    )
    assert bilinear < 1e-4 * observed
    assert 0.05 * observed < coset < 20 * observed
    assert "left ×" in capsys.readouterr().out


def test_patching_all_left_inputs_gives_the_counterfactual_answer(capsys):
    rows = script("patch_left_input.py")("s4")
    neurons, kept, moved, control = rows["all"]
    assert neurons == 64
    assert moved == 1.0
    # a' = a for about one pair in 24; only there the old answer stays.
    assert kept == pytest.approx(1 / 24, abs=0.03)
    assert kept == control
