"""The shape of every table and figure: measured on each network, summarised over a kind of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from coset_circuits.findings.statistics import Estimate, Statistic, estimates, share
from coset_circuits.report import tables as t
from coset_circuits.report.sheet import Sheet
from coset_circuits.report.style import look
from coset_circuits.reproduction.study import Study
from coset_circuits.thresholds import DEFAULT

Value = float | str | None
Unit = Literal["fraction", "nats", "number", "count", "text"]
Panel = Callable[[Axes], Axes]
"""Draws on the axes that it is given, and returns them."""


class Kind(NamedTuple):
    """Networks are summarised together only if they are alike in these."""

    group: str
    order: int
    d_mlp: int
    act_fn: str
    kind: str

    @property
    def title(self) -> str:
        """Such as ``S5, 128 relu neurons``, with the architecture where it is not the paper's."""
        architecture = "" if self.kind == "mlp" else f"{self.kind}, "
        return f"{self.group}, {architecture}{self.d_mlp} {self.act_fn} neurons"


@dataclass(frozen=True)
class Measured:
    """What an artifact has measured on one network; it does not hold the network.

    Attributes:
        name: different from that of every other network.
        about: what :meth:`Study.about` returns.
        findings: what the artifact's ``analyse`` returned.
    """

    name: str
    about: Mapping[str, Any]
    findings: Mapping[str, Any]

    @property
    def kind(self) -> Kind:
        return Kind(*(self.about[name] for name in Kind._fields))

    @property
    def grokked(self) -> bool:
        """Whether it has learnt its group; the others are controls."""
        return self.about["accuracy"] >= DEFAULT.grokked_accuracy


@dataclass(frozen=True)
class Line:
    """One figure of the paper, ours, and a control or the correction of the paper's figure.

    Attributes:
        figure: what is measured, in a few words.
        control_is: what the control is.
        interval: 95% over networks, for ours.
    """

    figure: str
    unit: Unit
    paper: Value
    ours: Value
    control: Value = None
    control_is: str = ""
    interval: tuple[float, float] | None = None

    @classmethod
    def over(
        cls,
        figure: str,
        unit: Unit,
        paper: Value,
        ours: Sequence[float],
        control: Sequence[float | None] = (),
        control_is: str = "",
        statistic: Statistic = "mean",
    ) -> Line:
        """A mean or median over networks, and the same statistic of those that have a control."""
        estimate = over_networks(ours, statistic)
        value, interval = (None, None) if estimate is None else (estimate.value, estimate.interval)
        beside = centre(control, statistic)
        return cls(figure, unit, paper, value, beside, control_is if control else "", interval)

    @classmethod
    def share(
        cls,
        figure: str,
        paper: Value,
        ours: Sequence[bool],
        control: Sequence[bool],
        control_is: str,
    ) -> Line:
        """The share of the networks of which something holds, and of their controls."""
        estimate = share(sum(ours), len(ours))
        beside = sum(control) / len(control) if control else None
        return cls(figure, "fraction", paper, estimate.value, beside, control_is, estimate.interval)

    def cells(self) -> tuple[str, ...]:
        """The figure, the three columns, and what the control is, as text."""
        columns = (show(value, self.unit) for value in (self.paper, self.ours, self.control))
        return (self.figure, *columns, self.control_is)


@dataclass(frozen=True)
class Table:
    """A further table; its cells are values, shown in their column's unit."""

    title: str
    columns: Mapping[str, Unit]
    rows: Sequence[Sequence[Value]]
    note: str = ""

    def sheet(self) -> Sheet:
        """The table as text, for a terminal or a page; columns of text come first."""
        names = [name for name, unit in self.columns.items() if unit == "text"]
        numbers = [name for name, unit in self.columns.items() if unit != "text"]
        rows = []
        for row in self.rows:
            cells = dict(zip(self.columns, row, strict=True))
            shown = (show(cells[name], self.columns[name]) for name in (*names, *numbers))
            rows.append(tuple(shown))
        return Sheet(self.title, self.note, tuple(names), tuple(numbers), tuple(rows))


