"""Interchange interventions (Geiger et al. 2021): does the network follow its high-level model?

The high-level model is the circuit's surrogate, known only through the contract. Its *variables*
are what its neurons hold at a site, group by group; where the hypothesis names classes there, a
variable is a function of an input's cell. Interchanging one sets the group's values at the site,
in a run on a base input, to what they are on a source input; all else stays with the base. The
*counterfactual answer* is the surrogate's largest logit after that. The interchange intervention
accuracy (IIA) is the share of (base, source) inputs on which the network, interchanged alike, gives
the counterfactual answer.

A surrogate that is right agrees with a right network wherever the interchange moves neither answer,
so the IIA alone says little: read ``iia_moved``, over the inputs on which it moves one of them, and
``change_r2``, on the logits themselves, both beside the controls.

``transformer_lens.tools.analysis.interchange`` does the low-level half (a subspace, one hook, one
source an example; the tests use it as an oracle); it has no high-level model to compare with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from coset_circuits.algorithms import Circuit, Classes, DoesNotApplyError
from coset_circuits.errors import CosetCircuitsError
from coset_circuits.experiments.bench import measured
from coset_circuits.experiments.blocks import Blocks, sample_blocks
from coset_circuits.experiments.controls import relabelled_group
from coset_circuits.experiments.counterfactuals import (
    CellDonors,
    Side,
    joint_cells,
    shuffled,
    source_pairs,
)
from coset_circuits.experiments.neuron_sets import ALL, DULL, Neurons, NeuronSets, as_neuron_sets
from coset_circuits.experiments.patching import Progress
from coset_circuits.experiments.splice import Run, check_sites, run_on
from coset_circuits.findings.intervals import ratio_interval
from coset_circuits.groups import FiniteGroup
from coset_circuits.networks.model import NEURON_SITES, GroupModel
from coset_circuits.thresholds import DEFAULT, Thresholds

CIRCUIT = "circuit"
"""The row of the circuit itself: network and surrogate interchanged alike. Others control it."""

CONTROLS: dict[str, str] = {
    "random group": "the network's neurons are as many others, drawn at random (several draws)",
    "shuffled variable": "the surrogate's variable comes from another source",
    "relabelled group": "the surrogate is that of the hypothesis fitted under a relabelled group",
    "no interchange": "the surrogate is left on its base input",
}
"""What each control changes in the comparison."""

GROUP_LAW = "group law"
"""All neurons at once: the answer that the group itself gives, such as a'·b at the left site."""

READS: Mapping[str, Side] = {
    "hook_left_pre": "left",
    "hook_right_pre": "right",
    "hook_pre": "both",
    "hook_post": "both",
}
"""The input that each site depends on."""

Verdict = Literal["", "vacuous", "no better"]


