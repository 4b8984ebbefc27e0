"""Fig. 6: which subgroups the neurons of each network have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from coset_circuits.algorithms import Circuit
from coset_circuits.algorithms.algorithm import NEGLIGIBLE, UNEXPLAINED
from coset_circuits.findings.statistics import share
from coset_circuits.report.style import colour
from coset_circuits.reproduction.artifact import (
    Artifact,
    Drawing,
    Line,
    Panel,
    Part,
    Seen,
    Table,
    Value,
    interval,
    over,
    value,
)
from coset_circuits.reproduction.study import Study

IN_EVERY_NETWORK = {"S5": ("A5", "S4"), "S6": ("A6", "S5")}
"""The classes of which every network of the paper has at least a few neurons."""

DULL = (UNEXPLAINED, NEGLIGIBLE)
_PANELS_A_ROW = 3


def see(study: Study) -> dict[str, Any]:
    """How many neurons have each role, and how many have one on a relabelled group."""
    return {
        "counts": counts(study.circuit),
        "relabelled": None if study.relabelled is None else counts(study.relabelled),
        "index": {c.name: c.index for c in study.network.group.subgroup_classes},
    }


def counts(circuit: Circuit) -> dict[str, int]:
    """Neurons by role, the two dull ones included."""
    return dict(Counter(circuit.roles.names))


def tell(ours: Sequence[Seen], controls: Sequence[Seen]) -> Part:
    """Shares of neurons over networks, class by class."""
    names = _names(ours)
    shown = [name for name in names if name not in DULL]
    panels = [_panel(ours, name) for name in shown]
    rows = tuple(tuple(panels[i : i + _PANELS_A_ROW]) for i in range(0, len(panels), _PANELS_A_ROW))
    drawings = (
        Drawing(
            f"Share of the neurons of each subgroup class, over {len(ours)} networks.",
            rows,
            (7.2, 0.4 + 2.1 * len(rows)),
        ),
    )
    return Part(
        tuple(_lines(ours)),
        (_table(ours, controls, names),),
        drawings if rows else (),
    )


NOTES = (
    "A neuron counts for the largest subgroup that leaves less than 1% of its variance on both "
    "sides. The least of the paper's C, a sum over cosets, is no rule where nothing fits: of a "
    "random function C is about the number of cosets, least for a subgroup of index 2.",
    "Which circuits form depends on how a network is trained: shares are comparable between "
    "networks of one recipe only.",
)


def _lines(networks: Sequence[Seen]) -> list[Line]:
    group = networks[0].about["group"]
    lines = []
    for name in IN_EVERY_NETWORK.get(group, ()):
        having = share(sum(_count(n, name) > 0 for n in networks), len(networks))
        beside = [n.findings["relabelled"] for n in networks]
        control = [float(c.get(name, 0) > 0) for c in beside if c is not None]
        lines.append(
            Line(
                f"networks with an {name} neuron",
                "fraction",
                1.0,
                having.value,
                float(np.mean(control)) if control else None,
                "on a relabelled group",
                having.interval,
            )
        )
    found = over([1 - _dull(n.findings["counts"]) / n.about["d_mlp"] for n in networks])
    control = [
        1 - _dull(n.findings["relabelled"]) / n.about["d_mlp"]
        for n in networks
        if n.findings["relabelled"] is not None
    ]
    lines.append(
        Line(
            "neurons with a subgroup, mean",
            "fraction",
            None,
            value(found),
            value(over(control)),
            "on a relabelled group",
            interval(found),
        )
    )
    return lines


def _dull(found: Mapping[str, int]) -> int:
    return sum(found.get(name, 0) for name in DULL)


def _count(network: Seen, name: str) -> int:
    return network.findings["counts"].get(name, 0)


def _names(networks: Sequence[Seen]) -> list[str]:
    """Every role that a neuron has, largest subgroups first, dull roles last."""
    index: dict[str, int] = {}
    for network in networks:
        index |= network.findings["index"]
    names = {name for n in networks for name in n.findings["counts"]}
    return sorted(names, key=lambda name: (name in DULL, index.get(name, 0), name))


def shares(networks: Sequence[Seen], name: str) -> list[float]:
    """The share of each network's neurons."""
    return [_count(n, name) / n.about["d_mlp"] for n in networks]


def _table(ours: Sequence[Seen], others: Sequence[Seen], names: Sequence[str]) -> Table:
    rows: list[tuple[Value, ...]] = []
    for name in names:
        found = shares(ours, name)
        rows.append(
            (
                name,
                float(sum(s > 0 for s in found)),
                float(sum(_count(n, name) for n in ours)),
                min(found),
                float(np.mean(found)),
                max(found),
                value(over(shares(others, name))),
            )
        )
    return Table(
        f"Neurons of {len(ours)} networks by subgroup",
        {
            "class": "text",
            "networks": "count",
            "neurons": "count",
            "least": "fraction",
            "mean": "fraction",
            "most": "fraction",
            "not learnt": "fraction",
        },
        tuple(rows),
        "Shares of a network's neurons; not learnt: the mean share in networks of this kind that "
        "have not learnt their group.",
    )


def _panel(networks: Sequence[Seen], name: str) -> Panel:
    return lambda ax: histogram(ax, networks, name)


def histogram(ax: Axes, networks: Sequence[Seen], name: str) -> Axes:
    """How many networks have which share of their neurons in a class."""
    ax.hist(shares(networks, name), bins=np.linspace(0, 1, 21).tolist(), color=colour(0))
    ax.set_xlim(0, 1)
    ax.xaxis.set_major_formatter(PercentFormatter(1.0))
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_title(name, fontsize=10)
    ax.set_xlabel("share of the neurons")
    ax.set_ylabel("networks")
    return ax


ARTIFACT = Artifact(
    "fig6",
    "Distribution of subgroup classes",
    "Stander et al., Fig. 6 and Appendix H.1",
    tell,
    see,
    groups=tuple(IN_EVERY_NETWORK),
    notes=NOTES,
)
