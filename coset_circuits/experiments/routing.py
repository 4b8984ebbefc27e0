"""Does attention only route, and are the neurons functions of cosets?

A released transformer of S5, S6, A5 or a dihedral group reads one input with some heads and the
other with the rest. Its pre-activations are therefore sums of a left and a right effect. Nearly
every left effect is constant on the right cosets of some subgroup, and nearly every right effect on
left cosets.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from coset_circuits.algorithms import Tables, negligible
from coset_circuits.algorithms.algorithm import fitted_frame
from coset_circuits.algorithms.coset import cell_means, coset_fvus
from coset_circuits.errors import checked
from coset_circuits.experiments.bench import Bench, measured
from coset_circuits.findings import Finding, Findings, from_table
from coset_circuits.groups import FiniteGroup
from coset_circuits.networks.losses import loss_and_accuracy
from coset_circuits.networks.model import GroupModel
from coset_circuits.networks.transformer import PATTERN
from coset_circuits.progress import Progress
from coset_circuits.thresholds import DEFAULT, Thresholds

SIDES = ("left", "right")
WITHIN = (1e-2, 1e-3)
"""FVUs up to which a neuron counts as a function of cosets."""
AS_IS, EFFECTS, COSETS = "as they are", "main effects", "means on cosets"
_CHUNK = 10_000


@dataclass(frozen=True, repr=False)
class Routing(Findings):
    """What attention reads, which neurons are constant on cosets, and whether that suffices.

    Attributes:
        network, group: the names of the network and its group.
        pairs: the number of pairs that the answers were measured on, and the total.
        additive: share of the pre-activations' variance that is a left effect plus a right effect,
            for the network and for an untrained one.
        heads: each head's attention from the last position: mean and standard deviation over all
            pairs, with those of an untrained network. Empty if there is no attention.
        neurons: share of the non-negligible neurons whose left effect is a function of right
            cosets, or right effect of left cosets. The controls are a relabelled group and an
            untrained network.
        answers: see :meth:`to_dataframe`.
        subgroups: the number of neurons with each subgroup on either side.
        surrogate: the network with pre-activations replaced by coset means; None if the group has
            no proper subgroup.
    """

    network: str
    group: str
    pairs: tuple[int, int]
    additive: tuple[float, float]
    heads: pd.DataFrame
    neurons: pd.DataFrame
    answers: pd.DataFrame
    subgroups: pd.DataFrame
    surrogate: GroupModel | None

    @property
    def title(self) -> str:
        return f"routing and cosets: {self.network}, {self.group}"

    @property
    def source(self) -> str:
        """What accuracies and losses were computed over."""
        some, every = self.pairs
        return f"computed over {'all' if some == every else f'a sample of {some} of the'} {every}"

    @property
    def notes(self) -> Sequence[str]:
        own, untrained = (f"{share:.6f}" for share in self.additive)
        notes = [
            f"{own} of the variance of the pre-activations is a left effect plus a right effect; "
            f"for an untrained network it is {untrained}.",
            "neurons: share of the non-negligible neurons whose left effect has at most this "
            "fraction of its variance within the right cosets of some proper subgroup (right "
            "effects: left cosets). The subgroup is the largest that passes the threshold fvu, "
            "separately for each side.",
            f"answers: {self.source} pairs, with the pre-activations replaced. The skip path is "
            "the path around the neurons.",
        ]
        if self.heads.empty:
            notes.append("This network has no attention.")
        if self.subgroups.empty:
            notes.append(f"{self.group} has no proper subgroup, so cosets are not tested.")
        return notes

    def to_dataframe(self) -> pd.DataFrame:
        """One row per replacement: accuracy, mean loss (nats), and both for a relabelled group."""
        return self.answers.copy()

    def tables(self) -> dict[str, pd.DataFrame]:
        tables = {
            "Attention at the last position": self.heads,
            "Neurons that are functions of cosets": self.neurons,
            "Subgroups, in neurons": self.subgroups,
            "Answers with other pre-activations": self.answers,
        }
        return {caption: table for caption, table in tables.items() if not table.empty}

    def findings(self) -> Iterator[Finding]:
        """Shares have the relabelled group as control, attention an untrained network."""
        own, untrained = self.additive
        control = Finding("routing", None, "additive_share", untrained, "fraction")
        yield Finding("routing", None, "additive_share", own, "fraction", control=control)
        units = {"attention": "fraction", "attention_deviation": "fraction"}
        beside = {name: f"untrained_{name}" for name in units}
        yield from from_table(
            self.heads, "routing", at=["head", "input"], units=units, control=beside
        )
        share = {"coset_share": "fraction"}
        for control in ("relabelled", "untrained"):
            frame = self.neurons.assign(against=control)
            yield from from_table(
                frame,
                "routing",
                at=["side", "within", "against"],
                units=share,
                control={"coset_share": control},
            )
        units = {"accuracy": "fraction", "loss": "nats"}
        beside = {name: f"relabelled_{name}" for name in units}
        yield from from_table(
            self.answers,
            "routing",
            at=["pre_activations", "skip_path"],
            units=units,
            control=beside,
            source=f"{self.source} pairs",
        )


@dataclass(frozen=True)
class RoutingExperiment:
    """Whether attention only routes and the neurons are functions of cosets; see :class:`Routing`.

    It runs on every network; one without attention has neither heads nor a skip path.
    """

    id = "routing"
    decides = False
    by_default = False

    def run(self, bench: Bench) -> Routing:
        """Measure the bench's network, an untrained one, and the cosets of a relabelled group."""
        network, thresholds = bench.network, bench.thresholds
        untrained = measured(network.untrained(bench.seed))
        bench.progress("cosets", 0, 3)
        own = _OnCosets.of(network, None, thresholds)
        random = _OnCosets.of(untrained, None, thresholds)
        other = bench.relabelled_group
        relabelled = None if other is None else _OnCosets.of(network, other, thresholds)
        bench.progress("attention", 1, 3)
        heads, theirs = _attention(network), _attention(untrained)
        beside = {f"untrained_{name}": theirs[name] for name in theirs.columns[2:]}
        bench.progress("answers", 2, 3)
        return Routing(
            network=network.label,
            group=network.group.name,
            pairs=(len(bench.sample), network.group.order**2),
            additive=(network.additive_share, untrained.additive_share),
            heads=heads.assign(**beside),
            neurons=_shares(own, relabelled, random),
            answers=_answers(bench, own, relabelled),
            subgroups=pd.DataFrame() if own is None else own.counts(),
            surrogate=None if own is None else own.surrogate,
        )


