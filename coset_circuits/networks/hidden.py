"""Moments of a network's hidden activations over all pairs, in one pass and little memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from coset_circuits.errors import CosetCircuitsError
from coset_circuits.groups import FiniteGroup
from coset_circuits.networks.model import GroupModel


@dataclass(frozen=True)
class HiddenMoments:
    """Means over all pairs of the hidden activations h(a, b), in float64.

    These determine the best approximation of h by a function of a alone, of b alone or of the
    product ab. They also determine the variance of every linear function of h.

    Attributes:
        group: the group whose products index ``by_product``.
        by_left: the mean of h(a, b) over b, for each a.
        by_right: the mean of h(a, b) over a, for each b.
        by_product: the mean of h over the pairs with each product ab.
        second: the mean of the outer products h hᵀ.
    """

    group: FiniteGroup
    by_left: Float[Tensor, "order d_mlp"]
    by_right: Float[Tensor, "order d_mlp"]
    by_product: Float[Tensor, "order d_mlp"]
    second: Float[Tensor, "d_mlp d_mlp"]

    @property
    def mean(self) -> Float[Tensor, "d_mlp"]:
        return self.by_left.mean(0)

    def variance(self, write: Float[Tensor, "d_mlp outputs"] | None = None) -> float:
        """The variance over all pairs of h, or of ``h @ write``, summed over the columns."""
        square, mean = self.second, self.mean[None]
        if write is not None:
            square, mean = write.T @ square @ write, mean @ write
        total = float(square.trace())
        variance = total - float(mean.square().sum())
        # A difference of two numbers: for constant activations, what is left is rounding error.
        return variance if variance > 1e-12 * total else 0.0


@torch.no_grad()
def hidden_moments(
    model: GroupModel,
    groups: Sequence[FiniteGroup],
    *,
    chunk: int = 4_000,
    step: Callable[[int, int], None] | None = None,
) -> list[HiddenMoments]:
    """Compute the moments of a model, for its group or for other groups on the same elements.

    Args:
        model: a network or surrogate; it is run only if its pre-activations are not additive.
        groups: the groups whose products to average over; all share one pass.
        chunk: the approximate number of pairs in memory at once.
        step: called with (pairs done, total pairs).

    Raises:
        CosetCircuitsError: the model makes no prediction at its hidden layer, or a group has
            another order.
    """
    if "hook_post" in model.silent:
        raise CosetCircuitsError(
            f"{model.label} is silent at hook_post, so it has no hidden activations; "
            "give the network itself."
        )
    order = model.group.order
    for group in groups:
        if group.order != order:
            raise CosetCircuitsError(
                f"{group.name} has {group.order} elements but the network's group has {order}; "
                "give a group on the same elements."
            )
    model = model.unhooked().double().cpu()
    left, right = model.left_table.detach(), model.right_table.detach()
    every = torch.arange(order)
    width = left.shape[1]
    by_left, by_right = torch.zeros_like(left), torch.zeros_like(right)
    by_product = [torch.zeros_like(left) for _ in groups]
    second = left.new_zeros(width, width)
    rows = max(1, chunk // order)
    for start in range(0, order, rows):
        part = slice(start, start + rows)
        if model.additive_share == 1:
            post = model.activate((left[part, None] + right).flatten(0, 1))
        else:
            pairs = torch.cartesian_prod(every[part], every)
            _, cache = model.run_with_cache(pairs, names_filter="hook_post")
            post = cache["hook_post"]
        grid = post.unflatten(0, (-1, order))
        by_left[part] = grid.mean(1)
        by_right += grid.sum(0)
        for group, sums in zip(groups, by_product, strict=True):
            sums.index_add_(0, group.table[part].flatten(), post)
        second.addmm_(post.T, post)
        if step is not None:
            step(min(start + rows, order) * order, order**2)
    return [
        HiddenMoments(group, by_left, by_right / order, sums / order, second / order**2)
        for group, sums in zip(groups, by_product, strict=True)
    ]
