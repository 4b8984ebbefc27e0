"""docs/reproduction.md is what the command makes of networks that two lines train.

Run as a script with the command's output folder, this file writes the page's results and figures
anew: ``python tests/reproduction/test_docs_page.py OUT``.
"""

import math
import re
import shutil
import sys
from pathlib import Path

import pytest

import coset_circuits as cc
from coset_circuits.reproduction import ARTIFACTS, Study
from coset_circuits.reproduction.artifact import show
from coset_circuits.reproduction.page import markdown

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "reproduction.md"
FIGURES = "figures/reproduction"
RESULTS = re.compile(r"(<!-- results -->\n).*?(<!-- end -->)", re.DOTALL)
NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:e[-+]\d+)?")
OF_NO_NETWORK = ("table4", "table5")
SHIPPED = {"s5": "S5-seed1", "s5_b": "S5-seed0"}
"""Shipped networks that the page's networks are among, under the names they have there."""


def results(made):
    """The page below its first heading."""
    return made.partition("\n\n")[2]


def section_of(text, name):
    found = re.search(rf"^## {name}: .*?(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    assert found is not None, name
    return found[0].replace("<!-- end -->", "").strip()


def agree(one, other):
    """The same words, and numbers that differ by rounding at most."""
    assert NUMBER.sub("#", one) == NUMBER.sub("#", other)
    for a, b in zip(NUMBER.findall(one), NUMBER.findall(other), strict=True):
        x, y = (float(v.replace(",", "")) for v in (a, b))
        assert math.isclose(x, y, rel_tol=0.02, abs_tol=1e-3), (a, b)


@pytest.mark.slow
def test_what_needs_no_network_is_what_the_command_makes():
    text, ours = PAGE.read_text(), markdown(cc.reproduce(OF_NO_NETWORK), FIGURES)
    for name in OF_NO_NETWORK:
        agree(section_of(text, name), section_of(ours, name))


@pytest.mark.parametrize(("shipped", "name"), SHIPPED.items())
def test_a_shipped_network_stands_on_the_page_as_it_is(shipped, name):
    about = Study(cc.load(shipped)).about()
    row = f"| {name} | S5 | 128 | {about['steps']:,} | {show(about['accuracy'], 'fraction')} |"
    assert row in PAGE.read_text()


def test_the_neuron_of_figure_3_is_that_of_the_shipped_network():
    section = section_of(PAGE.read_text(), "fig3")
    neuron, name = re.search(r"Neuron (\d+) of ([\w-]+), an F20 neuron", section).groups()
    (shipped,) = [short for short, long in SHIPPED.items() if long == name]
    analyse = ARTIFACTS["fig3"].analyse
    assert analyse is not None
    found = analyse(Study(cc.load(shipped)))
    assert found["neuron"] == int(neuron)
    last = show(found["shown"][-1]["left"]["variance"], "number")
    assert re.search(rf"^\| last step: left variance \| 9.06 \| {last} \|", section, re.MULTILINE)


def test_the_page_names_its_command_and_has_its_figures():
    text = RESULTS.search(PAGE.read_text())
    assert text is not None
    assert "coset-circuits reproduce all --networks runs --networks s6\n" in text[0]
    figures = re.findall(r"\]\((figures/reproduction/[\w.-]+)\)", text[0])
    assert len(figures) >= 7 and all((DOCS / figure).is_file() for figure in figures)


if __name__ == "__main__":
    out = Path(sys.argv[1])
    made = results((out / "reproduction.md").read_text()).replace("](figures/", f"]({FIGURES}/")
    PAGE.write_text(RESULTS.sub(lambda m: m[1] + made + m[2], PAGE.read_text()))
    shutil.rmtree(DOCS / FIGURES, ignore_errors=True)
    (DOCS / FIGURES).mkdir(parents=True)
    for path in (out / "figures").glob("*.svg"):
        shutil.copy(path, DOCS / FIGURES)
