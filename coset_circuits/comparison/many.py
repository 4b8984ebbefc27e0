"""Compare many networks one by one, then summarise the findings over networks."""

from __future__ import annotations

import html
import os
import shutil
import sys
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import torch

from coset_circuits.comparison.across import NetworkSummary, Stratum, findings_across, strata
from coset_circuits.comparison.question import asked
from coset_circuits.comparison.sources import Given, Source, sources
from coset_circuits.comparison.summary import SCHEMA, Summary, versions
from coset_circuits.errors import CosetCircuitsError, unexpected, whole
from coset_circuits.findings import Finding, without_nan
from coset_circuits.findings.statistics import METHOD, too_few
from coset_circuits.findings.storage import Kept
from coset_circuits.networks.model import GroupModel
from coset_circuits.presentation import Presented
from coset_circuits.progress import Progress, silent
from coset_circuits.thresholds import DEFAULT, Thresholds
from coset_circuits.training.processes import cores, in_processes, ranks_of_torchrun

STEPS = 100
"""Progress is counted in hundredths of a network."""


Compare = Callable[[GroupModel, Progress | None], Any]
"""What gives the :class:`~coset_circuits.Comparison` of one network."""


@dataclass(frozen=True, repr=False)
class Ensemble(Presented):
    """Findings on many networks, without the networks and surrogates, so it stays small.

    Attributes:
        networks: one entry per network, in the order given.
        skipped: files that were not compared, each with the reason.
        strata: networks grouped by group, width and activation, with their joint findings.
        rule: the rule that gave each network's verdict.
        versions: versions of the software that the figures depend on.
    """

    networks: tuple[NetworkSummary, ...]
    skipped: Mapping[str, str]
    strata: tuple[Stratum, ...]
    thresholds: Thresholds
    seed: int
    versions: Mapping[str, str]
    notes: tuple[str, ...] = field(default=())

    @property
    def rule(self) -> str:
        return self.networks[0].verdict.rule

    @property
    def sentences(self) -> list[str]:
        """One sentence of counted verdicts for each kind of network."""
        several = len(self.strata) > 1
        return [(f"{s.title}. " if several else "") + s.count.sentence for s in self.strata]

    def __len__(self) -> int:
        return len(self.networks)

    def __iter__(self) -> Iterator[NetworkSummary]:
        return iter(self.networks)

    def network(self, name: str) -> NetworkSummary:
        """The findings on the network with this name.

        Raises:
            CosetCircuitsError: there is no such network; the message lists the names.
        """
        for network in self.networks:
            if network.name == name:
                return network
        names = ", ".join(network.name for network in self.networks)
        raise CosetCircuitsError(f"No network here is called {name!r}; choose from {names}.")

    def to_dataframe(self) -> pd.DataFrame:
        """One row for each network and candidate: verdict, prediction error, bits at fidelity."""
        return pd.DataFrame(
            {
                "network": network.name,
                "group": network.kind[0],
                "d_mlp": network.kind[2],
                "accuracy": network.accuracy,
                "loss": network.loss,
                "algorithm": name,
                "kind": circuit.kind,
                "verdict": network.verdict.on(name),
                "coverage": circuit.coverage,
                **circuit.prediction,
                "bits_per_neuron": circuit.bits_at_fidelity.value,
                "compression": circuit.compression.value,
            }
            for network in self.networks
            for name, circuit in network.circuits.items()
        )

    def across_dataframe(self) -> pd.DataFrame:
        """One row for each figure over the networks of a kind, without paired comparisons."""
        return pd.DataFrame(
            {**row, **finding.at, "control": finding.control and finding.control.value}
            | {"statistic": finding.more["statistic"], "networks": finding.more["networks"]}
            for row, finding in self._rows_across()
            if not finding.experiment.startswith("paired_")
        )

    def paired_dataframe(self) -> pd.DataFrame:
        """One row for each paired comparison of two hypotheses, or of one and its control.

        ``median_difference`` is the median of ``one`` − ``two`` over networks that have both.
        """
        frame = pd.DataFrame(
            {**row, **finding.more}
            for row, finding in self._rows_across()
            if finding.experiment.startswith("paired_")
        )
        names = {"algorithm": "one", "against": "two", "value": "median_difference"}
        return frame.rename(columns=names)

    def _rows_across(self) -> Iterator[tuple[dict[str, Any], Finding]]:
        for stratum in self.strata:
            for finding in findings_across(stratum, self.seed):
                low, high = finding.interval or (None, None)
                yield (
                    {
                        **stratum.kind,
                        "experiment": finding.experiment,
                        "algorithm": finding.subject,
                        "quantity": finding.quantity,
                        "value": finding.value,
                        "low": low,
                        "high": high,
                        "unit": finding.unit,
                    },
                    finding,
                )

    def to_dict(self) -> dict[str, Any]:
        """The content of findings.json for several networks.

        A finding on one network names it; a finding over networks names none.
        """
        content = {
            "schema": SCHEMA,
            "networks": [
                {
                    **network.summary.network,
                    "name": network.name,
                    "file": network.source,
                    "report": network.report,
                    "verdict": network.verdict.to_dict(),
                    "fidelity": network.summary.fidelity.to_dict(),
                    "notes": network.summary.notes,
                    "device": network.summary.device,
                    "dtype": network.summary.dtype,
                    "experiments": network.summary.experiments,
                    "formation": network.summary.formation,
                }
                for network in self.networks
            ],
            "verdict": {
                "sentence": " ".join(self.sentences),
                "kinds": [{**s.kind, **s.count.to_dict()} for s in self.strata],
                "rule": self.rule,
            },
            "skipped": [{"file": name, "reason": why} for name, why in self.skipped.items()],
            "circuits": [
                {"network": network.name, **circuit.to_dict()}
                for network in self.networks
                for circuit in network.circuits.values()
            ],
            "findings": [
                {"network": network.name, **finding.to_dict()}
                for network in self.networks
                for finding in network.summary.findings
            ]
            + [
                {"network": None, **stratum.kind, **finding.to_dict()}
                for stratum in self.strata
                for finding in findings_across(stratum, self.seed)
            ],
            "statistics": {
                "unit": "network",
                "interval": METHOD,
                "confidence": 1 - self.thresholds.significance,
                "notes": self.notes,
            },
            "thresholds": self.thresholds.to_dict(),
            "versions": self.versions,
            "seed": self.seed,
        }
        return without_nan(content)

    def __repr__(self) -> str:
        kinds = ", ".join(f"{len(s.networks)} of {s.title}" for s in self.strata)
        skipped = f", {len(self.skipped)} skipped" if self.skipped else ""
        return f"Ensemble({kinds}{skipped})"

    def _repr_html_(self) -> str:
        hypotheses = self.to_dataframe().query("kind == 'hypothesis'")
        columns = ["network", "group", "accuracy", "algorithm", "verdict"]
        columns += ["median_log_loss", "bits_per_neuron", "compression"]
        shown = hypotheses[columns].to_html(index=False)
        said = "".join(f"<p>{html.escape(sentence)}</p>" for sentence in self.sentences)
        return f"<p><b>{html.escape(repr(self))}</b></p>{said}{shown}"


