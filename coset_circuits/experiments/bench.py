"""What an experiment may use: a network in float64, fitted hypotheses, their controls, the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from coset_circuits.algorithms import Algorithm, Circuit, DoesNotApplyError, nulls
from coset_circuits.experiments.candidates import NETWORK, Candidate, unused_key
from coset_circuits.experiments.controls import relabelled_group
from coset_circuits.experiments.measure import sampled
from coset_circuits.groups import FiniteGroup
from coset_circuits.networks.model import GroupModel, Model
from coset_circuits.progress import Progress, silent
from coset_circuits.thresholds import DEFAULT, Thresholds


@dataclass
class Bench:
    """One network on the bench, with the hypotheses fitted to it.

    Attributes:
        network: a copy in float64 without gradients and without the user's hooks.
        candidates: the hypotheses, then their relabelled controls, then the nulls.
        not_applicable: display names of hypotheses that have nothing to use here, and why.
        pairs: how many pairs were asked for; None leaves it to the experiment.
        seed: of noise, relabelling, samples, random sets and bootstrap.
        progress: of the experiment that is running; whoever runs it sets this before.
    """

    network: GroupModel
    candidates: tuple[Candidate, ...] = ()
    not_applicable: Mapping[str, str] = field(default_factory=dict)
    pairs: int | None = None
    seed: int = 0
    thresholds: Thresholds = DEFAULT
    progress: Progress = silent

    @classmethod
    def fitted(
        cls,
        network: GroupModel,
        algorithms: Sequence[Algorithm],
        *,
        pairs: int | None = None,
        seed: int = 0,
        thresholds: Thresholds = DEFAULT,
    ) -> Bench:
        """Fit exactly these hypotheses, each also under a relabelled group, and the nulls."""
        bench = cls(measured(network), pairs=pairs, seed=seed, thresholds=thresholds)
        references = [
            Candidate.of_circuit(null.fit(bench.network), "null", thresholds, null.name)
            for null in nulls(thresholds)
        ]
        taken = {NETWORK, *(c.key for c in references)}
        hypotheses, controls, not_applicable = [], [], {}
        for algorithm in algorithms:
            try:
                circuit = algorithm.fit(bench.network)
            except DoesNotApplyError as error:
                not_applicable[algorithm.name] = str(error)
                continue
            key = unused_key(algorithm.name, taken)
            hypotheses.append(Candidate.of_circuit(circuit, "hypothesis", thresholds, key))
            taken.add(key)
            control = bench.relabelled(circuit)
            if not isinstance(control, str):
                name = unused_key(f"{key}, relabelled", taken)
                controls.append(Candidate.of_circuit(control, "control", thresholds, name, of=key))
                taken.add(name)
        bench.candidates = (*hypotheses, *controls, *references)
        bench.not_applicable = not_applicable
        return bench

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
        """A bench for one experiment on one circuit that is fitted already, or on a network."""
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
        """A bench from those options that are a bench's, and the others."""
        names = ("pairs", "seed", "thresholds", "progress")
        mine = {name: options[name] for name in names if name in options}
        rest = {name: value for name, value in options.items() if name not in mine}
        return cls.around(subject, **mine), rest

    @property
    def hypotheses(self) -> list[Candidate]:
        """The candidates that are compared."""
        return [c for c in self.candidates if c.kind == "hypothesis"]

    @cached_property
    def sample(self) -> Int[Tensor, "pairs 2"]:
        """The pairs that interventions are measured on: all, unless there are too many."""
        return sampled(self.network.group.pairs(), self.pairs, self.seed)

    @cached_property
    def models(self) -> dict[str, GroupModel]:
        """The network, then every candidate's surrogate, by their keys."""
        surrogates = {c.key: c.circuit.surrogate() for c in self.candidates}
        return {NETWORK: self.network, **surrogates}

    def control_of(self, key: str) -> Candidate | None:
        """The relabelled control of a hypothesis; None where there is none."""
        return next((c for c in self.candidates if c.of == key), None)

    @cached_property
    def relabelled_group(self) -> FiniteGroup | None:
        """The network's group under random names; None where every relabelling keeps it."""
        return relabelled_group(self.network.group, self.seed)

    def relabelled(self, circuit: Circuit) -> Circuit | str:
        """The same hypothesis fitted under a relabelled group, or why there is none.

        The one relabelled control of the library: every experiment takes it from here.
        """
        fitted = next((c for c in self.candidates if c.circuit is circuit), None)
        control = None if fitted is None else self.control_of(fitted.key)
        if control is not None:
            return control.circuit
        if circuit.algorithm is None:
            return "the circuit does not say which algorithm it is fitted by"
        if self.relabelled_group is None:
            return f"every relabelling of {self.network.group.name} keeps its structure"
        try:
            return circuit.algorithm.fit(circuit.network, self.relabelled_group)
        except DoesNotApplyError as error:
            return str(error)


def measured(model: Model) -> Model:
    """A copy in float64, without gradients and without the user's hooks: what is measured."""
    with torch.inference_mode(False):
        return model.unhooked().double().requires_grad_(False)
