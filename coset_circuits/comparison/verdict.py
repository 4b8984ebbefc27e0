"""From predictions and description lengths to a verdict, by a rule that is printed with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from coset_circuits.experiments.candidates import NETWORK, Candidate
from coset_circuits.experiments.predictions import (
    PredictionError,
    Row,
    candidate_errors,
    errors,
)
from coset_circuits.thresholds import Thresholds


@dataclass(frozen=True)
class Verdict:
    """Names of the compared hypotheses, sorted by the rule, and sentences the rows support.

    ``dominated`` names for some of the supported ones a rival that needs no more bits and predicts
    better on every row that separates the two. All stand under their candidates' keys.
    """

    supported: tuple[str, ...]
    refuted: tuple[str, ...]
    not_supported: Mapping[str, str]
    indistinguishable: tuple[str, ...]
    rule: str
    sentences: tuple[str, ...]
    dominated: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As it stands in findings.json."""
        return {
            "supported": list(self.supported),
            "refuted": list(self.refuted),
            "not_supported": dict(self.not_supported),
            "indistinguishable": list(self.indistinguishable),
            "dominated": dict(self.dominated),
            "rule": self.rule,
            "sentences": list(self.sentences),
        }

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> Verdict:
        """The verdict that :meth:`to_dict` wrote."""
        lists = ("supported", "refuted", "indistinguishable", "sentences")
        return cls(**{**entry, **{name: tuple(entry[name]) for name in lists}})

    def on(self, key: str) -> str | None:
        """What it says of one candidate; None of controls and nulls, which are not judged."""
        for word in ("supported", "refuted"):
            if key in getattr(self, word):
                return word
        return "not supported" if key in self.not_supported else None

    @property
    def headline(self) -> str:
        """The verdict in one line."""
        parts = []
        best = [name for name in self.supported if name not in self.dominated]
        if best:
            parts.append(f"supported: {', '.join(best)}")
        if self.indistinguishable:
            parts.append(f"cannot be told apart: {', '.join(self.indistinguishable)}")
        if self.dominated:
            parts.append(f"supported, but dominated: {', '.join(self.dominated)}")
        if self.refuted:
            parts.append(f"refuted: {', '.join(self.refuted)}")
        rest = [name for name in self.not_supported if name not in self.refuted]
        if rest:
            parts.append(f"not supported: {', '.join(rest)}")
        return "; ".join(parts) or "no hypothesis applies"


def decide(
    rows: Sequence[Row],
    candidates: Sequence[Candidate],
    predicted: Mapping[str, PredictionError],
    separations: Mapping[str, tuple[tuple[str, str], ...]],
    thresholds: Thresholds,
) -> Verdict:
    """The verdict on every compared hypothesis; see :func:`rule` for how."""
    hypotheses = [c for c in candidates if c.kind == "hypothesis"]
    refuting = {
        c.name: _refuting_row(c, hypotheses, rows, separations, thresholds) for c in hypotheses
    }
    failing = {
        c.name: [
            *_silent_on(c.name, rows, thresholds),
            *_failing(c, candidates, predicted, thresholds),
        ]
        for c in hypotheses
    }
    refuted = tuple(name for name, row in refuting.items() if row)
    supported = tuple(n for n, reasons in failing.items() if not reasons and n not in refuted)
    apart = {pair for pairs in separations.values() for pair in pairs}
    alike = [pair for pair in combinations(supported, 2) if pair not in apart]
    indistinguishable = tuple(n for n in supported if any(n in pair for pair in alike))
    not_supported = {n: "; ".join(r) for n, r in failing.items() if r and n not in refuted}
    bits = {c.name: c.bits[thresholds.headline_error] for c in candidates}
    dominated = dict(_dominated(supported, bits, rows, separations, thresholds))
    sentences = [
        *_support_sentences(supported, alike, predicted, bits),
        *(_domination(one, dominated) for one in dict.fromkeys(dominated.values())),
        *_between(_by_length(supported, predicted, bits), rows, separations, thresholds),
        *(_refutation(n, by, rows) for n, by in refuting.items() if by),
        *_unsupported(not_supported),
    ]
    return Verdict(
        supported,
        refuted,
        not_supported,
        indistinguishable,
        rule(thresholds),
        tuple(sentences),
        dominated,
    )


