"""An experiment in one file: how large each hypothesis's surrogate logits are."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import pandas as pd

from coset_circuits.experiments import OfEachHypothesis
from coset_circuits.findings import Finding, Findings


@dataclass(frozen=True, repr=False)
class Sizes(Findings):
    network: float
    surrogate: float
    title: ClassVar[str] = "size of the logits"

    def to_dataframe(self) -> pd.DataFrame:
        return pd.DataFrame([{"network": self.network, "surrogate": self.surrogate}])

    def findings(self) -> Iterator[Finding]:
        control = Finding("logit_size", None, "rms", self.network, "logits")
        yield Finding("logit_size", None, "rms", self.surrogate, "logits", control=control)


class LogitSize(OfEachHypothesis):
    id = "logit_size"

    def of(self, circuit, bench):
        pairs = bench.network.group.pairs()
        bench.progress("running", 0, 1)
        sizes = [
            float(model(pairs).detach().square().mean().sqrt())
            for model in (bench.network, circuit.surrogate().double())
        ]
        return Sizes(*sizes)
