"""Attribute a hypothesis's error to its claims: apply one claim, keep the rest of the network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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


@dataclass(frozen=True)
class Attribution:
    """The error that one claim alone causes: median |Δlog10 loss| (decades) over a few rows.

    Attributes:
        algorithm: the key of the candidate that makes the claim.
    """

    algorithm: str
    claim: str
    median_log_loss: float


@dataclass(frozen=True, repr=False)
class ClaimErrors(Findings):
    """The errors of single claims, in decades."""

    network: str
    attributions: Sequence[Attribution]

    @property
    def title(self) -> str:
        return f"single claims in {self.network}, median |Δlog10 loss| in decades"

    def to_dataframe(self) -> pd.DataFrame:
        return pd.DataFrame(
            [vars(item) for item in self.attributions],
            columns=["algorithm", "claim", "median_log_loss"],
        )

    def findings(self) -> Iterator[Finding]:
        for item in self.attributions:
            yield Finding(
                f"claim_{item.claim}",
                item.algorithm,
                "median_log_loss",
                item.median_log_loss,
                "decades",
                source=f"computed: one claim alone, rows {', '.join(ROWS)}",
            )


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
        attributions = []
        for (key, claim), name in zip(surrogates, numbered, strict=True):
            deltas = [
                e[0] for row in rows if (e := errors(row, name, bench.thresholds)) is not None
            ]
            median = float(torch.tensor(deltas, dtype=torch.float32).median())
            attributions.append(Attribution(key, claim, median))
        return ClaimErrors(bench.network.label, attributions)
