"""The study: what the networks of a folder compute, question by question, as one page."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from coset_circuits.comparison import Ensemble, compare
from coset_circuits.comparison.across import (
    Count,
    NetworkSummary,
    count_verdicts,
    prediction_errors,
)
from coset_circuits.comparison.sources import Given, is_collection
from coset_circuits.comparison.summary import versions
from coset_circuits.errors import CosetCircuitsError, checked, plain
from coset_circuits.findings.statistics import Estimate, holm
from coset_circuits.groups import group as named_group
from coset_circuits.networks import load
from coset_circuits.progress import Progress
from coset_circuits.report.ensemble import paired_bits
from coset_circuits.report.study_figures import compressions, over_training
from coset_circuits.reproduction import artifact as art
from coset_circuits.reproduction.page import Reproduction
from coset_circuits.reproduction.reproduce import command_line, hash_of, save_anew
from coset_circuits.reproduction.study import checkpoints_in
from coset_circuits.thresholds import DEFAULT
from coset_circuits.training.recipes import recipe_for

EXPERIMENTS = ("unexplained", "clock_pizza")
"""The optional experiments of the study."""
BY_SUBGROUP = "coset"
"""The hypothesis whose roles are classes of subgroups."""
BESIDE = {"best null": "null", "renamed group": "control"}
"""What stands beside the hypotheses: the shortest candidate of a kind."""
CHECKPOINTS = 8
"""The number of checkpoints of a training run that are compared."""
_NOT_LEARNT = "not learnt"
_SIZES = ("d_mlp", "d_embed", "d_model", "n_heads", "d_head", "act_fn", "architecture")
_NO_CHANGE = {"name", "about", "max_steps", "every", *_SIZES}
Pair = tuple[str, str]
Rows = Sequence[Sequence[art.Value]]


class NetworkKind(NamedTuple):
    """Networks are summarised together only if they are alike in these."""

    group: str
    architecture: str
    d_mlp: int
    recipe: str

    @property
    def title(self) -> str:
        """Such as ``S5 mlp 128, fast``."""
        return f"{self.group} {self.architecture} {self.d_mlp}, {self.recipe}"

    @property
    def is_learnt(self) -> bool:
        return _NOT_LEARNT not in self.recipe


@dataclass(frozen=True)
class Members:
    """The networks of one kind, and their verdicts counted."""

    kind: NetworkKind
    networks: tuple[NetworkSummary, ...]
    count: Count
    seed: int

    @property
    def title(self) -> str:
        return self.kind.title

    @property
    def hypotheses(self) -> list[str]:
        return list(dict.fromkeys(key for n in self.networks for key in n.hypotheses))

    def over(self, values: Iterable[float | None]) -> Estimate | None:
        """The median over networks with its bootstrap interval."""
        kept = [value for value in values if value is not None and np.isfinite(value)]
        return art.over_networks(kept, seed=self.seed)

    def compressions(self, keys: Iterable[str]) -> list[str | None]:
        """Of each hypothesis, as text."""
        return [_text(self.count.compression.get(key)) for key in keys]

    def measured(self, experiment: str, subject: str | None, quantity: str) -> list[str | None]:
        """Over networks, of their medians over an experiment's findings, and of its controls."""
        values, beside = [], []
        for network in self.networks:
            found = [
                f
                for f in network.summary.findings
                if (f.experiment, f.subject, f.quantity) == (experiment, subject, quantity)
                and not {"control", "of"} & f.at.keys()
            ]
            for column, findings in ((values, found), (beside, [f.control for f in found])):
                known = [f.value for f in findings if f is not None and f.value is not None]
                column.append(median(known) if known else None)
        return [_text(self.over(values)), _text(self.over(beside))]


@dataclass(frozen=True)
class Survey:
    """What questions are answered from.

    Attributes:
        compared: compares further networks; what is found on them is kept under a name.
    """

    kinds: Sequence[Members]
    compared: Callable[[str, Sequence[Given]], Ensemble]

    @property
    def hypotheses(self) -> list[str]:
        return list(dict.fromkeys(key for members in self.kinds for key in members.hypotheses))

    @property
    def learnt(self) -> list[Members]:
        return [members for members in self.kinds if members.kind.is_learnt]


