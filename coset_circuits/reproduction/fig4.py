"""Fig. 4: validation loss and coset concentration over training."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Int
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter
from torch import Tensor

from coset_circuits.algorithms import Circuit, CosetAlgorithm
from coset_circuits.experiments import INTERVENTIONS, measure
from coset_circuits.experiments.measure import sampled
from coset_circuits.report.style import FAINT, INK, colour
from coset_circuits.reproduction.artifact import (
    Artifact,
    Drawing,
    Line,
    Part,
    Seen,
    Table,
    interval,
    over,
    value,
)
from coset_circuits.reproduction.study import Study
from coset_circuits.training import training_pairs

CONCENTRATED = 1.0
"""The paper counts a neuron as concentrated below this C."""


def see(study: Study) -> dict[str, Any]:
    """At every checkpoint: validation loss, and the median over neurons of the least C."""
    validation, known = _validation(study)
    states = []
    for step, model in study.over_training():
        outcome = measure(INTERVENTIONS["base"], {"network": model}, validation)["network"]
        assert outcome is not None
        circuit = CosetAlgorithm().fit(model)
        other = study.other_group
        states.append(
            {
                "step": step,
                "loss": outcome.loss,
                "accuracy": outcome.accuracy,
                "c": median_concentration(circuit),
                "relabelled": None
                if other is None
                else median_concentration(CosetAlgorithm().fit(model, other)),
                "coverage": circuit.roles.coverage,
            }
        )
    return {"states": states, "validation": known, "chance": math.log(study.network.group.order)}


def _validation(study: Study) -> tuple[Int[Tensor, "pairs 2"], bool]:
    """The pairs that were not trained on; all pairs, and False, where these are not known."""
    train, group = training_pairs(study.network), study.network.group
    if train is None or len(train) == group.order**2:
        return study.pairs, False
    held_out = torch.ones(group.order**2, dtype=torch.bool)
    held_out[train[:, 0] * group.order + train[:, 1]] = False
    return sampled(group.pairs()[held_out], None, study.seed), True


def median_concentration(circuit: Circuit) -> float:
    """Over all neurons, of the least C over subgroups, on the side that concentrates less."""
    return float(torch.tensor(circuit.roles.notes["concentration"]).median())


def tell(ours: Sequence[Seen], controls: Sequence[Seen]) -> Part:
    """Start and end over networks; the curves of those with checkpoints."""
    followed = [n for n in ours if len(n.findings["states"]) > 1]
    lines: list[Line] = []
    for title, at, paper in (("start", 0, "about 1"), ("end", -1, "minuscule")):
        # A network without checkpoints has an end and no beginning.
        chosen = followed if at == 0 else ours
        found = over([n.findings["states"][at]["c"] for n in chosen], "median")
        control = [n.findings["states"][at]["relabelled"] for n in chosen]
        beside = over([c for c in control if c is not None], "median")
        lines.append(
            Line(
                f"{title}: median C of the neurons",
                "number",
                paper,
                value(found),
                value(beside),
                "the same on a relabelled group",
                interval(found),
            )
        )
    concentrated = [_first(n, lambda s: s["c"] < CONCENTRATED) for n in followed]
    generalised = [_first(n, lambda s, n=n: s["loss"] < n.findings["chance"]) for n in followed]
    known = [float(s) for s in concentrated if s is not None]
    later = over([float(s) for s in generalised if s is not None], "median")
    lines.append(
        Line(
            f"first step with median C < {CONCENTRATED:g}",
            "count",
            None,
            value(over(known, "median")),
            value(later),
            "validation loss below chance",
        )
    )
    return Part(
        tuple(lines),
        tuple(_table(n) for n in followed[:1]),
        tuple(_drawing(n) for n in followed[:1]),
        tuple(_notes(ours, followed)),
    )


def _first(network: Seen, holds: Callable[[Mapping[str, Any]], bool]) -> int | None:
    states = network.findings["states"]
    return next((state["step"] for state in states if holds(state)), None)


def _table(network: Seen) -> Table:
    rows = tuple(
        (
            f"{s['step']}",
            s["loss"],
            s["accuracy"],
            s["c"],
            s["relabelled"],
            s["coverage"],
        )
        for s in network.findings["states"]
    )
    return Table(
        f"{network.name} over training",
        {
            "step": "text",
            "loss": "nats",
            "accuracy": "fraction",
            "median C": "number",
            "relabelled": "number",
            "explained": "fraction",
        },
        rows,
        "Loss and accuracy on the pairs that were not trained on; explained: share of the neurons "
        "that matter with a subgroup (FVU < 1e-2 on both sides).",
    )


def _drawing(network: Seen) -> Drawing:
    states = network.findings["states"]
    return Drawing(
        f"{network.name}: validation loss and median coset concentration over training.",
        ((lambda ax: loss(ax, states), lambda ax: concentration(ax, states)),),
        (7.2, 3.0),
    )


def loss(ax: Axes, states: Sequence[Mapping[str, Any]]) -> Axes:
    """Validation loss by step."""
    ax.plot([s["step"] for s in states], [s["loss"] for s in states], "o-", color=colour(0), ms=3)
    _by_step(ax)
    ax.set_ylabel("validation loss (nats)")
    ax.set_ylim(bottom=0)
    return ax


def concentration(ax: Axes, states: Sequence[Mapping[str, Any]]) -> Axes:
    """Median least C by step, and that on a relabelled group."""
    steps = [s["step"] for s in states]
    ax.plot(steps, [s["c"] for s in states], "o-", color=colour(0), ms=3, label="network's group")
    if all(s["relabelled"] is not None for s in states):
        own = [s["relabelled"] for s in states]
        ax.plot(steps, own, "s--", color=colour(1), ms=3, label="relabelled")
    ax.axhline(CONCENTRATED, color=INK, lw=0.8, alpha=FAINT)
    _by_step(ax)
    ax.set_yscale("log")
    ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.set_ylabel("coset concentration C (median)")
    ax.legend(loc="lower left")
    return ax


def _by_step(ax: Axes) -> None:
    ax.set_xlabel("step")
    ax.xaxis.set_major_locator(MaxNLocator(4))


def _notes(ours: Sequence[Seen], followed: Sequence[Seen]) -> list[str]:
    notes = []
    if ours and not followed:
        notes.append(
            "None of these networks has checkpoints over training beside it, so that only final "
            "states are shown; coset-circuits train keeps them."
        )
    elif len(followed) < len(ours):
        notes.append(
            f"{len(followed)} of {len(ours)} networks have checkpoints over training; the others "
            "count at the end only."
        )
    if any(not n.findings["validation"] for n in followed):
        notes.append("Where the training pairs are not known, the loss is that of all pairs.")
    return notes


NOTES = (
    "C is a sum over cosets, and its mean for a random function is about the number of cosets: "
    "about 2 is what a network begins with where the group has a subgroup of index 2, not 1.",
)


ARTIFACT = Artifact(
    "fig4",
    "Validation loss and concentration over training",
    "Stander et al., Fig. 4 (seed 1)",
    tell,
    see,
    notes=NOTES,
)
