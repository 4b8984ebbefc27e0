"""Train networks of one shape side by side, until each has grokked or reached its last step."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from coset_circuits.errors import CosetCircuitsError
from coset_circuits.networks.losses import loss_and_accuracy
from coset_circuits.training.processes import delayed
from coset_circuits.training.run_folder import RunFolder
from coset_circuits.training.state import Run, TrainingFailed, TrainingState, meets, split
from coset_circuits.training.step import Stack

ALL_PAIRS = 2**17
"""Groups with at most this many pairs are measured on all of them; larger ones on a sample, …"""
SAMPLE = 2**14
"""… of this many training and this many test pairs. Once the sample is good enough, all are
measured."""
DIVERGED = 100.0
"""A run has failed when its training loss is this many times the loss of chance."""


class Lockstep:
    """Runs of one recipe at the same step, trained as one :class:`Stack`.

    Attributes:
        runs: the runs still in training; their networks always have the current weights.
    """

    def __init__(
        self, runs: Sequence[Run], moments: Float[Tensor, "2 seeds parameters"] | None = None
    ) -> None:
        self.runs = list(runs)
        self.recipe = runs[0].recipe
        self.stack = Stack([run.network for run in runs])
        if moments is not None:
            self.stack.moments.copy_(moments)
        group, device = runs[0].network.group, runs[0].network.device
        self.pairs = [split(group, self.recipe.fraction, run.seed) for run in runs]
        examples = torch.stack([train for train, _ in self.pairs])
        products = torch.stack([group.products(train) for train, _ in self.pairs])
        self._examples = torch.cat([examples, products[..., None]], 2).mT.contiguous().to(device)
        size = self.recipe.batch_size
        self._whole = size is None or size >= self._examples.shape[2]
        self._batch = self._examples if self._whole else self._examples[..., :size].clone()
        self._count = torch.zeros(1, dtype=torch.float64, device=device)
        self._rates = torch.zeros(len(runs), 1, dtype=torch.float64, device=device)
        self._shuffled: tuple[int, Int[Tensor, "seeds train"]] | None = None
        self._replay = _recorded(self) if device.type == "cuda" else self._step

    @property
    def step(self) -> int:
        return self.runs[0].step

    def advance(self) -> None:
        """Take one step in every run."""
        self._count.fill_(self.step + 1)
        rates = [[run.learning_rate] for run in self.runs]
        self._rates.copy_(torch.tensor(rates, dtype=torch.float32))
        if not self._whole:
            index = self._indices().to(self._batch.device)
            torch.gather(self._examples, 2, index[:, None].expand(-1, 3, -1), out=self._batch)
        self._replay()
        for run in self.runs:
            run.step += 1

    def without(self, gone: Sequence[Run]) -> Lockstep:
        """A lockstep of the remaining runs, in the same state."""
        stay = [i for i, run in enumerate(self.runs) if not any(run is other for other in gone)]
        return Lockstep([self.runs[i] for i in stay], self.stack.moments[:, stay])

    def _step(self) -> None:
        left, right, products = self._batch.unbind(1)
        self.stack.differentiate(left, right, products)
        self.stack.update(self._count, self._rates, self.recipe.weight_decay, self.recipe.betas)

    def _indices(self) -> Int[Tensor, "seeds batch"]:
        """This step's examples. Every epoch is shuffled anew; an incomplete last batch is dropped.

        The order depends only on seed and epoch, so a run can be resumed at any step.
        """
        size = self._batch.shape[2]
        count = self._examples.shape[2]
        epoch, place = divmod(self.step, count // size)
        if self._shuffled is None or self._shuffled[0] != epoch:
            orders = [
                np.random.default_rng((run.seed, epoch)).permutation(count) for run in self.runs
            ]
            self._shuffled = epoch, torch.from_numpy(np.stack(orders))
        return self._shuffled[1][:, place * size : (place + 1) * size]

    def look(self, run: Run) -> TrainingState:
        """Measure a run on all pairs, or on a sample if there are many and training goes on anyway.

        Raises:
            TrainingFailed: the loss is NaN or infinite, or the training loss is far above chance.
        """
        train, test = self.pairs[self.runs.index(run)]
        order = run.network.group.order
        progress = None
        if order**2 > ALL_PAIRS:
            progress = _measure(run, train[:SAMPLE], test[:SAMPLE], len(train) / order**2)
        decides = run.end is None and progress is not None and meets(progress, run.recipe)
        if progress is None or run.finished or decides:
            progress = _measure(run, train, test, len(train) / order**2)
        chance = max(1.0, math.log(order))
        if not progress.train_loss <= DIVERGED * chance or not math.isfinite(progress.loss):
            raise TrainingFailed(
                f"{run.network.label} stopped at step {run.step}: its loss on the training pairs "
                f"is {progress.train_loss:.3g} nats, and chance is {chance:.3g}. Try a lower "
                "learning rate."
            )
        return progress


def _recorded(lockstep: Lockstep) -> Callable[[], None]:
    """Record the step as a CUDA graph: one launch instead of some forty.

    The warm-up steps that recording needs change the weights, so these are restored.
    """
    stack = lockstep.stack
    held = [(tensor, tensor.clone()) for tensor in (stack.flat, stack.moments)]
    lockstep._count.fill_(1)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            lockstep._step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        lockstep._step()
    for tensor, before in held:
        tensor.copy_(before)
    return graph.replay


def _measure(
    run: Run, train: Int[Tensor, "train 2"], test: Int[Tensor, "test 2"], fraction: float
) -> TrainingState:
    (train_loss, train_right), (test_loss, test_right) = (
        loss_and_accuracy(run.network, pairs) for pairs in (train, test)
    )
    return TrainingState(
        step=run.step,
        train_loss=train_loss,
        train_accuracy=train_right,
        loss=fraction * train_loss + (1 - fraction) * test_loss,
        test_accuracy=test_right,
        seconds=run.seconds,
        pairs=len(train) + len(test),
        last_step=run.last_step,
    )


def train_together(
    runs: Sequence[Run],
    folders: Sequence[RunFolder | None],
    moments: Float[Tensor, "2 seeds parameters"] | None,
    report: Callable[[Run, TrainingState], None],
) -> list[CosetCircuitsError | None]:
    """Train runs of one recipe, all at the same step, to their ends; return any failures.

    Ctrl-C (or SIGTERM) is delayed until the current step is complete; then all states are saved.

    Raises:
        KeyboardInterrupt: training was interrupted; the states are saved.
    """
    failures: dict[int, CosetCircuitsError] = {}
    lockstep = Lockstep(runs, moments)
    folder_of = {id(run): folder for run, folder in zip(runs, folders, strict=True)}
    begun = time.monotonic()
    before = runs[0].seconds

    def attend(run: Run, row: int) -> None:
        folder = folder_of[id(run)]
        looked = run.curve[-1]["step"] if run.curve else 0
        if run.step > looked and (run.step % run.recipe.every == 0 or run.finished):
            report(run, run.note(lockstep.look(run)))
        if folder is not None:
            folder.attend(run, lockstep.stack.moments[:, row])

    with delayed(signal.SIGINT, signal.SIGTERM) as stopping:
        while True:
            gone = []
            for row, run in enumerate(lockstep.runs):
                run.seconds = before + time.monotonic() - begun
                try:
                    attend(run, row)
                except CosetCircuitsError as error:
                    failures[id(run)] = error
                    gone.append(run)
                else:
                    gone += [run] if run.finished else []
            if len(gone) == len(lockstep.runs):
                break
            if gone:
                lockstep = lockstep.without(gone)
            if stopping():
                for row, run in enumerate(lockstep.runs):
                    if (folder := folder_of[id(run)]) is not None:
                        folder.save_state(run, lockstep.stack.moments[:, row])
                raise KeyboardInterrupt
            lockstep.advance()
    return [failures.get(id(run)) for run in runs]
