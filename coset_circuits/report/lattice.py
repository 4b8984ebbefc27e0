"""A figure of the lattice of subgroups that marks the classes used by neurons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes

from coset_circuits.comparison import Comparison
from coset_circuits.experiments.neuron_sets import DULL
from coset_circuits.groups import FiniteGroup, SubgroupClass, SubgroupLattice
from coset_circuits.report import tables as t
from coset_circuits.report.neurons import coset_candidate
from coset_circuits.report.style import COLOURS, FAINT, INK, PAPER

MAX_CLASSES = 90
"""For a group with more classes of subgroups, only the used ones and the two ends are drawn."""

SWEEPS = 12
SHIFTS = (0.0, 0.4, -0.4, 0.8, -0.8, 1.2, -1.2)
CLEAR = 0.42
"""Lines keep this distance, in inches, from classes that they do not join, if possible, …"""
DARK = 20
"""… and a line between used classes counts as much as this many others."""
HEIGHT = 0.75
Place = tuple[float, float]


def lattice(comparison: Comparison, ax: Axes) -> Axes:
    """Subgroups up to conjugacy, smaller ones below; those used by neurons are filled."""
    group, used = comparison.network.group, used_classes(comparison)
    classes = _drawn(group, used)
    edges = _edges(group, classes)
    labels = {c: _label(c, used) for c in classes}
    places = _places(labels, edges, used)
    for upper, lower in edges:
        (x, y), (a, b) = places[upper], places[lower]
        both = upper.name in used and lower.name in used
        ax.plot([x, a], [y, b], color=INK, alpha=2 * FAINT if both else FAINT / 2, lw=0.8, zorder=1)
    for i, (c, (x, y)) in enumerate(places.items()):
        neurons = used.get(c.name, 0)
        shade, ink = (COLOURS[0], "#ffffff") if neurons else (PAPER, INK)
        ax.text(
            x,
            y,
            labels[c],
            gid=f"used-{i}" if neurons else None,
            ha="center",
            va="center",
            fontsize=8,
            zorder=3,
            color=ink,
            weight="bold" if neurons else "normal",
            bbox={
                "boxstyle": "round,pad=0.35",
                "fc": shade,
                "ec": COLOURS[0] if neurons else INK,
                "lw": 0.8,
            },
        )
    ax.set_xlim(_extent(labels, places))
    heights = {y: c.order for c, (_, y) in places.items()}
    ax.set_ylim(min(heights) - 0.4, max(heights) + 0.4)
    ax.set_yticks(list(heights), [str(order) for order in heights.values()])
    ax.set_xticks([])
    ax.set_ylabel("order of the subgroup (elements)")
    ax.spines[:].set_visible(False)
    ax.tick_params(axis="y", length=0)
    return ax


def used_classes(comparison: Comparison) -> dict[str, int]:
    """The number of neurons that are constant on cosets of each class of subgroups."""
    candidate = coset_candidate(comparison)
    if candidate is None:
        return {}
    return dict(Counter(name for name in candidate.circuit.roles.names if name not in DULL))


def size(comparison: Comparison) -> tuple[float, float]:
    """The size of the axes in inches that keeps the names apart."""
    group, used = comparison.network.group, used_classes(comparison)
    labels = {c: _label(c, used) for c in _drawn(group, used)}
    left, right = _extent(labels, _places(labels, _edges(group, tuple(labels)), used))
    return right - left, HEIGHT * len({c.order for c in labels})


def _label(c: SubgroupClass, used: Mapping[str, int]) -> str:
    """A label with a class's name, its generators on a separate line, and its neuron count."""
    neurons = used.get(c.name, 0)
    count = f"\n{neurons} neuron{'s' if neurons > 1 else ''}" if neurons else ""
    return t.clean(c.name).replace("⟨", "\n⟨") + count


def _inches(label: str) -> float:
    """The approximate width of a framed label with some room beside it."""
    return 0.4 + 0.068 * max(map(len, label.splitlines()))


