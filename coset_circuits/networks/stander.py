"""The MLPs and one-layer transformers of Stander et al. (ICML 2024), as their code saves them."""

from __future__ import annotations

from collections.abc import Mapping
from math import isclose
from pathlib import Path
from typing import Any

from coset_circuits.errors import CosetCircuitsError
from coset_circuits.groups import FiniteGroup
from coset_circuits.networks.file import (
    CheckpointFile,
    check_tensors,
    elements,
    halves,
    in_our_order,
    network_from,
    of_elements,
    one_line,
)
from coset_circuits.networks.lens_names import is_transformer, transformer_weights
from coset_circuits.networks.mlp import GroupMLP
from coset_circuits.networks.model import Activation, GroupModel
from coset_circuits.networks.transformer import GroupTransformer

_MATRICES = ("lembed.weight", "rembed.weight", "linear.weight", "unembed.weight")
_BIASES = ("linear.bias", "unembed.bias")
_AS_OURS: dict[str, tuple[Any, ...]] = {
    "n_layers": (1,),
    "attn_only": (False,),
    "use_ln": (False,),
    "normalization_type": (None,),
    "positional_embedding_type": ("standard",),
    # With either value the last position attends to every token.
    "attention_dir": ("causal", "bidirectional"),
    "use_attn_scale": (True,),
    "parallel_attn_mlp": (False,),
    "gated_mlp": (False,),
    "use_local_attn": (False,),
    "n_key_value_heads": (None,),
    "num_experts": (None,),
    "output_logits_soft_cap": (-1.0, 0.0),
    "attn_scores_soft_cap": (-1.0, 0.0),
    "post_embedding_ln": (False,),
    "tie_word_embeddings": (False,),
}
"""TransformerLens settings that change the function, with their values in GroupTransformer."""
_OF_NO_EFFECT = (
    *("d_model", "model_dim", "d_head", "n_heads", "d_mlp", "n_ctx", "d_vocab", "d_vocab_out"),
    *("act_fn", "attn_scale", "model_name", "device", "n_devices", "dtype", "seed", "eps"),
    *("init_mode", "init_weights", "initializer_range", "n_params", "default_prepend_bos"),
    *("use_attn_result", "use_attn_in", "use_split_qkv_input", "use_hook_mlp_in", "final_rms"),
    *("scale_attn_by_inverse_layer_idx", "window_size", "attn_types"),
)
"""Other settings: visible in the weights, read by :class:`StanderTransformer`, or irrelevant."""


class StanderMLP:
    """Reads their MLPs: torch Linear layers, with biases before the ReLU and on the logits."""

    suffixes = (".pth", ".safetensors", ".npz")
    folder_files = ("full_run.pth",)
    expects = "model/lembed.weight, … (Stander et al.)"

    def read(self, file: CheckpointFile, order: str | None) -> GroupModel | None:
        model, path = file.weights, file.path
        if "lembed.weight" not in model:
            return None
        missing = set(_MATRICES) - set(model)
        if missing:
            raise CosetCircuitsError(
                f"{path} looks like a run of Stander et al. but lacks "
                f"{', '.join(sorted(missing))}; only networks with two embeddings and one hidden "
                "layer can be read."
            )
        check_tensors(path, model, {**dict.fromkeys(_MATRICES, 2), **dict.fromkeys(_BIASES, 1)})
        weights = {
            "W_E_left": model["lembed.weight"],
            "W_E_right": model["rembed.weight"],
            "W_U": model["unembed.weight"].T,
            **halves(model["lembed.weight"], model["linear.weight"].T),
        }
        if "linear.bias" in model:
            weights["b_in"] = model["linear.bias"]
        if "unembed.bias" in model:
            weights["b_U"] = model["unembed.bias"]
        folder = path.absolute().parent.name
        about: dict[str, Any] = {
            "label": folder or path.stem,
            "provenance": {"source": f"Stander et al. 2024, {folder}/{path.name}"},
            "act_fn": file.facts.get("act_fn", "relu"),
        }

        def build(group: FiniteGroup) -> GroupMLP:
            return network_from(group, of_elements(weights, group.order), **about)

        size = elements(len(weights["W_E_left"]), build)
        if size < len(weights["W_E_left"]):
            about["provenance"]["vocabulary"] = len(weights["W_E_left"])
        return in_our_order(path, size, build, None, order)


class StanderTransformer:
    """Reads their HookedTransformers on tokens [a, b, =], with the configuration in the file.

    Token ``order + 1`` is =, the last of the vocabulary; token ``order`` is never used.
    """

    suffixes = (".pth",)
    folder_files = ("full_run.pth",)
    expects = "model/blocks.0.attn.W_Q, … with config (a one-layer transformer of Stander et al.)"

    def read(self, file: CheckpointFile, order: str | None) -> GroupModel | None:
        model, path = file.weights, file.path
        content = file.content if is_transformer(model) else None
        config = content.get("config") if isinstance(content, Mapping) else None
        if not isinstance(config, Mapping):
            return None
        _check_settings(path, config)
        weights = transformer_weights(path, model)
        _check_scale(path, config, weights["W_Q"].shape[-1] if "W_Q" in weights else 1)
        size, vocabulary = weights["W_unembed"].shape[1], len(weights["W_E"])
        if vocabulary not in (size + 1, size + 2):
            raise CosetCircuitsError(
                f"{path} has {vocabulary} tokens and {size} outputs; expected are one output for "
                "each element, and one or two more tokens than outputs (the last is =)."
            )
        folder = path.absolute().parent.name
        about: dict[str, Any] = {
            "tokens": (0, 0, vocabulary - 1),
            "activation": Activation.named(one_line(config.get("act_fn")).lower()),
            "label": folder or path.stem,
            "provenance": {"source": f"Stander et al. 2024, {folder}/{path.name}"},
        }
        return in_our_order(
            path, size, lambda group: GroupTransformer(group, weights, **about), None, order
        )


def _check_settings(path: Path, config: Mapping[Any, Any]) -> None:
    """Refuse settings with which a GroupTransformer of the same weights would differ."""
    for name, value in config.items():
        # A file may hold anything here, even values that cannot be compared.
        is_plain = value is None or isinstance(value, (int, float, str))
        if name in _AS_OURS and not (is_plain and value in _AS_OURS[name]):
            raise CosetCircuitsError(
                f"{path} has {name} = {one_line(value)}, but {name} must be "
                f"{' or '.join(map(str, _AS_OURS[name]))}: only one-layer transformers with an "
                "MLP, without layer norm and with ordinary attention can be read."
            )
        if name not in _AS_OURS and name not in _OF_NO_EFFECT:
            raise CosetCircuitsError(
                f"{path} has the setting {one_line(name)} = {one_line(value)}, which may change "
                "what the network computes; build the network with GroupTransformer."
            )


def _check_scale(path: Path, config: Mapping[Any, Any], d_head: int) -> None:
    scale = config.get("attn_scale", -1.0)
    if not isinstance(scale, (int, float)) or (scale > 0 and not isclose(scale, d_head**0.5)):
        raise CosetCircuitsError(
            f"{path} has attn_scale = {one_line(scale)}; only attention scores divided by "
            f"√{d_head}, the square root of a head's width, are supported."
        )
