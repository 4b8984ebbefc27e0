"""The gradient of the mean cross-entropy over a batch of pairs, for each architecture.

Values that depend on one element alone are computed once per element and gathered for each pair.
The result is mathematically the same as running the network on each pair. Several networks of one
shape are computed at once: every weight has a leading dimension of seeds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from einops import einsum, rearrange
from jaxtyping import Float, Int
from torch import Tensor

from coset_circuits.networks.losses import cross_entropy_gradient
from coset_circuits.networks.model import Activation

CHUNK = 2048
"""The number of pairs whose logits are computed at once on a CPU, so that they stay in its cache.
Changing it changes the last digits of what a seed gives."""


@dataclass(frozen=True)
class Batch:
    """A batch of pairs and their products for each network."""

    left: Int[Tensor, "seeds batch"]
    right: Int[Tensor, "seeds batch"]
    products: Int[Tensor, "seeds batch"]

    def chunks(self) -> list[Batch]:
        size = self.left.shape[1] if self.left.is_cuda else CHUNK
        parts = (of.split(size, 1) for of in (self.left, self.right, self.products))
        return [Batch(*part) for part in zip(*parts, strict=True)]

    def errors(
        self, logits: Float[Tensor, "seeds batch order"], count: int
    ) -> Float[Tensor, "seeds batch order"]:
        """The gradient, by these pairs' logits, of the mean loss over ``count`` pairs."""
        flat = cross_entropy_gradient(logits.flatten(0, 1), self.products.flatten(), count)
        return flat.unflatten(0, logits.shape[:2])


@torch.no_grad()
def mlp_gradient(
    w: Mapping[str, Tensor], g: Mapping[str, Tensor], activation: Activation, batch: Batch
) -> None:
    """Write the gradient by the weights ``w`` of a ``GroupMLP`` into ``g``.

    Each pair then costs three products of 2·d_mlp·order operations.
    """
    tables = {s: torch.bmm(w[f"W_E_{s}"], w[f"W_in_{s}"]) for s in ("left", "right")}
    d_tables = {side: torch.zeros_like(table) for side, table in tables.items()}
    g["W_U"].zero_()
    for part in batch.chunks():
        index = {
            side: _rows(tables[side], elements)
            for side, elements in (("left", part.left), ("right", part.right))
        }
        pre = _gathered(tables["left"], index["left"])
        pre += _gathered(tables["right"], index["right"])
        with torch.enable_grad():
            activated = activation.function(pre.requires_grad_())
        post = activated.detach().unflatten(0, (len(part.left), -1))
        errors = part.errors(torch.bmm(post, w["W_U"]), batch.left.shape[1])
        g["W_U"].baddbmm_(post.mT, errors)
        d_post = torch.bmm(errors, w["W_U"].mT).flatten(0, 1)
        (d_pre,) = torch.autograd.grad(activated, pre, d_post)
        for side, d_table in d_tables.items():
            d_table.flatten(0, 1).index_add_(0, index[side], d_pre)
    for side, d_table in d_tables.items():
        torch.bmm(d_table, w[f"W_in_{side}"].mT, out=g[f"W_E_{side}"])
        torch.bmm(w[f"W_E_{side}"].mT, d_table, out=g[f"W_in_{side}"])


def transformer_gradient(
    w: Mapping[str, Tensor], g: Mapping[str, Tensor], activation: Activation, batch: Batch
) -> None:
    """Write the gradient by the weights ``w`` of a ``GroupTransformer`` into ``g``.

    Its tokens are [a, b, =], and it has no biases. At the last position the query is the same for
    every pair, so attention scores and values are tables over the elements. Each pair then costs a
    softmax over three numbers per head, three weighted values, and products of heads·d_head (or
    d_mlp) numbers with the folded matrices.
    """
    weights = {name: weight.detach().requires_grad_() for name, weight in w.items()}
    with torch.enable_grad():
        tables = _transformer_tables(weights)
    leaves = {name: table.detach().requires_grad_() for name, table in tables.items()}
    for part in batch.chunks():
        with torch.enable_grad():
            logits = _transformer_logits(leaves, activation, part)
        logits.backward(part.errors(logits.detach(), batch.left.shape[1]))
    d_tables = [leaves[name].grad for name in tables]
    found = torch.autograd.grad(list(tables.values()), list(weights.values()), d_tables)
    for name, gradient in zip(weights, found, strict=True):
        g[name].copy_(gradient)


def _transformer_tables(w: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Attention scores and values of every element, and the folded matrices after attention."""
    n = w["W_unembed"].shape[2]
    elements, last = w["W_E"].split((n, 1), 1)
    left, right = elements + w["W_pos"][:, :1], elements + w["W_pos"][:, 1:2]
    last = last + w["W_pos"][:, 2:]
    rows = torch.cat([left, right, last], 1)
    query = einsum(last[:, 0], w["W_Q"], "s d, s h d k -> s h k") / w["W_Q"].shape[3] ** 0.5
    reads = einsum(query, w["W_K"], "s h k, s h d k -> s d h")
    W_V = rearrange(w["W_V"], "s h d k -> s d (h k)")
    W_O = rearrange(w["W_O"], "s h k d -> s (h k) d")
    return {
        "scores": torch.bmm(rows, reads),
        "values": torch.bmm(rows, W_V),
        "in": torch.bmm(W_O, w["W_in"]),
        "skip": torch.bmm(W_O, w["W_unembed"]),
        "U": torch.bmm(w["W_out"], w["W_unembed"]),
        "pre_last": torch.bmm(last, w["W_in"]),
        "skip_last": torch.bmm(last, w["W_unembed"]),
    }


def _transformer_logits(
    t: Mapping[str, Tensor], activation: Activation, part: Batch
) -> Float[Tensor, "seeds batch order"]:
    seeds, heads = len(part.left), t["scores"].shape[2]
    order = t["U"].shape[2]
    index = [_rows(t["scores"], part.left), _rows(t["scores"], part.right + order)]

    def read(table: Tensor) -> list[Tensor]:
        """A table's left, right and last row for each pair."""
        gathered = [_gathered(table, rows).unflatten(0, (seeds, -1)) for rows in index]
        return [*gathered, table[:, -1:].expand_as(gathered[0])]

    pattern = torch.stack(read(t["scores"]), 2).softmax(2)
    values = [rearrange(rows, "s p (h k) -> s p h k", h=heads) for rows in read(t["values"])]
    mixed = sum(
        weight[..., None] * value for weight, value in zip(pattern.unbind(2), values, strict=True)
    )
    assert isinstance(mixed, Tensor)
    mixed = rearrange(mixed, "s p h k -> s p (h k)")
    post = activation.function(torch.baddbmm(t["pre_last"], mixed, t["in"]))
    return torch.baddbmm(torch.baddbmm(t["skip_last"], mixed, t["skip"]), post, t["U"])


def _rows(table: Float[Tensor, "seeds rows columns"], index: Int[Tensor, "seeds batch"]) -> Tensor:
    """The positions of rows of each network's table when all tables are stacked vertically."""
    first = torch.arange(0, table.shape[0] * table.shape[1], table.shape[1], device=index.device)
    return (index + first[:, None]).flatten()


def _gathered(table: Tensor, rows: Tensor) -> Tensor:
    return table.flatten(0, 1).index_select(0, rows)
