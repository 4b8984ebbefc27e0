"""A reproduction, and how it is shown: as a page, on a terminal, and as files."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from markdown_it import MarkdownIt
from rich.console import Console
from rich.markdown import Markdown

from coset_circuits.errors import CosetCircuitsError
from coset_circuits.findings import without_nan
from coset_circuits.findings.storage import read_note
from coset_circuits.networks.files import write_folder
from coset_circuits.report import html as h
from coset_circuits.report import tables as t
from coset_circuits.report.sheet import Sheet
from coset_circuits.report.style import inline
from coset_circuits.report.terminal import plainly
from coset_circuits.reproduction.artifact import Kind, Measured, Section, counted
from coset_circuits.reproduction.files import section_dict, section_files
from coset_circuits.thresholds import DEFAULT

SCHEMA = 1
COLUMNS = ("figure", "paper", "ours", "control", "which control")
COLUMNS_NOTE = (
    "paper: as printed. ours: over the networks named. control: the same where the effect should "
    "be absent or has a dull cause, or the correction of the paper's figure."
)
SAVED = "saved.json"
"""What the files were made from, and the hash of each, so that they are not drawn twice."""
HEAD = (
    "# Reproduction of Stander et al.",
    "D. Stander, Q. Yu, H. Fan, S. Biderman, *Grokking Group Multiplication with Cosets*, "
    "ICML 2024, arXiv 2312.06581.",
)
MAX_NAMES = 8
_LEFT = ' style="text-align:left"'
PADDING = 10
"""Terminal columns reserved for the spaces between the columns of a table."""


@dataclass(frozen=True, repr=False)
class Reproduction:
    """Tables and figures of the paper with ours. It holds no network.

    Attributes:
        sections: in the paper's order.
        networks: what was studied.
        skipped: files that were left out, and why.
        command: makes it again.
        made_from: a hash of everything that it depends on.
        name: how the names of its files begin.
        head: how the page begins: its heading, then what it is about.
    """

    sections: tuple[Section, ...]
    networks: tuple[Measured, ...]
    skipped: Mapping[str, str]
    seed: int
    versions: Mapping[str, str]
    command: str
    made_from: str
    name: str = "reproduction"
    head: tuple[str, ...] = HEAD

    def __getitem__(self, name: str) -> Section:
        """The section of an artifact.

        Raises:
            CosetCircuitsError: it was not made; the sentence lists what was.
        """
        for section in self.sections:
            if section.artifact.name == name:
                return section
        raise CosetCircuitsError(
            f"{name!r} is not part of this reproduction; it has {self._names()}."
        )

    def to_dict(self) -> dict[str, Any]:
        """The content of reproduction.json; its shape is versioned by ``schema``."""
        return without_nan(
            {
                "schema": SCHEMA,
                "command": self.command,
                "networks": [{**n.about, "name": n.name} for n in self.networks],
                "skipped": [{"file": f, "reason": why} for f, why in self.skipped.items()],
                "sections": [section_dict(section) for section in self.sections],
                "seed": self.seed,
                "versions": dict(self.versions),
            }
        )

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write the page as Markdown, HTML and JSON, tables as CSV, figures as SVG and PNG.

        Raises:
            CosetCircuitsError: the folder cannot be made or written.
        """
        return write_folder(Path(folder), lambda: _files(self), below=("tables", "figures"))

    def is_saved_in(self, folder: str | os.PathLike[str]) -> bool:
        """Whether a folder holds all files of this reproduction, whole, made by the same code."""
        note = read_note(Path(folder) / SAVED)
        if note is None or note.get("made_from") != self.made_from:
            return False
        hashes = note["files"].items()
        try:
            return all(_sha256((Path(folder) / name).read_bytes()) == sha for name, sha in hashes)
        except OSError:
            return False

    def __str__(self) -> str:
        return plain_text(self)

    def __repr__(self) -> str:
        return f"Reproduction({self._names()}; {len(self.networks)} networks)"

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self))}</pre>"

    def _names(self) -> str:
        return ", ".join(section.artifact.name for section in self.sections)


def _files(made: Reproduction) -> dict[str, str | bytes]:
    """Every file by its path in the folder."""
    content = json.dumps(made.to_dict(), indent=1, allow_nan=False)
    files: dict[str, str | bytes] = {
        f"{made.name}.md": markdown(made),
        f"{made.name}.json": f"{content}\n",
    }
    for section in made.sections:
        files |= section_files(section)
    figures = {path: text for path, text in files.items() if isinstance(text, str)}
    files[f"{made.name}.html"] = html(made, figures)
    hashes = {name: _sha256(content) for name, content in files.items()}
    note = {"made_from": made.made_from, "files": hashes}
    return {**files, SAVED: json.dumps(note, indent=1) + "\n"}


def _sha256(content: str | bytes) -> str:
    return hashlib.sha256(content if isinstance(content, bytes) else content.encode()).hexdigest()


def markdown(made: Reproduction, figures_at: str = "figures") -> str:
    """The page; its figures are linked from a folder next to it."""
    head = [*made.head, f"Made by\n```\n{made.command}\n```"]
    return "\n\n".join([*head, *_blocks(made, figures_at)]) + "\n"


