"""The trainer: full-batch AdamW on a fixed share of all pairs, until the network has grokked."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from coset_circuits.errors import CosetCircuitsError
from coset_circuits.groups import FiniteGroup
from coset_circuits.groups import group as named_group
from coset_circuits.networks.checkpoints import save
from coset_circuits.networks.losses import cross_entropy, mean_cross_entropy
from coset_circuits.networks.mlp import GroupMLP


@dataclass(frozen=True)
class Recipe:
    """How a network is trained. Which circuits form depends on it, so it travels with results."""

    name: str
    learning_rate: float
    weight_decay: float = 1.0
    betas: tuple[float, float] = (0.9, 0.98)
    fraction: float = 0.4
    """The share of all pairs that is trained on."""
    d_mlp: int = 128
    d_embed: int = 256
    act_fn: str = "relu"
    max_steps: int = 250_000
    loss_bound: float = 1e-5
    """Training ends when all pairs are right with a mean loss below this, and half as many
    steps again have passed, in which circuits clean up."""
    stop_when_memorised: bool = False
    """End as soon as the training pairs alone meet the bound: makes a negative control."""


RECIPES = {
    "fast": Recipe("fast", learning_rate=1e-2, max_steps=40_000),
    "paper": Recipe("paper", learning_rate=1e-3, loss_bound=0.0),
    "memorise": Recipe(
        "memorise",
        learning_rate=1e-3,
        weight_decay=0.0,
        max_steps=5_000,
        loss_bound=0.01,
        stop_when_memorised=True,
    ),
}
"""*paper* is Stander et al., Table 2; *fast* starts from ten times its learning rate and stops
itself; *memorise* has no weight decay and stops before anything generalises."""


@dataclass(frozen=True)
class Progress:
    """One look at a run: losses in nats, accuracies as fractions."""

    step: int
    train_loss: float
    train_accuracy: float
    loss: float
    test_accuracy: float
    seconds: float

    @property
    def state(self) -> str:
        """What a reader wants to know: starting, memorised, grokking or grokked."""
        if self.test_accuracy == 1.0 and self.train_accuracy == 1.0:
            return "grokked"
        if self.train_accuracy < 0.99:
            return "starting"
        return "grokking" if self.test_accuracy > 0.1 else "memorised"


@dataclass
class _Run:
    network: GroupMLP
    optimiser: torch.optim.AdamW
    step: int = 0
    end: int | None = None
    seconds: float = 0.0
    curve: list[dict[str, float]] = field(default_factory=list)


def split(
    group: FiniteGroup, fraction: float, seed: int
) -> tuple[Int[Tensor, "train 2"], Int[Tensor, "test 2"]]:
    """Training and test pairs. Its random stream is apart from the initialisation's."""
    pairs = group.pairs()
    # torch keeps the low 32 bits of a seed, so the offset must lie among them.
    generator = torch.Generator().manual_seed(2**31 + seed)
    order = torch.randperm(len(pairs), generator=generator)
    count = max(1, round(fraction * len(pairs)))
    return pairs[order[:count]], pairs[order[count:]]


def train(
    group: FiniteGroup | str,
    seed: int = 0,
    *,
    recipe: Recipe | str = "fast",
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    every: int = 100,
    report: Callable[[Progress], None] | None = None,
    **changes: Any,
) -> GroupMLP:
    """Train one network; the same seed gives the same network on the same machine.

    Args:
        group: a group or its name.
        seed: seeds the initialisation and, in a stream of its own, the split.
        recipe: one of :data:`RECIPES` or a recipe of your own; ``changes`` replace its fields.
        out: a folder for ``network.safetensors`` and its card; the run's state is kept there in
            ``checkpoints/`` so that it can be resumed.
        resume: go on from the state in ``out``, which must be of the same recipe and seed.
        every: steps between looks at all pairs.
        report: called with the :class:`Progress` at each look.

    Raises:
        CosetCircuitsError: an unknown recipe or field, or a state that is damaged or of another
            run.
    """
    group = named_group(group) if isinstance(group, str) else group
    recipe = _recipe(recipe, changes)
    folder = None if out is None else Path(out)
    state = None if folder is None else folder / "checkpoints" / "state.safetensors"
    if every < 1:
        raise CosetCircuitsError(f"every is {every}; give a number of steps from 1 up.")
    run = _start(group, recipe, seed)
    if resume:
        _resume(run, recipe, seed, state)
    if folder is not None:
        _make(folder)
    try:
        with _stop_between_steps() as check:
            for progress in _steps(run, recipe, seed, every, check):
                if report is not None:
                    report(progress)
                if state is not None and run.step % (10 * every) == 0:
                    _save_state(run, recipe, seed, state)
    except KeyboardInterrupt:
        if state is not None:
            _save_state(run, recipe, seed, state)
        raise
    network = run.network
    network.provenance = _card(run, recipe, seed, group)
    if folder is not None:
        save(network, folder / "network.safetensors")
    return network


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CosetCircuitsError(
            f"{folder} cannot be written ({error.strerror}); choose another folder."
        ) from error


