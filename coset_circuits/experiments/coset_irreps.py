"""Whether what neurons read on cosets is in one irrep."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from coset_circuits.algorithms import Tables
from coset_circuits.algorithms.algorithm import NEGLIGIBLE, UNEXPLAINED
from coset_circuits.experiments.bench import Bench
from coset_circuits.experiments.formation import cells_of_inputs
from coset_circuits.findings import Finding, Findings
from coset_circuits.groups import FiniteGroup
from coset_circuits.groups.fourier import power

_ID = "coset_irreps"
ONE_IRREP = 0.95
"""A table is in one irrep if this share of its variance does."""


@dataclass(frozen=True, repr=False)
class CosetIrreps(Findings):
    """The share of each neuron's input tables that is in a single irrep, by role.

    The functions on the cosets of a subgroup split into irreps. Where there is more than the
    trivial one and one other, a neuron can read cosets without being in one irrep.

    Attributes:
        rows: one row per role: the number of neurons; ``irreps``, how many the functions on its
            cells hold besides the trivial one; ``one_irrep``, the number of neurons of which both
            tables are in one; ``largest``, the median over neurons of the largest irrep's share;
            ``random``, the same of random levels on the same cells.
    """

    network: str
    algorithm: str
    rows: pd.DataFrame

    @property
    def title(self) -> str:
        return f"irreps of what {self.algorithm} reads in {self.network}"

    def to_dataframe(self) -> pd.DataFrame:
        return self.rows

    def findings(self) -> Iterator[Finding]:
        """The median share of the largest irrep for each role; random levels are the control."""
        for row in self.rows.to_dict("records"):
            at, unit = {"role": row["role"]}, "fraction"
            random = Finding(_ID, self.algorithm, "largest", row["random"], unit, at)
            more = {name: row[name] for name in ("neurons", "irreps", "one_irrep")}
            source = "the smaller share of the two input tables"
            yield Finding(
                _ID, self.algorithm, "largest", row["largest"], unit, at,
                control=random, source=source, more=more,
            )  # fmt: skip


@dataclass(frozen=True)
class CosetIrrepsExperiment:
    """The irreps of what is read on cells; see :class:`CosetIrreps`.

    It uses the first hypothesis whose cells leave the inputs some freedom.
    """

    id = _ID
    decides = False
    by_default = False

    def run(self, bench: Bench) -> CosetIrreps | None:
        """None if no hypothesis has such cells."""
        bench.progress("roles", 0, 1)
        chosen = cells_of_inputs(bench.hypotheses, bench.thresholds)
        if chosen is None:
            return None
        candidate, *labels = chosen
        group, names = bench.network.group, candidate.circuit.roles.names
        tables = Tables.of(bench.network)
        generator = torch.Generator().manual_seed(bench.seed)
        own, chance, irreps = [], [], []
        for table, cells in zip((tables.left, tables.right), labels, strict=True):
            levels = torch.randn(table.shape, generator=generator, dtype=torch.float64)
            shares = irrep_shares(group, levels.gather(0, cells))
            own.append(irrep_shares(group, table).amax(0))
            chance.append(shares.amax(0))
            irreps.append((shares > 1e-9).sum(0))
        largest, random = (torch.stack(sides).amin(0).tolist() for sides in (own, chance))
        frame = pd.DataFrame(
            {"role": names, "largest": largest, "random": random, "irreps": irreps[0].tolist()}
        )
        frame["one_irrep"] = frame["largest"] >= ONE_IRREP
        kept = frame[~frame["role"].isin([UNEXPLAINED, NEGLIGIBLE])].groupby("role")
        rows = kept.agg(
            neurons=("role", "size"),
            irreps=("irreps", "max"),
            one_irrep=("one_irrep", "sum"),
            largest=("largest", "median"),
            random=("random", "median"),
        )
        return CosetIrreps(bench.network.label, candidate.key, rows.reset_index())


def irrep_shares(
    group: FiniteGroup, functions: Float[Tensor, "order some"]
) -> Float[Tensor, "blocks some"]:
    """The share of each function's variance in each real block."""
    centred = functions - functions.mean(0)
    return power(group, centred) / centred.square().sum(0).clamp_min(1e-300)
