"""GCR as Chughtai et al. (arXiv 2302.03025) state it: the logits are Σ_ρ α_ρ χ_ρ(abc⁻¹).

ρ(a) and ρ(b) are decoded from the pre-activations, multiplied, and α_ρ χ_ρ(abc⁻¹) is written to the
logits. There is no ReLU.
"""

from __future__ import annotations

import html
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange, repeat
from jaxtyping import Float, Int
from torch import Tensor, nn

from coset_circuits.algorithms.algorithm import (
    NEGLIGIBLE,
    SEEN_LOGITS,
    UNEXPLAINED,
    Algorithm,
    Classes,
    DescriptionLength,
    Roles,
    Tables,
    description_length,
    negligible,
    residuals,
    some_pairs,
)
from coset_circuits.algorithms.blocks import block_shares, kernel_cosets
from coset_circuits.errors import CosetCircuitsError
from coset_circuits.groups import FiniteGroup, RealBlock, fourier_basis
from coset_circuits.networks import HiddenMoments, cross_entropy, hidden_moments
from coset_circuits.networks.model import GroupModel
from coset_circuits.thresholds import Thresholds

_FITTED = 60_000
"""The most pairs that the coefficients are fitted to."""
_MATCHED = 10_000
"""The most pairs on which the loss is matched."""


class BilinearSurrogate(GroupModel):
    """Decodes ρ(a) and ρ(b), multiplies them and takes traces: logit(c) = Σ_ρ α_ρ χ_ρ(abc⁻¹)."""

    def __init__(self, circuit: BilinearCircuit) -> None:
        network, tables, blocks = circuit.network, circuit.tables, circuit.key
        self.sites = network.sites
        super().__init__(network.group, circuit.name, network.activation, circuit.silent)
        # Return to the network's order: its element frame[i] is the fit's element i.
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
        """The logits of every possible product, for a batch of pairs."""
        self.check_pairs(pairs)
        pairs = pairs.to(self.device)
        left = self.hook_left_pre(self.left_table[pairs[:, 0]])
        right = self.hook_right_pre(self.right_table[pairs[:, 1]])
        return self.hook_logits(self.decoded_products(left, right) @ self.W_U)

    def decoded_products(
        self, left: Float[Tensor, "batch d_mlp"], right: Float[Tensor, "batch d_mlp"]
    ) -> Float[Tensor, "batch functions"]:
        """ρ(a)ρ(b) decoded from the pre-activations; the key irreps are concatenated."""
        left, right = left @ self.get_buffer("decode_left"), right @ self.get_buffer("decode_right")
        products, start = [left.new_zeros(len(left), 0)], 0
        for d in self.dimensions:
            part = slice(start, start + d * d)
            a, b = (
                rearrange(decoded[:, part], "pair (i j) -> pair i j", i=d)
                for decoded in (left, right)
            )
            products.append(rearrange(a @ b, "pair i k -> pair (i k)"))
            start += d * d
        return torch.cat(products, 1)

    def __repr__(self) -> str:
        return f"BilinearSurrogate({self.label} of {self.group.name}: irreps of {self.dimensions})"


def _side_by_side(blocks: list[RealBlock], order: int) -> Float[Tensor, "order functions"]:
    matrices = [torch.zeros(order, 0, dtype=torch.float64)]
    return torch.cat([*matrices, *[rearrange(b.matrices, "g i j -> g (i j)") for b in blocks]], 1)


