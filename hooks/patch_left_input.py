"""Patch the left pre-activation of some neurons from another input, role by role.

    python hooks/patch_left_input.py [NETWORK]

Every pair (a, b) gets the left pre-activation of (a', b) for a random a'. Patching all neurons must
change the answer to a'·b: left enters through that site alone. Patching one role's neurons shows
how much of the answer they carry, beside as many neurons drawn at random.
"""

from __future__ import annotations

import sys

import torch

import coset_circuits as cc


def main(name: str = "s5", seed: int = 0) -> dict[str, tuple[int, float, float, float]]:
    network = cc.load(name, dtype=torch.float64)
    roles = cc.CosetAlgorithm().fit(network).roles
    generator = torch.Generator().manual_seed(seed)
    pairs = network.group.pairs()
    others = torch.randint(network.group.order, (len(pairs),), generator=generator)
    donor = network.left_table.detach()[others]
    answers = network.group.products(pairs)
    counterfactual = network.group.products(torch.stack([others, pairs[:, 1]], 1))

    @torch.no_grad()
    def patched(neurons: torch.Tensor) -> tuple[float, float]:
        chosen = torch.zeros(network.cfg.d_mlp, dtype=torch.bool)
        chosen[neurons] = True
        logits = network.run_with_hooks(
            pairs, fwd_hooks=[("hook_left_pre", lambda pre, hook: torch.where(chosen, donor, pre))]
        )
        guess = logits.argmax(1)
        return (
            float((guess == answers).double().mean()),
            float((guess == counterfactual).double().mean()),
        )

    names = torch.tensor([sorted(set(roles.names)).index(role) for role in roles.names])
    rows = {}
    print(
        f"{network!r}\n{'patched':14} {'neurons':>7}  answer a·b  answer a'·b  a·b, random neurons"
    )
    for i, role in enumerate([*sorted(set(roles.names)), "all"]):
        neurons = torch.arange(len(names)) if role == "all" else (names == i).nonzero()[:, 0]
        random = torch.randperm(len(names), generator=generator)[: len(neurons)]
        kept, moved = patched(neurons)
        control, _ = patched(random)
        rows[role] = (len(neurons), kept, moved, control)
        print(f"{role:14} {len(neurons):7d}  {kept:10.4f}  {moved:11.4f}  {control:19.4f}")
    return rows


if __name__ == "__main__":
    try:
        main(sys.argv[1] if len(sys.argv) > 1 else "s5")
    except cc.CosetCircuitsError as error:
        sys.exit(f"Error: {error}")
