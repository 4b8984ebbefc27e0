"""The evidence of Chughtai et al. (arXiv 2302.03025) that networks compose via representations.

For each irrep ρ: how alike the logits are to χ_ρ(abc⁻¹); what share of the two embeddings, of the
unembedding and of the hidden layer lies on ρ's matrix elements; and the loss with nothing but ρ(ab)
left of the hidden layer, or with it taken away. On the S5, S6 and dihedral networks that the
authors released the figures agree with theirs; ``docs/errata.md`` says where others are off.

All of it stands beside the same figures where there should be nothing: under a relabelled group, of
an untrained network, by chance, and of logits that are the right answers and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from coset_circuits.algorithms import logit_similarity
from coset_circuits.errors import CosetCircuitsError
from coset_circuits.experiments.bench import Bench, measured
from coset_circuits.experiments.candidates import NETWORK
from coset_circuits.findings import Finding, Findings
from coset_circuits.groups import FiniteGroup, fourier_basis, power, transform
from coset_circuits.networks import HiddenMoments, cross_entropy, hidden_moments
from coset_circuits.networks.model import GroupModel
from coset_circuits.progress import Progress
from coset_circuits.thresholds import DEFAULT, Thresholds
from coset_circuits.training import training_pairs

Step = Callable[[int, int], None]


RELABELLED = "relabelled group"
UNTRAINED = "untrained network"
CHANCE = "chance"
ANSWERS = "right answers"
"""The controls of the network's own figures."""

KEY_IRREPS = "key irreps"
ALL_IRREPS = "all but the trivial"
"""Rows for several irreps at once."""

TABLES: tuple[str, ...] = ("left", "right", "unembed")
HIDDEN: tuple[str, ...] = ("hidden_left", "hidden_right", "hidden_product")
SHARES = ("logits", *TABLES, *HIDDEN)
"""Fractions of variance explained (of the tables' squared norms, which are not centred)."""

_LOSSES = ("restricted_loss", "excluded_loss")


