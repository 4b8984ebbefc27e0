"""The default printout of a comparison: at most 40 lines of 80 columns, for one network or many."""

from __future__ import annotations

import re
from collections.abc import Iterator
from textwrap import shorten, wrap

from rich.console import Console
from rich.text import Text

from coset_circuits.comparison import Comparison, Ensemble
from coset_circuits.comparison.across import Stratum
from coset_circuits.report import hypotheses
from coset_circuits.report import tables as t
from coset_circuits.report.sheet import Sheet
from coset_circuits.report.terminal import plain_table, plainly, print_note

ROOM = 36
"""Lines for all but the last sentence and the empty line before it."""
MAX_HYPOTHESES = 11
MAX_LINES = 8
MAX_NETWORKS = 5
MAX_KINDS = 3
MORE = "Every table: -v, or .tables() in Python."


def print_brief(result: Comparison | Ensemble, console: Console | None = None) -> None:
    """Print the networks, the verdict, the hypotheses, their roles, and what separates them."""
    console = console or Console(highlight=False)
    if isinstance(result, Comparison):
        _one(console, result)
    else:
        _many(console, result)
    console.print()
    print_note(console, MORE)


def plain_text(result: Comparison | Ensemble, width: int = 80) -> str:
    """The brief printout without colour, no line longer than ``width``."""
    return plainly(lambda console: print_brief(result, console), width)


def _one(console: Console, comparison: Comparison) -> None:
    facts = dict(t.network_facts(comparison))
    used = _lines(
        console,
        f"{facts['network']}: {facts['group']}; accuracy {facts['accuracy']}, mean loss "
        f"{t.loss(comparison.base.loss)} nats over {comparison.network.group.order**2:,} pairs; "
        f"{facts['width']}",
        3,
    )
    console.print()
    used += _lines(console, t.sentence(comparison), 6, style="bold")
    console.print()
    used += _table(console, hypotheses.of_one(comparison), 7)
    console.print()
    room = ROOM - used - 3
    said = [*_roles(comparison), *_apart(comparison)][: min(MAX_LINES, room)]
    for behind, line in zip(reversed(range(len(said))), said, strict=True):
        room -= _lines(console, line, min(3, room - behind))


def _roles(comparison: Comparison) -> Iterator[str]:
    for key in comparison.verdict.explained_by[:3]:
        candidate = comparison.candidate(key)
        roles = (f"{line['neurons']} {line['role']}" for line in candidate.circuit.roles.summary())
        yield t.clean(f"Neurons under {candidate.name}: {', '.join(roles)}")


def _apart(comparison: Comparison) -> Iterator[str]:
    """What separates the hypotheses, and why some of them cannot explain the network."""
    rows: dict[str, list[str]] = {}
    names = [c.name for c in comparison.hypotheses]
    for line in t.interventions(comparison):
        if line.separates:
            rows.setdefault(t.separation_text(line.separates, names), []).append(line.title)
    separating = [title for titles in rows.values() for title in titles]
    if not rows and len(names) > 1:
        yield "No intervention separates any two hypotheses."
    elif len(rows) > 3:
        yield f"{len(separating)} interventions separate hypotheses: {', '.join(separating)}"
    else:
        for said, titles in rows.items():
            yield f"{', '.join(titles)} separate{'s' * (len(titles) == 1)} {said}"
    reasons: dict[str, list[str]] = {}
    for key, why in comparison.verdict.fails.items():
        first = why.partition("; ")[0].partition(" (")[0]
        reasons.setdefault(first.removeprefix("it ").removeprefix("is "), []).append(key)
    for first, keys in [*reasons.items()][:4]:
        yield t.clean(f"Cannot explain it: {', '.join(keys)} ({first})")
    for keys, why in t.not_applicable(comparison)[:2]:
        yield f"Does not apply: {keys} ({why})"
    for note in comparison.notes[:2]:
        yield t.clean(note)
    if titles := [t.clean(result.title) for result in comparison.on_request.values()]:
        yield f"Optional experiments: {', '.join(titles)}"


def _many(console: Console, ensemble: Ensemble) -> None:
    single = len(ensemble.strata) == 1
    networks = "1 network" if len(ensemble) == 1 else f"{len(ensemble)} networks"
    kinds = "; ".join(f"{len(x.networks)} of {x.title}" for x in ensemble.strata)
    _lines(console, t.clean(f"{networks}: {kinds}"), 2)
    for stratum in ensemble.strata[:MAX_KINDS]:
        console.print()
        _lines(console, sentence(stratum, titled=not single), 6 if single else 5, style="bold")
    _rest(console, len(ensemble.strata) - MAX_KINDS, "kinds")
    if single:
        console.print()
        confidence = 1 - ensemble.thresholds.significance
        _table(console, hypotheses.of_many(ensemble.strata[0], confidence), 6)
    console.print()
    room = MAX_NETWORKS if single else 2 * MAX_NETWORKS
    for network in ensemble.networks[:room]:
        by = " and ".join(network.verdict.explained_by) or "nothing"
        _lines(console, t.clean(f"{network.name}: {by}"), 1)
    _rest(console, len(ensemble) - room, "networks")
    skipped = [*ensemble.skipped.items()]
    for name, why in skipped[:2]:
        named = why if why.startswith(name) else f"{name}. {why}"
        _lines(console, t.clean(f"Not analysed: {named}"), 1)
    _rest(console, len(skipped) - 2, "files that were not analysed")


def sentence(stratum: Stratum, *, titled: bool) -> str:
    """The counted verdicts of one kind of network, or the verdict of a single network."""
    (first, *others), title = stratum.networks, f"{stratum.title}. " * titled
    return t.clean(title + (stratum.count.sentence if others else first.verdict.sentence))


def _rest(console: Console, count: int, what: str) -> None:
    if count > 0:
        print_note(console, f"and {count} more {what}")


def _table(console: Console, sheet: Sheet, most: int) -> int:
    """Print the hypotheses and at most ``most`` lines of notes; the number of lines printed."""
    table = plain_table(sheet.names, sheet.numbers)
    table.columns[0].overflow, table.columns[0].no_wrap = "ellipsis", True
    for row in sheet.rows[:MAX_HYPOTHESES]:
        table.add_row(*map(Text, row))
    console.print(table)
    _rest(console, len(sheet.rows) - MAX_HYPOTHESES, "candidates")
    shown = min(len(sheet.rows), MAX_HYPOTHESES + 1)
    return 2 + shown + _lines(console, sheet.note, most, style="dim")


def _lines(console: Console, text: str, most: int, style: str = "") -> int:
    """Print text in at most ``most`` lines and return their number; the rest is cut off."""
    lines = _cut(text, console.width, most)
    for line in lines:
        console.print(Text(line, style=style, overflow="fold"))
    return len(lines)


def _cut(text: str, width: int, most: int) -> list[str]:
    lines = wrap(text, width, break_on_hyphens=False)
    if len(lines) <= most:
        return lines
    last = shorten(" ".join(lines[most - 1 :]), width, placeholder=" …")
    # A count is not left without the role that it counts.
    return [*lines[: most - 1], re.sub(r"(?<=, )\d+ …$", "…", last)]
