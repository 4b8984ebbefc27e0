"""Fig. 5: accuracy after removing neurons above or below a coset concentration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes

from coset_circuits.experiments import ablation_by_threshold
from coset_circuits.findings.statistics import share
from coset_circuits.report.style import colour
from coset_circuits.reproduction.artifact import (
    Artifact,
    Drawing,
    Line,
    Part,
    Seen,
    Table,
    Value,
)
from coset_circuits.reproduction.study import Study
from coset_circuits.thresholds import DEFAULT

RANDOM_SETS = 3
"""Random sets of neurons as large, for each threshold and side."""

UNCHANGED = 5e-4
"""An accuracy that changes by less counts as no change."""

QUARTILES = (25, 50, 75)
SIDES = {"above": "C > threshold removed", "below": "C ≤ threshold removed"}


def see(study: Study) -> dict[str, Any]:
    """Accuracy without the neurons above, and without those below, each of the paper's levels."""
    found = ablation_by_threshold(study.circuit, kind="zero", controls=RANDOM_SETS, seed=study.seed)
    rows = found.to_dataframe().to_dict("records")
    concentrations = study.circuit.roles.notes["concentration"]
    other = study.relabelled
    return {
        "accuracy": found.accuracy,
        "rows": [_kept(row) for row in rows],
        "below_1": float(np.mean(np.array(concentrations) < 1)),
        "below_1_relabelled": None
        if other is None
        else float(np.mean(np.array(other.roles.notes["concentration"]) < 1)),
    }  # fmt: skip


def _kept(row: Mapping[Any, Any]) -> dict[str, Any]:
    names = ("threshold", "side", "neurons", "negligible", "accuracy", "loss")
    control = row["control"]
    # Random sets of no neurons, or of all, are those sets themselves.
    beside = row["accuracy"] if np.isnan(control) else control
    return {**{name: row[name] for name in names}, "control": beside}


def tell(ours: Sequence[Seen], controls: Sequence[Seen]) -> Part:
    """Quartiles over networks."""
    return Part(
        tuple(_lines(ours)),
        tuple(_table(ours, side) for side in SIDES),
        (
            Drawing(
                f"Accuracy after removing neurons by coset concentration, over {len(ours)} "
                "networks: median, quartiles shaded; dashed: random sets as large.",
                ((lambda ax: curves(ax, ours, "below"), lambda ax: curves(ax, ours, "above")),),
                (7.2, 3.2),
            ),
        ),
    )


NOTES = (
    "A removed neuron's activation is put to 0. C is that of the side that concentrates less, so "
    "that a neuron with one random side is removed.",
    "Random sets hold as many neurons that hardly touch the logits: many of those removed above 1 "
    "are such, and removing them proves nothing.",
    "How small C gets depends on how long a network was trained: neurons go on cleaning up. The "
    "paper's networks had 250,000 epochs.",
)


def _lines(networks: Sequence[Seen]) -> list[Line]:
    count = len(networks)
    kept = [_row(n, "above", 1.0) for n in networks]
    pairs = list(zip(networks, kept, strict=True))
    unchanged, random = (
        share(sum(n.findings["accuracy"] - r[key] < UNCHANGED for n, r in pairs), count)
        for key in ("accuracy", "control")
    )
    told = "random sets as large"
    below = [n.findings["below_1"] for n in networks]
    control = [n.findings["below_1_relabelled"] for n in networks]
    known = [c for c in control if c is not None]
    lines = [
        Line("neurons with C < 1", "fraction", 0.992, float(np.mean(below)),
             float(np.mean(known)) if known else None, "on a relabelled group"),
        Line("C > 1 removed: networks unchanged", "fraction", 126 / 128, unchanged.value,
             random.value, told, unchanged.interval),
    ]  # fmt: skip
    for level, removed, quartile in ((1e-5, 24, 1.0), (1e-6, None, None), (1e-7, 42, None)):
        rows = [_row(n, "above", level) for n in networks]
        accuracy, beside = (quartiles([r[k] for r in rows]) for k in ("accuracy", "control"))
        neurons = float(np.median([r["neurons"] for r in rows]))
        title = f"C > {level:g} removed"
        lines.append(Line(f"{title}: neurons, median", "count", removed, neurons))
        lines.append(
            Line(f"{title}: accuracy, median", "fraction", 1.0, accuracy[1], beside[1], told)
        )
        lines.append(
            Line(f"{title}: accuracy, 25%", "fraction", quartile, accuracy[0], beside[0], told)
        )
    return lines


def _row(network: Seen, side: str, level: float) -> Mapping[str, Any]:
    rows = network.findings["rows"]
    return next(r for r in rows if r["side"] == side and r["threshold"] == level)


def quartiles(values: Sequence[float]) -> Float[np.ndarray, "3"]:
    """Of networks."""
    return np.percentile(np.array(values, dtype=np.float64), QUARTILES)


def _levels() -> list[float]:
    return sorted(DEFAULT.concentrations)


def _table(networks: Sequence[Seen], side: str) -> Table:
    body: list[tuple[Value, ...]] = []
    for level in _levels():
        rows = [_row(n, side, level) for n in networks]
        body.append(
            (
                f"{level:g}",
                float(np.median([r["neurons"] for r in rows])),
                *quartiles([r["accuracy"] for r in rows]).tolist(),
                float(np.median([r["control"] for r in rows])),
            )
        )
    return Table(
        SIDES[side],
        {
            "threshold": "text",
            "neurons": "count",
            "25%": "fraction",
            "median": "fraction",
            "75%": "fraction",
            "random": "fraction",
        },
        tuple(body),
        f"Accuracy, quartiles over {len(networks)} networks; neurons removed and random sets as "
        "large: medians.",
    )


def curves(ax: Axes, networks: Sequence[Seen], side: str) -> Axes:
    """Median and quartiles of the accuracy by threshold, and of random sets as large."""
    levels = _levels()
    rows = [[_row(n, side, level) for n in networks] for level in levels]
    low, middle, high = np.array([quartiles([r["accuracy"] for r in at]) for at in rows]).T
    random = [float(np.median([r["control"] for r in at])) for at in rows]
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
    tell,
    see,
    notes=NOTES,
)
