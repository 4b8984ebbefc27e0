"""Table 5 of Stander et al. (2024): the printed entries, each checked against the exact value.

The energies of the centred coset indicators of S5's proper non-trivial subgroups on its irreps:
D. Stander, Q. Yu, H. Fan and S. Biderman, Grokking Group Multiplication with Cosets, ICML 2024,
arXiv 2312.06581, Appendix I.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from coset_circuits.groups.characters import spectrum
from coset_circuits.groups.names import group
from coset_circuits.groups.subgroups import Subgroup, SubgroupClass

IRREPS = ("(4,1)", "(3,2)", "(3,1,1)", "(2,2,1)", "(2,1,1,1)", "(1,1,1,1,1)")

# Our name of the class; then as printed: type, generators, size, energies in per cent.
_PRINTED = """
C2            | C2    | (1 2)                | 2  | 20.3 25.4 30.5 17   6.8  -
C2⟨(1 2)(3 4)⟩ | C2    | (1 2)(3 4)           | 2  | 13.6 25.4 20.3 25.4 13.6 1.7
C3            | C3    | (1 2 3)              | 3  | 20.1 12.8 30.8 12.8 20.5 2.6
C4            | C4    | (1 2 3 4)            | 4  | 13.6 25.4 20.3 25.4 13.6 1.7
C2xC2         | C2×C2 | (1 2), (3 4)         | 4  | 27.6 34.5 20.7 17.2 -    -
V4            | C2×C2 | (1 2)(3 4), (1 3)(2 4) | 4 | 13.8 34.5 -   34.5 13.8 3.5
C5            | C5    | (1 2 3 4 5)          | 5  | -    21.7 52.2 21.7 -    4.4
C6            | C6    | (1 2 3), (4 5)       | 6  | 21.1 26.3 31.6 -    21.1 -
S3            | S3    | (1 2 3), (1 2)       | 6  | 42.1 26.3 31.6 -    -    -
S3 twisted    | S3    | (1 2 3), (1 2)(4 5)  | 6  | 21.1 26.3 -    26.3 21.1 5.3
D8            | D8    | (1 2 3 4), (1 3)     | 8  | 28.6 35.7 -    35.7 -    -
D10           | D10   | (1 2 3 4 5), (2 5)(3 4) | 10 | - 45.5 -    45.5 -    1
S3xS2         | S3×S2 | (1 2 3), (1 2), (4 5) | 12 | 55.6 44.4 -   -    -    -
A4            | A4    | (1 2)(3 4), (1 2 3)  | 12 | 44.4 -    -    -    44.4 11.2
F20           | F20   | (1 2 3 4 5), (2 3 5 4) | 20 | - -     -    100  -    -
S4            | S4    | (1 2 3 4 5), (1 2)   | 24 | 100  -    -    -    -    -
A5            | A5    | (1 2 3 4 5), (1 2 3) | 60 | -    -    -    -    -    100
"""

_REMARKS = {
    "C3": "the row adds up to 99.6%",
    "C4": "repeats the row of C2⟨(1 2)(3 4)⟩",
    "V4": "1/29 = 3.448% rounds to 3.4%",
    "C5": "1/23 = 4.348% rounds to 4.3%",
    "D10": "the row adds up to 92%",
    "S3xS2": "the two entries are exchanged",
    "A4": "1/9 = 11.11%; with 11.2% the row adds up to 100%",
    "S4": "the printed generators generate S5; (1 2 3 4) and (1 2) generate S4",
}


@dataclass(frozen=True)
class Row:
    """A printed row of the table, with the exact values.

    Attributes:
        subgroup_class: the class of subgroups that the row describes.
        type: the isomorphism type as printed.
        generators: as printed.
        size: as printed.
        printed: the printed percentage of each irrep; ``"-"`` where the table has a dash.
        exact: the exact energy of each irrep.
        remark: what is wrong with the row, or empty.
    """

    subgroup_class: SubgroupClass
    type: str
    generators: tuple[str, ...]
    size: int
    printed: dict[str, str]
    exact: dict[str, Fraction]
    remark: str

    @property
    def wrong(self) -> tuple[str, ...]:
        """The irreps whose printed percentage is not a rounding of the exact one."""
        return tuple(rho for rho in IRREPS if not _is_rounding(self.printed[rho], self.exact[rho]))

    @property
    def generated(self) -> Subgroup:
        """The subgroup that the printed generators generate."""
        whole = group("S5")
        return Subgroup.generated(whole, [whole.labels.index(g) for g in self.generators])

    @property
    def generators_are_right(self) -> bool:
        return self.generated in self.subgroup_class.conjugates


def _is_rounding(printed: str, exact: Fraction) -> bool:
    if printed == "-":
        return exact == 0
    decimals = len(printed.partition(".")[2])
    return abs(Fraction(printed) - 100 * exact) <= Fraction(1, 2 * 10**decimals)


def table5() -> tuple[Row, ...]:
    """Every row of the table, with the exact energies."""
    classes = {c.name: c for c in group("S5").subgroup_classes}
    rows = []
    for line in _PRINTED.strip().splitlines():
        name, kind, generators, size, energies = (part.strip() for part in line.split("|"))
        known = classes[name]
        exact = spectrum(known.representative)
        rows.append(
            Row(
                known,
                kind,
                tuple(generators.split(", ")),
                int(size),
                dict(zip(IRREPS, energies.split(), strict=True)),
                {rho: exact[rho] for rho in IRREPS},
                _REMARKS.get(name, ""),
            )
        )
    return tuple(rows)
