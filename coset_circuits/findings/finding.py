"""A single measured figure, and the figures that one experiment gives."""

from __future__ import annotations

import html
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd


@dataclass(frozen=True)
class Finding:
    """One measured figure with its unit, its interval, its control and its source.

    Attributes:
        experiment: the id of the experiment or intervention.
        subject: the key of the hypothesis that it describes; None for the network itself.
        quantity: the measured quantity, such as ``accuracy``.
        value: None if the subject makes no prediction or the figure is not a finite number.
        unit: such as ``fraction``, ``nats``, ``decades``, ``bits``.
        at: distinguishes several figures of one experiment: a site, a neuron set, …
        interval: the 95% interval; None if nothing is random.
        control: the same figure under a control, in which no effect should appear or a trivial
            cause is held fixed.
        separates: pairs of keys of the hypotheses that this experiment separates.
        source: how it was computed.
        more: further figures that belong to this one, by name.
    """

    experiment: str
    subject: str | None
    quantity: str
    value: float | None
    unit: str
    at: Mapping[str, Any] = field(default_factory=dict)
    interval: tuple[float, float] | None = None
    control: Finding | None = None
    separates: tuple[tuple[str, str], ...] = ()
    source: str = ""
    more: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", defined(self.value))
        object.__setattr__(self, "more", without_nan(dict(self.more)))

    @property
    def key(self) -> tuple[Any, ...]:
        """A key that is unique among the findings of a comparison."""
        return self.experiment, self.subject, self.quantity, *sorted(self.at.items())

    def to_dict(self) -> dict[str, Any]:
        """The finding's entry in findings.json."""
        entry: dict[str, Any] = {
            "experiment": self.experiment,
            "subject": self.subject,
            "algorithm": self.subject,
            "quantity": self.quantity,
            "value": self.value,
            "unit": self.unit,
            "interval": None if self.interval is None else list(self.interval),
            "control": None if self.control is None else self.control.to_dict(),
            "separates": [list(pair) for pair in self.separates],
            "source": self.source,
        }
        if self.at:
            entry["at"] = dict(self.at)
        return entry | dict(self.more)

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> Finding:
        """Rebuild a finding from what :meth:`to_dict` wrote."""
        plain = ("experiment", "subject", "quantity", "value", "unit", "source")
        read = {name: entry[name] for name in plain}
        rest = {*plain, "algorithm", "interval", "control", "separates", "at"}
        return cls(
            **read,
            at=entry.get("at", {}),
            interval=None if entry["interval"] is None else tuple(entry["interval"]),
            control=None if entry["control"] is None else cls.from_dict(entry["control"]),
            separates=tuple((one, two) for one, two in entry["separates"]),
            more={name: value for name, value in entry.items() if name not in rest},
        )


class Findings(ABC):
    """The result of one experiment: its figures, and the tables that a reader sees.

    A subclass also keeps the tensors that the figures were computed from. Everything that shows
    findings (print, notebook, report, findings.json, figures over networks) uses only the members
    defined here.
    """

    @property
    @abstractmethod
    def title(self) -> str:
        """One line that says what was measured on which network."""

    @property
    def notes(self) -> Sequence[str]:
        """Caveats that a reader of the figures needs."""
        return ()

    @abstractmethod
    def to_dataframe(self) -> pd.DataFrame:
        """The figures as a table."""

    @abstractmethod
    def findings(self) -> Iterator[Finding]:
        """Every figure that a comparison keeps."""

    def tables(self) -> Mapping[str, pd.DataFrame]:
        """The tables to show, by caption; by default :meth:`to_dataframe` without a caption."""
        return {"": self.to_dataframe()}

    def to_dict(self) -> dict[str, Any]:
        """Title, notes and findings, for JSON."""
        return without_nan(
            {
                "title": self.title,
                "notes": list(self.notes),
                "findings": [finding.to_dict() for finding in self.findings()],
            }
        )

    def __str__(self) -> str:
        parts = [self.title]
        for caption, table in self.tables().items():
            parts += [caption] if caption else []
            parts.append(table.to_string(index=False, float_format=number, na_rep="–"))
        return "\n".join([*parts, *self.notes])

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.title})"

    def _repr_html_(self) -> str:
        parts = [f"<p>{html.escape(self.title)}</p>"]
        for caption, table in self.tables().items():
            parts += [f"<p>{html.escape(caption)}</p>"] if caption else []
            parts.append(table.to_html(index=False, float_format=number, na_rep="–"))
        notes = "".join(f"<li>{html.escape(note)}</li>" for note in self.notes)
        return "".join(parts) + (f"<ul>{notes}</ul>" if notes else "")


@dataclass(frozen=True, repr=False)
class FindingsBySubject(Findings):
    """The findings of one experiment on several hypotheses, by the hypotheses' keys.

    Attributes:
        experiment: the experiment's id.
        parts: the findings of each hypothesis.
        missing: hypotheses that could not be measured, and why.
    """

    experiment: str
    parts: Mapping[str, Findings]
    missing: Mapping[str, str]

    @property
    def title(self) -> str:
        return f"{self.experiment} of {len(self.parts)} hypotheses"

    @property
    def notes(self) -> Sequence[str]:
        notes = dict.fromkeys(note for part in self.parts.values() for note in part.notes)
        return [*notes, *(f"{key}: {why}" for key, why in self.missing.items())]

    def findings(self) -> Iterator[Finding]:
        for key, part in self.parts.items():
            for finding in part.findings():
                control = finding.control and replace(finding.control, subject=key)
                yield replace(finding, subject=key, control=control)

    def to_dataframe(self) -> pd.DataFrame:
        frames = [part.to_dataframe().assign(hypothesis=key) for key, part in self.parts.items()]
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()

    def tables(self) -> Mapping[str, pd.DataFrame]:
        return {
            ": ".join(filter(None, (key, part.title, caption))): table
            for key, part in self.parts.items()
            for caption, table in part.tables().items()
        }


def number(value: float) -> str:
    """Format a figure for a table, with four significant digits."""
    return f"{value:.4g}"


def without_nan(value: Any) -> Any:
    """Replace NaN and infinity, which JSON cannot represent, with None."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def from_table(
    frame: pd.DataFrame,
    experiment: str,
    *,
    at: Sequence[str],
    units: Mapping[str, str],
    control: Mapping[str, str] | None = None,
    interval: Mapping[str, tuple[str, str]] | None = None,
    source: str = "",
) -> Iterator[Finding]:
    """Make a finding from each row and quantity of a table.

    Args:
        at: the columns that identify a row.
        units: the columns that are figures, with their units.
        control: for a figure, the column with its control's value.
        interval: for a figure, the columns with its bounds.
    """
    for row in frame.to_dict("records"):
        place = {name: row[name] for name in at}
        for quantity, unit in units.items():
            beside = (control or {}).get(quantity)
            bounds = (interval or {}).get(quantity)
            low, high = (None, None) if bounds is None else (row[name] for name in bounds)
            figure = Finding(experiment, None, quantity, row[quantity], unit, place)
            yield replace(
                figure,
                interval=None if defined(low) is None or defined(high) is None else (low, high),
                control=None
                if beside is None or defined(row[beside]) is None
                else replace(figure, value=row[beside], source=f"control: {beside}"),
                source=source,
            )


def defined(value: float | None) -> float | None:
    """The figure, or None if it is not a finite number."""
    return None if value is None or not math.isfinite(value) else value
