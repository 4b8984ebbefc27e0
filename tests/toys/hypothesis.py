"""A hypothesis in one file: every neuron reads only whether its inputs are the identity."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from coset_circuits.algorithms import (
    NEGLIGIBLE,
    Classes,
    Roles,
    TableCircuit,
    Tables,
    fitted_frame,
    negligible,
    residuals,
)
from coset_circuits.thresholds import DEFAULT, Thresholds


@dataclass(frozen=True)
class IdentityAlgorithm:
    """Two levels a table: one at the identity, one elsewhere."""

    thresholds: Thresholds = DEFAULT
    name: ClassVar[str] = "identity-reader"
    hypothesis: ClassVar[str] = "toy"

    def fit(self, network, group=None):
        base, frame = fitted_frame(network, group)
        own = Tables.of(network, frame)
        cells = (torch.arange(base.order) == base.identity).long()
        means = own.means()
        for table, fitted in zip(own, means, strict=True):
            for value in (0, 1):
                fitted[cells == value] = table[cells == value].mean(0)
        width = own.left.shape[1]
        dull = negligible(own, self.thresholds)
        labels = cells[torch.argsort(frame)][:, None].expand(-1, width)
        residual = residuals(own, means)
        return TableCircuit(
            name=self.name,
            network=network,
            roles=Roles.of([NEGLIGIBLE if d else "identity" for d in dull], residual),
            fitted=own.back(means),
            residual=residual,
            structure=torch.zeros(width, dtype=torch.float64),
            levels=torch.full((width,), 6.0, dtype=torch.float64),
            site_classes={
                "hook_left_pre": (Classes("identity or not", labels, None, None),),
                "hook_right_pre": (Classes("identity or not", None, labels, None),),
            },
            algorithm=self,
        )
