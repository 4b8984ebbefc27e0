"""Scrub under irreps, cosets and the dull null, and see which scrub can tell anything.

    python hooks/scrub_irreps.py [NETWORK]

An irrep tells two inputs apart unless it sends both to one matrix. For a faithful irrep that never
happens: on one input the scrub is vacuous. After the activation, clusters of neurons that share a
leading irrep are given the activations of another pair with the same ρ(ab), one donor a cluster,
and the network hardly notices, less than with cosets; with random clusters it does. The two
hypotheses do not exclude each other.
"""

from __future__ import annotations

import sys

import pandas as pd

import coset_circuits as cc
from coset_circuits.experiments.scrub_result import Scrubbed
from coset_circuits.experiments.scrubbing import scrub

MATCHED = ("random", "random neuron sets", "wrong side", "wrong conjugate")


def main(name: str = "s5", samples: int = 5) -> pd.DataFrame:
    network = cc.load(name)
    rows = []
    for algorithm in (cc.IrrepAlgorithm(), cc.CosetAlgorithm(), cc.DullNull()):
        circuit = algorithm.fit(network)
        for found in scrub(circuit, samples=samples, controls=(*MATCHED, "relabelled")).scrubs:
            matched = [found.controls.get(name) for name in MATCHED]
            tried = [control for control in matched if isinstance(control, Scrubbed)]
            rows.append(
                {
                    "hypothesis": algorithm.name,
                    "scrub": found.name,
                    "freedom": found.outcome.freedom,
                    "accuracy": found.outcome.accuracy,
                    "loss ratio": found.outcome.loss_ratio,
                    "best control": max((c.accuracy for c in tried), default=float("nan")),
                    "verdict": found.verdict,
                }
            )
    frame = pd.DataFrame(rows)
    print(f"{network!r}\n{frame.to_string(index=False, float_format='{:.4g}'.format)}")
    print("best control: the highest accuracy with wrong cells or wrong neuron sets.")
    return frame


if __name__ == "__main__":
    try:
        main(sys.argv[1] if len(sys.argv) > 1 else "s5")
    except cc.CosetCircuitsError as error:
        sys.exit(f"Error: {error}")
