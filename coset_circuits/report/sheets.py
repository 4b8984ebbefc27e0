"""The tables of a report on many networks, computed once for terminal and HTML."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from coset_circuits.algorithms import CLAIM_NOTES
from coset_circuits.comparison.across import (
    BITS,
    PREDICTION_ERROR,
    Across,
    NetworkSummary,
    Stratum,
)
from coset_circuits.comparison.many import Ensemble
from coset_circuits.experiments import EXPERIMENTS
from coset_circuits.findings.statistics import METHOD, Estimate, Paired, networks_needed
from coset_circuits.report import tables as t
from coset_circuits.report.sheet import Sheet

MISSING_SUBJECT = "network"
EXPLAINS, REFUTED, NEITHER = "+", "×", "·"


def per_network(ensemble: Ensemble) -> Iterator[Sheet]:
    """Tables of the findings on each network."""
    yield _networks(ensemble)
    names = all_hypotheses(ensemble)
    yield _by_hypothesis(
        ensemble,
        "Prediction error",
        "Median |Δlog10 loss| in decades; after the slash on a relabelled group. Nulls use no "
        "group theory and need no such control.",
        lambda network, name: t.decades(network.error(name)),
    )
    yield Sheet(
        "Worst accuracy error",
        "The largest |Δaccuracy| over the interventions.",
        ("network",),
        tuple(map(t.clean, names)),
        tuple((n.name, *(_worst_accuracy(n, name) for name in names)) for n in ensemble),
    )
    yield _by_hypothesis(
        ensemble,
        "Bits per neuron at equal fidelity",
        "At each network's fidelity point; after the slash on a relabelled group.",
        lambda network, name: t.whole(network.bits(name)),
    )
    yield _by_hypothesis(
        ensemble,
        "Times shorter than the weights",
        "Bits of the raw weights over bits of the hypothesis; after the slash on a relabelled "
        "group.",
        lambda network, name: t.decades(network.compression(name)),
    )


def across(stratum: Stratum) -> Iterator[Sheet]:
    """Tables over the networks of one kind; none for a single network."""
    if len(stratum.networks) < 2:
        return
    yield _candidates(stratum)
    for quantity, show in (("accuracy", t.accuracy), ("loss", t.loss)):
        yield _observed(stratum, quantity, show)
        for statistic in ("median", "mean"):
            yield _predicted(stratum, quantity, show, statistic)


def on_request(stratum: Stratum) -> Iterator[Sheet]:
    """Tables of the optional experiments: figures over networks, next to their controls."""
    titles = dict.fromkeys(
        id
        for network in stratum.networks
        for id in network.summary.experiments
        if id not in EXPERIMENTS or not EXPERIMENTS[id].by_default
    )
    for id in titles:
        figures = [item for item in stratum.findings if item.experiment == id]
        rows = tuple(
            (
                MISSING_SUBJECT if item.subject is None else t.clean(item.subject),
                t.clean("; ".join(f"{name} {value}" for name, value in item.at)),
                item.quantity.replace("_", " "),
                *_centres(item, t.loss),
                t.loss((item.control_values or {}).get("median")),
                str(item.networks),
            )
            for item in figures
        )
        if rows:
            yield Sheet(
                f"Experiment {id}",
                "Median and mean over networks; control: median of the experiment's control.",
                ("of", "where", "quantity"),
                ("median", "[low, high]", "mean", "control", "n"),
                rows,
            )


def paired(stratum: Stratum) -> Iterator[Sheet]:
    """Paired comparisons: every two hypotheses, and each against its relabelled control."""
    for compared, what in ((stratum.between, "Hypotheses"), (stratum.controlled, "Controls")):
        for quantity, title, show in (
            (PREDICTION_ERROR, "prediction error in decades", t.loss),
            (BITS, "bits per neuron", t.whole),
        ):
            chosen = [p for p in compared if p.quantity == quantity]
            if chosen:
                yield _paired(f"{what} compared: {title}", chosen, show)


def all_hypotheses(ensemble: Ensemble) -> list[str]:
    """All compared hypotheses, in order of appearance."""
    return list(dict.fromkeys(name for network in ensemble for name in network.hypotheses))


def claims(ensemble: Ensemble) -> list[str]:
    """The meaning of the endings of the hypotheses' names."""
    names = all_hypotheses(ensemble)
    return [note for end, note in CLAIM_NOTES.items() if any(f"+{end}" in name for name in names)]


