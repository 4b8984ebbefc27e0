"""Write files atomically, protect other people's files, and lock a folder for one run."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from coset_circuits.errors import CosetCircuitsError

WRITTEN = ".coset-circuits.json"
"""The file in a results folder that lists what the library wrote there, with hashes."""
_NETWORK = b'{"__metadata__":{"coset_circuits":'
"""The start of the header of a network's file, after the header's length."""
_CARD = {"schema", "sha256", "provenance"}


def refuse_to_replace(folder: Path, names: Iterable[str]) -> None:
    """Refuse to overwrite files that the library did not write, or that were changed since.

    Networks and their cards are recognised by their content. Other results are listed in a file
    in their folder.

    Args:
        folder: the folder that files are about to be written to.
        names: the paths of those files in the folder.

    Raises:
        CosetCircuitsError: a folder, a file that the library did not write, or one that was
            changed since, is there.
    """
    written = _written_in(folder)
    for name in names:
        path = folder / name
        if path.is_dir():
            raise _refusal(path, "it is a folder")
        if not os.path.lexists(path):
            continue
        if name in written:
            is_as_written = not written[name] or _sha256(path) in written[name]
        else:
            is_as_written = _is_network_or_card(path)
        if not is_as_written:
            what = "was not" if is_as_written is None else "was changed since it was"
            raise CosetCircuitsError(
                f"{path} {what} written by coset-circuits and would be overwritten; move it, or "
                "choose another place."
            )


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _is_network_or_card(path: Path) -> bool | None:
    """None if a file is neither; False for a card that was edited, beside its network."""
    try:
        if path.suffix != ".json":
            return _described(path) is not None or None
        card = json.loads(path.read_bytes())
        if not isinstance(card, dict) or not card.keys() >= _CARD:
            return None
        network = path.with_suffix(".safetensors")
        described = _described(network) if network.is_file() else None
        return described is None or {**described, "sha256": _sha256(network)} == card
    except (OSError, ValueError, RecursionError, KeyError, TypeError):
        return None


def _described(path: Path) -> dict[str, Any] | None:
    """The description in the header of a network's file; None for another file."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if file.read(len(_NETWORK)) != _NETWORK:
            return None
        # The length of a file that is not ours may be any number.
        header = _NETWORK + file.read(min(length, path.stat().st_size) - len(_NETWORK))
    return json.loads(json.loads(header)["__metadata__"]["coset_circuits"])


def _written_in(folder: Path) -> dict[str, list[str]]:
    """The hashes that each file may have; none for files of the first builds, which had no hash."""
    try:
        names = json.loads((folder / WRITTEN).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    if isinstance(names, list):
        return {name: [] for name in names if isinstance(name, str)}
    return (
        {k: v for k, v in names.items() if isinstance(v, list)} if isinstance(names, dict) else {}
    )


def check_place(folder: Path, files: Iterable[str] = (), below: Iterable[str] = ()) -> None:
    """Check, before any work, that files can be written to a folder.

    Args:
        folder: the folder; if it does not exist, its nearest existing parent must be writable.
        files: the paths, in the folder, of the files to write; see :func:`refuse_to_replace`.
        below: folders that will be made in it.

    Raises:
        CosetCircuitsError: the folder is read-only, a file is in the way, or a file would be
            overwritten.
    """
    try:
        for place in (*(folder / name for name in below), folder, *folder.parents):
            if os.path.lexists(place) and not place.is_dir():
                raise _refusal(folder, f"{place} is a file, not a folder")
        # Only an attempt can tell: permissions, quotas and file systems fail in many ways.
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
    """Write files into a folder, and make the folder and those ``below`` it if needed.

    Each file is written atomically.

    Raises:
        CosetCircuitsError: the folder cannot be made or written, or contains files with those
            names that the library did not write.
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
    """Make a folder and its parents, and record which are new."""
    for place in (*reversed(folder.parents), folder):
        if not place.exists():
            place.mkdir(exist_ok=True)
            made.append(place)


def _write_together(folder: Path, files: Mapping[str, str | bytes]) -> None:
    """Write all files under temporary names, then rename them; the list of files comes first."""
    refuse_to_replace(folder, files)
    contents = {k: v if isinstance(v, bytes) else v.encode() for k, v in files.items()}
    written = _written_in(folder)
    for name, content in contents.items():
        path = folder / name
        # A kill between two renames leaves the earlier file, which must stay replaceable.
        earlier = [_sha256(path)] if path.exists() else []
        written[name] = [*earlier, hashlib.sha256(content).hexdigest()]
    listed = (json.dumps(written, indent=1) + "\n").encode()
    waiting = {folder / name: content for name, content in {WRITTEN: listed, **contents}.items()}
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
    """Write a file atomically: a kill or a full disk leaves either the old or the new file.

    Raises:
        CosetCircuitsError: the file cannot be written; an earlier file is unchanged.
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
    """Lock a folder for this process; the lock ends with the process, even if it crashes.

    Raises:
        CosetCircuitsError: another process has locked the folder, or it cannot be written.
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