@dataclass(frozen=True)
class Interchange:
    """Interchange interventions on every site and group of neurons of one circuit.

    Attributes:
        cells: one row a comparison: ``site``, ``group``, ``neurons``, ``model`` (:data:`CIRCUIT`,
            a control, or :data:`GROUP_LAW`).
        sums: for each row and left element of the base, over its pairs, the means of: answers that
            agree; answers of which either moved; moved and agree; the network's moved; squared
            error of the logits' change; its square (both centred over the outputs).
        same_class: sources from the base's own class: see :meth:`same_class_table`.
        notes: what could not be measured, and why.
    """

    circuit: str
    network: str
    measured_on: str
    cells: pd.DataFrame
    sums: Float[Tensor, "rows 6 blocks"]
    same_class: pd.DataFrame
    notes: tuple[str, ...]
    seed: int
    thresholds: Thresholds

    def to_dataframe(self) -> pd.DataFrame:
        """One row a comparison.

        ``iia``: share of inputs with the counterfactual answer. ``moved``: share on which the
        interchange moves the network's answer. ``iia_moved``: the IIA over inputs on which it moves
        the network's answer or the counterfactual one (NaN where there are none), with a 95%
        bootstrap interval over left elements. ``change_r2``: share of the interchange's effect on
        the network's logits, centred over outputs, that the high-level model predicts.
        """
        agree, either, moved_agree, moved, error, energy = self.sums.mean(2).T
        frame = self.cells.copy()
        frame["iia"] = agree.numpy()
        frame["moved"] = moved.numpy()
        frame["iia_moved"] = _ratio(moved_agree, either).numpy()
        low, high = ratio_interval(self.sums[:, 2], self.sums[:, 1], self.seed)
        frame["low"], frame["high"] = low.numpy(), high.numpy()
        frame["change_r2"] = 1 - _ratio(error, energy).numpy()
        law = frame["model"] == GROUP_LAW
        frame.loc[law, "change_r2"] = float("nan")
        return frame

    def table(self, column: str = "iia_moved") -> pd.DataFrame:
        """One row a site and group: the circuit's figure, its controls' in columns, the verdict.

        ``vacuous``: the interchange moves too few answers to tell models apart by them (at most the
        thresholds' ``separation_accuracy``); read ``change_r2``. ``no better``: a control's
        ``iia_moved`` is as good.
        """
        frame = self.to_dataframe()
        index = ["site", "group", "neurons"]
        wide = frame.pivot(index=index, columns="model", values=column)
        order = [name for name in (CIRCUIT, *CONTROLS, GROUP_LAW) if name in wide]
        own = frame.loc[frame["model"] == CIRCUIT].set_index(index)
        wide = wide.reindex(own.index)[order]
        wide.insert(0, "moved", own["moved"])
        wide["verdict"] = self._verdicts()
        return wide.reset_index().rename_axis(columns=None)

    def same_class_table(self) -> pd.DataFrame:
        """Sources from the base's own class, which under the hypothesis change nothing.

        For each site with classes: ``kept``, the share of inputs on which the network keeps its
        answer; ``change``, the squared change of its logits over that of a free source (0: nothing
        changes); ``freedom``, H(input | class) / H(input), 0 where the class holds nothing else and
        the figure says nothing. ``model`` is :data:`CIRCUIT`, or "random classes" of equal sizes.
        A group's class is what all its neurons' classes have in common; groups that the hypothesis
        does not claim have none.
        """
        return self.same_class.copy()

    def _verdicts(self) -> list[Verdict]:
        margin = self.thresholds.separation_accuracy
        found: list[Verdict] = []
        frame = self.to_dataframe()
        for _, rows in frame.groupby(["site", "group"], sort=False):
            by_model = rows.set_index("model")
            moved, own = (float(by_model.at[CIRCUIT, k]) for k in ("moved", "iia_moved"))
            rivals = [float(by_model.at[k, "iia_moved"]) for k in CONTROLS if k in by_model.index]
            if moved <= margin:
                found.append("vacuous")
            else:
                found.append("no better" if max(rivals) >= own - margin else "")
        return found

    def __str__(self) -> str:
        parts = [self._title, self.table().to_string(index=False)]
        if len(self.same_class):
            parts += ["Source of the same class:", self.same_class.to_string(index=False)]
        return "\n".join([*parts, *self.notes])

    def __repr__(self) -> str:
        return f"Interchange({self._title}: {len(self.cells)} comparisons)"

    def _repr_html_(self) -> str:
        notes = "".join(f"<li>{note}</li>" for note in self.notes)
        return f"<p>{self._title}</p>{self.table().to_html(index=False)}<ul>{notes}</ul>"

    @property
    def _title(self) -> str:
        return (
            f"interchange interventions of {self.circuit} on {self.network}, {self.measured_on}, "
            f"seed {self.seed}"
        )