def method(stratum: Stratum, ensemble: Ensemble) -> list[str]:
    """How figures over networks were computed, and their limits."""
    limits = ensemble.thresholds
    family = len(stratum.between)
    count = len(stratum.networks)
    few = [n.partition(": ")[2] for n in ensemble.notes if n.startswith(f"{stratum.title}: ")]
    needed = networks_needed(limits, family=family) if family else 0
    return [
        f"[low, high]: {1 - limits.significance:.0%} interval, {METHOD}, seed {ensemble.seed}. An "
        "interval without width means that these networks agree, not that all would. Means of "
        "losses depend on a few networks and their intervals are too short; read the median first.",
        "Differences are first − second, over the rows that both predict. r: matched-pairs "
        "rank-biserial correlation. p: exact two-sided Wilcoxon signed-rank test after Holm's "
        f"correction over the {family} comparisons of hypotheses (controls: "
        f"{len(stratum.controlled)}). Equivalent: two one-sided tests within "
        f"±{limits.equivalence_log_loss:g} decades or ±{limits.equivalence_bits:g} bits, corrected "
        "likewise.",
        *(t.clean(text) for text in few),
        *(
            [
                f"After the correction over {family} comparisons no p can be below "
                f"{limits.significance:g} with fewer than {needed} networks."
            ]
            if family and count < needed
            else []
        ),
    ]


def _networks(ensemble: Ensemble) -> Sheet:
    names = all_hypotheses(ensemble)
    rows, links = [], []
    for network in ensemble:
        group, _, width, _ = network.kind
        marks = [_mark(network, name) for name in names]
        name = t.clean(network.name)
        accuracy, loss = t.accuracy(network.accuracy), t.loss(network.loss)
        rows.append((name, t.clean(group), str(width), accuracy, loss, *marks))
        if network.report is not None:
            links.append((name, f"{network.report}/report.html"))
    return Sheet(
        "Networks and verdicts",
        f"Over all pairs; loss: mean, nats. {EXPLAINS} explains it, {REFUTED} refuted, {NEITHER} "
        f"neither, {t.MISSING} does not apply.",
        ("network", "group"),
        ("width", "accuracy", "loss", *map(t.clean, names)),
        tuple(rows),
        tuple(links),
    )


def _mark(network: NetworkSummary, name: str) -> str:
    if name not in network.circuits:
        return t.MISSING
    verdict = network.verdict.on(name)
    return {"explains": EXPLAINS, "refuted": REFUTED}.get(str(verdict), NEITHER)


def _by_hypothesis(
    ensemble: Ensemble,
    title: str,
    note: str,
    show: Callable[[NetworkSummary, str], str],
) -> Sheet:
    """One figure of each hypothesis with its control's, and of each null."""
    names = all_hypotheses(ensemble)
    nulls = list(dict.fromkeys(n for network in ensemble for n in _of_kind(network, "null")))
    rows = []
    for network in ensemble:
        controls = {c.of: n for n, c in network.circuits.items() if c.of}
        cells = [
            f"{show(network, n)}/{show(network, controls[n])}"
            if n in controls
            else show(network, n)
            for n in names
        ]
        rows.append((t.clean(network.name), *cells, *(show(network, n) for n in nulls)))
    titles = (*map(t.clean, names), *map(t.clean, nulls))
    return Sheet(title, note, ("network",), titles, tuple(rows))


def _of_kind(network: NetworkSummary, kind: str) -> list[str]:
    return [name for name, circuit in network.circuits.items() if circuit.kind == kind]


def _worst_accuracy(network: NetworkSummary, name: str) -> str:
    circuit = network.circuits.get(name)
    value = None if circuit is None else circuit.prediction["worst_accuracy"]
    return t.decades(value)


def _candidates(stratum: Stratum) -> Sheet:
    candidates = dict.fromkeys(name for network in stratum.networks for name in network.circuits)
    rows = []
    for name in candidates:
        error = stratum.finding("prediction", name, "median_log_loss")
        bits = stratum.finding("fidelity", name, BITS)
        rows.append(
            (
                t.clean(name),
                *_centres(error, t.decades),
                *_centres(bits, t.whole),
            )
        )
    return Sheet(
        "Prediction error and description length",
        "Median and mean over networks of median |Δlog10 loss| (decades) and of bits per neuron at "
        "equal fidelity.",
        ("candidate",),
        ("error", "[low, high]", "mean", "bits", "[low, high]", "mean"),
        tuple(rows),
    )


