"""The code shared by all sweeps of patches: two runs per pair, one of them patched in many ways."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Literal

import pandas as pd
import torch
from jaxtyping import Int
from torch import Tensor

from coset_circuits.algorithms import Circuit
from coset_circuits.errors import CosetCircuitsError, whole
from coset_circuits.experiments.bench import Bench
from coset_circuits.experiments.blocks import sample_blocks
from coset_circuits.experiments.counterfactuals import Side, corrupted
from coset_circuits.experiments.experiment import OfEachHypothesis
from coset_circuits.experiments.neuron_sets import ALL, Neurons, as_neuron_sets
from coset_circuits.experiments.patching_result import Patching
from coset_circuits.experiments.splice import (
    DIFFERENCE,
    METRICS,
    Run,
    difference,
    first_order,
    run_on,
    scores,
)
from coset_circuits.networks.model import GroupModel

Direction = Literal["denoise", "noise"]

Key = tuple[str, ...]
"""The place of a patch: a site, or a path's sender, half and receiver."""

Patch = Callable[[Key, Tensor | None, Tensor | None], Tensor]
"""The logits after a patch of some neurons or (None) all, for every output or only some."""


@dataclass(frozen=True)
class Sweep(OfEachHypothesis):
    """The options that all sweeps of patches share.

    Attributes:
        neurons: a circuit (its roles), :func:`neuron_sets` of one, names with neurons, or None for
            each neuron by itself (in a comparison, for the roles of each hypothesis).
        corrupt: whether the corrupted pair differs in the ``left`` element, the ``right`` one or
            in ``both``. The new elements are random, keyed by (seed, pair).
        direction: ``denoise`` patches the clean run's values into the corrupted run (are they
            enough?), ``noise`` the corrupted run's into the clean run (are they needed?).
        metrics: see :data:`METRICS`. ``("logit_difference",)`` alone needs two logits a pair and
            is an order of magnitude faster.
        controls: the number of random neuron sets of each size.
        chunk: about how many pairs are run at a time. It only changes memory use, which is about
            100·chunk·order bytes.

    Raises:
        CosetCircuitsError: an option is invalid.
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
        check_choice("metric", self.metrics, METRICS)
        check_choice("direction", [self.direction], ("denoise", "noise"))
        whole("number of controls", self.controls, 0)

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


def check_choice(kind: str, given: Sequence[str], known: Sequence[str]) -> None:
    if isinstance(given, str) or not given:
        raise CosetCircuitsError(
            f"{given!r} is not a list of {kind}s; give some of {', '.join(known)}."
        )
    for name in given:
        if name not in known:
            raise CosetCircuitsError(f"{name!r} is not a {kind}; choose from {', '.join(known)}.")
