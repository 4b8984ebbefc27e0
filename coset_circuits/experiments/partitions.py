"""The cells of a site as partitions of the group, donors from them, and wrong partitions.

For resampling within a circuit's classes: one column of labels for all neurons that share a donor.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from coset_circuits.algorithms import Circuit, Classes
from coset_circuits.algorithms.algorithm import NEGLIGIBLE, UNEXPLAINED
from coset_circuits.errors import CosetCircuitsError
from coset_circuits.experiments.resampling import Cells, intersected, uniform
from coset_circuits.groups import FiniteGroup

SIDES = ("left", "right", "product")
PAIR = "pair"
"""The side of pairs (a, b), as the number a·order + b."""

# What random numbers are for: samples count from 0, controls from below it.
_RANDOM, _CONJUGATE, _NEURON_SETS = -1, -2, -3

Labels = Mapping[str, Int[Tensor, "order columns"]]
"""Labels of elements by side, in columns."""
Elements = Int[Tensor, "..."]


@dataclass(frozen=True)
class PairDonors:
    """Other pairs of the same cell, the one mechanism that resamples inputs.

    Any two of left element, right element and product are independent and determine the pair. If at
    most two of them are labelled, each is drawn separately from tables of the group's order. Cells
    on all three do not factorise: their pairs are listed, which takes 24 bytes for each of order²
    pairs and each column.

    Attributes:
        labels: labels of elements on two or three sides; pairs share a cell if all of them agree.
    """

    group: FiniteGroup
    labels: Labels

    @cached_property
    def cells(self) -> dict[str, Cells]:
        """The cells that donors are drawn from: on each side, or of listed pairs."""
        listed = len(self.labels) == len(SIDES)
        drawn = {PAIR: self._pair_cells()} if listed else self.labels
        return {side: Cells.of(labels) for side, labels in drawn.items()}

    def resampled(
        self, a: Elements, b: Elements, draw: Callable[[str, Elements], Elements]
    ) -> tuple[Elements, Elements]:
        """A pair for each (a, b); ``draw(side, elements)`` gives members of the elements' cells."""
        order = self.group.order
        table, inverses = (x.to(a.device) for x in (self.group.table, self.group.inverses))

        def product(one: Elements, two: Elements) -> Elements:
            return table.take(one * order + two)

        if PAIR in self.cells:
            pair = draw(PAIR, a * order + b)
            return pair // order, pair % order
        if "product" not in self.cells:
            return draw("left", a), draw("right", b)
        target = draw("product", product(a, b))
        if "left" in self.cells:
            left = draw("left", a)
            return left, product(inverses[left], target)
        right = draw("right", b)
        return product(target, inverses[right]), right

    def freedoms(self, reads: Collection[str]) -> Float[Tensor, "columns"]:
        """H(input | cell) / H(input) of each column; the input is the sides that are read."""
        order = self.group.order
        sides = self.cells if len(reads) == 2 else reads
        if all(side in self.cells for side in sides):
            entropy = torch.stack([self.cells[side].entropy for side in sides]).sum(0)
        else:
            # Entropy of the pair given the cell, minus its entropy given the read element too.
            (side,) = sides
            cells, read = self._pair_cells(), self.group.pairs()[:, [SIDES.index(side)]]
            entropy = Cells.of(cells).entropy - Cells.of(cells * order + read).entropy
        # A group of one element: 0/0.
        return (entropy / (len(reads) * math.log(order))).nan_to_num()

    def _pair_cells(self) -> Int[Tensor, "pairs columns"]:
        return _pair_cells(self.labels, self.group, self.group.pairs())


