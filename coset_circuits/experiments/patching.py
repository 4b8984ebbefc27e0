"""Activation, path and attribution patching, swept over sites, neurons and neuron sets.

Every pair (a, b) is *clean*; its *corrupted* partner has another left element, another right one,
or both, and so another product. A patch runs one of the two with some activations of the other, and
the sweep measures how far that moves the answer.

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
    """Patch every site as a whole and, where a site has neurons, every neuron set.

    Attributes:
        sites: which sites are patched; by default all at which the model is not silent.
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

    The gradient is that of the logit difference in the run that is patched; a patch of several
    neurons is the sum of its neurons' shares. One forward and one backward pass whatever the number
    of patches. Exact at ``hook_post`` and ``hook_logits``, where the logit difference is linear;
    before the activation function it is wrong by whatever that bends
    (:meth:`Patching.attribution_error`). Of any ReLU network whose pre-activations have mean zero
    and whose two runs are independent it finds half of the whole there: gradient times what goes is
    the base's own logits (Euler), and gradient times what comes is a function of a' plus one of b',
    which favours no product. The metric is the logit difference.
    """

    metrics: Sequence[str] = field(default=(DIFFERENCE,), init=False)

    id = "attribution_patching"
    is_first_order = True


def activation_patching(network: GroupModel, neurons: Neurons = None, **options: Any) -> Patching:
    """See :class:`ActivationPatching`.

    Args:
        network: a network or a surrogate, whose own prediction of the sweep this gives. A copy
            without the user's hooks is measured, in float64.
        neurons: a circuit (its roles), :func:`neuron_sets` of one, names with neurons, or None for
            each neuron by itself.
        options: the attributes of the experiment, and those of a bench: ``pairs``, how many clean
            pairs (all of them unless the group has more than 60,000, then some 10,000; the same
            number of right elements for every left one), ``seed`` (of the corruption, the random
            neuron sets, the sample and the bootstrap) and ``progress``.

    Raises:
        CosetCircuitsError: a site, metric, neuron set, side or number that makes no sense.
    """
    bench, rest = Bench.for_options(network, options)
    return ActivationPatching(neurons, **rest).on(bench)


def attribution_patching(network: GroupModel, neurons: Neurons = None, **options: Any) -> Patching:
    """See :class:`AttributionPatching`; arguments as in :func:`activation_patching`."""
    bench, rest = Bench.for_options(network, options)
    return AttributionPatching(neurons, **rest).on(bench)
