"""Group composition via representations (GCR), Chughtai et al. (arXiv 2302.03025), made to run.

Two variants. *projected*, the strong and fair one: each neuron keeps its own ReLU, and its tables
are projected on the functions of its irreps. *bilinear*, the paper's own account: ρ(a) and ρ(b) are
decoded from the pre-activations, multiplied, and α_ρ χ_ρ(abc⁻¹) is written to the logits.
"""

from __future__ import annotations

import html
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from coset_circuits.algorithms.algorithm import (
    NEGLIGIBLE,
    SEEN_LOGITS,
    UNEXPLAINED,
    Algorithm,
    Circuit,
    Classes,
    DescriptionLength,
    DoesNotApplyError,
    Roles,
    Tables,
    description_length,
    fitted_frame,
    negligible,
    residuals,
)
from coset_circuits.algorithms.claims import claims_suffix, named_claims
from coset_circuits.algorithms.joint import jointly
from coset_circuits.algorithms.table_circuit import (
    CLAIMS,
    EMBEDDINGS,
    TABLE_CLAIMS,
    TableCircuit,
)
from coset_circuits.errors import CosetCircuitsError
from coset_circuits.groups import FiniteGroup, RealBlock, fourier_basis
from coset_circuits.networks import HiddenMoments, cross_entropy, hidden_moments
from coset_circuits.networks.model import GroupModel
from coset_circuits.thresholds import DEFAULT, Thresholds


@dataclass(frozen=True)
class IrrepAlgorithm:
    """Each neuron works in few irreps; see the module's docstring for the two variants.

    A neuron's irreps are added, strongest first, until less than a threshold of the variance of
    both tables is left. One that would need more functions than half the order, the most levels
    that any proper non-trivial subgroup has, is unexplained.

    Attributes:
        variant: ``projected`` or ``bilinear``.
        even: also claim that the linear half of the activation cancels (``projected`` only).
        joint: fit the unembedding's coefficients together, not neuron by neuron (``projected``
            only).
        single: allow each neuron one irrep only, the hypothesis in its narrow form.
    """

    variant: Literal["projected", "bilinear"] = "projected"
    even: bool = False
    joint: bool = False
    single: bool = False
    thresholds: Thresholds = DEFAULT

    hypothesis: ClassVar[str] = "irrep"

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
        """Find every neuron's irreps.

        Raises:
            DoesNotApplyError: the group has only the trivial irrep.
        """
        base, frame = fitted_frame(network, group)
        blocks = [block for block in base.real_blocks if block.name != base.real_blocks[0].name]
        if not blocks:
            raise DoesNotApplyError(
                f"{base.name} has only the trivial irrep; the irrep hypothesis does not apply."
            )
        tables = Tables.of(network, frame)
        if self.variant == "bilinear":
            return _fit_bilinear(self, network, group, blocks, tables)
        return self._fit_projected(network, base, blocks, tables)

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
        used: list[str] = []
        bases: dict[tuple[int, ...], Tensor] = {}
        members: dict[tuple[int, ...], list[int]] = defaultdict(list)
        structure = torch.zeros(len(skip), dtype=torch.float64)
        levels = torch.full((len(skip),), 3.0, dtype=torch.float64)
        for j, dull in enumerate(skip):
            chosen = [] if dull else self._chosen(shares[:, :, j], blocks, base.order)
            names.append(NEGLIGIBLE if dull else blocks[chosen[0]].name if chosen else UNEXPLAINED)
            used.append("+".join(blocks[i].name for i in chosen))
            key = tuple(sorted(chosen))
            members[key].append(j)
            if not chosen:
                continue
            if key not in bases:
                bases[key] = torch.cat([blocks[i].basis for i in key], 1)
            basis = bases[key]
            for own, table in zip(tables, fitted, strict=True):
                table[:, j] += basis @ (basis.T @ own[:, j])
            structure[j] = len(chosen) * np.log2(len(blocks))
            levels[j] += 3 * basis.shape[1]
        left, right, _ = shares
        strongest = (left + right).argmax(0)
        every = torch.arange(len(skip))
        residual = residuals(tables, fitted)
        notes = {
            "irreps": used,
            "strongest": [blocks[i].name for i in strongest],
            "share_left": left[strongest, every].tolist(),
            "share_right": right[strongest, every].tolist(),
        }
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
        """The fewest irreps, strongest first, that explain both tables; [] where too many."""
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


