"""A question of the study: groups with one character table and different subgroups."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import combinations, permutations
from typing import Any

import numpy as np

from coset_circuits.algorithms.algorithm import UNEXPLAINED
from coset_circuits.comparison.across import NetworkSummary
from coset_circuits.groups import group as named_group
from coset_circuits.report.study_figures import side_by_side
from coset_circuits.reproduction import artifact as art
from coset_circuits.reproduction.asking import Answer, Said, corrected, p_value, table
from coset_circuits.reproduction.kinds import Members, Survey, text
from coset_circuits.reproduction.lengths import best_of_kind, log_ratios
from coset_circuits.reproduction.neurons import BY_IRREP, BY_SUBGROUP, role_shares
from coset_circuits.reproduction.permutations import detectable, rank_test


def twins(study: Survey) -> Answer:
    """What networks of two such groups have in common, and in what they differ."""
    rows, panels, said = [], [], []
    for one, two in combinations(study.learnt, 2):
        related = any(a.group in twin(b.group) for a, b in permutations((one.kind, two.kind)))
        if related and one.kind[1:3] == two.kind[1:3]:
            groups = f"{one.kind.group} and {two.kind.group}"
            found = {name: _compared(one, two, measure) for name, measure in _MEASURES.items()}
            rows += [[groups, name, *row] for name, row in found.items()]
            said.append(_sentence(groups, found))
            lengths = [_lengths(members) for members in (one, two)]
            highest = max((max(v) for values in lengths for v in values), default=1.0)
            panels += [
                partial(side_by_side, members.kind.group, values, highest)
                for members, values in zip((one, two), lengths, strict=True)
            ]
    for row, p in zip(rows, corrected([row[7] for row in rows]), strict=True):
        row.insert(8, p)
    if said:
        words = "; ".join(said)
        yield Said(f"{words[0].upper()}{words[1:]}.")
    if panels:
        yield art.Drawing(
            "Groups with one character table: how many times shorter than its weights each "
            "network is by cosets, by irreps and without group theory. A line is a network, a bar "
            "with its number the median.",
            [panels[i : i + 2] for i in range(0, len(panels), 2)],
            (8.0, 1.8 * len(panels)),
        )
    yield table(
        "Networks of groups with one character table and different subgroups",
        rows,
        "Dihedral and dicyclic groups of order 4n have the same character table for even n. first, "
        "second: medians over the networks of each group with 95% intervals. difference: second "
        "minus first; for bits, second over first. p: rank test by shuffling, then with Holm's "
        "correction over the table. needed: the smallest difference that so many networks would "
        "have shown with 80% power. Shares are of the neurons that are not negligible. Not normal: "
        "subgroups with several conjugates.",
        text="groups, measure, first, second",
        count="networks of first, of second",
        number="difference, p, p with Holm, needed",
    )


def twin(name: str) -> tuple[str, ...]:
    """The names of the dicyclic group with a dihedral group's character table; none for others.

    D_2n and Dic_n, both of order 4n, have the same characters where n is even; Dic2 is Q8.
    """
    match = re.fullmatch(r"D(\d+)", name)
    if match is None or int(match[1]) % 4:
        return ()
    half = int(match[1]) // 2
    return (f"Dic{half}", "Q8") if half == 2 else (f"Dic{half}",)


def _log_ratio(network: NetworkSummary) -> float | None:
    found = log_ratios([network], BY_SUBGROUP, BY_IRREP)
    return float(found[0]) if len(found) else None


def _explained(key: str, network: NetworkSummary) -> float | None:
    """The share of the neurons that a hypothesis gives a role."""
    shares = role_shares(network, key)
    return 1 - shares.get(UNEXPLAINED, 0.0) if shares else None


def _on_cosets_not_normal(network: NetworkSummary) -> float | None:
    shares = role_shares(network, BY_SUBGROUP)
    classes = named_group(network.summary.network["group"]).subgroup_classes
    several = {one.name for one in classes if one.count > 1}
    return sum(share for role, share in shares.items() if role in several) if shares else None


_RATIO, _COSETS, _NOT_NORMAL, _IRREP = (
    "bits by cosets / by irreps",
    "neurons on cosets",
    "neurons on cosets, not normal",
    "neurons on one irrep",
)
_MEASURES: dict[str, Callable[[NetworkSummary], float | None]] = {
    _RATIO: _log_ratio,
    _COSETS: partial(_explained, BY_SUBGROUP),
    _NOT_NORMAL: _on_cosets_not_normal,
    _IRREP: partial(_explained, BY_IRREP),
}


def _compared(
    one: Members, two: Members, measure: Callable[[NetworkSummary], float | None]
) -> list[Any]:
    """One measure of two kinds: both medians, numbers, difference, p, what would have shown."""
    samples = []
    for members in (one, two):
        values = [measure(network) for network in members.networks]
        samples.append(np.array([value for value in values if value is not None]))
    sizes = [len(sample) for sample in samples]
    if not all(sizes):
        return [None, None, *sizes, None, None, None]
    back = np.exp if measure is _log_ratio else np.asarray
    medians = [text(art.over_networks(back(sample).tolist())) for sample in samples]
    difference = back(np.median(samples[1]) - np.median(samples[0]))
    p, needed = None, None
    if min(sizes) > 2:
        p, needed = rank_test(samples), detectable(*samples)
    shown = None if needed is None else float(back(needed))
    return [*medians, *sizes, float(difference), p, shown]


def _sentence(groups: str, found: Mapping[str, Sequence[Any]]) -> str:
    first, second, *_, difference, p, needed = found[_RATIO]
    tested = "" if p is None else f", {p_value(p)}"
    power = "" if needed is None else f"; {needed:.3g} would show with 80% power"
    cosets, irreps = (f"{found[name][0]} and {found[name][1]}" for name in (_COSETS, _IRREP))
    return (
        f"in {groups}, which have the same characters, cosets need {first} and {second} times the "
        f"bits of irreps (a factor of {difference:.3g}{tested}{power}), cosets hold {cosets} of "
        f"the neurons, and single irreps {irreps}"
    )


def _lengths(members: Members) -> list[list[float]]:
    """Each network's compression by cosets, irreps and the best null."""
    values = [
        (n.compression(BY_SUBGROUP), n.compression(BY_IRREP), best_of_kind(n, "null"))
        for n in members.networks
    ]
    return [list(v) for v in values if all(v)]  # pyright: ignore[reportReturnType]
