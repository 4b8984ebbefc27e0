"""Table 4: how many subgroups and irreps the symmetric groups have."""

from __future__ import annotations

from coset_circuits.groups import group
from coset_circuits.reproduction import artifact as art

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


def summarise(ours: art.Networks, controls: art.Networks) -> art.Part:
    """Counted up to S7; beyond, subgroups are cited, and irreps are counted as partitions."""
    lines = []
    for n, (subgroups, irreps) in PAPER.items():
        counts, classes = (None, None), None
        subgroups_are, classes_are = "cited: OEIS A005432, not computed", ""
        if n <= COMPUTED_UP_TO:
            symmetric = group(f"S{n}")
            counts = len(symmetric.subgroups), len(symmetric.subgroup_classes)
            classes = len(symmetric.conjugacy_classes)
            subgroups_are, classes_are = "their conjugacy classes", "conjugacy classes, counted"
        lines += [
            art.Line(f"S{n}: subgroups", "count", subgroups, *counts, subgroups_are),
            art.Line(f"S{n}: irreps", "count", irreps, partitions(n), classes, classes_are),
        ]
    return art.Part(lines)


ARTIFACT = art.Artifact(
    "table4",
    "Numbers of subgroups and irreps",
    "Stander et al., Table 4",
    summarise,
    notes=[
        "Subgroups are enumerated. Irreps are counted as the partitions of n, and are as many as "
        "the conjugacy classes. Conjugate subgroups give neurons of one kind, and up to conjugacy "
        "there are far fewer subgroups than the paper's comparison suggests."
    ],
)
