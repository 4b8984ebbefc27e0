"""One step of training, by hand: the gradient of the mean cross-entropy, then AdamW.

Several networks of one shape are trained side by side; every tensor has a leading dimension of
seeds. One network is the case of one seed. All weights lie in one flat buffer, so the optimiser is
seven operations whatever the number of networks.

The tables of left and right pre-activations are computed once for each element and gathered for
each pair, which is the same mathematics as embedding each pair. What is left is three products of
2·batch·d_mlp·order operations; on a CPU a chunk of pairs at a time, so that logits need not travel
to memory and back.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from coset_circuits.networks.losses import cross_entropy_gradient
from coset_circuits.networks.mlp import GroupMLP

EPSILON = 1e-8
"""Added to the root of the second moment, as in torch's AdamW."""
_CHUNK = 2048
"""Pairs whose logits are held at once on a CPU: they stay in its cache. It is part of what the same
seed gives, in the last digits."""


class Stack:
    """Networks of one shape trained side by side, with their gradients and AdamW's moments.

    The networks' parameters become views of the stack: what :meth:`update` writes, they compute
    with.

    Attributes:
        weights: each weight of all networks.
        gradients: their gradients, written by :meth:`differentiate`.
        flat, flat_gradient: the same, as one row a network.
        moments: AdamW's running means of the gradient and of its square.
    """

    weights: dict[str, Float[Tensor, "seeds rows columns"]]
    gradients: dict[str, Float[Tensor, "seeds rows columns"]]
    flat: Float[Tensor, "seeds parameters"]
    flat_gradient: Float[Tensor, "seeds parameters"]
    moments: Float[Tensor, "2 seeds parameters"]

    def __init__(self, networks: Sequence[GroupMLP]) -> None:
        first = networks[0]
        self.networks = list(networks)
        self.order = first.group.order
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

    @torch.no_grad()
    def differentiate(
        self,
        left: Int[Tensor, "seeds batch"],
        right: Int[Tensor, "seeds batch"],
        products: Int[Tensor, "seeds batch"],
    ) -> None:
        """Write the gradient of each network's mean cross-entropy over its own batch of pairs."""
        w, g = self.weights, self.gradients
        tables = {s: torch.bmm(w[f"W_E_{s}"], w[f"W_in_{s}"]) for s in ("left", "right")}
        d_tables = {side: torch.zeros_like(table) for side, table in tables.items()}
        g["W_U"].zero_()
        batch, elements = left.shape[1], {"left": left, "right": right}
        chunk = batch if left.is_cuda else _CHUNK
        for start in range(0, batch, chunk):
            part = slice(start, start + chunk)
            index = {side: self._rows(of[:, part]) for side, of in elements.items()}
            pre = _gathered(tables["left"], index["left"])
            pre += _gathered(tables["right"], index["right"])
            with torch.enable_grad():
                activated = self.activation.function(pre.requires_grad_())
            post = activated.detach().unflatten(0, (len(left), -1))
            logits = torch.bmm(post, w["W_U"]).flatten(0, 1)
            errors = cross_entropy_gradient(logits, products[:, part].flatten(), batch)
            errors = errors.unflatten(0, (len(left), -1))
            g["W_U"].baddbmm_(post.mT, errors)
            d_post = torch.bmm(errors, w["W_U"].mT).flatten(0, 1)
            (d_pre,) = torch.autograd.grad(activated, pre, d_post)
            for side, d_table in d_tables.items():
                d_table.flatten(0, 1).index_add_(0, index[side], d_pre)
        for side, d_table in d_tables.items():
            torch.bmm(d_table, w[f"W_in_{side}"].mT, out=g[f"W_E_{side}"])
            torch.bmm(w[f"W_E_{side}"].mT, d_table, out=g[f"W_in_{side}"])

    def _rows(self, elements: Int[Tensor, "seeds pairs"]) -> Int[Tensor, "rows"]:
        """Where the rows of elements are in tables that lie one below the other."""
        first = torch.arange(0, len(elements) * self.order, self.order, device=elements.device)
        return (elements + first[:, None]).flatten()

    @torch.no_grad()
    def update(
        self,
        step: Float[Tensor, "1"],
        learning_rate: Float[Tensor, "seeds 1"],
        weight_decay: float,
        betas: tuple[float, float],
    ) -> None:
        """One step of AdamW (Loshchilov & Hutter 2019), ``step`` counted from one.

        Step and learning rates are tensors so that a recorded CUDA graph can be given new ones.
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


def _gathered(table: Tensor, rows: Tensor) -> Tensor:
    return table.flatten(0, 1).index_select(0, rows)


def _views(flat: Tensor, like: GroupMLP) -> dict[str, Tensor]:
    named = dict(like.named_parameters())
    parts = flat.split([p.numel() for p in named.values()], dim=1)
    return {
        name: part.unflatten(1, tuple(parameter.shape))
        for (name, parameter), part in zip(named.items(), parts, strict=True)
    }
