"""Every table and figure of the paper from networks, one network at a time."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from coset_circuits.comparison.many import none_of, unused_name
from coset_circuits.comparison.question import asked
from coset_circuits.comparison.sources import Given, Source, sources
from coset_circuits.comparison.summary import versions
from coset_circuits.errors import CosetCircuitsError
from coset_circuits.findings import without_nan
from coset_circuits.findings.storage import FINDINGS, Kept, source_hash
from coset_circuits.networks import shipped
from coset_circuits.progress import Progress
from coset_circuits.report.folder import write
from coset_circuits.reproduction.artifact import Artifact, Kind, Part, Seen
from coset_circuits.reproduction.section7 import RELEASED
from coset_circuits.reproduction.study import Study, checkpoints_in

SCHEMA = 1
ABOUT = "about"
_REFUSED = "refused"
_PAPERS_GROUPS = ("S5", "S6")


def kind_title(kind: Kind) -> str:
    """Such as ``S5, 128 relu neurons``."""
    group, _, d_mlp, act_fn = kind
    return f"{group}, {d_mlp} {act_fn} neurons"


@dataclass(frozen=True)
class Told:
    """A part and the networks that it is of.

    Attributes:
        kind: None where no network is needed.
        names: of networks that have learnt their group; ``controls``: of the others.
    """

    kind: Kind | None
    names: tuple[str, ...]
    controls: tuple[str, ...]
    part: Part

    @property
    def title(self) -> str:
        """Of the kind; empty where no network is needed."""
        return "" if self.kind is None else kind_title(self.kind)

    @property
    def stem(self) -> str:
        """What is added to the names of its files."""
        return "" if self.kind is None else f"-{self.kind[0]}-{self.kind[2]}-{self.kind[3]}"


@dataclass(frozen=True)
class Section:
    """An artifact, made.

    Attributes:
        told: one part for each kind of network.
        refused: networks that have learnt their group and have nothing for it, and why.
    """

    artifact: Artifact
    told: tuple[Told, ...]
    refused: Mapping[str, str]


@dataclass(frozen=True)
class Reproduction:
    """Tables and figures of the paper, ours beside them. It holds no network.

    Attributes:
        sections: in the paper's order.
        networks: what was studied.
        skipped: files that are not among them, and why.
        command: what makes it again.
        made_from: a hash of all that it depends on.
    """

    sections: tuple[Section, ...]
    networks: tuple[Seen, ...]
    skipped: Mapping[str, str]
    seed: int
    versions: Mapping[str, str]
    command: str
    made_from: str

    def __getitem__(self, name: str) -> Section:
        """The section of an artifact.

        Raises:
            CosetCircuitsError: it was not made; the sentence lists what was.
        """
        for section in self.sections:
            if section.artifact.name == name:
                return section
        known = ", ".join(section.artifact.name for section in self.sections)
        raise CosetCircuitsError(f"{name!r} is not part of this reproduction; it has {known}.")

    def to_dict(self) -> dict[str, Any]:
        """The content of reproduction.json; its shape is versioned by ``schema``."""
        from coset_circuits.reproduction.page import section_dict

        return without_nan(
            {
                "schema": SCHEMA,
                "command": self.command,
                "networks": [{**n.about, "name": n.name} for n in self.networks],
                "skipped": [{"file": f, "reason": why} for f, why in self.skipped.items()],
                "sections": [section_dict(section) for section in self.sections],
                "seed": self.seed,
                "versions": dict(self.versions),
            }
        )

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write reproduction.md and .json, tables as CSV, figures as SVG and PNG.

        Raises:
            CosetCircuitsError: the folder cannot be made or written.
        """
        from coset_circuits.reproduction.page import files

        return write(folder, lambda: files(self), below=("tables", "figures"))

    def is_saved_in(self, folder: str | os.PathLike[str]) -> bool:
        """Whether a folder holds all files of this reproduction, made by the same code."""
        from coset_circuits.reproduction.page import are_saved

        return are_saved(self, Path(folder))

    def __str__(self) -> str:
        from coset_circuits.reproduction.page import plain_text

        return plain_text(self)

    def __repr__(self) -> str:
        made = ", ".join(section.artifact.name for section in self.sections)
        return f"Reproduction({made}; {len(self.networks)} networks)"

    def _repr_html_(self) -> str:
        from html import escape

        return f"<pre>{escape(str(self))}</pre>"


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

    Networks are read one after the other, and what was seen of each is all that is kept.

    Args:
        what: names of artifacts, such as ``"table1"``, or ``"all"``.
        networks: names, paths, folders, networks; those that ship with the package by default.
            Figures over training use the checkpoints beside a run's network.
        out: a folder for the page, tables and figures. What it holds of a network already, asked
            in the same way, is not computed again: a call that was stopped goes on.
        seed: of noise, relabelling, random sets and samples.
        order: the element order of foreign checkpoints, where it cannot be measured.
        progress: called with (what is being done, steps done, steps in all).

    Raises:
        CosetCircuitsError: no such artifact, or no network that can be read.
    """
    wanted = chosen(what)
    looks = [artifact for artifact in wanted if artifact.look is not None]
    given = list(shipped()) if networks is None else networks
    found = sources(given) if looks else []
    folder = None if out is None else Path(out)
    reader = _Reader(looks, folder, seed, order, progress, len(found))
    for source in found:
        reader.read(source)
    if looks and not reader.about:
        raise CosetCircuitsError(none_of(len(found), reader.skipped))
    if progress is not None:
        progress("tables and figures", reader.done, reader.done)
    command = _command(what, networks, seed)
    made = Reproduction(
        tuple(_section(artifact, reader) for artifact in wanted),
        tuple(reader.about),
        reader.skipped,
        seed,
        versions(),
        command,
        _made_from(reader, wanted, command),
    )
    if folder is not None and not made.is_saved_in(folder):
        made.save(folder)
    return made


def chosen(what: str | Sequence[str]) -> list[Artifact]:
    """The artifacts of some names, in the paper's order.

    Raises:
        CosetCircuitsError: an unknown name; the sentence lists them.
    """
    from coset_circuits.reproduction import ARTIFACTS

    names = [what] if isinstance(what, str) else list(what)
    unknown = [name for name in names if name not in (*ARTIFACTS, "all")]
    if unknown or not names:
        raise CosetCircuitsError(
            f"No table or figure is called {', '.join(map(repr, unknown)) or 'nothing'}; choose "
            f"among {', '.join(ARTIFACTS)}, or all."
        )
    return [a for name, a in ARTIFACTS.items() if "all" in names or name in names]


class _Reader:
    """Looks at one network after the other, and keeps what it saw."""

    def __init__(
        self,
        looks: Sequence[Artifact],
        folder: Path | None,
        seed: int,
        order: str | None,
        progress: Progress | None,
        count: int,
    ) -> None:
        self.looks, self.seed, self.order, self.progress = looks, seed, order, progress
        self.count, self.done = count, 0
        self.kept = {
            name: Kept(folder / "networks" / name)
            for name in (ABOUT, *(a.name for a in looks))
            if folder is not None
        }
        self.about: list[Seen] = []
        self.seen: dict[str, list[Seen]] = {artifact.name: [] for artifact in looks}
        self.refused: dict[str, dict[str, str]] = {artifact.name: {} for artifact in looks}
        self.skipped: dict[str, str] = {}
        self._contents: dict[str, str] = {}

    def read(self, source: Source) -> None:
        begun = self.done
        try:
            content = source.content()
            if content in self._contents:
                first = self._contents[content]
                self.skipped[source.called] = f"The same network as {first}, counted once."
            else:
                self._look(source, content)
                self._contents[content] = source.called
        except CosetCircuitsError as error:
            self.skipped[source.called] = str(error)
        self.done = begun + 1 + len(self.looks)

    def _look(self, source: Source, content: str) -> None:
        one = _One(source, self.order, self.seed)
        question = {
            "seed": self.seed,
            "order": self.order,
            "versions": versions(),
            "beside": one.surroundings,
        }
        about = self._findings(ABOUT, one, content, question, Study.about)
        name = unused_name(about["name"], content, [n.name for n in self.about])
        self.about.append(Seen(name, about, {}))
        for artifact in self.looks:
            assert artifact.look is not None
            found = self._findings(artifact.name, one, content, question, artifact.look)
            if _REFUSED in found:
                self.refused[artifact.name][name] = found[_REFUSED]
            else:
                self.seen[artifact.name].append(Seen(name, about, found))

    def _findings(
        self,
        name: str,
        one: _One,
        content: str,
        options: Mapping[str, Any],
        look: Callable[[Study], dict[str, Any]],
    ) -> dict[str, Any]:
        if self.progress is not None:
            told = f"network {len(self.about) + (name == ABOUT)} of {self.count}: {name}"
            self.progress(told, self.done, self.count * (1 + len(self.looks)))
        self.done += 1
        kept = self.kept.get(name)
        question = asked(content, one.source.naming(), {**options, "artifact": name})
        earlier = None if kept is None else kept.findings(question)
        if earlier is not None:
            return earlier[0]
        study = one.study
        try:
            found = without_nan(look(study))
        except CosetCircuitsError as error:
            found = {_REFUSED: str(error)}
        text = json.dumps(found, allow_nan=False)
        if kept is not None:
            label = study.network.label
            kept.keep(question, content, label, lambda at: write(at, lambda: {FINDINGS: text}))
        return json.loads(text)


class _One:
    """A network that is read only when something of it is not kept."""

    def __init__(self, source: Source, order: str | None, seed: int) -> None:
        self.source, self.order, self.seed = source, order, seed

    @cached_property
    def study(self) -> Study:
        return Study(self.source.load(self.order), self.seed, folder=self.folder)

    @property
    def folder(self) -> Path | None:
        given = self.source.given
        if not isinstance(given, Path):
            return None
        return given if given.is_dir() else given.parent

    @cached_property
    def surroundings(self) -> str:
        """A hash of what is looked at beside the network's own file."""
        whole = hashlib.sha256()
        if self.folder is not None:
            files = [self.folder / RELEASED, *checkpoints_in(self.folder).values()]
            for path in files:
                content = path.read_bytes() if path.is_file() else b""
                whole.update(hashlib.sha256(content).digest())
        return whole.hexdigest()


