"""Fig. 2: the four paths through a sign neuron, from a real network."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from coset_circuits.errors import CosetCircuitsError
from coset_circuits.report.axes import legend_above
from coset_circuits.report.style import FAINT, INK, colour
from coset_circuits.reproduction import artifact as art
from coset_circuits.reproduction.study import Study

PATHS = {"even·even": (1, 1), "odd·odd": (-1, -1), "even·odd": (1, -1), "odd·even": (-1, 1)}
"""The signs of the left and the right element; even, +1: inside the subgroup of index 2."""

FIRES = 1.0
"""Half of the pre-activation of the one path that fires, with levels ±1."""

_COLUMNS = art.columns(
    ("text", "left·right"),
    ("number", "left, right, sum, s.d., activation"),
    ("fraction", "even products"),
)
_POINTS = 200


def analyse(study: Study) -> dict[str, Any]:
    """The clearest neuron whose subgroup has index 2, over all pairs by path.

    A neuron that fires as the paper's does, for an even left and an odd right element, is
    preferred. Everything is divided by half the distance between the left levels, which become
    ±1 as in the paper.

    Raises:
        CosetCircuitsError: no neuron has such a subgroup.
    """
    network, roles = study.network, study.circuit.roles
    labels = study.circuit.classes("hook_left_pre")[0].left
    assert labels is not None
    halves = {c.name for c in network.group.subgroup_classes if c.index == 2}
    candidates = [j for j, name in enumerate(roles.names) if name in halves]
    if not candidates:
        raise CosetCircuitsError("It has no sign neuron: no neuron's subgroup has index 2.")
    tables = [table.detach().numpy() for table in (network.left_table, network.right_table)]
    insides = (labels == labels[network.group.identity]).numpy()

    def fvu(j: int) -> float:
        return float(roles.fvu_left[j] + roles.fvu_right[j])

    def unlike(j: int) -> tuple[bool, float]:
        inside = insides[:, j]
        left, right = (t[inside, j].mean() - t[~inside, j].mean() for t in tables)
        return not left > 0 > right, fvu(j)

    j = min(candidates, key=unlike)
    inside = insides[:, j]
    left, right = (table[:, j] for table in tables)
    half = abs(left[inside].mean() - left[~inside].mean()) / 2
    # Only the sum counts: a constant can be moved from one side to the other.
    shift = (left[inside].mean() + left[~inside].mean()) / 2
    left, right = (left - shift) / half, (right + shift) / half
    sums = left[:, None] + right[None, :]
    with torch.no_grad():
        posts = network.activation.function(torch.from_numpy(half * sums)).numpy() / half
    sign = np.where(inside, 1, -1)
    product = sign[network.group.array]
    paths = []
    for a, b in PATHS.values():
        where = np.ix_(sign == a, sign == b)
        pre, post = sums[where].ravel(), posts[where].ravel()
        paths.append(
            {
                "left": _level(left[sign == a].mean()),
                "right": _level(right[sign == b].mean()),
                "sum": _level(pre.mean()),
                "s.d.": _level(pre.std()),
                "activation": _level(post.mean()),
                "even products": float((product[where] == 1).mean()),
                "pre_values": pre[:: max(1, len(pre) // _POINTS)].tolist(),
            }
        )
    fires = posts > FIRES
    return {
        "neuron": j,
        "subgroup": roles.names[j],
        "neurons": len(candidates),
        "fvu": fvu(j),
        "paths": dict(zip(PATHS, paths, strict=True)),
        "even_when_silent": float((product[~fires] == 1).mean()),
        "odd_when_firing": float((product[fires] == -1).mean()) if fires.any() else None,
    }


def summarise(ours: art.Networks, controls: art.Networks) -> art.Part:
    """The clearest sign neuron of these networks, path by path."""
    best = min(ours, key=lambda n: (not _as_printed(n.findings), n.findings["fvu"]))
    neuron = best.findings
    lines, rows = [], []
    for name, (a, b) in PATHS.items():
        path, pre = neuron["paths"][name], float(a - b)
        ideals = (("pre-activation", "sum", pre), ("activation", "activation", max(pre, 0.0)))
        for what, key, ideal in ideals:
            control_is = "exact for L = sgn, R = −sgn"
            lines.append(art.Line(f"{name}: {what}", "number", ideal, path[key], ideal, control_is))
        rows.append([name, *(path[key] for key in list(_COLUMNS)[1:])])
    for title, key, paper, exact in (
        ("silent: share of even products", "even_when_silent", 0.67, 2 / 3),
        ("firing: share of odd products", "odd_when_firing", 1.0, 1.0),
    ):
        lines.append(art.Line(title, "fraction", paper, neuron[key], exact, "exact"))
    table = art.Table(
        "The four paths",
        _COLUMNS,
        rows,
        "In units of half the distance between the left levels; even: inside the subgroup of "
        "index 2.",
    )
    notes = [
        f"Neuron {neuron['neuron']} of {best.name}, one of {neuron['neurons']} with the subgroup "
        f"{neuron['subgroup']}: {neuron['fvu']:.1e} of its variance is unexplained, both sides "
        "together."
    ]
    if not _as_printed(neuron):
        firing = max(PATHS, key=lambda name: neuron["paths"][name]["activation"])
        notes.append(
            "No sign neuron of these networks fires for even·odd, as the paper's does; this one "
            f"fires for {firing}."
        )
    drawing = art.Drawing(
        f"The four paths through neuron {neuron['neuron']} of {best.name}: left and right "
        "pre-activation, their sum (dots: single pairs) and the activation.",
        [[partial(draw, neuron)]],
        (7.2, 3.4),
    )
    return art.Part(lines, [table], [drawing], notes)


def draw(neuron: Mapping[str, Any], ax: Axes) -> Axes:
    """Left level, right level, sum and activation of every path."""
    paths = [neuron["paths"][name] for name in PATHS]
    for i, title in enumerate(("left", "right", "sum", "activation")):
        at = np.arange(len(paths)) + (i - 1.5) * 0.19
        ax.bar(at, [path[title] for path in paths], 0.17, color=colour(i), label=title)
        if title == "sum":
            for x, path in zip(at, paths, strict=True):
                spread = np.linspace(-0.06, 0.06, len(path["pre_values"]))
                ax.plot(x + spread, path["pre_values"], ".", color=INK, ms=2, alpha=FAINT)
    ax.axhline(0, color=INK, lw=0.8)
    ax.set_xticks(range(len(PATHS)), [name.replace("·", " · ") for name in PATHS])
    ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    ax.set_xlabel("left · right element")
    ax.set_ylabel("value (levels ±1)")
    legend_above(ax, 4)
    return ax


def _as_printed(neuron: Mapping[str, Any]) -> bool:
    """Whether the neuron fires for even·odd."""
    return neuron["paths"]["even·odd"]["activation"] > FIRES


def _level(number: float) -> float:
    """A level that differs from 0 by rounding only is 0."""
    return 0.0 if abs(number) < 1e-9 else float(number)


ARTIFACT = art.Artifact(
    "fig2",
    "Four paths through a sign neuron",
    "Stander et al., Fig. 2 and Section 5.1",
    summarise,
    analyse,
    groups=None,
    notes=[
        "Section 5.1 of the paper exchanges cases 2 and 3: with L = sgn and R = −sgn as given "
        "there, odd·even sums to −2 and is clipped, even·odd to 2 and fires, as in the paper's own "
        "Fig. 2."
    ],
)
