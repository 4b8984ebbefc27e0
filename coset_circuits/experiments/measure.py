"""Run models under an intervention and measure what they answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from coset_circuits.experiments.interventions import Intervention
from coset_circuits.networks import SilentSiteError, cross_entropy
from coset_circuits.networks.model import GroupModel

# More pairs than this are sampled, unless the caller says how many are wanted.
ALL_PAIRS_UP_TO = 60_000
SAMPLE = 10_000


@dataclass(frozen=True, repr=False)
class Outcome:
    """What a model answers on some pairs: losses in nats, right or wrong, and logit agreement.

    Attributes:
        losses: cross-entropy of each pair.
        correct: whether the largest logit is the product's; a share where others are as large.
        same_answer: share of pairs on which the network gives the same answer.
        logit_r2: share of the variance of the network's logits, centred over the outputs of each
            pair, that this model's logits account for (1 for the network itself).
    """

    losses: Float[Tensor, "pairs"]
    correct: Float[Tensor, "pairs"]
    same_answer: float
    logit_r2: float

    @property
    def accuracy(self) -> float:
        return float(self.correct.mean())

    @property
    def loss(self) -> float:
        """The mean loss."""
        return float(self.losses.mean())

    @property
    def median_loss(self) -> float:
        return float(self.losses.median())

    def __repr__(self) -> str:
        return (
            f"Outcome(accuracy {self.accuracy:.6g}, mean loss {self.loss:.6g} nats, "
            f"{len(self.losses):,} pairs)"
        )


@dataclass(frozen=True)
class _Reference:
    logits: Tensor
    best: Tensor
    energy: float

    @classmethod
    def of(cls, logits: Tensor) -> _Reference:
        return cls(logits, _largest(logits), float(_centred_energy(logits)))


class _Tally:
    def __init__(self) -> None:
        self.losses: list[Tensor] = []
        self.correct: list[Tensor] = []
        self.same = 0.0
        self.error = 0.0
        self.energy = 0.0

    def add(self, logits: Tensor, labels: Tensor, reference: _Reference) -> None:
        best = _largest(logits)
        named = best.gather(1, labels[:, None])[:, 0].double() / best.sum(1)
        self.losses.append(cross_entropy(logits, labels).cpu())
        self.correct.append(named.cpu())
        common, either = (best & reference.best).sum(1), (best | reference.best).sum(1)
        self.same += float((common.double() / either).sum())
        self.energy += reference.energy
        self.error += float(_centred_energy(logits - reference.logits))

    def outcome(self) -> Outcome:
        losses = torch.cat(self.losses)
        # Logits that are constant but for rounding have no variance to account for.
        has_variance = self.energy > 1e-20 * len(losses)
        r2 = 1 - self.error / self.energy if has_variance else float("nan")
        return Outcome(losses, torch.cat(self.correct), self.same / len(losses), r2)


def _largest(logits: Float[Tensor, "pairs order"]) -> Bool[Tensor, "pairs order"]:
    """The answers of each pair: several where logits are equal but for rounding.

    Rounding would else decide the accuracy of a network with exact ties, such as one of equally
    spaced levels whose left input is doubled, and tell apart what computes the same.
    """
    best = logits.amax(1, keepdim=True)
    rounding = min(1e-5, torch.finfo(logits.dtype).eps ** 0.5)
    return logits >= best - rounding * best.abs().clamp_min(1)


def _centred_energy(logits: Tensor) -> Tensor:
    """Σ of squares after each row's mean is taken off."""
    return (logits - logits.mean(1, keepdim=True)).square().sum()


@torch.no_grad()
def measure(
    intervention: Intervention,
    models: Mapping[str, GroupModel],
    pairs: Int[Tensor, "pairs 2"],
    *,
    seed: int = 0,
    chunk: int = 2_000,
) -> dict[str, Outcome | None]:
    """Every model under one intervention, chunk by chunk; the first model is the reference.

    A model that is silent at a site the intervention touches gets None. Small chunks stay in the
    processor's cache.
    """
    pairs = next(iter(models.values())).check_pairs(pairs).cpu()
    tallies = {name: _Tally() for name in models}
    silent: set[str] = set()
    for part in pairs.split(chunk):
        reference = None
        labels = next(iter(models.values())).group.products(part)
        for name, model in models.items():
            if name in silent:
                continue
            try:
                logits = intervention.run(model, part, seed)
            except SilentSiteError:
                silent.add(name)
                continue
            reference = _Reference.of(logits) if reference is None else reference
            tallies[name].add(logits, labels.to(logits.device), reference)
    return {name: None if name in silent else tally.outcome() for name, tally in tallies.items()}


class DistinctModels:
    """Models by name, of which those with the same weights are run once for each experiment.

    Forms of one hypothesis share claims, and controls that explain nothing are all the same.
    """

    def __init__(self, models: Mapping[str, GroupModel]) -> None:
        first: dict[object, str] = {}
        self._first = {name: first.setdefault(m.fingerprint(), name) for name, m in models.items()}
        self._distinct = {name: models[name] for name in dict.fromkeys(self._first.values())}

    def measure(
        self, intervention: Intervention, pairs: Int[Tensor, "pairs 2"], seed: int = 0
    ) -> dict[str, Outcome | None]:
        """Every model under one intervention; see :func:`measure`."""
        outcomes = measure(intervention, self._distinct, pairs, seed=seed)
        return {name: outcomes[first] for name, first in self._first.items()}


def pairs_to_use(pairs: int, wanted: int | None) -> int:
    """How many of so many pairs an experiment takes; None leaves it to their number."""
    if wanted is None:
        wanted = pairs if pairs <= ALL_PAIRS_UP_TO else SAMPLE
    return min(wanted, pairs)


def sampled(
    pairs: Int[Tensor, "pairs 2"], wanted: int | None, seed: int
) -> Int[Tensor, "wanted 2"]:
    """As many pairs as are to be used, drawn without replacement, in their own order."""
    count = pairs_to_use(len(pairs), wanted)
    if count == len(pairs):
        return pairs
    generator = torch.Generator().manual_seed(seed)
    return pairs[torch.randperm(len(pairs), generator=generator)[:count].sort().values]
