"""Runs in which chosen neurons take other values at a site.

In a plain network each neuron adds its own term to the logits, so replacing k neurons is a rank-k
update of logits that are computed once: ``batch · k · order`` multiplications in place of
``batch · d_mlp · order``. Models whose neurons do not simply add up (a surrogate that cancels the
linear half, the bilinear one) are run with plain TransformerLens hooks, to the same effect.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from coset_circuits.errors import CosetCircuitsError
from coset_circuits.networks import SilentSiteError, cross_entropy
from coset_circuits.networks.model import NEURON_SITES, GroupModel

METRICS = ("accuracy", "counterfactual", "loss", "logit_difference", "logit_change")
"""Share of pairs with the own answer; share with the other one; cross-entropy of the own answer in
nats; logit of the own answer minus that of the other; variance over the outputs of the logits'
change from the run that is patched. The last has no sign, and so sees what averages out."""

_DUST = 1e-6


class HookedRun:
    """A model run on some pairs by TransformerLens hooks, whatever the model.

    Attributes:
        values: what the model computes at each site.
    """

    def __init__(self, model: GroupModel, pairs: Int[Tensor, "batch 2"]) -> None:
        self.model, self.pairs = model, pairs
        names = [site for site in model.sites if site not in model.silent]
        logits, cache = model.run_with_cache(pairs, names_filter=names)
        self.logits: Tensor = logits  # type: ignore[assignment]
        self.values: Mapping[str, Tensor] = cache

    def put(
        self, site: str, neurons: Int[Tensor, "k"] | None, values: Float[Tensor, "batch units"]
    ) -> Float[Tensor, "batch order"]:
        """The logits with other values for some neurons of a site or, for None, for all of it."""

        def splice(value: Tensor, hook: Any) -> Tensor:
            if neurons is None:
                return values
            spliced = value.clone()
            spliced[:, neurons] = values
            return spliced

        return self.model.run_with_hooks(self.pairs, fwd_hooks=[(site, splice)])

    def put_at(
        self,
        site: str,
        neurons: Int[Tensor, "k"] | None,
        values: Float[Tensor, "batch units"],
        outputs: Int[Tensor, "batch outputs"],
    ) -> Float[Tensor, "batch outputs"]:
        """The same for a few outputs of each pair only."""
        return self.put(site, neurons, values).gather(1, outputs)


class AdditiveRun:
    """The same by rank-k updates, for a network whose neurons each add their own term."""

    def __init__(self, model: GroupModel, pairs: Int[Tensor, "batch 2"]) -> None:
        self.model, self.pairs = model, pairs
        at = pairs.to(model.device)
        left, right = model.left_table[at[:, 0]], model.right_table[at[:, 1]]
        pre = left + right
        self.neurons = dict(zip(NEURON_SITES, (left, right, pre, model.activate(pre)), strict=True))

    @cached_property
    def hooked(self) -> HookedRun:
        return HookedRun(self.model, self.pairs)

    @property
    def values(self) -> Mapping[str, Tensor]:
        return _Values(self)

    @property
    def logits(self) -> Float[Tensor, "batch order"]:
        return self._logits

    @cached_property
    def _logits(self) -> Float[Tensor, "batch order"]:
        logits = self.neurons["hook_post"] @ self.model.W_U
        return logits if self.model.b_U is None else logits + self.model.b_U

    def change(
        self, site: str, neurons: Int[Tensor, "k"], values: Float[Tensor, "batch k"]
    ) -> Float[Tensor, "batch k"]:
        """How much the neurons' activations change."""
        if site == "hook_left_pre":
            values = values + self.neurons["hook_right_pre"][:, neurons]
        elif site == "hook_right_pre":
            values = self.neurons["hook_left_pre"][:, neurons] + values
        post = values if site == "hook_post" else self.model.activate(values)
        return post - self.neurons["hook_post"][:, neurons]

    def put(
        self, site: str, neurons: Int[Tensor, "k"] | None, values: Float[Tensor, "batch units"]
    ) -> Float[Tensor, "batch order"]:
        if site not in NEURON_SITES:
            return self.hooked.put(site, neurons, values)
        W_U = self.model.W_U
        neurons = torch.arange(len(W_U)) if neurons is None else neurons
        change = self.change(site, neurons, values)
        if self._is_small(neurons):
            return torch.addmm(self.logits, change, W_U[neurons])
        post = self.neurons["hook_post"].clone()
        post[:, neurons] += change
        if site == "hook_post":
            post[:, neurons] = values
        logits = post @ W_U
        return logits if self.model.b_U is None else logits + self.model.b_U

    def _is_small(self, neurons: Int[Tensor, "k"]) -> bool:
        """Whether an update is cheaper than a new product, and as exact.

        Where what is left of the logits is next to nothing, an update leaves rounding, and the
        largest of that is no answer: it is right far more often than by chance.
        """
        left = self._mass.sum() - self._mass[neurons].sum()
        return 2 * len(neurons) < len(self._mass) and bool(left > _DUST * self._mass.sum())

    @cached_property
    def _mass(self) -> Float[Tensor, "d_mlp"]:
        """How much each neuron can add to a logit."""
        return self.neurons["hook_post"].abs().amax(0) * self.model.W_U.abs().amax(1)

    def put_at(
        self,
        site: str,
        neurons: Int[Tensor, "k"] | None,
        values: Float[Tensor, "batch units"],
        outputs: Int[Tensor, "batch outputs"],
    ) -> Float[Tensor, "batch outputs"]:
        # Past a quarter of the outputs the plain product is cheaper than gathering columns.
        few = neurons is not None and len(neurons) * outputs.shape[1] * 4 < self.logits.shape[1]
        if site not in NEURON_SITES or neurons is None or not few:
            return self.put(site, neurons, values).gather(1, outputs)
        change = self.change(site, neurons, values)
        written = self.model.W_U[neurons].T[outputs]
        return self.logits.gather(1, outputs) + (written * change[:, None]).sum(2)


