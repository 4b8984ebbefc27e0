"""Clock or Pizza: the measures of Zhong et al. (arXiv 2306.17844) on networks of cyclic groups.

A Clock multiplies: ``Q_abc = Σ_w cos(w(a+b−c))``. A Pizza sees only the sum of two embeddings:
``Q_abc = Σ_w |cos(w(a−b)/2)| cos(w(a+b−c))``. Its right answers then have logits that depend on the
distance a − b, and its gradients with respect to the two embeddings are equal. The controls are
both formulas, an untrained network, and an MLP, which has no attention to multiply with.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pandas as pd
import torch
from einops import rearrange
from jaxtyping import Complex, Float, Int
from torch import Tensor
from torch.nn import functional as F

from coset_circuits.errors import CosetCircuitsError, checked, whole
from coset_circuits.experiments.bench import Bench, measured
from coset_circuits.experiments.candidates import NETWORK
from coset_circuits.experiments.gcr import UNTRAINED
from coset_circuits.experiments.routing import SIDES, attention_table
from coset_circuits.findings import Finding, Findings, from_table
from coset_circuits.groups import FiniteGroup, power
from coset_circuits.networks import planted_gcr
from coset_circuits.networks.model import STANDARD_SITES, Activation, GroupModel
from coset_circuits.networks.transformer import PATTERN
from coset_circuits.progress import Progress, Steps

MLP = "MLP by hand"
_EMBEDDINGS = tuple(f"hook_{side}_embed" for side in SIDES)
_UNITS = {
    "distance_irrelevance": "fraction",
    "gradient_symmetricity": "cosine",
    "circularity": "fraction",
    "attention_dependence": "fraction",
}
_SOURCE = "measures of Zhong et al., arXiv 2306.17844"


@dataclass(frozen=True, repr=False)
class ClockPizza(Findings):
    """Zhong et al.'s measures of a network, an untrained one, and networks written by hand.

    Attributes:
        network, group: the names of the network and its group.
        triples: the number of (a, b, c) that gradient symmetricity is averaged over, and the total.
        noise: noise on the embeddings of the two formulas, in units of their root mean square.
        rows: see :meth:`to_dataframe`.
        heads: each head's attention from the last position to the two inputs: mean and standard
            deviation over all pairs. Empty if there is no attention.
        unmeasured: sentences on measures that the network does not have.
    """

    network: str
    group: str
    triples: tuple[int, int]
    noise: float
    rows: pd.DataFrame
    heads: pd.DataFrame
    unmeasured: Sequence[str] = ()

    @property
    def title(self) -> str:
        return f"Clock or Pizza (Zhong et al.): {self.network}, {self.group}"

    @property
    def notes(self) -> Sequence[str]:
        some, every = self.triples
        which = f"all {every}" if some == every else f"a random {some} of the {every}"
        return (
            "distance_irrelevance: standard deviation of the right answer's logit at one distance "
            "a − b, averaged over distances, divided by that over all pairs. It is 0 in a Pizza, "
            "near 1 in a Clock. largest_wrong: the same ratio for the largest wrong logit, as the "
            "authors' training script records it.",
            "gradient_symmetricity: the cosine of the gradients of a logit with respect to the "
            f"two embeddings, averaged over {which} triples (a, b, c); 1 in a Pizza.",
            "circularity: mean share of one frequency in each of the embedding's first four "
            "principal components.",
            "attention_dependence: the largest standard deviation over all pairs of a head's "
            "attention to an input.",
            f"Clock and Pizza by hand have the network's frequencies, and noise of {self.noise:g} "
            f"on their embeddings. {MLP}: ReLU neurons on one irrep, without attention.",
            *self.unmeasured,
        )

    def to_dataframe(self) -> pd.DataFrame:
        """A row for the network and for each control; undefined figures are NaN.

        Columns: ``of``, ``distance_irrelevance``, ``largest_wrong`` (the same ratio for the largest
        wrong logit), ``gradient_symmetricity`` with the bounds ``low`` and ``high`` of its 95%
        interval (NaN where all triples are taken), ``circularity``, ``attention_dependence``.
        """
        return self.rows.copy()

    def tables(self) -> dict[str, pd.DataFrame]:
        shown = self.rows.drop(columns=["low", "high"])
        heads = {} if self.heads.empty else {"Attention at the last position": self.heads}
        return {"The network and its controls": shown, **heads}

    def findings(self) -> Iterator[Finding]:
        """The network's figures, with the untrained ones as control; other controls have ``of``."""
        own, untrained = self.rows.iloc[:1], self.rows[self.rows["of"] == UNTRAINED].iloc[0]
        own = own.assign(**{f"untrained {q}": untrained[q] for q in (*_UNITS, "largest_wrong")})
        control = {quantity: f"untrained {quantity}" for quantity in _UNITS}
        options: dict[str, Any] = {"source": _SOURCE}
        options["interval"] = {"gradient_symmetricity": ("low", "high")}
        found = [*from_table(own, "clock_pizza", at=[], units=_UNITS, control=control, **options)]
        found += from_table(self.rows.iloc[1:], "clock_pizza", at=["of"], units=_UNITS, **options)
        quantity = "distance_irrelevance"
        wrong = own.assign(
            **{quantity: own["largest_wrong"], control[quantity]: untrained["largest_wrong"]},
            logit="largest wrong",
        )
        one = {quantity: _UNITS[quantity]}
        found += from_table(wrong, "clock_pizza", at=["logit"], units=one, control=control)
        heads = self.heads.rename(columns={"deviation": "attention_dependence"}).assign(
            **{control["attention_dependence"]: untrained["attention_dependence"]}
        )
        one = {"attention_dependence": _UNITS["attention_dependence"]}
        found += from_table(heads, "clock_pizza", at=["head", "input"], units=one, control=control)
        for finding in found:
            if finding.value is not None:
                yield finding


