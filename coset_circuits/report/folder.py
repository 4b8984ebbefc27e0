"""Write a report to a folder: everything is made in memory first, each file appears whole."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from coset_circuits.comparison import Comparison
from coset_circuits.errors import CosetCircuitsError
from coset_circuits.report.figures import all_figures
from coset_circuits.report.page import page
from coset_circuits.report.style import png, svg


def save(comparison: Comparison, folder: str | os.PathLike[str]) -> Path:
    """Write report.html, findings.json and the figures as SVG and PNG; returns the folder.

    Files of an earlier report in the same folder are replaced.

    Raises:
        CosetCircuitsError: the folder cannot be made or written.
    """
    return write(folder, lambda: _files(comparison), below=("figures",))


def write(
    folder: str | os.PathLike[str],
    make: Callable[[], Mapping[str, str | bytes]],
    *,
    below: Sequence[str] = (),
) -> Path:
    """Write files, by their paths in the folder; make the folder and those ``below`` it.

    Raises:
        CosetCircuitsError: the folder cannot be made or written.
    """
    target = Path(folder)
    made: list[Path] = []
    try:
        _check(target, below)
        files = make()
        for place in (target, *(target / name for name in below)):
            _make(place, made)
        _write(target, files)
    except OSError as error:
        for created in reversed(made):
            created.rmdir()
        raise _refusal(target, error.strerror or str(error)) from error
    return target


def _files(comparison: Comparison) -> dict[str, str | bytes]:
    figures = all_figures(comparison)
    drawn = {name: svg(figure, name) for name, figure in figures.items()}
    findings = json.dumps(comparison.to_dict(), indent=1, allow_nan=False)
    return {
        **{f"figures/{name}.svg": text for name, text in drawn.items()},
        **{f"figures/{name}.png": png(figure) for name, figure in figures.items()},
        "findings.json": f"{findings}\n",
        "report.html": page(comparison, drawn),
    }


def _check(target: Path, below: Sequence[str]) -> None:
    """Refuse, before any work, a path on which a file stands in the way."""
    for place in (*(target / name for name in below), target, *target.parents):
        if place.exists() and not place.is_dir():
            raise _refusal(target, f"{place} is a file")


def _make(folder: Path, made: list[Path]) -> None:
    """Make a folder and its parents, and note which were new."""
    for place in (*reversed(folder.parents), folder):
        if not place.exists():
            place.mkdir()
            made.append(place)


def _write(target: Path, files: Mapping[str, str | bytes]) -> None:
    """All files under temporary names, then all renamed."""
    waiting = {
        target / name: content if isinstance(content, bytes) else content.encode()
        for name, content in files.items()
    }
    partial = {path: path.with_name(f".{path.name}.{os.getpid()}.partial") for path in waiting}
    for path in waiting:
        if path.is_dir():
            raise _refusal(target, f"{path} is a folder")
    try:
        for path, content in waiting.items():
            partial[path].write_bytes(content)
        for path, temporary in partial.items():
            temporary.replace(path)
    finally:
        for temporary in partial.values():
            temporary.unlink(missing_ok=True)


def _refusal(target: Path, why: str) -> CosetCircuitsError:
    return CosetCircuitsError(
        f"The report cannot be written to {str(target)!r}: {why}. Give another folder, or make "
        "this one writable."
    )
