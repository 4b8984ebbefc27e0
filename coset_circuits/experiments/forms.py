"""Which claims a hypothesis makes: the best of its forms on rows that are used up by the choice."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from jaxtyping import Int
from torch import Tensor

from coset_circuits.algorithms import Algorithm, Circuit
from coset_circuits.experiments.candidates import NETWORK
from coset_circuits.experiments.interventions import INTERVENTIONS
from coset_circuits.experiments.measure import DistinctModels
from coset_circuits.experiments.rows import Row, misses, prediction_error
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
        distinct = DistinctModels({NETWORK: self.network, **models})
        rows = [
            Row(INTERVENTIONS[id], distinct.measure(INTERVENTIONS[id], self.pairs, self.seed))
            for id in SELECTION
        ]
        found = []
        for name, circuit in zip(models, circuits, strict=True):
            error = prediction_error(rows, name, self.thresholds)
            passes = not any(misses(error, self.thresholds))
            bits = circuit.description_length(self.relative_error).bits_per_neuron
            nearness = error.median_log_loss if error.rows else math.inf
            found.append(FormError(key, circuit.name, nearness, passes, bits, chosen=False))
        return found


def _rank(error: FormError, place: int) -> tuple[float, ...]:
    """What is chosen first; of equals, the plainer one."""
    nearness = round(error.median_log_loss, 9)
    return (not error.passes, round(error.bits, 6) if error.passes else 0, nearness, place)
