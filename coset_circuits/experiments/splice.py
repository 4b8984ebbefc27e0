"""Runs in which chosen neurons take other values at a site.

In a plain network each neuron adds its own term to the logits. Replacing k neurons is then a rank-k
update of logits that are computed once: ``batch · k · order`` multiplications instead of
``batch · d_mlp · order``. Models whose neurons do not simply add up (a surrogate that cancels the
linear half, the bilinear one) run with plain TransformerLens hooks, with the same result.
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
from coset_circuits.networks.model import GroupModel

METRICS = ("accuracy", "counterfactual", "loss", "logit_difference", "logit_change")
"""Share of pairs with the own answer; share with the other one; cross-entropy of the own answer in
nats; logit of the own answer minus that of the other; variance over the outputs of the logits'
change from the run that is patched. The last has no sign, and so sees what averages out."""

DIFFERENCE = "logit_difference"

_DUST = 1e-6


class HookedRun:
    """A model on some pairs, ready to take other values by TransformerLens hooks.

    Attributes:
        logits: of each pair.
        values: what the model computes at each site, by the sites' names.
    """

    def __init__(self, model: GroupModel, pairs: Int[Tensor, "batch 2"]) -> None:
        self.model, self.pairs = model, pairs
        names = [site for site in model.sites if site not in model.silent]
        logits, values = model.run_with_cache(pairs, names_filter=names)
        self.logits: Float[Tensor, "batch order"] = logits  # type: ignore[assignment]
        self.values: Mapping[str, Tensor] = values

    def put(
        self,
        site: str,
        neurons: Int[Tensor, "k"] | None,
        values: Float[Tensor, "batch *units"],
        outputs: Int[Tensor, "batch outputs"] | None = None,
    ) -> Float[Tensor, "batch _"]:
        """The logits with other values for some neurons of a site or, for None, for all of it.

        Of every output, or only of a few ``outputs`` of each pair.
        """

        def splice(value: Tensor, hook: Any) -> Tensor:
            if neurons is None:
                return values
            spliced = value.clone()
            spliced[:, neurons] = values
            return spliced

        logits = self.model.run_with_hooks(self.pairs, fwd_hooks=[(site, splice)])
        return logits if outputs is None else logits.gather(1, outputs)


class AdditiveRun:
    """Replace values by rank-k updates, for a network whose neurons each add their own term.

    Attributes:
        neurons: the values at the sites where updates are possible.
    """

    def __init__(self, model: GroupModel, pairs: Int[Tensor, "batch 2"]) -> None:
        self.model, self.pairs = model, pairs
        at = pairs.to(model.device)
        left, right = model.left_table[at[:, 0]], model.right_table[at[:, 1]]
        pre = left + right
        self.neurons = {
            "hook_left_pre": left,
            "hook_right_pre": right,
            "hook_pre": pre,
            "hook_post": model.activate(pre),
        }

    @cached_property
    def hooked(self) -> HookedRun:
        return HookedRun(self.model, self.pairs)

    @property
    def values(self) -> Mapping[str, Tensor]:
        return _Values(self)

    @cached_property
    def logits(self) -> Float[Tensor, "batch order"]:
        return self._unembedded(self.neurons["hook_post"])

    def put(
        self,
        site: str,
        neurons: Int[Tensor, "k"] | None,
        values: Float[Tensor, "batch *units"],
        outputs: Int[Tensor, "batch outputs"] | None = None,
    ) -> Float[Tensor, "batch _"]:
        if site not in self.neurons:
            return self.hooked.put(site, neurons, values, outputs)
        neurons = torch.arange(len(self.model.W_U)) if neurons is None else neurons
        change = self._change(site, neurons, values)
        if outputs is not None and self._are_few(neurons, outputs):
            return self.updated(neurons, change, outputs)
        if self._is_small(neurons):
            logits = torch.addmm(self.logits, change, self.model.W_U[neurons])
        else:
            post = self.neurons["hook_post"].clone()
            post[:, neurons] = values if site == "hook_post" else post[:, neurons] + change
            logits = self._unembedded(post)
        return logits if outputs is None else logits.gather(1, outputs)

    def updated(
        self,
        neurons: Int[Tensor, "k"] | None,
        change: Float[Tensor, "batch k"],
        outputs: Int[Tensor, "batch outputs"] | None = None,
    ) -> Float[Tensor, "batch _"]:
        """The logits after a change of some neurons' activations (all for None)."""
        W_U = self.model.W_U if neurons is None else self.model.W_U[neurons]
        if outputs is not None and self._are_few(W_U, outputs):
            return self.logits.gather(1, outputs) + (W_U.T[outputs] * change[:, None]).sum(2)
        logits = self.logits + change @ W_U
        return logits if outputs is None else logits.gather(1, outputs)

    def _are_few(self, neurons: Tensor, outputs: Int[Tensor, "batch outputs"]) -> bool:
        """The change of given outputs; for many outputs a plain product is cheaper."""
        return len(neurons) * outputs.shape[1] * 4 < self.model.W_U.shape[1]

    def _change(
        self, site: str, neurons: Int[Tensor, "k"], values: Float[Tensor, "batch k"]
    ) -> Float[Tensor, "batch k"]:
        """The change of the neurons' activations."""
        if site == "hook_left_pre":
            values = values + self.neurons["hook_right_pre"][:, neurons]
        elif site == "hook_right_pre":
            values = self.neurons["hook_left_pre"][:, neurons] + values
        post = values if site == "hook_post" else self.model.activate(values)
        return post - self.neurons["hook_post"][:, neurons]

    def _unembedded(self, post: Float[Tensor, "batch d_mlp"]) -> Float[Tensor, "batch order"]:
        logits = post @ self.model.W_U
        return logits if self.model.b_U is None else logits + self.model.b_U

    def _is_small(self, neurons: Int[Tensor, "k"]) -> bool:
        """Whether an update is cheaper than a new product, and as exact.

        If hardly anything remains of the logits, an update leaves rounding errors. Their largest
        entry is not an answer, and is right far more often than by chance.
        """
        left = self._mass.sum() - self._mass[neurons].sum()
        return 2 * len(neurons) < len(self._mass) and bool(left > _DUST * self._mass.sum())

    @cached_property
    def _mass(self) -> Float[Tensor, "d_mlp"]:
        """The most that each neuron can add to a logit."""
        return self.neurons["hook_post"].abs().amax(0) * self.model.W_U.abs().amax(1)


