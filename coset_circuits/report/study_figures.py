"""Figures over kinds of networks: compression by kind, and compression over training."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.axes import Axes

from coset_circuits.findings.statistics import Estimate
from coset_circuits.report import tables as t
from coset_circuits.report.axes import guide, legend_above, log_scale, plain_number, power_of_ten
from coset_circuits.report.style import INK, colour, marker


def compressions(points: Mapping[str, Mapping[str, Estimate]], null: str, ax: Axes) -> Axes:
    """How many times shorter than the raw weights each description is, one line a kind.

    Args:
        points: by kind, then by hypothesis.
        null: the name among them that is not a hypothesis.
    """
    names = list(dict.fromkeys(name for found in points.values() for name in found))
    for i, name in enumerate(names):
        shade, mark = (INK, "|") if name == null else (colour(i), marker(i))
        for place, found in enumerate(points.values()):
            if name not in found:
                continue
            # Marks of different kinds are shifted apart.
            height = place + 0.6 * (i / max(1, len(names) - 1) - 0.5)
            value, (low, high) = found[name].value, found[name].interval or (found[name].value,) * 2
            ax.plot([low, high], [height, height], color=shade, lw=1.5, alpha=0.7)
            ax.plot(value, height, mark, color=shade, ms=5, label=t.clean(name))
    ax.axvline(1, color=INK, lw=0.8, ls=":")
    log_scale(ax, "x", plain_number, (1.0, 2.0, 5.0))
    ax.set_yticks(range(len(points)), [t.clean(kind) for kind in points])
    ax.set_ylim(len(points) - 0.4, -0.6)
    ax.set_xlabel("times shorter than the raw weights at equal fidelity")
    guide(ax)
    handles = dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
    legend_above(ax, 4, handles=[*handles.values()])
    return ax


def over_training(
    losses: Mapping[int, float], lengths: Mapping[str, Mapping[int, float | None]], ax: Axes
) -> Axes:
    """Compression of every hypothesis by training step, with the mean loss over all pairs."""
    for i, (name, at) in enumerate(lengths.items()):
        drawn = {step: value for step, value in at.items() if value is not None}
        ax.plot([*drawn], [*drawn.values()], f"{marker(i)}-", color=colour(i), label=t.clean(name))
    log_scale(ax, "x", plain_number)
    log_scale(ax, "y", plain_number, (1.0, 2.0, 5.0))
    ax.set_xlabel("training step")
    ax.set_ylabel("times shorter than the raw weights")
    guide(ax)
    legend_above(ax, 4)
    later = {step: loss for step, loss in losses.items() if step > 0}
    if later:
        beside = ax.twinx()
        beside.plot([*later], [*later.values()], color=INK, lw=1.2, ls="--")
        log_scale(beside, "y", power_of_ten)
        beside.set_ylabel("mean loss of all pairs (nats, dashed)")
    return ax
