"""Interventions: the experiments of Stander et al., Table 1, and rows that separate hypotheses.

Each is an optional map of the inputs and a factory of plain TransformerLens hooks. It works alike
on any :class:`GroupMLP` and on any surrogate that is not silent at the sites it touches.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from coset_circuits.algorithms import SEEN_LOGITS, Circuit
from coset_circuits.errors import CosetCircuitsError
from coset_circuits.networks import SilentSiteError
from coset_circuits.networks.model import GroupModel

Hooks = list[tuple[str | Callable[..., Any], Callable[..., Any]]]


def _no_hooks(model: GroupModel, pairs: Tensor, seed: int) -> Hooks:
    return []


@dataclass(frozen=True)
class Intervention:
    """Something done to a network or surrogate, with a stable id.

    Attributes:
        id: used in findings.json.
        title: what is done, in a few words.
        hooks: ``(model, pairs, seed)`` to fresh TransformerLens hooks for that batch of pairs.
        inputs: a map of the pairs, whose labels stay those of the original pairs.
        control: the id of the intervention with the same dull effect, to be read beside this one.
        shows: what of the network it shows again to a fit that has seen it already, such as
            :data:`~coset_circuits.algorithms.SEEN_LOGITS`; for that fit it is not evidence.
        caution: what it cannot tell, where it is easily misread: a sentence, or a function of the
            network and of whether the intervention separates any two hypotheses.
    """

    id: str
    title: str
    hooks: Callable[[GroupModel, Int[Tensor, "batch 2"], int], Hooks] = _no_hooks
    inputs: Callable[[Int[Tensor, "batch 2"]], Int[Tensor, "batch 2"]] | None = None
    control: str | None = None
    shows: frozenset[str] = frozenset()
    caution: str | Callable[[GroupModel, bool], str | None] | None = None

    def is_used_by(self, circuit: Circuit) -> bool:
        """Whether the circuit's fit has already seen what this shows."""
        return bool(self.shows & circuit.seen)

    def caution_on(self, network: GroupModel, separates: bool) -> str | None:
        """The caution for one network; None where there is none."""
        return self.caution(network, separates) if callable(self.caution) else self.caution

    def run(
        self, model: GroupModel, pairs: Int[Tensor, "batch 2"], seed: int = 0
    ) -> Float[Tensor, "batch order"]:
        """The model's logits under this intervention.

        Raises:
            SilentSiteError: the model is a surrogate that makes no claim at a site touched here.
        """
        given = pairs if self.inputs is None else self.inputs(pairs)
        return model.run_with_hooks(given, fwd_hooks=self.hooks(model, given, seed))


def _scaled(left: float, right: float) -> Callable[..., Hooks]:
    def hooks(model: GroupModel, pairs: Tensor, seed: int) -> Hooks:
        factors = {"hook_left_pre": left, "hook_right_pre": right}
        return [
            (site, lambda value, hook, factor=factor: factor * value)
            for site, factor in factors.items()
            if factor != 1
        ]

    return hooks


def _activation(change: Callable[[Callable[[Tensor], Tensor]], Callable[[Tensor], Tensor]]) -> Any:
    """Put another function in the activation's place."""

    def hooks(model: GroupModel, pairs: Tensor, seed: int) -> Hooks:
        function = change(model.activation.function)
        seen: dict[str, Tensor] = {}

        def remember(pre: Tensor, hook: Any) -> None:
            seen["pre"] = pre

        def put(post: Tensor, hook: Any) -> Tensor:
            return model.activate(seen["pre"], function)

        return [("hook_pre", remember), ("hook_post", put)]

    return hooks


def _noise(mean: float, deviation: float, *, relative: bool = False) -> Callable[..., Hooks]:
    """N(mean, deviation) on the pre-activations; ``relative``: in units of each one's own std."""

    def hooks(model: GroupModel, pairs: Tensor, seed: int) -> Hooks:
        def add(pre: Tensor, hook: Any) -> Tensor:
            draw = mean + deviation * standard_normal(seed, pairs, model.group.order, pre.shape[1])
            draw = draw.to(pre.device, pre.dtype)
            return pre + (draw * model.pre_scale if relative else draw)

        return [("hook_pre", add)]

    return hooks


def _mean_left(model: GroupModel, pairs: Tensor, seed: int) -> Hooks:
    mean = model.left_table.mean(0)
    return [("hook_left_pre", lambda pre, hook: mean.expand_as(pre))]


def _swap_tables(model: GroupModel, pairs: Tensor, seed: int) -> Hooks:
    """Each side looks up its element in the other side's embedding table."""
    if "hook_left_embed" in model.silent:
        # Adding the hook makes the silent site refuse with its own sentence.
        return [("hook_left_embed", _keep)]
    if model.embeddings is None:
        raise SilentSiteError(f"{model.label} has no embedding tables that could be swapped.")
    for_left, for_right = model.embeddings
    if for_left.shape != for_right.shape:
        raise SilentSiteError(
            f"The embeddings of {model.label} have widths {for_left.shape[1]} and "
            f"{for_right.shape[1]}; tables of different widths cannot be swapped."
        )
    left, right = pairs.to(model.device).T
    return [
        ("hook_left_embed", lambda embedding, hook: for_right[left]),
        ("hook_right_embed", lambda embedding, hook: for_left[right]),
    ]


def _keep(value: Tensor, hook: Any) -> None:
    return None


def _always(function: Callable[[Tensor], Tensor]) -> Any:
    return _activation(lambda own: function)


