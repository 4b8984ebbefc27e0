"""Lines of Python that make a figure again."""

from __future__ import annotations

import dataclasses

import coset_circuits.algorithms
from coset_circuits.algorithms import ALGORITHMS, Algorithm
from coset_circuits.comparison import Comparison
from coset_circuits.experiments import INTERVENTIONS, Candidate, Intervention, Row
from coset_circuits.networks import shipped
from coset_circuits.report import tables as t


def whole_comparison(comparison: Comparison) -> str:
    """One line that makes the comparison and its report again."""
    chosen, done = _algorithms(comparison), _interventions(comparison)
    given = "" if chosen is None else f", [{', '.join(chosen)}]"
    given += "" if done is None else f", interventions=[{', '.join(done)}]"
    sample = f", pairs={len(comparison.pairs)}" if comparison.is_sampled else ""
    return (
        f"import coset_circuits as cc; cc.compare({_network(comparison)}{given}, "
        f'seed={comparison.seed}{sample}).save("report/")'
    )


def one_row(comparison: Comparison, id: str) -> str:
    """One line that prints what network and best hypothesis answer under an intervention."""
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
    return (
        f"{imports}; m = {_network(comparison)}.double(); "
        f"print(cc.measure({_intervention(row.intervention)}, {{{', '.join(models)}}}, {pairs}, "
        f"seed={comparison.seed}))"
    )


def _network(comparison: Comparison) -> str:
    label = comparison.network.label
    if label in shipped():
        return f'cc.load("{label}")'
    path = comparison.network.provenance.get("path")
    return 'cc.load("PATH OF THE NETWORK")' if path is None else f"cc.load({t.clean(path)!r})"


def _best(comparison: Comparison, row: Row) -> list[Candidate]:
    """Hypotheses that can be written down and speak of the row: what explains first, by length."""
    delta, explained_by = comparison.fidelity.delta, comparison.verdict.explained_by
    able = [
        c
        for c in comparison.hypotheses
        if _is_ours(c.circuit.algorithm) and row.outcomes[c.name] is not None
    ]
    return sorted(able, key=lambda c: (c.name not in explained_by, c.bits[delta]))


def _algorithms(comparison: Comparison) -> list[str] | None:
    """What was compared, as Python; None where it is the default.

    An algorithm from elsewhere stands there by its name, for its user to fill in.
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
    """What was done, as Python; None where it is the default."""
    done, default = [row.intervention for row in comparison.rows], list(INTERVENTIONS.values())
    if done == default:
        return None
    if done[: len(default)] == default:
        return ["*cc.INTERVENTIONS.values()", *map(_intervention, done[len(default) :])]
    return list(map(_intervention, done))


def _intervention(one: Intervention) -> str:
    """One of the user's own stands there by its id, for its user to fill in."""
    if INTERVENTIONS.get(one.id) == one:
        return f'cc.INTERVENTIONS["{one.id}"]'
    return f"cc.Intervention({t.clean(one.id)!r}, ...)"


def _is_ours(algorithm: Algorithm | None) -> bool:
    name = type(algorithm).__name__
    return getattr(coset_circuits.algorithms, name, None) is type(algorithm)


def _call(algorithm: Algorithm) -> str:
    """The call that makes an algorithm, with the arguments that are not the default."""
    assert dataclasses.is_dataclass(algorithm)
    given = [
        f"{field.name}={getattr(algorithm, field.name)!r}"
        for field in dataclasses.fields(algorithm)
        if field.name != "thresholds" and getattr(algorithm, field.name) != field.default
    ]
    return f"cc.{type(algorithm).__name__}({', '.join(given)})"
