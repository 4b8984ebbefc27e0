"""A run's folder: its state, checkpoints over training, and the finished network."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any

from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from coset_circuits.errors import CosetCircuitsError, checked
from coset_circuits.groups import FiniteGroup
from coset_circuits.networks.checkpoints import load, save
from coset_circuits.networks.files import alone_in, refuse_to_replace, write_whole
from coset_circuits.networks.mlp import GroupMLP
from coset_circuits.networks.model import GroupModel
from coset_circuits.training.recipes import Recipe
from coset_circuits.training.state import Run

NETWORK = "network.safetensors"
_CHECKPOINTS = "checkpoints"
_STATE = "state.safetensors"
_STEP = re.compile(r"step-(\d+)\.safetensors")


def log_spaced(last: int) -> tuple[int, ...]:
    """Step 0, then eight steps per decade from 10 to ``last``."""
    if last < 10:
        return (0,)
    return (0, *(round(10 ** (k / 8)) for k in range(8, int(8 * math.log10(last)) + 1)))


@checked
def training_checkpoints(folder: str | os.PathLike[str]) -> dict[int, Path]:
    """The checkpoints that a run saved during training, by step; read one with :func:`cc.load`.

    An MLP's checkpoints hold the tables of pre-activations and the unembedding. That is enough for
    every analysis except those of the embeddings. A transformer's checkpoints hold all weights.

    Args:
        folder: the folder of a run, such as ``runs/S5-seed7``.

    Raises:
        CosetCircuitsError: the folder has no checkpoints.
    """
    found = checkpoints_in(Path(folder))
    if not found:
        raise CosetCircuitsError(
            f"{Path(folder) / _CHECKPOINTS} holds no checkpoints over training; give the folder of "
            "a run, such as runs/S5-seed7, that was trained with them."
        )
    return found


def checkpoints_in(place: Path) -> dict[int, Path]:
    """The checkpoints of a run, by step, from its folder or its network's file; empty if none."""
    folder = (place.parent if place.is_file() else place) / _CHECKPOINTS
    found = {
        int(match[1]): path
        for path in folder.glob("step-*.safetensors")
        if (match := _STEP.fullmatch(path.name))
    }
    return dict(sorted(found.items()))


def is_step(path: Path) -> bool:
    """Whether a file is a checkpoint that a run saved during training."""
    return path.parent.name == _CHECKPOINTS and _STEP.fullmatch(path.name) is not None


def is_state(path: Path) -> bool:
    """Whether a file is the state of an unfinished run."""
    return path.parent.name == _CHECKPOINTS and path.name == _STATE


