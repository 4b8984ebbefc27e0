"""The site builds without a warning, names everything public, and needs no network."""

import ast
import html
import importlib
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from chromium import MISSING, browser, chromium

ROOT = Path(__file__).parents[2]
PARTS = sorted(path.stem for path in (ROOT / "docs" / "reference").glob("*.md"))

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    if not all(importlib.util.find_spec(name) for name in ("mkdocs", "material", "mkdocstrings")):
        pytest.skip("the site needs mkdocs: pip install 'coset-circuits[docs]'")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout + done.stderr == ""
    return folder


def public(module):
    """``__all__``, without importing."""
    tree = ast.parse((ROOT / module.replace(".", "/") / "__init__.py").read_text())
    found = (n for n in tree.body if isinstance(n, ast.Assign))
    return next(ast.literal_eval(n.value) for n in found if ast.unparse(n.targets[0]) == "__all__")


def test_every_part_with_public_names_has_a_page():
    packages = {path.parent.name for path in (ROOT / "coset_circuits").glob("*/__init__.py")}
    # The command has a page of its own, docs/command.md.
    assert set(PARTS) == (packages - {"cli"}) | {"index"}


@pytest.mark.parametrize("part", PARTS)
def test_the_reference_has_every_public_name(site, part):
    module = "coset_circuits" if part == "index" else f"coset_circuits.{part}"
    page = (site / "reference" / f"{part}.html").read_text()
    places = re.findall(r'(?:id="|#)(coset_circuits\.[\w.]+)"', page)
    missing = set(public(module)) - {place.rpartition(".")[2] for place in places}
    assert not missing
    assert ":func:" not in page
    assert ":class:" not in page


def test_the_reference_leads_to_what_is_imported(site):
    """Each link of the list of the whole package is the very object that ``cc.name`` gives."""
    page = (site / "reference" / "index.html").read_text()
    links = dict(re.findall(r'href="[\w.]*#([\w.]+)"><code>(\w+)</code>', page)[::-1])
    package = importlib.import_module("coset_circuits")
    assert sorted(links.values()) == sorted(package.__all__)
    for path, name in links.items():
        module, _, last = path.rpartition(".")
        assert last == name
        found = getattr(importlib.import_module(module), last)
        assert found is getattr(package, name), path


def test_the_notebook_is_a_page_with_the_output_that_is_stored_in_it(site):
    notebook = ROOT / "docs" / "tutorial.ipynb"
    page = (site / "tutorial.html").read_text()
    text = html.unescape(re.sub(r"<[^>]+>", "", page))
    cells = json.loads(notebook.read_text())["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    printed = ["".join(output["text"]) for output in outputs if "text" in output]
    pictures = [output["data"]["image/png"] for output in outputs if "data" in output]
    assert all(lines.strip() in text for lines in printed) and len(printed) > 5
    assert re.findall(r'src="data:image/png;base64,([^"]+)"', page) == [p.strip() for p in pictures]
    assert 'href="tutorial.html"' in (site / "index.html").read_text()
    assert (site / "tutorial.ipynb").read_bytes() == notebook.read_bytes()


@pytest.mark.browser
@pytest.mark.skipif(chromium() is None, reason=MISSING)
@pytest.mark.parametrize("page", ["index.html", "tutorial.html", "reference/experiments.html"])
def test_a_page_from_a_file_searches_and_fetches_nothing(site, page):
    path = chromium()
    assert path is not None
    with browser(path) as chrome:
        chrome.open(site / page)
        chrome.evaluate(
            "new Promise(found => {"
            "  const field = document.querySelector('.md-search__input');"
            "  field.focus(); field.value = 'scrubbing';"
            "  field.dispatchEvent(new Event('keyup', {bubbles: true}));"
            "  const list = document.querySelector('.md-search-result__list');"
            "  const look = () => list.children.length ? found() : setTimeout(look, 50);"
            "  look();"
            "})"
        )
        results = chrome.evaluate("document.querySelector('.md-search-result__list').innerText")
        assert "Causal scrubbing" in results
        assert chrome.errors == []
        assert {address.split(":")[0] for address in chrome.requests} <= {"file", "data"}
