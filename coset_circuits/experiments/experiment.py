"""The contract of an experiment: a bench goes in, findings come out."""

from __future__ import annotations

from abc import abstractmethod
from typing import Protocol, runtime_checkable

from coset_circuits.algorithms import Circuit
from coset_circuits.errors import CosetCircuitsError
from coset_circuits.experiments.bench import Bench
from coset_circuits.findings import Findings, FindingsBySubject
from coset_circuits.progress import Steps


@runtime_checkable
class Experiment(Protocol):
    """Something that is measured on a network and the hypotheses fitted to it.

    Attributes:
        id: its name in commands and findings: lower case, words joined by underscores.
        decides: whether the verdict reads it.
        by_default: whether a comparison runs it unasked.
    """

    @property
    def id(self) -> str: ...

    @property
    def decides(self) -> bool: ...

    @property
    def by_default(self) -> bool: ...

    def run(self, bench: Bench) -> Findings | None:
        """Measure; None where it has nothing to say about this network.

        Raises:
            CosetCircuitsError: it cannot be done on this network; the sentence says why.
        """
        ...


class OfEachHypothesis:
    """An experiment on one circuit at a time, run on every hypothesis of a bench."""

    id: str
    decides = False
    by_default = False

    @abstractmethod
    def of(self, circuit: Circuit, bench: Bench) -> Findings:
        """Measure one circuit.

        Raises:
            CosetCircuitsError: it cannot be done on this circuit; the sentence says why.
        """

    def run(self, bench: Bench) -> FindingsBySubject:
        """Every hypothesis in turn; one on which it cannot be done is listed with the reason."""
        parts, missing = {}, {}
        steps = Steps(bench.progress, 100 * len(bench.hypotheses))
        for candidate in bench.hypotheses:
            bench.progress = steps.part(100, candidate.name)
            try:
                parts[candidate.key] = self.of(candidate.circuit, bench)
            except CosetCircuitsError as error:
                missing[candidate.key] = str(error)
        return FindingsBySubject(self.id, parts, missing)
