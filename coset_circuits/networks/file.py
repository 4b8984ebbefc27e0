"""Read a checkpoint file without running code, and the functions that all readers share."""

from __future__ import annotations

import json
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from coset_circuits.errors import CosetCircuitsError
from coset_circuits.groups import FiniteGroup, cyclic
from coset_circuits.groups import group as named_group
from coset_circuits.groups.families import LARGEST_ORDER
from coset_circuits.networks.element_orders import READ_OFF, detect, group_names
from coset_circuits.networks.mlp import GroupMLP
from coset_circuits.networks.model import GroupModel

_WRAPPERS = ("model", "state_dict", "model_state_dict")
_FACTS = {
    **dict.fromkeys(("act_fn", "activation", "act", "nonlinearity", "hidden_act"), "act_fn"),
    "group": "group",
}
_SYNONYMS = {"linear": "identity"}
_EMBEDDINGS = ("W_E", "W_E_left", "W_E_right", "left_table", "right_table")
_READ = "torch checkpoints of weights alone (model.state_dict()), safetensors and .npz"
_LARGEST = 2**30
"""The largest size, in bytes, that a compressed archive may unpack to."""


class CheckpointFile:
    """A file that may hold a network."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def _read(self) -> tuple[Any, dict[str, str]]:
        return _kind(self.path)(self.path)

    @property
    def content(self) -> Any:
        """The file's content; only weights and plain values are allowed.

        Raises:
            CosetCircuitsError: the file is of another kind, damaged, or holds anything else.
        """
        return self._read[0]

    @property
    def metadata(self) -> dict[str, str]:
        """The metadata in the header of a safetensors file."""
        return self._read[1]

    @cached_property
    def facts(self) -> dict[str, str]:
        """The activation (``act_fn``) and the ``group``, wherever the file names them.

        Raises:
            CosetCircuitsError: it names two.
        """
        found: dict[str, str] = {}
        for name, value in (*_texts(self.metadata), *_texts(self.content)):
            fact, text = _FACTS[name], one_line(value)
            if fact == "act_fn":
                text = _SYNONYMS.get(text.lower(), text.lower())
            if found.setdefault(fact, text) != text:
                raise CosetCircuitsError(
                    f"{self.path} names {found[fact]!r} and {text!r} as its {fact}; keep one."
                )
        return found

    @cached_property
    def weights(self) -> dict[str, Any]:
        """The weights by name; empty if the content has no names.

        Harmless wrappers are removed: an outer dictionary with a configuration or an optimizer's
        state, and a prefix of all names, such as that of ``torch.compile``.

        Raises:
            CosetCircuitsError: the file has two sets of weights that differ.
        """
        content = self.content
        if not isinstance(content, Mapping):
            return {}
        content = self._unwrapped(content)
        return _unprefixed(
            {
                str(name): value
                for name, value in content.items()
                if not (name in _FACTS and isinstance(value, str))
            }
        )

    def _unwrapped(self, content: Mapping[Any, Any]) -> Mapping[Any, Any]:
        """The dictionary of weights inside a checkpoint's dictionary, or the dictionary itself."""
        inside = {k: v for k, v in content.items() if isinstance(v, Mapping) and v}
        sets = {k: v for k, v in inside.items() if all(isinstance(x, Tensor) for x in v.values())}
        named = next((name for name in _WRAPPERS if name in inside), next(iter(sets), None))
        if named is None or any(isinstance(value, Tensor) for value in content.values()):
            return content
        chosen = _unprefixed(inside[named])
        for name, other in ((name, _unprefixed(held)) for name, held in sets.items()):
            if other.keys() == chosen.keys() and not _equal(other, chosen):
                raise CosetCircuitsError(
                    f"{self.path} holds two sets of weights that differ, {one_line(named)} and "
                    f"{one_line(name)}; save one of them alone."
                )
        return inside[named]


