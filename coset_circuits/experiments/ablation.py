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

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from coset_circuits.algorithms import Circuit
from coset_circuits.errors import CosetCircuitsError
from coset_circuits.experiments.bench import Bench
from coset_circuits.experiments.blocks import Blocks, sample_blocks
from coset_circuits.experiments.counterfactuals import source_pairs
from coset_circuits.experiments.experiment import OfEachHypothesis
from coset_circuits.experiments.neuron_sets import (
    ALL,
    Groups,
    NeuronGroups,
    as_groups,
    neuron_groups,
)
from coset_circuits.experiments.splice import check_sites, run_on, scores
from coset_circuits.findings import Finding, Findings, from_table
from coset_circuits.findings.intervals import mean_interval
from coset_circuits.networks.model import GroupModel

Kind = Literal["zero", "mean", "resample"]
KINDS = ("zero", "mean", "resample")

_SCORES = ("accuracy", "loss")


@dataclass(frozen=True, repr=False)
class Ablation(Findings):
    """A table of ablations.

    Attributes:
        network: whose; ``experiment``: which; ``measured_on``: how many pairs.
        kind: what removed neurons hold; ``site``: where.
        accuracy, loss: of the network itself on the same pairs (mean cross-entropy in nats).
        rows: the table; see the experiment that made it for its columns.
        at, units, paired: the columns that tell rows apart; those that are figures, with their
            units; and for some figures the column that holds their control.
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
    id: str
    at: tuple[str, ...]
    units: Mapping[str, str]
    paired: Mapping[str, str]

    def to_dataframe(self) -> pd.DataFrame:
        """A copy of the table."""
        return self.rows.copy()

    def findings(self) -> Iterator[Finding]:
        interval = {"accuracy": ("low", "high")} if "low" in self.rows else None
        yield from from_table(
            self.rows,
            self.id,
            at=self.at,
            units=self.units,
            control=self.paired,
            interval=interval,
            source=f"{self.kind} at {self.site}, {self.measured_on}; control: random sets of equal "
            "size",
        )

    @property
    def title(self) -> str:
        return (
            f"{self.experiment} of {self.network}, {self.kind} at {self.site}, {self.measured_on}, "
            f"seed {self.seed}; network: accuracy {self.accuracy:.4f}, loss {self.loss:.3g}"
        )


_OUTCOME = {"accuracy": "fraction", "loss": "nats", "loss_ratio": "ratio"}
_BESIDE = {"accuracy": "control", "loss": "control_loss"}


@dataclass(frozen=True)
class AblationExperiment(OfEachHypothesis):
    """Necessity and sufficiency of every set of neurons; in a comparison, of those of each role.

    Columns: ``group``, ``neurons``, ``mode`` (``remove`` the set: necessity; ``keep`` it alone:
    sufficiency), accuracy and loss, ``loss_ratio`` to the network's own; ``control`` is the mean
    accuracy of random sets of equal size in the same mode, ``control_low`` and ``control_high``
    the least and greatest of the draws, ``control_loss`` their mean loss. ``low`` and ``high`` are
    a 95% bootstrap interval of the accuracy over left elements; NaN where every pair was measured
    and nothing was drawn, which leaves nothing to chance.

    Attributes:
        kind: what removed neurons hold: ``zero``, the ``mean`` over all pairs, or, ``resample``,
            what they hold for another pair, drawn by (seed, pair), one for all removed neurons.
        site: where it is put; a site with one column a neuron.
        controls: how many random sets of each size.
        chunk: about how many pairs are run at a time; it changes nothing but memory.
    """

    kind: Kind = "mean"
    site: str = "hook_post"
    controls: int = 10
    chunk: int = 2_000
    id = "ablation"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise CosetCircuitsError(
                f"{self.kind!r} is no kind of ablation; choose one of {', '.join(KINDS)}."
            )
        if self.controls < 0:
            raise CosetCircuitsError(f"{self.controls} controls were asked for; give 0 or more.")

    def of(self, circuit: Circuit, bench: Bench) -> Ablation:
        """The neurons of each of the circuit's roles."""
        return self.on(circuit, bench)

    def on(self, groups: Groups, bench: Bench) -> Ablation:
        """Any sets of neurons of the bench's network."""
        removal = _Removal(self, groups, bench)
        named = [(ALL, removal.neurons.everything()), *removal.neurons]
        plans = [(name, members, mode) for name, members in named for mode in ("remove", "keep")]
        outcomes = removal.outcomes(
            removed
            for _, members, mode in plans
            for removed in (
                removal.removed(members, mode),
                *(removal.removed(drawn, mode) for drawn in removal.random(members)),
            )
        )
        rows = []
        for name, members, mode in plans:
            drawn = [removal.removed(x, mode) for x in removal.random(members)]
            rows.append(
                {
                    "group": name,
                    "neurons": len(members),
                    "mode": mode,
                    **removal.figures(outcomes, removal.removed(members, mode)),
                    **removal.control(outcomes, [] if name == ALL else drawn),
                }
            )
        title = "necessity and sufficiency"
        return removal.result(title, rows, outcomes, ("group", "mode"), _OUTCOME, _BESIDE)


