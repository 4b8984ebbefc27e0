"""Identify everything that findings depend on, so that no comparison is computed twice."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FunctionType
from typing import Any

from coset_circuits.experiments import INTERVENTIONS
from coset_circuits.findings.storage import source_hash

_LIBRARY = tuple(INTERVENTIONS.values())
"""Described by id only, because every question contains the hash of the package's code."""
_ROOMS = ("groups", "networks", "training", "algorithms", "findings", "experiments", "comparison")
"""The code that findings depend on: this room and those below it, not how findings are shown."""


def asked(
    network: str, naming: Sequence[str], options: Mapping[str, Any], depends_on: Sequence[Any] = ()
) -> dict[str, Any] | None:
    """Everything that the findings depend on, or None if it cannot be described.

    Args:
        network: the hash of the weights.
        naming: the values that the network's label is made from.
        options: seed, pairs, thresholds, order, versions.
        depends_on: algorithms and experiments. Each is described by the file that defines it and
            its parameters, which are the fields of a dataclass or else its ``repr``. A function is
            described by its file and the plain values that it closes over.
    """
    try:
        described = [_by_repr(item) or _described(item) for item in depends_on]
    except _UndescribedError:
        return None
    question = {
        "network": network,
        "naming": list(naming),
        "depends_on": described,
        "options": dict(options),
        "code": source_hash(_ROOMS),
    }
    return json.loads(json.dumps(question))


class _UndescribedError(Exception):
    """The value cannot be distinguished from others of its type."""


def _described(value: Any) -> Any:
    """A description of a function, an object or a plain value, for JSON.

    Raises:
        _UndescribedError: its code is not in a file, or its parameters cannot be seen.
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (tuple, list)):
        return [_described(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(map(str, value))
    if value in _LIBRARY:
        return value.id
    return [_code_hash(value), *_parts(value)]


def _parts(value: Any) -> list[Any]:
    """What distinguishes a function or object from others with the same code."""
    if isinstance(value, FunctionType):
        cells = [cell.cell_contents for cell in value.__closure__ or ()]
        return [value.__qualname__, _described(value.__defaults__), _described(cells)]
    if not dataclasses.is_dataclass(value):
        raise _UndescribedError
    fields = dataclasses.fields(value)
    parts = ([f.name, _described(getattr(value, f.name))] for f in fields)
    return [type(value).__qualname__, *parts]


def _by_repr(value: Any) -> list[str] | None:
    """Describe an object that is not a dataclass by its ``repr``, if that shows its parameters."""
    # A tuple is a registered hypothesis, as its key and its forms.
    is_described = dataclasses.is_dataclass(value) or isinstance(value, tuple)
    if is_described or type(value).__repr__ is object.__repr__:
        return None
    return [_code_hash(value), repr(value)]


def _code_hash(value: Any) -> str:
    """The hash of the file that defines it, which may be a user's file."""
    kind = value if isinstance(value, FunctionType) else type(value)
    try:
        return hashlib.sha256(Path(inspect.getfile(kind)).read_bytes()).hexdigest()
    except (OSError, TypeError) as error:
        raise _UndescribedError from error
