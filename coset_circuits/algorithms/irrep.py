"""Group composition via representations (GCR), Chughtai et al. (arXiv 2302.03025), as a circuit.

There are two variants. *projected* is the stronger one: each neuron keeps its ReLU, and its tables
are projected on the functions of its irreps. *bilinear* is the paper's description: ρ(a) and ρ(b)
are decoded from the pre-activations and multiplied, and α_ρ χ_ρ(abc⁻¹) is written to the logits.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from coset_circuits.algorithms.algorithm import (
    NEGLIGIBLE,
    UNEXPLAINED,
    Circuit,
    Classes,
    DoesNotApplyError,
    Roles,
    Tables,
    fitted_frame,
    negligible,
    residuals,
)
from coset_circuits.algorithms.bilinear import fit_bilinear
from coset_circuits.algorithms.blocks import block_shares, kernel_cosets
from coset_circuits.algorithms.claims import claims_suffix, named_claims
from coset_circuits.algorithms.coded import CodedNetwork
from coset_circuits.algorithms.counting import IRREPS
from coset_circuits.algorithms.joint import jointly
from coset_circuits.algorithms.table_circuit import (
    CLAIMS,
    TABLE_CLAIMS,
    TableCircuit,
    check_additive,
)
from coset_circuits.groups import FiniteGroup, RealBlock
from coset_circuits.networks.model import GroupModel
from coset_circuits.thresholds import DEFAULT, Thresholds


@dataclass(frozen=True)
class IrrepAlgorithm:
    """Each neuron uses only a few irreps (GCR, Chughtai et al., arXiv 2302.03025).

    The variant *projected* keeps each neuron's ReLU and projects its tables on its irreps.
    *bilinear* decodes ρ(a) and ρ(b), multiplies them and writes α_ρ χ_ρ(abc⁻¹) to the logits.

    A neuron's irreps are added, strongest first, until less than a threshold of the variance of
    both tables is unexplained. A neuron that needs more functions than half the order is
    unexplained: that is the most levels that the cosets of a non-trivial subgroup can have.

    Attributes:
        variant: ``projected`` or ``bilinear``.
        even: also claim that the linear half of the activation cancels (``projected`` only).
        joint: fit the unembedding's coefficients jointly, not neuron by neuron (``projected``
            only).
        single: allow each neuron only one irrep, the narrow form of the hypothesis.
        relative_error: if given, use the strongest form at this precision (``projected`` only).
            Each neuron gets the irreps, and the rank of each coefficient matrix, with the shortest
            description.
    """

    variant: Literal["projected", "bilinear"] = "projected"
    even: bool = False
    joint: bool = False
    single: bool = False
    relative_error: float | None = None
    thresholds: Thresholds = DEFAULT

    @property
    def hypothesis(self) -> str:
        return "irrep" if self.variant == "projected" else "bilinear"

    @property
    def noun(self) -> str:
        return "irreps" if self.variant == "projected" else "GCR"

    @property
    def name(self) -> str:
        single = "-single" if self.single else ""
        return f"irrep-{self.variant}{single}{claims_suffix(self.claims)}"

    @property
    def short_name(self) -> str:
        return "bilin" if self.variant == "bilinear" else "proj"

    @property
    def claims(self) -> tuple[str, ...]:
        return named_claims(self)

    def fit(self, network: GroupModel, group: FiniteGroup | None = None) -> Circuit:
        """Fit the hypothesis: find every neuron's irreps.

        Raises:
            DoesNotApplyError: the group has only the trivial irrep, or the network's
                pre-activations are not additive.
        """
        base, frame = fitted_frame(network, group)
        blocks = [block for block in base.real_blocks if block.name != base.real_blocks[0].name]
        if not blocks:
            raise DoesNotApplyError(
                f"{base.name} has only the trivial irrep; the irrep hypothesis does not apply."
            )
        check_additive(network, self.thresholds)
        tables = Tables.of(network, frame)
        if self.variant == "bilinear":
            return fit_bilinear(self, network, group, blocks, tables, self.thresholds)
        if self.relative_error is not None:
            return self._fit_shortest(network, group)
        return self._fit_projected(network, base, blocks, tables)

    def _fit_shortest(self, network: GroupModel, group: FiniteGroup | None) -> TableCircuit:
        coded = CodedNetwork.of(self, network, group, IRREPS)
        (code,), blocks = coded.codes, list(coded.coder.blocks[1:])
        explained = coded.explained(code)
        read = [tuple(b - 1 for b in found) for found in code.blocks]
        names = coded.names(explained, [blocks[i[0]].name if i else "" for i in read])
        members: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for j, (found, known) in enumerate(zip(read, explained, strict=True)):
            members[tuple(sorted(found)) if known else ()].append(j)
        notes = _notes(block_shares(coded.tables, blocks), blocks, read)
        classes = _site_classes(blocks, members, names, coded.tables)
        return coded.circuit(self, code, names, classes, notes)

    def _fit_projected(
        self,
        network: GroupModel,
        base: FiniteGroup,
        blocks: list[RealBlock],
        tables: Tables,
    ) -> TableCircuit:
        shares = block_shares(tables, blocks)
        skip = negligible(tables, self.thresholds)
        fitted = tables.means()
        names: list[str] = []
        used: list[list[int]] = []
        bases: dict[tuple[int, ...], Tensor] = {}
        members: dict[tuple[int, ...], list[int]] = defaultdict(list)
        structure = torch.zeros(len(skip), dtype=torch.float64)
        levels = torch.full((len(skip),), 3.0, dtype=torch.float64)
        for j, dull in enumerate(skip):
            chosen = [] if dull else self._chosen(shares[:, :, j], blocks, base.order)
            names.append(NEGLIGIBLE if dull else blocks[chosen[0]].name if chosen else UNEXPLAINED)
            used.append(chosen)
            key = tuple(sorted(chosen))
            members[key].append(j)
            if not chosen:
                continue
            if key not in bases:
                bases[key] = torch.cat([blocks[i].basis for i in key], 1)
            basis = bases[key]
            for measured, table in zip(tables, fitted, strict=True):
                table[:, j] += basis @ (basis.T @ measured[:, j])
            structure[j] = len(chosen) * np.log2(len(blocks))
            levels[j] += 3 * basis.shape[1]
        residual = residuals(tables, fitted)
        notes = _notes(shares, blocks, used)
        circuit = TableCircuit(
            name=self.name,
            network=network,
            roles=Roles.of(names, residual, notes),
            fitted=tables.back(fitted),
            residual=residual,
            structure=structure,
            levels=levels,
            default_claims=CLAIMS if self.even else TABLE_CLAIMS,
            site_classes=_site_classes(blocks, members, names, tables),
            algorithm=self,
        )
        if not self.joint:
            return circuit
        backward = torch.argsort(tables.frame)
        own_order = {key: basis[backward] for key, basis in bases.items()}
        allowed = _on_irreps(own_order, members)
        return jointly(circuit, allowed, self.thresholds.joint_noise)

    def _chosen(
        self, shares: Float[Tensor, "3 blocks"], blocks: list[RealBlock], order: int
    ) -> list[int]:
        """The fewest irreps, strongest first, that explain both tables; [] if too many."""
        chosen: list[int] = []
        left = right = 1.0
        for i in (shares[0] + shares[1]).argsort(descending=True).tolist():
            chosen.append(i)
            left -= float(shares[0, i])
            right -= float(shares[1, i])
            if sum(blocks[k].parameters for k in chosen) > order // 2:
                return []
            if max(left, right) < self.thresholds.fvu:
                return chosen
            if self.single:
                return []
        return []


def _notes(
    shares: Float[Tensor, "3 blocks d_mlp"],
    blocks: Sequence[RealBlock],
    used: Sequence[Sequence[int]],
) -> dict[str, list[Any]]:
    left, right, _ = shares
    strongest = (left + right).argmax(0)
    every = torch.arange(len(used))
    return {
        "irreps": ["+".join(blocks[i].name for i in chosen) for chosen in used],
        "strongest": [blocks[i].name for i in strongest.tolist()],
        "share_left": left[strongest, every].tolist(),
        "share_right": right[strongest, every].tolist(),
    }


def _on_irreps(
    bases: Mapping[tuple[int, ...], Tensor], members: Mapping[tuple[int, ...], list[int]]
) -> Callable[[Tensor], Tensor]:
    """The projection of each column of a table on its irreps; the mean is kept."""

    def project(table: Tensor) -> Tensor:
        result = table.mean(0).expand_as(table).clone()
        for key, basis in bases.items():
            columns = members[key]
            like = basis.to(table.device)
            result[:, columns] += like @ (like.T @ table[:, columns])
        return result

    return project


def _site_classes(
    blocks: list[RealBlock],
    members: Mapping[tuple[int, ...], list[int]],
    names: Sequence[str],
    tables: Tables,
) -> dict[str, tuple[Classes, ...]]:
    """The site classes: a neuron can distinguish two elements only if one of its irreps does.

    Neurons with the same leading irrep are a cluster: together they represent ρ(ab).
    """
    labels = torch.zeros(tables.left.shape, dtype=torch.int64)
    for key, columns in members.items():
        if key:
            labels[:, columns] = kernel_cosets([blocks[i] for i in key])[:, None]
    labels = labels[torch.argsort(tables.frame)]
    by_role: dict[str, list[int]] = defaultdict(list)
    for j, name in enumerate(names):
        by_role[name].append(j)
    dull = (NEGLIGIBLE, UNEXPLAINED)
    clusters = tuple(tuple(columns) for name, columns in by_role.items() if name not in dull)
    return {
        "hook_left_pre": (Classes("kernels", labels, None, None),),
        "hook_right_pre": (Classes("kernels", None, labels, None),),
        "hook_pre": (Classes("both kernels", labels, labels, None),),
        "hook_post": (Classes("ρ(ab) by cluster", None, None, labels, clusters),),
    }
