"""Put |x| in the activation's place, beside what only changes the temperature.

    python hooks/abs_and_temperature.py [NETWORK]

|x| lowers the loss by many orders of magnitude. So does twice the activation, which changes no
answer: louder logits make a network that is right surer. What |x| itself does is what is left when
the logits are brought back to the network's own loudness (last column).
"""

from __future__ import annotations

import math
import sys

import torch

import coset_circuits as cc
from coset_circuits.networks import cross_entropy

ROWS = ("base", "abs", "double", "scale_both_2")


def centred(logits: torch.Tensor) -> torch.Tensor:
    """Without the mean of each pair, which softmax does not see."""
    return logits - logits.mean(1, keepdim=True)


def log_loss(logits: torch.Tensor, answers: torch.Tensor) -> float:
    median = float(cross_entropy(logits, answers).median())
    return math.log10(max(median, cc.Thresholds().loss_floor))


@torch.no_grad()
def main(name: str = "s5") -> dict[str, dict[str, float]]:
    network = cc.load(name, dtype=torch.float64)
    pairs = network.group.pairs()
    answers = network.group.products(pairs)
    own = centred(network(pairs))
    rows = {}
    print(
        f"{network!r}\n{'':24} accuracy  log10 median loss  loudness       r  log10 loss, as loud"
    )
    for id in ROWS:
        logits = centred(cc.INTERVENTIONS[id].run(network, pairs))
        loudness = float(logits.norm() / own.norm())
        found = rows[id] = {
            "accuracy": float((logits.argmax(1) == answers).double().mean()),
            "log_loss": log_loss(logits, answers),
            "loudness": loudness,
            "r": float((logits * own).sum() / (logits.norm() * own.norm())),
            "as_loud": log_loss(logits / loudness, answers),
        }
        figures = "{:8.4f} {:18.2f} {:9.3f} {:7.4f} {:20.2f}".format(*found.values())
        print(f"{cc.INTERVENTIONS[id].title:24} {figures}")
    return rows


if __name__ == "__main__":
    try:
        main(sys.argv[1] if len(sys.argv) > 1 else "s5")
    except cc.CosetCircuitsError as error:
        sys.exit(f"Error: {error}")
