"""The neurons that no hypothesis explains well."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
import torch

from coset_circuits.algorithms import Circuit, Tables
from coset_circuits.algorithms.algorithm import salience
from coset_circuits.experiments.bench import Bench
from coset_circuits.findings import Finding, Findings

_ID = "unexplained"
_SOURCE = "salience: s.d. of the pre-activation times the norm of the unembedding row"


@dataclass(frozen=True, repr=False)
class Unexplained(Findings):
    """The most important neurons that no hypothesis explains.

    Attributes:
        neurons: one row per neuron, sorted by how much is unexplained: ``salience`` as a share of
            all neurons' salience, ``norm`` of its tables relative to the median neuron, and
            ``least``, the fraction of its three tables that the best hypothesis leaves unexplained.
            Only hypotheses shorter than every null model count (all if none is).
        rows: one row per neuron and candidate: its role, the unexplained fraction of the three
            tables, and the same on a relabelled group.
        left: the unexplained fraction of all neurons for each candidate, weighted by salience.
    """

    network: str
    neurons: pd.DataFrame
    rows: pd.DataFrame
    left: pd.DataFrame

    @property
    def title(self) -> str:
        return f"what no hypothesis explains in {self.network}"

    def to_dataframe(self) -> pd.DataFrame:
        return self.neurons.merge(self.rows, on=["rank", "neuron"])

    def findings(self) -> Iterator[Finding]:
        """Findings on the listed neurons, then on all; controls are on a relabelled group."""
        for row in self.neurons.to_dict("records"):
            at, more = {"rank": row["rank"]}, {"neuron": row["neuron"]}
            for name, unit in (("salience", "fraction"), ("norm", "ratio")):
                value = row[name]
                yield Finding(_ID, None, name, value, unit, at, source=_SOURCE, more=more)
        for row in self.rows.to_dict("records"):
            more = {"neuron": row["neuron"], "role": row["role"]}
            yield _of_hypothesis(row, "fvu", {"rank": row["rank"]}, more)
        for row in self.left.to_dict("records"):
            yield _of_hypothesis(row, "left", {}, {})


def _of_hypothesis(
    row: Mapping[Any, Any], quantity: str, at: Mapping[str, Any], more: Mapping[str, Any]
) -> Finding:
    found = Finding(
        _ID, row["hypothesis"], quantity, row[quantity], "fraction", at, source=_SOURCE, more=more
    )
    if row["relabelled"] is None:
        return found
    control = Finding(_ID, row["relabelled"], quantity, row["control"], "fraction", at)
    return replace(found, control=control)


@dataclass(frozen=True)
class UnexplainedExperiment:
    """The most important neurons that no hypothesis explains; see :class:`Unexplained`.

    Attributes:
        most: the number of neurons listed.
    """

    most: int = 5
    id = _ID
    decides = False
    by_default = False

    def run(self, bench: Bench) -> Unexplained | None:
        """None if no hypothesis applies."""
        bench.progress("neurons", 0, 1)
        if not bench.hypotheses:
            return None
        tables = Tables.of(bench.network)
        weight = salience(tables)
        weight = weight / weight.sum().clamp_min(1e-300)
        left = {c.key: _left(c.circuit) for c in bench.hypotheses}
        controls = {key: bench.control_of(key) for key in left}
        relabelled = {k: None if c is None else _left(c.circuit) for k, c in controls.items()}
        least = torch.stack([left[key] for key in _short(bench)]).amin(0)
        worst = (weight * least).argsort(descending=True)[: self.most].tolist()
        norm = torch.stack([(t - t.mean(0)).norm(dim=0) for t in tables]).norm(dim=0)
        neurons = [
            (i, j, float(weight[j]), float(norm[j] / norm.median()), float(least[j]))
            for i, j in enumerate(worst, 1)
        ]
        columns = ["hypothesis", "relabelled", "control"]
        rows, sums = [], []
        for candidate in bench.hypotheses:
            key, control = candidate.key, controls[candidate.key]
            beside, name = relabelled[key], None if control is None else control.key
            roles = candidate.circuit.roles.names
            for i, j in enumerate(worst, 1):
                chance = None if beside is None else float(beside[j])
                rows.append((i, j, roles[j], float(left[key][j]), key, name, chance))
            chance = None if beside is None else float((weight * beside).sum())
            sums.append((float((weight * left[key]).sum()), key, name, chance))
        return Unexplained(
            bench.network.label,
            pd.DataFrame(neurons, columns=["rank", "neuron", "salience", "norm", "least"]),
            pd.DataFrame(rows, columns=["rank", "neuron", "role", "fvu", *columns]),
            pd.DataFrame(sums, columns=["left", *columns]),
        )


def _short(bench: Bench) -> list[str]:
    """The hypotheses that are shorter than every null at the finest common δ."""
    delta = min(bench.thresholds.relative_errors)
    nulls = [c.bits[delta] for c in bench.candidates if c.kind == "null"]
    keys = [c.key for c in bench.hypotheses]
    return [c.key for c in bench.hypotheses if nulls and c.bits[delta] < min(nulls)] or keys


def _left(circuit: Circuit) -> torch.Tensor:
    """The FVU of each neuron, at most 1, averaged over its three tables."""
    roles = circuit.roles
    parts = torch.stack([roles.fvu_left, roles.fvu_right, roles.fvu_unembed])
    return parts.double().clamp(0, 1).mean(0)
