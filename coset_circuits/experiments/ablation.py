"""Ablation: what a network can do without some neurons, or with only these neurons.

Removing neurons replaces their values by ``zero``, by their ``mean`` over all pairs, or by their
values on another random pair (``resample``). The control of every figure is a random set of equal
size with the same number of negligible neurons.

Terms used here (after Chan et al. 2022 and Wang et al. 2023):

- *necessity* of a set of neurons: what is left when it is removed;
- *sufficiency*: what is left when everything else is removed;
- *completeness*: removing a random part of the set does the same to the set alone as to the whole
  network; if not, something outside the set does its work too (:func:`completeness`);
- *minimality*: the fewest sets, added greedily, that together do what the network does
  (:func:`minimality`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from coset_circuits.algorithms import Circuit
from coset_circuits.algorithms.algorithm import check_circuit
from coset_circuits.errors import CosetCircuitsError, whole
from coset_circuits.experiments.bench import Bench
from coset_circuits.experiments.blocks import sample_blocks
from coset_circuits.experiments.counterfactuals import source_pairs
from coset_circuits.experiments.experiment import OfEachHypothesis
from coset_circuits.experiments.neuron_sets import ALL, Neurons, as_neuron_sets, neuron_sets
from coset_circuits.experiments.splice import check_sites, run_on, scores
from coset_circuits.findings import Finding, Findings, from_table
from coset_circuits.findings.intervals import mean_interval
from coset_circuits.networks.model import GroupModel

Kind = Literal["zero", "mean", "resample"]
KINDS = ("zero", "mean", "resample")

_PLACE = ("threshold", "side", "step", "group", "mode")
_UNITS = {"accuracy": "fraction", "loss": "nats", "loss_ratio": "ratio"}
_UNITS |= {"accuracy_gap": "fraction", "loss_gap": "decades"}
_CONTROL = {"accuracy": "control", "loss": "control_loss"}
_CONTROL |= {"accuracy_gap": "control", "loss_gap": "control_loss_gap"}


@dataclass(frozen=True, repr=False)
class Ablation(Findings):
    """A table of ablations.

    Attributes:
        id: the id of the experiment; ``experiment`` is its title.
        network: the name of the network; ``measured_on`` is the number of pairs.
        kind: the replacement for removed neurons' values; ``site`` is where it is put.
        accuracy, loss: of the network itself on the same pairs (mean cross-entropy in nats).
        rows: the table; its columns are documented at the experiment that made it.
    """

    id: str
    experiment: str
    network: str
    measured_on: str
    kind: str
    site: str
    accuracy: float
    loss: float
    rows: pd.DataFrame
    seed: int

    @property
    def title(self) -> str:
        return (
            f"{self.experiment} of {self.network}, {self.kind} at {self.site}, {self.measured_on}, "
            f"seed {self.seed}; network: accuracy {self.accuracy:.4f}, loss {self.loss:.3g}"
        )

    def to_dataframe(self) -> pd.DataFrame:
        """A copy of the table."""
        return self.rows.copy()

    def findings(self) -> Iterator[Finding]:
        yield from from_table(
            self.rows,
            self.id,
            at=[column for column in _PLACE if column in self.rows],
            units={column: unit for column, unit in _UNITS.items() if column in self.rows},
            control=_CONTROL,
            interval={"accuracy": ("low", "high")},
            source=f"{self.kind} at {self.site}, {self.measured_on}; control: random sets of equal "
            "size",
        )


@dataclass(frozen=True)
class AblationExperiment(OfEachHypothesis):
    """Necessity and sufficiency of sets of neurons; in a comparison, the neurons of each role.

    Columns: ``group``, ``neurons``, ``mode`` (``remove`` the set for necessity, ``keep`` only it
    for sufficiency), accuracy and loss, and ``loss_ratio`` to the whole network. ``control`` is the
    mean accuracy of random sets of equal size in the same mode, ``control_low`` and
    ``control_high`` the smallest and largest of the draws, ``control_loss`` their mean loss.
    ``low`` and ``high`` are a 95% bootstrap interval of the accuracy over left elements. They are
    NaN if every pair was measured and nothing was drawn, because nothing is left to chance.

    Attributes:
        kind: the replacement for removed neurons' values: ``zero``, the ``mean`` over all pairs, or
            (``resample``) their values on another pair, drawn by (seed, pair) and shared by all
            removed neurons.
        site: the site of the replacement, which must have one column per neuron.
        controls: the number of random sets of each size.
        chunk: about how many pairs are run at a time; it only changes memory use.
    """

    kind: Kind = "mean"
    site: str = "hook_post"
    controls: int = 10
    chunk: int = 2_000
    id = "ablation"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise CosetCircuitsError(
                f"{self.kind!r} is not a kind of ablation; choose one of {', '.join(KINDS)}."
            )
        whole("number of controls", self.controls, 0)

    def of(self, circuit: Circuit, bench: Bench) -> Ablation:
        """The neurons of each of the circuit's roles."""
        return self.on(circuit, bench)

    def on(self, neurons: Neurons, bench: Bench) -> Ablation:
        """Any sets of neurons of the bench's network."""
        removal = _Removal(self, neurons, bench)
        rows = removal.rows(
            ({"group": name, "neurons": len(members), "mode": mode}, members, mode == "keep")
            for name, members in [(ALL, removal.neurons.everything()), *removal.neurons]
            for mode in ("remove", "keep")
        )
        return removal.result("necessity and sufficiency", rows)


