"""Resolve names, files, folders (also the papers') and objects to the networks they mean."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from coset_circuits.errors import CosetCircuitsError, brief
from coset_circuits.networks import load, shipped
from coset_circuits.networks.checkpoints import companions, find, folder_files, suffixes
from coset_circuits.networks.model import GroupModel, uncompiled
from coset_circuits.training.run_folder import is_state, is_step

Given = GroupModel | str | os.PathLike[str]


@dataclass(frozen=True)
class Source:
    """One network that is yet to be read.

    Attributes:
        given: a network, a shipped name, the path of a checkpoint, or the path of a folder that
            cannot be read.
        called: its name in messages.
    """

    given: GroupModel | str | Path
    called: str

    def load(self, order: str | None = None) -> GroupModel:
        """The network.

        Raises:
            CosetCircuitsError: it cannot be read; the message says why.
        """
        if isinstance(self.given, GroupModel):
            if order is not None:
                raise CosetCircuitsError(
                    "order= says how a file numbers its elements, but a network was given; give "
                    "the file, or renumber the network with network.reordered(elements, group)."
                )
            return self.given
        if isinstance(self.given, Path) and is_state(self.given):
            raise CosetCircuitsError(
                f"{self.given} is the state of an unfinished run, not a network; finish it with "
                "coset-circuits train --resume."
            )
        return load(self.given, order=order)

    def content(self) -> str:
        """A hash of the weights and of everything that decides how they are read, except the name.

        Raises:
            CosetCircuitsError: the file cannot be read.
        """
        if isinstance(self.given, GroupModel):
            return self.given.content()
        path = shipped().get(str(self.given)) or Path(self.given)
        if os.path.isdir(path):
            raise CosetCircuitsError(f"The folder {path} cannot be read; allow it or leave it out.")
        files = [path, *companions(path)]
        try:
            # A missing file is reported by the error of opening it.
            return digest(file.read_bytes() for file in files if file == path or file.is_file())
        except OSError as error:
            raise CosetCircuitsError(
                f"{path} cannot be read ({error.strerror}); allow it or leave it out."
            ) from error

    def naming(self) -> list[str]:
        """The values besides the content that its label and source are made from."""
        if isinstance(self.given, GroupModel):
            label, known = self.given.identity()
            named = [str(known.get(k)) for k in ("source", "element_order", "sha256")]
            return [label, str(self.given.device), *named]
        if isinstance(self.given, str):
            return [self.given]
        path = self.given.absolute()
        return [path.parent.name, path.name]


def is_collection(given: object) -> bool:
    """Whether this means several networks: a list, or a folder that is not itself a network."""
    if isinstance(given, torch.nn.Module):
        return False
    if isinstance(given, (str, os.PathLike)):
        path = Path(given)
        return str(given) not in shipped() and os.path.isdir(path) and _network_in(path) is None
    return True


def sources(given: Given | Iterable[Given]) -> list[Source]:
    """Every network that is meant, in the order given; those of a folder in natural order.

    Every checkpoint in a folder and its subfolders counts. A folder that holds a network under a
    run's usual name (such as ``network.safetensors`` or ``model.pt``) counts as that network. The
    checkpoints that a run kept during training are left out, unless their folder itself is given.

    Raises:
        CosetCircuitsError: nothing was given, something is not a network or path, or a folder holds
            nothing that could be a network.
    """
    is_one = isinstance(given, (torch.nn.Module, str, os.PathLike))
    if not is_one and not isinstance(given, Iterable):
        raise CosetCircuitsError(
            f"The network is {brief(given)}; give a GroupMLP, a shipped name such as 's5', or the "
            "path of a checkpoint or of a folder."
        )
    items = [given] if is_one else [uncompiled(item) for item in given]
    if not items:
        raise CosetCircuitsError("No network was given; give at least one, or a folder of them.")
    return [source for i, item in enumerate(items, 1) for source in _expanded(item, i)]


def _expanded(item: object, number: int) -> Iterator[Source]:
    if isinstance(item, GroupModel):
        yield Source(item, f"network {number}, {item.label}")
        return
    if not isinstance(item, (str, os.PathLike)):
        raise CosetCircuitsError(
            f"Network {number} is {type(item).__name__}; give a GroupMLP, a shipped name, or the "
            "path of a checkpoint or of a folder; cc.from_module makes a network of any module."
        )
    # A missing one is reported now, not after hours; a dangling link is one bad network of many.
    path = Path(item) if os.path.islink(item) and not os.path.exists(item) else find(item)
    if str(item) in shipped():
        yield Source(str(item), str(item))
    elif path.is_dir():
        below = _below(path, set())
        files = [file for file in below if file.parent == path or not is_step(file)]
        if not files:
            raise CosetCircuitsError(_nothing_in(path))
        for file in files:
            yield Source(file, str(file))
    else:
        yield Source(path, str(path))


def _below(folder: Path, seen: set[str]) -> Iterator[Path]:
    """Checkpoints in a folder and below it, and folders that cannot be read.

    Links are followed, and no folder is entered twice, so a loop of links ends.
    """
    place = os.path.realpath(folder)
    if place in seen:
        return
    seen.add(place)
    network = _network_in(folder)
    if network is not None:
        yield network
        return
    try:
        entries = [folder / name for name in sorted(os.listdir(folder), key=natural)]
    except OSError:
        yield folder
        return
    for entry in entries:
        # An unreadable entry is listed too, so that reading it reports the error.
        hidden = entry.name.startswith(".")
        if not hidden and (os.path.isdir(entry) or _is_unreadable(entry)):
            yield from _below(entry, seen)
        elif entry.suffix in suffixes() and (os.path.isfile(entry) or entry.is_symlink()):
            yield entry


def _is_unreadable(entry: Path) -> bool:
    """Whether not even its type can be read, such as a link into a private folder."""
    try:
        entry.stat()
    except OSError as error:
        return isinstance(error, PermissionError)
    return False


def _network_in(folder: Path) -> Path | None:
    return next((path for n in folder_files() if os.path.isfile(path := folder / n)), None)


def natural(name: str) -> list[tuple[int, str]]:
    """A sort key that puts seed2 before seed10."""
    parts = re.split(r"(\d+)", name)
    return [(int(p), "") if p.isdecimal() else (-1, p) for p in parts]


def _nothing_in(folder: Path) -> str:
    held = sorted(os.listdir(folder), key=natural)
    more = ", …" if len(held) > 3 else ""
    holds = f"it holds {', '.join(held[:3])}{more}" if held else "it is empty"
    return (
        f"The folder {folder} holds no network ({holds}); give a folder with checkpoints (*"
        f"{', *'.join(suffixes())}) in it or in its subfolders."
    )


def digest(parts: Iterable[bytes]) -> str:
    """A hash of parts, each hashed by itself first, so that no two lists run together alike."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(hashlib.sha256(part).digest())
    return whole.hexdigest()
