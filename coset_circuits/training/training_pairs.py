"""Which pairs a network was trained on, if its provenance says so."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from coset_circuits.networks.element_orders import candidates
from coset_circuits.networks.model import GroupModel
from coset_circuits.training.state import split


def training_pairs(network: GroupModel) -> Int[Tensor, "train 2"] | None:
    """The pairs that a network was trained on; None if its provenance does not say.

    The library's networks record their recipe and seed. Chughtai et al.'s record seed and fraction
    in ``cfg.json``: the training pairs are the first ones after ``torch.randperm`` shuffles all
    pairs in their element order.
    """
    known = network.provenance
    # Their networks have a recipe too, but are split in another way.
    if "shuffle" in known:
        return _shuffled(network, **known["shuffle"])
    if "fraction" in known.get("recipe", {}) and network.seed is not None:
        return split(network.group, known["recipe"]["fraction"], network.seed)[0]
    return None


def _shuffled(
    network: GroupModel, order: str | list[int], fraction: float, seed: int
) -> Int[Tensor, "train 2"]:
    group = network.group
    if isinstance(order, str):
        elements = next(known.elements for known in candidates(group) if known.name == order)
    else:
        elements = np.array(order)
    theirs = group.pairs()
    # With seed 0 their code does not shuffle.
    if seed:
        theirs = theirs[torch.randperm(len(theirs), generator=torch.Generator().manual_seed(seed))]
    return torch.from_numpy(elements)[theirs[: int(fraction * len(theirs))]]
