"""The figures of one comparison: functions ``(comparison, ax) -> ax``, drawn in style.look()."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from textwrap import wrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from coset_circuits.comparison import Comparison
from coset_circuits.comparison.verdict import RAW
from coset_circuits.report import tables as t
from coset_circuits.report.axes import guide, legend_above, log_scale, plain_number, power_of_ten
from coset_circuits.report.certificates import (
    certificate_alternative,
    certificate_curves,
    certified,
)
from coset_circuits.report.labels import place
from coset_circuits.report.lattice import lattice, used_classes
from coset_circuits.report.lattice import size as lattice_size
from coset_circuits.report.neurons import coset_candidate
from coset_circuits.report.style import FAINT, INK, colour, look, marker
from coset_circuits.report.training_figures import (
    structure_forming,
    training_accuracy,
    training_curve,
    training_loss,
)

FLOOR = 0.01
"""The axis of errors in decades is logarithmic above this value and linear below it."""

STRAY = 1.0
"""A prediction is named in the figure if it is off by more than this many decades, …"""

STRAY_ACCURACY = 0.1
"""… or by more than this accuracy; …"""

MAX_NAMED = 8
"""… at most this many, the worst first."""

KINDS = {"hypothesis": "o", "control": "X", "null": "s"}
KIND_TITLES = {
    "hypothesis": "hypothesis",
    "control": "the same on a relabelled group",
    "null": "null: no group theory",
}
MAX_ROLES = 12
SHADES = LinearSegmentedColormap.from_list("error", ["#f2f5f9", "#9cc3de", "#2b7bb5", "#08306b"])

Draw = Callable[[Comparison, Axes], Axes]


def front(comparison: Comparison, ax: Axes) -> Axes:
    """Prediction error against bits at equal fidelity, one marker per candidate."""
    lines = [x for x in t.front(comparison) if not math.isnan(x.error.median_log_loss)]
    colours = _colours(comparison)
    whiskers: list[tuple[float, float]] = []
    points = [(max(x.bits, 1e-3), x.error.median_log_loss) for x in lines]
    for line, (x, y) in zip(lines, points, strict=True):
        shade = colours[line.name]
        low, high = (max(b, 1e-3) for b in line.interval)
        ax.plot([low, high], [y, y], color=shade, lw=2, alpha=FAINT, zorder=1)
        whiskers += [(b, y) for b in np.geomspace(low, high, 5)]
        ax.plot(x, y, KINDS[line.kind], color=shade, ms=8, zorder=3)
    log_scale(ax, "x", plain_number, (1.0, 2.0, 5.0))
    _error_scale(ax, [y for _, y in points])
    ax.margins(x=0.08)
    ax.set_xlabel(f"bits per neuron at equal fidelity, {t.fidelity_text(comparison)}")
    ax.set_ylabel("median |Δlog10 loss| of the surrogate (decades)")
    guide(ax)
    kinds = [kind for kind in KINDS if any(x.kind == kind for x in lines)]
    handles = [
        Line2D([], [], ls="", marker=KINDS[k], color=INK, ms=7, label=KIND_TITLES[k]) for k in kinds
    ]
    if handles:
        legend_above(ax, 3, handles=handles)
    labels = _merged(points, [t.display_name(x) for x in lines])
    place(ax, *labels, obstacles=points, lines=whiskers)
    return ax


def lengths(comparison: Comparison, ax: Axes) -> Axes:
    """How many times shorter than the raw weights each candidate is, at every δ."""
    colours = _colours(comparison)
    raw = comparison.candidate(RAW).bits
    styles = {"hypothesis": "o-", "control": "x:", "null": "s--"}
    ends, names, drawn = [], [], []
    for line in t.front(comparison):
        deltas = list(line.at)
        ratios = [raw[delta] / max(line.at[delta], 1e-3) for delta in deltas]
        ax.plot(deltas, ratios, styles[line.kind], color=colours[line.name], ms=4, lw=1.3)
        ends.append((deltas[0], ratios[0]))
        fine = np.geomspace(deltas[0], deltas[-1], 40)
        drawn += zip(fine, np.interp(fine, deltas, ratios), strict=True)
        names.append(t.display_name(line))
    ax.axvline(comparison.fidelity.delta, color=INK, lw=0.8, ls=":")
    for which in "xy":
        log_scale(ax, which, plain_number, (1.0, 2.0, 5.0))
    ax.set_xlabel("relative error δ of the tables (dotted: the fidelity point)")
    ax.set_ylabel("raw weights' bits / its bits")
    guide(ax)
    ax.margins(x=0.25)
    place(ax, *_merged(ends, names), obstacles=ends, lines=drawn)
    return ax


def _merged(
    points: list[tuple[float, float]], texts: list[str]
) -> tuple[list[tuple[float, float]], list[str]]:
    """Give points that coincide one label, with one name per line."""
    found: dict[tuple[float, float], list[str]] = {}
    for (x, y), text in zip(points, texts, strict=True):
        key = next(
            (
                (a, b)
                for a, b in found
                if abs(math.log(x / a)) < 0.01 and abs(y - b) <= max(FLOOR / 4, 0.02 * b)
            ),
            (x, y),
        )
        found.setdefault(key, []).append(text)
    return list(found), ["\n".join(names) for names in found.values()]


def _error_scale(ax: Axes, values: list[float]) -> None:
    ax.set_yscale("symlog", linthresh=FLOOR, linscale=0.5, subs=[2, 5])
    ax.set_ylim(-0.15 * FLOOR, 4 * max([1.0, *values]))
    ax.axhline(FLOOR, color=INK, lw=0.6, ls=":", alpha=FAINT)
    ticks = [0.0, *(10.0**k for k in range(-2, 1 + math.floor(math.log10(ax.get_ylim()[1]))))]
    ax.set_yticks(ticks, [f"{tick:g}" for tick in ticks])


def observed_predicted_loss(comparison: Comparison, ax: Axes) -> Axes:
    """Predicted against observed mean loss of each hypothesis, in nats."""
    floor = comparison.thresholds.loss_floor
    points = _against(comparison, ax, lambda r: max(r.loss, floor))
    for which in "xy":
        log_scale(ax, which, power_of_ten)
    _diagonal(ax, [v for _, x, y in points for v in (x, y)])
    ax.set_xlabel(f"observed mean loss (nats, floored at {floor:g})")
    ax.set_ylabel("predicted mean loss (nats)")
    _name_strays(ax, points, lambda x, y: abs(math.log10(y / x)), STRAY)
    return ax


def observed_predicted_accuracy(comparison: Comparison, ax: Axes) -> Axes:
    """Predicted against observed accuracy of each hypothesis, as shares of pairs."""
    points = _against(comparison, ax, lambda r: r.accuracy)
    ax.set_xlim(-0.04, 1.04)
    ax.set_ylim(-0.04, 1.04)
    ax.plot([0, 1], [0, 1], color=INK, lw=0.8, alpha=FAINT, zorder=1)
    ax.set_xlabel("observed accuracy (share of pairs)")
    ax.set_ylabel("predicted accuracy (share of pairs)")
    _name_strays(ax, points, lambda x, y: abs(x - y), STRAY_ACCURACY)
    return ax


Marked = tuple[str, float, float]


def _against(comparison: Comparison, ax: Axes, value: Callable[[t.Reading], float]) -> list[Marked]:
    """Draw one marker for each row and hypothesis; returns (row id, observed, predicted)."""
    lines = t.interventions(comparison)
    drawn: list[Marked] = []
    for i, candidate in enumerate(comparison.hypotheses):
        found = [
            (line.id, value(line.observed), value(p))
            for line in lines
            if (p := line.predictions[candidate.name]) is not None
        ]
        ax.plot(
            [x for _, x, _ in found],
            [y for _, _, y in found],
            marker(i),
            color=colour(i),
            mfc="none",
            mew=1.3,
            ms=6 + 1.2 * i,
            zorder=3,
            label=t.display_name(candidate),
        )
        drawn += found
    if drawn:
        legend_above(ax, 2, columnspacing=1.2)
    ax.set_box_aspect(1)
    return drawn


def _diagonal(ax: Axes, values: list[float]) -> None:
    low, high = (min(values), max(values)) if values else (1e-3, 1.0)
    low, high = low / 4, high * 4
    ax.set_xlim(low, high)
    ax.set_ylim(low, high)
    ax.plot([low, high], [low, high], color=INK, lw=0.8, alpha=FAINT, zorder=1)
    guide(ax)


def _name_strays(
    ax: Axes, points: list[Marked], error: Callable[[float, float], float], bound: float
) -> None:
    """Label the worst outliers with their row's id; nearby outliers of one row share a label."""
    named: list[Marked] = []
    for id, x, y in sorted(points, key=lambda point: -error(*point[1:])):
        height = ax.transData.transform((x, y))[1]
        near = any(
            other == id and abs(ax.transData.transform((a, b))[1] - height) < 20
            for other, a, b in named
        )
        if error(x, y) > bound and not near and len(named) < MAX_NAMED:
            named.append((id, x, y))
    all_points = [(x, y) for _, x, y in points]
    place(ax, [(x, y) for _, x, y in named], [id for id, _, _ in named], obstacles=all_points)