class _Values(Mapping[str, Tensor]):
    """The neurons' values as they are; the other sites' only when they are asked for."""

    def __init__(self, run: AdditiveRun) -> None:
        self.run = run

    def __getitem__(self, site: str) -> Tensor:
        if site in NEURON_SITES:
            return self.run.neurons[site]
        return self.run.logits if site == "hook_logits" else self.run.hooked.values[site]

    def __iter__(self) -> Any:
        return iter(site for site in self.run.model.sites if site not in self.run.model.silent)

    def __len__(self) -> int:
        return len(list(iter(self)))


Run = AdditiveRun | HookedRun


def is_additive(model: GroupModel) -> bool:
    """Whether each neuron adds its own term to the logits."""
    return model.is_additive


def run_on(model: GroupModel, pairs: Int[Tensor, "batch 2"]) -> Run:
    """The model on some pairs, ready to take other values."""
    if is_additive(model):
        return AdditiveRun(model, pairs)
    return HookedRun(model, pairs)


def check_sites(
    model: GroupModel, sites: Sequence[str] | None, *, per_neuron: bool = False
) -> list[str]:
    """The sites of an experiment; by default all that the model has and speaks of.

    Args:
        per_neuron: only sites with one column a neuron.

    Raises:
        CosetCircuitsError: a site that is none, or at which the model is silent.
    """
    usable = [name for name, site in model.sites.items() if site.per_neuron or not per_neuron]
    if sites is None:
        return [site for site in usable if site not in model.silent]
    chosen = [sites] if isinstance(sites, str) else list(dict.fromkeys(sites))
    for site in chosen:
        if site not in usable:
            raise CosetCircuitsError(
                f"{site!r} is no site for this experiment; choose from {', '.join(usable)}."
            )
        if site in model.silent:
            raise SilentSiteError(
                f"{model.label} is silent at {site}: the hypothesis does not say what is computed "
                "there. Use the network itself, or another site."
            )
    if not chosen:
        raise CosetCircuitsError(f"No site was given; choose from {', '.join(usable)}.")
    return chosen


def scores(
    logits: Float[Tensor, "batch order"],
    own: Int[Tensor, "batch"],
    other: Int[Tensor, "batch"],
    base: Float[Tensor, "batch order"],
    metrics: Sequence[str] = METRICS,
) -> Float[Tensor, "metrics batch"]:
    """Each metric of :data:`METRICS` that is asked for, pair by pair, in float64.

    ``base`` are the logits of the run that is patched.
    """
    found: dict[str, Tensor] = {}
    if "accuracy" in metrics or "counterfactual" in metrics:
        answers = logits.argmax(1)
        found["accuracy"] = (answers == own).double()
        found["counterfactual"] = (answers == other).double()
    if "loss" in metrics:
        found["loss"] = cross_entropy(logits, own)
    if "logit_difference" in metrics:
        at = torch.stack([own, other], 1)
        found["logit_difference"] = difference(logits.gather(1, at))
    if "logit_change" in metrics:
        # Eight times as fast as torch.var along rows.
        change = (logits - base).double()
        found["logit_change"] = (change - change.mean(1, keepdim=True)).square_().mean(1)
    return torch.stack([found[metric] for metric in metrics]).cpu()


def difference(logits: Float[Tensor, "batch 2"]) -> Float[Tensor, "batch"]:
    """Own logit minus other logit."""
    return (logits[:, 0] - logits[:, 1]).double()
