"""Lines of Python that reproduce a result."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import coset_circuits.algorithms
from coset_circuits.algorithms import ALGORITHMS, Algorithm
from coset_circuits.comparison import Comparison
from coset_circuits.experiments import (
    EXPERIMENTS,
    INTERVENTIONS,
    Candidate,
    Intervention,
    Interventions,
    Row,
)
from coset_circuits.report import tables as t
from coset_circuits.thresholds import DEFAULT, Thresholds


def whole_comparison(comparison: Comparison) -> str:
    """One line that repeats the comparison and its report, as far as one line can."""
    chosen, done = _algorithms(comparison), _interventions(comparison)
    given = "" if chosen is None else f", [{', '.join(chosen)}]"
    given += "" if done is None else f", interventions=[{', '.join(done)}]"
    more = _experiments(comparison)
    given += f", experiments=[{', '.join(more)}]" if more else ""
    given += f", seed={comparison.seed}"
    given += f", pairs={len(comparison.pairs)}" if comparison.is_sampled else ""
    if comparison.thresholds != DEFAULT:
        given += f", thresholds={_call(comparison.thresholds)}"
    return (
        f"import coset_circuits as cc; cc.compare({_network(comparison)}{given})"
        f'.save("report/"){_lacking(comparison, given)}'
    )


def one_row(comparison: Comparison, id: str) -> str:
    """One line that prints the outcome of network and best hypothesis under an intervention."""
    row = next(row for row in comparison.rows if row.intervention.id == id)
    models = ['"network": m']
    for candidate in _best(comparison, row)[:1]:
        assert candidate.circuit.algorithm is not None
        fitted = f"{_call(candidate.circuit.algorithm)}.fit(m).surrogate()"
        models.append(f'"{candidate.name}": {fitted}')
    imports, pairs = "import coset_circuits as cc", "m.group.pairs()"
    if comparison.is_sampled:
        imports += "; from coset_circuits.experiments.measure import sampled"
        pairs = f"sampled({pairs}, {len(comparison.pairs)}, seed={comparison.seed})"
    given = f"{_intervention(row.intervention)}, {{{', '.join(models)}}}, {pairs}"
    return (
        f"{imports}; m = {_network(comparison)}.double(); "
        f"print(cc.measure({given}, seed={comparison.seed})){_lacking(comparison, given)}"
    )


def _network(comparison: Comparison) -> str:
    """The call that reads it; a bare name if it was not read or has changed since."""
    known = comparison.network.provenance
    where = known.get("shipped", known.get("path"))
    if where is None:
        return "network"
    options = {"order": known.get("order"), "device": comparison.device}
    given = [f", {k}={v!r}" for k, v in options.items() if v not in (None, "cpu")]
    return f"cc.load({json.dumps(where) if where.isprintable() else repr(where)}{''.join(given)})"


def _lacking(comparison: Comparison, given: str) -> str:
    """A comment on what the line cannot repeat; empty if it repeats everything."""
    lacks = []
    if _network(comparison) == "network":
        known = comparison.network.provenance
        made = known.get("command") or known.get("source") or "not recorded"
        lacks.append(f"network ({made})")
    lacks += ["what stands as (...)"] if "...)" in given else []
    return f"  # cannot be repeated as it stands: fill in {t.clean(' and '.join(lacks))}" * bool(
        lacks
    )


def _best(comparison: Comparison, row: Row) -> list[Candidate]:
    """Hypotheses that Python can construct and that predict the row, explaining and short first."""
    delta, explained_by = comparison.fidelity.delta, comparison.verdict.explained_by
    able = [
        c
        for c in comparison.hypotheses
        if _is_ours(c.circuit.algorithm) and row.outcomes[c.name] is not None
    ]
    return sorted(able, key=lambda c: (c.name not in explained_by, c.bits[delta]))


def _algorithms(comparison: Comparison) -> list[str] | None:
    """The compared algorithms as Python; None for the default.

    A user's algorithm appears by name only, to be filled in.
    """
    asked = comparison.bench.asked
    if list(asked) == list(ALGORITHMS):
        return None
    return [
        repr(a).replace("'", '"')
        if isinstance(a, str)
        else _call(a)
        if _is_ours(a)
        else f"{type(a).__name__}(...)"
        for a in asked
    ]


def _interventions(comparison: Comparison) -> list[str] | None:
    """The interventions as Python; None for the default."""
    done, default = [row.intervention for row in comparison.rows], list(INTERVENTIONS.values())
    if done == default:
        return None
    if done[: len(default)] == default:
        return ["*cc.INTERVENTIONS.values()", *map(_intervention, done[len(default) :])]
    return list(map(_intervention, done))


def _intervention(one: Intervention) -> str:
    """One intervention as Python; a user's appears by its id only, to be filled in."""
    if INTERVENTIONS.get(one.id) == one:
        return f'cc.INTERVENTIONS["{one.id}"]'
    return f"cc.Intervention({t.clean(one.id)!r}, ...)"


def _experiments(comparison: Comparison) -> list[str]:
    """The optional experiments as Python."""
    return [
        f'"{one.id}"' if EXPERIMENTS.get(one.id) == one else f"{type(one).__name__}(...)"
        for one in comparison.experiments
        if not (one.by_default and EXPERIMENTS.get(one.id) == one) and one.id != Interventions.id
    ]


def _is_ours(algorithm: Algorithm | None) -> bool:
    name = type(algorithm).__name__
    return getattr(coset_circuits.algorithms, name, None) is type(algorithm)


def _call(made: Any) -> str:
    """The call that makes an algorithm or thresholds, with the values that are not defaults."""
    given = [
        f"{field.name}={_call(value) if isinstance(value, Thresholds) else repr(value)}"
        for field in dataclasses.fields(made)
        if (value := getattr(made, field.name)) != field.default
    ]
    return f"cc.{type(made).__name__}({', '.join(given)})"
