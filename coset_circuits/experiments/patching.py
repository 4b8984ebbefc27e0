"""Activation, path and attribution patching, swept over sites, neurons and groups of neurons.

Every pair (a, b) is *clean*; its *corrupted* partner has another left element, another right one,
or both, and so another product. A patch runs one of the two with some activations of the other, and
the sweep measures how far that moves the answer.

TransformerLens's own sweeps (``transformer_lens.patching``) take tokens and a model with ``cfg``
and ``blocks.N.*``, and ``attribution_patching`` a residual stream; a group network has neither. Its
``PatchingResult`` fits: :meth:`Patching.to_transformer_lens`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from coset_circuits.errors import CosetCircuitsError
from coset_circuits.experiments.bench import measured
from coset_circuits.experiments.blocks import Blocks, sample_blocks
from coset_circuits.experiments.counterfactuals import SIDES, Side, corrupted
from coset_circuits.experiments.neuron_sets import ALL, Neurons, NeuronSets, as_neuron_sets
from coset_circuits.experiments.splice import (
    METRICS,
    NEURON_SITES,
    AdditiveRun,
    Run,
    check_sites,
    difference,
    is_additive,
    run_on,
    scores,
)
from coset_circuits.findings.intervals import ratio_interval
from coset_circuits.networks.model import GroupModel

Direction = Literal["denoise", "noise"]
Progress = Callable[[str, int, int], None]

HALVES = ("whole", "even", "odd")
"""What of a neuron's activation a path runs through: (f(t) + f(−t))/2 is even, the rest odd. Of
ReLU the odd half is t/2, the linear half."""

RECEIVERS = ("logits", "own", "other")
"""Where a path ends: at all logits, at that of the clean answer, or at that of the corrupted."""

_DIFFERENCE = "logit_difference"


@dataclass(frozen=True)
class Patching:
    """A sweep of patches, one cell a patch, beside random groups of equal size.

    Attributes:
        network: whose; ``method``: which sweep; ``measured_on``: how many pairs.
        corrupt: which elements the corrupted pair changes.
        direction: ``denoise`` patches the clean run's values into the corrupted run (are they
            enough?), ``noise`` the corrupted run's into the clean run (are they needed?).
        axes: the columns of ``cells`` that name a patch.
        cells: one row a patch: its axes and how many ``neurons`` it has.
        metrics: of :data:`~coset_circuits.experiments.splice.METRICS`; the own answer is always the
            clean pair's, the other one the corrupted pair's.
        values: each metric after each patch, a mean over the pairs of each left element.
        base, source: the same for the run that is patched and the run patched from, unpatched.
        controls: each metric, a mean over all pairs, for random groups of neurons of equal size.
        attributed: the change of the logit difference as attribution patching has it.
    """

    network: str
    method: str
    measured_on: str
    corrupt: str
    direction: str
    axes: tuple[str, ...]
    cells: pd.DataFrame
    metrics: tuple[str, ...]
    values: Float[Tensor, "metrics cells blocks"]
    base: Float[Tensor, "metrics blocks"]
    source: Float[Tensor, "metrics blocks"]
    controls: Float[Tensor, "metrics cells draws"]
    attributed: Float[Tensor, "cells"] | None
    seed: int

    def recovery(self, metric: str = _DIFFERENCE) -> Float[Tensor, "cells"]:
        """(patched − base) / (source − base), of means over all pairs.

        How far a patch goes from the run that is patched to the run patched from: 0 is nothing, 1
        all the way. A ratio of means, not the mean of ratios: single pairs whose two runs hardly
        differ would decide that.
        """
        m = self._metric(metric)
        return self._share(self.values[m].mean(1), m)

    def interval(
        self, metric: str = _DIFFERENCE
    ) -> tuple[Float[Tensor, "cells"], Float[Tensor, "cells"]]:
        """95% bootstrap interval of the recovery, over left elements (pairs that share one are not
        independent). It tells how sure the figure is of *this* network, not of others.
        """
        m = self._metric(metric)
        whole = (self.source[m] - self.base[m]).expand_as(self.values[m])
        return ratio_interval(self.values[m] - self.base[m], whole, self.seed)

    def to_dataframe(self, metric: str = _DIFFERENCE) -> pd.DataFrame:
        """One row a patch: every metric, then the recovery of one with its interval and control.

        ``control`` is the mean recovery of random groups of equal size (and as many negligible
        neurons), from ``control_low`` to ``control_high`` the least to the greatest of the draws;
        ``attributed`` is the recovery as attribution patching has it.

        Raises:
            CosetCircuitsError: the metric was not measured.
        """
        m = self._metric(metric)
        frame = self.cells.copy()
        for name, values in zip(self.metrics, self.values.mean(2), strict=True):
            frame[name] = values.numpy()
        frame["recovery"] = self.recovery(metric).numpy()
        frame["low"], frame["high"] = (bound.numpy() for bound in self.interval(metric))
        if self.controls.shape[2]:
            drawn = self._share(self.controls[m], m)
            frame["control"] = drawn.mean(1).numpy()
            frame["control_low"] = drawn.amin(1).numpy()
            frame["control_high"] = drawn.amax(1).numpy()
        if self.attributed is not None and metric == _DIFFERENCE:
            whole = (self.source[m] - self.base[m]).mean()
            frame["attributed"] = (self.attributed / whole).numpy()
        return frame

    def table(self, metric: str = _DIFFERENCE) -> pd.DataFrame:
        """The recovery with one row a group and one column for each of the other axes' values."""
        frame = self.cells.assign(recovery=self.recovery(metric).numpy())
        others = [axis for axis in self.axes if axis != "group"]
        columns = frame[others].agg(" · ".join, axis=1)
        wide = frame.assign(column=columns).pivot(
            index="group", columns="column", values="recovery"
        )
        wide = wide.loc[list(dict.fromkeys(frame["group"])), list(dict.fromkeys(columns))]
        return wide.rename_axis(index=None, columns=None)

    def attribution_error(self) -> pd.DataFrame:
        """How far attribution patching is from the patches it stands for, site by site.

        Over the groups (not the whole site): ``correlation`` of the two recoveries (NaN where one
        does not vary), the worst error, and the largest recovery to read it against.

        Raises:
            CosetCircuitsError: the sweep has no attribution to compare.
        """
        if self.attributed is None:
            raise CosetCircuitsError(
                f"This {self.method} has no attribution beside it; take it from "
                "activation_patching with the metric logit_difference."
            )
        frame = self.to_dataframe()
        groups, sites = frame["group"].to_numpy(), frame["site"].to_numpy()
        recovery, attributed = frame["recovery"].to_numpy(), frame["attributed"].to_numpy()
        rows = []
        for site in dict.fromkeys(sites):
            here = np.flatnonzero((sites == site) & (groups != ALL))
            if not len(here):
                continue
            exact, approximate = recovery[here], attributed[here]
            varies = min(np.ptp(exact), np.ptp(approximate)) > 1e-12
            rows.append(
                {
                    "site": site,
                    "groups": len(here),
                    "correlation": np.corrcoef(exact, approximate)[0, 1] if varies else np.nan,
                    "worst_error": float(np.abs(exact - approximate).max()),
                    "largest_recovery": float(np.abs(exact).max()),
                    "sum_exact": float(exact.sum()),
                    "sum_attributed": float(approximate.sum()),
                }
            )
        return pd.DataFrame(rows)

    def to_transformer_lens(self) -> Any:
        """The sweep as TransformerLens's ``PatchingResult``; its examples are our left elements.

        It brings ``effect``, ``stderr``, ``bootstrap_ci`` and ``permutation_pvalue``.

        Raises:
            CosetCircuitsError: TransformerLens is older than 4.2, which brought that class.
        """
        try:
            from transformer_lens.patching import PatchingResult
        except ImportError as error:
            raise CosetCircuitsError(
                f"TransformerLens {version('transformer-lens')} has no PatchingResult, 4.2 brought "
                "it. Run: pip install 'transformer-lens>=4.2,<5'."
            ) from error
        return PatchingResult(
            values=self.values,
            axis_names=[],
            index_df=self.cells,
            metric_names=list(self.metrics),
            reduced=False,
            baseline=self.base,
            has_metric_axis=True,
        )

    def _metric(self, metric: str) -> int:
        if metric not in self.metrics:
            raise CosetCircuitsError(
                f"{metric!r} was not measured; this sweep has {', '.join(self.metrics)}."
            )
        return self.metrics.index(metric)

    def _share(self, values: Tensor, m: int) -> Tensor:
        base, source = self.base[m].mean(), self.source[m].mean()
        return (values - base) / (source - base)

    def __str__(self) -> str:
        return f"{self._title}\n{self.to_dataframe(self._shown).to_string(index=False)}"

    def __repr__(self) -> str:
        return f"Patching({self._title}: {len(self.cells)} patches)"

    def _repr_html_(self) -> str:
        return f"<p>{self._title}</p>{self.to_dataframe(self._shown).to_html(index=False)}"

    @property
    def _shown(self) -> str:
        return _DIFFERENCE if _DIFFERENCE in self.metrics else self.metrics[0]

    @property
    def _title(self) -> str:
        return (
            f"{self.method} of {self.network}, {self.corrupt} corrupted, {self.direction}, "
            f"{self.measured_on}, seed {self.seed}"
        )


