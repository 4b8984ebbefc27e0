"""Run models under an intervention and measure their answers."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from coset_circuits.errors import CosetCircuitsError, checked
from coset_circuits.experiments.interventions import Intervention
from coset_circuits.experiments.interventions import intervention as named_intervention
from coset_circuits.networks import GroupMLP, SilentSiteError, cross_entropy
from coset_circuits.networks.model import GroupModel, check_precision, uncompiled

# A larger number of pairs is sampled, unless the caller gives a number.
ALL_PAIRS_UP_TO = 60_000
SAMPLE = 10_000
CACHED = 2**20
"""How many numbers of one kind (pre-activations, logits) are made of a chunk of pairs."""
KEPT = 2**23
"""How many logits of a reference are kept for the next models."""


@dataclass(frozen=True, repr=False)
class Outcome:
    """A model's answers on some pairs: losses in nats, correctness, and logit agreement.

    Attributes:
        losses: cross-entropy of each pair.
        correct: whether the largest logit is the product's; ties count as a share.
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
    """What other models are compared with; the energy is not computed if there are none."""

    logits: Tensor
    best: Tensor
    count: Tensor
    energy: float

    @classmethod
    def of(cls, logits: Tensor, *, is_alone: bool) -> _Reference:
        best = _largest(logits)
        if is_alone:
            return cls(logits, best, _counted(best), math.inf)
        flat, energy = logits.flatten(), _centred_energy(logits.clone())
        # Logits that are constant up to rounding have no variance to account for.
        rounding = (16 * torch.finfo(logits.dtype).eps) ** 2 * float(flat.dot(flat))
        return cls(logits, best, _counted(best), energy if energy > rounding else 0.0)


class _Tally:
    def __init__(self) -> None:
        self.losses: list[Tensor] = []
        self.correct: list[Tensor] = []
        self.same = 0.0
        self.error = 0.0
        self.energy = 0.0

    def add(self, logits: Tensor, labels: Tensor, reference: _Reference) -> None:
        best = reference.best if logits is reference.logits else _largest(logits)
        count = _counted(best)
        self.losses.append(cross_entropy(logits, labels).cpu())
        self.correct.append((best.gather(1, labels[:, None])[:, 0].double() / count).cpu())
        self.energy += reference.energy
        if logits is reference.logits:
            self.same += len(logits)
            return
        common = _counted(best & reference.best)
        either = count + reference.count - common
        self.same += float((common.double() / either).sum())
        self.error += _centred_energy(logits - reference.logits)

    def outcome(self) -> Outcome:
        losses = torch.cat(self.losses)
        r2 = 1 - self.error / self.energy if self.energy else float("nan")
        return Outcome(losses, torch.cat(self.correct), self.same / len(losses), r2)


def _largest(logits: Float[Tensor, "pairs order"]) -> Bool[Tensor, "pairs order"]:
    """The answers of each pair; several if logits are equal up to rounding.

    Otherwise rounding would decide the accuracy of a network with exact ties, such as one of
    equally spaced levels whose left input is doubled, and separate models that compute the same.
    """
    best = logits.amax(1, keepdim=True)
    rounding = min(1e-5, torch.finfo(logits.dtype).eps ** 0.5)
    return logits >= best - rounding * best.abs().clamp_min(1)


def _counted(best: Bool[Tensor, "pairs order"]) -> Int[Tensor, "pairs"]:
    # Torch adds bytes four times as fast as truth values.
    return best.view(torch.uint8).sum(1, dtype=torch.int32)


def _centred_energy(logits: Tensor) -> float:
    """Σ of squares after each row's mean is taken off, in the memory of what is given."""
    centred = logits.sub_(logits.mean(1, keepdim=True)).flatten()
    return float(centred.dot(centred))


References = dict[tuple[int, int, int], tuple[Intervention, _Reference]]
"""What the network answers, by the intervention's id(), the size of a chunk and its number."""


