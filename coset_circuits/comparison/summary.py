"""A comparison without its tensors: what findings.json holds, as objects."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib import metadata
from typing import Any

from coset_circuits.comparison.verdict import Verdict
from coset_circuits.experiments import Candidate, PredictionError
from coset_circuits.findings import Finding, without_nan

SCHEMA = 1
_PREDICTION = {
    "rows": "rows",
    "median_log_loss": "median_abs_delta_log10_loss",
    "worst_log_loss": "worst_abs_delta_log10_loss",
    "mean_accuracy": "mean_abs_delta_accuracy",
    "worst_accuracy": "worst_abs_delta_accuracy",
    "same_answer": "same_answer",
    "logit_r2": "logit_r2",
}


@dataclass(frozen=True)
class CircuitSummary:
    """What is kept of a candidate.

    Attributes:
        key, kind, of, hypothesis, claims: see :class:`Candidate`.
        roles: each role with its neuron count and median FVUs.
        bits: bits per neuron at each relative error δ.
        used_rows: ids of the interventions that are no evidence for it.
        prediction: figures that are not defined are None.
    """

    key: str
    kind: str
    of: str | None
    hypothesis: str
    claims: tuple[str, ...]
    roles: Sequence[Mapping[str, Any]]
    coverage: float
    bits: Mapping[float, float]
    silent: tuple[str, ...]
    used_rows: tuple[str, ...]
    prediction: Mapping[str, Any]

    @classmethod
    def of_candidate(
        cls, candidate: Candidate, error: PredictionError, used_rows: Sequence[str]
    ) -> CircuitSummary:
        """Without the circuit itself."""
        circuit = candidate.circuit
        return cls(
            key=candidate.key,
            kind=candidate.kind,
            of=candidate.of,
            hypothesis=candidate.hypothesis,
            claims=candidate.claims,
            roles=without_nan(circuit.roles.summary()),
            coverage=circuit.roles.coverage,
            bits=dict(candidate.bits),
            silent=tuple(sorted(circuit.silent)),
            used_rows=tuple(sorted(used_rows)),
            prediction=without_nan({_PREDICTION[k]: v for k, v in asdict(error).items()}),
        )

    @property
    def error(self) -> float | None:
        """Median |Δlog10 loss|; None where it is silent throughout."""
        return self.prediction["median_abs_delta_log10_loss"]

    def to_dict(self) -> dict[str, Any]:
        """As it stands in findings.json."""
        return {
            "algorithm": self.key,
            "kind": self.kind,
            "control_of": self.of,
            "hypothesis": self.hypothesis,
            "claims": list(self.claims),
            "roles": [dict(role) for role in self.roles],
            "coverage": self.coverage,
            "bits_per_neuron": {f"{delta:g}": bits for delta, bits in self.bits.items()},
            "silent": list(self.silent),
            "used_rows": list(self.used_rows),
            "prediction": dict(self.prediction),
        }

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> CircuitSummary:
        """The summary that :meth:`to_dict` wrote."""
        same = ("kind", "hypothesis", "roles", "coverage", "prediction")
        return cls(
            key=entry["algorithm"],
            of=entry["control_of"],
            bits={float(delta): bits for delta, bits in entry["bits_per_neuron"].items()},
            **{name: tuple(entry[name]) for name in ("claims", "silent", "used_rows")},
            **{name: entry[name] for name in same},
        )


@dataclass(frozen=True)
class Summary:
    """All findings on one network.

    Attributes:
        network: facts about it: its name, group, order, width, accuracy, loss, source, …
        circuits: the hypotheses, their controls and the nulls.
        experiments: title and notes of every experiment that was run, by its id.
        formation: how the neurons' structure came about; None without checkpoints over training.
    """

    network: Mapping[str, Any]
    circuits: tuple[CircuitSummary, ...]
    not_applicable: Mapping[str, str]
    verdict: Verdict
    thresholds: Mapping[str, Any]
    findings: tuple[Finding, ...]
    experiments: Mapping[str, Mapping[str, Any]]
    formation: Mapping[str, Any] | None
    notes: tuple[str, ...]
    versions: Mapping[str, str]
    seed: int
    device: str
    dtype: str

    @cached_property
    def by_key(self) -> dict[str, CircuitSummary]:
        """Every candidate's summary by its key."""
        return {circuit.key: circuit for circuit in self.circuits}

    @property
    def hypotheses(self) -> list[str]:
        """The keys of the compared hypotheses."""
        return [circuit.key for circuit in self.circuits if circuit.kind == "hypothesis"]

    def to_dict(self) -> dict[str, Any]:
        """The content of findings.json; its shape is versioned by ``schema``.

        Numbers that JSON has no word for, such as the R² of constant logits, are None.
        """
        return without_nan(
            {
                "schema": SCHEMA,
                **vars_without_cache(self),
                "circuits": [circuit.to_dict() for circuit in self.circuits],
                "verdict": self.verdict.to_dict(),
                "findings": [finding.to_dict() for finding in self.findings],
                "notes": list(self.notes),
            }
        )

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Summary:
        """The summary that :meth:`to_dict` wrote."""
        made = {
            "circuits": tuple(map(CircuitSummary.from_dict, content["circuits"])),
            "verdict": Verdict.from_dict(content["verdict"]),
            "findings": tuple(map(Finding.from_dict, content["findings"])),
            "notes": tuple(content["notes"]),
        }
        return cls(**{k: v for k, v in content.items() if k != "schema"} | made)


def vars_without_cache(summary: Summary) -> dict[str, Any]:
    """The fields of a summary, in order."""
    return {name: getattr(summary, name) for name in Summary.__dataclass_fields__}


def versions() -> dict[str, str]:
    """The versions that a result depends on."""
    names = ("coset-circuits", "torch", "transformer-lens", "numpy")
    return {"python": platform.python_version(), **{n: metadata.version(n) for n in names}}