@dataclass(frozen=True)
class ClockPizzaExperiment:
    """Whether a network of a cyclic group is a Clock or a Pizza; see :class:`ClockPizza`.

    Distance irrelevance and attention are computed over all pairs, gradient symmetricity over a
    uniform random sample of triples (Zhong et al. take 100).

    Attributes:
        triples: the maximum number of triples; all are used if there are fewer.
        noise: noise on the embeddings of the Clock and Pizza written by hand, in units of their
            root mean square. Without noise all right answers of a Clock have the same logit, and
            its distance irrelevance is undefined.
        chunk: the number of pairs run at a time; it only changes memory use.
    """

    triples: int = 20_000
    noise: float = 0.01
    chunk: int = 10_000
    id = "clock_pizza"
    decides = False
    by_default = False

    def run(self, bench: Bench) -> ClockPizza:
        """Measure the bench's network and the controls.

        Raises:
            CosetCircuitsError: the group is not cyclic, or has fewer than three elements; triples
                or chunk is below 1, or noise below 0.
        """
        network, group = bench.network, bench.network.group
        self._check(group)
        models: dict[str, GroupModel] = {NETWORK: network}
        models[UNTRAINED] = measured(network.untrained(bench.seed))
        for kind in ("Clock", "Pizza"):
            models[f"{kind} by hand"] = Formula.like(network, kind, self.noise, bench.seed)
        models[MLP] = measured(planted_gcr(group, act_fn="relu", seed=bench.seed))
        every = group.order**3
        triples = _triples(group.order, min(self.triples, every), bench.seed)
        steps = Steps(bench.progress, 100 * len(models))
        rows, heads = [], []
        for name, model in models.items():
            row, attention = self._figures(model, triples, steps.part(100, name))
            rows.append({"of": name, **row})
            heads.append(attention)
        return ClockPizza(
            network=network.label,
            group=group.name,
            triples=(len(triples), every),
            noise=self.noise,
            rows=pd.DataFrame(rows),
            heads=heads[0],
            unmeasured=_unmeasured(network),
        )

    def _check(self, group: FiniteGroup) -> None:
        if group.element_orders.max() < group.order or group.order < 3:
            raise CosetCircuitsError(
                f"Clock and Pizza are algorithms for cyclic groups, and {group.name} is "
                + ("not cyclic" if group.order > 2 else "too small for a circle")
                + "; leave clock_pizza out, or give a network of addition modulo 3 or more."
            )
        whole("number of triples", self.triples)
        whole("number of pairs in a chunk", self.chunk)
        if not self.noise >= 0:
            raise CosetCircuitsError(f"The noise is {self.noise}; give 0 or more.")

    def _figures(
        self, model: GroupModel, triples: Int[Tensor, "triples 3"], progress: Progress
    ) -> tuple[dict[str, float], pd.DataFrame]:
        """The figures of one model, and its attention."""
        progress("logits", 0, 2)
        right, wrong, heads = _answers(model, self.chunk)
        progress("gradients", 1, 2)
        cosines = gradient_cosines(model, triples, chunk=self.chunk)
        mean, error = float(cosines.mean()), math.nan
        if 1 < len(cosines) < model.group.order**3:
            error = 1.96 * float(cosines.std()) / len(cosines) ** 0.5
        return {
            "distance_irrelevance": distance_irrelevance(model.group, right),
            "largest_wrong": distance_irrelevance(model.group, wrong),
            "gradient_symmetricity": mean,
            "low": mean - error,
            "high": mean + error,
            "circularity": circularity(model),
            "attention_dependence": max(heads["deviation"].tolist(), default=math.nan),
        }, heads


