"""Load and save networks, in any format that one of the readers supports."""

from __future__ import annotations

import hashlib
import os
from importlib import resources
from pathlib import Path

import torch

from coset_circuits.errors import CosetCircuitsError, brief, checked
from coset_circuits.networks.chughtai import ChughtaiMLP, ChughtaiTransformer
from coset_circuits.networks.file import CheckpointFile, Reader, one_line, why
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
"""The supported formats. The first reader that recognises a file reads it. To support another
format, add a reader here."""


def suffixes() -> tuple[str, ...]:
    """The file name endings of all readers."""
    return tuple(dict.fromkeys(s for reader in READERS for s in reader.suffixes))


def folder_files() -> tuple[str, ...]:
    """File names to look for in a folder, in order of preference."""
    return tuple(dict.fromkeys(name for reader in READERS for name in reader.folder_files))


def companions(path: Path) -> list[Path]:
    """Files in which readers look for facts that a checkpoint lacks, such as its activation."""
    named = path.with_name(f"{path.stem.replace('model', 'config', 1)}.json")
    places = [path.with_name("cfg.json"), path.with_name("params.json")]
    places.append(path.parent.parent / "params.json")
    # A name without "model" gives the card of one of our files.
    return places if named == path.with_suffix(".json") else [*places, named]


def shipped() -> dict[str, Path]:
    """The networks that come with the package, by name."""
    folder = Path(str(resources.files("coset_circuits.networks") / "zoo"))
    return {path.stem: path for path in sorted(folder.glob("*.safetensors"))}


@checked
def load(
    name_or_path: str | os.PathLike[str],
    *,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    order: str | None = None,
) -> GroupModel:
    """Load a network: a shipped one by name, a saved one, or a checkpoint in a supported format.

    If the path is a folder, the checkpoint inside it is loaded. Foreign files are read without
    running code (``weights_only``). Their group and element order are inferred from the network's
    answers.

    Args:
        name_or_path: such as ``"s5"``, ``"runs/S5-seed7"``, ``"S5_MLP_seed2/model.pt"``.
        device: the device to load to; by default the CPU.
        dtype: the dtype to convert to; by default float32, as stored.
        order: the element order of a foreign checkpoint, needed if its answers are ambiguous. Give
            the order's name, or group and name such as ``"D30, interleaved"``.

    Raises:
        CosetCircuitsError: there is no such network, or the file is damaged, inconsistent or of
            an unsupported format.
    """
    path = _inside(find(name_or_path))
    if not path.is_file():
        raise CosetCircuitsError(
            f"{path} is a device or a pipe; give a checkpoint file, or a folder with one."
        )
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CosetCircuitsError(
            f"{path} cannot be read ({error.strerror or error}); change its permissions or give "
            "another file."
        ) from error
    check_card(path, digest)
    network = _read(CheckpointFile(path), order)
    where = "path"
    if str(name_or_path) in shipped():
        network.label, where = str(name_or_path), "shipped"
    asked = {where: str(name_or_path), "order": order, "sha256": digest}
    known = {name: value for name, value in asked.items() if value is not None}
    network.provenance = {**network.provenance, **known}
    try:
        return network.to(device=device, dtype=dtype)
    except (RuntimeError, TypeError, AssertionError) as error:
        raise CosetCircuitsError(
            f"The network cannot be moved to the device {device} and the dtype {dtype} "
            f"({why(error)}); give a device that torch has, and a floating-point dtype."
        ) from error


def find(name_or_path: str | os.PathLike[str]) -> Path:
    """The file or folder of a shipped network's name, or of a path.

    Raises:
        CosetCircuitsError: there is no such network, file or folder, or the text is empty.
    """
    if not isinstance(name_or_path, (str, os.PathLike)):
        raise CosetCircuitsError(
            f"{brief(name_or_path)} is not a name or path; give one such as 's5' or "
            "'runs/S5-seed7'."
        )
    zoo = shipped()
    path = zoo.get(str(name_or_path)) or Path(name_or_path)
    if not str(name_or_path) or not os.path.exists(path):
        raise CosetCircuitsError(
            f"No network is called {str(name_or_path)!r} and no file or folder has that path; "
            f"the shipped networks are {', '.join(zoo)}."
        )
    return path


def weights_sha256(network: GroupModel) -> str:
    """The hash of the network's file, or of its weights if there is no file or they changed."""
    return network.identity()[1].get("sha256") or network.content()


def _read(file: CheckpointFile, order: str | None) -> GroupModel:
    for reader in READERS:
        network = reader.read(file, order)
        if network is not None:
            return network
    content = file.content
    keys = ", ".join(map(one_line, list(content)[:6])) if isinstance(content, dict) else "no names"
    raise CosetCircuitsError(
        f"{file.path} is not a checkpoint of a known format: it holds {keys}. Give its module to "
        "cc.from_module, or its weights to GroupMLP.from_weights or GroupTransformer. Known are "
        f"{' or '.join(reader.expects for reader in READERS[1:])}."
    )


def _inside(path: Path) -> Path:
    if not path.is_dir():
        return path
    for name in folder_files():
        if (path / name).is_file():
            return path / name
    raise CosetCircuitsError(
        f"The folder {path} holds no network; it must contain one of {', '.join(folder_files())}."
    )
