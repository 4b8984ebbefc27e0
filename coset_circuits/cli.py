"""The command ``coset-circuits``. Heavy imports wait until a command runs, so help is instant."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from coset_circuits.errors import CosetCircuitsError

if TYPE_CHECKING:
    from coset_circuits.algorithms import Algorithm
    from coset_circuits.networks import GroupMLP
    from coset_circuits.training import Outcome, Progress

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="What algorithm did this network learn? For networks that multiply in a finite group.",
)

USAGE_ERROR = cast("type[Exception]", typer.BadParameter.__base__)
"""What is raised for a command, an option or a value that cannot be; typer does not export it."""

Json = Annotated[bool, typer.Option("--json", help="Print JSON to standard output, nothing else.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say only where the results are.")]
Order = Annotated[
    str | None,
    typer.Option(help="Element order of a foreign checkpoint, where it cannot be measured."),
]


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
        _say_usage(error)
        sys.exit(2)
    except (KeyboardInterrupt, typer.Abort):
        typer.echo("Stopped.", err=True)
        sys.exit(130)
    except BrokenPipeError:
        # The reader of a pipe has gone; there is nobody left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _say_usage(error: Any) -> None:
    """One sentence; all of the help where no command was given."""
    if len(sys.argv) == 1:
        error.show()
        return
    command = "coset-circuits"
    if error.ctx is not None and error.ctx.parent is not None:
        command += f" {error.ctx.info_name}"
    said = error.format_message().rstrip(".")
    typer.echo(f"Error: {said}; see {command} --help.", err=True)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"coset-circuits {version('coset-circuits')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say the version.")
    ] = False,
) -> None:
    pass


@app.command()
def compare(
    network: Annotated[
        list[str] | None,
        typer.Argument(
            help="Shipped names, files of ours, checkpoints of either paper, folders of any of "
            "these (default: s5).",
            metavar="NETWORK",
            show_default=False,
        ),
    ] = None,
    algorithms: Annotated[
        str, typer.Option(help="Hypotheses to compare, separated by commas.")
    ] = "coset,irrep",
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the report (default: coset-circuits-report/NAME). Of several "
            "networks each gets a report below it, and is not analysed again."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of noise, relabelling, samples and bootstrap.")] = 0,
    pairs: Annotated[
        str, typer.Option(help="How many pairs the interventions use: auto, all, or a number.")
    ] = "auto",
    order: Order = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Which algorithm explains a network, or many? Prints the evidence and writes a report."""
    if out is not None:
        _check_writable(out)
    given = network or ["s5"]
    chosen, count = _algorithms(algorithms), _pairs(pairs)
    from coset_circuits.comparison import compare as run
    from coset_circuits.comparison.sources import is_collection
    from coset_circuits.networks import load

    if len(given) > 1 or is_collection(given[0]):
        options = {"seed": seed, "pairs": count, "order": order}
        _compare_many(given, chosen, options, out, as_json, quiet)
        return
    loaded = load(given[0], order=order)
    with _stopped_saying("Nothing is kept."), _steps(hidden=quiet or as_json) as progress:
        comparison = run(loaded, chosen, seed=seed, pairs=count, progress=progress)
    from coset_circuits.report import print_comparison

    folder = Path("coset-circuits-report") / _file_name(loaded) if out is None else out
    if out is not None or not as_json:
        comparison.save(folder)
    _conclude(
        comparison.to_dict,
        lambda: print_comparison(comparison),
        f"Report: {folder / 'report.html'}",
        as_json=as_json,
        quiet=quiet,
    )


