"""The content of a section's files: JSON, tables as CSV, figures as SVG and PNG."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from coset_circuits.report.style import png, svg
from coset_circuits.reproduction.artifact import Part, Section


def section_dict(section: Section) -> dict[str, Any]:
    """A section for reproduction.json."""
    artifact = section.artifact
    return {
        "name": artifact.name,
        "title": artifact.title,
        "source": artifact.source,
        "parts": [_part_dict(section, part) for part in section.parts],
        "notes": artifact.notes,
        "refused": dict(section.refused),
    }


def _part_dict(section: Section, part: Part) -> dict[str, Any]:
    stem = section.stem(part)
    return {
        "kind": None if part.kind is None else part.kind.title,
        "networks": part.networks,
        "not_learnt": part.controls,
        "lines": [asdict(line) for line in part.lines],
        "tables": [
            {**asdict(table), "csv": f"tables/{stem}-{i}.csv"}
            for i, table in enumerate(part.tables, 1)
        ],
        "figures": [
            {"file": f"figures/{name}.svg", "caption": drawing.caption}
            for name, drawing in section.drawings(part).items()
        ],
        "notes": part.notes,
    }


def section_files(section: Section) -> dict[str, str | bytes]:
    """The tables and figures of a section, by their paths in the folder."""
    files: dict[str, str | bytes] = {}
    for part in section.parts:
        stem = section.stem(part)
        if part.lines:
            files[f"tables/{stem}.csv"] = _csv(_line_rows(part))
        for i, table in enumerate(part.tables, 1):
            head = [name.strip() for name in table.columns]
            files[f"tables/{stem}-{i}.csv"] = _csv([head, *table.rows])
        for name, drawing in section.drawings(part).items():
            figure = drawing.figure()
            files[f"figures/{name}.svg"] = svg(figure, name)
            files[f"figures/{name}.png"] = png(figure)
    return files


def _line_rows(part: Part) -> Iterable[Sequence[Any]]:
    yield "figure", "unit", "paper", "ours", "low", "high", "control", "control_is"
    for line in part.lines:
        interval = line.interval or (None, None)
        described, controlled = (line.figure, line.unit), (line.control, line.control_is)
        yield *described, line.paper, line.ours, *interval, *controlled


def _csv(rows: Iterable[Sequence[Any]]) -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(rows)
    return file.getvalue()
