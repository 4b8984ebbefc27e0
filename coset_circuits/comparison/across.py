"""Findings over many networks of one kind: averages of every figure, and paired comparisons."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from statistics import median
from typing import Any

import numpy as np

from coset_circuits.comparison.summary import CircuitSummary, Summary
from coset_circuits.comparison.verdict import Verdict
from coset_circuits.findings import Finding
from coset_circuits.findings.statistics import (
    METHOD,
    Estimate,
    Paired,
    Question,
    Statistic,
    compare_paired,
    estimates,
    share,
    signed_rank_p,
    too_few,
)
from coset_circuits.thresholds import Thresholds

Key = tuple[Any, ...]
STATISTICS: tuple[Statistic, ...] = ("mean", "median")
PREDICTION_ERROR = "prediction_error"
BITS = "bits_per_neuron"
COMPRESSION = "compression"
_UNITS = {
    "median_log_loss": "decades",
    "worst_log_loss": "decades",
    "mean_accuracy": "fraction",
    "worst_accuracy": "fraction",
    "same_answer": "fraction",
    "logit_r2": "fraction",
}


@dataclass(frozen=True)
class NetworkSummary:
    """The findings on one network, without the network itself.

    Attributes:
        name: unique within the ensemble.
        source: the name or path that the network was read from.
        report: the folder of the network's report, if one was written.
    """

    name: str
    summary: Summary
    source: str
    report: str | None = None

    @property
    def kind(self) -> tuple[str, int, int, str]:
        """Group, order, width, and activation; the activation names any architecture but the MLP.

        Only networks of the same kind are averaged.
        """
        facts = self.summary.network
        kind = "" if facts["kind"] == "mlp" else f" ({facts['kind']})"
        activation = f"{facts['act_fn']}{kind}"
        return facts["group"], facts["order"], facts["d_mlp"], activation

    @property
    def accuracy(self) -> float:
        """Over all pairs."""
        return self.summary.network["accuracy"]

    @property
    def loss(self) -> float:
        """The mean over all pairs, in nats."""
        return self.summary.network["loss"]["mean"]

    @property
    def verdict(self) -> Verdict:
        return self.summary.verdict

    @property
    def circuits(self) -> dict[str, CircuitSummary]:
        """Every candidate by its key."""
        return self.summary.by_key

    @property
    def hypotheses(self) -> list[str]:
        return self.summary.hypotheses

    def error(self, key: str) -> float | None:
        """A candidate's median |Δlog10 loss|; None if it predicts no row or is absent."""
        circuit = self.circuits.get(key)
        return None if circuit is None else circuit.error

    def bits(self, key: str) -> float | None:
        """A candidate's bits per neuron at the fidelity point."""
        circuit = self.circuits.get(key)
        return None if circuit is None else circuit.bits_at_fidelity.value

    def compression(self, key: str) -> float | None:
        """How many times shorter a candidate is than the raw weights."""
        circuit = self.circuits.get(key)
        return None if circuit is None else circuit.compression.value

    @cached_property
    def rows(self) -> dict[Key, Finding]:
        """Every finding by its :attr:`Finding.key`."""
        return {finding.key: finding for finding in self.summary.findings}


@dataclass(frozen=True)
class Across:
    """One figure over the networks that have it.

    Attributes:
        subject: the key of a candidate; None for the networks themselves.
        at: names the figure within its experiment; see :class:`Finding`.
        estimates: by statistic (``mean`` and ``median``, or ``share``).
        control: experiment and subject of the figure that serves as its control.
        control_values: the control's estimates, by statistic.
        separates: pairs of hypotheses that this experiment separates in most networks.
    """

    experiment: str
    subject: str | None
    quantity: str
    unit: str
    estimates: Mapping[str, Estimate]
    at: tuple[tuple[str, Any], ...] = ()
    control: tuple[str, str | None] | None = None
    control_values: Mapping[str, float] | None = None
    separates: tuple[tuple[str, str], ...] = ()

    @property
    def networks(self) -> int:
        return next(iter(self.estimates.values())).networks

    @property
    def key(self) -> Key:
        return self.experiment, self.subject, self.quantity, *self.at


