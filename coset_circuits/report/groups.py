"""What a group is made of, as a dictionary and as tables in the terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from coset_circuits.groups import FiniteGroup, Subgroup, spectrum


def group_dict(group: FiniteGroup) -> dict[str, Any]:
    """Order, classes, irreps and subgroups with the exact spectra of their coset indicators.

    A spectrum gives for each complex irrep the share of the centred indicator's energy, as
    [numerator, denominator]; the group itself has a constant indicator and so no spectrum.
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
    """The same for people."""
    console = console or Console(highlight=False)
    subgroups = described["subgroups"]
    console.print(
        f"{described['group']}: order {described['order']}, "
        f"{'abelian' if described['abelian'] else 'non-abelian'}, "
        f"{described['conjugacy_classes']} conjugacy classes, {len(described['irreps'])} irreps, "
        f"{sum(c['count'] for c in subgroups)} subgroups in {len(subgroups)} classes"
    )
    irreps = Table(title="Irreps over the complex numbers", title_justify="left")
    for heading in ("irrep", "dimension", "type"):
        irreps.add_column(heading, justify="right" if heading == "dimension" else "left")
    for irrep in described["irreps"]:
        irreps.add_row(irrep["name"], str(irrep["dimension"]), irrep["type"])
    console.print(irreps)
    table = Table(
        title="Subgroups up to conjugacy, and the energy of their coset indicators by irrep",
        title_justify="left",
    )
    for heading in ("class", "order", "count", "generators", "spectrum"):
        table.add_column(heading, justify="right" if heading in ("order", "count") else "left")
    for c in subgroups:
        shares = (
            f"{name}: {top}/{bottom}" if bottom > 1 else f"{name}: {top}"
            for name, (top, bottom) in c["spectrum"].items()
            if top
        )
        table.add_row(
            c["name"],
            str(c["order"]),
            str(c["count"]),
            ", ".join(c["generators"]) or "e",
            "; ".join(shares) or "constant",
        )
    console.print(table)