def _texts(content: Any) -> Iterator[tuple[str, str]]:
    """Every text in nested dictionaries and lists whose name is one of the facts."""
    waiting, seen = [content], set()
    while waiting:
        held = waiting.pop()
        # A pickle may hold itself.
        if isinstance(held, (Mapping, list, tuple)) and id(held) not in seen:
            seen.add(id(held))
            items = held.items() if isinstance(held, Mapping) else enumerate(held)
            for name, value in items:
                if isinstance(name, str) and name in _FACTS and isinstance(value, str):
                    yield name, value
                waiting.append(value)


def _unprefixed(weights: Mapping[Any, Any]) -> dict[str, Any]:
    """The dictionary without what all its names begin with, such as ``module.``."""
    weights = {str(name): value for name, value in weights.items()}
    while len(weights) > 1 and len({name.partition(".")[0] for name in weights}) == 1:
        weights = {name.partition(".")[2]: value for name, value in weights.items()}
    return weights


def _equal(one: Mapping[Any, Any], other: Mapping[Any, Any]) -> bool:
    return all(one[k].dtype == other[k].dtype and torch.equal(one[k], other[k]) for k in one)


def json_beside(path: Path, says: str) -> dict[str, Any]:
    """Read a JSON object from a file beside a checkpoint; empty if there is no such file.

    Args:
        says: what the file is for, as the error message should put it.

    Raises:
        CosetCircuitsError: the file cannot be read, or is not JSON.
    """
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError) as error:
        raise CosetCircuitsError(
            f"{path}, which says {says}, is not JSON ({why(error)}); fix it or remove it."
        ) from error
    return content if isinstance(content, dict) else {}


@runtime_checkable
class Reader(Protocol):
    """Reads the checkpoints of one format.

    Attributes:
        suffixes: the endings of its files, such as ``.pt``.
        folder_files: file names to look for in a folder, the preferred one first.
        expects: what its files contain, for the error message when no reader recognises a file.
    """

    @property
    def suffixes(self) -> tuple[str, ...]: ...

    @property
    def folder_files(self) -> tuple[str, ...]: ...

    @property
    def expects(self) -> str: ...

    def read(self, file: CheckpointFile, order: str | None) -> GroupModel | None:
        """The network, in the library's element order; None for a file of another format.

        Args:
            order: the name of the element order, if the user gives one.

        Raises:
            CosetCircuitsError: the file is of this format, but damaged or inconsistent.
        """
        ...


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Add the file's name to errors about its weights."""
    try:
        yield
    except CosetCircuitsError as error:
        if str(path) in str(error):
            raise
        raise CosetCircuitsError(f"{path} cannot be used: {error}") from error


def network_from(group: FiniteGroup, weights: Mapping[str, Tensor], **about: Any) -> GroupMLP:
    return GroupMLP.made_of(group, weights, **about)


def one_line(text: object) -> str:
    """Text from a file as one short line, without terminal control characters."""
    plain = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", str(text))
    return "".join(c if c.isprintable() else " " for c in plain)[:200]


def why(error: Exception) -> str:
    reason = one_line((str(error).splitlines() or [""])[0])[:160]
    return reason if " " in reason else type(error).__name__


_MAGIC = {
    b"\x80": "a pickle, as torch saved before version 1.6; such a file can run code",
    b"\x93NUMPY": "a single NumPy array (.npy)",
    b"\x89HDF": "an HDF5 file",
    b"\x1f\x8b": "compressed with gzip",
    b"%PDF": "a PDF",
    b"\x89PNG": "a picture",
}


def _kind(path: Path) -> Callable[[Path], tuple[Any, dict[str, str]]]:
    """Choose the function that reads a file, by its first bytes.

    Raises:
        CosetCircuitsError: the file is of another kind.
    """
    with path.open("rb") as file:
        head = file.read(1024)
    # Safetensors files start with eight bytes, the header's length; the header starts with "{".
    length = int.from_bytes(head[:8], "little")
    is_named = path.suffix == ".safetensors"
    if head[8:9] == b"{" and (is_named or length < path.stat().st_size):
        return _safetensors_content
    names = _names_of_parts(path)
    if names is not None:
        return _kind_of_archive(path, names)
    if head.startswith(b"PK"):
        raise _of_another_kind(path, "an archive whose end is missing, so copy it again")
    kind = next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), None)
    kind = kind or (None if head else "empty") or ("a text file" if _is_text(head) else None)
    if kind is None and is_named:
        return _safetensors_content
    raise _of_another_kind(path, kind or "of an unknown kind, or damaged")


