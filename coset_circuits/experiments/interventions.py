"""Interventions: the experiments of Stander et al., Table 1, and rows that separate hypotheses.

Each intervention is an optional map of the inputs and a factory of plain TransformerLens hooks. It
works on any :class:`GroupMLP` and on any surrogate that is not silent at the sites it touches.
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
from coset_circuits.errors import CosetCircuitsError, brief
from coset_circuits.experiments.resampling import uniform
from coset_circuits.networks import SilentSiteError
from coset_circuits.networks.model import Activation, GroupModel

Hooks = list[tuple[str | Callable[..., Any], Callable[..., Any]]]


def _no_hooks(model: GroupModel, pairs: Tensor, seed: int) -> Hooks:
    return []


@dataclass(frozen=True)
class Intervention:
    """A change to a network or surrogate, with a stable id.

    Attributes:
        id: used in findings.json.
        title: what is done, in a few words.
        hooks: maps ``(model, pairs, seed)`` to fresh TransformerLens hooks for this batch of pairs.
        inputs: a map of the pairs; the labels stay those of the original pairs.
        control: the id of an intervention of comparable effect, to compare with this one.
        shows: the part of the network that it reveals, such as
            :data:`~coset_circuits.algorithms.SEEN_LOGITS`. For a fit that has used this part, the
            intervention is not evidence.
        caution: a warning against misreading: a sentence, or a function of the network and of
            whether the intervention separates any two hypotheses.
    """

    id: str
    title: str
    hooks: Callable[[GroupModel, Int[Tensor, "batch 2"], int], Hooks] = _no_hooks
    inputs: Callable[[Int[Tensor, "batch 2"]], Int[Tensor, "batch 2"]] | None = None
    control: str | None = None
    shows: frozenset[str] = frozenset()
    caution: str | Callable[[GroupModel, bool], str | None] | None = None

    def is_used_by(self, circuit: Circuit) -> bool:
        """Whether the circuit's fit has already used what this reveals."""
        return bool(self.shows & circuit.seen)

    def caution_on(self, network: GroupModel, separates: bool) -> str | None:
        """The caution for one network; None if there is none."""
        return self.caution(network, separates) if callable(self.caution) else self.caution

    def run(
        self, model: GroupModel, pairs: Int[Tensor, "batch 2"], seed: int = 0
    ) -> Float[Tensor, "batch order"]:
        """The model's logits under this intervention.

        Raises:
            SilentSiteError: the model is a surrogate that makes no claim at a site touched here.
            CosetCircuitsError: the hooks or the inputs change the number of pairs.
        """
        given = pairs if self.inputs is None else self.inputs(pairs)
        logits = model.run_with_hooks(given, fwd_hooks=self.hooks(model, given, seed))
        expected = len(pairs), model.group.order
        if logits.shape != expected:
            raise CosetCircuitsError(
                f"The intervention {self.id} gives logits of shape {tuple(logits.shape)} where "
                f"{expected} is expected; its inputs must be as many pairs as it is given, and its "
                "hooks must return values of the shape that they are given, such as "
                "pre.mean(0).expand_as(pre)."
            )
        return logits


# Classes, because closures can be neither pickled nor compared.


@dataclass(frozen=True)
class _Scaled:
    left: float
    right: float

    def __call__(self, model: GroupModel, pairs: Tensor, seed: int) -> Hooks:
        factors = {"hook_left_pre": self.left, "hook_right_pre": self.right}
        return [
            (site, lambda value, hook, factor=factor: factor * value)
            for site, factor in factors.items()
            if factor != 1
        ]


@dataclass(frozen=True)
class _Activation:
    """Replace the activation by another function."""

    function: Callable[[Tensor], Tensor]

    def __call__(self, model: GroupModel, pairs: Tensor, seed: int) -> Hooks:
        seen: dict[str, Tensor] = {}

        def remember(pre: Tensor, hook: Any) -> None:
            seen["pre"] = pre

        def put(post: Tensor, hook: Any) -> Tensor:
            return model.activate(seen["pre"], self.function)

        return [("hook_pre", remember), ("hook_post", put)]


def _twice(model: GroupModel, pairs: Tensor, seed: int) -> Hooks:
    return [("hook_post", lambda post, hook: 2 * post)]


@dataclass(frozen=True)
class _Noise:
    """Add N(mean, deviation) to the pre-activations; ``relative``: in units of each one's std."""

    mean: float
    deviation: float
    relative: bool = False

    def __call__(self, model: GroupModel, pairs: Tensor, seed: int) -> Hooks:
        def add(pre: Tensor, hook: Any) -> Tensor:
            draw = standard_normal(seed, pairs, model.group.order, pre.shape[1])
            draw = (self.mean + self.deviation * draw).to(pre.device, pre.dtype)
            return pre + (draw * model.pre_scale if self.relative else draw)

        return [("hook_pre", add)]


def _mean_left(model: GroupModel, pairs: Tensor, seed: int) -> Hooks:
    mean = model.left_table.mean(0)
    return [("hook_left_pre", lambda pre, hook: mean.expand_as(pre))]


def _swap_tables(model: GroupModel, pairs: Tensor, seed: int) -> Hooks:
    """Make each side look up its element in the other side's embedding table."""
    if "hook_left_embed" in model.silent:
        # Adding the hook makes a silent site raise its error.
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


