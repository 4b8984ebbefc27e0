"""The known-answer benchmark: what is said of networks whose algorithm is known, seed by seed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from coset_circuits.algorithms import ALGORITHMS
from coset_circuits.benchmark.known_answers import (
    ALIKE,
    LARGE,
    NOTHING,
    NULLS,
    PLANTED,
    Case,
    known_cases,
)
from coset_circuits.comparison import Comparison, compare
from coset_circuits.comparison.summary import versions
from coset_circuits.errors import CosetCircuitsError
from coset_circuits.findings.statistics import share
from coset_circuits.findings.storage import check_writable, source_hash
from coset_circuits.networks.files import write_whole
from coset_circuits.progress import Progress
from coset_circuits.thresholds import DEFAULT, Thresholds

SCHEMA = 1
GROUPS = ("D4", "S4")
SAMPLE = 2_000
"""Pairs taken of a group whose pairs are too many to be gone through for every seed."""
TRADE_OFF = "trade-off"
"""Both hypotheses are supported, one the shorter and the other the nearer."""
ANSWERS = (*ALGORITHMS, ALIKE, TRADE_OFF, NOTHING)
"""All that can be said."""


@dataclass(frozen=True)
class Answer:
    """What was said of one network, beside what was to be said.

    Attributes:
        expected, said: one of :data:`ANSWERS`.
        truth: the hypotheses that are true of it.
        supported: the hypotheses of which some variant is supported.
        chosen: the shortest supported variant that none dominates; None where there is none. Its
            ``error`` in decades, ``logit_r2`` and ``bits`` a neuron follow.
    """

    case: str
    kind: str
    group: str
    noise: float | None
    seed: int
    expected: str
    said: str
    truth: tuple[str, ...]
    supported: tuple[str, ...]
    chosen: str | None
    error: float | None
    logit_r2: float | None
    bits: float | None
    dull_bits: float
    accuracy: float
    neurons: int
    pairs: int

    @property
    def is_found(self) -> bool:
        """Whether those hypotheses are left that are true, and no others."""
        both = self.said in (ALIKE, TRADE_OFF)
        left = set(ALGORITHMS) if both else {self.said} - {NOTHING}
        return left == set(self.truth)


def judged(comparison: Comparison) -> tuple[str, tuple[str, ...], str | None]:
    """What a comparison says in one word, the supported hypotheses, and the chosen variant.

    Prediction and length count together: of supported variants those count that no other dominates.
    """
    verdict = comparison.verdict
    of = {form.name: name for name, forms in ALGORITHMS.items() for form in forms}
    supported = tuple(dict.fromkeys(of[name] for name in verdict.supported))
    best = [name for name in verdict.supported if name not in verdict.dominated]
    if not best:
        return NOTHING, supported, None
    delta = comparison.thresholds.headline_error
    bits = {name: comparison.candidate(name).bits[delta] for name in best}
    chosen = min(best, key=lambda n: (bits[n], comparison.predicted[n].median_log_loss))
    left = {of[name] for name in best}
    if len(left) == 1:
        return left.pop(), supported, chosen
    apart = {frozenset(pair) for pairs in comparison.separations.values() for pair in pairs}
    alike = any(
        of[one] != of[two] and frozenset((one, two)) not in apart for one in best for two in best
    )
    return ALIKE if alike else TRADE_OFF, supported, chosen


@dataclass(frozen=True)
class SelfTest:
    """All answers, and what they amount to."""

    answers: tuple[Answer, ...]
    groups: tuple[str, ...]
    seeds: int
    thresholds: Thresholds
    versions: Mapping[str, str]

    def to_dataframe(self) -> pd.DataFrame:
        """One row a network."""
        return pd.DataFrame([asdict(answer) for answer in self.answers])

    def confusion(self) -> pd.DataFrame:
        """How often each was said of the networks without noise, by kind and right answer."""
        counts: dict[tuple[str, str], dict[str, int]] = {}
        for answer in self._clean():
            row = counts.setdefault((answer.kind, answer.expected), dict.fromkeys(ANSWERS, 0))
            row[answer.said] += 1
        order = sorted(counts, key=lambda row: (PLANTED + NULLS).index(row[0]))
        frame = pd.DataFrame([counts[row] for row in order], columns=list(ANSWERS))
        frame.index = pd.MultiIndex.from_tuples(order, names=["kind", "right answer"])
        return frame

    def false_positives(self) -> pd.DataFrame:
        """Of each kind of null how many networks had some hypothesis supported."""
        rows = [
            (kind, [a.said != NOTHING for a in self.answers if a.kind == kind]) for kind in NULLS
        ]
        rows.append(("all nulls", [said for _, found in rows for said in found]))
        return self._shares("null", "false positives", rows)

    def power(self) -> pd.DataFrame:
        """Of noisy networks of each case how many were left with exactly their true hypotheses."""
        noisy = [answer for answer in self.answers if answer.noise is not None]
        clean = {a.case: a for a in self._clean()}
        groups: dict[tuple[str, float], list[Answer]] = {}
        for answer in noisy:
            base = answer.case.rpartition(",")[0]
            groups.setdefault((base, 0.0), [a for a in self._clean() if a.case == base])
            groups.setdefault((base, answer.noise or 0.0), []).append(answer)
        rows = [
            ((case, size, sum(a.accuracy for a in found) / len(found)), [a.is_found for a in found])
            for (case, size), found in groups.items()
            if case in clean
        ]
        frame = self._shares("case", "found", rows)
        if len(frame):
            columns = pd.DataFrame(frame.pop("case").tolist(), columns=["case", "noise", "right"])
            frame = pd.concat([columns, frame], axis=1)
        return frame

    def errors(self) -> list[Answer]:
        """The networks without noise of which something else was said than is right."""
        return [answer for answer in self._clean() if answer.said != answer.expected]

    def failures(self) -> list[Answer]:
        """Those that break an aim: a null with a hypothesis, or a clean circuit of one algorithm
        of which something else is said."""
        return [answer for answer in self.errors() if answer.kind != PLANTED[-1]]

    def how_well(self) -> pd.DataFrame:
        """Medians of the chosen variant's figures, by case, where one was chosen."""
        frame = self.to_dataframe()
        frame = frame[frame["noise"].isna() & frame["chosen"].notna()]
        columns = ["error", "logit_r2", "bits", "dull_bits"]
        return frame.groupby("case", sort=False)[columns].median().reset_index()

    def to_dict(self) -> dict[str, Any]:
        """All of it for JSON."""
        return {
            "schema": SCHEMA,
            "groups": list(self.groups),
            "seeds": self.seeds,
            "answers": [asdict(answer) for answer in self.answers],
            "confusion": self.confusion().reset_index().to_dict("records"),
            "false_positives": self.false_positives().to_dict("records"),
            "power": self.power().to_dict("records"),
            "thresholds": self.thresholds.to_dict(),
            "versions": dict(self.versions),
        }

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write selftest.json into a folder; returns its path."""
        content = json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n"
        write_whole(Path(folder) / "selftest.json", content.encode())
        return Path(folder)

    def __str__(self) -> str:
        from coset_circuits.report.selftest import plain_text

        return plain_text(self)

    def __repr__(self) -> str:
        wrong = len(self.errors())
        return f"SelfTest({len(self.answers)} networks, {wrong} of those without noise misjudged)"

    def _clean(self) -> Iterator[Answer]:
        return (answer for answer in self.answers if answer.noise is None)

    def _shares(
        self, name: str, counted: str, rows: Iterable[tuple[Any, Sequence[bool]]]
    ) -> pd.DataFrame:
        found = []
        for key, hits in rows:
            if hits:
                estimate = share(sum(hits), len(hits), self.thresholds)
                low, high = estimate.interval or (None, None)
                counts = {counted: sum(hits), "networks": len(hits)}
                found.append({name: key, **counts, "low": low, "high": high})
        return pd.DataFrame(found)


def selftest(
    groups: Iterable[str] = GROUPS,
    *,
    seeds: int = 2,
    out: str | os.PathLike[str] | None = None,
    thresholds: Thresholds = DEFAULT,
    progress: Progress | None = None,
) -> SelfTest:
    """Judge networks whose algorithm is known, and count what was said of them.

    Args:
        groups: names of the groups; those of order 60 and more get fewer neurons and are measured
            on a sample of pairs.
        seeds: how many networks of each case.
        out: a folder that keeps every answer, so that a stopped call goes on when made again. The
            answers of other versions of the code are left alone and not believed.
        thresholds: see :class:`Thresholds`.
        progress: called with (what is being done, networks done, networks in all).

    Raises:
        CosetCircuitsError: no seed, no group, or a group without a coset circuit.
    """
    if seeds < 1:
        raise CosetCircuitsError(f"{seeds} seeds were asked for; give a number from 1 up.")
    names = tuple(dict.fromkeys(groups))
    cases = known_cases(names)
    if out is not None:
        check_writable(Path(out))
    answers = []
    told = progress or (lambda text, done, total: None)
    # Seed by seed, so that what a stopped run has done covers all cases.
    for seed in range(seeds):
        for case in cases:
            told(case.name, len(answers), seeds * len(cases))
            answers.append(_kept(case, seed, thresholds, out))
    told("done", len(answers), len(answers))
    return SelfTest(tuple(answers), names, seeds, thresholds, versions())


def _kept(case: Case, seed: int, thresholds: Thresholds, out: Any) -> Answer:
    if out is None:
        return _answer(case, seed, thresholds)
    asked = [case.name, seed, thresholds.to_dict(), versions(), source_hash()]
    key = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:32]
    path = Path(out) / "answers" / f"{key}.json"
    try:
        return _read(path)
    except (OSError, ValueError, TypeError, KeyError):
        answer = _answer(case, seed, thresholds)
        write_whole(path, (json.dumps(asdict(answer)) + "\n").encode())
        return answer


def _read(path: Path) -> Answer:
    found: dict[str, Any] = json.loads(path.read_bytes())
    lists = {"truth": tuple(found["truth"]), "supported": tuple(found["supported"])}
    return Answer(**{**found, **lists})


def _answer(case: Case, seed: int, thresholds: Thresholds) -> Answer:
    network = case.make(seed)
    pairs = SAMPLE if network.group.order >= LARGE else None
    comparison = compare(network, seed=seed, pairs=pairs, thresholds=thresholds)
    said, supported, chosen = judged(comparison)
    delta = thresholds.headline_error
    bits = {c.name: c.bits[delta] for c in comparison.candidates}
    error = None if chosen is None else comparison.predicted[chosen]
    return Answer(
        case=case.name,
        kind=case.kind,
        group=case.group,
        noise=case.noise,
        seed=seed,
        expected=case.expected,
        said=said,
        truth=tuple(sorted(case.truth)),
        supported=supported,
        chosen=chosen,
        error=None if error is None else error.median_log_loss,
        logit_r2=None if error is None else error.logit_r2,
        bits=None if chosen is None else bits[chosen],
        dull_bits=bits["dull null"],
        accuracy=comparison.base.accuracy,
        neurons=network.cfg.d_mlp,
        pairs=len(comparison.pairs),
    )
