"""Which claims a hypothesis makes: the best of its forms on rows that are used up by the choice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int
from torch import Tensor

from coset_circuits.algorithms import Algorithm, Circuit
from coset_circuits.experiments.candidates import NETWORK
from coset_circuits.experiments.interventions import INTERVENTIONS
from coset_circuits.experiments.measure import DistinctModels, Known
from coset_circuits.experiments.rows import Row, errors
from coset_circuits.networks.model import GroupModel
from coset_circuits.thresholds import Thresholds

SELECTION = ("base", "abs", "noise_rel_0.5")
"""The interventions on which the forms of a hypothesis are compared. They are the network as it is,
its other activation, and noise, and were fixed before any result under this rule was seen. No
hypothesis is judged by them afterwards, nor by rows that show the same."""


LAST = "joint"
"""A form with this claim is fitted only where no other passes: its levels are fitted to the logits,
which takes the longest and leaves more to be described."""


@dataclass(frozen=True)
class FormError:
    """How far one form of a hypothesis is off on the selection rows.

    Attributes:
        hypothesis: the key of the candidate that it could have become.
        median_log_loss: median |Δlog10 loss| in decades.
        passes: whether it is near enough to explain a network, see the verdict's rule.
        bits: bits per neuron at the precision at which forms are compared.
    """

    hypothesis: str
    form: str
    median_log_loss: float
    passes: bool
    bits: float
    chosen: bool


@dataclass
class Forms:
    """Chooses the form of each hypothesis: the shortest that passes on the selection rows.

    Of equally short ones the nearest is chosen, and the nearest of all where none passes.
    """

    network: GroupModel
    pairs: Int[Tensor, "pairs 2"]
    seed: int
    thresholds: Thresholds
    relative_error: float
    known: Known

    def choose(
        self, key: str, forms: Sequence[Algorithm], fit: Callable[[Algorithm], Circuit]
    ) -> tuple[Circuit, list[FormError]]:
        """The chosen form of one hypothesis, and how far each form that was fitted is off.

        Raises:
            DoesNotApplyError: the hypothesis has nothing to use here.
        """
        later = [form for form in forms if LAST in getattr(form, "claims", ())]
        circuits = [fit(form) for form in forms if form not in later]
        measured = self._measured(key, circuits)
        if later and not any(error.passes for error in measured):
            more = [fit(form) for form in later]
            circuits, measured = circuits + more, measured + self._measured(key, more)
        best = min(range(len(circuits)), key=lambda i: _rank(measured[i], i))
        measured[best] = replace(measured[best], chosen=True)
        return circuits[best], measured

    def _measured(self, key: str, circuits: Sequence[Circuit]) -> list[FormError]:
        # Numbered, since a name may be any text.
        models = {str(i): circuit.surrogate() for i, circuit in enumerate(circuits)}
        distinct = DistinctModels({NETWORK: self.network, **models}, self.known)
        rows = [
            Row(INTERVENTIONS[id], distinct.measure(INTERVENTIONS[id], self.pairs, self.seed))
            for id in SELECTION
        ]
        found = []
        for name, circuit in zip(models, circuits, strict=True):
            error, passes = self._error(rows, name)
            bits = circuit.description_length(self.relative_error).bits_per_neuron
            found.append(FormError(key, circuit.name, error, passes, bits, chosen=False))
        return found

    def _error(self, rows: Sequence[Row], name: str) -> tuple[float, bool]:
        t = self.thresholds
        spoken = [(row, e) for row in rows if (e := errors(row, name, t)) is not None]
        if not spoken:
            return float("inf"), False
        losses, accuracies = np.array([e for _, e in spoken]).T
        outcomes = [row.outcomes[name] for row, _ in spoken]
        shares = [o.logit_r2 for o in outcomes if o is not None and o.logit_r2 == o.logit_r2]
        near = np.median(losses) <= t.prediction_log_loss
        near &= accuracies.mean() <= t.prediction_accuracy
        near &= bool(shares) and np.median(shares) >= t.prediction_r2
        return float(np.median(losses)), bool(near)


def _rank(error: FormError, place: int) -> tuple[float, ...]:
    """What is chosen first; of equals, the plainer one."""
    nearness = round(error.median_log_loss, 9)
    return (not error.passes, round(error.bits, 6) if error.passes else 0, nearness, place)
