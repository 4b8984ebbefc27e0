"""Replace parts of a network by what a circuit computes: per site, per claim, and whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pandas as pd
from jaxtyping import Int
from torch import Tensor

from coset_circuits.algorithms import Circuit
from coset_circuits.algorithms.algorithm import check_circuit
from coset_circuits.errors import checked
from coset_circuits.experiments.bench import Bench, measured
from coset_circuits.experiments.candidates import NETWORK
from coset_circuits.experiments.experiment import OfEachHypothesis
from coset_circuits.experiments.interventions import Hooks, Intervention
from coset_circuits.experiments.measure import Outcome, measure
from coset_circuits.findings import Finding, Findings, from_table
from coset_circuits.networks.model import GroupModel

BOTH = "hook_left_pre + hook_right_pre"
WHOLE = "surrogate alone"
_UNITS = {"accuracy": "fraction", "loss": "nats", "logit_r2": "fraction"}


@dataclass(frozen=True, repr=False)
class Substitution(Findings):
    """The network's answers with parts of it replaced by what a circuit computes there.

    Attributes:
        circuit: the circuit's name.
        rows: for each part, its kind (``site``, ``claim`` or ``whole``) and the outcome.
        control: the same for the hypothesis fitted to a relabelled group, if there is one.
        base: the outcome of the unchanged network.
        notes: why there is no control, if there is none.
    """

    circuit: str
    rows: Mapping[str, tuple[str, Outcome]]
    control: Mapping[str, tuple[str, Outcome]]
    base: Outcome
    notes: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        return (
            f"{self.circuit} put in the network's place (base accuracy {self.base.accuracy:.4f}, "
            f"loss {self.base.loss:.2e} nats)"
        )

    def to_dataframe(self) -> pd.DataFrame:
        """One row per part: accuracy, mean loss (nats), logit R², also of the control."""
        rows = []
        for part, (kind, outcome) in self.rows.items():
            row = {"part": part, "kind": kind, **{name: getattr(outcome, name) for name in _UNITS}}
            row["loss_ratio"] = outcome.loss / self.base.loss
            if part in self.control:
                control = self.control[part][1]
                row |= {f"control_{name}": getattr(control, name) for name in _UNITS}
            rows.append(row)
        return pd.DataFrame(rows)

    def findings(self) -> Iterator[Finding]:
        frame = self.to_dataframe()
        control = {name: f"control_{name}" for name in _UNITS if f"control_{name}" in frame}
        at = ["part", "kind"]
        yield from from_table(frame, "substitution", at=at, units=_UNITS, control=control)


@dataclass(frozen=True)
class SubstitutionExperiment(OfEachHypothesis):
    """Replace each site's value by the surrogate's, then each claim's part, then everything.

    A site gets the value that the surrogate computes there from the same inputs, and the rest of
    the network continues from it. A claim's part is ``circuit.surrogate({claim})``, which shows
    which claim causes the errors of a whole surrogate. Sites at which the hypothesis is silent are
    left out.
    """

    id = "substitution"

    def of(self, circuit: Circuit, bench: Bench) -> Substitution:
        """Measure over the bench's sample of pairs."""
        bench.progress("sites and claims", 0, 2)
        base, rows = _measured(circuit, bench.network, bench.sample)
        bench.progress("relabelled group", 1, 2)
        other = bench.relabelled(circuit)
        if isinstance(other, str):
            note = f"There is no control by a relabelled group: {other}."
            return Substitution(circuit.name, rows, {}, base, (note,))
        control = _measured(other, bench.network, bench.sample)[1]
        return Substitution(circuit.name, rows, control, base)


@checked
def substitution(
    circuit: Circuit, *, pairs: Int[Tensor, "pairs 2"] | None = None, seed: int = 0
) -> Substitution:
    """See :class:`SubstitutionExperiment`.

    Args:
        circuit: the circuit that replaces parts of ``circuit.network``.
        pairs: the pairs it is measured on; all by default.
        seed: random seed for the relabelled control.
    """
    check_circuit(circuit)
    bench = Bench.around(circuit, seed=seed)
    bench.sample = circuit.network.group.pairs() if pairs is None else pairs
    return SubstitutionExperiment().of(circuit, bench)


def _measured(
    circuit: Circuit, network: GroupModel, pairs: Int[Tensor, "pairs 2"]
) -> tuple[Outcome, dict[str, tuple[str, Outcome]]]:
    surrogate = measured(circuit.surrogate())
    # The embeddings carry nothing but the tables, which come next.
    sites = [s for s in network.sites if s not in surrogate.silent and not s.endswith("embed")]
    parts = {site: (site,) for site in sites if site != "hook_logits"}
    parts |= {BOTH: ("hook_left_pre", "hook_right_pre")} if "hook_left_pre" in sites else {}
    patched = {part: network.unhooked() for part in parts}
    where = {id(model): parts[part] for part, model in patched.items()}
    names = sorted(circuit.default_claims) if len(circuit.default_claims) > 1 else []
    claims = {f"claim {name}": measured(circuit.surrogate({name})) for name in names}

    def hooks(model: GroupModel, batch: Tensor, seed: int) -> Hooks:
        replaced = where.get(id(model), ())
        if not replaced:
            return []
        _, cache = surrogate.run_with_cache(batch, names_filter=list(replaced))
        return [(site, lambda value, hook: cache[hook.name]) for site in replaced]

    models = {NETWORK: network, **patched, WHOLE: surrogate, **claims}
    replaced = Intervention("substitution", "a site replaced", hooks)
    outcomes = {k: v for k, v in measure(replaced, models, pairs).items() if v is not None}
    kinds = {**dict.fromkeys(patched, "site"), WHOLE: "whole", **dict.fromkeys(claims, "claim")}
    return outcomes[NETWORK], {part: (kind, outcomes[part]) for part, kind in kinds.items()}
