"""What a comparison is made of: fitted explanations, and rows of what they answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from coset_circuits.algorithms import Circuit
from coset_circuits.experiments.interventions import Intervention
from coset_circuits.experiments.measure import Outcome

NETWORK = "network"
"""The name under which a row holds what the network itself answers."""

Kind = Literal["hypothesis", "control", "null"]


@dataclass(frozen=True)
class Candidate:
    """One fitted explanation in a comparison.

    Attributes:
        kind: a compared ``hypothesis``, a relabelled-group ``control`` of one, or a ``null``.
        of: for a control, the name of the hypothesis it controls.
        bits: bits per neuron at each relative error δ.
    """

    name: str
    kind: Kind
    circuit: Circuit
    bits: Mapping[float, float]
    of: str | None = None


@dataclass(frozen=True)
class Row:
    """One intervention, and what network and surrogates answer under it (None: silent)."""

    intervention: Intervention
    outcomes: Mapping[str, Outcome | None]
