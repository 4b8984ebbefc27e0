"""Figs. 3, 7 and 8: a neuron's pre-activations by coset at several steps of training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from coset_circuits.algorithms import coset_fvu
from coset_circuits.errors import CosetCircuitsError
from coset_circuits.experiments.partitions import canonical, explained
from coset_circuits.report.style import colour
from coset_circuits.reproduction import artifact as art
from coset_circuits.reproduction.study import Study

SHOWN = (0.25, 0.5, 0.75)
"""The steps shown: just before the unexplained variance has fallen by this share of its fall, in
decades, and the end. If some of these coincide, the latest other steps are added."""

MAX_COSETS = 24
"""A figure of more cosets is not legible; neurons with fewer are preferred."""

SIDES = ("left", "right")
RANDOM = "random function"
_NUMERIC_FLOOR = 1e-12
_BINS = 36


@dataclass(frozen=True)
class Wanted:
    """The neuron that a figure of the paper shows.

    Attributes:
        subgroup: its class, such as ``"F20"``.
        index: how many cosets the subgroup has in S5.
        sides: left, right or both.
        first, last: variance and concentration C at the first and the last step, if printed.
    """

    subgroup: str
    index: int
    sides: tuple[str, ...] = SIDES
    first: tuple[art.Value, art.Value] = (None, None)
    last: tuple[art.Value, art.Value] = (None, None)

    def distance(self, index: int) -> float:
        """How far another number of cosets is from the wanted one, in ratio."""
        return abs(np.log(index / self.index))


def analyse(wanted: Wanted, study: Study) -> dict[str, Any]:
    """The network's clearest neuron of the wanted class, or of the most similar, over training.

    Most similar: the number of cosets is nearest to the wanted one, in ratio. Clearest: the most
    variance, both sides together.

    Raises:
        CosetCircuitsError: no neuron of the network has a subgroup.
    """
    circuit, group = study.circuit, study.network.group
    j = _clearest(wanted, study)
    labels, cosets = {}, {}
    for side in SIDES:
        partitions = getattr(circuit.classes(f"hook_{side}_pre")[0], side)
        first, labels[side] = np.unique(canonical(partitions)[:, j].numpy(), return_inverse=True)
        cosets[side] = [group.labels[g] for g in first]
    history, values = [], []
    for step, network in study.over_training():
        tables = {side: getattr(network, f"{side}_table")[:, j].detach() for side in SIDES}
        states = {side: _state(table, labels[side]) for side, table in tables.items()}
        history.append({"step": step, **states})
        values.append({side: [round(v, 6) for v in t.tolist()] for side, t in tables.items()})
    last = history[-1]
    return {
        "subgroup": circuit.roles.names[j],
        "exact": circuit.roles.names[j] == wanted.subgroup,
        "neuron": j,
        "index": len(cosets["left"]),
        "fvu": last["left"]["fvu"] + last["right"]["fvu"],
        "labels": {side: numbers.tolist() for side, numbers in labels.items()},
        "cosets": cosets,
        "wrong_side": _state(study.network.left_table[:, j].detach(), labels["right"])["c"],
        "history": history,
        "shown": [
            {**history[i], "values": values[i]}
            for i in _steps_to_show([state["left"]["fvu"] for state in history])
        ],
    }


def _clearest(wanted: Wanted, study: Study) -> int:
    names, network = study.circuit.roles.names, study.network
    variance = network.left_table.var(0) + network.right_table.var(0)
    index = {c.name: c.index for c in network.group.subgroup_classes}
    candidates = np.flatnonzero(explained(study.circuit)).tolist()
    if not candidates:
        raise CosetCircuitsError("None of its neurons has a subgroup.")

    def unlike(j: int) -> tuple[bool, bool, float, float]:
        cosets = index[names[j]]
        exact = names[j] == wanted.subgroup
        return not exact, cosets > MAX_COSETS, wanted.distance(cosets), -float(variance[j])

    return min(candidates, key=unlike)


def _state(values: Float[Tensor, "order"], labels: np.ndarray) -> dict[str, float]:
    """One side of a neuron: its variance, the share of it that is left within cosets, and C."""
    fvu = float(coset_fvu(values[:, None], torch.from_numpy(labels))[0])
    return {"variance": float(values.var()), "fvu": fvu, "c": fvu * (int(labels.max()) + 1)}


def _steps_to_show(fvus: Sequence[float]) -> list[int]:
    """The last places before each share of the fall, and the end."""
    height = np.log10(np.maximum(fvus, _NUMERIC_FLOOR))
    fallen = (height[0] - height) / max(height[0] - height[-1], 1e-9)
    before = [int(np.flatnonzero(fallen < share)[-1]) for share in SHOWN if (fallen < share).any()]
    chosen = {*before, len(fvus) - 1}
    others = [i for i in reversed(range(len(fvus))) if i not in chosen]
    return sorted({*chosen, *others[: len(SHOWN) + 1 - len(chosen)]})


def summarise(wanted: Wanted, ours: art.Networks, controls: art.Networks) -> art.Part:
    """The clearest neuron of all these networks."""

    def unlike(network: art.Measured) -> tuple[bool, bool, float, float]:
        neuron = network.findings
        unfollowed = len(neuron["history"]) < 2
        return not neuron["exact"], unfollowed, wanted.distance(neuron["index"]), neuron["fvu"]

    best = min(ours, key=unlike)
    neuron = best.findings
    steps = [state["step"] for state in neuron["shown"]]
    when = f"at the steps {', '.join(f'{step:,}' for step in steps)}"
    drawing = art.Drawing(
        f"Pre-activations of neuron {neuron['neuron']} of {best.name} by coset of "
        f"{neuron['subgroup']}, {when if len(steps) > 1 else 'at the end of training'}.",
        [[partial(by_coset, neuron, side, i) for i in range(len(steps))] for side in wanted.sides],
        (1.2 + 2.1 * len(steps), 0.4 + 2.6 * len(wanted.sides)),
    )
    null = null_concentration(best.about["order"], neuron["index"])
    table = art.Table(
        "Over training",
        art.columns(("text", "step"), ("number", "left var., C, FVU, right var., C , FVU ")),
        [
            ["final" if state["step"] < 0 else f"{state['step']}"]
            + [state[side][key] for side in SIDES for key in ("variance", "c", "fvu")]
            for state in neuron["history"]
        ],
        f"C: the paper's sum over cosets. FVU = C/{neuron['index']}: the share of the variance "
        f"that is left within cosets. The mean C of a random function is {null:.3g}.",
    )
    lines, notes = _lines(wanted, neuron, null), _notes(wanted, best, ours)
    return art.Part(list(lines), [table], [drawing], list(notes))


def _lines(wanted: Wanted, neuron: Mapping[str, Any], null: float) -> Iterator[art.Line]:
    for title, at, paper in (("first step shown", 0, wanted.first), ("last step", -1, wanted.last)):
        for side in wanted.sides:
            state = neuron["shown"][at][side]
            yield art.Line(f"{title}: {side} variance", "number", paper[0], state["variance"])
            yield art.Line(f"{title}: {side} C", "number", paper[1], state["c"], null, RANDOM)
    title = "last step: left C on the right's cosets"
    yield art.Line(title, "number", None, neuron["wrong_side"], null, RANDOM)


def null_concentration(order: int, index: int) -> float:
    """The mean of C, a sum over cosets, for a random function: not 1, as the paper says."""
    return index * (order - index) / (order - 1)


def _notes(wanted: Wanted, best: art.Measured, networks: art.Networks) -> Iterator[str]:
    neuron, count = best.findings, len(networks)
    if neuron["exact"]:
        having = sum(n.findings["exact"] for n in networks)
        yield (
            f"Neuron {neuron['neuron']} of {best.name}, an {neuron['subgroup']} neuron; {having} "
            f"of {art.counted(count)} {'has' if having == 1 else 'have'} one."
        )
    else:
        yield (
            f"No {wanted.subgroup} neuron in {art.counted(count)}. Shown is the most similar one: "
            f"neuron {neuron['neuron']} of {best.name}, with {neuron['index']} cosets of "
            f"{neuron['subgroup']} ({wanted.subgroup} has {wanted.index} in S5)."
        )
    if len(neuron["history"]) < 2:
        yield (
            f"{best.name} has no checkpoints over training, so only its final state is shown; "
            "coset-circuits train keeps them."
        )


def by_coset(neuron: Mapping[str, Any], side: str, i: int, ax: Axes) -> Axes:
    """Histogram of one side's pre-activations at the i-th step shown, stacked by coset."""
    state, names = neuron["shown"][i], neuron["cosets"][side]
    labels, values = np.array(neuron["labels"][side]), np.array(state["values"][side])
    edges = np.linspace(values.min(), values.max(), _BINS + 1)
    floor, patches = np.zeros(_BINS), []
    for k, name in enumerate(names):
        # A colour and a hatch that no other coset has.
        look: dict[str, Any] = {"color": colour(k), "hatch": ("", "///", "...", "xxx")[k // 6]}
        heights = np.histogram(values[labels == k], edges)[0]
        at = np.flatnonzero(heights)
        ax.bar(edges[at], heights[at], np.diff(edges)[at], floor[at], align="edge", **look)
        floor += heights
        subgroup = neuron["subgroup"]
        coset = f"{subgroup} {name}" if side == "left" else f"{name} {subgroup}"
        patches.append(Patch(facecolor=look["color"], hatch=look["hatch"], label=coset))
    title = "final" if state["step"] < 0 else f"step {state['step']:,}"
    ax.set_title(f"{title}\nC = {state[side]['c']:.2g}", fontsize=9)
    ax.set_xlabel(f"{side} pre-activation")
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    if i == 0:
        ax.set_ylabel("elements")
    if i == len(neuron["shown"]) - 1:
        ax.legend(handles=patches, loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=7)
    return ax


def _artifact(name: str, title: str, source: str, wanted: Wanted) -> art.Artifact:
    return art.Artifact(name, title, source, partial(summarise, wanted), partial(analyse, wanted))


FIG3 = _artifact(
    "fig3",
    "An F20 neuron forming",
    "Stander et al., Fig. 3 and Section 6.1 (neuron 115 of seed 11)",
    Wanted("F20", 6, ("left",), (5.23, 2.96), (9.06, "< 1e-5")),
)
FIG7 = _artifact("fig7", "An S3×S2 neuron forming", "Stander et al., Fig. 7", Wanted("S3xS2", 10))
FIG8 = _artifact("fig8", "An A4 neuron forming", "Stander et al., Fig. 8", Wanted("A4", 10))
