"""``coset-circuits compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from coset_circuits.cli.options import (
    Json,
    Order,
    Quiet,
    Verbose,
    comma_separated,
    hypotheses,
    number_of_pairs,
)
from coset_circuits.cli.running import conclude, interruptible, progress_bar
from coset_circuits.errors import CosetCircuitsError


def compare(
    network: Annotated[
        list[str] | None,
        typer.Argument(
            help="Networks: shipped names, files, checkpoints of other projects, or folders of "
            "these (default: s5).",
            metavar="NETWORK",
            show_default=False,
        ),
    ] = None,
    algorithms: Annotated[
        str | None,
        typer.Option(help="Hypotheses to compare, separated by commas (default: all)."),
    ] = None,
    experiments: Annotated[
        str, typer.Option(help="Optional experiments, such as scrub,ablation (default: none).")
    ] = "",
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the report (default: coset-circuits-report/NAME). Several networks "
            "get a subfolder each; networks that already have one are not analysed again."
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(help="Random seed for noise, relabelling, sampling and bootstrap.")
    ] = 0,
    pairs: Annotated[
        str, typer.Option(help="Number of pairs that interventions use: auto, all, or a number.")
    ] = "auto",
    order: Order = None,
    workers: Annotated[
        int | None,
        typer.Option(help="Number of networks to compare in parallel (default: cores).", min=1),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Find the algorithm that explains a network, or each of many, and write a report."""
    if verbose and (quiet or as_json):
        raise CosetCircuitsError(
            "--verbose prints every table, --quiet and --json print none; give one of them."
        )
    count = number_of_pairs(pairs)
    chosen = None if algorithms is None else hypotheses(algorithms)
    wanted = comma_separated(experiments.replace("-", "_"))
    from coset_circuits.comparison import compare as run
    from coset_circuits.comparison.sources import is_collection, natural
    from coset_circuits.findings.storage import REPORT, file_name
    from coset_circuits.networks import load
    from coset_circuits.networks.files import check_place
    from coset_circuits.report.brief import print_brief
    from coset_circuits.report.ensemble import print_ensemble
    from coset_circuits.report.printed import print_comparison

    given = network or ["s5"]
    if given == sorted(given):
        # A shell expands runs/* with seed10 before seed2; natural order undoes that.
        given.sort(key=natural)
    several = len(given) > 1 or is_collection(given[0])
    if several:
        name = Path(given[0]).resolve().name if len(given) == 1 else "networks"
        subject, show = given, print_ensemble
    else:
        subject, show = load(given[0], order=order), print_comparison
        name = file_name(subject.label)
    folder = Path("coset-circuits-report") / name if out is None and not as_json else out
    if folder is not None:
        check_place(folder, REPORT, [] if several else ["figures"])
    with (
        interruptible(folder if several else None),
        progress_bar(hidden=quiet or as_json) as progress,
    ):
        result = run(
            subject,
            chosen,
            experiments=wanted,
            seed=seed,
            pairs=count,
            order=order,
            out=folder if several else None,
            workers=workers,
            progress=progress,
        )
    conclude(
        result.to_dict,
        lambda: show(result) if verbose else print_brief(result),
        "" if folder is None else f"Report: {folder / 'report.html'}",
        as_json=as_json,
        quiet=quiet,
        save=None if folder is None else lambda: result.save(folder),
    )