def interchange(
    circuit: Circuit,
    groups: Neurons = None,
    *,
    sites: Sequence[str] | None = None,
    relabelled: Circuit | None = None,
    controls: int = 5,
    pairs: int | None = None,
    seed: int = 0,
    chunk: int = 2_000,
    thresholds: Thresholds = DEFAULT,
    progress: Progress | None = None,
) -> Interchange:
    """Interchange each variable of a circuit between base and source, in network and surrogate.

    Every pair is a base once; its source is drawn from all pairs, keyed by (seed, pair).

    Args:
        circuit: any fitted hypothesis; see the module's docstring for the high-level model.
        groups: the neurons of each variable; by default those of each role. The group of all
            neurons is always added, where the group law says what the answer should be.
        sites: of :data:`~coset_circuits.experiments.splice.NEURON_SITES`; by default those at which
            the circuit is not silent.
        relabelled: the same hypothesis fitted under a relabelled group, as a control; by default
            the circuit's algorithm is fitted so.
        controls: how many random groups of each size.
        pairs: how many base pairs; all of them unless the group has more than 60,000.
        seed: of the sources, random groups, random classes and the relabelling.
        chunk: about how many pairs are run at a time; it changes nothing but memory.
        thresholds: for the verdicts of :meth:`Interchange.table`.
        progress: called with (what is being done, steps done, steps in all).

    Raises:
        CosetCircuitsError: a site at which the circuit is silent, or groups of other neurons.
    """
    if controls < 0:
        raise CosetCircuitsError(f"{controls} controls were asked for; give 0 or more.")
    if relabelled is not None and relabelled.network is not circuit.network:
        raise CosetCircuitsError(
            f"The relabelled circuit is one of {relabelled.network.label}, fitted apart from this "
            f"circuit's {circuit.network.label}; fit both to the same network object."
        )
    network, surrogate = measured(circuit.network), measured(circuit.surrogate())
    chosen = check_sites(surrogate, sites, NEURON_SITES)
    neurons = as_neuron_sets(network, circuit if groups is None else groups)
    notes: list[str] = []
    other, why = (relabelled, "") if relabelled is not None else _relabelled(circuit, seed)
    if other is None:
        notes.append(why)
    blocks = sample_blocks(network.group, pairs, seed)
    plan = _Plan(chosen, neurons, controls, seed, other is not None)
    models = {"network": network, "surrogate": surrogate}
    if other is not None:
        models["relabelled"] = measured(other.surrogate())
    classes = _all_classes(circuit, chosen, plan, seed, notes)
    sums, same = _swept(models, plan, classes, blocks, chunk, seed, progress)
    return Interchange(
        circuit=circuit.name,
        network=network.label,
        measured_on=blocks.source,
        cells=plan.frame(circuit),
        sums=sums,
        same_class=same,
        notes=tuple(notes),
        seed=seed,
        thresholds=thresholds,
    )


def _relabelled(circuit: Circuit, seed: int) -> tuple[Circuit | None, str]:
    """The hypothesis fitted under a relabelled group, or a sentence that says why there is none."""
    missing = "There is no control by a relabelled group: "
    if circuit.algorithm is None:
        return None, f"{missing}the circuit does not know its algorithm; give relabelled=."
    group = relabelled_group(circuit.network.group, seed)
    if group is None:
        return None, f"{missing}every relabelling of {circuit.network.group.name} is the same."
    try:
        return circuit.algorithm.fit(circuit.network, group), ""
    except DoesNotApplyError as error:
        return None, missing + str(error)


@dataclass(frozen=True)
class _Plan:
    """Which variables are interchanged, and the rows of the result, in order."""

    sites: list[str]
    neurons: NeuronSets
    controls: int
    seed: int
    has_relabelled: bool

    def variables(self) -> list[tuple[str, str, Tensor]]:
        named = [(ALL, self.neurons.everything()), *self.neurons]
        return [(site, group, members) for site in self.sites for group, members in named]

    def models(self, group: str) -> list[str]:
        names = [CIRCUIT, *CONTROLS]
        if not self.has_relabelled:
            names.remove("relabelled group")
        if group == ALL:
            # As many neurons as there are: no others to draw.
            names.remove("random group")
            names.append(GROUP_LAW)
        elif not self.controls:
            names.remove("random group")
        return names

    @property
    def rows(self) -> int:
        return sum(len(self.models(group)) for _, group, _ in self.variables())

    def frame(self, circuit: Circuit) -> pd.DataFrame:
        variable = {
            site: ", ".join(classes.name for classes in circuit.classes(site)) or "values"
            for site in self.sites
        }
        return pd.DataFrame(
            [
                {
                    "site": site,
                    "variable": variable[site],
                    "group": group,
                    "neurons": len(members),
                    "model": model,
                }
                for site, group, members in self.variables()
                for model in self.models(group)
            ]
        )

    def random(self, members: Tensor) -> list[Tensor]:
        return [self.neurons.random(members, self.seed, draw) for draw in range(self.controls)]


