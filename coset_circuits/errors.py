"""The one error that a user meets, and what is said of errors that nobody expected."""

import logging
import re

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
