"""Questions of the study about description length: which is shortest, on what it depends, when."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from coset_circuits.comparison.across import NetworkSummary, count_verdicts
from coset_circuits.comparison.verdict import listed
from coset_circuits.errors import CosetCircuitsError
from coset_circuits.findings.statistics import signed_rank_p, too_few
from coset_circuits.networks import load
from coset_circuits.report.study_figures import compressions, each_network, over_training
from coset_circuits.reproduction import artifact as art
from coset_circuits.reproduction.asking import Answer, Said, corrected, p_value, table
from coset_circuits.reproduction.kinds import Members, NetworkKind, Survey, findings, text
from coset_circuits.reproduction.permutations import rank_test
from coset_circuits.thresholds import DEFAULT
from coset_circuits.training.run_folder import checkpoints_in

BESIDE = {"best null": "null", "renamed group": "control"}
"""What stands beside the hypotheses: the shortest candidate of a kind."""
CHECKPOINTS = 8
"""The number of checkpoints of a training run that are compared."""
RUNS = 2
"""The number of runs of each architecture of which checkpoints are compared."""


def shortest(study: Survey) -> Answer:
    """Compression at equal fidelity, verdicts counted, and paired ratios of bits."""
    names, points, counts = study.hypotheses, {}, []
    rows: dict[bool, list[list[art.Value]]] = {False: [], True: []}
    for members in study.kinds:
        networks, count = members.networks, members.count
        found = {key: count.compression.get(key) for key in names}
        for title, kind in BESIDE.items():
            found[title] = members.over(best_of_kind(n, kind) for n in networks)
        delta = text(members.over(n.summary.fidelity.delta for n in networks))
        right = sum(n.accuracy == 1 for n in networks)
        row = [members.title, delta, *map(text, found.values()), len(networks), right]
        rows[members.is_published].append(row)
        drawn = {key: found[key] for key in (*study.leading, *BESIDE)}
        points[members.title] = {key: point for key, point in drawn.items() if point}
        alone = [count.shortest.get(key, 0) for key in names]
        none = sum(not network.hypotheses for network in networks)
        numbers = [len(networks), *alone, count.open, count.nothing, none]
        counts.append([members.title, *numbers])
    yield Said(_counted(study))
    yield _drawn_by_network(study)
    for is_published, title in ((False, ""), (True, ", networks that others have trained")):
        yield table(
            f"Compression at equal fidelity{title}",
            rows[is_published],
            "How many times shorter than the raw weights. δ*: the fidelity point. best null: the "
            "shortest description without group theory. renamed group: the shortest of the "
            "hypotheses after the elements were renamed at random.",
            text=["kind", "δ*", *names, *BESIDE],
            count="networks, right on all pairs",
        )
    yield art.Drawing(
        "Compression of each kind of network: median and 95% interval over networks.",
        [[partial(compressions, points, [*BESIDE])]],
        (9.0, 1.8 + 0.42 * len(points)),
    )
    yield table(
        "How often each hypothesis alone is the shortest that explains a network",
        counts,
        "open: several explain the network at lengths whose order is open. nothing: none explains "
        "it; none applies: those among them whose pre-activations are not a sum of a left and a "
        "right table, or whose group has no structure that a hypothesis could use.",
        text="kind",
        count=["networks", *names, "open", "nothing", "none applies"],
    )
    yield _ratios(study)


def _counted(study: Survey) -> str:
    networks = study.networks
    count = count_verdicts(networks, DEFAULT, 0)
    alone = [
        f"{study.nouns[key]} in {count.shortest.get(key, 0)}"
        for key in study.hypotheses
        if key in study.leading or count.shortest.get(key)
    ]
    times = [
        f"{study.nouns[key]} {count.compression[key].value:.2g}"
        for key in study.leading
        if key in count.compression
    ]
    beside = [
        f"the {title} {value:.2g}"
        for title, kind in BESIDE.items()
        if (value := art.centre([best_of_kind(n, kind) for n in networks], "median"))
    ]
    none = sum(not network.hypotheses for network in networks)
    of_these = f" (to {none} of these no hypothesis applies)" if none else ""
    found = Counter(key for network in networks for key in network.verdict.refuted)
    refuted = [f"{study.nouns[key]} in {count}" for key, count in found.most_common()]
    return (
        f"Of {len(networks)} networks that have learnt their group, the shortest description is by "
        f"{listed(alone)}; several explain {count.open} at lengths whose order is open, and "
        f"nothing explains {count.nothing}{of_these}. In the median of the networks that they "
        "apply to they are shorter than the weights by these factors: "
        f"{', '.join([*times, *beside])}."
        + (f" Some intervention refutes {listed(refuted)}." if refuted else "")
    )


def best_of_kind(network: NetworkSummary, kind: str) -> float | None:
    """The compression of the shortest candidate of a kind, such as the nulls."""
    found = [c.compression.value for c in network.circuits.values() if c.kind == kind]
    return max((value for value in found if value is not None), default=None)


def _drawn_by_network(study: Survey) -> art.Drawing | str:
    """Every network by how short its first two leading hypotheses are."""
    if len(study.leading) < 2:
        return "Fewer than two hypotheses explain a network."
    one, two = study.leading[:2]
    points: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    for members in study.kinds:
        title = members.kind.group if members.kind.is_learnt else "not learnt"
        for network in members.networks:
            first, second = map(network.compression, (one, two))
            if all(values := (first, second, best_of_kind(network, "null"))):
                points[title].append(values)  # pyright: ignore[reportArgumentType]
    controls = points.pop("not learnt", None)
    points |= {"not learnt": controls} if controls else {}
    return art.Drawing(
        f"Every network: times shorter than its weights by {study.nouns[one]} (across) and by "
        f"{study.nouns[two]} (up). Below the diagonal {study.nouns[one]} are shorter. Open marks "
        "on the diagonal are the best descriptions without group theory, in the group's median.",
        [[partial(each_network, points, (study.nouns[one], study.nouns[two]))]],
        (7.6, 6.2),
    )


def _ratios(study: Survey) -> art.Table:
    leading = set(study.leading)
    found = [
        (members, ratio)
        for members in study.kinds
        for ratio in members.count.ratios
        if {ratio.one, ratio.two} <= leading
    ]
    p_values = corrected([ratio.p for _, ratio in found])
    tests = sum(p is not None for p in p_values)
    rows = []
    for (members, r), p in zip(found, p_values, strict=True):
        between = f"{r.range[0]:.3g} to {r.range[1]:.3g}"
        texts = [members.title, f"{r.one} / {r.two}", text(r.figure), between]
        rows.append([*texts, r.figure.networks, r.p, p])
    return table(
        "Bits of one hypothesis over those of another, network by network",
        rows,
        "Hypotheses that explain more than 5% of the networks. Exact two-sided signed-rank tests "
        f"of the logarithms; Holm's correction over the {tests} tests of the table. –: "
        "too few networks for a test.",
        text="kind, hypotheses, ratio, range",
        count="networks",
        number=["p", "p, Holm"],
    )


def log_ratios(networks: Sequence[NetworkSummary], one: str, two: str) -> np.ndarray:
    """The logarithm of one hypothesis's bits over another's, of the networks that have both."""
    bits = [(n.bits(one), n.bits(two)) for n in networks]
    return np.array([np.log(a / b) for a, b in bits if a and b])


def dependence(study: Survey) -> Answer:
    """The paired ratio of bits of the first two leading hypotheses, one factor at a time."""
    if len(study.leading) < 2:
        return
    one, two = study.leading[:2]
    found: list[tuple[str, str, list[tuple[str, Members]]]] = []
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
                found.append((factor, ", ".join(map(str, fixed)), several))
    rows, said = [], []
    for factor, held, several in found:
        samples = {level: log_ratios(m.networks, one, two) for level, m in several}
        samples = {level: sample for level, sample in samples.items() if len(sample)}
        enough = [sample for sample in samples.values() if len(sample) > 2]
        p = rank_test(enough) if len(enough) > 1 else None
        for level, m in several:
            ratio = next((r.figure for r in m.count.ratios if (r.one, r.two) == (one, two)), None)
            rest = [text(m.count.compression.get(key)) for key in (one, two)]
            rows.append([factor, held, level, text(ratio), *rest, len(m.networks), p])
        if len(samples) > 1:
            middles = {level: float(np.exp(np.median(s))) for level, s in samples.items()}
            low, high = min(middles, key=middles.__getitem__), max(middles, key=middles.__getitem__)
            tested = "" if p is None else f", {p_value(p)}"
            name = factor.replace("d_mlp", "width")
            said.append(
                f"by {name} ({held}) from {middles[low]:.2g} in {low} to {middles[high]:.2g} in "
                f"{high}{tested}"
            )
    if said:
        yield Said(
            f"The bits of {study.nouns[one]} over those of {study.nouns[two]} vary "
            f"{'; '.join(said[:4])}."
        )
    yield table(
        "One factor at a time",
        rows,
        "Kinds that differ in one property only. ratio: bits of the first hypothesis over those of "
        "the second, then the compression of both. p: rank test of the ratios by shuffling "
        "networks among the levels with at least three. Groups are listed with their widths, which "
        "differ, as do their batches.",
        text=["factor", "held fixed", "level", f"ratio {one} / {two}", one, two],
        count="networks",
        number="p",
    )


def training(study: Survey) -> Answer:
    """When the final structure forms, over all runs; and the looks at some of them."""
    rows, later, both = [], [], []
    for members in study.learnt:
        learnt, formed, ratios = [], [], []
        for network in members.networks:
            steps = [
                next((f.value for f in findings(network, "formation", name)), None)
                for name in ("step_learnt", "step_half_formed")
            ]
            if steps[0] and steps[1]:
                learnt.append(steps[0])
                formed.append(steps[1])
                ratios.append(steps[1] / steps[0])
        if ratios:
            estimates = [members.over(values) for values in (learnt, formed, ratios)]
            after = sum(ratio > 1 for ratio in ratios)
            rows.append([members.title, *map(text, estimates), len(ratios), after])
            later += [r > 1 for r in ratios]
            both += ratios
    if both:
        p = None if too_few(len(both)) else signed_rank_p(np.log(both))
        tested = "" if p is None else f", signed-rank test {p_value(p)}"
        yield Said(
            f"Half of the explained neurons are on their final cosets by {median(both):.2g} times "
            f"the step from which the network is right on {DEFAULT.grokked_accuracy:.0%} of the "
            f"pairs (median of {len(both)} runs; later in {sum(later)}{tested})."
        )
    yield table(
        "When half of the explained neurons have formed, and when the network is right",
        rows,
        "Steps of the checkpoints from which this holds to the end: 99% of all pairs are right; "
        "half of the neurons stay within an FVU of 0.01 on their final cells. ratio: the second "
        "over the first, run by run.",
        text="kind, right from step, formed from step, ratio",
        count="runs, formed later",
    )
    yield from _looks(study)


def _looks(study: Survey) -> Answer:
    """Compression at the checkpoints of a run of each architecture's most numerous groups."""
    names, null, rows, said = study.leading, "best null", [], []
    for network in _chosen_runs(study):
        steps = _steps(network)
        try:
            found = {n.source: n for n in study.compared(network.name, [*steps.values()])}
        except CosetCircuitsError as error:
            yield f"{network.name} over training: {error}"
            continue
        at = {step: found[str(path)] for step, path in steps.items() if str(path) in found}
        lengths = {key: {step: n.compression(key) for step, n in at.items()} for key in names}
        lengths[null] = {step: best_of_kind(n, "null") for step, n in at.items()}
        for step, n in at.items():
            rows.append(
                [network.name, step, n.accuracy, n.loss, *(v[step] for v in lengths.values())]
            )
        said.append(f"{_shorter_from(lengths, null, [*at])} in {network.name}")
        yield art.Drawing(
            f"{network.name}: how much shorter than the weights each description is over training, "
            "and the mean loss over all pairs (right).",
            [[partial(over_training, _losses(network), lengths, [null])]],
            (7.6, 4.4),
        )
    if said:
        yield Said(f"A hypothesis is shorter than every null {', '.join(said)}.")
    yield table(
        "Compression over training",
        rows,
        "Each checkpoint is compared at a fidelity point of its own.",
        text="run",
        count="step",
        fraction="accuracy",
        nats="loss",
        number=[*names, null],
    )