def roles(comparison: Comparison, ax: Axes) -> Axes:
    """Bars of neuron counts by role; hypotheses that agree share one panel."""
    ticks, names, position = [], [], 0.0
    for i, (family, bars) in enumerate(_distinct_roles(comparison)):
        for line in _heading(family.title):
            ax.annotate(
                line, (0, position), (4, 0), textcoords="offset points", weight="bold",
                va="center", fontsize=9,
            )  # fmt: skip
            position += 1
        for role, neurons in bars:
            dull = role in ("unexplained", "negligible")
            ax.barh(position, neurons, 0.72, color=colour(i), alpha=0.45 if dull else 1)
            ax.annotate(
                str(neurons), (neurons, position), (3, 0), textcoords="offset points", va="center",
                fontsize=9,
            )  # fmt: skip
            ticks.append(position)
            names.append(role)
            position += 1
        position += 0.4
    ax.set_yticks(ticks, names)
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(max(1.0, position), -0.8)
    ax.margins(x=0.1)
    ax.set_xlabel("neurons")
    ax.set_ylabel("role")
    return ax


def _heading(title: str) -> list[str]:
    return wrap(title, 64, break_on_hyphens=False)


def _distinct_roles(comparison: Comparison) -> list[tuple[t.RoleFamily, list[tuple[str, int]]]]:
    """The distinct sets of roles and counts, each with the hypotheses that share it."""
    found: list[tuple[t.RoleFamily, list[tuple[str, int]]]] = []
    for family in t.role_families(comparison):
        bars = shown_roles(family)
        place = next((i for i, (_, other) in enumerate(found) if other == bars), None)
        if place is None:
            found.append((family, bars))
        else:
            first = found[place][0]
            names, stands = first.names + family.names, first.stands or family.stands
            found[place] = replace(first, names=names, stands=stands), bars
    return found


