"""Everything that can be reproduced; a new table or figure is one more file and one line here."""

from __future__ import annotations

from collections.abc import Sequence

from coset_circuits.errors import CosetCircuitsError
from coset_circuits.reproduction import (
    fig2,
    fig4,
    fig5,
    fig6,
    forming,
    section7,
    table1,
    table2,
    table3,
    table4,
    table5,
)
from coset_circuits.reproduction.artifact import Artifact

ARTIFACTS: dict[str, Artifact] = {
    artifact.name: artifact
    for artifact in (
        table1.ARTIFACT,
        table2.ARTIFACT,
        table3.ARTIFACT,
        table4.ARTIFACT,
        table5.ARTIFACT,
        fig2.ARTIFACT,
        forming.FIG3,
        fig4.ARTIFACT,
        fig5.ARTIFACT,
        fig6.ARTIFACT,
        forming.FIG7,
        forming.FIG8,
        section7.ARTIFACT,
    )
}
"""By name, in the paper's order."""


def chosen(what: str | Sequence[str]) -> list[Artifact]:
    """The artifacts with some names, in the paper's order; ``"all"`` means all.

    Raises:
        CosetCircuitsError: an unknown name; the sentence lists the names.
    """
    names = [what] if isinstance(what, str) else list(what)
    unknown = [name for name in names if name not in (*ARTIFACTS, "all")]
    if unknown or not names:
        raise CosetCircuitsError(
            f"No table or figure is called {', '.join(map(repr, unknown)) or 'nothing'}; choose "
            f"among {', '.join(ARTIFACTS)}, or all."
        )
    return [a for name, a in ARTIFACTS.items() if "all" in names or name in names]
