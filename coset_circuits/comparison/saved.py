"""Read saved comparisons: their findings, without networks and circuits."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from coset_circuits.comparison.across import NetworkSummary, strata
from coset_circuits.comparison.many import Ensemble
from coset_circuits.comparison.summary import Summary
from coset_circuits.errors import CosetCircuitsError, checked
from coset_circuits.findings.storage import FINDINGS
from coset_circuits.thresholds import Thresholds


@checked
def load_comparison(path: str | os.PathLike[str]) -> Summary | Ensemble:
    """Read the findings of a comparison from its report.

    The report of one network gives a :class:`Summary` with its verdict, circuits and findings. The
    report of several networks gives an :class:`Ensemble`, which can be printed and saved again.
    Both have the same ``to_dict()`` as the comparison that was saved.

    Args:
        path: the folder of a report, or its findings.json.

    Raises:
        CosetCircuitsError: the file is missing or damaged, or has another version's schema.
    """
    file = Path(path) / FINDINGS if os.path.isdir(path) else Path(path)
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise CosetCircuitsError(
            f"{file} cannot be read as the findings of a comparison; give the folder of a report, "
            "or its findings.json."
        ) from error
    try:
        if not isinstance(content, Mapping):
            raise TypeError("no findings")
        return _several(content) if "networks" in content else Summary.from_dict(content)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, CosetCircuitsError):
            raise
        raise CosetCircuitsError(
            f"{file} does not hold the findings of a comparison; make the report again."
        ) from error


def _several(content: Mapping[str, Any]) -> Ensemble:
    values: dict[str, Any] = content["thresholds"]
    thresholds = Thresholds(
        **{name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}  # pyright: ignore[reportArgumentType]
    )
    networks = [_network(entry, content) for entry in content["networks"]]
    return Ensemble(
        tuple(networks),
        {entry["file"]: entry["reason"] for entry in content["skipped"]},
        strata(networks, thresholds, content["seed"]),
        thresholds,
        content["seed"],
        content["versions"],
        tuple(content["statistics"]["notes"]),
    )


def _network(entry: Mapping[str, Any], content: Mapping[str, Any]) -> NetworkSummary:
    """One network of several; all networks share one list of findings."""
    own = ("verdict", "fidelity", "notes", "device", "dtype", "experiments", "formation")
    facts = {k: v for k, v in entry.items() if k not in (*own, "file", "report")}
    lists = {
        name: [
            {k: v for k, v in item.items() if k != "network"}
            for item in content[name]
            if item["network"] == entry["name"]
        ]
        for name in ("circuits", "findings")
    }
    shared = {name: content.get(name) for name in ("schema", "thresholds", "versions", "seed")}
    summary = {"network": facts, **{name: entry[name] for name in own}, **lists, **shared}
    return NetworkSummary(entry["name"], Summary.from_dict(summary), entry["file"], entry["report"])