@dataclass(frozen=True)
class AblationByThreshold(AblationExperiment):
    """Accuracy after removing the neurons above or below a threshold (Fig. 5 of Stander et al.).

    Columns: ``threshold``; ``side``, which neurons are removed, those ``above`` it or those at most
    it (``below``); ``neurons`` removed, of which ``negligible`` hardly touch the logits; the rest
    as in :class:`AblationExperiment`. Neurons whose value is not a number are above every
    threshold.

    Attributes:
        column: a column of measurements of ``circuit.roles.to_dataframe()``. The paper's is
            ``concentration``, its unweighted sum C, minimised over subgroups; ``fvu_left`` or
            another FVU serves every hypothesis.
        levels: the thresholds; by default those of the paper's figure.
    """

    column: str = "concentration"
    levels: Sequence[float] | None = None
    id = "ablation_by_threshold"

    def of(self, circuit: Circuit, bench: Bench) -> Ablation:
        """The circuit's neurons by one of its measurements."""
        frame = circuit.roles.to_dataframe()
        usable = [str(c) for c in frame if pd.api.types.is_float_dtype(frame[c])]
        if self.column not in usable:
            raise CosetCircuitsError(
                f"{circuit.name} has no measurements {self.column!r} in its roles; choose one of "
                f"{', '.join(usable)}."
            )
        values = torch.tensor(frame[self.column].to_numpy(dtype=np.float64))
        cuts = list(bench.thresholds.concentrations if self.levels is None else self.levels)
        removal = _Removal(self, neuron_groups(circuit), bench)
        plans = []
        for level in cuts:
            above = ~(values <= level)
            for side, chosen in (("above", above), ("below", ~above)):
                plans.append((level, side, chosen.nonzero()[:, 0]))
        outcomes = removal.outcomes(
            removed for _, _, chosen in plans for removed in (chosen, *removal.random(chosen))
        )
        rows = [
            {
                "threshold": level,
                "side": side,
                "neurons": len(chosen),
                "negligible": removal.neurons.signature(chosen)[1],
                **removal.figures(outcomes, chosen),
                **removal.control(outcomes, removal.random(chosen)),
            }
            for level, side, chosen in plans
        ]
        title = f"ablation by {self.column} under {circuit.name}"
        return removal.result(title, rows, outcomes, ("threshold", "side"), _OUTCOME, _BESIDE)


@dataclass(frozen=True)
class Completeness(AblationExperiment):
    """Whether a set of neurons alone reacts to the loss of its parts as the whole network does.

    A set S is complete when, for every part K of it, S without K (all else removed) does what the
    network does without K (Wang et al. 2023, section 4.1). K are ``parts`` random halves of S, each
    neuron with probability ½, and S itself when nothing of it is left. Columns: ``group``,
    ``neurons``; ``accuracy_gap`` and ``loss_gap``, the mean over K of the absolute difference in
    accuracy and in log10 of the loss, with the worst of each; ``control`` and ``control_loss_gap``
    the same gaps for random sets of equal size. A small gap is good.
    """

    controls: int = 3
    parts: int = 10
    id = "completeness"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.parts < 1:
            raise CosetCircuitsError(f"{self.parts} parts were asked for; give 1 or more.")

    def on(self, groups: Groups, bench: Bench) -> Ablation:
        """Any sets of neurons of the bench's network."""
        removal = _Removal(self, groups, bench)

        def cut(members: Tensor) -> list[tuple[Tensor, Tensor]]:
            """For each part K: what is removed from the set alone, and from the whole network."""
            rest = removal.removed(members, "keep")
            parts = [removal.part(members, number) for number in range(self.parts)]
            return [(torch.cat([rest, k]).sort().values, k) for k in [*parts, members]]

        sets = {
            name: [cut(x) for x in (members, *removal.random(members))]
            for name, members in removal.neurons
        }
        outcomes = removal.outcomes(
            x for cuts in sets.values() for one in cuts for pair in one for x in pair
        )
        floor = bench.thresholds.loss_floor

        def gaps(one: list[tuple[Tensor, Tensor]]) -> Float[np.ndarray, "parts 2"]:
            means = np.array([[removal.means(outcomes, x) for x in pair] for pair in one])
            means[..., 1] = np.log10(np.maximum(means[..., 1], floor))
            return np.abs(means[:, 0] - means[:, 1])

        rows = []
        for name, members in removal.neurons:
            measured, *drawn = [gaps(one) for one in sets[name]]
            control = np.mean([x.mean(0) for x in drawn], 0) if drawn else [np.nan, np.nan]
            rows.append(
                {
                    "group": name,
                    "neurons": len(members),
                    "accuracy_gap": measured[:, 0].mean(),
                    "worst_accuracy_gap": measured[:, 0].max(),
                    "loss_gap": measured[:, 1].mean(),
                    "worst_loss_gap": measured[:, 1].max(),
                    "control": control[0],
                    "control_loss_gap": control[1],
                }
            )
        units = {"accuracy_gap": "fraction", "loss_gap": "decades"}
        paired = {"accuracy_gap": "control", "loss_gap": "control_loss_gap"}
        return removal.result("completeness", rows, outcomes, ("group",), units, paired)


