"""``coset-circuits train``."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from coset_circuits.cli.options import (
    GroupName,
    Json,
    checkpoint_steps,
    recipe_fields,
    seed_numbers,
)
from coset_circuits.cli.running import conclude, interruptible
from coset_circuits.cli.terminal import say

if TYPE_CHECKING:
    from coset_circuits.training import TrainedSeed, TrainingState

_REPORTED = ("step", "train_loss", "loss", "train_accuracy", "test_accuracy", "seconds")


def train(
    group: GroupName,
    seeds: Annotated[str, typer.Option(help="One seed (7), a range (0-7) or a list (1,5).")] = "0",
    recipe: Annotated[str, typer.Option(help="Training recipe: fast, paper or memorise.")] = "fast",
    out: Annotated[Path, typer.Option(help="Folder for the runs, one GROUP-seedN/ each.")] = Path(
        "runs"
    ),
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue stopped runs; skip finished ones.")
    ] = False,
    architecture: Annotated[str, typer.Option(help="Architecture: mlp or transformer.")] = "mlp",
    width: Annotated[int | None, typer.Option(help="Number of neurons.")] = None,
    embedding: Annotated[int | None, typer.Option(help="Embedding dimension of an MLP.")] = None,
    d_model: Annotated[
        int | None, typer.Option(help="Size of a transformer's residual stream.")
    ] = None,
    n_heads: Annotated[
        int | None, typer.Option(help="Number of a transformer's attention heads.")
    ] = None,
    d_head: Annotated[int | None, typer.Option(help="Size of each attention head.")] = None,
    fraction: Annotated[float | None, typer.Option(help="Share of the pairs to train on.")] = None,
    activation: Annotated[
        str | None, typer.Option(help="Activation: relu, gelu, silu, abs, …")
    ] = None,
    max_steps: Annotated[int | None, typer.Option(help="Maximum number of steps.")] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change any field of the recipe, such as batch_size=2880."),
    ] = None,
    checkpoints: Annotated[
        str, typer.Option(help="Steps at which to save: log, none, or a list (0,500,1000).")
    ] = "log",
    workers: Annotated[
        int | None,
        typer.Option(help="Number of seeds to train at a time (default: cores).", min=1),
    ] = None,
    threads: Annotated[int, typer.Option(help="Number of threads for each seed.", min=1)] = 1,
    device: Annotated[
        str, typer.Option(help="Device: cpu, or cuda, which trains all seeds together.")
    ] = "cpu",
    as_json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """Train networks until they grok; Ctrl-C stops a run, --resume continues it."""
    numbers = seed_numbers(seeds)
    options = {
        "architecture": architecture,
        "d_mlp": width,
        "d_embed": embedding,
        "d_model": d_model,
        "n_heads": n_heads,
        "d_head": d_head,
        "fraction": fraction,
        "act_fn": activation,
        "max_steps": max_steps,
    }
    fields = recipe_fields(changes or []) | {k: v for k, v in options.items() if v is not None}
    steps = checkpoint_steps(checkpoints)
    from coset_circuits.groups import group as named_group
    from coset_circuits.networks.files import check_place
    from coset_circuits.training import train_many
    from coset_circuits.training.recipes import recipe_for

    check_place(out)
    chosen = named_group(group)
    wanted = recipe_for(chosen, recipe, fields)
    with (
        interruptible(out, "the command with --resume"),
        _live_lines(chosen.name, len(numbers), hidden=quiet or as_json) as report,
    ):
        outcomes = train_many(
            chosen,
            numbers,
            recipe=wanted,
            out=out,
            resume=resume,
            checkpoints=steps,
            workers=workers,
            threads=threads,
            device=device,
            report=report,
        )
    if os.environ.get("RANK", "0") == "0":
        conclude(
            lambda: [_entry(chosen.name, outcome) for outcome in outcomes],
            lambda: _print_outcomes(chosen.name, outcomes, out),
            as_json=as_json,
        )
    if any(outcome.failure for outcome in outcomes):
        raise typer.Exit(1)


def _entry(name: str, outcome: TrainedSeed) -> dict[str, Any]:
    """One seed for JSON: its last training state and its file, or why training failed."""
    last = outcome.last
    file = None if outcome.failure else str(outcome.folder / "network.safetensors")
    return {
        "group": name,
        "seed": outcome.seed,
        "file": file,
        "failure": outcome.failure,
        "state": None if last is None else last.state,
        **{key: None if last is None else getattr(last, key) for key in _REPORTED},
    }


def _print_outcomes(name: str, outcomes: list[TrainedSeed], out: Path) -> None:
    done = []
    for outcome in outcomes:
        title, last = f"{name} seed {outcome.seed}", outcome.last
        if last is None or outcome.failure is not None:
            say(f"{title}: failed. {outcome.failure}")
            continue
        done.append(outcome)
        print(
            f"{title}: {last.state}, {last.step} steps, {_duration(last.seconds)}, test accuracy "
            f"{last.test_accuracy:.4f}, loss {last.loss:.1e}"
        )
    if done:
        several = re.sub(r"seed\d+$", "seed*", done[0].folder.name)
        folder = done[0].folder if len(done) == 1 else out / several
        print(f"Wrote {folder}/network.safetensors")
        trained = shlex.quote(str(done[0].folder if len(done) == 1 else out))
        print(f"Next: coset-circuits compare {trained}")


@contextmanager
def _live_lines(name: str, count: int, *, hidden: bool) -> Iterator[Any]:
    """Show progress: a live line per seed on a terminal, a line per tenth report in a log.

    Losses are on the training pairs / on all pairs. The bar is the accuracy on test pairs.
    """
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    live = console.is_terminal and not hidden
    columns = (TextColumn("{task.description}"), BarColumn(8), TextColumn("{task.fields[left]}"))
    with Bar(*columns, console=console, disable=not live, transient=True) as bar:
        total = bar.add_task(f"{name}: 0 of {count} done", total=count, left="", visible=count > 1)
        tasks: dict[int, Any] = {}
        looks: dict[int, int] = {}

        def report(seed: int, look: TrainingState) -> None:
            title = f"{name} seed {seed}"
            if seed not in tasks:
                tasks[seed] = bar.add_task(title, total=1.0, left="")
            looks[seed] = looks.get(seed, 0) + 1
            sign = "" if look.state == "grokked" else "≤ "
            bar.update(
                tasks[seed],
                description=f"{title} {look.step:6d} {look.state:9s} loss {look.train_loss:.0e}/"
                f"{look.loss:.0e} test {look.test_accuracy:.2f}",
                completed=look.test_accuracy,
                left=f"{look.rate:.0f}/s {sign}{_duration(look.seconds_left)}",
            )
            if look.step == look.last_step:
                bar.update(tasks[seed], visible=False)
                done = int(bar.tasks[total].completed) + 1
                bar.update(total, completed=done, description=f"{name}: {done} of {count} done")
            if not live and not hidden and looks[seed] % 10 == 0:
                say(
                    f"{title} {look.step:6d} {look.state:9s} loss {look.train_loss:.1e}/"
                    f"{look.loss:.1e} test {look.test_accuracy:.3f} {look.rate:.0f}/s",
                )

        yield report


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
