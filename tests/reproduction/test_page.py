"""docs/reproduction.md is what the command makes of the shipped networks.

Run as a script, this file writes the page's results and its figures anew.
"""

import math
import re
from pathlib import Path

import pytest

import coset_circuits as cc
from coset_circuits.report.style import svg
from coset_circuits.reproduction.page import figures, markdown

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "reproduction.md"
FIGURES = "figures/reproduction"
RESULTS = re.compile(r"(<!-- results -->\n).*?(<!-- end -->)", re.DOTALL)
NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:e[-+]\d+)?")
QUICK = ("table2", "table3", "table4", "table5", "fig2", "fig6")


def results(made):
    """The page below its first heading."""
    return markdown(made, FIGURES).partition("\n\n")[2]


def drawn(made):
    """Every figure's SVG by its path."""
    return {
        DOCS / FIGURES / f"{name}.svg": svg(figure, name)
        for section in made.sections
        for told in section.told
        for name, figure in figures(section, told).items()
    }


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
def test_the_page_is_what_the_command_makes():
    text = PAGE.read_text()
    made = cc.reproduce(QUICK)
    ours = results(made)
    for name in QUICK:
        agree(section_of(text, name), section_of(ours, name))
    for path in drawn(made):
        assert path.is_file() and f"({path.relative_to(DOCS).as_posix()})" in text


def test_the_page_names_its_command():
    text = RESULTS.search(PAGE.read_text())
    assert text is not None and "coset-circuits reproduce all\n" in text[0]


if __name__ == "__main__":
    whole = cc.reproduce("all", out="coset-circuits-report/reproduction")
    made = results(whole)
    PAGE.write_text(RESULTS.sub(lambda m: m[1] + made + m[2], PAGE.read_text()))
    for path, content in drawn(whole).items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
