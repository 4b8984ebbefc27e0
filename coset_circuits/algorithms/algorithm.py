"""The interface: an Algorithm, fitted to a network, gives a Circuit that can be run and hooked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from coset_circuits.errors import CosetCircuitsError, brief
from coset_circuits.groups import FiniteGroup, Subgroup
from coset_circuits.groups import group as named_group
from coset_circuits.networks.model import GroupModel, check_network
from coset_circuits.thresholds import Thresholds

UNEXPLAINED = "unexplained"
NEGLIGIBLE = "negligible"
SEEN_LOGITS = "logits"
"""Marks a fit that has used the network's logits on unchanged inputs."""


class DoesNotApplyError(CosetCircuitsError):
    """The hypothesis does not apply to this group or network; the message says why."""


@dataclass(frozen=True)
class Roles:
    """The role of each neuron under a hypothesis, one row per neuron.

    Attributes:
        names: the role of each neuron; ``unexplained`` and ``negligible`` are always possible.
        fvu_left: fraction of variance of the left table that the role leaves unexplained.
        fvu_right: the same for the right table.
        fvu_unembed: the same for the unembedding row.
        notes: further columns, one value per neuron.
    """

    names: tuple[str, ...]
    fvu_left: Float[Tensor, "d_mlp"]
    fvu_right: Float[Tensor, "d_mlp"]
    fvu_unembed: Float[Tensor, "d_mlp"]
    notes: Mapping[str, Sequence[Any]]

    @classmethod
    def of(
        cls,
        names: Sequence[str],
        residual: Float[Tensor, "d_mlp 3"],
        notes: Mapping[str, Sequence[Any]] | None = None,
    ) -> Roles:
        """Make roles with the FVUs of a fit of left table, right table and unembedding."""
        left, right, unembed = residual.T
        return cls(tuple(names), left, right, unembed, notes or {})

    def to_dataframe(self) -> pd.DataFrame:
        """The roles as a table, one row per neuron."""
        return pd.DataFrame(
            {
                "neuron": range(len(self.names)),
                "role": self.names,
                "fvu_left": self.fvu_left.numpy(),
                "fvu_right": self.fvu_right.numpy(),
                "fvu_unembed": self.fvu_unembed.numpy(),
                **self.notes,
            }
        )

    def summary(self) -> list[dict[str, Any]]:
        """Roles with neuron counts and median FVUs: the commonest first, unexplained ones last."""
        columns = ("fvu_left", "fvu_right", "fvu_unembed")
        fvus = np.stack([getattr(self, column).numpy() for column in columns], axis=1)
        names, rows = np.array(self.names), []
        for role, neurons in Counter(self.names).items():
            medians = np.median(fvus[names == role], axis=0).tolist()
            rows.append(
                {"role": role, "neurons": neurons, **dict(zip(columns, medians, strict=True))}
            )
        dull = {UNEXPLAINED: 1, NEGLIGIBLE: 2}
        return sorted(rows, key=lambda r: (dull.get(r["role"], 0), -r["neurons"], r["role"]))

    @property
    def coverage(self) -> float:
        """The share of non-negligible neurons that the hypothesis gives a role."""
        salient = [name for name in self.names if name != NEGLIGIBLE]
        return sum(name != UNEXPLAINED for name in salient) / max(1, len(salient))

    def _repr_html_(self) -> str:
        return pd.DataFrame(self.summary()).to_html(index=False)


@dataclass(frozen=True)
class Classes:
    """The information that a site may depend on: an input's cell (left[a], right[b], product[ab]).

    Attributes:
        name: a description of the classes, for reports.
        left, right, product: integer labels of elements, one column per neuron; None if the
            cell does not depend on that element.
        groups: sets of neurons that share one donor input, drawn from the intersection of their
            cells; None if each neuron has its own donor.
    """

    name: str
    left: Int[Tensor, "order d_mlp"] | None
    right: Int[Tensor, "order d_mlp"] | None
    product: Int[Tensor, "order d_mlp"] | None
    groups: tuple[tuple[int, ...], ...] | None = None