@dataclass(frozen=True)
class AblationByThreshold(AblationExperiment):
    """Accuracy after removing the neurons above or below a threshold (Fig. 5 of Stander et al.).

    Columns: ``threshold``; ``side``, whether neurons ``above`` the threshold or at most it
    (``below``) are removed; ``neurons``, the number removed; ``negligible``, how many of these
    hardly affect the logits; the rest as in :class:`AblationExperiment`. Neurons whose value is NaN
    are above every threshold.

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
        removal = _Removal(self, neuron_sets(circuit), bench)
        values = torch.tensor(frame[self.column].to_numpy(dtype=np.float64))
        plans = []
        for level in bench.thresholds.concentrations if self.levels is None else self.levels:
            below = values <= level
            for side, chosen in (("above", ~below), ("below", below)):
                removed = chosen.nonzero()[:, 0]
                dull = removal.neurons.signature(removed)[1]
                about = {"threshold": level, "side": side, "neurons": len(removed)}
                plans.append(({**about, "negligible": dull}, removed, False))
        title = f"ablation by {self.column} under {circuit.name}"
        return removal.result(title, removal.rows(plans))


@dataclass(frozen=True)
class Completeness(AblationExperiment):
    """Completeness: whether a set of neurons alone reacts to ablations as the whole network does.

    A set S is complete if, for every part K of it, S without K (all else removed) behaves like the
    network without K (Wang et al. 2023, section 4.1). K runs over ``parts`` random halves of S,
    with each neuron included with probability ½, and over S itself. Columns: ``group``,
    ``neurons``; ``accuracy_gap`` and ``loss_gap``, the mean over K of the absolute difference in
    accuracy and in log10 of the loss, with the worst of each; ``control`` and ``control_loss_gap``,
    the same gaps for random sets of equal size. A small gap is good.
    """

    controls: int = 3
    parts: int = 10
    id = "completeness"

    def __post_init__(self) -> None:
        super().__post_init__()
        whole("number of parts", self.parts)

    def on(self, neurons: Neurons, bench: Bench) -> Ablation:
        """Any sets of neurons of the bench's network."""
        removal = _Removal(self, neurons, bench)
        cuts = {
            name: [list(self._cuts(x, removal)) for x in (members, *removal.random(members))]
            for name, members in removal.neurons
        }
        removal.measure(x for sets in cuts.values() for cut in sets for pair in cut for x in pair)

        def gaps(cut: list[tuple[Tensor, Tensor]]) -> Float[np.ndarray, "parts 2"]:
            means = np.array([[removal.means(x) for x in pair] for pair in cut])
            means[..., 1] = np.log10(np.maximum(means[..., 1], bench.thresholds.loss_floor))
            return np.abs(means[:, 0] - means[:, 1])

        rows = []
        for name, members in removal.neurons:
            measured, *drawn = [gaps(cut) for cut in cuts[name]]
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
        return removal.result("completeness", rows)

    def _cuts(self, members: Tensor, removal: _Removal) -> Iterator[tuple[Tensor, Tensor]]:
        """For each part K: what is removed from the set alone, and from the whole network."""
        for number in range(self.parts):
            rng = np.random.default_rng([removal.seed % 2**63, number, *members.tolist()])
            half = members[torch.from_numpy(rng.random(len(members)) < 0.5)]
            yield torch.cat([removal.others(members), half]).sort().values, half
        yield removal.neurons.everything(), members