@checked
def clock_pizza(
    network: GroupModel,
    *,
    triples: int = 20_000,
    noise: float = 0.01,
    seed: int = 0,
    progress: Progress | None = None,
) -> ClockPizza:
    """See :class:`ClockPizzaExperiment`, also for ``triples`` and ``noise``.

    Args:
        network: a network of a cyclic group. A float64 copy without the user's hooks is measured.
        seed: random seed for the triples, the noise and the untrained network.
    """
    bench = Bench.around(network, seed=seed, progress=progress)
    return ClockPizzaExperiment(triples, noise).run(bench)


def distance_irrelevance(group: FiniteGroup, logits: Float[Tensor, "pairs"]) -> float:
    """Distance irrelevance (Zhong et al., Definition 4.2) of one logit per pair.

    Pairs are in the order of group.pairs(). The result is the mean over distances ab⁻¹ of the
    standard deviation at that distance, divided by the standard deviation over all pairs. It is NaN
    if all pairs have the same logit.
    """
    a, b = group.pairs().T
    distance = group.table[a, group.inverses[b]]
    by_distance = logits[distance.argsort(stable=True)].reshape(group.order, group.order)
    whole = by_distance.std(correction=0)
    if whole <= 1e-12 * by_distance.abs().max():
        return math.nan
    return float(by_distance.std(1, correction=0).mean() / whole)


def gradient_cosines(
    model: GroupModel, triples: Int[Tensor, "triples 3"], *, chunk: int = 10_000
) -> Float[Tensor, "measured"]:
    """The cosine of ∂Q_abc/∂E_a and ∂Q_abc/∂E_b for triples (a, b, c), in their order.

    Its mean is the gradient symmetricity (Zhong et al., Definition 4.1). Gradients are taken per
    position, so a table shared by both positions has two. Triples with a zero gradient are left
    out. If the two embeddings are not in one space, all triples are left out, because the cosine
    would depend on two arbitrary bases.
    """
    cosines = []
    if model.has_one_embedding_space:
        for part in triples.split(chunk):
            left, right = _gradients(model, part)
            is_defined = (left.norm(dim=1) > 0) & (right.norm(dim=1) > 0)
            cosines.append(F.cosine_similarity(left, right, dim=1)[is_defined])
    return torch.cat(cosines) if cosines else torch.zeros(0, dtype=torch.float64)


def circularity(model: GroupModel) -> float:
    """The mean share of one frequency in the embedding's first principal components, at most four.

    As in the code of Zhong et al.: each component is a function on the group, and its share is the
    largest part of its squared norm in one real irrep, which is one frequency in a cyclic group.
    The result is the mean over both embeddings; NaN if the model has none.
    """
    every = torch.arange(model.group.order)
    with torch.no_grad():
        _, cache = model.run_with_cache(
            torch.stack([every, every], 1), names_filter=list(_EMBEDDINGS)
        )
    shares = []
    for table in cache.values():
        centred = table.double().cpu() - table.double().cpu().mean(0)
        components, sizes, _ = torch.linalg.svd(centred, full_matrices=False)
        chosen = components[:, :4][:, sizes[:4] > 1e-9 * sizes[0]]
        shares.append(power(model.group, chosen).max(0).values.mean())
    return float(torch.stack(shares).mean()) if shares else math.nan


