"""Remove the neurons above or below a concentration (Fig. 5 of Stander et al.), with a control.

    python hooks/ablate_by_concentration.py [NETWORK]

C, the paper's concentration, is small for a neuron that is constant on cosets. Removing neurons of
large C should do little, removing those of small C everything. So does removing as many others, if
the network has nothing but coset neurons and negligible ones: read the control beside the figure.
"""

from __future__ import annotations

import sys

import pandas as pd

import coset_circuits as cc
from coset_circuits.experiments.ablation import ablation_by_threshold

COLUMNS = ["threshold", "side", "neurons", "negligible", "accuracy", "loss", "control"]


def main(name: str = "s5", kind: str = "mean") -> pd.DataFrame:
    network = cc.load(name)
    circuit = cc.CosetAlgorithm().fit(network)
    result = ablation_by_threshold(circuit, kind=kind)  # type: ignore[arg-type]
    print(f"{network!r}\n{kind} ablation, {result.measured_on}; control: as many neurons at random")
    frame = result.to_dataframe().filter(COLUMNS)
    print(frame.to_string(index=False, float_format="{:.4g}".format))
    return frame


if __name__ == "__main__":
    try:
        main(*sys.argv[1:3])
    except cc.CosetCircuitsError as error:
        sys.exit(f"Error: {error}")
