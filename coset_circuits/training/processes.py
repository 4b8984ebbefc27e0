"""Run jobs in processes on this machine, or spread over the ranks of ``torchrun``."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from types import ModuleType
from typing import Any, TypeVar

import torch

Key = TypeVar("Key")
Outcome = TypeVar("Outcome")
Job = Callable[[Callable[[Any], None]], Outcome]
"""A job; its argument is the function that it reports progress to."""


def in_processes(
    jobs: Mapping[Key, Job[Outcome]],
    workers: int,
    report: Callable[[Key, Any], None],
    died: Callable[[Key, int | None], Outcome],
    *,
    fork: bool = False,
    ended: Callable[[Key, Outcome], None] | None = None,
) -> dict[Key, Outcome]:
    """Run every job in a process, a limited number at a time; with a limit of one, run them here.

    No process is left running, whatever happens. A job that is stopped gets SIGTERM.

    Args:
        report: called with each job's progress.
        died: makes an outcome from the exit code of a process that ended without one.
        fork: fork this process, so that a job may be any function; otherwise jobs are pickled.
        ended: called with each outcome as soon as it is available.
    """
    ended = ended or (lambda key, outcome: None)
    outcomes: dict[Key, Outcome] = {}
    if workers == 1 or len(jobs) == 1:
        for key, job in jobs.items():
            outcomes[key] = job(lambda progress, key=key: report(key, progress))
            ended(key, outcomes[key])
        return outcomes
    waiting = deque(jobs)
    running: dict[Any, tuple[Key, Any]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                key = waiting.popleft()
                with _interrupt_delayed():
                    pipe, process = _started(jobs[key], fork)
                    running[pipe] = key, process
            ready: list[Any] = wait(list(running))
            for pipe in ready:
                key, process = running[pipe]
                try:
                    is_outcome, message = pipe.recv()
                except EOFError:
                    process.join()
                    del running[pipe]
                    if key not in outcomes:
                        outcomes[key] = died(key, process.exitcode)
                        ended(key, outcomes[key])
                    continue
                if is_outcome:
                    outcomes[key] = message
                    ended(key, message)
                else:
                    report(key, message)
    finally:
        for _, process in running.values():
            process.terminate()
        for _, process in running.values():
            process.join()
    return {key: outcomes[key] for key in jobs}


def _started(job: Job[Outcome], fork: bool) -> tuple[Connection, Any]:
    methods = multiprocessing.get_all_start_methods()
    clean = "forkserver" if "forkserver" in methods else "spawn"
    context: Any = multiprocessing.get_context("fork" if fork else clean)
    if not fork:
        context.set_forkserver_preload(["coset_circuits.training.many"])
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(theirs, job, os.getpid() if fork else None))
    with warnings.catch_warnings():
        # Python warns about forks beside threads; a forked job has one thread and no lock of ours.
        warnings.simplefilter("ignore", DeprecationWarning)
        with nullcontext() if fork else _without_main():
            process.start()
    theirs.close()
    return ours, process


@contextmanager
def delayed(*signals: int) -> Iterator[Callable[[], bool]]:
    """Delay these signals; yields a function that says whether one has arrived.

    Outside the main thread Python delivers no signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    asked: list[int] = []
    before = {
        number: signal.signal(number, lambda number, frame: asked.append(number))
        for number in signals
    }
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _interrupt_delayed() -> Iterator[None]:
    """Delay Ctrl-C during a fork, in whose callbacks Python ignores exceptions."""
    with delayed(signal.SIGINT) as stopping:
        yield
    if stopping():
        raise KeyboardInterrupt


@contextmanager
def _without_main() -> Iterator[None]:
    """Hide the user's script from a new process, which would otherwise run it again."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _work(pipe: Connection, job: Job[Outcome], parent: int | None) -> None:
    """The main function of a process: run the job and report through the pipe."""
    # Ctrl-C reaches every process of a terminal; here the parent process stops its children.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if parent is not None:
        # A forked process does not have torch's threads.
        torch.set_num_threads(1)

    def report(progress: Any) -> None:
        try:
            if parent not in (None, os.getppid()):
                raise BrokenPipeError
            pipe.send((False, progress))
        except OSError:
            # The parent is gone: stop as if asked to, with the state saved.
            os.kill(os.getpid(), signal.SIGTERM)

    try:
        pipe.send((True, job(report)))
    except (KeyboardInterrupt, OSError):
        pass
    finally:
        pipe.close()


def cores() -> int:
    """The number of CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(frozen=True)
class Ranks:
    """This process's rank among those that ``torchrun`` started; a single rank without it."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    on_this_machine: int = 1

    def share(self, jobs: Sequence[Key]) -> list[Key]:
        """This process's share of the jobs."""
        return list(jobs[self.rank :: self.world])

    def device(self, device: str) -> str:
        return f"cuda:{self.local_rank}" if device == "cuda" else device

    def gather(self, outcomes: list[Outcome]) -> list[Outcome]:
        """Everybody's outcomes."""
        everybody: list[Any] = [outcomes]
        if self.world > 1:
            everybody = [None] * self.world
            torch.distributed.all_gather_object(everybody, outcomes)
        return [outcome for part in everybody for outcome in part]


@contextmanager
def ranks_of_torchrun() -> Iterator[Ranks]:
    """Read the ranks from the environment variables that ``torchrun`` sets."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    if any(name not in os.environ for name in names) or os.environ["WORLD_SIZE"] == "1":
        yield Ranks()
        return
    # Ranks may finish days apart and communicate only at the end.
    torch.distributed.init_process_group("gloo", timeout=timedelta(days=60))
    try:
        yield Ranks(*(int(os.environ[name]) for name in names))
    finally:
        torch.distributed.destroy_process_group()
