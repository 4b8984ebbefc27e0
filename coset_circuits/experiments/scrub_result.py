"""What a scrub gives: figures beside those of its controls, and what they come to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from coset_circuits.algorithms.algorithm import NEGLIGIBLE, UNEXPLAINED
from coset_circuits.findings import Finding, Findings
from coset_circuits.thresholds import Thresholds


@dataclass(frozen=True)
class Scrubbed:
    """What the network answers while it is scrubbed, a mean over pairs and samples.

    Attributes:
        accuracy: share of pairs whose product has the strictly largest logit.
        loss: cross-entropy in nats; ``loss_error`` is its standard error over the samples.
        loss_ratio: the loss over that of the network itself.
        margin: logit of the product minus the largest other logit.
        recovered: share of the loss recovered, where 0 is the network's loss on permuted labels
            and 1 its own loss. It saturates: a wrong partition recovers most of it too.
        freedom: H(input | cell) / H(input), from 0 (every cell one input) to 1 (no condition),
            averaged over the neurons that the hypothesis explains; None where there are none.
    """

    accuracy: float
    loss: float
    loss_error: float
    loss_ratio: float
    margin: float
    recovered: float
    freedom: float | None


@dataclass(frozen=True)
class Scrub:
    """One scrub, its controls and what they come to.

    Attributes:
        sites: the sites that were scrubbed, from the output backwards.
        classes: what the cells are.
        shared: whether all neurons share one donor, so that it must lie in all their cells.
        explained: how many neurons the hypothesis gives a role.
        outside_kept: the same scrub, but neurons outside the hypothesis keep their own values;
            None where there are none, or where that is what was asked for.
        controls: each by its name, or the reason why there is none.
        verdict: ``uncovered``, ``vacuous``, ``fails``, ``powerless``, ``blind``, ``uncontrolled``
            or ``passes``.
        reason: the verdict in a sentence.
    """

    sites: tuple[str, ...]
    classes: str
    shared: bool
    explained: int
    outcome: Scrubbed
    outside_kept: Scrubbed | None
    controls: dict[str, Scrubbed | str]
    verdict: str
    reason: str

    @property
    def name(self) -> str:
        where = "+".join(site.removeprefix("hook_") for site in self.sites)
        what = self.classes if len(self.sites) == 1 else "together"
        return f"{where}: {what}{', one donor for all' if self.shared else ''}"


@dataclass(frozen=True, repr=False)
class ScrubResult(Findings):
    """All scrubs of one circuit.

    Attributes:
        base: the network itself on the same pairs.
        reference_loss: its expected loss when the labels are permuted at random, in nats: exact.
        outside: how many neurons are ``unexplained`` and ``negligible``, and so outside the
            hypothesis; ``kept`` says whether they kept their own values.
        pairs: how many pairs every sample covers; ``is_sampled`` where these are not all.
    """

    network: str
    algorithm: str
    base: Scrubbed
    reference_loss: float
    scrubs: tuple[Scrub, ...]
    neurons: int
    outside: dict[str, int]
    kept: bool
    samples: int
    pairs: int
    is_sampled: bool
    seed: int
    thresholds: Thresholds

    def to_dataframe(self) -> pd.DataFrame:
        """One row a scrub (None in its ``control``) and one for each of its controls."""
        return pd.DataFrame([row for scrub in self.scrubs for row in _rows(scrub)])

    @property
    def notes(self) -> tuple[str, ...]:
        """What the figures can and cannot say."""
        outside = sum(self.outside.values())
        fate = "kept their own values" if self.kept else "got one random donor together"
        return (
            *(f"{scrub.name}: {scrub.verdict}. {scrub.reason}" for scrub in self.scrubs),
            *(
                f"{scrub.name}: no control {name}, {why}."
                for scrub in self.scrubs
                for name, why in scrub.controls.items()
                if isinstance(why, str)
            ),
            f"{outside} of {self.neurons} neurons are outside the hypothesis "
            f"({self.outside[UNEXPLAINED]} unexplained, {self.outside[NEGLIGIBLE]} negligible) and "
            f"{fate}.",
            "The share of the loss recovered saturates in these networks: read accuracy, loss "
            "ratio and margin.",
            "A scrub that passes shows that the cells are fine enough, not that the network uses "
            "the group: the dull null, which knows no group, usually passes too.",
        )

    @property
    def title(self) -> str:
        measured = "a sample of " if self.is_sampled else "all "
        return (
            f"Causal scrubbing of {self.network} under {self.algorithm}: {measured}{self.pairs} "
            f"pairs, {self.samples} samples, seed {self.seed}"
        )

    def __repr__(self) -> str:
        verdicts = ", ".join(f"{scrub.name} {scrub.verdict}" for scrub in self.scrubs)
        return f"ScrubResult({self.algorithm} of {self.network}: {verdicts})"

    def tables(self) -> dict[str, pd.DataFrame]:
        """Each scrub with its controls below it."""
        rows = [{"": "network", **_shown(self.base), "verdict": ""}]
        for row in (row for scrub in self.scrubs for row in _rows(scrub)):
            name = row["scrub"] if row["control"] is None else f"  {row['control']}"
            if not row["note"]:
                rows.append({"": name, **_shown(row), "verdict": row["verdict"] or ""})
        frame = pd.DataFrame(rows)
        width = max(len(row[""]) for row in rows)
        frame[""] = frame[""].str.ljust(width)
        return {"": frame}

    def findings(self) -> Iterator[Finding]:
        """Every figure of a scrub with that of random cells as its control; the others' by name."""
        source = f"resampled {self.samples} times over {self.pairs} pairs"
        for scrub in self.scrubs:
            place = {"scrub": scrub.name}
            beside = scrub.controls.get("random")
            outcomes: dict[str | None, Scrubbed | str | None] = {None: scrub.outcome}
            outcomes |= {_KEPT: scrub.outside_kept, **scrub.controls}
            for name, outcome in outcomes.items():
                if not isinstance(outcome, Scrubbed):
                    continue
                at = place if name is None else {**place, "control": name}
                for quantity, unit in _UNITS.items():
                    finding = Finding(
                        "scrub", None, quantity, getattr(outcome, quantity), unit, at, source=source
                    )
                    if name is None and isinstance(beside, Scrubbed):
                        value = getattr(beside, quantity)
                        control = replace(finding, value=value, at={**place, "control": "random"})
                        more = {"verdict": scrub.verdict}
                        finding = replace(finding, control=control, more=more)
                    yield finding


