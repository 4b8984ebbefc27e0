"""Questions of the study about neurons: subgroups, irreps, Clock and Pizza, what is unexplained."""

from __future__ import annotations

from collections import Counter, defaultdict
from statistics import median
from typing import Any

import numpy as np

from coset_circuits.algorithms.algorithm import NEGLIGIBLE
from coset_circuits.comparison.across import NetworkSummary
from coset_circuits.experiments.unexplained import KINDS
from coset_circuits.findings import Finding
from coset_circuits.reproduction import artifact as art
from coset_circuits.reproduction.asking import Answer, Said, p_value, table
from coset_circuits.reproduction.kinds import Survey, figures, findings, text
from coset_circuits.reproduction.limits import separating
from coset_circuits.reproduction.permutations import shuffled

BY_SUBGROUP = "coset"
"""The hypothesis whose roles are classes of subgroups."""
BY_IRREP = "irrep"
"""The hypothesis whose roles are irreps."""
BY_RHO_SET = "rho-set"
WORST = 3
"""The number of networks whose unexplained neurons are listed."""
SHUFFLES = 2_000


def role_shares(network: NetworkSummary, key: str) -> dict[str, float]:
    """The share of each role among the neurons that are not negligible; empty if not fitted."""
    if key not in network.circuits:
        return {}
    counts = {role["role"]: role["neurons"] for role in network.circuits[key].roles}
    counts.pop(NEGLIGIBLE, None)
    total = sum(counts.values())
    return {role: count / total for role, count in counts.items()}


def subgroups(study: Survey) -> Answer:
    """Classes of subgroups by architecture, in groups of which there are several."""
    found: dict[str, dict[str, list[dict[str, float]]]] = defaultdict(lambda: defaultdict(list))
    for members in study.learnt:
        for network in members.networks:
            if shares := role_shares(network, BY_SUBGROUP):
                found[members.kind.group][members.kind.architecture].append(shares)
    rows, tests = [], []
    for group, by_architecture in found.items():
        if len(by_architecture) < 2:
            continue
        several = [shares for networks in by_architecture.values() for shares in networks]
        roles = sorted({role for shares in several for role in shares})
        samples = [
            np.array([[shares.get(role, 0.0) for role in roles] for shares in networks])
            for networks in by_architecture.values()
        ]
        tested = shuffled(samples, _distance, draws=SHUFFLES)
        sizes = ", ".join(f"{name} {len(s)}" for name, s in by_architecture.items())
        tests.append([group, sizes, tested.value, tested.chance, tested.p])
        for role, *columns in zip(roles, *(s.T for s in samples), strict=True):
            medians = [text(art.over_networks(column.tolist())) for column in columns]
            per_kind = "; ".join(
                f"{name} {value}" for name, value in zip(by_architecture, medians, strict=True)
            )
            rows.append([group, role, per_kind])
    if tests:
        parts = [
            f"by {distance:.0%} in {group} (networks shuffled between architectures: {chance:.0%}, "
            f"{p_value(p)})"
            for group, _, distance, chance, p in tests
        ]
        yield Said(
            "The architectures' shares of neurons on each class of subgroups differ "
            f"{'; '.join(parts)}."
        )
    yield table(
        "How far apart the shares of neurons on each class of subgroups are",
        tests,
        "distance: total variation between the architectures' mean shares (0 the same, 1 no "
        f"class in common; the largest of two architectures). shuffled: its mean, and p, over "
        f"{SHUFFLES:,} shuffles of networks between architectures.",
        text="group, networks",
        number="distance, shuffled, p",
    )
    yield table(
        "Neurons on each class of subgroups",
        rows,
        "Shares of the neurons that are not negligible: medians over networks. Networks that do "
        "not use a class count as 0.",
        text="group, subgroup class, share",
    )


def _distance(samples: Any) -> float:
    means = [sample.mean(0) for sample in samples]
    return max(float(abs(a - b).sum() / 2) for a in means for b in means)


