"""Causal scrubbing (Chan et al. 2022), each scrub beside the controls that should fail.

A hypothesis says what a site may depend on: an input's *cell* (``circuit.classes(site)``). If it
is right, what the site holds for one input may be exchanged for what it holds for any other input
of the same cell. The sampler is the recursive one: from the output backwards, every node picks a
donor that agrees with its reference input on the node's cell, and hands that donor to its parents
as their reference. Neurons that the hypothesis does not explain are Chan et al.'s unimportant
inputs: they get one random donor, the same for all of them.

The input space is finite, so donors are drawn from complete cells, and what can be counted
(freedom, the reference loss, the variance by product) is exact.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from coset_circuits.algorithms import Circuit, Classes, nulls
from coset_circuits.algorithms.algorithm import NEGLIGIBLE, UNEXPLAINED
from coset_circuits.errors import CosetCircuitsError
from coset_circuits.experiments.bench import Bench
from coset_circuits.experiments.experiment import OfEachHypothesis
from coset_circuits.experiments.measure import sampled
from coset_circuits.experiments.partitions import Partition, explained
from coset_circuits.experiments.sampler import SCRUBBED_SITES, Runner, Samples
from coset_circuits.experiments.scrub_result import Scrub, Scrubbed, ScrubResult
from coset_circuits.networks import SITES
from coset_circuits.progress import Progress
from coset_circuits.thresholds import DEFAULT, Thresholds

CONTROLS = (
    "random",
    "random groups",
    "wrong side",
    "wrong conjugate",
    "relabelled",
    "dull null",
)
"""What every scrub is read against.

