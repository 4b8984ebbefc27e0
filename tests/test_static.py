"""Lint, format and types are clean."""

import builtins
import dis
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path
from types import CodeType

import pytest

import coset_circuits

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    "command",
    [
        ("ruff", "check", "."),
        ("ruff", "format", "--check", "."),
        ("pyright", "--pythonpath", sys.executable),
    ],
    ids=["ruff check", "ruff format", "pyright"],
)
@pytest.mark.slow
def test_clean(command):
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def globals_read(code):
    """The global names that the functions in compiled code read."""
    for step in dis.get_instructions(code):
        if step.opname == "LOAD_GLOBAL":
            yield step.argval
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from globals_read(constant)


def test_every_name_that_a_function_reads_is_defined():
    """Ruff and pyright cannot say: to them the axes in a shape are undefined names, too."""
    missing = set()
    for found in pkgutil.walk_packages(coset_circuits.__path__, "coset_circuits."):
        if not found.name.endswith("__main__"):
            module = importlib.import_module(found.name)
            code = compile(Path(module.__file__).read_text(), module.__file__, "exec")
            known = vars(module).keys() | vars(builtins).keys()
            missing |= {(found.name, name) for name in globals_read(code) if name not in known}
    assert not missing