@dataclass(frozen=True)
class Partition(PairDonors):
    """The cells of one site.

    Attributes:
        column: each neuron's column of labels.
        keys: the first neuron of each column.
        weight: the number of explained neurons of each column; 0 for the column of all others.
    """

    site: str
    reads: tuple[str, ...]
    column: Int[Tensor, "d_mlp"]
    keys: Int[Tensor, "columns"]
    weight: Int[Tensor, "columns"]

    @classmethod
    def of(
        cls, circuit: Circuit, site: str, classes: Classes, *, shared: bool, keep: bool
    ) -> Partition:
        """The cells of a circuit's classes.

        Args:
            shared: all explained neurons share one donor, as if they were one neuron set.
            keep: neurons outside the hypothesis keep their values; otherwise one random input is
                the donor of all of them.

        Raises:
            CosetCircuitsError: labels have a wrong shape or belong to an input that the site does
                not read, or a neuron is in two neuron sets.
        """
        order, is_explained = circuit.network.group.order, explained(circuit)
        reads, width = circuit.network.sites[site].reads, len(is_explained)
        given = _labels(classes)
        for side, labels in given.items():
            if tuple(labels.shape) != (order, width):
                raise CosetCircuitsError(
                    f"The {side} labels of {classes.name!r} have shape {tuple(labels.shape)}; one "
                    f"row an element and one column a neuron are ({order}, {width})."
                )
            if len(reads) == 1 and side not in reads:
                raise CosetCircuitsError(
                    f"The classes {classes.name!r} have {side} labels at {site}, which reads the "
                    f"{reads[0]} input alone."
                )
        neuron_sets = list(_sharing(classes, is_explained, shared))
        column = torch.zeros(width, dtype=torch.int64)
        for number, neurons in enumerate(neuron_sets):
            column[neurons] = number
        weight = [len(neurons) if is_explained[neurons[0]] else 0 for neurons in neuron_sets]
        outside = torch.arange(order) if keep else torch.zeros(order, dtype=torch.int64)
        cells = {
            side: [
                intersected(labels[:, neurons]) if count else outside
                for neurons, count in zip(neuron_sets, weight, strict=True)
            ]
            for side, labels in completed(given, order, width).items()
        }
        return cls(
            circuit.network.group,
            {side: torch.stack(columns, 1) for side, columns in cells.items()},
            site,
            reads,
            column,
            keys=torch.tensor([min(neurons) for neurons in neuron_sets]),
            weight=torch.tensor(weight),
        )

    def freedom(self) -> Float[Tensor, "columns"]:
        """H(input | cell) / H(input) of each column; the input is what the site reads."""
        return self.freedoms(self.reads)

    def mean_freedom(self) -> float | None:
        """The mean freedom of the explained neurons; None if there are none."""
        if not int(self.weight.sum()):
            return None
        return float((self.freedom() * self.weight).sum() / self.weight.sum())

    def random(self, seed: int) -> Partition | None:
        """Cells of the same sizes with random members; None if no cell would change."""
        draws = {side: self._draws(seed, _RANDOM, side) for side in self.labels}
        return self._pulled_back({side: drawn.argsort(0) for side, drawn in draws.items()})

    def random_neuron_sets(self, seed: int) -> Partition | None:
        """Explained neurons assigned to random columns; None if no two share a donor."""
        neurons = (self.weight > 0)[self.column].nonzero()[:, 0]
        columns = self.column[neurons]
        if int(self.weight.max()) < 2 or len(columns.unique()) < 2:
            return None
        dealt = torch.from_numpy(uniform(seed, _NEURON_SETS, neurons.numpy()).argsort())
        column = self.column.clone()
        column[neurons] = columns[dealt]
        return replace(self, column=column)

    def wrong_side(self) -> Partition | None:
        """The cells pulled back along g ↦ g⁻¹; None if no cell changes."""
        inverse = self.group.inverses[:, None].expand(-1, len(self.keys))
        return self._pulled_back(dict.fromkeys(self.labels, inverse))

    def wrong_conjugate(self, seed: int) -> Partition | None:
        """The cells pulled back along a random g ↦ xg (right input: gx) that moves them.

        Right cosets Hg become right cosets of x⁻¹Hx, left cosets gK left cosets of xKx⁻¹, and
        double cosets HgK those of x⁻¹Hx and K. None if no x moves any cell.
        """
        return self._pulled_back({side: self._conjugation(side, seed) for side in self.labels})

    def _conjugation(self, side: str, seed: int) -> Int[Tensor, "order columns"]:
        labels, order = self.labels[side], self.group.order
        unmoved, elements = canonical(labels), torch.arange(order)[:, None]
        table = self.group.table.T if side == "right" else self.group.table
        images = elements.repeat(1, len(self.keys))
        # A partition into one cell, or into single elements, is its own image under every map.
        cells = (unmoved == elements).sum(0)
        pending = ((cells > 1) & (cells < order)).nonzero()[:, 0]
        for x in self._draws(seed, _CONJUGATE, side).argsort(0):
            if not len(pending):
                break
            image = table[x[pending]].T
            moved = canonical(labels[:, pending].gather(0, image))
            is_moved = (moved != unmoved[:, pending]).any(0)
            images[:, pending[is_moved]] = image[:, is_moved]
            pending = pending[~is_moved]
        return images

    def _draws(self, seed: int, purpose: int, side: str) -> Float[Tensor, "order columns"]:
        elements = np.arange(self.group.order)[:, None]
        return torch.from_numpy(
            uniform(seed, purpose, SIDES.index(side), elements, self.keys.numpy())
        )

    def _pulled_back(self, images: Labels) -> Partition | None:
        """Give every element the label of its image; None if no explained cell changes."""
        moved = {side: labels.gather(0, images[side]) for side, labels in self.labels.items()}
        counts = self.weight > 0
        if not any(
            bool((canonical(labels) != canonical(moved[side]))[:, counts].any())
            for side, labels in self.labels.items()
        ):
            return None
        return replace(self, labels=moved)


