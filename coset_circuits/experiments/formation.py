"""How the structure that a hypothesis finds formed during training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from coset_circuits.algorithms.algorithm import fvu
from coset_circuits.algorithms.joint import level_means
from coset_circuits.experiments.bench import Bench
from coset_circuits.experiments.candidates import Candidate
from coset_circuits.experiments.interventions import INTERVENTIONS
from coset_circuits.experiments.measure import Outcome, measure, sampled
from coset_circuits.experiments.partitions import Partition, explained
from coset_circuits.experiments.threads import side_by_side
from coset_circuits.findings import Finding, Findings
from coset_circuits.networks import load
from coset_circuits.thresholds import DEFAULT, Thresholds
from coset_circuits.training.run_folder import checkpoints_in

PAIRS = 5_000
"""At most so many pairs show what a checkpoint has learnt."""


@dataclass(frozen=True, repr=False)
class Formation(Findings):
    """The fraction of variance of each neuron's tables outside its final cells, step by step.

    Attributes:
        algorithm: the key of the candidate that gives the cells.
        steps: the training steps of the checkpoints, rising.
        fvu_left, fvu_right: NaN for neurons that the hypothesis does not explain in the end.
        accuracy, loss: of the network at each step, over all pairs or a sample of
            :data:`PAIRS`; the loss is the mean, in nats.
    """

    algorithm: str
    steps: tuple[int, ...]
    fvu_left: Float[Tensor, "steps d_mlp"]
    fvu_right: Float[Tensor, "steps d_mlp"]
    bound: float
    accuracy: tuple[float, ...] = ()
    loss: tuple[float, ...] = ()

    @property
    def title(self) -> str:
        return f"how the structure that {self.algorithm} ends with formed"

    def to_dataframe(self) -> pd.DataFrame:
        """One row per checkpoint and side: quartiles over the neurons explained in the end."""
        return pd.DataFrame(
            {"step": step, "side": side, "low": low, "median": middle, "high": high}
            for side in ("left", "right")
            for step, low, middle, high in zip(
                self.steps, *self.quartiles(side).tolist(), strict=True
            )
        )

    def findings(self) -> Iterator[Finding]:
        """The first step from which half of the explained neurons have formed, and the first from
        which the network is right."""
        steps = [step for step in self.formed(self.bound) if step is not None]
        explained = int((~self.fvu_left.isnan().any(0)).sum())
        half = sorted(steps)[(explained - 1) // 2] if 2 * len(steps) >= explained > 0 else None
        since = "first checkpoint from which"
        source = f"{since} half of {explained} neurons stay within an FVU of {self.bound:g}"
        yield Finding("formation", self.algorithm, "step_half_formed", half, "steps", source=source)
        if self.accuracy:
            needed = DEFAULT.grokked_accuracy
            learnt = _first_to_stay(self.steps, torch.tensor(self.accuracy) >= needed)
            source = f"{since} {needed:g} of the pairs are right"
            yield Finding("formation", None, "step_learnt", learnt, "steps", source=source)

    def quartiles(self, side: str) -> Float[np.ndarray, "3 steps"]:
        """Lower quartile, median and upper quartile over the neurons explained in the end.

        Args:
            side: ``left`` or ``right``.
        """
        values = {"left": self.fvu_left, "right": self.fvu_right}[side].numpy()
        kept = values[:, ~np.isnan(values).any(0)]
        return np.percentile(kept, [25, 50, 75], axis=1)

    def formed(self, bound: float) -> list[int | None]:
        """For each neuron the first step after which both its FVUs stay within a bound."""
        worse = self.fvu_left.maximum(self.fvu_right)
        return [_first_to_stay(self.steps, within) for within in (worse <= bound).T]

    def to_dict(self) -> dict[str, Any]:
        """As it stands in findings.json."""
        return {
            "algorithm": self.algorithm,
            "unit": "fraction",
            "steps": list(self.steps),
            "fvu_left": self.fvu_left.T.tolist(),
            "fvu_right": self.fvu_right.T.tolist(),
            "quartiles_left": self.quartiles("left").tolist(),
            "quartiles_right": self.quartiles("right").tolist(),
            "formed": self.formed(self.bound),
            "accuracy": list(self.accuracy),
            "loss": list(self.loss),
        }


def _first_to_stay(steps: Sequence[int], holds: Bool[Tensor, "steps"]) -> int | None:
    """The first step from which something holds to the end; None if it does not in the end."""
    stays = holds.flip(0).long().cummin(0).values.flip(0)
    return steps[int(stays.argmax())] if stays.any() else None


@dataclass(frozen=True)
class FormationExperiment:
    """The experiment: measure a run's checkpoints with the cells of its final network.

    It uses the first hypothesis whose cells leave the inputs some freedom and explain a neuron.
    """

    id = "formation"
    decides = False
    by_default = True

    def run(self, bench: Bench) -> Formation | None:
        """None if no hypothesis has such cells, or if there are no checkpoints."""
        bench.progress("checkpoints", 0, 1)
        network, path = bench.network, bench.network.provenance.get("path")
        checkpoints = {} if path is None else checkpoints_in(Path(path))
        chosen = cells_of_inputs(bench.hypotheses, bench.thresholds)
        if chosen is None or not checkpoints:
            return None
        candidate, *labels = chosen
        projections = [level_means(one) for one in labels]
        is_outside = torch.from_numpy(~explained(candidate.circuit))
        pairs = sampled(network.group.pairs(), PAIRS, 0)

        def measured_at(path: Path) -> tuple[Tensor, Outcome] | None:
            then = load(path)
            if (then.group, then.d_mlp) != (network.group, network.d_mlp):
                return None
            tables = (table.detach().double() for table in (then.left_table, then.right_table))
            sides = [
                fvu(table, project(table)).masked_fill(is_outside, float("nan"))
                for table, project in zip(tables, projections, strict=True)
            ]
            outcome = measure(INTERVENTIONS["base"], {"then": then}, pairs)["then"]
            assert outcome is not None
            return torch.stack(sides), outcome

        with side_by_side() as each:
            measured = list(each(measured_at, checkpoints.values()))
        found = [one for one in measured if one is not None]
        if len(found) < len(measured):
            return None
        both = torch.stack([residuals for residuals, _ in found])
        return Formation(
            candidate.key,
            tuple(checkpoints),
            both[:, 0],
            both[:, 1],
            bench.thresholds.fvu,
            tuple(outcome.accuracy for _, outcome in found),
            tuple(outcome.loss for _, outcome in found),
        )


def cells_of_inputs(
    candidates: Sequence[Candidate], thresholds: Thresholds
) -> tuple[Candidate, Int[Tensor, "order d_mlp"], Int[Tensor, "order d_mlp"]] | None:
    """The first candidate with cells of both inputs that constrain anything, and their labels."""
    for candidate in candidates:
        circuit, labels = candidate.circuit, []
        for side in ("left", "right"):
            site = f"hook_{side}_pre"
            for classes in circuit.classes(site)[:1]:
                partition = Partition.of(circuit, site, classes, shared=False, keep=True)
                if (partition.mean_freedom() or 0) > thresholds.freedom:
                    labels.append(getattr(classes, side))
        if len(labels) == 2 and not any(side is None for side in labels):
            return candidate, labels[0], labels[1]
    return None
