"""Path patching: single paths input → neurons → half of the activation → logits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from coset_circuits.errors import CosetCircuitsError
from coset_circuits.experiments.bench import Bench
from coset_circuits.experiments.counterfactuals import SIDES, Side
from coset_circuits.experiments.neuron_sets import Neurons
from coset_circuits.experiments.patching_result import Patching
from coset_circuits.experiments.splice import AdditiveRun, Run
from coset_circuits.experiments.sweep import Key, Patch, Sweep, check_choice
from coset_circuits.networks.model import GroupModel

HALVES = ("whole", "even", "odd")
"""The part of a neuron's activation on a path: (f(t) + f(−t))/2 is even, the rest odd. For ReLU
the odd half is t/2, the linear half."""

RECEIVERS = ("logits", "own", "other")
"""Where a path ends: all logits, the clean answer's logit, or the corrupted answer's logit."""


@dataclass(frozen=True)
class PathPatching(Sweep):
    """Patch single paths input → neurons → half of the activation → logits (Goldowsky-Dill 2023).

    Only the path carries the other run's value. All other paths from the same input keep theirs.
    The paths of one sender add up exactly on the logit difference: over neurons, over the even and
    the odd half, and over the ``own`` and ``other`` receiver. The paths of the two senders do not,
    because the non-linearity acts on both together.

    Two figures are the same for every network, so they are not evidence. The linear half of a ReLU
    recovers none of the mean logit difference: it is a function of a plus one of b, and the product
    is independent of either. And one input, patched when both are corrupted, recovers half: its run
    has a third product, which favours neither answer. To see the size of a half, use the metric
    ``logit_change``.

    Attributes:
        senders: the input that a path starts from: ``left``, ``right``, or ``both`` together.
        halves: the part of the activation on the path; see :data:`HALVES`.
        receivers: where the path ends; see :data:`RECEIVERS`.
    """

    senders: Sequence[Side] = ("left", "right")
    halves: Sequence[str] = HALVES
    receivers: Sequence[str] = ("logits",)

    id = "path_patching"
    axes = ("sender", "half", "receiver")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("sender", self.senders, SIDES)
        check_choice("half", self.halves, HALVES)
        check_choice("receiver", self.receivers, RECEIVERS)

    def places(self, model: GroupModel) -> dict[Key, bool]:
        if not model.is_additive:
            raise CosetCircuitsError(
                f"The neurons of {model.label} do not simply add up in the logits, so it has no "
                "single paths; patch the network, or a surrogate without the claim even."
            )
        return dict.fromkeys(product(self.senders, self.halves, self.receivers), True)

    def patch(self, base: Run, source: Run, answers: Int[Tensor, "batch 2"]) -> Patch:
        assert isinstance(base, AdditiveRun) and isinstance(source, AdditiveRun)

        def through(pre: Tensor, half: str) -> Tensor:
            post = base.model.activate(pre)
            even = post if half == "whole" else (post + base.model.activate(-pre)) / 2
            return post - even if half == "odd" else even

        @cache
        def change(sender: str, half: str) -> Tensor:
            """By how much activations change along the path, whichever receiver it ends at."""
            left = (base if sender == "right" else source).neurons["hook_left_pre"]
            right = (base if sender == "left" else source).neurons["hook_right_pre"]
            return through(left + right, half) - through(base.neurons["hook_pre"], half)

        def put(key: Key, neurons: Tensor | None, outputs: Tensor | None) -> Tensor:
            *path, receiver = key
            changed = change(*path)
            changed = changed if neurons is None else changed[:, neurons]
            logits = base.updated(neurons, changed, outputs)
            if receiver == "logits":
                return logits
            answer = answers[:, RECEIVERS.index(receiver) - 1, None]
            if outputs is None:
                return base.logits.scatter(1, answer, logits.gather(1, answer))
            return torch.where(outputs == answer, logits, base.logits.gather(1, outputs))

        return put


def path_patching(network: GroupModel, neurons: Neurons = None, **options: Any) -> Patching:
    """See :class:`PathPatching`; arguments as in :func:`activation_patching`.

    Raises:
        CosetCircuitsError: an argument is invalid, or the model's neurons do not add up.
    """
    bench, rest = Bench.for_options(network, options)
    return PathPatching(neurons, **rest).on(bench)
