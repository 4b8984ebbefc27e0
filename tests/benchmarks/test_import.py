"""What importing costs: ratios of processor time within one run, each in a Python of its own."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

ALL = "import coset_circuits as cc; [getattr(cc, name) for name in cc.__all__]"


def seconds(statement):
    """The faster of two, the interpreter's own start left out; the first call warms the disk."""
    code = (
        f"import time; begun = time.process_time(); {statement}; print(time.process_time() - begun)"
    )
    return min(
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
        for _ in range(2)
    )


@pytest.mark.parametrize("command", ["--help", "compare --help", "train --help", "networks"])
def test_help_and_lists_need_no_torch(command):
    """Torch and TransformerLens take seconds."""
    code = (
        "import runpy, sys, contextlib\n"
        f"sys.argv = ['coset-circuits', *{command!r}.split()]\n"
        "with contextlib.suppress(SystemExit): runpy.run_module('coset_circuits')\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)


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
