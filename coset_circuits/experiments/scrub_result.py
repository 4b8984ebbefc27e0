"""The result of a scrub: its figures, its controls, and a verdict."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pandas as pd

from coset_circuits.algorithms.algorithm import NEGLIGIBLE, UNEXPLAINED
from coset_circuits.findings import Finding, Findings


@dataclass(frozen=True)
class Scrubbed:
    """Figures of the scrubbed network, averaged over pairs and samples.

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
    """One scrub, its controls and its verdict.

    Attributes:
        sites: the sites that were scrubbed, from the output backwards.
        classes: the name of the cells.
        shared: whether all neurons share one donor, which must then be in all their cells.
        explained: the number of neurons with a role under the hypothesis.
        outside_kept: the same scrub, but neurons outside the hypothesis keep their values. None if
            there are no such neurons, or if the scrub already keeps them.
        controls: the controls by name; a reason in place of a missing one.
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

    @property
    def outcomes(self) -> dict[str | None, Scrubbed | str]:
        """The scrub itself under None, then its controls by name, or why one is missing."""
        kept = {} if self.outside_kept is None else {OUTSIDE_KEPT: self.outside_kept}
        return {None: self.outcome, **kept, **self.controls}


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

    @property
    def title(self) -> str:
        measured = "a sample of " if self.is_sampled else "all "
        return (
            f"Causal scrubbing of {self.network} under {self.algorithm}: {measured}{self.pairs} "
            f"pairs, {self.samples} samples, seed {self.seed}"
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """The verdicts of the scrubs, and what the figures can and cannot show."""
        missing: dict[str, list[str]] = {}
        for scrub in self.scrubs:
            for name, outcome in scrub.controls.items():
                if isinstance(outcome, str):
                    missing.setdefault(f"No control {name}, {outcome}", []).append(scrub.name)
        outside = sum(self.outside.values())
        fate = "kept their own values" if self.kept else "got one random donor together"
        return (
            *(f"{scrub.name}: {scrub.verdict}. {scrub.reason}" for scrub in self.scrubs),
            *(f"{reason}: {'; '.join(names)}." for reason, names in missing.items()),
            f"{outside} of {self.neurons} neurons are outside the hypothesis "
            f"({self.outside[UNEXPLAINED]} unexplained, {self.outside[NEGLIGIBLE]} negligible) and "
            f"{fate}.",
            "The share of the loss recovered saturates in these networks: read accuracy, loss "
            "ratio and margin.",
            "A scrub that passes shows that the cells are fine enough, not that the network uses "
            "the group: the dull null, which knows no group, usually passes too.",
        )

    def to_dataframe(self) -> pd.DataFrame:
        """One row per scrub (None in its ``control``) and one for each of its controls."""
        return pd.DataFrame(
            {
                "scrub": scrub.name,
                "explained": scrub.explained,
                "control": name,
                **({} if isinstance(outcome, str) else vars(outcome)),
                "verdict": scrub.verdict if name is None else None,
                "note": outcome if isinstance(outcome, str) else "",
            }
            for scrub in self.scrubs
            for name, outcome in scrub.outcomes.items()
        )

    def tables(self) -> dict[str, pd.DataFrame]:
        """Each scrub with its controls below it."""
        lines = [("network", self.base, "")] + [
            (scrub.name, outcome, scrub.verdict) if name is None else (f"  {name}", outcome, "")
            for scrub in self.scrubs
            for name, outcome in scrub.outcomes.items()
        ]
        width = max(len(name) for name, _, _ in lines)
        return {
            "": pd.DataFrame(
                {"": name.ljust(width), **_shown(outcome), "verdict": verdict}
                for name, outcome, verdict in lines
                if isinstance(outcome, Scrubbed)
            )
        }

    def findings(self) -> Iterator[Finding]:
        """Every figure of a scrub, with random cells as its control; other controls by name."""
        source = f"resampled {self.samples} times over {self.pairs} pairs"
        for scrub in self.scrubs:
            site, random = " + ".join(scrub.sites), scrub.controls.get("random")
            place = {"site": site, "classes": scrub.classes, "shared": scrub.shared}
            for name, outcome in scrub.outcomes.items():
                if name == "random" or isinstance(outcome, str):
                    continue
                at = place if name is None else {**place, "control": name}
                for quantity, (unit, _) in _QUANTITIES.items():
                    value = getattr(outcome, quantity)
                    finding = Finding(
                        "scrub", self.algorithm, quantity, value, unit, at, source=source
                    )
                    if name is None and isinstance(random, Scrubbed):
                        at_random = {**place, "control": "random"}
                        control = replace(finding, value=getattr(random, quantity), at=at_random)
                        finding = replace(finding, control=control)
                    yield finding if name else replace(finding, more={"verdict": scrub.verdict})

    def __repr__(self) -> str:
        verdicts = ", ".join(f"{scrub.name} {scrub.verdict}" for scrub in self.scrubs)
        return f"ScrubResult({self.algorithm} of {self.network}: {verdicts})"


OUTSIDE_KEPT = "outside kept"
_QUANTITIES = {
    "freedom": ("fraction", ".3f"),
    "accuracy": ("fraction", ".4f"),
    "loss": ("nats", None),
    "loss_ratio": ("ratio", ".4g"),
    "margin": ("logits", ".2f"),
    "recovered": ("fraction", ".4f"),
}
"""The unit of each figure, and its format in tables."""


def _shown(outcome: Scrubbed) -> dict[str, str]:
    values = {name: getattr(outcome, name) for name in _QUANTITIES}
    return {
        name.replace("_", " "): "–" if values[name] is None else format(values[name], format_)
        for name, (_, format_) in _QUANTITIES.items()
        if format_ is not None
    }