@dataclass(frozen=True)
class Minimality(AblationExperiment):
    """Minimality: a small number of neuron sets that together do what the network does.

    All neurons are removed first. Each step brings back the set that lowers the loss most, until
    all are back. Columns: ``step``, the ``group`` brought back, ``neurons`` kept so far, accuracy
    and loss as in :class:`AblationExperiment`, with random sets of as many neurons as control;
    ``enough`` is true from the first step whose accuracy is within the thresholds'
    ``separation_accuracy`` of the network's. The search is greedy, so a smaller choice may exist.
    It takes a run for each set at each step, so use sets rather than single neurons, or few pairs.
    """

    id = "minimality"

    def on(self, neurons: Neurons, bench: Bench) -> Ablation:
        """Any sets of neurons of the bench's network."""
        removal = _Removal(self, neurons, bench)
        waiting = dict(removal.neurons)
        kept = torch.zeros(0, dtype=torch.int64)
        plans = []
        while waiting:
            tried = {name: torch.cat([kept, members]).unique() for name, members in waiting.items()}
            removal.measure(map(removal.others, tried.values()))
            losses = {name: removal.means(removal.others(x))[1] for name, x in tried.items()}
            best = min(losses, key=losses.__getitem__)
            kept = tried[best]
            del waiting[best]
            about = {"step": len(plans) + 1, "group": best, "neurons": len(kept)}
            plans.append((about, kept, True))
        rows, enough = removal.rows(plans), False
        wanted = removal.means()[0] - bench.thresholds.separation_accuracy
        for row in rows:
            row["enough"] = enough = enough or row["accuracy"] >= wanted
        return removal.result("minimality", rows)


def ablation(network: GroupModel, groups: Neurons = None, **options: Any) -> Ablation:
    """Necessity and sufficiency of sets of neurons; see :class:`AblationExperiment`.

    Args:
        network: a network or a surrogate. A float64 copy without the user's hooks is measured.
        groups: a circuit (its roles), :func:`neuron_sets` of one, names with neurons, or None
            for each neuron separately. A set with all neurons is added.
        options: the attributes of the experiment (``kind``, ``site``, ``controls``, ``chunk``), and
            the number of ``pairs`` (all by default, or about 10,000 if the group has more than
            60,000), ``seed``, ``thresholds`` and ``progress``.

    Raises:
        CosetCircuitsError: an argument is invalid.
    """
    bench, options = Bench.for_options(network, options)
    return AblationExperiment(**options).on(groups, bench)


def ablation_by_threshold(
    circuit: Circuit, column: str = "concentration", **options: Any
) -> Ablation:
    """See :class:`AblationByThreshold`; options as in :func:`ablation`.

    Raises:
        CosetCircuitsError: there is no such column, or it does not hold measurements.
    """
    check_circuit(circuit)
    bench, options = Bench.for_options(circuit.network, options)
    return AblationByThreshold(column=column, **options).of(circuit, bench)


def completeness(network: GroupModel, groups: Neurons = None, **options: Any) -> Ablation:
    """See :class:`Completeness`; arguments as in :func:`ablation`."""
    bench, options = Bench.for_options(network, options)
    return Completeness(**options).on(groups, bench)


def minimality(network: GroupModel, groups: Neurons = None, **options: Any) -> Ablation:
    """See :class:`Minimality`; arguments as in :func:`ablation`."""
    bench, options = Bench.for_options(network, options)
    return Minimality(**options).on(groups, bench)


