"""What a command prints while it runs, when it is stopped, and at its end."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coset_circuits.errors import CosetCircuitsError

if TYPE_CHECKING:
    from coset_circuits.networks.model import GroupModel
    from coset_circuits.progress import Progress


def conclude(
    content: Callable[[], Any],
    show: Callable[[], object],
    where: str = "",
    *,
    as_json: bool,
    quiet: bool = False,
    save: Callable[[], object] | None = None,
) -> None:
    """Save the results, then print either JSON alone, or the text and where the results are.

    Raises:
        CosetCircuitsError: the results cannot be saved; they are still printed.
    """
    failure = None
    try:
        if save is not None:
            save()
    except CosetCircuitsError as error:
        failure = error
    if as_json:
        print(json.dumps(content(), indent=1, allow_nan=False))
    elif failure or not quiet:
        show()
    if failure:
        raise failure
    if where and not as_json:
        print(where if quiet else f"\n{where}")


def network_facts(network: GroupModel) -> dict[str, Any]:
    """The facts about a network in ``--json`` output."""
    return {
        "name": network.label,
        "group": network.group.name,
        "d_mlp": network.d_mlp,
        "act_fn": network.activation.name,
    }


class Stopped(Exception):
    """The command was stopped with Ctrl-C; the message says what is kept."""


@contextmanager
def interruptible(folder: Path | None, command: str = "the command") -> Iterator[None]:
    """End the command on Ctrl-C with a sentence that says what is kept in the folder."""
    try:
        yield
    except KeyboardInterrupt:
        kept = "Nothing is kept."
        if folder is not None and folder.exists():
            kept = f"Results so far are in {folder}; rerun {command} to continue."
        raise Stopped(kept) from None


@contextmanager
def progress_bar(text: str = "starting", *, hidden: bool) -> Iterator[Progress]:
    """A progress bar on standard error, if that is a terminal; standard output stays clean."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description:34s}"), BarColumn(), TimeElapsedColumn())
    hidden = hidden or not console.is_terminal
    with Progress(*columns, console=console, disable=hidden, transient=True) as bar:
        task = bar.add_task(text, total=None)
        yield lambda text, done, total: bar.update(
            task, description=text, completed=done, total=total
        )