def _names_of_parts(path: Path) -> list[str] | None:
    """The names of the parts of an archive; None if the file is not an archive."""
    try:
        if not zipfile.is_zipfile(path):
            return None
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except Exception as error:
        # A damaged directory can fail in any way inside the reader.
        raise CosetCircuitsError(
            f"{path} cannot be read as a checkpoint: its list of parts is damaged ({why(error)})."
        ) from error


def _kind_of_archive(path: Path, names: list[str]) -> Callable[[Path], tuple[Any, dict[str, str]]]:
    if any(name.endswith("constants.pkl") for name in names):
        raise _of_another_kind(path, "a TorchScript module")
    if any(name.endswith("data.pkl") or "/data/" in name for name in names):
        return _torch_content
    if names and all(name.endswith(".npy") for name in names):
        return _numpy_content
    holds = ", ".join(map(one_line, names[:3])) or "nothing"
    raise _of_another_kind(path, f"a zip archive that holds {holds[:100]}")


def _is_text(head: bytes) -> bool:
    text = head.decode("utf-8", errors="replace")
    return all(c.isprintable() or c.isspace() for c in text[:-1]) and "\ufffd" not in text[:-1]


def _of_another_kind(path: Path, kind: str) -> CosetCircuitsError:
    return CosetCircuitsError(
        f"{path} cannot be read as a checkpoint: it is {kind}. Supported are {_READ}."
    )


def _torch_content(path: Path) -> tuple[Any, dict[str, str]]:
    try:
        _check_parts(path)
        # Given a path, torch would choose its reader by the file name.
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(file, map_location="cpu", weights_only=True), {}
    except Exception as error:
        # An untrusted file can fail in any way inside torch's reader.
        held = re.search(r"GLOBAL (\S+)", str(error))
        if held is not None:
            raise CosetCircuitsError(
                f"{path} cannot be read as a checkpoint: besides weights it holds "
                f"{one_line(held[1])}, and loading Python objects can run code. Save the weights "
                "alone (torch.save(model.state_dict(), …)), or give the module to cc.from_module."
            ) from error
        raise CosetCircuitsError(
            f"{path} cannot be read as a checkpoint ({why(error)}); it is truncated, damaged, or "
            "holds more than weights. Save the weights alone (model.state_dict())."
        ) from error


def _safetensors_content(path: Path) -> tuple[Any, dict[str, str]]:
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            return {key: file.get_tensor(key) for key in file.keys()}, metadata  # noqa: SIM118
    except Exception as error:
        # An untrusted file can fail in any way inside the reader.
        raise CosetCircuitsError(
            f"{path} cannot be read as safetensors ({why(error)}); it is damaged or of another "
            "format."
        ) from error


def _numpy_content(path: Path) -> tuple[Any, dict[str, str]]:
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(part.file_size for part in archive.infolist())
        if size > max(_LARGEST, path.stat().st_size):
            raise ValueError(f"it would unpack to {size / 2**30:.1f} GiB")
        with np.load(path, allow_pickle=False) as arrays:
            return {name: _value(arrays[name]) for name in arrays.files}, {}
    except Exception as error:
        # An untrusted file can fail in any way inside NumPy's reader.
        raise CosetCircuitsError(
            f"{path} cannot be read as .npz ({why(error)}); it is damaged or holds more than "
            "arrays of numbers."
        ) from error


def _value(array: np.ndarray) -> Tensor | str | np.ndarray:
    if array.dtype.kind == "U" and array.ndim == 0:
        return str(array)
    if array.dtype.kind not in "fiub" or array.dtype.itemsize > 8:
        return array
    return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), order="C"))