@checked
def routing(
    network: GroupModel,
    *,
    pairs: int | None = None,
    seed: int = 0,
    thresholds: Thresholds = DEFAULT,
    progress: Progress | None = None,
) -> Routing:
    """See :class:`Routing`.

    Args:
        network: the network. A float64 copy without the user's hooks is measured.
        pairs: the number of pairs that answers are measured on; by default all, or a sample if
            there are too many.
        seed: random seed for the sample, the relabelled group and the untrained network.
    """
    bench = Bench.around(network, pairs=pairs, seed=seed, thresholds=thresholds, progress=progress)
    return RoutingExperiment().run(bench)


@dataclass(frozen=True)
class _OnCosets:
    """Each neuron's left effect on right cosets, its right effect on left cosets.

    Attributes:
        names: the subgroup of each neuron, by side.
        fvu: the fraction of the effect's variance within the cosets, by side.
    """

    names: dict[str, list[str]]
    fvu: dict[str, Float[np.ndarray, "d_mlp"]]
    counted: Bool[np.ndarray, "d_mlp"]
    surrogate: GroupModel

    @classmethod
    def of(
        cls, network: GroupModel, group: FiniteGroup | None, thresholds: Thresholds
    ) -> _OnCosets | None:
        base, frame = fitted_frame(network, group)
        subgroups = [h for h in base.subgroups if not h.is_trivial and not h.is_whole]
        if not subgroups:
            return None
        tables, names, fvu, means = Tables.of(network, frame), {}, {}, {}
        orders = np.array([h.order for h in subgroups])[:, None]
        for side, cosets, table in zip(SIDES, SIDES[::-1], tables, strict=False):
            left_over = coset_fvus(base, subgroups, table, cosets).numpy()
            # The largest subgroup that passes; if none does, the one with the smallest FVU.
            rank = left_over - np.where(left_over < thresholds.fvu, orders, 0)
            chosen = rank.argmin(0)
            fvu[side] = left_over.min(0)
            names[side] = [subgroups[i].name for i in chosen]
            labels = [getattr(subgroups[i], f"{cosets}_cosets") for i in chosen]
            means[side] = torch.stack([*map(cell_means, table.T, labels)], 1)
        fitted = tables.back(Tables(means["left"], means["right"], tables.unembed, frame))
        surrogate = network.with_tables(
            fitted.left,
            fitted.right,
            network.W_U,
            label=f"{network.label} on cosets",
            silent=("hook_left_embed", "hook_right_embed"),
        )
        return cls(names, fvu, ~negligible(tables, thresholds), surrogate)

    def share(self, side: str, within: float) -> float:
        """The share of non-negligible neurons with at most this FVU."""
        return float((self.fvu[side][self.counted] < within).mean())

    def counts(self) -> pd.DataFrame:
        """The number of non-negligible neurons with each subgroup, the commonest first."""
        left, right = (Counter(np.array(self.names[side])[self.counted].tolist()) for side in SIDES)
        names = sorted({*left, *right}, key=lambda name: (-left[name] - right[name], name))
        return pd.DataFrame({"subgroup": n, "left": left[n], "right": right[n]} for n in names)