@dataclass(frozen=True)
class DescriptionLength:
    """The bits needed to describe a network's tables and unembedding to a relative error δ.

    ``structure`` counts the choices (which subgroup, which irrep). ``levels`` counts the free
    numbers, at log2(1/δ) bits each. ``residual`` counts the rest of each table, at
    (order/2)·log2(1 + FVU/δ²) bits. All three are totals over the ``neurons`` that are not
    negligible.
    """

    relative_error: float
    structure: float
    levels: float
    residual: float
    neurons: int

    @property
    def bits(self) -> float:
        """In all."""
        return self.structure + self.levels + self.residual

    @property
    def bits_per_neuron(self) -> float:
        return self.bits / max(1, self.neurons)


@runtime_checkable
class Circuit(Protocol):
    """An algorithm fitted to one network."""

    name: str
    network: GroupModel
    roles: Roles
    default_claims: frozenset[str]
    seen: frozenset[str]
    """What the fit has used besides the weights, such as :data:`SEEN_LOGITS`. Experiments that only
    reproduce it are not evidence for the fit."""
    algorithm: Algorithm | None
    """The algorithm that was fitted, so that a control can refit it; None if unknown."""

    @property
    def silent(self) -> frozenset[str]:
        """The sites at which the hypothesis makes no prediction."""
        ...

    def surrogate(self, claims: Collection[str] | None = None) -> GroupModel:
        """A hooked module with the network's sites that computes only what is claimed.

        Parts that are not among ``claims`` are taken from the network.
        """
        ...

    def classes(self, site: str) -> tuple[Classes, ...]:
        """The classes that the site may depend on; () if the hypothesis makes no claim about it."""
        ...

    def description_length(self, relative_error: float = 0.1) -> DescriptionLength: ...


@runtime_checkable
class Algorithm(Protocol):
    """A hypothesis before it meets a network.

    An algorithm may also have these attributes:

    - ``claims``: the further claims of this form, such as ``even``;
    - ``noun``: the hypothesis's name in a sentence, such as ``coset circuits``; by default its key;
    - ``contains``: the keys of hypotheses that are special cases of this one;
    - ``short_name``: at most seven characters, for the columns of a table;
    - ``relative_error``, a dataclass field of type ``float | None``: the precision, in standard
      deviations, at which each neuron's structure is chosen by bits. If it is None, a comparison
      fits at the network's fidelity point, and other callers at ``Thresholds.coding_error``.
    """

    @property
    def name(self) -> str: ...

    def fit(self, network: GroupModel, group: FiniteGroup | None = None) -> Circuit:
        """Fit the hypothesis to a network.

        A ``group`` other than ``network.group`` is the relabelled control: the hypothesis looks
        for its structure in a renumbered group. Labels always come from ``network.group``.

        Raises:
            DoesNotApplyError: the hypothesis does not apply to this group or network.
        """
        ...


@dataclass(frozen=True)
class Tables:
    """The three tables of a network in float64, in the element order of a fitted group.

    Fitting under a relabelled group is the same as fitting permuted tables under the original
    group: ``frame[i]`` is the network's number for the fit's element i.
    """

    left: Float[Tensor, "order d_mlp"]
    right: Float[Tensor, "order d_mlp"]
    unembed: Float[Tensor, "order d_mlp"]
    frame: Int[Tensor, "order"]

    @classmethod
    def of(cls, network: GroupModel, frame: Int[Tensor, "order"] | None = None) -> Tables:
        check_network(network)
        left, right, unembed = (
            table.detach().double().cpu()
            for table in (network.left_table, network.right_table, network.W_U.T)
        )
        frame = torch.arange(len(left)) if frame is None else frame
        return cls(left[frame], right[frame], unembed[frame].contiguous(), frame)

    def back(self, fitted: Tables) -> Tables:
        """Convert tables fitted in this frame to the network's element order."""
        inverse = torch.argsort(self.frame)
        return Tables(
            fitted.left[inverse],
            fitted.right[inverse],
            fitted.unembed[inverse],
            torch.arange(len(inverse)),
        )

    def means(self) -> Tables:
        """Replace every column by its mean, as the surrogate does for an unexplained neuron."""
        left, right, unembed = (t.mean(0).expand_as(t).clone() for t in self)
        return Tables(left, right, unembed, self.frame)

    def __iter__(self) -> Iterator[Tensor]:
        return iter((self.left, self.right, self.unembed))


def check_circuit(given: Any) -> None:
    """Check that the argument is a fitted hypothesis.

    Raises:
        CosetCircuitsError: it is something else, such as a network or an unfitted algorithm.
    """
    if not isinstance(getattr(given, "network", None), GroupModel):
        raise CosetCircuitsError(
            f"{brief(given)} is not a circuit; fit a hypothesis first: "
            "cc.CosetAlgorithm().fit(network)."
        )


