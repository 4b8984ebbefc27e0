"""The evidence of Chughtai et al. (arXiv 2302.03025) that networks compose via representations.

For each irrep ρ this measures how similar the logits are to χ_ρ(abc⁻¹), and what share of the two
embeddings, the unembedding and the hidden layer is spanned by ρ's matrix elements. It also measures
the loss with only ρ(ab) kept in the hidden layer (restricted) or with ρ(ab) removed (excluded). On
the authors' released S5, S6 and dihedral networks the figures agree with theirs;
``docs/errata.md`` says which others do not.

The controls are the same figures under a relabelled group, for an untrained network, by chance, and
for logits that are one-hot right answers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from coset_circuits.algorithms import logit_similarity
from coset_circuits.errors import CosetCircuitsError, checked, whole
from coset_circuits.experiments.bench import Bench, measured
from coset_circuits.experiments.candidates import NETWORK
from coset_circuits.findings import Finding, Findings, from_table
from coset_circuits.groups import FiniteGroup, fourier_basis, power, transform
from coset_circuits.networks import HiddenMoments, cross_entropy, hidden_moments
from coset_circuits.networks.model import GroupModel
from coset_circuits.progress import Progress
from coset_circuits.thresholds import DEFAULT, Thresholds
from coset_circuits.training import training_pairs

RELABELLED = "relabelled group"
UNTRAINED = "untrained network"
CHANCE = "chance"
ANSWERS = "right answers"
"""The controls of the network's figures."""

KEY_IRREPS = "key irreps"
ALL_IRREPS = "all but the trivial"
"""Rows for several irreps at once."""

TABLES: tuple[str, ...] = ("left", "right", "unembed")
HIDDEN: tuple[str, ...] = ("hidden_left", "hidden_right", "hidden_product")
SHARES = ("logits", *TABLES, *HIDDEN)
"""Fractions of variance explained (of the tables' squared norms, which are not centred)."""

_UNITS: dict[str, str] = dict.fromkeys(("similarity", *SHARES), "fraction")
_UNITS |= dict.fromkeys(("restricted_loss", "excluded_loss"), "nats")