def activation_patching(
    network: GroupModel,
    groups: Neurons = None,
    *,
    sites: Sequence[str] | None = None,
    corrupt: Side = "both",
    direction: Direction = "denoise",
    metrics: Sequence[str] = METRICS,
    controls: int = 5,
    pairs: int | None = None,
    seed: int = 0,
    chunk: int = 2_000,
    progress: Progress | None = None,
) -> Patching:
    """Patch every site as a whole and, where a site has neurons, every group of them.

    Args:
        network: a network or a surrogate, whose own prediction of the sweep this gives. A copy
            without the user's hooks is measured, in float64.
        groups: a circuit (its roles), :func:`neuron_sets` of one, names with neurons, or None
            for each neuron by itself.
        sites: which; by default all at which the model is not silent.
        corrupt: whether the corrupted pair differs in the ``left`` element, the ``right`` one or
            in ``both``. Which elements is drawn, keyed by (seed, pair).
        direction: see :class:`Patching`.
        metrics: see :data:`METRICS`. ``("logit_difference",)`` alone needs two logits a pair and
            is an order of magnitude faster.
        controls: how many random groups of each size.
        pairs: how many clean pairs; all of them unless the group has more than 60,000, then some
            10,000. The same number of right elements is taken for every left one.
        seed: of the corruption, the random groups, the sample and the bootstrap.
        chunk: about how many pairs are run at a time; it changes nothing but memory, of which
            about 100·chunk·order bytes are needed.
        progress: called with (what is being done, steps done, steps in all).

    Raises:
        CosetCircuitsError: a site, metric, group, side or number that makes no sense.
    """
    sweep = _Sweep(network, groups, metrics, corrupt, direction, controls, pairs, seed)
    chosen = check_sites(sweep.model, sites)
    cells = list(sweep.cells([(site,) for site in chosen], lambda key: key[0] in NEURON_SITES))
    attribution = _Attribution(sweep, chosen) if _DIFFERENCE in sweep.metrics else None
    return sweep.run("activation patching", ("site",), cells, _Sites, chunk, progress, attribution)


