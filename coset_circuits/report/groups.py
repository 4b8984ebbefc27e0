"""The structure of a group, as a dictionary and as tables in the terminal."""

from __future__ import annotations

from textwrap import wrap
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from coset_circuits.groups import FiniteGroup, Subgroup, spectrum
from coset_circuits.report.terminal import plain_table, print_heading, print_note


def group_dict(group: FiniteGroup) -> dict[str, Any]:
    """Order, classes, irreps and subgroups with the exact spectra of their coset indicators.

    A spectrum gives the share of the centred indicator's energy in each complex irrep, as
    [numerator, denominator]. The whole group has a constant indicator and so no spectrum.
    """
    return {
        "group": group.name,
        "order": group.order,
        "abelian": group.is_abelian,
        "conjugacy_classes": len(group.conjugacy_classes),
        "irreps": [
            {"name": irrep.name, "dimension": irrep.dimension, "type": irrep.type}
            for irrep in group.irreps
        ],
        "subgroups": [
            {
                "name": c.name,
                "order": c.order,
                "count": c.count,
                "generators": [group.labels[g] for g in c.representative.generators],
                "spectrum": _spectrum(c.representative),
            }
            for c in group.subgroup_classes
        ],
    }


def _spectrum(subgroup: Subgroup) -> dict[str, list[int]]:
    if subgroup.is_whole:
        return {}
    return {n: [s.numerator, s.denominator] for n, s in spectrum(subgroup).items()}


def print_group(described: dict[str, Any], console: Console | None = None) -> None:
    """Print the description, no line longer than the console is wide."""
    console = console or Console(highlight=False)
    subgroups = described["subgroups"]
    console.print(
        f"{described['group']}: order {described['order']}, "
        f"{'abelian' if described['abelian'] else 'non-abelian'}, "
        f"{described['conjugacy_classes']} conjugacy classes, {len(described['irreps'])} irreps, "
        f"{sum(c['count'] for c in subgroups)} subgroups in {len(subgroups)} classes"
    )
    print_heading(console, "IRREPS OVER THE COMPLEX NUMBERS")
    irreps = plain_table(["irrep", "type"], ["dimension"], gap=2)
    for irrep in described["irreps"]:
        irreps.add_row(Text(irrep["name"]), irrep["type"], str(irrep["dimension"]))
    console.print(irreps)
    print_heading(console, "SUBGROUPS UP TO CONJUGACY")
    console.print(_subgroups(subgroups, console.width))
    print_note(
        console,
        "count: number of conjugates; spectrum: exact share of the centred coset indicator's "
        "energy in each irrep.",
    )


def _subgroups(subgroups: list[dict[str, Any]], width: int) -> Table:
    """The table of subgroups, wrapped between generators and between shares, never inside one."""
    table = plain_table(["class", "generators", "spectrum"], ["order", "count"], gap=2)
    rest = width - 20
    names = [_lines([c["name"]], rest // 3) for c in subgroups]
    made_by = [_lines(c["generators"] or ["e"], rest // 3, ", ") for c in subgroups]
    # A column is as wide as its heading at least.
    columns = (["class", *names], ["generators", *made_by])
    left = rest - sum(max(map(_longest, column)) for column in columns)
    for c, name, generators in zip(subgroups, names, made_by, strict=True):
        shares = [
            f"{name} {top}/{bottom}" if bottom > 1 else f"{name} {top}"
            for name, (top, bottom) in c["spectrum"].items()
            if top
        ]
        spectrum = _lines(shares or ["constant"], left, "; ")
        table.add_row(*map(Text, (name, generators, spectrum)), str(c["order"]), str(c["count"]))
    return table


def _longest(text: str) -> int:
    return max(map(len, text.splitlines()))


def _lines(items: list[str], width: int, between: str = "") -> str:
    """Join items, as many per line as fit; an item longer than a line is wrapped."""
    lines: list[str] = []
    for i, item in enumerate(items):
        text = item + (between.rstrip() if i < len(items) - 1 else "")
        if lines and len(lines[-1]) + 1 + len(text) <= width:
            lines[-1] += f" {text}"
        else:
            lines += wrap(text, max(8, width))
    return "\n".join(lines)