@dataclass(frozen=True)
class Ratio:
    """How many times as many bits one hypothesis needs as another, network by network.

    Attributes:
        figure: the geometric median over networks, with its bootstrap interval.
        range: the smallest and largest ratio.
        p: of the exact two-sided signed-rank test of the log ratios; None with too few networks.
    """

    one: str
    two: str
    figure: Estimate
    range: tuple[float, float]
    p: float | None

    def to_dict(self) -> dict[str, Any]:
        """As it stands in findings.json, where tuples are lists."""
        return {
            "hypotheses": (self.one, self.two),
            "median": self.figure.value,
            "interval": self.figure.interval,
            "range": self.range,
            "networks": self.figure.networks,
            "p": self.p,
        }


@dataclass(frozen=True)
class Count:
    """The verdicts on several networks of one kind, counted.

    Attributes:
        shortest: how often each hypothesis is the only shortest one that explains the network.
        explaining: how often each hypothesis explains the network, alone or with others.
        open: number of networks that several hypotheses explain, with no clear shortest.
        nothing: number of networks that no hypothesis explains.
        compression: bits of the raw weights over bits of each hypothesis, median and interval.
        ratios: paired ratios of bits for every two hypotheses, on networks that have both.
        nouns: the names of the hypotheses in sentences.
    """

    networks: int
    shortest: Mapping[str, int]
    explaining: Mapping[str, int]
    open: int
    nothing: int
    compression: Mapping[str, Estimate]
    ratios: tuple[Ratio, ...]
    nouns: Mapping[str, str]

    @property
    def sentence(self) -> str:
        """The count in words."""
        counts = [(self.nouns[key], n) for key, n in self.shortest.items() if n]
        counts += [("order open", self.open)] * bool(self.open)
        counts += [("nothing", self.nothing)] * bool(self.nothing)
        (first, most), *rest = counts
        listed = [f"{first} in {most} of {self.networks}", *(f"{w} in {n}" for w, n in rest)]
        if 1 < self.nothing == self.networks:
            said = [f"No hypothesis explains any of the {self.networks} networks"]
        else:
            said = [f"Shortest: {', '.join(listed)}"]
        times = ", ".join(
            f"{self.nouns[key]} {self.compression[key].text('.1f')}"
            for key in self.leading
            if key in self.compression
        )
        if times:
            said.append(f"times shorter than the weights: {times}")
        for ratio in self.leading_ratios[: len(self.leading) - 1]:
            p = "" if ratio.p is None else f", exact signed-rank test p = {ratio.p:.2g}"
            said.append(
                f"{self.nouns[ratio.one]} to {self.nouns[ratio.two]}: paired ratio of bits "
                f"{ratio.figure.text('.2f')}{p}"
            )
        return f"{'; '.join(said)}."

    @property
    def leading(self) -> list[str]:
        """The hypotheses that explain a network, most often first; the shortest where none does."""
        by_length = sorted(self.compression, key=lambda key: -self.compression[key].value)
        often = sorted(by_length, key=lambda key: (-self.shortest[key], -self.explaining[key]))
        return [key for key in often if self.explaining[key]] or by_length[:1]

    @property
    def leading_ratios(self) -> list[Ratio]:
        """The paired ratios among :meth:`leading`, starting with those of its first hypothesis."""
        leading = self.leading
        found = [ratio for ratio in self.ratios if {ratio.one, ratio.two} <= set(leading)]
        return sorted(found, key=lambda ratio: leading[0] not in (ratio.one, ratio.two))

    def to_dict(self) -> dict[str, Any]:
        """As it stands in findings.json."""
        return {
            "sentence": self.sentence,
            "networks": self.networks,
            "shortest": dict(self.shortest),
            "explaining": dict(self.explaining),
            "open": self.open,
            "nothing": self.nothing,
            "compression": {
                key: {"median": e.value, "interval": e.interval}
                for key, e in self.compression.items()
            },
            "paired_ratios": [ratio.to_dict() for ratio in self.ratios],
        }