def attribution_patching(
    network: GroupModel,
    groups: Neurons = None,
    *,
    sites: Sequence[str] | None = None,
    corrupt: Side = "both",
    direction: Direction = "denoise",
    pairs: int | None = None,
    seed: int = 0,
    chunk: int = 2_000,
) -> Patching:
    """Activation patching to first order: gradient times difference (Nanda 2023).

    The gradient is that of the logit difference in the run that is patched; a patch of several
    neurons is the sum of its neurons' shares. One forward and one backward pass whatever the number
    of patches. Exact at ``hook_post`` and ``hook_logits``, where the logit difference is linear;
    before the activation function it is wrong by whatever that bends
    (:meth:`Patching.attribution_error`). Of any ReLU network whose pre-activations have mean nought
    and whose two runs are independent it finds half of the whole there: gradient times what goes is
    the base's own logits (Euler), and gradient times what comes is a function of a' plus one of b',
    which favours no product. Arguments as in :func:`activation_patching`.
    """
    sweep = _Sweep(network, groups, (_DIFFERENCE,), corrupt, direction, 0, pairs, seed)
    chosen = check_sites(sweep.model, sites)
    cells = list(sweep.cells([(site,) for site in chosen], lambda key: key[0] in NEURON_SITES))
    attribution = _Attribution(sweep, chosen)
    whole = sweep.run(
        "attribution patching", ("site",), cells, _Untouched, chunk, None, attribution
    )
    # Every patch so far left the run as it was; what it would do is added here.
    changes = torch.stack([attribution.change(cell) for cell in cells])
    values = whole.values + changes[None]
    return Patching(**{**vars(whole), "values": values, "attributed": None})


