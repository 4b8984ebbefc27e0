"""The coset circuit of Stander et al. (ICML 2024, section 5 and appendices D, G)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from einops import einsum
from jaxtyping import Float, Int
from torch import Tensor

from coset_circuits.algorithms.algorithm import (
    NEGLIGIBLE,
    UNEXPLAINED,
    Classes,
    Roles,
    Tables,
    fitted_frame,
    fvu,
    negligible,
    proper_subgroups,
    residuals,
)
from coset_circuits.algorithms.claims import claims_suffix, named_claims
from coset_circuits.algorithms.coded import CodedNetwork
from coset_circuits.algorithms.counting import COSETS
from coset_circuits.algorithms.joint import jointly, level_means
from coset_circuits.algorithms.table_circuit import (
    CLAIMS,
    TABLE_CLAIMS,
    TableCircuit,
    check_additive,
)
from coset_circuits.groups import FiniteGroup, Subgroup, double_cosets
from coset_circuits.networks.model import GroupModel
from coset_circuits.thresholds import DEFAULT, Thresholds


@dataclass(frozen=True)
class CosetAlgorithm:
    """Each neuron reads cosets: L on right cosets Hg, R(b) = −L(x b⁻¹), unembedding on HgK.

    H is the largest proper non-trivial subgroup that explains both tables. The right cosets of H
    leave less than a threshold of L's variance unexplained, and the left cosets of a conjugate
    K = x⁻¹Hx do the same for R.

    Attributes:
        even: also claim that the linear half of the activation cancels in the logits.
        joint: fit the unembedding's levels jointly, not neuron by neuron.
        unexplained: the tables of a neuron without such an H in the surrogate: the ``mean`` of the
            network's tables, the best coset fit (``project``), or the network's tables (``keep``).
        relative_error: if given, use the strongest form at this precision. Each neuron gets the
            subgroup, and the irreps among the functions on its cosets, with the shortest
            description.
    """

    even: bool = False
    joint: bool = False
    unexplained: Literal["mean", "project", "keep"] = "mean"
    relative_error: float | None = None
    thresholds: Thresholds = DEFAULT

    hypothesis: ClassVar[str] = "coset"
    noun: ClassVar[str] = "coset circuits"

    @property
    def name(self) -> str:
        suffix = "" if self.unexplained == "mean" else f"-{self.unexplained}"
        return f"coset{suffix}{claims_suffix(self.claims)}"

    @property
    def claims(self) -> tuple[str, ...]:
        return named_claims(self)

    def fit(self, network: GroupModel, group: FiniteGroup | None = None) -> TableCircuit:
        """Fit the hypothesis: find every neuron's subgroup.

        Raises:
            DoesNotApplyError: the group has no proper non-trivial subgroup, or the network's
                pre-activations are not additive.
        """
        if self.relative_error is not None:
            return self._fit_shortest(network, group)
        base, frame = fitted_frame(network, group)
        subgroups = proper_subgroups(base, self.name)
        check_additive(network, self.thresholds)
        tables = Tables.of(network, frame)
        search = _Search(base, subgroups, tables, self.thresholds)
        skip = negligible(tables, self.thresholds)
        neurons = [search.neuron(j) for j in range(len(skip))]
        circuit = self._circuit(network, tables, search, neurons, skip)
        if not self.joint:
            return circuit
        products = circuit.classes("hook_post")[0].product
        assert products is not None
        return jointly(circuit, level_means(products), self.thresholds.joint_noise)

    def _fit_shortest(self, network: GroupModel, group: FiniteGroup | None) -> TableCircuit:
        coded = CodedNetwork.of(self, network, group, COSETS)
        (code,) = coded.codes
        subgroups = coded.coder.subgroups
        search = _Search(
            coded.group, [subgroups[i] for i in coded.coder.proper], coded.tables, self.thresholds
        )
        explained = coded.explained(code)
        neurons = [
            search.described(j, subgroups[h], int(x), bool(passes))
            for j, (h, x, passes) in enumerate(zip(code.subgroup, code.x, explained, strict=True))
        ]
        labels, groups = _labels(coded.tables, neurons, coded.skip)
        names = coded.names(explained, [neuron.subgroup.name for neuron in neurons])
        notes = _notes(neurons, search)
        return coded.circuit(self, code, names, _site_classes(labels, groups), notes)

    def _circuit(
        self,
        network: GroupModel,
        tables: Tables,
        search: _Search,
        neurons: list[_Neuron],
        skip: np.ndarray,
    ) -> TableCircuit:
        fitted = tables.means()
        is_fitted = [neuron.passes or self.unexplained == "project" for neuron in neurons]
        carried = [replace(n, passes=fits) for n, fits in zip(neurons, is_fitted, strict=True)]
        labels, groups = _labels(tables, carried, skip, keep=self.unexplained == "keep")
        width = len(neurons)
        structure = torch.zeros(width, dtype=torch.float64)
        # A neuron without a role has only one mean per table.
        levels = torch.full((width,), 3.0, dtype=torch.float64)
        for j, neuron in enumerate(neurons):
            if skip[j] or not is_fitted[j]:
                if self.unexplained == "keep":
                    for measured, table in zip(tables, fitted, strict=True):
                        table[:, j] = measured[:, j]
                    levels[j] = 3 * len(tables.left)
                continue
            subgroup, products = neuron.subgroup, double_cosets(neuron.subgroup, neuron.conjugate)
            left = cell_means(tables.left[:, j], subgroup.right_cosets)
            fitted.left[:, j] = left
            fitted.right[:, j] = search.paired(left, neuron.x)
            fitted.unembed[:, j] = cell_means(tables.unembed[:, j], products)
            structure[j] = np.log2(len(search.subgroups)) + np.log2(subgroup.index)
            levels[j] = subgroup.index + int(products.max()) + 1
        return TableCircuit(
            name=self.name,
            network=network,
            roles=_roles(tables, fitted, neurons, skip, search),
            fitted=tables.back(fitted),
            residual=residuals(tables, fitted),
            structure=structure,
            levels=levels,
            default_claims=CLAIMS if self.even else TABLE_CLAIMS,
            site_classes=_site_classes(labels, groups),
            algorithm=self,
        )


_SIDES = ("left", "right", "product")

Labels = dict[str, Int[Tensor, "order d_mlp"]]


def _labels(
    tables: Tables, neurons: Sequence[_Neuron], skip: np.ndarray, *, keep: bool = False
) -> tuple[Labels, tuple[tuple[int, ...], ...]]:
    """The cosets of each explained neuron, in the network's order, and sets that vote together.

    Neurons of one subgroup and one shared coset X = Hx vote together for products in X.
    """
    labels = {side: torch.zeros_like(tables.left, dtype=torch.int64) for side in _SIDES}
    shared: dict[tuple[Subgroup, int], list[int]] = defaultdict(list)
    for j, neuron in enumerate(neurons):
        if skip[j] or not neuron.passes:
            if keep:
                for side in _SIDES:
                    labels[side][:, j] = torch.arange(len(tables.left))
            continue
        shared[neuron.subgroup, int(neuron.subgroup.right_cosets[neuron.x])].append(j)
        labels["left"][:, j] = neuron.subgroup.right_cosets
        labels["right"][:, j] = neuron.conjugate.left_cosets
        labels["product"][:, j] = double_cosets(neuron.subgroup, neuron.conjugate)
    inverse = torch.argsort(tables.frame)
    return {side: table[inverse] for side, table in labels.items()}, tuple(
        map(tuple, shared.values())
    )


def _site_classes(
    labels: Labels, groups: tuple[tuple[int, ...], ...]
) -> dict[str, tuple[Classes, ...]]:
    left, right, product = (labels[side] for side in _SIDES)
    return {
        "hook_left_pre": (Classes("right cosets", left, None, None),),
        "hook_right_pre": (Classes("left cosets", None, right, None),),
        "hook_pre": (Classes("both cosets", left, right, None),),
        "hook_post": (Classes("double cosets", None, None, product, groups),),
    }


# An FVU computed as a difference has an error of about 1e-15, too much for values below this.
_ROUNDED = 1e-8


@dataclass(frozen=True)
class _Neuron:
    subgroup: Subgroup
    conjugate: Subgroup
    x: int
    pairing: float
    passes: bool


class _Search:
    """Coset variances of all neurons on all subgroups, computed once.

    It uses NumPy: on thousands of small arrays torch's threads would only wait for each other.
    """

    def __init__(
        self,
        group: FiniteGroup,
        subgroups: list[Subgroup],
        tables: Tables,
        thresholds: Thresholds,
    ) -> None:
        self.group, self.subgroups = group, subgroups
        self.left_table, self.right_table = tables.left.numpy(), tables.right.numpy()
        self.threshold = thresholds.fvu
        self.position = {h: i for i, h in enumerate(subgroups)}
        self.left = coset_fvus(group, subgroups, tables.left, "right").numpy()
        self.right = coset_fvus(group, subgroups, tables.right, "left").numpy()
        self.orders = np.array([h.order for h in subgroups])
        null = (group.order - group.order / self.orders) / (group.order - 1)
        self.ratio = (self.left + self.right) / null[:, None]

    def neuron(self, j: int) -> _Neuron:
        """The largest subgroup that passes on both sides; if none does, the best one as a note."""
        passing = np.flatnonzero(self.left[:, j] < self.threshold)
        for order in sorted(set(self.orders[passing]), reverse=True):
            pairs = [self._pair(j, self.subgroups[i]) for i in passing if self.orders[i] == order]
            pairs = [pair for pair in pairs if pair.passes]
            if pairs:
                return min(pairs, key=lambda pair: pair.pairing)
        # No subgroup passes. The FVU alone would always favour a tiny subgroup; its ratio to the
        # null value does not.
        best = self.subgroups[int(self.ratio[:, j].argmin())]
        return replace(self._pair(j, best), passes=False)

    def _pair(self, j: int, subgroup: Subgroup) -> _Neuron:
        """The neuron with the x that best pairs R with L, and whether R passes on x⁻¹Hx."""
        labels = subgroup.right_cosets.numpy()
        representatives = np.unique(labels, return_index=True)[1]
        left, right = _cell_means(self.left_table[:, j], labels), self.right_table[:, j]
        mirrored = left[self.group.array[representatives][:, self.group.inverse_array]]
        errors = np.square(right + mirrored).sum(1) / max(np.square(right).sum(), 1e-300)
        x = int(representatives[int(errors.argmin())])
        conjugate = subgroup.conjugate(x)
        passes = bool(self.right[self.position[conjugate], j] < self.threshold)
        return _Neuron(subgroup, conjugate, x, float(errors.min()), passes)

    def described(self, j: int, subgroup: Subgroup, x: int, passes: bool) -> _Neuron:
        """A neuron with a given subgroup and x."""
        left = _cell_means(self.left_table[:, j], subgroup.right_cosets.numpy())
        mirrored = -left[self.group.array[x, self.group.inverse_array]]
        right = self.right_table[:, j]
        error = np.square(right - mirrored).sum() / max(np.square(right).sum(), 1e-300)
        return _Neuron(subgroup, subgroup.conjugate(x), x, float(error), passes)

    def concentration(self) -> np.ndarray:
        """Each neuron's least concentration C over all subgroups (Fig. 5 of Stander et al.).

        The less concentrated side counts, so a neuron with one random side is not concentrated.
        """
        index = self.group.order / self.orders[:, None]
        return np.maximum((index * self.left).min(0), (index * self.right).min(0))

    def paired(self, left: Float[Tensor, "order"], x: int) -> Float[Tensor, "order"]:
        """The right table that follows from L by pairing: −L(x b⁻¹)."""
        return -left[self.group.table[x, self.group.inverses]]


def coset_fvu(
    table: Float[Tensor, "order d_mlp"], labels: Int[Tensor, "order"]
) -> Float[Tensor, "d_mlp"]:
    """Mean within-coset variance over variance: Stander et al.'s concentration over the index."""
    return torch.from_numpy(_cell_fvu(table.detach().double().cpu().numpy(), labels.numpy()))


