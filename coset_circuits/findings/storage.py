"""Store findings in a folder, so that no network is analysed twice with the same options."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from coset_circuits.errors import CosetCircuitsError
from coset_circuits.networks.files import check_place, refuse_to_replace, write_folder

ASKED = "asked.json"
"""A file beside each findings.json with the request, and hashes that detect changes."""
FINDINGS = "findings.json"
REPORT = ("report.html", FINDINGS)
"""The files in every report folder."""
_OWN = {*REPORT, "figures"}


class Kept:
    """A folder with one report for each network, looked up by the request that made it.

    Attributes:
        folder: the folder, which is created with the first report.
        failures: reports that could not be written, and why.

    Raises:
        CosetCircuitsError: the folder could not be written.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        check_place(self.folder)
        self.places: dict[str, Path] = {}
        self.failures: list[str] = []
        for path in sorted(self.folder.glob(f"*/{ASKED}")):
            if (note := read_note(path)) is not None:
                self.places[_key(note)] = path.parent

    def findings(self, asked: Mapping[str, Any] | None) -> tuple[dict[str, Any], Path] | None:
        """The stored findings of the same request, and their folder; None if missing or damaged."""
        place = None if asked is None else self.places.get(_key(asked))
        if place is None:
            return None
        note = read_note(place / ASKED)
        try:
            content = (place / FINDINGS).read_bytes()
        except OSError:
            return None
        if note is None or note.get("findings_sha256") != hashlib.sha256(content).hexdigest():
            return None
        return json.loads(content), place

    def keep(
        self,
        asked: Mapping[str, Any] | None,
        content: str,
        label: str,
        save: Callable[[Path], object],
    ) -> Path | None:
        """Store findings together with the request; returns their folder.

        A report that cannot be written is recorded in ``failures``, and the work goes on.

        Args:
            asked: the request; without one the findings are written but never reused.
            content: the hash of the network.
            label: the network's label, which becomes the folder's name.
            save: writes findings.json and the rest of the report into a given folder.
        """
        place = self._place(label, content)
        try:
            self._write(place, {"network": content} if asked is None else asked, save)
        except (CosetCircuitsError, OSError) as error:
            self.failures.append(f"The findings on {label} could not be stored. {error}")
            return None
        return place

    def _write(self, place: Path, asked: Mapping[str, Any], save: Callable[[Path], object]) -> None:
        refuse_to_replace(place, [ASKED, *REPORT])
        # An old request file must not validate a new report that is only half written.
        (place / ASKED).unlink(missing_ok=True)
        save(place)
        written = (place / FINDINGS).read_bytes()
        note = {**asked, "findings_sha256": hashlib.sha256(written).hexdigest()}
        write_folder(place, lambda: {ASKED: json.dumps(note, indent=1) + "\n"})
        self.places[_key(asked)] = place

    def _place(self, label: str, network: str) -> Path:
        """A folder with the network's label, or with its hash too if the name is taken."""
        place = self.folder / file_name(label)
        if place.name not in _OWN:
            note = read_note(place / ASKED)
            if not place.exists() or (note is not None and note.get("network") == network):
                return place
        return place.with_name(f"{place.name}-{network[:8]}")


def file_name(label: str) -> str:
    """A label as the name of a file or folder."""
    # File names have at most 255 bytes, and a hash may follow.
    return re.sub(r"[^A-Za-z0-9._-]+", "_", label).strip(".")[:200] or "network"


def _key(note: Mapping[str, Any]) -> str:
    kept = {name: value for name, value in note.items() if name != "findings_sha256"}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def read_note(note: Path) -> dict[str, Any] | None:
    """Read a JSON file; None if it is missing or damaged."""
    try:
        content = json.loads(note.read_bytes())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


@cache
def source_hash(rooms: tuple[str, ...] | None = None) -> str:
    """A hash of the package's code; the version number does not change during development.

    Args:
        rooms: only the code in these folders and beside them; None: all of it.
    """
    root = Path(__file__).parents[1]
    whole = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        place = path.relative_to(root)
        if rooms is None or len(place.parts) == 1 or place.parts[0] in rooms:
            whole.update(place.as_posix().encode())
            whole.update(path.read_bytes())
    return whole.hexdigest()
