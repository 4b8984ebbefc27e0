"""Read one-layer transformers whose weights have TransformerLens's names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from coset_circuits.errors import CosetCircuitsError
from coset_circuits.networks.file import check_tensors
from coset_circuits.networks.transformer import BIASES, SHAPES

_NAMES = {
    "embed.W_E": "W_E",
    "pos_embed.W_pos": "W_pos",
    **{f"blocks.0.attn.{name}": name for name in ("W_Q", "W_K", "W_V", "W_O")},
    **{f"blocks.0.attn.{name}": name for name in ("b_Q", "b_K", "b_V", "b_O")},
    **{f"blocks.0.mlp.{name}": name for name in ("W_in", "b_in", "W_out", "b_out")},
    "unembed.W_U": "W_unembed",
    "unembed.b_U": "b_unembed",
}
_DIMENSIONS = {theirs: len({**SHAPES, **BIASES}[ours].split()) for theirs, ours in _NAMES.items()}
_MASK = "blocks.0.attn.mask"
_CONSTANTS = {_MASK: 2, "blocks.0.attn.IGNORE": 0}


def is_transformer(content: Mapping[str, Any]) -> bool:
    return "blocks.0.attn.W_Q" in content


def transformer_weights(
    path: Path, content: Mapping[str, Any], copies: Mapping[str, int] | None = None
) -> dict[str, Tensor]:
    """The weights under the names of :class:`GroupTransformer`.

    Args:
        copies: other entries that the format may have, each with its number of dimensions.

    Raises:
        CosetCircuitsError: a weight is missing or unknown, or a mask restricts attention.
    """
    check_tensors(path, content, {**_DIMENSIONS, **_CONSTANTS, **(copies or {})})
    lacking = [name for name in ("unembed.W_U", "embed.W_E") if name not in content]
    if lacking:
        raise CosetCircuitsError(f"{path} is a transformer without {', '.join(lacking)}.")
    mask = content.get(_MASK)
    if mask is not None and not mask[-1:].all():
        raise CosetCircuitsError(
            f"{path} has an attention mask that hides a token from the last position; only "
            "transformers whose last position attends to all tokens are supported."
        )
    return {ours: content[theirs] for theirs, ours in _NAMES.items() if theirs in content}
