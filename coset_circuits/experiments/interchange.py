"""Interchange interventions (Geiger et al. 2021): does the network follow its high-level model?

The high-level model is the circuit's surrogate, used only through the contract. Its *variables* are
the values of its neuron sets at a site. If the hypothesis names classes there, a variable is a
function of an input's cell. An interchange runs a base input, but sets one variable to its value on
a source input. The *counterfactual answer* is the surrogate's largest logit after that. The
interchange intervention accuracy (IIA) is the share of (base, source) inputs on which the network,
with the same interchange, gives the counterfactual answer.

A right surrogate agrees with a right network whenever the interchange moves neither answer, so the
IIA alone shows little. Read ``iia_moved``, over the inputs on which it moves one of the answers,
and ``change_r2``, on the logits themselves, and compare both with the controls.

``transformer_lens.tools.analysis.interchange`` does the low-level half (a subspace, one hook, one
source per example) and is an oracle in the tests. It has no high-level model to compare with.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from coset_circuits.algorithms import Circuit
from coset_circuits.algorithms.algorithm import check_circuit
from coset_circuits.errors import CosetCircuitsError, whole
from coset_circuits.experiments.bench import Bench, measured
from coset_circuits.experiments.blocks import sample_blocks
from coset_circuits.experiments.counterfactuals import CellDonors, Side, shuffled, source_pairs
from coset_circuits.experiments.experiment import OfEachHypothesis
from coset_circuits.experiments.neuron_sets import ALL, DULL, Neurons, NeuronSets, as_neuron_sets
from coset_circuits.experiments.resampling import intersected
from coset_circuits.experiments.splice import Run, check_sites, run_on
from coset_circuits.findings import Finding, Findings, from_table
from coset_circuits.findings.intervals import ratio_interval
from coset_circuits.networks.model import GroupModel
from coset_circuits.thresholds import Thresholds

CIRCUIT = "circuit"
"""The row of the circuit itself, with the same interchange in network and surrogate."""

CONTROLS: dict[str, str] = {
    "random group": "the network's neurons are a random set of equal size (several draws)",
    "shuffled variable": "the surrogate's variable comes from another source",
    "relabelled group": "the surrogate is that of the hypothesis fitted under a relabelled group",
    "no interchange": "the surrogate is left on its base input",
}
"""What each control changes in the comparison."""

GROUP_LAW = "group law"
"""For all neurons at once: the group's own answer, such as a'·b at the left site."""

_VARIABLE = ["site", "group", "neurons"]


@dataclass(frozen=True, repr=False)
class Interchange(Findings):
    """Interchange interventions on every site and set of neurons of one circuit.

    Attributes:
        cells: one row per comparison: ``site``, ``group``, ``neurons``, ``model``
            (:data:`CIRCUIT`, a control, or :data:`GROUP_LAW`).
        sums: for each row and left element of the base, over its pairs, the means of: answers that
            agree; answers of which either moved; moved and agree; the network's moved; squared
            error of the logits' change; its square (both centred over the outputs).
        same_class: sources from the class of the base; see :meth:`same_class_table`.
        notes: what could not be measured, and why.
    """

    circuit: str
    network: str
    measured_on: str
    cells: pd.DataFrame
    sums: Float[Tensor, "rows 6 blocks"]
    same_class: pd.DataFrame
    seed: int
    thresholds: Thresholds
    notes: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        return (
            f"interchange interventions of {self.circuit} on {self.network}, {self.measured_on}, "
            f"seed {self.seed}"
        )

    def to_dataframe(self) -> pd.DataFrame:
        """One row per comparison.

        ``iia``: share of inputs with the counterfactual answer. ``moved``: share on which the
        interchange moves the network's answer. ``iia_moved``: the IIA over inputs on which it moves
        the network's answer or the counterfactual one (NaN where there are none), with a 95%
        bootstrap interval over left elements. ``change_r2``: share of the interchange's effect on
        the network's logits, centred over outputs, that the high-level model predicts.
        """
        agree, either, moved_agree, moved, error, energy = self.sums.mean(2).T
        low, high = ratio_interval(self.sums[:, 2], self.sums[:, 1], self.seed)
        columns = {"iia": agree, "moved": moved, "iia_moved": moved_agree / either}
        columns |= {"low": low, "high": high, "change_r2": 1 - error / energy}
        frame = self.cells.assign(**{name: values.numpy() for name, values in columns.items()})
        frame.loc[frame["model"] == GROUP_LAW, "change_r2"] = float("nan")
        return frame

    def table(self, column: str = "iia_moved") -> pd.DataFrame:
        """One row per site and set: the circuit's figure, its controls and the verdict.

        ``vacuous``: the interchange moves too few answers to distinguish models (at most the
        thresholds' ``separation_accuracy``); read ``change_r2``. ``no better``: a control's
        ``iia_moved`` is as good.
        """
        frame, margin = self.to_dataframe(), self.thresholds.separation_accuracy
        followed = frame[frame["model"] == CIRCUIT].set_index(_VARIABLE)
        shown, agreement = (
            frame.pivot(index=_VARIABLE, columns="model", values=values).reindex(followed.index)
            for values in (column, "iia_moved")
        )
        names = [name for name in (CIRCUIT, *CONTROLS, GROUP_LAW) if name in shown]
        rivals = agreement[[name for name in names if name in CONTROLS]].max(axis=1)
        is_vacuous = followed["moved"] <= margin
        is_no_better = rivals >= agreement[CIRCUIT] - margin
        shown = shown[names]
        shown.insert(0, "moved", followed["moved"])
        shown["verdict"] = np.select([is_vacuous, is_no_better], ["vacuous", "no better"], "")
        return shown.reset_index().rename_axis(columns=None)

    def same_class_table(self) -> pd.DataFrame:
        """Sources from the class of the base, which change nothing if the hypothesis is right.

        For each site with classes: ``kept``, the share of inputs on which the network keeps its
        answer; ``change``, the squared change of its logits over that of a free source (0: nothing
        changes); ``freedom``, H(input | class) / H(input). A freedom of 0 means that the class has
        no other input, so the figure shows nothing. ``model`` is :data:`CIRCUIT`, or "random
        classes" of equal sizes. The class of a set is the intersection of its neurons' classes;
        sets that the hypothesis does not claim have none.
        """
        return self.same_class.copy()

    def tables(self) -> Mapping[str, pd.DataFrame]:
        shown = {"Share of moved answers that agree": self.table()}
        if len(self.same_class):
            shown["A source of the same class"] = self.same_class
        return shown

    def findings(self) -> Iterator[Finding]:
        """The circuit's figures with its best control, and the figures of every control."""
        frame, place = self.to_dataframe(), ["site", "group"]
        quantities = ["iia", "iia_moved", "change_r2"]
        controls = frame.loc[frame["model"].isin(CONTROLS), [*place, *quantities]]
        best = controls.groupby(place).max().add_prefix("best control ").reset_index()
        yield from from_table(
            frame.merge(best.assign(model=CIRCUIT), how="left", on=[*place, "model"]),
            "interchange",
            at=[*place, "model"],
            units=dict.fromkeys([*quantities, "moved"], "fraction"),
            control={quantity: f"best control {quantity}" for quantity in quantities},
            interval={"iia_moved": ("low", "high")},
            source=self.measured_on,
        )


@dataclass(frozen=True)
class InterchangeExperiment(OfEachHypothesis):
    """Interchange each variable of a circuit between base and source, in network and surrogate.

    Every pair is a base once. Its source is drawn from all pairs, keyed by (seed, pair).

    Attributes:
        groups: the neurons of each variable; by default those of each role. The set of all
            neurons is always added, because the group law gives its counterfactual answer.
        sites: sites with one column per neuron; by default those at which the circuit is not
            silent.
        relabelled: the control: the same hypothesis fitted under a relabelled group. The default
            is the bench's.
        controls: the number of random sets of neurons of each size.
        chunk: about how many pairs are run at a time; it only changes memory use.
    """

    groups: Neurons = None
    sites: Sequence[str] | None = None
    relabelled: Circuit | None = None
    controls: int = 5
    chunk: int = 2_000
    id = "interchange"

    def __post_init__(self) -> None:
        whole("number of controls", self.controls, 0)

    def of(self, circuit: Circuit, bench: Bench) -> Interchange:
        """Interchange every variable of one circuit.

        Raises:
            CosetCircuitsError: the circuit is silent at a site, or a set has unknown neurons.
        """
        if self.relabelled is not None and self.relabelled.network is not circuit.network:
            raise CosetCircuitsError(
                f"The relabelled circuit was fitted to {self.relabelled.network.label}, which is "
                f"not this circuit's {circuit.network.label}; fit both to the same network object."
            )
        network, order, seed = bench.network, bench.network.group.order, bench.seed
        surrogate = measured(circuit.surrogate())
        sites = check_sites(surrogate, self.sites, per_neuron=True)
        neurons = as_neuron_sets(network, circuit if self.groups is None else self.groups)
        other = self.relabelled or bench.relabelled(circuit)
        models, notes = {"network": network, "surrogate": surrogate}, []
        if isinstance(other, str):
            notes.append(
                f"There is no control by a relabelled group: {other} (or give relabelled=)."
            )
        else:
            models["relabelled"] = measured(other.surrogate())
        variables, same_class = [], []
        for site in sites:
            about = ", ".join(classes.name for classes in circuit.classes(site))
            if not about:
                notes.append(
                    f"{circuit.name} names no classes at {site}: no source of the same class."
                )
            variables.append((site, about or "values", ALL, neurons.everything(), []))
            for name, members in neurons:
                draws = [neurons.random(members, seed, draw) for draw in range(self.controls)]
                variables.append((site, about or "values", name, members, draws))
            same_class += _same_classes(circuit, site, neurons, seed)
        blocks = sample_blocks(network.group, bench.pairs, seed)
        sums: dict[tuple[str, str, str, int, str], Float[Tensor, "6 blocks"]] = {}
        for part, pairs in blocks.chunks(self.chunk):
            bench.progress("interchange", part.start, order)
            with torch.no_grad():
                runs = _Runs(models, pairs, seed)
                for site, about, name, members, draws in variables:
                    for model, values in runs.compared(site, members, draws, name == ALL):
                        row = (site, about, name, len(members), model)
                        sums.setdefault(row, torch.zeros(6, order, dtype=torch.float64))
                        sums[row][:, part] = blocks.means(values)
                for one in same_class:
                    one.add(runs)
        return Interchange(
            circuit=circuit.name,
            network=network.label,
            measured_on=blocks.source,
            cells=pd.DataFrame(list(sums), columns=["site", "variable", *_VARIABLE[1:], "model"]),
            sums=torch.stack(list(sums.values())),
            same_class=pd.DataFrame([one.row() for one in same_class]),
            seed=seed,
            thresholds=bench.thresholds,
            notes=tuple(notes),
        )


def interchange(circuit: Circuit, groups: Neurons = None, **options: Any) -> Interchange:
    """See :class:`InterchangeExperiment`.

    Args:
        circuit: any fitted hypothesis; see the module's docstring for the high-level model.
        groups: the neurons of each variable; by default those of each role.
        options: the other attributes of the experiment, and the number of base ``pairs`` (all
            unless the group has more than 60,000), the ``seed`` for sources, random sets, random
            classes and relabelling, the ``thresholds`` of the verdicts in
            :meth:`Interchange.table`, and ``progress``.
    """
    check_circuit(circuit)
    bench, options = Bench.for_options(circuit, options)
    return InterchangeExperiment(groups, **options).of(circuit, bench)


class _Runs:
    """One chunk of base pairs, with their sources, on every model."""

    def __init__(self, models: Mapping[str, GroupModel], pairs: Tensor, seed: int) -> None:
        self.network, self.pairs, self.seed = models["network"], pairs, seed
        group = self.network.group
        self.source = source_pairs(group, pairs, seed)
        unrelated = source_pairs(group, pairs, seed, shuffled=True)
        self.base: dict[str, Run] = {k: run_on(m, pairs) for k, m in models.items()}
        self.other: dict[str, Run] = {k: run_on(m, self.source) for k, m in models.items()}
        self.unrelated = run_on(models["surrogate"], unrelated)
        self.answers = {k: run.logits.argmax(1) for k, run in self.base.items()}
        self.centred = {k: _centred(run.logits) for k, run in self.base.items()}

    def put(self, model: str, site: str, members: Tensor, source: Run | None = None) -> Tensor:
        """The logits of a model with some neurons' values taken from the source."""
        values = (source or self.other[model]).values[site][:, members]
        return self.base[model].put(site, members, values)

    def compared(
        self, site: str, members: Tensor, draws: Sequence[Tensor], is_everything: bool
    ) -> Iterator[tuple[str, Float[Tensor, "6 batch"]]]:
        """Each high-level model of one variable, and its statistics pair by pair."""
        moved = self.put("network", site, members)
        predicted = self.put("surrogate", site, members)
        yield CIRCUIT, self._against("surrogate", predicted, moved)
        if draws:
            drawn = (self.put("network", site, x) for x in draws)
            each = [self._against("surrogate", predicted, logits) for logits in drawn]
            yield "random group", torch.stack(each).mean(0)
        elsewhere = self.put("surrogate", site, members, self.unrelated)
        yield "shuffled variable", self._against("surrogate", elsewhere, moved)
        if "relabelled" in self.base:
            relabelled = self.put("relabelled", site, members)
            yield "relabelled group", self._against("relabelled", relabelled, moved)
        left = self.base["surrogate"].logits
        yield "no interchange", self._against("surrogate", left, moved)
        if is_everything:
            yield GROUP_LAW, self._against_law(site, moved)

    def _against(
        self, model: str, predicted: Float[Tensor, "batch order"], moved: Tensor
    ) -> Float[Tensor, "6 batch"]:
        change = _centred(moved) - self.centred["network"]
        error = change - (_centred(predicted) - self.centred[model])
        answers = predicted.argmax(1)
        sizes = error.square().sum(1), change.square().sum(1)
        return self._counted(moved, answers, answers != self.answers[model], *sizes)

    def _against_law(self, site: str, moved: Tensor) -> Float[Tensor, "6 batch"]:
        """Against the product of the inputs that the interchanged site stands for."""
        reads = [side in self.network.sites[site].reads for side in ("left", "right")]
        pairs = torch.where(torch.tensor(reads), self.source, self.pairs)
        answers, unmoved = (self.network.group.products(p) for p in (pairs, self.pairs))
        nothing = torch.zeros(len(pairs), dtype=torch.float64, device=moved.device)
        answers, unmoved = answers.to(moved.device), unmoved.to(moved.device)
        return self._counted(moved, answers, answers != unmoved, nothing, nothing)

    def _counted(
        self,
        moved: Float[Tensor, "batch order"],
        answers: Int[Tensor, "batch"],
        is_moved: Bool[Tensor, "batch"],
        error: Float[Tensor, "batch"],
        energy: Float[Tensor, "batch"],
    ) -> Float[Tensor, "6 batch"]:
        ours = moved.argmax(1)
        agrees, moves = ours == answers, ours != self.answers["network"]
        either = moves | is_moved
        statistics = (agrees, either, agrees & either, moves, error, energy)
        return torch.stack([one.double() for one in statistics]).cpu()


def _centred(logits: Float[Tensor, "batch order"]) -> Float[Tensor, "batch order"]:
    return logits - logits.mean(1, keepdim=True)


@dataclass
class _SameClass:
    """Sources drawn from the class of the base, or from a random class of the same size."""

    about: dict[str, Any]
    members: Int[Tensor, "k"]
    donors: CellDonors
    reads: Side
    pairs: int = 0
    kept: float = 0.0
    change: float = 0.0
    free: float = 0.0

    def add(self, runs: _Runs) -> None:
        """Count one more chunk."""
        site, base = self.about["site"], runs.base["network"].logits
        source = run_on(runs.network, self.donors.draw(runs.pairs, runs.seed))
        moved = runs.put("network", site, self.members, source)
        free = runs.put("network", site, self.members)
        self.kept += float((moved.argmax(1) == runs.answers["network"]).sum())
        self.change += float(_centred(moved - base).square().sum())
        self.free += float(_centred(free - base).square().sum())
        self.pairs += len(runs.pairs)

    def row(self) -> dict[str, Any]:
        return {
            **self.about,
            "freedom": self.donors.freedom(self.reads),
            "kept": self.kept / self.pairs,
            "change": self.change / self.free if self.free else float("nan"),
        }


def _same_classes(
    circuit: Circuit, site: str, neurons: NeuronSets, seed: int
) -> Iterator[_SameClass]:
    """The classes of a site, and random ones, for every set that the hypothesis claims."""
    left, right = (side in circuit.network.sites[site].reads for side in ("left", "right"))
    for classes in circuit.classes(site):
        for name, members in neurons:
            if all(circuit.roles.names[j] in DULL for j in members.tolist()):
                continue
            cells = [
                None if labels is None else intersected(labels.cpu()[:, members])
                for labels in (classes.left, classes.right, classes.product)
            ]
            # One seed per side, or left and right would be shuffled alike.
            mixed = [shuffled(labels, seed + 1 + i) for i, labels in enumerate(cells)]
            for model, labels in ((CIRCUIT, cells), ("random classes", mixed)):
                about = {"site": site, "classes": classes.name, "group": name}
                yield _SameClass(
                    about | {"neurons": len(members), "model": model},
                    members,
                    CellDonors(circuit.network.group, *labels),
                    "both" if left and right else "left" if left else "right",
                )