@contextmanager
def _stop_between_steps() -> Iterator[Callable[[], None]]:
    """Hold Ctrl-C back until a step is whole, so that what is saved can be resumed exactly.

    Yields a check to call between steps. Outside the main thread Python sends no signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    asked: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: asked.append(number))

    def check() -> None:
        if asked:
            raise KeyboardInterrupt

    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, before)


def _recipe(recipe: Recipe | str, changes: dict[str, Any]) -> Recipe:
    if isinstance(recipe, str):
        if recipe not in RECIPES:
            raise CosetCircuitsError(
                f"No recipe is called {recipe!r}; choose one of {', '.join(RECIPES)}."
            )
        recipe = RECIPES[recipe]
    unknown = set(changes) - set(asdict(recipe))
    if unknown:
        raise CosetCircuitsError(
            f"A recipe has no field {', '.join(sorted(unknown))}; its fields are "
            f"{', '.join(asdict(recipe))}."
        )
    changed = replace(recipe, **changes)
    if not 0 < changed.fraction <= 1:
        raise CosetCircuitsError(
            f"The training fraction is {changed.fraction}; give a number above 0 and up to 1."
        )
    for name in ("d_mlp", "d_embed", "max_steps"):
        if getattr(changed, name) < 1:
            raise CosetCircuitsError(
                f"{name} is {getattr(changed, name)}; give a number from 1 up."
            )
    return changed


def _start(group: FiniteGroup, recipe: Recipe, seed: int) -> _Run:
    network = GroupMLP.initialised(
        group, d_mlp=recipe.d_mlp, d_embed=recipe.d_embed, act_fn=recipe.act_fn, seed=seed
    )
    network.label = f"{group.name}-seed{seed}"
    optimiser = torch.optim.AdamW(
        network.parameters(),
        lr=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        betas=recipe.betas,
        fused=True,
    )
    return _Run(network, optimiser)


def _steps(
    run: _Run, recipe: Recipe, seed: int, every: int, check: Callable[[], None]
) -> Iterator[Progress]:
    group, network = run.network.group, run.network
    train_pairs, test_pairs = split(group, recipe.fraction, seed)
    labels = group.products(train_pairs)
    begun = time.monotonic() - run.seconds
    while not _finished(run, recipe):
        check()
        loss = mean_cross_entropy(network(train_pairs), labels)
        run.optimiser.zero_grad()
        loss.backward()
        run.optimiser.step()
        run.step += 1
        if run.step % every == 0 or run.step == recipe.max_steps:
            run.seconds = time.monotonic() - begun
            progress = _look(run, train_pairs, test_pairs)
            run.curve.append(asdict(progress))
            _note_end(run, recipe, progress, every)
            yield progress


def _finished(run: _Run, recipe: Recipe) -> bool:
    return run.step >= (recipe.max_steps if run.end is None else min(run.end, recipe.max_steps))


def _note_end(run: _Run, recipe: Recipe, progress: Progress, every: int) -> None:
    """Once the network is good enough, fix the step (a look's) at which training ends."""
    if run.end is not None:
        return
    if recipe.stop_when_memorised:
        if progress.train_accuracy == 1 and progress.train_loss < recipe.loss_bound:
            run.end = run.step
    elif progress.state == "grokked" and progress.loss < recipe.loss_bound:
        run.end = -(-run.step * 3 // (2 * every)) * every


@torch.no_grad()
def _look(run: _Run, train_pairs: Tensor, test_pairs: Tensor) -> Progress:
    figures = []
    for pairs in (train_pairs, test_pairs):
        labels = run.network.group.products(pairs)
        logits = run.network(pairs)
        correct = (logits.argmax(1) == labels).double().mean() if len(pairs) else torch.ones(())
        losses = cross_entropy(logits, labels)
        figures.append((losses.sum(), len(pairs), correct))
    (train_sum, n_train, train_right), (test_sum, n_test, test_right) = figures
    return Progress(
        step=run.step,
        train_loss=float(train_sum / n_train),
        train_accuracy=float(train_right),
        loss=float((train_sum + test_sum) / (n_train + n_test)),
        test_accuracy=float(test_right),
        seconds=run.seconds,
    )


def _card(run: _Run, recipe: Recipe, seed: int, group: FiniteGroup) -> dict[str, Any]:
    return {
        "source": f"trained by coset_circuits, recipe {recipe.name}, seed {seed}, {run.step} steps",
        "command": _command(recipe, seed, group),
        "recipe": asdict(recipe),
        "seed": seed,
        "steps": run.step,
        "seconds": round(run.seconds, 1),
        "torch": str(torch.__version__),
        "curve": run.curve[:: max(1, len(run.curve) // 60)] + run.curve[-1:],
    }


def _command(recipe: Recipe, seed: int, group: FiniteGroup) -> str:
    """What to type for the same network; only fields that the command line has are spelled out."""
    options = {
        "d_mlp": "width",
        "d_embed": "embedding",
        "fraction": "fraction",
        "max_steps": "max-steps",
    }
    plain = RECIPES.get(recipe.name, recipe)
    changed = "".join(
        f" --{option} {getattr(recipe, name)}"
        for name, option in options.items()
        if getattr(recipe, name) != getattr(plain, name)
    )
    return f"coset-circuits train {group.name} --seeds {seed} --recipe {recipe.name}{changed}"


def _save_state(run: _Run, recipe: Recipe, seed: int, path: Path) -> None:
    if run.step == 0:
        return
    tensors = {f"weights.{k}": v.detach() for k, v in run.network.named_parameters()}
    for name, parameter in run.network.named_parameters():
        for key, value in run.optimiser.state[parameter].items():
            tensors[f"optimiser.{key}.{name}"] = value
    metadata = {
        "run": json.dumps(
            {
                "recipe": asdict(recipe),
                "seed": seed,
                "table": _table_sha256(run.network.group),
                "step": run.step,
                "end": run.end,
                "seconds": run.seconds,
                "curve": run.curve,
            }
        )
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    save_file({k: v.contiguous() for k, v in tensors.items()}, partial, metadata)
    partial.replace(path)


def _resume(run: _Run, recipe: Recipe, seed: int, path: Path | None) -> None:
    if path is None:
        raise CosetCircuitsError("Nothing to resume: give out=, the folder of the earlier run.")
    if not path.exists():
        return
    try:
        with safe_open(path, "pt") as file:
            stored = json.loads((file.metadata() or {})["run"])
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise CosetCircuitsError(
            f"{path} cannot be read as the state of a run ({error}); take it away to begin anew."
        ) from error
    asked = (seed, json.loads(json.dumps(asdict(recipe))), _table_sha256(run.network.group))
    if (stored["seed"], stored["recipe"], stored.get("table")) != asked:
        raise CosetCircuitsError(
            f"{path} belongs to another group, recipe or seed ({stored['recipe']['name']}, seed "
            f"{stored['seed']}); resume it with the same, or choose another folder."
        )
    with torch.no_grad():
        for name, parameter in run.network.named_parameters():
            parameter.copy_(tensors[f"weights.{name}"])
            run.optimiser.state[parameter] = {
                key: tensors[f"optimiser.{key}.{name}"] for key in ("step", "exp_avg", "exp_avg_sq")
            }
    run.step, run.end = stored["step"], stored["end"]
    run.seconds, run.curve = stored["seconds"], stored["curve"]


def _table_sha256(group: FiniteGroup) -> str:
    return hashlib.sha256(group.array.tobytes()).hexdigest()
