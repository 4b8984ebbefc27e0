"""The pictures of docs/concepts.md, from the shipped S4 network.

``python docs/site/pictures.py`` draws them anew, into docs/figures.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

import coset_circuits as cc
from coset_circuits.algorithms import Circuit, Tables
from coset_circuits.algorithms.blocks import block_shares
from coset_circuits.groups import Subgroup, double_cosets
from coset_circuits.report.axes import guide
from coset_circuits.report.figures import SHADES, front
from coset_circuits.report.style import colour, look, svg

FOLDER = Path(__file__).parents[1] / "figures"
SIGNED = "PuOr"


class Neuron(NamedTuple):
    """A coset neuron: its three tables, H, K and the shared coset X = Hx."""

    left: np.ndarray
    right: np.ndarray
    unembed: np.ndarray
    H: Subgroup
    K: Subgroup
    shared: np.ndarray

    @property
    def pre(self) -> np.ndarray:
        return self.left[:, None] + self.right


def cleanest(circuit: Circuit, role: str) -> Neuron:
    """The neuron of a role whose left table is nearest to constant on the cosets."""
    network, rows = circuit.network, circuit.roles.to_dataframe()
    row = rows.loc[rows[rows.role == role].fvu_left.idxmin()]
    H = network.group.subgroups[row.subgroup_index]
    x = int(row.conjugator_index)
    left, right, unembed = (table[:, row.neuron].numpy() for table in Tables.of(network))
    shared = (H.right_cosets == H.right_cosets[x]).numpy()
    return Neuron(left, right, unembed, H, H.conjugate(x), shared)


def partition(subgroup: Subgroup, ax: Axes) -> Axes:
    """Every element in the colour of its right coset, and below in that of its left one."""
    order = np.argsort(subgroup.right_cosets.numpy(), kind="stable")
    rows = {"right coset Hg": subgroup.right_cosets, "left coset gH": subgroup.left_cosets}
    for y, labels in enumerate(rows.values()):
        for x, element in enumerate(order):
            shade = colour(int(labels[element]))
            ax.add_patch(Rectangle((x + 0.04, y + 0.08), 0.92, 0.84, color=shade, lw=0))
            name = subgroup.group.labels[element]
            ax.text(x + 0.5, y + 0.5, name, color="white", ha="center", va="center", weight="bold")
    ax.set(xlim=(0, len(order)), ylim=(2, 0), xticks=[])
    ax.set_yticks([0.5, 1.5], rows)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return ax


def by_coset(values: np.ndarray, labels: torch.Tensor, ax: Axes) -> Axes:
    """A dot for each element, sorted and coloured by cell."""
    order = np.argsort(labels.numpy(), kind="stable")
    cells = labels.numpy()[order]
    for cell in np.unique(cells):
        where = np.flatnonzero(cells == cell)
        ax.plot(where, values[order][where], "o", color=colour(int(cell)), ms=5)
    ax.set(xticks=[])
    guide(ax)
    return ax


def label_cell(
    cell: np.ndarray, values: np.ndarray, labels: torch.Tensor, text: str, ax: Axes
) -> Axes:
    """A name beside the dots of one cell that :func:`by_coset` has drawn."""
    places = np.flatnonzero(cell[np.argsort(labels.numpy(), kind="stable")])
    ax.annotate(text, (places.min() - 1, values[cell].mean()), ha="right", va="center")
    return ax


def all_pairs(neuron: Neuron, values: np.ndarray, title: str, ax: Axes) -> Axes:
    """A value of every pair, cosets together; framed where ab lies in X."""
    cosets = (neuron.H.right_cosets.numpy(), neuron.K.left_cosets.numpy())
    rows, columns = (np.argsort(labels, kind="stable") for labels in cosets)
    edge = np.abs(neuron.pre).max()
    shown = values[np.ix_(rows, columns)]
    drawn = ax.pcolormesh(shown, cmap=SIGNED, vmin=-edge, vmax=edge, rasterized=True)
    scale(drawn, title, ax)
    inside = neuron.shared[neuron.H.group.array[np.ix_(rows, columns)]]
    for line, size in ((ax.axhline, len(rows)), (ax.axvline, len(columns))):
        for at in range(0, size + 1, neuron.H.order):
            line(at, color="#808080", lw=0.6)
    for i, j in np.argwhere(inside[:: neuron.H.order, :: neuron.H.order]) * neuron.H.order:
        side = neuron.H.order
        ax.add_patch(Rectangle((j, i), side, side, fill=False, ec="black", lw=2, zorder=3))
    ax.set(xticks=[], yticks=[], aspect="equal", xlabel="b, by left coset", ylim=(len(rows), 0))
    ax.set_ylabel("a, by right coset")
    return ax


def matrix(values: np.ndarray, ax: Axes) -> Axes:
    """A matrix as colours and figures."""
    ax.imshow(values, cmap=SIGNED, vmin=-1.5, vmax=1.5)
    for (i, j), value in np.ndenumerate(values):
        ax.text(j, i, f"{value + 0.0:.2f}", ha="center", va="center", color="black", fontsize=8)
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    return ax


def irreps_in_use(circuit: Circuit, ax: Axes) -> Axes:
    """How much of each neuron's left table lies in each irrep; neurons of a role together."""
    irreps, names = list(circuit.network.group.real_blocks[1:]), np.array(circuit.roles.names)
    order = np.argsort(names, kind="stable")
    shares = block_shares(Tables.of(circuit.network), irreps)[0].numpy()[:, order]
    drawn = ax.pcolormesh(shares, cmap=SHADES, vmin=0, vmax=1, rasterized=True)
    starts = [int(np.flatnonzero(names[order] == name)[0]) for name in np.unique(names)]
    for start in starts[1:]:
        ax.axvline(start, color="#808080", lw=1)
    middles = [(a + b) / 2 for a, b in zip(starts, [*starts[1:], len(names)], strict=True)]
    ax.set_xticks(middles, np.unique(names), rotation=45, ha="right", rotation_mode="anchor")
    ax.set_yticks(np.arange(len(irreps)) + 0.5, [block.name for block in irreps])
    ax.tick_params(length=0)
    ax.set(xlabel=f"{len(names)} neurons, by subgroup", ylabel="irrep")
    scale(drawn, "share of the variance of L", ax)
    return ax


