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
from coset_circuits.reproduction.artifact import (
    Artifact,
    Drawing,
    Line,
    Networks,
    Part,
    Table,
    centre,
    counted,
)
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
    rows = result.to_dataframe()[["threshold", "side", "neurons", "accuracy", "control"]]
    # No neurons, and all of them, have no other neuron set of the same size.
    rows["control"] = rows["control"].fillna(rows["accuracy"])
    return {
        "accuracy": result.accuracy,
        "rows": rows.to_dict("records"),
        "below_1": _share_below_1(study.circuit),
        "relabelled": None if study.relabelled is None else _share_below_1(study.relabelled),
    }


def _share_below_1(circuit: Circuit) -> float:
    return float(np.mean(np.array(circuit.roles.notes["concentration"]) < 1))


def summarise(ours: Networks, controls: Networks) -> Part:
    """Quartiles over networks."""
    drawing = Drawing(
        f"Accuracy after removing neurons by coset concentration, over {counted(len(ours))}: "
        "median, quartiles shaded; dashed: random neuron sets of the same size.",
        [[partial(draw, ours, side) for side in ("below", "above")]],
        (7.2, 3.2),
    )
    return Part(list(_lines(ours)), [_table(ours, side) for side in SIDES], [drawing])


def _lines(networks: Networks) -> Iterator[Line]:
    below, relabelled = (
        centre([n.findings[key] for n in networks]) for key in ("below_1", "relabelled")
    )
    yield Line("neurons with C < 1", "fraction", 0.992, below, relabelled, "on a relabelled group")
    removed = _rows(networks, "above", 1.0)
    before = [n.findings["accuracy"] for n in networks]
    unchanged, control = (
        [accuracy - row[key] < UNCHANGED for accuracy, row in zip(before, removed, strict=True)]
        for key in ("accuracy", "control")
    )
    title = "C > 1 removed: networks unchanged"
    yield Line.share(title, 126 / 128, unchanged, control, SAME_SIZE)
    for level, neurons, quartile in ((1e-5, 24, 1.0), (1e-6, None, None), (1e-7, 42, None)):
        rows = _rows(networks, "above", level)
        low, median, _ = quartiles(rows, "accuracy")
        control_low, control_median, _ = quartiles(rows, "control")
        title = f"C > {level:g} removed"
        yield Line(f"{title}: neurons, median", "count", neurons, quartiles(rows, "neurons")[1])
        yield Line(f"{title}: accuracy, median", "fraction", 1.0, median, control_median, SAME_SIZE)
        yield Line(f"{title}: accuracy, 25%", "fraction", quartile, low, control_low, SAME_SIZE)


def _rows(networks: Networks, side: str, level: float) -> list[Mapping[str, Any]]:
    """Each network's row."""
    return [
        next(r for r in n.findings["rows"] if r["side"] == side and r["threshold"] == level)
        for n in networks
    ]


def quartiles(rows: Sequence[Mapping[str, Any]], key: str) -> list[float]:
    """Of one value of each network's row."""
    return np.percentile([float(row[key]) for row in rows], QUARTILES).tolist()


def _table(networks: Networks, side: str) -> Table:
    body = []
    for level in sorted(DEFAULT.concentrations):
        rows = _rows(networks, side, level)
        neurons, control = (
            centre([row[key] for row in rows], "median") for key in ("neurons", "control")
        )
        body.append([f"{level:g}", neurons, *quartiles(rows, "accuracy"), control])
    return Table(
        SIDES[side],
        {"threshold": "text", "neurons": "count"}
        | dict.fromkeys(("25%", "median", "75%", "random"), "fraction"),
        body,
        f"Accuracy, quartiles over {counted(len(networks))}; neurons removed and random neuron "
        "sets of the same size: medians.",
    )


def draw(networks: Networks, side: str, ax: Axes) -> Axes:
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


ARTIFACT = Artifact(
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
