"""Train one network."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from coset_circuits.errors import CosetCircuitsError, checked, whole, whole_seed
from coset_circuits.groups import FiniteGroup
from coset_circuits.groups import group as named_group
from coset_circuits.networks.model import GroupModel
from coset_circuits.training.recipes import Recipe, recipe_for
from coset_circuits.training.run import train_together
from coset_circuits.training.run_folder import RunFolder, log_spaced
from coset_circuits.training.state import Run, TrainingState

SAVE_EVERY = 30.0
"""Seconds between two saved states of a run."""


@checked
def train(
    group: FiniteGroup | str,
    seed: int = 0,
    *,
    recipe: Recipe | str = "fast",
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    checkpoints: Iterable[int] | None = None,
    save_every: float = SAVE_EVERY,
    threads: int = 1,
    device: str = "cpu",
    report: Callable[[TrainingState], None] | None = None,
    **changes: Any,
) -> GroupModel:
    """Train one network. The same seed gives the same network on the same machine.

    Args:
        group: a group or its name.
        seed: the random seed of the initialisation, the train/test split and the batches, which
            use separate random streams.
        recipe: one of :data:`RECIPES` or a recipe of your own; ``changes`` replace its fields,
            such as ``architecture="transformer"``.
        out: a folder for ``network.safetensors`` and its card. Its subfolder ``checkpoints/`` gets
            the state of an unfinished run and the checkpoints over training.
        resume: continue from the state in ``out``, which must be of the same group, recipe and
            seed. On the CPU the result equals that of an uninterrupted run, bit for bit. A finished
            network is loaded.
        checkpoints: the steps at which to save the network; by default 0 and then eight per decade
            from 10.
        save_every: seconds between saved states; a killed run loses at most this much.
        threads: the number of CPU threads. More than one is faster from about 10,000 pairs per
            step and 256 neurons.
        report: called with the :class:`TrainingState` at each measurement.

    Raises:
        TrainingFailed: the loss is NaN, infinite or far above chance; the state is kept.
        CosetCircuitsError: the recipe or a field is unknown; the saved state is damaged or of
            another run; or the folder holds another run, is in use or cannot be written.
    """
    group = named_group(group)
    seed, threads = whole_seed(seed), whole("number of threads", threads)
    if resume and out is None:
        raise CosetCircuitsError("Nothing to resume: give out=, the folder of the earlier run.")
    if out is None and (checkpoints is not None or save_every != SAVE_EVERY):
        raise CosetCircuitsError("checkpoints and save_every need out=, a folder to keep them in.")
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

    Returns the network of each seed, or the error that stopped it; one error does not stop the
    others.
    """
    trained: dict[int, GroupModel | CosetCircuitsError] = {}
    started: dict[int, list[tuple[Run, RunFolder | None, Tensor | None]]] = {}
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
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
        # Runs that were interrupted at different steps cannot be trained in lockstep.
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
