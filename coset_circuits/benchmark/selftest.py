"""The known-answer benchmark: test the verdict on networks whose algorithm is known."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from coset_circuits.algorithms import ALGORITHMS
from coset_circuits.benchmark.known_answers import (
    LARGE,
    NOISE,
    NOTHING,
    NULLS,
    PLANTED,
    TRAINED,
    Case,
    known_cases,
)
from coset_circuits.benchmark.trained_cases import trained_cases
from coset_circuits.comparison import compare
from coset_circuits.comparison.summary import versions
from coset_circuits.errors import whole
from coset_circuits.findings.statistics import share
from coset_circuits.findings.storage import source_hash
from coset_circuits.networks.files import check_place, write_whole
from coset_circuits.presentation import Presented
from coset_circuits.progress import Progress, silent
from coset_circuits.thresholds import DEFAULT, Thresholds

SCHEMA = 2
GROUPS = ("D4", "S4")
SAMPLE = 2_000
"""The number of pairs sampled from a group with too many to use them all for every seed."""


@dataclass(frozen=True)
class Answer:
    """The verdict on one network, and the right answer.

    Attributes:
        put: the hypothesis that the network was built with, or :data:`NOTHING`.
        also: other hypotheses that are also true of it.
        explained_by: the hypotheses that the verdict names, the shortest first.
        is_right: see :meth:`Case.is_right`.
        error: median |Δlog10 loss| of the shortest named hypothesis, in decades. ``logit_r2`` and
            ``bits`` (per neuron, at the fidelity point) are its other figures.
        null_bits: bits per neuron of the shortest null model without group theory.
    """

    case: str
    kind: str
    group: str
    noise: float | None
    seed: int
    put: str
    also: tuple[str, ...]
    explained_by: tuple[str, ...]
    is_right: bool
    error: float | None
    logit_r2: float | None
    bits: float | None
    null_bits: float
    accuracy: float
    neurons: int
    pairs: int

    @property
    def said(self) -> str:
        """The hypotheses that the verdict names, in the registry's order, or :data:`NOTHING`."""
        return ", ".join(key for key in ALGORITHMS if key in self.explained_by) or NOTHING

    @property
    def clean_case(self) -> str:
        """The name of the same case without noise."""
        return self.case if self.noise is None else self.case.rpartition(",")[0]


@dataclass(frozen=True, repr=False)
class SelfTest(Presented):
    """All answers, with their counts.

    Attributes:
        hypotheses: the hypotheses that some case tests, by their keys.
    """

    answers: tuple[Answer, ...]
    groups: tuple[str, ...]
    hypotheses: tuple[str, ...]
    seeds: int
    thresholds: Thresholds
    versions: Mapping[str, str]

    def to_dataframe(self) -> pd.DataFrame:
        """One row a network."""
        return pd.DataFrame([asdict(answer) for answer in self.answers])

    def confusion(self) -> pd.DataFrame:
        """Counts of the answers on networks without noise, by planted hypothesis."""
        kinds = (*PLANTED, *TRAINED, *NULLS)
        counts = Counter((a.kind, a.put, a.said) for a in self._clean)
        rows = dict.fromkeys((a.kind, a.put) for a in self._clean)
        order = sorted(rows, key=lambda row: kinds.index(row[0]))
        alone = [*self.hypotheses, NOTHING]
        said = [*alone, *sorted({a.said for a in self._clean} - set(alone))]
        frame = pd.DataFrame([[counts[*row, word] for word in said] for row in order])
        frame.columns = said
        frame.index = pd.MultiIndex.from_tuples(order, names=["kind", "put there"])
        return frame

    def false_positives(self) -> pd.DataFrame:
        """The number of null networks of each kind that the verdict says are explained."""
        nulls = {kind: [a for a in self.answers if a.kind == kind] for kind in NULLS}
        nulls["all nulls"] = [a for a in self.answers if a.kind in NULLS]
        return pd.DataFrame(
            {
                "null": kind,
                **self._share("false positives", [bool(a.explained_by) for a in answers]),
            }
            for kind, answers in nulls.items()
            if answers
        )

    def power(self) -> pd.DataFrame:
        """The number of networks of each noisy case with a right verdict.

        ``right`` is the mean accuracy of these networks; a noise of 0 is the case without noise.
        """
        rows = []
        for case in dict.fromkeys(a.clean_case for a in self.answers if a.noise is not None):
            for noise in (None, *NOISE):
                answers = [a for a in self.answers if (a.clean_case, a.noise) == (case, noise)]
                if answers:
                    accuracy = sum(a.accuracy for a in answers) / len(answers)
                    shares = self._share("found", [a.is_right for a in answers])
                    rows.append({"case": case, "noise": noise or 0.0, "right": accuracy, **shares})
        return pd.DataFrame(rows)

    def errors(self) -> list[Answer]:
        """The networks without noise that got a wrong answer."""
        return [answer for answer in self._clean if not answer.is_right]

    def failures(self) -> list[Answer]:
        """Errors on null networks and on circuits of one algorithm; mixtures do not count."""
        mixtures = (PLANTED[-1], TRAINED[-1])
        return [answer for answer in self.errors() if answer.kind not in mixtures]

    def how_well(self) -> pd.DataFrame:
        """Medians of the shortest named hypothesis's figures, by case."""
        frame = self.to_dataframe()
        frame = frame[frame["noise"].isna() & frame["bits"].notna()]
        columns = ["error", "logit_r2", "bits", "null_bits"]
        return frame.groupby("case", sort=False)[columns].median().reset_index()

    def to_dict(self) -> dict[str, Any]:
        """The content of selftest.json."""
        return {
            "schema": SCHEMA,
            "groups": list(self.groups),
            "hypotheses": list(self.hypotheses),
            "seeds": self.seeds,
            "answers": [asdict(answer) for answer in self.answers],
            "confusion": self.confusion().reset_index().to_dict("records"),
            "false_positives": self.false_positives().to_dict("records"),
            "power": self.power().to_dict("records"),
            "thresholds": self.thresholds.to_dict(),
            "versions": dict(self.versions),
        }

    def __repr__(self) -> str:
        wrong = len(self.errors())
        return f"SelfTest({len(self.answers)} networks, {wrong} of those without noise misjudged)"

    @property
    def _clean(self) -> list[Answer]:
        return [answer for answer in self.answers if answer.noise is None]

    def _share(self, counted: str, hits: Sequence[bool]) -> dict[str, Any]:
        low, high = share(sum(hits), len(hits), self.thresholds).interval or (None, None)
        return {counted: sum(hits), "networks": len(hits), "low": low, "high": high}


