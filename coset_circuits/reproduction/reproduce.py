"""Every table and figure of the paper from networks, one network at a time."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

from coset_circuits.comparison.many import none_of, unused_name
from coset_circuits.comparison.question import asked
from coset_circuits.comparison.sources import Given, Source, digest, sources
from coset_circuits.comparison.summary import versions
from coset_circuits.errors import CosetCircuitsError, checked, unexpected, whole_seed
from coset_circuits.findings import without_nan
from coset_circuits.findings.storage import FINDINGS, Kept, source_hash
from coset_circuits.networks import shipped
from coset_circuits.networks.files import check_place, write_folder
from coset_circuits.progress import Progress
from coset_circuits.reproduction.artifact import Artifact, Measured, Section
from coset_circuits.reproduction.artifacts import chosen
from coset_circuits.reproduction.page import Reproduction
from coset_circuits.reproduction.section7 import RELEASED
from coset_circuits.reproduction.study import Study
from coset_circuits.training.run_folder import checkpoints_in

ABOUT = "about"
_REFUSED = "refused"
_PAPERS_GROUPS = ("S5", "S6")
Analysis = Callable[[Study], dict[str, Any]]


@checked
def reproduce(
    what: str | Sequence[str] = "all",
    networks: Given | Iterable[Given] | None = None,
    *,
    out: str | os.PathLike[str] | None = None,
    seed: int = 0,
    order: str | None = None,
    progress: Progress | None = None,
) -> Reproduction:
    """Tables and figures of Stander et al. from networks: theirs, ours, and the controls.

    Networks are read one after the other, and only what was measured on each is kept.

    Args:
        what: names of artifacts, such as ``"table1"``, or ``"all"``.
        networks: names, paths, folders, networks; those that ship with the package by default.
            Figures over training use the checkpoints that a run has kept with its network.
        out: a folder for the page, tables and figures. What it already holds of a network, for
            the same options, is not computed again, so a call that was stopped can be continued.
        seed: random seed for noise, relabelling, random neuron sets and samples.
        order: the element order of foreign checkpoints, if it cannot be measured.
        progress: called with (what is being done, steps done, steps in all).

    Raises:
        CosetCircuitsError: no such artifact, no network that can be read, or a folder that
            cannot be written.
    """
    made = reproduction_of(what, networks, out, seed=seed, order=order, progress=progress)
    if out is not None:
        save_anew(made, out)
    return made


def save_anew(made: Reproduction, folder: str | os.PathLike[str]) -> None:
    """Write the files that are missing or out of date."""
    if not made.is_saved_in(folder):
        made.save(folder)


def reproduction_of(
    what: str | Sequence[str],
    networks: Given | Iterable[Given] | None,
    out: str | os.PathLike[str] | None,
    *,
    seed: int,
    order: str | None,
    progress: Progress | None,
) -> Reproduction:
    """As :func:`reproduce`, keeping the measurements in the folder, but without a page."""
    artifacts, seed = chosen(what), whole_seed(seed)
    measuring = [artifact for artifact in artifacts if artifact.analyse is not None]
    given = list(shipped()) if networks is None else networks
    to_read = sources(given) if measuring else []
    folder = None if out is None else Path(out)
    if folder is not None:
        check_place(folder, ["reproduction.md", "reproduction.json"], ["figures", "tables"])
    reader = _Reader(measuring, folder, seed, order, progress, len(to_read))
    for number, source in enumerate(to_read):
        reader.read(number, source)
    if measuring and not reader.networks:
        raise CosetCircuitsError(none_of(len(to_read), reader.skipped))
    if progress is not None:
        progress("tables and figures", reader.steps, reader.steps)
    command = command_line(what, networks, seed, order)
    measured = [[*map(asdict, m)] for m in (reader.networks, *reader.results.values())]
    names = [artifact.name for artifact in artifacts]
    return Reproduction(
        tuple(_section(artifact, reader.results.get(artifact.name, [])) for artifact in artifacts),
        tuple(reader.networks),
        reader.skipped,
        seed,
        versions(),
        command,
        hash_of(measured, reader.skipped, names, command),
    )


class _Reader:
    """Measures one network after the other for every artifact, and keeps the results."""

    def __init__(
        self,
        artifacts: Sequence[Artifact],
        folder: Path | None,
        seed: int,
        order: str | None,
        progress: Progress | None,
        count: int,
    ) -> None:
        self.seed, self.order, self.progress, self.count = seed, order, progress, count
        analyses = {artifact.name: artifact.analyse for artifact in artifacts}
        self.analyses: dict[str, Analysis] = {name: a for name, a in analyses.items() if a}
        self.steps = count * (1 + len(self.analyses))
        self.kept = {
            name: Kept(folder / "networks" / name)
            for name in (ABOUT, *self.analyses)
            if folder is not None
        }
        self.networks: list[Measured] = []
        self.results: dict[str, list[Measured]] = {name: [] for name in self.analyses}
        self.skipped: dict[str, str] = {}
        self._called: dict[str, str] = {}

    def read(self, number: int, source: Source) -> None:
        """Measure the network of a source, or note why it is skipped."""
        try:
            content = source.content()
            if content in self._called:
                first = self._called[content]
                self.skipped[source.called] = f"The same network as {first}, counted once."
            else:
                self._measure(number, source, content)
                self._called[content] = source.called
        except CosetCircuitsError as error:
            self.skipped[source.called] = str(error)
        except Exception as error:
            # A failure on one network must not lose the results of the others.
            self.skipped[source.called] = unexpected(error)

    def _measure(self, number: int, source: Source, content: str) -> None:
        step = count(number * (1 + len(self.analyses)))
        folder = source.given if isinstance(source.given, Path) else None
        if folder is not None and not folder.is_dir():
            folder = folder.parent
        options = {
            "seed": self.seed,
            "order": self.order,
            "versions": versions(),
            "beside": digest(_files_beside(folder)),
            "analyses": source_hash(),
        }

        @cache
        def study() -> Study:
            """Read only if some result of the network is not kept."""
            return Study(source.load(self.order), self.seed, folder=folder)

        def findings(name: str, analyse: Analysis) -> dict[str, Any]:
            if self.progress is not None:
                text = f"network {number + 1} of {self.count}: {name}"
                self.progress(text, next(step), self.steps)
            question = asked(content, source.naming(), {**options, "artifact": name})
            return _findings(self.kept.get(name), question, content, study, analyse)

        about = findings(ABOUT, Study.about)
        name = unused_name(about["name"], content, [n.name for n in self.networks])
        self.networks.append(Measured(name, about, {}))
        for artifact, analyse in self.analyses.items():
            self.results[artifact].append(Measured(name, about, findings(artifact, analyse)))


def _findings(
    kept: Kept | None,
    question: Mapping[str, Any] | None,
    content: str,
    study: Callable[[], Study],
    analyse: Analysis,
) -> dict[str, Any]:
    """What was kept for the question, or the analysis of the network, which is then kept."""
    earlier = None if kept is None else kept.findings(question)
    if earlier is not None:
        return earlier[0]
    label = study().network.label
    try:
        result = without_nan(analyse(study()))
    except Exception as error:
        if analyse is Study.about:
            raise
        known = isinstance(error, CosetCircuitsError)
        result = {_REFUSED: str(error) if known else unexpected(error)}
    text = json.dumps(result, allow_nan=False)
    if kept is not None:
        kept.keep(question, content, label, lambda at: write_folder(at, lambda: {FINDINGS: text}))
    return json.loads(text)


def _files_beside(folder: Path | None) -> Iterator[bytes]:
    """What an analysis may read besides the network's own file."""
    if folder is not None:
        for path in (folder / RELEASED, *checkpoints_in(folder).values()):
            yield path.read_bytes() if path.is_file() else b""


