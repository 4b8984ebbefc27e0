"""Which claims a hypothesis makes: the best of its forms on rows that are used up by the choice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int
from torch import Tensor

from coset_circuits.algorithms import Circuit
from coset_circuits.experiments.candidates import NETWORK
from coset_circuits.experiments.interventions import INTERVENTIONS
from coset_circuits.experiments.measure import DistinctModels
from coset_circuits.experiments.rows import Row, errors
from coset_circuits.networks.model import GroupModel
from coset_circuits.thresholds import Thresholds

SELECTION = ("base", "abs", "noise_rel_0.5")
"""The interventions on which the forms of a hypothesis are compared. They are the network as it is,
its other activation, and noise, and were fixed before any result under this rule was seen. No
hypothesis is judged by them afterwards, nor by rows that show the same."""


@dataclass(frozen=True)
class FormError:
    """How far one form of a hypothesis is off on the selection rows.

    Attributes:
        hypothesis: the key of the candidate that it could have become.
        median_log_loss: median |Δlog10 loss| in decades.
    """

    hypothesis: str
    form: str
    median_log_loss: float
    chosen: bool


def choose_forms(
    network: GroupModel,
    forms: Mapping[str, Sequence[Circuit]],
    pairs: Int[Tensor, "pairs 2"],
    seed: int,
    thresholds: Thresholds,
) -> tuple[dict[str, Circuit], list[FormError]]:
    """The form of each hypothesis with the smallest median error; of equals, the plainer one."""
    fitted = [(key, circuit) for key, circuits in forms.items() for circuit in circuits]
    # Numbered, since a name may be any text.
    numbered = {str(i): circuit.surrogate() for i, (_, circuit) in enumerate(fitted)}
    models = DistinctModels({NETWORK: network, **numbered})
    rows = [
        Row(INTERVENTIONS[id], models.measure(INTERVENTIONS[id], pairs, seed)) for id in SELECTION
    ]
    medians = [_median(rows, name, thresholds) for name in numbered]
    chosen, reported = {}, []
    for key in forms:
        mine = [i for i, (other, _) in enumerate(fitted) if other == key]
        best = min(mine, key=lambda i: (round(medians[i], 9), i))
        chosen[key] = fitted[best][1]
        reported += [FormError(key, fitted[i][1].name, medians[i], i == best) for i in mine]
    return chosen, reported


def _median(rows: Sequence[Row], name: str, thresholds: Thresholds) -> float:
    found = [e[0] for row in rows if (e := errors(row, name, thresholds)) is not None]
    return float(np.median(found)) if found else float("inf")
