"""The fitted explanations that an experiment compares, each with a unique key."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from coset_circuits.algorithms import Circuit

NETWORK = "network"
"""The key of the network's outcome in a row; no candidate has this key."""

Kind = Literal["hypothesis", "control", "null"]


@dataclass(frozen=True)
class Candidate:
    """One fitted explanation in a comparison.

    Attributes:
        key: its unique key: the key of its hypothesis in the registry, or the name of its
            algorithm, with a number if that is taken.
        kind: a compared ``hypothesis``, its ``control`` on a relabelled group, or a ``null``.
        bits: bits per neuron at each relative error δ. All candidates of a bench divide by the same
            number of neurons.
        of: for a control, the key of its hypothesis.
    """

    key: str
    kind: Kind
    circuit: Circuit
    bits: Mapping[float, float]
    of: str | None = None

    @property
    def name(self) -> str:
        """Its name in tables: the key."""
        return self.key

    @property
    def noun(self) -> str:
        """Its name in sentences, such as ``coset circuits``."""
        return getattr(self.circuit.algorithm, "noun", self.key)

    @property
    def contains(self) -> tuple[str, ...]:
        """The keys of the hypotheses that this one generalises."""
        return tuple(getattr(self.circuit.algorithm, "contains", ()))

    @property
    def claims(self) -> tuple[str, ...]:
        """The additional claims of this form, such as ``even``."""
        return tuple(getattr(self.circuit.algorithm, "claims", ()))


def unused_key(name: str, taken: Collection[str]) -> str:
    """The name, with a number if it is taken; ``unnamed`` if it is empty."""
    name = name.strip() or "unnamed"
    key, number = name, 1
    while key in taken:
        number += 1
        key = f"{name} #{number}"
    return key