def coset_fvus(
    group: FiniteGroup,
    subgroups: Sequence[Subgroup],
    table: Float[Tensor, "order d_mlp"],
    cosets: Literal["left", "right"],
) -> Float[Tensor, "subgroups d_mlp"]:
    """``coset_fvu`` of every column on the left or right cosets of many subgroups at once.

    The coset means of f have the energy (1/|H|) Σ_{h∈H} A(h), with A(h) = Σ_g f(g) f(hg) for right
    cosets and Σ_g f(g) f(gh) for left cosets. So each A(h) is computed once for all subgroups.
    """
    values = table.detach().double().cpu().numpy()
    centred = values - values.mean(0)
    total = np.square(centred).sum(0)
    overlaps = np.empty_like(centred)
    for h, inverse in enumerate(group.inverse_array):
        if h <= inverse:
            moved = centred[group.array[h] if cosets == "right" else group.array[:, h]]
            overlaps[h] = overlaps[inverse] = einsum(moved, centred, "g neuron, g neuron -> neuron")
    fvus = np.zeros((len(subgroups), len(total)))
    for row, subgroup in zip(fvus, subgroups, strict=True):
        energy = overlaps[subgroup.array].mean(0)
        np.divide(total - energy, total, out=row, where=total > 0)
        # The difference of nearly equal numbers is mostly rounding error.
        rounded = np.flatnonzero((row < _ROUNDED) & (total > 0))
        if len(rounded):
            labels = subgroup.right_cosets if cosets == "right" else subgroup.left_cosets
            row[rounded] = _cell_fvu(values[:, rounded], labels.numpy())
    return torch.from_numpy(fvus)


