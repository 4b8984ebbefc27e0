"""Activation, path and attribution patching, swept over sites, neurons and neuron sets.

Every pair (a, b) is *clean*; its *corrupted* partner has another left element, another right one,
or both, and so another product. A patch runs one of the two with some activations of the other, and
the sweep measures how far that moves the answer.

TransformerLens's own sweeps (``transformer_lens.patching``) take tokens and a model with ``cfg``
and ``blocks.N.*``, and ``attribution_patching`` a residual stream; a group network has neither. Its
``PatchingResult`` fits: :meth:`Patching.to_transformer_lens`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from itertools import product
from typing import Any, ClassVar, Literal

import pandas as pd
import torch
from jaxtyping import Int
from torch import Tensor

from coset_circuits.algorithms import Circuit
from coset_circuits.errors import CosetCircuitsError
from coset_circuits.experiments.bench import Bench
from coset_circuits.experiments.blocks import sample_blocks
from coset_circuits.experiments.counterfactuals import SIDES, Side, corrupted
from coset_circuits.experiments.experiment import OfEachHypothesis
from coset_circuits.experiments.neuron_sets import ALL, Neurons, as_neuron_sets
from coset_circuits.experiments.patching_result import Patching
from coset_circuits.experiments.splice import (
    DIFFERENCE,
    METRICS,
    AdditiveRun,
    Run,
    check_sites,
    difference,
    first_order,
    run_on,
    scores,
)
from coset_circuits.networks.model import GroupModel
from coset_circuits.progress import Progress

Direction = Literal["denoise", "noise"]

HALVES = ("whole", "even", "odd")
"""What of a neuron's activation a path runs through: (f(t) + f(−t))/2 is even, the rest odd. Of
ReLU the odd half is t/2, the linear half."""

RECEIVERS = ("logits", "own", "other")
"""Where a path ends: at all logits, at that of the clean answer, or at that of the corrupted."""

Key = tuple[str, ...]
"""Where a patch is put: a site, or a path's sender, half and receiver."""

Patch = Callable[[Key, Tensor | None, Tensor | None], Tensor]
"""The logits after a patch of some neurons, or (None) of all; of every output, or of some only."""