@checked
def survey(
    networks: Given | Iterable[Given],
    *,
    out: str | os.PathLike[str],
    algorithms: Sequence[str] | None = None,
    experiments: Sequence[str] = EXPERIMENTS,
    pairs: int | None = None,
    seed: int = 0,
    order: str | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Reproduction:
    """Compare networks and write what they compute as a page: study.md, study.html, study.json.

    Networks are summarised by kind: group, architecture, width and recipe. Those that have not
    learnt their group are kinds of their own.

    Args:
        networks: names, paths, folders of run folders and checkpoints, networks.
        out: a folder. It keeps the findings on each network, so a stopped call can be repeated and
            continues.
        algorithms, pairs, seed, order: see :func:`coset_circuits.compare`.
        experiments: optional experiments; ``scrub`` and ``certificate`` have columns too.
        workers: the number of processes that compare networks.

    Raises:
        CosetCircuitsError: no network, or none that can be read.
    """
    folder = Path(out)
    several: Any = networks if is_collection(networks) else [networks]
    given = [networks] if isinstance(networks, (str, os.PathLike)) else [*several]

    def compared(name: str, given: Sequence[Given], more: Sequence[str] = ()) -> Ensemble:
        return compare(
            given,
            algorithms,
            experiments=more,
            out=folder / name,
            pairs=pairs,
            seed=seed,
            order=order,
            workers=workers,
            progress=progress,
        )

    ensemble = compared("networks", given, experiments)
    kinds = by_kind(ensemble)
    asked = Survey(kinds, lambda name, given: compared(f"training/{name}", given))
    answered = [(question, _part(answer(asked))) for question, answer in QUESTIONS]
    more = None if tuple(experiments) == EXPERIMENTS else experiments
    command = command_line("study", given, seed, order, experiments=more, algorithms=algorithms)
    results = [[n.name, n.summary.to_dict()] for n in ensemble]
    made = Reproduction(
        tuple(art.Section(question, (part,), {}) for question, part in answered if part),
        (),
        ensemble.skipped,
        seed,
        versions(),
        command,
        hash_of(results, dict(ensemble.skipped), command),
        "study",
        (
            "# What do networks that multiply compute?",
            f"{len(ensemble)} networks of {len(kinds)} kinds. Figures are medians over the "
            "networks of a kind, with 95% bootstrap intervals where there are enough of them. "
            "Compression is how many times shorter than the raw weights a description is at the "
            "fidelity point δ*, the coarsest error of the tables at which the network still "
            "behaves like itself.",
        ),
    )
    save_anew(made, folder)
    return made


def by_kind(ensemble: Ensemble) -> list[Members]:
    """The networks by kind, in the order met."""
    found: dict[NetworkKind, list[NetworkSummary]] = defaultdict(list)
    for network in ensemble:
        found[kind_of(network)].append(network)
    return [
        Members(
            kind,
            tuple(members),
            count_verdicts(members, ensemble.thresholds, ensemble.seed),
            ensemble.seed,
        )
        for kind, members in found.items()
    ]


def kind_of(network: NetworkSummary) -> NetworkKind:
    """The kind of a network, its recipe as far as it changes what is learnt."""
    facts = network.summary.network
    architecture = facts["kind"]
    if facts["act_fn"] != "relu":
        architecture += f" ({facts['act_fn']})"
    recipe = facts.get("recipe") or {}
    name = recipe.get("name") or str(facts.get("source") or "unknown").partition(",")[0]
    words = [name, *_changes(recipe, facts["group"])]
    if network.accuracy < DEFAULT.grokked_accuracy:
        words.append(_NOT_LEARNT)
    return NetworkKind(facts["group"], architecture, facts["d_mlp"], ", ".join(words))


def _changes(recipe: Mapping[str, Any], group: str) -> list[str]:
    """The fields in which a recipe differs from that of its name for the group."""
    try:
        changes = {"architecture": recipe.get("architecture", "mlp")}
        usual = recipe_for(named_group(group), recipe.get("name", ""), changes)
    except CosetCircuitsError:
        return []
    fields = plain("recipe", asdict(usual))
    return [
        f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in recipe.items()
        if name not in _NO_CHANGE and name in fields and value != fields[name]
    ]


def _text(estimate: Estimate | None) -> str | None:
    return None if estimate is None else estimate.text(".3g")


def _listing(counts: Mapping[str, int], most: int = 3) -> str:
    shown = sorted(counts.items(), key=lambda item: -item[1])[:most]
    return ", ".join(f"{name} {count}" for name, count in shown)


# --- questions ------------------------------------------------------------------------------------

Answers = Iterator[art.Table | art.Drawing | str]
Answer = Callable[[Survey], Answers]
QUESTIONS: list[tuple[art.Question, Answer]] = []
"""What the page asks, in its order, and what answers it: tables, drawings and notes."""


def asks(source: str) -> Callable[[Answer], Answer]:
    """Make a function a section of the page: its docstring asks, what it yields is the answer."""

    def registered(answer: Answer) -> Answer:
        QUESTIONS.append((art.Question(answer.__name__, answer.__doc__ or "", source), answer))
        return answer

    return registered


def _table(title: str, rows: Rows, note: str = "", **columns: str | Sequence[str]) -> art.Table:
    """A table whose columns are given by their units, as for :func:`art.columns`."""
    return art.Table(title, art.columns(*columns.items()), rows, note)  # type: ignore[arg-type]


def _part(answer: Answers) -> art.Part | None:
    """An answer without its empty tables; None if nothing is left."""
    parts = [part for part in answer if not isinstance(part, art.Table) or part.rows]
    tables = [part for part in parts if isinstance(part, art.Table)]
    drawings = [part for part in parts if isinstance(part, art.Drawing)]
    notes = [part for part in parts if isinstance(part, str)]
    return art.Part(tables=tables, drawings=drawings, notes=notes) if parts else None


@asks("Description length at equal fidelity, verdicts counted")
def shortest(study: Survey) -> Answers:
    """Which explanation is shortest, and by how much?"""
    names, null = study.hypotheses, next(iter(BESIDE))
    rows, points, counts = [], {}, []
    for members in study.kinds:
        networks, count = members.networks, members.count
        found = {key: count.compression.get(key) for key in names}
        found |= {
            title: members.over(_best(n, kind) for n in networks) for title, kind in BESIDE.items()
        }
        delta = _text(members.over(n.summary.fidelity.delta for n in networks))
        right, size = sum(n.accuracy == 1 for n in networks), len(networks)
        rows.append([members.title, delta, *map(_text, found.values()), size, right])
        drawn = {key: found[key] for key in (*names, null)}
        points[members.title] = {key: point for key, point in drawn.items() if point}
        alone = [count.shortest.get(key, 0) for key in names]
        counts.append([members.title, size, *alone, count.open, count.nothing])
        yield f"{members.title}. {count.sentence.partition(';')[0].rstrip('.')}."
    yield _table(
        "Compression at equal fidelity",
        rows,
        "best null: the shortest description without group theory. renamed group: the shortest of "
        "the hypotheses after the elements were renamed at random.",
        text=["kind", "δ*", *names, *BESIDE],
        count="networks, right on all pairs",
    )
    yield _table(
        "How often each hypothesis alone is the shortest that explains a network",
        counts,
        "open: several explain the network at lengths whose order is open.",
        text="kind",
        count=["networks", *names, "open", "nothing"],
    )
    yield art.Drawing(
        "Compression of each kind of network: median and 95% interval over networks.",
        [[partial(compressions, points, null)]],
        (9.0, 1.6 + 0.42 * len(points)),
    )


def _best(network: NetworkSummary, kind: str) -> float | None:
    found = [c.compression.value for c in network.circuits.values() if c.kind == kind]
    return max((value for value in found if value is not None), default=None)


@asks("Paired by network")
def ratios(study: Survey) -> Answers:
    """Is one shorter on the same networks?"""
    found = [(members, ratio) for members in study.kinds for ratio in members.count.ratios]
    tested = [ratio.p for _, ratio in found if ratio.p is not None]
    corrected = iter(holm(tested))
    rows = []
    for members, r in found:
        between = f"{r.range[0]:.3g} to {r.range[1]:.3g}"
        texts = [members.title, f"{r.one} / {r.two}", _text(r.figure), between]
        rows.append([*texts, r.figure.networks, r.p, None if r.p is None else next(corrected)])
    yield _table(
        "Bits of one hypothesis over those of another, network by network",
        rows,
        "Exact two-sided signed-rank tests of the logarithms; Holm's correction over the "
        f"{len(tested)} tests of the table. –: too few networks for a test.",
        text="kind, hypotheses, ratio, range",
        count="networks",
        number=["p", "p, Holm"],
    )
    largest = max(study.kinds, key=lambda members: (members.kind.is_learnt, len(members.networks)))
    if largest.count.ratios:
        yield art.Drawing(
            f"Paired ratios of bits, one mark a network: {largest.title}.",
            [[partial(paired_bits, largest.networks, largest.count)]],
            (7.5, 1.6 + 0.35 * len(largest.count.ratios)),
        )


def _separating(members: Members) -> list[dict[Pair, list[str]]]:
    """The rows that separate each two hypotheses, network by network."""
    found: list[dict[Pair, list[str]]] = []
    for network in members.networks:
        found.append(defaultdict(list))
        for f in network.summary.findings:
            if f.subject is None and f.quantity == "loss" and "equals" not in f.more:
                for pair in f.separates:
                    found[-1][pair].append(f.experiment)
    return found


def _rows_between(separating: Iterable[Mapping[Pair, list[str]]], pair: Pair) -> Counter[str]:
    return Counter(row for found in separating for row in found.get(pair, ()))


@asks("The interventions of the verdict")
def apart(study: Survey) -> Answers:
    """Where do two explanations come apart?"""
    rows: list[list[art.Value]] = []
    never: dict[Pair, list[str]] = defaultdict(list)
    for members in study.kinds:
        separating = _separating(members)
        for pair in combinations(members.hypotheses, 2):
            by = _rows_between(separating, pair)
            if not by:
                never[pair].append(members.title)
                continue
            errors = [prediction_errors(n, *pair, DEFAULT) for n in members.networks]
            both = [error for error in errors if error is not None]
            nearer = sum(a < b for a, b in both), sum(b < a for a, b in both)
            count = sum(pair in found for found in separating)
            rows.append([members.title, *pair, _listing(by), len(both), count, *nearer])
    yield _table(
        "Interventions that separate two hypotheses",
        rows,
        "A row separates two hypotheses whose predictions differ by more than the threshold and by "
        "more than both their errors together. nearer: smaller median error over the rows on which "
        "both speak.",
        text="kind, first, second, rows that separate most often",
        count="networks, separated in, first nearer, second nearer",
    )
    for (one, two), titles in never.items():
        yield f"No intervention separates {one} from {two} in any network of {'; '.join(titles)}."


@asks("One factor at a time, networks that have learnt their group")
def dependence(study: Survey) -> Answers:
    """Does it depend on recipe, width, group, architecture?"""
    rows = []
    for factor in NetworkKind._fields:
        alike: dict[tuple[Any, ...], list[tuple[str, Members]]] = defaultdict(list)
        for members in study.learnt:
            others = members.kind._asdict()
            level, fixed = str(others.pop(factor)), tuple(others.values())
            if factor == "group":
                # Small groups need other sizes and batches.
                level += f" ({members.kind.d_mlp})"
                fixed = members.kind.architecture, members.kind.recipe.partition(",")[0]
            alike[fixed].append((level, members))
        for fixed, several in alike.items():
            if len({getattr(members.kind, factor) for _, members in several}) > 1:
                held = ", ".join(map(str, fixed))
                rows += [
                    [factor, held, level, *m.compressions(study.hypotheses), len(m.networks)]
                    for level, m in several
                ]
    yield _table(
        "Compression, one factor at a time",
        rows,
        "Groups are listed with their widths, which differ, as do their batches.",
        text=["factor", "held fixed", "level", *study.hypotheses],
        count="networks",
    )


@asks("Verdicts, and what separates the explanations that they name")
def ambiguous(study: Survey) -> Answers:
    """How many explanations hold?"""
    rows, pairs = [], []
    for members in study.kinds:
        verdicts = [network.verdict for network in members.networks]
        sets = Counter(" + ".join(v.explained_by) or "nothing" for v in verdicts)
        sizes = [len(v.explained_by) for v in verdicts]
        between = f"{median(sizes):g} ({min(sizes)} to {max(sizes)})"
        counts = len(sizes), members.count.open, sum(bool(v.equal) for v in verdicts)
        rows.append([members.title, _listing(sets, 5), between, *counts])
        separating = _separating(members)
        for pair in combinations(members.hypotheses, 2):
            together = sum(set(pair) <= set(v.explained_by) for v in verdicts)
            if together:
                split = _listing(_rows_between(separating, pair)) or "none"
                elsewhere = _kept_elsewhere(study, pair)
                pairs.append([members.title, " and ".join(pair), split, elsewhere, together])
    yield _table(
        "Explanations that hold within the rule's tolerance",
        rows,
        "open: the order of their lengths is open. not separated: no intervention separates at "
        "least two of them.",
        text="kind, explained by (networks), explanations: median (range)",
        count="networks, open, not separated",
    )
    yield _table(
        "What splits two explanations that hold of one network",
        pairs,
        "A kind keeps one only where it explains at least half of the networks and the other none.",
        text="kind, both hold, interventions, kinds that keep one only",
        count="networks",
    )


def _kept_elsewhere(study: Survey, pair: Pair) -> str:
    """The kinds of which one of two hypotheses explains half and the other nothing, by that one."""
    kept: dict[str, list[str]] = defaultdict(list)
    for members in study.kinds:
        counts = [members.count.explaining.get(key, 0) for key in pair]
        for key, mine, other in zip(pair, counts, reversed(counts), strict=True):
            if not other and 2 * mine >= len(members.networks):
                kept[key].append(members.title)
    return "; ".join(f"{k} in {len(titles)}, such as {titles[0]}" for k, titles in kept.items())


@asks("Checkpoints of one run an architecture")
def training(study: Survey) -> Answers:
    """When over training does it become so?"""
    chosen: dict[str, NetworkSummary] = {}
    for members in study.learnt:
        for network in members.networks:
            if members.kind.architecture not in chosen and _steps(network):
                chosen[members.kind.architecture] = network
    for network in chosen.values():
        names, steps = network.hypotheses, _steps(network)
        found = {n.source: n for n in study.compared(network.name, [*steps.values()])}
        at = {step: found[str(path)] for step, path in steps.items() if str(path) in found}
        curve = load(network.source).provenance.get("curve") or ()
        losses = {look["step"]: look["loss"] for look in curve}
        lengths = {key: {step: n.compression(key) for step, n in at.items()} for key in names}
        yield _table(
            f"{network.name} over training",
            [[s, n.accuracy, n.loss, *map(n.compression, names)] for s, n in at.items()],
            count="step",
            fraction="accuracy",
            nats="loss",
            number=names,
        )
        yield art.Drawing(
            f"{network.name}: loss of all pairs and compression over training.",
            [[partial(over_training, losses, lengths)]],
            (7.2, 4.2),
        )
    if chosen:
        yield "Each look is compared at a fidelity point of its own."


def _steps(network: NetworkSummary) -> dict[int, Path]:
    """Some of a run's checkpoints, evenly spread, without the step before any training."""
    path = Path(network.source)
    if not path.exists():
        return {}
    kept = checkpoints_in(path if path.is_dir() else path.parent)
    later = [step for step in kept if step > 0]
    places = np.linspace(0, len(later) - 1, min(CHECKPOINTS, len(later))).round().astype(int)
    return {later[i]: kept[later[i]] for i in places}


@asks("Medians over networks")
def disagreements(study: Survey) -> Answers:
    """Where does description length disagree with prediction?"""
    rows = []
    for members in study.kinds:
        keys, networks = members.hypotheses, members.networks
        bits = {k: members.over(n.bits(k) for n in networks) for k in keys}
        errors = {k: members.over(n.error(k) for n in networks) for k in keys}
        by_bits, by_error = _ranked(bits), _ranked(errors)
        for rank, key in enumerate(by_bits, 1):
            scrubs = members.measured("scrub", key, "accuracy")
            certified = members.measured("certificate", key, "certified")
            texts = [_text(bits[key]), _text(errors[key]), *scrubs, *certified]
            nearness = by_error.index(key) + 1 if key in by_error else None
            rows.append([members.title, key, *texts, rank, nearness])
        yield (
            f"{members.title}: the shortest hypothesis is not the nearest in "
            f"{sum(map(_disagree, networks))} of {len(networks)} networks."
        )
    texts = (
        "kind", "hypothesis", "bits per neuron", "prediction error, decades", "scrub accuracy",
        "random cells", "certified accuracy", "its control",
    )  # fmt: skip
    yield _table(
        "Bits against prediction, scrubs and certificates",
        rows,
        "–: not measured; --experiments scrub,certificate measures it.",
        text=texts,
        count="rank by bits, rank by error",
    )


def _ranked(points: Mapping[str, Estimate | None]) -> list[str]:
    return [k for _, k in sorted((p.value, k) for k, p in points.items() if p is not None)]


def _disagree(network: NetworkSummary) -> bool:
    keys = [k for k in network.hypotheses if network.error(k) is not None and network.bits(k)]
    short = min(keys, key=lambda k: network.bits(k) or np.inf, default=None)
    return short is not None and any(
        (network.error(k) or 0.0) < (network.error(short) or 0.0) for k in keys
    )


@asks("Roles of the coset hypothesis: median share of neurons over networks")
def subgroups(study: Survey) -> Answers:
    """Do transformers and MLPs use the same subgroups?"""
    shares: dict[Pair, list[dict[str, float]]] = defaultdict(list)
    classes: dict[Pair, None] = {}
    for members in study.learnt:
        group = members.kind.group
        for network in members.networks:
            if BY_SUBGROUP in network.circuits:
                roles = {r["role"]: r["neurons"] for r in network.circuits[BY_SUBGROUP].roles}
                roles.pop("negligible", None)
                share = {role: n / sum(roles.values()) for role, n in roles.items()}
                shares[group, members.kind.architecture].append(share)
                classes |= dict.fromkeys((group, role) for role in roles)
    architectures = list(dict.fromkeys(architecture for _, architecture in shares))
    rows = []
    for group in dict.fromkeys(group for group, _ in shares):
        for role in (role for of, role in classes if of == group):
            # Networks that do not use a class count as 0.
            used = ([s.get(role, 0.0) for s in shares.get((group, a), ())] for a in architectures)
            rows.append([group, role, *(_text(art.over_networks(values)) for values in used)])
    numbers = "; ".join(f"{g} {a}: {len(found)}" for (g, a), found in shares.items())
    yield _table(
        "Neurons on each class of subgroups",
        rows,
        f"Shares of the neurons that are not negligible. Networks: {numbers}.",
        text=["group", "subgroup class", *architectures],
    )


@asks("Measures of Zhong et al., arXiv 2306.17844")
def clocks(study: Survey) -> Answers:
    """What do Clock and Pizza measures say of cyclic groups?"""
    measures = (
        "distance_irrelevance", "gradient_symmetricity", "circularity", "attention_dependence",
    )  # fmt: skip
    rows = [
        [members.title, quantity.replace("_", " "), *found]
        for members in study.kinds
        for quantity in measures
        if (found := members.measured("clock_pizza", None, quantity))[0] is not None
    ]
    yield _table("Clock and Pizza", rows, text="kind, measure, networks, untrained")


@asks("The experiment unexplained")
def worst(study: Survey) -> Answers:
    """What stays unexplained in the worst networks?"""
    names, rows, totals = study.hypotheses, [], []
    for members in study.kinds:
        known = [network for network in members.networks if _left(network)]
        if not known:
            continue
        network = max(known, key=lambda n: (_left_by_shortest(n), n.name))
        totals.append([members.title, network.name, *map(_left(network).get, names)])
        listed: dict[int, dict[str, Any]] = defaultdict(dict)
        for f in network.summary.findings:
            if f.experiment == "unexplained" and f.quantity != "left":
                role = {"role": f.more["role"]} if f.subject == BY_SUBGROUP else {}
                cells = {f.subject or f.quantity: f.value, "neuron": str(f.more["neuron"]), **role}
                listed[f.at["rank"]] |= cells
        heads = ("neuron", "role", "salience", "norm", *names)
        rows += [[network.name, *map(entry.get, heads)] for entry in listed.values()]
    yield _table(
        "What each hypothesis leaves of the worst network of each kind",
        totals if rows else [],
        "The worst: that of which its shortest hypothesis leaves most. Fraction of the variance of "
        "a neuron's three tables, weighted by salience.",
        text="kind, network",
        number=names,
    )
    yield _table(
        "The neurons that count most there",
        rows,
        "salience: how much the neuron can move the logits, as a share of all neurons'. norm: of "
        "its tables, in those of the median neuron. Then the fraction of its tables that each "
        "hypothesis leaves.",
        text=f"network, neuron, role ({BY_SUBGROUP})",
        number=["salience", "norm", *names],
    )


def _left(network: NetworkSummary) -> dict[str, float]:
    return {
        f.subject: f.value
        for f in network.summary.findings
        if (f.experiment, f.quantity) == ("unexplained", "left")
        and f.subject
        and f.value is not None
    }


def _left_by_shortest(network: NetworkSummary) -> float:
    left = _left(network)
    return left[min(left, key=lambda key: network.bits(key) or np.inf)]


@asks("Dihedral and dicyclic groups")
def twins(study: Survey) -> Answers:
    """Same characters, other subgroups: what is learnt?"""
    names, rows = study.hypotheses, []
    for one, two in combinations(study.learnt, 2):
        groups = one.kind.group, two.kind.group
        related = groups[1] in twin(groups[0]) or groups[0] in twin(groups[1])
        if not related or one.kind[1:3] != two.kind[1:3]:
            continue
        for m in (one, two):
            share = next(
                (r.figure for r in m.count.ratios if {r.one, r.two} == {"coset", "irrep"}), None
            )
            said = _listing({k: n for k, n in m.count.shortest.items() if n}) or "none"
            texts = [" and ".join(groups), m.title, *m.compressions(names), _text(share), said]
            rows.append([*texts, len(m.networks)])
    yield _table(
        "Dihedral and dicyclic groups of one order",
        rows,
        "Dihedral and dicyclic groups of order 4n have the same character table for even n, and "
        "other subgroups.",
        text=["groups", "kind", *names, "coset / irrep, bits", "shortest alone"],
        count="networks",
    )


def twin(name: str) -> tuple[str, ...]:
    """The names of the dicyclic group with a dihedral group's character table; none for others.

    D_2n and Dic_n, both of order 4n, have the same characters where n is even; Dic2 is Q8.
    """
    match = re.fullmatch(r"D(\d+)", name)
    if match is None or int(match[1]) % 4:
        return ()
    half = int(match[1]) // 2
    return (f"Dic{half}", "Q8") if half == 2 else (f"Dic{half}",)


@asks("Every network")
def results(study: Survey) -> Answers:
    """The table of results"""
    names, rows = study.hypotheses, []
    for members in study.kinds:
        for n in members.networks:
            explained = " + ".join(n.verdict.explained_by) or "nothing"
            figures = n.accuracy, n.loss, n.summary.fidelity.delta, *map(n.bits, names)
            rows.append([members.title, n.name, explained, *figures])
    yield _table(
        "Every network",
        rows,
        "Bits per neuron of each hypothesis at δ*. Each network's own report is in networks/.",
        text="kind, network, explained by",
        fraction="accuracy",
        nats="loss",
        number=["δ*", *names],
    )
