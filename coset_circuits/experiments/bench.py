"""The input of every experiment: a network in float64, fitted hypotheses, and their controls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from coset_circuits.algorithms import (
    ALGORITHMS,
    Algorithm,
    Circuit,
    DoesNotApplyError,
    Tables,
    negligible,
    nulls,
)
from coset_circuits.errors import whole, whole_seed
from coset_circuits.experiments.candidates import NETWORK, Candidate, Kind, unused_key
from coset_circuits.experiments.controls import relabelled_group
from coset_circuits.experiments.forms import SELECTION, FormError, Forms, at
from coset_circuits.experiments.measure import Known, sampled
from coset_circuits.experiments.threads import side_by_side
from coset_circuits.groups import FiniteGroup
from coset_circuits.networks.model import GroupModel, Model, check_network, uncompiled
from coset_circuits.progress import Progress, silent
from coset_circuits.thresholds import DEFAULT, Thresholds


@dataclass
class Bench:
    """One network on the bench, with the hypotheses fitted to it.

    Attributes:
        network: a copy in float64 without gradients and without the user's hooks.
        candidates: the hypotheses, then their relabelled controls, then the nulls.
        not_applicable: keys of hypotheses that do not apply here, each with the reason.
        asked: the requested hypotheses, as given.
        forms: the error of each form of a hypothesis, if there were several to choose from.
        used: ids of the interventions used to choose forms; they are not evidence.
        pairs: the requested number of pairs; None leaves it to the experiment.
        seed: random seed for noise, relabelling, samples, random sets and bootstrap.
        progress: the callback of the running experiment, set by the caller.
    """

    network: GroupModel
    candidates: tuple[Candidate, ...] = ()
    not_applicable: Mapping[str, str] = field(default_factory=dict)
    asked: Sequence[str | Algorithm] = ()
    forms: Sequence[FormError] = ()
    used: frozenset[str] = frozenset()
    pairs: int | None = None
    seed: int = 0
    thresholds: Thresholds = DEFAULT
    progress: Progress = silent
    known: Known = field(default_factory=dict, repr=False)
    """Outcomes already measured over the sample of pairs."""

    @classmethod
    def fitted(
        cls,
        network: GroupModel,
        algorithms: Sequence[str | Algorithm],
        *,
        pairs: int | None = None,
        seed: int = 0,
        thresholds: Thresholds = DEFAULT,
        relative_error: float | None = None,
        deltas: Sequence[float] = (),
    ) -> Bench:
        """Fit these hypotheses, their controls under a relabelled group, and the nulls.

        Args:
            algorithms: algorithms, or keys of the registry. A key selects the best form of its
                hypothesis; see :mod:`coset_circuits.experiments.forms`.
            relative_error: the precision at which algorithms choose structure by bits, if they can.
            deltas: further relative errors, besides those of the thresholds, at which description
                lengths are computed.
        """
        bench = cls(measured(network), pairs=pairs, seed=seed, thresholds=thresholds)
        bench.asked = tuple(algorithms)
        tables = Tables.of(bench.network)
        neurons = max(1, int((~negligible(tables, thresholds)).sum()))
        deltas = (*thresholds.relative_errors, *deltas)

        def candidate(circuit: Circuit, kind: Kind, key: str, of: str | None = None) -> Candidate:
            bits = {delta: circuit.description_length(delta).bits / neurons for delta in deltas}
            return Candidate(key, kind, circuit, bits, of)

        chosen, fitted_nulls = bench._chosen(algorithms, relative_error)
        references = [candidate(circuit, "null", circuit.name) for circuit in fitted_nulls]
        taken = {NETWORK, *(c.key for c in references)}
        hypotheses, controls = [], []
        for wanted, circuit, control in chosen:
            key = unused_key(wanted, taken)
            hypotheses.append(candidate(circuit, "hypothesis", key))
            taken.add(key)
            if not isinstance(control, str):
                name = unused_key(f"{key}, relabelled", taken)
                controls.append(candidate(control, "control", name, key))
                taken.add(name)
        bench.candidates = (*hypotheses, *controls, *references)
        return bench

    def _chosen(
        self, algorithms: Sequence[str | Algorithm], relative_error: float | None
    ) -> tuple[list[tuple[str, Circuit, Circuit | str]], list[Circuit]]:
        """Every hypothesis that applies, with its control or why it has none; and the nulls.

        A registered hypothesis has its best form.
        """
        network, known = self.network, self.known
        chooser = Forms(network, self.sample, self.seed, self.thresholds, relative_error, known)
        reasons: dict[str, str] = {}
        fitted: list[tuple[str, Circuit]] = []
        keys = [given if isinstance(given, str) else given.name for given in algorithms]

        def fit(key: str, given: str | Algorithm) -> tuple[Circuit, Sequence[FormError]] | str:
            forms = ALGORITHMS[given] if isinstance(given, str) else (given,)
            try:
                if len(forms) == 1:
                    return at(forms[0], relative_error).fit(network), ()
                return chooser.choose(key, forms)
            except DoesNotApplyError as error:
                return str(error)

        def circuits() -> Iterator[Circuit]:
            for key, found in zip(keys, each(fit, keys, algorithms), strict=True):
                if isinstance(found, str):
                    reasons[key] = found
                    continue
                fitted.append((key, found[0]))
                self.forms = [*self.forms, *found[1]]
                yield found[0]

        registered = all(isinstance(given, str) for given in algorithms)
        with side_by_side(network.device, registered) as each:
            dull = each(lambda null: at(null, relative_error).fit(network), nulls(self.thresholds))
            # A control may be fitted while later hypotheses are.
            controls = list(each(self.relabelled, circuits()))
            fitted_nulls = list(dull)
        self.not_applicable = reasons
        self.used = frozenset(SELECTION if self.forms else ())
        both = [(*one, control) for one, control in zip(fitted, controls, strict=True)]
        return both, fitted_nulls

    @classmethod
    def around(
        cls,
        subject: Circuit | GroupModel,
        *,
        pairs: int | None = None,
        seed: int = 0,
        thresholds: Thresholds = DEFAULT,
        progress: Progress | None = None,
    ) -> Bench:
        """A bench for one experiment on one fitted circuit or on a network."""
        subject = uncompiled(subject)
        if not hasattr(subject, "surrogate"):
            check_network(subject)
        seed, pairs = whole_seed(seed), None if pairs is None else whole("number of pairs", pairs)
        is_network = isinstance(subject, GroupModel)
        candidates = ()
        if not is_network:
            key = unused_key(subject.name, {NETWORK})
            candidates = (Candidate(key, "hypothesis", subject, {}),)
        return cls(
            measured(subject if is_network else subject.network),
            candidates,
            pairs=pairs,
            seed=seed,
            thresholds=thresholds,
            progress=progress or silent,
        )

    @classmethod
    def for_options(
        cls, subject: Circuit | GroupModel, options: Mapping[str, Any]
    ) -> tuple[Bench, dict[str, Any]]:
        """Split options into those of a bench, which make one, and the rest."""
        names = ("pairs", "seed", "thresholds", "progress")
        mine = {name: options[name] for name in names if name in options}
        rest = {name: value for name, value in options.items() if name not in mine}
        return cls.around(subject, **mine), rest

    @property
    def hypotheses(self) -> list[Candidate]:
        """The compared hypotheses, without controls and nulls."""
        return [c for c in self.candidates if c.kind == "hypothesis"]

    @cached_property
    def sample(self) -> Int[Tensor, "pairs 2"]:
        """The pairs that interventions are measured on: all, or a sample if there are too many."""
        return sampled(self.network.group.pairs(), self.pairs, self.seed)

    def control_of(self, key: str) -> Candidate | None:
        """The relabelled control of a hypothesis; None if it has none."""
        return next((c for c in self.candidates if c.of == key), None)

    @cached_property
    def relabelled_group(self) -> FiniteGroup | None:
        """The network's group under random names; None if every relabelling keeps its structure."""
        return relabelled_group(self.network.group, self.seed)

    def relabelled(self, circuit: Circuit) -> Circuit | str:
        """The same hypothesis fitted under a relabelled group, or why there is none.

        Every experiment takes its relabelled control from here.
        """
        fitted = next((c for c in self.candidates if c.circuit is circuit), None)
        control = None if fitted is None else self.control_of(fitted.key)
        if control is not None:
            return control.circuit
        if circuit.algorithm is None:
            return "the circuit does not name the algorithm that fitted it"
        if self.relabelled_group is None:
            return f"every relabelling of {self.network.group.name} keeps its structure"
        try:
            return circuit.algorithm.fit(circuit.network, self.relabelled_group)
        except DoesNotApplyError as error:
            return str(error)


def measured(model: Model) -> Model:
    """The copy that is measured: in float64, without gradients and the user's hooks.

    Its label and provenance describe the current weights.
    """
    check_network(uncompiled(model))
    with torch.inference_mode(False):
        copy = uncompiled(model).unhooked().double().requires_grad_(False)
        copy.label, copy.provenance = copy.identity()
        return copy
