"""Grid lines, legends, scales and numbers that all figures share."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from coset_circuits.report.style import INK


def guide(ax: Axes) -> None:
    """Faint lines behind the data."""
    ax.grid(True, color=INK, alpha=0.1, lw=0.6)
    ax.set_axisbelow(True)


def legend_above(ax: Axes, columns: int, **options: object) -> None:
    """A legend that never covers data."""
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=columns, **options)


def log_scale(
    ax: Axes,
    which: str,
    text: Callable[[float], str],
    subs: Sequence[float] = (1.0,),
) -> None:
    """A logarithmic axis with few ticks, labelled without mathematics mode."""
    axis = ax.xaxis if which == "x" else ax.yaxis
    ax.set(**{f"{which}scale": "log"})
    axis.set_major_locator(LogLocator(subs=subs, numticks=9))
    axis.set_major_formatter(FuncFormatter(lambda value, _: text(value)))
    axis.set_minor_locator(LogLocator(subs=(2.0, 3.0, 5.0, 7.0)))
    axis.set_minor_formatter(NullFormatter())


def plain_number(value: float) -> str:
    """A number such as 1,000 or 0.01."""
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


def power_of_ten(value: float) -> str:
    """10⁻³."""
    exponent = f"{math.log10(value):.0f}"
    return "10" + exponent.translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
