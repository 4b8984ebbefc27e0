"""Sign flips through nnsight, as one writes them there, beside the same through TransformerLens.

    pip install 'coset-circuits[nnsight]'
    python hooks/with_nnsight.py [NETWORK]

``NNsight(network)`` has every site under its own name. A trace reads and writes them directly;
interventions written as TransformerLens hooks run through ``with_nnsight.run``. The control is the
same intervention without nnsight: the logits are the same.
"""

from __future__ import annotations

import sys

import torch

import coset_circuits as cc

FLIPS = {"sign_left": ("left",), "sign_right": ("right",), "sign_both": ("left", "right")}


@torch.no_grad()
def main(name: str = "s5") -> dict[str, tuple[float, float, float]]:
    from coset_circuits.experiments import with_nnsight

    network = cc.load(name, dtype=torch.float64)
    model = with_nnsight.wrap(network)
    pairs = network.group.pairs()
    answers = network.group.products(pairs)
    rows = {}
    print(f"{network!r}\n{'largest difference from TransformerLens':27} accuracy   trace     run")
    for id, sides in FLIPS.items():
        with model.trace(pairs):
            for side in sides:
                site = model.get(f"hook_{side}_pre")
                site.output = -site.output
            logits = model.output.save()
        row = cc.INTERVENTIONS[id]
        expected = row.run(network, pairs)
        accuracy = float((logits.argmax(1) == answers).double().mean())
        traced, run = (
            float((found - expected).abs().max())
            for found in (logits, with_nnsight.run(model, row, pairs))
        )
        rows[id] = (accuracy, traced, run)
        print(f"{row.title:39} {accuracy:8.4f} {traced:7.1e} {run:7.1e}")
    return rows


if __name__ == "__main__":
    try:
        main(sys.argv[1] if len(sys.argv) > 1 else "s5")
    except cc.CosetCircuitsError as error:
        sys.exit(f"Error: {error}")