@dataclass(frozen=True)
class Minimality(AblationExperiment):
    """The fewest sets of neurons that do what the network does, added one by one, greedily.

    Begins with every neuron removed; each step brings back the set that lowers the loss most,
    and the table ends when all are back. Columns: ``step``, the ``group`` brought back, ``neurons``
    kept so far, accuracy and loss as in :class:`AblationExperiment`, beside random sets of as many
    neurons; ``enough`` from the first step on whose accuracy is within the thresholds'
    ``separation_accuracy`` of the network's. Greedy: a smaller set may exist. It takes a run for
    each set at each step, so give sets rather than single neurons, or few pairs.
    """

    id = "minimality"

    def on(self, groups: Groups, bench: Bench) -> Ablation:
        """Any sets of neurons of the bench's network."""
        removal = _Removal(self, groups, bench)
        waiting = dict(removal.neurons)
        kept = torch.zeros(0, dtype=torch.int64)
        outcomes: dict[bytes, Tensor] = {}
        steps: list[tuple[str, Tensor]] = []
        while waiting:
            tried = {name: torch.cat([kept, members]).unique() for name, members in waiting.items()}
            added = removal.outcomes(removal.removed(x, "keep") for x in tried.values())
            outcomes.update(added)
            losses = {
                n: removal.means(added, removal.removed(x, "keep"))[1] for n, x in tried.items()
            }
            best = min(losses, key=lambda name: losses[name])
            kept = tried[best]
            steps.append((best, kept))
            del waiting[best]
        outcomes.update(
            removal.outcomes(
                removal.removed(x, "keep") for _, kept in steps for x in removal.random(kept)
            )
        )
        wanted = removal.means(removal.outcomes([]), removal.nothing)[0]
        wanted -= bench.thresholds.separation_accuracy
        rows, enough = [], False
        for number, (name, kept) in enumerate(steps, 1):
            figures = removal.figures(outcomes, removal.removed(kept, "keep"))
            drawn = [removal.removed(x, "keep") for x in removal.random(kept)]
            enough = enough or figures["accuracy"] >= wanted
            rows.append(
                {
                    "step": number,
                    "group": name,
                    "neurons": len(kept),
                    **figures,
                    **removal.control(outcomes, drawn),
                    "enough": enough,
                }
            )
        return removal.result("minimality", rows, outcomes, ("step", "group"), _OUTCOME, _BESIDE)


def ablation(network: GroupModel, groups: Groups = None, **options: Any) -> Ablation:
    """Necessity and sufficiency of sets of neurons; see :class:`AblationExperiment`.

    Args:
        network: a network or a surrogate; a copy without the user's hooks is measured, in float64.
        groups: a circuit (its roles), :func:`neuron_groups` of one, names with neurons, or None
            for each neuron by itself. A set with all neurons is added.
        options: the attributes of the experiment (``kind``, ``site``, ``controls``, ``chunk``), and
            those of a bench: how many ``pairs`` (all of them unless the group has more than 60,000,
            then some 10,000), the ``seed``, ``thresholds``, ``progress``.

    Raises:
        CosetCircuitsError: an argument that makes no sense.
    """
    bench, options = _bench(network, options)
    return AblationExperiment(**options).on(groups, bench)


def ablation_by_threshold(
    circuit: Circuit, column: str = "concentration", **options: Any
) -> Ablation:
    """See :class:`AblationByThreshold`; options as in :func:`ablation`.

    Raises:
        CosetCircuitsError: no such column, or one that holds no measurements.
    """
    bench, options = _bench(circuit.network, options)
    return AblationByThreshold(column=column, **options).of(circuit, bench)


def completeness(network: GroupModel, groups: Groups = None, **options: Any) -> Ablation:
    """See :class:`Completeness`; arguments as in :func:`ablation`."""
    bench, options = _bench(network, options)
    return Completeness(**options).on(groups, bench)


