"""Many seeds: a process for each on a CPU, side by side on a GPU, shared out between machines."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from coset_circuits.errors import CosetCircuitsError, brief, whole_seed
from coset_circuits.groups import FiniteGroup
from coset_circuits.groups import group as named_group
from coset_circuits.groups.families import is_named
from coset_circuits.networks.model import GroupModel
from coset_circuits.training.recipes import Recipe, recipe_for
from coset_circuits.training.run_folder import RunFolder, log_spaced
from coset_circuits.training.state import Run, TrainingState, run_name
from coset_circuits.training.train import train, train_stack

Report = Callable[[int, TrainingState], None]


@dataclass(frozen=True)
class TrainedSeed:
    """What became of one seed.

    Attributes:
        folder: of the run; :func:`coset_circuits.load` reads it unless the run failed.
        last: the last look at it.
        failure: why there is no network, in a sentence.
    """

    seed: int
    folder: Path
    last: TrainingState | None
    failure: str | None = None

    @property
    def grokked(self) -> bool:
        return self.failure is None and self.last is not None and self.last.state == "grokked"


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

    On the CPU each seed has a process, as many at a time as there are cores, which imports nothing
    of the script that calls this. On a GPU all are trained side by side.
    Under ``torchrun`` the ranks take the seeds in turn, each on its own device, and all are told
    all outcomes.

    In processes, what a seed gives does not depend on how many are trained. Side by side it does in
    the last digits, which training amplifies: another network of the same seed.

    Args:
        out: each run gets its folder in it, such as ``S5-seed7``.
        workers: processes at a time; as many as cores, each of ``threads``, unless given.
        side_by_side: train all in this process, as one batch of networks; done on a GPU unless
            given. On a CPU it is slower than processes.
        report: called with seed and :class:`TrainingState` at each look.
        recipe, resume, checkpoints, save_every, threads, device, changes: as for :func:`train`.

    Raises:
        CosetCircuitsError: no seeds, one given twice, an unknown recipe or field.
        KeyboardInterrupt: Ctrl-C; every running seed has saved its state.
    """
    group = named_group(group)
    if not isinstance(seeds, Iterable) or isinstance(seeds, (str, bytes)):
        raise CosetCircuitsError(f"The seeds are {brief(seeds)}; give a list such as range(8).")
    seeds = list(map(whole_seed, seeds))
    if not seeds or len(set(seeds)) < len(seeds):
        raise CosetCircuitsError(f"The seeds are {seeds}; give at least one, and none twice.")
    wanted = recipe_for(group, recipe, changes)
    steps = log_spaced(wanted.max_steps) if checkpoints is None else tuple(checkpoints)
    heard = report or (lambda seed, progress: None)
    with _ranks() as ranks:
        mine = ranks.share(seeds)
        folders = {seed: Path(out) / run_name(group, wanted, seed) for seed in mine}
        if side_by_side or (side_by_side is None and device != "cpu"):
            run_folders = {s: RunFolder(f, steps, save_every) for s, f in folders.items()}
            outcomes = _side_by_side(
                group, run_folders, wanted, resume, ranks.device(device), heard
            )
        else:
            options = {
                "recipe": wanted,
                "resume": resume,
                "checkpoints": steps,
                "save_every": save_every,
                "threads": threads,
                "device": device,
            }
            available = workers or max(1, _cores() // ranks.on_this_machine // threads)
            sent = group.name if is_named(group) else group
            jobs = {s: partial(_train, sent, s, f, options) for s, f in folders.items()}
            outcomes = _in_processes(jobs, folders, available, heard)
        return ranks.gather(outcomes)


def _side_by_side(
    group: FiniteGroup,
    folders: dict[int, RunFolder],
    recipe: Recipe,
    resume: bool,
    device: str,
    report: Report,
) -> list[TrainedSeed]:
    def heard(run: Run, progress: TrainingState) -> None:
        report(run.seed, progress)

    trained = train_stack(group, folders, recipe, resume, device, heard)
    return [
        _outcome(seed, folder.path, found)
        for (seed, folder), found in zip(folders.items(), trained, strict=True)
    ]


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
        network = train(group, seed, out=folder, report=report, **options)
    except CosetCircuitsError as error:
        return _outcome(seed, folder, error)
    return _outcome(seed, folder, network)


def _in_processes(
    jobs: dict[int, Callable[..., TrainedSeed]],
    folders: dict[int, Path],
    workers: int,
    report: Report,
) -> list[TrainedSeed]:
    if workers == 1 or len(jobs) == 1:
        return [job(partial(report, seed)) for seed, job in jobs.items()]
    methods = multiprocessing.get_all_start_methods()
    context: Any = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    context.set_forkserver_preload([__name__])
    waiting, outcomes = deque(jobs), dict[int, TrainedSeed]()
    running: dict[Any, tuple[int, Any]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                seed = waiting.popleft()
                ours, theirs = context.Pipe(duplex=False)
                process = context.Process(target=_work, args=(theirs, jobs[seed]))
                with _without_main():
                    process.start()
                theirs.close()
                running[ours] = seed, process
            ready: list[Any] = wait(list(running))
            for pipe in ready:
                seed, process = running[pipe]
                try:
                    message = pipe.recv()
                except EOFError:
                    process.join()
                    del running[pipe]
                    failure = f"Its process ended with code {process.exitcode}; resume it."
                    outcomes.setdefault(seed, TrainedSeed(seed, folders[seed], None, failure))
                    continue
                if isinstance(message, TrainedSeed):
                    outcomes[seed] = message
                else:
                    report(seed, message)
    finally:
        # Nothing is left running, whatever happened; a run that is told to end saves its state.
        for _, process in running.values():
            process.terminate()
        for _, process in running.values():
            process.join()
    return [outcomes[seed] for seed in jobs]


def _work(pipe: Connection, job: Callable[..., TrainedSeed]) -> None:
    """What a process does: its job, told about through the pipe."""
    # Ctrl-C reaches every process of a terminal; ours are told by the one that started them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def report(progress: TrainingState) -> None:
        try:
            pipe.send(progress)
        except OSError:
            # Nobody listens any more: stop as if asked to, with the state saved.
            os.kill(os.getpid(), signal.SIGTERM)

    try:
        pipe.send(job(report))
    except (KeyboardInterrupt, OSError):
        pass
    finally:
        pipe.close()


@contextmanager
def _without_main() -> Iterator[None]:
    """A process needs nothing of the user's script, which it would run again."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(frozen=True)
class _Ranks:
    """This process among those that ``torchrun`` started; alone without it."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    on_this_machine: int = 1

    def share(self, seeds: Sequence[int]) -> list[int]:
        return list(seeds[self.rank :: self.world])

    def device(self, device: str) -> str:
        return f"cuda:{self.local_rank}" if device == "cuda" else device

    def gather(self, outcomes: list[TrainedSeed]) -> list[TrainedSeed]:
        """Everybody's outcomes, by seed."""
        everybody: list[Any] = [outcomes]
        if self.world > 1:
            everybody = [None] * self.world
            torch.distributed.all_gather_object(everybody, outcomes)
        return sorted((o for part in everybody for o in part), key=lambda o: o.seed)


@contextmanager
def _ranks() -> Iterator[_Ranks]:
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    if any(name not in os.environ for name in names) or os.environ["WORLD_SIZE"] == "1":
        yield _Ranks()
        return
    # Ranks may end days apart, and only then hear of each other.
    torch.distributed.init_process_group("gloo", timeout=timedelta(days=60))
    try:
        yield _Ranks(*(int(os.environ[name]) for name in names))
    finally:
        torch.distributed.destroy_process_group()