def _swapped(pairs: Int[Tensor, "batch 2"]) -> Int[Tensor, "batch 2"]:
    return pairs.flip(-1)


def _flips(network: GroupModel, separates: bool) -> str:
    return "A flipped sign turns the answer into its opposite under every hypothesis; " + (
        "hypotheses differ only by the size of their logits."
        if separates
        else "it separates nothing here."
    )


def _only_scales(network: GroupModel, separates: bool) -> str | None:
    if not network.is_unbiased or network.activation.name not in ("relu", "abs", "identity"):
        return None
    return (
        "Without biases this is the same function as twice the activation. It shows how a "
        "hypothesis scales (a product of both sides grows fourfold), not what is computed."
    )


_IDENTITY = Activation.named("identity").function
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
                "Swapped tables are read by the wrong matrices, which destroys the "
                "pre-activation. The row shows nothing about cosets or irreps, and hypotheses are "
                "silent on the embeddings."
            ),
        ),
        Intervention(
            "swap_inputs",
            "inputs swapped, labels kept",
            inputs=_swapped,
            control="commuting_pairs",
            caution=(
                "Any network that is right everywhere has an accuracy equal to the share of "
                "commuting pairs, whatever it computes inside."
            ),
        ),
        Intervention(
            "sign_both",
            "both signs flipped",
            _Scaled(-1, -1),
            control="sign_left",
            shows=_LOGITS,
            caution=(
                "The even half of the activation does not see this. A network whose linear half "
                "cancels does not change, whatever the hypothesis."
            ),
        ),
        Intervention(
            "sign_left", "left sign flipped", _Scaled(-1, 1), control="mean_left", caution=_flips
        ),
        Intervention(
            "sign_right", "right sign flipped", _Scaled(1, -1), control="mean_left", caution=_flips
        ),
        Intervention(
            "abs",
            "|x| for the activation",
            _Activation(torch.abs),
            control="double",
            caution=(
                "Mostly a change of temperature: compare it with twice the activation, which "
                "changes nothing else."
            ),
        ),
        Intervention(
            "double",
            "twice the activation",
            _twice,
            control="scale_both_2",
            caution=(
                "A change of temperature and nothing else: the control of |x|, no evidence of "
                "what is computed."
            ),
        ),
        Intervention("noise_0_0.1", "noise N(0, 0.1)", _Noise(0, 0.1), control="noise_rel_0.5"),
        Intervention("noise_0_1", "noise N(0, 1)", _Noise(0, 1), control="noise_rel_0.5"),
        Intervention("noise_1_1", "noise N(1, 1)", _Noise(1, 1), control="noise_-1_1"),
        Intervention("noise_-1_1", "noise N(−1, 1)", _Noise(-1, 1), control="noise_1_1"),
        Intervention(
            "noise_rel_0.5",
            "noise N(0, std(pre)/2)",
            _Noise(0, 0.5, relative=True),
            control="noise_0_1",
        ),
        Intervention("scale_left_2", "left × 2", _Scaled(2, 1), control="scale_both_2"),
        Intervention(
            "scale_both_2", "both × 2", _Scaled(2, 2), control="double", caution=_only_scales
        ),
        Intervention(
            "mean_left",
            "left replaced by its mean",
            _mean_left,
            control="sign_left",
            caution=(
                "Without the left input no model can answer: this shows only that the left side "
                "matters."
            ),
        ),
        Intervention("square", "x² for the activation", _Activation(torch.square), control="abs"),
        Intervention(
            "identity",
            "identity for the activation",
            _Activation(_IDENTITY),
            control="mean_left",
        ),
    )
}
"""Every intervention by its id. Standard deviations, not variances, in the noise rows."""


def intervention(given: str | Intervention) -> Intervention:
    """The intervention with this id, or the intervention that was given.

    Raises:
        CosetCircuitsError: there is no such id, or it is something else.
    """
    if isinstance(given, Intervention):
        return given
    if not isinstance(given, str):
        raise CosetCircuitsError(
            f"{brief(given)} is not an intervention; give an id such as 'sign_left', or a "
            "cc.Intervention."
        )
    if given not in INTERVENTIONS:
        raise CosetCircuitsError(
            f"No intervention is called {given!r}; choose from {', '.join(INTERVENTIONS)}."
        )
    return INTERVENTIONS[given]


def is_ours(intervention: Intervention) -> bool:
    """Whether its hooks are known to share nothing, such as torch's random numbers."""
    return INTERVENTIONS.get(intervention.id) is intervention


def standard_normal(
    seed: int, pairs: Int[Tensor, "batch 2"], order: int, d_mlp: int
) -> Float[Tensor, "batch d_mlp"]:
    """Normal noise keyed by (seed, pair, neuron): the same whatever the batch or the model."""
    keys = (pairs[:, 0] * order + pairs[:, 1]).cpu().numpy()
    return torch.from_numpy(_drawn(seed, keys.tobytes(), d_mlp))


@lru_cache(maxsize=16)
def _drawn(seed: int, keys: bytes, d_mlp: int) -> np.ndarray:
    pair = np.frombuffer(keys, dtype=np.int64)
    drawn = uniform(seed, pair[:, None] * (2 * d_mlp) + np.arange(2 * d_mlp))
    radius = np.sqrt(-2 * np.log1p(-drawn[:, :d_mlp]))
    return radius * np.cos(2 * np.pi * drawn[:, d_mlp:])
