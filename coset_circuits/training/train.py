"""Train one network."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from coset_circuits.errors import CosetCircuitsError
from coset_circuits.groups import FiniteGroup
from coset_circuits.groups import group as named_group
from coset_circuits.networks.model import GroupModel
from coset_circuits.training.recipes import Recipe, recipe_for
from coset_circuits.training.run import train_together
from coset_circuits.training.run_folder import RunFolder, log_spaced
from coset_circuits.training.state import Run, TrainingState


def train(
    group: FiniteGroup | str,
    seed: int = 0,
    *,
    recipe: Recipe | str = "fast",
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    checkpoints: Iterable[int] | None = None,
    save_every: float = 30.0,
    threads: int = 1,
    device: str = "cpu",
    report: Callable[[TrainingState], None] | None = None,
    **changes: Any,
) -> GroupModel:
    """Train one network; the same seed gives the same network on the same machine.

    Args:
        group: a group or its name.
        seed: seeds the initialisation and, in streams of their own, the split and the batches.
        recipe: one of :data:`RECIPES` or a recipe of your own; ``changes`` replace its fields,
            such as ``architecture="transformer"``.
        out: a folder for ``network.safetensors`` and its card. An unfinished run's state and the
            checkpoints over training are kept there in ``checkpoints/``.
        resume: go on from the state in ``out``, which must be of the same group, recipe and seed;
            on the CPU the network is that of an unbroken run, bit for bit. A finished network is
            loaded.
        checkpoints: the steps whose networks are kept; 0 and eight a decade from 10
            unless given.
        save_every: seconds between states; a killed run loses no more.
        threads: of the CPU. More than one pays from about 10,000 pairs a step and 256 neurons.
        report: called with the :class:`TrainingState` at each look.

    Raises:
        TrainingFailed: the weights are NaN or infinite, or far off; the state is kept.
        CosetCircuitsError: an unknown recipe or field, a state that is damaged or of another run,
            or a folder that holds another run, is in use or cannot be written.
    """
    group = named_group(group) if isinstance(group, str) else group
    if resume and out is None:
        raise CosetCircuitsError("Nothing to resume: give out=, the folder of the earlier run.")
    wanted = recipe_for(group, recipe, changes)
    steps = log_spaced(wanted.max_steps) if checkpoints is None else checkpoints
    folder = None if out is None else RunFolder(Path(out), steps, save_every)
    heard = None if report is None else lambda run, progress: report(progress)
    with _threads(threads):
        (trained,) = train_stack(group, {seed: folder}, wanted, resume, device, heard)
    if isinstance(trained, CosetCircuitsError):
        raise trained
    return trained


def train_stack(
    group: FiniteGroup,
    folders: Mapping[int, RunFolder | None],
    recipe: Recipe,
    resume: bool,
    device: str,
    report: Callable[[Run, TrainingState], None] | None,
) -> list[GroupModel | CosetCircuitsError]:
    """Train networks side by side in this process, each in its folder; keys are the seeds.

    Returns for each the network, or what stopped it while the others went on.
    """
    trained: dict[int, GroupModel | CosetCircuitsError] = {}
    started: dict[int, list[tuple[Run, RunFolder | None, Tensor | None]]] = {}
    with ExitStack() as stack:
        for seed, folder in folders.items():
            try:
                if folder is not None:
                    stack.enter_context(folder.open())
                    if not resume:
                        folder.refuse_to_overwrite()
                    elif (finished := folder.finished(group, recipe, seed)) is not None:
                        trained[seed] = finished
                        continue
                run = Run.start(group, recipe, seed, device)
                moments = None if folder is None else folder.restore(run)
            except CosetCircuitsError as error:
                trained[seed] = error
            else:
                started.setdefault(run.step, []).append((run, folder, moments))
        # Runs that were broken off at different steps are not in step with each other.
        for _, together in sorted(started.items()):
            runs, theirs, moments = zip(*together, strict=True)
            failures = train_together(
                runs,
                theirs,
                None if moments[0] is None else torch.stack(moments, 1),
                report or (lambda run, progress: None),
            )
            for run, failure in zip(runs, failures, strict=True):
                run.network.provenance = run.card()
                trained[run.seed] = failure or run.network
    return [trained[seed] for seed in folders]


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
