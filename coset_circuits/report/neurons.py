"""Compact data that the page draws for each neuron: tables, cells, irreps and roles."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from coset_circuits.algorithms.algorithm import Tables, negligible
from coset_circuits.algorithms.blocks import block_shares
from coset_circuits.comparison import Comparison
from coset_circuits.experiments import Candidate
from coset_circuits.experiments.neuron_sets import DULL
from coset_circuits.findings import without_nan
from coset_circuits.groups import FiniteGroup, Subgroup
from coset_circuits.report import tables as t

LEVELS = 255
"""Table entries are stored in this many steps of their neuron's range, finer than a pixel."""

DIGITS = 4
"""Shares are stored to this many decimals."""


def gallery(comparison: Comparison) -> dict[str, Any]:
    """Everything drawn for the neurons; base64 strings are arrays, neuron by neuron."""
    group = comparison.network.group
    own = Tables.of(comparison.network)
    shares = block_shares(own, list(group.real_blocks[1:]))
    cosets = coset_candidate(comparison)
    found = {
        "order": group.order,
        "width": own.left.shape[1],
        "labels": [t.clean(label) for label in group.labels],
        "tables": [_levels(table) for table in own],
        "irreps": [t.clean(block.name) for block in group.real_blocks[1:]],
        "shares": _rounded(shares.permute(2, 0, 1)),
        "phases": _phases(group, shares),
        "negligible": negligible(own, comparison.thresholds).tolist(),
        "families": [_family(comparison, family) for family in t.role_families(comparison)],
        "cosets": None if cosets is None else _cosets(group, cosets),
        "formation": _formation(comparison),
        "threshold": comparison.thresholds.fvu,
    }
    return without_nan(found)


def coset_candidate(comparison: Comparison) -> Candidate | None:
    """The hypothesis that names a subgroup for every neuron, if one was compared."""
    named = (c for c in comparison.hypotheses if "subgroup_index" in c.circuit.roles.notes)
    return next(named, None)


def _levels(table: Float[Tensor, "order d_mlp"]) -> dict[str, Any]:
    values = table.T.numpy()
    low, high = values.min(1), values.max(1)
    span = np.where(high > low, high - low, 1.0)
    steps = np.rint((values - low[:, None]) / span[:, None] * LEVELS)
    return {
        "low": _significant(low),
        "high": _significant(high),
        "levels": _packed(steps.astype(np.uint8)),
    }


def _phases(group: FiniteGroup, shares: Float[Tensor, "3 blocks d_mlp"]) -> dict[str, list[float]]:
    """The angle of each element in the leading irreps that are rotations of a plane."""
    leading = (shares[0] + shares[1]).argmax(0).unique().tolist()
    blocks = group.real_blocks[1:]
    turning = [i for i in leading if blocks[i].type == "complex" and blocks[i].dimension == 2]
    return {
        str(i): np.round(np.angle(blocks[i].irrep.character.numpy()), DIGITS).tolist()
        for i in turning
    }


def _family(comparison: Comparison, family: t.RoleFamily) -> dict[str, Any]:
    roles = comparison.candidate(family.names[0]).circuit.roles
    return {
        "title": family.title,
        "roles": [t.clean(role) for role in roles.names],
        "dull": [role in DULL for role in roles.names],
        "fvu": [_significant(x) for x in (roles.fvu_left, roles.fvu_right, roles.fvu_unembed)],
    }


def _cosets(group: FiniteGroup, candidate: Candidate) -> dict[str, Any]:
    """H, K = x⁻¹Hx and x of every neuron; a double coset HgK joins right and left cosets."""
    notes = candidate.circuit.roles.notes
    chosen = [group.subgroups[i] for i in notes["subgroup_index"]]
    conjugators = list(notes["conjugator_index"])
    conjugates = [h.conjugate(x) for h, x in zip(chosen, conjugators, strict=True)]
    kept = list(dict.fromkeys([*chosen, *conjugates]))
    place = {subgroup: i for i, subgroup in enumerate(kept)}
    return {
        "inverse": group.inverse_array.tolist(),
        "subgroups": [_subgroup(group, subgroup) for subgroup in kept],
        "H": [place[h] for h in chosen],
        "K": [place[k] for k in conjugates],
        "x": conjugators,
        "passes": [role not in DULL for role in candidate.circuit.roles.names],
    }


def _subgroup(group: FiniteGroup, subgroup: Subgroup) -> dict[str, Any]:
    return {
        "name": t.clean(subgroup.name),
        "order": subgroup.order,
        "generators": [t.clean(group.labels[g]) for g in subgroup.generators],
        # A left coset gK is the inverse of the right coset Kg⁻¹.
        "cosets": _packed(subgroup.right_cosets.numpy().astype("<u2")),
    }


def _formation(comparison: Comparison) -> dict[str, Any] | None:
    found = comparison.formation
    if found is None:
        return None
    return {
        "algorithm": t.clean(found.algorithm),
        "steps": list(found.steps),
        "left": [_significant(x) for x in found.fvu_left.T],
        "right": [_significant(x) for x in found.fvu_right.T],
    }


def _packed(array: np.ndarray) -> str:
    return base64.b64encode(array.tobytes()).decode("ascii")


def _rounded(values: Tensor) -> Any:
    return np.round(values.numpy(), DIGITS).tolist()


def _significant(values: Iterable[float] | Tensor | np.ndarray | Sequence[float]) -> list[float]:
    """Three significant digits, as many as a page shows."""
    return [float(f"{float(v):.3g}") for v in values]
