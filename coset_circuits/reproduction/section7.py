"""Section 7: the evidence of Chughtai et al. for GCR, compared with null models."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from coset_circuits.errors import CosetCircuitsError
from coset_circuits.experiments import gcr_evidence
from coset_circuits.experiments.gcr import (
    ALL_IRREPS,
    ANSWERS,
    CHANCE,
    HIDDEN,
    KEY_IRREPS,
    NETWORK,
    RELABELLED,
    UNTRAINED,
)
from coset_circuits.reproduction import artifact as art
from coset_circuits.reproduction.study import Study


class Measure(NamedTuple):
    """One of Chughtai et al.'s measures, and its name in summary_metrics.json."""

    title: str
    head: str
    unit: art.Unit
    released: str

    @property
    def statistic(self) -> art.Statistic:
        return "median" if self.unit == "nats" else "mean"


MEASURES = {
    "logits": Measure(
        "logits explained by characters", "logits", "fraction", "percent_logits_explained"
    ),
    "left": Measure("left embedding", "left", "fraction", "percent_x_embed_explained"),
    "right": Measure("right embedding", "right", "fraction", "percent_y_embed_explained"),
    "unembed": Measure("unembedding", "unemb.", "fraction", "percent_unembed_explained"),
    "hidden": Measure("hidden layer", "hidden", "fraction", "percent_hidden_explained"),
    "hidden_product": Measure(
        "hidden layer, ρ(ab) alone", "ρ(ab)", "fraction", "percent_hidden_xy_explained"
    ),
    "loss": Measure("loss", "loss", "nats", "all_loss"),
    "restricted_loss": Measure("restricted loss", "restr.", "nats", "total_hidden_restricted_loss"),
    "excluded_loss": Measure("excluded loss", "excl.", "nats", "total_hidden_excluded_loss"),
}
"""Over the key irreps together; the logits over all irreps but the trivial one, as there."""

RELEASED = "summary_metrics.json"
MODELS = (NETWORK, RELABELLED, UNTRAINED, CHANCE, ANSWERS)


def analyse(study: Study) -> dict[str, Any]:
    """The measures of the network and of each control, and those that were published with it."""
    evidence = gcr_evidence(study.network, seed=study.seed)
    rows = evidence.to_dataframe().set_index(["of", "irrep"])
    measures: dict[str, dict[str, float]] = {}
    for of in MODELS:
        if (of, KEY_IRREPS) not in rows.index:
            continue
        # A row of named figures, whose type pandas does not know.
        key: Any = rows.loc[(of, KEY_IRREPS)]
        measures[of] = {name: float(key[name]) for name in MEASURES if name in key}
        every: Any = rows.loc[(of, ALL_IRREPS)]
        measures[of]["logits"] = float(every["logits"])
        measures[of]["hidden"] = float(sum(key[part] for part in HIDDEN))
    measures[NETWORK]["loss"] = evidence.loss
    released = _released(study)
    differences = None if released is None else _differences(measures[NETWORK], released)
    return {
        "key": list(evidence.key),
        "measures": measures,
        "released": released,
        "differences": differences,
    }


def _released(study: Study) -> dict[str, float] | None:
    """What Chughtai et al. published with the network; None for other networks."""
    path = None if study.folder is None else study.folder / RELEASED
    if path is None or not path.is_file():
        return None
    try:
        content = json.loads(path.read_bytes())
        return {name: float(content[measure.released]) for name, measure in MEASURES.items()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CosetCircuitsError(
            f"{path} does not hold the figures of Chughtai et al. ({error!r}); fix or remove it."
        ) from error


def _differences(ours: Mapping[str, float], theirs: Mapping[str, float]) -> dict[str, float]:
    """The largest: absolute for fractions, relative for losses."""
    absolute = (abs(ours[k] - theirs[k]) for k in theirs if MEASURES[k].unit == "fraction")
    relative = (abs(ours[k] / theirs[k] - 1) for k in theirs if MEASURES[k].unit == "nats")
    return {"shares: absolute": max(absolute), "losses: relative": max(relative)}


def summarise(ours: art.Networks, controls: art.Networks) -> art.Part:
    """Means over networks, the same as published, and the same on a relabelled group."""
    released = [n for n in ours if n.findings["released"] is not None]
    lines = [
        art.Line.over(
            f"{measure.title}, {measure.statistic}",
            measure.unit,
            art.centre([n.findings["released"][name] for n in released], measure.statistic),
            _column(ours, NETWORK, name),
            _column(ours, RELABELLED, name),
            "relabelled group",
            measure.statistic,
        )
        for name, measure in MEASURES.items()
    ]
    for title in released[0].findings["differences"] if released else ():
        worst = max(n.findings["differences"][title] for n in released)
        lines.append(art.Line(f"largest difference, {title}", "number", None, worst))
    models = {of: (ours, of) for of in MODELS} | {"not learnt": (controls, NETWORK)}
    heads: list[tuple[art.Unit, str]] = [(m.unit, m.head) for m in MEASURES.values()]
    table = art.Table(
        "The same measures on null models",
        art.columns(("text", "of"), *heads),
        [
            [title, *(art.centre(_column(networks, of, name), "median") for name in MEASURES)]
            for title, (networks, of) in models.items()
        ],
        "Medians over networks. Right answers: one-hot logits of the product.",
    )
    keys = [n.findings["key"] for n in ours]
    mean = np.mean([len(key) for key in keys])
    names = ", ".join(sorted({name for key in keys for name in key}))
    notes = [f"Key irreps: {mean:.2g} a network; {names} in some."]
    if 0 < len(released) < len(ours):
        notes.append(
            f"The left column is over the {len(released)} networks that were published with it."
        )
    return art.Part(lines, [table], notes=notes)


def _column(networks: art.Networks, of: str, name: str) -> list[float]:
    values = (network.findings["measures"].get(of, {}).get(name) for network in networks)
    return [value for value in values if value is not None]


ARTIFACT = art.Artifact(
    "section7",
    "The evidence for GCR",
    "Stander et al., Section 7; Chughtai et al., arXiv 2302.03025",
    summarise,
    analyse,
    groups=None,
    notes=[
        "The left column is what Chughtai et al. published with these very networks "
        "(summary_metrics.json), not the text of a paper; it is empty for other networks. Their "
        "figures of A5 and of cyclic groups differ from ours for known reasons: their "
        "3-dimensional matrices of A5 are not a representation ((1+√5)/5 for (1+√5)/4), and for "
        "cyclic groups their hidden-layer figures use matrices of rank 2 with four columns.",
        "Restricted: the hidden layer keeps only the ρ(ab) part of the key irreps, over all pairs. "
        "Excluded: this part is removed, over the training pairs if they are recorded.",
        "The evidence is real but does not decide: tables made of cosets use few irreps too, and "
        "any network that answers right has logits similar to characters.",
    ],
)
