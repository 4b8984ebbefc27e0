"""Path patching: single paths input → neurons → half of the activation → logits."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor

from coset_circuits.errors import CosetCircuitsError
from coset_circuits.experiments.bench import Bench
from coset_circuits.experiments.counterfactuals import SIDES, Side
from coset_circuits.experiments.neuron_sets import Groups
from coset_circuits.experiments.patching_result import Patching
from coset_circuits.experiments.splice import AdditiveRun, Run, is_additive
from coset_circuits.experiments.sweep import Key, PatchingExperiment, Sweep, check_choice
from coset_circuits.networks.model import GroupModel

HALVES = ("whole", "even", "odd")
"""What of a neuron's activation a path runs through: (f(t) + f(−t))/2 is even, the rest odd. Of
ReLU the odd half is t/2, the linear half."""

RECEIVERS = ("logits", "own", "other")
"""Where a path ends: at all logits, at that of the clean answer, or at that of the corrupted."""


@dataclass(frozen=True)
class PathPatching(PatchingExperiment):
    """Patch single paths input → neurons → half of the activation → logits (Goldowsky-Dill 2023).

    Only the path carries the other run's value; every other path from the same input keeps its own.
    The paths of one sender add up exactly on the logit difference: over neurons, over the even and
    the odd half, and over the ``own`` and ``other`` receiver. Those of the two senders do not: what
    is missing is what the non-linearity makes of both.

    Two figures are the same for every network, and no evidence. The linear half of a ReLU recovers
    none of the mean logit difference: it is a function of a plus one of b, and the product is
    independent of either. And one input, patched where both are corrupted, recovers half: its run
    is on a third product, for which neither answer is favoured. To see how large a half is, take
    the metric ``logit_change``.

    Attributes:
        senders: the input that a path comes from: ``left``, ``right``, or ``both`` together.
        halves: what of the activation it runs through; see :data:`HALVES`.
        receivers: where it ends; see :data:`RECEIVERS`.
    """

    senders: Sequence[Side] = ("left", "right")
    halves: Sequence[str] = HALVES
    receivers: Sequence[str] = ("logits",)
    id = "path_patching"

    def on(self, neurons: Groups, bench: Bench) -> Patching:
        """Any sets of neurons of the bench's network, whose neurons must add up in the logits."""
        sweep = Sweep(self, neurons, bench)
        if not is_additive(sweep.model):
            raise CosetCircuitsError(
                f"The neurons of {sweep.model.label} do not simply add up in the logits, so that "
                "it has no single paths; patch the network, or a surrogate without the claim even."
            )
        for name, given, choices in (
            ("sender", self.senders, SIDES),
            ("half", self.halves, HALVES),
            ("receiver", self.receivers, RECEIVERS),
        ):
            check_choice(name, given, choices)
        keys = list(dict.fromkeys(itertools.product(self.senders, self.halves, self.receivers)))
        cells = list(sweep.cells(keys, lambda key: True))
        return sweep.run("path patching", ("sender", "half", "receiver"), cells, _Paths, None)


def path_patching(network: GroupModel, groups: Groups = None, **options: Any) -> Patching:
    """See :class:`PathPatching`; arguments as in :func:`activation_patching`.

    Raises:
        CosetCircuitsError: an argument that makes no sense, or a model whose neurons do not add up.
    """
    bench, own = Bench.for_options(network, options)
    return PathPatching(**own).on(groups, bench)


class _Paths:
    """The same, a value coming from the other run along one path only."""

    def __init__(self, base: Run, source: Run, outputs: Int[Tensor, "batch 2"]) -> None:
        assert isinstance(base, AdditiveRun) and isinstance(source, AdditiveRun)
        self.base, self.source, self.outputs = base, source, outputs
        self.changes: dict[Key, Tensor] = {}

    def logits(self, key: Key, neurons: Int[Tensor, "k"] | None) -> Float[Tensor, "batch order"]:
        change, write = self._change(key, neurons), self._write(neurons)
        update = change @ write
        if key[2] == "logits":
            return self.base.logits + update
        column = self.outputs[:, RECEIVERS.index(key[2]) - 1, None]
        return self.base.logits.scatter_add(1, column, update.gather(1, column))

    def at_outputs(self, key: Key, neurons: Int[Tensor, "k"] | None) -> Float[Tensor, "batch 2"]:
        change, write = self._change(key, neurons), self._write(neurons)
        if change.shape[1] * 8 < write.shape[1]:
            update = (write.T[self.outputs] * change[:, None]).sum(2)
        else:
            update = (change @ write).gather(1, self.outputs)
        if key[2] != "logits":
            update[:, 2 - RECEIVERS.index(key[2])] = 0
        return self.base.logits.gather(1, self.outputs) + update

    def _write(self, neurons: Int[Tensor, "k"] | None) -> Float[Tensor, "k order"]:
        W_U = self.base.model.W_U
        return W_U if neurons is None else W_U[neurons]

    def _change(self, key: Key, neurons: Int[Tensor, "k"] | None) -> Float[Tensor, "batch k"]:
        """By how much activations change along the path, whichever receiver it ends at."""
        sender, half = path = key[:2]
        if path not in self.changes:
            own, other = self.base.neurons, self.source.neurons
            left = (own if sender == "right" else other)["hook_left_pre"]
            right = (own if sender == "left" else other)["hook_right_pre"]
            model = self.base.model
            self.changes[path] = _half(model, left + right, half) - _half(
                model, own["hook_pre"], half
            )
        change = self.changes[path]
        return change if neurons is None else change[:, neurons]


def _half(
    model: GroupModel, pre: Float[Tensor, "batch d_mlp"], half: str
) -> Float[Tensor, "batch d_mlp"]:
    post = model.activate(pre)
    if half == "whole":
        return post
    even = (post + model.activate(-pre)) / 2
    return even if half == "even" else post - even
