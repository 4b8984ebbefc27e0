"""Train many seeds: in processes on a CPU, batched on a GPU, or spread over machines."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from coset_circuits.errors import CosetCircuitsError, brief, checked, whole_seed
from coset_circuits.groups import FiniteGroup
from coset_circuits.groups import group as named_group
from coset_circuits.groups.names import is_named
from coset_circuits.networks.model import GroupModel
from coset_circuits.training.processes import cores, in_processes, ranks_of_torchrun
from coset_circuits.training.recipes import Recipe, recipe_for
from coset_circuits.training.run_folder import RunFolder, log_spaced
from coset_circuits.training.state import TrainingState, run_name
from coset_circuits.training.train import train, train_stack

Report = Callable[[int, TrainingState], None]


@dataclass(frozen=True)
class TrainedSeed:
    """The outcome of one seed.

    Attributes:
        folder: the run's folder; :func:`coset_circuits.load` reads it unless the run failed.
        last: the last measurement of the run.
        failure: a sentence that says why there is no network; None if there is one.
    """

    seed: int
    folder: Path
    last: TrainingState | None
    failure: str | None = None

    @property
    def grokked(self) -> bool:
        return self.failure is None and self.last is not None and self.last.state == "grokked"


@checked
def train_many(
    group: FiniteGroup | str,
    seeds: Iterable[int],
    *,
    out: str | os.PathLike[str],
    recipe: Recipe | str = "fast",
    resume: bool = False,
    checkpoints: Iterable[int] | None = None,
    save_every: float = 30.0,
    threads: int = 1,
    workers: int | None = None,
    device: str = "cpu",
    side_by_side: bool | None = None,
    report: Report | None = None,
    **changes: Any,
) -> list[TrainedSeed]:
    """Train a network for each seed; one that fails does not stop the others.

    On the CPU each seed runs in a process of its own, as many at a time as there are cores. The
    processes do not import the calling script. On a GPU all seeds are trained side by side.
    Under ``torchrun`` the seeds are divided among the ranks, each on its own device, and every
    rank returns all outcomes.

    In processes, the network of a seed does not depend on the other seeds. Side by side, the last
    digits depend on how many networks there are. Training amplifies that difference, so the same
    seed can give another network.

    Args:
        out: the folder in which each run gets a folder, such as ``S5-seed7``.
        workers: the number of processes at a time; by default the number of cores divided by
            ``threads``.
        side_by_side: train all in this process, as one batch of networks. This is the default on a
            GPU; on a CPU it is slower than processes.
        report: called with the seed and a :class:`TrainingState` at each measurement.
        recipe, resume, checkpoints, save_every, threads, device, changes: as for :func:`train`.

    Raises:
        CosetCircuitsError: there are no seeds, a seed is given twice, or the recipe or a field is
            unknown.
        KeyboardInterrupt: Ctrl-C was pressed; every running seed has saved its state.
    """
    group = named_group(group)
    if not isinstance(seeds, Iterable) or isinstance(seeds, (str, bytes)):
        raise CosetCircuitsError(f"The seeds are {brief(seeds)}; give a list such as range(8).")
    seeds = list(map(whole_seed, seeds))
    if not seeds or len(set(seeds)) < len(seeds):
        raise CosetCircuitsError(f"The seeds are {seeds}; give at least one, each only once.")
    wanted = recipe_for(group, recipe, changes)
    steps = log_spaced(wanted.max_steps) if checkpoints is None else tuple(checkpoints)
    heard = report or (lambda seed, progress: None)
    with ranks_of_torchrun() as ranks:
        mine = ranks.share(seeds)
        folders = {seed: Path(out) / run_name(group, wanted, seed) for seed in mine}
        if side_by_side or (side_by_side is None and device != "cpu"):
            run_folders = {s: RunFolder(f, steps, save_every) for s, f in folders.items()}
            trained = train_stack(
                group,
                run_folders,
                wanted,
                resume,
                ranks.device(device),
                lambda run, progress: heard(run.seed, progress),
            )
            outcomes = [
                _outcome(seed, folders[seed], found)
                for seed, found in zip(folders, trained, strict=True)
            ]
        else:
            options = {
                "recipe": wanted,
                "resume": resume,
                "checkpoints": steps,
                "save_every": save_every,
                "threads": threads,
                "device": device,
            }
            available = workers or max(1, cores() // ranks.on_this_machine // threads)
            sent = group.name if is_named(group) else group
            jobs = {s: partial(_train, sent, s, f, options) for s, f in folders.items()}

            def died(seed: int, code: int | None) -> TrainedSeed:
                failure = f"Its process ended with code {code}; resume the run."
                return TrainedSeed(seed, folders[seed], None, failure)

            outcomes = list(in_processes(jobs, available, heard, died).values())
        return sorted(ranks.gather(outcomes), key=lambda outcome: outcome.seed)


def _outcome(seed: int, folder: Path, found: GroupModel | CosetCircuitsError) -> TrainedSeed:
    if isinstance(found, CosetCircuitsError):
        return TrainedSeed(seed, folder, None, str(found))
    return TrainedSeed(seed, folder, TrainingState(**found.provenance["curve"][-1]))


def _train(
    group: FiniteGroup | str,
    seed: int,
    folder: Path,
    options: dict[str, Any],
    report: Callable[[TrainingState], None],
) -> TrainedSeed:
    try:
        found = train(group, seed, out=folder, report=report, **options)
    except CosetCircuitsError as error:
        found = error
    return _outcome(seed, folder, found)
