"""Load and save networks: whatever one of the readers reads."""

from __future__ import annotations

import hashlib
import os
from importlib import resources
from pathlib import Path

import torch

from coset_circuits.errors import CosetCircuitsError
from coset_circuits.networks.chughtai import ChughtaiMLP, ChughtaiTransformer
from coset_circuits.networks.file import CheckpointFile, Reader, one_line
from coset_circuits.networks.model import GroupModel
from coset_circuits.networks.named_weights import NamedWeights
from coset_circuits.networks.own_format import OwnFormat, check_card, save
from coset_circuits.networks.stander import StanderMLP, StanderTransformer
from coset_circuits.networks.wu import WuMLP
from coset_circuits.networks.zhong import ZhongLinear, ZhongTransformer

__all__ = [
    "READERS",
    "find",
    "folder_files",
    "load",
    "save",
    "shipped",
    "suffixes",
    "weights_sha256",
]

READERS: list[Reader] = [
    OwnFormat(),
    ChughtaiMLP(),
    StanderMLP(),
    StanderTransformer(),
    ZhongTransformer(),
    ZhongLinear(),
    ChughtaiTransformer(),
    WuMLP(),
    NamedWeights(),
]
"""The formats that can be read; the first reader that knows a file reads it. A new format is one
more reader here."""


def suffixes() -> tuple[str, ...]:
    """The endings of files that a folder is searched for."""
    return tuple(dict.fromkeys(s for reader in READERS for s in reader.suffixes))


def folder_files() -> tuple[str, ...]:
    """The files that a folder may stand for, the first that it has."""
    return tuple(dict.fromkeys(name for reader in READERS for name in reader.folder_files))


def companions(path: Path) -> list[Path]:
    """Where readers look for what a checkpoint does not say itself, such as its activation."""
    named = path.with_name(f"{path.stem.replace('model', 'config', 1)}.json")
    places = [path.with_name("cfg.json"), path.with_name("params.json")]
    places.append(path.parent.parent / "params.json")
    # A name without "model" gives the card of one of our files.
    return places if named == path.with_suffix(".json") else [*places, named]


def shipped() -> dict[str, Path]:
    """The networks that come with the package, by name."""
    folder = Path(str(resources.files("coset_circuits.networks") / "zoo"))
    return {path.stem: path for path in sorted(folder.glob("*.safetensors"))}


def load(
    name_or_path: str | os.PathLike[str],
    *,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    order: str | None = None,
) -> GroupModel:
    """A network from a shipped name, a file of ours, or a checkpoint that a reader knows.

    A folder stands for the checkpoint inside it. Foreign files are read without running code
    (``weights_only``), and their group and element order follow from the network's answers.

    Args:
        name_or_path: such as ``"s5"``, ``"runs/S5-seed7"``, ``"S5_MLP_seed2/model.pt"``.
        device: where to put it; the CPU unless given.
        dtype: float32 as stored, unless given.
        order: the element order of a foreign checkpoint, where its answers do not tell: its name,
            or group and name such as ``"D30, interleaved"``.

    Raises:
        CosetCircuitsError: no such network, or a file that is damaged, foreign or inconsistent.
    """
    path = _inside(find(name_or_path))
    if not path.is_file():
        raise CosetCircuitsError(
            f"{path} is a device or a pipe; give the file of a checkpoint, or a folder with one."
        )
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CosetCircuitsError(
            f"{path} cannot be read ({error.strerror or error}); allow it or give another file."
        ) from error
    check_card(path, digest)
    network = _read(CheckpointFile(path), order)
    network.provenance["sha256"] = digest
    if str(name_or_path) in shipped():
        network.label = str(name_or_path)
    else:
        network.provenance["path"] = str(name_or_path)
    return network.to(device=device, dtype=dtype)


def find(name_or_path: str | os.PathLike[str]) -> Path:
    """The file or folder of a shipped name or a path; an empty text is neither.

    Raises:
        CosetCircuitsError: there is none.
    """
    zoo = shipped()
    path = zoo.get(str(name_or_path)) or Path(name_or_path)
    if not str(name_or_path) or not path.exists():
        raise CosetCircuitsError(
            f"No network is called {str(name_or_path)!r} and no file or folder has that path; "
            f"shipped are {', '.join(zoo)}."
        )
    return path


def weights_sha256(network: GroupModel) -> str:
    """The file's hash where the network came from a file, else a hash of its weights."""
    if "sha256" in network.provenance:
        return network.provenance["sha256"]
    digest = hashlib.sha256()
    for name, parameter in sorted(network.named_parameters()):
        digest.update(name.encode())
        digest.update(parameter.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _read(file: CheckpointFile, order: str | None) -> GroupModel:
    for reader in READERS:
        network = reader.read(file, order)
        if network is not None:
            return network
    content = file.content
    keys = ", ".join(map(one_line, list(content)[:6])) if isinstance(content, dict) else "no names"
    raise CosetCircuitsError(
        f"{file.path} is not a checkpoint of a known format: it holds {keys}; expected "
        f"are {' or '.join(reader.expects for reader in READERS[1:])}. Others: "
        "GroupMLP.from_weights, cc.from_module."
    )


def _inside(path: Path) -> Path:
    if not path.is_dir():
        return path
    for name in folder_files():
        if (path / name).is_file():
            return path / name
    raise CosetCircuitsError(
        f"The folder {path} holds no network; expected is one of {', '.join(folder_files())}."
    )
