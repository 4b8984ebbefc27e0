"""One look for all figures: colours that colour-blind readers can tell apart, text as text."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator
from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

INK = "#010203"
"""Placeholder for the page's text colour; it becomes ``currentColor`` in the SVG."""

PAPER = "#fdfefd"
"""Placeholder for the page's background, for parts that must hide the lines behind them."""

FAINT = 0.35
"""Opacity of lines that only guide the eye."""

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito (2008); black is the ink, yellow is left out as illegible on white."""

MARKERS = ("o", "s", "^", "D", "v", "P")

FONTS = "'DejaVu Sans', Verdana, Arial, sans-serif"

RC: dict[Any, Any] = {
    "axes.edgecolor": INK,
    "axes.facecolor": "none",
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "figure.facecolor": "none",
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "hatch.color": INK,
    "hatch.linewidth": 0.8,
    "legend.facecolor": "none",
    "legend.frameon": False,
    "legend.fontsize": 9,
    "path.simplify": False,
    "savefig.facecolor": "none",
    "svg.fonttype": "none",
    "svg.hashsalt": "coset_circuits",
    "text.color": INK,
    "text.parse_math": False,
    "text.usetex": False,
    "xtick.color": INK,
    "xtick.labelsize": 9,
    "ytick.color": INK,
    "ytick.labelsize": 9,
}

STANDALONE = (
    "<style>svg{color:#1b1f24;--page:#ffffff;stroke-linejoin:round}"
    "@media (prefers-color-scheme:dark){svg{color:#e6e8eb;--page:#15181c}}</style>"
)


@contextlib.contextmanager
def look() -> Iterator[None]:
    """A context for drawing and saving figures; settings outside it are left alone."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(RC)
        yield


def colour(index: int) -> str:
    return COLOURS[index % len(COLOURS)]


def marker(index: int) -> str:
    return MARKERS[index % len(MARKERS)]


def svg(figure: Figure, name: str) -> str:
    """A figure as SVG text with reproducible bytes and ids that start with its name.

    As a separate file it follows the reader's light or dark preference.
    """
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with look():
        figure.savefig(buffer, format="svg", metadata=nothing, bbox_inches=_framed(figure))
    text = _own_ids(buffer.getvalue(), name)
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>\s*", "", text, count=1, flags=re.DOTALL)
    text = re.sub(r"\s*<!DOCTYPE[^>]*>", "", text, count=1)
    text = text.replace("'DejaVu Sans'", FONTS)
    text = re.sub(INK, "currentColor", text, flags=re.IGNORECASE)
    text = re.sub(PAPER, "var(--page)", text, flags=re.IGNORECASE)
    return re.sub(r"(<svg [^>]*>)", lambda m: m[1] + STANDALONE, text, count=1)


def png(figure: Figure) -> bytes:
    """A figure as a PNG for slides and papers: dark on white, 200 dots an inch."""
    buffer = io.BytesIO()
    with look():
        figure.savefig(
            buffer, format="png", dpi=200, facecolor="white", metadata={"Software": None},
            bbox_inches=_framed(figure), pil_kwargs={"compress_level": 2},
        )  # fmt: skip
    return buffer.getvalue()


def _framed(figure: Figure) -> Bbox:
    """What a figure covers, in inches; laid out once for all formats, since that takes longest."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    if (engine := figure.get_layout_engine()) is not None:
        engine.execute(figure)
        figure.set_layout_engine(None)
    return figure.get_tightbbox(renderer).padded(0.08)


def inline(text: str, label: str) -> str:
    """An SVG for use inside an HTML page; it takes the page's text colour.

    ``label`` is its text alternative and must already be escaped.
    """
    body = text[text.index("<svg ") :].replace(STANDALONE, "", 1)
    view = re.search(r'viewBox="[^"]*"', body)
    width = re.search(r'\bwidth="([\d.]+)pt"', body)
    assert view is not None and width is not None
    body = body[body.index(">") + 1 :]
    pixels = float(width[1]) * 4 / 3
    size = f"width:100%;max-width:{pixels:.0f}px;--least:{0.7 * pixels:.0f}px;height:auto"
    look = f"stroke-linejoin:round;{size}"
    return f'<svg role="img" aria-label="{label}" {view[0]} style="{look}">{body}'


def _own_ids(text: str, name: str) -> str:
    """Prefix ids and every reference to them, so that figures can share a page."""
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'href="#', f'href="#{name}-', text)
    return re.sub(r"url\(#", f"url(#{name}-", text)
