"""``coset-circuits reproduce``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from coset_circuits.cli.options import Json, Order, Quiet, Verbose, comma_separated
from coset_circuits.cli.running import conclude, interruptible, progress_bar
from coset_circuits.errors import CosetCircuitsError


def reproduce(
    what: Annotated[
        list[str],
        typer.Argument(
            help="What to recompute: table1 to table5, fig2 to fig8, section7, or all. Or "
            "study: a survey of what each kind of network computes.",
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
    experiments: Annotated[
        str | None,
        typer.Option(help="study: optional experiments (default: all that the page shows)."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="study: number of networks compared in parallel.", min=1)
    ] = None,
    kept: Annotated[
        bool,
        typer.Option("--kept", help="study: make the page from the reports in --out, as they are."),
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Recompute tables and figures of Stander et al. next to the published ones, with controls."""
    is_study = what == ["study"]
    only_study = experiments is not None or workers is not None or kept
    if not is_study and ("study" in what or only_study):
        raise CosetCircuitsError(
            "study makes a separate page: give it alone; --experiments, --workers and --kept need "
            "it."
        )
    from coset_circuits.networks import shipped
    from coset_circuits.reproduction import survey
    from coset_circuits.reproduction.page import print_reproduction
    from coset_circuits.reproduction.reproduce import reproduction_of, save_anew

    with interruptible(out), progress_bar(hidden=quiet or as_json) as progress:
        common: dict[str, Any] = {"seed": seed, "order": order, "progress": progress}
        if is_study:
            common |= {"workers": workers, "kept": kept}
            if experiments is not None:
                common["experiments"] = comma_separated(experiments.replace("-", "_"))
            made = survey(list(shipped()) if networks is None else networks, out=out, **common)
        else:
            made = reproduction_of(what, networks, out, **common)
    conclude(
        made.to_dict,
        lambda: print_reproduction(made),
        f"Page: {out / f'{made.name}.html'}",
        as_json=as_json,
        quiet=quiet,
        save=lambda: save_anew(made, out),
    )
