"""Files that appear whole or not at all, what may be overwritten, and folders of one run alone."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from coset_circuits.errors import CosetCircuitsError

WRITTEN = ".coset-circuits.json"
"""In a folder of results: the files that the library wrote there, by their paths in it."""
_NETWORK = b'{"__metadata__":{"coset_circuits":'
"""How the header of a network's file begins, after its length."""
_CARD = {"schema", "sha256", "provenance"}


def refuse_to_replace(folder: Path, names: Iterable[str]) -> None:
    """Refuse to overwrite what the library did not write; this alone decides what that is.

    Networks and their cards say so themselves. Other results are listed in their folder.

    Args:
        folder: where files are about to be written.
        names: their paths in it.

    Raises:
        CosetCircuitsError: something else is there.
    """
    written = _written_in(folder)
    for name in names:
        path = folder / name
        if path.is_dir():
            raise _refusal(path, "it is a folder")
        if os.path.lexists(path) and name not in written and not _is_network_or_card(path):
            raise CosetCircuitsError(
                f"{path} was not written by coset-circuits and would be overwritten; move it, or "
                "choose another place."
            )


def _is_network_or_card(path: Path) -> bool:
    if not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            if file.read(8 + len(_NETWORK))[8:] == _NETWORK:
                return True
        card = json.loads(path.read_bytes()) if path.suffix == ".json" else None
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(card, dict) and card.keys() >= _CARD


def _written_in(folder: Path) -> list[str]:
    try:
        names = json.loads((folder / WRITTEN).read_bytes())
    except (OSError, ValueError, RecursionError):
        return []
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def check_place(folder: Path, files: Iterable[str] = (), below: Iterable[str] = ()) -> None:
    """Refuse, before any work, a folder that files cannot be written to.

    Args:
        folder: it, or what it would be made in, must let a file be made.
        files: what will be written there, by their paths in it; see :func:`refuse_to_replace`.
        below: folders that will be made in it.

    Raises:
        CosetCircuitsError: it is read-only, a file is in the way, or one would be overwritten.
    """
    try:
        for place in (*(folder / name for name in below), folder, *folder.parents):
            if os.path.lexists(place) and not place.is_dir():
                raise _refusal(folder, f"{place} is a file, not a folder")
        # Only an attempt shows it: rights, quotas and file systems refuse for many reasons.
        places = (place for place in (folder, *folder.parents) if place.exists())
        with tempfile.TemporaryFile(dir=next(places, ".")):
            pass
        refuse_to_replace(folder, files)
    except OSError as error:
        raise _refusal(folder, error.strerror or str(error)) from error


def write_folder(
    folder: Path,
    make: Callable[[], Mapping[str, str | bytes]],
    *,
    below: Sequence[str] = (),
) -> Path:
    """Write files, by their paths in the folder; make the folder and those ``below`` it.

    Everything is made in memory first, and each file appears whole.

    Raises:
        CosetCircuitsError: the folder cannot be made or written, or holds files of those names
            that the library did not write.
    """
    check_place(folder, below=below)
    files = make()
    made: list[Path] = []
    try:
        for place in (folder, *(folder / name for name in below)):
            _make(place, made)
        _write_together(folder, files)
    except (OSError, CosetCircuitsError) as error:
        for created in reversed(made):
            with suppress(OSError):
                created.rmdir()
        if isinstance(error, CosetCircuitsError):
            raise
        raise _refusal(folder, error.strerror or str(error)) from error
    return folder


def _make(folder: Path, made: list[Path]) -> None:
    """Make a folder and its parents, and note which were new."""
    for place in (*reversed(folder.parents), folder):
        if not place.exists():
            place.mkdir(exist_ok=True)
            made.append(place)


def _write_together(folder: Path, files: Mapping[str, str | bytes]) -> None:
    """All files under temporary names, then all renamed: first the list of what is written."""
    refuse_to_replace(folder, files)
    listed = json.dumps(list(dict.fromkeys([*_written_in(folder), *files])), indent=1) + "\n"
    waiting = {
        folder / name: content if isinstance(content, bytes) else content.encode()
        for name, content in {WRITTEN: listed, **files}.items()
    }
    partial = {path: path.with_name(f".{path.name}.{os.getpid()}.partial") for path in waiting}
    try:
        for path, content in waiting.items():
            partial[path].write_bytes(content)
        for path, temporary in partial.items():
            temporary.replace(path)
    finally:
        for temporary in partial.values():
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def _refusal(path: Path, reason: str) -> CosetCircuitsError:
    return CosetCircuitsError(
        f"{path} cannot be written: {reason}. Choose another place, or make this one writable."
    )


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that a kill or a full disk at any moment leaves the old one or the new.

    Raises:
        CosetCircuitsError: it cannot be written; what was there before is still there.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise CosetCircuitsError(
            f"{path} cannot be written ({error.strerror or error}); make room or choose another "
            "place."
        ) from error
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold a folder for this process; the hold ends with the process, however that ends.

    Raises:
        CosetCircuitsError: another process holds it, or it cannot be written.
    """
    lock = FileLock(folder / ".lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise CosetCircuitsError(
            f"Another process is training in {folder}; wait for it or choose another folder."
        ) from error
    except OSError as error:
        raise CosetCircuitsError(
            f"{folder} cannot be written ({error.strerror or error}); choose another folder."
        ) from error
    try:
        yield
    finally:
        lock.release()
