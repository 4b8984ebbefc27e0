"""Compare hypotheses about a network: fit them, test their predictions, reach a verdict."""

from __future__ import annotations

import html
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jaxtyping import Int
from torch import Tensor

from coset_circuits.algorithms import ALGORITHMS, Algorithm
from coset_circuits.comparison.fidelity import Fidelity, fidelity
from coset_circuits.comparison.many import compare_many
from coset_circuits.comparison.sources import Given, Source, is_collection
from coset_circuits.comparison.summary import CircuitSummary, Summary, versions
from coset_circuits.comparison.verdict import RAW, Evidence, Verdict, decide
from coset_circuits.errors import CosetCircuitsError, brief, checked, whole, whole_seed
from coset_circuits.experiments import (
    EXPERIMENTS,
    INTERVENTIONS,
    Bench,
    Candidate,
    Experiment,
    Intervention,
    Interventions,
    Outcome,
    PredictionError,
    Predictions,
    Row,
    intervention,
    measured,
)
from coset_circuits.experiments.formation import Formation
from coset_circuits.experiments.forms import FormError
from coset_circuits.experiments.measure import sampled
from coset_circuits.findings import Findings
from coset_circuits.findings.storage import REPORT
from coset_circuits.networks import GroupModel
from coset_circuits.networks.checkpoints import weights_sha256
from coset_circuits.networks.files import check_place
from coset_circuits.networks.model import uncompiled
from coset_circuits.presentation import Presented
from coset_circuits.progress import Progress, Steps, silent
from coset_circuits.thresholds import DEFAULT, Thresholds

_ON_REQUEST = 20
"""Progress steps counted for an optional experiment; an intervention counts as one step."""


