"""The table of hypotheses and null models, for one network or many, for terminal and page."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median

from coset_circuits.comparison import Comparison
from coset_circuits.comparison.across import BITS, Stratum
from coset_circuits.comparison.summary import CircuitSummary
from coset_circuits.experiments import Candidate
from coset_circuits.findings import Finding
from coset_circuits.report import tables as t
from coset_circuits.report.sheet import Sheet

NOTE = (
    "compression: times shorter than the weights; bits [least–most] at {}; prediction: median "
    "|Δlog10 loss| of the hypothesis alone, in decades; coverage: neurons with a role, of those "
    "that matter."
)
NOTE_OF_MANY = (
    "Medians over {} network{} [{} interval]. compression: times shorter than the weights; bits at "
    "each network's fidelity point; prediction: median |Δlog10 loss| of the hypothesis alone, in "
    "decades; explains: alone or with others."
)
PROOF = " proof: proved accuracy."
WORDS = {
    "wider": "contains one that explains and is not shorter",
    "longer": "needs more bits",
    "fails": "does not pass the rule",
    "refuted": "by an intervention",
    "open": "no verdict",
    "null": "no group theory",
}
"""What the verdicts in the table mean."""


def of_one(comparison: Comparison) -> Sheet:
    """All hypotheses and nulls, the shortest first; the note has the relabelled controls."""
    proofs = _proved(f for result in comparison.on_request.values() for f in result.findings())
    lines = t.front(comparison)
    rows = tuple(
        (
            t.clean(line.name),
            f"{line.compression:.1f}",
            f"{t.whole(line.bits)} [{t.whole(line.interval[0])}–{t.whole(line.interval[1])}]",
            t.decades(line.error.median_log_loss),
            t.MISSING if line.kind == "null" else f"{line.coverage:.0%}",
            *([t.accuracy(proofs.get(line.key))] if proofs else []),
            line.verdict,
        )
        for line in lines
        if line.kind != "control"
    )
    note = NOTE.format(t.fidelity_text(comparison)) + PROOF * bool(proofs)
    if controls := [line for line in lines if line.kind == "control"]:
        note += (
            f" Relabelled group: compression {max(c.compression for c in controls):.1f} at most, "
            f"prediction {t.decades(min(c.error.median_log_loss for c in controls))} at best."
        )
    said = {row[-1] for row in rows}
    note += _glossary((word, meaning) for word, meaning in WORDS.items() if word in said)
    note += _nouns(comparison.hypotheses, comparison.verdict.sentence)
    return _sheet(note, rows, bool(proofs), "verdict")


def of_many(stratum: Stratum, confidence: float) -> Sheet:
    """All hypotheses and nulls over networks of one kind, with how often each explains one."""
    proofs = [_proved(network.summary.findings) for network in stratum.networks]
    kinds = {name: c.kind for n in stratum.networks for name, c in n.circuits.items()}
    found = []
    for name in (name for name, kind in kinds.items() if kind != "control"):
        bits = _median(n.bits(name) for n in stratum.networks)
        figure = stratum.finding("fidelity", name, BITS)
        interval = None if figure is None else figure.estimates["median"].interval
        between = "" if interval is None else " [{}–{}]".format(*map(t.whole, interval))
        compression = _median(n.compression(name) for n in stratum.networks)
        covered = _median(c.coverage for n in stratum.networks if (c := n.circuits.get(name)))
        by = sum(name in n.verdict.explained_by for n in stratum.networks)
        is_null = kinds[name] == "null"
        row = (
            t.clean(name),
            t.MISSING if compression is None else f"{compression:.1f}",
            t.whole(bits) + between,
            t.decades(_median(n.error(name) for n in stratum.networks)),
            t.MISSING if is_null or covered is None else f"{covered:.0%}",
            *([t.accuracy(_median(p.get(name) for p in proofs))] if any(proofs) else []),
            "null" if is_null else f"{by} of {len(stratum.networks)}",
        )
        found.append((bits or 0.0, row))
    rows = tuple(row for _, row in sorted(found))
    count = len(stratum.networks)
    note = NOTE_OF_MANY.format(count, "s" * (count > 1), f"{confidence:.0%}")
    note += PROOF * any(map(bool, proofs))
    first = stratum.networks[0]
    sentence = first.verdict.sentence if count == 1 else stratum.count.sentence
    note += _nouns(first.circuits.values(), sentence)
    return _sheet(note, rows, any(map(bool, proofs)), "explains")


def _nouns(candidates: Iterable[Candidate | CircuitSummary], sentence: str) -> str:
    """What a sentence calls the hypotheses whose names in the table are others."""
    return _glossary(
        (c.key, c.noun)
        for c in candidates
        if c.kind == "hypothesis" and c.noun.lower() in sentence.lower() and c.key not in c.noun
    )


def _glossary(entries: Iterable[tuple[str, str]]) -> str:
    text = t.clean("; ".join(f"{name}: {meaning}" for name, meaning in entries))
    return f" {text}." if text else ""


def _sheet(note: str, rows: tuple[tuple[str, ...], ...], proof: bool, last: str) -> Sheet:
    figures = ("compression", "bits per neuron", "prediction", "coverage")
    numbers = (*figures, *(("proof",) if proof else ()), last)
    return Sheet("Hypotheses and null models", note, ("hypothesis",), numbers, rows)


def _proved(findings: Iterable[Finding]) -> dict[str, float]:
    """The proved lower bound on accuracy from each hypothesis, if certificates were requested."""
    return {
        finding.subject: finding.value
        for finding in findings
        if finding.experiment == "certificate"
        and finding.quantity == "certified"
        and not finding.at
        and finding.subject is not None
        and finding.value is not None
    }


def _median(values: Iterable[float | None]) -> float | None:
    found = [value for value in values if value is not None]
    return median(found) if found else None
