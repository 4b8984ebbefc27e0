"""The fitted explanations that an experiment compares, each under a key of its own."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from coset_circuits.algorithms import Circuit

NETWORK = "network"
"""The key under which a row holds what the network itself answers; no candidate has it."""

Kind = Literal["hypothesis", "control", "null"]


@dataclass(frozen=True)
class Candidate:
    """One fitted explanation in a comparison.

    Attributes:
        key: what everything keeps and calls it by: the key of its hypothesis in the registry, or
            the name of its algorithm, numbered where that is taken. No other candidate has it, nor
            has the network.
        kind: a compared ``hypothesis``, a relabelled-group ``control`` of one, or a ``null``.
        bits: bits per neuron at each relative error δ; all candidates of a bench divide by the same
            number of neurons.
        of: for a control, the key of the hypothesis it controls.
    """

    key: str
    kind: Kind
    circuit: Circuit
    bits: Mapping[float, float]
    of: str | None = None

    @property
    def name(self) -> str:
        """What tables call it: the key."""
        return self.key

    @property
    def noun(self) -> str:
        """What sentences call it, such as ``coset circuits``."""
        return getattr(self.circuit.algorithm, "noun", self.key)

    @property
    def contains(self) -> tuple[str, ...]:
        """The keys of hypotheses that this one is a generalisation of."""
        return tuple(getattr(self.circuit.algorithm, "contains", ()))

    @property
    def claims(self) -> tuple[str, ...]:
        """The further claims of this form, such as ``even``."""
        return tuple(getattr(self.circuit.algorithm, "claims", ()))

    @classmethod
    def of_circuit(
        cls,
        circuit: Circuit,
        kind: Kind,
        key: str,
        deltas: Collection[float],
        neurons: int,
        of: str | None = None,
    ) -> Candidate:
        """A candidate with its description lengths at these relative errors."""
        bits = {delta: circuit.description_length(delta).bits / neurons for delta in deltas}
        return cls(key, kind, circuit, bits, of)


def unused_key(name: str, taken: Collection[str]) -> str:
    """The name, numbered where that is taken; ``unnamed`` where there is none."""
    name = name.strip() or "unnamed"
    key, number = name, 1
    while key in taken:
        number += 1
        key = f"{name} #{number}"
    return key
