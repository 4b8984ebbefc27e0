"""One table for terminal and page: columns of text, then columns of numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import quote

import pandas as pd
from rich.console import Console
from rich.text import Text

from coset_circuits.findings import Findings
from coset_circuits.report import html as h
from coset_circuits.report import tables as t
from coset_circuits.report.terminal import plain_table, print_heading, print_note

MAX_ROWS = 60
"""Number of rows printed on a terminal; the files have all of them."""


@dataclass(frozen=True)
class Sheet:
    """One table: columns of text, then columns of numbers.

    Attributes:
        note: how to read it.
        names: titles of the text columns.
        numbers: titles of the columns of numbers.
        rows: a cell for each column.
        links: a page for the first cell of some rows.
    """

    title: str
    note: str
    names: tuple[str, ...]
    numbers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    links: tuple[tuple[str, str], ...] = ()

    def fitted(self, width: int) -> Iterator[Sheet]:
        """Split it into tables that fit a width, each with all the text columns."""
        left = sum(min(24, max(map(len, c))) + 1 for c in self._columns(0, len(self.names)))
        widths = [max(map(len, c)) + 1 for c in self._columns(len(self.names), None)]
        start = 0
        while start < max(1, len(widths)):
            stop = start + 1
            while stop < len(widths) and left + sum(widths[start : stop + 1]) <= width + 1:
                stop += 1
            yield self._part(start, stop)
            start = stop

    def _columns(self, start: int, stop: int | None) -> list[tuple[str, ...]]:
        titles = (*self.names, *self.numbers)
        return list(zip(titles, *self.rows, strict=True))[start:stop]

    def _part(self, start: int, stop: int) -> Sheet:
        own = len(self.names)
        rows = tuple((*row[:own], *row[own + start : own + stop]) for row in self.rows)
        return Sheet(self.title, self.note, self.names, self.numbers[start:stop], rows, self.links)


def of_findings(result: Findings) -> Iterator[Sheet]:
    """The tables of an experiment, whatever it is."""
    for caption, frame in result.tables().items():
        yield of_frame(caption, frame)


def of_frame(title: str, frame: pd.DataFrame) -> Sheet:
    """The table of any data frame; columns that are not numeric become text."""
    numbers = [c for c in frame if pd.api.types.is_float_dtype(frame[c])]
    # A table begins with a name, or else with the first column.
    texts = [c for c in frame if c not in numbers] or list(frame)[:1]
    numbers = [c for c in numbers if c not in texts]
    rows = tuple(
        (*(t.clean(str(row[c])) for c in texts), *(_figure(row[c]) for c in numbers))
        for row in frame.to_dict("records")
    )
    names = tuple(t.clean(str(c)).replace("_", " ") for c in texts)
    return Sheet(t.clean(title), "", names, tuple(str(c).replace("_", " ") for c in numbers), rows)


def _figure(value: float) -> str:
    return t.MISSING if pd.isna(value) else f"{value:.4g}"


def print_sheet(console: Console, sheet: Sheet) -> None:
    """Print a table, in several parts if it is wider than the console."""
    print_heading(console, sheet.title.upper().replace("Δ", "δ"))
    for part in sheet.fitted(console.width):
        table = plain_table(part.names, part.numbers)
        for row in part.rows[:MAX_ROWS]:
            table.add_row(*map(Text, row))
        console.print(table)
    if len(sheet.rows) > MAX_ROWS:
        print_note(console, f"and {len(sheet.rows) - MAX_ROWS} more rows")
    if sheet.note:
        print_note(console, sheet.note)


def as_html(
    sheet: Sheet, reports: frozenset[str] = frozenset(), marks: Mapping[str, str] | None = None
) -> str:
    """The HTML of a table; ``marks`` maps the text of a cell to its CSS class."""
    # Numbers in front of the names are only for cross-references on a terminal.
    skip = 0 if sheet.names[0] else 1
    head = [h.column(title, name=True) for title in sheet.names[skip:]]
    head += [h.column(title) for title in sheet.numbers]
    links = {name: href for name, href in sheet.links if href.rpartition("/")[0] in reports}
    texts = len(sheet.names) - skip - 1
    rows = []
    for first, *rest in sheet.rows:
        name = h.broken(". ".join([first, *rest[:skip]]))
        if first in links:
            name = f'<a href="{h.escaped(quote(links[first]))}">{name}</a>'
        cells = [f'<td class="text">{h.broken(c)}</td>' for c in rest[skip : skip + texts]]
        cells += [h.cell(number, (marks or {}).get(number, "")) for number in rest[skip + texts :]]
        rows.append(h.row(name, cells))
    note = f". {h.escaped(sheet.note)}" if sheet.note else ""
    return h.table(sheet.title, f"<b>{h.escaped(sheet.title)}</b>{note}", head, rows)