@dataclass(frozen=True)
class Sweep(OfEachHypothesis):
    """The options that all sweeps of patches share.

    Attributes:
        neurons: a circuit (its roles), :func:`neuron_sets` of one, names with neurons, or None for
            each neuron by itself (in a comparison, for the roles of each hypothesis).
        corrupt: whether the corrupted pair differs in the ``left`` element, the ``right`` one or
            in ``both``. Which elements is drawn, keyed by (seed, pair).
        direction: ``denoise`` patches the clean run's values into the corrupted run (are they
            enough?), ``noise`` the corrupted run's into the clean run (are they needed?).
        metrics: see :data:`METRICS`. ``("logit_difference",)`` alone needs two logits a pair and
            is an order of magnitude faster.
        controls: how many random neuron sets of each size.
        chunk: about how many pairs are run at a time; it changes nothing but memory, of which
            about 100·chunk·order bytes are needed.

    Raises:
        CosetCircuitsError: an option that makes no sense.
    """

    neurons: Neurons = None
    corrupt: Side = "both"
    direction: Direction = "denoise"
    metrics: Sequence[str] = METRICS
    controls: int = 5
    chunk: int = 2_000

    axes: ClassVar[tuple[str, ...]]
    is_first_order: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check_choice("metric", self.metrics, METRICS)
        _check_choice("direction", [self.direction], ("denoise", "noise"))
        if self.controls < 0:
            raise CosetCircuitsError(f"{self.controls} controls were asked for; give 0 or more.")

    @abstractmethod
    def places(self, model: GroupModel) -> dict[Key, bool]:
        """Where patches are put, and whether single neurons can be patched there."""

    @abstractmethod
    def patch(self, base: Run, source: Run, answers: Int[Tensor, "batch 2"]) -> Patch:
        """How one run is patched with values of another; ``answers`` are the own and the other."""

    def of(self, circuit: Circuit, bench: Bench) -> Patching:
        """Patch the network, by default in the neuron sets that the circuit's roles name."""
        return replace(self, neurons=circuit if self.neurons is None else self.neurons).on(bench)

    @torch.no_grad()
    def on(self, bench: Bench) -> Patching:
        """Patch the bench's network.

        Raises:
            CosetCircuitsError: a site or neurons that the network does not have, or no pairs.
        """
        model, seed, method = bench.network, bench.seed, self.id.replace("_", " ")
        metrics = tuple(metric for metric in METRICS if metric in self.metrics)
        cells, patches, drawn = self._plan(model, seed)
        blocks, order = sample_blocks(model.group, bench.pairs, seed), model.group.order
        values = torch.zeros(len(metrics), len(patches), order, dtype=torch.float64)
        base, source = torch.zeros(2, len(metrics), order, dtype=torch.float64)
        shares: dict[str, Tensor] = {}
        sites = list(cells["site"].unique()) if "site" in cells and DIFFERENCE in metrics else []
        for part, clean in blocks.chunks(self.chunk):
            bench.progress(method, part.start, order)
            other = corrupted(model.group, clean, self.corrupt, seed)
            own, rival = (model.group.products(x).to(model.device) for x in (clean, other))
            answers = torch.stack([own, rival], 1)
            outputs = answers if metrics == (DIFFERENCE,) else None
            ends = (other, clean) if self.direction == "denoise" else (clean, other)
            one, two = (run_on(model, pairs) for pairs in ends)
            score = partial(scores, own=own, other=rival, base=one.logits, metrics=metrics)
            base[:, part], source[:, part] = (blocks.means(score(x.logits)) for x in (one, two))
            for site, share in first_order(one, two, sites, answers).items():
                # One place for all chunks: many small results would scatter over the heap.
                empty = torch.zeros(share.shape[1], order, dtype=torch.float64)
                shares.setdefault(site, empty)[:, part] = blocks.means(share.T).cpu()
            if self.is_first_order:
                continue
            patched = self.patch(one, two, answers)
            for i, (key, neurons) in enumerate(patches):
                logits = patched(key, neurons, outputs)
                scored = score(logits) if outputs is None else difference(logits)[None].cpu()
                values[:, i, part] = blocks.means(scored)
        changes = [
            (shares[site] if neurons is None else shares[site][neurons]).sum(0)
            for (site, *_), neurons in patches
            if sites
        ]
        if self.is_first_order:
            values = base[:, None] + torch.stack(changes)
        return Patching(
            network=model.label,
            method=method,
            measured_on=blocks.source,
            corrupt=self.corrupt,
            direction=self.direction,
            axes=(*self.axes, "neuron_set"),
            cells=cells,
            metrics=metrics,
            values=values[:, : len(cells)],
            base=base,
            source=source,
            controls=values.mean(2)[:, drawn].masked_fill(drawn < 0, torch.nan),
            attributed=torch.stack([change.mean() for change in changes[: len(cells)]])
            if sites and not self.is_first_order
            else None,
            seed=seed,
        )

    def _plan(
        self, model: GroupModel, seed: int
    ) -> tuple[pd.DataFrame, list[tuple[Key, Tensor | None]], Int[Tensor, "cells draws"]]:
        """The cells, all patches (the cells', then those of random neuron sets), and which of them
        are each cell's controls: cells of equal size share them, a whole site has none (−1).
        """
        sets = as_neuron_sets(model, self.neurons)
        rows: list[tuple[Any, ...]] = []
        patches: list[tuple[Key, Tensor | None]] = []
        for key, takes_neurons in self.places(model).items():
            for name, members in [(ALL, None), *(sets if takes_neurons else ())]:
                rows.append((*key, name, sets.width if members is None else len(members)))
                patches.append((key, members))
        controls = torch.full((len(rows), self.controls), -1)
        drawn: dict[tuple[Key, tuple[int, int]], Tensor] = {}
        for i, (key, members) in enumerate(list(patches)):
            if members is None:
                continue
            same_size = key, sets.signature(members)
            if same_size not in drawn:
                drawn[same_size] = torch.arange(self.controls) + len(patches)
                patches += [(key, sets.random(members, seed, d)) for d in range(self.controls)]
            controls[i] = drawn[same_size]
        cells = pd.DataFrame(rows, columns=[*self.axes, "neuron_set", "neurons"])
        return cells, patches, controls


