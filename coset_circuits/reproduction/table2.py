"""Table 2: how the networks were trained, theirs and ours side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from coset_circuits.reproduction.artifact import Artifact, Line, Part, Seen, Unit, Value
from coset_circuits.reproduction.study import Study

PAPER: dict[str, dict[str, Value]] = {
    "S5": {"fraction": 0.4, "networks": 128, "steps": 250_000, "d_mlp": 128, "d_embed": 256},
    "S6": {"fraction": 0.4, "networks": 100, "steps": 50_000, "d_mlp": 256, "d_embed": 512},
}
"""Table 2, as printed."""

OPTIMISER: dict[str, Value] = {
    "learning_rate": 1e-3,
    "weight_decay": 1.0,
    "betas": "0.9, 0.98",
    "batch_size": "all",
}
"""Appendix C, as printed."""

_FIGURES: dict[str, tuple[str, Unit]] = {
    "fraction": ("share of the pairs trained on", "fraction"),
    "networks": ("networks", "count"),
    "steps": ("steps (full batch: epochs)", "count"),
    "d_mlp": ("neurons", "count"),
    "d_embed": ("embedding", "count"),
    "learning_rate": ("learning rate", "number"),
    "weight_decay": ("weight decay", "number"),
    "betas": ("betas", "text"),
    "batch_size": ("batch", "text"),
}


def see(study: Study) -> dict[str, Any]:
    """What the network's card and weights say of its training."""
    about = study.about()
    recipe = about["recipe"] or {}
    betas, batch = recipe.get("betas"), recipe.get("batch_size")
    return {
        "fraction": recipe.get("fraction"),
        "steps": about["steps"] or recipe.get("max_steps"),
        "d_mlp": about["d_mlp"],
        "d_embed": about["d_embed"],
        "learning_rate": recipe.get("learning_rate"),
        "weight_decay": recipe.get("weight_decay"),
        "betas": None if betas is None else ", ".join(f"{b:g}" for b in betas),
        "batch_size": (f"{batch:,}" if batch else "all") if recipe else None,
    }


def tell(ours: Sequence[Seen], controls: Sequence[Seen]) -> Part:
    """Each setting of the paper beside ours, and whether they are the same."""
    printed = {**PAPER.get(ours[0].about["group"], {}), **OPTIMISER}
    lines = []
    for key, (title, unit) in _FIGURES.items():
        found: Value = len(ours) if key == "networks" else _found(ours, key)
        paper = printed.get(key)
        beside: Value = len(controls) if key == "networks" else _found(controls, key)
        lines.append(Line(title, unit, paper, found, beside, "not learnt" if controls else ""))
    known = sum(network.findings["learning_rate"] is not None for network in ours)
    note = f"{known} of {len(ours)} networks have a card that says how they were trained."
    return Part(tuple(lines), notes=(note,))


NOTES = (
    "The paper says Adam with weight decay 1; what trains is AdamW, whose decay is apart from the "
    "gradient, in the papers' code and here.",
)


def _found(networks: Sequence[Seen], key: str) -> Value:
    """The one value of all networks, or their range."""
    found = {n.findings[key] for n in networks if n.findings[key] is not None}
    if len(found) <= 1:
        return next(iter(found), None)
    if all(isinstance(x, (int, float)) for x in found):
        return f"{min(found):,.12g} to {max(found):,.12g}"
    return " or ".join(sorted(map(str, found)))


ARTIFACT = Artifact(
    "table2",
    "How the networks were trained",
    "Stander et al., Table 2 and Appendix C",
    tell,
    see,
    groups=tuple(PAPER),
    notes=NOTES,
)
