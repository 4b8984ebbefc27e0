"""Flip signs, swap inputs, and see that neither result needs cosets.

    python hooks/signs_and_swaps.py [NETWORK]

A single sign flip is not chance but anti-correct: the right answer falls to the last ranks, where
the left input's mean in its place gives chance. With the inputs swapped a network that is right
everywhere answers b·a, so exactly the commuting pairs stay right, whatever it has learnt; their
share is the number of conjugacy classes over the order.
"""

from __future__ import annotations

import sys

import torch

import coset_circuits as cc
from coset_circuits.experiments import commuting_fraction
from coset_circuits.networks import cross_entropy

ROWS = ("base", "sign_both", "sign_left", "sign_right", "mean_left", "swap_inputs")


@torch.no_grad()
def main(name: str = "s5") -> dict[str, tuple[float, float, float]]:
    network = cc.load(name, dtype=torch.float64)
    group, pairs = network.group, network.group.pairs()
    answers = group.products(pairs)
    commuting = answers == group.products(pairs.flip(-1))
    rows = {}
    print(f"{network!r}\n{'':28} {'accuracy':>8} {'rank':>5} {'mean loss':>9}  control")
    for id in ROWS:
        row = cc.INTERVENTIONS[id]
        logits = row.run(network, pairs)
        right = logits.argmax(1) == answers
        above = (logits > logits.gather(1, answers[:, None])).sum(1)
        rows[id] = (
            float(right.double().mean()),
            float(above.double().mean()) + 1,
            float(cross_entropy(logits, answers).mean()),
        )
        figures = "{:8.4f} {:5.1f} {:9.2e}".format(*rows[id])
        print(f"{row.title:28} {figures}  {(row.control or '').replace('_', ' ')}")
    # The last row's answers, those to swapped inputs.
    agree = float((right == commuting).double().mean())
    rows["commuting_pairs"] = (commuting_fraction(group), agree, float("nan"))
    print(f"{'commuting pairs (exact)':28} {commuting_fraction(group):8.4f}")
    print(
        f"Swapped inputs: a pair is right if and only if it commutes in {agree:.2%} of all pairs."
    )
    print(
        f"rank: of the right answer, a mean from 1 to {group.order}; chance {(group.order + 1) / 2}"
    )
    return rows


if __name__ == "__main__":
    try:
        main(sys.argv[1] if len(sys.argv) > 1 else "s5")
    except cc.CosetCircuitsError as error:
        sys.exit(f"Error: {error}")
