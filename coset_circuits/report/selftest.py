"""The known-answer benchmark on a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from coset_circuits.benchmark.known_answers import ALIKE
from coset_circuits.benchmark.selftest import SelfTest
from coset_circuits.report.terminal import plain_table, plainly, print_heading

SHOWN = 10


def print_selftest(found: SelfTest, console: Console | None = None) -> None:
    """Print the confusion matrix, false positives, power against noise, and every wrong answer."""
    console = console or Console(highlight=False)
    _confusion(console, found)
    _false_positives(console, found)
    _power(console, found)
    _how_well(console, found)
    _errors(console, found)


def plain_text(found: SelfTest, width: int = 100) -> str:
    """The same without colour, no line longer than ``width``."""
    return plainly(lambda console: print_selftest(found, console), width)


def _table(console: Console, title: str, headings: tuple[str, ...], rows: list[list[str]]) -> None:
    print_heading(console, title.upper())
    table = plain_table(headings[:1], headings[1:], gap=2)
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)


def _confusion(console: Console, found: SelfTest) -> None:
    frame = found.confusion()
    frame = frame.loc[:, frame.any()]
    short = {ALIKE: "not told apart"}
    rows = [
        [
            f"{kind}: {short.get(right, right)}",
            *(str(count) if count else "·" for count in frame.loc[(kind, right)]),
        ]
        for kind, right in frame.index
    ]
    title = f"What was said of {sum(frame.sum())} networks, by what was put there (no noise)"
    columns = [short.get(name, name) for name in map(str, frame.columns)]
    _table(console, title, ("put there: right answer", *columns), rows)


def _false_positives(console: Console, found: SelfTest) -> None:
    rows = [
        [row["null"], f"{row['false positives']} of {row['networks']}", _interval(row)]
        for row in found.false_positives().to_dict("records")
    ]
    _table(console, "Nulls of which a hypothesis was supported", ("null", "said", "95%"), rows)


def _power(console: Console, found: SelfTest) -> None:
    rows = [
        [
            row["case"],
            f"{row['noise']:g}",
            f"{row['right']:.2f}",
            f"{row['found']} of {row['networks']}",
            _interval(row),
        ]
        for row in found.power().to_dict("records")
    ]
    headings = ("case", "noise", "accuracy", "found", "95%")
    _table(
        console,
        "Power: exactly the true hypotheses are left (noise in s.d. of each table)",
        headings,
        rows,
    )


def _how_well(console: Console, found: SelfTest) -> None:
    rows = [
        [
            row["case"],
            f"{row['error']:.3f}",
            f"{row['logit_r2']:.3f}",
            f"{row['bits']:.0f}",
            f"{row['dull_bits']:.0f}",
        ]
        for row in found.how_well().to_dict("records")
    ]
    headings = ("case", "decades off", "R² of logits", "bits a neuron", "dull null")
    _table(console, "How well the shortest undominated hypothesis does (medians)", headings, rows)


def _errors(console: Console, found: SelfTest) -> None:
    wrong = found.errors()
    if not wrong:
        console.print("Every network without noise was judged right.")
        return
    console.print(Text(f"{len(wrong)} networks without noise were misjudged", style="bold"))
    for answer in wrong[:SHOWN]:
        console.print(
            f"  {answer.case}, seed {answer.seed}: said {answer.said}, right is {answer.expected}"
        )
    if len(wrong) > SHOWN:
        console.print(f"  … and {len(wrong) - SHOWN} more, in selftest.json")


def _interval(row: dict) -> str:
    return f"{row['low']:.2f} to {row['high']:.2f}"
