"""Train one network."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch

from coset_circuits.errors import CosetCircuitsError
from coset_circuits.groups import FiniteGroup
from coset_circuits.groups import group as named_group
from coset_circuits.networks.mlp import GroupMLP
from coset_circuits.networks.training.recipes import Recipe, recipe_for
from coset_circuits.networks.training.run import Progress, Run, train_together
from coset_circuits.networks.training.run_folder import RunFolder, log_spaced


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
    report: Callable[[Progress], None] | None = None,
    **changes: Any,
) -> GroupMLP:
    """Train one network; the same seed gives the same network on the same machine.

    Args:
        group: a group or its name.
        seed: seeds the initialisation and, in streams of their own, the split and the batches.
        recipe: one of :data:`RECIPES` or a recipe of your own; ``changes`` replace its fields.
        out: a folder for ``network.safetensors`` and its card. An unfinished run's state and the
            checkpoints over training are kept there in ``checkpoints/``.
        resume: go on from the state in ``out``, which must be of the same group, recipe and seed;
            on the CPU the network is that of an unbroken run, bit for bit. A finished network is
            loaded.
        checkpoints: the steps whose tables and unembedding are kept; 0 and eight a decade from 10
            unless given.
        save_every: seconds between states; a killed run loses no more.
        threads: of the CPU. More than one pays from about 10,000 pairs a step and 256 neurons.
        report: called with the :class:`Progress` at each look.

    Raises:
        TrainingFailed: the weights are no numbers any more, or far off; the state is kept.
        CosetCircuitsError: an unknown recipe or field, a state that is damaged or of another run,
            or a folder that holds another run, is in use or cannot be written.
    """
    group = named_group(group) if isinstance(group, str) else group
    wanted = recipe_for(group, recipe, changes)
    if resume and out is None:
        raise CosetCircuitsError("Nothing to resume: give out=, the folder of the earlier run.")
    with ExitStack() as stack:
        folder = moments = None
        if out is not None:
            steps = log_spaced(wanted.max_steps) if checkpoints is None else checkpoints
            folder = stack.enter_context(RunFolder(Path(out), steps, save_every).open())
            if not resume:
                folder.refuse_to_overwrite()
            elif (network := folder.finished(group, wanted, seed)) is not None:
                return network
        run = Run.start(group, wanted, seed, device)
        if folder is not None:
            moments = folder.restore(run)
        stack.enter_context(_threads(threads))
        (failure,) = train_together(
            [run],
            [folder],
            None if moments is None else moments[:, None],
            lambda _, progress: report(progress) if report is not None else None,
        )
    if failure is not None:
        raise failure
    run.network.provenance = run.card()
    return run.network


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
