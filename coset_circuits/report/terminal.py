"""Tables and text on a terminal; legible at 80 columns, without colour and through a pipe."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from coset_circuits.report import tables as t


def plainly(show: Callable[[Console], None], width: int) -> str:
    """The text printed to a console of this width, without colour."""
    file = io.StringIO()
    console = Console(
        file=file,
        width=width,
        color_system=None,
        force_terminal=False,
        highlight=False,
        legacy_windows=False,
        _environ={},
    )
    show(console)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines()) + "\n"


def fact_table(facts: Iterable[tuple[str, str]]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts:
        table.add_row(Text(name), Text(value))
    return table


def print_heading(console: Console, text: str) -> None:
    console.print()
    console.print(Text(text, style="bold underline" if console.color_system else "bold"))


def print_note(console: Console, text: str) -> None:
    console.print(Text(text, style="dim", overflow="fold"))


def print_rule(console: Console, rule: str) -> None:
    """Print the rule of a verdict, one paragraph per point."""
    print_heading(console, "RULE")
    for line in rule.splitlines():
        print_note(console, t.clean(line))


def plain_table(texts: Sequence[str], numbers: Sequence[str], *, gap: int = 1) -> Table:
    padding = (0, gap - 1, 0, 0)
    table = Table(box=box.SIMPLE_HEAD, padding=padding, pad_edge=False, show_edge=False)
    for name in texts:
        right = not name
        table.add_column(Text(name), justify="right" if right else "left", overflow="fold")
    for name in numbers:
        # Names of several hypotheses, one a line, so that the text columns keep their room.
        title = Text(name.replace(", ", ",\n"))
        table.add_column(title, justify="right", no_wrap=True)
    return table