``random``: cells of the same sizes, members drawn at random. ``random groups``, where neurons share
donors: neurons dealt at random to groups of the same sizes. ``wrong side``: the cells pulled back
along g ↦ g⁻¹, ``wrong conjugate``: along a random g ↦ xg (right input: gx). A map that moves no
cell is no control and left out. ``relabelled``: the hypothesis fitted again under a relabelled
group, an easy null. ``dull null``: the cells of k-means levels, which know no group; where they
pass too, passing does not show group structure.
"""

_MATCHED = ("random", "random groups", "wrong side", "wrong conjugate")


@dataclass(frozen=True)
class Scrubbing(OfEachHypothesis):
    """Resample a network's inputs within the cells of a hypothesis, beside its controls.

    Nothing is hooked: the network's tables are read, and hooks on it do not matter. Everything is
    computed in the network's own dtype; losses are summed in float64. The draws are keyed by (seed,
    sample, site, element, first neuron of the donor's set), so figures do not depend on ``chunk``
    but for rounding.

    Attributes:
        sites: one site (each of its classes is a scrub), several to be scrubbed together
            (recursively, by the first classes of each), or by default: every site alone, the
            pre-activations with one donor for all neurons, and all sites together.
        samples: how often every pair is resampled.
        donors: ``own``: each neuron, or set of neurons that the classes name, has its own donor;
            ``shared``: all neurons have one, which must lie in all their cells.
        outside: what happens to unexplained and negligible neurons: ``scrub`` gives them one
            random donor, ``keep`` leaves them their own values. Both are counted in the result.
        controls: which of :data:`CONTROLS` to run.
        chunk: pairs run at once; memory grows with it, not with the number of pairs.
    """

    sites: str | Sequence[str] | None = None
    samples: int = 20
    donors: Literal["own", "shared"] = "own"
    outside: Literal["scrub", "keep"] = "scrub"
    controls: Collection[str] = CONTROLS
    chunk: int = 2_000
    id = "scrub"

    def __post_init__(self) -> None:
        _check_counts(samples=self.samples, chunk=self.chunk)
        for name, value, choices in (
            ("donors", self.donors, ("own", "shared")),
            ("outside", self.outside, ("scrub", "keep")),
            *(("A control", control, CONTROLS) for control in self.controls),
        ):
            if value not in choices:
                raise CosetCircuitsError(f"{name} is {value!r}; choose from {', '.join(choices)}.")

    def of(self, circuit: Circuit, bench: Bench) -> ScrubResult:
        """Raises: CosetCircuitsError: no classes to scrub by, or an unknown site."""
        tasks = _tasks(circuit, self.sites, self.donors)
        samples = Samples(bench.progress, self.samples * len(tasks) * (2 + len(self.controls)))
        every = circuit.network.group.pairs()
        pairs = sampled(every, bench.pairs, bench.seed)
        chosen = None if len(pairs) == len(every) else pairs
        with torch.no_grad():
            runner = Runner(circuit.network, chosen, self.samples, bench.seed, self.chunk, samples)
            scrubber = _Scrubber(self, circuit, runner, bench)
            scrubs = tuple(scrubber.scrub(task) for task in tasks)
        names = circuit.roles.names
        return ScrubResult(
            network=circuit.network.label,
            algorithm=circuit.name,
            base=scrubber.base,
            reference_loss=runner.reference_loss,
            scrubs=scrubs,
            neurons=len(names),
            outside={role: names.count(role) for role in (UNEXPLAINED, NEGLIGIBLE)},
            kept=self.outside == "keep",
            samples=self.samples,
            pairs=runner.count,
            is_sampled=chosen is not None,
            seed=bench.seed,
            thresholds=bench.thresholds,
        )


def scrub(
    circuit: Circuit,
    sites: str | Sequence[str] | None = None,
    *,
    pairs: int | None = None,
    seed: int = 0,
    thresholds: Thresholds = DEFAULT,
    progress: Progress | None = None,
    **options: Any,
) -> ScrubResult:
    """See :class:`Scrubbing`, whose attributes are the options.

    Args:
        circuit: a fitted hypothesis that names classes for at least one site.
        pairs: how many pairs; all unless the group has more than 60,000, then a sample of 10,000.
        progress: called with (what is being done, samples done, samples in all).

    Raises:
        CosetCircuitsError: no classes to scrub by, or an unknown site, control or option.
    """
    _check_counts(pairs=pairs)
    bench = Bench.around(circuit, pairs=pairs, seed=seed, thresholds=thresholds, progress=progress)
    return Scrubbing(sites, **options).of(circuit, bench)


def _check_counts(**counts: int | None) -> None:
    for name, value in counts.items():
        if value is not None and (
            isinstance(value, bool) or not isinstance(value, int) or value < 1
        ):
            raise CosetCircuitsError(f"{name} is {value!r}; give a whole number from 1 up.")


@dataclass(frozen=True)
class _Task:
    """The classes of each site to be scrubbed together, from the output backwards."""

    classes: dict[str, Classes]
    shared: bool

    def partitions(self, circuit: Circuit, keep: bool) -> list[Partition]:
        return [
            Partition.of(circuit, site, c, shared=self.shared, keep=keep)
            for site, c in self.classes.items()
        ]


def _tasks(circuit: Circuit, sites: str | Sequence[str] | None, donors: str) -> list[_Task]:
    known = {site: found for site in SCRUBBED_SITES if (found := circuit.classes(site))}
    if not known:
        raise CosetCircuitsError(
            f"{circuit.name} does not say what {', '.join(SCRUBBED_SITES)} may depend on, so there "
            "is nothing to scrub."
        )
    shared = donors == "shared"
    if sites is not None:
        wanted = [sites] if isinstance(sites, str) else list(sites)
        for site in wanted:
            if site not in known:
                raise CosetCircuitsError(
                    f"{circuit.name} names no classes at {site!r}; it does at {', '.join(known)}."
                )
        if not wanted or len(set(wanted)) != len(wanted):
            raise CosetCircuitsError(f"The sites {wanted} name none, or one twice; name each once.")
        if isinstance(sites, str):
            return [_Task({sites: classes}, shared) for classes in known[sites]]
        return [_Task({site: known[site][0] for site in SCRUBBED_SITES if site in wanted}, shared)]
    forward = [s for s in SITES if s in known]
    tasks = [_Task({site: c}, shared) for site in forward for c in known[site]]
    if not shared:
        tasks += [_Task({"hook_pre": c}, True) for c in known.get("hook_pre", ())]
    if len(known) > 1:
        tasks.append(_Task({site: found[0] for site, found in known.items()}, shared))
    return tasks


class _Scrubber:
    """Runs each scrub beside its controls, whose circuits are fitted when first needed."""

    def __init__(self, options: Scrubbing, circuit: Circuit, runner: Runner, bench: Bench) -> None:
        self.circuit, self.runner, self.bench = circuit, runner, bench
        self.keep, self.thresholds = options.outside == "keep", bench.thresholds
        self.controls = [c for c in CONTROLS if c in options.controls]
        self.base = runner.outcome(runner.base, 0.0, None)
        self.opponents: dict[str, Circuit | str] = {}

    def scrub(self, task: _Task) -> Scrub:
        known = explained(self.circuit)
        self.runner.done.title(" + ".join(task.classes))
        own = task.partitions(self.circuit, self.keep)
        outcome = self.runner.scrubbed(own)
        outside_kept = None
        if self.keep or bool(known.all()):
            self.runner.done(self.runner.samples)
        else:
            outside_kept = self.runner.scrubbed(task.partitions(self.circuit, keep=True))
        outcomes: dict[str, Scrubbed | str] = {}
        for control in self.controls:
            against = self._against(control, own, task)
            if isinstance(against, list):
                outcomes[control] = self.runner.scrubbed(against)
                continue
            self.runner.done(self.runner.samples)
            if against is not None:
                outcomes[control] = against
        verdict, reason = self._verdict(outcome, outside_kept, outcomes)
        return Scrub(
            sites=tuple(task.classes),
            classes=" + ".join(c.name for c in task.classes.values()),
            shared=task.shared,
            explained=int(known.sum()),
            outcome=outcome,
            outside_kept=outside_kept,
            controls=outcomes,
            verdict=verdict,
            reason=reason,
        )

    def _against(
        self, control: str, own: list[Partition], task: _Task
    ) -> list[Partition] | str | None:
        """The partitions of a control, or why there are none; None where it has no meaning."""
        if control in _MATCHED:
            moved = [_matched(control, partition, self.runner.seed) for partition in own]
            if all(partition is None for partition in moved):
                return None if control == "random groups" else "no cell would be another"
            return [p if q is None else q for p, q in zip(own, moved, strict=True)]
        other = self._opponent(control)
        if isinstance(other, str):
            return other
        if self.keep and other.roles.coverage < self.thresholds.coverage:
            return f"{other.roles.coverage:.0%} of the neurons have a role; the rest would be kept"
        classes = {}
        for site, wanted in task.classes.items():
            named = {c.name: c for c in other.classes(site)}
            if not named:
                return f"{other.name} names no classes at {site}"
            classes[site] = named.get(wanted.name, next(iter(named.values())))
        return _Task(classes, task.shared).partitions(other, self.keep)

    def _opponent(self, control: str) -> Circuit | str:
        if control not in self.opponents:
            relabelled = control == "relabelled"
            self.opponents[control] = (
                self.bench.relabelled(self.circuit) if relabelled else self._null()
            )
        return self.opponents[control]

    def _null(self) -> Circuit | str:
        null = nulls(self.thresholds)[0]
        if self.circuit.name == null.name:
            return f"this is the {null.name} itself"
        return null.fit(self.circuit.network)

    def _verdict(
        self,
        outcome: Scrubbed,
        outside_kept: Scrubbed | None,
        controls: dict[str, Scrubbed | str],
    ) -> tuple[str, str]:
        def holds(found: Scrubbed | str | None) -> bool:
            return isinstance(found, Scrubbed) and _survives(found, self.base, self.thresholds)

        coverage, needed = self.circuit.roles.coverage, self.thresholds.coverage
        tried = any(isinstance(controls.get(name), Scrubbed) for name in _MATCHED)
        rules = (
            (
                not explained(self.circuit).any(),
                ("uncovered", "The hypothesis gives no neuron a role: nothing is explained."),
            ),
            (
                coverage < needed,
                (
                    "uncovered",
                    f"The hypothesis gives {coverage:.0%} of the neurons that matter a role, fewer "
                    f"than {needed:.0%}: the network is not explained, whatever this shows.",
                ),
            ),
            ((outcome.freedom or 0) < self.thresholds.freedom, _VACUOUS),
            (not holds(outcome), _MISSING if holds(outside_kept) else _FAILS),
            (holds(controls.get("random")), _POWERLESS),
            (holds(controls.get("random groups")), _POWERLESS_GROUPS),
            (holds(controls.get("relabelled")), _BLIND),
            (not tried, _UNCONTROLLED),
            (holds(controls.get("dull null")), _PASSES_LIKE_THE_NULL),
        )
        return next((verdict for applies, verdict in rules if applies), _PASSES)


_VACUOUS = (
    "vacuous",
    "A cell holds hardly more than its own input: hardly anything is resampled, nothing is tested.",
)
_MISSING = (
    "fails",
    "The network does not survive it, but does when the neurons outside the hypothesis keep their "
    "values: what they do is missing.",
)
_FAILS = (
    "fails",
    "The network does not survive it: what is there depends on more than the cell.",
)
_POWERLESS = (
    "powerless",
    "The network survives random cells of the same sizes too: the scrub cannot tell right cells "
    "from wrong ones.",
)
_POWERLESS_GROUPS = (
    "powerless",
    "The network survives random groups of the same sizes too: the scrub cannot tell which neurons "
    "belong together.",
)
_BLIND = (
    "blind",
    "The same hypothesis fitted under a relabelled group survives as well: the cells are fine "
    "enough, but they do not show the group.",
)
_UNCONTROLLED = (
    "uncontrolled",
    "The network survives it, but no wrong cells were tried that it might not survive.",
)
_PASSES = ("passes", "The cells are fine enough for the network, and wrong ones are not.")
_PASSES_LIKE_THE_NULL = (
    "passes",
    f"{_PASSES[1]} The dull null's are fine enough too, so this does not show the group.",
)


def _matched(control: str, own: Partition, seed: int) -> Partition | None:
    if control == "random":
        return own.random(seed)
    if control == "random groups":
        return own.random_groups(seed)
    return own.wrong_side() if control == "wrong side" else own.wrong_conjugate(seed)


def _survives(found: Scrubbed, base: Scrubbed, thresholds: Thresholds) -> bool:
    """Neither accuracy nor loss is worse by more than separates two predictions."""
    loss, own = (max(x.loss, thresholds.loss_floor) for x in (found, base))
    return (
        found.accuracy >= base.accuracy - thresholds.separation_accuracy
        and math.log10(loss / own) <= thresholds.separation_log_loss
    )
