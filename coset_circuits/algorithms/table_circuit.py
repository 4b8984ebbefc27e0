"""Circuits that replace each neuron's left table, right table and unembedding."""

from __future__ import annotations

import html
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from coset_circuits.algorithms.algorithm import (
    NEGLIGIBLE,
    Algorithm,
    Classes,
    DescriptionLength,
    DoesNotApplyError,
    Roles,
    Tables,
    description_length,
    residuals,
)
from coset_circuits.errors import CosetCircuitsError
from coset_circuits.networks.losses import loss_and_accuracy
from coset_circuits.networks.model import GroupModel
from coset_circuits.thresholds import Thresholds

TABLE_CLAIMS = frozenset({"left", "right", "unembed"})
CLAIMS = TABLE_CLAIMS | {"even"}
_ROUNDING = 1e-6
"""How far a residual may be off, as a fraction of a table's variance."""


def check_additive(network: GroupModel, thresholds: Thresholds) -> None:
    """Check that a network's pre-activations are sums of a left and a right table.

    Every hypothesis about tables assumes this; attention can violate it.

    Raises:
        DoesNotApplyError: the interaction is larger than the threshold; the message says what
            the network loses without it.
    """
    interaction = 1 - network.additive_share
    if interaction <= thresholds.interaction:
        return
    left, right, unembed = Tables.of(network)
    additive = network.with_tables(left, right, unembed.T, label="additive")
    pairs = network.group.pairs()
    loss, before = loss_and_accuracy(network, pairs)
    lost, after = loss_and_accuracy(additive, pairs)
    raise DoesNotApplyError(
        f"{interaction:.1%} of the variance of {network.label}'s pre-activations is an interaction "
        f"of its two inputs (at most {thresholds.interaction:.0%} is allowed), so they are "
        f"not a sum of a left and a right table. Without the interaction the accuracy goes from "
        f"{before:.1%} to {after:.1%} and the loss from {loss:.2g} to {lost:.2g} nats."
    )


@dataclass
class TableCircuit:
    """A fitted hypothesis about the three tables; the network's activation is kept.

    The claims ``left``, ``right`` and ``unembed`` each replace one table. The claim ``even`` says
    that the linear half of the activation cancels in the logits, so only the even half matters.

    Attributes:
        fitted: the tables according to the hypothesis.
        residual: fraction of variance of each neuron's tables that ``fitted`` does not explain.
        structure: the bits that name each neuron's structure.
        levels: the number of free numbers of each neuron.
        site_classes: for each site, the classes it may depend on.
        algorithm: the algorithm that was fitted, so that a control can refit it.
        directions: for each irrep that is read, how many dimensions all neurons' directions a in
            aᵀρ(g)b need, and how many the irrep has over its division algebra.
        shared: errors of functions that all neurons share, as fractions of a table's variance. They
            are in the network's tables but neither in ``fitted`` nor in ``residual``, and are
            coded once.

    Raises:
        CosetCircuitsError: structure, levels or residual are not one number (three) a neuron of 0
            or more, or the residual is not what ``fitted`` leaves of the tables.
    """

    name: str
    network: GroupModel
    roles: Roles
    fitted: Tables
    residual: Float[Tensor, "d_mlp 3"]
    structure: Float[Tensor, "d_mlp"]
    levels: Float[Tensor, "d_mlp"]
    default_claims: frozenset[str] = TABLE_CLAIMS
    site_classes: dict[str, tuple[Classes, ...]] = field(default_factory=dict)
    seen: frozenset[str] = frozenset()
    algorithm: Algorithm | None = None
    directions: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    shared: Float[Tensor, "functions"] | None = None

    def __post_init__(self) -> None:
        # A user's hypothesis pays what it says here, so a mistake would make it shorter.
        self.network.check_names(self.site_classes)
        order, width = self.network.group.order, self.network.d_mlp
        shapes = {"structure": (width,), "levels": (width,), "residual": (width, 3)}
        for name, shape in shapes.items():
            held = getattr(self, name)
            if tuple(held.shape) != shape or not (held >= -_ROUNDING).all() or held.isinf().any():
                raise CosetCircuitsError(
                    f"The {name} of {self.name} must be finite numbers from 0 up of shape {shape}; "
                    f"given are numbers from {float(held.min()):.3g} to {float(held.max()):.3g} "
                    f"of shape {tuple(held.shape)}."
                )
        if any(fit.shape != (order, width) for fit in self.fitted):
            raise CosetCircuitsError(
                f"The fitted tables of {self.name} have shapes "
                f"{', '.join(str(tuple(fit.shape)) for fit in self.fitted)}; each must have that "
                f"of the network's, {(order, width)}."
            )
        if self.shared is None:
            self._check_residual()

    def _check_residual(self) -> None:
        tables = Tables.of(self.network)
        # In a constant table what is left is one rounding error over another.
        varies = [t.var(0, correction=0) > 1e-20 * t.square().mean(0) for t in tables]
        off = (residuals(tables, self.fitted) - self.residual).abs() * torch.stack(varies, 1)
        if off.max() > _ROUNDING:
            raise CosetCircuitsError(
                f"The residual of {self.name} is not what its fitted tables leave of the "
                f"network's: they differ by {float(off.max()):.2g} of a table's variance; give "
                "residuals(tables, fitted), and put fitted tables in the network's order."
            )

    @property
    def silent(self) -> frozenset[str]:
        return self.network.before_tables

    def surrogate(self, claims: Collection[str] | None = None) -> GroupModel:
        """The hooked module that computes only what is claimed, on the network's device and dtype.

        Raises:
            CosetCircuitsError: the hypothesis does not make one of the claims.
        """
        wanted = self.default_claims if claims is None else frozenset(claims)
        if not wanted <= CLAIMS:
            raise CosetCircuitsError(
                f"{self.name} does not claim {', '.join(sorted(wanted - CLAIMS))}; its claims are "
                f"{', '.join(sorted(CLAIMS))}."
            )
        network = self.network
        surrogate = network.with_tables(
            self.fitted.left if "left" in wanted else network.left_table.detach(),
            self.fitted.right if "right" in wanted else network.right_table.detach(),
            self.fitted.unembed.T if "unembed" in wanted else network.W_U.detach(),
            label=self.name,
            silent=self.silent,
            source=f"surrogate of {network.label} under {self.name}",
        )
        surrogate.reference_scale = network.pre_scale.detach()
        if "even" in wanted:
            surrogate.cancel_linear_half()
        return surrogate

    def classes(self, site: str) -> tuple[Classes, ...]:
        return self.site_classes.get(site, ())

    def description_length(self, relative_error: float = 0.1) -> DescriptionLength:
        return description_length(
            relative_error,
            order=self.network.group.order,
            structure=self.structure,
            levels=self.levels,
            unexplained=self.residual,
            shared=self.shared,
            counted=np.array([name != NEGLIGIBLE for name in self.roles.names]),
        )

    def __repr__(self) -> str:
        roles = ", ".join(f"{r['neurons']} {r['role']}" for r in self.roles.summary())
        return f"Circuit({self.name} of {self.network.label}: {roles})"

    def _repr_html_(self) -> str:
        title = html.escape(f"{self.name} of {self.network.label}")
        return f"<p>{title}</p>{self.roles._repr_html_()}"
