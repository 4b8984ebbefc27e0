"""Findings from the reports that a folder already has, whatever code made them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from coset_circuits.comparison import Ensemble, load_comparison
from coset_circuits.comparison.across import NetworkSummary
from coset_circuits.comparison.many import unused_name
from coset_circuits.comparison.sources import Given, sources
from coset_circuits.comparison.summary import Summary
from coset_circuits.errors import CosetCircuitsError
from coset_circuits.findings.storage import ASKED, read_note
from coset_circuits.thresholds import DEFAULT


def kept_reports(given: Given | Iterable[Given], folder: Path) -> Ensemble:
    """What a folder's reports say of these networks; those without a report are skipped.

    A report is recognised by the hash of its network's weights.

    Raises:
        CosetCircuitsError: no network has a report.
    """
    notes = {path.parent: read_note(path) for path in sorted(folder.glob(f"*/{ASKED}"))}
    places = {note["network"]: place for place, note in notes.items() if note}
    found: list[NetworkSummary] = []
    skipped: dict[str, str] = {}
    for source in sources(given):
        try:
            content = source.content()
            if content not in places:
                skipped[source.called] = f"{folder} has no report on it yet."
                continue
            place = places.pop(content)
            summary = load_comparison(place)
            assert isinstance(summary, Summary)
        except CosetCircuitsError as error:
            skipped[source.called] = str(error)
            continue
        name = unused_name(summary.network["name"], content, [n.name for n in found])
        found.append(NetworkSummary(name, summary, source.called, place.name))
    if not found:
        raise CosetCircuitsError(
            f"{folder} has no report on any of these networks; leave out --kept to compare them."
        )
    first = found[0].summary
    return Ensemble(tuple(found), skipped, (), DEFAULT, first.seed, first.versions)
