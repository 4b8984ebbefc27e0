"""The rooms of the package: imports point one way, without a circle, lazy imports included."""

import importlib.util
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"


def script():
    spec = importlib.util.spec_from_file_location("house", DOCS / "site" / "architecture.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


house = script()
ROOMS = list(house.ROOMS)


@pytest.mark.parametrize("module", house.INSIDE)
def test_imports_point_one_way(module):
    place = house.room(module)
    assert place in (*ROOMS, *house.FOUNDATION), f"{module} belongs to no room"
    for target in house.imports(module):
        assert target != "__init__", f"{module} imports the package as a whole"
        if house.room(target) in house.FOUNDATION:
            continue
        assert place not in house.FOUNDATION, f"{module} imports {target}"
        assert ROOMS.index(house.room(target)) <= ROOMS.index(place), f"{module} imports {target}"


def test_no_import_circle():
    graph = {module: set(house.imports(module)) - {module} for module in house.INSIDE}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail("an import circle: " + " -> ".join(error.args[1]))


def test_the_picture_shows_what_the_modules_import():
    """If this fails: python docs/site/architecture.py"""
    assert house.PICTURE.read_text() == house.picture()


def test_the_page_names_every_room_in_order_and_no_other():
    page = (DOCS / "architecture.md").read_text()
    assert re.findall(r"^\| `(\w+)/` \|", page, re.MULTILINE) == ROOMS
    assert set(re.findall(r"`(\w+)/`", page)) == set(ROOMS)
    assert {path.parent.name for path in house.PACKAGE.glob("*/__init__.py")} == set(ROOMS)
    for name in house.FOUNDATION:
        assert f"`{name}.py`" in page
    assert f"figures/{house.PICTURE.name}" in page
