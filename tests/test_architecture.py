"""The rooms of the package: imports point one way, without a circle, lazy imports included."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import coset_circuits

PACKAGE = Path(coset_circuits.__file__).parent
ROOMS = (
    "groups",
    "networks",
    "training",
    "algorithms",
    "findings",
    "experiments",
    "comparison",
    "benchmark",
    "report",
    "reproduction",
    "cli",
)
# Importable by all; they import nothing of the package.
FOUNDATION = ("errors", "thresholds")
MODULES = sorted(
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts) for path in PACKAGE.rglob("*.py")
)


def room(module):
    """The part of the package that a module belongs to."""
    return module.split(".")[0]


def file_of(module):
    path = PACKAGE.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def resolved(dotted):
    """The longest prefix of a dotted name that is a module here; None outside the package."""
    parts = dotted.split(".")
    if parts[0] != "coset_circuits":
        return None
    for end in range(len(parts), 1, -1):
        name = ".".join(parts[1:end])
        if name in MODULES or f"{name}.__init__" in MODULES:
            return name
    return "__init__"


def imports(module):
    """Every module of the package that a module imports, wherever it does so.

    Imports for type checkers only count too: they are dependencies of the reader.
    """
    for node in ast.walk(ast.parse(file_of(module).read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from {target for name in names if (target := resolved(name)) is not None}


INSIDE = [m.removesuffix(".__init__") for m in MODULES if m not in ("__init__", "__main__")]


@pytest.mark.parametrize("module", INSIDE)
def test_imports_point_one_way(module):
    place = room(module)
    assert place in (*ROOMS, *FOUNDATION), f"{module} belongs to no room"
    for target in imports(module):
        assert target != "__init__", f"{module} imports the package as a whole"
        if room(target) in FOUNDATION:
            continue
        assert place not in FOUNDATION, f"{module} imports {target}"
        assert ROOMS.index(room(target)) <= ROOMS.index(place), f"{module} imports {target}"


def test_no_import_circle():
    graph = {module: set(imports(module)) - {module} for module in INSIDE}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail("an import circle: " + " -> ".join(error.args[1]))
