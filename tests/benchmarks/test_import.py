"""What importing costs, as ratios within one run; each import in a Python of its own."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

ALL = "import coset_circuits as cc; [getattr(cc, name) for name in cc.__all__]"


def seconds(statement):
    """The faster of two, the interpreter's own start left out; the first call warms the disk."""
    code = (
        f"import time; begun = time.perf_counter(); {statement}; print(time.perf_counter() - begun)"
    )
    return min(
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
        for _ in range(2)
    )


def test_import_costs_little_beside_transformer_lens():
    lens = seconds("import transformer_lens")
    names, everything = seconds("import coset_circuits"), seconds(ALL)
    command = seconds("from coset_circuits import cli")
    print(
        f"\nimport transformer_lens: {lens:.2f} s; of it, coset_circuits: {names / lens:.3f}, "
        f"with every name used: {everything / lens:.2f}, the command: {command / lens:.3f}"
    )
    assert names < lens / 20
    assert command < lens / 4
    assert everything < 1.5 * lens
