"""Findings across networks of one kind: every figure over networks, and paired comparisons."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from statistics import median
from typing import Any

import numpy as np

from coset_circuits.findings.statistics import (
    METHOD,
    Estimate,
    Paired,
    Question,
    Statistic,
    compare_paired,
    estimates,
    share,
)
from coset_circuits.thresholds import Thresholds

STATISTICS: tuple[Statistic, ...] = ("mean", "median")
PREDICTION_ERROR = "prediction_error"
BITS = "bits_per_neuron"
_UNITS = {
    "median_abs_delta_log10_loss": "decades",
    "worst_abs_delta_log10_loss": "decades",
    "mean_abs_delta_accuracy": "fraction",
    "worst_abs_delta_accuracy": "fraction",
    "same_answer": "fraction",
    "logit_r2": "fraction",
}


@dataclass(frozen=True)
class NetworkFindings:
    """What was found on one network, without the network.

    Attributes:
        name: unlike that of any other network of the ensemble.
        findings: what :meth:`Comparison.to_dict` gave.
        source: the name or path it was read from.
        report: the folder of its own report, where one was written.
    """

    name: str
    findings: Mapping[str, Any]
    source: str
    report: str | None = None

    @property
    def kind(self) -> tuple[str, int, int, str]:
        """Group, order, width, activation: only networks alike in these are taken together."""
        about = self.findings["network"]
        return about["group"], about["order"], about["d_mlp"], about["act_fn"]

    @property
    def accuracy(self) -> float:
        """Over all pairs."""
        return self.findings["network"]["accuracy"]

    @property
    def loss(self) -> float:
        """The mean over all pairs, in nats."""
        return self.findings["network"]["loss"]["mean"]

    @property
    def verdict(self) -> Mapping[str, Any]:
        return self.findings["verdict"]

    @cached_property
    def circuits(self) -> dict[str, Mapping[str, Any]]:
        """Every candidate's entry by its name."""
        return {circuit["algorithm"]: circuit for circuit in self.findings["circuits"]}

    @property
    def hypotheses(self) -> list[str]:
        return [name for name, c in self.circuits.items() if c["kind"] == "hypothesis"]

    def error(self, name: str) -> float | None:
        """A candidate's median |Δlog10 loss|; None where it is silent throughout or absent."""
        circuit = self.circuits.get(name)
        return None if circuit is None else circuit["prediction"]["median_abs_delta_log10_loss"]

    def bits(self, name: str, relative_error: float) -> float | None:
        """A candidate's bits per neuron."""
        circuit = self.circuits.get(name)
        return None if circuit is None else circuit["bits_per_neuron"][f"{relative_error:g}"]

    @cached_property
    def rows(self) -> dict[tuple[str, str | None, str], Mapping[str, Any]]:
        """Every finding by its experiment, algorithm (None: the network itself) and quantity."""
        return {(f["experiment"], f["algorithm"], f["quantity"]): f for f in self.findings_list}

    @property
    def findings_list(self) -> Sequence[Mapping[str, Any]]:
        return self.findings["findings"]


@dataclass(frozen=True)
class Across:
    """One figure over the networks that have it.

    Attributes:
        algorithm: None for the networks themselves.
        control: experiment and algorithm of the figure it is to be read beside.
        separates: pairs of hypotheses that this experiment separates in most networks.
    """

    experiment: str
    algorithm: str | None
    quantity: str
    unit: str
    estimates: Mapping[str, Estimate]
    control: tuple[str, str | None] | None = None
    control_values: Mapping[str, float] | None = None
    separates: tuple[tuple[str, str], ...] = ()

    @property
    def networks(self) -> int:
        return next(iter(self.estimates.values())).networks


@dataclass(frozen=True)
class Stratum:
    """Networks of one group, width and activation, and what is found across them.

    Attributes:
        between: every two hypotheses compared, prediction error and bits: one family.
        controlled: every hypothesis against its relabelled control: another family.
    """

    group: str
    order: int
    d_mlp: int
    act_fn: str
    networks: tuple[NetworkFindings, ...]
    findings: tuple[Across, ...]
    between: tuple[Paired, ...]
    controlled: tuple[Paired, ...]

    @property
    def title(self) -> str:
        return f"{self.group}, {self.d_mlp} {self.act_fn} neurons"

    @property
    def hypotheses(self) -> list[str]:
        return list(dict.fromkeys(n for network in self.networks for n in network.hypotheses))

    @cached_property
    def _by_key(self) -> dict[tuple[str, str | None, str], Across]:
        return {(f.experiment, f.algorithm, f.quantity): f for f in self.findings}

    def finding(self, experiment: str, algorithm: str | None, quantity: str) -> Across | None:
        """One figure over the networks; None where none of them has it."""
        return self._by_key.get((experiment, algorithm, quantity))


def strata(
    networks: Sequence[NetworkFindings], thresholds: Thresholds, seed: int
) -> tuple[Stratum, ...]:
    """What is found across the networks of each kind, kinds in the order of their first network."""
    kinds: dict[tuple[str, int, int, str], list[NetworkFindings]] = {}
    for network in networks:
        kinds.setdefault(network.kind, []).append(network)
    return tuple(
        Stratum(
            *kind,
            networks=tuple(members),
            findings=tuple(_findings(members, thresholds, seed)),
            between=tuple(_between(members, thresholds, seed)),
            controlled=tuple(_controlled(members, thresholds, seed)),
        )
        for kind, members in kinds.items()
    )


