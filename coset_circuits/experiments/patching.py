"""Activation, path and attribution patching, swept over sites, neurons and neuron sets.

Every pair (a, b) is *clean*. Its *corrupted* partner has a different left element, right element or
both, and so a different product. A patch runs one of the two with some activations of the other,
and the sweep measures how far that moves the answer.

TransformerLens's own sweeps (``transformer_lens.patching``) take tokens and a model with ``cfg``
and ``blocks.N.*``, and ``attribution_patching`` a residual stream; a group network has neither. Its
``PatchingResult`` fits: :meth:`Patching.to_transformer_lens`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from jaxtyping import Int
from torch import Tensor

from coset_circuits.experiments.bench import Bench
from coset_circuits.experiments.neuron_sets import Neurons
from coset_circuits.experiments.patching_result import Patching
from coset_circuits.experiments.splice import DIFFERENCE, Run, check_sites
from coset_circuits.experiments.sweep import Key, Patch, Sweep
from coset_circuits.networks.model import GroupModel


@dataclass(frozen=True)
class ActivationPatching(Sweep):
    """Patch every site as a whole and, if it has neurons, every neuron set.

    Attributes:
        sites: the sites to patch; by default all at which the model is not silent.
    """

    sites: Sequence[str] | None = None

    id = "activation_patching"
    axes = ("site",)

    def places(self, model: GroupModel) -> dict[Key, bool]:
        return {(site,): model.sites[site].per_neuron for site in check_sites(model, self.sites)}

    def patch(self, base: Run, source: Run, answers: Int[Tensor, "batch 2"]) -> Patch:
        def put(key: Key, neurons: Tensor | None, outputs: Tensor | None) -> Tensor:
            values = source.values[key[0]]
            values = values if neurons is None else values[:, neurons]
            return base.put(key[0], neurons, values, outputs)

        return put


@dataclass(frozen=True)
class AttributionPatching(ActivationPatching):
    """Activation patching to first order: gradient times difference (Nanda 2023).

    The gradient is that of the logit difference in the patched run, and neurons' contributions add
    up. It takes one forward and one backward pass for any number of patches. It is exact at
    ``hook_post`` and ``hook_logits``, where the logit difference is linear. Before the activation
    function it has the error of linearising it (:meth:`Patching.attribution_error`). For any ReLU
    network whose pre-activations have mean zero and whose two runs are independent, it finds half
    of the total there. The gradient times the old values gives the base's logits (Euler). The
    gradient times the new values is a function of a' plus one of b', which favours no product. The
    metric is the logit difference.
    """

    metrics: Sequence[str] = field(default=(DIFFERENCE,), init=False)

    id = "attribution_patching"
    is_first_order = True


def activation_patching(network: GroupModel, neurons: Neurons = None, **options: Any) -> Patching:
    """See :class:`ActivationPatching`.

    Args:
        network: a network, or a surrogate to get the hypothesis's prediction of the sweep. A
            float64 copy without the user's hooks is measured.
        neurons: a circuit (its roles), :func:`neuron_sets` of one, names with neurons, or None for
            each neuron separately.
        options: the attributes of the experiment, and ``pairs``, the number of clean pairs (all by
            default, or about 10,000 if the group has more than 60,000; the same number of right
            elements for every left one), ``seed`` (for the corruption, random neuron sets, sample
            and bootstrap) and ``progress``.

    Raises:
        CosetCircuitsError: a site, metric, neuron set, side or number is invalid.
    """
    bench, rest = Bench.for_options(network, options)
    return ActivationPatching(neurons, **rest).on(bench)


def attribution_patching(network: GroupModel, neurons: Neurons = None, **options: Any) -> Patching:
    """See :class:`AttributionPatching`; arguments as in :func:`activation_patching`."""
    bench, rest = Bench.for_options(network, options)
    return AttributionPatching(neurons, **rest).on(bench)
