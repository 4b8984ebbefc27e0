"""Write an intervention of your own and ask each hypothesis what it will do.

    python hooks/own_intervention.py [NETWORK]

Here: every neuron's threshold is moved by a share of the standard deviation of its pre-activation.
A hypothesis predicts the outcome by running the same hooks on its surrogate; nobody types a
prediction in. Read the errors beside the bits: the dull null, which knows no group, predicts
well too, at its price. The control is the same hypothesis fitted under a relabelled group.
"""

from __future__ import annotations

import math
import sys
from statistics import median

import torch

import coset_circuits as cc
from coset_circuits.experiments import relabelled_group
from coset_circuits.networks.model import GroupModel

SHIFTS = (-0.5, -0.25, 0.0, 0.25, 0.5)


def moved(share: float) -> cc.Intervention:
    # A factory of hooks, called for every model and every batch of pairs: pre_scale is the
    # network's own on every surrogate, so that all of them are disturbed by the same amount.
    def hooks(model: GroupModel, pairs: torch.Tensor, seed: int) -> list:
        return [("hook_pre", lambda pre, hook: pre + share * model.pre_scale)]

    return cc.Intervention(f"threshold_{share}", f"threshold moved by {-share} std", hooks)


def main(name: str = "s5") -> dict[str, tuple[float, list[float], float]]:
    network = cc.load(name, dtype=torch.float64)
    coset = cc.CosetAlgorithm(even=True)
    circuits = {a.name: a.fit(network) for a in (coset, cc.IrrepAlgorithm(), cc.DullNull())}
    other = relabelled_group(network.group)
    if other is not None:
        circuits[f"{coset.name}, relabelled"] = coset.fit(network, other)
    models: dict[str, GroupModel] = {"network": network}
    models.update({title: circuit.surrogate() for title, circuit in circuits.items()})
    measured = [cc.measure(moved(share), models, network.group.pairs()) for share in SHIFTS]
    floor = cc.Thresholds().loss_floor
    rows = {}
    shifts = " ".join(f"{share:+7.2f}σ" for share in SHIFTS)
    print(f"{network!r}\n{'mean loss (nats) at':24} {shifts}  bits/neuron  median |Δlog10|")
    for title in models:
        # None: a hypothesis that is silent at this site, which none of these is.
        losses = [max(floor, o.loss) for found in measured if (o := found[title]) is not None]
        bits = circuits[title].description_length().bits_per_neuron if title in circuits else 0.0
        observed = rows["network"][1] if rows else losses
        error = median(abs(math.log10(a / b)) for a, b in zip(losses, observed, strict=True))
        rows[title] = (bits, losses, error)
        figures = " ".join(f"{loss:8.2e}" for loss in losses)
        print(f"{title:24} {figures}" + (f" {bits:12.0f} {error:16.2f}" if bits else ""))
    return rows


if __name__ == "__main__":
    try:
        main(sys.argv[1] if len(sys.argv) > 1 else "s5")
    except cc.CosetCircuitsError as error:
        sys.exit(f"Error: {error}")
