"""Ablation: what a network can do without some neurons, or with nothing but them.

Removing neurons puts ``zero``, their ``mean`` over all pairs, or what they hold for another random
pair (``resample``) in place of their values. Every figure stands beside random groups of equal size
and with as many negligible neurons.

The words, as they are used here (after Chan et al. 2022 and Wang et al. 2023):

- *necessity* of a group: what is left when it is removed;
- *sufficiency*: what is left when everything else is removed;
- *completeness*: removing a random part of the group does the same to the group alone as to the
  whole network; if not, something outside the group does its work too (:func:`completeness`);
- *minimality*: the fewest groups, added greedily, that together do what the network does
  (:func:`minimality`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from coset_circuits.algorithms import Circuit
from coset_circuits.errors import CosetCircuitsError
from coset_circuits.experiments.bench import measured
from coset_circuits.experiments.blocks import Blocks, sample_blocks
from coset_circuits.experiments.counterfactuals import source_pairs
from coset_circuits.experiments.neuron_sets import (
    ALL,
    Neurons,
    NeuronSets,
    as_neuron_sets,
    neuron_sets,
)
from coset_circuits.experiments.patching import Progress
from coset_circuits.experiments.splice import check_sites, run_on, scores
from coset_circuits.findings.intervals import mean_interval
from coset_circuits.networks.model import NEURON_SITES, GroupModel
from coset_circuits.thresholds import DEFAULT, Thresholds

Kind = Literal["zero", "mean", "resample"]
KINDS = ("zero", "mean", "resample")

_SCORES = ("accuracy", "loss")


@dataclass(frozen=True)
class Ablation:
    """A table of ablations.

    Attributes:
        network: whose; ``experiment``: which; ``measured_on``: how many pairs.
        kind: what removed neurons hold; ``site``: where.
        accuracy, loss: of the network itself on the same pairs (mean cross-entropy in nats).
        rows: the table; see the function that made it for its columns.
    """

    network: str
    experiment: str
    measured_on: str
    kind: str
    site: str
    accuracy: float
    loss: float
    rows: pd.DataFrame
    seed: int

    def to_dataframe(self) -> pd.DataFrame:
        """A copy of the table."""
        return self.rows.copy()

    def __str__(self) -> str:
        return f"{self._title}\n{self.rows.to_string(index=False)}"

    def __repr__(self) -> str:
        return f"Ablation({self._title}: {len(self.rows)} rows)"

    def _repr_html_(self) -> str:
        return f"<p>{self._title}</p>{self.rows.to_html(index=False)}"

    @property
    def _title(self) -> str:
        return (
            f"{self.experiment} of {self.network}, {self.kind} at {self.site}, {self.measured_on}, "
            f"seed {self.seed}; network: accuracy {self.accuracy:.4f}, loss {self.loss:.3g}"
        )


def ablation(
    network: GroupModel,
    groups: Neurons = None,
    *,
    kind: Kind = "mean",
    site: str = "hook_post",
    controls: int = 10,
    pairs: int | None = None,
    seed: int = 0,
    chunk: int = 2_000,
    progress: Progress | None = None,
) -> Ablation:
    """Necessity and sufficiency of every group of neurons.

    Columns: ``group``, ``neurons``, ``mode`` (``remove`` the group: necessity; ``keep`` it alone:
    sufficiency), accuracy and loss, ``loss_ratio`` to the network's own; ``control`` is the mean
    accuracy of random groups of equal size in the same mode, ``control_low`` and ``control_high``
    the least and greatest of the draws, ``control_loss`` their mean loss. ``low`` and ``high`` are
    a 95% bootstrap interval of the accuracy over left elements; NaN where every pair was measured
    and nothing was drawn, which leaves nothing to chance.

    Args:
        network: a network or a surrogate; a copy without the user's hooks is measured, in float64.
        groups: a circuit (its roles), :func:`neuron_sets` of one, names with neurons, or None
            for each neuron by itself. A group with all neurons is added.
        kind: what removed neurons hold: ``zero``, the ``mean`` over all pairs, or, ``resample``,
            what they hold for another pair, drawn by (seed, pair), one for all removed neurons.
        site: where it is put; one of :data:`~coset_circuits.experiments.splice.NEURON_SITES`.
        controls: how many random groups of each size.
        pairs: how many pairs; all of them unless the group has more than 60,000, then some 10,000.
        seed: of the donors, the random groups, the sample and the bootstrap.
        chunk: about how many pairs are run at a time; it changes nothing but memory.
        progress: called with (what is being done, steps done, steps in all).

    Raises:
        CosetCircuitsError: an argument that makes no sense.
    """
    bench = _Bench(network, groups, kind, site, controls, pairs, seed, chunk, progress)
    everything = bench.neurons.everything()
    named = [(ALL, everything), *bench.neurons]
    plans = [(name, members, mode) for name, members in named for mode in ("remove", "keep")]
    outcomes = bench.outcomes(
        removed
        for _, members, mode in plans
        for removed in (
            bench.removed(members, mode),
            *(bench.removed(drawn, mode) for drawn in bench.random(members)),
        )
    )
    rows = []
    for name, members, mode in plans:
        removed = bench.removed(members, mode)
        drawn = [bench.removed(x, mode) for x in bench.random(members)]
        rows.append(
            {
                "group": name,
                "neurons": len(members),
                "mode": mode,
                **bench.figures(outcomes, removed),
                **bench.control(outcomes, [] if name == ALL else drawn),
            }
        )
    return bench.result("necessity and sufficiency", rows, outcomes)


def ablation_by_threshold(
    circuit: Circuit,
    column: str = "concentration",
    *,
    levels: Sequence[float] | None = None,
    kind: Kind = "mean",
    site: str = "hook_post",
    controls: int = 10,
    pairs: int | None = None,
    seed: int = 0,
    chunk: int = 2_000,
    thresholds: Thresholds = DEFAULT,
    progress: Progress | None = None,
) -> Ablation:
    """Accuracy after removing the neurons above or below a threshold (Fig. 5 of Stander et al.).

    Columns: ``threshold``; ``side``, which neurons are removed, those ``above`` it or those at most
    it (``below``); ``neurons`` removed, of which ``negligible`` hardly touch the logits; the rest
    as in :func:`ablation`. Neurons whose value is not a number are above every threshold.

    Args:
        circuit: any fitted hypothesis; its network is measured.
        column: a column of measurements of ``circuit.roles.to_dataframe()``. The paper's is
            ``concentration``, its unweighted sum C, minimised over subgroups; ``fvu_left`` or
            another FVU serves every hypothesis.
        levels: the thresholds; by default those of the paper's figure.

    The other arguments are those of :func:`ablation`.

    Raises:
        CosetCircuitsError: no such column, or one that holds no measurements.
    """
    frame = circuit.roles.to_dataframe()
    usable = [str(c) for c in frame if pd.api.types.is_float_dtype(frame[c])]
    if column not in usable:
        raise CosetCircuitsError(
            f"{circuit.name} has no measurements {column!r} in its roles; choose one of "
            f"{', '.join(usable)}."
        )
    values = torch.tensor(frame[column].to_numpy(dtype=np.float64))
    cuts = list(thresholds.concentrations if levels is None else levels)
    groups = neuron_sets(circuit)
    bench = _Bench(circuit.network, groups, kind, site, controls, pairs, seed, chunk, progress)
    plans = []
    for level in cuts:
        above = ~(values <= level)
        for side, chosen in (("above", above), ("below", ~above)):
            plans.append((level, side, chosen.nonzero()[:, 0]))
    outcomes = bench.outcomes(x for _, _, chosen in plans for x in (chosen, *bench.random(chosen)))
    rows = [
        {
            "threshold": level,
            "side": side,
            "neurons": len(chosen),
            "negligible": bench.neurons.signature(chosen)[1],
            **bench.figures(outcomes, chosen),
            **bench.control(outcomes, bench.random(chosen)),
        }
        for level, side, chosen in plans
    ]
    return bench.result(f"ablation by {column} under {circuit.name}", rows, outcomes)


def completeness(
    network: GroupModel,
    groups: Neurons = None,
    *,
    parts: int = 10,
    kind: Kind = "mean",
    site: str = "hook_post",
    controls: int = 3,
    pairs: int | None = None,
    seed: int = 0,
    chunk: int = 2_000,
    progress: Progress | None = None,
) -> Ablation:
    """Whether a group alone reacts to the loss of its parts as the whole network does.

    A group S is complete when, for every part K of it, S without K (all else removed) does what the
    network does without K (Wang et al. 2023, section 4.1). K are ``parts`` random halves of S, each
    neuron with probability ½, and S itself when nothing of it is left. Columns: ``group``,
    ``neurons``; ``accuracy_gap`` and ``loss_gap``, the mean over K of the absolute difference in
    accuracy and in log10 of the loss, with the worst of each; ``control`` and ``control_loss_gap``
    the same gaps for random groups of equal size. A small gap is good. The other arguments are
    those of :func:`ablation`.

    Raises:
        CosetCircuitsError: an argument that makes no sense.
    """
    if parts < 1:
        raise CosetCircuitsError(f"{parts} parts were asked for; give 1 or more.")
    bench = _Bench(network, groups, kind, site, controls, pairs, seed, chunk, progress)

    def cut(members: Tensor) -> list[tuple[Tensor, Tensor]]:
        """For each part K: what is removed from the group alone, and from the whole network."""
        rest = bench.removed(members, "keep")
        kinds = [bench.part(members, number) for number in range(parts)]
        return [(torch.cat([rest, k]).sort().values, k) for k in [*kinds, members]]

    sets = {
        name: [cut(x) for x in (members, *bench.random(members))] for name, members in bench.neurons
    }
    outcomes = bench.outcomes(
        x for cuts in sets.values() for one in cuts for pair in one for x in pair
    )

    def gaps(one: list[tuple[Tensor, Tensor]]) -> Float[np.ndarray, "parts 2"]:
        found = [[bench.means(outcomes, x) for x in pair] for pair in one]
        return np.array(
            [[abs(a[0] - b[0]), abs(bench.log_loss(a[1]) - bench.log_loss(b[1]))] for a, b in found]
        )

    rows = []
    for name, members in bench.neurons:
        own, *drawn = [gaps(one) for one in sets[name]]
        control = np.mean([x.mean(0) for x in drawn], 0) if drawn else [np.nan, np.nan]
        rows.append(
            {
                "group": name,
                "neurons": len(members),
                "accuracy_gap": own[:, 0].mean(),
                "worst_accuracy_gap": own[:, 0].max(),
                "loss_gap": own[:, 1].mean(),
                "worst_loss_gap": own[:, 1].max(),
                "control": control[0],
                "control_loss_gap": control[1],
            }
        )
    return bench.result("completeness", rows, outcomes)


def minimality(
    network: GroupModel,
    groups: Neurons = None,
    *,
    kind: Kind = "mean",
    site: str = "hook_post",
    controls: int = 10,
    pairs: int | None = None,
    seed: int = 0,
    chunk: int = 2_000,
    thresholds: Thresholds = DEFAULT,
    progress: Progress | None = None,
) -> Ablation:
    """The fewest groups that do what the network does, added one by one, greedily.

    Begins with every neuron removed; each step brings back the group that lowers the loss most,
    and the table ends when all are back. Columns: ``step``, the ``group`` brought back, ``neurons``
    kept so far, accuracy and loss as in :func:`ablation`, beside random groups of as many neurons;
    ``enough`` from the first step on whose accuracy is within the thresholds'
    ``separation_accuracy`` of the network's. Greedy: a smaller set may exist. It takes a run for
    each group at each step, so give groups rather than single neurons, or few pairs. The other
    arguments are those of :func:`ablation`.

    Raises:
        CosetCircuitsError: an argument that makes no sense.
    """
    bench = _Bench(network, groups, kind, site, controls, pairs, seed, chunk, progress)
    waiting = dict(bench.neurons)
    kept = torch.zeros(0, dtype=torch.int64)
    outcomes: dict[bytes, Tensor] = {}
    steps: list[tuple[str, Tensor]] = []
    while waiting:
        tried = {name: torch.cat([kept, members]).unique() for name, members in waiting.items()}
        found = bench.outcomes(bench.removed(x, "keep") for x in tried.values())
        outcomes.update(found)
        best = min(
            tried, key=lambda name: bench.means(found, bench.removed(tried[name], "keep"))[1]
        )
        kept = tried[best]
        steps.append((best, kept))
        del waiting[best]
    outcomes.update(
        bench.outcomes(bench.removed(x, "keep") for _, kept in steps for x in bench.random(kept))
    )
    base = bench.base()
    rows, enough = [], False
    for number, (name, kept) in enumerate(steps, 1):
        figures = bench.figures(outcomes, bench.removed(kept, "keep"))
        drawn = [bench.removed(x, "keep") for x in bench.random(kept)]
        enough = enough or figures["accuracy"] >= base[0] - thresholds.separation_accuracy
        rows.append(
            {
                "step": number,
                "group": name,
                "neurons": len(kept),
                **figures,
                **bench.control(outcomes, drawn),
                "enough": enough,
            }
        )
    return bench.result("minimality", rows, outcomes)


class _Bench:
    """A network whose neurons can be removed, and the accuracy and loss that are left."""

    def __init__(
        self,
        network: GroupModel,
        groups: Neurons,
        kind: Kind,
        site: str,
        controls: int,
        pairs: int | None,
        seed: int,
        chunk: int,
        progress: Progress | None,
    ) -> None:
        if kind not in KINDS:
            raise CosetCircuitsError(
                f"{kind!r} is no kind of ablation; choose one of {', '.join(KINDS)}."
            )
        if controls < 0:
            raise CosetCircuitsError(f"{controls} controls were asked for; give 0 or more.")
        self.model = measured(network)
        self.kind, self.controls, self.seed, self.chunk = kind, controls, seed, chunk
        (self.site,) = check_sites(self.model, [site], NEURON_SITES)
        self.neurons: NeuronSets = as_neuron_sets(self.model, groups)
        self.blocks: Blocks = sample_blocks(self.model.group, pairs, seed)
        self.progress = progress
        self.mean = site_mean(self.model, self.site, chunk) if kind == "mean" else None
        self.nothing = torch.zeros(0, dtype=torch.int64)

    def removed(self, members: Int[Tensor, "k"], mode: str) -> Int[Tensor, "_"]:
        """What is taken away: the group, or everything else."""
        if mode == "remove":
            return members
        kept = torch.zeros(self.neurons.width, dtype=torch.bool)
        kept[members] = True
        return (~kept).nonzero()[:, 0]

    def random(self, members: Int[Tensor, "k"]) -> list[Tensor]:
        if len(members) in (0, self.neurons.width):
            return []
        return [self.neurons.random(members, self.seed, draw) for draw in range(self.controls)]

    def part(self, members: Int[Tensor, "k"], number: int) -> Int[Tensor, "_"]:
        """A random half of some neurons."""
        rng = np.random.default_rng([self.seed % 2**63, number, *members.tolist()])
        return members[torch.from_numpy(rng.random(len(members)) < 0.5)]

    @torch.no_grad()
    def outcomes(self, sets: Iterable[Tensor]) -> dict[bytes, Float[Tensor, "2 blocks"]]:
        """Accuracy and loss by left element after removing each set of neurons; and of none."""
        wanted = {_key(removed): removed for removed in (self.nothing, *sets)}
        order = self.model.group.order
        found = torch.zeros(len(wanted), 2, order, dtype=torch.float64)
        done = 0
        for part, pairs in self.blocks.chunks(self.chunk):
            if self.progress is not None:
                self.progress("ablation", done, order)
            done += len(pairs) // self.blocks.size
            run = run_on(self.model, pairs)
            labels = self.model.group.products(pairs).to(self.model.device)
            values = self._values(pairs, run.values[self.site])
            for i, removed in enumerate(wanted.values()):
                logits = run.put(self.site, removed, values[:, removed])
                found[i, :, part] = self.blocks.means(
                    scores(logits, labels, labels, logits, _SCORES)
                )
        return dict(zip(wanted, found, strict=True))

    def _values(self, pairs: Tensor, own: Tensor) -> Float[Tensor, "batch d_mlp"]:
        if self.kind == "zero":
            return torch.zeros_like(own)
        if self.mean is not None:
            return self.mean.expand_as(own)
        donors = source_pairs(self.model.group, pairs, self.seed)
        return run_on(self.model, donors).values[self.site]

    def means(self, outcomes: dict[bytes, Tensor], removed: Tensor) -> tuple[float, float]:
        accuracy, loss = outcomes[_key(removed)].mean(1).tolist()
        return accuracy, loss

    def base(self) -> tuple[float, float]:
        return self.means(self.outcomes([]), self.nothing)

    @staticmethod
    def log_loss(loss: float) -> float:
        return float(np.log10(max(loss, DEFAULT.loss_floor)))

    def figures(self, outcomes: dict[bytes, Tensor], removed: Tensor) -> dict[str, float]:
        accuracy, loss = self.means(outcomes, removed)
        base = self.means(outcomes, self.nothing)[1]
        low = high = float("nan")
        if not self.blocks.is_exhaustive or (self.kind == "resample" and len(removed)):
            bounds = mean_interval(outcomes[_key(removed)][0], self.seed)
            low, high = (float(bound) for bound in bounds)
        return {
            "accuracy": accuracy,
            "low": low,
            "high": high,
            "loss": loss,
            "loss_ratio": loss / base if base else float("nan"),
        }

    def control(self, outcomes: dict[bytes, Tensor], drawn: Sequence[Tensor]) -> dict[str, float]:
        nothing = float("nan")
        found = [self.means(outcomes, x) for x in drawn] or [(nothing, nothing)]
        accuracies, losses = np.array(found).T
        return {
            "control": float(accuracies.mean()),
            "control_low": float(accuracies.min()),
            "control_high": float(accuracies.max()),
            "control_loss": float(losses.mean()),
        }

    def result(
        self, experiment: str, rows: list[dict[str, Any]], outcomes: dict[bytes, Tensor]
    ) -> Ablation:
        accuracy, loss = self.means(outcomes, self.nothing)
        return Ablation(
            network=self.model.label,
            experiment=experiment,
            measured_on=self.blocks.source,
            kind=self.kind,
            site=self.site,
            accuracy=accuracy,
            loss=loss,
            rows=pd.DataFrame(rows),
            seed=self.seed,
        )


def _key(removed: Int[Tensor, "k"]) -> bytes:
    return removed.numpy().tobytes()


@torch.no_grad()
def site_mean(model: GroupModel, site: str, chunk: int = 2_000) -> Float[Tensor, "d_mlp"]:
    """The mean of each neuron's value at a site over all pairs, streamed."""
    total = torch.zeros(model.left_table.shape[1], dtype=torch.float64, device=model.device)
    pairs = model.group.pairs()
    for part in pairs.split(chunk):
        total += run_on(model, part).values[site].double().sum(0)
    return (total / len(pairs)).to(model.dtype)