@checked
@torch.no_grad()
def measure(
    intervention: str | Intervention,
    models: Mapping[str, GroupModel],
    pairs: Int[Tensor, "pairs 2"],
    *,
    seed: int = 0,
    chunk: int | None = None,
    references: References | None = None,
) -> dict[str, Outcome | None]:
    """Run every model under one intervention, chunk by chunk; the first model is the reference.

    A model that is silent at a site the intervention touches gets None. By default chunks are so
    small that they stay in the processor's cache. What is among the references is not computed
    again, and what is computed is added; all are on the same pairs with the same seed.

    Raises:
        CosetCircuitsError: there are no pairs, no models or no such intervention; models differ in
            their number of elements; the intervention changes the number of pairs; the first
            model's logits are NaN or infinite; or autocast is on.
    """
    intervention = named_intervention(intervention)
    models = {name: uncompiled(model) for name, model in models.items()}
    if not models or not all(isinstance(model, GroupModel) for model in models.values()):
        raise CosetCircuitsError("models holds no networks; give networks or surrogates, by name.")
    first = next(iter(models.values()))
    order = first.group.order
    for name, model in models.items():
        check_precision(model)
        if model.group.order != order:
            raise CosetCircuitsError(
                f"{name} has {model.group.order} elements and {first.label} has {order}; give a "
                "network and its surrogates."
            )
    pairs = first.check_pairs(pairs).cpu()
    if not len(pairs):
        raise CosetCircuitsError("There are no pairs; give at least one, such as group.pairs().")
    if chunk is None:
        chunk = max(1, CACHED // max(max(model.W_U.shape) for model in models.values()))
    # What would take much memory is computed again instead; alone, a reference is not complete.
    kept = references if len(pairs) * order <= KEPT and len(models) > 1 else None
    with ExitStack() as held:
        for model in models.values():
            held.enter_context(model.tables_held())
        run = _Run(intervention, models, seed)
        for i, part in enumerate(pairs.split(chunk)):
            place = id(intervention), chunk, i
            _, known = (kept or {}).get(place, (None, None))
            reference = run.chunk(part, known)
            if kept is not None and reference is not None and run.first not in run.silent:
                kept[place] = intervention, reference
    return {
        name: None if name in run.silent else tally.outcome() for name, tally in run.tallies.items()
    }


class _Run:
    """One intervention on several models; the first that is not silent is the reference."""

    def __init__(
        self, intervention: Intervention, models: Mapping[str, GroupModel], seed: int
    ) -> None:
        self.intervention, self.models, self.seed = intervention, models, seed
        self.first, *_ = models
        self.tallies = {name: _Tally() for name in models}
        self.silent: set[str] = set()
        one = models[self.first]
        self.same = {name for name, model in models.items() if _computes_the_same(one, model)}

    def chunk(
        self, pairs: Int[Tensor, "pairs 2"], reference: _Reference | None
    ) -> _Reference | None:
        """Add what all models answer on these pairs; ``reference``: the first's, if known."""
        one = self.models[self.first]
        labels = one.group.products(pairs).to(one.device)
        for name in self.models:
            if name in self.silent:
                continue
            repeats = name in self.same and self.first not in self.silent and reference is not None
            # One pair shows whether the model is silent.
            logits = self._logits(name, pairs[:1] if repeats else pairs)
            if logits is None:
                continue
            if reference is None:
                self._check_finite(logits, name)
                reference = _Reference.of(logits, is_alone=len(self.models) == 1)
            logits = reference.logits if repeats else logits
            self.tallies[name].add(logits, labels, reference)
        return reference

    def _check_finite(self, logits: Tensor, name: str) -> None:
        # The sum of all costs a tenth of a look at each.
        if not math.isfinite(float(logits.sum())):
            raise CosetCircuitsError(
                f"The intervention {self.intervention.id} makes logits of {self.models[name].label}"
                " NaN or infinite, which nothing can be compared with; change its hooks, or leave "
                "it out."
            )

    def _logits(self, name: str, pairs: Int[Tensor, "pairs 2"]) -> Tensor | None:
        try:
            return self.intervention.run(self.models[name], pairs, self.seed)
        except SilentSiteError:
            self.silent.add(name)
            return None


def _computes_the_same(one: GroupModel, other: GroupModel) -> bool:
    """Whether the other says as much, embeddings apart, as an MLP does, and with the same tables.

    The null of raw weights does.
    """
    if other is one:
        return True
    are_mlps = isinstance(one, GroupMLP) and isinstance(other, GroupMLP)
    if not are_mlps or not other.silent >= one.before_tables or one.activation != other.activation:
        return False
    mine, others = (
        [m.left_table, m.right_table, m.W_U, m.pre_scale, m.b_U, m.cancelled] for m in (one, other)
    )
    return all(
        (x is y) if x is None or y is None else torch.equal(x, y)
        for x, y in zip(mine, others, strict=True)
    )


Known = dict[tuple[object, int], tuple[Intervention, "Outcome | None"]]
"""Outcomes by the model's fingerprint and the intervention's id(), all on the same pairs."""


class DistinctModels:
    """Models by name, to run in float32; those with equal weights are run only once.

    Forms of one hypothesis share claims, and all controls that explain nothing are equal. In
    float32 a run takes half as long, and losses are those of float64 to 0.02%.

    Args:
        models: the first is the reference.
        known: outcomes beside the same reference on the same pairs with the same seed; what is
            among them is not measured again, and what is measured is added.
        references: the same of the reference's logits.
    """

    def __init__(
        self,
        models: Mapping[str, GroupModel],
        known: Known | None = None,
        references: References | None = None,
    ) -> None:
        self._prints = {name: model.fingerprint() for name, model in models.items()}
        first: dict[object, str] = {}
        self._first = {name: first.setdefault(p, name) for name, p in self._prints.items()}
        self._distinct = {name: models[name] for name in dict.fromkeys(first.values())}
        self._copies = threading.local()
        self._known: Known = {} if known is None else known
        self._references = references

    @property
    def device(self) -> torch.device:
        """Where the reference is."""
        return next(iter(self._distinct.values())).device

    def measure(
        self, intervention: Intervention, pairs: Int[Tensor, "pairs 2"], seed: int = 0
    ) -> dict[str, Outcome | None]:
        """Run every model under one intervention; see :func:`measure`."""
        keys = {name: (self._prints[name], id(intervention)) for name in self._distinct}
        reference, *others = self._distinct
        missing = [name for name in others if keys[name] not in self._known]
        if missing or keys[reference] not in self._known:
            run = {name: self._copy(name) for name in (reference, *missing)}
            found = measure(intervention, run, pairs, seed=seed, references=self._references)
            self._known.update((keys[name], (intervention, o)) for name, o in found.items())
        return {name: self._known[keys[first]][1] for name, first in self._first.items()}

    def _copy(self, name: str) -> GroupModel:
        """This thread's copy: another thread's hooks do not act on it."""
        mine = vars(self._copies)
        if name not in mine:
            mine[name] = self._distinct[name].single()
        return mine[name]


def pairs_to_use(pairs: int, wanted: int | None) -> int:
    """The number of pairs that an experiment uses; None chooses it by the total."""
    if wanted is None:
        wanted = pairs if pairs <= ALL_PAIRS_UP_TO else SAMPLE
    return min(wanted, pairs)


def sampled(
    pairs: Int[Tensor, "pairs 2"], wanted: int | None, seed: int
) -> Int[Tensor, "wanted 2"]:
    """The pairs to use, drawn without replacement, in their original order."""
    count = pairs_to_use(len(pairs), wanted)
    if count == len(pairs):
        return pairs
    generator = torch.Generator().manual_seed(seed)
    return pairs[torch.randperm(len(pairs), generator=generator)[:count].sort().values]