def count_verdicts(networks: Sequence[NetworkSummary], thresholds: Thresholds, seed: int) -> Count:
    """How often each hypothesis is the shortest that explains, and by how much."""
    names = hypotheses_of(networks)
    explained = [network.verdict.explained_by for network in networks]
    compression = {}
    for name in names:
        values = [v for n in networks if (v := n.compression(name)) is not None]
        if values:
            compression[name] = _median(values, thresholds, seed)
    ratios = (
        ratio
        for one, two in combinations(names, 2)
        if (ratio := _paired_ratio(networks, one, two, thresholds, seed)) is not None
    )
    nouns = {name: n.circuits[name].noun for n in networks for name in n.hypotheses}
    return Count(
        len(networks),
        {name: sum(by == (name,) for by in explained) for name in names},
        {name: sum(name in by for by in explained) for name in names},
        sum(len(by) > 1 for by in explained),
        sum(not by for by in explained),
        compression,
        tuple(ratios),
        nouns,
    )


def _median(values: Sequence[float], thresholds: Thresholds, seed: int) -> Estimate:
    column = np.array(values, dtype=np.float64)[:, None]
    return estimates(column, "median", thresholds=thresholds, seed=seed)[0]


def _paired_ratio(
    networks: Sequence[NetworkSummary], one: str, two: str, thresholds: Thresholds, seed: int
) -> Ratio | None:
    """Computed on logarithms, so that swapping the two hypotheses only inverts the ratio."""
    logs = [
        math.log(first / second)
        for n in networks
        if (first := n.bits(one)) and (second := n.bits(two))
    ]
    if not logs:
        return None
    middle = _median(logs, thresholds, seed)
    interval = middle.interval
    figure = Estimate(
        math.exp(middle.value),
        None if interval is None else (math.exp(interval[0]), math.exp(interval[1])),
        middle.networks,
    )
    differences = np.array(logs, dtype=np.float64)
    p = None if too_few(len(logs), thresholds) else signed_rank_p(differences)
    return Ratio(one, two, figure, (math.exp(min(logs)), math.exp(max(logs))), p)


@dataclass(frozen=True)
class Stratum:
    """Networks of one group, width and activation, and their joint findings.

    Attributes:
        count: the counted verdicts.
        between: paired tests of every two hypotheses, on prediction error and bits. They form one
            family for Holm's correction.
        controlled: paired tests of every hypothesis against its relabelled control, a second
            family.
    """

    group: str
    order: int
    d_mlp: int
    act_fn: str
    networks: tuple[NetworkSummary, ...]
    findings: tuple[Across, ...]
    between: tuple[Paired, ...]
    controlled: tuple[Paired, ...]
    count: Count

    @property
    def title(self) -> str:
        return f"{self.group}, {self.d_mlp} {self.act_fn} neurons"

    @property
    def kind(self) -> dict[str, Any]:
        """The properties that its networks share, for tables and JSON."""
        return {"group": self.group, "d_mlp": self.d_mlp, "act_fn": self.act_fn}

    @property
    def hypotheses(self) -> list[str]:
        return hypotheses_of(self.networks)

    @cached_property
    def _by_key(self) -> dict[Key, Across]:
        return {figure.key: figure for figure in self.findings}

    def finding(self, experiment: str, subject: str | None, quantity: str) -> Across | None:
        """One figure over the networks; None if none of them has it."""
        return self._by_key.get((experiment, subject, quantity))


def strata(
    networks: Sequence[NetworkSummary], thresholds: Thresholds, seed: int
) -> tuple[Stratum, ...]:
    """Group networks by kind and summarise each kind, in the order of their first networks."""
    kinds: dict[tuple[str, int, int, str], list[NetworkSummary]] = {}
    for network in networks:
        kinds.setdefault(network.kind, []).append(network)
    return tuple(_stratum(kind, members, thresholds, seed) for kind, members in kinds.items())


def _stratum(
    kind: tuple[str, int, int, str],
    networks: Sequence[NetworkSummary],
    thresholds: Thresholds,
    seed: int,
) -> Stratum:
    controls = dict.fromkeys(
        (circuit.of, name)
        for network in networks
        for name, circuit in network.circuits.items()
        if circuit.of is not None
    )
    return Stratum(
        *kind,
        networks=tuple(networks),
        findings=tuple(_findings(networks, thresholds, seed)),
        between=_compared(networks, combinations(hypotheses_of(networks), 2), thresholds, seed),
        controlled=_compared(networks, controls, thresholds, seed),
        count=count_verdicts(networks, thresholds, seed),
    )


