"""Predictions of hypotheses under interventions: the experiment that the verdict is based on.

The same hooks run on the network and on every candidate's surrogate; no prediction is entered by
hand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import pandas as pd
import torch
from jaxtyping import Int
from torch import Tensor

from coset_circuits.experiments.bench import Bench
from coset_circuits.experiments.candidates import NETWORK, Candidate
from coset_circuits.experiments.controls import commuting_fraction
from coset_circuits.experiments.forms import FormError
from coset_circuits.experiments.interventions import INTERVENTIONS, Intervention
from coset_circuits.experiments.measure import DistinctModels, Outcome
from coset_circuits.experiments.rows import (
    PredictionError,
    Row,
    errors,
    evidence,
    measured_rows,
    prediction_error,
    used_up,
)
from coset_circuits.experiments.threads import side_by_side
from coset_circuits.findings import Finding, Findings
from coset_circuits.findings.intervals import normal_interval, wilson_interval
from coset_circuits.networks.model import GroupModel
from coset_circuits.thresholds import Thresholds


@dataclass(frozen=True, repr=False)
class Predictions(Findings):
    """Observed and predicted outcomes, row by row.

    Attributes:
        base: the network's outcome over *all* pairs.
        rows: the interventions, over ``pairs`` pairs.
        predicted: each candidate's prediction error, by its key.
        separations: for each intervention the pairs of hypotheses that it separates.
        swapped_commuting: share of commuting pairs, the exact accuracy under swapped inputs of any
            network that is right everywhere; None for a network that is not.
        forms: the error of each form of a hypothesis, if claims were chosen.
    """

    network: str
    candidates: Sequence[Candidate]
    base: Outcome
    rows: list[Row]
    pairs: int
    is_sampled: bool
    predicted: Mapping[str, PredictionError]
    separations: Mapping[str, tuple[tuple[str, str], ...]]
    swapped_commuting: float | None
    forms: Sequence[FormError] = ()

    @property
    def title(self) -> str:
        return f"interventions on {self.network}, {self.source}"

    @property
    def source(self) -> str:
        """The pairs that the figures were computed over."""
        return f"computed over {'a sample of' if self.is_sampled else 'all'} {self.pairs} pairs"

    def to_dataframe(self) -> pd.DataFrame:
        """One row per intervention and model, the network first: accuracy, and loss in nats."""
        return pd.DataFrame(
            {
                "intervention": row.intervention.id,
                "model": key,
                **{quantity: getattr(outcome, quantity, None) for quantity in _UNITS},
            }
            for row in self.rows
            for key, outcome in row.outcomes.items()
        )

    def findings(self) -> Iterator[Finding]:
        for row in self.rows:
            for key, outcome in row.outcomes.items():
                for quantity in _UNITS:
                    yield self._finding(row, key, quantity, outcome)
        yield from (form.finding() for form in self.forms)

    def _finding(self, row: Row, key: str, quantity: str, outcome: Outcome | None) -> Finding:
        subject = None if key == NETWORK else key
        more: dict[str, object] = {}
        if outcome is None:
            more = {"silent": True}
        elif quantity == "loss":
            more = {"median": outcome.median_loss}
        elif subject is not None:
            more = {"same_answer": outcome.same_answer, "logit_r2": outcome.logit_r2}
        if row.equals is not None:
            more = {**more, "equals": row.equals}
        pairs = self.separations[row.intervention.id]
        return Finding(
            row.intervention.id,
            subject,
            quantity,
            getattr(outcome, quantity, None),
            _UNITS[quantity],
            interval=self._interval(outcome, quantity),
            control=self._control(row, key, quantity),
            separates=tuple(pair for pair in pairs if subject is None or subject in pair),
            source=self.source,
            more=more,
        )

    def _control(self, row: Row, key: str, quantity: str) -> Finding | None:
        """The control: a matched intervention for the network, a relabelled group otherwise."""
        wanted, source = row.intervention.control, self.source
        experiment: str | None = row.intervention.id
        subject = None
        if key != NETWORK:
            subject = next((c.key for c in self.candidates if c.of == key), None)
            outcome = None if subject is None else row.outcomes[subject]
            value = getattr(outcome, quantity, None)
        elif wanted == "commuting_pairs":
            experiment, source = wanted, "exact: conjugacy classes / order"
            value = self.swapped_commuting if quantity == "accuracy" else None
        else:
            experiment = wanted
            matched = next((r for r in self.rows if r.intervention.id == wanted), None)
            value = matched and getattr(matched.outcomes[NETWORK], quantity, None)
        if value is None or experiment is None:
            return None
        return Finding(experiment, subject, quantity, value, _UNITS[quantity], source=source)

    def _interval(self, outcome: Outcome | None, quantity: str) -> tuple[float, float] | None:
        """An interval; None if every pair was measured, because nothing is left to chance."""
        if outcome is None or not self.is_sampled:
            return None
        if quantity == "accuracy":
            return wilson_interval(outcome.accuracy, len(outcome.correct))
        return normal_interval(outcome.losses)


_UNITS = {"accuracy": "fraction", "loss": "nats"}


@dataclass(frozen=True)
class Interventions:
    """The experiment: every intervention on the network and on all surrogates."""

    interventions: Sequence[Intervention] = field(
        default_factory=lambda: tuple(INTERVENTIONS.values())
    )
    id = "interventions"
    decides = True
    by_default = True

    def run(self, bench: Bench) -> Predictions:
        """Measure all rows over the bench's sample of pairs, and the base over all pairs."""
        network, count = bench.network, 1 + len(self.interventions)
        every = network.group.pairs()
        bench.progress("all pairs", 0, count)
        base = _unchanged(network, every)
        surrogates = {c.key: c.circuit.surrogate() for c in bench.candidates}
        models = DistinctModels({NETWORK: network, **surrogates}, bench.known)
        rows: list[Row] = []
        for row in measured_rows(
            self.interventions, models, bench.sample, network.group, bench.seed
        ):
            rows.append(row)
            bench.progress(row.intervention.title, len(rows), count)
        rows = used_up(rows, bench.candidates, bench.used)
        predicted = {
            c.key: prediction_error(rows, c.key, bench.thresholds) for c in bench.candidates
        }
        return Predictions(
            network=network.label,
            candidates=bench.candidates,
            base=base,
            rows=rows,
            pairs=len(bench.sample),
            is_sampled=len(bench.sample) < len(every),
            predicted=predicted,
            separations=separated(rows, bench.candidates, predicted, bench.thresholds),
            swapped_commuting=commuting_fraction(network.group) if base.accuracy == 1 else None,
            forms=bench.forms,
        )


