"""Figures over kinds of networks: compression by network, by kind, over training, of two groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from coset_circuits.findings.statistics import Estimate
from coset_circuits.report import tables as t
from coset_circuits.report.axes import guide, legend_above, log_scale, plain_number, power_of_ten
from coset_circuits.report.style import COLOURS, INK, PAPER, colour, marker

SHORTER = "times shorter than the raw weights"
_TICKS = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)


def each_network(
    points: Mapping[str, Sequence[tuple[float, float, float]]], names: Sequence[str], ax: Axes
) -> Axes:
    """Every network by how much shorter than its weights two descriptions are.

    Args:
        points: by group: compression by the first hypothesis, by the second, by the best null,
            whose median is an open mark on the diagonal.
        names: of the two hypotheses.
    """
    for i, (group, found) in enumerate(points.items()):
        one, two, null = np.array(found).T
        shade, mark = colour(i), marker(i // len(COLOURS) + i)
        middle = np.median(null)
        ax.plot(middle, middle, mark, mec=shade, mfc=PAPER, ms=8, mew=1.5, zorder=3)
        ax.plot(one, two, mark, color=shade, ms=6, alpha=0.6, mew=0, label=t.clean(group))
    ax.plot([], [], "o", mec=INK, mfc=PAPER, ms=8, mew=1.5, label="no group theory")
    values = [value for found in points.values() for point in found for value in point]
    low, high = min(0.95, *values) / 1.03, max(values) * 1.05
    ax.plot([low, high], [low, high], color=INK, lw=0.8, ls=":")
    for which in ("x", "y"):
        log_scale(ax, which, _tick, _TICKS)
    ax.set(xlim=(low, high), ylim=(low, high), aspect="equal")
    ax.set_xlabel(f"{SHORTER}: {t.clean(names[0])}")
    ax.set_ylabel(f"{SHORTER}: {t.clean(names[1])}")
    guide(ax)
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax


def side_by_side(group: str, lengths: Sequence[Sequence[float]], highest: float, ax: Axes) -> Axes:
    """Networks of one group as lines over three descriptions: cosets, irreps, the best null.

    Args:
        lengths: how much shorter each network's three descriptions are than its weights.
        highest: of all panels that are compared.
    """
    places = np.arange(3)
    for values in lengths:
        ax.plot(places, values, "o-", color=INK, lw=0.8, ms=3, alpha=0.3, mew=0)
    medians = np.median(np.array(lengths).reshape(-1, len(places)), axis=0)
    for place, middle in zip(places, medians, strict=True):
        shade = INK if place == 2 else colour(int(place))
        ax.plot([place - 0.25, place + 0.25], [middle, middle], color=shade, lw=3)
    ax.axhline(1, color=INK, lw=0.8, ls=":")
    log_scale(ax, "y", _tick, _TICKS)
    names = ("cosets", "irreps", "no group theory")
    ax.set_xticks(places, [f"{n}\n{m:.2f}" for n, m in zip(names, medians, strict=True)])
    ax.set(xlim=(-0.5, 2.5), ylim=(0.92, 1.06 * highest))
    ax.set_ylabel("times shorter than weights")
    ax.set_title(f"{t.clean(group)}, {len(lengths)} networks", fontsize=10)
    guide(ax)
    return ax


def _tick(value: float) -> str:
    return f"{value:g}"


def compressions(
    points: Mapping[str, Mapping[str, Estimate]], beside: Sequence[str], ax: Axes
) -> Axes:
    """How many times shorter than the raw weights each description is, one line a kind.

    Args:
        points: by kind, then by hypothesis.
        beside: the names among them that are not hypotheses.
    """
    names = list(dict.fromkeys(name for found in points.values() for name in found))
    for i, name in enumerate(names):
        shade, mark = colour(i), marker(i)
        if name in beside:
            shade, mark = INK, "|x"[beside.index(name) % 2]
        for place, found in enumerate(points.values()):
            if name not in found:
                continue
            # Marks of different kinds are shifted apart.
            height = place + 0.6 * (i / max(1, len(names) - 1) - 0.5)
            value, (low, high) = found[name].value, found[name].interval or (found[name].value,) * 2
            ax.plot([low, high], [height, height], color=shade, lw=1.5, alpha=0.7)
            ax.plot(value, height, mark, color=shade, ms=5, label=t.clean(name))
    ax.axvline(1, color=INK, lw=0.8, ls=":")
    log_scale(ax, "x", _tick, _TICKS)
    ax.set_yticks(range(len(points)), [t.clean(kind) for kind in points])
    ax.set_ylim(len(points) - 0.4, -0.6)
    ax.set_xlabel(f"{SHORTER} at equal fidelity")
    guide(ax)
    handles = dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
    legend_above(ax, 4, handles=[*handles.values()])
    return ax


def over_training(
    losses: Mapping[int, float],
    lengths: Mapping[str, Mapping[int, float | None]],
    beside: Sequence[str],
    ax: Axes,
) -> Axes:
    """Compression of every hypothesis by training step, with the mean loss over all pairs.

    Args:
        losses: in nats, by step.
        lengths: compression by name and step.
        beside: the names among them that are not hypotheses.
    """
    for i, (name, at) in enumerate(lengths.items()):
        drawn = {step: value for step, value in at.items() if value is not None}
        shade, mark = (INK, "|") if name in beside else (colour(i), marker(i))
        ax.plot([*drawn], [*drawn.values()], f"{mark}-", color=shade, label=t.clean(name))
    ax.axhline(1, color=INK, lw=0.8, ls=":")
    log_scale(ax, "x", plain_number)
    log_scale(ax, "y", _tick, _TICKS)
    ax.set_xlabel("training step")
    ax.set_ylabel(SHORTER)
    guide(ax)
    legend_above(ax, 4)
    later = {step: loss for step, loss in losses.items() if step > 0}
    if later:
        right = ax.twinx()
        right.plot([*later], [*later.values()], color=INK, lw=1.2, ls="--")
        log_scale(right, "y", power_of_ten)
        right.set_ylabel("mean loss of all pairs (nats, dashed)")
    return ax
