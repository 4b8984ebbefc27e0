"""Fig. 6: which subgroups the neurons of each network have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from coset_circuits.algorithms import NEGLIGIBLE, UNEXPLAINED, Circuit
from coset_circuits.report.style import colour
from coset_circuits.reproduction import artifact as art
from coset_circuits.reproduction.study import Study

IN_EVERY_NETWORK = {"S5": ("A5", "S4"), "S6": ("A6", "S5")}
"""Every network of the paper has at least a few neurons of each of these classes."""

DULL = (UNEXPLAINED, NEGLIGIBLE)
_PANELS_A_ROW = 3


def analyse(study: Study) -> dict[str, Any]:
    """How many neurons have each role, under the network's group and under a relabelled one."""
    return {
        "counts": counts(study.circuit),
        "relabelled": None if study.relabelled is None else counts(study.relabelled),
        "index": {c.name: c.index for c in study.network.group.subgroup_classes},
    }


def counts(circuit: Circuit) -> dict[str, int]:
    """Neurons by role, the two dull roles included."""
    return dict(Counter(circuit.roles.names))


def summarise(ours: art.Networks, controls: art.Networks) -> art.Part:
    """Shares of neurons over networks, class by class."""
    roles = _roles(ours)
    panels = [partial(histogram, ours, role) for role in roles if role not in DULL]
    rows = [panels[i : i + _PANELS_A_ROW] for i in range(0, len(panels), _PANELS_A_ROW)]
    drawing = art.Drawing(
        f"Share of the neurons of each subgroup class, over {art.counted(len(ours))}.",
        rows,
        (7.2, 0.4 + 2.1 * len(rows)),
    )
    table = _table(ours, controls, roles)
    return art.Part(list(_lines(ours)), [table], [drawing] if rows else [])


def _lines(networks: art.Networks) -> Iterator[art.Line]:
    control_is = "on a relabelled group"
    relabelled = [n for n in networks if n.findings["relabelled"] is not None]
    for name in IN_EVERY_NETWORK.get(networks[0].about["group"], ()):
        ours = [_count(n, name) > 0 for n in networks]
        control = [_count(n, name, "relabelled") > 0 for n in relabelled]
        yield art.Line.share(f"networks with an {name} neuron", 1.0, ours, control, control_is)
    title = "neurons with a subgroup, mean"
    ours = [_explained(n, "counts") for n in networks]
    control = [_explained(n, "relabelled") for n in relabelled]
    yield art.Line.over(title, "fraction", None, ours, control, control_is)


def _count(network: art.Measured, role: str, key: str = "counts") -> int:
    return network.findings[key].get(role, 0)


def _explained(network: art.Measured, key: str) -> float:
    dull = sum(_count(network, role, key) for role in DULL)
    return 1 - dull / network.about["d_mlp"]


def _roles(networks: art.Networks) -> list[str]:
    """Every role that a neuron has: largest subgroups first, dull roles last."""
    index = networks[0].findings["index"]
    roles = {role for n in networks for role in n.findings["counts"]}
    return sorted(roles, key=lambda role: (role in DULL, index.get(role, 0), role))


def shares(networks: art.Networks, role: str) -> list[float]:
    """The share of each network's neurons that have a role."""
    return [_count(n, role) / n.about["d_mlp"] for n in networks]


def _table(ours: art.Networks, others: art.Networks, roles: Sequence[str]) -> art.Table:
    rows = []
    for role in roles:
        found = shares(ours, role)
        totals = [np.count_nonzero(found), sum(_count(n, role) for n in ours)]
        spread = [min(found), float(np.mean(found)), max(found)]
        rows.append([role, *map(float, totals), *spread, art.centre(shares(others, role))])
    return art.Table(
        f"Neurons of {art.counted(len(ours))} by subgroup",
        art.columns(
            ("text", "class"),
            ("count", "networks, neurons"),
            ("fraction", "least, mean, most, not learnt"),
        ),
        rows,
        "Shares of a network's neurons; not learnt: the mean share in networks of this kind that "
        "have not learnt their group.",
    )


def histogram(networks: art.Networks, role: str, ax: Axes) -> Axes:
    """How many networks have which share of their neurons in a class."""
    ax.hist(shares(networks, role), bins=np.linspace(0, 1, 21).tolist(), color=colour(0))
    ax.set_xlim(0, 1)
    ax.xaxis.set_major_formatter(PercentFormatter(1.0))
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_title(role, fontsize=10)
    ax.set_xlabel("share of the neurons")
    ax.set_ylabel("networks")
    return ax


ARTIFACT = art.Artifact(
    "fig6",
    "Distribution of subgroup classes",
    "Stander et al., Fig. 6 and Appendix H.1",
    summarise,
    analyse,
    groups=tuple(IN_EVERY_NETWORK),
    notes=[
        "A neuron counts for the largest subgroup that leaves less than 1% of its variance on both "
        "sides. The least C, the paper's sum over cosets, does not decide for neurons that nothing "
        "fits: C of a random function is about the number of cosets, least for a subgroup of index "
        "2.",
        "Which circuits form depends on how a network is trained: compare shares between networks "
        "of one recipe only.",
    ],
)
