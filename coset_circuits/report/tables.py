"""The data behind every table and figure of a report, computed once for terminal and HTML."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import combinations

from coset_circuits.algorithms import CLAIM_NOTES
from coset_circuits.comparison import Comparison
from coset_circuits.comparison.summary import versions
from coset_circuits.experiments import NETWORK, Candidate, Outcome, PredictionError, Row
from coset_circuits.experiments.rows import errors
from coset_circuits.networks.checkpoints import weights_sha256
from coset_circuits.thresholds import Thresholds

SILENT = "silent"
MISSING = "–"

FRONT_NOTE = (
    "A good explanation predicts well and is short: low and to the left. Bits are taken at the "
    "fidelity point δ*, where every candidate with its residual rebuilds the same network. "
    "Prediction errors are those of the surrogate alone. Nulls use no group theory. A relabelled "
    "control is the same hypothesis fitted after the group's elements were renamed at random; it "
    "is an easy null."
)


@dataclass(frozen=True)
class Reading:
    """Accuracy and mean loss (nats) of one model in one row."""

    accuracy: float
    loss: float


@dataclass(frozen=True)
class ControlReading:
    """The outcome of the matched control: another row of the network, or an exact value."""

    id: str
    title: str
    number: int | None
    accuracy: float
    loss: float | None


@dataclass(frozen=True)
class InterventionLine:
    """One intervention with its observed outcome, predictions and controls.

    Attributes:
        predictions: a reading for each hypothesis; None if it is silent.
        relabelled: the same for each hypothesis fitted to the relabelled group. A hypothesis
            without such a control is left out.
        used: the hypotheses whose fit used this row, which is not evidence for them.
        separates: the pairs of hypotheses that it separates.
        caution: what this row cannot show, for rows that are easily misread.
    """

    number: int
    id: str
    title: str
    observed: Reading
    predictions: dict[str, Reading | None]
    relabelled: dict[str, Reading | None]
    control: ControlReading | None
    used: frozenset[str]
    separates: tuple[tuple[str, str], ...]
    caution: str | None


@dataclass(frozen=True)
class RoleLine:
    """The number of neurons in one role, and their median FVUs."""

    role: str
    neurons: int
    fvu_left: float
    fvu_right: float
    fvu_unembed: float


@dataclass(frozen=True)
class RoleFamily:
    """Hypotheses that share one fit, with the neurons' roles under it.

    Attributes:
        stands: whether one of them can explain the network. If none can, the roles mean nothing.
    """

    names: tuple[str, ...]
    coverage: float
    lines: tuple[RoleLine, ...]
    stands: bool

    @property
    def title(self) -> str:
        return clean(", ".join(self.names)) + ("" if self.stands else " (cannot explain it)")


@dataclass(frozen=True)
class FrontLine:
    """One candidate's description length beside its prediction error.

    Attributes:
        verdict: the verdict on it, in one word.
        coverage: the share of non-negligible neurons that it covers.
        bits: bits per neuron at the fidelity point, over the dithers.
        compression: bits of the raw weights over its bits.
        at: bits per neuron at every requested relative error.
    """

    key: str
    name: str
    kind: str
    verdict: str
    coverage: float
    bits: float
    interval: tuple[float, float]
    compression: float
    compression_interval: tuple[float, float]
    at: dict[float, float]
    error: PredictionError


def network_facts(comparison: Comparison) -> list[tuple[str, str]]:
    """Facts about the network: (name, value), in reading order."""
    network, base = comparison.network, comparison.base
    known = network.provenance
    facts = [
        ("network", network.label),
        ("group", f"{network.group.name}, order {network.group.order}"),
        ("width", network.width_text),
        ("pairs", pairs_text(comparison)),
        ("accuracy", accuracy(base.accuracy)),
        ("loss", f"mean {loss(base.loss)} nats, median {loss(base.median_loss)} nats"),
        ("source", str(known.get("source") or "not recorded")),
    ]
    if known.get("element_order"):
        facts.append(("element order", str(known["element_order"])))
    return [(name, clean(value)) for name, value in facts]


def pairs_text(comparison: Comparison) -> str:
    """The number of pairs that the figures are computed over."""
    every = comparison.network.group.order**2
    if comparison.is_sampled:
        return f"base over all {every:,}, interventions over a sample of {len(comparison.pairs):,}"
    return f"all {every:,}"


def sentence(comparison: Comparison) -> str:
    """The answer."""
    return clean(comparison.verdict.sentence)


def rule(text: str) -> list[str]:
    """The points of a verdict's rule, without their numbers."""
    return [clean(line).partition(". ")[2] for line in text.splitlines()]


