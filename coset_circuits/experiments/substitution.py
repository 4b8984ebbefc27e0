"""Put what a circuit computes in the network's place: site by site, claim by claim, and whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from jaxtyping import Int
from torch import Tensor

from coset_circuits.algorithms import Circuit
from coset_circuits.experiments.controls import relabelled_group
from coset_circuits.experiments.interventions import Hooks, Intervention
from coset_circuits.experiments.measure import Outcome, measure
from coset_circuits.networks.model import SITES, GroupModel

NETWORK = "network"
BOTH = "hook_left_pre + hook_right_pre"
WHOLE = "surrogate alone"


@dataclass(frozen=True)
class Substitution:
    """What the network answers with parts of it replaced by what a circuit computes there.

    Attributes:
        circuit: the circuit's name.
        rows: for each part, its kind (``site``, ``claim`` or ``whole``) and what is then answered.
        control: the same under the hypothesis fitted to a relabelled group, where one can be made.
        base: the network as it is.
    """

    circuit: str
    rows: Mapping[str, tuple[str, Outcome]]
    control: Mapping[str, tuple[str, Outcome]]
    base: Outcome

    def to_dataframe(self) -> pd.DataFrame:
        """One row a part: accuracy, mean loss (nats), logit R², and the relabelled control's."""
        return pd.DataFrame([self._row(part) for part in self.rows])

    def _row(self, part: str) -> dict[str, Any]:
        kind, outcome = self.rows[part]
        row = {"part": part, "kind": kind, **_figures(outcome, "")}
        row["loss_ratio"] = outcome.loss / self.base.loss
        if part in self.control:
            row |= _figures(self.control[part][1], "control_")
        return row

    def __str__(self) -> str:
        title = (
            f"{self.circuit} put in the network's place (base accuracy {self.base.accuracy:.4f}, "
            f"loss {self.base.loss:.2e} nats)"
        )
        return title + "\n" + self.to_dataframe().to_string(index=False, float_format="%.3g")

    def _repr_html_(self) -> str:
        return self.to_dataframe().to_html(index=False)


def _figures(outcome: Outcome, prefix: str) -> dict[str, float]:
    return {
        f"{prefix}accuracy": outcome.accuracy,
        f"{prefix}loss": outcome.loss,
        f"{prefix}logit_r2": outcome.logit_r2,
    }


def substitution(
    circuit: Circuit, *, pairs: Int[Tensor, "pairs 2"] | None = None, seed: int = 0
) -> Substitution:
    """Replace each site's value by the surrogate's, then each claim's part, then everything.

    A site's value is what the surrogate computes there from the same inputs; the rest of the
    network goes on from it. A claim's part is ``circuit.surrogate({claim})``, so errors that a
    whole surrogate makes are blamed on one claim. Sites where the hypothesis is silent are left
    out.

    Args:
        circuit: what is put in the place of ``circuit.network``.
        pairs: on which it is measured; all of them by default.
        seed: of the relabelled control.
    """
    network = circuit.network.unhooked().double().requires_grad_(False)
    given = network.group.pairs() if pairs is None else pairs
    base, rows = _measured(circuit, network, given)
    control: Mapping[str, tuple[str, Outcome]] = {}
    other = relabelled_group(network.group, seed)
    if other is not None and circuit.algorithm is not None:
        _, control = _measured(circuit.algorithm.fit(network, other), network, given)
    return Substitution(circuit.name, rows, control, base)


def _measured(
    circuit: Circuit, network: GroupModel, pairs: Int[Tensor, "pairs 2"]
) -> tuple[Outcome, dict[str, tuple[str, Outcome]]]:
    surrogate = circuit.surrogate().double().requires_grad_(False)
    # The embeddings carry nothing but the tables, which come next.
    sites = [s for s in SITES if s not in circuit.silent and not s.endswith("embed")]
    parts = {site: (site,) for site in sites[:-1]}
    parts |= {BOTH: ("hook_left_pre", "hook_right_pre")} if "hook_left_pre" in sites else {}
    patched = {part: network.unhooked() for part in parts}
    where = {id(model): parts[part] for part, model in patched.items()}
    claims = sorted(circuit.default_claims) if len(circuit.default_claims) > 1 else []
    models: dict[str, GroupModel] = {NETWORK: network, **patched, WHOLE: surrogate}
    models |= {f"claim {c}": circuit.surrogate({c}).double() for c in claims}

    def hooks(model: GroupModel, batch: Tensor, seed: int) -> Hooks:
        replaced = where.get(id(model), ())
        if not replaced:
            return []
        _, cache = surrogate.run_with_cache(batch, names_filter=list(replaced))
        return [(site, lambda value, hook: cache[hook.name]) for site in replaced]

    with torch.no_grad():
        found = measure(Intervention("substitution", "a site replaced", hooks), models, pairs)
    kinds = {WHOLE: "whole", **dict.fromkeys(parts, "site")}
    rows: dict[str, tuple[str, Outcome]] = {}
    for part, outcome in found.items():
        assert outcome is not None
        rows[part] = (kinds.get(part, "claim"), outcome)
    base = rows.pop(NETWORK)[1]
    return base, rows
