"""Table 2: how the paper's networks and ours were trained."""

from __future__ import annotations

from typing import Any

from coset_circuits.reproduction import artifact as art
from coset_circuits.reproduction.study import Study

PAPER: dict[str, dict[str, art.Value]] = {
    "S5": {"fraction": 0.4, "networks": 128, "steps": 250_000, "d_mlp": 128, "d_embed": 256},
    "S6": {"fraction": 0.4, "networks": 100, "steps": 50_000, "d_mlp": 256, "d_embed": 512},
}
"""Table 2, as printed."""

OPTIMISER: dict[str, art.Value] = {
    "learning_rate": 1e-3,
    "weight_decay": 1.0,
    "betas": "0.9, 0.98",
    "batch_size": "all",
}
"""Appendix C, as printed."""

_SETTINGS: dict[str, tuple[str, art.Unit]] = {
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


def analyse(study: Study) -> dict[str, Any]:
    """What the network's card and weights say about its training."""
    about = study.about()
    recipe = about["recipe"] or {}
    betas, batch = recipe.get("betas"), recipe.get("batch_size")
    return {
        "fraction": recipe.get("fraction"),
        "steps": about["steps"] or recipe.get("max_steps"),
        "d_mlp": about["d_mlp"],
        "d_embed": about.get("d_embed", about.get("d_model")),
        "learning_rate": recipe.get("learning_rate"),
        "weight_decay": recipe.get("weight_decay"),
        "betas": None if betas is None else ", ".join(f"{b:g}" for b in betas),
        "batch_size": (f"{batch:,}" if batch else "all") if recipe else None,
    }


def summarise(ours: art.Networks, controls: art.Networks) -> art.Part:
    """Each setting of the paper next to ours, and those of the networks that have not learnt."""
    printed = {**PAPER.get(ours[0].about["group"], {}), **OPTIMISER}
    label = "not learnt" if controls else ""
    lines = [
        art.Line(title, unit, printed.get(key), _setting(ours, key), _setting(controls, key), label)
        for key, (title, unit) in _SETTINGS.items()
    ]
    with_card = sum(network.findings["learning_rate"] is not None for network in ours)
    note = f"{with_card} of {len(ours)} networks have a card that says how they were trained."
    return art.Part(lines, notes=[note])


def _setting(networks: art.Networks, key: str) -> art.Value:
    """The one value of all networks, or their range."""
    if key == "networks":
        return len(networks)
    values = {n.findings[key] for n in networks if n.findings[key] is not None}
    if len(values) <= 1:
        return next(iter(values), None)
    if all(isinstance(value, (int, float)) for value in values):
        return f"{min(values):,.12g} to {max(values):,.12g}"
    return " or ".join(sorted(map(str, values)))


ARTIFACT = art.Artifact(
    "table2",
    "How the networks were trained",
    "Stander et al., Table 2 and Appendix C",
    summarise,
    analyse,
    groups=tuple(PAPER),
    notes=[
        "The paper says Adam with weight decay 1. The optimiser is AdamW, which applies the decay "
        "apart from the gradient, both in the papers' code and here."
    ],
)