def _said(comparison: Comparison, candidate: Candidate) -> str:
    """The verdict on a candidate, in one word."""
    verdict = comparison.verdict
    if candidate.kind != "hypothesis":
        return candidate.kind
    wider = any(key in candidate.contains for key in verdict.explained_by)
    rest = "longer" if verdict.explained_by else "open"
    return verdict.on(candidate.key) or ("wider" if wider else rest)


def details(comparison: Comparison) -> list[str]:
    """The details behind the verdict's sentence, one thought each."""
    return [clean(sentence) for sentence in comparison.verdict.details]


def forms(comparison: Comparison) -> list[tuple[str, str, str, str, str]]:
    """Hypothesis, form, its bits, its error on the selection rows, and which was chosen."""
    return [
        (
            clean(f.hypothesis),
            clean(f.form) + ("" if f.chosen_at is None else f" at δ = {f.chosen_at:.3f}"),
            whole(f.bits),
            decades(f.median_log_loss),
            "chosen" * f.chosen,
        )
        for f in comparison.forms
    ]


def not_applicable(comparison: Comparison) -> list[tuple[str, str]]:
    """Hypotheses that do not apply, grouped by reason, with the reason."""
    found: dict[str, list[str]] = {}
    for name, why in comparison.not_applicable.items():
        found.setdefault(clean(why), []).append(clean(name))
    return [(", ".join(names), why) for why, names in found.items()]


def role_families(comparison: Comparison) -> list[RoleFamily]:
    """The neurons' roles, listed once for hypotheses that share a fit."""
    found: list[tuple[list[str], list[dict], float]] = []
    for candidate in comparison.hypotheses:
        roles = candidate.circuit.roles
        summary = roles.summary()
        same = next((names for names, other, _ in found if repr(other) == repr(summary)), None)
        if same is not None:
            same.append(candidate.name)
        else:
            found.append(([candidate.name], summary, roles.coverage))
    fails = comparison.verdict.fails
    return [
        RoleFamily(
            tuple(names),
            coverage,
            tuple(RoleLine(**line) for line in summary),
            not all(name in fails for name in names),
        )
        for names, summary, coverage in found
    ]


def interventions(comparison: Comparison) -> list[InterventionLine]:
    """The rows of the interventions table, numbered from 1."""
    numbers = {row.intervention.id: i for i, row in enumerate(comparison.rows, 1)}
    return [_line(comparison, row, numbers) for row in comparison.rows]


def _line(comparison: Comparison, row: Row, numbers: dict[str, int]) -> InterventionLine:
    id = row.intervention.id
    observed = reading(row.outcomes[NETWORK])
    controls = {c.of: c.name for c in comparison.candidates if c.kind == "control"}
    names = [c.name for c in comparison.hypotheses]
    return InterventionLine(
        number=numbers[id],
        id=id,
        title=row.intervention.title,
        observed=observed or Reading(math.nan, math.nan),
        predictions={n: reading(row.outcomes[n]) for n in names},
        relabelled={n: reading(row.outcomes[controls[n]]) for n in names if n in controls},
        control=_control(comparison, row.intervention.control, numbers),
        used=frozenset(c.name for c in comparison.hypotheses if c.key in row.used_by),
        separates=comparison.separations[id],
        caution=_caution(comparison, row),
    )


def _control(
    comparison: Comparison, id: str | None, numbers: dict[str, int]
) -> ControlReading | None:
    if id is None:
        return None
    if id == "commuting_pairs":
        value = comparison.swapped_commuting
        if value is None:
            return None
        return ControlReading(id, "share of commuting pairs, exact", None, value, None)
    for row in comparison.rows:
        if row.intervention.id == id and (found := reading(row.outcomes[NETWORK])):
            title = row.intervention.title
            return ControlReading(id, title, numbers[id], found.accuracy, found.loss)
    return None


def _caution(comparison: Comparison, row: Row) -> str | None:
    separates = bool(comparison.separations[row.intervention.id])
    return row.intervention.caution_on(comparison.network, separates)


def front(comparison: Comparison) -> list[FrontLine]:
    """All candidates, the shortest at the fidelity point first."""
    lines = [
        FrontLine(
            c.key,
            c.name,
            c.kind,
            _said(comparison, c),
            c.circuit.roles.coverage,
            *comparison.fidelity.length(c.bits),
            *comparison.compression(c),
            dict(sorted(c.bits.items())),
            comparison.predicted[c.name],
        )
        for c in comparison.candidates
    ]
    return sorted(lines, key=lambda line: (round(line.bits, 6), line.name))


def fidelity_text(comparison: Comparison) -> str:
    """The fidelity point with its interval."""
    low, high = comparison.fidelity.interval
    return f"δ* = {comparison.fidelity.delta:.3f} [{low:.3f}, {high:.3f}]"