def scale(drawn: ScalarMappable, title: str, ax: Axes) -> None:
    """What the colours stand for."""
    bar = ax.figure.colorbar(drawn, ax=ax, pad=0.02, shrink=0.8)
    bar.outline.set_visible(False)
    bar.set_label(title)


def pictures() -> Iterator[tuple[str, Figure]]:
    """Every picture by its name."""
    S3 = cc.group("S3")
    figure = Figure(figsize=(6.4, 1.5), layout="constrained")
    partition(S3.subgroups[1], figure.add_subplot())
    yield "concepts-cosets", figure

    circuit = cc.CosetAlgorithm().fit(cc.load("s4"))
    neuron = cleanest(circuit, "S3")
    figure = Figure(figsize=(7.2, 6.2), layout="constrained")
    (a, b), (c, d) = figure.subplots(2, 2)
    by_coset(neuron.left, neuron.H.right_cosets, a)
    a.set(xlabel="a, by right coset Hg", ylabel="L(a)", title="1. reads a by its right coset")
    all_pairs(neuron, neuron.pre, "L(a) + R(b)", b).set_title("2. adds the two sides")
    post = neuron.pre.clip(0)
    all_pairs(neuron, post, "ReLU(L(a) + R(b))", c).set_title("3. keeps what is positive")
    cells = double_cosets(neuron.H, neuron.K)
    by_coset(neuron.unembed, cells, d)
    d.set(xlabel="c, by double coset HgK", ylabel="U(c)", title="4. writes by double coset")
    label_cell(neuron.shared, neuron.unembed, cells, "X", d)
    yield "concepts-neuron", figure

    S4 = circuit.network.group
    rho = next(irrep for irrep in S4.irreps if irrep.name == "(3,1)")
    g, h = (S4.labels.index(label) for label in ("(1 2)", "(1 3 4)"))
    figure = Figure(figsize=(6.4, 2.2), layout="constrained")
    trio = {"ρ(a)": g, "· ρ(b)": h, "= ρ(ab)": S4.table[g, h]}
    for ax, (title, element) in zip(figure.subplots(1, 3), trio.items(), strict=True):
        matrix(rho.matrices[element].numpy(), ax).set_title(title)
        ax.set_xlabel(S4.labels[element])
    yield "concepts-irrep", figure

    figure = Figure(figsize=(7.2, 2.8), layout="constrained")
    irreps_in_use(circuit, figure.add_subplot())
    yield "concepts-irreps-in-use", figure

    figure = Figure(figsize=(7.2, 5.0), layout="constrained")
    front(cc.compare(circuit.network), figure.add_subplot())
    yield "concepts-front", figure


if __name__ == "__main__":
    matplotlib.use("agg")
    with look():
        for name, figure in pictures():
            (FOLDER / f"{name}.svg").write_text(svg(figure, name), encoding="utf-8")
