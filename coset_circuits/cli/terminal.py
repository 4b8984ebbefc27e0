"""Cope with any standard output and error: any encoding and width, a full disk, a closed pipe."""

from __future__ import annotations

import codecs
import errno
import os
import signal
import sys
import unicodedata
from contextlib import suppress

NARROWEST = 40
_SIGNS = {"≤": "<=", "≥": ">=", "≈": "~", "≅": "=", "×": "x", "·": ".", "•": "*", "…": "..."}
_SIGNS |= dict.fromkeys("−–—⁻", "-") | dict.fromkeys("’‘′", "'") | dict.fromkeys("“”", '"')
_SIGNS |= {"⟨": "<", "⟩": ">", "→": "->", "√": "sqrt", "∞": "inf", "δ": "delta", "Δ": "d"}
_SIGNS |= {"ρ": "rho", "σ": "sigma", "τ": "tau"}


def fit_to_terminal() -> None:
    """Make printing never fail: characters that the encoding lacks are replaced by plain ones."""
    codecs.register_error("coset_circuits.plainly", _plainly)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="coset_circuits.plainly")  # type: ignore[union-attr]
    columns = os.environ.get("COLUMNS", "")
    if columns.isdigit() and int(columns) < NARROWEST:
        # A width of 0 means that it is not known.
        os.environ["COLUMNS"] = str(NARROWEST if int(columns) else 80)


def _plainly(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    text = error.object[error.start : error.end]
    return "".join(map(_plain, text)), error.end


def _plain(sign: str) -> str:
    if "\u2500" <= sign <= "\u257f":
        return "|" if sign in "│┃║" else "-"
    simple = unicodedata.normalize("NFKD", sign).encode("ascii", "ignore").decode()
    return _SIGNS.get(sign) or simple or "?"


def say(text: str) -> None:
    """Write a line to standard error, if possible."""
    if sys.stderr is not None:
        with suppress(OSError):
            print(text, file=sys.stderr, flush=True)


def is_closed_pipe(error: BaseException | None) -> bool:
    """Whether the reader of our output has closed it; rich and typer turn that into an exit."""
    if isinstance(error, SystemExit):
        error = error.__context__
    return isinstance(error, OSError) and error.errno == errno.EPIPE


def is_out_of_memory(error: BaseException) -> bool:
    """Whether Python or torch got no memory; torch says so in a RuntimeError's text."""
    return isinstance(error, MemoryError) or "allocate memory" in str(error)


def end_by_pipe() -> int:
    """End silently by SIGPIPE, as other tools do when their reader has gone."""
    _discard_output()
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGPIPE)
    return 0


def end_by_full_output(error: OSError) -> int:
    _discard_output()
    say(f"Error: the output cannot be written ({error.strerror or error}).")
    return 1


def _discard_output() -> None:
    """Discard standard output, so that Python's flush at exit does not fail again."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
            continue
        with suppress(OSError, ValueError, AttributeError):
            os.dup2(nowhere, stream.fileno())