def rule(t: Thresholds) -> str:
    """The rule of the verdict, in words, with its thresholds."""
    return (
        "A hypothesis is supported when its surrogate predicts the interventions (median |Δlog10 "
        f"loss| ≤ {t.prediction_log_loss:g}, mean |Δaccuracy| ≤ {t.prediction_accuracy:g}, median "
        f"R² of the logits ≥ {t.prediction_r2:g}), with at most {t.control_ratio:g} of the error "
        "that the same hypothesis makes on a relabelled group (where none can be made, nothing is "
        "supported), is silent on at most "
        f"{t.spoken:.0%} of the interventions, covers at least {t.coverage:.0%} of the neurons "
        "that matter, and is shorter than the dull null at δ = "
        f"{t.headline_error:g}. It is refuted by a row that it misses by more than "
        f"{t.refutation_log_loss:g} decades of loss or {t.refutation_accuracy:g} of accuracy "
        f"where a rival, separated from it there, makes at most {t.rival_ratio:g} of that error "
        "and does not itself miss the row so. "
        "Rows that a fit has already used are no evidence for it. Supported hypotheses that no row "
        "separates cannot be told apart; one is dominated by another that needs no more bits and "
        "is nearer on every row that separates them. A row separates two whose predictions differ "
        f"by more than {t.separation_log_loss:g} decades or {t.separation_accuracy:g} of accuracy "
        "and by more than both their own errors together."
    )


def _refuting_row(
    candidate: Candidate,
    candidates: Sequence[Candidate],
    rows: Sequence[Row],
    separations: Mapping[str, tuple[tuple[str, str], ...]],
    thresholds: Thresholds,
) -> tuple[str, str] | None:
    """The row and the rival that refute a hypothesis, where it is missed most; None if none."""
    limits = (thresholds.refutation_log_loss, thresholds.refutation_accuracy)
    refutations = []
    for row in rows:
        mine = candidate_errors(row, candidate, thresholds)
        for rival in candidates:
            if not _named_together(separations[row.intervention.id], candidate.name, rival.name):
                continue
            theirs = candidate_errors(row, rival, thresholds)
            if mine is None or theirs is None:
                continue
            much_nearer = any(
                m > limit and t <= thresholds.rival_ratio * m
                for m, t, limit in zip(mine, theirs, limits, strict=True)
            )
            if much_nearer and all(t <= limit for t, limit in zip(theirs, limits, strict=True)):
                refutations.append((mine[0] - theirs[0], row.intervention.id, rival.name))
    return max(refutations)[1:] if refutations else None


def _named_together(pairs: Sequence[tuple[str, str]], one: str, two: str) -> bool:
    return (one, two) in pairs or (two, one) in pairs


def _silent_on(name: str, rows: Sequence[Row], thresholds: Thresholds) -> Iterator[str]:
    silent = sum(row.outcomes[name] is None for row in rows)
    if silent > thresholds.spoken * len(rows):
        yield f"it is silent on {silent} of {len(rows)} interventions"


def _failing(
    candidate: Candidate,
    candidates: Sequence[Candidate],
    predicted: Mapping[str, PredictionError],
    thresholds: Thresholds,
) -> list[str]:
    """Why a hypothesis is not supported, refutation apart; empty where it is."""
    error = predicted[candidate.name]
    reasons = []
    if not error.median_log_loss <= thresholds.prediction_log_loss:
        reasons.append(f"median |Δlog10 loss| is {error.median_log_loss:.2f}")
    if not error.mean_accuracy <= thresholds.prediction_accuracy:
        reasons.append(f"mean |Δaccuracy| is {error.mean_accuracy:.2f}")
    if not error.logit_r2 >= thresholds.prediction_r2:
        reasons.append(f"it accounts for {max(0.0, error.logit_r2):.0%} of the logits' variance")
    if candidate.circuit.roles.coverage < thresholds.coverage:
        reasons.append(f"it covers {candidate.circuit.roles.coverage:.0%} of the neurons")
    controls = [c for c in candidates if c.kind == "control" and c.of == candidate.name]
    if not controls:
        reasons.append("the group has no relabelling to serve as its control")
    for control in (predicted[c.name].median_log_loss for c in controls):
        if error.median_log_loss > thresholds.control_ratio * control:
            reasons.append(
                f"its error is more than {thresholds.control_ratio:g} of the {control:.2f} that it "
                "makes on a relabelled group"
            )
    # The first null is the one that the rule names.
    dull = next(c for c in candidates if c.kind == "null").bits[thresholds.headline_error]
    mine = candidate.bits[thresholds.headline_error]
    if mine >= dull:
        reasons.append(
            f"its {mine:.0f} bits per neuron are no fewer than the dull null's {dull:.0f}"
        )
    return reasons


