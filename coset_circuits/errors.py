"""The one error that a user meets, and arguments that are converted or refused at the door."""

from __future__ import annotations

import logging
import math
import operator
import os
import re
from collections.abc import Mapping
from typing import Any

_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")


class CosetCircuitsError(ValueError):
    """Bad input, said in one sentence: what was given, what was expected, what to do.

    The command line prints the sentence and exits with code 2. Whatever it quotes, it is one line
    that steers no terminal.
    """

    def __init__(self, sentence: str = "") -> None:
        plain = _ESCAPES.sub("", sentence)
        super().__init__("".join(c if c.isprintable() else " " for c in plain))


def unexpected(error: Exception) -> str:
    """A sentence on an error that nobody expected; the traceback goes to the log.

    The log is that of Python, under ``coset_circuits``, at the level DEBUG.
    """
    logging.getLogger("coset_circuits").debug("Traceback:", exc_info=error)
    lines = str(error).split("\n\n")[0].splitlines() or ["no message"]
    return str(CosetCircuitsError(f"{type(error).__name__}: {' '.join(lines)[:300]}."))


def whole(name: str, given: Any, least: int = 1, most: float = math.inf) -> int:
    """A whole number of Python, NumPy or torch.

    Raises:
        CosetCircuitsError: it is something else, or out of range.
    """
    try:
        value = None if isinstance(given, bool) else operator.index(given)
    except (TypeError, ValueError, RuntimeError):
        value = None
    if value is None or not least <= value <= most:
        limit = "up" if most == math.inf else f"to {most:,}"
        raise CosetCircuitsError(
            f"The {name} is {brief(given)}; give a whole number from {least} {limit}."
        )
    return value


def whole_seed(given: Any) -> int:
    """A seed: one range for training, comparing and every experiment, which is NumPy's.

    Raises:
        CosetCircuitsError: it is no whole number from 0 to 2³² − 1.
    """
    return whole("seed", given, 0, 2**32 - 1)


def text(name: str, given: Any) -> str:
    """A name as text: a path and a number have one.

    Raises:
        CosetCircuitsError: it is something else.
    """
    if isinstance(given, (str, os.PathLike, int, float)) or hasattr(given, "dtype"):
        return str(given)
    raise CosetCircuitsError(f"The {name} is a {type(given).__name__}; give text.")


def plain(name: str, given: Any) -> Any:
    """What JSON can hold: paths as text, arrays and tensors as lists.

    Raises:
        CosetCircuitsError: something in it is neither.
    """
    if given is None or type(given) in (bool, int, float, str):
        return given
    if isinstance(given, Mapping):
        return {text(name, key): plain(name, value) for key, value in given.items()}
    if isinstance(given, (list, tuple, set, frozenset)):
        return [plain(name, value) for value in given]
    if isinstance(given, (str, os.PathLike)):
        return str(given)
    if hasattr(given, "tolist"):
        return plain(name, given.tolist())
    raise CosetCircuitsError(
        f"The {name} holds a {type(given).__name__}; give text, numbers, lists and dictionaries."
    )


def brief(given: Any) -> str:
    """What was given, short enough for a sentence."""
    shown = " ".join(repr(given).split())
    return shown if len(shown) <= 60 else f"a {type(given).__name__}"
