"""The one shape of every table and figure: look at each network, tell over networks of a kind."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from coset_circuits.errors import CosetCircuitsError
from coset_circuits.findings.statistics import Estimate, estimates
from coset_circuits.report import tables as t
from coset_circuits.report.sheets import Sheet
from coset_circuits.report.style import look
from coset_circuits.reproduction.study import Study
from coset_circuits.thresholds import DEFAULT

Value = float | str | None
Unit = Literal["fraction", "nats", "number", "count", "text"]
Statistic = Literal["mean", "median"]
Panel = Callable[[Axes], Axes]
"""A picture on the axes it is given, which it gives back."""

Kind = tuple[str, int, int, str]
"""Group, order, width, activation: only networks alike in these are taken together."""


@dataclass(frozen=True)
class Seen:
    """What was seen of one network, without the network.

    Attributes:
        name: unlike that of any other.
        about: what :meth:`Study.about` says.
        findings: what the artifact's ``look`` gave.
    """

    name: str
    about: Mapping[str, Any]
    findings: Mapping[str, Any]

    @property
    def kind(self) -> Kind:
        about = self.about
        return about["group"], about["order"], about["d_mlp"], about["act_fn"]

    @property
    def grokked(self) -> bool:
        """Whether it has learnt its group; the others are controls."""
        return self.about["accuracy"] >= DEFAULT.grokked_accuracy


@dataclass(frozen=True)
class Line:
    """One figure of the paper, ours, and the control or correction to be read beside it.

    Attributes:
        figure: what is measured, in a few words.
        control_is: what the third figure is.
        interval: 95% over networks, of ours.
    """

    figure: str
    unit: Unit
    paper: Value
    ours: Value
    control: Value = None
    control_is: str = ""
    interval: tuple[float, float] | None = None

    def shown(self) -> tuple[str, str, str, str, str]:
        """The cells of a row: the figure, the three columns, and what the third is."""
        columns = (show(value, self.unit) for value in (self.paper, self.ours, self.control))
        return (self.figure, *columns, self.control_is)  # type: ignore[return-value]


@dataclass(frozen=True)
class Table:
    """A table beside the three columns; its cells are values, shown by their column's unit."""

    title: str
    columns: Mapping[str, Unit]
    rows: tuple[tuple[Value, ...], ...]
    note: str = ""

    def sheet(self) -> Sheet:
        """The same as text, for a terminal or a page."""
        names = tuple(name for name, unit in self.columns.items() if unit == "text")
        numbers = tuple(name for name, unit in self.columns.items() if unit != "text")
        order = [list(self.columns).index(name) for name in (*names, *numbers)]
        units = list(self.columns.values())
        rows = tuple(tuple(show(row[i], units[i]) for i in order) for row in self.rows)
        return Sheet(self.title, self.note, names, numbers, rows)


@dataclass(frozen=True)
class Drawing:
    """A figure: rows of panels, each a function of an Axes."""

    caption: str
    panels: tuple[tuple[Panel, ...], ...]
    size: tuple[float, float] = (7.2, 3.6)
    title: str = ""

    def figure(self) -> Figure:
        """It, drawn."""
        with look():
            figure = Figure(figsize=self.size, layout="constrained")
            FigureCanvasAgg(figure)
            rows, columns = len(self.panels), max(map(len, self.panels))
            for i, row in enumerate(self.panels):
                for j, panel in enumerate(row):
                    panel(figure.add_subplot(rows, columns, 1 + i * columns + j))
            if self.title:
                figure.suptitle(self.title, fontsize=10)
        return figure


@dataclass(frozen=True)
class Part:
    """What an artifact tells of networks of one kind, or of none where it needs none.

    Its notes are what depends on these networks.
    """

    lines: tuple[Line, ...] = ()
    tables: tuple[Table, ...] = ()
    drawings: tuple[Drawing, ...] = ()
    notes: tuple[str, ...] = ()


Tell = Callable[[Sequence[Seen], Sequence[Seen]], Part]


@dataclass(frozen=True)
class Artifact:
    """A table or figure of the paper, and how it is made from networks.

    Attributes:
        name: as typed, such as ``"table1"``.
        title: what it shows.
        source: where it stands in the paper.
        tell: from what was seen of networks of one kind, those that have learnt their group (at
            least one) and the others, which are controls; from nothing where none is needed.
        look: what is seen of one network, small and as JSON; None where no network is needed.
        groups: whose networks the paper's figures are of; None: they hold of any group.
        notes: how it is to be read, whatever the networks.
    """

    name: str
    title: str
    source: str
    tell: Tell
    look: Callable[[Study], dict[str, Any]] | None = None
    groups: tuple[str, ...] | None = ("S5",)
    notes: tuple[str, ...] = ()


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
    if unit == "count":
        return f"{value:,.12g}"
    return f"{value:.3g}"


def over(values: Sequence[float], statistic: Statistic = "mean") -> Estimate | None:
    """A figure over networks with its interval; None of no network."""
    if not values:
        return None
    return estimates(np.array(values, dtype=np.float64)[:, None], statistic)[0]


def value(estimate: Estimate | None) -> float | None:
    return None if estimate is None else estimate.value


def interval(estimate: Estimate | None) -> tuple[float, float] | None:
    return None if estimate is None else estimate.interval


def refuse(why: str) -> CosetCircuitsError:
    """For a ``look`` that finds nothing in a network: the sentence stands in the section."""
    return CosetCircuitsError(why)