def selftest(
    groups: Iterable[str] = GROUPS,
    *,
    seeds: int = 2,
    trained: bool = False,
    out: str | os.PathLike[str] | None = None,
    thresholds: Thresholds = DEFAULT,
    progress: Progress | None = None,
) -> SelfTest:
    """Test the verdict on networks whose algorithm is known, and count the answers.

    Only the hypotheses that a case covers are run on its networks.

    Args:
        groups: names of the groups. Groups of order 60 and more get fewer neurons and are measured
            on a sample of pairs.
        seeds: the number of networks of each case.
        trained: use networks that were trained with tables of a given kind instead of planted
            ones; see :mod:`coset_circuits.benchmark.trained`.
        out: a folder for the answers. A stopped call continues from it when repeated. Answers of
            other versions of the code are not used, but are left there.
        thresholds: see :class:`Thresholds`.
        progress: called with (current task, networks done, total networks).

    Raises:
        CosetCircuitsError: there is no seed, no group, or no coset circuit in a group.
    """
    seeds = whole("number of seeds", seeds)
    names = tuple(dict.fromkeys(groups))
    cases = trained_cases(names) if trained else known_cases(names)
    if out is not None:
        check_place(Path(out), ["selftest.json"], ["answers"])
    answers = []
    report = progress or silent
    # Seed by seed, so that a stopped run has answers for all cases.
    for seed in range(seeds):
        for case in cases:
            report(case.name, len(answers), seeds * len(cases))
            answers.append(_kept(case, seed, thresholds, out))
    report("done", len(answers), len(answers))
    covered = tuple(key for key in ALGORITHMS if any(key in case.covers for case in cases))
    return SelfTest(tuple(answers), names, covered, seeds, thresholds, versions())


def _kept(
    case: Case, seed: int, thresholds: Thresholds, out: str | os.PathLike[str] | None
) -> Answer:
    """The answer saved in the folder, or a new one, which is then saved."""
    if out is None:
        return _answer(case, seed, thresholds)
    asked = [case.name, case.covers, seed, thresholds.to_dict(), versions(), source_hash()]
    key = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:32]
    path = Path(out) / "answers" / f"{key}.json"
    try:
        kept: dict[str, Any] = json.loads(path.read_bytes())
        lists = {key: tuple(value) for key, value in kept.items() if isinstance(value, list)}
        return Answer(**{**kept, **lists})
    except (OSError, ValueError, TypeError, AttributeError):
        answer = _answer(case, seed, thresholds)
        write_whole(path, (json.dumps(asdict(answer)) + "\n").encode())
        return answer


def _answer(case: Case, seed: int, thresholds: Thresholds) -> Answer:
    network = case.make(seed)
    pairs = SAMPLE if network.group.order >= LARGE else None
    comparison = compare(network, case.covers, seed=seed, pairs=pairs, thresholds=thresholds)
    delta, explained_by = comparison.fidelity.delta, comparison.verdict.explained_by
    error = comparison.predicted[explained_by[0]] if explained_by else None
    return Answer(
        case=case.name,
        kind=case.kind,
        group=case.group,
        noise=case.noise,
        seed=seed,
        put=case.put,
        also=tuple(sorted(case.also)),
        explained_by=explained_by,
        is_right=case.is_right(explained_by),
        error=None if error is None else error.median_log_loss,
        logit_r2=None if error is None else error.logit_r2,
        bits=comparison.candidate(explained_by[0]).bits[delta] if explained_by else None,
        null_bits=min(c.bits[delta] for c in comparison.candidates if c.kind == "null"),
        accuracy=comparison.base.accuracy,
        neurons=network.d_mlp,
        pairs=len(comparison.pairs),
    )
