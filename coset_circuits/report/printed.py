"""All tables of a comparison on a terminal; legible at 80 columns and through a pipe."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from coset_circuits.comparison import Comparison
from coset_circuits.report import tables as t
from coset_circuits.report.sheet import Sheet, of_findings, print_sheet
from coset_circuits.report.terminal import (
    fact_table,
    plain_table,
    plainly,
    print_heading,
    print_note,
    print_rule,
)

MAX_ROLES = 12


def print_comparison(comparison: Comparison, console: Console | None = None) -> None:
    """Print every table: network, verdict, front, roles, interventions, rule."""
    console = console or Console(highlight=False)
    lines = t.interventions(comparison)
    console.print(fact_table(t.network_facts(comparison)))
    _verdict(console, comparison)
    _front(console, comparison)
    _roles(console, comparison)
    _interventions(console, comparison, lines)
    _on_request(console, comparison)
    _closing(console, comparison)


def full_text(comparison: Comparison, width: int = 80) -> str:
    """All tables without colour, no line longer than ``width``."""
    return plainly(lambda console: print_comparison(comparison, console), width)


def _verdict(console: Console, comparison: Comparison) -> None:
    print_heading(console, "VERDICT")
    console.print(Text(t.sentence(comparison), style="bold", overflow="fold"))


def _roles(console: Console, comparison: Comparison) -> None:
    print_heading(console, "WHAT THE NEURONS DO")
    for family in t.role_families(comparison):
        covered = f"covers {family.coverage:.0%} of the neurons that matter"
        console.print(Text(f"{family.title}: {covered}"))
        table = plain_table(
            ["role"],
            ["neurons", "FVU left", "FVU right", "unembed", "expl. L", "R"],
            gap=2 if console.width >= 72 else 1,
        )
        for line in family.lines[:MAX_ROLES]:
            fvus = (line.fvu_left, line.fvu_right, line.fvu_unembed)
            cells = [str(line.neurons), *(t.loss(v) for v in fvus)]
            explained = [t.accuracy(1 - v)[:6] for v in fvus[:2]]
            table.add_row(Text(t.clean(line.role)), *cells, *explained)
        console.print(Padding(table, (0, 0, 0, 2)))
        if rest := family.lines[MAX_ROLES:]:
            print_note(
                console, f"  and {len(rest)} more roles ({sum(r.neurons for r in rest)} neurons)"
            )
    print_note(
        console,
        "FVU: median fraction of variance unexplained; expl. L, R: explained left and right, "
        "1−FVU.",
    )


def _interventions(
    console: Console, comparison: Comparison, lines: Sequence[t.InterventionLine]
) -> None:
    for quantity, unit in (("accuracy", "share of pairs"), ("loss", "mean, nats")):
        names = [c.name for c in comparison.hypotheses]
        print_sheet(console, _readings(lines, quantity, unit, names))
    print_note(console, "; ".join(f"{line.number} {line.title}" for line in lines) + ".")
    print_note(
        console,
        "control: the network's value under the intervention numbered in “row” (=: the exact share "
        "of commuting pairs); sep: does the row separate any two hypotheses? –: the hypothesis is "
        "silent here.",
    )
    for note in t.footnotes(comparison):
        print_note(console, note)


def _readings(
    lines: Sequence[t.InterventionLine], quantity: str, unit: str, names: Sequence[str]
) -> Sheet:
    """The observed effect of every intervention and each hypothesis's prediction."""
    show = t.accuracy if quantity == "accuracy" else t.loss
    rows = []
    for line in lines:
        predictions = [line.predictions[name] for name in names]
        value = None if line.control is None else getattr(line.control, quantity)
        number = "" if line.control is None else str(line.control.number or "=")
        rows.append(
            (
                str(line.number),
                line.id,
                show(getattr(line.observed, quantity)),
                *(t.MISSING if p is None else show(getattr(p, quantity)) for p in predictions),
                show(value),
                number if value is not None else "",
                "yes" if line.separates else "no",
            )
        )
    numbers = ("seen", *map(t.clean, names), "control", "row", "sep")
    title = f"Interventions: {quantity} ({unit})"
    return Sheet(title, "", ("", "intervention"), numbers, tuple(rows))


def _front(console: Console, comparison: Comparison) -> None:
    print_heading(console, f"BITS AT EQUAL FIDELITY ({t.fidelity_text(comparison)})")
    table = plain_table(["candidate"], ["bits", "[low, high]", "times shorter", "loss", "R²"])
    for line in t.front(comparison):
        name = t.clean(line.name).replace(", relabelled", " (relab.)")
        low, high = (f"{bound:.1f}" for bound in line.compression_interval)
        table.add_row(
            Text(name, style="bold" if line.kind == "hypothesis" else ""),
            t.whole(line.bits),
            f"[{t.whole(line.interval[0])}, {t.whole(line.interval[1])}]",
            f"{line.compression:.1f} [{low}, {high}]",
            t.decades(line.error.median_log_loss),
            t.decades(line.error.logit_r2),
        )
    console.print(table)
    print_note(
        console,
        "bits: per neuron at δ*, range over the dithers; times shorter: than the raw weights, "
        "range from δ*/2 to 2δ*; loss: median |Δlog10 loss| of the surrogate alone, in decades; "
        "R²: of its logits, median over rows.",
    )
    print_note(console, t.FRONT_NOTE)


def _closing(console: Console, comparison: Comparison) -> None:
    print_heading(console, "WHY")
    for sentence in t.details(comparison):
        console.print(Text(sentence, overflow="fold"))
    for names, why in t.not_applicable(comparison):
        console.print(Text(f"Not applicable, {names}: {why}", overflow="fold"))
    print_rule(console, comparison.verdict.rule)


def _on_request(console: Console, comparison: Comparison) -> None:
    """Print the tables and notes of the optional experiments."""
    for result in comparison.on_request.values():
        print_heading(console, "OPTIONAL EXPERIMENT")
        console.print(Text(t.clean(result.title), overflow="fold"))
        for sheet in of_findings(result):
            print_sheet(console, sheet)
        for note in result.notes:
            print_note(console, t.clean(note))
