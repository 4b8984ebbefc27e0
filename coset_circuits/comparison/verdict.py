"""The verdict: which hypothesis explains a network, by a rule that is printed with it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from coset_circuits.comparison.fidelity import Fidelity
from coset_circuits.experiments.candidates import NETWORK, Candidate
from coset_circuits.experiments.forms import FINER, SELECTION
from coset_circuits.experiments.rows import PredictionError, Row, errors, misses
from coset_circuits.findings import without_nan
from coset_circuits.thresholds import Thresholds

RAW = "raw weights"
"""The null model that compression is measured against: its bits over the candidate's."""


@dataclass(frozen=True)
class Verdict:
    """What explains a network; hypotheses are named by their candidates' keys.

    Attributes:
        sentence: the answer.
        explained_by: the hypotheses that explain the network, the shortest first.
        equal: those among them that no experiment separates.
        refuted: the hypotheses that a row refutes.
        not_applicable: hypotheses that do not apply here, each with the reason.
        rule: the rule behind the answer, with its thresholds: numbered points, one per line.
        fails: the hypotheses that apply but do not explain the network, each with the reasons.
        details: further sentences.
    """

    sentence: str
    explained_by: tuple[str, ...]
    equal: tuple[str, ...]
    refuted: tuple[str, ...]
    not_applicable: Mapping[str, str]
    rule: str
    fails: Mapping[str, str] = field(default_factory=dict)
    details: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As it stands in findings.json."""
        return without_nan(vars(self))

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> Verdict:
        """The verdict that :meth:`to_dict` wrote."""
        lists = ("explained_by", "equal", "refuted", "details")
        return cls(**{**entry, **{name: tuple(entry[name]) for name in lists}})

    def on(self, key: str) -> str | None:
        """The verdict on one candidate; None for controls and nulls, which are not judged."""
        if key in self.explained_by:
            return "explains"
        if key in self.refuted:
            return "refuted"
        return "fails" if key in self.fails else None


@dataclass(frozen=True)
class Evidence:
    """The evidence behind a verdict.

    Attributes:
        name: the network's name in the sentence.
        rows: the observed and predicted outcome of each intervention.
        predicted: each candidate's prediction error.
        separations: for each intervention the pairs of hypotheses that it separates.
        pairs: the number of pairs that the rows are measured on, out of ``every``.
    """

    name: str
    rows: Sequence[Row]
    candidates: Sequence[Candidate]
    predicted: Mapping[str, PredictionError]
    separations: Mapping[str, tuple[tuple[str, str], ...]]
    fidelity: Fidelity
    not_applicable: Mapping[str, str]
    pairs: int
    every: int
    thresholds: Thresholds

    @property
    def hypotheses(self) -> list[Candidate]:
        return [c for c in self.candidates if c.kind == "hypothesis"]

    @property
    def nulls(self) -> list[Candidate]:
        return [c for c in self.candidates if c.kind == "null"]

    def controls(self, key: str) -> list[Candidate]:
        """The relabelled controls of a hypothesis."""
        return [c for c in self.candidates if c.of == key]

    def bits(self, candidate: Candidate) -> float:
        """Bits per neuron at the fidelity point."""
        return candidate.bits[self.fidelity.delta]

    def ratio(self, one: Candidate, two: Candidate) -> tuple[float, tuple[float, float]]:
        """Bits of the first over the second; see :meth:`Fidelity.ratio`."""
        return self.fidelity.ratio(one.bits, two.bits)

    def is_longer(self, one: Candidate, two: Candidate) -> bool:
        """Whether the first is longer at every δ, by more than coding conventions can change."""
        return all(
            one.bits[delta] > self.thresholds.as_short * two.bits[delta]
            and one.bits[delta] - two.bits[delta] > math.log2(1 / delta)
            for delta in self.fidelity.deltas
        )

    def compression(self, candidate: Candidate) -> float:
        """How many times shorter a candidate is than the raw weights."""
        raw = next(c for c in self.nulls if c.key == RAW)
        return self.ratio(raw, candidate)[0]

    def apart(self, one: str, two: str) -> list[Row]:
        """The rows that separate two hypotheses."""
        return [
            row
            for row in self.rows
            if not {(one, two), (two, one)}.isdisjoint(self.separations[row.intervention.id])
        ]


def decide(found: Evidence) -> Verdict:
    """Reach the verdict by the points of :func:`rule`."""
    limits, hypotheses = found.thresholds, found.hypotheses
    refuting = {c.key: _refuting_row(c, found) for c in hypotheses}
    failing = {c.key: list(_failing(c, found)) for c in hypotheses}
    for key, by in refuting.items():
        if by:
            failing[key].insert(0, _refutation(by, key, found.rows))
    needed = int(min(limits.least_pairs, found.every))
    if found.pairs < needed:
        # No verdict on the network: none on a hypothesis either.
        refuting, failing = {}, {c.key: [] for c in hypotheses}
    by_length = sorted(hypotheses, key=found.bits)
    eligible = [c for c in by_length if not failing[c.key]]
    explained = _shortest(eligible, found) if found.pairs >= needed else []
    alike = [c for c in explained if not found.apart(explained[0].key, c.key)]
    if found.pairs < needed:
        sentence = (
            f"Too few pairs were measured for a verdict on {found.name}: {found.pairs} of the "
            f"{needed} that are needed."
        )
    elif explained:
        sentence = _explanation(explained, alike, found) + _shorter(by_length, failing, explained)
    else:
        sentence = _nothing(by_length, failing, found)
    return Verdict(
        sentence[:1].upper() + sentence[1:],
        tuple(c.key for c in explained),
        tuple(c.key for c in alike) if len(alike) > 1 else (),
        tuple(key for key, row in refuting.items() if row),
        dict(found.not_applicable),
        rule(limits),
        {key: "; ".join(reasons) for key, reasons in failing.items() if reasons},
        tuple(_details(by_length, failing, found)),
    )


def _shortest(eligible: Sequence[Candidate], found: Evidence) -> list[Candidate]:
    """The shortest hypothesis and those about as short.

    A hypothesis that contains others counts only if each of these is longer.
    """
    as_short = [c for c in eligible if not found.is_longer(c, eligible[0])]
    parts = [c for c in as_short if not any(other.key in c.contains for other in as_short)]
    return [
        c
        for c in eligible
        if parts
        and not found.is_longer(c, parts[0])
        and not any(part.key in c.contains for part in parts)
    ]


def rule(t: Thresholds) -> str:
    """The rule of the verdict with its thresholds: numbered points, one per line."""
    points = (
        "Bits are compared at the fidelity point δ*: the coarsest error of the tables at which the "
        "network still behaves like itself (median |Δlog10 loss| over the interventions ≤ "
        f"{t.fidelity_log_loss:g}; δ* ≤ {t.fidelity_cap:g}).",
        "Each hypothesis is compared in one form (its claims and structure). A form passes if it "
        f"predicts the rows {', '.join(SELECTION)} as well as point 3 asks. The most accurate form "
        "is used among those that pass and need at most one free number a neuron more than the "
        "shortest that passes. Structure is "
        f"chosen by bits at δ*, then at {', '.join(f'δ*/{k}' for k in FINER[1:])} until a form is "
        f"off by at most {t.fidelity_log_loss:g} decades. If no form passes, levels are fitted to "
        "the logits.",
        "Prediction. Its surrogate alone predicts the interventions: median |Δlog10 loss| ≤ "
        f"{t.prediction_log_loss:g}, mean |Δaccuracy| ≤ {t.prediction_accuracy:g}, median R² of "
        f"the logits ≥ {t.prediction_r2:g}. It is silent on at most {t.spoken:.0%} of them.",
        f"Coverage. It covers at least {t.coverage:.0%} of the neurons that matter.",
        f"Control. It makes at most {t.control_ratio:g} of the error that the same hypothesis "
        "makes on a relabelled group.",
        "Length. It is shorter than every null model, and shorter than the same hypothesis on a "
        "relabelled group.",
        "Refutation. No row refutes it. A row refutes a hypothesis that misses it by more than "
        f"{t.refutation_log_loss:g} decades or {t.refutation_accuracy:g} of accuracy, where a "
        f"rival that the row separates from it makes at most {t.rival_ratio:g} of that error and "
        "stays within these limits.",
        "The shortest hypothesis that passes points 3 to 7 explains the network. So does every "
        "other that passes if the difference between their lengths is open. A difference is open "
        f"unless the longer one needs more than {t.as_short:g} times the bits, and more than one "
        "free number a neuron more, at δ*/2, δ*, 2δ* (at most the cap) and at the δ* of each "
        "dither; smaller differences depend on how choices are coded.",
        "A hypothesis that contains others explains a network only if it is shorter than these.",
        "Hypotheses that explain the network are equal where no row separates them from the "
        "shortest. A row separates two whose predictions differ by more than "
        f"{t.separation_log_loss:g} decades or {t.separation_accuracy:g} of accuracy, and by more "
        "than both their own errors together.",
        "Rows that show the same effect count once. Rows used to fit a hypothesis or to choose its "
        f"form are not evidence. A verdict needs {t.least_pairs:g} pairs, or all of a small group.",
    )
    return "\n".join(f"{i}. {point}" for i, point in enumerate(points, 1))


def _refuting_row(candidate: Candidate, found: Evidence) -> tuple[str, str] | None:
    """The refuting row with the largest error, and the rival that it favours; None if none."""
    t, refutations = found.thresholds, []
    limits = (t.refutation_log_loss, t.refutation_accuracy)
    for rival in found.hypotheses:
        for row in found.apart(candidate.key, rival.key):
            mine, theirs = (errors(row, c.key, t) for c in (candidate, rival))
            # A fit that used the row is not judged by it.
            if mine is None or theirs is None or row.used_by & {candidate.key, rival.key}:
                continue
            much_nearer = any(
                one > limit and other <= t.rival_ratio * one
                for one, other, limit in zip(mine, theirs, limits, strict=True)
            )
            if much_nearer and all(e <= limit for e, limit in zip(theirs, limits, strict=True)):
                refutations.append((mine[0] - theirs[0], row.intervention.id, rival.key))
    return max(refutations)[1:] if refutations else None


def _failing(candidate: Candidate, found: Evidence) -> Iterator[str]:
    """The reasons other than refutation why a hypothesis cannot explain the network."""
    t, error = found.thresholds, found.predicted[candidate.key]
    shown = {row.shows for row in found.rows}
    spoken = {row.shows for row in found.rows if row.outcomes[candidate.key] is not None}
    if len(shown - spoken) > t.spoken * len(shown):
        yield f"it is silent on {len(shown - spoken)} of {len(shown)} interventions"
    yield from misses(error, t)
    if candidate.circuit.roles.coverage < t.coverage:
        yield f"it covers {candidate.circuit.roles.coverage:.0%} of the neurons"
    controls = found.controls(candidate.key)
    if not controls:
        yield "the group has no relabelling to serve as its control"
    for control in (found.predicted[c.key].median_log_loss for c in controls):
        if error.median_log_loss > t.control_ratio * control:
            yield (
                f"its error is more than {t.control_ratio:g} of the {control:.2f} that it makes on "
                "a relabelled group"
            )
    for other in (*found.nulls, *controls):
        ratio, (low, high) = found.ratio(candidate, other)
        what = "the same on a relabelled group" if other.of else f"the null {other.key}"
        bits = _bits([candidate, other], found)
        if ratio >= 1:
            yield f"it is not shorter than {what} ({bits})"
        elif high >= 1:
            yield (
                f"it is open whether it is shorter than {what} ({bits}, ratio {ratio:.2f} "
                f"[{low:.2f}, {high:.2f}])"
            )


def _bits(candidates: Sequence[Candidate], found: Evidence) -> str:
    return f"{listed([f'{found.bits(c):.0f}' for c in candidates])} bits per neuron"


def listed(words: Sequence[str]) -> str:
    """Such as ``a, b and c``."""
    return ", ".join(words[:-1]) + (" and " if len(words) > 1 else "") + words[-1]


def _verb(nouns: Sequence[str], stem: str) -> str:
    plural = len(nouns) > 1 or nouns[0].endswith("s")
    return stem if plural else f"{stem}s"


def _is(candidate: Candidate) -> str:
    return "are" if candidate.noun.endswith("s") else "is"


def _explanation(
    explained: Sequence[Candidate], alike: Sequence[Candidate], found: Evidence
) -> str:
    nouns = [c.noun for c in explained]
    short, error = explained[0], found.predicted[explained[0].key]
    subject = f"{listed(nouns)} {_verb(nouns, 'explain')} {found.name}"
    if len(explained) == 1:
        pronoun, verb = ("they", "describe") if nouns[0].endswith("s") else ("it", "describes")
        return (
            f"{subject}: {pronoun} {verb} it {found.compression(short):.1f} times shorter than its "
            f"weights at equal fidelity ({_beside(short, found)}) and alone "
            f"{_verb(nouns, 'predict')} {error.rows} interventions to "
            f"{error.median_log_loss:.2f} decades."
        )
    if len(alike) == len(explained):
        return f"{subject} equally ({_bits(explained, found)}): no experiment here separates them."
    parts = [f"{subject} at lengths whose order is open ({_bits(explained, found)})"]
    if len(alike) > 1:
        parts.append(f"no experiment here separates {listed([c.noun for c in alike])}")
    for other in (c for c in explained if c not in alike):
        apart = found.apart(short.key, other.key)
        nearer = sum(_nearer(row, short.key, other.key, found.thresholds) for row in apart)
        rows = "1 experiment separates" if len(apart) == 1 else f"{len(apart)} experiments separate"
        ahead, count = short, nearer
        if 2 * nearer < len(apart):
            ahead, count = other, len(apart) - nearer
        parts.append(
            f"{rows} {other.noun} from {short.noun}, and {ahead.noun} "
            f"{_is(ahead)} nearer in {count}"
        )
    return "; ".join(parts) + "."


def _shorter(
    by_length: Sequence[Candidate],
    failing: Mapping[str, Sequence[str]],
    explained: Sequence[Candidate],
) -> str:
    """Why the hypotheses shorter than the one that explains the network fail."""
    shorter = [c for c in by_length[: by_length.index(explained[0])] if failing[c.key]]
    return "".join(
        f" {c.noun[:1].upper()}{c.noun[1:]} {_is(c)} shorter but cannot explain it: "
        f"{failing[c.key][0]}."
        for c in shorter
    )


def _beside(short: Candidate, found: Evidence) -> str:
    """The compression of the other candidates, for comparison with the shortest."""
    others = sorted((c for c in found.hypotheses if c is not short), key=found.bits)
    parts = [f"{c.noun} {found.compression(c):.1f}" for c in others]
    null = max(found.compression(c) for c in found.nulls)
    parts.append(f"no group theory {null:.1f}")
    parts += [f"renamed group {found.compression(c):.1f}" for c in found.controls(short.key)]
    return ", ".join(parts)


def _nothing(
    by_length: Sequence[Candidate], failing: Mapping[str, Sequence[str]], found: Evidence
) -> str:
    if not by_length:
        return f"Nothing explains {found.name}: no hypothesis applies to it."
    short, null = by_length[0], min(found.nulls, key=found.bits)
    if found.ratio(short, null)[0] >= 1:
        return (
            f"Nothing explains {found.name}: no hypothesis describes it shorter than a null "
            f"({short.noun} and {null.key}: {_bits([short, null], found)})."
        )
    return (
        f"Nothing explains {found.name}: {short.noun}, the shortest, "
        f"{_verb([short.noun], 'fail')} because "
        f"{failing[short.key][0]}."
    )


def _details(
    by_length: Sequence[Candidate], failing: Mapping[str, Sequence[str]], found: Evidence
) -> Iterator[str]:
    point = found.fidelity
    low, high = point.interval
    yield (
        f"The fidelity point δ* is {point.delta:.3f} [{low:.3f}, {high:.3f}], "
        + ("the coarsest that is tried, " if point.is_capped else "")
        + f"measured with {len(point.draws)} dithers on {point.pairs:,} pairs and {point.rows} "
        "interventions."
    )
    for one, two in pairwise(by_length):
        ratio, (low, high) = found.ratio(two, one)
        order = "settled" if found.is_longer(two, one) else "open"
        yield (
            f"{two.key} needs {ratio:.2f} times the bits of {one.key} [{low:.2f}, {high:.2f}]: "
            f"{order}."
        )
    yield from _directions(by_length)
    for candidate in by_length:
        if reasons := failing[candidate.key]:
            yield f"{candidate.key} cannot explain it: {'; '.join(reasons)}."


def _directions(candidates: Sequence[Candidate]) -> Iterator[str]:
    """How many dimensions the directions need that all neurons share."""
    found: dict[str, list[str]] = {}
    for candidate in candidates:
        if shared := getattr(candidate.circuit, "directions", {}):
            needed = [f"{width} of {degree} in {name}" for name, (width, degree) in shared.items()]
            found.setdefault(listed(needed), []).append(candidate.key)
    for needed, keys in found.items():
        yield f"The directions a of all neurons need {needed} dimensions ({', '.join(keys)})."


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


def _refutation(by: tuple[str, str], key: str, rows: Sequence[Row]) -> str:
    row = next(row for row in rows if row.intervention.id == by[0])
    observed, mine, rival = (row.outcomes[n] for n in (NETWORK, key, by[1]))
    assert observed is not None and mine is not None and rival is not None
    return (
        f"it is refuted by the row {row.intervention.title} (observed loss {observed.loss:.2g}, "
        f"accuracy {observed.accuracy:.3f}; it predicts {mine.loss:.2g}, {mine.accuracy:.3f}; "
        f"{by[1]} {rival.loss:.2g}, {rival.accuracy:.3f})"
    )