def _shares(
    own: _OnCosets | None, relabelled: _OnCosets | None, untrained: _OnCosets | None
) -> pd.DataFrame:
    found = {"coset_share": own, "relabelled": relabelled, "untrained": untrained}
    return pd.DataFrame(
        {
            "side": side,
            "within": within,
            **{k: math.nan if x is None else x.share(side, within) for k, x in found.items()},
        }
        for side in SIDES
        for within in WITHIN
        if own is not None
    )


@torch.no_grad()
def _answers(bench: Bench, own: _OnCosets | None, relabelled: _OnCosets | None) -> pd.DataFrame:
    network, pairs = bench.network, bench.sample
    tables = network.left_table, network.right_table, network.W_U
    models = {AS_IS: network, EFFECTS: network.with_tables(*tables, label=EFFECTS)}
    models |= {} if own is None else {COSETS: own.surrogate}
    rows = []
    for name, model in models.items():
        control = relabelled if name == COSETS else None
        for path in ("kept", "removed") if "hook_skip" in network.sites else ("none",):
            accuracy, loss = _answered(model, pairs, path)
            random = (math.nan, math.nan)
            if control is not None:
                random = _answered(control.surrogate, pairs, path)
            rows.append((name, path, accuracy, loss, *random))
    columns = ["pre_activations", "skip_path", "accuracy", "loss"]
    return pd.DataFrame(rows, columns=[*columns, *(f"relabelled_{c}" for c in columns[2:])])


def _answered(model: GroupModel, pairs: Tensor, path: str) -> tuple[float, float]:
    """Accuracy and mean loss."""
    removed = [("hook_skip", lambda value, hook: 0 * value)] if path == "removed" else []
    with model.hooks(fwd_hooks=removed):
        loss, accuracy = loss_and_accuracy(model, pairs)
    return accuracy, loss


@torch.no_grad()
def _attention(model: GroupModel) -> pd.DataFrame:
    patterns = []
    if PATTERN in model.sites:
        for pairs in model.group.pairs().split(_CHUNK):
            patterns.append(model.run_with_cache(pairs, names_filter=PATTERN)[1][PATTERN].cpu())
    return attention_table(torch.cat(patterns) if patterns else None)


def attention_table(pattern: Float[Tensor, "pairs heads keys"] | None) -> pd.DataFrame:
    """Each head's attention to each input: mean and standard deviation over pairs.

    Columns: ``head``, ``input`` (``left``, ``right`` and, where there is a third token, ``=``),
    ``attention``, ``attention_deviation``. Empty where there is no attention.
    """
    rows = []
    if pattern is not None:
        deviation, mean = torch.std_mean(pattern, 0, correction=0)
        rows = [
            (str(head), name, float(mean[head, i]), float(deviation[head, i]))
            for head in range(mean.shape[0])
            for i, name in enumerate((*SIDES, "=")[: mean.shape[1]])
        ]
    return pd.DataFrame(rows, columns=["head", "input", "attention", "attention_deviation"])