class _Removal:
    """A network whose neurons can be removed, and the accuracy and loss that are left."""

    def __init__(self, options: AblationExperiment, neurons: Neurons, bench: Bench) -> None:
        self.options, self.bench, self.seed = options, bench, bench.seed
        self.model = bench.network
        (self.site,) = check_sites(self.model, [options.site], per_neuron=True)
        self.neurons = as_neuron_sets(self.model, neurons)
        self.blocks = sample_blocks(self.model.group, bench.pairs, bench.seed)
        is_mean = options.kind == "mean"
        self.mean = site_mean(self.model, self.site, options.chunk) if is_mean else None
        self.nothing = torch.zeros(0, dtype=torch.int64)
        self.left: dict[bytes, Float[Tensor, "2 blocks"]] = {}

    def others(self, members: Int[Tensor, "k"]) -> Int[Tensor, "_"]:
        """All other neurons."""
        everything = self.neurons.everything()
        return everything[~torch.isin(everything, members)]

    def random(self, members: Int[Tensor, "k"]) -> list[Tensor]:
        """Random sets of equal size; none if there is only one set of this size."""
        draws = 0 if len(members) in (0, self.neurons.width) else self.options.controls
        return [self.neurons.random(members, self.seed, draw) for draw in range(draws)]

    @torch.no_grad()
    def measure(self, sets: Iterable[Tensor] = ()) -> None:
        """Accuracy and loss by left element after removing each set, and with none removed."""
        wanted = {_key(removed): removed for removed in (self.nothing, *sets)}
        wanted = {key: removed for key, removed in wanted.items() if key not in self.left}
        if not wanted:
            return
        order = self.model.group.order
        figures = torch.zeros(len(wanted), 2, order, dtype=torch.float64)
        for part, pairs in self.blocks.chunks(self.options.chunk):
            self.bench.progress(self.options.id, part.start, order)
            run = run_on(self.model, pairs)
            labels = self.model.group.products(pairs).to(self.model.device)
            values = self._values(pairs, run.values[self.site])
            for i, removed in enumerate(wanted.values()):
                logits = run.put(self.site, removed, values[:, removed])
                outcome = scores(logits, labels, labels, logits, ("accuracy", "loss"))
                figures[i, :, part] = self.blocks.means(outcome)
        self.left |= zip(wanted, figures, strict=True)

    def _values(self, pairs: Tensor, unchanged: Tensor) -> Float[Tensor, "batch d_mlp"]:
        if self.options.kind == "zero":
            return torch.zeros_like(unchanged)
        if self.mean is not None:
            return self.mean.expand_as(unchanged)
        donors = source_pairs(self.model.group, pairs, self.seed)
        return run_on(self.model, donors).values[self.site]

    def means(self, removed: Tensor | None = None) -> tuple[float, float]:
        """Accuracy and loss after removing neurons, or of the network as it is."""
        key = _key(self.nothing if removed is None else removed)
        accuracy, loss = self.left[key].mean(1).tolist()
        return accuracy, loss

    def rows(self, plans: Iterable[tuple[dict[str, Any], Tensor, bool]]) -> list[dict[str, Any]]:
        """Accuracy and loss after each plan, compared with random sets of equal size.

        A plan is the first columns of its row, a set of neurons, and whether only this set is kept.
        """
        sets = []
        for about, members, is_kept in plans:
            chosen = [members, *self.random(members)]
            sets.append((about, list(map(self.others, chosen)) if is_kept else chosen))
        self.measure(removed for _, chosen in sets for removed in chosen)
        return [{**about, **self._figures(*chosen)} for about, chosen in sets]

    def _figures(self, removed: Tensor, *controls: Tensor) -> dict[str, float]:
        (accuracy, loss), base, nan = self.means(removed), self.means()[1], float("nan")
        low = high = nan
        if not self.blocks.is_exhaustive or (self.options.kind == "resample" and len(removed)):
            low, high = map(float, mean_interval(self.left[_key(removed)][0], self.seed))
        accuracies, losses = np.array([self.means(x) for x in controls] or [(nan, nan)]).T
        return {
            "accuracy": accuracy,
            "low": low,
            "high": high,
            "loss": loss,
            "loss_ratio": loss / base if base else nan,
            "control": float(accuracies.mean()),
            "control_low": float(accuracies.min()),
            "control_high": float(accuracies.max()),
            "control_loss": float(losses.mean()),
        }

    def result(self, experiment: str, rows: list[dict[str, Any]]) -> Ablation:
        self.measure()
        return Ablation(
            self.options.id,
            experiment,
            self.model.label,
            self.blocks.source,
            self.options.kind,
            self.site,
            *self.means(),
            pd.DataFrame(rows),
            self.seed,
        )


def _key(removed: Int[Tensor, "k"]) -> bytes:
    return removed.numpy().tobytes()


@torch.no_grad()
def site_mean(model: GroupModel, site: str, chunk: int = 2_000) -> Float[Tensor, "d_mlp"]:
    """The mean of each neuron's value at a site over all pairs, streamed."""
    total = torch.zeros(model.d_mlp, dtype=torch.float64, device=model.device)
    pairs = model.group.pairs()
    for part in pairs.split(chunk):
        total += run_on(model, part).values[site].double().sum(0)
    return (total / len(pairs)).to(model.dtype)
