"""One-layer transformers that multiply: tokens [a, b, =] or [a, b], answers at the last position.

At the last position everything is a function of a alone or of b alone, except a softmax over two or
three numbers. So a forward pass gathers small tables and never runs the other positions. The MLP at
that position is the hidden layer; the skip path is the residual stream around it. In symmetric and
alternating groups the released networks use attention only for routing, and their pre-activations
are additive. In cyclic groups they are not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from einops import einsum, rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformer_lens.hook_points import HookPoint

from coset_circuits.errors import CosetCircuitsError, brief, checked
from coset_circuits.groups import FiniteGroup
from coset_circuits.groups import group as named_group
from coset_circuits.networks.bridge import (
    bridge_weights,
    check_bridge,
    last_logits,
    make_bridge,
)
from coset_circuits.networks.model import (
    STANDARD_SITES,
    Activation,
    ActivationLike,
    GroupModel,
    Site,
)
from coset_circuits.networks.numbering import group_of, in_readable_order
from coset_circuits.networks.weights import as_tensor

_MEMO = 2**24
"""How many numbers are cached of values that are the same for all surrogates."""
PATTERN = "blocks.0.attn.hook_pattern"
HEADS = "blocks.0.attn.hook_result"
_BEFORE_THE_TABLES = ("hook_left_embed", "hook_right_embed", PATTERN, HEADS)
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
    """The configuration of a network, as TransformerLens users expect it in ``model.cfg``."""

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


class _Memo:
    """A cache of values that depend only on a transformer's weights, shared with its surrogates.

    A comparison runs dozens of surrogates on the same pairs; all have the network's skip path.

    Attributes:
        weights, settings: the weights and settings that the cached values belong to.
        effects: the main effects and the additive share.
        paths: for the bytes of a batch of pairs, the skip path's logits and, if a network has
            needed it, the interaction of the inputs.
    """

    def __init__(self) -> None:
        self.weights: list[Tensor] = []
        self.settings: object = None
        self.effects: tuple[Tensor, Tensor, float] | None = None
        self.paths: dict[bytes, tuple[Tensor, Tensor | None]] = {}

    def of(self, weights: Sequence[Tensor], settings: object) -> _Memo:
        """The cache itself, emptied if it belongs to other weights."""
        same = self.settings == settings and len(self.weights) == len(weights)
        if not same or not all(map(_same, self.weights, weights)):
            # A tensor's address and version do not show every change, such as one through .data.
            self.weights, self.settings = [w.detach().clone() for w in weights], settings
            self.effects, self.paths = None, {}
        return self

    def keep(self, key: bytes, skip: Tensor, interaction: Tensor | None) -> None:
        """Store the paths of a batch, and drop the oldest ones if the cache is full."""
        self.paths[key] = skip, interaction
        sizes = [sum(x.numel() for x in path if x is not None) for path in self.paths.values()]
        while sum(sizes) > _MEMO:
            del self.paths[next(iter(self.paths))]
            del sizes[0]

    def __deepcopy__(self, memo: Any) -> _Memo:
        return self

    def __reduce__(self) -> Any:
        return _Memo, ()


class GroupTransformer(GroupModel):
    """A one-layer transformer without layer norm that multiplies two elements of a finite group.

    It has these sites besides the standard ones, all at the last position:

    - ``blocks.0.attn.hook_pattern`` (batch, head, key): the attention weights;
    - ``blocks.0.attn.hook_result`` (batch, head, d_model): what each head adds to the residual
      stream;
    - ``hook_skip`` (batch, order): the logits of the residual stream around the MLP.

    ``hook_left_pre`` and ``hook_right_pre`` are the main effects of ``hook_pre`` over all pairs.
    The rest of ``hook_pre`` is the interaction of the inputs (:attr:`additive_share`).

    Args:
        weights: ``W_E``, ``W_pos``, ``W_Q``, ``W_K``, ``W_V``, ``W_O``, ``W_in``, ``W_out`` and
            ``W_unembed`` in TransformerLens's shapes, and biases ``b_…`` if there are any.
        tokens: the first left element's token, the first right element's token, and the token at
            the third position (None if there are two positions).
        attention: attention weights are ``attention·softmax + (1 − attention)`` (Zhong et al.
            2023); 1 is ordinary attention.
        tables: left table, right table and W_U of a surrogate, which replace what the network's
            MLP reads and writes. The skip path stays the network's.

    Raises:
        CosetCircuitsError: a weight is missing, not finite, or has a shape that does not fit, or
            the tokens or the attention are none.
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
    weight_names = (*SHAPES, *BIASES)
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

    @checked
    def __init__(
        self,
        group: FiniteGroup,
        weights: Mapping[str, Tensor],
        *,
        tokens: Sequence[int | None],
        activation: ActivationLike | None = None,
        attention: float = 1.0,
        label: str = "transformer",
        seed: int | None = None,
        provenance: Mapping[str, Any] | None = None,
        silent: Iterable[str] = (),
        tables: tuple[Tensor, Tensor, Tensor] | None = None,
    ) -> None:
        act = Activation.of("relu" if activation is None else activation)
        super().__init__(group, label, act, silent)
        _check_settings(tokens, attention)
        weights = {name: as_tensor(name, value) for name, value in weights.items()}
        self.tokens = cast("tuple[int, int, int | None]", tuple(tokens))
        _check(self.group, weights, self.tokens)
        for name in (*SHAPES, *BIASES):
            given = weights.get(name)
            self.register_parameter(name, None if given is None else nn.Parameter(given))
        names = ("given_left", "given_right", "given_W_U")
        for name, table in zip(names, tables or (None, None, None), strict=True):
            self.register_buffer(name, table)
        self.attention, self.seed = attention, seed
        self.provenance = dict(provenance or {})
        self._shared = _Memo()
        self.setup()

    @classmethod
    @checked
    @torch.no_grad()
    def from_bridge(
        cls,
        bridge: Any,
        group: FiniteGroup | str | None = None,
        *,
        tokens: tuple[int, int, int | None] | None = None,
        label: str = "transformer",
    ) -> GroupTransformer:
        """Convert a one-layer TransformerLens ``TransformerBridge``.

        Only the logits of the group's elements at the last position are used.

        Args:
            group: the group that it multiplies in, or its name; its tokens number the group's
                elements. None recognises the group from the answers, which must then be a Cayley
                table.
            tokens: see :class:`GroupTransformer`; by default [a, b, =], with = after the elements.

        Raises:
            CosetCircuitsError: the bridge has more than one layer, layer norm, rotary positions,
                a gated MLP or soft caps; its logits differ from the converted transformer's;
                it multiplies in another group; or no group was given and the answers are not a
                Cayley table.

        Warns:
            UserWarning: it is right only in another numbering of the group, which is then used,
                or in the other order of multiplication.
        """
        check_bridge(bridge)
        group = None if group is None else named_group(group)
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
        answers = network.answers()
        if group is None:
            network.group = group_of(answers, label)
        return cast(GroupTransformer, in_readable_order(network, answers, group))

    def bridge(self) -> Any:
        """A TransformerLens ``TransformerBridge`` with this network's weights, hooks and names.

        It takes tokens, such as :meth:`token_rows` of pairs.

        Raises:
            CosetCircuitsError: attention is mixed with a constant, the network is a surrogate,
                TransformerLens lacks its activation, or the bridge's logits differ from the
                network's.
        """
        if self.attention != 1 or self.given_left is not None:
            what = "tables of its own" if self.attention == 1 else "attention mixed with a constant"
            raise CosetCircuitsError(f"{self.label} has {what}; a TransformerBridge cannot.")
        weights = {name: weight.detach() for name, weight in self.weights.items()}
        bridge = make_bridge(weights, self.activation.name, self.dtype, self.device)
        self.check_same_logits(bridge)
        return bridge

    def token_rows(self, pairs: Int[Tensor, "batch 2"]) -> Int[Tensor, "batch positions"]:
        """The tokens of pairs of elements: [a, b, =] or [a, b].

        Raises:
            CosetCircuitsError: the input is not a batch of pairs of elements.
        """
        left, right, last = self.tokens
        rows = self.check_pairs(pairs)
        rows = rows + rows.new_tensor([left, right])
        return rows if last is None else torch.cat([rows, rows.new_full((len(rows), 1), last)], 1)

    def check_same_logits(self, bridge: Any, chunk: int = 20_000) -> None:
        """Check that a bridge's logits of the elements equal this network's on all pairs."""
        tolerance = 1e-9 if self.dtype == torch.float64 else 1e-4
        for pairs in self.group.pairs().split(chunk):
            theirs = last_logits(bridge, self.token_rows(pairs))[:, : self.group.order]
            with torch.no_grad():
                difference = float((self(pairs) - theirs).abs().max())
            if not difference <= tolerance * max(1.0, float(theirs.abs().max())):
                raise CosetCircuitsError(
                    f"The logits of the TransformerBridge and of the GroupTransformer with its "
                    f"weights differ by {difference:.3g}, so the bridge computes something else "
                    "and cannot be used."
                )

    @classmethod
    def initialised(
        cls,
        group: FiniteGroup | str,
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
        group = named_group(group)
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
        """Each neuron's contribution to the logits, through the residual stream."""
        return self.W_out @ self.W_unembed if self.given_W_U is None else self.given_W_U

    @property
    def device(self) -> torch.device:
        return self.W_E.device

    @property
    def dtype(self) -> torch.dtype:
        return self.W_E.dtype

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
        """The logits of every possible product, for a batch of pairs (a, b).

        Raises:
            CosetCircuitsError: the input is not a batch of pairs of elements.
        """
        pairs = self.check_pairs(pairs)
        skip, interaction = self._paths(pairs)
        left, right = self._gathered(pairs)
        pre = self.hook_left_pre(left) + self.hook_right_pre(right)
        pre = pre if interaction is None else pre + interaction
        post = self.hook_post(self.activate(self.hook_pre(pre)))
        return self.hook_logits(post @ self.W_U + self.hook_skip(skip))

    def _paths(
        self, pairs: Int[Tensor, "batch 2"]
    ) -> tuple[Float[Tensor, "batch order"], Float[Tensor, "batch d_mlp"] | None]:
        """The skip path's logits, and the pre-activations' interaction beyond the main effects.

        A surrogate has no interaction.
        """
        is_surrogate = self.given_left is not None
        is_plain = not (
            torch.is_grad_enabled()
            or torch.is_inference_mode_enabled()
            or any(self._is_watched(self.mod_dict[site]) for site in _BEFORE_THE_TABLES)  # type: ignore[arg-type]
        )
        key, memo = b"", self._memo()
        if is_plain:
            key = pairs.cpu().numpy().tobytes()
            skip, interaction = memo.paths.get(key, (None, None))
            if skip is not None and (is_surrogate or interaction is not None):
                # A hook on the site may keep the tensor and change it.
                skip = skip.clone() if self._is_watched(self.hook_skip) else skip
                return skip, None if is_surrogate else interaction
        resid = self._residual(*pairs.T, hooked=True)
        interaction = None
        if not is_surrogate:
            left, right = self._gathered(pairs)
            interaction = _with(resid @ self.W_in, self.b_in) - left - right
        skip = _with(_with(resid, self.b_out) @ self.W_unembed, self.b_unembed)
        if is_plain:
            memo.keep(key, skip.clone(), interaction)
        return skip, interaction

    def _gathered(self, pairs: Int[Tensor, "batch 2"]) -> tuple[Tensor, Tensor]:
        left, right = self.given_left, self.given_right
        if left is None or right is None:
            left, right, _ = self._main_effects()
        return left[pairs[:, 0]], right[pairs[:, 1]]

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
        """Left and right main effects of the pre-activations, and their additive share.

        The residual stream's means and covariance suffice, since the MLP reads it linearly.
        """
        memo = self._memo()
        if memo.effects is not None:
            return memo.effects
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
        memo.effects = left.to(self.dtype), right.to(self.dtype), share
        return memo.effects

    def _memo(self) -> _Memo:
        weights = list(self.weights.values())
        return self._shared.of(weights, (self.tokens, self.attention))

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
        """A surrogate with additive pre-activations and this network's skip path."""
        tables = tuple(x.detach().to(self.device, self.dtype) for x in (left, right, W_U))
        surrogate = self._like(
            self.weights,
            label=label,
            silent={*silent, PATTERN, HEADS},
            provenance={"source": source},
            tables=tables,
        )
        surrogate._shared = self._shared
        return surrogate

    def untrained(self, seed: int) -> GroupTransformer:
        shapes = {name: tuple(p.shape) for name, p in self.weights.items()}
        weights = _normal(shapes, seed)
        return self._like(weights, seed=seed, provenance={"source": f"untrained, seed {seed}"})

    def reordered(self, elements: Int[Tensor, "order"], group: FiniteGroup) -> GroupTransformer:
        """The same network over ``group``, with element ``elements[i]`` renumbered i."""
        elements = torch.from_numpy(self.group.permutation(elements))
        weights = self.weights
        W_E = weights["W_E"].clone()
        for first in {self.tokens[0], self.tokens[1]}:
            W_E[first : first + len(elements)] = weights["W_E"][first + elements]
        weights["W_E"], weights["W_unembed"] = W_E, weights["W_unembed"][:, elements]
        if self.b_unembed is not None:
            weights["b_unembed"] = weights["b_unembed"][elements]
        return self._like(weights, group=group)

    def _like(self, weights: Mapping[str, Tensor], **changes: Any) -> GroupTransformer:
        """The same architecture with other weights."""
        kept = {"group": self.group, "label": self.label, "seed": self.seed}
        kept |= {"tokens": self.tokens, "attention": self.attention, "activation": self.activation}
        kept |= {"provenance": self.provenance, **changes}
        return GroupTransformer(weights=weights, **kept)  # type: ignore[arg-type]

    def fingerprint(self, precision: torch.dtype = torch.float64) -> tuple[Any, ...]:
        return *super().fingerprint(precision), self.tokens, self.attention

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
    """Initial weights: normal, scaled by 1/√fan-in; biases are 0."""
    generator = torch.Generator().manual_seed(seed)

    def drawn(name: str, shape: tuple[int, ...]) -> Tensor:
        if name.startswith("b"):
            return torch.zeros(shape, dtype=torch.float32)
        # All heads add to the residual stream. Embeddings have a length near 1.
        fan_in = {"W_O": shape[0] * shape[-2], "W_E": shape[-1], "W_pos": shape[-1]}
        drawn = torch.randn(shape, generator=generator, dtype=torch.float32)
        return drawn / fan_in.get(name, shape[-2]) ** 0.5

    return {name: drawn(name, shape) for name, shape in shapes.items()}


def _with(value: Tensor, bias: Tensor | None) -> Tensor:
    return value if bias is None else value + bias


def _check_settings(tokens: Any, attention: float) -> None:
    given = list(tokens) if isinstance(tokens, (tuple, list)) and len(tokens) == 3 else []
    numbers = given[:2] if given[2:] == [None] else given
    if len(numbers) < 2 or not all(type(token) is int and token >= 0 for token in numbers):
        raise CosetCircuitsError(
            f"Its tokens are {brief(tokens)}; expected are the first left element's token, the "
            "first right element's token, and the third position's token or None."
        )
    if not 0 <= attention <= 1:
        raise CosetCircuitsError(f"Its attention is {attention}; expected is a number from 0 to 1.")


def _check(
    group: FiniteGroup, weights: Mapping[str, Tensor], tokens: tuple[int, int, int | None]
) -> None:
    """Check that the weights fit together; the sizes are read off the weights."""
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
    if (
        max(tokens[0], tokens[1]) + group.order > sizes["tokens"]
        or (tokens[2] or 0) >= sizes["tokens"]
    ):
        raise CosetCircuitsError(
            f"W_E has {sizes['tokens']} tokens, too few for {group.order} elements with tokens "
            f"{tokens}."
        )
