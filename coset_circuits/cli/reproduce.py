"""``coset-circuits reproduce``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from coset_circuits.cli.options import Json, Order, Quiet, Verbose
from coset_circuits.cli.running import conclude, interruptible, progress_bar, rerun_to_continue


def reproduce(
    what: Annotated[
        list[str],
        typer.Argument(
            help="What to recompute: table1 to table5, fig2 to fig8, section7, or all.",
            metavar="WHAT",
        ),
    ],
    networks: Annotated[
        list[str] | None,
        typer.Option(
            help="A folder of checkpoints, a file or a shipped name; repeat it for several "
            "(default: all shipped networks).",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Folder for the page, tables, figures and results so far.")
    ] = Path("coset-circuits-report/reproduction"),
    seed: Annotated[
        int, typer.Option(help="Random seed for noise, relabelling and random sets.")
    ] = 0,
    order: Order = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Recompute tables and figures of Stander et al. beside the published ones, with controls."""
    from coset_circuits.reproduction.page import print_reproduction
    from coset_circuits.reproduction.reproduce import reproduction_of, save_anew

    with interruptible(rerun_to_continue(out)), progress_bar(hidden=quiet or as_json) as progress:
        made = reproduction_of(what, networks, out, seed=seed, order=order, progress=progress)
    conclude(
        made.to_dict,
        lambda: print_reproduction(made),
        f"Page: {out / 'reproduction.md'}",
        as_json=as_json,
        quiet=quiet,
        save=lambda: save_anew(made, out),
    )
