"""The library's one error class, and functions that check and convert arguments."""

from __future__ import annotations

import errno
import functools
import inspect
import logging
import math
import operator
import os
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from numbers import Real
from typing import Any, TypeVar, cast

Function = TypeVar("Function", bound=Callable[..., Any])
_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")


class CosetCircuitsError(ValueError):
    """Bad input. The message says what was given, what was expected and what to do.

    The command line prints the message and exits with code 2. The message is always one line
    without terminal control characters, whatever input it quotes.
    """

    def __init__(self, sentence: str = "") -> None:
        plain = _ESCAPES.sub("", sentence)
        super().__init__("".join(c if c.isprintable() else " " for c in plain))


def unexpected(error: Exception) -> str:
    """A one-line message for an unexpected error; the traceback goes to the log.

    The traceback is logged by Python's ``logging``, under ``coset_circuits``, at level DEBUG.
    """
    logging.getLogger("coset_circuits").debug("Traceback:", exc_info=error)
    lines = str(error).split("\n\n")[0].splitlines() or ["no message"]
    return str(CosetCircuitsError(f"{type(error).__name__}: {' '.join(lines)[:300]}."))


def whole(name: str, given: Any, least: int = 1, most: float = math.inf) -> int:
    """Convert a Python, NumPy or torch integer to an ``int`` and check its range.

    Raises:
        CosetCircuitsError: the value is not a whole number, or is out of range.
    """
    value = _as_whole(given)
    if value is None or not least <= value <= most:
        limit = "up" if most == math.inf else f"to {most:,}"
        raise CosetCircuitsError(
            f"The {name} is {brief(given)}; give a whole number from {least} {limit}."
        )
    return value


def _as_whole(given: Any) -> int | None:
    with suppress(TypeError, ValueError, RuntimeError):
        return None if isinstance(given, bool) else operator.index(given)
    return None


def whole_seed(given: Any) -> int:
    """Check a random seed. Training, comparing and every experiment accept NumPy's range.

    Raises:
        CosetCircuitsError: the seed is not a whole number from 0 to 2³² − 1.
    """
    return whole("seed", given, 0, 2**32 - 1)


def text(name: str, given: Any) -> str:
    """Convert a name to text; paths and numbers are accepted too.

    Raises:
        CosetCircuitsError: the value is of another type.
    """
    if isinstance(given, (str, os.PathLike, int, float)) or hasattr(given, "dtype"):
        return str(given)
    raise CosetCircuitsError(f"The {name} is a {type(given).__name__}; give text.")


def plain(name: str, given: Any) -> Any:
    """Convert a value to what JSON can hold: paths become text, arrays and tensors lists.

    Raises:
        CosetCircuitsError: the value contains something that JSON cannot hold.
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


_KINDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "None": (lambda given: given is None, "None"),
    "bool": (lambda given: type(given).__name__ in ("bool", "bool_"), "True or False"),
    "int": (lambda given: _as_whole(given) is not None, "a whole number"),
    "float": (
        lambda given: _as_whole(given) is not None or isinstance(given, Real),
        "a number",
    ),
    "str": (lambda given: isinstance(given, str), "text"),
    "os.PathLike": (lambda given: isinstance(given, os.PathLike), "a path"),
    "Mapping": (lambda given: isinstance(given, Mapping), "a dictionary"),
    "Iterable": (lambda given: isinstance(given, Iterable), "a list"),
    "Sequence": (lambda given: isinstance(given, Iterable), "a list"),
    "Callable": (callable, "a function"),
    "torch.device": (lambda given: type(given).__name__ == "device", "a device"),
    "torch.dtype": (lambda given: type(given).__name__ == "dtype", "a torch.dtype"),
    "Progress": (callable, "a function"),
}
"""How the kind of an argument that an annotation names is checked, and what it is called."""


def checked(function: Function) -> Function:
    """Refuse arguments of another kind than the function's annotations name.

    Only annotations that consist of the kinds in :data:`_KINDS` are checked. NumPy's numbers and
    texts are fine. Labels and seeds have checks of their own, :func:`text` and :func:`whole_seed`.
    """
    signature = inspect.signature(function)
    kinds: dict[str, list[tuple[Callable[[Any], bool], str]]] = {}
    paths: set[str] = set()
    for name, parameter in signature.parameters.items():
        parts = re.sub(r"\[.*?\](?= \||$)", "", str(parameter.annotation)).split(" | ")
        if "os.PathLike" in parts:
            paths.add(name)
        several = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        if name not in ("label", "seed") and not several:
            kinds[name] = [_KINDS[part] for part in parts if part in _KINDS]
            kinds[name] *= len(kinds[name]) == len(parts)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        with suppress(TypeError):
            for name, given in signature.bind(*args, **kwargs).arguments.items():
                wanted = kinds.get(name)
                if wanted and not any(is_one(given) for is_one, _ in wanted):
                    raise CosetCircuitsError(
                        f"{name} is {brief(given)}; give {' or '.join(what for _, what in wanted)}."
                    )
                if name in paths and given is not None:
                    _check_path(name, given)
        return function(*args, **kwargs)

    return cast(Function, call)


def _check_path(name: str, given: Any) -> None:
    """Refuse a path that no file system takes."""
    try:
        os.stat(given)
    except (OSError, ValueError) as error:
        if isinstance(error, ValueError) or error.errno == errno.ENAMETOOLONG:
            raise CosetCircuitsError(
                f"{name} is {brief(given)}, which cannot be a path ({error}); give another one."
            ) from error


def brief(given: Any) -> str:
    """The ``repr`` of an argument, shortened to fit into an error message."""
    shown = " ".join(repr(given).split())
    return shown if len(shown) <= 60 else f"a {type(given).__name__}"
