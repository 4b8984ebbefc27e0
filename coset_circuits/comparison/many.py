"""Comparisons of many networks: each by itself, and what is found across them."""

from __future__ import annotations

import html
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from coset_circuits.comparison.across import (
    NetworkSummary,
    Stratum,
    findings_across,
    strata,
)
from coset_circuits.comparison.question import asked
from coset_circuits.comparison.sources import Given, sources
from coset_circuits.comparison.summary import SCHEMA, Summary, versions
from coset_circuits.errors import CosetCircuitsError, unexpected
from coset_circuits.findings import Finding
from coset_circuits.findings.statistics import METHOD, too_few
from coset_circuits.findings.storage import Kept
from coset_circuits.networks.model import GroupModel
from coset_circuits.presentation import Presented
from coset_circuits.progress import Progress, Steps
from coset_circuits.thresholds import DEFAULT, Thresholds

STEPS = 100
"""Progress is counted in hundredths of a network."""


class Compared(Protocol):
    """The comparison of one network, as far as many need it."""

    @property
    def network(self) -> GroupModel: ...

    def summary(self) -> Summary: ...

    def save(self, folder: str | os.PathLike[str]) -> Path: ...


Compare = Callable[[GroupModel, "Progress | None"], Compared]


@dataclass(frozen=True, repr=False)
class Ensemble(Presented):
    """Findings on many networks. It holds no network and no surrogate, so it stays small.

    Attributes:
        networks: one entry a network, in the order given.
        skipped: files that are not among them, and why.
        strata: networks of one group, width and activation, and what is found across them.
        rule: how each network's verdict was reached.
        versions: what the figures depend on.
    """

    networks: tuple[NetworkSummary, ...]
    skipped: Mapping[str, str]
    strata: tuple[Stratum, ...]
    thresholds: Thresholds
    seed: int
    versions: Mapping[str, str]
    notes: tuple[str, ...] = field(default=())

    @property
    def rule(self) -> str:
        return self.networks[0].verdict.rule

    @property
    def sentences(self) -> list[str]:
        """The verdicts counted, one sentence for the networks of each kind."""
        several = len(self.strata) > 1
        return [(f"{s.title}. " if several else "") + s.count.sentence for s in self.strata]

    def __len__(self) -> int:
        return len(self.networks)

    def __iter__(self) -> Iterator[NetworkSummary]:
        return iter(self.networks)

    def network(self, name: str) -> NetworkSummary:
        """The findings on the network of a name.

        Raises:
            CosetCircuitsError: no such network; the sentence lists them.
        """
        for network in self.networks:
            if network.name == name:
                return network
        names = ", ".join(network.name for network in self.networks)
        raise CosetCircuitsError(f"No network here is called {name!r}; known are {names}.")

    def to_dataframe(self) -> pd.DataFrame:
        """One row for each network and candidate: verdict, prediction error, bits at fidelity."""
        return pd.DataFrame(
            {
                "network": network.name,
                "group": network.kind[0],
                "d_mlp": network.kind[2],
                "accuracy": network.accuracy,
                "loss": network.loss,
                "algorithm": name,
                "kind": circuit.kind,
                "verdict": network.verdict.on(name),
                "coverage": circuit.coverage,
                **circuit.prediction,
                "bits_per_neuron": circuit.bits_at_fidelity.value,
                "compression": circuit.compression.value,
            }
            for network in self.networks
            for name, circuit in network.circuits.items()
        )

    def across_dataframe(self) -> pd.DataFrame:
        """One row for each figure over the networks of a kind, paired comparisons left out."""
        return pd.DataFrame(
            {**row, **finding.at, "control": finding.control and finding.control.value}
            | {"statistic": finding.more["statistic"], "networks": finding.more["networks"]}
            for row, finding in self._rows_across()
            if not finding.experiment.startswith("paired_")
        )

    def paired_dataframe(self) -> pd.DataFrame:
        """One row for each paired comparison, of two hypotheses or of one and its control.

        ``median_difference`` is that of ``one`` − ``two`` over the networks that have both.
        """
        frame = pd.DataFrame(
            {**row, **finding.more}
            for row, finding in self._rows_across()
            if finding.experiment.startswith("paired_")
        )
        names = {"algorithm": "one", "against": "two", "value": "median_difference"}
        return frame.rename(columns=names)

    def _rows_across(self) -> Iterator[tuple[dict[str, Any], Finding]]:
        for stratum in self.strata:
            for finding in findings_across(stratum, self.seed):
                low, high = finding.interval or (None, None)
                yield (
                    {
                        **stratum.kind,
                        "experiment": finding.experiment,
                        "algorithm": finding.subject,
                        "quantity": finding.quantity,
                        "value": finding.value,
                        "low": low,
                        "high": high,
                        "unit": finding.unit,
                    },
                    finding,
                )

    def to_dict(self) -> dict[str, Any]:
        """The content of findings.json for several networks.

        Every finding names its network; findings across networks name none.
        """
        return {
            "schema": SCHEMA,
            "networks": [
                {
                    **network.summary.network,
                    "name": network.name,
                    "file": network.source,
                    "report": network.report,
                    "verdict": network.verdict.to_dict(),
                    "fidelity": network.summary.fidelity.to_dict(),
                    "notes": list(network.summary.notes),
                    "device": network.summary.device,
                    "dtype": network.summary.dtype,
                    "experiments": network.summary.experiments,
                    "formation": network.summary.formation,
                }
                for network in self.networks
            ],
            "verdict": {
                "sentence": " ".join(self.sentences),
                "kinds": [{**s.kind, **s.count.to_dict()} for s in self.strata],
                "rule": self.rule,
            },
            "skipped": [{"file": name, "reason": why} for name, why in self.skipped.items()],
            "circuits": [
                {"network": network.name, **circuit.to_dict()}
                for network in self.networks
                for circuit in network.circuits.values()
            ],
            "findings": [
                {"network": network.name, **finding.to_dict()}
                for network in self.networks
                for finding in network.summary.findings
            ]
            + [
                {"network": None, **stratum.kind, **finding.to_dict()}
                for stratum in self.strata
                for finding in findings_across(stratum, self.seed)
            ],
            "statistics": {
                "unit": "network",
                "interval": METHOD,
                "confidence": 1 - self.thresholds.significance,
                "notes": list(self.notes),
            },
            "thresholds": self.thresholds.to_dict(),
            "versions": dict(self.versions),
            "seed": self.seed,
        }

    def __repr__(self) -> str:
        kinds = ", ".join(f"{len(s.networks)} of {s.title}" for s in self.strata)
        skipped = f", {len(self.skipped)} skipped" if self.skipped else ""
        return f"Ensemble({kinds}{skipped})"

    def _repr_html_(self) -> str:
        hypotheses = self.to_dataframe().query("kind == 'hypothesis'")
        columns = ["network", "group", "accuracy", "algorithm", "verdict"]
        columns += ["median_log_loss", "bits_per_neuron", "compression"]
        shown = hypotheses[columns].to_html(index=False)
        said = "".join(f"<p>{html.escape(sentence)}</p>" for sentence in self.sentences)
        return f"<p><b>{html.escape(repr(self))}</b></p>{said}{shown}"