def _unchanged(network: GroupModel, pairs: Int[Tensor, "pairs 2"]) -> Outcome:
    """The network's own answers, in as many parts at a time as torch has threads."""

    def part_of(pairs: Int[Tensor, "part 2"]) -> Outcome:
        outcome = DistinctModels({NETWORK: network}).measure(INTERVENTIONS["base"], pairs)[NETWORK]
        assert outcome is not None
        return outcome

    parts = pairs.chunk(torch.get_num_threads())
    with side_by_side(network.device) as each:
        found = list(each(part_of, parts))
    losses, correct = (torch.cat([getattr(o, n) for o in found]) for n in ("losses", "correct"))
    return replace(found[0], losses=losses, correct=correct)


def separated(
    rows: Sequence[Row],
    candidates: Sequence[Candidate],
    predicted: Mapping[str, PredictionError],
    thresholds: Thresholds,
) -> dict[str, tuple[tuple[str, str], ...]]:
    """For each row the pairs of hypotheses that it separates.

    Two surrogates are separated if they disagree by more than the threshold and by more than the
    sum of their prediction errors (median of log10 loss, mean of accuracy). A row does not separate
    a surrogate whose fit used it, and equal rows count once.
    """
    result: dict[str, list[tuple[str, str]]] = {row.intervention.id: [] for row in rows}
    hypotheses = [c.key for c in candidates if c.kind == "hypothesis"]
    for pair in combinations(hypotheses, 2):
        for row in evidence(rows, *pair):
            if _differ(row, pair, predicted, thresholds):
                result[row.intervention.id].append(pair)
    return {id: tuple(pairs) for id, pairs in result.items()}


def _differ(
    row: Row,
    pair: tuple[str, str],
    predicted: Mapping[str, PredictionError],
    thresholds: Thresholds,
) -> bool:
    one, two = pair
    apart = errors(row, one, thresholds, reference=two)
    if apart is None:
        return False
    own_loss = predicted[one].median_log_loss + predicted[two].median_log_loss
    own_accuracy = predicted[one].mean_accuracy + predicted[two].mean_accuracy
    return apart[0] > max(thresholds.separation_log_loss, own_loss) or apart[1] > max(
        thresholds.separation_accuracy, own_accuracy
    )
