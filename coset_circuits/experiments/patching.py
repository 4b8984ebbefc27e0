"""Activation, path and attribution patching, swept over sites, neurons and groups of neurons.

Every pair (a, b) is *clean*; its *corrupted* partner has another left element, another right one,
or both, and so another product. A patch runs one of the two with some activations of the other, and
the sweep measures how far that moves the answer.

TransformerLens's own sweeps (``transformer_lens.patching``) take tokens and a model with ``cfg``
and ``blocks.N.*``, and ``attribution_patching`` a residual stream; a group network has neither. Its
``PatchingResult`` fits: :meth:`Patching.to_transformer_lens`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from coset_circuits.experiments.bench import Bench
from coset_circuits.experiments.neuron_sets import Groups
from coset_circuits.experiments.patching_result import DIFFERENCE, Patching
from coset_circuits.experiments.splice import Run, check_sites
from coset_circuits.experiments.sweep import Attribution, Key, PatchingExperiment, Sweep
from coset_circuits.networks.model import GroupModel


@dataclass(frozen=True)
class ActivationPatching(PatchingExperiment):
    """Patch every site as a whole and, where a site has neurons, every set of them.

    Attributes:
        sites: which; by default all at which the model is not silent.
    """

    sites: Sequence[str] | None = None
    id = "activation_patching"

    def on(self, neurons: Groups, bench: Bench) -> Patching:
        """Any sets of neurons of the bench's network."""
        sweep = Sweep(self, neurons, bench)
        chosen, cells = _site_cells(sweep, self.sites)
        attribution = Attribution(sweep, chosen) if DIFFERENCE in sweep.metrics else None
        return sweep.run("activation patching", ("site",), cells, _Sites, attribution)


@dataclass(frozen=True)
class AttributionPatching(ActivationPatching):
    """Activation patching to first order: gradient times difference (Nanda 2023).

    The gradient is that of the logit difference in the run that is patched; a patch of several
    neurons is the sum of its neurons' shares. One forward and one backward pass whatever the number
    of patches. Exact at ``hook_post`` and ``hook_logits``, where the logit difference is linear;
    before the activation function it is wrong by whatever that bends
    (:meth:`Patching.attribution_error`). Of any ReLU network whose pre-activations have mean nought
    and whose two runs are independent it finds half of the whole there: gradient times what goes is
    the base's own logits (Euler), and gradient times what comes is a function of a' plus one of b',
    which favours no product.
    """

    metrics: Sequence[str] = (DIFFERENCE,)
    controls: int = 0
    id = "attribution_patching"

    def on(self, neurons: Groups, bench: Bench) -> Patching:
        """Any sets of neurons of the bench's network."""
        sweep = Sweep(self, neurons, bench)
        chosen, cells = _site_cells(sweep, self.sites)
        attribution = Attribution(sweep, chosen)
        whole = sweep.run("attribution patching", ("site",), cells, _Untouched, attribution)
        # Every patch so far left the run as it was; what it would do is added here.
        changes = torch.stack([attribution.change(cell) for cell in cells])
        return replace(whole, values=whole.values + changes[None], attributed=None)


def activation_patching(network: GroupModel, groups: Groups = None, **options: Any) -> Patching:
    """See :class:`ActivationPatching`.

    Args:
        network: a network or a surrogate, whose own prediction of the sweep this gives. A copy
            without the user's hooks is measured, in float64.
        groups: a circuit (its roles), :func:`neuron_groups` of one, names with neurons, or None
            for each neuron by itself.
        options: the attributes of the experiment, and those of a bench: ``pairs``, how many clean
            pairs (all of them unless the group has more than 60,000, then some 10,000; the same
            number of right elements for every left one), ``seed`` and ``progress``.

    Raises:
        CosetCircuitsError: a site, metric, neuron set, side or number that makes no sense.
    """
    bench, own = Bench.for_options(network, options)
    return ActivationPatching(**own).on(groups, bench)


def attribution_patching(network: GroupModel, groups: Groups = None, **options: Any) -> Patching:
    """See :class:`AttributionPatching`; arguments as in :func:`activation_patching`."""
    bench, own = Bench.for_options(network, options)
    return AttributionPatching(**own).on(groups, bench)


def _site_cells(sweep: Sweep, sites: Sequence[str] | None) -> tuple[list[str], list[Any]]:
    """The sites that are patched, and every patch."""
    chosen = check_sites(sweep.model, sites)
    known = sweep.model.sites
    return chosen, list(sweep.cells([(s,) for s in chosen], lambda key: known[key[0]].per_neuron))


class _Sites:
    """One chunk's patched runs, a site's values coming from the other run.

    ``outputs`` are the own and the other answer of each pair.
    """

    def __init__(self, base: Run, source: Run, outputs: Int[Tensor, "batch 2"]) -> None:
        self.base, self.source, self.outputs = base, source, outputs

    def logits(self, key: Key, neurons: Int[Tensor, "k"] | None) -> Float[Tensor, "batch order"]:
        """After a patch of some neurons, or of the whole site."""
        return self.base.put(key[0], neurons, self._values(key[0], neurons))

    def at_outputs(self, key: Key, neurons: Int[Tensor, "k"] | None) -> Float[Tensor, "batch 2"]:
        """The same, of the two answers only."""
        return self.base.put_at(key[0], neurons, self._values(key[0], neurons), self.outputs)

    def _values(self, site: str, neurons: Int[Tensor, "k"] | None) -> Float[Tensor, "batch units"]:
        values = self.source.values[site]
        return values if neurons is None else values[:, neurons]


class _Untouched(_Sites):
    """The run as it is."""

    def logits(self, key: Key, neurons: Int[Tensor, "k"] | None) -> Float[Tensor, "batch order"]:
        return self.base.logits

    def at_outputs(self, key: Key, neurons: Int[Tensor, "k"] | None) -> Float[Tensor, "batch 2"]:
        return self.base.logits.gather(1, self.outputs)
