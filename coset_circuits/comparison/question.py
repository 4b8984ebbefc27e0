"""All that a comparison's findings depend on, so that none is computed twice."""

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
"""Described by their ids, since the hash of the package's code is in every question."""


def asked(
    network: str, naming: Sequence[str], options: Mapping[str, Any], depends_on: Sequence[Any] = ()
) -> dict[str, Any] | None:
    """All that findings depend on, or None where that cannot be described.

    Args:
        network: the hash of the weights.
        naming: what the network's label is taken from.
        options: seed, pairs, thresholds, order, versions.
        depends_on: algorithms and experiments. Each counts with the file that defines it and with
            its parameters: the fields of a dataclass, else its ``repr``; functions count with
            their files and the plain values that they have closed over.
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
        "code": source_hash(),
    }
    return json.loads(json.dumps(question))


class _UndescribedError(Exception):
    """It cannot be told from another."""


def _described(value: Any) -> Any:
    """What a function, an object or a plain value is, for JSON.

    Raises:
        _UndescribedError: its code is in no file, or nothing shows what it holds.
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
    """What tells a function or object from others of the same code."""
    if isinstance(value, FunctionType):
        cells = [cell.cell_contents for cell in value.__closure__ or ()]
        return [value.__qualname__, _described(value.__defaults__), _described(cells)]
    if not dataclasses.is_dataclass(value):
        raise _UndescribedError
    fields = dataclasses.fields(value)
    parts = ([f.name, _described(getattr(value, f.name))] for f in fields)
    return [type(value).__qualname__, *parts]


def _by_repr(value: Any) -> list[str] | None:
    """An algorithm or experiment that is no dataclass, whose ``repr`` must show its parameters."""
    if dataclasses.is_dataclass(value) or type(value).__repr__ is object.__repr__:
        return None
    if isinstance(value, tuple):
        # A registered hypothesis, as its key and its forms.
        return None
    return [_code_hash(value), repr(value)]


def _code_hash(value: Any) -> str:
    """Of the file that defines it, which may be the user's own."""
    kind = value if isinstance(value, FunctionType) else type(value)
    try:
        return hashlib.sha256(Path(inspect.getfile(kind)).read_bytes()).hexdigest()
    except (OSError, TypeError) as error:
        raise _UndescribedError from error
