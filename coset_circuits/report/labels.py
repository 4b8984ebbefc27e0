"""Place a label next to each point of a plot without covering points or other labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from coset_circuits.report.style import FAINT, INK

SIZE = 8.5
RADIUS = 5.0
ILLEGIBLE = 4.0
"""How much worse text over text is than text over a line or outside the frame."""
DISTANCES = (8.0, 16.0, 26.0, 38.0, 52.0, 68.0, 86.0)
DIRECTIONS = ((1, 0), (-1, 0), (0.8, 0.8), (0.8, -0.8), (-0.8, 0.8), (-0.8, -0.8), (0, 1), (0, -1))
OFFSETS: Float[np.ndarray, "options 2"] = np.outer(DISTANCES, DIRECTIONS).reshape(-1, 2)
"""Possible places of a label next to its point, in points, the nearest first."""

Point = tuple[float, float]
Boxes = Float[np.ndarray, "boxes 4"]
"""Left, low, right, high, in pixels."""


def place(
    ax: Axes,
    points: Sequence[Point],
    texts: Sequence[str],
    *,
    obstacles: Sequence[Point] = (),
    lines: Sequence[Point] = (),
) -> None:
    """Annotate points, in data coordinates; a thin line leads to a label placed far away.

    Labels avoid points and ``obstacles``, and points along ``lines`` if possible. The limits and
    scales of the axes and the size of the figure must be set first.
    """
    if not points:
        return
    figure = ax.figure
    assert isinstance(figure, Figure)
    canvas = FigureCanvasAgg(figure)
    if (engine := figure.get_layout_engine()) is not None:
        engine.execute(figure)
    ax.autoscale_view()
    ax.apply_aspect()
    scale = figure.dpi / 72
    frame = np.array([ax.get_window_extent().extents])
    full = _around(ax, [*points, *obstacles], RADIUS * scale)
    faint = _around(ax, lines, scale)
    for point, text in zip(points, texts, strict=True):
        boxes = _boxes(ax, point, _extent(ax, text, canvas), scale)
        outside = (boxes[:, 2:] - boxes[:, :2]).prod(1) - _covered(boxes, frame)
        covered = ILLEGIBLE * _covered(boxes, full) + _covered(boxes, faint)
        far = 4 * scale * np.abs(OFFSETS).sum(1)
        best = int((outside + covered + far).argmin())
        full = np.vstack([full, boxes[best]])
        _annotate(ax, text, point, *OFFSETS[best].tolist())


def _extent(ax: Axes, text: str, canvas: FigureCanvasAgg) -> Point:
    probe = ax.text(0, 0, text, fontsize=SIZE)
    box = probe.get_window_extent(canvas.get_renderer())
    probe.remove()
    return box.width, box.height


def _around(ax: Axes, points: Sequence[Point], radius: float) -> Boxes:
    centres = ax.transData.transform(np.reshape(points, (-1, 2)))
    return np.hstack([centres - radius, centres + radius])


def _boxes(ax: Axes, point: Point, size: Point, scale: float) -> Boxes:
    """A label of this size at each of the possible offsets."""
    before = (1 - np.sign(OFFSETS)) / 2 * size
    low = ax.transData.transform(point) + OFFSETS * scale - before
    return np.hstack([low, low + size])


def _covered(boxes: Boxes, others: Float[np.ndarray, "others 4"]) -> Float[np.ndarray, " boxes"]:
    """The area that each box shares with others, summed over the others."""
    low = np.maximum(boxes[:, None, :2], others[:, :2])
    high = np.minimum(boxes[:, None, 2:], others[:, 2:])
    return np.clip(high - low, 0, None).prod(2).sum(1)


def _annotate(ax: Axes, text: str, point: Point, dx: float, dy: float) -> None:
    far = max(abs(dx), abs(dy)) > DISTANCES[0]
    line = {"arrowstyle": "-", "color": INK, "alpha": FAINT, "lw": 0.6, "shrinkA": 0, "shrinkB": 4}
    ax.annotate(
        text,
        point,
        (dx, dy),
        textcoords="offset points",
        ha="left" if dx > 0 else "right" if dx < 0 else "center",
        va="bottom" if dy > 0 else "top" if dy < 0 else "center",
        fontsize=SIZE,
        arrowprops=line if far else None,
    )
