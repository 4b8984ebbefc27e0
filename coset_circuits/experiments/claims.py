"""Attribute a hypothesis's error to its claims: apply one claim, keep the rest of the network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd
import torch

from coset_circuits.experiments.bench import Bench
from coset_circuits.experiments.candidates import NETWORK
from coset_circuits.experiments.interventions import INTERVENTIONS
from coset_circuits.experiments.measure import DistinctModels
from coset_circuits.experiments.rows import Row, errors
from coset_circuits.findings import Finding, Findings
from coset_circuits.networks.model import GroupModel

ROWS = ("base", "abs", "noise_0_1", "scale_left_2")


@dataclass(frozen=True, repr=False)
class ClaimErrors(Findings):
    """The errors of single claims.

    Attributes:
        rows: one row per claim: the key of the candidate (``algorithm``) that makes the ``claim``,
            and the error that it causes alone, the median |Δlog10 loss| (decades) over a few rows.
    """

    network: str
    rows: pd.DataFrame

    @property
    def title(self) -> str:
        return f"single claims in {self.network}, median |Δlog10 loss| in decades"

    def to_dataframe(self) -> pd.DataFrame:
        return self.rows

    def findings(self) -> Iterator[Finding]:
        source = f"computed: one claim alone, rows {', '.join(ROWS)}"
        for key, claim, error in self.rows.itertuples(index=False):
            yield Finding(f"claim_{claim}", key, "median_log_loss", error, "decades", source=source)


@dataclass(frozen=True)
class Claims:
    """The experiment: ``circuit.surrogate({claim})`` for each claim of each hypothesis."""

    id = "claims"
    decides = False
    by_default = False

    def run(self, bench: Bench) -> ClaimErrors:
        """Measure every claim over a few interventions."""
        bench.progress("single claims", 0, 1)
        surrogates: dict[tuple[str, str], GroupModel] = {
            (candidate.key, claim): candidate.circuit.surrogate({claim})
            for candidate in bench.hypotheses
            if len(candidate.circuit.default_claims) > 1
            for claim in sorted(candidate.circuit.default_claims)
        }
        # Files are numbered, because a key may be any text.
        numbered = {str(i): model for i, model in enumerate(surrogates.values())}
        models = DistinctModels({NETWORK: bench.network, **numbered}, bench.known)
        rows = [
            Row(row, models.measure(row, bench.sample, bench.seed))
            for row in map(INTERVENTIONS.__getitem__, ROWS)
        ]
        found = []
        for (key, claim), name in zip(surrogates, numbered, strict=True):
            deltas = [
                e[0] for row in rows if (e := errors(row, name, bench.thresholds)) is not None
            ]
            median = float(torch.tensor(deltas, dtype=torch.float32).median())
            found.append((key, claim, median))
        columns = ["algorithm", "claim", "median_log_loss"]
        return ClaimErrors(bench.network.label, pd.DataFrame(found, columns=columns))
