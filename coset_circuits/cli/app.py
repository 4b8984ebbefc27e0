"""The command ``coset-circuits``: its subcommands, error messages and exit codes."""

from __future__ import annotations

import atexit
import gc
import os
import sys
from typing import Annotated, Any, cast

import typer

from coset_circuits.cli.certify import certify
from coset_circuits.cli.compare import compare
from coset_circuits.cli.group import group
from coset_circuits.cli.import_ import import_
from coset_circuits.cli.networks import networks
from coset_circuits.cli.options import Verbose
from coset_circuits.cli.reproduce import reproduce
from coset_circuits.cli.running import Stopped
from coset_circuits.cli.selftest import selftest
from coset_circuits.cli.terminal import (
    end_by_full_output,
    end_by_pipe,
    fit_to_terminal,
    is_closed_pipe,
    is_out_of_memory,
    say,
)
from coset_circuits.cli.train import train
from coset_circuits.errors import CosetCircuitsError, unexpected

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Find the algorithm that a network learned, if it multiplies in a finite group.",
)
for command in (compare, certify, train, reproduce, group, import_, networks, selftest):
    app.command(command.__name__.rstrip("_"))(command)

USAGE_ERROR = cast("type[Exception]", typer.BadParameter.__base__)
"""Base class of errors about a wrong command, option or value; typer does not export it."""


def main() -> None:
    """Run the command; bad input gives one sentence on standard error and exit code 2."""
    # Threads that spin while they wait slow a busy machine down many times.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # NumPy's matrices are small here; torch's threads do the large products.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Python would look for garbage among all objects of torch and TransformerLens many times
    # while it imports them and twice at the end: more than a second, and there is none.
    gc.set_threshold(50_000)
    atexit.register(gc.freeze)
    fit_to_terminal()
    sys.exit(_run())


def _run() -> int:
    """Run the command and return its exit code; any failure is printed as one sentence."""
    code = 2
    try:
        code = app(standalone_mode=False) or 0
        if code == 130:
            # Some versions of typer return this for Ctrl-C and print nothing.
            raise KeyboardInterrupt
        if sys.stdout is not None:
            sys.stdout.flush()
    except CosetCircuitsError as error:
        say(f"Error: {error}")
    except USAGE_ERROR as error:
        _print_usage_error(error)
    except (KeyboardInterrupt, typer.Abort, Stopped) as stopped:
        say(f"Stopped. {stopped}".rstrip())
        code = 130
    except (Exception, SystemExit) as error:
        if is_closed_pipe(error):
            code = end_by_pipe()
        elif isinstance(error, SystemExit):
            raise
        elif is_out_of_memory(error):
            say("Error: there is not enough memory; use a smaller network, group or batch.")
        elif isinstance(error, OSError) and error.filename is None:
            code = end_by_full_output(error)
        else:
            say(f"Error: {unexpected(error)} Please report it; -v prints the traceback.")
            code = 1
    return code


def _print_usage_error(error: Any) -> None:
    """Print one sentence, or the whole help if no command was given."""
    if len(sys.argv) == 1:
        error.show()
        return
    name = "coset-circuits"
    if error.ctx is not None and error.ctx.parent is not None:
        name += f" {error.ctx.info_name}"
    message = error.format_message().rstrip(".")
    joint = " See" if message.endswith("?") else "; see"
    say(f"Error: {message}{joint} {name} --help.")


def _print_version(wanted: bool) -> bool:
    if wanted:
        from importlib.metadata import version

        print(f"coset-circuits {version('coset-circuits')}")
        raise typer.Exit
    return wanted


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
    verbose: Verbose = False,
) -> None:
    pass
