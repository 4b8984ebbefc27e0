"""The architectures that can be trained: sizes in a recipe, initial weights, and gradient."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from coset_circuits.networks.mlp import GroupMLP
from coset_circuits.networks.model import GroupModel
from coset_circuits.networks.transformer import GroupTransformer
from coset_circuits.training.gradients import mlp_gradient, transformer_gradient


@dataclass(frozen=True)
class Architecture:
    """A kind of network that can be trained.

    Attributes:
        model: the network's class.
        sizes: the fields of a recipe that set its shape.
        initialised: makes an untrained network of a group, from sizes, ``act_fn`` and ``seed``.
        differentiate: writes the gradient by all weights; see :mod:`.gradients`.
    """

    model: type[GroupModel]
    sizes: tuple[str, ...]
    initialised: Callable[..., GroupModel]
    differentiate: Callable[..., None]


ARCHITECTURES = {
    "mlp": Architecture(GroupMLP, ("d_mlp", "d_embed"), GroupMLP.initialised, mlp_gradient),
    "transformer": Architecture(
        GroupTransformer,
        ("d_mlp", "d_model", "n_heads", "d_head"),
        GroupTransformer.initialised,
        transformer_gradient,
    ),
}
"""The architectures, by their names in a recipe."""


def architecture_of(network: GroupModel) -> Architecture:
    return next(a for a in ARCHITECTURES.values() if isinstance(network, a.model))