class _Values(dict[str, Tensor]):
    """The neurons' unchanged values; other sites are computed only when needed."""

    def __init__(self, run: AdditiveRun) -> None:
        super().__init__(run.neurons)
        self.run = run

    def __missing__(self, site: str) -> Tensor:
        return self.run.logits if site == "hook_logits" else self.run.hooked.values[site]


Run = AdditiveRun | HookedRun


def run_on(model: GroupModel, pairs: Int[Tensor, "batch 2"]) -> Run:
    """Run the model on some pairs, ready to replace values in the cheapest exact way."""
    return (AdditiveRun if model.is_additive else HookedRun)(model, pairs)


def check_sites(
    model: GroupModel, sites: Sequence[str] | None, *, per_neuron: bool = False
) -> list[str]:
    """The sites of an experiment; by default all at which the model is not silent.

    Args:
        per_neuron: only sites with one column per neuron.

    Raises:
        CosetCircuitsError: a site does not exist, or the model is silent there.
    """
    usable = [name for name, site in model.sites.items() if site.per_neuron or not per_neuron]
    if sites is None:
        return [site for site in usable if site not in model.silent]
    chosen = [sites] if isinstance(sites, str) else list(dict.fromkeys(sites))
    for site in chosen:
        if site not in usable:
            raise CosetCircuitsError(
                f"{site!r} is not a site for this experiment; choose from {', '.join(usable)}."
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
    """The requested :data:`METRICS`, pair by pair, in float64.

    ``base`` are the logits of the run that is patched.
    """
    scored: dict[str, Tensor] = {}
    if "accuracy" in metrics or "counterfactual" in metrics:
        answers = logits.argmax(1)
        scored["accuracy"] = (answers == own).double()
        scored["counterfactual"] = (answers == other).double()
    if "loss" in metrics:
        scored["loss"] = cross_entropy(logits, own)
    if DIFFERENCE in metrics:
        scored[DIFFERENCE] = difference(logits.gather(1, torch.stack([own, other], 1)))
    if "logit_change" in metrics:
        # Eight times as fast as torch.var along rows.
        change = (logits - base).double()
        scored["logit_change"] = (change - change.mean(1, keepdim=True)).square_().mean(1)
    return torch.stack([scored[metric] for metric in metrics]).cpu()


def difference(logits: Float[Tensor, "batch 2"]) -> Float[Tensor, "batch"]:
    """Own logit minus other logit."""
    return (logits[:, 0] - logits[:, 1]).double()


def first_order(
    base: Run, source: Run, sites: Sequence[str], outputs: Int[Tensor, "batch 2"]
) -> dict[str, Float[Tensor, "batch units"]]:
    """The change of the logit difference of ``base`` by each unit of a site from ``source``.

    To first order: the gradient of own minus other output times the difference of the two runs.
    """
    watched: dict[str, Tensor] = {}

    def watch(value: Tensor, hook: Any) -> Tensor:
        watched[hook.name] = value if value.requires_grad else value.detach().requires_grad_()
        return watched[hook.name]

    if not sites:
        return {}
    with torch.inference_mode(False), torch.enable_grad():
        logits = base.model.run_with_hooks(
            base.pairs.clone(), fwd_hooks=[(site, watch) for site in sites]
        )
        total = difference(logits.gather(1, outputs.clone())).sum()
        gradients = torch.autograd.grad(total, list(watched.values()))
    return {
        site: (gradient * (source.values[site] - base.values[site])).flatten(1)
        for site, gradient in zip(watched, gradients, strict=True)
    }
