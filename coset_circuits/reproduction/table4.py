"""Table 4: how many subgroups and irreps the symmetric groups have."""

from __future__ import annotations

from collections.abc import Sequence

from coset_circuits.groups import group
from coset_circuits.reproduction.artifact import Artifact, Line, Part, Seen

PAPER = {
    5: (156, 7),
    6: (1455, 11),
    7: (11300, 15),
    8: (151221, 22),
    9: (1694723, 30),
    10: (29594446, 42),
    11: (404126228, 56),
    12: (10594925360, 77),
}
"""Subgroups and irreps of S5 to S12, as printed in Table 4."""

COMPUTED_UP_TO = 7
"""S7 takes seconds; the subgroups of larger ones are cited."""


def partitions(n: int) -> int:
    """How many partitions n has: the irreps of S_n."""
    counts = [1] + [0] * n
    for part in range(1, n + 1):
        for total in range(part, n + 1):
            counts[total] += counts[total - part]
    return counts[n]


def tell(ours: Sequence[Seen], controls: Sequence[Seen]) -> Part:
    """Counted, up to S7; beyond, the subgroups are cited and the irreps are partitions."""
    lines = []
    for n, (subgroups, irreps) in PAPER.items():
        computed = n <= COMPUTED_UP_TO
        symmetric = group(f"S{n}") if computed else None
        lines.append(
            Line(
                f"S{n}: subgroups",
                "count",
                subgroups,
                None if symmetric is None else len(symmetric.subgroups),
                None if symmetric is None else len(symmetric.subgroup_classes),
                "their conjugacy classes" if computed else "cited: OEIS A005432, not computed",
            )
        )
        lines.append(
            Line(
                f"S{n}: irreps",
                "count",
                irreps,
                partitions(n),
                None if symmetric is None else len(symmetric.conjugacy_classes),
                "conjugacy classes, counted" if computed else "",
            )
        )
    return Part(tuple(lines))


NOTES = (
    "Subgroups are enumerated; irreps are the partitions of n, counted, and as many as there are "
    "conjugacy classes. Up to conjugacy, which is what tells kinds of neurons apart, there are far "
    "fewer subgroups than the paper's comparison suggests.",
)


ARTIFACT = Artifact(
    "table4", "Numbers of subgroups and irreps", "Stander et al., Table 4", tell, notes=NOTES
)