def _on_irreps(
    bases: Mapping[tuple[int, ...], Tensor], members: Mapping[tuple[int, ...], list[int]]
) -> Callable[[Tensor], Tensor]:
    """The projection of each column of a table on its own irreps; the mean is kept."""

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
    """A neuron of some irreps can tell two elements apart only where one of the irreps does.

    Neurons of one leading irrep are a cluster: together they hold ρ(ab).
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


def kernel_cosets(blocks: list[RealBlock]) -> Int[Tensor, "order"]:
    """The coset of each element of what all these irreps send to 1: equal where they all are."""
    at_identity = [block.character - block.dimension > -1e-8 for block in blocks]
    kernel = torch.stack(at_identity).all(0).nonzero()[:, 0]
    return torch.unique(blocks[0].group.table[:, kernel].min(1).values, return_inverse=True)[1]


def block_shares(tables: Tables, blocks: list[RealBlock]) -> Float[Tensor, "3 blocks d_mlp"]:
    """The share of each table's variance, neuron by neuron, on each non-trivial irrep."""
    shares = []
    for table in tables:
        total = (table - table.mean(0)).square().sum(0).clamp_min(1e-300)
        shares.append(torch.stack([(b.basis.T @ table).square().sum(0) / total for b in blocks]))
    return torch.stack(shares)


# The bilinear variant.


class BilinearSurrogate(GroupModel):
    """ρ(a), ρ(b) decoded, multiplied and traced: logit(c) = Σ_ρ α_ρ χ_ρ(abc⁻¹). No ReLU."""

    def __init__(self, circuit: BilinearCircuit) -> None:
        network, tables, blocks = circuit.network, circuit.tables, circuit.key
        super().__init__(network.group, circuit.name, network.activation, circuit.silent)
        # Back in the network's order: its element frame[i] is the fit's element i.
        inverse = torch.argsort(tables.frame)
        rho = _side_by_side(blocks, len(inverse))
        for side, table in (("left", tables.left), ("right", tables.right)):
            self.register_buffer(f"{side}_rows", table[inverse])
            decoder = torch.linalg.pinv(table, rcond=circuit.rcond) @ rho
            self.register_buffer(f"decode_{side}", decoder)
        self.dimensions = [b.dimension for b in blocks]
        sizes = torch.tensor([d * d for d in self.dimensions], dtype=torch.int64)
        scale = circuit.coefficients.repeat_interleave(sizes)
        self.W_U = nn.Parameter((rho * scale)[inverse].T.contiguous())
        self.setup()

    @property
    def left_table(self) -> Float[Tensor, "order d_mlp"]:
        return self.get_buffer("left_rows")

    @property
    def right_table(self) -> Float[Tensor, "order d_mlp"]:
        return self.get_buffer("right_rows")

    def forward(self, pairs: Int[Tensor, "batch 2"]) -> Float[Tensor, "batch order"]:
        """Logits of every product for a batch of pairs."""
        self.check_pairs(pairs)
        pairs = pairs.to(self.device)
        left = self.hook_left_pre(self.left_table[pairs[:, 0]])
        right = self.hook_right_pre(self.right_table[pairs[:, 1]])
        return self.hook_logits(self.decoded_products(left, right) @ self.W_U)

    def decoded_products(
        self, left: Float[Tensor, "batch d_mlp"], right: Float[Tensor, "batch d_mlp"]
    ) -> Float[Tensor, "batch functions"]:
        """ρ(a)ρ(b), as decoded from the two pre-activations, for every key irrep side by side."""
        left, right = left @ self.get_buffer("decode_left"), right @ self.get_buffer("decode_right")
        products, start = [left.new_zeros(len(left), 0)], 0
        for d in self.dimensions:
            part = slice(start, start + d * d)
            a, b = left[:, part].unflatten(1, (d, d)), right[:, part].unflatten(1, (d, d))
            products.append((a @ b).flatten(1))
            start += d * d
        return torch.cat(products, 1)

    def __repr__(self) -> str:
        return f"BilinearSurrogate({self.label} of {self.group.name}: irreps of {self.dimensions})"


def _side_by_side(blocks: list[RealBlock], order: int) -> Float[Tensor, "order functions"]:
    matrices = [torch.zeros(order, 0, dtype=torch.float64)]
    return torch.cat([*matrices, *[b.matrices.flatten(1) for b in blocks]], 1)


