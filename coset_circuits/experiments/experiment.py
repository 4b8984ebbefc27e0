"""The contract of an experiment: it takes a bench and returns findings."""

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
    """A measurement on a network and the hypotheses fitted to it.

    Attributes:
        id: its name in commands and findings: lower case, words joined by underscores.
        decides: whether the verdict depends on it.
        by_default: whether every comparison runs it.
    """

    @property
    def id(self) -> str: ...

    @property
    def decides(self) -> bool: ...

    @property
    def by_default(self) -> bool: ...

    def run(self, bench: Bench) -> Findings | None:
        """Measure; None if it does not apply to this network.

        Raises:
            CosetCircuitsError: it cannot be done on this network; the message says why.
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
            CosetCircuitsError: it cannot be done on this circuit; the message says why.
        """

    def run(self, bench: Bench) -> FindingsBySubject:
        """Measure every hypothesis; a hypothesis that fails is listed with the reason."""
        parts, missing = {}, {}
        steps = Steps(bench.progress, 100 * len(bench.hypotheses))
        for candidate in bench.hypotheses:
            bench.progress = steps.part(100, candidate.name)
            try:
                parts[candidate.key] = self.of(candidate.circuit, bench)
            except CosetCircuitsError as error:
                missing[candidate.key] = str(error)
        return FindingsBySubject(self.id, parts, missing)