class RunFolder:
    """A run's folder, locked by this process while it is open.

    ``network.safetensors`` is written when the run is finished. ``checkpoints/`` holds the state of
    an unfinished run and the checkpoints over training.

    Args:
        path: the folder, which is created if necessary.
        checkpoints: the steps to save; see :func:`training_checkpoints`.
        save_every: seconds between saved states; a killed run loses at most this much.
    """

    def __init__(
        self, path: Path, checkpoints: Iterable[int] = (), save_every: float = 30.0
    ) -> None:
        self.path = path
        self.network = path / NETWORK
        self.checkpoints = path / _CHECKPOINTS
        self.state = self.checkpoints / _STATE
        self.steps = frozenset(checkpoints)
        self.save_every = save_every
        self._saved = time.monotonic()

    @contextmanager
    def open(self) -> Iterator[RunFolder]:
        """Lock the folder against other processes.

        Raises:
            CosetCircuitsError: another process uses the folder, it cannot be written, or the
                network would overwrite a file that the library did not write.
        """
        refuse_to_replace(self.path, [NETWORK, Path(NETWORK).with_suffix(".json").name])
        with alone_in(self.checkpoints):
            yield self

    def finished(self, group: FiniteGroup, recipe: Recipe, seed: int) -> GroupModel | None:
        """The network of this run, if it is finished.

        Raises:
            CosetCircuitsError: the folder has a network of another group, recipe or seed.
        """
        if not self.network.exists():
            return None
        network = load(self.network)
        found = _identity(network.group, network.provenance.get("recipe"), network.seed)
        if found != _identity(group, asdict(recipe), seed):
            raise CosetCircuitsError(
                f"{self.network} is a network of another group, recipe or seed; choose another "
                "folder."
            )
        return network

    def refuse_to_overwrite(self) -> None:
        """Raises:
        CosetCircuitsError: the folder has a network or an unfinished run.
        """
        if self.network.exists():
            raise CosetCircuitsError(
                f"{self.network} exists already; resume to keep it, choose another folder, or "
                "remove it to train again."
            )
        if self.state.exists():
            raise CosetCircuitsError(
                f"{self.path} holds an unfinished run; resume it, or remove {self.checkpoints} to "
                "start again."
            )

    def attend(self, run: Run, moments: Float[Tensor, "2 parameters"]) -> None:
        """Save the checkpoint or state that is due after a step."""
        if run.step in self.steps:
            self._save_checkpoint(run)
        if run.finished:
            network = run.network
            network.provenance = run.card()
            save(network, self.network)
            self.state.unlink(missing_ok=True)
        elif run.step and time.monotonic() - self._saved >= self.save_every:
            self.save_state(run, moments)

    def _save_checkpoint(self, run: Run) -> None:
        network = run.network
        source = f"step {run.step} of {network.label}, recipe {run.recipe.name}"
        label = f"{network.label}-step{run.step}"
        if isinstance(network, GroupMLP):
            tables = (t.detach() for t in (network.left_table, network.right_table, network.W_U))
            network = network.with_tables(*tables, label=label)
        else:
            network = network.unhooked()
        network.label, network.seed = label, run.seed
        network.provenance = {"source": source, "step": run.step}
        save(network, self.checkpoints / f"step-{run.step:06d}.safetensors", card=False)

    def save_state(self, run: Run, moments: Float[Tensor, "2 parameters"]) -> None:
        """Save what resuming needs. Batches depend on seed and step, so no generator is saved."""
        stored = {
            **_identity(run.network.group, asdict(run.recipe), run.seed),
            "step": run.step,
            "good": run.good,
            "end": run.end,
            "seconds": run.seconds,
            "curve": run.curve,
        }
        tensors = {f"weights.{k}": v.detach() for k, v in run.network.named_parameters()}
        tensors["moments"] = moments
        tensors = {k: v.cpu().contiguous() for k, v in tensors.items()}
        write_whole(self.state, to_bytes(tensors, {"run": json.dumps(stored)}))
        self._saved = time.monotonic()

    def restore(self, run: Run) -> Float[Tensor, "2 parameters"] | None:
        """Restore a new run from the saved state; return AdamW's moments, or None without a state.

        Raises:
            CosetCircuitsError: the state is damaged, or of another group, recipe or seed.
        """
        if not self.state.exists():
            return None
        try:
            with safe_open(self.state, "pt") as file:
                stored = json.loads((file.metadata() or {})["run"])
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError, ValueError, KeyError) as error:
            raise CosetCircuitsError(
                f"{self.state} cannot be read as the state of a run ({error}); remove it to "
                "start again."
            ) from error
        asked = _identity(run.network.group, asdict(run.recipe), run.seed)
        stored["recipe"] = _complete(stored.get("recipe"))
        if {key: stored.get(key) for key in asked} != asked:
            known = stored.get("recipe") or {}
            raise CosetCircuitsError(
                f"{self.state} belongs to another group, recipe or seed ({known.get('name')}, seed "
                f"{stored.get('seed')}); resume it with the same, or choose another folder."
            )
        for name, parameter in run.network.named_parameters():
            parameter.data.copy_(tensors[f"weights.{name}"])
        run.step, run.good, run.end = stored["step"], stored["good"], stored["end"]
        run.seconds, run.curve = stored["seconds"], stored["curve"]
        return tensors["moments"]


def _identity(
    group: FiniteGroup, recipe: dict[str, Any] | None, seed: int | None
) -> dict[str, Any]:
    """The facts that must agree for a saved run to be resumed."""
    table = hashlib.sha256(group.array.tobytes()).hexdigest()
    facts = {"table": table, "recipe": _complete(recipe), "seed": seed}
    return json.loads(json.dumps(facts))


def _complete(recipe: dict[str, Any] | None) -> dict[str, Any] | None:
    """A saved recipe, with defaults for fields that did not exist when it was saved."""
    if recipe is None:
        return None
    return {f.name: f.default for f in fields(Recipe) if f.default is not MISSING} | recipe
