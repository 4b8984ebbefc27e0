"""Tables, figures and pages of results; results call it through ``presentation``."""

from __future__ import annotations

import os
from functools import singledispatch
from pathlib import Path
from typing import Any

from coset_circuits.benchmark import SelfTest
from coset_circuits.comparison import Comparison, Ensemble
from coset_circuits.report import backend as _backend
from coset_circuits.report import brief as _brief
from coset_circuits.report import ensemble as _ensemble
from coset_circuits.report import folder as _folder
from coset_circuits.report import printed as _printed
from coset_circuits.report import selftest as _selftest

assert _backend  # It comes first, before anything imports matplotlib.

__all__ = ["full_text", "plain_text", "save"]


@singledispatch
def plain_text(result: Any, width: int = 80) -> str:
    """A result as text without colour, no line longer than ``width``."""
    raise TypeError(f"{type(result).__name__} has no text")


@singledispatch
def full_text(result: Any, width: int = 80) -> str:
    """A result as text with every table."""
    raise TypeError(f"{type(result).__name__} has no tables")


@singledispatch
def save(result: Any, folder: str | os.PathLike[str]) -> Path:
    """Write a result's report into a folder; returns the folder."""
    raise TypeError(f"{type(result).__name__} has no report")


plain_text.register(Comparison, _brief.plain_text)
plain_text.register(Ensemble, _brief.plain_text)
full_text.register(Comparison, _printed.full_text)
full_text.register(Ensemble, _ensemble.full_text)
for _text in (plain_text, full_text):
    _text.register(SelfTest, _selftest.plain_text)
save.register(Comparison, _folder.save)
save.register(Ensemble, _ensemble.save)
save.register(SelfTest, _selftest.save)
