"""Choose a hypothesis's claims: its best form on rows that are then not evidence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, is_dataclass, replace
from typing import Any

from jaxtyping import Int
from torch import Tensor

from coset_circuits.algorithms import Algorithm, Circuit
from coset_circuits.experiments.candidates import NETWORK
from coset_circuits.experiments.interventions import INTERVENTIONS
from coset_circuits.experiments.measure import DistinctModels, Known, References
from coset_circuits.experiments.rows import Row, misses, prediction_error
from coset_circuits.findings import Finding
from coset_circuits.networks.model import GroupModel
from coset_circuits.thresholds import Thresholds

SELECTION = ("base", "abs", "noise_rel_0.5")
"""The interventions on which the forms of a hypothesis are compared: the unchanged network, another
activation, and noise. They were fixed before any result under this rule was seen. No hypothesis is
judged by them afterwards, nor by rows with the same outcome."""


LAST = "joint"
"""A form with this claim is fitted only if no other passes. Its levels are fitted to the logits,
which takes longest and leaves a longer residual."""

FINER = (1, 2, 4)
"""Structure is chosen by bits at the precision of the comparison divided by each of these, until a
form is as accurate as the network itself at that precision. The shortest structure at a coarse
precision may leave out something that the network needs when there is no residual. Lengths are
still compared at one precision."""


@dataclass(frozen=True)
class FormError:
    """The error of one form of a hypothesis on the selection rows.

    Attributes:
        hypothesis: the key of its hypothesis's candidate.
        median_log_loss: median |Δlog10 loss| in decades.
        passes: whether it is accurate enough to explain a network; see the verdict's rule.
        bits: bits per neuron at the precision at which forms are compared.
        chosen_at: the precision at which its structure was chosen; None if it has no such choice.
    """

    hypothesis: str
    form: str
    median_log_loss: float
    passes: bool
    bits: float
    chosen_at: float | None
    chosen: bool = False

    def finding(self) -> Finding:
        """As it stands in findings.json."""
        quantity, more = "median_log_loss", ("chosen", "passes", "bits", "chosen_at")
        found = Finding("forms", self.hypothesis, quantity, self.median_log_loss, "decades")
        return replace(
            found,
            at={"form": self.form},
            source=f"computed: rows {', '.join(SELECTION)}, used up by the choice",
            more={name: getattr(self, name) for name in more},
        )


@dataclass
class Forms:
    """Chooses the form of each hypothesis among those that pass on the selection rows.

    The most accurate of those that need at most one free number a neuron more than the shortest is
    chosen. If none passes, it is the most accurate of all forms.
    """

    network: GroupModel
    pairs: Int[Tensor, "pairs 2"]
    seed: int
    thresholds: Thresholds
    relative_error: float | None
    known: Known
    _references: References = field(default_factory=dict, repr=False)

    def choose(self, key: str, forms: Sequence[Algorithm]) -> tuple[Circuit, list[FormError]]:
        """The chosen form of one hypothesis, and the error of each fitted form.

        Raises:
            DoesNotApplyError: the hypothesis does not apply here.
        """
        later = [form for form in forms if LAST in getattr(form, "claims", ())]
        plain = [form for form in forms if form not in later]
        found: list[tuple[Circuit, FormError]] = []
        t = self.thresholds
        for divisor in FINER:
            delta = None if self.relative_error is None else self.relative_error / divisor
            tried = plain if divisor == 1 else [f for f in plain if at(f, delta) is not f]
            if not tried:
                break
            found += self._measured(key, tried, delta)
            if any(e.passes and e.median_log_loss <= t.fidelity_log_loss for _, e in found):
                break
        if not any(error.passes for _, error in found):
            found += self._measured(key, later, self.relative_error)
        best = self._best([error for _, error in found])
        circuit, error = found[best]
        found[best] = circuit, replace(error, chosen=True)
        return circuit, [error for _, error in found]

    def _best(self, errors: Sequence[FormError]) -> int:
        passing = [error.bits for error in errors if error.passes]
        longest = min(passing, default=math.inf) + math.log2(1 / self._coded_at)

        def rank(i: int) -> tuple[bool, float, float, int]:
            error = errors[i]
            eligible = error.passes and error.bits <= longest
            return (not eligible, round(error.median_log_loss, 9), round(error.bits, 6), i)

        return min(range(len(errors)), key=rank)

    @property
    def _coded_at(self) -> float:
        return self.relative_error or self.thresholds.coding_error

    def _measured(
        self, key: str, forms: Sequence[Algorithm], delta: float | None
    ) -> list[tuple[Circuit, FormError]]:
        ready = [at(form, delta) for form in forms]
        circuits = [form.fit(self.network) for form in ready]
        # Numbered, because a name may be any text.
        models = {str(i): circuit.surrogate() for i, circuit in enumerate(circuits)}
        distinct = DistinctModels({NETWORK: self.network, **models}, self.known, self._references)
        rows = [
            Row(INTERVENTIONS[id], distinct.measure(INTERVENTIONS[id], self.pairs, self.seed))
            for id in SELECTION
        ]
        found = []
        for name, form, set_up, circuit in zip(models, forms, ready, circuits, strict=True):
            error = prediction_error(rows, name, self.thresholds)
            passes = not any(misses(error, self.thresholds))
            bits = circuit.description_length(self._coded_at).bits_per_neuron
            nearness = error.median_log_loss if error.rows else math.inf
            chosen_at = None if set_up is form else delta
            found.append((circuit, FormError(key, circuit.name, nearness, passes, bits, chosen_at)))
        return found


def at(algorithm: Algorithm, relative_error: float | None) -> Algorithm:
    """The algorithm, set to choose structure at this precision if it can and has none given."""
    open_to = is_dataclass(algorithm) and getattr(algorithm, "relative_error", 0.0) is None
    if relative_error is None or not open_to:
        return algorithm
    given: Any = algorithm
    return replace(given, relative_error=relative_error)
