"""Questions of the study about what cannot be separated, and where measures disagree."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from itertools import combinations
from statistics import median

import numpy as np

from coset_circuits.comparison.across import NetworkSummary, prediction_errors
from coset_circuits.comparison.verdict import listed
from coset_circuits.reproduction import artifact as art
from coset_circuits.reproduction.asking import Answer, Said, listing, table
from coset_circuits.reproduction.kinds import Members, Survey, figures, text
from coset_circuits.reproduction.lengths import log_ratios
from coset_circuits.reproduction.permutations import rank_correlation
from coset_circuits.thresholds import DEFAULT

Pair = tuple[str, str]
MOST = 12
"""The number of networks that are listed."""


def ambiguous(study: Survey) -> Answer:
    """How many explanations hold of a network, which, and what splits them."""
    rows, pairs = [], []
    for members in study.kinds:
        verdicts = [network.verdict for network in members.networks]
        sets = Counter(" + ".join(sorted(v.explained_by)) or "nothing" for v in verdicts)
        sizes = [len(v.explained_by) for v in verdicts]
        between = f"{median(sizes):g} ({min(sizes)} to {max(sizes)})"
        counts = len(sizes), sum(size > 1 for size in sizes), sum(bool(v.equal) for v in verdicts)
        rows.append([members.title, listing(sets, 5), between, *counts])
        pairs += [_split(study, members, pair) for pair in combinations(study.leading, 2)]
    networks = study.networks
    several = [n for n in networks if len(n.verdict.explained_by) > 1]
    equal = sum(bool(n.verdict.equal) for n in several)
    sets = Counter(listed(sorted(n.verdict.explained_by)) for n in several)
    which = f" ({listing(sets)})" if sets else ""
    yield Said(
        f"More than one explanation holds in {len(several)} of {len(networks)} networks{which}, "
        f"and in {equal} of these no intervention separates at least two of them."
    )
    yield table(
        "Explanations that hold within the rule's tolerance",
        rows,
        "several: more than one holds, so the order of their lengths is open. not separated: no "
        "intervention separates at least two of them.",
        text="kind, explained by (networks), explanations: median (range)",
        count="networks, several, not separated",
    )
    yield table(
        "What splits two explanations",
        [row for row in pairs if row],
        "Among the networks of which both hold. separated: an intervention separates the two, that "
        "is, their predictions differ by more than the threshold and by more than both their "
        "errors together. nearer: the smaller median error over the rows on which both speak. "
        "kinds that keep one only: it explains at least half of their networks, the other none.",
        text="kind, first, second, rows that separate most often, kinds that keep one only",
        count="both hold, separated, first nearer, second nearer",
    )


def _split(study: Survey, members: Members, pair: Pair) -> list[art.Value]:
    """One row on the networks of which two hypotheses both hold; empty if there is none."""
    together = [n for n in members.networks if set(pair) <= set(n.verdict.explained_by)]
    if not together:
        return []
    rows = [separating(network, pair) for network in together]
    both = [e for n in together if (e := prediction_errors(n, *pair, DEFAULT)) is not None]
    nearer = sum(a < b for a, b in both), sum(b < a for a, b in both)
    split = listing(Counter(row for found in rows for row in found)) or "none"
    texts = [members.title, *pair, split, _kept_elsewhere(study, pair) or "none"]
    return [*texts, len(together), sum(map(bool, rows)), *nearer]


def separating(network: NetworkSummary, pair: Pair) -> list[str]:
    """The rows of a network that separate two hypotheses."""
    return [
        f.experiment
        for f in network.summary.findings
        if f.subject is None and f.quantity == "loss" and "equals" not in f.more
        if pair in f.separates or pair[::-1] in f.separates
    ]


def _kept_elsewhere(study: Survey, pair: Pair) -> str:
    """The kinds of which one of two hypotheses explains half and the other nothing, by that one."""
    kept: dict[str, list[str]] = defaultdict(list)
    for members in study.kinds:
        counts = [members.count.explaining.get(key, 0) for key in pair]
        for key, mine, other in zip(pair, counts, reversed(counts), strict=True):
            if not other and 2 * mine >= len(members.networks):
                kept[key].append(members.title)
    return "; ".join(f"{k} in {len(titles)}, such as {titles[0]}" for k, titles in kept.items())


def disagreements(study: Survey) -> Answer:
    """Whether the shorter of two hypotheses is also the better one by other measures."""
    rows, split = [], []
    for pair in combinations(study.leading, 2):
        for measure, (value, sign) in _MEASURES.items():
            found = []
            for network in study.networks:
                others = [value(network, key) for key in pair]
                lengths = log_ratios([network], *pair)
                if len(lengths) and others[0] is not None and others[1] is not None:
                    gain = sign * (others[0] - others[1])
                    found.append((network, float(lengths[0]), gain))
            if not found:
                continue
            lengths, gains = (np.array(column) for column in list(zip(*found, strict=True))[1:])
            agree = int((lengths * gains > 0).sum())
            undecided = int((gains == 0).sum())
            if undecided == len(found):
                continue
            correlation = text(rank_correlation(lengths, gains))
            rows.append([*pair, measure, correlation, len(found), agree, undecided])
            if measure == "prediction error":
                split += [(n, pair) for n, a, b in found if a * b < 0 and abs(a) > np.log(1.05)]
    by_pair = [row for row in rows if row[2] == "prediction error"]
    if by_pair:
        one, two, _, correlation, networks, agree, _ = by_pair[0]
        yield Said(
            f"Of {study.nouns[str(one)]} and {study.nouns[str(two)]} the shorter also predicts "
            f"interventions better in {agree} of {networks} networks"
            + (f" (rank correlation {correlation})." if correlation else ".")
        )
    yield table(
        "Description length against other evidence",
        rows,
        "Over networks: is the shorter hypothesis also the better one? rank correlation: "
        "Spearman's, of log bits of the first over the second with the difference of the other "
        "measure (positive: they agree), with a bootstrap interval over networks. equal: the "
        "measure is the same for both; a measure that is so in all networks is left out.",
        text="first, second, measure, rank correlation",
        count="networks, agree, equal",
    )

    def gap(item: tuple[NetworkSummary, Pair]) -> float:
        first, second = (item[0].error(key) or 0.0 for key in item[1])
        return abs(first - second)

    split.sort(key=gap, reverse=True)
    yield table(
        "Networks in which the shorter hypothesis predicts worse",
        [
            [n.name, *pair, *(n.bits(k) for k in pair), *(n.error(k) for k in pair)]
            for n, pair in split[:MOST]
        ],
        f"The {min(MOST, len(split))} of {len(split)} with the largest difference in prediction "
        "error; bits differ by more than 5%. error: median |Δlog10 loss| in decades.",
        text="network, first, second",
        number="bits of first, bits of second, error of first, error of second",
    )


_MEASURES: dict[str, tuple[Callable[[NetworkSummary, str], float | None], int]] = {
    "prediction error": (lambda n, key: n.error(key), 1),
    "scrub accuracy": (lambda n, key: figures(n, "scrub", key, "accuracy")[0], -1),
    "operations to prove 95%": (
        lambda n, key: figures(n, "certificate", key, "operations_for_95")[0],
        1,
    ),
}
"""How other evidence on a hypothesis is read; 1 if less is better, −1 if more is."""
