"""The study: what the networks of a folder compute, question by question, as one page."""

from __future__ import annotations

import hashlib
import json
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
    Stratum,
    count_verdicts,
    prediction_errors,
)
from coset_circuits.comparison.sources import Given
from coset_circuits.comparison.summary import versions
from coset_circuits.errors import CosetCircuitsError
from coset_circuits.findings.statistics import estimates, holm
from coset_circuits.findings.storage import source_hash
from coset_circuits.groups import group as named_group
from coset_circuits.networks import load
from coset_circuits.progress import Progress
from coset_circuits.report.ensemble import paired_bits
from coset_circuits.report.study_figures import Point, compressions, over_training
from coset_circuits.reproduction import artifact as art
from coset_circuits.reproduction.page import Reproduction
from coset_circuits.reproduction.study import checkpoints_in
from coset_circuits.thresholds import DEFAULT
from coset_circuits.training.recipes import recipe_for

EXPERIMENTS = ("unexplained", "clock_pizza")
"""The optional experiments of the study."""
BY_SUBGROUP = "coset"
"""The hypothesis whose roles are classes of subgroups."""
NULL = "best null"
CHECKPOINTS = 8
"""The number of checkpoints of a training run that are compared."""
_NOT_LEARNT = "not learnt"
_SIZES = ("d_mlp", "d_embed", "d_model", "n_heads", "d_head", "act_fn", "architecture")
_NO_CHANGE = {"name", "about", "max_steps", "every", *_SIZES}


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

    def middle(self, values: Iterable[float | None]) -> str | None:
        """The median over networks with its bootstrap interval, as text."""
        return _text(_estimate(values, self.seed))

    def value(
        self, experiment: str, subject: str | None, quantity: str
    ) -> Iterator[tuple[float | None, float | None]]:
        """Each network's median over an experiment's findings, and that of their controls."""
        for network in self.networks:
            found = [
                f
                for f in network.summary.findings
                if (f.experiment, f.subject, f.quantity) == (experiment, subject, quantity)
                and "control" not in f.at
                and "of" not in f.at
            ]
            own = [f.value for f in found if f.value is not None]
            beside = [c.value for f in found if (c := f.control) and c.value is not None]
            yield (median(own) if own else None), (median(beside) if beside else None)


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
    options: dict[str, Any] = {"pairs": pairs, "seed": seed, "order": order, "progress": progress}
    if workers is not None:
        options["workers"] = workers
    given = [networks] if isinstance(networks, (str, os.PathLike)) else [*_listed(networks)]
    ensemble = compare(
        given, algorithms, experiments=experiments, out=folder / "networks", **options
    )
    kinds = by_kind(ensemble)
    sections = [
        art.Section(question, (part,), {})
        for question, answer in QUESTIONS
        if (part := answer(kinds)) is not None
    ]
    curves = _curves(kinds, folder / "training", algorithms, options)
    if curves is not None:
        sections.insert(5, art.Section(TRAINING, (curves,), {}))
    command = _command(given, experiments, algorithms, seed)
    results = [[n.name, n.summary.to_dict()] for n in ensemble]
    whole = [results, dict(ensemble.skipped), command, versions(), source_hash()]
    made = Reproduction(
        tuple(sections),
        (),
        ensemble.skipped,
        seed,
        versions(),
        command,
        hashlib.sha256(json.dumps(whole).encode()).hexdigest(),
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
    if not made.is_saved_in(folder):
        made.save(folder)
    return made


def _listed(networks: Any) -> Iterable[Given]:
    return networks if isinstance(networks, Iterable) else [networks]


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
        usual = asdict(recipe_for(named_group(group), recipe.get("name", ""), changes))
    except CosetCircuitsError:
        return []
    usual["betas"] = list(usual["betas"])
    return [
        f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in recipe.items()
        if name not in _NO_CHANGE and name in usual and value != usual[name]
    ]


# --- figures over networks ------------------------------------------------------------------------


def _estimate(values: Iterable[float | None], seed: int) -> Point | None:
    kept = [value for value in values if value is not None and np.isfinite(value)]
    if not kept:
        return None
    (found,) = estimates(np.array(kept, dtype=np.float64)[:, None], "median", seed=seed)
    return Point(found.value, found.interval)


def _text(point: Point | None) -> str | None:
    if point is None:
        return None
    if point.interval is None:
        return f"{point.value:.3g}"
    return f"{point.value:.3g} [{point.interval[0]:.3g}, {point.interval[1]:.3g}]"


def _hypotheses(kinds: Sequence[Members]) -> list[str]:
    return list(dict.fromkeys(key for members in kinds for key in members.hypotheses))


def _columns(unit: art.Unit, *names: str) -> dict[str, art.Unit]:
    return dict.fromkeys(names, unit)


_texts = partial(_columns, "text")
_counts = partial(_columns, "count")
_numbers = partial(_columns, "number")


def _listing(counts: Mapping[str, int], most: int = 3) -> str:
    shown = sorted(counts.items(), key=lambda item: -item[1])[:most]
    return ", ".join(f"{name} {count}" for name, count in shown)


# --- questions ------------------------------------------------------------------------------------

Answer = Callable[[Sequence[Members]], art.Part | None]
QUESTIONS: list[tuple[art.Question, Answer]] = []
"""What the page asks, in its order, and what answers it."""


def asks(title: str, source: str) -> Callable[[Answer], Answer]:
    """Make a function's answer a section of the page under the function's name."""

    def registered(answer: Answer) -> Answer:
        QUESTIONS.append((art.Question(answer.__name__, title, source), answer))
        return answer

    return registered


@asks(
    "Which explanation is shortest, and by how much?",
    "Description length at equal fidelity, verdicts counted",
)
def shortest(kinds: Sequence[Members]) -> art.Part:
    """Compressions of every kind, beside those of nulls and renamed groups; verdicts counted."""
    names = _hypotheses(kinds)
    rows, points = [], {}
    for members in kinds:
        found = {key: [n.compression(key) for n in members.networks] for key in names}
        beside = {
            NULL: [_best(n, "null") for n in members.networks],
            "renamed group": [_best(n, "control") for n in members.networks],
        }
        rows.append(
            [
                members.title,
                len(members.networks),
                sum(n.accuracy == 1 for n in members.networks),
                members.middle(n.summary.fidelity.delta for n in members.networks),
                *(members.middle(values) for values in {**found, **beside}.values()),
            ]
        )
        points[members.title] = {
            key: point
            for key, values in {**found, NULL: beside[NULL]}.items()
            if (point := _estimate(values, members.seed))
        }
    counts = []
    for members in kinds:
        found = [members.count.shortest.get(key, 0) for key in names]
        rest = members.count.open, members.count.nothing
        counts.append([members.title, len(members.networks), *found, *rest])
    columns = _texts("kind") | _counts("networks", "right on all pairs")
    return art.Part(
        tables=[
            art.Table(
                "Compression at equal fidelity",
                {**columns, **_texts("δ*", *names, NULL, "renamed group")},
                rows,
                "best null: the shortest description without group theory. renamed group: the "
                "shortest of the hypotheses after the elements were renamed at random.",
            ),
            art.Table(
                "How often each hypothesis alone is the shortest that explains a network",
                _texts("kind") | _counts("networks", *names, "open", "nothing"),
                counts,
                "open: several explain the network, and their order by length is open.",
            ),
        ],
        drawings=[
            art.Drawing(
                "Compression of each kind of network: median and 95% interval over networks.",
                [[partial(compressions, points, NULL)]],
                (9.0, 1.6 + 0.42 * len(points)),
            )
        ],
        notes=[f"{m.title}. {m.count.sentence.partition(';')[0].rstrip('.')}." for m in kinds],
    )


def _best(network: NetworkSummary, kind: str) -> float | None:
    found = [c.compression.value for c in network.circuits.values() if c.kind == kind]
    return max((value for value in found if value is not None), default=None)


@asks("Is one shorter on the same networks?", "Paired by network")
def ratios(kinds: Sequence[Members]) -> art.Part:
    """Paired ratios of bits with exact tests, corrected over the whole table."""
    found = [(members, ratio) for members in kinds for ratio in members.count.ratios]
    tested = [ratio.p for _, ratio in found if ratio.p is not None]
    corrected = iter(holm(tested))
    rows = []
    for members, r in found:
        figure = Point(r.figure.value, r.figure.interval)
        names = [members.title, f"{r.one} / {r.two}", _text(figure)]
        between = f"{r.range[0]:.3g} to {r.range[1]:.3g}"
        p = None if r.p is None else next(corrected)
        rows.append([*names, between, r.figure.networks, r.p, p])
    largest = max(kinds, key=lambda members: (members.kind.is_learnt, len(members.networks)))
    return art.Part(
        tables=[
            art.Table(
                "Bits of one hypothesis over those of another, network by network",
                {
                    **_texts("kind", "hypotheses", "ratio", "range"),
                    **_counts("networks"),
                    **_numbers("p", "p, Holm"),
                },
                rows,
                "Exact two-sided signed-rank tests of the logarithms; Holm's correction over the "
                f"{len(tested)} tests of the table. –: too few networks for a test.",
            )
        ],
        drawings=[
            art.Drawing(
                f"Paired ratios of bits, one mark a network: {largest.title}.",
                [[partial(paired_bits, _stratum(largest))]],
                (7.5, 1.6 + 0.35 * len(largest.count.ratios)),
            )
        ]
        if largest.count.ratios
        else [],
    )


def _stratum(members: Members) -> Stratum:
    first = members.networks[0].kind
    return Stratum(*first, members.networks, (), (), (), members.count)


def _separating(network: NetworkSummary) -> dict[tuple[str, str], list[str]]:
    """The rows that separate each two hypotheses of a network."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for finding in network.summary.findings:
        if finding.subject is None and finding.quantity == "loss" and "equals" not in finding.more:
            for pair in finding.separates:
                found[pair].append(finding.experiment)
    return found


@asks("Where do two explanations come apart?", "The interventions of the verdict")
def apart(kinds: Sequence[Members]) -> art.Part:
    """Where two explanations come apart: rows that separate them, and which is nearer there."""
    rows: list[list[art.Value]] = []
    never: dict[tuple[str, str], list[str]] = defaultdict(list)
    for members in kinds:
        separating = [_separating(network) for network in members.networks]
        for one, two in combinations(members.hypotheses, 2):
            by = Counter(row for found in separating for row in found.get((one, two), ()))
            errors = [prediction_errors(n, one, two, DEFAULT) for n in members.networks]
            both = [pair for pair in errors if pair is not None]
            if not by:
                never[one, two].append(members.title)
                continue
            count = sum((one, two) in found for found in separating)
            nearer = sum(a < b for a, b in both), sum(b < a for a, b in both)
            names = [members.title, one, two, _listing(by)]
            rows.append([*names, len(both), count, *nearer])
    return art.Part(
        tables=[
            art.Table(
                "Interventions that separate two hypotheses",
                {
                    **_texts("kind", "first", "second", "rows that separate most often"),
                    **_counts("networks", "separated in", "first nearer", "second nearer"),
                },
                rows,
                "A row separates two hypotheses whose predictions differ by more than the "
                "threshold and by more than both their errors together. nearer: smaller median "
                "error over the rows that both predict.",
            )
        ],
        notes=[
            f"No intervention separates {one} from {two} in any network of {'; '.join(titles)}."
            for (one, two), titles in never.items()
        ],
    )


@asks(
    "Does it depend on recipe, width, group, architecture?",
    "One factor at a time, networks that have learnt their group",
)
def dependence(kinds: Sequence[Members]) -> art.Part | None:
    """Compression against one factor, the others held fixed."""
    names, rows = _hypotheses(kinds), []
    learnt = [members for members in kinds if members.kind.is_learnt]
    for factor in NetworkKind._fields:
        alike: dict[tuple[Any, ...], list[Members]] = defaultdict(list)
        for members in learnt:
            kind = members.kind
            if factor == "group":
                # Small groups need other sizes and batches.
                fixed: tuple[Any, ...] = (kind.architecture, kind.recipe.partition(",")[0])
            else:
                fixed = tuple(v for k, v in kind._asdict().items() if k != factor)
            alike[fixed].append(members)
        for fixed, several in alike.items():
            if len({getattr(members.kind, factor) for members in several}) < 2:
                continue
            for members in several:
                values = [[n.compression(key) for n in members.networks] for key in names]
                level = str(getattr(members.kind, factor))
                if factor == "group":
                    level += f" ({members.kind.d_mlp})"
                held = ", ".join(map(str, fixed))
                middles = [members.middle(v) for v in values]
                rows.append([factor, held, level, len(members.networks), *middles])
    if not rows:
        return None
    columns = _texts("factor", "held fixed", "level") | _counts("networks") | _texts(*names)
    note = "Groups are listed with their widths, which differ, as do their batches."
    return art.Part(tables=[art.Table("Compression, one factor at a time", columns, rows, note)])


@asks("How many explanations hold?", "Verdicts, and what separates the explanations that they name")
def ambiguous(kinds: Sequence[Members]) -> art.Part:
    """How many explanations hold within the rule's tolerance, and what would split them."""
    rows, pairs = [], []
    for members in kinds:
        verdicts = [network.verdict for network in members.networks]
        sets = Counter(" + ".join(v.explained_by) or "nothing" for v in verdicts)
        sizes = [len(v.explained_by) for v in verdicts]
        equal = sum(bool(v.equal) for v in verdicts)
        between = f"{median(sizes):g} ({min(sizes)} to {max(sizes)})"
        rows.append(
            [members.title, _listing(sets, 5), between, len(sizes), members.count.open, equal]
        )
        for pair in combinations(members.hypotheses, 2):
            together = sum(set(pair) <= set(v.explained_by) for v in verdicts)
            if not together:
                continue
            by = Counter(row for n in members.networks for row in _separating(n).get(pair, ()))
            kept: dict[str, list[str]] = defaultdict(list)
            for other in kinds:
                if (key := _only_one(other, pair)) is not None:
                    kept[key].append(other.title)
            elsewhere = [
                f"{key} in {len(titles)}, such as {titles[0]}" for key, titles in kept.items()
            ]
            split = _listing(by) or "none"
            pairs.append([members.title, " and ".join(pair), split, "; ".join(elsewhere), together])
    tables = [
        art.Table(
            "Explanations that hold within the rule's tolerance",
            {
                **_texts("kind", "explained by (networks)", "explanations: median (range)"),
                **_counts("networks", "open", "not separated"),
            },
            rows,
            "open: the order of their lengths is open. not separated: no intervention separates "
            "at least two of them.",
        )
    ]
    if pairs:
        tables.append(
            art.Table(
                "What splits two explanations that hold of one network",
                {
                    **_texts("kind", "both hold", "interventions", "kinds that keep one only"),
                    **_counts("networks"),
                },
                pairs,
                "A kind keeps one only where it explains at least half of the networks and the "
                "other none.",
            )
        )
    return art.Part(tables=tables)


def _only_one(members: Members, pair: tuple[str, str]) -> str | None:
    counts = [sum(key in n.verdict.explained_by for n in members.networks) for key in pair]
    for key, mine, other in zip(pair, counts, reversed(counts), strict=True):
        if not other and 2 * mine >= len(members.networks):
            return key
    return None


@asks("Where does description length disagree with prediction?", "Medians over networks")
def disagreements(kinds: Sequence[Members]) -> art.Part:
    """Description length beside prediction, and beside scrubs and certificates where these are."""
    rows, notes = [], []
    for members in kinds:
        keys = members.hypotheses
        bits = {k: _estimate([n.bits(k) for n in members.networks], members.seed) for k in keys}
        errors = {k: _estimate([n.error(k) for n in members.networks], members.seed) for k in keys}
        by_bits, by_error = _ranked(bits), _ranked(errors)
        for key in by_bits:
            measured = []
            for experiment, quantity in (("scrub", "accuracy"), ("certificate", "bound")):
                values = [*members.value(experiment, key, quantity)]
                measured += [members.middle(v for v, _ in values)]
                measured += [members.middle(c for _, c in values)]
            place = by_error.index(key) + 1 if key in by_error else None
            ranks = [by_bits.index(key) + 1, place]
            texts = [_text(bits[key]), _text(errors[key]), *measured]
            rows.append([members.title, key, *texts, *ranks])
        count = sum(_disagree(network) for network in members.networks)
        notes.append(
            f"{members.title}: the shortest hypothesis is not the nearest in {count} of "
            f"{len(members.networks)} networks."
        )
    columns = _texts(
        "kind", "hypothesis", "bits per neuron", "prediction error, decades", "scrub accuracy",
        "random cells", "certified accuracy", "its control",
    )  # fmt: skip
    return art.Part(
        tables=[
            art.Table(
                "Bits against prediction, scrubs and certificates",
                columns | _counts("rank by bits", "rank by error"),
                rows,
                "–: not measured; --experiments scrub,certificate measures it.",
            )
        ],
        notes=notes,
    )


def _ranked(points: Mapping[str, Point | None]) -> list[str]:
    return [k for _, k in sorted((p.value, k) for k, p in points.items() if p is not None)]


def _disagree(network: NetworkSummary) -> bool:
    keys = [k for k in network.hypotheses if network.error(k) is not None and network.bits(k)]
    short = min(keys, key=lambda k: network.bits(k) or np.inf, default=None)
    return short is not None and any(
        (network.error(k) or 0.0) < (network.error(short) or 0.0) for k in keys
    )


@asks(
    "Do transformers and MLPs use the same subgroups?",
    "Roles of the coset hypothesis: median share of neurons over networks",
)
def subgroups(kinds: Sequence[Members]) -> art.Part | None:
    """Which subgroups neurons use, by architecture: shares of the neurons that matter."""
    shares: dict[str, dict[str, dict[str, list[float]]]] = defaultdict(lambda: defaultdict(dict))
    counts: Counter[tuple[str, str]] = Counter()
    for members in kinds:
        for network in members.networks if members.kind.is_learnt else ():
            if BY_SUBGROUP not in network.circuits:
                continue
            group, architecture = members.kind.group, members.kind.architecture
            roles = {r["role"]: r["neurons"] for r in network.circuits[BY_SUBGROUP].roles}
            roles.pop("negligible", None)
            place = counts[group, architecture]
            counts[group, architecture] += 1
            for role, neurons in roles.items():
                found = shares[group][role].setdefault(architecture, [])
                # Networks that do not use a class count as 0.
                found += [0.0] * (place - len(found))
                found.append(neurons / sum(roles.values()))
    if not counts:
        return None
    architectures = list(dict.fromkeys(architecture for _, architecture in counts))
    rows = []
    for group, roles in shares.items():
        for role, found in roles.items():
            cells = []
            for architecture in architectures:
                total = counts[group, architecture]
                values = found.get(architecture, [])
                values = values + [0.0] * (total - len(values))
                cells.append(_text(_estimate(values, 0)) if total else None)
            rows.append([group, role, *cells])
    numbers = "; ".join(f"{g} {a}: {n}" for (g, a), n in counts.items())
    note = f"Shares of the neurons that are not negligible. Networks: {numbers}."
    columns = _texts("group", "subgroup class", *architectures)
    return art.Part(tables=[art.Table("Neurons on each class of subgroups", columns, rows, note)])


@asks(
    "What do Clock and Pizza measures say of cyclic groups?",
    "Measures of Zhong et al., arXiv 2306.17844",
)
def clocks(kinds: Sequence[Members]) -> art.Part | None:
    """Zhong et al.'s measures of cyclic groups, beside an untrained network's."""
    measures = (
        "distance_irrelevance", "gradient_symmetricity", "circularity", "attention_dependence",
    )  # fmt: skip
    rows = []
    for members in kinds:
        for quantity in measures:
            values = [*members.value("clock_pizza", None, quantity)]
            own, untrained = (members.middle(column) for column in zip(*values, strict=True))
            if own is not None:
                rows.append([members.title, quantity.replace("_", " "), own, untrained])
    if not rows:
        return None
    columns = _texts("kind", "measure", "networks", "untrained")
    return art.Part(tables=[art.Table("Clock and Pizza", columns, rows)])


@asks("What stays unexplained in the worst networks?", "The experiment unexplained")
def worst(kinds: Sequence[Members]) -> art.Part | None:
    """The neurons that hypotheses explain worst, in the worst network of each kind."""
    names, rows, totals = _hypotheses(kinds), [], []
    for members in kinds:
        left = {n.name: _left(n) for n in members.networks}
        known = [(_left_by_shortest(n), n.name) for n in members.networks if left[n.name]]
        if not known:
            continue
        called = max(known)[1]
        (network,) = (n for n in members.networks if n.name == called)
        shares = [left[called].get(key) for key in names]
        totals.append([members.title, network.name, *shares])
        listed: dict[int, dict[Any, Any]] = defaultdict(dict)
        for finding in network.summary.findings:
            if finding.experiment == "unexplained" and finding.quantity != "left":
                entry = listed[finding.at["rank"]]
                entry[finding.subject or finding.quantity] = finding.value
                entry["neuron"] = finding.more["neuron"]
                if finding.subject == BY_SUBGROUP:
                    entry["role"] = finding.more["role"]
        for entry in listed.values():
            cells = [entry.get(key) for key in ("salience", "norm", *names)]
            where = [network.name, str(entry["neuron"]), entry.get("role")]
            rows.append([*where, *cells])
    if not rows:
        return None
    return art.Part(
        tables=[
            art.Table(
                "What each hypothesis leaves of the worst network of each kind",
                _texts("kind", "network") | _numbers(*names),
                totals,
                "Worst: the network of which the shortest hypothesis leaves most unexplained. "
                "Fraction of the variance of a neuron's three tables, weighted by salience.",
            ),
            art.Table(
                "The neurons that count most there",
                _texts("network", "neuron", f"role ({BY_SUBGROUP})")
                | _numbers("salience", "norm", *names),
                rows,
                "salience: how much the neuron can move the logits, as a share of all neurons'. "
                "norm: of its tables, relative to the median neuron. Other columns: fraction of "
                "its tables that each hypothesis leaves unexplained.",
            ),
        ]
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


@asks("Same characters, other subgroups: what is learnt?", "Dihedral and dicyclic groups")
def twins(kinds: Sequence[Members]) -> art.Part | None:
    """Groups with the same characters and other subgroups, side by side."""
    names, rows = _hypotheses(kinds), []
    for one, two in combinations((m for m in kinds if m.kind.is_learnt), 2):
        groups = one.kind.group, two.kind.group
        related = groups[1] in twin(groups[0]) or groups[0] in twin(groups[1])
        if not related or one.kind[1:3] != two.kind[1:3]:
            continue
        pair = " and ".join(groups)
        for members in (one, two):
            values = [[n.compression(key) for n in members.networks] for key in names]
            ratio = next(
                (r for r in members.count.ratios if {r.one, r.two} == {"coset", "irrep"}), None
            )
            share = _text(Point(ratio.figure.value, ratio.figure.interval)) if ratio else None
            said = _listing({k: n for k, n in members.count.shortest.items() if n}) or "none"
            middles = [members.middle(v) for v in values]
            rows.append([pair, members.title, *middles, share, said, len(members.networks)])
    if not rows:
        return None
    columns = _texts("groups", "kind", *names, "coset / irrep, bits", "shortest alone")
    return art.Part(
        tables=[
            art.Table(
                "Dihedral and dicyclic groups of one order",
                columns | _counts("networks"),
                rows,
                "Dihedral and dicyclic groups of order 4n have the same character table for even "
                "n, and other subgroups.",
            )
        ]
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


@asks("The table of results", "Every network")
def results(kinds: Sequence[Members]) -> art.Part:
    """The table of results, one row a network."""
    names, rows = _hypotheses(kinds), []
    for members in kinds:
        for n in members.networks:
            explained = " + ".join(n.verdict.explained_by) or "nothing"
            figures = [n.accuracy, n.loss, n.summary.fidelity.delta, *(n.bits(k) for k in names)]
            rows.append([members.title, n.name, explained, *figures])
    columns = _texts("kind", "network", "explained by") | _columns("fraction", "accuracy")
    columns |= _columns("nats", "loss") | _numbers("δ*", *names)
    note = "Bits per neuron of each hypothesis at δ*. Each network's own report is in networks/."
    return art.Part(tables=[art.Table("Every network", columns, rows, note)])


# --- over training --------------------------------------------------------------------------------


def _curves(
    kinds: Sequence[Members],
    folder: Path,
    algorithms: Sequence[str] | None,
    options: Mapping[str, Any],
) -> art.Part | None:
    """One network of each architecture whose run has kept checkpoints, compared at each."""
    chosen: dict[str, NetworkSummary] = {}
    for members in kinds:
        for network in members.networks if members.kind.is_learnt else ():
            if members.kind.architecture not in chosen and _steps(network):
                chosen[members.kind.architecture] = network
    tables, drawings = [], []
    for network in chosen.values():
        steps = _steps(network)
        looked = compare([*steps.values()], algorithms, out=folder / network.name, **options)
        found = {n.source: n for n in looked}
        losses = {
            look["step"]: look["loss"]
            for look in load(network.source).provenance.get("curve") or ()
        }
        at = {step: found[str(path)] for step, path in steps.items() if str(path) in found}
        lengths = {k: {s: n.compression(k) for s, n in at.items()} for k in network.hypotheses}
        rows = [
            [step, n.accuracy, n.loss, *(lengths[k][step] for k in network.hypotheses)]
            for step, n in at.items()
        ]
        columns = _counts("step") | _columns("fraction", "accuracy") | _columns("nats", "loss")
        columns |= _numbers(*network.hypotheses)
        tables.append(art.Table(f"{network.name} over training", columns, rows))
        drawings.append(
            art.Drawing(
                f"{network.name}: loss of all pairs and compression over training.",
                [[partial(over_training, losses, lengths)]],
                (7.2, 4.2),
            )
        )
    if not tables:
        return None
    note = "Each look is compared at a fidelity point of its own."
    return art.Part(tables=tables, drawings=drawings, notes=[note])


def _steps(network: NetworkSummary) -> dict[int, Path]:
    """Some of a run's checkpoints, evenly spread, without the step before any training."""
    path = Path(network.source)
    if not path.exists():
        return {}
    kept = checkpoints_in(path if path.is_dir() else path.parent)
    later = [step for step in kept if step > 0]
    places = np.linspace(0, len(later) - 1, min(CHECKPOINTS, len(later))).round().astype(int)
    return {later[i]: kept[later[i]] for i in places}


def _command(
    given: Sequence[Any], experiments: Sequence[str], algorithms: Sequence[str] | None, seed: int
) -> str:
    words = ["coset-circuits reproduce study"]
    words += [f"--networks {x}" for x in given if isinstance(x, (str, os.PathLike))]
    if tuple(experiments) != EXPERIMENTS:
        words.append(f"--experiments {','.join(experiments)}")
    if algorithms is not None:
        words.append(f"--algorithms {','.join(algorithms)}")
    return " ".join([*words, *([f"--seed {seed}"] if seed else [])])


TRAINING = art.Question(
    "training", "When over training does it become so?", "Checkpoints of one run an architecture"
)