def _flips(network: GroupModel, separates: bool) -> str:
    return "A flipped sign turns the answer into its opposite whatever the hypothesis; " + (
        "where hypotheses differ, it is by the size of their logits."
        if separates
        else "it separates nothing here."
    )


def _only_scales(network: GroupModel, separates: bool) -> str | None:
    if not network.is_unbiased or network.activation.name not in ("relu", "abs", "identity"):
        return None
    return (
        "Without biases this is the same function as twice the activation. It tells how a "
        "hypothesis scales (a product of both sides grows fourfold), not what is computed."
    )


_LOGITS = frozenset({SEEN_LOGITS})

INTERVENTIONS: dict[str, Intervention] = {
    row.id: row
    for row in (
        Intervention("base", "unchanged", shows=_LOGITS),
        Intervention(
            "swap_tables",
            "embedding tables swapped",
            _swap_tables,
            control="mean_left",
            caution=(
                "Without their own matrices the swapped tables destroy the pre-activation: the "
                "row cannot speak of cosets or irreps, and hypotheses are silent on the "
                "embeddings."
            ),
        ),
        Intervention(
            "swap_inputs",
            "inputs swapped, labels kept",
            inputs=lambda pairs: pairs.flip(-1),
            control="commuting_pairs",
            caution=(
                "Any network that is right everywhere gives the share of commuting pairs, "
                "whatever it computes inside."
            ),
        ),
        Intervention(
            "sign_both",
            "both signs flipped",
            _scaled(-1, -1),
            control="sign_left",
            shows=_LOGITS,
            caution=(
                "The even half of the activation does not see this: whatever the hypothesis, a "
                "network whose linear half cancels is unmoved."
            ),
        ),
        Intervention(
            "sign_left", "left sign flipped", _scaled(-1, 1), control="mean_left", caution=_flips
        ),
        Intervention(
            "sign_right", "right sign flipped", _scaled(1, -1), control="mean_left", caution=_flips
        ),
        Intervention(
            "abs",
            "|x| for the activation",
            _always(torch.abs),
            control="double",
            caution=(
                "Mostly a change of temperature: read it beside twice the activation, which "
                "changes nothing else."
            ),
        ),
        Intervention(
            "double",
            "twice the activation",
            _activation(lambda own: lambda x: 2 * own(x)),
            control="scale_both_2",
            caution=(
                "A change of temperature and nothing else: the control of |x|, no evidence of "
                "what is computed."
            ),
        ),
        Intervention("noise_0_0.1", "noise N(0, 0.1)", _noise(0, 0.1), control="noise_rel_0.5"),
        Intervention("noise_0_1", "noise N(0, 1)", _noise(0, 1), control="noise_rel_0.5"),
        Intervention("noise_1_1", "noise N(1, 1)", _noise(1, 1), control="noise_-1_1"),
        Intervention("noise_-1_1", "noise N(−1, 1)", _noise(-1, 1), control="noise_1_1"),
        Intervention(
            "noise_rel_0.5",
            "noise N(0, std(pre)/2)",
            _noise(0, 0.5, relative=True),
            control="noise_0_1",
        ),
        Intervention("scale_left_2", "left × 2", _scaled(2, 1), control="scale_both_2"),
        Intervention(
            "scale_both_2", "both × 2", _scaled(2, 2), control="double", caution=_only_scales
        ),
        Intervention(
            "mean_left",
            "left replaced by its mean",
            _mean_left,
            control="sign_left",
            caution=(
                "Without the left input nothing can answer: it says that the left side matters, "
                "no more."
            ),
        ),
        Intervention("square", "x² for the activation", _always(torch.square), control="abs"),
        Intervention(
            "identity", "identity for the activation", _always(lambda x: x), control="mean_left"
        ),
    )
}
"""Every intervention by its id. Standard deviations, not variances, in the noise rows."""


def intervention(id: str) -> Intervention:
    """The intervention of an id.

    Raises:
        CosetCircuitsError: no such id; the sentence lists them.
    """
    if id not in INTERVENTIONS:
        raise CosetCircuitsError(
            f"No intervention is called {id!r}; known are {', '.join(INTERVENTIONS)}."
        )
    return INTERVENTIONS[id]


def standard_normal(
    seed: int, pairs: Int[Tensor, "batch 2"], order: int, d_mlp: int
) -> Float[Tensor, "batch d_mlp"]:
    """Normal noise keyed by (seed, pair, neuron): the same whatever the batch or the model."""
    keys = (pairs[:, 0] * order + pairs[:, 1]).cpu().numpy().astype(np.uint64)
    return torch.from_numpy(_drawn(seed, keys.tobytes(), d_mlp))


@lru_cache(maxsize=2)
def _drawn(seed: int, keys: bytes, d_mlp: int) -> np.ndarray:
    pair = np.frombuffer(keys, dtype=np.uint64)
    counter = pair[:, None] * np.uint64(2 * d_mlp) + np.arange(2 * d_mlp, dtype=np.uint64)
    bits = mixed(counter ^ mixed(np.array([seed], dtype=np.int64).astype(np.uint64)))
    uniform = (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
    radius = np.sqrt(-2 * np.log1p(-uniform[:, :d_mlp]))
    return radius * np.cos(2 * np.pi * uniform[:, d_mlp:])


def mixed(x: np.ndarray) -> np.ndarray:
    """splitmix64 (Steele, Lea, Flood 2014), a hash of 64-bit counters."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
