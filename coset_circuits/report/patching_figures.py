"""Figures of patching and ablation: functions ``(result, ax) -> ax``, drawn in style.look()."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import LinearSegmentedColormap, Normalize

from coset_circuits.errors import CosetCircuitsError
from coset_circuits.experiments.ablation import Ablation
from coset_circuits.experiments.neuron_sets import ALL
from coset_circuits.experiments.patching_result import Patching
from coset_circuits.report.axes import guide, legend_above, log_scale, plain_number
from coset_circuits.report.style import FAINT, INK, colour, marker

DIVERGING = LinearSegmentedColormap.from_list("recovery", ["#D55E00", "#f2f5f9", "#0072B2"])
"""Orange below zero, blue above it, nearly white at zero."""

MAX_WRITTEN = 24
"""Numbers are written into the cells if there are at most this many rows."""


def heat_map(result: Patching, ax: Axes, metric: str = "logit_difference") -> Axes:
    """The recovery of every patch: neuron sets as rows, sites (or paths) as columns."""
    table = result.table(metric)
    if len(table) > MAX_WRITTEN:
        # Next to all neurons together, one of many would be too pale to see.
        table = table.drop(index=ALL).dropna(axis=1, how="all")
    values = table.to_numpy(dtype=float)
    bound = np.nanmax(np.abs(values)) if np.isfinite(values).any() else 1.0
    norm = Normalize(-bound, bound)
    squares, shades = [], []
    for (y, x), value in np.ndenumerate(values):
        if math.isnan(value):
            continue
        squares.append([(x, y), (x + 1, y), (x + 1, y + 1), (x, y + 1)])
        shades.append(DIVERGING(norm(value)))
        if len(values) <= MAX_WRITTEN:
            ink = "#ffffff" if abs(value) > 0.6 * bound else "#101418"
            ax.text(x + 0.5, y + 0.5, _short(value), color=ink, ha="center", va="center", size=8)
    edge = 0.2 if len(values) <= MAX_WRITTEN else 0.0
    ax.add_collection(PolyCollection(squares, facecolors=shades, edgecolors=INK, linewidths=edge))
    ax.set_xlim(0, values.shape[1])
    ax.set_ylim(values.shape[0], 0)
    names = [str(name).removeprefix("hook_") for name in table.columns]
    ax.set_xticks(np.arange(len(names)) + 0.5, names, rotation=40, ha="right")
    if len(values) <= 2 * MAX_WRITTEN:
        ax.set_yticks(np.arange(len(values)) + 0.5, list(table.index))
    else:
        ax.set_yticks([])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set_ylabel("neurons patched")
    ax.set_xlabel(f"recovery of {metric.replace('_', ' ')}, from −{bound:.2g} to {bound:.2g}")
    return ax


def _short(value: float) -> str:
    return f"{value + 0.0:.2f}".replace("-0.00", "0.00").replace("-", "−")


def attribution_scatter(result: Patching, ax: Axes) -> Axes:
    """Attribution patching's estimate for each patch against the actual recovery."""
    if result.attributed is None:
        raise CosetCircuitsError(
            f"This {result.method} has no attribution; take it from activation_patching."
        )
    frame = result.to_dataframe()
    points = np.stack([frame[c].to_numpy() for c in ("recovery", "attributed")])
    sites, sets = frame["site"].to_numpy(), frame["neuron_set"].to_numpy()
    drawn = sets != ALL
    for i, site in enumerate(dict.fromkeys(sites[drawn])):
        x, y = points[:, drawn & (sites == site)]
        label = str(site).removeprefix("hook_")
        ax.plot(x, y, marker(i), color=colour(i), mfc="none", ms=4, label=label)
    ax.set_xlabel("recovery by the patch (1: whole difference)")
    ax.set_ylabel("recovery by gradient × difference")
    if drawn.any():
        ends = [points[:, drawn].min(), points[:, drawn].max()]
        ax.plot(ends, ends, color=INK, lw=0.8, alpha=FAINT, zorder=1)
        legend_above(ax, 4)
    return ax


def threshold_curve(result: Ablation, ax: Axes) -> Axes:
    """Accuracy after removing neurons above or below a threshold, with a random control."""
    if "threshold" not in result.rows:
        raise CosetCircuitsError(
            f"{result.experiment.capitalize()} has no thresholds to draw; give the result of "
            "ablation_by_threshold."
        )
    for i, side in enumerate(("above", "below")):
        part = result.rows.loc[result.rows["side"] == side]
        x = part["threshold"].to_numpy()
        _with_control(ax, x, part, i, f"neurons {side} it removed")
    log_scale(ax, "x", plain_number)
    ax.set_xlabel(f"threshold in the {result.experiment}")
    return _accuracy(ax)


def minimality_curve(result: Ablation, ax: Axes) -> Axes:
    """Accuracy against the number of neurons that the greedy choice keeps, with its control."""
    if "step" not in result.rows:
        raise CosetCircuitsError(
            f"{result.experiment.capitalize()} has no steps to draw; give the result of minimality."
        )
    _with_control(
        ax, result.rows["neurons"].to_numpy(), result.rows, 0, "neuron sets chosen greedily"
    )
    ax.set_xlabel("neurons kept")
    return _accuracy(ax)


def _with_control(ax: Axes, x: np.ndarray, part: pd.DataFrame, i: int, label: str) -> None:
    ax.plot(x, part["accuracy"], marker(i) + "-", color=colour(i), ms=5, label=label)
    low, high = part["control_low"].to_numpy(), part["control_high"].to_numpy()
    ax.fill_between(x, low, high, color=colour(i), alpha=FAINT / 2, lw=0)
    ax.plot(x, part["control"], ":", color=colour(i), lw=1.2, label="as many drawn at random")


def _accuracy(ax: Axes) -> Axes:
    ax.set_ylim(-0.04, 1.04)
    ax.set_ylabel("accuracy (share of pairs)")
    guide(ax)
    legend_above(ax, 2)
    return ax