def html(made: Reproduction, figures: Mapping[str, str]) -> str:
    """The same page as one file; ``figures`` are the drawings as SVG, by their paths."""
    heading, _, text = markdown(made).partition("\n")
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    body = body.replace("<table>", '<div class="scroll" role="region" tabindex="0">\n<table>')
    body = body.replace("</table>", "</table>\n</div>")
    # Cells of text; numbers are aligned to the right by their column.
    body = body.replace("<th>", f"<th{_LEFT}>").replace("<td>", f"<td{_LEFT}>")

    def drawn(match: re.Match[str]) -> str:
        picture = inline(figures[unquote(match[1])], match[2])
        return f"<figure>\n{picture}\n<figcaption>{match[2]}</figcaption>\n</figure>"

    body = re.sub(r'<p><img src="([^"]*)" alt="([^"]*)" /></p>', drawn, body)
    return h.document(heading.removeprefix("# "), [f"<section>\n{body}</section>"])


def print_reproduction(made: Reproduction, console: Console | None = None) -> None:
    """Print the page without figures.

    Further tables are printed if a single table or figure was asked for; the page has all.
    """
    console = console or Console(highlight=False)
    blocks = _blocks(made, width=console.width - PADDING, in_full=len(made.sections) == 1)
    console.print(Markdown("\n\n".join(blocks), hyperlinks=False))


def plain_text(made: Reproduction, width: int = 80) -> str:
    """What :func:`print_reproduction` prints, without colour, no line longer than ``width``."""
    return plainly(lambda console: print_reproduction(made, console), width)


def _blocks(
    made: Reproduction, figures_at: str = "", width: int | None = None, in_full: bool = True
) -> Iterator[str]:
    """The page, block by block: with figures if their folder is given, tables cut to a width."""
    if any(part.lines for section in made.sections for part in section.parts):
        yield COLUMNS_NOTE
    if made.networks:
        yield "## Networks"
        yield _sheet_markdown(_networks(made.networks), width)
    yield from _nothing_learnt(made.networks)
    if made.skipped:
        yield "Not used:"
        yield _list_markdown(f"{_cell(file)}: {_cell(why)}" for file, why in made.skipped.items())
    for section in made.sections:
        artifact = section.artifact
        yield f"## {artifact.name}: {artifact.title}"
        yield f"{artifact.source}."
        for part in section.parts:
            if part.kind is not None:
                yield f"### {artifact.name}, {part.kind.title}"
                beside = f" Not learnt: {_some(part.controls)}." if part.controls else ""
                yield f"{counted(len(part.networks))}: {_some(part.networks)}.{beside}"
            for name, drawing in section.drawings(part).items() if figures_at else ():
                yield f"![{_cell(drawing.caption)}]({figures_at}/{name}.svg)"
            if part.lines:
                yield _rows_markdown(COLUMNS, "lrrrl", [line.cells() for line in part.lines])
            is_answer = section is made.sections[0] and not part.lines
            for table in part.tables if in_full or is_answer else ():
                yield f"**{table.title}.** {table.note}".strip()
                yield _sheet_markdown(table.sheet(), width)
            if part.notes:
                yield _list_markdown(part.notes)
        if artifact.notes:
            yield _list_markdown(artifact.notes)
        yield from _refusals(section)


def _list_markdown(items: Iterable[str]) -> str:
    return "\n".join(f"- {item}" for item in items)


def _sheet_markdown(sheet: Sheet, width: int | None) -> str:
    parts = [sheet] if width is None else sheet.fitted(width)
    align = "l" * len(sheet.names) + "r" * len(sheet.numbers)
    return "\n\n".join(_rows_markdown((*p.names, *p.numbers), align, p.rows) for p in parts)


def _rows_markdown(heads: Sequence[str], align: str, rows: Iterable[Sequence[str]]) -> str:
    rules = ["---:" if a == "r" else "---" for _, a in zip(heads, align, strict=False)]
    return "\n".join(f"| {' | '.join(map(_cell, row))} |" for row in (heads, rules, *rows))


def _cell(text: str) -> str:
    return t.clean(text).replace("|", "\\|")


def _refusals(section: Section) -> Iterator[str]:
    """Why networks could not be measured, each reason with all networks that it holds for."""
    reasons = defaultdict(list)
    for name, why in section.refused.items():
        reasons[why].append(name)
    for why, names in reasons.items():
        yield f"Not measured on {_some(names)}: {t.clean(why)}"


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(map(t.clean, names[:MAX_NAMES]))
    return f"{shown}, …" if len(names) > MAX_NAMES else shown


def _nothing_learnt(networks: Sequence[Measured]) -> Iterator[str]:
    """A sentence for each kind of which no network has learnt its group: it has no sections."""
    kinds: dict[Kind, list[Measured]] = defaultdict(list)
    for network in networks:
        kinds[network.kind].append(network)
    for kind, alike in kinds.items():
        if not any(network.grokked for network in alike):
            best = t.accuracy(max(n.about["accuracy"] for n in alike))
            yield (
                f"No network of {kind.title} has learnt its group, so nothing is compared with the "
                f"paper: the best is right on {best} of the pairs, {DEFAULT.grokked_accuracy:g} is "
                "required."
            )


def _networks(networks: Sequence[Measured]) -> Sheet:
    rows = []
    for network in networks:
        about = network.about
        steps = "" if about["steps"] is None else f"{about['steps']:,}"
        quality = t.accuracy(about["accuracy"]), t.loss(about["loss"])
        rows.append((t.clean(network.name), about["group"], str(about["d_mlp"]), steps, *quality))
    numbers = ("neurons", "steps", "accuracy", "loss")
    return Sheet("Networks", "", ("network", "group"), numbers, tuple(rows))
