"""What a scrub gives: figures beside those of its controls, and what they come to."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from coset_circuits.algorithms.algorithm import NEGLIGIBLE, UNEXPLAINED
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


@dataclass(frozen=True)
class ScrubResult:
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

    def to_dict(self) -> dict[str, Any]:
        """Everything in JSON's own types; None for numbers that JSON has no word for."""
        return {
            "network": self.network,
            "algorithm": self.algorithm,
            "neurons": self.neurons,
            "outside": {**self.outside, "kept": self.kept},
            "base": _plain(vars(self.base)),
            "reference_loss": self.reference_loss,
            "scrubs": [
                {
                    "name": scrub.name,
                    "sites": list(scrub.sites),
                    "classes": scrub.classes,
                    "shared": scrub.shared,
                    "explained": scrub.explained,
                    **_plain(vars(scrub.outcome)),
                    "outside_kept": scrub.outside_kept and _plain(vars(scrub.outside_kept)),
                    "controls": {
                        name: {"missing": found} if isinstance(found, str) else _plain(vars(found))
                        for name, found in scrub.controls.items()
                    },
                    "verdict": scrub.verdict,
                    "reason": scrub.reason,
                }
                for scrub in self.scrubs
            ],
            "notes": list(self.notes),
            "samples": self.samples,
            "pairs": self.pairs,
            "is_sampled": self.is_sampled,
            "seed": self.seed,
            "thresholds": self.thresholds.to_dict(),
        }

    @property
    def notes(self) -> tuple[str, ...]:
        """What the figures can and cannot say."""
        outside = sum(self.outside.values())
        fate = "kept their own values" if self.kept else "got one random donor together"
        return (
            f"{outside} of {self.neurons} neurons are outside the hypothesis "
            f"({self.outside[UNEXPLAINED]} unexplained, {self.outside[NEGLIGIBLE]} negligible) and "
            f"{fate}.",
            "The share of the loss recovered saturates in these networks: read accuracy, loss "
            "ratio and margin.",
            "A scrub that passes shows that the cells are fine enough, not that the network uses "
            "the group: the dull null, which knows no group, usually passes too.",
        )

    def __str__(self) -> str:
        measured = "a sample of " if self.is_sampled else "all "
        lines = [
            f"Causal scrubbing of {self.network} under {self.algorithm}: {measured}{self.pairs} "
            f"pairs, {self.samples} samples, seed {self.seed}",
            f"{'':44} {'freedom':>7} {'accuracy':>8} {'loss ratio':>10} {'margin':>7} "
            f"{'recovered':>9}  verdict",
            f"{'network':44} {_figures(self.base)}",
        ]
        for scrub in self.scrubs:
            lines.append(f"{scrub.name:44} {_figures(scrub.outcome)}  {scrub.verdict}")
            if scrub.outside_kept is not None:
                lines.append(f"  {_KEPT:42} {_figures(scrub.outside_kept)}")
            for name, found in scrub.controls.items():
                figures = found if isinstance(found, str) else _figures(found)
                lines.append(f"  {name:42} {figures}")
        lines += ["", *(f"{s.name}: {s.verdict}. {s.reason}" for s in self.scrubs), ""]
        return "\n".join([*lines, *self.notes])

    def __repr__(self) -> str:
        said = ", ".join(f"{scrub.name} {scrub.verdict}" for scrub in self.scrubs)
        return f"ScrubResult({self.algorithm} of {self.network}: {said})"

    def _repr_html_(self) -> str:
        frame = self.to_dataframe().drop(columns=["loss_error"])
        notes = "".join(f"<li>{note}</li>" for note in self.notes)
        return frame.to_html(index=False, float_format="{:.4g}".format) + f"<ul>{notes}</ul>"


_KEPT = "outside kept"


def _rows(scrub: Scrub) -> Iterator[dict[str, Any]]:
    about = {"scrub": scrub.name, "explained": scrub.explained}
    yield {**about, "control": None, **vars(scrub.outcome), "verdict": scrub.verdict, "note": ""}
    if scrub.outside_kept is not None:
        yield {**about, "control": _KEPT, **vars(scrub.outside_kept), "verdict": None, "note": ""}
    for name, found in scrub.controls.items():
        if isinstance(found, str):
            yield {**about, "control": name, "verdict": None, "note": found}
        else:
            yield {**about, "control": name, **vars(found), "verdict": None, "note": ""}


def _plain(figures: dict[str, Any]) -> dict[str, Any]:
    return {k: v if v is None or math.isfinite(v) else None for k, v in figures.items()}


def _figures(found: Scrubbed) -> str:
    freedom = "–" if found.freedom is None else f"{found.freedom:.3f}"
    return (
        f"{freedom:>7} {found.accuracy:8.4f} {found.loss_ratio:10.4g} {found.margin:7.2f} "
        f"{found.recovered:9.4f}"
    )
