"""Fig. 2: the four paths through a sign neuron, from a real network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from coset_circuits.report.style import FAINT, INK, colour
from coset_circuits.reproduction.artifact import (
    Artifact,
    Drawing,
    Line,
    Part,
    Seen,
    Table,
    refuse,
)
from coset_circuits.reproduction.study import Study

PATHS = ((1, 1), (-1, -1), (1, -1), (-1, 1))
"""The signs of the left and the right element; +1: inside the subgroup of index 2 (even)."""

FIRES = 1.0
"""Half of the pre-activation of the one path that fires, with levels ±1."""

_SIGNS = {1: "even", -1: "odd"}
_POINTS = 200


def see(study: Study) -> dict[str, Any]:
    """The clearest neuron whose subgroup has index 2, over all pairs by path.

    Where there is one, a neuron that fires as the paper's does: for an even left and an odd right.
    Everything is divided by half the distance of the left levels, so that these are one either
    side of their middle, as in the paper.

    Raises:
        CosetCircuitsError: no neuron has such a subgroup.
    """
    network, circuit = study.network, study.circuit
    labels = circuit.classes("hook_left_pre")[0].left
    assert labels is not None
    roles = circuit.roles
    halves = {c.name: c for c in network.group.subgroup_classes if c.index == 2}
    found = [j for j, name in enumerate(roles.names) if name in halves]
    if not found:
        raise refuse("It has no sign neuron: no neuron's subgroup has index 2.")
    tables = [table.detach().numpy() for table in (network.left_table, network.right_table)]
    insides = (labels == labels[network.group.identity]).numpy()

    def unlike(j: int) -> tuple[bool, float]:
        inside = insides[:, j]
        left, right = (t[inside, j].mean() - t[~inside, j].mean() for t in tables)
        return not left > 0 > right, float(roles.fvu_left[j] + roles.fvu_right[j])

    j = min(found, key=unlike)
    inside = insides[:, j]
    left, right = (table[:, j] for table in tables)
    half = abs(left[inside].mean() - left[~inside].mean()) / 2
    # Only the sum counts: a constant can be moved from one side to the other.
    shift = (left[inside].mean() + left[~inside].mean()) / 2
    left, right = (left - shift) / half, (right + shift) / half
    sums = left[:, None] + right[None, :]
    with torch.no_grad():
        activation = network.activation.function
        posts = activation(torch.from_numpy(half * sums)).numpy() / half
    sign = np.where(inside, 1, -1)
    product = sign[network.group.array]
    paths = []
    for a, b in PATHS:
        where = np.ix_(sign == a, sign == b)
        pre, post = sums[where].ravel(), posts[where].ravel()
        paths.append(
            {
                "left": float(left[sign == a].mean()),
                "right": float(right[sign == b].mean()),
                "pre": float(pre.mean()),
                "pre_sd": float(pre.std()),
                "post": float(post.mean()),
                "post_sd": float(post.std()),
                "products_inside": float((product[where] == 1).mean()),
                "pre_values": pre[:: max(1, len(pre) // _POINTS)].tolist(),
            }
        )
    fires = posts > FIRES
    return {
        "neuron": j,
        "subgroup": roles.names[j],
        "neurons": len(found),
        "fvu": float(roles.fvu_left[j] + roles.fvu_right[j]),
        "paths": paths,
        "fires": float(fires.mean()),
        "even_when_silent": float((product[~fires] == 1).mean()),
        "odd_when_firing": float((product[fires] == -1).mean()) if fires.any() else None,
    }


def ideal(left: int, right: int) -> tuple[float, float]:
    """Pre-activation and activation where L = sgn and R = −sgn."""
    pre = float(left - right)
    return pre, max(pre, 0.0)


def tell(ours: Sequence[Seen], controls: Sequence[Seen]) -> Part:
    """The clearest sign neuron of these networks, path by path."""
    best = min(ours, key=lambda n: (not _as_printed(n.findings), n.findings["fvu"]))
    found = best.findings
    lines = []
    for (a, b), path in zip(PATHS, found["paths"], strict=True):
        name = f"{_SIGNS[a]}·{_SIGNS[b]}"
        pre, post = ideal(a, b)
        told = "exact for L = sgn, R = −sgn"
        lines.append(Line(f"{name}: pre-activation", "number", pre, _dust(path["pre"]), pre, told))
        lines.append(Line(f"{name}: activation", "number", post, _dust(path["post"]), post, told))
    lines.append(
        Line("silent: share of even products", "fraction", 0.67, found["even_when_silent"], 2 / 3,
             "exact")
    )  # fmt: skip
    lines.append(
        Line("firing: share of odd products", "fraction", 1.0, found["odd_when_firing"], 1.0,
             "exact")
    )  # fmt: skip
    table = Table(
        "The four paths",
        {"left·right": "text", "left": "number", "right": "number", "sum": "number",
         "s.d.": "number", "activation": "number", "even products": "fraction"},
        tuple(
            (f"{_SIGNS[a]}·{_SIGNS[b]}", *(_dust(path[k]) for k in
             ("left", "right", "pre", "pre_sd", "post")), path["products_inside"])
            for (a, b), path in zip(PATHS, found["paths"], strict=True)
        ),
        "In units of half the distance of the left levels; even: inside the subgroup of index 2.",
    )  # fmt: skip
    where = (
        f"Neuron {found['neuron']} of {best.name}, of {found['neurons']} with the subgroup "
        f"{found['subgroup']}: {found['fvu']:.1e} of its variance is unexplained on both sides "
        "together."
    )
    firing = PATHS[int(np.argmax([path["post"] for path in found["paths"]]))]
    otherwise = (
        f"No sign neuron of these networks fires for even·odd, as the paper's does; this one fires "
        f"for {_SIGNS[firing[0]]}·{_SIGNS[firing[1]]}."
    )
    turned = () if _as_printed(found) else (otherwise,)
    drawing = Drawing(
        f"The four paths through neuron {found['neuron']} of {best.name}: left and right "
        "pre-activation, their sum (dots: single pairs) and the activation.",
        ((lambda ax: paths(ax, found),),),
        (7.2, 3.4),
    )
    return Part(tuple(lines), (table,), (drawing,), (where, *turned))


NOTES = (
    "Section 5.1 of the paper describes cases 2 and 3 the wrong way round: with L = sgn and R = "
    "−sgn as given there, odd·even sums to −2 and is clipped, even·odd to 2 and fires, as in the "
    "paper's own Fig. 2.",
)


def paths(ax: Axes, found: Mapping[str, Any]) -> Axes:
    """Left level, right level, sum and activation of every path."""
    names = ("left", "right", "pre", "post")
    for i, name in enumerate(names):
        at = np.arange(len(PATHS)) + (i - 1.5) * 0.19
        title = {"pre": "sum", "post": "activation"}.get(name, name)
        heights = [path[name] for path in found["paths"]]
        ax.bar(at, heights, 0.17, color=colour(i), label=title)
        if name == "pre":
            for x, path in zip(at, found["paths"], strict=True):
                spread = np.linspace(-0.06, 0.06, len(path["pre_values"]))
                ax.plot(x + spread, path["pre_values"], ".", color=INK, ms=2, alpha=FAINT)
    ax.axhline(0, color=INK, lw=0.8)
    ax.set_xticks(range(len(PATHS)), [f"{_SIGNS[a]} · {_SIGNS[b]}" for a, b in PATHS])
    ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
    ax.set_xlabel("left · right element")
    ax.set_ylabel("value (levels ±1)")
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4)
    return ax


def _as_printed(found: Mapping[str, Any]) -> bool:
    """Whether the neuron fires for even·odd."""
    return found["paths"][2]["post"] > FIRES


def _dust(number: float) -> float:
    """A level that is nought but for rounding."""
    return 0.0 if abs(number) < 1e-9 else number


ARTIFACT = Artifact(
    "fig2",
    "Four paths through a sign neuron",
    "Stander et al., Fig. 2 and Section 5.1",
    tell,
    see,
    groups=None,
    notes=NOTES,
)
