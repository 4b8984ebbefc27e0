"""Cross-entropy that stays accurate below 1e-7, where torch's float32 version does not.

A grokked network has a loss near 1e-6, and near 1e-12 with the activation |x|. At such losses
``logsumexp - logit`` is the difference of two nearly equal numbers. Leaving the label out of the
sum avoids that: ``loss = log1p(Σ_{c≠y} exp(l_c − l_y))``.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from coset_circuits.networks.model import GroupModel

_LOGITS = 2**23
"""The largest number of logits in memory at once."""


def cross_entropy(
    logits: Float[Tensor, "batch order"], labels: Int[Tensor, "batch"]
) -> Float[Tensor, "batch"]:
    """Cross-entropy of each row in nats, as float64, exact to the rounding of the logits' type.

    Differences of logits are taken in that type, or in float32 if it is shorter. So a loss is exact
    down to the smallest float64 for float64 logits, and to about 1e-5 of its size, down to 1e-38,
    for float32 logits.
    """
    logits = logits if logits.dtype == torch.float64 else logits.float()
    right = logits.gather(1, labels[:, None])
    others = (logits - right).scatter_(1, labels[:, None], -torch.inf)
    # torch.logsumexp, computed in place to save memory.
    top = others.detach().amax(1, keepdim=True).clamp_min(torch.finfo(others.dtype).min)
    log_odds = others.sub_(top).exp_().sum(1).double().log() + top[:, 0]
    # F.softplus is the identity beyond its threshold of 20, an error of 2e-9 there.
    return F.softplus(log_odds, threshold=40)


def cross_entropy_gradient(
    logits: Float[Tensor, "batch order"], labels: Int[Tensor, "batch"], count: int | None = None
) -> Float[Tensor, "batch order"]:
    """The gradient of the mean cross-entropy by the logits, accurate in float32 at any loss.

    The mean is over ``count`` rows, for use when the given rows are only some of them.

    The label's entry is minus the sum of the other classes' probabilities. Torch uses p − 1, with
    p the label's probability, which loses digits: it is off by 5.7% at a loss of 2e-6 and by 330%
    at 4e-8.
    """
    index = labels[:, None]
    gradient = logits.softmax(1).scatter_(1, index, 0)
    gradient.scatter_(1, index, -gradient.sum(1, keepdim=True))
    return gradient.div_(count or len(labels))


@torch.no_grad()
def loss_and_accuracy(network: GroupModel, pairs: Int[Tensor, "pairs 2"]) -> tuple[float, float]:
    """Mean loss in nats, and accuracy; 0 and 1 if there are no pairs."""
    if not len(pairs):
        return 0.0, 1.0
    loss, right = 0.0, 0
    for chunk in pairs.split(max(1, _LOGITS // network.group.order)):
        labels = network.group.products(chunk).to(network.device)
        logits = network(chunk)
        loss += cross_entropy(logits, labels).sum().item()
        right += int((logits.argmax(1) == labels).sum())
    return loss / len(pairs), right / len(pairs)