@dataclass(frozen=True)
class ActivationPatching(Sweep):
    """The experiment; see :func:`activation_patching`.

    Attributes:
        sites: which sites are patched; by default all at which the model is not silent.
    """

    sites: Sequence[str] | None = None

    id: ClassVar[str] = "activation_patching"
    axes: ClassVar[tuple[str, ...]] = ("site",)

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
    """The experiment; see :func:`attribution_patching`. Its metric is the logit difference."""

    metrics: Sequence[str] = field(default=(DIFFERENCE,), init=False)

    id: ClassVar[str] = "attribution_patching"
    is_first_order: ClassVar[bool] = True


@dataclass(frozen=True)
class PathPatching(Sweep):
    """The experiment; see :func:`path_patching`.

    Attributes:
        senders: the input that a path comes from: ``left``, ``right``, or ``both`` together.
        halves: what of the activation it runs through; see :data:`HALVES`.
        receivers: where it ends; see :data:`RECEIVERS`.
    """

    senders: Sequence[Side] = ("left", "right")
    halves: Sequence[str] = HALVES
    receivers: Sequence[str] = ("logits",)

    id: ClassVar[str] = "path_patching"
    axes: ClassVar[tuple[str, ...]] = ("sender", "half", "receiver")

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_choice("sender", self.senders, SIDES)
        _check_choice("half", self.halves, HALVES)
        _check_choice("receiver", self.receivers, RECEIVERS)

    def places(self, model: GroupModel) -> dict[Key, bool]:
        if not model.is_additive:
            raise CosetCircuitsError(
                f"The neurons of {model.label} do not simply add up in the logits, so that it "
                "has no single paths; patch the network, or a surrogate without the claim even."
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


def activation_patching(
    network: GroupModel,
    neurons: Neurons = None,
    *,
    pairs: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    **options: Any,
) -> Patching:
    """Patch every site as a whole and, where a site has neurons, every neuron set.

    Args:
        network: a network or a surrogate, whose own prediction of the sweep this gives. A copy
            without the user's hooks is measured, in float64.
        neurons: and ``options``: the attributes of :class:`Sweep`, and ``sites``, which are
            patched; by default all at which the model is not silent.
        pairs: how many clean pairs; all of them unless the group has more than 60,000, then some
            10,000. The same number of right elements is taken for every left one.
        seed: of the corruption, the random neuron sets, the sample and the bootstrap.
        progress: called with (what is being done, steps done, steps in all).

    Raises:
        CosetCircuitsError: a site, metric, neuron set, side or number that makes no sense.
    """
    bench = Bench.around(network, pairs=pairs, seed=seed, progress=progress)
    return ActivationPatching(neurons, **options).on(bench)


def attribution_patching(
    network: GroupModel,
    neurons: Neurons = None,
    *,
    pairs: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    **options: Any,
) -> Patching:
    """Activation patching to first order: gradient times difference (Nanda 2023).

    The gradient is that of the logit difference in the run that is patched; a patch of several
    neurons is the sum of its neurons' shares. One forward and one backward pass whatever the number
    of patches. Exact at ``hook_post`` and ``hook_logits``, where the logit difference is linear;
    before the activation function it is wrong by whatever that bends
    (:meth:`Patching.attribution_error`). Of any ReLU network whose pre-activations have mean zero
    and whose two runs are independent it finds half of the whole there: gradient times what goes is
    the base's own logits (Euler), and gradient times what comes is a function of a' plus one of b',
    which favours no product. Arguments as in :func:`activation_patching`, without ``metrics``.
    """
    bench = Bench.around(network, pairs=pairs, seed=seed, progress=progress)
    return AttributionPatching(neurons, **options).on(bench)


def path_patching(
    network: GroupModel,
    neurons: Neurons = None,
    *,
    pairs: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    **options: Any,
) -> Patching:
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

    Args:
        network: its neurons must add up in the logits (a network, or a surrogate without the claim
            ``even``).
        options: the attributes of :class:`Sweep` and :class:`PathPatching`; the other arguments as
            in :func:`activation_patching`.

    Raises:
        CosetCircuitsError: an argument that makes no sense, or a model whose neurons do not add up.
    """
    bench = Bench.around(network, pairs=pairs, seed=seed, progress=progress)
    return PathPatching(neurons, **options).on(bench)


def _check_choice(kind: str, given: Sequence[str], known: Sequence[str]) -> None:
    if isinstance(given, str) or not given:
        raise CosetCircuitsError(
            f"{given!r} is no list of {kind}s; give some of {', '.join(known)}."
        )
    for name in given:
        if name not in known:
            raise CosetCircuitsError(f"{name!r} is no {kind}; choose from {', '.join(known)}.")
