"""Table 5: exact spectra of the coset indicators, the paper's wrong entries marked."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from coset_circuits.groups.table5 import IRREPS, table5
from coset_circuits.reproduction.artifact import Artifact, Line, Part, Seen, Table, Value


def tell(ours: Sequence[Seen], controls: Sequence[Seen]) -> Part:
    """Every wrong entry as a line; every entry in the table."""
    rows = table5()
    entries = len(rows) * len(IRREPS)
    wrong = [(row, rho) for row in rows for rho in row.wrong]
    lines = [
        Line("entries", "count", entries, entries - len(wrong), len(wrong), "no rounding of ours")
    ]
    for row, rho in wrong:
        exact = row.exact[rho]
        lines.append(
            Line(
                f"{row.subgroup_class.name} on {rho}",
                "text",
                _percent(row.printed[rho]),
                f"{float(100 * exact):.2f}%",
                str(exact),
                row.remark if rho == row.wrong[0] else "",
            )
        )
    generated = [row for row in rows if not row.generators_are_right]
    lines += [
        Line(
            f"{row.subgroup_class.name}: order of what is generated",
            "count",
            row.size,
            row.generated.order,
            row.subgroup_class.order,
            row.remark,
        )
        for row in generated
    ]
    body: list[tuple[Value, ...]] = [
        (row.subgroup_class.name, row.subgroup_class.order, *(_cell(row.exact[r]) for r in IRREPS))
        for row in rows
    ]
    # The names of irreps are long; the table is to fit a terminal.
    table = Table(
        "Exact energy of the centred indicator",
        {"class": "text", "order": "count", **{_short(rho): "number" for rho in IRREPS}},
        tuple(body),
        "Shares d·dim V^H / ([G:H] − 1); a column is an irrep, 31² standing for (3,1,1).",
    )
    return Part(tuple(lines), (table,))


def _percent(printed: str) -> str:
    return printed if printed == "-" else f"{printed}%"


def _cell(exact: Fraction) -> str:
    return str(exact) if exact else "–"


def _short(rho: str) -> str:
    """(3,1,1) as 31²."""
    parts = rho.strip("()").split(",")
    powers = {1: "", 2: "²", 3: "³", 5: "⁵"}
    return "".join(f"{part}{powers[parts.count(part)]}" for part in dict.fromkeys(parts))


ARTIFACT = Artifact(
    "table5", "Spectra of the subgroups of S5", "Stander et al., Appendix I, Table 5", tell
)