@dataclass(repr=False)
class Comparison(Presented):
    """All findings for one network and several hypotheses.

    Attributes:
        bench: the network in float64 and everything that was fitted to it.
        fidelity: the coarsest precision of the tables that keeps the network's behaviour.
            Description lengths are compared at this precision.
        results: the result of each experiment, by its id.
        notes: what could not be done, and why.
        experiments: the experiments that were run, with their parameters.
    """

    bench: Bench
    fidelity: Fidelity
    results: Mapping[str, Findings]
    verdict: Verdict
    notes: list[str]
    experiments: Sequence[Experiment] = ()

    @property
    def network(self) -> GroupModel:
        return self.bench.network

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """The compared hypotheses, then their relabelled controls, then the null models."""
        return self.bench.candidates

    @property
    def hypotheses(self) -> list[Candidate]:
        return self.bench.hypotheses

    @property
    def not_applicable(self) -> Mapping[str, str]:
        """Hypotheses that do not apply to this group, each with the reason."""
        return self.bench.not_applicable

    @property
    def thresholds(self) -> Thresholds:
        return self.bench.thresholds

    @property
    def seed(self) -> int:
        return self.bench.seed

    @property
    def device(self) -> str:
        return str(self.network.device)

    @property
    def pairs(self) -> Int[Tensor, "pairs 2"]:
        """The pairs that the interventions were measured on."""
        return self.bench.sample

    @property
    def is_sampled(self) -> bool:
        return self.predictions.is_sampled

    @property
    def predictions(self) -> Predictions:
        """Observed and predicted effects of the interventions, which the verdict is based on."""
        result = self.results[Interventions.id]
        assert isinstance(result, Predictions)
        return result

    @property
    def base(self) -> Outcome:
        """The network's outcome over *all* pairs."""
        return self.predictions.base

    @property
    def rows(self) -> list[Row]:
        return self.predictions.rows

    @property
    def predicted(self) -> Mapping[str, PredictionError]:
        """Each candidate's prediction error."""
        return self.predictions.predicted

    @property
    def separations(self) -> Mapping[str, tuple[tuple[str, str], ...]]:
        """For each intervention the pairs of hypotheses that it separates."""
        return self.predictions.separations

    @property
    def swapped_commuting(self) -> float | None:
        return self.predictions.swapped_commuting

    @property
    def forms(self) -> Sequence[FormError]:
        """The error of each form of a hypothesis, if claims were chosen."""
        return self.bench.forms

    def compression(self, candidate: Candidate) -> tuple[float, tuple[float, float]]:
        """How many times shorter a candidate is than the raw weights, with its interval."""
        return self.fidelity.ratio(self.candidate(RAW).bits, candidate.bits)

    @property
    def formation(self) -> Formation | None:
        """How the neurons' structure formed; None without checkpoints from training."""
        result = self.results.get("formation")
        return result if isinstance(result, Formation) else None

    @property
    def on_request(self) -> dict[str, Findings]:
        """The results of the optional experiments that were requested."""
        return {
            id: result
            for id, result in self.results.items()
            if id not in EXPERIMENTS or not EXPERIMENTS[id].by_default
        }

    def candidate(self, key: str) -> Candidate:
        """The candidate with this key.

        Raises:
            CosetCircuitsError: there is no such candidate; the message lists the keys.
        """
        for candidate in self.candidates:
            if candidate.key == key:
                return candidate
        keys = ", ".join(c.key for c in self.candidates)
        raise CosetCircuitsError(f"No candidate is called {key!r}; choose from {keys}.")

    def summary(self) -> Summary:
        """All findings, without the network and its surrogates."""
        network = self.network
        facts = {
            "name": network.label,
            "group": network.group.name,
            "order": network.group.order,
            **network.facts(),
            "pairs": network.group.order**2,
            "accuracy": self.base.accuracy,
            "loss": {"mean": self.base.loss, "median": self.base.median_loss},
            "sha256": weights_sha256(network),
            "source": network.provenance.get("source"),
            "recipe": network.provenance.get("recipe"),
            "element_order": network.provenance.get("element_order"),
        }
        circuits = [
            CircuitSummary.of_candidate(
                candidate,
                self.predicted[candidate.key],
                [row.intervention.id for row in self.rows if candidate.key in row.used_by],
                self.fidelity,
                self.candidate(RAW),
                self.thresholds,
            )
            for candidate in self.candidates
        ]
        return Summary(
            network=facts,
            fidelity=self.fidelity,
            circuits=tuple(circuits),
            verdict=self.verdict,
            thresholds=self.thresholds.to_dict(),
            findings=tuple(f for result in self.results.values() for f in result.findings()),
            experiments={
                id: {"title": result.title, "notes": list(result.notes)}
                for id, result in self.results.items()
            },
            formation=None if self.formation is None else self.formation.to_dict(),
            notes=tuple(self.notes),
            versions=versions(),
            seed=self.seed,
            device=self.device,
            dtype=network.dtype_name,
        )

    def to_dict(self) -> dict[str, Any]:
        """The content of findings.json; see :meth:`Summary.to_dict`."""
        return self.summary().to_dict()

    def __repr__(self) -> str:
        return f"Comparison({self.verdict.sentence})"

    def _repr_html_(self) -> str:
        items = "".join(f"<li>{html.escape(s)}</li>" for s in self.verdict.details)
        return f"<p><b>{html.escape(self.verdict.sentence)}</b></p><ul>{items}</ul>"


