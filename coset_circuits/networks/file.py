"""A checkpoint's file, its content read without running code, and what readers have in common."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from coset_circuits.errors import CosetCircuitsError
from coset_circuits.groups import FiniteGroup
from coset_circuits.groups import group as named_group
from coset_circuits.networks.element_orders import READ_OFF, detect, group_names
from coset_circuits.networks.mlp import GroupMLP, check_weights
from coset_circuits.networks.model import GroupModel

_WRAPPERS = ("model", "state_dict", "model_state_dict")
_PREFIXES = ("module.", "_orig_mod.")


class CheckpointFile:
    """A file that may hold a network."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def content(self) -> Any:
        """What torch finds in it, with nothing but weights and plain values allowed.

        Raises:
            CosetCircuitsError: it is damaged, or holds more than that.
        """
        try:
            _check_parts(self.path)
            return torch.load(self.path, map_location="cpu", weights_only=True)
        except Exception as error:
            # An untrusted file can fail in any way inside torch's reader.
            raise CosetCircuitsError(
                f"{self.path} cannot be read as a checkpoint ({why(error)}); it is truncated, "
                "damaged, or holds more than weights, which are the only thing that is read."
            ) from error

    @cached_property
    def weights(self) -> dict[str, Any]:
        """The weights by name, wherever the content keeps them; empty where it has no names.

        Wrappers that change no function are taken off: a dictionary inside one that also holds
        a configuration or an optimizer's state, and the prefixes of ``torch.compile`` and of
        data-parallel training.
        """
        content = self.content
        if isinstance(content, Mapping):
            inside = (content.get(name) for name in _WRAPPERS)
            content = next((part for part in inside if isinstance(part, Mapping)), content)
        if not isinstance(content, Mapping):
            return {}
        weights = {str(name): value for name, value in content.items()}
        while prefix := next(
            (p for p in _PREFIXES if weights and all(name.startswith(p) for name in weights)), ""
        ):
            weights = {name.removeprefix(prefix): value for name, value in weights.items()}
        return weights


@runtime_checkable
class Reader(Protocol):
    """Reads the checkpoints of one format.

    Attributes:
        suffixes: endings of its files, such as ``.pt``.
        folder_files: the names of files that a folder stands for, the preferred one first.
        expects: what its files hold, for the sentence that refuses a file that nobody reads.
    """

    @property
    def suffixes(self) -> tuple[str, ...]: ...

    @property
    def folder_files(self) -> tuple[str, ...]: ...

    @property
    def expects(self) -> str: ...

    def read(self, file: CheckpointFile, order: str | None) -> GroupModel | None:
        """The network, in our element order; None for a file of another format.

        Args:
            order: the name of the element order, where the user gives it.

        Raises:
            CosetCircuitsError: the file is of this format, but damaged or inconsistent.
        """
        ...


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Put the file's name before what is wrong with its weights."""
    try:
        yield
    except CosetCircuitsError as error:
        raise CosetCircuitsError(f"{path} cannot be used: {error}") from error


def network_from(group: FiniteGroup, weights: Mapping[str, Tensor], **about: Any) -> GroupMLP:
    check_weights(group, weights)
    return GroupMLP.from_weights(group, **weights, **about)  # type: ignore[arg-type]


def one_line(text: object) -> str:
    """Text from a file as one short line, without what could steer a terminal."""
    return "".join(c if c.isprintable() else " " for c in str(text))[:200]


def why(error: Exception) -> str:
    reason = one_line((str(error).splitlines() or [""])[0])[:160]
    return reason if " " in reason else type(error).__name__


def _check_parts(path: Path) -> None:
    """Refuse an archive that would unpack to more than the file: torch stores, it never packs.

    Raises:
        ValueError: it would, or the file is no archive, which torch has written since 1.6.
    """
    if not zipfile.is_zipfile(path):
        raise ValueError("it is no archive, as torch writes since version 1.6")
    with zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
    if any(part.compress_type != zipfile.ZIP_STORED for part in parts):
        raise ValueError("its parts are compressed, which torch never does")
    if sum(part.file_size for part in parts) > path.stat().st_size:
        raise ValueError("its parts say that they are larger than the file")


def check_tensors(path: Path, weights: Mapping[str, Any], dimensions: Mapping[str, int]) -> None:
    """Refuse weights that are not whole tensors of so many dimensions, and those of other names.

    A file may hold what a reader does not understand; leaving it out would change the network.

    Raises:
        CosetCircuitsError: there is such a weight.
    """
    unknown = [one_line(name) for name in weights if name not in dimensions]
    if unknown:
        raise CosetCircuitsError(
            f"{path} also holds {', '.join(unknown[:4])}, which its format does not have; nothing "
            "that a file holds is left out, since it may change what the network computes. Build "
            "the network with GroupMLP.from_weights."
        )
    for name, value in weights.items():
        if not (isinstance(value, Tensor) and value.ndim == dimensions[name]):
            kind = f"of shape {tuple(value.shape)}" if isinstance(value, Tensor) else "no tensor"
            raise CosetCircuitsError(
                f"{path} holds something else than matrices where weights belong: {name} is {kind}."
            )
        if not _is_plain(value):
            raise CosetCircuitsError(
                f"{path} holds {name} of shape {tuple(value.shape)} without all of its numbers; "
                "only whole matrices of weights are read."
            )


def _is_plain(value: Tensor) -> bool:
    """Whether every entry has memory of its own: a view may claim gigabytes and hold one number."""
    if value.layout != torch.strided or value.is_meta or value.is_quantized:
        return False
    return value.numel() * value.element_size() <= value.untyped_storage().nbytes()


def halves(left: Tensor, matrix: Tensor) -> dict[str, Tensor]:
    width = left.shape[1]
    return {"W_in_left": matrix[:width], "W_in_right": matrix[width:]}


def in_our_order(
    path: Path,
    size: int,
    build: Callable[[FiniteGroup], GroupModel],
    names: list[str] | None,
    order: str | None,
) -> GroupModel:
    """The network in our element order, after finding out which group it multiplies in.

    Args:
        size: how many elements its weights speak of.
        build: from a group of that order to the network in the file's own order.
        names: the groups that it may be, where the file says; else all named ones of that order.
        order: the name of its element order, where the user gives it.

    Raises:
        CosetCircuitsError: no group of that size, or none whose products it knows.
    """
    if not 1 <= size <= 5040:
        raise CosetCircuitsError(
            f"{path} has {size} elements; groups of order 1 to 5040 can be read."
        )
    # Checked under a group of the right size first: any order of the elements has that shape.
    group = named_group((names or group_names(size))[0])
    with naming(path):
        theirs = build(group)
        known = detect(answers_of(theirs), names, order)
    network = theirs.reordered(torch.from_numpy(np.argsort(known.elements)), known.group)
    network.provenance["element_order"] = str(known)
    if known.name == READ_OFF:
        network.provenance["elements"] = known.elements.tolist()
    return network


@torch.no_grad()
def answers_of(network: GroupModel, chunk: int = 20_000) -> Int[np.ndarray, "order order"]:
    """The element that the network answers for every pair, in its own numbering."""
    n = network.group.order
    answers = [network(part).argmax(1) for part in network.group.pairs().split(chunk)]
    return torch.cat(answers).reshape(n, n).numpy()