def _shorter_from(
    lengths: Mapping[str, Mapping[int, float | None]], null: str, steps: Sequence[int]
) -> str:
    """The first step from which, to the end, some hypothesis is shorter than every null."""
    first = "at no step"
    for step in reversed(steps):
        best = max(at[step] or 0.0 for name, at in lengths.items() if name != null)
        if best <= (lengths[null][step] or 0.0):
            break
        first = f"from step {step:,} on"
    return first


def _losses(network: NetworkSummary) -> Mapping[int, float]:
    """The mean loss over pairs by step: of the checkpoints, else of the training log."""
    formation = network.summary.formation or {}
    if formation.get("loss"):
        return dict(zip(formation["steps"], formation["loss"], strict=True))
    curve = load(network.source).provenance.get("curve") or ()
    return {look["step"]: look["loss"] for look in curve}


def _chosen_runs(study: Survey) -> list[NetworkSummary]:
    """A run with checkpoints of each architecture's most numerous groups, first seeds first."""
    chosen: dict[tuple[str, str], NetworkSummary] = {}
    for members in sorted(study.learnt, key=lambda members: -len(members.networks)):
        key = members.kind.architecture, members.kind.group
        if key not in chosen and sum(a == key[0] for a, _ in chosen) < RUNS:
            run = next((network for network in members.networks if _steps(network)), None)
            if run is not None:
                chosen[key] = run
    return [*chosen.values()]


def _steps(network: NetworkSummary) -> dict[int, Path]:
    """Some of a run's checkpoints, evenly spread, without the step before any training."""
    path = Path(network.source)
    kept = checkpoints_in(path) if path.exists() else {}
    later = [step for step in kept if step > 0]
    places = np.linspace(0, len(later) - 1, min(CHECKPOINTS, len(later))).round().astype(int)
    return {later[i]: kept[later[i]] for i in places}