def shown_roles(family: t.RoleFamily) -> list[tuple[str, int]]:
    """The roles of a family with their neuron counts; rare ones among many are merged."""
    lines = [(t.clean(line.role), line.neurons) for line in family.lines]
    if len(lines) <= MAX_ROLES:
        return lines
    dull = [x for x in lines if x[0] in ("unexplained", "negligible")]
    own = [x for x in lines if x not in dull]
    kept = MAX_ROLES - 1 - len(dull)
    rest = own[kept:]
    return [*own[:kept], (f"{len(rest)} other roles", sum(n for _, n in rest)), *dull]


def errors_by_intervention(comparison: Comparison, ax: Axes) -> Axes:
    """|Δlog10 loss| of every candidate in every row; hatched if it is silent."""
    found = t.log_loss_errors(comparison)
    ids = [row.intervention.id for row in comparison.rows]
    _cells(
        ax,
        found,
        [[c.key in row.used_by for row in comparison.rows] for c in comparison.candidates],
    )
    ax.set_xlim(0, max(1, len(found)))
    ax.set_ylim(len(ids), 0)
    ax.set_yticks(np.arange(len(ids)) + 0.5, ids)
    ax.set_xticks(
        np.arange(len(found)) + 0.5,
        [t.clean(name) for name in found],
        rotation=40,
        ha="left",
        rotation_mode="anchor",
    )
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set_xlabel("|Δlog10 loss| (decades); hatched: silent; in brackets: used to fit")
    ax.xaxis.set_label_position("bottom")
    ax.set_ylabel("intervention")
    return ax


