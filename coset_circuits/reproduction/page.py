"""A reproduction as a page, on a terminal, and as files."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from rich.console import Console
from rich.text import Text

from coset_circuits.findings.storage import read_note
from coset_circuits.report import tables as t
from coset_circuits.report.ensemble import print_sheet
from coset_circuits.report.sheets import Sheet
from coset_circuits.report.style import look, svg
from coset_circuits.report.terminal import (
    fact_table,
    plain_table,
    plainly,
    print_heading,
    print_note,
)
from coset_circuits.reproduction.artifact import Kind, Line, Seen, Table
from coset_circuits.reproduction.reproduce import Reproduction, Section, Told, kind_title
from coset_circuits.thresholds import DEFAULT

COLUMNS = ("figure", "paper", "ours", "control", "which control")
COLUMNS_NOTE = (
    "paper: as printed. ours: over the networks named. control: the same where the effect should "
    "be absent or has a dull cause, or the correction of the paper's figure."
)
SAVED = "saved.json"
"""What the files were made from, and the hash of each: they are not drawn twice."""
DPI = 160
MAX_NAMES = 8


def files(made: Reproduction) -> dict[str, str | bytes]:
    """Every file by its path in the folder."""
    content = json.dumps(made.to_dict(), indent=1, allow_nan=False)
    found: dict[str, str | bytes] = {
        "reproduction.md": markdown(made),
        "reproduction.json": f"{content}\n",
    }
    for section in made.sections:
        for told in section.told:
            stem = f"{section.artifact.name}{told.stem}"
            if told.part.lines:
                found[f"tables/{stem}.csv"] = _lines_csv(told.part.lines)
            for i, table in enumerate(told.part.tables, 1):
                found[f"tables/{stem}-{i}.csv"] = _table_csv(table)
            for name, figure in figures(section, told).items():
                found[f"figures/{name}.svg"] = svg(figure, name)
                found[f"figures/{name}.png"] = _png(figure)
    hashes = {name: _sha256(content) for name, content in found.items()}
    note = {"made_from": made.made_from, "files": hashes}
    return {**found, SAVED: json.dumps(note, indent=1) + "\n"}


def are_saved(made: Reproduction, folder: Path) -> bool:
    """Whether a folder has all the files, whole."""
    note = read_note(folder / SAVED)
    if note is None or note.get("made_from") != made.made_from:
        return False
    try:
        return all(_sha256((folder / n).read_bytes()) == own for n, own in note["files"].items())
    except OSError:
        return False


def _sha256(content: str | bytes) -> str:
    return hashlib.sha256(content if isinstance(content, bytes) else content.encode()).hexdigest()


def figures(section: Section, told: Told) -> dict[str, Figure]:
    """The figures of a part, drawn, by the names of their files."""
    drawn = {}
    for i, drawing in enumerate(told.part.drawings, 1):
        number = f"-{i}" if len(told.part.drawings) > 1 else ""
        drawn[f"{section.artifact.name}{told.stem}{number}"] = drawing.figure()
    return drawn


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    with look():
        figure.savefig(
            buffer,
            format="png",
            dpi=DPI,
            facecolor="white",
            bbox_inches="tight",
            pad_inches=0.08,
            metadata={"Software": None},
        )
    return buffer.getvalue()


def section_dict(section: Section) -> dict[str, Any]:
    """A section for reproduction.json."""
    artifact = section.artifact
    return {
        "name": artifact.name,
        "title": artifact.title,
        "source": artifact.source,
        "parts": [_part_dict(section, told) for told in section.told],
        "notes": list(artifact.notes),
        "refused": dict(section.refused),
    }


def _part_dict(section: Section, told: Told) -> dict[str, Any]:
    stem = f"{section.artifact.name}{told.stem}"
    return {
        "kind": told.title or None,
        "networks": list(told.names),
        "not_learnt": list(told.controls),
        "lines": [
            {
                "figure": line.figure,
                "unit": line.unit,
                "paper": line.paper,
                "ours": line.ours,
                "interval": None if line.interval is None else list(line.interval),
                "control": line.control,
                "control_is": line.control_is,
            }
            for line in told.part.lines
        ],
        "tables": [
            {
                "title": table.title,
                "columns": dict(table.columns),
                "rows": [list(row) for row in table.rows],
                "note": table.note,
                "csv": f"tables/{stem}-{i}.csv",
            }
            for i, table in enumerate(told.part.tables, 1)
        ],
        "figures": [
            {"file": f"figures/{name}.svg", "caption": drawing.caption}
            for name, drawing in zip(_figure_names(section, told), told.part.drawings, strict=True)
        ],
        "notes": list(told.part.notes),
    }


def _figure_names(section: Section, told: Told) -> list[str]:
    count = len(told.part.drawings)
    stem = f"{section.artifact.name}{told.stem}"
    return [stem] if count == 1 else [f"{stem}-{i}" for i in range(1, count + 1)]


def _lines_csv(lines: Sequence[Line]) -> str:
    rows: list[list[Any]] = [
        ["figure", "unit", "paper", "ours", "low", "high", "control", "control_is"]
    ]
    for line in lines:
        low, high = line.interval or (None, None)
        own = [line.paper, line.ours, low, high, line.control, line.control_is]
        rows.append([line.figure, line.unit, *own])
    return _csv(rows)


def _table_csv(table: Table) -> str:
    return _csv([[name.strip() for name in table.columns], *table.rows])


def _csv(rows: Sequence[Sequence[Any]]) -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(rows)
    return file.getvalue()


def markdown(made: Reproduction, figures_at: str = "figures") -> str:
    """The page; figures are linked to in a folder beside it."""
    blocks = [
        "# Reproduction of Stander et al.",
        "D. Stander, Q. Yu, H. Fan, S. Biderman, *Grokking Group Multiplication with Cosets*, "
        "ICML 2024, arXiv 2312.06581.",
        f"Made by\n```\n{made.command}\n```",
        COLUMNS_NOTE,
    ]
    if made.networks:
        blocks += ["## Networks", _sheet_markdown(_networks(made.networks))]
    blocks += unlearnt(made)
    if made.skipped:
        blocks.append("Not used:")
        blocks.append("\n".join(f"- {_cell(f)}: {_cell(why)}" for f, why in made.skipped.items()))
    for section in made.sections:
        blocks += _section_markdown(section, figures_at)
    return "\n\n".join(blocks) + "\n"


def _section_markdown(section: Section, figures_at: str) -> Iterator[str]:
    artifact = section.artifact
    yield f"## {artifact.name}: {artifact.title}"
    yield f"{artifact.source}."
    for told in section.told:
        if told.title:
            yield f"### {artifact.name}, {told.title}"
            yield _of(told)
        part = told.part
        for drawing, name in zip(part.drawings, _figure_names(section, told), strict=True):
            yield f"![{_cell(drawing.caption)}]({figures_at}/{name}.svg)"
        if part.lines:
            yield _rows_markdown(COLUMNS, "lrrrl", [line.shown() for line in part.lines])
        for table in part.tables:
            yield f"**{table.title}.** {table.note}".strip()
            yield _sheet_markdown(table.sheet())
        if part.notes:
            yield "\n".join(f"- {note}" for note in part.notes)
    if artifact.notes:
        yield "\n".join(f"- {note}" for note in artifact.notes)
    for name, why in _grouped(section):
        yield f"Nothing for this of {name}: {why}"


def _grouped(section: Section) -> list[tuple[str, str]]:
    """Reasons, each with all networks that it holds of."""
    reasons: dict[str, list[str]] = {}
    for name, why in section.refused.items():
        reasons.setdefault(why, []).append(name)
    return [(_some(names), t.clean(why)) for why, names in reasons.items()]


def _of(told: Told) -> str:
    """Which networks a part is of."""
    count = len(told.names)
    sentence = f"{count} network{'s' * (count != 1)}: {_some(told.names)}."
    if told.controls:
        sentence += f" Not learnt: {_some(told.controls)}."
    return sentence


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(map(t.clean, names[:MAX_NAMES]))
    return f"{shown}, …" if len(names) > MAX_NAMES else shown


def unlearnt(made: Reproduction) -> list[str]:
    """A sentence for each kind of which no network has learnt its group: it has no sections."""
    kinds: dict[Kind, list[Seen]] = {}
    for network in made.networks:
        kinds.setdefault(network.kind, []).append(network)
    return [
        f"No network of {kind_title(kind)} has learnt its group (the best is right on "
        f"{t.accuracy(max(n.about['accuracy'] for n in networks))} of the pairs, "
        f"{DEFAULT.grokked_accuracy:g} is asked), so there is nothing to set beside the paper."
        for kind, networks in kinds.items()
        if not any(network.grokked for network in networks)
    ]


def _networks(networks: Sequence[Seen]) -> Sheet:
    rows = []
    for network in networks:
        about = network.about
        steps = "" if about["steps"] is None else f"{about['steps']:,}"
        rows.append(
            (
                t.clean(network.name),
                about["group"],
                str(about["d_mlp"]),
                steps,
                t.accuracy(about["accuracy"]),
                t.loss(about["loss"]),
            )
        )
    return Sheet(
        "Networks", "", ("network", "group"), ("neurons", "steps", "accuracy", "loss"), tuple(rows)
    )


def _sheet_markdown(sheet: Sheet) -> str:
    heads = (*sheet.names, *sheet.numbers)
    return _rows_markdown(heads, "l" * len(sheet.names) + "r" * len(sheet.numbers), sheet.rows)


def _rows_markdown(heads: Sequence[str], align: str, rows: Sequence[Sequence[str]]) -> str:
    rules = ["---:" if a == "r" else "---" for a in align]
    return "\n".join(f"| {' | '.join(map(_cell, row))} |" for row in (heads, rules, *rows))


def _cell(text: str) -> str:
    return t.clean(text).replace("|", "\\|")


def plain_text(made: Reproduction, width: int = 80) -> str:
    """What :func:`print_reproduction` prints, without colour, no line longer than ``width``."""
    return plainly(lambda console: print_reproduction(made, console), width)


def print_reproduction(made: Reproduction, console: Console | None = None) -> None:
    """Print every section: the three columns and how they are to be read.

    Further tables are printed where one table or figure is asked for; the page has all.
    """
    console = console or Console(highlight=False)
    if made.networks:
        console.print(_console_table(_networks(made.networks)))
    for sentence in unlearnt(made):
        print_note(console, sentence)
    if made.skipped:
        console.print(fact_table([("not used", f"{f}: {why}") for f, why in made.skipped.items()]))
    for section in made.sections:
        artifact = section.artifact
        print_heading(console, f"{artifact.name.upper()}: {artifact.title}")
        print_note(console, artifact.source)
        for told in section.told:
            if told.title:
                console.print(Text(f"{told.title}: {_of(told)}", style="bold", overflow="fold"))
            _print_part(console, told, in_full=len(made.sections) == 1)
        for note in artifact.notes:
            print_note(console, note)
        for name, why in _grouped(section):
            print_note(console, f"Nothing for this of {name}: {why}")
    console.print()
    print_note(console, COLUMNS_NOTE)


def _console_table(sheet: Sheet) -> Any:
    table = plain_table(sheet.names, sheet.numbers)
    for row in sheet.rows:
        table.add_row(*map(Text, row))
    return table


def _print_part(console: Console, told: Told, in_full: bool) -> None:
    part = told.part
    if part.lines:
        table = plain_table(COLUMNS[:1], COLUMNS[1:4])
        table.add_column(Text(COLUMNS[4]), overflow="fold")
        for line in part.lines:
            table.add_row(*map(Text, line.shown()))
        console.print(table)
    for extra in part.tables if in_full else ():
        print_sheet(console, extra.sheet())
    for note in part.notes:
        print_note(console, note)
