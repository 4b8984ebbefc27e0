"""Write a report to a folder; it is made in memory first, and each file appears whole."""

from __future__ import annotations

import json
import os
from pathlib import Path

from coset_circuits.comparison import Comparison
from coset_circuits.networks.files import write_folder
from coset_circuits.report.figures import all_figures
from coset_circuits.report.page import page
from coset_circuits.report.style import svg


def save(comparison: Comparison, folder: str | os.PathLike[str]) -> Path:
    """Write report.html, findings.json and the figures as SVG; returns the folder.

    Files of an earlier report in the same folder are replaced; other files are left alone.

    Raises:
        CosetCircuitsError: the folder cannot be made or written, or has files with these names
            that the library did not write.
    """
    return write_folder(Path(folder), lambda: _files(comparison), below=("figures",))


def _files(comparison: Comparison) -> dict[str, str | bytes]:
    drawn = {name: svg(figure, name) for name, figure in all_figures(comparison).items()}
    findings = json.dumps(comparison.to_dict(), indent=1, allow_nan=False)
    return {
        **{f"figures/{name}.svg": text for name, text in drawn.items()},
        "findings.json": f"{findings}\n",
        "report.html": page(comparison, drawn),
    }