def prediction_errors(
    network: NetworkFindings, one: str, two: str, thresholds: Thresholds
) -> tuple[float, float] | None:
    """Median |Δlog10 loss| of two candidates over the rows on which both speak; None if none.

    A candidate that is silent on the hard rows is thus compared on the others only. Rows that
    either's fit has used are left out.
    """
    if one not in network.circuits or two not in network.circuits:
        return None
    used = {r for name in (one, two) for r in network.circuits[name]["used_rows"]}
    errors = []
    for (experiment, algorithm, quantity), row in network.rows.items():
        if algorithm is not None or quantity != "loss" or experiment in used:
            continue
        predicted = [network.rows.get((experiment, name, "loss"), {}) for name in (one, two)]
        losses = [row["value"], *(p["value"] for p in predicted if p.get("value") is not None)]
        if len(losses) == 3:
            seen, *mine = (_log_loss(loss, thresholds) for loss in losses)
            errors.append([abs(m - seen) for m in mine])
    if not errors:
        return None
    first, second = zip(*errors, strict=True)
    return median(first), median(second)


def _log_loss(loss: float, thresholds: Thresholds) -> float:
    return math.log10(max(loss, thresholds.loss_floor))


def _between(
    networks: Sequence[NetworkFindings], thresholds: Thresholds, seed: int
) -> list[Paired]:
    names = dict.fromkeys(n for network in networks for n in network.hypotheses)
    return _compared(networks, list(combinations(names, 2)), thresholds, seed)


def _controlled(
    networks: Sequence[NetworkFindings], thresholds: Thresholds, seed: int
) -> list[Paired]:
    pairs = dict.fromkeys(
        (str(circuit["control_of"]), name)
        for network in networks
        for name, circuit in network.circuits.items()
        if circuit["control_of"] is not None
    )
    return _compared(networks, list(pairs), thresholds, seed)


def _compared(
    networks: Sequence[NetworkFindings],
    pairs: Sequence[tuple[str, str]],
    thresholds: Thresholds,
    seed: int,
) -> list[Paired]:
    """Prediction error and bits of each pair, as one family, over the networks that have both."""
    if len(networks) == 1:
        return []
    questions = []
    for one, two in pairs:
        errors = [prediction_errors(n, one, two, thresholds) for n in networks]
        delta = thresholds.headline_error
        bits = [(n.bits(one, delta), n.bits(two, delta)) for n in networks]
        for quantity, unit, margin, found in (
            (PREDICTION_ERROR, "decades", thresholds.equivalence_log_loss, errors),
            (BITS, "bits", thresholds.equivalence_bits, bits),
        ):
            both = [pair for pair in found if pair is not None and None not in pair]
            if both:
                first, second = np.array(both, dtype=np.float64).T
                questions.append(Question(one, two, quantity, unit, margin, first - second))
    return compare_paired(questions, thresholds=thresholds, seed=seed)


@dataclass
class _Series:
    """One figure's values, network by network, and those of its control."""

    unit: str
    values: list[float]
    controls: list[float]
    control: tuple[str, str | None] | None = None


def _findings(
    networks: Sequence[NetworkFindings], thresholds: Thresholds, seed: int
) -> Iterator[Across]:
    if len(networks) == 1:
        return
    series: dict[tuple[str, str | None, str], _Series] = {}
    for network in networks:
        for key, unit, value, control in _figures(network):
            if value is None:
                continue
            found = series.setdefault(key, _Series(unit, [], []))
            found.values.append(value)
            if control is not None and control["value"] is not None:
                found.control = (control["experiment"], control["algorithm"])
                found.controls.append(control["value"])
    estimated = _estimated(series, thresholds, seed)
    for key, found in series.items():
        yield Across(
            *key,
            unit=found.unit,
            estimates=estimated[key],
            control=found.control,
            control_values=_centres(found.controls),
            separates=_separated(networks, key),
        )
    yield from _verdicts(networks, thresholds)


_Key = tuple[str, str | None, str]
_Figure = tuple[_Key, str, float | None, Mapping[str, Any] | None]


def _figures(network: NetworkFindings) -> Iterator[_Figure]:
    """Every figure of a network that can be taken over networks."""
    for finding in network.findings_list:
        key = (finding["experiment"], finding["algorithm"], finding["quantity"])
        yield key, finding["unit"], finding["value"], finding["control"]
    controls = {c["control_of"]: name for name, c in network.circuits.items() if c["control_of"]}
    for name in network.circuits:
        control = controls.get(name)
        beside = {} if control is None else dict(_circuit_figures(network, control))
        for (experiment, quantity, unit), value in _circuit_figures(network, name):
            own = beside.get((experiment, quantity, unit))
            told = {"experiment": experiment, "algorithm": control, "value": own}
            yield (experiment, name, quantity), unit, value, told if control else None