def _by_length(
    names: Sequence[str], predicted: Mapping[str, PredictionError], bits: Mapping[str, float]
) -> list[str]:
    """The shortest first; of equals, the one that predicts better."""
    return sorted(names, key=lambda n: (bits[n], predicted[n].median_log_loss))


def _support_sentences(
    supported: Sequence[str],
    alike: Sequence[tuple[str, str]],
    predicted: Mapping[str, PredictionError],
    bits: Mapping[str, float],
) -> Iterator[str]:
    if supported:
        listed = ", ".join(
            f"{n} ({predicted[n].median_log_loss:.2f} decades off, {bits[n]:.0f} bits per neuron)"
            for n in _by_length(supported, predicted, bits)
        )
        yield (
            "These predict the interventions and are shorter than the dull null "
            f"({bits['dull null']:.0f} bits), the shortest first: {listed}."
        )
    if alike:
        involved = list(dict.fromkeys(n for pair in alike for n in pair))
        fewest = min(bits[n] for n in involved)
        shortest = [n for n in involved if bits[n] == fewest]
        yield (
            "No row separates "
            + ", or ".join(f"{a} from {b}" for a, b in alike)
            + (f"; the shortest: {', '.join(shortest)}." if len(shortest) < len(involved) else ".")
        )


def _dominated(
    supported: Sequence[str],
    bits: Mapping[str, float],
    rows: Sequence[Row],
    separations: Mapping[str, tuple[tuple[str, str], ...]],
    thresholds: Thresholds,
) -> Iterator[tuple[str, str]]:
    """Supported hypotheses, each with the shortest rival that dominates it."""
    for name in supported:
        for rival in sorted(supported, key=lambda n: bits[n]):
            apart = [
                r for r in rows if _named_together(separations[r.intervention.id], name, rival)
            ]
            nearer = all(_nearer(row, rival, name, thresholds) for row in apart)
            if apart and nearer and bits[rival] <= bits[name]:
                yield name, rival
                break


def _domination(rival: str, dominated: Mapping[str, str]) -> str:
    names = [name for name, by in dominated.items() if by == rival]
    return (
        f"{rival} dominates {', '.join(names)}: it is no longer, and nearer on every row that "
        "separates them."
    )


def _unsupported(not_supported: Mapping[str, str]) -> Iterator[str]:
    """One sentence for all hypotheses that fail for the same reasons."""
    for why in dict.fromkeys(not_supported.values()):
        names = [name for name, reason in not_supported.items() if reason == why]
        yield f"{' and '.join(names)} {'is' if len(names) == 1 else 'are'} not supported: {why}."


def _between(
    supported: Sequence[str],
    rows: Sequence[Row],
    separations: Mapping[str, tuple[tuple[str, str], ...]],
    thresholds: Thresholds,
) -> Iterator[str]:
    """Which rows separate the shortest supported hypothesis from the others, and who is nearer."""
    parts = []
    short = next(iter(supported), "")
    for other in supported[1:]:
        apart = [
            row for row in rows if _named_together(separations[row.intervention.id], short, other)
        ]
        if apart:
            nearer = sum(_nearer(row, short, other, thresholds) for row in apart)
            titles = ", ".join(row.intervention.title for row in apart)
            parts.append(f"{other} by {titles} (it is nearer in {nearer} of {len(apart)})")
    if parts:
        yield f"{short} is separated from {'; from '.join(parts)}."


def _nearer(row: Row, one: str, two: str, thresholds: Thresholds) -> bool:
    """Whether the first predicts the row better, each error in units of its threshold."""
    scales = (thresholds.separation_log_loss, thresholds.separation_accuracy)
    mine, theirs = (
        max(e / scale for e, scale in zip(pair, scales, strict=True))
        if (pair := errors(row, name, thresholds)) is not None
        else float("inf")
        for name in (one, two)
    )
    return mine < theirs


def _refutation(name: str, by: tuple[str, str], rows: Sequence[Row]) -> str:
    row = next(row for row in rows if row.intervention.id == by[0])
    observed, mine, rival = (row.outcomes[n] for n in (NETWORK, name, by[1]))
    assert observed is not None and mine is not None and rival is not None
    return (
        f"{name} is refuted by the row {row.intervention.title}: observed loss {observed.loss:.2g} "
        f"(accuracy {observed.accuracy:.3f}), it predicts {mine.loss:.2g} "
        f"({mine.accuracy:.3f}), {by[1]} {rival.loss:.2g} ({rival.accuracy:.3f})."
    )