@checked
def compare(
    network: Given | Iterable[Given],
    algorithms: Sequence[str | Algorithm] | str | Algorithm | type[Algorithm] | None = None,
    *,
    interventions: Iterable[str | Intervention] | None = None,
    experiments: Iterable[str | Experiment] = (),
    seed: int = 0,
    pairs: int | None = None,
    thresholds: Thresholds = DEFAULT,
    progress: Progress | None = None,
    out: str | os.PathLike[str] | None = None,
    order: str | None = None,
    workers: int | None = None,
) -> Any:
    """Find the algorithm that explains a network, or each of several networks.

    Each hypothesis is fitted to the network. Its predictions under interventions are then tested
    against null models and against the same hypothesis on a relabelled group.

    Args:
        network: a network, or its name or path, gives a :class:`Comparison`. A list of these, or a
            folder of checkpoints, gives an :class:`Ensemble`. Networks are copied and measured in
            float64.
        algorithms: the hypotheses to run; every registered one by default. A key of
            :data:`ALGORITHMS` such as ``"coset"`` selects the best form of that hypothesis. The
            rows used to choose the form are then not evidence for it. An algorithm object is run
            as given.
        experiments: optional experiments, by id or as objects, such as ``["scrub", "ablation"]``
            or ``[cc.Scrubbing(samples=5)]``; see :data:`EXPERIMENTS`. The experiments that decide
            and those of every comparison always run.
        interventions: the changes to the network that each hypothesis must predict; all of
            :data:`INTERVENTIONS` by default. ``[*cc.INTERVENTIONS.values(), mine]`` adds one.
        seed: random seed for noise, relabelling, bootstrap and, for a large group, the sample of
            pairs.
        pairs: the number of pairs that the interventions are measured on. The default is all
            pairs, or a sample of 10,000 if the group has more than 60,000. Base figures are always
            over all pairs.
        thresholds: see :class:`Thresholds`.
        progress: called with (current task, steps done, total steps).
        out: a folder for reports, with one subfolder per network if there are several. Networks
            that it already has, compared with the same settings, are not computed again, so a
            stopped call can be repeated and continues.
        order: the element order of another project's checkpoint, if it cannot be measured.
        workers: the number of networks compared at a time, each in a process of one thread. The
            default is the number of cores, but 1 on a GPU and outside Linux.

    Returns:
        A :class:`Comparison` for one network, an :class:`Ensemble` for several.

    Raises:
        CosetCircuitsError: no algorithm or intervention was given, or one was given twice; there is
            no such experiment or network; the file, or every one of several, cannot be read.
    """
    network, seed = uncompiled(network), whole_seed(seed)
    pairs = None if pairs is None else whole("number of pairs", pairs)
    if not isinstance(thresholds, Thresholds):
        raise CosetCircuitsError(
            f"The thresholds are {brief(thresholds)}; give them as cc.Thresholds(fvu=0.02)."
        )
    if out is not None and not is_collection(network):
        check_place(Path(out), REPORT, ["figures"])
    hypotheses = _hypotheses(algorithms)
    chosen = _experiments(experiments, _interventions(interventions))

    def one(network: GroupModel, progress: Progress | None) -> Comparison:
        return _compare_one(network, hypotheses, chosen, seed, pairs, thresholds, progress)

    if is_collection(network):
        return compare_many(
            network,
            one,
            depends_on=[*map(_described, hypotheses), *chosen],
            options={"seed": seed, "pairs": pairs},
            thresholds=thresholds,
            seed=seed,
            order=order,
            out=out,
            workers=workers,
            progress=progress,
        )
    if not isinstance(network, (GroupModel, str, os.PathLike)):
        raise CosetCircuitsError(
            f"The network is a {type(network).__name__}; convert it first with "
            "cc.compare(cc.from_module(model))."
        )
    given = network if isinstance(network, (GroupModel, str)) else Path(network)
    loaded = Source(given, "it").load(order)
    comparison = one(loaded, progress)
    if out is not None:
        comparison.save(out)
    return comparison


def _hypotheses(algorithms: Any) -> list[str | Algorithm]:
    """The hypotheses to compare, none of them twice."""
    given: Any = tuple(ALGORITHMS) if algorithms is None else algorithms
    if isinstance(given, (str, type)) or not isinstance(given, Iterable):
        given = [given]
    chosen = [_algorithm(item) for item in given]
    if not chosen:
        raise CosetCircuitsError("No algorithm was given; give at least one, such as coset.")
    for i, algorithm in enumerate(chosen):
        if isinstance(algorithm, str) and algorithm not in ALGORITHMS:
            raise CosetCircuitsError(
                f"No algorithm is called {algorithm!r}; choose from {', '.join(ALGORITHMS)}."
            )
        if algorithm in chosen[:i]:
            name = algorithm if isinstance(algorithm, str) else algorithm.name
            raise CosetCircuitsError(f"The algorithm {name} was given twice.")
    return chosen


def _algorithm(given: Any) -> Any:
    """The algorithm itself; a class is called without arguments."""
    if isinstance(given, type) and hasattr(given, "fit"):
        try:
            given = given()
        except TypeError as error:
            raise CosetCircuitsError(
                f"{given.__name__} is a class that needs arguments ({error}); give an instance."
            ) from error
    if isinstance(given, str) or (hasattr(given, "name") and callable(getattr(given, "fit", None))):
        return given
    raise CosetCircuitsError(
        f"{brief(given)} is not an algorithm; give a name such as 'coset', or an object such as "
        "cc.CosetAlgorithm()."
    )


def _described(algorithm: str | Algorithm) -> Any:
    """Everything that its findings depend on; for a key, its registered forms."""
    return (algorithm, ALGORITHMS[algorithm]) if isinstance(algorithm, str) else algorithm


