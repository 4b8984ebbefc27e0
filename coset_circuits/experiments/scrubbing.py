"""Causal scrubbing (Chan et al. 2022), each scrub with controls that should fail.

A hypothesis says what a site may depend on: an input's *cell* (``circuit.classes(site)``). If it is
right, the site's value on one input can be exchanged for its value on any other input of the same
cell. The sampler is recursive. From the output backwards, every node picks a donor that agrees with
its reference input on the node's cell, and passes that donor to its parents as their reference.
Neurons that the hypothesis does not explain are Chan et al.'s unimportant inputs: they all get the
same random donor.

The input space is finite, so donors are drawn from complete cells, and freedom, the reference loss
and the variance by product are computed exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch

from coset_circuits.algorithms import Circuit, Classes, nulls
from coset_circuits.algorithms.algorithm import NEGLIGIBLE, UNEXPLAINED, check_circuit
from coset_circuits.errors import CosetCircuitsError, whole
from coset_circuits.experiments.bench import Bench
from coset_circuits.experiments.experiment import OfEachHypothesis
from coset_circuits.experiments.partitions import Partition, explained
from coset_circuits.experiments.sampler import SCRUBBED_SITES, Runner
from coset_circuits.experiments.scrub_result import Scrub, Scrubbed, ScrubResult
from coset_circuits.networks import SITES
from coset_circuits.progress import Steps

_WRONG_CELLS: dict[str, Callable[[Partition, int], Partition | None]] = {
    "random": Partition.random,
    "random neuron sets": Partition.random_neuron_sets,
    "wrong side": lambda cells, seed: cells.wrong_side(),
    "wrong conjugate": Partition.wrong_conjugate,
}
CONTROLS = (*_WRONG_CELLS, "relabelled", "dull null")
"""What every scrub is read against.