def log_loss_errors(comparison: Comparison) -> dict[str, list[float | None]]:
    """|Δlog10 loss| of each candidate in each row, used or not; None if it is silent."""
    return {
        c.name: [
            None if (e := errors(row, c.name, comparison.thresholds)) is None else e[0]
            for row in comparison.rows
        ]
        for c in comparison.candidates
    }


def threshold_values(values: Thresholds) -> list[tuple[str, str]]:
    """Every threshold and its value."""
    found = ((f.name, getattr(values, f.name)) for f in fields(values))
    return [
        (name, ", ".join(f"{v:g}" for v in value) if isinstance(value, tuple) else f"{value:g}")
        for name, value in found
    ]


def circumstances(comparison: Comparison) -> list[tuple[str, str]]:
    """The facts needed to repeat the comparison."""
    facts = [(name, version) for name, version in versions().items()]
    facts += [
        ("seed", str(comparison.seed)),
        ("device", comparison.device),
        ("dtype", comparison.network.dtype_name),
        ("sha256", weights_sha256(comparison.network)),
    ]
    return [(name, clean(value)) for name, value in facts]


def footnotes(comparison: Comparison) -> list[str]:
    """Notes to the interventions table, and the comparison's notes."""
    claims = {claim for candidate in comparison.hypotheses for claim in candidate.claims}
    notes = [note for claim, note in CLAIM_NOTES.items() if claim in claims]
    if comparison.bench.used:
        notes.append(
            f"Claims were chosen on the rows {', '.join(sorted(comparison.bench.used))}: "
            "these rows are not evidence for any hypothesis."
        )
    for row in comparison.rows:
        if row.equals is not None:
            notes.append(
                f"{clean(row.intervention.id)} has the same outcome as {clean(row.equals)} for "
                "every model, so the two count once."
            )
    users: dict[frozenset[str], list[str]] = defaultdict(list)
    for candidate in comparison.hypotheses:
        used = [row.intervention for row in comparison.rows]
        rows = frozenset(i.id for i in used if i.is_used_by(candidate.circuit))
        if rows:
            users[rows].append(clean(candidate.name))
    for rows, fitted in users.items():
        notes.append(
            f"The fit of {' and of '.join(fitted)} already used the outcomes of "
            f"{', '.join(sorted(rows))}: these rows are not evidence for it, nor among its errors."
        )
    return notes + [clean(note) for note in comparison.notes]


def reading(outcome: Outcome | None) -> Reading | None:
    """The two figures of an outcome; None stays None."""
    return None if outcome is None else Reading(outcome.accuracy, outcome.loss)


def display_name(candidate: Candidate | FrontLine) -> str:
    """A candidate's name as printed."""
    return clean(candidate.name)


def accuracy(value: float | None) -> str:
    """An accuracy such as 0.9999; only a network that is right everywhere gets 1.0000."""
    if value is None or math.isnan(value):
        return MISSING
    if 0.99995 <= value < 1:
        return "0.9999"
    if 0 < value < 0.00005:
        return "0.0001"
    return f"{value:.4f}"


def loss(value: float | None) -> str:
    """A loss to two significant digits, in nats or decades."""
    if value is None or math.isnan(value):
        return MISSING
    if value == 0:
        return "0"
    if 0.01 <= abs(value) < 9999.5:
        digits = max(0, 1 - math.floor(math.log10(abs(value))))
        return f"{value:.{digits}f}"
    return f"{value:.1e}"


def decades(value: float | None) -> str:
    """An error in decades of loss, or one of accuracy: 0.01 at the finest."""
    if value is None or math.isnan(value):
        return MISSING
    return "<0.01" if 0 < value < 0.005 else f"{value:.2f}"


def whole(value: float | None) -> str:
    """A whole number of bits."""
    return MISSING if value is None or not math.isfinite(value) else f"{round(value):,}"


def clean(text: str) -> str:
    """Text for a page or a terminal, without invisible characters."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def separation_text(pairs: Sequence[tuple[str, str]], names: Sequence[str]) -> str:
    """“no”, or a short text on which hypotheses a row separates."""
    rest = {frozenset(pair) for pair in pairs}
    every_pair = [frozenset(pair) for pair in combinations(names, 2)]
    missing = [" and ".join(sorted(pair)) for pair in every_pair if pair not in rest]
    if len(rest) > 3 and len(missing) <= 2:
        return clean("all" + (f" but {', '.join(missing)}" if missing else " from each other"))
    parts = []
    while rest:
        most = max(names, key=lambda name: sum(name in pair for pair in rest))
        others = [n for n in names if frozenset((most, n)) in rest]
        rest = {pair for pair in rest if most not in pair}
        every = len(others) == len(names) - 1 > 1
        parts.append(f"{most} from {'all others' if every else ', '.join(others)}")
    return clean("; ".join(parts)) or "no"