def compare_many(
    given: Iterable[Given] | Given,
    compare_one: Compare,
    *,
    depends_on: Sequence[Any],
    options: Mapping[str, Any],
    thresholds: Thresholds = DEFAULT,
    seed: int = 0,
    order: str | None = None,
    out: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Ensemble:
    """Compare each network, keep only the findings, and combine them.

    Under ``torchrun`` the ranks share the networks, and every rank ends with all findings.

    Args:
        given: names, paths, networks, folders; see :func:`sources`.
        compare_one: maps ``(network, progress)`` to its comparison.
        depends_on, options: everything that the comparison depends on. They decide whether a
            saved report can be reused; see :func:`asked`.
        order: the element order of other projects' checkpoints, if it cannot be measured.
        out: a folder that gets one report per network. Networks that it already has, compared
            with the same settings, are not computed again, so a stopped call can be repeated.
        workers: see :func:`~coset_circuits.compare`.
        progress: called with (current task, steps done, total steps).

    Raises:
        CosetCircuitsError: there is nothing to compare, or no network can be read.
    """
    given_networks = sources(given)
    kept = None if out is None else Kept(out)
    options = {**options, "order": order, "thresholds": asdict(thresholds), "versions": versions()}
    entries = [_Entry.of(source, kept, options, depends_on) for source in given_networks]
    firsts = {entry.content: entry for entry in reversed(entries) if not entry.problem}
    jobs = {
        number: partial(_analysed, entry.source, order, compare_one)
        for number, entry in enumerate(entries)
        if firsts.get(entry.content) is entry and entry.earlier is None
    }
    bar = _Bar(progress, len(entries), len(entries) - len(jobs))
    with ranks_of_torchrun() as ranks, TemporaryDirectory() as folder:
        mine = ranks.share(list(jobs))
        reports = _Reports(kept, Path(folder), entries, mine)

        def ended(number: int, analysed: _Analysed) -> None:
            bar.end(number)
            reports.ended(number, analysed)

        try:
            found = in_processes(
                {n: partial(jobs[n], reports.waiting(n)) for n in mine},
                _workers(workers, given_networks, ranks.on_this_machine),
                bar,
                lambda _, code: _Analysed(f"Its process ended with code {code}; try it alone."),
                fork=True,
                ended=ended,
            )
        finally:
            reports.keep_all()
        everything = ranks.gather([(n, found[n], reports.places.get(n)) for n in mine])
        done = {n: (analysed, place) for n, analysed, place in everything}
        results: list[NetworkSummary] = []
        skipped: dict[str, str] = {}
        seen: dict[str, str] = {}
        for number, entry in enumerate(entries):
            name = entry.source.called
            if entry.problem or entry.content in seen:
                twice = f"The same network as {seen.get(entry.content)}, counted once."
                skipped[name] = entry.problem or twice
                continue
            if entry.earlier is not None:
                content, place = entry.earlier
                summary = Summary.from_dict(content)
            else:
                # It could not be copied to a process, or its duplicate could not be read.
                analysed, place = done.get(number, (_UNDONE, None))
                if analysed == _UNDONE:
                    job = partial(_analysed, entry.source, order, compare_one)
                    analysed = job(reports.waiting(number), partial(bar, number))
                    place = reports.keep(number, analysed)
                if analysed.summary is None:
                    skipped[name] = analysed.problem
                    continue
                summary = analysed.summary
            seen[entry.content] = name
            called = unused_name(summary.network["name"], entry.content, [n.name for n in results])
            results.append(
                NetworkSummary(called, summary, name, None if place is None else place.name)
            )
    if not results:
        raise CosetCircuitsError(none_of(len(given_networks), skipped))
    bar.progress("figures across networks", bar.total, bar.total)
    across = strata(results, thresholds, seed)
    return Ensemble(
        tuple(results),
        skipped,
        across,
        thresholds,
        seed,
        versions(),
        (*_notes(across, thresholds), *([] if kept is None else kept.failures)),
    )


@dataclass(frozen=True)
class _Entry:
    """A given network with what can be read of it before the analysis."""

    source: Source
    content: str = ""
    question: Mapping[str, Any] | None = None
    earlier: tuple[dict[str, Any], Path] | None = None
    problem: str = ""

    @classmethod
    def of(
        cls,
        source: Source,
        kept: Kept | None,
        options: Mapping[str, Any],
        depends_on: Sequence[Any],
    ) -> _Entry:
        try:
            content = source.content()
            question = asked(content, source.naming(), options, depends_on)
            earlier = None if kept is None else kept.findings(question)
        except CosetCircuitsError as error:
            return cls(source, problem=str(error))
        except Exception as error:
            return cls(source, problem=unexpected(error))
        return cls(source, content, question, earlier)


@dataclass(frozen=True)
class _Analysed:
    """The result of one network: a summary, or why there is none; neither if it did not run."""

    problem: str = ""
    summary: Summary | None = None


_UNDONE = _Analysed()


def _analysed(
    source: Source,
    order: str | None,
    compare_one: Compare,
    folder: Path | None,
    report: Callable[[tuple[str, int, int]], None],
) -> _Analysed:
    try:
        # Autograd refuses to work in a copy of a process in which it has worked.
        torch.ones(1, requires_grad=True).sum().backward()
    except RuntimeError:
        return _UNDONE
    report(("reading", 0, 1))
    try:
        comparison = compare_one(source.load(order), lambda *step: report(step))
    except CosetCircuitsError as error:
        return _Analysed(str(error))
    except Exception as error:
        # One network must not take the others' results with it.
        return _Analysed(unexpected(error))
    if folder is not None:
        # A report that is not there is recorded when it is to be kept.
        with suppress(CosetCircuitsError):
            comparison.save(folder)
    return _Analysed(summary=comparison.summary())


class _Reports:
    """Finished reports, held in a temporary folder until all earlier networks' are kept."""

    def __init__(
        self, kept: Kept | None, folder: Path, entries: Sequence[_Entry], order: Sequence[int]
    ) -> None:
        self.kept, self.folder, self.entries = kept, folder, entries
        self.queue, self.analysed = deque(order), dict[int, _Analysed]()
        self.places: dict[int, Path | None] = {}

    def waiting(self, number: int) -> Path | None:
        return None if self.kept is None else self.folder / str(number)

    def ended(self, number: int, analysed: _Analysed) -> None:
        self.analysed[number] = analysed
        while self.queue and self.queue[0] in self.analysed:
            first = self.queue.popleft()
            self.places[first] = self.keep(first, self.analysed.pop(first))

    def keep_all(self) -> None:
        """Keep the waiting reports too, when an earlier network was stopped."""
        for number, analysed in self.analysed.items():
            self.places[number] = self.keep(number, analysed)

    def keep(self, number: int, analysed: _Analysed) -> Path | None:
        if self.kept is None or analysed.summary is None:
            return None
        entry, name = self.entries[number], analysed.summary.network["name"]
        return self.kept.keep(entry.question, entry.content, name, partial(self._moved, number))

    def _moved(self, number: int, place: Path) -> None:
        try:
            shutil.copytree(self.folder / str(number), place, dirs_exist_ok=True)
        except OSError as error:
            raise CosetCircuitsError(
                f"The report cannot be written to {str(place)!r} ({error.strerror or error}); give "
                "another folder, or make this one writable."
            ) from error


class _Bar:
    """One progress bar for networks that are analysed in parallel."""

    def __init__(self, progress: Progress | None, count: int, finished: int) -> None:
        self.progress, self.count, self.total = progress or silent, count, STEPS * count
        self.finished, self.within = finished, dict[int, int]()

    def __call__(self, number: int, step: tuple[str, int, int]) -> None:
        text, done, total = step
        self.within[number] = min(STEPS * done // max(1, total), STEPS - 1)
        so_far = min(STEPS * self.finished + sum(self.within.values()), self.total)
        self.progress(f"network {number + 1} of {self.count}: {text}", so_far, self.total)

    def end(self, number: int) -> None:
        self.within.pop(number, None)
        self.finished += 1


def _workers(wanted: int | None, given: Sequence[Source], ranks: int) -> int:
    """The number of parallel processes: one on a GPU or where forking is unsafe."""
    wanted = None if wanted is None else whole("number of workers", wanted)
    on_cpu = all(s.given.device.type == "cpu" for s in given if isinstance(s.given, GroupModel))
    if sys.platform == "linux" and on_cpu and not torch.cuda.is_initialized():
        return wanted or max(1, cores() // ranks)
    if wanted is not None and wanted > 1:
        raise CosetCircuitsError(
            f"{wanted} workers were asked for, but on a GPU and outside Linux networks are "
            "compared one after the other; leave workers out."
        )
    return 1


def unused_name(label: str, content: str, taken: Collection[str]) -> str:
    """The label, with a hash of the content appended if another network already has it."""
    return label if label not in taken else f"{label}-{content[:8]}"


def none_of(count: int, skipped: Mapping[str, str]) -> str:
    """The error sentence when no file can be read."""
    reasons = list(dict.fromkeys(skipped.values()))
    more = f" And {len(reasons) - 2} more reasons." if len(reasons) > 2 else ""
    files = "The one checkpoint found" if count == 1 else f"All {count} checkpoints found"
    return f"{files} cannot be used. {' '.join(reasons[:2])}{more}"


def _notes(across: Sequence[Stratum], thresholds: Thresholds) -> Iterator[str]:
    if len(across) > 1:
        yield (
            "Figures are averaged only over networks of the same group, width and activation. "
            f"These are {len(across)} kinds: {'; '.join(s.title for s in across)}."
        )
    for stratum in across:
        few = too_few(len(stratum.networks), thresholds)
        if few:
            yield f"{stratum.title}: {few}"
        wrong = [n.name for n in stratum.networks if n.accuracy < 1]
        if wrong and len(stratum.networks) > 1:
            names = ", ".join(wrong[:4]) + (", …" if len(wrong) > 4 else "")
            yield (
                f"{stratum.title}: {len(wrong)} of {len(stratum.networks)} networks are not right "
                f"on all pairs ({names}); they are counted like the others."
            )
