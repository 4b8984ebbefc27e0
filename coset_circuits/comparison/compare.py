"""The main job: which algorithm explains this network, on what evidence, beside which controls?"""

from __future__ import annotations

import html
import math
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, overload

import torch
from jaxtyping import Int
from torch import Tensor

from coset_circuits.algorithms import (
    Algorithm,
    Circuit,
    CosetAlgorithm,
    DoesNotApplyError,
    DullNull,
    IrrepAlgorithm,
    RawWeights,
)
from coset_circuits.comparison.many import Ensemble, Report, compare_many
from coset_circuits.comparison.sources import Given, is_collection
from coset_circuits.comparison.verdict import (
    PredictionError,
    Verdict,
    decide,
    errors,
    prediction_error,
    separated,
)
from coset_circuits.errors import CosetCircuitsError
from coset_circuits.experiments.candidates import NETWORK, Candidate, Kind, Row
from coset_circuits.experiments.controls import commuting_fraction, relabelled_group
from coset_circuits.experiments.formation import Formation, formation
from coset_circuits.experiments.interventions import INTERVENTIONS, Intervention
from coset_circuits.experiments.measure import Outcome, measure, sampled
from coset_circuits.networks import load
from coset_circuits.networks.checkpoints import weights_sha256
from coset_circuits.networks.model import GroupModel
from coset_circuits.thresholds import DEFAULT, Thresholds

SCHEMA = 1
ATTRIBUTION_ROWS = ("base", "abs", "noise_0_1", "scale_left_2")


@dataclass(frozen=True)
class Attribution:
    """The error that one claim alone brings into the network, over a few rows."""

    algorithm: str
    claim: str
    median_log_loss: float


