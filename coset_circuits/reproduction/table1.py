"""Table 1: causal interventions, with their controls and with what each surrogate predicts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from coset_circuits.algorithms import ALGORITHMS, DoesNotApplyError, RawWeights, nulls
from coset_circuits.experiments import INTERVENTIONS, commuting_fraction, measure
from coset_circuits.networks.model import GroupModel
from coset_circuits.reproduction import artifact as art
from coset_circuits.reproduction.study import Study
from coset_circuits.thresholds import DEFAULT

NETWORK = "network"
PAPER: dict[str, tuple[float, float]] = {
    "base": (0.9999, 1.97e-6),
    "swap_tables": (0.01, 4.76),
    "sign_both": (1.0, 1.97e-6),
    "sign_left": (0.0, 22.39),
    "sign_right": (0.0, 22.36),
    "noise_0_0.1": (0.9999, 2.96e-6),
    "noise_0_1": (0.978, 0.0017),
    "abs": (1.0, 3.69e-13),
    "noise_1_1": (0.88, 0.029),
    "noise_-1_1": (0.98, 0.0021),
}
"""Mean accuracy and mean loss of 128 S5 networks, as printed in Table 1."""

CONTROLS = ("swap_inputs", "double", "noise_rel_0.5", "mean_left", "scale_left_2", "scale_both_2")
"""Rows that are not in the paper: the controls of its rows, and one that separates hypotheses."""

ROWS = (*PAPER, *CONTROLS)

SURROGATES = {
    **{key: forms[0] for key, forms in ALGORITHMS.items()},
    # The raw weights are the network itself.
    **{n.name: n for n in nulls(DEFAULT) if not isinstance(n, RawWeights)},
}
"""The plain form of every hypothesis, then the null models; their predictions are shown next to the
networks."""

RELABELLED = "relabelled"
QUANTITIES: dict[str, art.Unit] = {"accuracy": "fraction", "loss": "nats"}
READINGS: dict[str, tuple[str, art.Statistic]] = {
    "acc.": ("accuracy", "mean"),
    "loss": ("loss", "mean"),
    "median": ("loss", "median"),
}
"""What is read over networks in each row; the paper does not have the last."""


def analyse(study: Study) -> dict[str, Any]:
    """Accuracy and mean loss of the network and of each surrogate, in every row."""
    models: dict[str, GroupModel] = {NETWORK: study.network}
    for key, algorithm in SURROGATES.items():
        try:
            models[key] = algorithm.fit(study.network).surrogate()
        except DoesNotApplyError:
            continue
    if "coset" in models and study.relabelled is not None:
        models[RELABELLED] = study.relabelled.surrogate()
    rows = {}
    for id in ROWS:
        outcomes = measure(INTERVENTIONS[id], models, study.bench.sample, seed=study.seed)
        rows[id] = {
            name: {quantity: getattr(outcome, quantity) for quantity in QUANTITIES}
            for name, outcome in outcomes.items()
            if outcome is not None
        }
    return {"rows": rows, "commuting": commuting_fraction(study.network.group)}


def summarise(ours: art.Networks, controls: art.Networks) -> art.Part:
    """Means and medians over networks, next to the paper's means."""
    predicted = [_predicted(ours, quantity) for quantity in QUANTITIES]
    silent = [INTERVENTIONS[id].title for id in PAPER if not _column(ours, id, "accuracy")]
    notes = [
        f"{title} cannot be done on these networks: they have no embedding table on each side."
        for title in silent
    ]
    return art.Part(list(_lines(ours)), [_observed(ours, controls), *predicted], notes=notes)


def _lines(networks: art.Networks) -> Iterator[art.Line]:
    for id, printed in PAPER.items():
        row = INTERVENTIONS[id]
        control = row.control
        for (title, (quantity, statistic)), paper in zip(
            READINGS.items(), (*printed, None), strict=True
        ):
            yield art.Line.over(
                f"{row.title}: {title}",
                QUANTITIES[quantity],
                paper,
                _column(networks, id, quantity),
                _column(networks, control, quantity) if control else (),
                INTERVENTIONS[control].title if control else "",
                statistic,
            )
    yield art.Line.over(
        "inputs exchanged: acc.",
        "fraction",
        None,
        _column(networks, "swap_inputs", "accuracy"),
        [networks[0].findings["commuting"]],
        "exact share of commuting pairs",
    )


def _column(networks: art.Networks, id: str, quantity: str, model: str = NETWORK) -> list[float]:
    readings = (network.findings["rows"][id].get(model) for network in networks)
    return [reading[quantity] for reading in readings if reading is not None]


def _observed(ours: art.Networks, others: art.Networks) -> art.Table:
    rows = []
    for id in ROWS:
        accuracies, losses = (_column(ours, id, quantity) for quantity in QUANTITIES)
        accuracy = [art.centre(accuracies), min(accuracies, default=None)]
        loss = [art.centre(losses), art.centre(losses, "median")]
        not_learnt = art.centre(_column(others, id, "accuracy"))
        rows.append([INTERVENTIONS[id].title, *accuracy, *loss, not_learnt])
    return art.Table(
        "Every row, with those that are not in the paper",
        art.columns(
            ("text", "intervention"),
            ("fraction", "accuracy, least"),
            ("nats", "mean loss, median"),
            ("fraction", "not learnt"),
        ),
        rows,
        "Losses in nats, over networks; not learnt: mean accuracy of the networks of this kind "
        "that have not learnt their group.",
    )


def _predicted(networks: art.Networks, quantity: str) -> art.Table:
    names = [*SURROGATES, RELABELLED]
    rows = []
    for id in ROWS:
        readings = (_column(networks, id, quantity, model) for model in (NETWORK, *names))
        rows.append([INTERVENTIONS[id].title, *(art.centre(r, "median") for r in readings)])
    return art.Table(
        f"What each surrogate predicts: {quantity}, median over networks",
        art.columns(("text", "intervention"), (QUANTITIES[quantity], ", ".join(["seen", *names]))),
        rows,
        "Every hypothesis in its plain form, without further claims. relabelled: coset, fitted "
        "after the group's elements were renamed at random. –: the hypothesis is silent in this "
        "row, or does not apply. Null models have no group theory and take several times the bits: "
        "coset-circuits compare chooses claims and sets prediction against description length.",
    )


ARTIFACT = art.Artifact(
    "table1",
    "Causal interventions",
    "Stander et al., Table 1 (128 S5 networks): mean accuracy and mean loss (nats); the median "
    "over networks of each network's mean loss is not in the paper",
    summarise,
    analyse,
    notes=[
        "A few networks dominate a mean loss: read the median. The paper's losses cannot be means "
        "over pairs and runs in the rows where its accuracy is below 1: a wrong pair costs at "
        "least ln 2, so 2.2% wrong pairs (N(0, 1)) cost at least 0.015, and 0.0017 is printed.",
        "Embedding swap can be read in two ways. Tables only: each side looks up the other's table "
        "and keeps its own matrix, which destroys the pre-activation and so says nothing about "
        "cosets. Inputs exchanged: any network that is right then answers ba for ab, which is "
        "right on commuting pairs only.",
        "|x| mostly raises the logits' scale: twice the ReLU, which changes nothing else, has much "
        "the same effect on the loss. The effect of noise of a fixed size depends on each "
        "network's scale: see the row with noise of half of each pre-activation's own standard "
        "deviation.",
        "A network with one sign flipped is anti-correct, not at chance: its loss is far above "
        "that of a left input replaced by its mean.",
    ],
)
