"""One step of training: the gradient of the mean cross-entropy, then AdamW.

Several networks of one shape are trained side by side; every tensor has a leading dimension of
seeds. A single network is the case of one seed. All weights are in one flat buffer, so the
optimiser takes seven operations for any number of networks.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from coset_circuits.networks.model import GroupModel
from coset_circuits.training.architectures import architecture_of
from coset_circuits.training.gradients import Batch

EPSILON = 1e-8
"""Added to the root of the second moment, as in torch's AdamW."""


class Stack:
    """Networks of one shape trained side by side, with their gradients and AdamW's moments.

    The networks' parameters become views of the stack, so they always use the weights that
    :meth:`update` writes.

    Attributes:
        weights: each weight, for all networks.
        gradients: the gradients, written by :meth:`differentiate`.
        flat, flat_gradient: weights and gradients with one row per network.
        moments: AdamW's running means of the gradient and of its square.
    """

    weights: dict[str, Float[Tensor, "seeds ..."]]
    gradients: dict[str, Float[Tensor, "seeds ..."]]
    flat: Float[Tensor, "seeds parameters"]
    flat_gradient: Float[Tensor, "seeds parameters"]
    moments: Float[Tensor, "2 seeds parameters"]

    def __init__(self, networks: Sequence[GroupModel]) -> None:
        first = networks[0]
        self.networks = list(networks)
        self._differentiate = architecture_of(first).differentiate
        self.activation = first.activation
        self.flat = torch.stack(
            [torch.cat([p.detach().flatten() for p in n.parameters()]) for n in networks]
        )
        self.flat_gradient = torch.zeros_like(self.flat)
        self.moments = torch.zeros(2, *self.flat.shape, dtype=self.flat.dtype, device=first.device)
        self._scratch = torch.empty_like(self.flat)
        self.weights = _views(self.flat, first)
        self.gradients = _views(self.flat_gradient, first)
        for row, network in enumerate(networks):
            for name, parameter in network.named_parameters():
                parameter.data = self.weights[name][row]

    def differentiate(
        self,
        left: Int[Tensor, "seeds batch"],
        right: Int[Tensor, "seeds batch"],
        products: Int[Tensor, "seeds batch"],
    ) -> None:
        """Write the gradient of each network's mean cross-entropy over its batch of pairs."""
        batch = Batch(left, right, products)
        self._differentiate(self.weights, self.gradients, self.activation, batch)

    @torch.no_grad()
    def update(
        self,
        step: Float[Tensor, "1"],
        learning_rate: Float[Tensor, "seeds 1"],
        weight_decay: float,
        betas: tuple[float, float],
    ) -> None:
        """Take one step of AdamW (Loshchilov & Hutter 2019); ``step`` counts from one.

        Step and learning rates are tensors so that a recorded CUDA graph can use new values.
        """
        mean, square = self.moments
        mean.lerp_(self.flat_gradient, 1 - betas[0])
        square.mul_(betas[1]).addcmul_(self.flat_gradient, self.flat_gradient, value=1 - betas[1])
        corrections = [(1 - beta**step).to(self.flat.dtype) for beta in betas]
        torch.div(square, corrections[1], out=self._scratch).sqrt_().add_(EPSILON)
        torch.div(mean, self._scratch, out=self._scratch)
        self.flat.mul_((1 - learning_rate * weight_decay).to(self.flat.dtype))
        self._scratch.mul_((learning_rate / corrections[0]).to(self.flat.dtype))
        self.flat.sub_(self._scratch)


def _views(flat: Tensor, like: GroupModel) -> dict[str, Tensor]:
    named = dict(like.named_parameters())
    parts = flat.split([p.numel() for p in named.values()], dim=1)
    return {
        name: part.unflatten(1, tuple(parameter.shape))
        for (name, parameter), part in zip(named.items(), parts, strict=True)
    }
