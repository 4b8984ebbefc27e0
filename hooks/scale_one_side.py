"""Scale the left pre-activation and see which hypothesis predicts what happens.

    python hooks/scale_one_side.py [NETWORK]

Flipping both signs or scaling both sides leaves nearly every hypothesis right. Scaling one side
does not: the coset circuit's zeros are where left and right cancel, a bilinear composition only
gets louder.
"""

from __future__ import annotations

import sys

import torch

import coset_circuits as cc
from coset_circuits.networks.model import GroupModel

FACTORS = (-1.0, 0.5, 1.0, 1.5, 2.0, 3.0)


def main(name: str = "s5") -> list[tuple[float, str, float, float]]:
    network = cc.load(name, dtype=torch.float64)
    models: dict[str, GroupModel] = {"network": network}
    for algorithm in (
        cc.CosetAlgorithm(even=True),
        cc.IrrepAlgorithm(),
        cc.IrrepAlgorithm("bilinear"),
    ):
        models[algorithm.name] = algorithm.fit(network).surrogate()
    rows = []
    print(f"{network!r}\n{'left ×':>7}  {'model':22} {'accuracy':>8}  mean loss (nats)")
    for factor in FACTORS:
        scaling = cc.Intervention(
            f"scale_left_{factor}",
            f"left × {factor}",
            hooks=lambda model, pairs, seed, factor=factor: [
                ("hook_left_pre", lambda pre, hook: factor * pre)
            ],
        )
        for label, outcome in cc.measure(scaling, models, network.group.pairs()).items():
            if outcome is None:
                continue
            rows.append((factor, label, outcome.accuracy, outcome.loss))
            print(f"{factor:7.1f}  {label:22} {outcome.accuracy:8.4f}  {outcome.loss:.2e}")
    return rows


if __name__ == "__main__":
    try:
        main(sys.argv[1] if len(sys.argv) > 1 else "s5")
    except cc.CosetCircuitsError as error:
        sys.exit(f"Error: {error}")
