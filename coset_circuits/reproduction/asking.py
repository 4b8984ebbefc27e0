"""What a question of the study is, and how its answer becomes a section of the page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from coset_circuits.findings.statistics import holm
from coset_circuits.reproduction import artifact as art
from coset_circuits.reproduction.kinds import Survey

Rows = Sequence[Sequence[art.Value]]


class Said(str):
    """The answer in words, with figures; the first of an answer also opens the page."""


Answer = Iterator[Said | str | art.Table | art.Drawing]
"""Sentences, notes, tables and drawings, in any order."""


class Asked(NamedTuple):
    """A question as data.

    Attributes:
        name: how the names of its files begin.
        basis: what the answer is taken from.
        answer: makes the answer; a question without tables is left out.
    """

    name: str
    title: str
    basis: str
    answer: Callable[[Survey], Answer]


def answered(asked: Asked, study: Survey) -> tuple[art.Section, list[Said]] | None:
    """A question's section and what it says in words; None if nothing was measured for it."""
    name, title, basis, answer = asked
    parts = [*answer(study)]
    tables = [part for part in parts if isinstance(part, art.Table) and part.rows]
    if not tables:
        return None
    drawings = [part for part in parts if isinstance(part, art.Drawing)]
    notes = [part for part in parts if isinstance(part, str) and not isinstance(part, Said)]
    said = [part for part in parts if isinstance(part, Said)]
    question = art.Question(name, title, " ".join([*said, f"*{basis}*"]))
    part = art.Part(tables=tables, drawings=drawings, notes=notes)
    return art.Section(question, (part,), {}), said


def table(title: str, rows: Rows, note: str = "", **columns: str | Sequence[str]) -> art.Table:
    """A table whose columns are given by their units, as for :func:`art.columns`."""
    return art.Table(title, art.columns(*columns.items()), rows, note)  # type: ignore[arg-type]


def listing(counts: Mapping[str, int], most: int = 3) -> str:
    """Such as ``double 3, noise_0_1 2``, the largest first."""
    shown = sorted(counts.items(), key=lambda item: -item[1])[:most]
    return ", ".join(f"{name} {count}" for name, count in shown)


def corrected(p_values: Sequence[float | None]) -> list[float | None]:
    """The p values with Holm's correction over those that are there."""
    found = iter(holm([p for p in p_values if p is not None]))
    return [None if p is None else next(found) for p in p_values]


def p_value(p: float) -> str:
    """Such as ``p = 0.012`` or ``p < 0.001``."""
    return "p < 0.001" if p < 1e-3 else f"p = {p:.2g}"
