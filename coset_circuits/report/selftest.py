"""The known-answer benchmark on a terminal and as a file."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from coset_circuits.benchmark import SelfTest
from coset_circuits.networks.files import write_folder
from coset_circuits.report.terminal import plain_table, plainly, print_heading

SHOWN = 10


def print_selftest(result: SelfTest, console: Console | None = None) -> None:
    """Print the confusion matrix, false positives, power against noise, and every wrong answer."""
    console = console or Console(highlight=False)
    for title, headings, rows in _tables(result):
        print_heading(console, title.upper())
        table = plain_table(headings[:1], headings[1:], gap=2)
        for row in rows:
            table.add_row(*map(Text, row))
        console.print(table)
    wrong = result.errors()
    if not wrong:
        console.print("The verdict is right on every network without noise.")
        return
    console.print(Text(f"Wrong verdict on {len(wrong)} networks without noise", style="bold"))
    for answer in wrong[:SHOWN]:
        console.print(
            f"  {answer.case}, seed {answer.seed}: verdict {answer.said}, right is {answer.put}"
        )
    if len(wrong) > SHOWN:
        console.print(f"  … and {len(wrong) - SHOWN} more, in selftest.json")


def plain_text(result: SelfTest, width: int = 100) -> str:
    """The same without colour, no line longer than ``width``."""
    return plainly(lambda console: print_selftest(result, console), width)


def save(result: SelfTest, folder: str | os.PathLike[str]) -> Path:
    """Write selftest.json into a folder; returns the folder."""
    content = json.dumps(result.to_dict(), indent=1, allow_nan=False) + "\n"
    return write_folder(Path(folder), lambda: {"selftest.json": content})


def _tables(result: SelfTest) -> Iterator[tuple[str, Sequence[str], list[list[str]]]]:
    """Title, headings and rows of each table."""
    frame = result.confusion()
    frame = frame.loc[:, frame.any()]
    yield (
        f"Verdicts on {sum(frame.sum())} networks without noise, by the planted algorithm",
        ("planted: right answer", *map(str, frame.columns)),
        [
            [f"{kind}: {put}", *(str(count) if count else "·" for count in row)]
            for (kind, put), row in zip(frame.index, frame.to_numpy(), strict=True)
        ],
    )
    yield (
        "False positives: null networks that the verdict says are explained",
        ("null", "explained", "95%"),
        [
            [row["null"], f"{row['false positives']} of {row['networks']}", _interval(row)]
            for row in result.false_positives().to_dict("records")
        ],
    )
    yield (
        "Power: networks with the right verdict (noise in s.d. of each table)",
        ("case", "noise", "accuracy", "right", "95%"),
        [
            [
                row["case"],
                f"{row['noise']:g}",
                f"{row['right']:.2f}",
                f"{row['found']} of {row['networks']}",
                _interval(row),
            ]
            for row in result.power().to_dict("records")
        ],
    )
    yield (
        "Figures of the shortest hypothesis that explains (medians)",
        ("case", "decades off", "R² of logits", "bits a neuron", "best null"),
        [
            [
                row["case"],
                f"{row['error']:.3f}",
                f"{row['logit_r2']:.3f}",
                f"{row['bits']:.0f}",
                f"{row['null_bits']:.0f}",
            ]
            for row in result.how_well().to_dict("records")
        ],
    )


def _interval(row: dict) -> str:
    return f"{row['low']:.2f} to {row['high']:.2f}"
