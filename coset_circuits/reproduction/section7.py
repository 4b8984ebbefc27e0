"""Section 7: the evidence of Chughtai et al. for GCR, with what the same figures are of nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

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
from coset_circuits.reproduction.artifact import (
    Artifact,
    Line,
    Part,
    Seen,
    Table,
    Unit,
    Value,
    interval,
    over,
    value,
)
from coset_circuits.reproduction.study import Study

FIGURES: dict[str, tuple[str, Unit, str]] = {
    "logits": ("logits explained by characters", "fraction", "percent_logits_explained"),
    "left": ("left embedding", "fraction", "percent_x_embed_explained"),
    "right": ("right embedding", "fraction", "percent_y_embed_explained"),
    "unembed": ("unembedding", "fraction", "percent_unembed_explained"),
    "hidden": ("hidden layer", "fraction", "percent_hidden_explained"),
    "hidden_product": ("hidden layer, ρ(ab) alone", "fraction", "percent_hidden_xy_explained"),
    "loss": ("loss", "nats", "all_loss"),
    "restricted_loss": ("restricted loss", "nats", "total_hidden_restricted_loss"),
    "excluded_loss": ("excluded loss", "nats", "total_hidden_excluded_loss"),
}
"""Ours: the title, the unit, and the name in summary_metrics.json. Of the key irreps together; the
logits of all but the trivial one, as there."""

RELEASED = "summary_metrics.json"
MODELS = (NETWORK, RELABELLED, UNTRAINED, CHANCE, ANSWERS)


def see(study: Study) -> dict[str, Any]:
    """The figures of the network and of each control, and those that were released beside it."""
    evidence = gcr_evidence(study.network, seed=study.seed)
    rows = evidence.to_dataframe().set_index(["of", "irrep"])
    found: dict[str, dict[str, float]] = {}
    for of in MODELS:
        if (of, KEY_IRREPS) not in rows.index:
            continue
        # A row of named figures, whose type pandas does not know.
        key: Any = rows.loc[(of, KEY_IRREPS)]
        every: Any = rows.loc[(of, ALL_IRREPS)]
        found[of] = {
            name: float(key[name]) for name in FIGURES if name not in ("logits", "hidden", "loss")
        }
        found[of]["logits"] = float(every["logits"])
        found[of]["hidden"] = float(sum(key[part] for part in HIDDEN))
    found[NETWORK]["loss"] = evidence.loss
    released = _released(study)
    return {
        "key": list(evidence.key),
        "figures": found,
        "released": released,
        "differs": None if released is None else _differences(found[NETWORK], released),
    }


def _released(study: Study) -> dict[str, float] | None:
    """What Chughtai et al. published beside the network; None of other networks."""
    path = study.beside(RELEASED)
    if path is None:
        return None
    try:
        content = json.loads(path.read_bytes())
        return {ours: float(content[theirs]) for ours, (_, _, theirs) in FIGURES.items()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CosetCircuitsError(
            f"{path}, beside the network, does not hold the figures of Chughtai et al. ({error!r});"
            " mend it or take it away."
        ) from error


def _differences(ours: Mapping[str, float], theirs: Mapping[str, float]) -> dict[str, float]:
    """The largest: absolute of fractions, relative of losses."""
    units = {name: unit for name, (_, unit, _) in FIGURES.items()}
    return {
        "fraction": max(abs(ours[k] - theirs[k]) for k in theirs if units[k] == "fraction"),
        "nats": max(abs(ours[k] / theirs[k] - 1) for k in theirs if units[k] == "nats"),
    }


def tell(ours: Sequence[Seen], controls: Sequence[Seen]) -> Part:
    """Means over networks, the published ones' own figures, and the relabelled group's."""
    released = [n for n in ours if n.findings["released"] is not None]
    lines = []
    for name, (title, unit, _) in FIGURES.items():
        statistic = "median" if unit == "nats" else "mean"
        found = over(_figures(ours, NETWORK, name), statistic)
        beside = over(_figures(ours, RELABELLED, name), statistic)
        paper = over([n.findings["released"][name] for n in released], statistic)
        lines.append(
            Line(
                f"{title}, {statistic}",
                unit,
                value(paper),
                value(found),
                value(beside),
                "" if beside is None else "relabelled group",
                interval(found),
            )
        )
    if released:
        for unit, title in (("fraction", "shares: absolute"), ("nats", "losses: relative")):
            worst = max(n.findings["differs"][unit] for n in released)
            lines.append(Line(f"largest difference, {title}", "number", None, worst))
    names = {key for network in ours for key in network.findings["key"]}
    rows: list[tuple[Value, ...]] = [
        (of, *(value(over(_figures(ours, of, name), "median")) for name in FIGURES))
        for of in MODELS
    ]
    rows += [
        ("not learnt", *(value(over(_figures(controls, NETWORK, k), "median")) for k in FIGURES))
    ]
    heads = ("logits", "left", "right", "unemb.", "hidden", "ρ(ab)", "loss", "restr.", "excl.")
    columns: dict[str, Unit] = {"of": "text"}
    for head, (_, unit, _) in zip(heads, FIGURES.values(), strict=True):
        columns[head] = unit
    table = Table(
        "The same figures of nothing",
        columns,
        tuple(rows),
        "Medians over networks. Right answers: one-hot logits of the product have this similarity.",
    )
    counted = np.mean([len(n.findings["key"]) for n in ours])
    notes = [f"Key irreps: {counted:.2g} a network; {', '.join(sorted(names))} in some."]
    if released and len(released) < len(ours):
        notes.append(
            f"The left column is over the {len(released)} networks that were published with them."
        )
    return Part(tuple(lines), (table,), notes=tuple(notes))


def _figures(networks: Sequence[Seen], of: str, name: str) -> list[float]:
    found = (network.findings["figures"].get(of, {}).get(name) for network in networks)
    return [figure for figure in found if figure is not None]


NOTES = (
    "The left column is what Chughtai et al. published beside these very networks "
    "(summary_metrics.json), not the text of a paper; it is empty for networks of ours. Their "
    "figures of A5 and of cyclic groups differ from ours for known reasons: their 3-dimensional "
    "matrices of A5 are no representation ((1+√5)/5 for (1+√5)/4), and of cyclic groups their "
    "hidden-layer figures use matrices of rank 2 with four columns.",
    "Restricted: only the ρ(ab) part of the key irreps is left of the hidden layer, over all "
    "pairs. Excluded: it is taken away, over the training pairs where they are known.",
    "The evidence is real and does not decide: tables made of cosets lie on few irreps too, and "
    "any network that is right has logits similar to characters.",
)

ARTIFACT = Artifact(
    "section7",
    "The evidence for GCR",
    "Stander et al., Section 7; Chughtai et al., arXiv 2302.03025",
    tell,
    see,
    groups=None,
    notes=NOTES,
)
