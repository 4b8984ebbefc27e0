"""The neurons that no hypothesis explains well."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from coset_circuits.algorithms import Circuit, Tables, negligible
from coset_circuits.algorithms.algorithm import fitted_frame, salience
from coset_circuits.algorithms.coset import coset_fvus
from coset_circuits.experiments.bench import Bench
from coset_circuits.experiments.candidates import Candidate
from coset_circuits.experiments.coset_irreps import irrep_shares
from coset_circuits.findings import Finding, Findings
from coset_circuits.groups import FiniteGroup
from coset_circuits.networks.model import GroupModel

_ID = "unexplained"
LEFT = 0.1
"""A neuron is unexplained if every short hypothesis leaves more than this of its tables."""
ROUGHLY = 0.25
"""What a rough description of both input tables may leave of their variance."""
SMALL = 0.5
"""A small neuron's tables have at most this share of the median neuron's norm."""
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
        kinds: what the unexplained neurons are, the first of :data:`KINDS` that fits, with the
            number of neurons, their share of the salience, and the number that the same rules give
            on a relabelled group.
    """

    network: str
    neurons: pd.DataFrame
    rows: pd.DataFrame
    left: pd.DataFrame
    kinds: pd.DataFrame

    @property
    def title(self) -> str:
        return f"what no hypothesis explains in {self.network}"

    def to_dataframe(self) -> pd.DataFrame:
        return self.neurons.merge(self.rows, on=["rank", "neuron"])

    def tables(self) -> dict[str, pd.DataFrame]:
        return {
            "The neurons that count most": self.to_dataframe(),
            f"All neurons of which more than {LEFT:g} is unexplained": self.kinds,
        }

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
        for row in self.kinds.to_dict("records"):
            at, control = {"what": row["what"]}, None
            if row["relabelled"] is not None:
                control = Finding(_ID, None, "neurons", row["relabelled"], "count", at)
            more = {"salience": row["salience"]}
            yield Finding(
                _ID, None, "neurons", row["neurons"], "count", at, None, control, more=more
            )


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
        # Those that are shorter than every null at the finest common δ.
        delta = min(bench.thresholds.relative_errors)
        null = min((c.bits[delta] for c in bench.candidates if c.kind == "null"), default=0.0)
        short = [c for c in bench.hypotheses if c.bits[delta] < null] or bench.hypotheses
        least = torch.stack([left[c.key] for c in short]).amin(0)
        kept = torch.from_numpy(~negligible(tables, bench.thresholds))
        unexplained = ((least > LEFT) & kept).nonzero().flatten()
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
            _kinds(bench, short, unexplained, weight),
        )


def _left(circuit: Circuit) -> torch.Tensor:
    """The FVU of each neuron, at most 1, averaged over its three tables."""
    roles = circuit.roles
    parts = torch.stack([roles.fvu_left, roles.fvu_right, roles.fvu_unembed])
    return parts.double().clamp(0, 1).mean(0)


KINDS = (
    "small",
    "inputs explained, unembedding not",
    "roughly on cosets",
    "roughly in one irrep",
    "roughly in two irreps",
    "spread over irreps",
)
"""What an unexplained neuron may be, in the order in which it is asked."""


def _kinds(
    bench: Bench, short: Sequence[Candidate], neurons: Int[Tensor, "some"], weight: Tensor
) -> pd.DataFrame:
    """How many neurons are of each of the :data:`KINDS`, also on a relabelled group."""
    found = _what(bench.network, None, neurons, [c.circuit for c in short])
    relabelled, beside = bench.relabelled_group, None
    if relabelled is not None:
        controls = [bench.control_of(c.key) for c in short]
        circuits = [c.circuit for c in controls if c is not None]
        beside = _what(bench.network, relabelled, neurons, circuits)
    salience: dict[str, float] = dict.fromkeys(KINDS, 0.0)
    for what, share in zip(found, weight[neurons].tolist(), strict=True):
        salience[what] += share
    rows = [
        (kind, found.count(kind), salience[kind], None if beside is None else beside.count(kind))
        for kind in KINDS
    ]
    return pd.DataFrame(rows, columns=["what", "neurons", "salience", "relabelled"], dtype=object)


def _what(
    network: GroupModel,
    group: FiniteGroup | None,
    neurons: Int[Tensor, "some"],
    circuits: Sequence[Circuit],
) -> list[str]:
    """What each of the neurons is; see :data:`KINDS`."""
    base, frame = fitted_frame(network, group)
    tables = Tables.of(network, frame)
    norm = torch.stack([(t - t.mean(0)).norm(dim=0) for t in tables]).norm(dim=0)
    sides = [table[:, neurons] for table in (tables.left, tables.right)]
    shares = [irrep_shares(base, side) for side in sides]
    worse = [c.roles.fvu_left.maximum(c.roles.fvu_right).double() for c in circuits]
    inputs = torch.stack(worse).amin(0) <= LEFT
    # The smaller of a block's shares in the two tables.
    largest = shares[0].minimum(shares[1]).sort(0, descending=True).values
    fits = torch.stack(
        [
            norm[neurons] <= SMALL * norm.median(),
            inputs[neurons],
            _off_cosets(base, *sides) <= ROUGHLY,
            largest[:1].sum(0) >= 1 - ROUGHLY,
            largest[:2].sum(0) >= 1 - ROUGHLY,
            torch.ones(len(neurons), dtype=torch.bool),
        ]
    )
    return [KINDS[i] for i in fits.long().argmax(0).tolist()]


def _off_cosets(
    group: FiniteGroup, left: Float[Tensor, "order some"], right: Float[Tensor, "order some"]
) -> Float[Tensor, "some"]:
    """What the best class of proper non-trivial subgroups leaves of the worse of two tables."""
    best = torch.ones(left.shape[1], dtype=torch.float64)
    for one in group.subgroup_classes:
        if 1 < one.order < group.order:
            of_left = coset_fvus(group, one.conjugates, left, "right").amin(0)
            of_right = coset_fvus(group, one.conjugates, right, "left").amin(0)
            best = best.minimum(of_left.maximum(of_right))
    return best
