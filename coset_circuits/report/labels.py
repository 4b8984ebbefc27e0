"""Place a label next to each point of a plot without covering points or other labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

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

Point = tuple[float, float]
Box = tuple[float, float, float, float]
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
    figure.draw_without_rendering()
    scale = figure.dpi / 72
    frame = ax.get_window_extent()
    crowd = _Crowd(
        (frame.x0, frame.y0, frame.x1, frame.y1),
        scale,
        full=[_around(ax, point, RADIUS * scale) for point in (*points, *obstacles)],
        faint=[_around(ax, point, scale) for point in lines],
    )
    for point, text in zip(points, texts, strict=True):
        width, height = _extent(ax, text, canvas)
        x, y = ax.transData.transform(point)
        offset, box = min(_positions((x, y), width, height, scale), key=crowd.cost)
        crowd.full.append(box)
        _annotate(ax, text, point, offset)


def _extent(ax: Axes, text: str, canvas: FigureCanvasAgg) -> Point:
    probe = ax.text(0, 0, text, fontsize=SIZE)
    box = probe.get_window_extent(canvas.get_renderer())
    probe.remove()
    return box.width, box.height


def _around(ax: Axes, point: Point, radius: float) -> Box:
    x, y = ax.transData.transform(point)
    return x - radius, y - radius, x + radius, y + radius


def _positions(
    anchor: Point, width: float, height: float, scale: float
) -> Iterator[tuple[Point, Box]]:
    """Possible offsets (points) of the label, nearest first, each with its box."""
    for distance, (dx, dy) in product(DISTANCES, DIRECTIONS):
        offset = (dx * distance, dy * distance)
        left = anchor[0] + offset[0] * scale - width * _share(dx)
        low = anchor[1] + offset[1] * scale - height * _share(dy)
        yield offset, (left, low, left + width, low + height)


def _share(direction: float) -> float:
    """The part of the label before its anchor: none, half or all of it."""
    return 0.0 if direction > 0 else 1.0 if direction < 0 else 0.5


@dataclass
class _Crowd:
    """The obstacles that a label must avoid."""

    frame: Box
    scale: float
    full: list[Box]
    faint: list[Box]

    def cost(self, option: tuple[Point, Box]) -> float:
        """Covered area in square pixels, weighted most for text and points, plus distance."""
        (dx, dy), box = option
        area = (box[2] - box[0]) * (box[3] - box[1])
        outside = area - _covered(box, [self.frame])
        covered = ILLEGIBLE * _covered(box, self.full) + _covered(box, self.faint)
        return covered + outside + 4 * self.scale * (abs(dx) + abs(dy))


def _covered(box: Box, others: Sequence[Box]) -> float:
    """The area that a box shares with others, summed over the others."""
    if not others:
        return 0.0
    found: Float[np.ndarray, "others 4"] = np.array(others)
    low = np.maximum(found[:, :2], box[:2])
    high = np.minimum(found[:, 2:], box[2:])
    return float(np.clip(high - low, 0, None).prod(1).sum())


def _annotate(ax: Axes, text: str, point: Point, offset: Point) -> None:
    dx, dy = offset
    far = max(abs(dx), abs(dy)) > DISTANCES[0]
    line = {"arrowstyle": "-", "color": INK, "alpha": FAINT, "lw": 0.6, "shrinkA": 0, "shrinkB": 4}
    ax.annotate(
        text,
        point,
        offset,
        textcoords="offset points",
        ha="left" if dx > 0 else "right" if dx < 0 else "center",
        va="bottom" if dy > 0 else "top" if dy < 0 else "center",
        fontsize=SIZE,
        arrowprops=line if far else None,
    )