@dataclass(frozen=True, repr=False)
class GCREvidence(Findings):
    """What speaks for group composition via representations, and how much of it nothing has too.

    Attributes:
        network, group, order, d_mlp: whose figures.
        key: the irreps whose logit similarity is above the threshold.
        accuracy, loss: over all pairs (mean cross-entropy in nats).
        train_pairs: how many pairs the network was trained on, over which the excluded loss is
            taken; None where that is not known and it is taken over all pairs.
        train_loss, test_loss: the network's own; None where they cannot be told apart.
        rows: the table; see :meth:`to_dataframe`.
        seed: of the relabelled group and of the untrained network.
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
        """One row an irrep, then the key irreps and all but the trivial one; for each control too.

        Columns: ``of``, the network or a control; ``irrep``; ``is_key``; ``functions``, the
        dimension of the irrep's function space (d² for one of real type); ``similarity`` of the
        logits to χ_ρ(abc⁻¹), for several irreps that to the best sum of their characters;
        ``logits``, its square; shares of ``left`` and ``right`` (the embeddings as the neurons
        read them), of ``unembed`` and, by ρ(a), ρ(b) and ρ(ab), of the centred hidden layer;
        ``restricted_loss`` with only ρ(ab) left of it, over all pairs; ``excluded_loss`` with ρ(ab)
        taken away, over the training pairs.
        """
        return self.rows.copy()

    def summary(self) -> pd.DataFrame:
        """The key irreps together: one row for the network and one for each control."""
        chosen = self.rows.loc[self.rows["irrep"] == KEY_IRREPS]
        return chosen.drop(columns=["irrep", "is_key"]).reset_index(drop=True)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the figures can and cannot say."""
        pairs = (
            "all pairs, the training pairs not being known"
            if self.train_pairs is None
            else f"the {self.train_pairs} training pairs"
        )
        return (
            f"The excluded loss is taken over {pairs}; the restricted loss over all.",
            f"{RELABELLED}: the same irreps of the group under random names (seed {self.seed}).",
            f"{CHANCE}: what random tables and activations have on average (similarity: root mean "
            "square); the losses with nothing left and with nothing taken away.",
            f"{ANSWERS}: one-hot logits of the product are similar to every irrep, so similarity "
            "shows that a network is right on some pairs, not how; a memorised one has it too.",
            "The restricted loss averages the hidden layer over all pairs of one product, which "
            "alone can mend wrong answers: read it beside the accuracy.",
            "Shares of the tables say that they lie on few irreps, which those of cosets do too.",
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
        """Every figure of the network, with that under the relabelled group as its control."""
        units = {
            **dict.fromkeys(("similarity", *SHARES), "fraction"),
            **dict.fromkeys(_LOSSES, "nats"),
        }
        by_source = {of: rows.set_index("irrep") for of, rows in self.rows.groupby("of")}
        for of, rows in by_source.items():
            for irrep, row in rows.to_dict("index").items():
                for quantity, unit in units.items():
                    at = {"irrep": irrep} if of == NETWORK else {"irrep": irrep, "of": of}
                    finding = Finding("gcr", None, quantity, row[quantity], unit, at)
                    if of == NETWORK and RELABELLED in by_source:
                        value: Any = by_source[RELABELLED].at[irrep, quantity]
                        finding = replace(finding, control=replace(finding, value=value))
                    yield finding


@dataclass(frozen=True)
class GCRExperiment:
    """Logit similarity, variance explained, restricted and excluded loss of every irrep.

    Irreps are the group's real blocks, and all pairs are measured; what is held at once are
    ``chunk`` pairs and some tables of order² numbers.

    Attributes:
        train: the pairs that the excluded loss is taken over; by default those that the network was
            trained on, and all pairs where they are not recorded.
        chunk: about how many pairs are held at once; it changes nothing but memory.
    """

    train: Int[Tensor, "train 2"] | None = None
    chunk: int = 2_000
    id = "gcr"
    decides = False
    by_default = False

    def run(self, bench: Bench) -> GCREvidence:
        """The evidence on the bench's network."""
        network, seed, thresholds = bench.network, bench.seed, bench.thresholds
        train, chunk, progress = self.train, self.chunk, bench.progress
        group = network.group
        if group.order == 1:
            raise CosetCircuitsError(
                f"{group.name} has only the trivial irrep; give a larger group."
            )
        if chunk < 1:
            raise CosetCircuitsError(f"A chunk of {chunk} pairs was asked for; give 1 or more.")
        model = network.cpu()
        trained_on = training_pairs(network) if train is None else train
        model.check_pairs(
            torch.zeros(0, 2, dtype=torch.int64) if trained_on is None else trained_on
        )
        if trained_on is not None and not len(trained_on):
            raise CosetCircuitsError(
                "No training pairs were given; give some, or None for all pairs."
            )

        def step(what: str) -> Step:
            return partial(progress, what)

        relabelled = bench.relabelled_group
        groups = [group] if relabelled is None else [group, relabelled]
        moments = hidden_moments(model, groups, chunk=chunk, step=step("hidden layer"))
        runs = {
            name: _Run(model, one)
            for name, one in zip((NETWORK, RELABELLED), moments, strict=False)
        }
        untrained = measured(network.untrained(seed))
        (untaught,) = hidden_moments(untrained, [group], chunk=chunk, step=step("untrained"))
        runs[UNTRAINED] = _Run(untrained, untaught)

        losses, correct = _answers(model, chunk, step("losses"))
        excluded_on = group.pairs() if trained_on is None else trained_on.cpu()
        of_train = torch.zeros(len(losses), dtype=torch.bool)
        of_train[excluded_on[:, 0] * group.order + excluded_on[:, 1]] = True
        own_loss = float(losses[of_train].mean())
        key = runs[NETWORK].similarity > thresholds.similarity
        rows = [
            row
            for name, run in runs.items()
            for row in run.rows(name, key, excluded_on, chunk, step(f"excluded losses, {name}"))
        ]
        rows += _by_chance(group, key, own_loss) + _of_right_answers(group, key)
        return GCREvidence(
            network=network.label,
            group=group.name,
            order=group.order,
            d_mlp=network.d_mlp,
            key=tuple(group.real_blocks[i].name for i in key.nonzero()[:, 0].tolist()),
            accuracy=float(correct.double().mean()),
            loss=float(losses.mean()),
            train_pairs=None if trained_on is None else len(trained_on),
            train_loss=None if trained_on is None else own_loss,
            test_loss=None if of_train.all() else float(losses[~of_train].mean()),
            rows=pd.DataFrame(rows),
            seed=seed,
            thresholds=thresholds,
        )


def gcr_evidence(
    network: GroupModel,
    *,
    train: Int[Tensor, "train 2"] | None = None,
    seed: int = 0,
    chunk: int = 2_000,
    thresholds: Thresholds = DEFAULT,
    progress: Progress | None = None,
) -> GCREvidence:
    """See :class:`GCRExperiment`, as for ``train`` and ``chunk``.

    Args:
        network: whose evidence; a copy without the user's hooks is measured, in float64.
        seed: of the relabelled group and of the untrained network.
        thresholds: ``similarity`` is that above which an irrep is key.
        progress: called with (what is being done, steps done, steps in all).

    Raises:
        CosetCircuitsError: the group has only the trivial irrep, ``train`` are no pairs, or the
            chunk is below 1.
    """
    bench = Bench.around(network, seed=seed, thresholds=thresholds, progress=progress)
    return GCRExperiment(train, chunk).run(bench)


class _Run:
    """One model's figures under one group."""

    def __init__(self, model: GroupModel, moments: HiddenMoments) -> None:
        self.model, self.moments, self.group = model, moments, moments.group
        self.similarity = logit_similarity(model, moments)
        # What each of ρ's functions of the product writes to the logits.
        self._written = transform(self.group, moments.by_product) @ model.W_U
        self._basis = fourier_basis(self.group)

    def rows(
        self,
        name: str,
        key: Bool[Tensor, "blocks"],
        excluded_on: Int[Tensor, "pairs 2"],
        chunk: int,
        step: Step | None,
    ) -> list[dict[str, Any]]:
        """One row an irrep, and those of the key irreps and of all but the trivial one together."""
        sets = _sets(key)
        restricted = [self._restricted(members) for members in sets]
        excluded = self._excluded(sets, excluded_on, chunk, step)
        return _rows(name, self.group, key, self.similarity, self._shares(), restricted, excluded)

    def _shares(self) -> dict[str, Float[Tensor, "blocks"]]:
        moments, mean = self.moments, self.moments.mean
        tables = {
            "left": self.model.left_table,
            "right": self.model.right_table,
            "unembed": self.model.W_U.T,
        }
        parts = {
            "hidden_left": moments.by_left,
            "hidden_right": moments.by_right,
            "hidden_product": moments.by_product,
        }
        variance = self.group.order * moments.variance()
        shares = {name: _share(self.group, t, t.square().sum()) for name, t in tables.items()}
        centred = {name: part - mean for name, part in parts.items()}
        shares |= {name: _share(self.group, part, variance) for name, part in centred.items()}
        return shares

    def _functions(self, members: Bool[Tensor, "blocks"]) -> Bool[Tensor, "order"]:
        return members.repeat_interleave(torch.tensor(_sizes(self.group)))

    def _restricted(self, members: Bool[Tensor, "blocks"]) -> float:
        """The mean loss with only these irreps' part of the hidden layer's product means left."""
        functions = self._functions(members)
        logits = self._basis[:, functions] @ self._written[functions]
        logits = logits if self.model.b_U is None else logits + self.model.b_U
        # Under a relabelled group the part follows its products, the label those of the network's.
        return float(_label_losses(logits)[self.group.table, self.model.group.table].mean())

    def _excluded(
        self,
        sets: list[Bool[Tensor, "blocks"]],
        pairs: Int[Tensor, "pairs 2"],
        chunk: int,
        step: Step | None,
    ) -> list[float]:
        """The mean loss with these irreps' part taken away from the hidden layer."""
        totals, done = [0.0] * len(sets), 0
        functions = [self._functions(members) for members in sets]
        for part in pairs.split(chunk):
            logits, labels = self.model(part), self.model.group.products(part)
            basis = self._basis[self.group.products(part)]
            for i, chosen in enumerate(functions):
                left = logits - basis[:, chosen] @ self._written[chosen]
                totals[i] += float(cross_entropy(left, labels).sum())
            done += len(part)
            if step is not None:
                step(done, len(pairs))
        return [total / len(pairs) for total in totals]


def _sets(key: Bool[Tensor, "blocks"]) -> list[Bool[Tensor, "blocks"]]:
    """Each irrep alone, the key irreps, and all but the trivial one."""
    every = torch.ones_like(key)
    every[0] = False
    return [*torch.eye(len(key), dtype=torch.bool), key, every]


def _sizes(group: FiniteGroup) -> list[int]:
    """The dimension of each irrep's functions."""
    return [block.parameters for block in group.real_blocks]


def _share(
    group: FiniteGroup, table: Float[Tensor, "order columns"], total: Tensor | float
) -> Float[Tensor, "blocks"]:
    """The share of a total that lies on each irrep's functions; 0 of nothing."""
    total = float(total)
    energies = power(group, table).sum(1)
    return energies / total if total > 0 else torch.zeros_like(energies)


def _label_losses(logits: Float[Tensor, "rows order"]) -> Float[Tensor, "rows order"]:
    """Each row's cross-entropy for every label. Only the answer's own can be small: it is exact."""
    losses = -logits.log_softmax(1)
    answers = logits.argmax(1)
    return losses.scatter(1, answers[:, None], cross_entropy(logits, answers)[:, None])


def _rows(
    of: str,
    group: FiniteGroup,
    key: Bool[Tensor, "blocks"],
    similarity: Float[Tensor, "blocks"],
    shares: Mapping[str, Float[Tensor, "blocks"]],
    restricted: Sequence[float],
    excluded: Sequence[float],
) -> list[dict[str, Any]]:
    """Shares irrep by irrep and added up over the sets, with the losses beside them."""
    irreps, sizes = [block.name for block in group.real_blocks], _sizes(group)
    shares = {"logits": similarity.square(), **shares}
    rows = []
    for i, members in enumerate(_sets(key)):
        added = {k: float(shares[k][members].sum()) if k in shares else math.nan for k in SHARES}
        is_one = i < len(irreps)
        rows.append(
            {
                "of": of,
                "irrep": irreps[i] if is_one else (KEY_IRREPS, ALL_IRREPS)[i - len(irreps)],
                "is_key": bool(key[i]) if is_one else None,
                "functions": sum(size for size, one in zip(sizes, members, strict=True) if one),
                "similarity": float(similarity[i]) if is_one else added["logits"] ** 0.5,
                **added,
                "restricted_loss": restricted[i],
                "excluded_loss": excluded[i],
            }
        )
    return rows


def _by_chance(
    group: FiniteGroup, key: Bool[Tensor, "blocks"], loss: float
) -> list[dict[str, Any]]:
    """What tables and activations drawn at random have on average; similarity's root mean square.

    With nothing left of the hidden layer every answer has one probability; with nothing taken away
    the loss is the network's own.
    """
    n, sets = group.order, len(key) + 2
    functions = torch.tensor(_sizes(group), dtype=torch.float64)
    nontrivial = torch.ones_like(functions)
    nontrivial[0] = 0.0
    shares = dict.fromkeys(TABLES, functions / n)
    shares |= dict.fromkeys(HIDDEN, functions * nontrivial / (n**2 - 1))
    similarity = nontrivial / (n * (n - 1) ** 0.5)
    return _rows(CHANCE, group, key, similarity, shares, [math.log(n)] * sets, [loss] * sets)


def _of_right_answers(group: FiniteGroup, key: Bool[Tensor, "blocks"]) -> list[dict[str, Any]]:
    """The logit similarity of one-hot logits of the product: all that being right comes to."""
    similarity = (torch.tensor(_sizes(group), dtype=torch.float64) / (group.order - 1)).sqrt()
    similarity[0] = 0.0
    unknown = [math.nan] * (len(key) + 2)
    return _rows(ANSWERS, group, key, similarity, {}, unknown, unknown)


@torch.no_grad()
def _answers(
    model: GroupModel, chunk: int, step: Step | None
) -> tuple[Float[Tensor, "pairs"], Bool[Tensor, "pairs"]]:
    """The loss of every pair, and whether its answer is right."""
    pairs = model.group.pairs()
    losses = torch.empty(len(pairs), dtype=torch.float64)
    correct = torch.empty(len(pairs), dtype=torch.bool)
    for start in range(0, len(pairs), chunk):
        part = slice(start, start + chunk)
        logits, labels = model(pairs[part]), model.group.products(pairs[part])
        losses[part] = cross_entropy(logits, labels)
        correct[part] = logits.argmax(1) == labels
        if step is not None:
            step(min(start + chunk, len(pairs)), len(pairs))
    return losses, correct