def rho_sets(study: Survey) -> Answer:
    """Neurons on cosets whose functions hold several irreps: do they use one or more?"""
    found: dict[tuple[str, str], list[Finding]] = defaultdict(list)
    for members in study.learnt:
        for network in members.networks:
            for f in findings(network, "coset_irreps", "largest"):
                if f.more["irreps"] > 1:
                    found[members.kind.group, str(f.at["role"])].append(f)
    rows, totals = [], Counter()
    for (group, role), several in found.items():
        neurons, one = (sum(f.more[name] for f in several) for name in ("neurons", "one_irrep"))
        totals.update(neurons=neurons, one=one)
        own, random = (
            _weighted([(x.value, f.more["neurons"]) for f in several if (x := side(f))])
            for side in (lambda f: f, lambda f: f.control)
        )
        irreps = str(max(f.more["irreps"] for f in several))
        rows.append([group, role, irreps, len(several), neurons, one, own, random])
    rows.sort(key=lambda row: (row[0], -row[4]))
    if totals["neurons"]:
        random = _weighted([(row[7], row[4]) for row in rows])
        yield Said(
            f"Where functions on cosets could mix irreps, {totals['one']:,} of "
            f"{totals['neurons']:,} coset neurons lie in one irrep all the same, and so are on "
            f"ρ-sets too (of random levels on these cosets {random:.0%} of the variance is in one "
            "irrep)."
        )
        group, role, _, _, neurons, one, *_ = min(rows, key=lambda row: row[5] / row[4])
        if one < neurons:
            yield Said(f"The lowest share is {one} of {neurons}, on {role} in {group}.")
    pair = BY_SUBGROUP, BY_RHO_SET
    both = [n for n in study.networks if n.circuits.keys() >= {*pair}]
    if both:
        apart = sum(bool(separating(n, pair)) for n in both)
        yield Said(f"Some intervention separates the two hypotheses in {apart} of {len(both)}.")
    yield table(
        "Neurons on cosets whose functions hold more than one irrep",
        rows,
        "irreps: how many the functions on these cosets hold, without the trivial one. in one "
        "irrep: 95% of the variance of both input tables. largest: the largest irrep's share, a "
        "median over networks weighted by neurons; random: the same of random levels on the same "
        "cosets. Cosets on which functions hold one irrep only cannot tell cosets from ρ-sets.",
        text="group, subgroup class, irreps",
        count="networks, neurons, in one irrep",
        number="largest, random",
    )


def _weighted(values: list[tuple[float | None, int]]) -> float | None:
    """The weighted median of the values that are known."""
    known = [(value, weight) for value, weight in values if value is not None]
    repeated = [value for value, weight in known for _ in range(weight)]
    return median(repeated) if repeated else None


_MEASURES = (
    "distance_irrelevance", "gradient_symmetricity", "circularity", "attention_dependence",
)  # fmt: skip
_BY_HAND = ("Clock by hand", "Pizza by hand")


def clocks(study: Survey) -> Answer:
    """Measures of Clock and Pizza in networks of cyclic groups."""
    rows = []
    for members in study.kinds:
        for quantity in _MEASURES:
            found = members.measured("clock_pizza", None, quantity)
            if found[0] is not None:
                by_hand = [
                    members.over(_by_hand(n, quantity, what) for n in members.networks)
                    for what in _BY_HAND
                ]
                texts = [members.title, quantity.replace("_", " "), *found, *map(text, by_hand)]
                rows.append([*texts, len(members.networks)])
    parts = []
    for architecture in dict.fromkeys(members.kind.architecture for members in study.learnt):
        networks = [
            network
            for members in study.learnt
            if members.kind.architecture == architecture
            for network in members.networks
        ]
        said = []
        for quantity in _MEASURES:
            values = [figures(n, "clock_pizza", None, quantity)[0] for n in networks]
            middle = art.centre(values, "median")
            if middle is not None:
                by_hand = [
                    art.centre([_by_hand(n, quantity, what) for n in networks], "median")
                    for what in _BY_HAND
                ]
                beside = " and ".join("–" if v is None else f"{v:.2g}" for v in by_hand)
                said.append(f"{quantity.replace('_', ' ')} {middle:.2g} ({beside})")
        if said:
            parts.append(f"{architecture} {', '.join(said)}")
    if parts:
        yield Said(
            "In cyclic groups the medians are (in brackets those of a Clock and of a Pizza by "
            f"hand): {'; '.join(parts)}."
        )
    yield table(
        "Clock and Pizza",
        rows,
        "Medians over networks. untrained: the same architecture before training.",
        text=["kind", "measure", "networks'", "untrained", *_BY_HAND],
        count="networks",
    )


def _by_hand(network: NetworkSummary, quantity: str, what: str) -> float | None:
    found = findings(network, "clock_pizza", quantity)
    return next((f.value for f in found if f.at.get("of") == what), None)


