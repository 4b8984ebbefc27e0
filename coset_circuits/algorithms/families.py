"""Hypotheses between cosets and irreps, and mixtures that choose one for each neuron."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch

from coset_circuits.algorithms.algorithm import NEGLIGIBLE, UNEXPLAINED, Classes, Tables
from coset_circuits.algorithms.claims import claims_suffix, named_claims
from coset_circuits.algorithms.coded import CodedNetwork
from coset_circuits.algorithms.coder import Coded, Coder
from coset_circuits.algorithms.counting import BETWEEN, COSETS, IRREPS, RHO_SETS, Family
from coset_circuits.algorithms.table_circuit import TableCircuit
from coset_circuits.groups import FiniteGroup
from coset_circuits.networks.model import GroupModel
from coset_circuits.thresholds import DEFAULT, Thresholds


@dataclass(frozen=True)
class _Shortest:
    """The common fields of these hypotheses; :class:`CosetAlgorithm` explains them."""

    even: bool = False
    joint: bool = False
    relative_error: float | None = None
    thresholds: Thresholds = DEFAULT

    hypothesis: ClassVar[str]

    @property
    def name(self) -> str:
        return f"{self.hypothesis}{claims_suffix(self.claims)}"

    @property
    def claims(self) -> tuple[str, ...]:
        return named_claims(self)


@dataclass(frozen=True)
class CosetIrrepAlgorithm(_Shortest):
    """The family of hypotheses that has coset circuits and irreps as its extremes.

    A neuron reads Σ aᵀρ(g)b over irreps ρ and directions a, where b is in the space V^H that a
    subgroup H fixes. With all directions this is any function on cosets of H. With trivial H it is
    a function of low rank in its irreps.
    """

    hypothesis: ClassVar[str] = "coset-irrep"
    noun: ClassVar[str] = "functions between cosets and irreps"
    contains: ClassVar[tuple[str, ...]] = ("coset", "irrep", "rho-set")
    short_name: ClassVar[str] = "between"
    family: ClassVar[Family] = BETWEEN

    def fit(self, network: GroupModel, group: FiniteGroup | None = None) -> TableCircuit:
        """Fit the hypothesis: find every neuron's irreps and subgroup.

        Raises:
            DoesNotApplyError: the group has no proper non-trivial subgroup, or the network's
                pre-activations are not additive.
        """
        coded = CodedNetwork.of(self, network, group, self.family)
        (code,) = coded.codes
        roles = role_names(coded.coder, code)
        names = coded.names(coded.explained(code), roles)
        return coded.circuit(self, code, names, _site_classes(coded, code, names))


@dataclass(frozen=True)
class RhoSetAlgorithm(CosetIrrepAlgorithm):
    """The ρ-sets of Wu et al. (arXiv 2410.07476): one irrep, one direction a, two vectors of B.

    L(g) = aᵀρ(g⁻¹)b, R(g) = −aᵀρ(g)b′ and U(g) = u·bᵀρ(g)b′ up to constants. Here b and b′ are in
    one orbit B = {ρ(g)b} of a vector that some proper non-trivial subgroup H fixes. If H fixes more
    than a line (V4 in S4), b is free within V^H and its coordinates cost bits. Complex and
    quaternionic irreps are counted over their division algebras.
    """

    hypothesis: ClassVar[str] = "rho-set"
    noun: ClassVar[str] = "ρ-sets"
    contains: ClassVar[tuple[str, ...]] = ()
    short_name: ClassVar[str] = "rho-set"
    family: ClassVar[Family] = RHO_SETS


@dataclass(frozen=True)
class MixedAlgorithm(_Shortest):
    """Each neuron uses the hypothesis with the shortest description; the choice costs bits too."""

    hypothesis: ClassVar[str] = "mixed"
    noun: ClassVar[str] = "mixtures of cosets, irreps and ρ-sets"
    contains: ClassVar[tuple[str, ...]] = ("coset", "irrep", "rho-set")
    parts: ClassVar[tuple[tuple[str, Family], ...]] = (
        ("coset", COSETS),
        ("irrep", IRREPS),
        ("rho-set", RHO_SETS),
    )

    def fit(self, network: GroupModel, group: FiniteGroup | None = None) -> TableCircuit:
        """Fit the mixture: find every neuron's hypothesis and its structure.

        Raises:
            DoesNotApplyError: the group has no proper non-trivial subgroup, or the network's
                pre-activations are not additive.
        """
        coded = CodedNetwork.of(self, network, group, *(family for _, family in self.parts))
        chosen = np.stack([code.bits for code in coded.codes]).argmin(0)
        code = _joined(coded.codes, chosen)
        every = [role_names(coded.coder, one) for one in coded.codes]
        roles = [f"{self.parts[k][0]}: {every[k][j]}" for j, k in enumerate(chosen)]
        names = coded.names(coded.explained(code), roles)
        return coded.circuit(self, code, names, _site_classes(coded, code, names))


def role_names(coder: Coder, code: Coded) -> list[str]:
    """Role names: the leading irrep of each neuron and, if any, the subgroup that fixes its b."""
    names = []
    for blocks, h in zip(code.blocks, code.subgroup, strict=True):
        irrep = coder.blocks[blocks[0]].name if blocks else ""
        names.append(irrep if h == coder.trivial else f"{irrep} on {coder.subgroups[h].name}")
    return names


def _joined(codes: Sequence[Coded], chosen: np.ndarray) -> Coded:
    """The chosen description of each neuron, plus the bits that name the choice."""
    every = np.arange(len(chosen))
    naming = float(np.log2(len(codes)))

    def pick(arrays: Sequence[np.ndarray]) -> np.ndarray:
        return np.stack(arrays)[chosen, every]

    columns = torch.from_numpy(chosen), torch.from_numpy(every)
    left, right, unembed = (
        torch.stack(sides, 0).permute(0, 2, 1)[columns].T.contiguous()
        for sides in zip(*(code.fitted for code in codes), strict=True)
    )
    first = codes[0]
    return replace(
        first,
        bits=pick([code.bits for code in codes]) + naming,
        structure=pick([code.structure for code in codes]) + naming,
        levels=pick([code.levels for code in codes]),
        residual=pick([code.residual for code in codes]),
        fitted=Tables(left, right, unembed, first.fitted.frame),
        subgroup=pick([code.subgroup for code in codes]),
        x=pick([code.x for code in codes]),
        blocks=[codes[k].blocks[j] for j, k in enumerate(chosen)],
        reads=[pick(parts) for parts in zip(*(code.reads for code in codes), strict=True)],
        writes=[pick(parts) for parts in zip(*(code.writes for code in codes), strict=True)],
        # The hypotheses that use shared errors all use the same ones.
        shared=max((codes[k].shared for k in set(chosen.tolist())), key=len),
    )


def _site_classes(
    coded: CodedNetwork, code: Coded, names: Sequence[str]
) -> dict[str, tuple[Classes, ...]]:
    """The site classes: a neuron may depend only on the cosets of its H and K."""
    left, right = torch.zeros(2, *coded.tables.left.shape, dtype=torch.int64)
    for j, (h, x, name) in enumerate(zip(code.subgroup, code.x, names, strict=True)):
        if name not in (NEGLIGIBLE, UNEXPLAINED):
            subgroup = coded.coder.subgroups[h]
            left[:, j] = subgroup.right_cosets
            right[:, j] = subgroup.conjugate(int(x)).left_cosets
    backward = torch.argsort(coded.tables.frame)
    left, right = left[backward], right[backward]
    return {
        "hook_left_pre": (Classes("right cosets", left, None, None),),
        "hook_right_pre": (Classes("left cosets", None, right, None),),
        "hook_pre": (Classes("both cosets", left, right, None),),
    }
