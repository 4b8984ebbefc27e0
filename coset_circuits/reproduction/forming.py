"""A neuron forming: its pre-activations by coset at several steps of training (Figs. 3, 7, 8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from coset_circuits.algorithms import coset_fvu
from coset_circuits.algorithms.algorithm import NEGLIGIBLE, UNEXPLAINED
from coset_circuits.experiments.partitions import canonical
from coset_circuits.networks import GroupModel
from coset_circuits.report.style import colour
from coset_circuits.reproduction.artifact import (
    Artifact,
    Drawing,
    Line,
    Part,
    Seen,
    Table,
    Value,
    refuse,
)
from coset_circuits.reproduction.study import Study

SHOWN = (0.25, 0.5, 0.75)
"""Steps are shown where the unexplained variance has gone this share of its way, in decades, and
the end; where these are one, the latest others."""

MAX_COSETS = 24
"""More cosets make no legible figure; a neuron with fewer is taken where there is one."""

_NUMERIC_FLOOR = 1e-12
_BINS = 36


@dataclass(frozen=True)
class Wanted:
    """A neuron that a figure of the paper shows.

    Attributes:
        subgroup: the class, such as ``"F20"``; ``index``: how many cosets it has in S5.
        sides: left, right or both.
        first, last: variance and concentration C at the first and the last step, where printed.
    """

    subgroup: str
    index: int
    sides: tuple[str, ...]
    first: tuple[Value, Value] = (None, None)
    last: tuple[Value, Value] = (None, None)


def artifact(name: str, title: str, source: str, wanted: Wanted) -> Artifact:
    """The figure as an artifact."""
    return Artifact(name, title, source, partial(tell, wanted), partial(see, wanted))


def see(wanted: Wanted, study: Study) -> dict[str, Any]:
    """The network's clearest neuron of the wanted class, or the most similar, over training.

    Most similar: the number of cosets nearest to the wanted one's, in ratio. Clearest: the most
    variance, on both sides together.

    Raises:
        CosetCircuitsError: no neuron of the network has a subgroup.
    """
    circuit, group = study.circuit, study.network.group
    j = _chosen(wanted, study)
    labels = {}
    for side in ("left", "right"):
        columns = getattr(circuit.classes(f"hook_{side}_pre")[0], side)
        first, compact = np.unique(canonical(columns)[:, j].numpy(), return_inverse=True)
        labels[side] = (compact, [group.labels[g] for g in first])
    history = [
        {"step": step, **{side: _state(network, side, j, labels[side][0]) for side in labels}}
        for step, network in study.over_training()
    ]
    chosen = _steps_to_show([h["left"]["fvu"] for h in history])
    return {
        "subgroup": circuit.roles.names[j],
        "exact": circuit.roles.names[j] == wanted.subgroup,
        "neuron": j,
        "index": len(labels["left"][1]),
        "fvu": history[-1]["left"]["fvu"] + history[-1]["right"]["fvu"],
        "labels": {side: compact.tolist() for side, (compact, _) in labels.items()},
        "cosets": {side: names for side, (_, names) in labels.items()},
        "wrong_side": _state(study.network, "left", j, labels["right"][0])["c"],
        "history": [_without_values(h) for h in history],
        "shown": [history[i] for i in chosen],
    }


def _chosen(wanted: Wanted, study: Study) -> int:
    roles, network = study.circuit.roles, study.network
    group = network.group
    variance = network.left_table.var(0) + network.right_table.var(0)
    index = {c.name: c.index for c in group.subgroup_classes}
    dull = (UNEXPLAINED, NEGLIGIBLE)
    known = [j for j, name in enumerate(roles.names) if name not in dull]
    if not known:
        raise refuse("None of its neurons has a subgroup.")

    def unlike(j: int) -> tuple[bool, bool, float, float]:
        own = index[roles.names[j]]
        ratio = abs(np.log(own / wanted.index))
        return roles.names[j] != wanted.subgroup, own > MAX_COSETS, ratio, -float(variance[j])

    return min(known, key=unlike)


def _state(network: GroupModel, side: str, j: int, labels: np.ndarray) -> dict[str, Any]:
    """One side of a neuron: variance, what its cosets leave of it, C, and the values."""
    import torch

    table = network.left_table if side == "left" else network.right_table
    values = table[:, j : j + 1].detach()
    fvu = float(coset_fvu(values, torch.from_numpy(labels))[0])
    return {
        "variance": float(values.var(0)),
        "fvu": fvu,
        "c": fvu * (int(labels.max()) + 1),
        "values": [round(v, 6) for v in values[:, 0].tolist()],
    }


def _without_values(state: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: {k: v for k, v in value.items() if k != "values"} if isinstance(value, dict) else value
        for key, value in state.items()
    }


def _steps_to_show(fvus: Sequence[float]) -> list[int]:
    """Where the neuron forms: the last places before each share of the way, and the end."""
    height = np.log10(np.maximum(fvus, _NUMERIC_FLOOR))
    gone = (height[0] - height) / max(height[0] - height[-1], 1e-9)
    before = [int(np.flatnonzero(gone < share)[-1]) for share in SHOWN if (gone < share).any()]
    chosen = {*before, len(fvus) - 1}
    others = [i for i in reversed(range(len(fvus))) if i not in chosen]
    return sorted({*chosen, *others[: len(SHOWN) + 1 - len(chosen)]})


def tell(wanted: Wanted, ours: Sequence[Seen], controls: Sequence[Seen]) -> Part:
    """The clearest neuron of all these networks."""

    def unlike(network: Seen) -> tuple[bool, bool, float, float]:
        found = network.findings
        ratio = abs(np.log(found["index"] / wanted.index))
        return not found["exact"], len(found["history"]) < 2, ratio, found["fvu"]

    best = min(ours, key=unlike)
    found = best.findings
    drawing = Drawing(
        f"Pre-activations of neuron {found['neuron']} of {best.name} by coset of "
        f"{found['subgroup']}, {_steps_text(found)}.",
        tuple(
            tuple(_panel(found, side, i) for i in range(len(found["shown"])))
            for side in wanted.sides
        ),
        (1.2 + 2.1 * len(found["shown"]), 0.4 + 2.6 * len(wanted.sides)),
    )
    return Part(
        tuple(_lines(wanted, found, best.about["order"])),
        (_table(found, best.about["order"]),),
        (drawing,),
        tuple(_notes(wanted, best, ours)),
    )


def _lines(wanted: Wanted, found: Mapping[str, Any], order: int) -> list[Line]:
    null = null_concentration(order, found["index"])
    lines = []
    for title, at, paper in (("first step shown", 0, wanted.first), ("last step", -1, wanted.last)):
        for side in wanted.sides:
            now = found["shown"][at][side]
            lines.append(Line(f"{title}: {side} variance", "number", paper[0], now["variance"]))
            lines.append(
                Line(f"{title}: {side} C", "number", paper[1], now["c"], null, "random function")
            )
    lines.append(
        Line("last step: left C on the right's cosets", "number", None, found["wrong_side"], null,
             "random function")
    )  # fmt: skip
    return lines


def null_concentration(order: int, index: int) -> float:
    """The mean of C, a sum over cosets, for a random function: not 1, as the paper has it."""
    return index * (order - index) / (order - 1)


def _table(found: Mapping[str, Any], order: int) -> Table:
    rows = tuple(
        (
            "final" if h["step"] < 0 else f"{h['step']}",
            *(h[side][key] for side in ("left", "right") for key in ("variance", "c", "fvu")),
        )
        for h in found["history"]
    )
    return Table(
        "Over training",
        {
            "step": "text",
            "left var.": "number",
            "C": "number",
            "FVU": "number",
            "right var.": "number",
            "C ": "number",
            "FVU ": "number",
        },
        rows,
        f"C: the paper's sum over cosets. FVU = C/{found['index']}: the share of the variance that "
        f"is left within cosets. Of a random function C is "
        f"{null_concentration(order, found['index']):.3g} in the mean.",
    )


def _notes(wanted: Wanted, best: Seen, networks: Sequence[Seen]) -> list[str]:
    found, count = best.findings, len(networks)
    notes = []
    if found["exact"]:
        having = sum(n.findings["exact"] for n in networks)
        notes.append(
            f"Neuron {found['neuron']} of {best.name}, an {found['subgroup']} neuron; {having} of "
            f"{count} networks have one."
        )
    else:
        notes.append(
            f"None of these {count} networks has a {wanted.subgroup} neuron. In its place the most "
            f"similar: neuron {found['neuron']} of {best.name}, with {found['index']} cosets of "
            f"{found['subgroup']} (of {wanted.subgroup} in S5 there are {wanted.index})."
        )
    if len(found["history"]) < 2:
        notes.append(
            f"{best.name} has no checkpoints over training beside it, so that only its final state "
            "can be shown; coset-circuits train keeps them."
        )
    return notes


def _steps_text(found: Mapping[str, Any]) -> str:
    steps = [h["step"] for h in found["shown"]]
    if len(steps) == 1:
        return "at the end of training"
    return f"at the steps {', '.join(f'{step:,}' for step in steps)}"


def _panel(found: Mapping[str, Any], side: str, i: int) -> Any:
    return lambda ax: by_coset(ax, found, side, i)


def by_coset(ax: Axes, found: Mapping[str, Any], side: str, i: int) -> Axes:
    """Histogram of one side's pre-activations at the i-th step shown, stacked by coset."""
    state, names = found["shown"][i], found["cosets"][side]
    labels, values = np.array(found["labels"][side]), np.array(state[side]["values"])
    edges = np.linspace(values.min(), values.max(), _BINS + 1)
    shades = [_shade(k) for k in range(len(names))]
    floor = np.zeros(_BINS)
    for k, (shade, hatch) in enumerate(shades):
        heights = np.histogram(values[labels == k], edges)[0]
        at = np.flatnonzero(heights)
        ax.bar(
            edges[at],
            heights[at],
            np.diff(edges)[at],
            floor[at],
            align="edge",
            color=shade,
            hatch=hatch,
        )
        floor += heights
    step = state["step"]
    title = "final" if step < 0 else f"step {step:,}"
    ax.set_title(f"{title}\nC = {state[side]['c']:.2g}", fontsize=9)
    ax.set_xlabel(f"{side} pre-activation")
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    if i == 0:
        ax.set_ylabel("elements")
    if i == len(found["shown"]) - 1:
        subgroup = found["subgroup"]
        ax.legend(
            handles=[
                Patch(
                    facecolor=shade,
                    hatch=hatch,
                    label=f"{subgroup} {name}" if side == "left" else f"{name} {subgroup}",
                )
                for (shade, hatch), name in zip(shades, names, strict=True)
            ],
            loc="center left",
            bbox_to_anchor=(1.0, 0.5),
            fontsize=7,
        )
    return ax


def _shade(k: int) -> tuple[str, str]:
    """A colour and a hatch that no other coset has."""
    return colour(k), ("", "///", "...", "xxx")[k // 6]