def _interventions(interventions: Iterable[str | Intervention] | None) -> Interventions:
    """The interventions to run, after checking that their ids are unique."""
    given: Any = INTERVENTIONS.values() if interventions is None else interventions
    items = given if isinstance(given, Iterable) and not isinstance(given, str) else [given]
    chosen = tuple(map(intervention, items))
    if not chosen:
        raise CosetCircuitsError(
            "No intervention was given; give at least one, or leave it out for all of them."
        )
    ids = [one.id for one in chosen]
    for id in ids:
        if ids.count(id) > 1:
            raise CosetCircuitsError(
                f"Two interventions have the id {id!r}; findings are named by it, so give each "
                "a different one."
            )
    return Interventions(chosen)


def _experiments(
    asked: Iterable[str | Experiment], interventions: Interventions
) -> list[Experiment]:
    """The experiments of every comparison, then the optional ones that were requested."""
    by_default = {id: e for id, e in EXPERIMENTS.items() if e.by_default}
    chosen: dict[str, Experiment] = {**by_default, interventions.id: interventions}
    for item in [asked] if isinstance(asked, str) else asked:
        if isinstance(item, str) and item not in EXPERIMENTS:
            raise CosetCircuitsError(
                f"No experiment is called {item!r}; choose from {', '.join(EXPERIMENTS)}."
            )
        experiment = EXPERIMENTS[item] if isinstance(item, str) else item
        if not isinstance(experiment, Experiment):
            raise CosetCircuitsError(
                f"{brief(experiment)} is not an experiment; give an id such as 'scrub', or an "
                "object with id, decides, by_default and run(bench)."
            )
        if experiment.decides and not isinstance(experiment, Interventions):
            raise CosetCircuitsError(
                f"The experiment {experiment.id} says that it decides, but the verdict reads "
                "interventions only; set decides = False, or give interventions=[...]."
            )
        if experiment.id in chosen and experiment.id not in by_default:
            raise CosetCircuitsError(f"The experiment {experiment.id} was given twice.")
        if experiment.id != interventions.id:
            chosen[experiment.id] = experiment
    return list(chosen.values())


def _compare_one(
    network: GroupModel,
    algorithms: Sequence[str | Algorithm],
    experiments: Sequence[Experiment],
    seed: int,
    pairs: int | None,
    thresholds: Thresholds,
    progress: Progress | None,
) -> Comparison:
    if network.group.order == 1:
        raise CosetCircuitsError(
            f"{network.label} multiplies in a group of one element, where there is nothing to "
            "explain; give a network of a larger group."
        )
    weights = [_weight(experiment) for experiment in experiments]
    draws = int(thresholds.dither_draws)
    steps = Steps(progress, draws + 1 + sum(weights))
    copy = measured(network)
    (decisive,) = (e for e in experiments if isinstance(e, Interventions))
    point = fidelity(
        copy,
        decisive.interventions,
        pairs=sampled(copy.group.pairs(), pairs, seed),
        seed=seed,
        thresholds=thresholds,
        progress=steps.part(draws),
    )
    steps.part()("fitting hypotheses", 0, 1)
    bench = Bench.fitted(
        copy,
        algorithms,
        pairs=pairs,
        seed=seed,
        thresholds=thresholds,
        relative_error=point.delta,
        deltas=point.deltas,
    )
    results: dict[str, Findings] = {}
    notes = []
    if bench.relabelled_group is None:
        notes.append(
            f"Every relabelling of {network.group.name} keeps its structure, so there is no "
            "relabelled-group control."
        )
    for experiment, weight in zip(experiments, weights, strict=True):
        bench.progress = steps.part(weight)
        try:
            result = experiment.run(bench)
        except CosetCircuitsError as error:
            if experiment is decisive:
                raise
            notes.append(f"The experiment {experiment.id} could not be done: {error}")
            continue
        if result is not None:
            results[experiment.id] = result
    # The progress callback is not part of the result.
    bench.progress = silent
    predictions = results[Interventions.id]
    assert isinstance(predictions, Predictions)
    verdict = decide(
        Evidence(
            network.label,
            predictions.rows,
            bench.candidates,
            predictions.predicted,
            predictions.separations,
            point,
            bench.not_applicable,
            predictions.pairs,
            network.group.order**2,
            thresholds,
        )
    )
    return Comparison(bench, point, results, verdict, notes, experiments)


def _weight(experiment: Experiment) -> int:
    if isinstance(experiment, Interventions):
        return 1 + len(experiment.interventions)
    return 1 if experiment.by_default else _ON_REQUEST