def hypotheses_of(networks: Iterable[NetworkSummary]) -> list[str]:
    """The keys of all hypotheses, in the order met."""
    return list(dict.fromkeys(key for network in networks for key in network.hypotheses))


def prediction_errors(
    network: NetworkSummary, one: str, two: str, thresholds: Thresholds
) -> tuple[float, float] | None:
    """Median |Δlog10 loss| of two candidates over the rows that both predict; None if none.

    A candidate that is silent on hard rows is therefore compared on the other rows only. Rows
    used to fit either candidate and rows equal to an earlier one are left out.
    """
    if one not in network.circuits or two not in network.circuits:
        return None
    used = {r for name in (one, two) for r in network.circuits[name].used_rows}
    errors = []
    for row in network.summary.findings:
        if row.subject is not None or row.quantity != "loss" or row.experiment in used:
            continue
        if "equals" in row.more:
            continue
        predicted = [network.rows.get((row.experiment, name, "loss")) for name in (one, two)]
        losses = [f.value for f in (row, *predicted) if f is not None and f.value is not None]
        if len(losses) == 3:
            observed, *predictions = (
                math.log10(max(loss, thresholds.loss_floor)) for loss in losses
            )
            errors.append([abs(prediction - observed) for prediction in predictions])
    if not errors:
        return None
    first, second = zip(*errors, strict=True)
    return median(first), median(second)


def _compared(
    networks: Sequence[NetworkSummary],
    pairs: Iterable[tuple[str, str]],
    thresholds: Thresholds,
    seed: int,
) -> tuple[Paired, ...]:
    """Paired tests of prediction error and bits, one family, over networks that have both."""
    if len(networks) == 1:
        return ()
    questions = []
    for one, two in pairs:
        errors = [prediction_errors(n, one, two, thresholds) for n in networks]
        bits = [(n.bits(one), n.bits(two)) for n in networks]
        for quantity, unit, margin, values in (
            (PREDICTION_ERROR, "decades", thresholds.equivalence_log_loss, errors),
            (BITS, "bits", thresholds.equivalence_bits, bits),
        ):
            both = [pair for pair in values if pair is not None and None not in pair]
            if both:
                first, second = np.array(both, dtype=np.float64).T
                questions.append(Question(one, two, quantity, unit, margin, first - second))
    return tuple(compare_paired(questions, thresholds=thresholds, seed=seed))


@dataclass
class _Series:
    """The values of one figure and of its control, network by network."""

    unit: str
    values: list[float]
    controls: list[float]
    control: tuple[str, str | None] | None = None


def _findings(
    networks: Sequence[NetworkSummary], thresholds: Thresholds, seed: int
) -> Iterator[Across]:
    if len(networks) == 1:
        return
    series: dict[Key, _Series] = {}
    for network in networks:
        for figure in _figures(network):
            if figure.value is None:
                continue
            one = series.setdefault(figure.key, _Series(figure.unit, [], []))
            one.values.append(figure.value)
            if figure.control is not None and figure.control.value is not None:
                one.control = (figure.control.experiment, figure.control.subject)
                one.controls.append(figure.control.value)
    estimated = _estimated(series, thresholds, seed)
    for key, one in series.items():
        experiment, subject, quantity, *at = key
        yield Across(
            experiment,
            subject,
            quantity,
            unit=one.unit,
            estimates=estimated[key],
            at=tuple(at),
            control=one.control,
            control_values={
                "mean": float(np.mean(one.controls)),
                "median": float(np.median(one.controls)),
            }
            if one.controls
            else None,
            separates=_separated(networks, key),
        )
    yield from _verdicts(networks, thresholds)


def _figures(network: NetworkSummary) -> Iterator[Finding]:
    """Every figure of a network that can be averaged over networks."""
    yield from network.summary.findings
    for key, circuit in network.circuits.items():
        control = next((c for c in network.circuits.values() if c.of == key), None)
        beside = itertools.repeat(None) if control is None else _circuit_figures(control)
        for figure, other in zip(_circuit_figures(circuit), beside, strict=False):
            yield replace(figure, control=other)


