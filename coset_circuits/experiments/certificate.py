"""Prove accuracy from each hypothesis; see :mod:`coset_circuits.algorithms.certificate`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import pandas as pd

from coset_circuits.algorithms import ALGORITHMS, Certificate, Circuit, certify
from coset_circuits.errors import CosetCircuitsError
from coset_circuits.experiments.bench import Bench, at, measured
from coset_circuits.experiments.experiment import OfEachHypothesis
from coset_circuits.findings import Finding, Findings, FindingsBySubject
from coset_circuits.networks.model import GroupModel
from coset_circuits.progress import Progress, Steps
from coset_circuits.thresholds import DEFAULT


@dataclass(frozen=True, repr=False)
class Certified(Findings):
    """The bounds proved from one hypothesis, from an SVD of the same ranks, and its control.

    Attributes:
        relabelled: the bound under a relabelled group; None if there is no such control.
        roles: the roles of the network's neurons under the hypothesis.
    """

    certificate: Certificate
    relabelled: Certificate | None
    budget: float
    roles: tuple[str, ...]
    title: ClassVar[str] = "accuracy proved within a budget of operations"

    @property
    def uncertain(self) -> str:
        """The role whose neurons cause most of the uncertainty, and their share of it."""
        shares = dict.fromkeys(self.roles, 0.0)
        for role, share in zip(self.roles, self.certificate.neurons.tolist(), strict=True):
            shares[role] += share
        role = max(shares, key=shares.__getitem__)
        return f"{role} ({shares[role]:.0%})"

    def _rows(self) -> Iterator[tuple[str, Certificate]]:
        yield "hypothesis", self.certificate
        if self.certificate.control is not None:
            yield self.certificate.control.algorithm, self.certificate.control
        if self.relabelled is not None:
            yield "relabelled group", self.relabelled

    def to_dataframe(self) -> pd.DataFrame:
        """One row for the hypothesis and each control; operations are shares of brute force's."""
        rows = [
            {
                "proved from": what,
                "certified": proof.bound,
                "operations": proof.flops / proof.brute_force_flops,
                "operations for 95%": _share(proof),
                "seconds": proof.seconds,
                "by": proof.proof,
                "most operations in": next(iter(proof.lost), "–"),
            }
            for what, proof in self._rows()
        ]
        return pd.DataFrame(rows)

    @property
    def notes(self) -> tuple[str, ...]:
        return (
            f"certified: a proved lower bound on accuracy over all pairs within {self.budget:g} of "
            "brute force's 2·width·order³ operations. Running every pair without multiplying zeros "
            "needs about half of these.",
        )

    def findings(self) -> Iterator[Finding]:
        """The truncated SVD is the control; the relabelled group has ``control`` in ``at``."""

        def finding(quantity: str, one: Certificate, **at: str) -> Finding:
            value = one.bound if quantity == "certified" else _share(one)
            more = {"budget": self.budget, "accuracy": one.accuracy, "proof": one.proof}
            return Finding("certificate", None, quantity, value, "fraction", at=at, more=more)

        beside, source = self.certificate.control, "proved: coset_circuits.certify"
        for quantity in ("certified", "operations_for_95"):
            control = None if beside is None else finding(quantity, beside)
            yield replace(finding(quantity, self.certificate), control=control, source=source)
            if self.relabelled is not None:
                yield finding(quantity, self.relabelled, control="relabelled group")


def _share(proof: Certificate) -> float:
    """Operations that prove 95%, as a share of brute force's; NaN if none do."""
    needed = proof.flops_for_95
    return float("nan") if needed is None else needed / proof.brute_force_flops


@dataclass(frozen=True)
class CertificateExperiment(OfEachHypothesis):
    """Prove a lower bound on accuracy from each hypothesis.

    Attributes:
        budget: operations as a share of brute force's.
    """

    budget: float = 0.25

    id = "certificate"

    def of(self, circuit: Circuit, bench: Bench) -> Certified:
        """Prove a bound from the circuit, and from the same fit under a relabelled group."""
        bench.progress("certificate", 0, 2)
        proof = certify(circuit, self.budget)
        bench.progress("relabelled group", 1, 2)
        other = bench.relabelled(circuit)
        relabelled = None if isinstance(other, str) else certify(other, self.budget, control=False)
        return Certified(proof, relabelled, self.budget, circuit.roles.names)


def certificates(
    network: GroupModel,
    hypotheses: Sequence[str],
    budget: float = 0.25,
    progress: Progress | None = None,
) -> FindingsBySubject:
    """Prove certificates from the plain form of registered hypotheses, fitted at ``coding_error``.

    Hypotheses that do not apply, or from which nothing can be proved, are listed with the reason.

    Raises:
        CosetCircuitsError: nothing can be proved from any of them; the message says why.
    """
    network = measured(network)
    parts, missing = {}, {}
    steps = Steps(progress, 100 * len(hypotheses))
    for key in hypotheses:
        step = steps.part(100, key)
        try:
            circuit = at(ALGORITHMS[key][0], DEFAULT.coding_error).fit(network)
            bench = Bench.around(circuit, progress=step)
            parts[key] = CertificateExperiment(budget).of(circuit, bench)
        except CosetCircuitsError as error:
            missing[key] = str(error)
    if not parts:
        raise CosetCircuitsError(" ".join(dict.fromkeys(missing.values())))
    return FindingsBySubject("certificate", parts, missing)