``random``: cells of the same sizes, members drawn at random. ``random neuron sets``, where neurons
share donors: neurons dealt at random to sets of the same sizes. ``wrong side``: the cells pulled
back along g ↦ g⁻¹, ``wrong conjugate``: along a random g ↦ xg (right input: gx). A map that moves
no cell is not a control and left out. ``relabelled``: the hypothesis fitted again under a
relabelled group, an easy null. ``dull null``: the cells of k-means levels, which know no group;
where they pass too, passing does not show group structure.
"""


@dataclass(frozen=True)
class Scrubbing(OfEachHypothesis):
    """Resample a network's inputs within the cells of a hypothesis, beside its controls.

    Nothing is hooked: the network's tables are read, and hooks on it do not matter. Everything is
    computed in the network's own dtype; losses are summed in float64. The draws are keyed by (seed,
    sample, site, element, first neuron of the donor's set), so figures do not depend on ``chunk``
    but for rounding.

    Attributes:
        sites: one site (each of its classes is a scrub), or several that are scrubbed together
            (recursively, by the first classes of each). By default: every site alone, the
            pre-activations with one donor for all neurons, and all sites together.
        samples: the number of times every pair is resampled.
        donors: ``own``: each neuron, or set of neurons that the classes name, has its own donor;
            ``shared``: all neurons share one donor, which must be in all their cells.
        outside: the treatment of unexplained and negligible neurons: ``scrub`` gives them one
            random donor, ``keep`` leaves their values. Both are counted in the result.
        controls: the names of the :data:`CONTROLS` to run.
        chunk: pairs run at once; memory grows with it, not with the number of pairs.

    Raises:
        CosetCircuitsError: a control or option is unknown, or a count is below 1.
    """

    sites: str | Sequence[str] | None = None
    samples: int = 20
    donors: Literal["own", "shared"] = "own"
    outside: Literal["scrub", "keep"] = "scrub"
    controls: Collection[str] = CONTROLS
    chunk: int = 2_000
    id = "scrub"

    def __post_init__(self) -> None:
        whole("number of samples", self.samples)
        whole("number of pairs in a chunk", self.chunk)
        for name, value, choices in (
            ("donors", self.donors, ("own", "shared")),
            ("outside", self.outside, ("scrub", "keep")),
            *(("A control", control, CONTROLS) for control in self.controls),
        ):
            if value not in choices:
                raise CosetCircuitsError(f"{name} is {value!r}; choose from {', '.join(choices)}.")

    @torch.no_grad()
    def of(self, circuit: Circuit, bench: Bench) -> ScrubResult:
        """Scrub the circuit's network.

        Raises:
            CosetCircuitsError: there are no classes to scrub by, or a site is unknown.
        """
        tasks, network, names = self._tasks(circuit), circuit.network, circuit.roles.names
        steps = Steps(bench.progress, self.samples * len(tasks) * (2 + len(self.controls)))
        is_sampled = len(bench.sample) < network.group.order**2
        runner = Runner(
            network, bench.sample if is_sampled else None, self.samples, bench.seed, self.chunk
        )
        scrubber = _Scrubber(self, circuit, bench, runner, steps)
        scrubs = tuple(scrubber.scrub(task) for task in tasks)
        bench.progress("scrubbed", steps.total, steps.total)
        return ScrubResult(
            network=network.label,
            algorithm=circuit.name,
            base=scrubber.base,
            reference_loss=runner.reference_loss,
            scrubs=scrubs,
            neurons=len(names),
            outside={role: names.count(role) for role in (UNEXPLAINED, NEGLIGIBLE)},
            kept=self.outside == "keep",
            samples=self.samples,
            pairs=runner.count,
            is_sampled=is_sampled,
            seed=bench.seed,
        )

    def _tasks(self, circuit: Circuit) -> list[_Task]:
        classes = {site: named for site in SCRUBBED_SITES if (named := circuit.classes(site))}
        if not classes:
            raise CosetCircuitsError(
                f"{circuit.name} does not say what {', '.join(SCRUBBED_SITES)} may depend on, so "
                "there is nothing to scrub."
            )
        shared = self.donors == "shared"
        together = {site: named[0] for site, named in classes.items()}
        if self.sites is None:
            order = [site for site in SITES if site in classes]
            tasks = [_Task({site: one}, shared) for site in order for one in classes[site]]
            if not shared:
                tasks += [_Task({"hook_pre": one}, True) for one in classes.get("hook_pre", ())]
            return [*tasks, _Task(together, shared)] if len(classes) > 1 else tasks
        wanted = [self.sites] if isinstance(self.sites, str) else list(self.sites)
        for site in wanted:
            if site not in classes:
                raise CosetCircuitsError(
                    f"{circuit.name} names no classes at {site!r}; it does at {', '.join(classes)}."
                )
        if not wanted or len(set(wanted)) != len(wanted):
            raise CosetCircuitsError(f"The sites {wanted} name none, or one twice; name each once.")
        if isinstance(self.sites, str):
            return [_Task({self.sites: one}, shared) for one in classes[self.sites]]
        return [_Task({site: together[site] for site in together if site in wanted}, shared)]


def scrub(
    circuit: Circuit, sites: str | Sequence[str] | None = None, **options: Any
) -> ScrubResult:
    """Resample a network's inputs within the cells of a hypothesis: see :class:`Scrubbing`.

    Args:
        circuit: a fitted hypothesis that names classes for at least one site.
        options: the other attributes of the experiment, and the number of ``pairs`` (all by
            default, or a sample of 10,000 if the group has more than 60,000), the ``seed``,
            ``thresholds`` and ``progress``.

    Raises:
        CosetCircuitsError: there are no classes to scrub by, or a site, control or option is
            unknown.
    """
    check_circuit(circuit)
    bench, options = Bench.for_options(circuit, options)
    return Scrubbing(sites, **options).of(circuit, bench)


@dataclass(frozen=True)
class _Task:
    """The classes of each site to be scrubbed together, from the output backwards."""

    classes: dict[str, Classes]
    shared: bool

    def partitions(self, circuit: Circuit, keep: bool) -> list[Partition]:
        return [
            Partition.of(circuit, site, classes, shared=self.shared, keep=keep)
            for site, classes in self.classes.items()
        ]


@dataclass
class _Scrubber:
    """Runs each scrub beside its controls, whose circuits are fitted when first needed."""

    options: Scrubbing
    circuit: Circuit
    bench: Bench
    runner: Runner
    steps: Steps

    def __post_init__(self) -> None:
        self.keep, self.thresholds = self.options.outside == "keep", self.bench.thresholds
        self.base = self.runner.outcome(self.runner.base)
        self.explained = int(explained(self.circuit).sum())

    def scrub(self, task: _Task) -> Scrub:
        partitions = task.partitions(self.circuit, self.keep)
        outcome = self._scrubbed(partitions)
        assert isinstance(outcome, Scrubbed)
        has_outside = self.explained < len(self.circuit.roles.names)
        kept = None
        if has_outside and not self.keep:
            kept = task.partitions(self.circuit, keep=True)
        outside_kept = self._scrubbed(kept)
        assert not isinstance(outside_kept, str)
        controls = {
            name: control
            for name in CONTROLS
            if name in self.options.controls
            and (control := self._scrubbed(self._control(name, partitions, task))) is not None
        }
        verdict, reason = self._verdict(outcome, outside_kept, controls)
        return Scrub(
            sites=tuple(task.classes),
            classes=" + ".join(classes.name for classes in task.classes.values()),
            shared=task.shared,
            explained=self.explained,
            outcome=outcome,
            outside_kept=outside_kept,
            controls=controls,
            verdict=verdict,
            reason=reason,
        )

    def _scrubbed(self, partitions: list[Partition] | str | None) -> Scrubbed | str | None:
        """Measure partitions; a reason why there are none is returned as it is."""
        progress = self.steps.part(self.options.samples)
        if isinstance(partitions, list):
            return self.runner.scrubbed(partitions, progress)
        return partitions

    def _control(
        self, name: str, partitions: list[Partition], task: _Task
    ) -> list[Partition] | str | None:
        """The partitions of a control, or why there are none; None if it does not apply."""
        if name in _WRONG_CELLS:
            wrong = [_WRONG_CELLS[name](partition, self.bench.seed) for partition in partitions]
            if all(partition is None for partition in wrong):
                return None if name == "random neuron sets" else "no cell would be another"
            return [other or right for right, other in zip(partitions, wrong, strict=True)]
        circuit = self._relabelled if name == "relabelled" else self._null
        if isinstance(circuit, str):
            return circuit
        coverage = circuit.roles.coverage
        if self.keep and coverage < self.thresholds.coverage:
            return f"{coverage:.0%} of the neurons have a role; the rest would be kept"
        classes = {}
        for site, wanted in task.classes.items():
            named = {one.name: one for one in circuit.classes(site)}
            if not named:
                return f"{circuit.name} names no classes at {site}"
            classes[site] = named.get(wanted.name, next(iter(named.values())))
        return _Task(classes, task.shared).partitions(circuit, self.keep)

    @cached_property
    def _relabelled(self) -> Circuit | str:
        return self.bench.relabelled(self.circuit)

    @cached_property
    def _null(self) -> Circuit | str:
        null = nulls(self.thresholds)[0]
        if isinstance(self.circuit.algorithm, type(null)):
            return f"this is the {null.name} itself"
        fitted = (c.circuit for c in self.bench.candidates if c.kind == "null")
        return next(fitted, None) or null.fit(self.circuit.network)

    def _verdict(
        self,
        outcome: Scrubbed,
        outside_kept: Scrubbed | None,
        controls: dict[str, Scrubbed | str],
    ) -> tuple[str, str]:
        """The first verdict that applies, as a word and a sentence."""
        coverage, needed = self.circuit.roles.coverage, self.thresholds.coverage
        survives = self._survives(outcome)
        passing = {name for name, control in controls.items() if self._survives(control)}
        passes = "The cells are fine enough for the network, and wrong ones are not."
        rules = (
            (
                self.explained == 0,
                "uncovered",
                "The hypothesis gives no neuron a role: nothing is explained.",
            ),
            (
                coverage < needed,
                "uncovered",
                f"The hypothesis gives {coverage:.0%} of the neurons that matter a role, fewer "
                f"than {needed:.0%}: the network is not explained, whatever this shows.",
            ),
            (
                (outcome.freedom or 0) < self.thresholds.freedom,
                "vacuous",
                "A cell has hardly any inputs besides its own: hardly anything is resampled, "
                "so nothing is tested.",
            ),
            (
                not survives and self._survives(outside_kept),
                "fails",
                "The network fails it, but survives if the neurons outside the hypothesis keep "
                "their values: the hypothesis misses what these neurons do.",
            ),
            (
                not survives,
                "fails",
                "The network does not survive it: the site depends on more than the cell.",
            ),
            (
                "random" in passing,
                "powerless",
                "The network survives random cells of the same sizes too: the scrub cannot tell "
                "right cells from wrong ones.",
            ),
            (
                "random neuron sets" in passing,
                "powerless",
                "The network survives random neuron sets of the same sizes too: the scrub cannot "
                "tell which neurons belong together.",
            ),
            (
                "relabelled" in passing,
                "blind",
                "The same hypothesis fitted under a relabelled group survives as well: the cells "
                "are fine enough, but they do not show the group.",
            ),
            (
                not any(isinstance(controls.get(name), Scrubbed) for name in _WRONG_CELLS),
                "uncontrolled",
                "The network survives it, but no wrong cells were tried that it might fail.",
            ),
            (
                "dull null" in passing,
                "passes",
                f"{passes} The dull null's are fine enough too, so this does not show the group.",
            ),
            (True, "passes", passes),
        )
        return next((verdict, reason) for applies, verdict, reason in rules if applies)

    def _survives(self, outcome: Scrubbed | str | None) -> bool:
        """Whether neither accuracy nor loss is worse by more than separates two predictions."""
        if not isinstance(outcome, Scrubbed):
            return False
        loss, base = (max(x.loss, self.thresholds.loss_floor) for x in (outcome, self.base))
        return (
            outcome.accuracy >= self.base.accuracy - self.thresholds.separation_accuracy
            and math.log10(loss / base) <= self.thresholds.separation_log_loss
        )