@torch.no_grad()
def _swept(
    models: Mapping[str, GroupModel],
    plan: _Plan,
    classes: Sequence[_SameClass],
    blocks: Blocks,
    chunk: int,
    seed: int,
    progress: Progress | None,
) -> tuple[Float[Tensor, "rows 6 blocks"], pd.DataFrame]:
    network = models["network"]
    order = network.group.order
    sums = torch.zeros(plan.rows, 6, order, dtype=torch.float64)
    done = 0
    for part, pairs in blocks.chunks(chunk):
        if progress is not None:
            progress("interchange", done, order)
        done += len(pairs) // blocks.size
        step = _Step(models, plan, pairs, seed)
        row = 0
        for site, group, members in plan.variables():
            for stats in step.compared(site, group, members):
                sums[row, :, part] = blocks.means(stats)
                row += 1
        for one in classes:
            one.add(step, blocks)
    return sums, pd.DataFrame([one.row() for one in classes])


class _Step:
    """One chunk of base pairs, with their sources, on every model."""

    def __init__(
        self, models: Mapping[str, GroupModel], plan: _Plan, pairs: Tensor, seed: int
    ) -> None:
        self.plan, self.pairs, self.seed = plan, pairs, seed
        self.group: FiniteGroup = models["network"].group
        self.source = source_pairs(self.group, pairs, seed)
        unrelated = source_pairs(self.group, pairs, seed, shuffled=True)
        self.base: dict[str, Run] = {k: run_on(m, pairs) for k, m in models.items()}
        self.other: dict[str, Run] = {k: run_on(m, self.source) for k, m in models.items()}
        self.unrelated = run_on(models["surrogate"], unrelated)
        self.network = models["network"]
        self.answers = {k: run.logits.argmax(1) for k, run in self.base.items()}
        self.centred = {k: _centred(run.logits) for k, run in self.base.items()}

    def put(self, model: str, site: str, members: Tensor, source: Run | None = None) -> Tensor:
        values = (source or self.other[model]).values[site][:, members]
        return self.base[model].put(site, members, values)

    def compared(self, site: str, group: str, members: Tensor) -> list[Float[Tensor, "6 batch"]]:
        """The statistics of every row of one variable."""
        moved = self.put("network", site, members)
        predicted = self.put("surrogate", site, members)
        found = []
        for model in self.plan.models(group):
            if model == CIRCUIT:
                stats = self.stats(moved, "surrogate", predicted)
            elif model == "random group":
                draws = self.plan.random(members)
                stats = torch.stack(
                    [
                        self.stats(self.put("network", site, x), "surrogate", predicted)
                        for x in draws
                    ]
                ).mean(0)
            elif model == "shuffled variable":
                shuffled_put = self.put("surrogate", site, members, self.unrelated)
                stats = self.stats(moved, "surrogate", shuffled_put)
            elif model == "relabelled group":
                stats = self.stats(moved, "relabelled", self.put("relabelled", site, members))
            elif model == "no interchange":
                stats = self.stats(moved, "surrogate", self.base["surrogate"].logits)
            else:
                stats = self.law(site, moved)
            found.append(stats)
        return found

    def stats(self, moved: Tensor, model: str, predicted: Tensor) -> Float[Tensor, "6 batch"]:
        answer, expected = moved.argmax(1), predicted.argmax(1)
        change = _centred(moved) - self.centred["network"]
        error = change - (_centred(predicted) - self.centred[model])
        return _counted(
            answer == expected,
            answer != self.answers["network"],
            expected != self.answers[model],
            error.square().sum(1),
            change.square().sum(1),
        )

    def law(self, site: str, moved: Tensor) -> Float[Tensor, "6 batch"]:
        """Against the product of the inputs that the interchanged site stands for."""
        pair = self.pairs.clone()
        for column, side in enumerate(("left", "right")):
            if READS[site] in (side, "both"):
                pair[:, column] = self.source[:, column]
        expected = self.group.products(pair).to(moved.device)
        own = self.group.products(self.pairs).to(moved.device)
        answer = moved.argmax(1)
        nothing = torch.zeros(len(pair), dtype=torch.float64, device=moved.device)
        return _counted(
            answer == expected,
            answer != self.answers["network"],
            expected != own,
            nothing,
            nothing,
        )


