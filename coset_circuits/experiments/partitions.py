"""The cells of a site as partitions of the group, their freedom, and partitions that are wrong.

What a circuit's classes become when something is to be resampled within them: one column of labels
for all the neurons that share a donor.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from coset_circuits.algorithms import Circuit, Classes
from coset_circuits.algorithms.algorithm import NEGLIGIBLE, UNEXPLAINED
from coset_circuits.errors import CosetCircuitsError
from coset_circuits.experiments.resampling import Cells, uniform
from coset_circuits.groups import FiniteGroup
from coset_circuits.networks.model import STANDARD_SITES

SIDES = ("left", "right", "product")
# What random numbers are for: samples count from 0, controls from below it.
_RANDOM, _CONJUGATE, _GROUPS = -1, -2, -3


@dataclass(frozen=True)
class Partition:
    """The cells of one site.

    Attributes:
        labels: of elements, on the two sides that donors are drawn on (any two of left, right and
            product make the third), or on all three where the cell depends on all.
        column: each neuron's column of labels.
        keys: the first neuron of each column.
        weight: how many neurons each column has that the hypothesis explains: 0 for the column of
            all those outside it.
    """

    group: FiniteGroup
    site: str
    labels: dict[str, Int[Tensor, "order columns"]]
    column: Int[Tensor, "d_mlp"]
    keys: Int[Tensor, "columns"]
    weight: Int[Tensor, "columns"]

    @classmethod
    def of(
        cls, circuit: Circuit, site: str, classes: Classes, *, shared: bool, keep: bool
    ) -> Partition:
        """The cells of a circuit's classes.

        Args:
            shared: all explained neurons share one donor, as if they were one group.
            keep: neurons outside the hypothesis are their own donors; else one random input is
                the donor of all of them.

        Raises:
            CosetCircuitsError: labels of a wrong shape or of an input that the site does not
                read, or a neuron in two groups.
        """
        order, known = circuit.network.group.order, explained(circuit)
        given = _given(site, classes, order, len(known))
        members = list(_sharing(classes, known, shared))
        anything = torch.zeros(order, len(known), dtype=torch.int64)
        outside = torch.arange(order) if keep else anything[:, 0]
        labels = {}
        for side in _drawn_sides(given):
            own = given.get(side, anything)
            cells = [_joint(own[:, js]) if known[js[0]] else outside for js in members]
            labels[side] = torch.stack(cells, 1)
        column = torch.zeros(len(known), dtype=torch.int64)
        for number, neurons in enumerate(members):
            column[neurons] = number
        return cls(
            circuit.network.group,
            site,
            labels,
            column,
            keys=torch.tensor([min(js) for js in members]),
            weight=torch.tensor([len(js) if known[js[0]] else 0 for js in members]),
        )

    def freedom(self) -> Float[Tensor, "columns"]:
        """H(input | cell) / H(input) of each column; the input is what the site reads."""
        read = STANDARD_SITES[self.site].reads
        if self.group.order == 1:
            return torch.zeros(len(self.keys), dtype=torch.float64)
        if len(self.labels) == 3:
            entropy = _entropy(self.of_pairs())
        else:
            # Two of left, right and product are independent and uniform, and make the pair.
            sides = read if len(read) == 1 else tuple(self.labels)
            entropy = torch.stack([_entropy(self.labels[side]) for side in sides]).sum(0)
        return entropy / (len(read) * math.log(self.group.order))

    def mean_freedom(self) -> float | None:
        """Over the neurons that the hypothesis explains; None where there are none."""
        if not int(self.weight.sum()):
            return None
        return float((self.freedom() * self.weight).sum() / self.weight.sum())

    def of_pairs(self) -> Int[Tensor, "pairs columns"]:
        """The cell of every pair."""
        return _pair_cells(self.labels, self.group, self.group.pairs())

    def pulled_back(self, images: dict[str, Int[Tensor, "order columns"]]) -> Partition:
        """Every element gets the label of its image, side by side and column by column."""
        moved = {side: labels.gather(0, images[side]) for side, labels in self.labels.items()}
        return replace(self, labels=moved)

    def random(self, seed: int) -> Partition | None:
        """Cells of the same sizes with random members; None where no cell can be another."""
        elements = np.arange(self.group.order)[:, None]
        images = {}
        for side in self.labels:
            draws = uniform(seed, _RANDOM, SIDES.index(side), elements, self.keys.numpy())
            images[side] = torch.from_numpy(draws.argsort(0))
        return self._if_another(self.pulled_back(images))

    def random_groups(self, seed: int) -> Partition | None:
        """Explained neurons dealt at random to the columns; None where no two share a donor."""
        known = (self.weight > 0)[self.column].nonzero()[:, 0]
        columns = self.column[known]
        if int(self.weight.max()) < 2 or len(columns.unique()) < 2:
            return None
        dealt = torch.from_numpy(uniform(seed, _GROUPS, known.numpy()).argsort())
        column = self.column.clone()
        column[known] = columns[dealt]
        return replace(self, column=column)

    def wrong_side(self) -> Partition | None:
        """The cells pulled back along g ↦ g⁻¹; None where that leaves every cell as it is."""
        inverse = self.group.inverses[:, None].expand(-1, len(self.keys))
        return self._if_another(self.pulled_back(dict.fromkeys(self.labels, inverse)))

    def wrong_conjugate(self, seed: int) -> Partition | None:
        """The cells pulled back along a random g ↦ xg (right input: gx) that moves them.

        Of right cosets Hg that makes the right cosets of x⁻¹Hx, of left cosets gK the left cosets
        of xKx⁻¹, of double cosets HgK those of x⁻¹Hx and K. None where no x moves any cell.
        """
        images = {side: self._conjugation(side, seed) for side in self.labels}
        return self._if_another(self.pulled_back(images))

    def _conjugation(self, side: str, seed: int) -> Int[Tensor, "order columns"]:
        labels, order = self.labels[side], self.group.order
        standing = canonical(labels)
        elements = np.arange(order)[:, None]
        tries = uniform(seed, _CONJUGATE, SIDES.index(side), elements, self.keys.numpy())
        table = self.group.table.T if side == "right" else self.group.table
        images = torch.arange(order)[:, None].repeat(1, len(self.keys))
        # A partition into one cell, or into single elements, is its own image under every map.
        cells = (standing == torch.arange(order)[:, None]).sum(0)
        pending = ((cells > 1) & (cells < order)).nonzero()[:, 0]
        for x in torch.from_numpy(tries.argsort(0)):
            if not len(pending):
                break
            image = table[x[pending]].T
            moved = canonical(labels[:, pending].gather(0, image))
            found = (moved != standing[:, pending]).any(0)
            images[:, pending[found]] = image[:, found]
            pending = pending[~found]
        return images

    def _if_another(self, other: Partition) -> Partition | None:
        """The other, unless every cell that the hypothesis speaks of is the same there."""
        known = self.weight > 0
        moved = [canonical(x) != canonical(other.labels[side]) for side, x in self.labels.items()]
        return other if any(bool(m[:, known].any()) for m in moved) else None


def cells(
    classes: Classes, group: FiniteGroup, pairs: Int[Tensor, "pairs 2"]
) -> Int[Tensor, "pairs d_mlp"]:
    """The cell of every pair for every neuron: labels for :func:`resample`.

    Raises:
        CosetCircuitsError: the classes have no labels on any side.
    """
    given = _labels(classes)
    if not given:
        raise CosetCircuitsError(f"The classes {classes.name!r} have no labels on any side.")
    return _pair_cells(given, group, pairs)


def explained(circuit: Circuit) -> np.ndarray:
    """Which neurons the hypothesis gives a role."""
    return np.array([name not in (UNEXPLAINED, NEGLIGIBLE) for name in circuit.roles.names])


def canonical(labels: Int[Tensor, "order columns"]) -> Int[Tensor, "order columns"]:
    """Each label replaced by the first element that has it: equal where the partitions are."""
    compact = torch.unique(labels, return_inverse=True)[1]
    rows = torch.arange(len(labels))[:, None].expand_as(compact)
    first = torch.full((int(compact.max()) + 1, labels.shape[1]), len(labels))
    return first.scatter_reduce(0, compact, rows, "amin").gather(0, compact)


def _pair_cells(
    labels: dict[str, Int[Tensor, "order columns"]], group: FiniteGroup, pairs: Tensor
) -> Int[Tensor, "pairs columns"]:
    elements = {"left": pairs[:, 0], "right": pairs[:, 1], "product": group.products(pairs)}
    numbered = torch.zeros(1, dtype=torch.int64)
    for side, own in labels.items():
        numbered = numbered * group.order + canonical(own)[elements[side]]
    return numbered


def _labels(classes: Classes) -> dict[str, Int[Tensor, "order d_mlp"]]:
    """The sides on which the cells depend."""
    sides = {side: getattr(classes, side) for side in SIDES}
    return {side: labels for side, labels in sides.items() if labels is not None}


def _given(site: str, classes: Classes, order: int, d_mlp: int) -> dict[str, Tensor]:
    given = _labels(classes)
    for side, labels in given.items():
        if tuple(labels.shape) != (order, d_mlp):
            raise CosetCircuitsError(
                f"The {side} labels of {classes.name!r} have shape {tuple(labels.shape)}; one row "
                f"an element and one column a neuron are ({order}, {d_mlp})."
            )
        reads = STANDARD_SITES[site].reads
        if len(reads) == 1 and side not in reads:
            raise CosetCircuitsError(
                f"The classes {classes.name!r} have {side} labels at {site}, which reads the "
                f"{reads[0]} input alone."
            )
    return given


def _drawn_sides(given: Collection[str]) -> tuple[str, ...]:
    if "product" not in given:
        return ("left", "right")
    if len(given) == 3:
        return SIDES
    return ("right", "product") if "right" in given else ("left", "product")


def _sharing(classes: Classes, known: np.ndarray, shared: bool) -> Iterator[list[int]]:
    """The neurons of each donor. Those outside the hypothesis share one, as in Chan et al."""
    alone = set(np.flatnonzero(known).tolist())
    groups = [sorted(alone)] if shared else classes.groups or ()
    for group in groups:
        members = [int(j) for j in group if known[j]]
        if len(set(members)) < len(members) or not alone.issuperset(members):
            raise CosetCircuitsError(
                f"The groups of {classes.name!r} name a neuron twice; each has one donor."
            )
        alone.difference_update(members)
        if members:
            yield members
    yield from ([j] for j in sorted(alone))
    outside = np.flatnonzero(~known).tolist()
    if outside:
        yield outside


def _joint(labels: Int[Tensor, "order members"]) -> Int[Tensor, "order"]:
    """The cells of several neurons intersected."""
    if labels.shape[1] == 1:
        return labels[:, 0]
    return torch.unique(labels, dim=0, return_inverse=True)[1]


def _entropy(labels: Int[Tensor, "rows columns"]) -> Float[Tensor, "columns"]:
    """H(row | its cell) in nats, rows being uniform: the mean log of the cells' sizes."""
    return Cells.of(labels).size.double().log().mean(0)
