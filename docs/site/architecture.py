"""The rooms of the package, what they import, and the picture of them in docs/architecture.md.

``python docs/site/architecture.py`` draws it again, into docs/figures. Everything is read from the
source; nothing of the package is imported.
"""

import ast
import textwrap
from collections.abc import Iterator
from html import escape
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "coset_circuits"
PICTURE = ROOT / "docs" / "figures" / "architecture.svg"

ROOMS = {
    "groups": "finite groups as arrays; knows nothing of networks",
    "networks": "models and their sites, checkpoints of both papers, shipped networks",
    "training": "recipes, steps, run folders, many seeds",
    "algorithms": "one file per hypothesis; the registry lists instances",
    "findings": "what a measured figure is: Finding, intervals and statistics, storage",
    "experiments": "the bench; one file per experiment",
    "comparison": "one network, many networks, the verdict",
    "benchmark": "the known-answer benchmark",
    "report": "tables, figures, the page; reads findings, never recomputes",
    "reproduction": "the papers' tables and figures",
    "cli": "one file per command",
}
"""In the order of imports: a room may import those before it."""
FOUNDATION = ("errors", "thresholds", "progress", "presentation")
"""Every room may import these modules; they import no room."""

MODULES = sorted(
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts) for path in PACKAGE.rglob("*.py")
)
INSIDE = [m.removesuffix(".__init__") for m in MODULES if m not in ("__init__", "__main__")]
"""Every module but the package's own two, which put the rooms together."""


def room(module: str) -> str:
    """The part of the package that a module belongs to."""
    return module.split(".", maxsplit=1)[0]


def imports(module: str) -> Iterator[str]:
    """Every module of the package that a module imports, wherever it does so.

    Imports for type checkers only count too: they are dependencies of the reader.
    """
    path = PACKAGE.joinpath(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from {target for name in names if (target := _resolved(name)) is not None}


def _resolved(dotted: str) -> str | None:
    """The longest prefix of a dotted name that is a module here; None outside the package."""
    parts = dotted.split(".")
    if parts[0] != PACKAGE.name:
        return None
    for end in range(len(parts), 1, -1):
        name = ".".join(parts[1:end])
        if name in MODULES or f"{name}.__init__" in MODULES:
            return name
    return "__init__"


def arrows() -> set[tuple[str, str]]:
    """Which room imports which, without the arrows that follow from others."""
    direct: dict[str, set[str]] = {name: set() for name in ROOMS}
    for module in INSIDE:
        if room(module) in ROOMS:
            direct[room(module)] |= {room(target) for target in imports(module)} & {*ROOMS}
    below: dict[str, set[str]] = {}
    for name in ROOMS:
        direct[name].discard(name)
        below[name] = direct[name].union(*(below[other] for other in direct[name]))
    return {
        (name, other)
        for name, others in direct.items()
        for other in others
        if not any(other in below[third] for third in others)
    }


WIDTH, MARGIN, GAP, LINE = 720, 4, 28, 17
STYLE = (
    "svg{color:#1b1f24;--page:#ffffff}"
    "@media (prefers-color-scheme:dark){svg{color:#e6e8eb;--page:#15181c}}"
    "text{fill:currentColor;font:13px 'DejaVu Sans',Verdana,Arial,sans-serif;text-anchor:middle}"
    ".name{font-weight:bold;font-size:15px}"
    "rect{fill:var(--page);stroke:currentColor}"
    "line{stroke:#808080;stroke-width:1.5;marker-end:url(#head)}#head path{fill:#808080}"
)


Place = tuple[float, float, float, float]
"""Where a box is: left, right, top, bottom."""


def picture() -> str:
    """The rooms as an SVG, each above those that it imports."""
    edges = arrows()
    drawn: list[str] = []
    places: dict[str, Place] = {}
    y = float(MARGIN)
    for row in _rows(edges):
        width = 480.0 if len(row) == 1 else (WIDTH - 2 * MARGIN - 16 * (len(row) - 1)) / len(row)
        words = {name: textwrap.wrap(ROOMS[name], int(width / 7.6)) for name in row}
        height = 34 + LINE * max(map(len, words.values()))
        left = (WIDTH - len(row) * width - 16 * (len(row) - 1)) / 2
        for i, name in enumerate(row):
            x = left + i * (width + 16)
            places[name] = (x, x + width, y, y + height)
            drawn += _box(x, y, width, height, name, words[name])
        y += height + GAP
    shared = f"{', '.join(FOUNDATION)}: for every room"
    drawn += _box(MARGIN, y, WIDTH - 2 * MARGIN, 34, "", [shared])
    lines = [_line(places[name], places[other]) for name, other in sorted(edges)]
    size = f'viewBox="0 0 {WIDTH} {y + 34 + MARGIN:g}"'
    head = (
        '<marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" '
        'markerUnits="userSpaceOnUse" orient="auto"><path d="M0 0L8 4L0 8z"/></marker>'
    )
    label = "The rooms of the package, each above the rooms that it imports."
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{label}">',
            f"<style>{STYLE}</style>",
            f"<defs>{head}</defs>",
            *lines,
            *drawn,
            "</svg>\n",
        ]
    )


def _rows(edges: set[tuple[str, str]]) -> list[list[str]]:
    """Rooms by their distance from the top, along the longest way."""
    depth = dict.fromkeys(ROOMS, 0)
    for name in reversed(ROOMS):
        for importer, other in edges:
            if importer == name:
                depth[other] = max(depth[other], depth[name] + 1)
    return [[n for n in ROOMS if depth[n] == d] for d in range(max(depth.values()) + 1)]


def _box(
    x: float, y: float, width: float, height: float, name: str, words: list[str]
) -> Iterator[str]:
    yield f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="6"/>'
    middle = x + width / 2
    top = y + 21
    if name:
        yield f'<text class="name" x="{middle:g}" y="{top:g}">{name}</text>'
        top += 20
    for i, line in enumerate(words):
        yield f'<text x="{middle:g}" y="{top + i * LINE:g}">{escape(line, quote=False)}</text>'


def _line(start: Place, end: Place) -> str:
    """From the lower edge of one box to the upper edge of another, as upright as they allow."""
    left, right, _, bottom = start
    x = min(max(sum(end[:2]) / 2, left + 20), right - 20)
    left, right, top, _ = end
    to = min(max(x, left + 20), right - 20)
    return f'<line x1="{x:g}" y1="{bottom:g}" x2="{to:g}" y2="{top:g}"/>'


if __name__ == "__main__":
    PICTURE.write_text(picture(), encoding="utf-8")
