"""The command ``coset-circuits``: what its commands are, and how it ends."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any, cast

import typer

from coset_circuits.cli.compare import compare
from coset_circuits.cli.group import group
from coset_circuits.cli.import_ import import_
from coset_circuits.cli.networks import networks
from coset_circuits.cli.reproduce import reproduce
from coset_circuits.cli.selftest import selftest
from coset_circuits.cli.train import train
from coset_circuits.errors import CosetCircuitsError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Find the algorithm that a network learned, if it multiplies in a finite group.",
)
for command in (compare, train, reproduce, group, import_, networks, selftest):
    app.command(command.__name__.rstrip("_"))(command)

USAGE_ERROR = cast("type[Exception]", typer.BadParameter.__base__)
"""The base of what is raised for a wrong command, option or value; typer does not export it."""


def main() -> None:
    """Run the command; bad input is one sentence on standard error and exit code 2."""
    # Threads that spin while they wait make a busy machine many times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        sys.exit(app(standalone_mode=False))
    except CosetCircuitsError as error:
        typer.echo(f"Error: {error}", err=True)
        sys.exit(2)
    except USAGE_ERROR as error:
        _print_usage_error(error)
        sys.exit(2)
    except (KeyboardInterrupt, typer.Abort):
        typer.echo("Stopped.", err=True)
        sys.exit(130)
    except BrokenPipeError:
        # The reader of the pipe has gone; Python's own flush at exit must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _print_usage_error(error: Any) -> None:
    """One sentence; the whole help where no command was given."""
    if len(sys.argv) == 1:
        error.show()
        return
    name = "coset-circuits"
    if error.ctx is not None and error.ctx.parent is not None:
        name += f" {error.ctx.info_name}"
    message = error.format_message().rstrip(".")
    typer.echo(f"Error: {message}; see {name} --help.", err=True)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"coset-circuits {version('coset-circuits')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    pass