@dataclass
class Comparison:
    """All findings for one network and several hypotheses.

    Attributes:
        network: the network, in float64.
        base: its outcome over *all* pairs.
        rows: the interventions, over ``pairs``.
        candidates: the compared hypotheses, then their relabelled controls, then the nulls.
        not_applicable: hypotheses that have nothing to use on this group, and why.
        predicted: each candidate's prediction error.
        separations: for each intervention the pairs of hypotheses that it separates.
        attributions: the errors of single claims.
        swapped_commuting: share of commuting pairs, the exact accuracy under swapped inputs of any
            network that is right everywhere; None for a network that is not.
        formation: how the neurons' structure came about; None without checkpoints over training.
    """

    network: GroupModel
    base: Outcome
    pairs: Int[Tensor, "pairs 2"]
    rows: list[Row]
    candidates: list[Candidate]
    not_applicable: dict[str, str]
    predicted: dict[str, PredictionError]
    separations: dict[str, tuple[tuple[str, str], ...]]
    attributions: list[Attribution]
    verdict: Verdict
    thresholds: Thresholds
    seed: int
    device: str
    swapped_commuting: float | None
    notes: list[str] = field(default_factory=list)
    formation: Formation | None = None

    @property
    def hypotheses(self) -> list[Candidate]:
        return [c for c in self.candidates if c.kind == "hypothesis"]

    @property
    def is_sampled(self) -> bool:
        return len(self.pairs) < self.network.group.order**2

    def candidate(self, name: str) -> Candidate:
        """The candidate of a name.

        Raises:
            CosetCircuitsError: no such candidate; the sentence lists them.
        """
        for candidate in self.candidates:
            if candidate.name == name:
                return candidate
        known = ", ".join(c.name for c in self.candidates)
        raise CosetCircuitsError(f"No candidate is called {name!r}; known are {known}.")

    def to_dict(self) -> dict[str, Any]:
        """The content of findings.json; its shape is versioned by ``schema``.

        Numbers that JSON has no word for, such as the R² of constant logits, are None.
        """
        return without_nan(self._content())

    def _content(self) -> dict[str, Any]:
        group = self.network.group
        formed = None if self.formation is None else self.formation.to_dict(self.thresholds)
        return {
            "schema": SCHEMA,
            "network": {
                "name": self.network.label,
                "group": group.name,
                "order": group.order,
                **self.network.facts(),
                "pairs": group.order**2,
                "accuracy": self.base.accuracy,
                "loss": {"mean": self.base.loss, "median": self.base.median_loss},
                "sha256": weights_sha256(self.network),
                "source": self.network.provenance.get("source"),
                "element_order": self.network.provenance.get("element_order"),
            },
            "circuits": [_circuit_dict(c, self.predicted[c.name]) for c in self.candidates],
            "not_applicable": dict(self.not_applicable),
            "verdict": {
                "supported": list(self.verdict.supported),
                "refuted": list(self.verdict.refuted),
                "not_supported": dict(self.verdict.not_supported),
                "indistinguishable": list(self.verdict.indistinguishable),
                "dominated": dict(self.verdict.dominated),
                "rule": self.verdict.rule,
                "sentences": list(self.verdict.sentences),
            },
            "thresholds": self.thresholds.to_dict(),
            "findings": list(self._findings()),
            "formation": formed,
            "notes": list(self.notes),
            "versions": versions(),
            "seed": self.seed,
            "device": self.device,
            "dtype": self.network.dtype_name,
        }

    def _findings(self) -> Iterable[dict[str, Any]]:
        for row in self.rows:
            for name, outcome in row.outcomes.items():
                for quantity in ("accuracy", "loss"):
                    yield self._finding(row, name, quantity, outcome)
        for item in self.attributions:
            yield {
                "experiment": f"claim_{item.claim}",
                "algorithm": item.algorithm,
                "quantity": "median_abs_delta_log10_loss",
                "value": item.median_log_loss,
                "unit": "decades",
                "interval": None,
                "control": None,
                "separates": [],
                "source": f"computed: one claim alone, rows {', '.join(ATTRIBUTION_ROWS)}",
            }

    def _finding(
        self, row: Row, name: str, quantity: str, outcome: Outcome | None
    ) -> dict[str, Any]:
        pairs = self.separations[row.intervention.id]
        algorithm = None if name == NETWORK else name
        finding = {
            "experiment": row.intervention.id,
            "algorithm": algorithm,
            "quantity": quantity,
            "value": _value(outcome, quantity),
            "unit": "fraction" if quantity == "accuracy" else "nats",
            "interval": self._interval(outcome, quantity),
            "control": self._control(row, name, quantity),
            "separates": [list(p) for p in pairs if algorithm is None or algorithm in p],
            "source": self._source(),
        }
        if outcome is None:
            finding["silent"] = True
        elif quantity == "loss":
            finding["median"] = outcome.median_loss
        elif algorithm is not None:
            finding["same_answer"] = outcome.same_answer
            finding["logit_r2"] = outcome.logit_r2
        return finding

    def _control(self, row: Row, name: str, quantity: str) -> dict[str, Any] | None:
        """The network: the matched intervention. A hypothesis: itself on a relabelled group."""
        if name == NETWORK:
            if row.intervention.control == "commuting_pairs":
                if quantity != "accuracy" or self.swapped_commuting is None:
                    return None
                return {
                    "experiment": "commuting_pairs",
                    "algorithm": None,
                    "quantity": quantity,
                    "value": self.swapped_commuting,
                    "source": "exact: conjugacy classes / order",
                }
            matched = next(
                (r for r in self.rows if r.intervention.id == row.intervention.control), None
            )
            outcome = None if matched is None else matched.outcomes[NETWORK]
            experiment, algorithm = row.intervention.control, None
        else:
            algorithm = next((c.name for c in self.candidates if c.of == name), None)
            outcome = None if algorithm is None else row.outcomes[algorithm]
            experiment = row.intervention.id
        if outcome is None:
            return None
        return {
            "experiment": experiment,
            "algorithm": algorithm,
            "quantity": quantity,
            "value": _value(outcome, quantity),
            "source": self._source(),
        }

    def _source(self) -> str:
        if self.is_sampled:
            return f"computed over a sample of {len(self.pairs)} pairs"
        return f"computed over all {len(self.pairs)} pairs"

    def _interval(self, outcome: Outcome | None, quantity: str) -> list[float] | None:
        """95%, normal; None where every pair was measured, which leaves nothing to chance."""
        if outcome is None or not self.is_sampled:
            return None
        values = outcome.correct if quantity == "accuracy" else outcome.losses
        half = 1.96 * float(values.std()) / math.sqrt(len(values))
        mean = float(values.mean())
        return [mean - half, mean + half]

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write report.html, findings.json and the figures into a folder; returns its path."""
        from coset_circuits.report import save

        return save(self, folder)

    def __str__(self) -> str:
        from coset_circuits.report import plain_text

        return plain_text(self)

    def __repr__(self) -> str:
        return f"Comparison({self.network.label}: {self.verdict.headline})"

    def _repr_html_(self) -> str:
        said = "".join(f"<li>{html.escape(s)}</li>" for s in self.verdict.sentences)
        return f"<p><b>{html.escape(repr(self))}</b></p><ul>{said}</ul>"


@overload
def compare(
    network: GroupModel,
    algorithms: Sequence[Algorithm] | None = None,
    *,
    interventions: Iterable[Intervention] | None = None,
    seed: int = 0,
    pairs: int | None = None,
    thresholds: Thresholds = DEFAULT,
    progress: Report | None = None,
    out: str | os.PathLike[str] | None = None,
    order: str | None = None,
) -> Comparison: ...


@overload
def compare(
    network: str | os.PathLike[str],
    algorithms: Sequence[Algorithm] | None = None,
    *,
    interventions: Iterable[Intervention] | None = None,
    seed: int = 0,
    pairs: int | None = None,
    thresholds: Thresholds = DEFAULT,
    progress: Report | None = None,
    out: str | os.PathLike[str] | None = None,
    order: str | None = None,
) -> Comparison | Ensemble: ...


@overload
def compare(
    network: Iterable[Given],
    algorithms: Sequence[Algorithm] | None = None,
    *,
    interventions: Iterable[Intervention] | None = None,
    seed: int = 0,
    pairs: int | None = None,
    thresholds: Thresholds = DEFAULT,
    progress: Report | None = None,
    out: str | os.PathLike[str] | None = None,
    order: str | None = None,
) -> Ensemble: ...


def compare(
    network: Given | Iterable[Given],
    algorithms: Sequence[Algorithm] | None = None,
    *,
    interventions: Iterable[Intervention] | None = None,
    seed: int = 0,
    pairs: int | None = None,
    thresholds: Thresholds = DEFAULT,
    progress: Report | None = None,
    out: str | os.PathLike[str] | None = None,
    order: str | None = None,
) -> Comparison | Ensemble:
    """Fit hypotheses to networks and test what they predict, each beside its controls.

    Args:
        network: the network under study, or its name or path: the result is a
            :class:`Comparison`. A list of them, or a folder of checkpoints: an :class:`Ensemble`.
            Networks are copied and measured in float64, one after the other.
        algorithms: the hypotheses, each shown in all its variants; coset and irrep by default.
        interventions: what is done to the network and predicted by each hypothesis; all of
            :data:`INTERVENTIONS` by default. ``[*cc.INTERVENTIONS.values(), mine]`` adds one.
        seed: of the noise, the relabelling, the bootstrap and, for a large group, the sample of
            pairs.
        pairs: how many pairs the interventions are measured on; all of them unless the group has
            more than 60,000, then a sample of 10,000. The base figures are always over all pairs.
        thresholds: see :class:`Thresholds`.
        progress: called with (what is being done, steps done, steps in all).
        out: a folder for reports, one a network where there are several. What it holds of several
            networks, asked in the same way, is not computed again: a call that was stopped can
            be made again and goes on.
        order: the element order of a foreign checkpoint, where it cannot be measured.

    Raises:
        CosetCircuitsError: no algorithm or intervention, or two of one name; no such network; a
            file that cannot be read, or none among several that can.
    """
    if not 0 <= seed < 2**63:
        raise CosetCircuitsError(f"The seed is {seed}; give a number from 0 to 2^63 − 1.")
    chosen, done = _chosen(algorithms, pairs), _to_be_done(interventions)

    def one(network: GroupModel, progress: Report | None) -> Comparison:
        return _compare_one(network, chosen, done, seed, pairs, thresholds, progress)

    if is_collection(network):
        return compare_many(
            network,
            one,
            algorithms=chosen,
            interventions=done,
            options={"seed": seed, "pairs": pairs},
            versions=versions(),
            thresholds=thresholds,
            seed=seed,
            order=order,
            out=out,
            progress=progress,
        )
    assert isinstance(network, (GroupModel, str, os.PathLike))
    loaded = network if isinstance(network, GroupModel) else load(network, order=order)
    comparison = one(loaded, progress)
    if out is not None:
        comparison.save(out)
    return comparison


def _chosen(algorithms: Sequence[Algorithm] | None, pairs: int | None) -> list[Algorithm]:
    """The algorithms, once it is sure that they can be compared on that many pairs."""
    if algorithms is None:
        algorithms = [CosetAlgorithm(), IrrepAlgorithm()]
    if not algorithms:
        raise CosetCircuitsError("No algorithm was given; give at least one, such as coset.")
    names = [variant.name for algorithm in algorithms for variant in algorithm.variants()]
    for name in names:
        if names.count(name) > 1:
            raise CosetCircuitsError(f"The algorithm {name} was given twice.")
    if pairs is not None and pairs < 1:
        raise CosetCircuitsError(f"{pairs} pairs were asked for; give a number from 1 up.")
    return list(algorithms)


def _to_be_done(interventions: Iterable[Intervention] | None) -> list[Intervention]:
    """The interventions, once it is sure that a finding can be told by its id."""
    found = list(INTERVENTIONS.values() if interventions is None else interventions)
    if not found:
        raise CosetCircuitsError(
            "No intervention was given; give at least one, or leave it out for all of them."
        )
    ids = [intervention.id for intervention in found]
    for id in ids:
        if ids.count(id) > 1:
            raise CosetCircuitsError(
                f"Two interventions have the id {id!r}; findings are told apart by it, so give "
                "each its own."
            )
    return found


def _compare_one(
    network: GroupModel,
    algorithms: Sequence[Algorithm],
    interventions: Sequence[Intervention],
    seed: int,
    pairs: int | None,
    thresholds: Thresholds,
    progress: Report | None,
) -> Comparison:
    network = _measured_copy(network)
    told = _Progress(progress, 3 + len(interventions))
    told("fitting hypotheses")
    candidates, not_applicable, notes = _fit_all(network, algorithms, seed, thresholds)
    told("all pairs")
    all_pairs = network.group.pairs()
    sample = sampled(all_pairs, pairs, seed)
    base = measure(INTERVENTIONS["base"], {NETWORK: network}, all_pairs)[NETWORK]
    assert base is not None
    models: dict[str, GroupModel] = {NETWORK: network}
    models.update({c.name: c.circuit.surrogate() for c in candidates})
    rows = []
    alike = _alike(models)
    for intervention in interventions:
        told(intervention.title)
        rows.append(_row(intervention, models, alike, sample, seed))
    told("single claims")
    predicted = {c.name: prediction_error(rows, c, thresholds) for c in candidates}
    separations = separated(rows, candidates, predicted, thresholds)
    return Comparison(
        network=network,
        base=base,
        pairs=sample,
        rows=rows,
        candidates=candidates,
        not_applicable=not_applicable,
        predicted=predicted,
        separations=separations,
        attributions=_attribute(candidates, network, sample, seed, thresholds),
        verdict=decide(rows, candidates, predicted, separations, thresholds),
        thresholds=thresholds,
        seed=seed,
        device=str(network.device),
        swapped_commuting=commuting_fraction(network.group) if base.accuracy == 1 else None,
        notes=notes,
        formation=formation(
            network, [c.circuit for c in candidates if c.kind == "hypothesis"], thresholds
        ),
    )


class _Progress:
    def __init__(self, report: Report | None, total: int) -> None:
        self.report, self.total, self.done = report, total, 0

    def __call__(self, text: str) -> None:
        if self.report is not None:
            self.report(text, self.done, self.total)
        self.done += 1


def _measured_copy(network: GroupModel) -> GroupModel:
    return network.unhooked().requires_grad_(False).double()


def _fit_all(
    network: GroupModel, algorithms: Sequence[Algorithm], seed: int, thresholds: Thresholds
) -> tuple[list[Candidate], dict[str, str], list[str]]:
    hypotheses: list[Candidate] = []
    controls: list[Candidate] = []
    not_applicable: dict[str, str] = {}
    other = relabelled_group(network.group, seed)
    for variant in (v for a in algorithms for v in a.variants()):
        try:
            circuit = variant.fit(network)
        except DoesNotApplyError as error:
            not_applicable[variant.name] = str(error)
            continue
        hypotheses.append(_candidate(variant.name, "hypothesis", circuit, thresholds))
        if other is not None:
            name = f"{variant.name}, relabelled"
            fitted = variant.fit(network, other)
            controls.append(_candidate(name, "control", fitted, thresholds, of=variant.name))
    nulls = [
        _candidate(null.name, "null", null.fit(network), thresholds)
        for null in (DullNull(thresholds=thresholds), RawWeights(thresholds=thresholds))
    ]
    notes = []
    if other is None:
        notes.append(
            f"Every relabelling of {network.group.name} keeps its structure, so there is no "
            "relabelled-group control."
        )
    return hypotheses + controls + nulls, not_applicable, notes


def _candidate(
    name: str, kind: Kind, circuit: Circuit, thresholds: Thresholds, of: str | None = None
) -> Candidate:
    bits = {
        delta: circuit.description_length(delta).bits_per_neuron
        for delta in thresholds.relative_errors
    }
    return Candidate(name, kind, circuit, bits, of)


def _alike(models: Mapping[str, GroupModel]) -> dict[str, str]:
    """For each model the first that has the same weights, which can answer for it.

    Variants of one hypothesis share claims, and controls that explain nothing are all the same.
    """
    first: dict[object, str] = {}
    return {name: first.setdefault(model.fingerprint(), name) for name, model in models.items()}


def _row(
    intervention: Intervention,
    models: Mapping[str, GroupModel],
    alike: Mapping[str, str],
    pairs: Tensor,
    seed: int,
) -> Row:
    apart = {name: models[name] for name in dict.fromkeys(alike.values())}
    found = measure(intervention, apart, pairs, seed=seed)
    return Row(intervention, {name: found[first] for name, first in alike.items()})


def _attribute(
    candidates: Sequence[Candidate],
    network: GroupModel,
    pairs: Tensor,
    seed: int,
    thresholds: Thresholds,
) -> list[Attribution]:
    """Each claim of each hypothesis by itself, the rest of the network being its own."""
    models: dict[str, GroupModel] = {NETWORK: network}
    for candidate in candidates:
        claims = candidate.circuit.default_claims
        if candidate.kind == "hypothesis" and len(claims) > 1:
            for claim in sorted(claims):
                models[f"{candidate.name}|{claim}"] = candidate.circuit.surrogate({claim})
    alike = _alike(models)
    rows = [_row(INTERVENTIONS[id], models, alike, pairs, seed) for id in ATTRIBUTION_ROWS]
    found = []
    for name in list(models)[1:]:
        algorithm, claim = name.split("|")
        deltas = [e[0] for row in rows if (e := errors(row, name, thresholds)) is not None]
        found.append(Attribution(algorithm, claim, float(torch.tensor(deltas).median())))
    return found


def _value(outcome: Outcome | None, quantity: str) -> float | None:
    if outcome is None:
        return None
    return outcome.accuracy if quantity == "accuracy" else outcome.loss


def _circuit_dict(candidate: Candidate, error: PredictionError) -> dict[str, Any]:
    return {
        "algorithm": candidate.name,
        "kind": candidate.kind,
        "control_of": candidate.of,
        "roles": candidate.circuit.roles.summary(),
        "coverage": candidate.circuit.roles.coverage,
        "bits_per_neuron": {f"{delta:g}": bits for delta, bits in candidate.bits.items()},
        "silent": sorted(candidate.circuit.silent),
        "used_rows": sorted(candidate.circuit.used_rows),
        "prediction": {
            "rows": error.rows,
            "median_abs_delta_log10_loss": error.median_log_loss,
            "worst_abs_delta_log10_loss": error.worst_log_loss,
            "mean_abs_delta_accuracy": error.mean_accuracy,
            "worst_abs_delta_accuracy": error.worst_accuracy,
            "same_answer": error.same_answer,
            "logit_r2": error.logit_r2,
        },
    }


def without_nan(value: Any) -> Any:
    """The same with null for every number that JSON has no word for."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def versions() -> dict[str, str]:
    """The versions that a result depends on."""
    names = ("coset-circuits", "torch", "transformer-lens", "numpy")
    return {"python": platform.python_version(), **{n: metadata.version(n) for n in names}}