def worst(study: Survey) -> Answer:
    """What the shortest hypothesis leaves, and what the neurons are of which it leaves most."""
    rows, totals = [], []
    leading = study.leading
    for members in study.kinds:
        known = [network for network in members.networks if _left(network)]
        if known:
            medians = [members.over(_left(n).get(key) for n in known) for key in leading]
            network = max(known, key=lambda n: (_left_by_shortest(n), n.name))
            most = f"{network.name} {_left_by_shortest(network):.2g}"
            totals.append([members.title, *map(text, medians), most, len(known)])
    known = [network for network in study.networks if _left(network)]
    left = art.over_networks([_left_by_shortest(n) for n in known])
    if left is not None:
        yield Said(
            f"The shortest hypothesis leaves {left.text('.1%')} of the variance of the tables in "
            f"the median network; {_said_kinds(known)}."
        )
    yield table(
        "What each hypothesis leaves",
        totals,
        "Fraction of the variance of a neuron's three tables, averaged over neurons by salience: "
        "medians over networks. worst: the network of which its shortest hypothesis leaves most.",
        text=["kind", *leading, "worst"],
        count="networks",
    )
    yield _kinds_of_neurons(study)
    for network in sorted(known, key=_left_by_shortest, reverse=True)[:WORST]:
        rows += _neurons(network, leading)
    yield table(
        "The neurons that count most in the worst networks",
        rows,
        "salience: how much the neuron can move the logits, as a share of all neurons'. norm: of "
        "its tables, in those of the median neuron. Then the fraction of its tables that each "
        "hypothesis leaves.",
        text=f"network, neuron, role ({BY_SUBGROUP})",
        number=["salience", "norm", *leading],
    )


def _said_kinds(networks: list[NetworkSummary]) -> str:
    counts, chance = Counter(), Counter()
    for network in networks:
        for f in findings(network, "unexplained", "neurons"):
            counts[f.at["what"]] += int(f.value or 0)
            chance[f.at["what"]] += int((f.control and f.control.value) or 0)
    if not counts.total():
        return "no neuron is unexplained"
    rest = KINDS[-1]
    most = ", ".join(f"{what}: {n}" for what, n in counts.most_common(3) if n and what != rest)
    return (
        f"{counts.total()} neurons of {len(networks)} networks are unexplained ({most}; {rest}: "
        f"{counts[rest]}, on a renamed group {chance[rest]})"
    )


def _kinds_of_neurons(study: Survey) -> art.Table:
    """What the unexplained neurons are, added up over the networks of each group."""
    found: dict[tuple[str, str], list[tuple[float, float | None, float]]] = defaultdict(list)
    sizes = Counter()
    for members in study.learnt:
        for network in members.networks:
            several = findings(network, "unexplained", "neurons")
            sizes[members.kind.group] += bool(several)
            for f in several:
                beside = None if f.control is None else f.control.value
                key = members.kind.group, f.at["what"]
                found[key].append((f.value or 0, beside, f.more["salience"]))
    rows = []
    for (group, what), values in found.items():
        own, beside, salience = zip(*values, strict=True)
        if any(own) or any(beside):
            known = [value for value in beside if value is not None]
            chance = sum(known) if known else None
            rows.append([group, what, sum(own), chance, sizes[group], float(np.mean(salience))])
    return table(
        "What the unexplained neurons are",
        rows,
        "Neurons of which every hypothesis that is shorter than the nulls leaves more than 10%, by "
        "the first that fits: small (tables of at most half the median norm); inputs explained to "
        "10%, unembedding not; both inputs to 25% on cosets of one class, in one irrep, in two; "
        "spread over more. renamed: the same neurons by the same rules on a renamed group. "
        "salience: their share, averaged over networks.",
        text="group, what",
        count="neurons, renamed, networks",
        number="salience",
    )


def _neurons(network: NetworkSummary, keys: list[str]) -> list[list[art.Value]]:
    listed: dict[int, dict[str, Any]] = defaultdict(dict)
    for f in network.summary.findings:
        if f.experiment == "unexplained" and "rank" in f.at:
            role = {"role": f.more["role"]} if f.subject == BY_SUBGROUP else {}
            cells = {f.subject or f.quantity: f.value, "neuron": str(f.more["neuron"]), **role}
            listed[f.at["rank"]] |= cells
    heads = ("neuron", "role", "salience", "norm", *keys)
    return [[network.name, *map(entry.get, heads)] for entry in listed.values()]


def _left(network: NetworkSummary) -> dict[str, float]:
    return {
        f.subject: f.value
        for f in findings(network, "unexplained", "left")
        if f.subject and f.value is not None
    }


def _left_by_shortest(network: NetworkSummary) -> float:
    left = _left(network)
    return left[min(left, key=lambda key: network.bits(key) or np.inf)]
