"""``coset-circuits selftest``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from coset_circuits.cli.options import Json, Quiet, comma_separated
from coset_circuits.cli.running import conclude, interruptible, progress_bar


def selftest(
    seeds: Annotated[int, typer.Option(help="Number of networks for each case.")] = 2,
    groups: Annotated[str, typer.Option(help="Groups to use, separated by commas.")] = "D4,S4",
    trained: Annotated[
        bool,
        typer.Option("--trained", help="Use networks trained with tables of a given kind."),
    ] = False,
    out: Annotated[
        Path, typer.Option(help="Folder for the answers; a rerun continues from it.")
    ] = Path("coset-circuits-report/selftest"),
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Test the verdict on networks whose algorithm is known."""
    from coset_circuits.benchmark import selftest as run
    from coset_circuits.report.selftest import print_selftest

    with interruptible(out), progress_bar(hidden=quiet or as_json) as progress:
        result = run(
            comma_separated(groups), seeds=seeds, trained=trained, out=out, progress=progress
        )
    conclude(
        result.to_dict,
        lambda: print_selftest(result),
        f"Answers: {out / 'selftest.json'}",
        as_json=as_json,
        quiet=quiet,
        save=lambda: result.save(out),
    )
    if result.failures():
        raise typer.Exit(1)