@dataclass
class BilinearCircuit:
    """GCR as a circuit: one global claim, that the logits are Σ_ρ α_ρ χ_ρ(abc⁻¹).

    Attributes:
        key: the irreps whose logit similarity is above the threshold, with their ``coefficients``.
        similarities: the logit similarity of every non-trivial irrep, key or not.
    """

    name: str
    network: GroupModel
    roles: Roles
    tables: Tables
    key: list[RealBlock]
    coefficients: Float[Tensor, "key"]
    similarities: dict[str, float]
    residual: Float[Tensor, "d_mlp 3"]
    blocks: int
    rcond: float
    algorithm: Algorithm | None = None
    silent: frozenset[str] = EMBEDDINGS | {"hook_pre", "hook_post"}
    default_claims: frozenset[str] = frozenset({"composition"})
    # Its temperature is fitted to the loss of these.
    seen: frozenset[str] = frozenset({SEEN_LOGITS})

    def surrogate(self, claims: Collection[str] | None = None) -> BilinearSurrogate:
        """The bilinear surrogate; its one claim, ``composition``, cannot be split.

        Raises:
            CosetCircuitsError: any other claim.
        """
        if claims is not None and frozenset(claims) != self.default_claims:
            raise CosetCircuitsError(
                f"{self.name} makes one claim, composition, that cannot be split; "
                f"{', '.join(sorted(claims)) or 'nothing'} was asked for."
            )
        model = BilinearSurrogate(self)
        model.reference_scale = self.network.pre_scale.detach()
        return model.to(self.network.device, self.network.dtype)

    def classes(self, site: str) -> tuple[Classes, ...]:
        """The two inputs are read through the key irreps alone; () at the other sites."""
        if not self.key or site not in ("hook_left_pre", "hook_right_pre"):
            return ()
        labels = kernel_cosets(self.key)[torch.argsort(self.tables.frame)]
        columns = labels[:, None].expand(-1, len(self.roles.names))
        if site == "hook_left_pre":
            return (Classes("kernel of the key irreps", columns, None, None),)
        return (Classes("kernel of the key irreps", None, columns, None),)

    def description_length(self, relative_error: float = 0.1) -> DescriptionLength:
        """Every table of every neuron lies in the span of the key irreps, its mean apart."""
        width = len(self.roles.names)
        counted = np.array([name != NEGLIGIBLE for name in self.roles.names])
        functions = sum(block.parameters for block in self.key)
        levels = torch.full((width,), 3.0 + 3 * functions, dtype=torch.float64)
        # Which irreps are key, their coefficients and the temperature are said once for all.
        shared = self.blocks / max(1, counted.sum())
        levels += (len(self.key) + 1) / max(1, counted.sum())
        structure = torch.full((width,), shared, dtype=torch.float64)
        order = self.network.group.order
        return description_length(
            relative_error,
            order=order,
            structure=structure,
            levels=levels,
            unexplained=self.residual,
            counted=counted,
        )

    def __repr__(self) -> str:
        key = ", ".join(
            f"{b.name} α={a:.3g}" for b, a in zip(self.key, self.coefficients, strict=True)
        )
        return f"Circuit({self.name} of {self.network.label}: key irreps {key or 'none'})"

    def _repr_html_(self) -> str:
        title = html.escape(f"{self.name} of {self.network.label}")
        return f"<p>{title}</p>{self.roles._repr_html_()}"


def _fit_bilinear(
    algorithm: IrrepAlgorithm,
    network: GroupModel,
    group: FiniteGroup | None,
    blocks: list[RealBlock],
    tables: Tables,
) -> BilinearCircuit:
    thresholds = algorithm.thresholds
    (moments,) = hidden_moments(network, [group or network.group])
    similarity = logit_similarity(network, moments)[1:]
    keys = [i for i in range(len(blocks)) if similarity[i] > thresholds.similarity]
    key = [blocks[i] for i in keys]
    fitted = tables.means()
    for block in key:
        for own, table in zip(tables, fitted, strict=True):
            table.add_(block.basis @ (block.basis.T @ own))
    residual = residuals(tables, fitted)
    shares = block_shares(tables, blocks)[:2].sum(0)
    skip = negligible(tables, thresholds)
    explained = (residual[:, :2].amax(1) < thresholds.fvu).tolist()
    names = [
        NEGLIGIBLE if skip[j] else blocks[int(shares[:, j].argmax())].name if ok else UNEXPLAINED
        for j, ok in enumerate(explained)
    ]
    circuit = BilinearCircuit(
        name=algorithm.name,
        network=network,
        roles=Roles.of(names, residual),
        tables=tables,
        key=key,
        coefficients=torch.ones(len(key), dtype=torch.float64),
        similarities={b.name: float(s) for b, s in zip(blocks, similarity, strict=True)},
        residual=residual,
        blocks=len(blocks),
        rcond=thresholds.rcond,
        algorithm=algorithm,
    )
    circuit.coefficients = _coefficients(network, circuit)
    circuit.coefficients = circuit.coefficients * _temperature(network, circuit)
    return circuit


