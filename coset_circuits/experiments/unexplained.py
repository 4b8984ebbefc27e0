"""What is left where hypotheses fail: the neurons of which none of them gives the tables."""

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
    """The neurons that count most of those that no hypothesis gives.

    Attributes:
        neurons: one row a neuron, that of which most is left first: ``salience`` as a share of all
            neurons', ``norm`` of its tables beside the median neuron's, and ``least``, the part of
            its three tables that the best hypothesis leaves, of those that are shorter than every
            null model (all where none is).
        rows: one row a neuron and candidate: its role, the part of the three tables that is left,
            and what the same hypothesis leaves on a relabelled group.
        left: for each candidate the part of all neurons that it leaves, weighted by salience.
    """

    network: str
    neurons: pd.DataFrame
    rows: pd.DataFrame
    left: pd.DataFrame

    @property
    def title(self) -> str:
        return f"what no hypothesis gives of {self.network}"

    def to_dataframe(self) -> pd.DataFrame:
        return self.neurons.merge(self.rows, on=["rank", "neuron"])

    def findings(self) -> Iterator[Finding]:
        """Of the listed neurons, then of all neurons; controls are on a relabelled group."""
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
    """The neurons that count most of those that no hypothesis gives; see :class:`Unexplained`.

    Attributes:
        most: how many neurons are listed.
    """

    most: int = 5
    id = _ID
    decides = False
    by_default = False

    def run(self, bench: Bench) -> Unexplained | None:
        """None where no hypothesis applies."""
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
    """The hypotheses that describe the network shorter than every null at the finest common δ."""
    delta = min(bench.thresholds.relative_errors)
    nulls = [c.bits[delta] for c in bench.candidates if c.kind == "null"]
    keys = [c.key for c in bench.hypotheses]
    return [c.key for c in bench.hypotheses if nulls and c.bits[delta] < min(nulls)] or keys


def _left(circuit: Circuit) -> torch.Tensor:
    """The mean over its three tables of what is left of each neuron's variance, at most 1."""
    roles = circuit.roles
    parts = torch.stack([roles.fvu_left, roles.fvu_right, roles.fvu_unembed])
    return parts.double().clamp(0, 1).mean(0)