def cell_means(
    table: Float[Tensor, "order ..."], labels: Int[Tensor, "order"]
) -> Float[Tensor, "order ..."]:
    """Replace every value by the mean of its cell."""
    return torch.from_numpy(_cell_means(table.numpy(), labels.numpy()))


def _cell_fvu(table: np.ndarray, labels: np.ndarray) -> np.ndarray:
    total = np.square(table - table.mean(0)).sum(0)
    left = np.square(table - _cell_means(table, labels)).sum(0)
    return np.divide(left, total, out=np.zeros_like(total), where=total > 0)


def _cell_means(table: np.ndarray, labels: np.ndarray) -> np.ndarray:
    by_cell = labels.argsort(kind="stable")
    sizes = np.bincount(labels)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    sums = np.add.reduceat(table[by_cell], starts, axis=0)
    return (sums / sizes.reshape(-1, *[1] * (table.ndim - 1)))[labels]


def concentration(
    table: Float[Tensor, "order d_mlp"], labels: Int[Tensor, "order"]
) -> Float[Tensor, "d_mlp"]:
    """Coset concentration exactly as in Stander et al.: Σ over cosets of Var[f|coset]/Var[f].

    The sum is unweighted, so for random f its mean is [G:H]·(n−[G:H])/(n−1), not 1.
    """
    return coset_fvu(table, labels) * (int(labels.max()) + 1)


