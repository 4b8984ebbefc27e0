"""The networks of a study by kind, and what is measured over the networks of one kind."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from coset_circuits.algorithms import ALGORITHMS
from coset_circuits.comparison import Ensemble
from coset_circuits.comparison.across import Count, NetworkSummary, count_verdicts, hypotheses_of
from coset_circuits.comparison.sources import Given
from coset_circuits.errors import CosetCircuitsError, plain
from coset_circuits.findings import Finding
from coset_circuits.findings.statistics import Estimate
from coset_circuits.groups import group as named_group
from coset_circuits.reproduction.artifact import over_networks
from coset_circuits.thresholds import DEFAULT
from coset_circuits.training.recipes import recipe_for

LEADING = 0.05
"""A hypothesis is looked at closely if it explains more than this share of the networks."""
_NOT_LEARNT = "not learnt"
_SIZES = ("d_mlp", "d_embed", "d_model", "n_heads", "d_head", "act_fn", "architecture")
_NO_CHANGE = {"name", "about", "max_steps", "every", *_SIZES}


class NetworkKind(NamedTuple):
    """Networks are summarised together only if they are alike in these."""

    group: str
    architecture: str
    d_mlp: int
    recipe: str

    @property
    def title(self) -> str:
        """Such as ``S5 mlp 128, fast``."""
        return f"{self.group} {self.architecture} {self.d_mlp}, {self.recipe}"

    @property
    def is_learnt(self) -> bool:
        """Whether its networks have learnt their group; the others are controls."""
        return _NOT_LEARNT not in self.recipe


@dataclass(frozen=True)
class Members:
    """The networks of one kind, and their verdicts counted."""

    kind: NetworkKind
    networks: tuple[NetworkSummary, ...]
    count: Count
    seed: int

    @property
    def title(self) -> str:
        return self.kind.title

    @property
    def is_published(self) -> bool:
        """Whether others have trained its networks: then no recipe of ours is known."""
        recipes = [network.summary.network.get("recipe") or {} for network in self.networks]
        return self.kind.is_learnt and not any(recipe.get("name") for recipe in recipes)

    def over(self, values: Iterable[float | None]) -> Estimate | None:
        """The median over networks with its bootstrap interval."""
        kept = [value for value in values if value is not None and np.isfinite(value)]
        return over_networks(kept, seed=self.seed)

    def measured(self, experiment: str, subject: str | None, quantity: str) -> list[str | None]:
        """A finding's median over networks, and its control's."""
        found = [figures(n, experiment, subject, quantity) for n in self.networks]
        return [text(self.over(column)) for column in zip(*found, strict=True)]


@dataclass(frozen=True)
class Survey:
    """What questions are answered from.

    Attributes:
        kinds: all networks.
        compared: compares further networks; what is found on them is kept under a name.
    """

    kinds: Sequence[Members]
    compared: Callable[[str, Sequence[Given]], Ensemble]

    @property
    def hypotheses(self) -> list[str]:
        """In the order of the registry, then the others."""
        found = hypotheses_of(n for members in self.kinds for n in members.networks)
        return sorted(found, key=[*ALGORITHMS, *found].index)

    @property
    def learnt(self) -> list[Members]:
        """The kinds whose networks have learnt their group."""
        return [members for members in self.kinds if members.kind.is_learnt]

    @property
    def networks(self) -> list[NetworkSummary]:
        """Those that the first sentences count: trained with a recipe, and they have learnt.

        Networks of others are in the tables only; they are counted if there are no more.
        """
        ours = [members for members in self.learnt if not members.is_published]
        return [network for members in ours or self.learnt for network in members.networks]

    @cached_property
    def leading(self) -> list[str]:
        """The hypotheses that explain a :data:`LEADING` share of the networks; all if none does."""
        names = Counter(key for n in self.networks for key in n.verdict.explained_by)
        enough = LEADING * len(self.networks)
        return [key for key in self.hypotheses if names[key] > enough] or self.hypotheses

    @cached_property
    def nouns(self) -> dict[str, str]:
        """What each hypothesis is called in a sentence."""
        return {
            key: network.circuits[key].noun
            for members in self.kinds
            for network in members.networks
            for key in network.hypotheses
        }


def findings(network: NetworkSummary, experiment: str, quantity: str) -> list[Finding]:
    """A network's findings of one quantity of an experiment."""
    wanted = experiment, quantity
    return [f for f in network.summary.findings if (f.experiment, f.quantity) == wanted]


def figures(
    network: NetworkSummary, experiment: str, subject: str | None, quantity: str
) -> tuple[float | None, float | None]:
    """The median over an experiment's findings of one quantity, and over their controls."""
    found = [
        f
        for f in findings(network, experiment, quantity)
        if f.subject == subject and not {"control", "of"} & f.at.keys()
    ]
    return _middle(found), _middle(f.control for f in found)


def _middle(findings: Iterable[Finding | None]) -> float | None:
    known = [f.value for f in findings if f is not None and f.value is not None]
    return median(known) if known else None


def by_kind(ensemble: Ensemble) -> list[Members]:
    """The networks by kind, in the order met."""
    found: dict[NetworkKind, list[NetworkSummary]] = defaultdict(list)
    for network in ensemble:
        found[kind_of(network)].append(network)
    return [
        Members(
            kind,
            tuple(members),
            count_verdicts(members, ensemble.thresholds, ensemble.seed),
            ensemble.seed,
        )
        for kind, members in found.items()
    ]


def kind_of(network: NetworkSummary) -> NetworkKind:
    """The kind of a network, its recipe as far as it changes what is learnt."""
    facts = network.summary.network
    architecture = facts["kind"]
    if facts["act_fn"] != "relu":
        architecture += f" ({facts['act_fn']})"
    recipe = facts.get("recipe") or {}
    name = recipe.get("name") or str(facts.get("source") or "unknown").partition(",")[0]
    words = [name, *_changes(recipe, facts["group"])]
    if network.accuracy < DEFAULT.grokked_accuracy:
        words.append(_NOT_LEARNT)
    return NetworkKind(facts["group"], architecture, facts["d_mlp"], ", ".join(words))


def _changes(recipe: Mapping[str, Any], group: str) -> list[str]:
    """The fields in which a recipe differs from that of its name for the group."""
    try:
        changes = {"architecture": recipe.get("architecture", "mlp")}
        usual = recipe_for(named_group(group), recipe.get("name", ""), changes)
    except CosetCircuitsError:
        return []
    fields = plain("recipe", asdict(usual))
    return [
        f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in recipe.items()
        if name not in _NO_CHANGE and name in fields and value != fields[name]
    ]


def text(estimate: Estimate | None) -> str | None:
    """A figure and its interval, for a table."""
    return None if estimate is None else estimate.text(".3g")