@dataclass(frozen=True, repr=False)
class GCREvidence(Findings):
    """Evidence for group composition via representations, with controls.

    Attributes:
        network, group, order, d_mlp: the network, its group, the group's order and the width.
        key: the irreps whose logit similarity is above the threshold.
        accuracy, loss: over all pairs (mean cross-entropy in nats).
        train_pairs: the number of training pairs, over which the excluded loss is computed. None if
            the training pairs are not recorded; all pairs are then used.
        train_loss, test_loss: losses of the network; None if the training pairs are not recorded.
        rows: the table; see :meth:`to_dataframe`.
        seed: random seed for the relabelled group and the untrained network.
    """

    network: str
    group: str
    order: int
    d_mlp: int
    key: tuple[str, ...]
    accuracy: float
    loss: float
    train_pairs: int | None
    train_loss: float | None
    test_loss: float | None
    rows: pd.DataFrame
    seed: int
    thresholds: Thresholds

    def to_dataframe(self) -> pd.DataFrame:
        """Rows for each irrep, for the key irreps and for all nontrivial ones, also of controls.

        Columns: ``of``, the network or a control; ``irrep``; ``is_key``; ``functions``, the
        dimension of the irrep's function space (d² for real type); ``similarity`` of the logits to
        χ_ρ(abc⁻¹), or for several irreps to the best sum of their characters; ``logits``, its
        square; shares of ``left`` and ``right`` (the embeddings as the neurons read them), of
        ``unembed``, and of the centred hidden layer by ρ(a), ρ(b) and ρ(ab); ``restricted_loss``
        with only ρ(ab) kept in the hidden layer, over all pairs; ``excluded_loss`` with ρ(ab)
        removed from it, over the training pairs.
        """
        return self.rows.copy()

    def summary(self) -> pd.DataFrame:
        """The key irreps together: one row for the network and one for each control."""
        chosen = self.rows.loc[self.rows["irrep"] == KEY_IRREPS]
        return chosen.drop(columns=["irrep", "is_key"]).reset_index(drop=True)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the figures can and cannot show."""
        pairs = f"the {self.train_pairs} training pairs"
        if self.train_pairs is None:
            pairs = "all pairs, because the training pairs are not recorded"
        return (
            f"The restricted loss is over all pairs. The excluded loss is over {pairs}.",
            f"{RELABELLED}: the same irreps of the group under random names (seed {self.seed}).",
            f"{CHANCE}: averages for random tables and activations (similarity: root mean square), "
            "and the losses with everything removed and with nothing removed.",
            f"{ANSWERS}: one-hot logits of the product are similar to every irrep. So similarity "
            "shows that a network is right on some pairs, but not how; memorised ones have it too.",
            "The restricted loss averages the hidden layer over all pairs with one product. This "
            "alone can correct wrong answers, so compare it with the accuracy.",
            "Large shares show that the tables use few irreps. Tables on cosets do so too.",
        )

    @property
    def title(self) -> str:
        losses = f"loss {self.loss:.3g} nats"
        if self.train_loss is not None and self.test_loss is not None:
            losses += f" (training pairs {self.train_loss:.3g}, others {self.test_loss:.3g})"
        return (
            f"GCR evidence of {self.network} ({self.group} of order {self.order}, {self.d_mlp} "
            f"neurons): accuracy {self.accuracy:.4f}, {losses}; key irreps, logit similarity above "
            f"{self.thresholds.similarity:g}: {', '.join(self.key) or 'none'}"
        )

    def tables(self) -> dict[str, pd.DataFrame]:
        is_own = (self.rows["of"] == NETWORK) & (self.rows["irrep"] != KEY_IRREPS)
        each = self.rows.loc[is_own].drop(columns=["of", "is_key"])
        return {"The key irreps together": self.summary(), "Each irrep of the network": each}

    def findings(self) -> Iterator[Finding]:
        """The network's figures, with the relabelled group as control; others have ``of``."""
        is_own = self.rows["of"] == NETWORK
        beside = self.rows[self.rows["of"] == RELABELLED].set_index("irrep")[list(_UNITS)]
        control = {quantity: f"{quantity}, {RELABELLED}" for quantity in _UNITS}
        own = self.rows.loc[is_own].join(beside.add_suffix(f", {RELABELLED}"), on="irrep")
        yield from from_table(own, "gcr", at=["irrep"], units=_UNITS, control=control)
        yield from from_table(self.rows.loc[~is_own], "gcr", at=["irrep", "of"], units=_UNITS)


