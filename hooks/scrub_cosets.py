"""Scrub every neuron within its cosets, and try what should fail beside it.

    python hooks/scrub_cosets.py [NETWORK]

A neuron's left input a is replaced by another element of Ha, its right input b by one of bK, each
neuron by itself. If only the cosets matter, the network does not notice; it must notice random
cells of the same sizes, the wrong side and the wrong conjugate. The last lines do one sample by
hand, with plain hooks. The k-means levels of the dull null pass as well: this shows that cosets
are fine enough, not that the network uses the group.
"""

from __future__ import annotations

import sys

import torch

import coset_circuits as cc
from coset_circuits.experiments.partitions import cells
from coset_circuits.experiments.product_variance import product_variance
from coset_circuits.experiments.resampling import only, resample
from coset_circuits.experiments.scrub_result import ScrubResult
from coset_circuits.experiments.scrubbing import scrub


@torch.no_grad()
def by_hand(circuit: cc.Circuit, seed: int = 0) -> float:
    """Accuracy of one sample, within the cosets of the neurons that have a role."""
    network, pairs = circuit.network, circuit.network.group.pairs()
    dull = ("unexplained", "negligible")
    explained = [j for j, role in enumerate(circuit.roles.names) if role not in dull]
    swap = only(explained, resample(cells(circuit.classes("hook_pre")[0], network.group, pairs)))
    logits = network.run_with_hooks(pairs, fwd_hooks=[("hook_pre", swap)])
    return float((logits.argmax(1) == network.group.products(pairs)).double().mean())


def main(name: str = "s5", samples: int = 5) -> tuple[ScrubResult, float]:
    circuit = cc.CosetAlgorithm().fit(cc.load(name))
    result = scrub(circuit, samples=samples)
    accuracy = by_hand(circuit)
    print(f"{result}\n\nOne sample by hand, with plain hooks at hook_pre: accuracy {accuracy:.4f}")
    explained = product_variance(circuit)
    if len(explained):
        print("\nShare of the variance of their logits that the product explains, by role")
        columns = ["fvu", "cell", "product", "random"]
        print(explained.groupby("role")[columns].median().round(6).to_string())
    return result, accuracy


if __name__ == "__main__":
    try:
        main(sys.argv[1] if len(sys.argv) > 1 else "s5")
    except cc.CosetCircuitsError as error:
        sys.exit(f"Error: {error}")
