"""The tables and figures of Stander et al. (ICML 2024), from networks, with their controls.

One file an artifact; a new one is one more file and one more line here.
"""

from coset_circuits.reproduction import (
    fig2,
    fig3,
    fig4,
    fig5,
    fig6,
    fig7,
    fig8,
    section7,
    table1,
    table2,
    table3,
    table4,
    table5,
)
from coset_circuits.reproduction.artifact import (
    Artifact,
    Drawing,
    Line,
    Part,
    Seen,
    Table,
)
from coset_circuits.reproduction.reproduce import Reproduction, Section, reproduce
from coset_circuits.reproduction.study import Study

ARTIFACTS: dict[str, Artifact] = {
    module.ARTIFACT.name: module.ARTIFACT
    for module in (
        table1,
        table2,
        table3,
        table4,
        table5,
        fig2,
        fig3,
        fig4,
        fig5,
        fig6,
        fig7,
        fig8,
        section7,
    )
}
"""Everything that can be reproduced, by name, in the paper's order."""

__all__ = [
    "ARTIFACTS",
    "Artifact",
    "Drawing",
    "Line",
    "Part",
    "Reproduction",
    "Section",
    "Seen",
    "Study",
    "Table",
    "reproduce",
]