_KEPT = "outside kept"
_UNITS = {
    "accuracy": "fraction",
    "loss": "nats",
    "loss_ratio": "ratio",
    "margin": "logits",
    "recovered": "fraction",
    "freedom": "fraction",
}


def _rows(scrub: Scrub) -> Iterator[dict[str, Any]]:
    about = {"scrub": scrub.name, "explained": scrub.explained}
    yield {**about, "control": None, **vars(scrub.outcome), "verdict": scrub.verdict, "note": ""}
    kept = {} if scrub.outside_kept is None else {_KEPT: scrub.outside_kept}
    for name, outcome in {**kept, **scrub.controls}.items():
        figures = {"note": outcome} if isinstance(outcome, str) else {**vars(outcome), "note": ""}
        yield {**about, "control": name, "verdict": None, **figures}


def _shown(figures: Scrubbed | dict[str, Any]) -> dict[str, str]:
    """The figures of one line, each as wide as it needs."""
    shown = figures if isinstance(figures, dict) else vars(figures)
    freedom = shown["freedom"]
    return {
        "freedom": "–" if freedom is None else f"{freedom:.3f}",
        "accuracy": f"{shown['accuracy']:.4f}",
        "loss ratio": f"{shown['loss_ratio']:.4g}",
        "margin": f"{shown['margin']:.2f}",
        "recovered": f"{shown['recovered']:.4f}",
    }
