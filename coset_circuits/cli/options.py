"""Options that several commands share, and functions that parse their text."""

from __future__ import annotations

import json
import logging
import re
import sys
from typing import Annotated, Any

import typer

from coset_circuits.errors import CosetCircuitsError

Json = Annotated[
    bool, typer.Option("--json", help="Print JSON to standard output and nothing else.")
]


def _log_everything(wanted: bool) -> bool:
    if wanted:
        logging.basicConfig(format="%(message)s")
        logging.getLogger("coset_circuits").setLevel(logging.DEBUG)
    return wanted


Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose",
        "-v",
        callback=_log_everything,
        help="Print every table, and the tracebacks of failures.",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only where the results are.")]
Order = Annotated[
    str | None,
    typer.Option(
        help="Element order of another project's checkpoint, if its answers do not reveal it: "
        '"NAME" or "GROUP, NAME".'
    ),
]
GroupName = Annotated[
    str, typer.Argument(help="A group, such as S5, D59, Q8, PSL(2,7), S3xS3.", metavar="GROUP")
]


def comma_separated(text: str) -> list[str]:
    """The names in a list such as ``coset,irrep``, each once."""
    return list(dict.fromkeys(name for part in text.split(",") if (name := part.strip())))


def hypotheses(text: str) -> list[str]:
    """The keys of the hypotheses in a comma-separated list."""
    from coset_circuits.algorithms import ALGORITHMS

    names = comma_separated(text)
    unknown = [name for name in names if name not in ALGORITHMS]
    if unknown or not names:
        raise CosetCircuitsError(
            f"No algorithm is called {', '.join(map(repr, unknown)) or repr(text)}; choose from "
            f"{', '.join(ALGORITHMS)}."
        )
    return names


def number_of_pairs(text: str) -> int | None:
    """The number of pairs; None lets the library choose."""
    if text == "auto":
        return None
    if text == "all":
        return sys.maxsize
    if re.fullmatch(r"\d{1,18}", text) and int(text) > 0:
        return int(text)
    raise CosetCircuitsError(f"--pairs is {text!r}; give auto, all, or a number from 1 up.")


def seed_numbers(text: str) -> list[int]:
    """The seeds named by one number, a range or a list."""
    match = re.fullmatch(r"(\d{1,9})-(\d{1,9})", text)
    if match and int(match[1]) <= int(match[2]) < int(match[1]) + 100_000:
        return list(range(int(match[1]), int(match[2]) + 1))
    if (numbers := _numbers(text)) is not None:
        return numbers
    raise CosetCircuitsError(
        f"--seeds is {text!r}; give one seed such as 7, a range such as 0-7 (at most "
        "100,000 seeds), or a list such as 1,5."
    )


def checkpoint_steps(text: str) -> list[int] | None:
    """The steps to save checkpoints at; None lets the library choose."""
    if text == "log":
        return None
    if text == "none":
        return []
    if (numbers := _numbers(text)) is not None:
        return numbers
    raise CosetCircuitsError(
        f"--checkpoints is {text!r}; give log, none, or a list of steps such as 0,500,1000."
    )


def recipe_fields(changes: list[str]) -> dict[str, Any]:
    """Fields of a recipe from NAME=VALUE; a value that is not JSON is taken as text."""
    fields = {}
    for change in changes:
        name, equals, value = change.partition("=")
        if not equals:
            raise CosetCircuitsError(
                f"--set is {change!r}; give a field of the recipe and its value, such as "
                "learning_rate=0.02."
            )
        try:
            fields[name] = json.loads(value)
        except (ValueError, RecursionError):
            fields[name] = value
    return fields


def _numbers(text: str) -> list[int] | None:
    if re.fullmatch(r"\d{1,9}(,\d{1,9})*", text):
        return [int(part) for part in text.split(",")]
    return None
