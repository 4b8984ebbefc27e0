"""Interchange each hypothesis's variables between two inputs and see whether the network follows.

    python hooks/interchange_variables.py [NETWORK]

For cosets, irreps and the dull null: the share of the interchange's effect on the network's logits
that the surrogate, interchanged alike, predicts (change_r2), and the accuracy of its counterfactual
answers where an answer moves (iia_moved), each beside its best control. The dull null knows no
group and follows as well: interchange does not show group structure, bits do.
"""

from __future__ import annotations

import sys

import pandas as pd

import coset_circuits as cc
from coset_circuits.experiments.interchange import CONTROLS, interchange


def main(name: str = "s5", site: str = "hook_left_pre") -> pd.DataFrame:
    network = cc.load(name)
    rows = []
    for algorithm in (cc.CosetAlgorithm(even=True), cc.IrrepAlgorithm(even=True), cc.DullNull()):
        result = interchange(algorithm.fit(network), sites=[site], controls=2)
        answers, logits = result.table("iia_moved"), result.table("change_r2")
        controls = [control for control in CONTROLS if control in answers]
        rows.append(
            answers[["group", "neurons", "moved"]].assign(
                algorithm=algorithm.name,
                iia_moved=answers["circuit"],
                control=answers[controls].max(axis=1),
                change_r2=logits["circuit"],
                control_r2=logits[controls].max(axis=1),
                verdict=answers["verdict"],
            )
        )
    frame = pd.concat(rows, ignore_index=True).set_index("algorithm").reset_index()
    print(f"{network!r}\ninterchange at {site}, {result.measured_on}")
    print(frame.to_string(index=False, float_format="{:.3f}".format))
    return frame


if __name__ == "__main__":
    try:
        main(*sys.argv[1:3])
    except cc.CosetCircuitsError as error:
        sys.exit(f"Error: {error}")
