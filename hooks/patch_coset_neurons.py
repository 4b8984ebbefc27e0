"""Patch the neurons of one shared coset from inputs of the same coset, and from any input.

    python hooks/patch_coset_neurons.py [NETWORK]

A coset neuron's left pre-activation is constant on right cosets Hg. If so, taking it from a' in Ha
does nothing, whatever else a' is; taking it from any a' does. Beside it, neurons drawn at random,
patched from the same a': their cosets are others, so the small number alone is not the reason.
"""

from __future__ import annotations

import sys

import torch
from torch import Tensor

import coset_circuits as cc
from coset_circuits.experiments.neuron_sets import neuron_sets


def main(name: str = "s5", seed: int = 0) -> list[tuple[str, int, float, float, float]]:
    network = cc.load(name, dtype=torch.float64)
    group, table = network.group, network.left_table.detach()
    circuit = cc.CosetAlgorithm().fit(network)
    cosets = circuit.classes("hook_left_pre")[0].left
    assert cosets is not None
    sets = neuron_sets(circuit, by="hook_post")
    generator = torch.Generator().manual_seed(seed)
    pairs = group.pairs()
    base = network(pairs).detach()

    @torch.no_grad()
    def change(neurons: Tensor, others: Tensor) -> float:
        """Root mean square change of the logits when the neurons' left input is another."""
        donor = table[others[pairs[:, 0]]]

        def patch(pre: Tensor, hook: object) -> Tensor:
            patched = pre.clone()
            patched[:, neurons] = donor[:, neurons]
            return patched

        logits = network.run_with_hooks(pairs, fwd_hooks=[("hook_left_pre", patch)])
        return float((logits - base).square().mean().sqrt())

    def same_coset(labels: Tensor) -> Tensor:
        """For each a another of its coset, a itself where there is none."""
        shuffled = torch.randperm(group.order, generator=generator)
        return torch.stack([shuffled[labels[shuffled] == label].roll(1)[0] for label in labels])

    rows = []
    print(f"{network!r}\n{'coset':10} neurons  same coset  any input  random neurons, same coset")
    for label, neurons in list(sets)[:12]:
        inside = same_coset(cosets[:, neurons[0]])
        anywhere = torch.randperm(group.order, generator=generator)
        figures = (change(neurons, inside), change(neurons, anywhere))
        control = change(sets.random(neurons, seed, 0), inside)
        rows.append((label, len(neurons), *figures, control))
        print(
            f"{label:10} {len(neurons):7d}  {figures[0]:10.4f}  {figures[1]:9.4f}  {control:9.4f}"
        )
    return rows


if __name__ == "__main__":
    try:
        main(sys.argv[1] if len(sys.argv) > 1 else "s5")
    except cc.CosetCircuitsError as error:
        sys.exit(f"Error: {error}")
