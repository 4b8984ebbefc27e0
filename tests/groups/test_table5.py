"""docs/spectra.md is what the library computes, and Table 5 of Stander et al. is checked entry by
entry.

Run as a script, this file writes the page's tables anew.
"""

import re
from fractions import Fraction
from pathlib import Path

import pytest

from coset_circuits.groups import group, spectrum
from coset_circuits.groups.table5 import IRREPS, table5

PAGE = Path(__file__).parents[2] / "docs" / "spectra.md"
TABLE = re.compile(r"(<!-- (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)

# The wrong entries as irreps, and for each irrep what the paper prints and what is so.
WRONG = {
    "C3": {"(4,1)": ("20.1", Fraction(8, 39))},
    "C4": {
        "(4,1)": ("13.6", Fraction(4, 29)),
        "(3,2)": ("25.4", Fraction(5, 29)),
        "(3,1,1)": ("20.3", Fraction(6, 29)),
        "(2,2,1)": ("25.4", Fraction(10, 29)),
        "(2,1,1,1)": ("13.6", Fraction(4, 29)),
        "(1,1,1,1,1)": ("1.7", Fraction(0)),
    },
    "V4": {"(1,1,1,1,1)": ("3.5", Fraction(1, 29))},
    "C5": {"(1,1,1,1,1)": ("4.4", Fraction(1, 23))},
    "D10": {"(1,1,1,1,1)": ("1", Fraction(1, 11))},
    "S3xS2": {"(4,1)": ("55.6", Fraction(4, 9)), "(3,2)": ("44.4", Fraction(5, 9))},
    "A4": {"(1,1,1,1,1)": ("11.2", Fraction(1, 9))},
}


def markdown(rows):
    heading, *body = rows
    lines = [heading, ["---"] * len(heading), *body]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def exact_table(name):
    """For each class d·dim V^H by irrep: the numerators over [G:H] − 1."""
    g = group(name)
    rows = [["class", "order", "conjugates", "[G:H] − 1", *(rho.name for rho in g.irreps[1:])]]
    for c in g.subgroup_classes[:-1]:
        whole = c.index - 1
        numerators = [share * whole for share in spectrum(c.representative).values()]
        assert all(n.denominator == 1 for n in numerators)
        shown = [str(n) if n else "–" for n in numerators]
        rows.append([c.name, str(c.order), str(c.count), str(whole), *shown])
    return markdown(rows)


def percent(share):
    return f"{float(100 * share):.1f}%" if share else "–"


def paper_table():
    rows = [["class", *IRREPS, "remark"]]
    for row in table5():
        cells = [
            f"**{percent(row.exact[rho])}** (printed {row.printed[rho]}%)"
            if rho in row.wrong
            else percent(row.exact[rho])
            for rho in IRREPS
        ]
        rows.append([row.subgroup_class.name, *cells, row.remark])
    return markdown(rows)


def with_tables(page):
    made = {"S5": exact_table("S5"), "Table5": paper_table(), "S6": exact_table("S6")}
    return TABLE.sub(lambda m: m[1] + made.pop(m[2]) + m[3], page)


def test_the_page_is_what_the_library_computes():
    page = PAGE.read_text()
    assert len(TABLE.findall(page)) == 3
    assert with_tables(page) == page, "write the page anew: python tests/groups/test_table5.py"


def test_every_entry_is_right_but_these():
    rows = table5()
    assert sum(len(row.printed) for row in rows) == 17 * 6
    found = {
        row.subgroup_class.name: {rho: (row.printed[rho], row.exact[rho]) for rho in row.wrong}
        for row in rows
        if row.wrong
    }
    assert found == WRONG


def test_every_proper_class_but_the_trivial_one_has_its_row():
    named = [row.subgroup_class.name for row in table5()]
    assert sorted(named) == sorted(c.name for c in group("S5").subgroup_classes[1:-1])


def test_only_the_generators_of_s4_are_wrong():
    wrong = [row for row in table5() if not row.generators_are_right]
    assert [row.subgroup_class.name for row in wrong] == ["S4"]
    assert wrong[0].generated.is_whole
    assert all(row.size == row.subgroup_class.order for row in table5())


def test_the_remarks_are_true():
    rows = {row.subgroup_class.name: row for row in table5()}
    assert rows["C4"].printed == rows["C2⟨(1 2)(3 4)⟩"].printed
    exchanged = rows["S3xS2"].printed
    assert percent(rows["S3xS2"].exact["(3,2)"]) == exchanged["(4,1)"] + "%"
    assert percent(rows["S3xS2"].exact["(4,1)"]) == exchanged["(3,2)"] + "%"
    totals = {
        name: sum(Fraction(p) for p in row.printed.values() if p != "-")
        for name, row in rows.items()
    }
    assert totals["C3"] == Fraction("99.6")
    assert totals["D10"] == 92
    assert totals["A4"] == 100
    assert {name for name, row in rows.items() if row.remark} == {*WRONG, "S4"}


@pytest.mark.parametrize(
    ("name", "constituents"),
    [
        ("S5", ["(5,1)"]),
        ("S4xS2", ["(5,1)", "(4,2)"]),
        ("S3xS3", ["(5,1)", "(4,2)", "(3,3)"]),
        # The outer automorphism takes (5,1) to (2,2,2).
        ("S5 transitive", ["(2,2,2)"]),
        ("A6", ["(1,1,1,1,1,1)"]),
    ],
)
def test_spectra_of_s6_by_youngs_rule(name, constituents):
    g = group("S6")
    h = next(c for c in g.subgroup_classes if c.name == name).representative
    dimensions = {rho.name: rho.dimension for rho in g.irreps}
    support = {rho: share for rho, share in spectrum(h).items() if share}
    assert support == {rho: Fraction(dimensions[rho], h.index - 1) for rho in constituents}


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text()))
