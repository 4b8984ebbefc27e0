"""Turn the shortest descriptions of a network's neurons into a circuit to run and hook."""

from __future__ import annotations

import hashlib
import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float
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
    proper_subgroups,
    residuals,
)
from coset_circuits.algorithms.coder import Coded, Coder, ScaledTables
from coset_circuits.algorithms.counting import Family
from coset_circuits.algorithms.joint import jointly
from coset_circuits.algorithms.table_circuit import (
    CLAIMS,
    TABLE_CLAIMS,
    TableCircuit,
    check_additive,
)
from coset_circuits.groups import FiniteGroup
from coset_circuits.networks.model import GroupModel
from coset_circuits.thresholds import Thresholds


@runtime_checkable
class CodingAlgorithm(Protocol):
    """An algorithm that chooses each neuron's structure by bits."""

    @property
    def name(self) -> str: ...

    @property
    def even(self) -> bool: ...

    @property
    def joint(self) -> bool: ...

    @property
    def relative_error(self) -> float | None: ...

    @property
    def thresholds(self) -> Thresholds: ...

    def fit(self, network: GroupModel, group: FiniteGroup | None = None) -> Circuit: ...


@dataclass(frozen=True)
class CodedNetwork:
    """A network's tables, and the shortest description of its neurons in one or more families.

    Attributes:
        tables: the network's tables, in the element order of the fitted group.
        codes: the description for each family.
        skip: the negligible neurons.
    """

    network: GroupModel
    tables: Tables
    coder: Coder
    codes: Sequence[Coded]
    skip: Bool[np.ndarray, "d_mlp"]
    thresholds: Thresholds

    @classmethod
    def of(
        cls,
        algorithm: CodingAlgorithm,
        network: GroupModel,
        group: FiniteGroup | None,
        *families: Family,
    ) -> CodedNetwork:
        """Describe a network.

        Raises:
            DoesNotApplyError: the group has only the trivial irrep, a family needs a proper
                non-trivial subgroup and there is none, or the pre-activations are not additive.
        """
        base, frame = fitted_frame(network, group)
        if base.order == 1:
            raise DoesNotApplyError(
                f"{base.name} has only the trivial irrep; {algorithm.name} does not apply."
            )
        if any(family.cosets for family in families):
            proper_subgroups(base, algorithm.name)
        thresholds = algorithm.thresholds
        check_additive(network, thresholds)
        tables = Tables.of(network, frame)
        skip = negligible(tables, thresholds)
        coder = Coder(base, algorithm.relative_error or thresholds.coding_error)
        described = _first_of(_Described(coder, tables, ~skip))
        codes = [described.code(family) for family in families]
        return cls(network, tables, coder, codes, skip, thresholds)

    @property
    def group(self) -> FiniteGroup:
        """The group whose structure is fitted."""
        return self.coder.group

    def explained(self, code: Coded) -> Bool[np.ndarray, "d_mlp"]:
        """The neurons whose left and right tables the description explains almost completely.

        The description must also be shorter than the tables themselves. An error that all neurons
        share does not count here, but the surrogate does not have it.
        """
        whole = 3 * self.group.order * self.coder.level
        covered = (code.residual[:, :2] < self.thresholds.fvu).all(1)
        reads = np.array([len(blocks) > 0 for blocks in code.blocks])
        return ~self.skip & covered & reads & (code.bits < whole)

    def names(self, explained: Bool[np.ndarray, "d_mlp"], roles: Sequence[str]) -> list[str]:
        """The role of each neuron, including ``unexplained`` and ``negligible``."""
        return [
            NEGLIGIBLE if dull else role if known else UNEXPLAINED
            for dull, known, role in zip(self.skip, explained, roles, strict=True)
        ]

    def circuit(
        self,
        algorithm: CodingAlgorithm,
        code: Coded,
        names: Sequence[str],
        site_classes: dict[str, tuple[Classes, ...]] | None = None,
        notes: Mapping[str, Sequence[Any]] | None = None,
    ) -> TableCircuit:
        """The circuit, in whose surrogate a neuron without a role has the means of its tables."""
        explained = torch.tensor([name not in (NEGLIGIBLE, UNEXPLAINED) for name in names])
        left, right, unembed = (
            torch.where(explained, fit, mean)
            for fit, mean in zip(code.fitted, self.tables.means(), strict=True)
        )
        fitted = Tables(left, right, unembed, self.tables.frame)
        residual = left_over = torch.from_numpy(code.residual)
        if len(code.shared):
            left_over = residuals(self.tables, code.fitted) * torch.from_numpy(~self.skip)[:, None]
        circuit = TableCircuit(
            name=algorithm.name,
            network=self.network,
            # If a mean is not worth its bits, the residual exceeds the variance.
            roles=Roles.of(names, left_over.clamp(max=1), notes),
            fitted=self.tables.back(fitted),
            residual=residual,
            structure=torch.from_numpy(code.structure),
            levels=torch.from_numpy(code.levels).double(),
            default_claims=CLAIMS if algorithm.even else TABLE_CLAIMS,
            site_classes=site_classes or {},
            algorithm=algorithm,
            directions=dict(code.directions),
            shared=torch.from_numpy(code.shared),
        )
        if not algorithm.joint:
            return circuit
        return jointly(circuit, self._allowed(code, explained), self.thresholds.joint_noise)

    def _allowed(self, code: Coded, explained: Bool[Tensor, "d_mlp"]) -> Any:
        """The projection of an unembedding on the functions that the description allows."""
        frame, backward = self.tables.frame, torch.argsort(self.tables.frame)
        reads = [space * explained.numpy()[:, None, None] for space in code.reads]

        def project(table: Float[Tensor, "order d_mlp"]) -> Float[Tensor, "order d_mlp"]:
            mean, *found = self.coder.coefficients(table.cpu()[frame].numpy())
            spaces = zip(reads[1:], found, code.writes[1:], strict=True)
            kept = [of_left @ matrix @ of_right for of_left, matrix, of_right in spaces]
            functions = self.coder.functions([mean, *kept])
            return torch.from_numpy(functions)[backward].to(table.device)

        return project


class _Described:
    """One network's tables and their descriptions so far; forms of hypotheses share them."""

    def __init__(self, coder: Coder, tables: Tables, kept: Bool[np.ndarray, "d_mlp"]) -> None:
        self._given = coder, tables, kept
        digest = hashlib.sha256(kept.tobytes())
        for table in (*tables, tables.frame, coder.group.table):
            digest.update(table.contiguous().numpy().tobytes())
        self.key = digest.digest(), coder.relative_error
        self._scaling = threading.Lock()
        self._scaled: ScaledTables | None = None
        self._describing: dict[Family, threading.Lock] = defaultdict(threading.Lock)
        self._codes: dict[Family, Coded] = {}

    def code(self, family: Family) -> Coded:
        """The family's description; a second thread that wants the same one waits for the first."""
        coder, tables, kept = self._given
        with self._scaling:
            scaled = self._scaled = self._scaled or coder.scaled(tables, kept)
            describing = self._describing[family]
        with describing:
            if family not in self._codes:
                self._codes[family] = coder.described(scaled, family)
            return self._codes[family]

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Described) and self.key == other.key


@lru_cache(maxsize=8)
def _first_of(described: _Described) -> _Described:
    """The first of equal ones."""
    return described