def _circuit_figures(circuit: CircuitSummary) -> list[Finding]:
    """A candidate's description lengths and other summary figures, as findings."""
    key, bits, compression = circuit.key, circuit.bits_at_fidelity, circuit.compression
    return [
        *(Finding("prediction", key, q, circuit.prediction[q], unit) for q, unit in _UNITS.items()),
        *(
            Finding(f"description_length_{delta:g}", key, BITS, length, "bits")
            for delta, length in circuit.bits.items()
        ),
        Finding("fidelity", key, BITS, bits.value, "bits"),
        Finding("fidelity", key, COMPRESSION, compression.value, "times"),
        Finding("roles", key, "coverage", circuit.coverage, "fraction"),
    ]


def _estimated(
    series: Mapping[Key, _Series], thresholds: Thresholds, seed: int
) -> dict[Key, dict[str, Estimate]]:
    """Mean and median of every series; series of equal length are bootstrapped together."""
    by_key: dict[Key, dict[str, Estimate]] = {key: {} for key in series}
    for count in {len(s.values) for s in series.values()}:
        keys = [key for key, s in series.items() if len(s.values) == count]
        values = np.array([series[key].values for key in keys], dtype=np.float64).T
        for statistic in STATISTICS:
            found = estimates(values, statistic, thresholds=thresholds, seed=seed)
            for key, estimate in zip(keys, found, strict=True):
                by_key[key][statistic] = estimate
    return by_key


def _separated(networks: Sequence[NetworkSummary], key: Key) -> tuple[tuple[str, str], ...]:
    counts: Counter[tuple[str, str]] = Counter()
    for network in networks:
        if key in network.rows:
            counts.update(network.rows[key].separates)
    return tuple(pair for pair, count in counts.items() if 2 * count > len(networks))


def _verdicts(networks: Sequence[NetworkSummary], thresholds: Thresholds) -> Iterator[Across]:
    """Share of networks that each hypothesis explains, and share that refute it.

    Networks to which a hypothesis does not apply are left out.
    """
    for name in hypotheses_of(networks):
        having = [network for network in networks if name in network.circuits]
        for word in ("explains", "refuted"):
            count = sum(network.verdict.on(name) == word for network in having)
            estimate = share(count, len(having), thresholds)
            yield Across("verdict", name, word, "fraction", {"share": estimate})


def findings_across(stratum: Stratum, seed: int) -> Iterator[Finding]:
    """The figures over the networks of one kind, as findings.

    ``more`` holds the statistic and the number of networks. For a paired comparison it also holds
    the other hypothesis (``against``), p-values, effect size and verdict.
    """
    for item in stratum.findings:
        for statistic, estimate in item.estimates.items():
            control = None
            if item.control is not None and item.control_values is not None:
                control = Finding(
                    *item.control,
                    item.quantity,
                    item.control_values[statistic],
                    item.unit,
                    source=f"computed over {estimate.networks} networks",
                    more={"statistic": statistic},
                )
            yield Finding(
                item.experiment,
                item.subject,
                item.quantity,
                estimate.value,
                item.unit,
                at=dict(item.at),
                interval=estimate.interval,
                control=control,
                separates=item.separates,
                source=_source(estimate, seed, statistic),
                more={"statistic": statistic, "networks": estimate.networks},
            )
    for family, compared in (("between", stratum.between), ("controlled", stratum.controlled)):
        for paired in compared:
            yield Finding(
                f"paired_{family}",
                paired.one,
                paired.quantity,
                paired.median.value,
                paired.unit,
                interval=paired.median.interval,
                source=f"{_source(paired.median, seed)}; exact Wilcoxon signed-rank tests, Holm's "
                f"correction over {paired.family} comparisons",
                more={
                    "against": paired.two,
                    "statistic": "median_difference",
                    "mean_difference": paired.mean.value,
                    "mean_interval": paired.mean.interval,
                    "networks": paired.networks,
                    "rank_biserial": paired.effect,
                    "p": paired.p,
                    "p_holm": paired.p_holm,
                    "margin": paired.margin,
                    "p_equivalent": paired.p_equivalent,
                    "p_equivalent_holm": paired.p_equivalent_holm,
                    "family": paired.family,
                    "verdict": paired.verdict,
                },
            )


def _source(estimate: Estimate, seed: int, statistic: str = "") -> str:
    if statistic == "share":
        return f"counted over {estimate.networks} networks; Wilson interval"
    text = f"computed over {estimate.networks} networks"
    return f"{text}; {METHOD}, seed {seed}" if estimate.interval else text