def hash_of(*parts: Any) -> str:
    """Of what a page is made from, for JSON, and of the code that summarises and draws it."""
    whole = json.dumps([*parts, versions(), source_hash()])
    return hashlib.sha256(whole.encode()).hexdigest()


def _section(artifact: Artifact, results: Sequence[Measured]) -> Section:
    if artifact.analyse is None:
        return Section(artifact, (artifact.summarise([], []),), {})
    measured = [network for network in results if _REFUSED not in network.findings]
    parts = []
    # The paper's groups first, else in the order given.
    kinds = dict.fromkeys(network.kind for network in measured)
    for kind in sorted(kinds, key=lambda kind: kind.group not in _PAPERS_GROUPS):
        alike = [network for network in measured if network.kind == kind]
        ours = [network for network in alike if network.grokked]
        controls = [network for network in alike if not network.grokked]
        if not ours:
            continue
        part = artifact.summarise(ours, controls)
        if artifact.groups is not None and kind.group not in artifact.groups:
            part = replace(part, lines=[replace(line, paper=None) for line in part.lines])
        named, beside = (tuple(network.name for network in n) for n in (ours, controls))
        parts.append(replace(part, kind=kind, networks=named, controls=beside))
    refused = [n for n in results if _REFUSED in n.findings and n.grokked]
    return Section(artifact, tuple(parts), {n.name: n.findings[_REFUSED] for n in refused})


def command_line(
    what: str | Sequence[str],
    networks: Given | Iterable[Given] | None,
    seed: int,
    order: str | None,
    **more: Sequence[str] | None,
) -> str:
    """What makes a page again; ``more`` are options that take several words."""
    names = [what] if isinstance(what, str) else list(what)
    items = [networks] if isinstance(networks, (str, os.PathLike)) else networks
    words = ["coset-circuits", "reproduce", *names]
    for item in items if isinstance(items, Iterable) else ():
        words += ["--networks", str(item)] if isinstance(item, (str, os.PathLike)) else []
    words += ["--seed", str(seed)] if seed else []
    words += [] if order is None else ["--order", order]
    for option, values in more.items():
        words += [] if values is None else [f"--{option}", ",".join(values)]
    return shlex.join(words)
