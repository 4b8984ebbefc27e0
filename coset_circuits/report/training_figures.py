"""Figures of training: losses, accuracies, and when the neurons' structure formed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from coset_circuits.comparison import Comparison
from coset_circuits.errors import CosetCircuitsError
from coset_circuits.networks.model import GroupModel
from coset_circuits.report.axes import guide, legend_above, log_scale, plain_number, power_of_ten
from coset_circuits.report.style import FAINT, INK, colour, marker

LOSSES = {"train_loss": "training pairs", "loss": "all pairs"}
ACCURACIES = {"train_accuracy": "training pairs", "test_accuracy": "test pairs"}


def training_curve(comparison: Comparison) -> list[dict[str, float]]:
    """The measurements recorded during training; empty if there are none."""
    known = comparison.network.provenance.get("curve")
    return [look for look in known or [] if look.get("step")]


def training_loss(comparison: Comparison, ax: Axes) -> Axes:
    """Mean losses over training."""
    _curves(comparison, ax, LOSSES)
    log_scale(ax, "y", power_of_ten)
    ax.set_ylabel("mean loss (nats)")
    return ax


def training_accuracy(comparison: Comparison, ax: Axes) -> Axes:
    """Accuracies over training."""
    _curves(comparison, ax, ACCURACIES)
    ax.set_ylim(-0.04, 1.04)
    ax.set_ylabel("accuracy (share of pairs)")
    return ax


def _curves(comparison: Comparison, ax: Axes, names: dict[str, str]) -> None:
    curve = training_curve(comparison)
    for i, (name, label) in enumerate(names.items()):
        looks = [look for look in curve if look.get(name) is not None]
        if looks:
            steps, values = [x["step"] for x in looks], [x[name] for x in looks]
            ax.plot(steps, values, color=colour(i), lw=1.6, ls=("-", "--")[i], label=label)
    _steps(ax)


def structure_forming(comparison: Comparison, ax: Axes) -> Axes:
    """Variance of both tables within the neurons' final cells over training; middle half shaded."""
    found = comparison.formation
    assert found is not None
    # Step 0 has no place on a logarithmic axis.
    later = np.array(found.steps) > 0
    steps = np.array(found.steps)[later]
    for i, side in enumerate(("left", "right")):
        low, middle, high = np.maximum(found.quartiles(side)[:, later], 1e-16)
        ax.plot(steps, middle, color=colour(i), lw=1.6, ls=("-", "--")[i], label=f"{side}, median")
        ax.fill_between(steps, low, high, color=colour(i), alpha=FAINT / 2, lw=0)
    bound = comparison.thresholds.fvu
    ax.axhline(bound, color=INK, lw=0.8, ls=":", label=f"explained below {bound:g}")
    log_scale(ax, "y", power_of_ten)
    _steps(ax, columns=3)
    ax.set_ylabel("FVU outside the final cells (fraction)")
    return ax


def learning_curves(networks: Sequence[GroupModel], ax: Axes) -> Axes:
    """Loss over all pairs during training, one line per network, marked when all pairs are right.

    Raises:
        CosetCircuitsError: a network has no curve, such as one from a paper's file.
    """
    for i, network in enumerate(networks):
        curve = network.provenance.get("curve")
        if not curve:
            raise CosetCircuitsError(
                f"{network.label} has no training curve; give networks trained by this package."
            )
        steps, losses = [look["step"] for look in curve], [look["loss"] for look in curve]
        ax.plot(steps, losses, color=colour(i), lw=1.4, label=network.label)
        right = [k for k, look in enumerate(curve) if look["test_accuracy"] == 1.0]
        if right:
            ax.plot(steps[right[0]], losses[right[0]], marker(i), color=colour(i), ms=7)
    log_scale(ax, "y", power_of_ten)
    _steps(ax, columns=3)
    ax.set_ylabel("mean loss of all pairs (nats)")
    return ax


def _steps(ax: Axes, columns: int = 2) -> None:
    log_scale(ax, "x", plain_number)
    ax.set_xlabel("training step")
    guide(ax)
    legend_above(ax, columns)