def _centres(item: Across | None, show: Callable[[float | None], str]) -> tuple[str, str, str]:
    if item is None:
        return t.MISSING, t.MISSING, t.MISSING
    middle, mean = item.estimates["median"], item.estimates["mean"]
    return show(middle.value), _interval(middle, show), show(mean.value)


def _observed(stratum: Stratum, quantity: str, show: Callable[[float | None], str]) -> Sheet:
    numbers = {id: i for i, id in enumerate(_experiments(stratum), 1)}
    rows = []
    for id, number in numbers.items():
        item = stratum.finding(id, None, quantity)
        if item is None:
            continue
        control = (item.control_values or {}).get("median")
        beside = "" if item.control is None else str(numbers.get(item.control[0], "="))
        rows.append(
            (
                str(number),
                id,
                *(_with_interval(item.estimates[name], show) for name in ("mean", "median")),
                _brief(show(control)),
                beside,
            )
        )
    unit = "share of pairs" if quantity == "accuracy" else "mean over pairs, nats"
    return Sheet(
        f"Interventions: {quantity} of the networks",
        f"Over networks ({unit}); control: the median under the intervention numbered in “row”, "
        "which has a comparable effect (=: an exact value).",
        ("", "intervention"),
        ("mean [low, high]", "median [low, high]", "control", "row"),
        tuple(rows),
    )


def _with_interval(estimate: Estimate, show: Callable[[float | None], str]) -> str:
    """An estimate and its interval in one cell, short enough for two on a terminal line."""
    low_high = "" if estimate.interval is None else f" {_interval(estimate, show, ',')}"
    return _brief(f"{show(estimate.value)}{low_high}")


def _brief(text: str) -> str:
    """Shorten exponents such as e-05 to e-5."""
    return text.replace("e-0", "e-").replace("e+0", "e+")


def _predicted(
    stratum: Stratum,
    quantity: str,
    show: Callable[[float | None], str],
    statistic: str,
) -> Sheet:
    names = stratum.hypotheses
    rows = []
    for id in _experiments(stratum):
        found = [stratum.finding(id, name, quantity) for name in (None, *names)]
        values = [None if f is None else f.estimates[statistic].value for f in found]
        rows.append((id, *map(show, values), str(_separating(stratum, id))))
    return Sheet(
        f"Interventions: {statistic} {quantity}, observed and predicted",
        f"The {statistic} over networks, observed and predicted by each surrogate; "
        f"{t.MISSING}: silent; sep: in how many of the {len(stratum.networks)} networks the row "
        "separates any two hypotheses.",
        ("intervention",),
        ("seen", *map(t.clean, names), "sep"),
        tuple(rows),
    )


def _separating(stratum: Stratum, id: str) -> int:
    return sum(bool(n.rows[id, None, "loss"].separates) for n in stratum.networks)


def _experiments(stratum: Stratum) -> list[str]:
    ids = dict.fromkeys(f.experiment for n in stratum.networks for f in n.summary.findings)
    return [id for id in ids if stratum.finding(id, None, "accuracy") is not None]


def _paired(title: str, compared: Iterable[Paired], show: Callable[[float | None], str]) -> Sheet:
    rows = tuple(
        (
            t.clean(p.one),
            t.clean(p.two),
            str(p.networks),
            show(p.median.value),
            _interval(p.median, show),
            show(p.mean.value),
            f"{p.effect:.2f}",
            t.MISSING if p.p_holm is None else t.loss(p.p_holm),
            _said(p),
        )
        for p in compared
    )
    numbers = ("n", "median", "[low, high]", "mean", "r", "p", "verdict")
    return Sheet(title, "", ("first", "second"), numbers, rows)


def _said(p: Paired) -> str:
    return {"too few networks": "too few", "different, equivalent": "diff., equiv."}.get(
        p.verdict, p.verdict
    )


def _interval(estimate: Estimate, show: Callable[[float | None], str], between: str = ", ") -> str:
    if estimate.interval is None:
        return t.MISSING
    return f"[{between.join(show(bound) for bound in estimate.interval)}]"