@dataclass(frozen=True)
class GCRExperiment:
    """Logit similarity, variance explained, restricted and excluded loss of every irrep.

    Irreps are the group's real blocks, and all pairs are measured. Memory holds ``chunk`` pairs and
    some tables of order² numbers at a time.

    Attributes:
        train: the pairs that the excluded loss is computed over. The default is the network's
            training pairs, or all pairs if these are not recorded.
        chunk: about how many pairs are held at once; it only changes memory use.
    """

    train: Int[Tensor, "train 2"] | None = None
    chunk: int = 2_000
    id = "gcr"
    decides = False
    by_default = False

    def run(self, bench: Bench) -> GCREvidence:
        """The evidence on the bench's network.

        Raises:
            CosetCircuitsError: the group has only the trivial irrep, ``train`` are not pairs, or
                the chunk is below 1.
        """
        network, group, chunk = measured(bench.network).cpu(), bench.network.group, self.chunk
        if group.order == 1:
            raise CosetCircuitsError(
                f"{group.name} has only the trivial irrep; give a larger group."
            )
        whole("number of pairs in a chunk", chunk)
        train = training_pairs(network) if self.train is None else self.train
        if train is not None:
            network.check_pairs(train)
            if not len(train):
                raise CosetCircuitsError(
                    "No training pairs were given; give some, or None for all pairs."
                )

        step = partial(partial, bench.progress)
        groups = [group] if bench.relabelled_group is None else [group, bench.relabelled_group]
        untrained = measured(network.untrained(bench.seed))
        moments = hidden_moments(network, groups, chunk=chunk, step=step("hidden layer"))
        names = (NETWORK, RELABELLED)[: len(groups)]
        runs = {name: _Run(network, one) for name, one in zip(names, moments, strict=True)}
        (moments,) = hidden_moments(untrained, [group], chunk=chunk, step=step("untrained"))
        runs[UNTRAINED] = _Run(untrained, moments)

        outcomes = [
            (cross_entropy(logits, labels), logits.argmax(1) == labels)
            for _, logits, labels in _streamed(network, group.pairs(), chunk, step("losses"))
        ]
        losses, correct = map(torch.cat, zip(*outcomes, strict=True))
        excluded_on = group.pairs() if train is None else train.cpu()
        is_trained = torch.zeros(len(losses), dtype=torch.bool)
        is_trained[excluded_on[:, 0] * group.order + excluded_on[:, 1]] = True
        train_loss = float(losses[is_trained].mean())
        is_key = runs[NETWORK].similarity > bench.thresholds.similarity
        table = _Table(group, is_key)
        for name, run in runs.items():
            restricted = [run.restricted(functions) for functions in table.functions]
            chunks = _streamed(run.model, excluded_on, chunk, step(f"excluded losses, {name}"))
            excluded = run.excluded(table.functions, chunks)
            table.add(name, run.similarity, run.shares(), restricted, excluded)
        table.add_chance(train_loss)
        table.add_right_answers()
        return GCREvidence(
            network=network.label,
            group=group.name,
            order=group.order,
            d_mlp=network.d_mlp,
            key=tuple(b.name for b, key in zip(group.real_blocks, is_key, strict=True) if key),
            accuracy=float(correct.double().mean()),
            loss=float(losses.mean()),
            train_pairs=None if train is None else len(train),
            train_loss=None if train is None else train_loss,
            test_loss=None if is_trained.all() else float(losses[~is_trained].mean()),
            rows=pd.concat(table.frames, ignore_index=True),
            seed=bench.seed,
            thresholds=bench.thresholds,
        )


@checked
def gcr_evidence(
    network: GroupModel,
    *,
    train: Int[Tensor, "train 2"] | None = None,
    seed: int = 0,
    chunk: int = 2_000,
    thresholds: Thresholds = DEFAULT,
    progress: Progress | None = None,
) -> GCREvidence:
    """See :class:`GCRExperiment`, also for ``train`` and ``chunk``.

    Args:
        network: the network. A float64 copy without the user's hooks is measured.
        seed: random seed for the relabelled group and the untrained network.
        thresholds: an irrep is key if its logit similarity is above ``similarity``.
    """
    bench = Bench.around(network, seed=seed, thresholds=thresholds, progress=progress)
    return GCRExperiment(train, chunk).run(bench)


class _Run:
    """One model's figures under one group."""

    def __init__(self, model: GroupModel, moments: HiddenMoments) -> None:
        self.model, self.moments, self.group = model, moments, moments.group
        self.similarity = logit_similarity(model, moments)
        # The contribution of each of ρ's functions of the product to the logits.
        self._written = transform(self.group, moments.by_product) @ model.W_U
        self._basis = fourier_basis(self.group)

    def shares(self) -> dict[str, Float[Tensor, "blocks"]]:
        """Each irrep's share of the tables' squared norms and of the hidden layer's variance."""
        moments, variance = self.moments, self.group.order * self.moments.variance()
        tables = (self.model.left_table, self.model.right_table, self.model.W_U.T)
        parts = (moments.by_left, moments.by_right, moments.by_product)
        wholes = [(table, float(table.square().sum())) for table in tables]
        wholes += [(part - moments.mean, variance) for part in parts]
        # An all-zero table has share 0.
        shares = [power(self.group, x).sum(1) / (total or math.inf) for x, total in wholes]
        return dict(zip((*TABLES, *HIDDEN), shares, strict=True))

    def restricted(self, functions: Bool[Tensor, "order"]) -> float:
        """The mean loss with only these functions of the product kept in the hidden layer."""
        logits = self._basis[:, functions] @ self._written[functions]
        logits = logits if self.model.b_U is None else logits + self.model.b_U
        # Each product's loss for every label. Only the answer's own can be small: it is exact.
        losses, answers = -logits.log_softmax(1), logits.argmax(1)
        losses = losses.scatter(1, answers[:, None], cross_entropy(logits, answers)[:, None])
        # Under a relabelled group the part follows its products, the label those of the network's.
        return float(losses[self.group.table, self.model.group.table].mean())

    def excluded(
        self,
        sets: Sequence[Bool[Tensor, "order"]],
        chunks: Iterable[tuple[Tensor, Tensor, Tensor]],
    ) -> list[float]:
        """For each set of functions the mean loss with them removed from the hidden layer."""
        totals, pairs = [0.0] * len(sets), 0
        for part, logits, labels in chunks:
            basis = self._basis[self.group.products(part)]
            for i, functions in enumerate(sets):
                left = logits - basis[:, functions] @ self._written[functions]
                totals[i] += float(cross_entropy(left, labels).sum())
            pairs += len(part)
        return [total / pairs for total in totals]


