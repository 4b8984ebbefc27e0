"""Look at one neuron: its left pre-activation on every right coset, beside the wrong cosets.

    python hooks/look_at_pre_activations.py [NETWORK]

Caches ``hook_left_pre`` over all pairs and takes the clearest neuron of the commonest role. On the
right cosets of its subgroup the pre-activation should hardly vary; on the left cosets of the same
subgroup, and on a random partition into cells of the same sizes, it should.
"""

from __future__ import annotations

import sys

import torch

import coset_circuits as cc
from coset_circuits.algorithms.algorithm import NEGLIGIBLE, UNEXPLAINED
from coset_circuits.algorithms.coset import coset_fvu


def main(name: str = "s5", seed: int = 0) -> dict[str, float]:
    network = cc.load(name, dtype=torch.float64)
    group = network.group
    circuit = cc.CosetAlgorithm().fit(network)
    role = circuit.roles.summary()[0]["role"]
    if role in (UNEXPLAINED, NEGLIGIBLE):
        raise cc.CosetCircuitsError(
            f"No neuron of {network.label} is constant on cosets; there is nothing to look at. "
            "Give a network that has learnt its group, such as s5."
        )
    members = [j for j, name in enumerate(circuit.roles.names) if name == role]
    neuron = min(members, key=lambda j: float(circuit.roles.fvu_left[j]))
    right_cosets = circuit.classes("hook_left_pre")[0].left
    assert right_cosets is not None
    labels = right_cosets[:, neuron]

    pairs = group.pairs()
    _, cache = network.run_with_cache(pairs, names_filter="hook_left_pre")
    # Rows are pairs (a, b); the left pre-activation of a is the same for every b.
    table = cache["hook_left_pre"].reshape(group.order, group.order, -1)
    assert (table == table[:, :1]).all()
    left = table[:, 0, neuron]

    print(f"{network!r}\nleft pre-activation of neuron {neuron}, role {role}")
    print(f"{'right coset':>11} {'size':>5} {'mean':>9} {'std':>9}  elements")
    for coset in labels.unique().tolist():
        elements = (labels == coset).nonzero()[:, 0]
        values = left[elements]
        some = " ".join(group.labels[g] for g in elements[:4])
        figures = f"{values.mean():9.4f} {values.std(correction=0):9.5f}"
        print(f"{coset:11d} {len(elements):5d} {figures}  {some} …")

    shuffled = labels[torch.randperm(group.order, generator=torch.Generator().manual_seed(seed))]
    partitions = {
        "right cosets": labels,
        "left cosets of the same subgroup": labels[group.inverses],
        "random cells of the same sizes": shuffled,
    }
    fvu = {title: float(coset_fvu(left[:, None], cells)) for title, cells in partitions.items()}
    print("fraction of the variance that is left within")
    for title, value in fvu.items():
        print(f"  {title:34} {value:.2e}")
    return fvu


if __name__ == "__main__":
    try:
        main(sys.argv[1] if len(sys.argv) > 1 else "s5")
    except cc.CosetCircuitsError as error:
        sys.exit(f"Error: {error}")