def _cells(ax: Axes, found: dict[str, list[float | None]], used: list[list[bool]]) -> None:
    """One square with its number for each error, column by column."""
    known = [v for column in found.values() for v in column if v is not None]
    norm = PowerNorm(0.5, 0, max([1.0, *known]))
    squares, shades = [], []
    for x, column in enumerate(found.values()):
        for y, value in enumerate(column):
            if value is None:
                ax.add_patch(Rectangle((x, y), 1, 1, fill=False, hatch="////", lw=0, alpha=0.6))
                continue
            squares.append([(x, y), (x + 1, y), (x + 1, y + 1), (x, y + 1)])
            shades.append(SHADES(norm(value)))
            ink = "#ffffff" if norm(value) > 0.5 else "#101418"
            text = t.decades(value) if value < 9.95 else f"{value:.0f}"
            text = f"({text})" if used[x][y] else text
            cell = ax.text(x + 0.5, y + 0.5, text, color=ink, ha="center", va="center", fontsize=8)
            cell.set_in_layout(False)
    ax.add_collection(PolyCollection(squares, facecolors=shades, edgecolors=INK, linewidths=0.2))


def _colours(comparison: Comparison) -> dict[str, str]:
    """The colour of each candidate: controls share their hypothesis's, nulls use the ink."""
    own = {c.name: colour(i) for i, c in enumerate(comparison.hypotheses)}
    return {c.name: own.get(c.of or c.name, INK) for c in comparison.candidates}


@dataclass(frozen=True)
class Plate:
    """One figure of the report: its function, title, text alternative and axes (in inches)."""

    draw: Draw
    title: str
    alternative: Callable[[Comparison], str]
    size: Callable[[Comparison], tuple[float, float]]
    applies: Callable[[Comparison], bool] = lambda comparison: True


def _front_alternative(comparison: Comparison) -> str:
    told = "; ".join(
        f"{line.name}: {t.whole(line.bits)} bits, {t.decades(line.error.median_log_loss)} decades"
        for line in t.front(comparison)
    )
    return f"Bits per neuron and median loss error of each candidate. {told}."


def _lengths_alternative(comparison: Comparison) -> str:
    said = "; ".join(
        f"{line.name}: {line.compression:.1f} times shorter" for line in t.front(comparison)
    )
    return f"Bits of the raw weights over bits of each candidate, by error δ. At δ*: {said}."


def _scatter_alternative(quantity: str) -> Callable[[Comparison], str]:
    return lambda comparison: (
        f"Scatter plot of predicted against observed {quantity}, one point for each intervention "
        "and hypothesis; the figures are in the interventions table."
    )


def _roles_alternative(comparison: Comparison) -> str:
    told = "; ".join(
        f"{family.title}: " + ", ".join(f"{role} {neurons}" for role, neurons in bars)
        for family, bars in _distinct_roles(comparison)
    )
    return f"Bars of neuron counts by role. {told}."


def _errors_alternative(comparison: Comparison) -> str:
    return (
        f"Table of errors in decades of loss: {len(comparison.rows)} interventions by "
        f"{len(comparison.candidates)} candidates, darker for larger."
    )