def _compare_many(
    given: list[str],
    algorithms: list[Algorithm],
    options: dict[str, Any],
    out: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Several networks: what is done is kept, so that the same command goes on after Ctrl-C."""
    from coset_circuits.comparison import compare as run
    from coset_circuits.report.ensemble import print_ensemble

    folder = out
    if folder is None and not as_json:
        name = Path(given[0]).resolve().name if len(given) == 1 else "networks"
        folder = Path("coset-circuits-report") / name
        _check_writable(folder)
    kept = "Nothing is kept without --out." if folder is None else _goes_on(folder)
    with _stopped_saying(kept), _steps(hidden=quiet or as_json) as progress:
        ensemble = run(given, algorithms, **options, out=folder, progress=progress)
    if folder is not None:
        ensemble.save(folder)
    _conclude(
        ensemble.to_dict,
        lambda: print_ensemble(ensemble),
        "" if folder is None else f"Report: {folder / 'report.html'}",
        as_json=as_json,
        quiet=quiet,
    )


def _algorithms(text: str) -> list[Algorithm]:
    from coset_circuits.algorithms import ALGORITHMS

    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in ALGORITHMS]
    if unknown or not names:
        raise CosetCircuitsError(
            f"No algorithm is called {', '.join(map(repr, unknown)) or repr(text)}; known are "
            f"{', '.join(ALGORITHMS)}."
        )
    return [form for name in dict.fromkeys(names) for form in ALGORITHMS[name]]


def _pairs(text: str) -> int | None:
    if text == "auto":
        return None
    if text == "all":
        return sys.maxsize
    if re.fullmatch(r"\d{1,18}", text) and int(text) > 0:
        return int(text)
    raise CosetCircuitsError(f"--pairs is {text!r}; give auto, all, or a number from 1 up.")


def _file_name(network: GroupMLP) -> str:
    from coset_circuits.findings.storage import file_name

    return file_name(network.label)


def _check_writable(path: Path) -> None:
    """Refuse a folder that cannot be written before minutes are spent."""
    existing = path
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise CosetCircuitsError(
            f"{path} cannot be written, because {existing} is "
            f"{'read-only' if existing.is_dir() else 'a file, not a folder'}; choose another --out."
        )


@app.command()
def train(
    group: Annotated[str, typer.Argument(help="Such as S5, D59, Q8, PSL(2,7), S3xS3.")],
    seeds: Annotated[str, typer.Option(help="One seed (7), a range (0-7) or a list (1,5).")] = "0",
    recipe: Annotated[str, typer.Option(help="fast, paper or memorise.")] = "fast",
    out: Annotated[Path, typer.Option(help="Folder that gets GROUP-seedN/.")] = Path("runs"),
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where runs stopped; finished ones stay.")
    ] = False,
    width: Annotated[int | None, typer.Option(help="Neurons.")] = None,
    embedding: Annotated[int | None, typer.Option(help="Embedding dimension.")] = None,
    fraction: Annotated[float | None, typer.Option(help="Share of pairs trained on.")] = None,
    activation: Annotated[str | None, typer.Option(help="relu, gelu, silu, abs, …")] = None,
    max_steps: Annotated[int | None, typer.Option(help="Steps at most.")] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any field of the recipe, such as batch_size=2880."),
    ] = None,
    checkpoints: Annotated[
        str, typer.Option(help="Steps whose tables are kept: log, none, or a list (0,500,1000).")
    ] = "log",
    workers: Annotated[
        int | None, typer.Option(help="Seeds trained at a time (default: one a core).", min=1)
    ] = None,
    threads: Annotated[int, typer.Option(help="Threads for each seed.", min=1)] = 1,
    device: Annotated[str, typer.Option(help="cpu, or cuda: all seeds side by side.")] = "cpu",
    as_json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Train networks before your eyes until they grok; Ctrl-C stops, --resume goes on."""
    numbers = _seeds(seeds)
    _check_writable(out)
    named = {
        "d_mlp": width,
        "d_embed": embedding,
        "fraction": fraction,
        "act_fn": activation,
        "max_steps": max_steps,
    }
    wanted = {**_fields(changes or []), **{k: v for k, v in named.items() if v is not None}}
    kept = _checkpoints(checkpoints)
    from coset_circuits.groups import group as named_group
    from coset_circuits.training import train_many

    chosen = named_group(group)
    hidden = quiet or as_json
    with (
        _stopped_saying(f"What is done is in {out}; the same command with --resume goes on."),
        _training_lines(chosen.name, len(numbers), hidden=hidden) as report,
    ):
        outcomes = train_many(
            chosen,
            numbers,
            recipe=recipe,
            out=out,
            resume=resume,
            checkpoints=kept,
            workers=workers,
            threads=threads,
            device=device,
            report=report,
            **wanted,
        )
    if os.environ.get("RANK", "0") == "0":
        _conclude(
            lambda: [_trained(chosen.name, outcome) for outcome in outcomes],
            lambda: _say_trained(chosen.name, outcomes, out),
            as_json=as_json,
        )
    if any(outcome.failure for outcome in outcomes):
        raise typer.Exit(1)


def _trained(name: str, outcome: Outcome) -> dict[str, Any]:
    """What became of one seed: its last look and its file, or why there is none."""
    last, is_whole = outcome.last, outcome.failure is None
    look = ("step", "train_loss", "loss", "train_accuracy", "test_accuracy", "seconds")
    return {
        "group": name,
        "seed": outcome.seed,
        "file": str(outcome.folder / "network.safetensors") if is_whole else None,
        "failure": outcome.failure,
        "state": None if last is None else last.state,
        **{key: None if last is None else getattr(last, key) for key in look},
    }


def _say_trained(name: str, outcomes: list[Outcome], out: Path) -> None:
    done = []
    for outcome in outcomes:
        title, last = f"{name} seed {outcome.seed}", outcome.last
        if last is None or outcome.failure is not None:
            typer.echo(f"{title}: failed. {outcome.failure}", err=True)
            continue
        done.append(outcome)
        typer.echo(
            f"{title}: {last.state}, {last.step} steps, {_duration(last.seconds)}, test accuracy "
            f"{last.test_accuracy:.4f}, loss {last.loss:.1e}"
        )
    if done:
        folder = done[0].folder if len(done) == 1 else out / f"{name}-seed*"
        typer.echo(f"Wrote {folder}/network.safetensors")
        typer.echo(f"Next: coset-circuits compare {done[0].folder if len(done) == 1 else out}")


def _fields(changes: list[str]) -> dict[str, Any]:
    """Fields of a recipe from NAME=VALUE, the value as JSON or else as text."""
    fields = {}
    for change in changes:
        name, equals, value = change.partition("=")
        if not equals:
            raise CosetCircuitsError(
                f"--set is {change!r}; give a field of the recipe and its value, such as "
                "learning_rate=0.02."
            )
        try:
            fields[name] = json.loads(value)
        except (ValueError, RecursionError):
            fields[name] = value
    return fields


def _checkpoints(text: str) -> list[int] | None:
    if text == "log":
        return None
    if text == "none":
        return []
    if re.fullmatch(r"\d{1,9}(,\d{1,9})*", text):
        return [int(part) for part in text.split(",")]
    raise CosetCircuitsError(
        f"--checkpoints is {text!r}; give log, none, or a list of steps such as 0,500,1000."
    )


def _seeds(text: str) -> list[int]:
    match = re.fullmatch(r"(\d{1,9})-(\d{1,9})", text)
    if match and int(match[1]) <= int(match[2]) < int(match[1]) + 100_000:
        return list(range(int(match[1]), int(match[2]) + 1))
    if re.fullmatch(r"\d{1,9}(,\d{1,9})*", text):
        return [int(part) for part in text.split(",")]
    raise CosetCircuitsError(
        f"--seeds is {text!r}; give one seed such as 7, a range such as 0-7, or a list such as 1,5."
    )


@app.command()
def reproduce(
    what: Annotated[
        list[str],
        typer.Argument(
            help="table1 to table5, fig2 to fig8, section7, or all; several at once.",
            metavar="WHAT",
        ),
    ],
    networks: Annotated[
        list[str] | None,
        typer.Option(
            help="A folder of checkpoints, a file or a shipped name; may be given several times "
            "(default: all shipped networks).",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Folder for the page, tables and figures, and what is kept.")
    ] = Path("coset-circuits-report/reproduction"),
    seed: Annotated[int, typer.Option(help="Of noise, relabelling and random sets.")] = 0,
    order: Order = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Tables and figures of Stander et al. from networks, theirs beside ours, with controls."""
    _check_writable(out)
    from coset_circuits.reproduction import reproduce as run
    from coset_circuits.reproduction.page import print_reproduction

    with _stopped_saying(_goes_on(out)), _steps(hidden=quiet or as_json) as progress:
        made = run(what, networks, out=out, seed=seed, order=order, progress=progress)
    _conclude(
        made.to_dict,
        lambda: print_reproduction(made),
        f"Page: {out / 'reproduction.md'}",
        as_json=as_json,
        quiet=quiet,
    )


@app.command()
def group(
    name: Annotated[
        str, typer.Argument(help="Such as S5, D59, Q8, PSL(2,7), S3xS3.", metavar="GROUP")
    ],
    as_json: Json = False,
) -> None:
    """What a group is made of: classes, subgroups, irreps, spectra of coset indicators."""
    from coset_circuits.groups import group as named_group
    from coset_circuits.report.groups import group_dict, print_group

    with _steps(hidden=as_json) as progress:
        progress("subgroups and spectra", 0, None)
        described = group_dict(named_group(name))
    _conclude(lambda: described, lambda: print_group(described), as_json=as_json)


@app.command("import")
def import_(
    file: Annotated[str, typer.Argument(help="A checkpoint of either paper: file or folder.")],
    out: Annotated[
        Path | None, typer.Option(help="Where to write (default: NAME.safetensors).")
    ] = None,
    order: Order = None,
    as_json: Json = False,
) -> None:
    """Turn a checkpoint of either paper into ours; its conventions are found by measuring."""
    from coset_circuits.networks import load, save

    with _steps(hidden=as_json) as progress:
        progress("finding the element order", 0, None)
        network = load(file, order=order)
    target = Path(f"{_file_name(network)}.safetensors") if out is None else out
    _check_writable(target.parent)
    written = save(network, target)
    order_found = network.provenance.get("element_order")
    _conclude(
        lambda: _described(network) | {"element_order": order_found, "file": str(written)},
        lambda: typer.echo(
            f"{network!r}\nElement order: {order_found or 'ours already'}. Wrote {written}"
        ),
        as_json=as_json,
    )


@app.command()
def networks(as_json: Json = False) -> None:
    """The networks that ship with the package."""
    from coset_circuits.networks import load, shipped
    from coset_circuits.report.terminal import print_networks

    loaded = [load(name) for name in shipped()]
    trained = ("command", "steps", "seed", "sha256")
    _conclude(
        lambda: [_described(n) | {key: n.provenance[key] for key in trained} for n in loaded],
        lambda: print_networks(loaded),
        as_json=as_json,
    )


@app.command()
def selftest(
    seeds: Annotated[int, typer.Option(help="Networks of each case.")] = 2,
    groups: Annotated[str, typer.Option(help="Groups, separated by commas.")] = "D4,S4",
    out: Annotated[
        Path, typer.Option(help="Folder that keeps every answer: a stopped run goes on.")
    ] = Path("coset-circuits-report/selftest"),
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Judge networks whose algorithm is known: is the right one found, and nothing else?"""
    names = [name.strip() for name in groups.split(",") if name.strip()]
    _check_writable(out)
    from coset_circuits.benchmark.selftest import selftest as run
    from coset_circuits.report.selftest import print_selftest

    with _stopped_saying(_goes_on(out)), _steps(hidden=quiet or as_json) as progress:
        found = run(names, seeds=seeds, out=out, progress=progress)
    folder = found.save(out)
    _conclude(
        found.to_dict,
        lambda: print_selftest(found),
        f"Answers: {folder / 'selftest.json'}",
        as_json=as_json,
        quiet=quiet,
    )
    if found.failures():
        raise typer.Exit(1)


def _conclude(
    content: Callable[[], Any],
    show: Callable[[], object],
    where: str = "",
    *,
    as_json: bool,
    quiet: bool = False,
) -> None:
    """How a command ends: JSON and nothing else, or text and then where the results are."""
    if as_json:
        typer.echo(json.dumps(content(), indent=1, allow_nan=False))
        return
    if not quiet:
        show()
    if where:
        typer.echo(where if quiet else f"\n{where}")


def _described(network: GroupMLP) -> dict[str, Any]:
    cfg = network.cfg
    return {
        "name": network.label,
        "group": network.group.name,
        "d_mlp": cfg.d_mlp,
        "act_fn": cfg.act_fn,
    }


def _goes_on(folder: Path) -> str:
    return f"What is done is in {folder}; the same command goes on."


@contextmanager
def _stopped_saying(kept: str) -> Iterator[None]:
    """Ctrl-C ends the command with a sentence on what is kept."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(f"Stopped. {kept}", err=True)
        raise typer.Exit(130) from None


@contextmanager
def _steps(*, hidden: bool) -> Iterator[Any]:
    """A progress bar on standard error while standard output stays clean."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description:34s}"), BarColumn(), TimeElapsedColumn())
    hidden = hidden or not console.is_terminal
    with Progress(*columns, console=console, disable=hidden, transient=True) as bar:
        task = bar.add_task("starting", total=None)
        yield lambda text, done, total: bar.update(
            task, description=text, completed=done, total=total
        )


@contextmanager
def _training_lines(name: str, count: int, *, hidden: bool) -> Iterator[Any]:
    """On a terminal a live line for each seed in training; in a log a line for every tenth look.

    Losses are those of the training pairs / of all pairs; the bar is the accuracy on test pairs.
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

        def report(seed: int, look: Progress) -> None:
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
                typer.echo(
                    f"{title} {look.step:6d} {look.state:9s} loss {look.train_loss:.1e}/"
                    f"{look.loss:.1e} test {look.test_accuracy:.3f} {look.rate:.0f}/s",
                    err=True,
                )

        yield report


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
