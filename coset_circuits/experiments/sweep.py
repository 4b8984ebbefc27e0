"""The machine behind every sweep of patches: two runs a pair, one of them patched in many ways."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from coset_circuits.algorithms import Circuit
from coset_circuits.errors import CosetCircuitsError
from coset_circuits.experiments.bench import Bench
from coset_circuits.experiments.blocks import Blocks, sample_blocks
from coset_circuits.experiments.counterfactuals import Side, corrupted
from coset_circuits.experiments.experiment import OfEachHypothesis
from coset_circuits.experiments.neuron_sets import ALL, Groups, NeuronGroups, as_groups
from coset_circuits.experiments.patching_result import DIFFERENCE, Patching
from coset_circuits.experiments.splice import METRICS, Run, difference, run_on, scores
from coset_circuits.networks.model import GroupModel

Direction = Literal["denoise", "noise"]
Key = tuple[str, ...]


@dataclass(frozen=True)
class PatchingExperiment(OfEachHypothesis):
    """What all sweeps have in common. In a comparison the neuron sets are those of each role.

    Attributes:
        corrupt: whether the corrupted pair differs in the ``left`` element, the ``right`` one or
            in ``both``. Which elements is drawn, keyed by (seed, pair).
        direction: see :class:`Patching`.
        metrics: see :data:`METRICS`. ``("logit_difference",)`` alone needs two logits a pair and
            is an order of magnitude faster.
        controls: how many random sets of each size.
        chunk: about how many pairs are run at a time; it changes nothing but memory, of which
            about 100·chunk·order bytes are needed.
    """

    corrupt: Side = "both"
    direction: Direction = "denoise"
    metrics: Sequence[str] = METRICS
    controls: int = 5
    chunk: int = 2_000

    def of(self, circuit: Circuit, bench: Bench) -> Patching:
        """The neurons of each of the circuit's roles."""
        return self.on(circuit, bench)

    @abstractmethod
    def on(self, neurons: Groups, bench: Bench) -> Patching:
        """Any sets of neurons of the bench's network."""


@runtime_checkable
class Patches(Protocol):
    """One chunk's patched runs."""

    def logits(self, key: Key, neurons: Int[Tensor, "k"] | None) -> Float[Tensor, "batch order"]:
        """After a patch of some neurons, or of the whole site."""
        ...

    def at_outputs(self, key: Key, neurons: Int[Tensor, "k"] | None) -> Float[Tensor, "batch 2"]:
        """The same, of the two answers only."""
        ...


@dataclass(frozen=True)
class Cell:
    key: Key
    group: str
    neurons: Tensor | None


