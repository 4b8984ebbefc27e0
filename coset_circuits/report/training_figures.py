"""Figures of training. Each is ``(networks, ax) -> ax``; draw them within style.look()."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes

from coset_circuits.errors import CosetCircuitsError
from coset_circuits.networks import GroupMLP
from coset_circuits.report.style import FAINT, INK, colour, marker


def learning_curves(networks: Sequence[GroupMLP], ax: Axes, by: str = "label") -> Axes:
    """The loss of all pairs over training, a line a network; a mark where all pairs are right.

    Args:
        by: what a colour stands for: a network's ``label``, its ``group``, or its ``recipe``.

    Raises:
        CosetCircuitsError: a network without a curve, such as one from a paper's file.
    """
    names: list[str] = []
    for network in networks:
        curve = network.provenance.get("curve")
        if not curve:
            raise CosetCircuitsError(
                f"{network.label} has no training curve; give networks trained by this package."
            )
        name = _name(network, by)
        first = name not in names
        names += [name] if first else []
        shade, shape = colour(names.index(name)), marker(names.index(name))
        ax.plot(
            [look["step"] for look in curve],
            [look["loss"] for look in curve],
            color=shade,
            lw=1.2,
            label=name if first else None,
        )
        grokked = next((look for look in curve if look["test_accuracy"] == 1.0), None)
        if grokked is not None:
            ax.plot(grokked["step"], grokked["loss"], shape, color=shade, ms=6)
    ax.set(xscale="log", yscale="log")
    ax.axhline(1e-5, color=INK, lw=0.6, ls=":", alpha=FAINT)
    ax.set_xlabel("step of training")
    ax.set_ylabel("mean loss of all pairs (nats)")
    ax.legend(loc="lower left")
    return ax


def _name(network: GroupMLP, by: str) -> str:
    known: dict[str, Any] = {
        "label": network.label,
        "group": network.group.name,
        "recipe": network.provenance.get("recipe", {}).get("name"),
    }
    if by not in known:
        raise CosetCircuitsError(f"by is {by!r}; choose one of {', '.join(known)}.")
    return str(known[by])