def minimality(network: GroupModel, groups: Groups = None, **options: Any) -> Ablation:
    """See :class:`Minimality`; arguments as in :func:`ablation`."""
    bench, options = _bench(network, options)
    return Minimality(**options).on(groups, bench)


def _bench(network: GroupModel, options: dict[str, Any]) -> tuple[Bench, dict[str, Any]]:
    """A bench from those options that are its own, and the others."""
    names = ("pairs", "seed", "thresholds", "progress")
    own = {name: options[name] for name in names if name in options}
    return Bench.around(network, **own), {k: v for k, v in options.items() if k not in own}


class _Removal:
    """A network whose neurons can be removed, and the accuracy and loss that are left."""

    def __init__(self, options: AblationExperiment, groups: Groups, bench: Bench) -> None:
        self.options, self.bench, self.model = options, bench, bench.network
        self.seed = bench.seed
        (self.site,) = check_sites(self.model, [options.site], per_neuron=True)
        self.neurons: NeuronGroups = as_groups(self.model, groups)
        self.blocks: Blocks = sample_blocks(self.model.group, bench.pairs, bench.seed)
        is_mean = options.kind == "mean"
        self.mean = site_mean(self.model, self.site, options.chunk) if is_mean else None
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
        return [
            self.neurons.random(members, self.seed, draw) for draw in range(self.options.controls)
        ]

    def part(self, members: Int[Tensor, "k"], number: int) -> Int[Tensor, "_"]:
        """A random half of some neurons."""
        rng = np.random.default_rng([self.seed % 2**63, number, *members.tolist()])
        return members[torch.from_numpy(rng.random(len(members)) < 0.5)]

    @torch.no_grad()
    def outcomes(self, sets: Iterable[Tensor]) -> dict[bytes, Float[Tensor, "2 blocks"]]:
        """Accuracy and loss by left element after removing each set of neurons; and of none."""
        wanted = {_key(removed): removed for removed in (self.nothing, *sets)}
        order = self.model.group.order
        figures = torch.zeros(len(wanted), 2, order, dtype=torch.float64)
        done = 0
        for part, pairs in self.blocks.chunks(self.options.chunk):
            self.bench.progress(self.options.id, done, order)
            done += len(pairs) // self.blocks.size
            run = run_on(self.model, pairs)
            labels = self.model.group.products(pairs).to(self.model.device)
            values = self._values(pairs, run.values[self.site])
            for i, removed in enumerate(wanted.values()):
                logits = run.put(self.site, removed, values[:, removed])
                figures[i, :, part] = self.blocks.means(
                    scores(logits, labels, labels, logits, _SCORES)
                )
        return dict(zip(wanted, figures, strict=True))

    def _values(self, pairs: Tensor, own: Tensor) -> Float[Tensor, "batch d_mlp"]:
        if self.options.kind == "zero":
            return torch.zeros_like(own)
        if self.mean is not None:
            return self.mean.expand_as(own)
        donors = source_pairs(self.model.group, pairs, self.seed)
        return run_on(self.model, donors).values[self.site]

    def means(self, outcomes: dict[bytes, Tensor], removed: Tensor) -> tuple[float, float]:
        accuracy, loss = outcomes[_key(removed)].mean(1).tolist()
        return accuracy, loss

    def figures(self, outcomes: dict[bytes, Tensor], removed: Tensor) -> dict[str, float]:
        accuracy, loss = self.means(outcomes, removed)
        base = self.means(outcomes, self.nothing)[1]
        low = high = float("nan")
        if not self.blocks.is_exhaustive or (self.options.kind == "resample" and len(removed)):
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
        means = [self.means(outcomes, x) for x in drawn] or [(nothing, nothing)]
        accuracies, losses = np.array(means).T
        return {
            "control": float(accuracies.mean()),
            "control_low": float(accuracies.min()),
            "control_high": float(accuracies.max()),
            "control_loss": float(losses.mean()),
        }

    def result(
        self,
        title: str,
        rows: list[dict[str, Any]],
        outcomes: dict[bytes, Tensor],
        at: tuple[str, ...],
        units: Mapping[str, str],
        paired: Mapping[str, str],
    ) -> Ablation:
        accuracy, loss = self.means(outcomes, self.nothing)
        return Ablation(
            network=self.model.label,
            experiment=title,
            measured_on=self.blocks.source,
            kind=self.options.kind,
            site=self.site,
            accuracy=accuracy,
            loss=loss,
            rows=pd.DataFrame(rows),
            seed=self.seed,
            id=self.options.id,
            at=at,
            units=units,
            paired=paired,
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