class Sweep:
    """Two runs for every pair, one of them patched in many ways."""

    def __init__(self, options: PatchingExperiment, neurons: Groups, bench: Bench) -> None:
        check_choice("metric", options.metrics, METRICS)
        check_choice("direction", [options.direction], ("denoise", "noise"))
        if options.controls < 0:
            raise CosetCircuitsError(f"{options.controls} controls were asked for; give 0 or more.")
        self.options, self.bench = options, bench
        self.model, self.seed, self.controls = bench.network, bench.seed, options.controls
        self.neurons: NeuronGroups = as_groups(self.model, neurons)
        self.metrics = tuple(m for m in METRICS if m in options.metrics)
        self.blocks: Blocks = sample_blocks(self.model.group, bench.pairs, bench.seed)

    def cells(self, keys: Sequence[Key], has_neurons: Callable[[Key], bool]) -> Iterator[Cell]:
        for key in keys:
            yield Cell(key, ALL, None)
            if has_neurons(key):
                for name, members in self.neurons:
                    yield Cell(key, name, members)

    @torch.no_grad()
    def run(
        self,
        method: str,
        axes: tuple[str, ...],
        cells: Sequence[Cell],
        patches: Callable[[Run, Run, Tensor], Patches],
        attribution: Attribution | None,
    ) -> Patching:
        order, m = self.model.group.order, len(self.metrics)
        values = torch.zeros(m, len(cells), order, dtype=torch.float64)
        ends = torch.zeros(2, m, order, dtype=torch.float64)
        drawn = _Controls(self, cells)
        done = 0
        for part, clean in self.blocks.chunks(self.options.chunk):
            self.bench.progress(method, done, order)
            other = corrupted(self.model.group, clean, self.options.corrupt, self.seed)
            base_pairs, source_pairs = (
                (other, clean) if self.options.direction == "denoise" else (clean, other)
            )
            base, source = run_on(self.model, base_pairs), run_on(self.model, source_pairs)
            score = _Scorer(self, clean, other, base.logits)
            for end, run in zip(ends, (base, source), strict=True):
                end[:, part] = self.blocks.means(score.of(run.logits))
            patched = patches(base, source, score.outputs)
            for i, cell in enumerate(cells):
                patch = score.patched(patched, cell.key, cell.neurons)
                values[:, i, part] = self.blocks.means(patch)
            drawn.add(part, score, patched)
            if attribution is not None:
                attribution.add(part, base_pairs, base, source, score.outputs)
            done += len(clean) // self.blocks.size
        return Patching(
            network=self.model.label,
            method=method,
            measured_on=self.blocks.source,
            corrupt=self.options.corrupt,
            direction=self.options.direction,
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

    def __init__(self, sweep: Sweep, clean: Tensor, other: Tensor, base: Tensor) -> None:
        group, device = sweep.model.group, sweep.model.device
        own, rival = group.products(clean).to(device), group.products(other).to(device)
        self.metrics, self.outputs = sweep.metrics, torch.stack([own, rival], 1)
        self.base = base

    def of(self, logits: Float[Tensor, "batch order"]) -> Float[Tensor, "metrics batch"]:
        own, rival = self.outputs.T
        return scores(logits, own, rival, self.base, self.metrics)

    def patched(
        self, patched: Patches, key: Key, neurons: Int[Tensor, "k"] | None
    ) -> Float[Tensor, "metrics batch"]:
        if self.metrics == (DIFFERENCE,):
            return difference(patched.at_outputs(key, neurons))[None].cpu()
        return self.of(patched.logits(key, neurons))


class _Controls:
    """Random groups of equal size; groups of the same size share them."""

    def __init__(self, sweep: Sweep, cells: Sequence[Cell]) -> None:
        self.sweep = sweep
        self.scores: dict[tuple[Key, tuple[int, int]], Tensor] = {}
        self.draws: dict[tuple[int, int], list[Tensor]] = {}
        shape = (len(sweep.metrics), sweep.controls, sweep.model.group.order)
        for cell in cells:
            if cell.neurons is None:
                continue
            size = sweep.neurons.signature(cell.neurons)
            self.scores.setdefault((cell.key, size), torch.zeros(shape, dtype=torch.float64))
            self.draws.setdefault(
                size,
                [
                    sweep.neurons.random(cell.neurons, sweep.seed, draw)
                    for draw in range(sweep.controls)
                ],
            )

    def add(self, part: slice, score: _Scorer, patched: Patches) -> None:
        for (key, size), values in self.scores.items():
            for draw, neurons in enumerate(self.draws[size]):
                values[:, draw, part] = self.sweep.blocks.means(
                    score.patched(patched, key, neurons)
                )

    def means(self, cells: Sequence[Cell]) -> Float[Tensor, "metrics cells draws"]:
        """NaN for a whole site, of which there is no other group of equal size."""
        nothing = torch.full((len(self.sweep.metrics), self.sweep.controls), torch.nan).double()
        return torch.stack(
            [
                nothing
                if cell.neurons is None
                else self.scores[cell.key, self.sweep.neurons.signature(cell.neurons)].mean(2)
                for cell in cells
            ],
            1,
        )


class Attribution:
    """Gradient of the logit difference times the difference of the two runs, unit by unit."""

    def __init__(self, sweep: Sweep, sites: Sequence[str]) -> None:
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

    def change(self, cell: Cell) -> Float[Tensor, "blocks"]:
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
        gradients = torch.autograd.grad(total, list(watched.values()))
    return dict(zip(watched, (gradient.detach() for gradient in gradients), strict=True))


def _index(axes: tuple[str, ...], cells: Sequence[Cell], width: int) -> pd.DataFrame:
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


def check_choice(kind: str, given: Sequence[str], choices: Sequence[str]) -> None:
    if isinstance(given, str) or not given:
        raise CosetCircuitsError(
            f"{given!r} is no list of {kind}s; give some of {', '.join(choices)}."
        )
    for name in given:
        if name not in choices:
            raise CosetCircuitsError(f"{name!r} is no {kind}; choose from {', '.join(choices)}.")