def compare_many(
    given: Iterable[Given] | Given,
    compare_one: Compare,
    *,
    depends_on: Sequence[Any],
    options: Mapping[str, Any],
    thresholds: Thresholds = DEFAULT,
    seed: int = 0,
    order: str | None = None,
    out: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Ensemble:
    """Compare network after network, keep the findings only, and put them together.

    Args:
        given: names, paths, networks, folders; see :func:`sources`.
        compare_one: ``(network, progress)`` to its comparison.
        depends_on, options: all that the comparison depends on, for telling whether the same was
            asked before; see :func:`asked`.
        order: the element order of foreign checkpoints, where it cannot be measured.
        out: a folder that gets one report a network. What it holds already, asked in the same
            way, is not computed again, so a stopped call can be made again and goes on.
        progress: called with (what is being done, steps done, steps in all).

    Raises:
        CosetCircuitsError: nothing to compare, or none of it can be read.
    """
    given_networks = sources(given)
    kept = None if out is None else Kept(out)
    options = {**options, "order": order, "thresholds": asdict(thresholds), "versions": versions()}
    results: list[NetworkSummary] = []
    skipped: dict[str, str] = {}
    seen: dict[str, str] = {}
    steps = Steps(progress, STEPS * len(given_networks))
    for number, source in enumerate(given_networks, 1):
        within = steps.part(STEPS, f"network {number} of {len(given_networks)}")
        within("reading", 0, 1)
        try:
            content = source.content()
            if content in seen:
                skipped[source.called] = f"The same network as {seen[content]}, counted once."
                continue
            question = asked(content, source.naming(), options, depends_on)
            earlier = None if kept is None else kept.findings(question)
            if earlier is None:
                comparison = compare_one(source.load(order), within)
        except CosetCircuitsError as error:
            skipped[source.called] = str(error)
            continue
        except Exception as error:
            # One network must not take the others' results with it.
            skipped[source.called] = unexpected(error)
            continue
        seen[content] = source.called
        place = None
        if earlier is not None:
            entries, place = earlier
            summary = Summary.from_dict(entries)
        else:
            summary = comparison.summary()
            if kept is not None:
                place = kept.keep(question, content, comparison.network.label, comparison.save)
            # It holds the network and every surrogate, while the next network is analysed.
            del comparison
        name = unused_name(summary.network["name"], content, [n.name for n in results])
        report = None if place is None else place.name
        results.append(NetworkSummary(name, summary, source.called, report))
    if not results:
        raise CosetCircuitsError(none_of(len(given_networks), skipped))
    steps.progress("figures across networks", steps.total, steps.total)
    across = strata(results, thresholds, seed)
    return Ensemble(
        tuple(results),
        skipped,
        across,
        thresholds,
        seed,
        versions(),
        (*_notes(across, thresholds), *([] if kept is None else kept.failures)),
    )


def unused_name(label: str, content: str, taken: Collection[str]) -> str:
    """The label, with the content's hash behind it where another network has it already."""
    return label if label not in taken else f"{label}-{content[:8]}"


def none_of(count: int, skipped: Mapping[str, str]) -> str:
    """The sentence for files none of which can be read."""
    reasons = list(dict.fromkeys(skipped.values()))
    more = f" And {len(reasons) - 2} more reasons." if len(reasons) > 2 else ""
    files = "The one checkpoint found" if count == 1 else f"All {count} checkpoints found"
    return f"{files} cannot be used. {' '.join(reasons[:2])}{more}"


def _notes(across: Sequence[Stratum], thresholds: Thresholds) -> Iterator[str]:
    if len(across) > 1:
        yield (
            "Figures across networks are taken within one group, width and activation only; here "
            f"are {len(across)} kinds: {'; '.join(s.title for s in across)}."
        )
    for stratum in across:
        few = too_few(len(stratum.networks), thresholds)
        if few:
            yield f"{stratum.title}: {few}"
        wrong = [n.name for n in stratum.networks if n.accuracy < 1]
        if wrong and len(stratum.networks) > 1:
            names = ", ".join(wrong[:4]) + (", …" if len(wrong) > 4 else "")
            yield (
                f"{stratum.title}: {len(wrong)} of {len(stratum.networks)} are not right on all "
                f"pairs ({names}), and are counted like the others."
            )