class Formula(GroupModel):
    """A Clock or a Pizza written by hand, not trained (Zhong et al., Section 2).

    Every frequency w has a circle ``E_a = r_w·e^{iwa}`` in the embedding that both inputs share. A
    Clock has logits ``Re Σ_w E_a E_b e^{−iwc}``. A Pizza replaces the product ``E_a E_b`` by
    ``s²/|s|`` with s = (E_a + E_b)/2.

    Args:
        radius: r_w for each nontrivial real irrep.
        noise: noise added to the embedding.
    """

    sites: ClassVar = {name: STANDARD_SITES[name] for name in (*_EMBEDDINGS, "hook_logits")}
    embed: Tensor
    circle: Tensor

    def __init__(
        self,
        group: FiniteGroup,
        kind: str,
        radius: Float[Tensor, "frequencies"],
        noise: Float[Tensor, "order frequencies 2"] | None = None,
    ) -> None:
        super().__init__(group, kind, Activation.named("identity"))
        self.kind = kind
        circle = _circles(group)
        embed = radius[:, None] * circle
        self.register_buffer("circle", circle)
        self.register_buffer("embed", embed if noise is None else embed + noise)
        self.setup()

    @classmethod
    def like(cls, network: GroupModel, kind: str, noise: float, seed: int) -> Formula:
        """A formula whose frequencies are as strong as in the network's left pre-activations."""
        group, table = network.group, network.left_table.detach().double().cpu()
        radius = power(group, table)[1:].sum(1).sqrt()
        size = float((radius[:, None] * _circles(group)).square().mean().sqrt())
        generator = torch.Generator().manual_seed(seed)
        shape = (group.order, len(radius), 2)
        draw = torch.randn(shape, generator=generator, dtype=torch.float64)
        return cls(group, kind, radius, noise * size * draw)

    @property
    def device(self) -> torch.device:
        return self.embed.device

    @property
    def has_one_embedding_space(self) -> bool:
        return True

    def forward(self, pairs: Int[Tensor, "batch 2"]) -> Float[Tensor, "batch order"]:
        """Logits of every product for a batch of pairs (a, b)."""
        pairs = self.check_pairs(pairs)
        table = rearrange(self.embed, "order frequencies part -> order (frequencies part)")
        left = _complex(self.hook_left_embed(table[pairs[:, 0]]))
        right = _complex(self.hook_right_embed(table[pairs[:, 1]]))
        if self.kind == "Clock":
            angle = left * right
        else:
            mean = (left + right) / 2
            angle = mean.square() / mean.abs().clamp(min=1e-300)
        return self.hook_logits((angle @ torch.view_as_complex(self.circle).conj().T).real)


def _complex(embedding: Float[Tensor, "batch parts"]) -> Complex[Tensor, "batch frequencies"]:
    pairs = rearrange(embedding, "batch (frequencies part) -> batch frequencies part", part=2)
    return torch.view_as_complex(pairs.contiguous())


def _circles(group: FiniteGroup) -> Float[Tensor, "order frequencies 2"]:
    """cos(wa) and sin(wa): the first column of each real irrep's rotation, or a sign and 0."""
    columns = [F.pad(b.matrices[:, :, 0], (0, 2 - b.dimension)) for b in group.real_blocks[1:]]
    return torch.stack(columns, 1).double().contiguous()


def _triples(order: int, count: int, seed: int) -> Int[Tensor, "triples 3"]:
    """Distinct random triples of elements; all of them, in order, if enough are requested."""
    every = order**3
    if count == every:
        index = torch.arange(every)
    else:
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randint(every, (2 * count + 100,), generator=generator).unique()
        index = drawn[torch.randperm(len(drawn), generator=generator)][:count]
    return torch.stack([index // order**2, index // order % order, index % order], 1)


@torch.no_grad()
def _answers(model: GroupModel, chunk: int) -> tuple[Tensor, Tensor, pd.DataFrame]:
    """The right answer's logit, the largest wrong logit and the attention for every pair."""
    right, wrong, patterns = [], [], []
    filtered = [name for name in (PATTERN,) if name in model.sites]
    for pairs in model.group.pairs().split(chunk):
        logits, cache = model.run_with_cache(pairs, names_filter=filtered)
        products = model.group.products(pairs)[:, None].to(logits.device)
        right.append(logits.gather(1, products)[:, 0].cpu())
        wrong.append(logits.scatter(1, products, -math.inf).max(1).values.cpu())
        patterns += [pattern.cpu() for pattern in cache.values()]
    heads = attention_table(torch.cat(patterns) if patterns else None).rename(
        columns={"attention": "mean", "attention_deviation": "deviation"}
    )
    heads = heads.query("input in @SIDES").reset_index(drop=True)
    return torch.cat(right), torch.cat(wrong), heads


def _gradients(model: GroupModel, triples: Int[Tensor, "triples 3"]) -> tuple[Tensor, Tensor]:
    """The gradients of Q_abc with respect to the embeddings at the two positions."""
    leaves: dict[str, Tensor] = {}

    def cut(value: Tensor, hook: Any) -> Tensor:
        leaves[hook.name] = value.detach().clone().requires_grad_()
        return leaves[hook.name]

    with torch.inference_mode(False), torch.enable_grad():
        logits = model.run_with_hooks(triples[:, :2], fwd_hooks=[(n, cut) for n in _EMBEDDINGS])
        chosen = logits.gather(1, triples[:, 2:].to(logits.device)).sum()
        left, right = torch.autograd.grad(chosen, [leaves[name] for name in _EMBEDDINGS])
    return left.double().cpu(), right.double().cpu()


def _unmeasured(network: GroupModel) -> list[str]:
    sentences = []
    if not network.has_one_embedding_space:
        sentences.append(
            "gradient_symmetricity is not measured: the two embeddings of this network are read by "
            "different matrices, so the cosine would depend on two arbitrary bases."
        )
    if PATTERN not in network.sites:
        sentences.append("attention_dependence is not measured: this network has no attention.")
    return sentences
