"""Measured figures: findings, intervals, statistics over networks, and storage."""

from coset_circuits.findings.finding import (
    Finding,
    Findings,
    FindingsBySubject,
    defined,
    from_table,
    without_nan,
)

__all__ = [
    "Finding",
    "Findings",
    "FindingsBySubject",
    "defined",
    "from_table",
    "without_nan",
]
