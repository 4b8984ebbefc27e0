"""A comparison without its tensors: what findings.json holds, as objects."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from importlib import metadata
from typing import Any

from coset_circuits.comparison.fidelity import Fidelity
from coset_circuits.comparison.verdict import Verdict
from coset_circuits.errors import CosetCircuitsError
from coset_circuits.experiments import Candidate, PredictionError
from coset_circuits.findings import Finding, without_nan
from coset_circuits.thresholds import Thresholds

SCHEMA = 2


@dataclass(frozen=True)
class Figure:
    """A figure with its interval; None if it is not finite."""

    value: float | None
    interval: tuple[float | None, float | None]

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> Figure:
        low, high = entry["interval"]
        return cls(entry["value"], (low, high))


@dataclass(frozen=True)
class CircuitSummary:
    """The figures of a candidate, without its tensors.

    Attributes:
        key, kind, of, noun, claims: see :class:`Candidate`.
        roles: each role with its neuron count and median FVUs.
        bits: bits per neuron at each relative error δ of the thresholds.
        bits_at_fidelity: bits per neuron at the fidelity point, over its dithers.
        compression: bits of the raw weights over its bits, at each δ where lengths are compared.
        at: bits per neuron at each of these δ.
        used_rows: ids of the interventions that are not evidence for it.
        prediction: a :class:`PredictionError`; undefined figures are None.
    """

    key: str
    kind: str
    of: str | None
    noun: str
    claims: tuple[str, ...]
    roles: Sequence[Mapping[str, Any]]
    coverage: float
    bits: Mapping[float, float]
    bits_at_fidelity: Figure
    compression: Figure
    at: Mapping[float, float]
    silent: tuple[str, ...]
    used_rows: tuple[str, ...]
    prediction: Mapping[str, Any]

    @classmethod
    def of_candidate(
        cls,
        candidate: Candidate,
        error: PredictionError,
        used_rows: Sequence[str],
        fidelity: Fidelity,
        raw: Candidate,
        thresholds: Thresholds,
    ) -> CircuitSummary:
        """The summary of a candidate, without its circuit."""
        circuit = candidate.circuit
        return cls(
            key=candidate.key,
            kind=candidate.kind,
            of=candidate.of,
            noun=candidate.noun,
            claims=candidate.claims,
            roles=without_nan(circuit.roles.summary()),
            coverage=circuit.roles.coverage,
            bits={delta: candidate.bits[delta] for delta in thresholds.relative_errors},
            bits_at_fidelity=Figure(*fidelity.length(candidate.bits)),
            compression=Figure(*fidelity.ratio(raw.bits, candidate.bits)),
            at={delta: candidate.bits[delta] for delta in fidelity.deltas},
            silent=tuple(sorted(circuit.silent)),
            used_rows=tuple(sorted(used_rows)),
            prediction=without_nan(asdict(error)),
        )

    @property
    def error(self) -> float | None:
        """Median |Δlog10 loss| in decades; None if it predicts no row."""
        return self.prediction["median_log_loss"]

    def to_dict(self) -> dict[str, Any]:
        """As it stands in findings.json, where tuples are lists."""
        return {
            "algorithm": self.key,
            "kind": self.kind,
            "of": self.of,
            "noun": self.noun,
            "claims": self.claims,
            "roles": self.roles,
            "coverage": self.coverage,
            "bits_per_neuron": {f"{delta:g}": bits for delta, bits in self.bits.items()},
            "bits_at_fidelity": {**vars(self.bits_at_fidelity), "at": list(self.at.items())},
            "compression": vars(self.compression),
            "prediction": self.prediction,
            "silent": self.silent,
            "used_rows": self.used_rows,
        }

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> CircuitSummary:
        """The summary that :meth:`to_dict` wrote."""
        same = ("kind", "of", "noun", "roles", "coverage", "prediction")
        return cls(
            key=entry["algorithm"],
            bits={float(delta): bits for delta, bits in entry["bits_per_neuron"].items()},
            bits_at_fidelity=Figure.from_dict(entry["bits_at_fidelity"]),
            compression=Figure.from_dict(entry["compression"]),
            at=dict(map(tuple, entry["bits_at_fidelity"]["at"])),
            **{name: tuple(entry[name]) for name in ("claims", "silent", "used_rows")},
            **{name: entry[name] for name in same},
        )


@dataclass(frozen=True)
class Summary:
    """All findings on one network.

    Attributes:
        network: facts about it: its name, kind, group, order, width, accuracy, loss, source, …
        circuits: the hypotheses, their controls and the null models.
        experiments: title and notes of every experiment that was run, by its id.
        formation: how the neurons' structure formed; None without checkpoints from training.
    """

    network: Mapping[str, Any]
    fidelity: Fidelity
    circuits: tuple[CircuitSummary, ...]
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
        """The content of findings.json; ``schema`` is the version of its structure.

        Numbers that JSON cannot express, such as the R² of constant logits, are None.
        """
        return without_nan(
            {
                "schema": SCHEMA,
                **{field.name: getattr(self, field.name) for field in fields(self)},
                "fidelity": self.fidelity.to_dict(),
                "circuits": [circuit.to_dict() for circuit in self.circuits],
                "verdict": self.verdict.to_dict(),
                "findings": [finding.to_dict() for finding in self.findings],
            }
        )

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Summary:
        """The summary that :meth:`to_dict` wrote.

        Raises:
            CosetCircuitsError: it has another schema.
        """
        if (schema := content.get("schema")) != SCHEMA:
            raise CosetCircuitsError(
                f"These findings have schema {schema}, but this version reads {SCHEMA}; run "
                "coset-circuits compare again on the same network."
            )
        made = {
            "fidelity": Fidelity.from_dict(content["fidelity"]),
            "circuits": tuple(map(CircuitSummary.from_dict, content["circuits"])),
            "verdict": Verdict.from_dict(content["verdict"]),
            "findings": tuple(map(Finding.from_dict, content["findings"])),
            "notes": tuple(content["notes"]),
        }
        return cls(**{k: v for k, v in content.items() if k != "schema"} | made)


def versions() -> dict[str, str]:
    """The software versions that a result depends on."""
    names = ("coset-circuits", "torch", "transformer-lens", "numpy")
    return {"python": platform.python_version(), **{n: metadata.version(n) for n in names}}