@torch.no_grad()
def _coefficients(
    network: GroupModel, circuit: BilinearCircuit, chunk: int = 40_000
) -> Float[Tensor, "key"]:
    """The α_ρ with which the decoded products come nearest to the network's logits.

    The irreps' matrix elements are orthogonal over c, so each α_ρ is a ratio of two sums. Taken on
    what is decoded, not on χ_ρ itself: decoding shrinks ρ(a) where the neurons hold only part of
    it, and not at all evenly (an irrep that cannot be decoded must not be blown up).
    """
    model = circuit.surrogate()
    sizes = [block.dimension**2 for block in circuit.key]
    write = model.W_U.detach().double().cpu()
    dots, norms = torch.zeros(2, len(write), dtype=torch.float64)
    for pairs in network.group.pairs().split(chunk):
        at = pairs.to(network.device)
        products = model.decoded_products(model.left_table[at[:, 0]], model.right_table[at[:, 1]])
        products = products.double().cpu()
        dots += (products * (network(pairs).double().cpu() @ write.T)).sum(0)
        # ‖ρ_ij‖² over the group is order / d.
        norms += products.square().sum(0)
    alphas = [
        block.dimension * dot.sum() / (network.group.order * norm.sum()).clamp_min(1e-300)
        for block, dot, norm in zip(circuit.key, dots.split(sizes), norms.split(sizes), strict=True)
    ]
    return torch.stack(alphas) if alphas else torch.zeros(0, dtype=torch.float64)


@torch.no_grad()
def _temperature(network: GroupModel, circuit: BilinearCircuit, sample: int = 10_000) -> float:
    """One factor for all α_ρ, from ¼ to 4, that gives the surrogate the network's own base loss.

    A gift to the hypothesis: that row is then no evidence for it, and no other row can be blamed
    on the size of its logits.
    """
    pairs = network.group.pairs()
    generator = torch.Generator().manual_seed(0)
    pairs = pairs[torch.randperm(len(pairs), generator=generator)[:sample]]
    labels = network.group.products(pairs)
    wanted = _log_mean(network(pairs).cpu(), labels)
    logits = circuit.surrogate()(pairs).double().cpu()
    best, step = 0.0, 0.5
    for _ in range(3):
        exponents = [best + step * k for k in range(-4, 5)]
        off = [abs(_log_mean(2**e * logits, labels) - wanted) for e in exponents]
        best, step = exponents[int(np.argmin(off))], step / 4
    return 2**best


def _log_mean(logits: Tensor, labels: Tensor) -> float:
    return float(cross_entropy(logits, labels).mean().clamp_min(1e-300).log10())


def logit_similarity(
    network: GroupModel, moments: HiddenMoments | None = None
) -> Float[Tensor, "blocks"]:
    """Cosine over all order³ entries between logits, centred over c, and χ_ρ(abc⁻¹).

    One figure a real block, the trivial one's 0. Over c and the product p = ab, χ_ρ(pc⁻¹) is a
    multiple of the projection on ρ's functions, and the logits are linear in the hidden layer: so
    its means by product are enough, and nothing of order³ entries is made.

    Args:
        network: whose logits.
        moments: of its hidden layer, under the group that the irreps belong to; by default its own.
    """
    if moments is None:
        (moments,) = hidden_moments(network, [network.group])
    group = moments.group
    write = network.W_U.detach().double().cpu()
    bias = getattr(network, "b_U", None)
    bias = write.new_zeros(group.order) if bias is None else bias.detach().double().cpu()
    write, bias = write - write.mean(1, keepdim=True), bias - bias.mean()
    # The mean square of the logits, summed over c.
    mean = moments.mean @ write + bias
    energy = moments.variance(write) + mean.square().sum()
    by_product = moments.by_product @ write + bias
    basis = fourier_basis(group)
    on_functions = ((basis.T @ by_product) * basis.T).sum(1)
    sizes = [block.parameters for block in group.real_blocks]
    dots = torch.stack([part.sum() for part in on_functions.split(sizes)])
    dots[0] = 0.0
    norms = torch.tensor(sizes, dtype=torch.float64) * group.order * energy
    return dots / norms.clamp_min(1e-300).sqrt()
