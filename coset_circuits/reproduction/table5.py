"""Table 5: exact spectra of the coset indicators, the paper's wrong entries marked."""

from __future__ import annotations

from coset_circuits.groups.table5 import IRREPS, table5
from coset_circuits.reproduction import artifact as art


def summarise(ours: art.Networks, controls: art.Networks) -> art.Part:
    """Every wrong entry as a line; every entry in the table."""
    rows = table5()
    entries, wrong = len(rows) * len(IRREPS), sum(len(row.wrong) for row in rows)
    right, control_is = entries - wrong, "not a rounding of the exact value"
    lines = [art.Line("entries", "count", entries, right, wrong, control_is)]
    for row in rows:
        for rho in row.wrong:
            printed, exact = row.printed[rho], row.exact[rho]
            lines.append(
                art.Line(
                    f"{row.subgroup_class.name} on {rho}",
                    "text",
                    printed if printed == "-" else f"{printed}%",
                    f"{float(100 * exact):.2f}%",
                    str(exact),
                    row.remark if rho == row.wrong[0] else "",
                )
            )
    for row in rows:
        if not row.generators_are_right:
            title = f"{row.subgroup_class.name}: order of what is generated"
            orders = row.size, row.generated.order, row.subgroup_class.order
            lines.append(art.Line(title, "count", *orders, row.remark))
    # The names of irreps are long; the table is to fit a terminal.
    table = art.Table(
        "Exact energy of the centred indicator",
        art.columns(
            ("text", "class"), ("count", "order"), ("number", ", ".join(map(_short, IRREPS)))
        ),
        [
            [row.subgroup_class.name, row.subgroup_class.order]
            + [str(row.exact[rho] or "–") for rho in IRREPS]
            for row in rows
        ],
        "Shares d·dim V^H / ([G:H] − 1); a column is an irrep, 31² standing for (3,1,1).",
    )
    return art.Part(lines, [table])


def _short(rho: str) -> str:
    """(3,1,1) as 31²."""
    parts = rho.strip("()").split(",")
    powers = {1: "", 2: "²", 3: "³", 5: "⁵"}
    return "".join(f"{part}{powers[parts.count(part)]}" for part in dict.fromkeys(parts))


ARTIFACT = art.Artifact(
    "table5", "Spectra of the subgroups of S5", "Stander et al., Appendix I, Table 5", summarise
)