def path_patching(
    network: GroupModel,
    groups: Neurons = None,
    *,
    senders: Sequence[Side] = ("left", "right"),
    halves: Sequence[str] = HALVES,
    receivers: Sequence[str] = ("logits",),
    corrupt: Side = "both",
    direction: Direction = "denoise",
    metrics: Sequence[str] = METRICS,
    controls: int = 5,
    pairs: int | None = None,
    seed: int = 0,
    chunk: int = 2_000,
    progress: Progress | None = None,
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
        network: see :func:`activation_patching`, as for the arguments not named here. Its neurons
            must add up in the logits (a network, or a surrogate without the claim ``even``).
        senders: the input that a path comes from: ``left``, ``right``, or ``both`` together.
        halves: what of the activation it runs through; see :data:`HALVES`.
        receivers: where it ends; see :data:`RECEIVERS`.

    Raises:
        CosetCircuitsError: an argument that makes no sense, or a model whose neurons do not add up.
    """
    sweep = _Sweep(network, groups, metrics, corrupt, direction, controls, pairs, seed)
    if not is_additive(sweep.model):
        raise CosetCircuitsError(
            f"The neurons of {sweep.model.label} do not simply add up in the logits, so that it "
            "has no single paths; patch the network, or a surrogate without the claim even."
        )
    for name, given, known in (
        ("sender", senders, SIDES),
        ("half", halves, HALVES),
        ("receiver", receivers, RECEIVERS),
    ):
        _check_choice(name, given, known)
    keys = list(dict.fromkeys(itertools.product(senders, halves, receivers)))
    cells = list(sweep.cells(keys, lambda key: True))
    axes = ("sender", "half", "receiver")
    return sweep.run("path patching", axes, cells, _Paths, chunk, progress, None)


Key = tuple[str, ...]


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


_Patched = _Sites | _Paths


@dataclass(frozen=True)
class _Cell:
    key: Key
    group: str
    neurons: Tensor | None


class _Sweep:
    """Two runs for every pair, one of them patched in many ways."""

    def __init__(
        self,
        network: GroupModel,
        groups: Neurons,
        metrics: Sequence[str],
        corrupt: Side,
        direction: Direction,
        controls: int,
        pairs: int | None,
        seed: int,
    ) -> None:
        _check_choice("metric", metrics, METRICS)
        _check_choice("direction", [direction], ("denoise", "noise"))
        if controls < 0:
            raise CosetCircuitsError(f"{controls} controls were asked for; give 0 or more.")
        self.model = measured(network)
        self.neurons: NeuronSets = as_neuron_sets(self.model, groups)
        self.metrics = tuple(m for m in METRICS if m in metrics)
        self.corrupt: Side = corrupt
        self.direction, self.controls, self.seed = direction, controls, seed
        self.blocks: Blocks = sample_blocks(self.model.group, pairs, seed)

    def cells(self, keys: Sequence[Key], has_neurons: Callable[[Key], bool]) -> Iterator[_Cell]:
        for key in keys:
            yield _Cell(key, ALL, None)
            if has_neurons(key):
                for name, members in self.neurons:
                    yield _Cell(key, name, members)

    @torch.no_grad()
    def run(
        self,
        method: str,
        axes: tuple[str, ...],
        cells: Sequence[_Cell],
        patches: Callable[[Run, Run, Tensor], _Patched],
        chunk: int,
        progress: Progress | None,
        attribution: _Attribution | None,
    ) -> Patching:
        order, m = self.model.group.order, len(self.metrics)
        values = torch.zeros(m, len(cells), order, dtype=torch.float64)
        ends = torch.zeros(2, m, order, dtype=torch.float64)
        drawn = _Controls(self, cells)
        done = 0
        for part, clean in self.blocks.chunks(chunk):
            if progress is not None:
                progress(method, done, order)
            other = corrupted(self.model.group, clean, self.corrupt, self.seed)
            base_pairs, source_pairs = (
                (other, clean) if self.direction == "denoise" else (clean, other)
            )
            base, source = run_on(self.model, base_pairs), run_on(self.model, source_pairs)
            score = _Scorer(self, clean, other, base.logits)
            for end, run in zip(ends, (base, source), strict=True):
                end[:, part] = self.blocks.means(score.of(run.logits))
            patched = patches(base, source, score.outputs)
            for i, cell in enumerate(cells):
                found = score.patched(patched, cell.key, cell.neurons)
                values[:, i, part] = self.blocks.means(found)
            drawn.add(part, score, patched)
            if attribution is not None:
                attribution.add(part, base_pairs, base, source, score.outputs)
            done += len(clean) // self.blocks.size
        return Patching(
            network=self.model.label,
            method=method,
            measured_on=self.blocks.source,
            corrupt=self.corrupt,
            direction=self.direction,
            axes=(*axes, "group"),
            cells=_index(axes, cells, self.neurons.width),
            metrics=self.metrics,
            values=values,
            base=ends[0],
            source=ends[1],
            controls=drawn.means(cells),
            attributed=None
            if attribution is None
            else torch.stack([attribution.change(cell).mean() for cell in cells]),
            seed=self.seed,
        )


class _Scorer:
    """The metrics of one chunk; two logits a pair are enough where only their difference counts."""

    def __init__(self, sweep: _Sweep, clean: Tensor, other: Tensor, base: Tensor) -> None:
        group, device = sweep.model.group, sweep.model.device
        own, rival = group.products(clean).to(device), group.products(other).to(device)
        self.metrics, self.outputs = sweep.metrics, torch.stack([own, rival], 1)
        self.base = base

    def of(self, logits: Float[Tensor, "batch order"]) -> Float[Tensor, "metrics batch"]:
        own, rival = self.outputs.T
        return scores(logits, own, rival, self.base, self.metrics)

    def patched(
        self, patched: _Patched, key: Key, neurons: Int[Tensor, "k"] | None
    ) -> Float[Tensor, "metrics batch"]:
        if self.metrics == (_DIFFERENCE,):
            return difference(patched.at_outputs(key, neurons))[None].cpu()
        return self.of(patched.logits(key, neurons))


class _Controls:
    """Random groups of equal size; groups of the same size share them."""

    def __init__(self, sweep: _Sweep, cells: Sequence[_Cell]) -> None:
        self.sweep = sweep
        self.found: dict[tuple[Key, tuple[int, int]], Tensor] = {}
        self.draws: dict[tuple[int, int], list[Tensor]] = {}
        shape = (len(sweep.metrics), sweep.controls, sweep.model.group.order)
        for cell in cells:
            if cell.neurons is None:
                continue
            size = sweep.neurons.signature(cell.neurons)
            self.found.setdefault((cell.key, size), torch.zeros(shape, dtype=torch.float64))
            self.draws.setdefault(
                size,
                [
                    sweep.neurons.random(cell.neurons, sweep.seed, draw)
                    for draw in range(sweep.controls)
                ],
            )

    def add(self, part: slice, score: _Scorer, patched: _Patched) -> None:
        for (key, size), found in self.found.items():
            for draw, neurons in enumerate(self.draws[size]):
                found[:, draw, part] = self.sweep.blocks.means(score.patched(patched, key, neurons))

    def means(self, cells: Sequence[_Cell]) -> Float[Tensor, "metrics cells draws"]:
        """NaN for a whole site, of which there is no other group of equal size."""
        nothing = torch.full((len(self.sweep.metrics), self.sweep.controls), torch.nan).double()
        return torch.stack(
            [
                nothing
                if cell.neurons is None
                else self.found[cell.key, self.sweep.neurons.signature(cell.neurons)].mean(2)
                for cell in cells
            ],
            1,
        )


class _Attribution:
    """Gradient of the logit difference times the difference of the two runs, unit by unit."""

    def __init__(self, sweep: _Sweep, sites: Sequence[str]) -> None:
        self.sweep, self.sites = sweep, list(sites)
        self.shares: dict[str, Float[Tensor, "units blocks"]] = {}

    def add(self, part: slice, pairs: Tensor, base: Run, source: Run, outputs: Tensor) -> None:
        gradients = gradients_at(self.sweep.model, pairs, self.sites, outputs)
        for site, gradient in gradients.items():
            share = gradient * (source.values[site] - base.values[site])
            if site not in self.shares:
                # One place for all chunks: many small results would scatter over the heap.
                shape = (share.shape[1], self.sweep.model.group.order)
                self.shares[site] = torch.zeros(shape, dtype=torch.float64)
            self.shares[site][:, part] = self.sweep.blocks.means(share.T).cpu()

    def change(self, cell: _Cell) -> Float[Tensor, "blocks"]:
        """What a patch should change, by left element."""
        shares = self.shares[cell.key[0]]
        return (shares if cell.neurons is None else shares[cell.neurons]).sum(0)


def gradients_at(
    model: GroupModel,
    pairs: Int[Tensor, "batch 2"],
    sites: Sequence[str],
    outputs: Int[Tensor, "batch 2"],
) -> Mapping[str, Float[Tensor, "batch units"]]:
    """The gradient of the logit difference, own minus other output, in what each site holds."""
    watched: dict[str, Tensor] = {}

    def watch(value: Tensor, hook: Any) -> Tensor:
        value = value if value.requires_grad else value.detach().requires_grad_()
        watched[hook.name] = value
        return value

    with torch.inference_mode(False), torch.enable_grad():
        logits = model.run_with_hooks(pairs.clone(), fwd_hooks=[(site, watch) for site in sites])
        total = difference(logits.gather(1, outputs.clone())).sum()
        found = torch.autograd.grad(total, list(watched.values()))
    return dict(zip(watched, (gradient.detach() for gradient in found), strict=True))


def _index(axes: tuple[str, ...], cells: Sequence[_Cell], width: int) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                **dict(zip(axes, cell.key, strict=True)),
                "group": cell.group,
                "neurons": width if cell.neurons is None else len(cell.neurons),
            }
            for cell in cells
        ]
    )


def _check_choice(kind: str, given: Sequence[str], known: Sequence[str]) -> None:
    if isinstance(given, str) or not given:
        raise CosetCircuitsError(
            f"{given!r} is no list of {kind}s; give some of {', '.join(known)}."
        )
    for name in given:
        if name not in known:
            raise CosetCircuitsError(f"{name!r} is no {kind}; choose from {', '.join(known)}.")
