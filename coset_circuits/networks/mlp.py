"""The one-hidden-layer network of both papers."""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformer_lens.hook_points import HookPoint

from coset_circuits.errors import checked, whole_seed
from coset_circuits.groups import FiniteGroup
from coset_circuits.groups import group as named_group
from coset_circuits.networks.model import (
    Activation,
    ActivationLike,
    GroupModel,
    SilentHookPoint,
)
from coset_circuits.networks.weights import as_matrices, warn_of_likely_mistake

Array: TypeAlias = Tensor | np.ndarray


@dataclass(frozen=True)
class GroupMLPConfig:
    """The configuration of a network, as TransformerLens users expect it in ``model.cfg``."""

    group: str
    order: int
    d_embed: int
    d_mlp: int
    act_fn: str
    bias_in: bool
    bias_out: bool
    device: str
    dtype: str
    seed: int | None


class GroupMLP(GroupModel):
    """A one-hidden-layer network that multiplies two elements of a finite group.

    ``relu(W_E_left[a] @ W_in_left + W_E_right[b] @ W_in_right (+ b_in)) @ W_U (+ b_U)``, as a
    TransformerLens ``HookedRootModule``. If no hook is on the embeddings, the left and right
    pre-activations are computed once per element and gathered for each pair.

    Make one with :func:`coset_circuits.load`, :func:`coset_circuits.train` or
    :meth:`from_weights`.
    """

    weight_names = ("W_E_left", "W_E_right", "W_in_left", "W_in_right", "W_U", "b_in", "b_U")
    W_E_left: nn.Parameter
    W_E_right: nn.Parameter
    W_in_left: nn.Parameter
    W_in_right: nn.Parameter
    b_in: nn.Parameter | None
    _held: tuple[Tensor, Tensor] | None = None

    @checked
    def __init__(
        self,
        group: FiniteGroup,
        weights: Mapping[str, Any],
        *,
        activation: Activation | None = None,
        label: str = "network",
        seed: int | None = None,
        provenance: Mapping[str, Any] | None = None,
        silent: Iterable[str] = (),
    ) -> None:
        super().__init__(group, label, activation or Activation.named("relu"), silent)
        weights, cast = as_matrices(self.group, weights)
        for name in self.weight_names:
            given = weights.get(name)
            self.register_parameter(name, None if given is None else nn.Parameter(given))
        self.seed = seed
        self.provenance = {**(provenance or {}), **({"cast": cast} if cast else {})}
        self.setup()

    @classmethod
    def initialised(
        cls,
        group: FiniteGroup | str,
        *,
        d_mlp: int = 128,
        d_embed: int = 256,
        act_fn: ActivationLike = "relu",
        seed: int = 0,
    ) -> GroupMLP:
        """An untrained network: normal weights scaled by 1/√fan-in, no biases."""
        base = named_group(group)
        generator = torch.Generator().manual_seed(whole_seed(seed))

        def normal(rows: int, columns: int, fan_in: int) -> Tensor:
            drawn = torch.randn(rows, columns, generator=generator, dtype=torch.float32)
            return drawn / fan_in**0.5

        weights = {
            "W_E_left": normal(base.order, d_embed, d_embed),
            "W_E_right": normal(base.order, d_embed, d_embed),
            "W_in_left": normal(d_embed, d_mlp, 2 * d_embed),
            "W_in_right": normal(d_embed, d_mlp, 2 * d_embed),
            "W_U": normal(d_mlp, base.order, d_mlp),
        }
        return cls(
            base,
            weights,
            activation=Activation.of(act_fn),
            seed=seed,
            provenance={"source": f"untrained, seed {seed}"},
        )

    @classmethod
    def from_weights(
        cls,
        group: FiniteGroup | str,
        *,
        W_U: Float[Array, "d_mlp order"],
        left_table: Float[Array, "order d_mlp"] | None = None,
        right_table: Float[Array, "order d_mlp"] | None = None,
        W_E: Float[Array, "order d_embed"] | None = None,
        W_E_left: Float[Array, "order d_left"] | None = None,
        W_E_right: Float[Array, "order d_right"] | None = None,
        W_in_left: Float[Array, "d_left d_mlp"] | None = None,
        W_in_right: Float[Array, "d_right d_mlp"] | None = None,
        W_in: Float[Array, "d_in d_mlp"] | None = None,
        b_in: Float[Array, "d_mlp"] | None = None,
        b_U: Float[Array, "order"] | None = None,
        act_fn: ActivationLike = "relu",
        label: str = "network",
        seed: int | None = None,
        provenance: Mapping[str, Any] | None = None,
        silent: Iterable[str] = (),
    ) -> GroupMLP:
        """Build a network from weights (tensors or NumPy arrays).

        Give either the two tables of pre-activations (``left_table``, ``right_table``), or
        embeddings with their input matrices. Weights of different dtypes are cast to the widest
        one; ``provenance["cast"]`` records this.

        Args:
            W_U: hidden layer to logits; ``linear.weight.T`` of a ``torch.nn.Linear``.
            left_table: the left input's pre-activations, for one-hot inputs or without embeddings.
            right_table: the right input's pre-activations.
            W_E: one embedding that both inputs share, instead of ``W_E_left`` and ``W_E_right``.
            W_in: one input matrix for both embeddings, instead of ``W_in_left`` and
                ``W_in_right``. It has ``d_left + d_right`` rows if the embeddings are
                concatenated, and ``d_left = d_right`` rows if they are summed.
            act_fn: relu, gelu, silu, abs, square, identity, or any elementwise function or
                ``torch.nn`` module.
            silent: sites at which a surrogate makes no prediction.

        Raises:
            CosetCircuitsError: a matrix is missing, given twice, has a shape that does not fit
                the others, or holds a value that is not finite.

        Warns:
            UserWarning: the network is hardly ever right, but would be with a square matrix
                transposed or with the other order of multiplication.
        """
        group = named_group(group)
        weights = {
            "left_table": left_table,
            "right_table": right_table,
            "W_E": W_E,
            "W_E_left": W_E_left,
            "W_E_right": W_E_right,
            "W_in_left": W_in_left,
            "W_in_right": W_in_right,
            "W_in": W_in,
            "W_U": W_U,
            "b_in": b_in,
            "b_U": b_U,
        }
        given = {name: value for name, value in weights.items() if value is not None}
        about = {"act_fn": act_fn, "label": label, "seed": seed, "provenance": provenance}
        network = cls.made_of(group, given, silent=silent, **about)
        warn_of_likely_mistake(network, given, lambda other: cls.made_of(group, other, **about))
        return network

    @classmethod
    def made_of(
        cls,
        group: FiniteGroup,
        given: Mapping[str, Any],
        *,
        act_fn: ActivationLike = "relu",
        label: str = "network",
        seed: int | None = None,
        provenance: Mapping[str, Any] | None = None,
        silent: Iterable[str] = (),
    ) -> GroupMLP:
        """Like :meth:`from_weights`, without the warning about likely mistakes."""
        return cls(
            group,
            given,
            activation=Activation.of(act_fn),
            label=label,
            seed=seed,
            provenance=provenance or {"source": "weights given in Python"},
            silent=silent,
        )

    @property
    def cfg(self) -> GroupMLPConfig:
        """The current configuration: device and dtype follow ``.to(...)``."""
        return GroupMLPConfig(
            group=self.group.name,
            order=self.group.order,
            d_embed=self.W_E_left.shape[1],
            d_mlp=self.W_U.shape[0],
            act_fn=self.activation.name,
            bias_in=self.b_in is not None,
            bias_out=self.b_U is not None,
            device=str(self.device),
            dtype=self.dtype_name,
            seed=self.seed,
        )

    @property
    def d_mlp(self) -> int:
        return self.W_U.shape[0]

    @property
    def left_table(self) -> Float[Tensor, "order d_mlp"]:
        return self._left_pre(self.W_E_left) if self._held is None else self._held[0]

    @property
    def right_table(self) -> Float[Tensor, "order d_mlp"]:
        return self.W_E_right @ self.W_in_right if self._held is None else self._held[1]

    @contextmanager
    def tables_held(self) -> Iterator[None]:
        if self._held is not None:
            yield
            return
        self._held = self.left_table, self.right_table
        try:
            yield
        finally:
            del self._held

    def single(self) -> GroupMLP:
        copy = super().single()
        # Products in float32 would round the tables twice.
        copy._held = self.left_table.detach().float(), self.right_table.detach().float()
        return copy

    @property
    def embeddings(self) -> tuple[Tensor, Tensor]:
        return self.W_E_left, self.W_E_right

    @property
    def has_one_embedding_space(self) -> bool:
        return torch.equal(self.W_in_left, self.W_in_right)

    @property
    def is_additive(self) -> bool:
        return self.cancelled is None

    def with_tables(
        self,
        left: Float[Tensor, "order d_mlp"],
        right: Float[Tensor, "order d_mlp"],
        W_U: Float[Tensor, "d_mlp order"],
        *,
        label: str,
        silent: Iterable[str] = (),
        source: str = "",
    ) -> GroupMLP:
        left, right, W_U = (x.to(self.device, self.dtype) for x in (left, right, W_U))
        given = {"left_table": left, "right_table": right, "W_U": W_U}
        silent = frozenset(silent)
        if self.d_mlp > self.group.order and silent >= {"hook_left_embed", "hook_right_embed"}:
            # The embeddings' basis no longer matters then, and these matrices are smaller.
            one_hot = torch.eye(self.group.order, device=self.device, dtype=self.dtype)
            given = {"W_E": one_hot, "W_in_left": left, "W_in_right": right, "W_U": W_U}
        return GroupMLP.made_of(
            self.group,
            given if self.b_U is None else {**given, "b_U": self.b_U},
            act_fn=self.activation,
            label=label,
            provenance={"source": source},
            silent=silent,
        )

    def untrained(self, seed: int) -> GroupMLP:
        cfg = self.cfg
        return GroupMLP.initialised(
            self.group, d_mlp=cfg.d_mlp, d_embed=cfg.d_embed, act_fn=self.activation, seed=seed
        )

    @property
    def is_unbiased(self) -> bool:
        return self.b_in is None and self.b_U is None

    def reordered(self, elements: Int[Tensor, "order"], group: FiniteGroup) -> GroupMLP:
        elements = torch.from_numpy(self.group.permutation(elements))
        weights = self.weights
        for name in ("W_E_left", "W_E_right", "b_U"):
            if name in weights:
                weights[name] = weights[name][elements]
        weights["W_U"] = weights["W_U"][:, elements]
        return GroupMLP(
            group,
            weights,
            activation=self.activation,
            label=self.label,
            seed=self.seed,
            provenance=self.provenance,
        )

    def facts(self) -> dict[str, Any]:
        return {**super().facts(), "kind": "mlp", "d_embed": self.cfg.d_embed}

    @property
    def width_text(self) -> str:
        biases = [name for name in ("b_in", "b_U") if getattr(self, name) is not None]
        return f"{super().width_text}, embedding {self.cfg.d_embed}, " + (
            f"biases {' and '.join(biases)}" if biases else "no biases"
        )

    def forward(self, pairs: Int[Tensor, "batch 2"]) -> Float[Tensor, "batch order"]:
        """The logits of every possible product, for a batch of pairs (a, b).

        Raises:
            CosetCircuitsError: the input is not a batch of pairs of elements.
        """
        a, b = self.check_pairs(pairs).T
        left_embed = self._embedded(self.hook_left_embed, self.W_E_left, a)
        right_embed = self._embedded(self.hook_right_embed, self.W_E_right, b)
        if left_embed is None:
            left = self.left_table.index_select(0, a)
        else:
            left = self._left_pre(left_embed)
        if right_embed is None:
            right = self.right_table.index_select(0, b)
        else:
            right = right_embed @ self.W_in_right
        pre = self.hook_pre(self.hook_left_pre(left) + self.hook_right_pre(right))
        logits = self.hook_post(self.activate(pre)) @ self.W_U
        return self.hook_logits(logits if self.b_U is None else logits + self.b_U)

    @staticmethod
    def _embedded(hook: HookPoint, table: Tensor, elements: Tensor) -> Tensor | None:
        """The elements' embeddings, if a hook (or nnsight, which wraps forward) reads them."""
        watched = hook.has_hooks() or "forward" in vars(hook)
        silent = isinstance(hook, SilentHookPoint)
        return hook(table[elements]) if watched and not silent else None

    def _left_pre(self, embed: Tensor) -> Tensor:
        pre = embed @ self.W_in_left
        return pre if self.b_in is None else pre + self.b_in

    def extra_repr(self) -> str:
        return ", ".join(f"{k}={v}" for k, v in asdict(self.cfg).items())

    def __repr__(self) -> str:
        cfg = self.cfg
        label, known = self.identity()
        source = known.get("source")
        return (
            f"GroupMLP({label}: {cfg.group} of order {cfg.order}, {cfg.d_mlp} {cfg.act_fn} "
            f"neurons, embedding {cfg.d_embed}, {cfg.dtype} on {cfg.device}"
            + (f"; {source}" if source else "")
            + ")"
        )

    def _repr_html_(self) -> str:
        label, known = self.identity()
        cells = {"label": label, **asdict(self.cfg)}
        cells["source"] = known.get("source", "not recorded")
        rows = "".join(
            f"<tr><th style='text-align:left'>{html.escape(k)}</th>"
            f"<td>{html.escape(str(v))}</td></tr>"
            for k, v in cells.items()
        )
        return f"<table><caption>GroupMLP</caption>{rows}</table>"