def _lattice_alternative(comparison: Comparison) -> str:
    used = used_classes(comparison)
    told = ", ".join(f"{name} by {count}" for name, count in used.items()) or "none"
    return f"Subgroups up to conjugacy, by order. Neurons use these classes: {told}."


def _training_alternative(comparison: Comparison) -> str:
    first, last = (training_curve(comparison)[i] for i in (0, -1))
    return (
        f"Over steps {first['step']:,} to {last['step']:,}: mean loss over all pairs from "
        f"{t.loss(first['loss'])} to {t.loss(last['loss'])} nats, test accuracy from "
        f"{t.accuracy(first['test_accuracy'])} to {t.accuracy(last['test_accuracy'])}."
    )


def _forming_alternative(comparison: Comparison) -> str:
    return (
        "Median and middle half, over neurons, of the fraction of variance outside the cells of "
        f"{comparison.formation.algorithm if comparison.formation else ''}, by training step."
    )


def _training_size(comparison: Comparison) -> tuple[float, float]:
    return 4.8, 2.8


def _is_trained(comparison: Comparison) -> bool:
    return bool(training_curve(comparison))


def _roles_size(comparison: Comparison) -> tuple[float, float]:
    rows = sum(
        len(_heading(family.title)) + 0.4 + len(bars)
        for family, bars in _distinct_roles(comparison)
    )
    return 5.2, 0.27 * max(2, rows)


def _errors_size(comparison: Comparison) -> tuple[float, float]:
    return 0.6 * len(comparison.candidates), 0.3 * len(comparison.rows)


PLATES: dict[str, Plate] = {
    "front": Plate(
        front,
        "Prediction error against bits at equal fidelity",
        _front_alternative,
        lambda comparison: (6.5, 4.4),
    ),
    "lengths": Plate(
        lengths,
        "Compression against the error of the tables",
        _lengths_alternative,
        lambda comparison: (6.5, 4.1),
    ),
    "roles": Plate(roles, "What the neurons do", _roles_alternative, _roles_size),
    "lattice": Plate(
        lattice,
        "Subgroups up to conjugacy, and those that neurons use",
        _lattice_alternative,
        lattice_size,
        lambda comparison: coset_candidate(comparison) is not None,
    ),
    "training_loss": Plate(
        training_loss, "Loss over training", _training_alternative, _training_size, _is_trained
    ),
    "training_accuracy": Plate(
        training_accuracy,
        "Accuracy over training",
        _training_alternative,
        _training_size,
        _is_trained,
    ),
    "structure_forming": Plate(
        structure_forming,
        "How the neurons' structure formed",
        _forming_alternative,
        _training_size,
        lambda comparison: comparison.formation is not None,
    ),
    "observed_predicted_loss": Plate(
        observed_predicted_loss,
        "Observed and predicted loss",
        _scatter_alternative("mean loss"),
        lambda comparison: (5.2, 5.2),
    ),
    "observed_predicted_accuracy": Plate(
        observed_predicted_accuracy,
        "Observed and predicted accuracy",
        _scatter_alternative("accuracy"),
        lambda comparison: (5.2, 5.2),
    ),
    "errors_by_intervention": Plate(
        errors_by_intervention,
        "Errors by intervention",
        _errors_alternative,
        _errors_size,
    ),
    "certificate": Plate(
        certificate_curves,
        "Proved accuracy against operations",
        certificate_alternative,
        lambda comparison: (5.7, 3.6),
        lambda comparison: bool(certified(comparison.on_request)),
    ),
}
"""Every figure by its name, in the order of the report."""


def all_figures(comparison: Comparison) -> dict[str, Figure]:
    """Every figure that applies, drawn, by its name; the front comes first."""
    return {
        name: _figure(plate, comparison)
        for name, plate in PLATES.items()
        if plate.applies(comparison)
    }


def _figure(plate: Plate, comparison: Comparison) -> Figure:
    with look():
        figure = Figure(figsize=plate.size(comparison))
        plate.draw(comparison, figure.add_axes((0, 0, 1, 1)))
    return figure