def _counted(
    agree: Tensor, moved: Tensor, expected_moved: Tensor, error: Tensor, energy: Tensor
) -> Float[Tensor, "6 batch"]:
    either = moved | expected_moved
    return torch.stack(
        [x.double() for x in (agree, either, agree & either, moved, error, energy)]
    ).cpu()


def _centred(logits: Float[Tensor, "batch order"]) -> Float[Tensor, "batch order"]:
    return logits - logits.mean(1, keepdim=True)


def _ratio(numerator: Float[Tensor, "n"], denominator: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
    """NaN where nothing is divided by nothing."""
    return numerator / denominator


class _SameClass:
    """Sources drawn from the base's own class, or from a random one of the same size."""

    def __init__(
        self,
        group: FiniteGroup,
        labels: Mapping[str, Int[Tensor, "order"] | None],
        about: Mapping[str, object],
        members: Int[Tensor, "k"],
    ) -> None:
        self.about, self.members = dict(about), members
        self.site = str(about["site"])
        self.donors = CellDonors(group, **labels)
        self.kept = self.change = self.free = 0.0
        self.pairs = 0

    def add(self, step: _Step, blocks: Blocks) -> None:
        source = self.donors.draw(step.pairs, step.seed)
        moved = step.put("network", self.site, self.members, run_on(step.network, source))
        free = step.put("network", self.site, self.members)
        base = step.base["network"].logits
        self.kept += float((moved.argmax(1) == step.answers["network"]).sum())
        self.change += float(_centred(moved - base).square().sum())
        self.free += float(_centred(free - base).square().sum())
        self.pairs += len(step.pairs)

    def row(self) -> dict[str, object]:
        return {
            **self.about,
            "freedom": self.donors.freedom(READS[self.site]),
            "kept": self.kept / self.pairs,
            "change": self.change / self.free if self.free else float("nan"),
        }


def _all_classes(
    circuit: Circuit, sites: Sequence[str], plan: _Plan, seed: int, notes: list[str]
) -> list[_SameClass]:
    found = []
    for site in sites:
        named = circuit.classes(site)
        if not named:
            notes.append(f"{circuit.name} names no classes at {site}: no source of the same class.")
        for classes in named:
            for group, members in plan.neurons:
                if all(circuit.roles.names[j] in DULL for j in members.tolist()):
                    continue
                for model in (CIRCUIT, "random classes"):
                    about = {
                        "site": site,
                        "classes": classes.name,
                        "group": group,
                        "neurons": len(members),
                        "model": model,
                    }
                    labels = _joint(classes, members)
                    if model != CIRCUIT:
                        # One seed a side, or left and right would be shuffled alike.
                        labels = {
                            side: shuffled(x, seed + 1 + i)
                            for i, (side, x) in enumerate(labels.items())
                        }
                    found.append(_SameClass(circuit.network.group, labels, about, members))
    return found


def _joint(classes: Classes, members: Tensor) -> dict[str, Int[Tensor, "order"] | None]:
    sides = {"left": classes.left, "right": classes.right, "product": classes.product}
    return {
        side: None if labels is None else joint_cells(labels.cpu()[:, members])
        for side, labels in sides.items()
    }
