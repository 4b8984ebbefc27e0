"""Networks that others have published; they are not part of this project."""

from pathlib import Path

import pytest
import torch

from coset_circuits.networks import cross_entropy

SHARED = Path(__file__).parents[2] / "shared/peer_checkpoints"
PEERS = SHARED / "rep-theory-mech-interp"
CLOCKS = SHARED / "clock-pizza"
needs_peers = pytest.mark.skipif(
    not PEERS.is_dir(), reason=f"the networks of Chughtai et al. are not at {PEERS}"
)
needs_clocks = pytest.mark.skipif(
    not CLOCKS.is_dir(), reason=f"the networks of Zhong et al. are not at {CLOCKS}"
)


@torch.no_grad()
def figures(network):
    """Accuracy and mean loss over all pairs, in float64."""
    network = network.double()
    right, losses = [], []
    for pairs in network.group.pairs().split(30_000):
        labels, logits = network.group.products(pairs), network(pairs)
        right.append(logits.argmax(1) == labels)
        losses.append(cross_entropy(logits, labels))
    return torch.cat(right).double().mean().item(), torch.cat(losses).mean().item()
