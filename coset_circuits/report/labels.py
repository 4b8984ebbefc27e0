"""Put a label beside each point of a plot so that none covers another or a point."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from coset_circuits.report.style import FAINT, INK

SIZE = 8.5
RADIUS = 5.0
DISTANCES = (8.0, 16.0, 26.0, 38.0, 52.0, 68.0, 86.0)
DIRECTIONS = ((1, 0), (-1, 0), (0.8, 0.8), (0.8, -0.8), (-0.8, 0.8), (-0.8, -0.8), (0, 1), (0, -1))

Point = tuple[float, float]


def place(
    ax: Axes, points: Sequence[Point], texts: Sequence[str], obstacles: Sequence[Point] = ()
) -> None:
    """Annotate points, in data coordinates; a thin line leads to a label that had to go far.

    Points and further ``obstacles`` are kept clear. Limits and scales of the axes must be set
    before; the figure's size too.
    """
    figure = ax.figure
    assert isinstance(figure, Figure)
    canvas = FigureCanvasAgg(figure)
    figure.draw_without_rendering()
    scale = figure.dpi / 72
    frame = ax.get_window_extent()
    dots = [_around(x, y, scale) for x, y in ax.transData.transform([*points, *obstacles])]
    taken: list[Bbox] = []
    for point, text in zip(points, texts, strict=True):
        width, height = _extent(ax, text, canvas)
        anchor = ax.transData.transform(point)
        offset, box = min(
            _positions(anchor, width, height, scale),
            key=lambda option: _cost(option, taken, dots, frame, scale),
        )
        taken.append(box)
        _annotate(ax, text, point, offset)


def _extent(ax: Axes, text: str, canvas: FigureCanvasAgg) -> Point:
    probe = ax.text(0, 0, text, fontsize=SIZE)
    box = probe.get_window_extent(canvas.get_renderer())
    probe.remove()
    return box.width, box.height


def _around(x: float, y: float, scale: float) -> Bbox:
    radius = RADIUS * scale
    return Bbox.from_extents(x - radius, y - radius, x + radius, y + radius)


def _positions(
    anchor: Sequence[float], width: float, height: float, scale: float
) -> Iterator[tuple[Point, Bbox]]:
    """Offsets (points) at which the label could stand, nearest first, and its box (pixels)."""
    for distance, (dx, dy) in product(DISTANCES, DIRECTIONS):
        offset = (dx * distance, dy * distance)
        x, y = anchor[0] + offset[0] * scale, anchor[1] + offset[1] * scale
        left = x - width * _share(dx)
        low = y - height * _share(dy)
        yield offset, Bbox.from_bounds(left, low, width, height)


def _share(direction: float) -> float:
    """Which part of the label lies before its anchor: none, half or all of it."""
    return 0.0 if direction > 0 else 1.0 if direction < 0 else 0.5


def _cost(
    option: tuple[Point, Bbox],
    taken: Sequence[Bbox],
    dots: Sequence[Bbox],
    frame: Bbox,
    scale: float,
) -> float:
    """Covered area in pixels, and a little for distance."""
    (dx, dy), box = option
    covered = sum(_overlap(box, other) for other in (*taken, *dots))
    outside = box.width * box.height - _overlap(box, frame)
    return covered + outside + scale * (abs(dx) + abs(dy))


def _overlap(one: Bbox, two: Bbox) -> float:
    both = Bbox.intersection(one, two)
    return 0.0 if both is None else both.width * both.height


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