@dataclass
class BilinearCircuit:
    """GCR as a circuit. Its one global claim is that the logits are Σ_ρ α_ρ χ_ρ(abc⁻¹).

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
    default_claims: frozenset[str] = frozenset({"composition"})
    # The temperature is fitted to the loss of these logits.
    seen: frozenset[str] = frozenset({SEEN_LOGITS})

    @property
    def silent(self) -> frozenset[str]:
        return frozenset(self.network.sites) - {"hook_left_pre", "hook_right_pre", "hook_logits"}

    def surrogate(self, claims: Collection[str] | None = None) -> BilinearSurrogate:
        """The bilinear surrogate; its one claim, ``composition``, cannot be split.

        Raises:
            CosetCircuitsError: any other claim.
        """
        if claims is not None and frozenset(claims) != self.default_claims:
            raise CosetCircuitsError(
                f"{self.name} makes a single claim, composition, which cannot be split, but "
                f"{', '.join(sorted(claims)) or 'nothing'} was given; leave claims out."
            )
        model = BilinearSurrogate(self)
        model.reference_scale = self.network.pre_scale.detach()
        return model.to(self.network.device, self.network.dtype)

    def classes(self, site: str) -> tuple[Classes, ...]:
        """The two inputs are read only through the key irreps; () at other sites."""
        if not self.key or site not in ("hook_left_pre", "hook_right_pre"):
            return ()
        labels = kernel_cosets(self.key)[torch.argsort(self.tables.frame)]
        columns = repeat(labels, "g -> g neuron", neuron=len(self.roles.names))
        if site == "hook_left_pre":
            return (Classes("kernel of the key irreps", columns, None, None),)
        return (Classes("kernel of the key irreps", None, columns, None),)

    def description_length(self, relative_error: float = 0.1) -> DescriptionLength:
        """The bits, with every neuron's tables in the span of the key irreps, apart from means."""
        width = len(self.roles.names)
        counted = np.array([name != NEGLIGIBLE for name in self.roles.names])
        functions = sum(block.parameters for block in self.key)
        levels = torch.full((width,), 3.0 + 3 * functions, dtype=torch.float64)
        # The key irreps, their coefficients and the temperature are described only once.
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


def fit_bilinear(
    algorithm: Algorithm,
    network: GroupModel,
    group: FiniteGroup | None,
    blocks: list[RealBlock],
    tables: Tables,
    thresholds: Thresholds,
) -> BilinearCircuit:
    (moments,) = hidden_moments(network, [group or network.group])
    similarity = logit_similarity(network, moments)[1:]
    keys = [i for i in range(len(blocks)) if similarity[i] > thresholds.similarity]
    key = [blocks[i] for i in keys]
    fitted = tables.means()
    for block in key:
        for measured, table in zip(tables, fitted, strict=True):
            table.add_(block.basis @ (block.basis.T @ measured))
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
    if key:
        circuit.coefficients = _coefficients(network, circuit)
        circuit.coefficients = circuit.coefficients * _temperature(network, circuit)
    return circuit


@torch.no_grad()
def _coefficients(
    network: GroupModel, circuit: BilinearCircuit, chunk: int = 2_000
) -> Float[Tensor, "key"]:
    """The α_ρ that bring the decoded products closest to the network's logits.

    The irreps' matrix elements are orthogonal over c, so each α_ρ is a ratio of two sums. The fit
    uses the decoded products, not χ_ρ itself. Decoding shrinks ρ(a) if the neurons hold only part
    of it, by different amounts, and an irrep that cannot be decoded must not be amplified. Of a
    large group's pairs a sample is used.
    """
    model = circuit.surrogate()
    sizes = [block.dimension**2 for block in circuit.key]
    write = model.W_U.detach().double().cpu()
    dots, norms = torch.zeros(2, len(write), dtype=torch.float64)
    for pairs in some_pairs(network.group, _FITTED).split(chunk):
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
    return torch.stack(alphas)


@torch.no_grad()
def _temperature(network: GroupModel, circuit: BilinearCircuit) -> float:
    """One factor for all α_ρ, from ¼ to 4, that gives the surrogate the network's base loss.

    This helps the hypothesis. The base loss is then not evidence for it, but no other error can be
    due to the size of its logits.
    """
    pairs = some_pairs(network.group, _MATCHED)
    labels = network.group.products(pairs)
    wanted = _log_mean(network(pairs).cpu(), labels)
    logits = circuit.surrogate()(pairs).float().cpu()
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

    There is one figure per real block; the trivial block's is 0. As a matrix over c and the
    product p = ab, χ_ρ(pc⁻¹) is a multiple of the projection on ρ's functions. The logits are
    linear in the hidden layer, so its means by product suffice, and no array of order³ entries is
    made.

    Args:
        network: the network whose logits to use.
        moments: the moments of its hidden layer, for the group of the irreps; by default the
            network's group.
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