def _made_from(reader: _Reader, wanted: Sequence[Artifact], command: str) -> str:
    """A hash of what was seen, of what was wanted, and of the code that tells and draws it."""
    seen = [[asdict(one) for one in found] for found in (reader.about, *reader.seen.values())]
    names = [artifact.name for artifact in wanted]
    whole = [seen, reader.refused, reader.skipped, names, command, versions(), source_hash()]
    return hashlib.sha256(json.dumps(whole).encode()).hexdigest()


def _section(artifact: Artifact, reader: _Reader) -> Section:
    if artifact.look is None:
        return Section(artifact, (Told(None, (), (), artifact.tell([], [])),), {})
    seen = reader.seen[artifact.name]
    told = []
    for kind in _kinds(seen):
        networks = [network for network in seen if network.kind == kind]
        ours = [network for network in networks if network.grokked]
        controls = [network for network in networks if not network.grokked]
        if not ours:
            continue
        part = artifact.tell(ours, controls)
        if artifact.groups is not None and kind[0] not in artifact.groups:
            part = replace(part, lines=tuple(replace(line, paper=None) for line in part.lines))
        told.append(Told(kind, _names(ours), _names(controls), part))
    learnt = _names(n for n in reader.about if n.grokked)
    refused = {n: why for n, why in reader.refused[artifact.name].items() if n in learnt}
    return Section(artifact, tuple(told), refused)


def _names(networks: Iterable[Seen]) -> tuple[str, ...]:
    return tuple(network.name for network in networks)


def _kinds(networks: Iterable[Seen]) -> list[Kind]:
    """The paper's groups first, else in the order given."""
    kinds = list(dict.fromkeys(network.kind for network in networks))
    return sorted(kinds, key=lambda kind: kind[0] not in _PAPERS_GROUPS)


def _command(what: str | Sequence[str], networks: Given | Iterable[Given] | None, seed: int) -> str:
    names = [what] if isinstance(what, str) else list(what)
    items = [networks] if isinstance(networks, (str, os.PathLike)) else (networks or [])
    paths = [f"--networks {x}" for x in items if isinstance(x, (str, os.PathLike))]  # type: ignore[union-attr]
    chosen_seed = [f"--seed {seed}"] if seed else []
    return " ".join(["coset-circuits reproduce", *names, *paths, *chosen_seed])
