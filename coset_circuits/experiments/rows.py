"""The outcomes of interventions, and which of them are evidence; equal rows count once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from coset_circuits.experiments.candidates import NETWORK, Candidate
from coset_circuits.experiments.interventions import Intervention, is_ours
from coset_circuits.experiments.measure import DistinctModels, Outcome
from coset_circuits.experiments.threads import side_by_side
from coset_circuits.groups import FiniteGroup
from coset_circuits.thresholds import Thresholds

_Outcomes = Mapping[str, "Outcome | None"]

_PROBED = 12
"""Where pairs are sampled, rows are compared on the pairs of so many elements and their inverses:
a swap of the inputs is a permutation of these, and of no random sample."""
_ROUNDING = 1e-3
"""Losses are equal if they differ by at most this share: rounding errors of float32 are smaller,
and what other noise does is larger."""


@dataclass(frozen=True)
class Row:
    """One intervention with the outcomes of network and surrogates, by key (None: silent).

    Attributes:
        equals: the id of the first intervention with the same outcome for every model.
        used_by: the keys of candidates for which it is not evidence, because their fit or the
            choice of their claims has already used it.
    """

    intervention: Intervention
    outcomes: Mapping[str, Outcome | None]
    equals: str | None = None
    used_by: frozenset[str] = frozenset()

    @property
    def shows(self) -> str:
        """The id of the first of the rows that equal this one."""
        return self.equals or self.intervention.id


def measured_rows(
    interventions: Sequence[Intervention],
    models: DistinctModels,
    pairs: Int[Tensor, "pairs 2"],
    group: FiniteGroup,
    seed: int,
) -> Iterator[Row]:
    """Run every intervention on all models, and link each row to an earlier one that it equals."""
    probe = pairs if len(pairs) == group.order**2 else _probe(group)
    seen: dict[str, dict[str, Tensor | None]] = {}

    def outcomes_of(intervention: Intervention) -> tuple[_Outcomes, _Outcomes]:
        outcomes = models.measure(intervention, pairs, seed)
        return outcomes, outcomes if probe is pairs else models.measure(intervention, probe, seed)

    with side_by_side(models.device, all(map(is_ours, interventions))) as each:
        measured = each(outcomes_of, interventions)
        for intervention, (outcomes, probed) in zip(interventions, measured, strict=True):
            losses = {
                # Sorted, because a symmetry may exchange pairs.
                key: None if o is None else o.losses.sort().values
                for key, o in probed.items()
            }
            equals = next((id for id, other in seen.items() if _alike(losses, other)), None)
            if equals is None:
                seen[intervention.id] = losses
            yield Row(intervention, outcomes, equals)


def _probe(group: FiniteGroup) -> Int[Tensor, "pairs 2"]:
    some = torch.arange(0, group.order, max(1, group.order // _PROBED))
    some = torch.cat([some, group.inverses[some]]).unique()
    return torch.cartesian_prod(some, some)


def _alike(one: Mapping[str, Tensor | None], two: Mapping[str, Tensor | None]) -> bool:
    """Whether two rows have equal losses for the network and every model that predicts both."""
    if one[NETWORK] is None or two[NETWORK] is None:
        return False
    pairs = [(mine, two[key]) for key, mine in one.items()]
    return all(
        mine is None or other is None or torch.allclose(mine, other, rtol=_ROUNDING, atol=1e-15)
        for mine, other in pairs
    )


def used_up(
    rows: Sequence[Row], candidates: Sequence[Candidate], used: frozenset[str]
) -> list[Row]:
    """Mark the candidates for which a row, or a row equal to it, is not evidence.

    Args:
        used: ids of interventions that the choice of claims has used, for all candidates.
    """
    by: dict[str, set[str]] = {}
    for row in rows:
        for candidate in candidates:
            if row.intervention.id in used or row.intervention.is_used_by(candidate.circuit):
                by.setdefault(row.shows, set()).add(candidate.key)
    return [replace(row, used_by=frozenset(by.get(row.shows, ()))) for row in rows]


def evidence(rows: Sequence[Row], *keys: str) -> Iterator[Row]:
    """The rows that all of these candidates predict and none has used; equal rows only once."""
    counted = set()
    for row in rows:
        speaks = all(row.outcomes.get(key) is not None for key in keys)
        if speaks and row.used_by.isdisjoint(keys) and row.shows not in counted:
            counted.add(row.shows)
            yield row


def log_loss(outcome: Outcome, thresholds: Thresholds) -> float:
    """log10 of the mean loss in nats, floored."""
    return math.log10(max(outcome.loss, thresholds.loss_floor))


def errors(
    row: Row, name: str, thresholds: Thresholds, reference: str = NETWORK
) -> tuple[float, float] | None:
    """|Δ log10 loss| and |Δ accuracy| between two models in a row; None if one is silent."""
    mine, other = row.outcomes.get(name), row.outcomes[reference]
    if mine is None or other is None:
        return None
    return (
        abs(log_loss(mine, thresholds) - log_loss(other, thresholds)),
        abs(mine.accuracy - other.accuracy),
    )


@dataclass(frozen=True)
class PredictionError:
    """The error of a surrogate's predictions, over the rows on which it is not silent.

    Attributes:
        rows: the number of these rows.
        median_log_loss, worst_log_loss: of |Δ log10 mean loss|, in decades.
        mean_accuracy, worst_accuracy: of |Δ accuracy|.
        same_answer, logit_r2: medians over rows of the per-input agreement.
    """

    rows: int
    median_log_loss: float
    worst_log_loss: float
    mean_accuracy: float
    worst_accuracy: float
    same_answer: float
    logit_r2: float


def prediction_error(rows: Sequence[Row], key: str, thresholds: Thresholds) -> PredictionError:
    """One surrogate's errors over all rows that are evidence for it; equal rows count once."""
    kept = [
        (row.outcomes[key], e)
        for row in evidence(rows, key)
        if (e := errors(row, key, thresholds)) is not None
    ]
    nan = float("nan")
    if not kept:
        return PredictionError(0, nan, nan, nan, nan, nan, nan)
    losses, accuracies = np.array([e for _, e in kept]).T
    outcomes = [outcome for outcome, _ in kept if outcome is not None]
    return PredictionError(
        rows=len(kept),
        median_log_loss=float(np.median(losses)),
        worst_log_loss=float(losses.max()),
        mean_accuracy=float(accuracies.mean()),
        worst_accuracy=float(accuracies.max()),
        same_answer=float(np.median([o.same_answer for o in outcomes])),
        # Undefined if the network's logits are constant.
        logit_r2=float(np.median([r for o in outcomes if not math.isnan(r := o.logit_r2)] or nan)),
    )


def misses(error: PredictionError, t: Thresholds) -> Iterator[str]:
    """The reasons why a surrogate predicts too badly to explain a network, one clause each."""
    if not error.median_log_loss <= t.prediction_log_loss:
        yield f"its median |Δlog10 loss| is {error.median_log_loss:.2f}"
    if not error.mean_accuracy <= t.prediction_accuracy:
        yield f"its mean |Δaccuracy| is {error.mean_accuracy:.2f}"
    if not error.logit_r2 >= t.prediction_r2:
        yield f"it accounts for {max(0.0, error.logit_r2):.0%} of the logits' variance"
