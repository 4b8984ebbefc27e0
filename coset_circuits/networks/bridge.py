"""Convert between TransformerLens's ``TransformerBridge`` and the weights of our transformers."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from coset_circuits.errors import CosetCircuitsError

_PLAIN = {
    "n_layers": 1,
    "normalization_type": None,
    "positional_embedding_type": "standard",
    "gated_mlp": False,
    "attn_only": False,
}
"""The configuration that a bridge must have: one layer and no layer norm."""

_OF_BLOCK = ("W_Q", "W_K", "W_V", "W_O", "W_in", "W_out", "b_Q", "b_K", "b_V", "b_O")
_ACTIVATIONS = ("relu", "gelu", "silu")


def check_bridge(bridge: Any) -> None:
    """Check that a bridge is only attention and an MLP on one residual stream.

    Raises:
        CosetCircuitsError: the bridge has anything else; the message names it.
    """
    cfg = getattr(bridge, "cfg", None)
    # Checked by attributes, not by class: versions differ, and a HookedTransformer has the same.
    if cfg is None or not all(hasattr(bridge, name) for name in ("W_E", "W_Q", "W_U", "b_U")):
        raise CosetCircuitsError(
            f"A {type(bridge).__name__} was given; give a TransformerBridge of TransformerLens."
        )
    _check_version(bridge)
    odd = [
        f"{name} = {getattr(cfg, name)!r} (needed: {wanted!r})"
        for name, wanted in _PLAIN.items()
        if getattr(cfg, name, wanted) != wanted
    ]
    caps = ("attn_scores_soft_cap", "output_logits_soft_cap")
    odd += [f"{name} = {getattr(cfg, name)}" for name in caps if getattr(cfg, name, -1.0) > 0]
    if cfg.act_fn not in _ACTIVATIONS:
        odd.append(f"act_fn = {cfg.act_fn!r} (known: {', '.join(_ACTIVATIONS)})")
    if odd:
        raise CosetCircuitsError(
            f"The bridge has {'; '.join(odd)}. Only one-layer transformers without layer norm, "
            "with learnt positions and a plain MLP, can be a GroupTransformer."
        )


def _check_version(bridge: Any) -> None:
    if not (hasattr(bridge, "W_pos") or hasattr(type(bridge), "W_pos")):
        raise CosetCircuitsError(
            f"TransformerLens {version('transformer-lens')} is installed; bridges need 4.0. "
            "Run: pip install 'transformer-lens>=4,<5'."
        )


def bridge_weights(bridge: Any, order: int, positions: int) -> dict[str, Tensor]:
    """The weights of a bridge under a GroupTransformer's names, with the elements' logits only.

    Raises:
        CosetCircuitsError: the bridge is not a one-layer transformer without layer norm.
    """
    check_bridge(bridge)
    # The bridge stacks its layers; there is only one.
    weights = {name: getattr(bridge, name)[0] for name in (*_OF_BLOCK, "b_in", "b_out")}
    weights |= {"W_E": bridge.W_E, "W_pos": bridge.W_pos[:positions]}
    weights |= {"W_unembed": bridge.W_U[:, :order], "b_unembed": bridge.b_U[:order]}
    return {name: value.detach().clone().contiguous() for name, value in weights.items()}


def make_bridge(
    weights: Mapping[str, Tensor], act_fn: str, dtype: torch.dtype, device: torch.device
) -> Any:
    """Make a TransformerBridge from weights with a GroupTransformer's names and shapes.

    Raises:
        CosetCircuitsError: a TransformerBridge does not have this activation, or the weights have
            a bias at the unembedding, which it does not support.
    """
    from transformer_lens.config import TransformerBridgeConfig
    from transformer_lens.model_bridge import TransformerBridge

    _check_version(TransformerBridge)
    if act_fn not in _ACTIVATIONS:
        raise CosetCircuitsError(
            f"A TransformerBridge has no activation {act_fn!r}; it has {', '.join(_ACTIVATIONS)}."
        )
    heads, d_model, d_head = weights["W_Q"].shape
    config = TransformerBridgeConfig(
        n_layers=1,
        n_heads=heads,
        d_model=d_model,
        d_head=d_head,
        d_mlp=weights["W_in"].shape[1],
        n_ctx=len(weights["W_pos"]),
        d_vocab=len(weights["W_E"]),
        d_vocab_out=weights["W_unembed"].shape[1],
        act_fn=act_fn,
        normalization_type=None,
        seed=0,
    )
    if "b_unembed" in weights and weights["b_unembed"].any():
        raise CosetCircuitsError(
            "A TransformerBridge has no bias at the unembedding, and this network has one; add it "
            "to the bridge's logits yourself."
        )
    native: Any = TransformerBridge
    bridge = native.boot_native(config, dtype=dtype, device=device)
    # Write the tensors directly: in some versions a bridge's load_state_dict did nothing
    # (TransformerLens#1587). The caller compares logits.
    tensors = bridge.state_dict()
    with torch.no_grad():
        for name, value in _linear(weights).items():
            tensors[name].copy_(value)
    return bridge


def last_logits(bridge: Any, tokens: Int[Tensor, "batch positions"]) -> Float[Tensor, "batch out"]:
    """The bridge's logits at the last position."""
    with torch.no_grad():
        return bridge(tokens.to(bridge.W_E.device), return_type="logits")[:, -1]


def _linear(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights under the bridge's names and shapes; missing biases are zero."""
    attention, mlp = "blocks.0.attn", "blocks.0.mlp"
    W_O = weights["W_O"]
    written = {
        "embed.weight": weights["W_E"],
        "pos_embed.weight": weights["W_pos"],
        f"{attention}.o.weight": W_O.reshape(-1, W_O.shape[2]).T,
        f"{mlp}.in.weight": weights["W_in"].T,
        f"{mlp}.out.weight": weights["W_out"].T,
        "unembed.weight": weights["W_unembed"].T,
    }
    for letter in "QKV":
        rows = weights[f"W_{letter}"].transpose(1, 2)
        written[f"{attention}.{letter.lower()}.weight"] = rows.reshape(-1, rows.shape[2])
    biases = {f"b_{letter}": f"{attention}.{letter.lower()}" for letter in "QKVO"}
    biases |= {"b_in": f"{mlp}.in", "b_out": f"{mlp}.out"}
    for name, layer in biases.items():
        given, width = weights.get(name), len(written[f"{layer}.weight"])
        bias = written[f"{layer}.weight"].new_zeros(width) if given is None else given.reshape(-1)
        written[f"{layer}.bias"] = bias
    return written