def completed(labels: Labels, order: int, columns: int) -> dict[str, Int[Tensor, "order columns"]]:
    """Labels on enough sides to determine a pair; an irrelevant element has a single label."""
    missing = [side for side in ("left", "right") if side not in labels]
    anything = torch.zeros(order, columns, dtype=torch.int64)
    return {**dict.fromkeys(missing[: max(0, 2 - len(labels))], anything), **labels}


def cells(
    classes: Classes, group: FiniteGroup, pairs: Int[Tensor, "pairs 2"]
) -> Int[Tensor, "pairs d_mlp"]:
    """The cell of every pair for every neuron: labels for :func:`resample`.

    Raises:
        CosetCircuitsError: the classes have no labels on any side.
    """
    labels = _labels(classes)
    if not labels:
        raise CosetCircuitsError(f"The classes {classes.name!r} have no labels on any side.")
    return _pair_cells(labels, group, pairs)


def explained(circuit: Circuit) -> np.ndarray:
    """Which neurons the hypothesis gives a role."""
    return np.array([name not in (UNEXPLAINED, NEGLIGIBLE) for name in circuit.roles.names])


def canonical(labels: Int[Tensor, "order columns"]) -> Int[Tensor, "order columns"]:
    """Replace each label by the first element that has it, so that equal partitions are equal."""
    cells = Cells.of(labels)
    return cells.members.gather(0, cells.first)


def _pair_cells(
    labels: Labels, group: FiniteGroup, pairs: Int[Tensor, "pairs 2"]
) -> Int[Tensor, "pairs columns"]:
    elements = {"left": pairs[:, 0], "right": pairs[:, 1], "product": group.products(pairs)}
    numbers = torch.zeros(1, dtype=torch.int64)
    for side, values in labels.items():
        numbers = numbers * group.order + canonical(values)[elements[side]]
    return numbers


def _labels(classes: Classes) -> dict[str, Int[Tensor, "order d_mlp"]]:
    """The sides on which the cells depend."""
    sides = {side: getattr(classes, side) for side in SIDES}
    return {side: labels for side, labels in sides.items() if labels is not None}


def _sharing(classes: Classes, is_explained: np.ndarray, shared: bool) -> Iterator[list[int]]:
    """The neurons of each donor; those outside the hypothesis share one, as in Chan et al."""
    alone = set(np.flatnonzero(is_explained).tolist())
    for neuron_set in [sorted(alone)] if shared else classes.groups or ():
        members = [int(j) for j in neuron_set if is_explained[j]]
        if len(set(members)) < len(members) or not alone.issuperset(members):
            raise CosetCircuitsError(
                f"The neuron sets of {classes.name!r} name a neuron twice; each has one donor."
            )
        alone.difference_update(members)
        if members:
            yield members
    yield from ([j] for j in sorted(alone))
    outside = np.flatnonzero(~is_explained).tolist()
    if outside:
        yield outside