def fitted_frame(
    network: GroupModel, group: FiniteGroup | None
) -> tuple[FiniteGroup, Int[Tensor, "order"]]:
    """The group whose structure to fit, and the network's number for each of its elements.

    Raises:
        CosetCircuitsError: the group has another order than the network's.
    """
    check_network(network)
    group = network.group if group is None else named_group(group)
    if group.order != network.group.order:
        raise CosetCircuitsError(
            f"The group {group.name} has {group.order} elements but the network's group "
            f"{network.group.name} has {network.group.order}; give a control group of the same "
            "order."
        )
    if group.origin is None:
        return group, torch.arange(group.order)
    base, forward = group.origin
    return base, torch.from_numpy(forward)


def proper_subgroups(group: FiniteGroup, hypothesis: str) -> list[Subgroup]:
    """The proper non-trivial subgroups, whose cosets a hypothesis may use.

    Raises:
        DoesNotApplyError: the group has none.
    """
    found = [h for h in group.subgroups if not h.is_trivial and not h.is_whole]
    if not found:
        raise DoesNotApplyError(
            f"{group.name} of order {group.order} has no proper non-trivial subgroup, so there are "
            f"no cosets and {hypothesis} does not apply."
        )
    return found


def fvu(
    table: Float[Tensor, "order d_mlp"], fitted: Float[Tensor, "order d_mlp"]
) -> Float[Tensor, "d_mlp"]:
    """Fraction of each column's variance that a fit leaves unexplained; 0 for a constant column."""
    total = (table - table.mean(0)).square().sum(0)
    left = (table - fitted).square().sum(0)
    return torch.where(total > 0, left / total.clamp_min(1e-300), torch.zeros_like(left))


def residuals(tables: Tables, fitted: Tables) -> Float[Tensor, "d_mlp 3"]:
    """The FVU of each neuron's left table, right table and unembedding row."""
    return torch.stack([fvu(table, fit) for table, fit in zip(tables, fitted, strict=True)], 1)


def salience(tables: Tables) -> Float[Tensor, "d_mlp"]:
    """Each neuron's influence on the logits: std(pre-activation)·‖unembedding row‖."""
    spread = (tables.left.var(0, correction=0) + tables.right.var(0, correction=0)).sqrt()
    return spread * tables.unembed.norm(dim=0)


def negligible(tables: Tables, thresholds: Thresholds) -> np.ndarray:
    """Which neurons hardly affect the logits: their salience is far below the others' median."""
    values = salience(tables).numpy()
    if values.max() == 0:
        return np.ones(len(values), dtype=bool)
    usual = np.median(values[values > thresholds.salience * values.max()])
    return values < thresholds.salience * usual


def some_pairs(group: FiniteGroup, most: int) -> Int[Tensor, "pairs 2"]:
    """All pairs of a group, or a random sample if there are more."""
    pairs = group.pairs()
    if len(pairs) <= most:
        return pairs
    generator = torch.Generator().manual_seed(0)
    return pairs[torch.randperm(len(pairs), generator=generator)[:most]]


def description_length(
    relative_error: float,
    *,
    order: int,
    structure: Float[Tensor, "d_mlp"],
    levels: Float[Tensor, "d_mlp"],
    unexplained: Float[Tensor, "d_mlp tables"],
    counted: np.ndarray,
    shared: Float[Tensor, "functions"] | None = None,
) -> DescriptionLength:
    """The description length of a fit, summed over the ``counted`` neurons.

    Raises:
        CosetCircuitsError: the relative error is not between 0 and 1.
    """
    if not 0 < relative_error < 1:
        raise CosetCircuitsError(
            f"The relative error is {relative_error}; give a number between 0 and 1."
        )
    kept = torch.from_numpy(counted)
    level_bits = float(np.log2(1 / relative_error))

    def coded(left_over: Tensor) -> Tensor:
        return order / 2 * torch.log2(1 + left_over / relative_error**2)

    residual = coded(unexplained).sum(1)
    once = 0.0 if shared is None else coded(shared).sum()
    return DescriptionLength(
        relative_error,
        float(structure[kept].sum()),
        float(levels[kept].sum()) * level_bits,
        float(residual[kept].sum() + once),
        int(kept.sum()),
    )