def _roles(
    tables: Tables, fitted: Tables, neurons: list[_Neuron], skip: np.ndarray, search: _Search
) -> Roles:
    """Roles with the FVUs of the neuron's cosets; of the best cosets if no subgroup passes."""
    names = [
        NEGLIGIBLE if dull else neuron.subgroup.name if neuron.passes else UNEXPLAINED
        for neuron, dull in zip(neurons, skip, strict=True)
    ]
    at = [search.position[neuron.subgroup] for neuron in neurons]
    conjugate_at = [search.position[neuron.conjugate] for neuron in neurons]
    every = range(len(neurons))
    return Roles(
        tuple(names),
        torch.from_numpy(search.left[at, every]),
        torch.from_numpy(search.right[conjugate_at, every]),
        fvu(tables.unembed, fitted.unembed),
        _notes(neurons, search),
    )


def _notes(neurons: Sequence[_Neuron], search: _Search) -> dict[str, list[Any]]:
    places = {h: i for i, h in enumerate(search.group.subgroups)}
    return {
        "subgroup": [neuron.subgroup.name for neuron in neurons],
        "conjugator": [search.group.labels[neuron.x] for neuron in neurons],
        "subgroup_index": [places[neuron.subgroup] for neuron in neurons],
        "conjugator_index": [neuron.x for neuron in neurons],
        "pairing_error": [neuron.pairing for neuron in neurons],
        "concentration": search.concentration().tolist(),
    }