@dataclass(frozen=True)
class Drawing:
    """A picture: rows of panels."""

    caption: str
    panels: Sequence[Sequence[Panel]]
    size: tuple[float, float]

    def figure(self) -> Figure:
        """The picture, drawn."""
        with look():
            figure = Figure(figsize=self.size, layout="constrained")
            rows, columns = len(self.panels), max(map(len, self.panels))
            for i, row in enumerate(self.panels):
                for j, panel in enumerate(row):
                    panel(figure.add_subplot(rows, columns, 1 + i * columns + j))
        return figure


@dataclass(frozen=True)
class Part:
    """An artifact of the networks of one kind, or of no network if it needs none.

    Attributes:
        notes: how to read it, as far as that depends on these networks.
        kind: None if the artifact needs no network.
        networks: the names of those that have learnt their group.
        controls: the names of the others.
    """

    lines: Sequence[Line] = ()
    tables: Sequence[Table] = ()
    drawings: Sequence[Drawing] = ()
    notes: Sequence[str] = ()
    kind: Kind | None = None
    networks: tuple[str, ...] = ()
    controls: tuple[str, ...] = ()


Networks = Sequence[Measured]


@dataclass(frozen=True)
class Artifact:
    """A table or figure of the paper, and how it is made from networks.

    Attributes:
        name: as typed, such as ``"table1"``.
        title: what it shows.
        source: where the paper has it.
        summarise: makes a part from what was measured on networks of one kind: those that have
            learnt their group (at least one), then the others, which are controls. Both are
            empty if the artifact needs no network.
        analyse: measures one network; the result is small and JSON. None if no network is needed.
        groups: the groups that the paper's figures are about; None: any group.
        notes: how to read it, for all networks.
    """

    name: str
    title: str
    source: str
    summarise: Callable[[Networks, Networks], Part]
    analyse: Callable[[Study], dict[str, Any]] | None = None
    groups: Sequence[str] | None = ("S5",)
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Question:
    """What a section of the study asks, and where its answer is taken from."""

    name: str
    title: str
    source: str
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Section:
    """An artifact or question with its results.

    Attributes:
        parts: one for each kind of network.
        refused: networks that have learnt their group but cannot be measured for it, and why.
    """

    artifact: Artifact | Question
    parts: tuple[Part, ...]
    refused: Mapping[str, str]

    def stem(self, part: Part) -> str:
        """How the names of a part's files begin."""
        kind = part.kind
        ending = "" if kind is None else f"-{kind.group}-{kind.d_mlp}-{kind.act_fn}"
        ending += "" if kind is None or kind.kind == "mlp" else f"-{kind.kind}"
        return f"{self.artifact.name}{ending}"

    def drawings(self, part: Part) -> dict[str, Drawing]:
        """A part's drawings by the names of their files, without suffix."""
        stem, drawings = self.stem(part), part.drawings
        if len(drawings) == 1:
            return {stem: drawings[0]}
        return {f"{stem}-{i}": drawing for i, drawing in enumerate(drawings, 1)}


def show(value: Value, unit: Unit) -> str:
    """A cell as text."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return t.MISSING
    if isinstance(value, str):
        return t.clean(value)
    if unit == "fraction":
        return t.accuracy(value)
    if unit == "nats":
        return t.loss(value)
    return f"{value:,.12g}" if unit == "count" else f"{value:.3g}"


def columns(*units: tuple[Unit, str | Sequence[str]]) -> dict[str, Unit]:
    """The columns of a table, in order: ``columns(("text", "step"), ("nats", "mean, median"))``."""
    return {
        name: unit
        for unit, names in units
        for name in (names.split(", ") if isinstance(names, str) else names)
    }


def centre(values: Sequence[float | None], statistic: Statistic = "mean") -> float | None:
    """A mean or median over the networks that have a value; None if none has."""
    estimate = over_networks(values, statistic)
    return None if estimate is None else estimate.value


def over_networks(
    values: Iterable[float | None], statistic: Statistic = "median", seed: int = 0
) -> Estimate | None:
    """A mean or median over the networks that have a value, with its interval."""
    kept = np.array([value for value in values if value is not None], dtype=np.float64)
    return estimates(kept[:, None], statistic, seed=seed)[0] if len(kept) else None


def counted(count: int) -> str:
    """Such as ``8 networks``."""
    return "1 network" if count == 1 else f"{count} networks"