def _extent(
    labels: Mapping[SubgroupClass, str], places: Mapping[SubgroupClass, Place]
) -> tuple[float, float]:
    """From the left end of the leftmost label to the right end of the rightmost, in inches."""
    halves = {c: _inches(label) / 2 for c, label in labels.items()}
    left = min(x - halves[c] for c, (x, _) in places.items())
    return left, max(x + halves[c] for c, (x, _) in places.items())


def _drawn(group: FiniteGroup, used: dict[str, int]) -> tuple[SubgroupClass, ...]:
    every = group.subgroup_classes
    if len(every) <= MAX_CLASSES:
        return every
    return tuple(c for c in every if c.name in used or c in (every[0], every[-1]))


def _edges(
    group: FiniteGroup, classes: Sequence[SubgroupClass]
) -> list[tuple[SubgroupClass, SubgroupClass]]:
    known = SubgroupLattice(group)
    if len(classes) == len(known.classes):
        return [(edge.upper, edge.lower) for edge in known.edges]
    below = {
        upper: [c for c in classes if c.order < upper.order and known.count(upper, c)]
        for upper in classes
    }
    return [
        (upper, lower)
        for upper, inside in below.items()
        for lower in inside
        if not any(lower in below[between] for between in inside)
    ]


def _places(
    labels: Mapping[SubgroupClass, str],
    edges: Sequence[tuple[SubgroupClass, SubgroupClass]],
    used: Mapping[str, int],
) -> dict[SubgroupClass, Place]:
    """Positions in inches: one row per order, each class near the middle of its neighbours."""
    rows = [list(row) for _, row in groupby(labels, key=lambda c: c.order)]
    near: dict[SubgroupClass, list[SubgroupClass]] = {c: [] for c in labels}
    for upper, lower in edges:
        near[upper].append(lower)
        near[lower].append(upper)
    at: dict[SubgroupClass, float] = {}
    for row in rows:
        at.update(_side_by_side(row, labels))
    for _ in range(SWEEPS):
        for row in rows:
            row.sort(key=lambda c: sum(at[n] for n in near[c]) / max(1, len(near[c])))
            at.update(_side_by_side(row, labels))
    places = {c: (at[c], float(height)) for height, row in enumerate(rows) for c in row}
    clear = [max(CLEAR, _inches(labels[c]) / 2) for c in places]
    _step_aside(places, rows, edges, np.array(clear), used)
    return places


def _side_by_side(
    row: Sequence[SubgroupClass], labels: Mapping[SubgroupClass, str]
) -> dict[SubgroupClass, float]:
    """The centres of a row's labels, relative to the centre of the row."""
    widths = np.array([_inches(labels[c]) for c in row])
    middles = np.cumsum(widths) - widths / 2 - widths.sum() / 2
    return dict(zip(row, middles.tolist(), strict=True))


def _step_aside(
    places: dict[SubgroupClass, Place],
    rows: Sequence[Sequence[SubgroupClass]],
    edges: Sequence[tuple[SubgroupClass, SubgroupClass]],
    clear: Float[np.ndarray, " classes"],
    used: Mapping[str, int],
) -> None:
    """Shift rows sideways so that few lines run through classes that they do not join."""
    order = {c: i for i, c in enumerate(places)}
    ends = np.array([(order[upper], order[lower]) for upper, lower in edges], dtype=int)
    weights = np.array([DARK if u.name in used and v.name in used else 1 for u, v in edges])
    at = np.array(list(places.values()))

    def crossed() -> int:
        (x1, y1), (x0, y0) = at[ends[:, 0]].T[..., None], at[ends[:, 1]].T[..., None]
        between = (at[:, 1] > y0) & (at[:, 1] < y1)
        passing = x0 + (x1 - x0) * (at[:, 1] - y0) / (y1 - y0)
        return int(weights @ (between & (np.abs(passing - at[:, 0]) < clear)).sum(1))

    for _ in range(2 if edges else 0):
        for row in rows[1:-1]:
            own = [order[c] for c in row]
            start = at[own, 0].copy()
            costs = []
            for shift in SHIFTS:
                at[own, 0] = start + shift
                costs.append((crossed(), abs(float(at[own, 0].mean())), shift))
            at[own, 0] = start + min(costs)[2]
    places.update({c: (float(x), float(y)) for c, (x, y) in zip(places, at, strict=True)})