class _Table:
    """Rows of each irrep alone, of the key irreps, and of all but the trivial one."""

    def __init__(self, group: FiniteGroup, is_key: Bool[Tensor, "blocks"]) -> None:
        self.order, self.frames = group.order, []
        self.sizes = torch.tensor([block.parameters for block in group.real_blocks])
        self.is_nontrivial = torch.arange(len(is_key)) > 0
        self.sets = [*torch.eye(len(is_key), dtype=torch.bool), is_key, self.is_nontrivial]
        self.functions = [members.repeat_interleave(self.sizes) for members in self.sets]
        self.names = [*(block.name for block in group.real_blocks), KEY_IRREPS, ALL_IRREPS]
        self.is_key = [*is_key.tolist(), None, None]

    def add(
        self,
        of: str,
        similarity: Float[Tensor, "blocks"],
        shares: Mapping[str, Float[Tensor, "blocks"]],
        restricted: Sequence[float] | float,
        excluded: Sequence[float] | float,
    ) -> None:
        """Shares irrep by irrep and added up over the sets, with the losses beside them."""
        shares = {"logits": similarity.square(), **shares}
        sums = {k: [float(x[members].sum()) for members in self.sets] for k, x in shares.items()}
        columns: dict[str, Any] = {"of": of, "irrep": self.names, "is_key": self.is_key}
        columns["functions"] = [int(self.sizes[members].sum()) for members in self.sets]
        columns["similarity"] = [*similarity.tolist(), *(x**0.5 for x in sums["logits"][-2:])]
        columns |= {name: sums.get(name, math.nan) for name in SHARES}
        columns |= {"restricted_loss": restricted, "excluded_loss": excluded}
        self.frames.append(pd.DataFrame(columns))

    def add_chance(self, loss: float) -> None:
        """Averages for random tables and activations; similarity is a root mean square.

        With the whole hidden layer removed all answers are equally likely. With nothing removed
        the loss is that of the network.
        """
        n, nontrivial = self.order, self.is_nontrivial.double()
        shares = dict.fromkeys(TABLES, self.sizes.double() / n)
        shares |= dict.fromkeys(HIDDEN, self.sizes * nontrivial / (n**2 - 1))
        self.add(CHANCE, nontrivial / (n * (n - 1) ** 0.5), shares, math.log(n), loss)

    def add_right_answers(self) -> None:
        """The similarity of one-hot logits of the product, as any right network would have."""
        similarity = self.is_nontrivial * (self.sizes.double() / (self.order - 1)).sqrt()
        self.add(ANSWERS, similarity, {}, math.nan, math.nan)


def _streamed(
    model: GroupModel, pairs: Int[Tensor, "pairs 2"], chunk: int, step: Callable[[int, int], None]
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Pairs, their logits and their products, chunk by chunk."""
    done = 0
    for part in pairs.split(chunk):
        yield part, model(part), model.group.products(part)
        done += len(part)
        step(done, len(pairs))
