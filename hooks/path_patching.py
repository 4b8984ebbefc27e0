"""Follow the answer along paths: left or right input, role, even or odd half of the activation.

    python hooks/path_patching.py [NETWORK]

ReLU(t) = |t|/2 + t/2. Does the linear half cancel in the logits? The mean logit difference cannot
tell: the product is independent of a and of b alone, so the odd half recovers nothing of it in any
network, and one input alone a half. The size of the change can; beside it, an untrained network.
"""

from __future__ import annotations

import sys

import pandas as pd

import coset_circuits as cc
from coset_circuits.experiments.path_patching import path_patching


def main(name: str = "s5") -> pd.DataFrame:
    network = cc.load(name)
    circuit = cc.CosetAlgorithm().fit(network)
    metrics = ("logit_difference", "logit_change")
    result = path_patching(network, circuit, senders=("left", "both"), metrics=metrics)
    print(network)
    for metric in metrics:
        print(f"\nshare of the {metric.replace('_', ' ')} that each path recovers")
        print(result.table(metric).to_string(float_format="{:.3f}".format))
    untrained = cc.GroupMLP.initialised(network.group, d_mlp=network.cfg.d_mlp)
    control = path_patching(untrained, {}, senders=("left", "both"), metrics=metrics)
    print("\nuntrained network: share of the logit change")
    print(control.table("logit_change").to_string(float_format="{:.3f}".format))
    frames = {
        "network": result.to_dataframe(metrics[1]),
        "untrained": control.to_dataframe(metrics[1]),
    }
    return pd.concat(frames, names=["model", "row"]).reset_index(level="model")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:2])
    except cc.CosetCircuitsError as error:
        sys.exit(f"Error: {error}")
