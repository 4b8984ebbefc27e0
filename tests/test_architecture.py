"""Imports point one way: groups ← networks ← … ← report ← reproduction ← cli."""

import ast
from pathlib import Path

import pytest

import coset_circuits

PACKAGE = Path(coset_circuits.__file__).parent
LAYERS = ["groups", "networks", "algorithms", "evidence", "report", "reproduction", "cli"]
# Importable by all; they import nothing of the package.
FOUNDATION = {"errors", "thresholds"}
# These save and print themselves: in functions, nothing at import time.
EXCEPTIONS = {
    ("evidence/compare.py", "report"),
    ("evidence/ensemble.py", "report"),
    ("evidence/selftest.py", "report"),
}
MODULES = sorted(p.relative_to(PACKAGE).as_posix() for p in PACKAGE.rglob("*.py"))


def layer(module):
    """The part of the package that a file belongs to."""
    return module.split("/")[0].removesuffix(".py")


def imports(module):
    """Every part of the package that a file imports, and whether inside a function."""
    tree = ast.parse((PACKAGE / module).read_text())
    local = {
        inner
        for outer in ast.walk(tree)
        if isinstance(outer, (ast.FunctionDef, ast.AsyncFunctionDef))
        for inner in ast.walk(outer)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            names = [node.module or ""]
            if node.module == "coset_circuits":
                names = [f"coset_circuits.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name.split(".")[0] == "coset_circuits":
                yield name.removeprefix("coset_circuits").lstrip(".").split(".")[0], node in local


@pytest.mark.parametrize("module", [m for m in MODULES if m != "__init__.py"])
def test_imports_point_one_way(module):
    own = layer(module)
    assert own in {*LAYERS, *FOUNDATION, "__main__"}, f"{module} belongs to no layer"
    for part, is_local in imports(module):
        if part in FOUNDATION or own == "__main__":
            continue
        if part not in LAYERS:
            # The command line alone may use what the package as a whole offers.
            assert own == "cli", f"{module} imports coset_circuits.{part}"
            continue
        if (module, part) in EXCEPTIONS:
            assert is_local, f"{module} imports {part} outside a function"
            continue
        assert own not in FOUNDATION, f"{module} imports {part}"
        assert LAYERS.index(part) <= LAYERS.index(own), f"{module} imports {part}"


def test_the_exceptions_are_still_needed():
    for module, part in EXCEPTIONS:
        assert (part, True) in set(imports(module))


def test_evidence_names_no_hypothesis_but_as_a_default():
    """Circuits are known through the contract: only compare.py lists the hypotheses it runs."""
    named = {"CosetAlgorithm", "IrrepAlgorithm", "TableCircuit", "BilinearCircuit"}
    for module in MODULES:
        if layer(module) == "evidence" and module != "evidence/compare.py":
            tree = ast.parse((PACKAGE / module).read_text())
            used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
            assert not used & named, f"{module} names {used & named}"
