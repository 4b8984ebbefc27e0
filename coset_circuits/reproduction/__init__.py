"""The tables and figures of Stander et al. (ICML 2024), from networks, with their controls."""

from coset_circuits.reproduction.artifact import (
    Artifact,
    Drawing,
    Line,
    Measured,
    Part,
    Section,
    Table,
)
from coset_circuits.reproduction.artifacts import ARTIFACTS
from coset_circuits.reproduction.page import Reproduction
from coset_circuits.reproduction.reproduce import reproduce
from coset_circuits.reproduction.study import Study
from coset_circuits.reproduction.survey import survey

__all__ = [
    "ARTIFACTS",
    "Artifact",
    "Drawing",
    "Line",
    "Measured",
    "Part",
    "Reproduction",
    "Section",
    "Study",
    "Table",
    "reproduce",
    "survey",
]