def _check_parts(path: Path) -> None:
    """Refuse an archive that would unpack to more than its file; torch never compresses.

    Raises:
        ValueError: the parts are compressed, or claim to be larger than the file.
    """
    with zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
    if any(part.compress_type != zipfile.ZIP_STORED for part in parts):
        raise ValueError("its parts are compressed, which torch never does")
    if sum(part.file_size for part in parts) > path.stat().st_size:
        raise ValueError("its parts claim to be larger than the file")


def check_tensors(path: Path, weights: Mapping[str, Any], dimensions: Mapping[str, int]) -> None:
    """Refuse weights with an unknown name or the wrong number of dimensions, and partial tensors.

    A weight that the reader does not understand is refused, since ignoring it could change the
    network.

    Raises:
        CosetCircuitsError: there is such a weight.
    """
    unknown = [one_line(name) for name in weights if name not in dimensions]
    if unknown:
        raise CosetCircuitsError(
            f"{path} also holds {', '.join(unknown[:4])}, which its format does not have. Ignoring "
            "a weight could change what the network computes. Build the network with "
            "GroupMLP.from_weights."
        )
    for name, value in weights.items():
        if not (isinstance(value, Tensor) and value.ndim == dimensions[name]):
            kind = f"of shape {tuple(value.shape)}" if isinstance(value, Tensor) else "no tensor"
            raise CosetCircuitsError(f"{path} must hold matrices as weights, but {name} is {kind}.")
        if not _is_plain(value):
            raise CosetCircuitsError(
                f"{path} holds {name} of shape {tuple(value.shape)} without all of its numbers; "
                "save whole matrices, such as with .contiguous()."
            )


def _is_plain(value: Tensor) -> bool:
    """Whether every entry is stored: a view may have a huge shape and only one stored number."""
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
    """The network in the library's element order, after inferring the group it multiplies in.

    Args:
        size: the number of elements, by the shapes of the weights.
        build: makes the network, in the file's element order, from a group of that size.
        names: the possible groups, if the file names any; else all named groups of that size.
        order: the name of the element order, if the user gives one.

    Raises:
        CosetCircuitsError: there is no group of that size, or none explains the answers.
    """
    if not 1 <= size <= 5040:
        raise CosetCircuitsError(
            f"{path} has {size} elements; groups of order 1 to 5040 can be read."
        )
    # Any group of the right size will do at first, because only shapes are checked here.
    group = named_group((names or group_names(size))[0])
    with naming(path):
        theirs = build(group)
        known = detect(theirs.answers(), names, order)
    network = theirs.reordered(torch.from_numpy(np.argsort(known.elements)), known.group)
    network.provenance["element_order"] = str(known)
    if known.name == READ_OFF:
        network.provenance["elements"] = known.elements.tolist()
    return network


def of_elements(weights: Mapping[str, Tensor], order: int) -> dict[str, Tensor]:
    """Keep only the embeddings and outputs of the first ``order`` tokens."""
    read = {name: weights[name][:order] for name in _EMBEDDINGS if name in weights}
    outputs = {name: weights[name][..., :order] for name in ("W_U", "b_U") if name in weights}
    return {**weights, **read, **outputs}


def elements(vocabulary: int, build: Callable[[FiniteGroup], GroupModel]) -> int:
    """The number of tokens that are elements; others were never seen and are never answered.

    Often a token "=" comes after the elements. Some configurations of Stander et al. have a
    vocabulary of 576 for a group of order 120 or 216.

    Args:
        build: makes the network of the first tokens from a group of their number.
    """
    if not 1 <= vocabulary <= LARGEST_ORDER:
        return vocabulary
    whole = build(cyclic(vocabulary))
    generator = torch.Generator().manual_seed(0)
    pairs = torch.randint(vocabulary, (20 * vocabulary, 2), generator=generator)
    with torch.no_grad():
        size = 1 + int(whole(pairs).argmax(1).max())
    if size == vocabulary:
        return vocabulary
    try:
        detect(build(cyclic(size)).answers())
    except CosetCircuitsError:
        return vocabulary
    return size
