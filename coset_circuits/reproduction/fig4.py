"""Fig. 4: validation loss and coset concentration over training."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from jaxtyping import Int
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter
from torch import Tensor

from coset_circuits.algorithms import Circuit, CosetAlgorithm
from coset_circuits.experiments.measure import sampled
from coset_circuits.report.style import FAINT, INK, colour
from coset_circuits.reproduction import artifact as art
from coset_circuits.reproduction.study import Study, answers
from coset_circuits.training import training_pairs

CONCENTRATED = 1.0
"""The paper counts a neuron as concentrated below this C."""

_COLUMNS = art.columns(
    ("text", "step"),
    ("nats", "loss"),
    ("fraction", "accuracy"),
    ("number", "median C, relabelled"),
    ("fraction", "explained"),
)


def analyse(study: Study) -> dict[str, Any]:
    """At every checkpoint: validation loss, and the median over neurons of the least C."""
    pairs, held_out = _validation(study)
    states = []
    for step, model in study.over_training():
        outcome, circuit = answers(model, pairs), CosetAlgorithm().fit(model)
        other = study.bench.relabelled_group
        relabelled = None if other is None else CosetAlgorithm().fit(model, other)
        states.append(
            {
                "step": step,
                "loss": outcome.loss,
                "accuracy": outcome.accuracy,
                "median C": median_concentration(circuit),
                "relabelled": None if relabelled is None else median_concentration(relabelled),
                "explained": circuit.roles.coverage,
            }
        )
    chance = math.log(study.network.group.order)
    return {"states": states, "held_out": held_out, "chance": chance}


def _validation(study: Study) -> tuple[Int[Tensor, "pairs 2"], bool]:
    """The pairs that were not trained on; all pairs, and False, if these are not recorded."""
    train, group = training_pairs(study.network), study.network.group
    if train is None or len(train) == group.order**2:
        return study.bench.sample, False
    held_out = torch.ones(group.order**2, dtype=torch.bool)
    held_out[train[:, 0] * group.order + train[:, 1]] = False
    return sampled(group.pairs()[held_out], None, study.seed), True


def median_concentration(circuit: Circuit) -> float:
    """Over all neurons, of the least C over subgroups, on the side that concentrates less."""
    return float(torch.tensor(circuit.roles.notes["concentration"]).median())


def summarise(ours: art.Networks, controls: art.Networks) -> art.Part:
    """Start and end over networks; the curves of the first one with checkpoints."""
    followed = [n for n in ours if len(n.findings["states"]) > 1]
    lines = []
    # A network without checkpoints has an end but no start.
    for title, at, networks, paper in (
        ("start", 0, followed, "about 1"),
        ("end", -1, ours, "minuscule"),
    ):
        states = [n.findings["states"][at] for n in networks]
        lines.append(
            art.Line.over(
                f"{title}: median C of the neurons",
                "number",
                paper,
                [state["median C"] for state in states],
                [state["relabelled"] for state in states],
                "the same on a relabelled group",
                "median",
            )
        )
    lines.append(
        art.Line(
            f"first step with median C < {CONCENTRATED:g}",
            "count",
            None,
            art.centre([_first_below(n, "median C", CONCENTRATED) for n in followed], "median"),
            art.centre([_first_below(n, "loss", n.findings["chance"]) for n in followed], "median"),
            "validation loss below chance",
        )
    )
    curves = [n.findings["states"] for n in followed[:1]]
    tables = [
        art.Table(
            f"{followed[0].name} over training",
            _COLUMNS,
            [[str(state["step"]), *(state[key] for key in list(_COLUMNS)[1:])] for state in states],
            "Loss and accuracy on the pairs that were not trained on; explained: the share with a "
            "subgroup (FVU < 1e-2 on both sides) of the neurons that matter.",
        )
        for states in curves
    ]
    drawings = [
        art.Drawing(
            f"{followed[0].name}: validation loss and median coset concentration over training.",
            [[partial(loss, states), partial(concentration, states)]],
            (7.2, 3.0),
        )
        for states in curves
    ]
    return art.Part(lines, tables, drawings, list(_notes(ours, followed)))


def _first_below(network: art.Measured, key: str, level: float) -> float | None:
    """The first step at which a value is below a level."""
    steps = (float(s["step"]) for s in network.findings["states"] if s[key] < level)
    return next(steps, None)


def loss(states: Sequence[Mapping[str, Any]], ax: Axes) -> Axes:
    """Validation loss by step."""
    ax.plot([s["step"] for s in states], [s["loss"] for s in states], "o-", color=colour(0), ms=3)
    _by_step(ax)
    ax.set_ylabel("validation loss (nats)")
    ax.set_ylim(bottom=0)
    return ax


def concentration(states: Sequence[Mapping[str, Any]], ax: Axes) -> Axes:
    """Median least C by step, and the same on a relabelled group."""
    steps, relabelled = ([s[key] for s in states] for key in ("step", "relabelled"))
    c = [s["median C"] for s in states]
    ax.plot(steps, c, "o-", color=colour(0), ms=3, label="network's group")
    if None not in relabelled:
        ax.plot(steps, relabelled, "s--", color=colour(1), ms=3, label="relabelled")
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


def _notes(ours: art.Networks, followed: art.Networks) -> Iterator[str]:
    if not followed:
        yield (
            "None of these networks has checkpoints over training, so only final states are "
            "shown; coset-circuits train keeps them."
        )
    elif len(followed) < len(ours):
        yield (
            f"{len(followed)} of {len(ours)} networks have checkpoints over training; the others "
            "count at the end only."
        )
    if not all(n.findings["held_out"] for n in followed):
        yield "If a network's training pairs are not recorded, the loss is over all pairs."


ARTIFACT = art.Artifact(
    "fig4",
    "Validation loss and concentration over training",
    "Stander et al., Fig. 4 (seed 1)",
    summarise,
    analyse,
    notes=[
        "C is a sum over cosets, and its mean for a random function is about the number of cosets: "
        "networks start at about 2, not 1, if the group has a subgroup of index 2."
    ],
)
