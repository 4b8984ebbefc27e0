"""How results print and save themselves, although low-level modules import nothing above them.

The package's ``__init__`` names the drawing module once. That module has ``plain_text(result)``,
``full_text(result)`` and ``save(result, folder)``.
"""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import Any

_drawn_by: list[str] = []


def draw_with(module: str) -> None:
    """Name the module that prints and saves results; it is imported when first needed."""
    _drawn_by[:] = [module]


class Presented:
    """A result that can be printed and saved as a report."""

    def __str__(self) -> str:
        return _drawing_module().plain_text(self)

    def tables(self) -> str:
        """Every table as text, no line longer than 80 columns: what ``-v`` prints."""
        return _drawing_module().full_text(self)

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write a report (report.html), the findings (findings.json) and figures into a folder.

        Returns the folder. Files of an earlier report there are replaced.

        Raises:
            CosetCircuitsError: the folder cannot be made or written.
        """
        return _drawing_module().save(self, folder)


def _drawing_module() -> Any:
    return import_module(_drawn_by[0])
