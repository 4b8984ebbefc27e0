"""Findings that a folder keeps, so that no network is analysed twice with the same options."""

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
"""Beside each kept findings.json: what was asked, and hashes that show that it is unchanged."""
FINDINGS = "findings.json"
REPORT = ("report.html", FINDINGS)
"""What every folder of a report has."""
_OWN = {*REPORT, "figures"}


class Kept:
    """A folder with one report for each network; what it holds is found by what was asked.

    Attributes:
        folder: it is made when the first report is written.
        failures: what could not be written, and why.

    Raises:
        CosetCircuitsError: it could not be written then.
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
        """What was found when the same was asked, and where; None if never or no longer whole."""
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
        """Write what was found and what was asked for it; returns its folder.

        What cannot be written is noted in ``failures``: the work goes on, and what was found is not
        lost with the disk.

        Args:
            asked: without it the findings are written all the same, but never stand for later ones.
            content: the hash of the network.
            label: the network's; its folder is called so.
            save: writes findings.json, and what else belongs to it, into the folder it is given.
        """
        place = self._place(label, content)
        try:
            self._write(place, {"network": content} if asked is None else asked, save)
        except (CosetCircuitsError, OSError) as error:
            self.failures.append(f"What was found on {label} is not kept. {error}")
            return None
        return place

    def _write(self, place: Path, asked: Mapping[str, Any], save: Callable[[Path], object]) -> None:
        refuse_to_replace(place, [ASKED])
        # An older note must not vouch for a new report that is only half written.
        (place / ASKED).unlink(missing_ok=True)
        save(place)
        written = (place / FINDINGS).read_bytes()
        note = {**asked, "findings_sha256": hashlib.sha256(written).hexdigest()}
        write_folder(place, lambda: {ASKED: json.dumps(note, indent=1) + "\n"})
        self.places[_key(asked)] = place

    def _place(self, label: str, network: str) -> Path:
        """Under the network's label, unless another network or something else stands there."""
        place = self.folder / file_name(label)
        if place.name not in _OWN:
            note = read_note(place / ASKED)
            if not place.exists() or (note is not None and note.get("network") == network):
                return place
        return place.with_name(f"{place.name}-{network[:8]}")


def file_name(label: str) -> str:
    """A label as the name of a file or folder."""
    # No file system takes a longer name than 255 bytes, and a hash may follow.
    return re.sub(r"[^A-Za-z0-9._-]+", "_", label).strip(".")[:200] or "network"


def _key(note: Mapping[str, Any]) -> str:
    kept = {name: value for name, value in note.items() if name != "findings_sha256"}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def read_note(note: Path) -> dict[str, Any] | None:
    """What a note in JSON says; None if it is not there or not whole."""
    try:
        content = json.loads(note.read_bytes())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


@cache
def source_hash() -> str:
    """Of the package's own code: a release number stays the same while the code is worked on."""
    root = Path(__file__).parents[1]
    whole = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        whole.update(path.relative_to(root).as_posix().encode())
        whole.update(path.read_bytes())
    return whole.hexdigest()
