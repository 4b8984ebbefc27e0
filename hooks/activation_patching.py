"""Sweep activation patches over sites and roles, with what attribution patching makes of them.

    python hooks/activation_patching.py [NETWORK]

Clean values are put into the corrupted run. The same sweep on the surrogate is the hypothesis's
own prediction. Attribution patching (gradient × difference) is exact where the logits are linear;
before the ReLU it sees half of the effect: the gradient knows what goes, not what takes its place.
"""

from __future__ import annotations

import sys
from functools import partial

import pandas as pd

import coset_circuits as cc
from coset_circuits.experiments.patching import activation_patching
from coset_circuits.networks import NEURON_SITES

COLUMNS = ["site", "neuron_set", "neurons", "recovery", "low", "high", "control", "attributed"]


def main(name: str = "s5") -> tuple[pd.DataFrame, pd.DataFrame]:
    network = cc.load(name)
    circuit = cc.CosetAlgorithm(even=True).fit(network)
    sweep = partial(activation_patching, sites=NEURON_SITES, metrics=("logit_difference",))
    found, predicted = sweep(network, circuit), sweep(circuit.surrogate(), circuit)
    frame = found.to_dataframe()[COLUMNS].assign(predicted=predicted.recovery().numpy())
    print(f"{network!r}\nshare of the logit difference recovered; predicted: by {circuit.name}")
    print(frame.to_string(index=False, float_format="{:.3f}".format))
    errors = sweep(network).attribution_error()
    print("\nattribution patching, neuron by neuron")
    print(errors.to_string(index=False, float_format="{:.3f}".format))
    return frame, errors


if __name__ == "__main__":
    try:
        main(*sys.argv[1:2])
    except cc.CosetCircuitsError as error:
        sys.exit(f"Error: {error}")
