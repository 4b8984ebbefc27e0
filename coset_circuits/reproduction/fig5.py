"""Fig. 5: accuracy after removing neurons above or below a coset concentration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from coset_circuits.algorithms import Circuit
from coset_circuits.experiments import ablation_by_threshold
from coset_circuits.report.style import colour
from coset_circuits.reproduction import artifact as art
from coset_circuits.reproduction.study import Study
from coset_circuits.thresholds import DEFAULT

RANDOM_SETS = 3
"""Random neuron sets of the same size, for each threshold and side."""

UNCHANGED = 5e-4
"""A smaller change of the accuracy counts as no change."""

QUARTILES = (25, 50, 75)
SIDES = {"above": "C > threshold removed", "below": "C ≤ threshold removed"}
SAME_SIZE = "random neuron sets, same size"


def analyse(study: Study) -> dict[str, Any]:
    """Accuracy without the neurons above, and without those below, each of the paper's levels."""
    result = ablation_by_threshold(
        study.circuit, kind="zero", controls=RANDOM_SETS, seed=study.seed
    )
    names = ("threshold", "side", "neurons", "accuracy", "control")
    rows: list[dict[Any, Any]] = result.to_dataframe().to_dict("records")
    for row in rows:
        # No neurons, and all of them, have no other neuron set of the same size.
        if np.isnan(row["control"]):
            row["control"] = row["accuracy"]
    return {
        "accuracy": result.accuracy,
        "rows": [{name: row[name] for name in names} for row in rows],
        "below_1": _below_1(study.circuit),
        "relabelled": None if study.relabelled is None else _below_1(study.relabelled),
    }


def _below_1(circuit: Circuit) -> float:
    """The share of the neurons whose C is below 1."""
    return float(np.mean(np.array(circuit.roles.notes["concentration"]) < 1))


def summarise(ours: art.Networks, controls: art.Networks) -> art.Part:
    """Quartiles over networks."""
    drawing = art.Drawing(
        f"Accuracy after removing neurons by coset concentration, over {art.counted(len(ours))}: "
        "median, quartiles shaded; dashed: random neuron sets of the same size.",
        [[partial(draw, ours, side) for side in ("below", "above")]],
        (7.2, 3.2),
    )
    return art.Part(list(_lines(ours)), [_table(ours, side) for side in SIDES], [drawing])


def _lines(networks: art.Networks) -> Iterator[art.Line]:
    below, relabelled = (
        art.centre([n.findings[key] for n in networks]) for key in ("below_1", "relabelled")
    )
    title = "neurons with C < 1"
    yield art.Line(title, "fraction", 0.992, below, relabelled, "on a relabelled group")
    removed = _rows(networks, "above", 1.0)
    before = [n.findings["accuracy"] for n in networks]
    unchanged, control = (
        [accuracy - row[key] < UNCHANGED for accuracy, row in zip(before, removed, strict=True)]
        for key in ("accuracy", "control")
    )
    title = "C > 1 removed: networks unchanged"
    yield art.Line.share(title, 126 / 128, unchanged, control, SAME_SIZE)
    for level, neurons, quartile in ((1e-5, 24, 1.0), (1e-6, None, None), (1e-7, 42, None)):
        rows, title = _rows(networks, "above", level), f"C > {level:g} removed"
        low, median, _ = quartiles(rows, "accuracy")
        control = quartiles(rows, "control")
        removed = quartiles(rows, "neurons")[1]
        yield art.Line(f"{title}: neurons, median", "count", neurons, removed)
        title = f"{title}: accuracy"
        yield art.Line(f"{title}, median", "fraction", 1.0, median, control[1], SAME_SIZE)
        yield art.Line(f"{title}, 25%", "fraction", quartile, low, control[0], SAME_SIZE)


def _rows(networks: art.Networks, side: str, level: float) -> list[Mapping[str, Any]]:
    """Each network's row."""
    return [
        next(r for r in n.findings["rows"] if r["side"] == side and r["threshold"] == level)
        for n in networks
    ]


def quartiles(rows: Sequence[Mapping[str, Any]], key: str) -> list[float]:
    """Of one value of each network's row."""
    return np.percentile([float(row[key]) for row in rows], QUARTILES).tolist()


def _table(networks: art.Networks, side: str) -> art.Table:
    body = []
    for level in sorted(DEFAULT.concentrations):
        rows = _rows(networks, side, level)
        neurons, control = (
            art.centre([row[key] for row in rows], "median") for key in ("neurons", "control")
        )
        body.append([f"{level:g}", neurons, *quartiles(rows, "accuracy"), control])
    return art.Table(
        SIDES[side],
        art.columns(
            ("text", "threshold"), ("count", "neurons"), ("fraction", "25%, median, 75%, random")
        ),
        body,
        f"Accuracy, quartiles over {art.counted(len(networks))}; neurons removed and random neuron "
        "sets of the same size: medians.",
    )


def draw(networks: art.Networks, side: str, ax: Axes) -> Axes:
    """Median and quartiles of the accuracy by threshold, and of random sets of the same size."""
    levels = sorted(DEFAULT.concentrations)
    rows = [_rows(networks, side, level) for level in levels]
    low, middle, high = np.array([quartiles(at, "accuracy") for at in rows]).T
    random = [quartiles(at, "control")[1] for at in rows]
    places = np.arange(len(levels))
    ax.fill_between(places, low, high, color=colour(0), alpha=0.25, lw=0)
    ax.plot(places, middle, "o-", color=colour(0), ms=4, label="by concentration")
    ax.plot(places, random, "s--", color=colour(1), ms=3, label="random set")
    ax.set_xticks(places, [f"{level:g}" for level in levels], rotation=45)
    ax.set_ylim(-0.03, 1.03)
    ax.set_title(SIDES[side], fontsize=10)
    ax.set_xlabel("threshold on C")
    ax.set_ylabel("accuracy")
    ax.legend(loc="center left" if side == "below" else "center right")
    return ax


ARTIFACT = art.Artifact(
    "fig5",
    "Ablation by coset concentration",
    "Stander et al., Fig. 5 and Sections 6.1, 6.2",
    summarise,
    analyse,
    notes=[
        "A removed neuron's activation is set to 0. C is that of the side that concentrates less, "
        "so a neuron with one random side is removed.",
        "Random neuron sets hold as many neurons that barely affect the logits: many of those "
        "removed above 1 are such neurons, and removing them proves nothing.",
        "How small C gets depends on how long a network was trained: neurons go on cleaning up. "
        "The paper's networks had 250,000 epochs.",
    ],
)
