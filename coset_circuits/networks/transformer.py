"""One-layer transformers that multiply: tokens [a, b, =] or [a, b], answers at the last position.

At the last position everything but a softmax over two or three numbers is a function of a alone or
of b alone, so a forward pass gathers small tables and never runs the other positions. The MLP there
is the hidden layer; what goes around it is the skip path. In symmetric and alternating groups the
released networks only route with attention, and their pre-activations are additive; in cyclic ones
they are not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from einops import einsum, rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformer_lens.hook_points import HookPoint

from coset_circuits.errors import CosetCircuitsError
from coset_circuits.groups import FiniteGroup, recognise
from coset_circuits.groups import group as named_group
from coset_circuits.networks.bridge import (
    bridge_weights,
    check_bridge,
    last_logits,
    make_bridge,
)
from coset_circuits.networks.model import STANDARD_SITES, Activation, GroupModel, Site

PATTERN = "blocks.0.attn.hook_pattern"
HEADS = "blocks.0.attn.hook_result"
_BOTH = ("left", "right")
SHAPES = {
    "W_E": "tokens d_model",
    "W_pos": "positions d_model",
    "W_Q": "heads d_model d_head",
    "W_K": "heads d_model d_head",
    "W_V": "heads d_model d_head",
    "W_O": "heads d_head d_model",
    "W_in": "d_model d_mlp",
    "W_out": "d_mlp d_model",
    "W_unembed": "d_model order",
}
BIASES = {
    "b_Q": "heads d_head",
    "b_K": "heads d_head",
    "b_V": "heads d_head",
    "b_O": "d_model",
    "b_in": "d_mlp",
    "b_out": "d_model",
    "b_unembed": "order",
}


@dataclass(frozen=True)
class GroupTransformerConfig:
    """What a TransformerLens user looks for in ``model.cfg``."""

    group: str
    order: int
    d_model: int
    n_heads: int
    d_head: int
    d_mlp: int
    n_ctx: int
    d_vocab: int
    act_fn: str
    attention: float
    device: str
    dtype: str
    seed: int | None


class GroupTransformer(GroupModel):
    """A one-layer transformer without layer norm that multiplies two elements of a finite group.

    Sites beside the standard ones, all at the last position: ``blocks.0.attn.hook_pattern``
    (batch, head, key), ``blocks.0.attn.hook_result`` (batch, head, d_model), which is what each
    head adds to the residual stream, and ``hook_skip`` (batch, order), the logits of the residual
    stream around the MLP. ``hook_left_pre`` and ``hook_right_pre`` are the main effects of
    ``hook_pre`` over all pairs; the rest of it is the interaction of the inputs
    (:attr:`additive_share`).

    Args:
        weights: ``W_E``, ``W_pos``, ``W_Q``, ``W_K``, ``W_V``, ``W_O``, ``W_in``, ``W_out`` and
            ``W_unembed`` in TransformerLens's shapes, and biases ``b_…`` where there are any.
        tokens: the first token of the left elements, that of the right ones, and the token of the
            third position; None for that where there are two positions.
        attention: attention weights are ``attention·softmax + (1 − attention)`` (Zhong et al.
            2023); 1 is ordinary attention.
        tables: left table, right table and W_U in place of what the network reads and writes with
            its MLP: what a surrogate claims. Its skip path is the network's own.

    Raises:
        CosetCircuitsError: a weight is missing, not finite, or has a shape that does not fit.
    """

    sites: ClassVar = {
        "hook_left_embed": STANDARD_SITES["hook_left_embed"],
        "hook_right_embed": STANDARD_SITES["hook_right_embed"],
        PATTERN: Site(PATTERN, _BOTH, per_neuron=False),
        HEADS: Site(HEADS, _BOTH, per_neuron=False),
        **{name: STANDARD_SITES[name] for name in ("hook_left_pre", "hook_right_pre", "hook_pre")},
        "hook_post": STANDARD_SITES["hook_post"],
        "hook_skip": Site("hook_skip", _BOTH, per_neuron=False),
        "hook_logits": STANDARD_SITES["hook_logits"],
    }
    hook_skip: HookPoint
    W_E: nn.Parameter
    W_pos: nn.Parameter
    W_Q: nn.Parameter
    W_K: nn.Parameter
    W_V: nn.Parameter
    W_O: nn.Parameter
    W_in: nn.Parameter
    W_out: nn.Parameter
    W_unembed: nn.Parameter
    b_Q: nn.Parameter | None
    b_K: nn.Parameter | None
    b_V: nn.Parameter | None
    b_O: nn.Parameter | None
    b_in: nn.Parameter | None
    b_out: nn.Parameter | None
    b_unembed: nn.Parameter | None
    given_left: Tensor | None
    given_right: Tensor | None
    given_W_U: Tensor | None

    def __init__(
        self,
        group: FiniteGroup,
        weights: Mapping[str, Tensor],
        *,
        tokens: tuple[int, int, int | None],
        activation: Activation | None = None,
        attention: float = 1.0,
        label: str = "transformer",
        seed: int | None = None,
        provenance: Mapping[str, Any] | None = None,
        silent: Iterable[str] = (),
        tables: tuple[Tensor, Tensor, Tensor] | None = None,
    ) -> None:
        super().__init__(group, label, activation or Activation.named("relu"), silent)
        _check(group, weights, tokens)
        for name in (*SHAPES, *BIASES):
            given = weights.get(name)
            self.register_parameter(name, None if given is None else nn.Parameter(given))
        names = ("given_left", "given_right", "given_W_U")
        for name, table in zip(names, tables or (None, None, None), strict=True):
            self.register_buffer(name, table)
        self.tokens, self.attention, self.seed = tokens, attention, seed
        self.provenance = dict(provenance or {})
        self._effects: tuple[Any, Tensor, Tensor, float] | None = None
        self.setup()

    @classmethod
    def from_bridge(
        cls,
        bridge: Any,
        group: FiniteGroup | None = None,
        *,
        tokens: tuple[int, int, int | None] | None = None,
        label: str = "transformer",
    ) -> GroupTransformer:
        """The one-layer transformer that a TransformerLens ``TransformerBridge`` holds.

        Only the logits of the group's elements count, at the last position.

        Args:
            group: the group that it multiplies in, whose elements its tokens number; None to read
                it off the answers, if these are a Cayley table.
            tokens: see :class:`GroupTransformer`; by default [a, b, =], with = after the elements.

        Raises:
            CosetCircuitsError: the bridge has more than one layer, layer norm, rotary positions,
                a gated MLP or soft caps; its logits are not those of the transformer read from it;
                or no group was given and the answers are not those of a group.
        """
        check_bridge(bridge)
        order = len(bridge.W_E) - 1 if group is None else group.order
        tokens = tokens or (0, 0, order)
        weights = bridge_weights(bridge, order, 2 if tokens[2] is None else 3)
        network = cls(
            group or named_group(f"C{order}"),
            weights,
            tokens=tokens,
            activation=Activation.named(bridge.cfg.act_fn),
            label=label,
            provenance={"source": "a TransformerBridge"},
        )
        network.check_same_logits(bridge)
        if group is not None:
            return network
        pairs = network.group.pairs()
        with torch.no_grad():
            answers = torch.cat([network(part).argmax(1) for part in pairs.split(20_000)])
        known = recognise(answers.reshape(order, order).cpu().numpy())
        elements = torch.from_numpy(np.argsort(known.elements))
        return network.reordered(elements, known.group)

    def bridge(self) -> Any:
        """A TransformerLens ``TransformerBridge`` with this network's weights, hooks and names.

        It takes tokens, such as :meth:`token_rows` of pairs.

        Raises:
            CosetCircuitsError: attention is mixed with a constant, the network is a surrogate, or
                TransformerLens lacks its activation; or the bridge's logits are not the network's.
        """
        if self.attention != 1 or self.given_left is not None:
            what = "tables of its own" if self.attention == 1 else "attention mixed with a constant"
            raise CosetCircuitsError(f"{self.label} has {what}, which a TransformerBridge has not.")
        weights = {name: p.detach() for name, p in self.named_parameters()}
        bridge = make_bridge(weights, self.activation.name, self.dtype, self.device)
        self.check_same_logits(bridge)
        return bridge

    def token_rows(self, pairs: Int[Tensor, "batch 2"]) -> Int[Tensor, "batch positions"]:
        """The tokens that stand for pairs of elements: [a, b, =] or [a, b]."""
        left, right, last = self.tokens
        rows = pairs + torch.tensor([left, right])
        return rows if last is None else torch.cat([rows, torch.full((len(rows), 1), last)], 1)

    def check_same_logits(self, bridge: Any, chunk: int = 20_000) -> None:
        """Refuse a bridge whose logits of the elements differ from this network's on any pair."""
        tolerance = 1e-9 if self.dtype == torch.float64 else 1e-4
        for pairs in self.group.pairs().split(chunk):
            theirs = last_logits(bridge, self.token_rows(pairs))[:, : self.group.order]
            with torch.no_grad():
                difference = float((self(pairs) - theirs).abs().max())
            if not difference <= tolerance * max(1.0, float(theirs.abs().max())):
                raise CosetCircuitsError(
                    f"The TransformerBridge and the GroupTransformer with its weights differ by "
                    f"{difference:.3g} in their logits; the bridge computes something else, so it "
                    "is not used."
                )

    @classmethod
    def initialised(
        cls,
        group: FiniteGroup,
        *,
        d_mlp: int = 512,
        d_model: int = 128,
        n_heads: int = 4,
        d_head: int = 32,
        act_fn: str = "relu",
        seed: int = 0,
    ) -> GroupTransformer:
        """An untrained transformer that reads [a, b, =]: scaled normal weights, no biases.

        The default sizes are those of Chughtai et al. (2023).
        """
        heads = (n_heads, d_model, d_head)
        shapes = {"W_E": (group.order + 1, d_model), "W_pos": (3, d_model)}
        shapes |= {"W_Q": heads, "W_K": heads, "W_V": heads, "W_O": (n_heads, d_head, d_model)}
        shapes |= {"W_in": (d_model, d_mlp), "W_out": (d_mlp, d_model)}
        shapes |= {"W_unembed": (d_model, group.order)}
        return cls(
            group,
            _normal(shapes, seed),
            tokens=(0, 0, group.order),
            activation=Activation.named(act_fn),
            seed=seed,
            provenance={"source": f"untrained, seed {seed}"},
        )

    @property
    def cfg(self) -> GroupTransformerConfig:
        heads, d_model, d_head = self.W_Q.shape
        return GroupTransformerConfig(
            group=self.group.name,
            order=self.group.order,
            d_model=d_model,
            n_heads=heads,
            d_head=d_head,
            d_mlp=self.W_in.shape[1],
            n_ctx=self.W_pos.shape[0],
            d_vocab=self.W_E.shape[0],
            act_fn=self.activation.name,
            attention=self.attention,
            device=str(self.device),
            dtype=self.dtype_name,
            seed=self.seed,
        )

    @property
    def W_U(self) -> Float[Tensor, "d_mlp order"]:  # type: ignore[override]
        """What each neuron writes to the logits, through the residual stream."""
        return self.W_out @ self.W_unembed if self.given_W_U is None else self.given_W_U

    @property
    def d_mlp(self) -> int:
        return self.W_in.shape[1]

    @property
    def left_table(self) -> Float[Tensor, "order d_mlp"]:
        return self._main_effects()[0] if self.given_left is None else self.given_left

    @property
    def right_table(self) -> Float[Tensor, "order d_mlp"]:
        return self._main_effects()[1] if self.given_right is None else self.given_right

    @property
    def has_one_embedding_space(self) -> bool:
        return True

    @property
    def additive_share(self) -> float:
        return self._main_effects()[2] if self.given_left is None else 1.0

    def forward(self, pairs: Int[Tensor, "batch 2"]) -> Float[Tensor, "batch order"]:
        """Logits of every product for a batch of pairs (a, b).

        Raises:
            CosetCircuitsError: the input is not a batch of pairs of elements.
        """
        self.check_pairs(pairs)
        a, b = pairs.to(self.device).T
        resid = self._residual(a, b, hooked=True)
        left, right = self.left_table[a], self.right_table[b]
        pre = self.hook_left_pre(left) + self.hook_right_pre(right)
        if self.given_left is None:
            # The interaction is what the running network has beyond the main effects.
            pre = pre + (_with(resid @ self.W_in, self.b_in) - left - right)
        post = self.hook_post(self.activate(self.hook_pre(pre)))
        skip = _with(_with(resid, self.b_out) @ self.W_unembed, self.b_unembed)
        skip = self.hook_skip(skip)
        return self.hook_logits(post @ self.W_U + skip)

    def _residual(
        self, a: Int[Tensor, "batch"], b: Int[Tensor, "batch"], *, hooked: bool = False
    ) -> Float[Tensor, "batch d_model"]:
        """The residual stream before the MLP, at the last position."""
        left, right, last = self._embedded()
        left_index, right_index = a, b
        if hooked and self._is_watched(self.hook_left_embed):
            left, left_index = self.hook_left_embed(left[a]), torch.arange(len(a), device=a.device)
        if hooked and self._is_watched(self.hook_right_embed):
            right, right_index = (
                self.hook_right_embed(right[b]),
                torch.arange(len(b), device=b.device),
            )
        if last is None:
            last, last_index = right, right_index
        else:
            last_index = torch.zeros_like(a)
        query = einsum(last, self.W_Q, "x d, h d k -> x h k")
        query = _with(query, self.b_Q)[last_index]
        sources = [(left, left_index), (right, right_index)]
        sources += [] if self.tokens[2] is None else [(last, last_index)]
        scores, results = [], []
        for rows, index in sources:
            key = _with(einsum(rows, self.W_K, "x d, h d k -> x h k"), self.b_K)
            value = _with(einsum(rows, self.W_V, "x d, h d k -> x h k"), self.b_V)
            scores.append(einsum(query, key[index], "batch h k, batch h k -> batch h"))
            results.append((einsum(value, self.W_O, "x h k, h k d -> x h d"), index))
        pattern = torch.stack(scores, 2) / self.W_Q.shape[2] ** 0.5
        pattern = self.attention * pattern.softmax(2) + (1 - self.attention)
        if hooked:
            pattern = self._point(PATTERN)(pattern)
        result = sum(
            pattern[:, :, place, None] * rows[index] for place, (rows, index) in enumerate(results)
        )
        assert isinstance(result, Tensor)
        if hooked:
            result = self._point(HEADS)(result)
        return _with(last[last_index] + result.sum(1), self.b_O)

    def _embedded(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """The embedded elements at the two positions, and the token at the third."""
        left, right, last = self.tokens
        n = self.group.order
        third = None if last is None else self.W_E[last : last + 1] + self.W_pos[2]
        return (
            self.W_E[left : left + n] + self.W_pos[0],
            self.W_E[right : right + n] + self.W_pos[1],
            third,
        )

    def _point(self, name: str) -> Any:
        return (lambda value: value) if name in self.silent else self.mod_dict[name]

    @staticmethod
    def _is_watched(hook: HookPoint) -> bool:
        return hook.has_hooks() or "forward" in vars(hook)

    @torch.no_grad()
    def _main_effects(self, chunk: int = 40_000) -> tuple[Tensor, Tensor, float]:
        """Left and right main effects of the pre-activations, and the share that is additive.

        The residual stream's means and covariance are enough, since the MLP reads it linearly.
        """
        parameters = [p for name, p in self.named_parameters() if name in (*SHAPES, *BIASES)]
        if self._effects is not None and all(map(_same, self._effects[0], parameters)):
            return self._effects[1:]
        n, d = self.group.order, self.W_in.shape[0]
        by_left = torch.zeros(n, d, dtype=torch.float64, device=self.device)
        by_right, second = torch.zeros_like(by_left), by_left.new_zeros(d, d)
        every = torch.arange(n, device=self.device)
        for rows in every.split(max(1, chunk // n)):
            a, b = rows.repeat_interleave(n), every.repeat(len(rows))
            resid = self._residual(a, b).double()
            grid = rearrange(resid, "(a b) d -> a b d", b=n)
            by_left[rows] = grid.mean(1)
            by_right += grid.sum(0) / n
            second += resid.T @ resid / n**2
        mean = by_left.mean(0)
        W_in = self.W_in.double()
        left = _with(by_left @ W_in, self.b_in)
        right = (by_right - mean) @ W_in
        covariance = second - torch.outer(mean, mean)
        total = einsum(W_in, covariance, W_in, "x m, x y, y m -> m").sum()
        additive = (left.var(0, correction=0) + right.var(0, correction=0)).sum()
        share = float((additive / total).clamp(0, 1)) if total > 0 else 1.0
        # Neither address nor version of a tensor shows every change, such as one through .data.
        copies = [p.clone() for p in parameters]
        self._effects = copies, left.to(self.dtype), right.to(self.dtype), share
        return self._effects[1:]

    def with_tables(
        self,
        left: Float[Tensor, "order d_mlp"],
        right: Float[Tensor, "order d_mlp"],
        W_U: Float[Tensor, "d_mlp order"],
        *,
        label: str,
        silent: Iterable[str] = (),
        source: str = "",
    ) -> GroupTransformer:
        """A surrogate: its pre-activations are additive, its skip path is this network's."""
        tables = tuple(x.detach().to(self.device, self.dtype) for x in (left, right, W_U))
        return self._like(
            self.state_dict(),
            label=label,
            silent={*silent, PATTERN, HEADS},
            provenance={"source": source},
            tables=tables,
        )

    def untrained(self, seed: int) -> GroupTransformer:
        shapes = {name: tuple(p.shape) for name, p in self.named_parameters()}
        weights = _normal(shapes, seed)
        return self._like(weights, seed=seed, provenance={"source": f"untrained, seed {seed}"})

    def reordered(self, elements: Int[Tensor, "order"], group: FiniteGroup) -> GroupTransformer:
        """The same network with its element ``elements[i]`` called i, as elements of a group."""
        weights = dict(self.state_dict())
        W_E = weights["W_E"].clone()
        for first in {self.tokens[0], self.tokens[1]}:
            W_E[first : first + len(elements)] = weights["W_E"][first + elements]
        weights["W_E"], weights["W_unembed"] = W_E, weights["W_unembed"][:, elements]
        if self.b_unembed is not None:
            weights["b_unembed"] = weights["b_unembed"][elements]
        return self._like(weights, group=group)

    def _like(self, weights: Mapping[str, Tensor], **changes: Any) -> GroupTransformer:
        """The same architecture with other weights."""
        names = (*SHAPES, *BIASES)
        kept = {"group": self.group, "label": self.label, "seed": self.seed}
        kept |= {"tokens": self.tokens, "attention": self.attention, "activation": self.activation}
        kept |= {"provenance": self.provenance, **changes}
        given = {name: value.clone() for name, value in weights.items() if name in names}
        return GroupTransformer(weights=given, **kept)  # type: ignore[arg-type]

    def fingerprint(self) -> object:
        return super().fingerprint(), self.tokens, self.attention

    def facts(self) -> dict[str, Any]:
        cfg = self.cfg
        return {
            **super().facts(),
            "kind": "transformer",
            "d_model": cfg.d_model,
            "n_heads": cfg.n_heads,
        }

    @property
    def width_text(self) -> str:
        cfg = self.cfg
        return (
            f"one-layer transformer, {cfg.n_heads} heads, residual stream {cfg.d_model}, "
            f"{super().width_text}; {self.additive_share:.2%} of the pre-activations' variance is "
            "additive"
        )

    def __repr__(self) -> str:
        return f"GroupTransformer({self.label}: {self.group.name}, {self.width_text})"


def _same(one: Tensor, other: Tensor) -> bool:
    same_kind = one.dtype == other.dtype and one.device == other.device
    return same_kind and torch.equal(one, other)


def _normal(shapes: Mapping[str, tuple[int, ...]], seed: int) -> dict[str, Tensor]:
    """First weights: normal, scaled by 1/√fan-in; biases are 0."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(name: str, shape: tuple[int, ...]) -> Tensor:
        if name.startswith("b"):
            return torch.zeros(shape)
        # All heads add to the residual stream. Embeddings have a length near 1.
        fan_in = {"W_O": shape[0] * shape[-2], "W_E": shape[-1], "W_pos": shape[-1]}
        return torch.randn(shape, generator=generator) / fan_in.get(name, shape[-2]) ** 0.5

    return {name: drawn(name, shape) for name, shape in shapes.items()}


def _with(value: Tensor, bias: Tensor | None) -> Tensor:
    return value if bias is None else value + bias


def _check(
    group: FiniteGroup, weights: Mapping[str, Tensor], tokens: tuple[int, int, int | None]
) -> None:
    """Refuse weights that do not fit together; sizes are read off the weights themselves."""
    sizes: dict[str, int] = {"order": group.order, "positions": 2 if tokens[2] is None else 3}
    for name, shape in {**SHAPES, **BIASES}.items():
        tensor = weights.get(name)
        if tensor is None:
            if name in SHAPES:
                raise CosetCircuitsError(f"The weights of the transformer lack {name}.")
            continue
        axes = shape.split()
        expected = [sizes.setdefault(axis, n) for axis, n in zip(axes, tensor.shape, strict=False)]
        if list(tensor.shape) != expected or tensor.ndim != len(axes):
            raise CosetCircuitsError(
                f"{name} has shape {tuple(tensor.shape)} where the other weights and the group "
                f"{group.name} of order {group.order} need {tuple(expected)} ({shape})."
            )
        if not tensor.is_floating_point() or not torch.isfinite(tensor).all():
            raise CosetCircuitsError(
                f"{name} holds values that are not finite numbers; the network cannot be analysed."
            )
    if (
        max(tokens[0], tokens[1]) + group.order > sizes["tokens"]
        or (tokens[2] or 0) >= sizes["tokens"]
    ):
        raise CosetCircuitsError(
            f"W_E has {sizes['tokens']} tokens, too few for {group.order} elements at tokens "
            f"{tokens}."
        )