def _circuit_figures(
    network: NetworkFindings, name: str
) -> Iterator[tuple[tuple[str, str, str], float | None]]:
    circuit = network.circuits[name]
    for quantity, unit in _UNITS.items():
        yield ("prediction", quantity, unit), circuit["prediction"][quantity]
    for delta, bits in circuit["bits_per_neuron"].items():
        yield (f"description_length_{delta}", BITS, "bits"), bits
    yield ("roles", "coverage", "fraction"), circuit["coverage"]


def _estimated(
    series: Mapping[_Key, _Series], thresholds: Thresholds, seed: int
) -> dict[_Key, dict[str, Estimate]]:
    """Mean and median of every series; those over equally many networks are done together."""
    found: dict[_Key, dict[str, Estimate]] = {key: {} for key in series}
    for count in {len(s.values) for s in series.values()}:
        keys = [key for key, s in series.items() if len(s.values) == count]
        values = np.array([series[key].values for key in keys], dtype=np.float64).T
        for statistic in STATISTICS:
            for key, estimate in zip(
                keys,
                estimates(values, statistic, thresholds=thresholds, seed=seed),
                strict=True,
            ):
                found[key][statistic] = estimate
    return found


def _centres(values: Sequence[float]) -> dict[str, float] | None:
    if not values:
        return None
    return {"mean": float(np.mean(values)), "median": float(np.median(values))}


def _separated(networks: Sequence[NetworkFindings], key: _Key) -> tuple[tuple[str, str], ...]:
    told: dict[tuple[str, str], int] = {}
    for network in networks:
        for one, two in network.rows.get(key, {}).get("separates", ()):
            told[one, two] = told.get((one, two), 0) + 1
    return tuple(pair for pair, count in told.items() if 2 * count > len(networks))


def _verdicts(networks: Sequence[NetworkFindings], thresholds: Thresholds) -> Iterator[Across]:
    """In what share of the networks that it applies to a hypothesis is supported, or refuted."""
    for name in dict.fromkeys(n for network in networks for n in network.hypotheses):
        having = [network for network in networks if name in network.circuits]
        for word in ("supported", "refuted"):
            count = sum(name in network.verdict[word] for network in having)
            found = {"share": share(count, len(having), thresholds)}
            yield Across("verdict", name, word, "fraction", found)


def findings_across(stratum: Stratum, seed: int) -> Iterator[dict[str, Any]]:
    """As in findings.json: they name no network."""
    about = {
        "network": None,
        "group": stratum.group,
        "d_mlp": stratum.d_mlp,
        "act_fn": stratum.act_fn,
    }
    for item in stratum.findings:
        for statistic, estimate in item.estimates.items():
            yield {**about, **_finding(item, statistic, estimate, seed)}
    for family, compared in (("between", stratum.between), ("controlled", stratum.controlled)):
        for paired in compared:
            yield {**about, **_paired_finding(paired, family, seed)}


def _finding(item: Across, statistic: str, estimate: Estimate, seed: int) -> dict[str, Any]:
    control = None
    if item.control is not None and item.control_values is not None:
        control = {
            "experiment": item.control[0],
            "algorithm": item.control[1],
            "quantity": item.quantity,
            "statistic": statistic,
            "value": item.control_values[statistic],
            "source": _source(estimate, seed, interval=False),
        }
    return {
        "experiment": item.experiment,
        "algorithm": item.algorithm,
        "quantity": item.quantity,
        "statistic": statistic,
        "value": estimate.value,
        "unit": item.unit,
        "interval": _interval(estimate),
        "networks": estimate.networks,
        "control": control,
        "separates": [list(pair) for pair in item.separates],
        "source": (
            f"counted over {estimate.networks} networks; Wilson interval"
            if statistic == "share"
            else _source(estimate, seed)
        ),
    }


def _paired_finding(paired: Paired, family: str, seed: int) -> dict[str, Any]:
    return {
        "experiment": f"paired_{family}",
        "algorithm": paired.one,
        "against": paired.two,
        "quantity": paired.quantity,
        "statistic": "median_difference",
        "value": paired.median.value,
        "unit": paired.unit,
        "interval": _interval(paired.median),
        "mean_difference": paired.mean.value,
        "mean_interval": _interval(paired.mean),
        "networks": paired.networks,
        "rank_biserial": paired.effect,
        "p": paired.p,
        "p_holm": paired.p_holm,
        "margin": paired.margin,
        "p_equivalent": paired.p_equivalent,
        "p_equivalent_holm": paired.p_equivalent_holm,
        "family": paired.family,
        "verdict": paired.verdict,
        "control": None,
        "separates": [],
        "source": (
            f"{_source(paired.median, seed)}; exact Wilcoxon signed-rank tests, Holm's correction "
            f"over {paired.family} comparisons"
        ),
    }


def _interval(estimate: Estimate) -> list[float] | None:
    return None if estimate.interval is None else list(estimate.interval)


def _source(estimate: Estimate, seed: int, *, interval: bool = True) -> str:
    told = f"computed over {estimate.networks} networks"
    return f"{told}; {METHOD}, seed {seed}" if interval and estimate.interval else told
