"""The one-hidden-layer network of both papers."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformer_lens.hook_points import HookPoint

from coset_circuits.errors import CosetCircuitsError
from coset_circuits.groups import FiniteGroup
from coset_circuits.networks.model import Activation, GroupModel, SilentHookPoint

_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@dataclass(frozen=True)
class GroupMLPConfig:
    """What a TransformerLens user looks for in ``model.cfg``."""

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
    TransformerLens ``HookedRootModule``. Where no hook looks at the embeddings, the tables of left
    and right pre-activations are computed once for each element and gathered for each pair.

    Make one with :func:`coset_circuits.load`, :func:`coset_circuits.train` or
    :meth:`from_weights`.
    """

    W_E_left: nn.Parameter
    W_E_right: nn.Parameter
    W_in_left: nn.Parameter
    W_in_right: nn.Parameter
    b_in: nn.Parameter | None

    def __init__(
        self,
        group: FiniteGroup,
        weights: Mapping[str, Tensor],
        *,
        activation: Activation | None = None,
        label: str = "network",
        seed: int | None = None,
        provenance: Mapping[str, Any] | None = None,
        silent: Iterable[str] = (),
    ) -> None:
        super().__init__(group, label, activation or Activation.named("relu"), silent)
        for name in ("W_E_left", "W_E_right", "W_in_left", "W_in_right", "W_U", "b_in", "b_U"):
            given = weights.get(name)
            self.register_parameter(name, None if given is None else nn.Parameter(given))
        self.seed = seed
        self.provenance = dict(provenance or {})
        self.setup()

    @classmethod
    def initialised(
        cls,
        group: FiniteGroup,
        *,
        d_mlp: int = 128,
        d_embed: int = 256,
        act_fn: str = "relu",
        seed: int = 0,
    ) -> GroupMLP:
        """An untrained network: normal weights scaled by 1/√fan-in, no biases."""
        generator = torch.Generator().manual_seed(seed)

        def normal(rows: int, columns: int, fan_in: int) -> Tensor:
            return torch.randn(rows, columns, generator=generator) / fan_in**0.5

        weights = {
            "W_E_left": normal(group.order, d_embed, d_embed),
            "W_E_right": normal(group.order, d_embed, d_embed),
            "W_in_left": normal(d_embed, d_mlp, 2 * d_embed),
            "W_in_right": normal(d_embed, d_mlp, 2 * d_embed),
            "W_U": normal(d_mlp, group.order, d_mlp),
        }
        return cls(
            group,
            weights,
            activation=Activation.named(act_fn),
            seed=seed,
            provenance={"source": f"untrained, seed {seed}"},
        )

    @classmethod
    def from_weights(
        cls,
        group: FiniteGroup,
        *,
        W_U: Float[Tensor, "d_mlp order"],
        left_table: Float[Tensor, "order d_mlp"] | None = None,
        right_table: Float[Tensor, "order d_mlp"] | None = None,
        W_E_left: Float[Tensor, "order d_left"] | None = None,
        W_E_right: Float[Tensor, "order d_right"] | None = None,
        W_in_left: Float[Tensor, "d_left d_mlp"] | None = None,
        W_in_right: Float[Tensor, "d_right d_mlp"] | None = None,
        W_in: Float[Tensor, "d_left+d_right d_mlp"] | None = None,
        b_in: Float[Tensor, "d_mlp"] | None = None,
        b_U: Float[Tensor, "order"] | None = None,
        act_fn: str = "relu",
        label: str = "network",
        seed: int | None = None,
        provenance: Mapping[str, Any] | None = None,
        silent: Iterable[str] = (),
    ) -> GroupMLP:
        """Wrap anyone's own weights.

        Give the two tables of pre-activations (``left_table``, ``right_table``), or embeddings
        with their matrices: either one a side, or one ``W_in`` for the concatenated embeddings.

        Raises:
            CosetCircuitsError: a matrix is missing, has a shape that disagrees with the others,
                or holds a value that is not finite.
        """
        given: dict[str, Tensor | None] = {
            "W_E_left": W_E_left if left_table is None else left_table,
            "W_E_right": W_E_right if right_table is None else right_table,
            "W_in_left": W_in_left,
            "W_in_right": W_in_right,
            "W_U": W_U,
            "b_in": b_in,
            "b_U": b_U,
        }
        for side, table in (("left", left_table), ("right", right_table)):
            if table is not None:
                given[f"W_in_{side}"] = torch.eye(
                    table.shape[-1], dtype=table.dtype, device=table.device
                )
        if W_in is not None and W_E_left is not None:
            given["W_in_left"] = W_in[: W_E_left.shape[-1]]
            given["W_in_right"] = W_in[W_E_left.shape[-1] :]
        weights = {k: v.detach().clone() for k, v in given.items() if v is not None}
        check_weights(group, weights)
        return cls(
            group,
            weights,
            activation=Activation.named(act_fn),
            label=label,
            seed=seed,
            provenance=provenance or {"source": "weights given in Python"},
            silent=silent,
        )

    @property
    def cfg(self) -> GroupMLPConfig:
        """The configuration as it stands now: device and dtype follow ``.to(...)``."""
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
    def left_table(self) -> Float[Tensor, "order d_mlp"]:
        return self._left_pre(self.W_E_left)

    @property
    def right_table(self) -> Float[Tensor, "order d_mlp"]:
        return self.W_E_right @ self.W_in_right

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
        return GroupMLP.from_weights(
            self.group,
            left_table=left,
            right_table=right,
            W_U=W_U,
            b_U=self.b_U,
            act_fn=self.activation.name,
            label=label,
            provenance={"source": source},
            silent=silent,
        )

    def untrained(self, seed: int) -> GroupMLP:
        cfg = self.cfg
        return GroupMLP.initialised(
            self.group, d_mlp=cfg.d_mlp, d_embed=cfg.d_embed, act_fn=cfg.act_fn, seed=seed
        )

    @property
    def is_unbiased(self) -> bool:
        return self.b_in is None and self.b_U is None

    def reordered(self, elements: Int[Tensor, "order"], group: FiniteGroup) -> GroupMLP:
        weights = dict(self.state_dict())
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
        return {"d_mlp": self.d_mlp, "d_embed": self.cfg.d_embed, "act_fn": self.activation.name}

    @property
    def width_text(self) -> str:
        biases = [name for name in ("b_in", "b_U") if getattr(self, name) is not None]
        return f"{super().width_text}, embedding {self.cfg.d_embed}, " + (
            f"biases {' and '.join(biases)}" if biases else "no biases"
        )

    def forward(self, pairs: Int[Tensor, "batch 2"]) -> Float[Tensor, "batch order"]:
        """Logits of every product for a batch of pairs (a, b).

        Raises:
            CosetCircuitsError: the input is not a batch of pairs of elements.
        """
        self.check_pairs(pairs)
        pairs = pairs.to(self.device)
        a, b = pairs[:, 0], pairs[:, 1]
        left_embed = self._embedded(self.hook_left_embed, self.W_E_left, a)
        right_embed = self._embedded(self.hook_right_embed, self.W_E_right, b)
        left = self.left_table[a] if left_embed is None else self._left_pre(left_embed)
        right = self.right_table[b] if right_embed is None else right_embed @ self.W_in_right
        pre = self.hook_pre(self.hook_left_pre(left) + self.hook_right_pre(right))
        logits = self.hook_post(self.activate(pre)) @ self.W_U
        return self.hook_logits(logits if self.b_U is None else logits + self.b_U)

    @staticmethod
    def _embedded(hook: HookPoint, table: Tensor, elements: Tensor) -> Tensor | None:
        """The elements' embeddings, where a hook looks at them, or nnsight, which wraps forward."""
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
        source = self.provenance.get("source")
        return (
            f"GroupMLP({self.label}: {cfg.group} of order {cfg.order}, {cfg.d_mlp} {cfg.act_fn} "
            f"neurons, embedding {cfg.d_embed}, {cfg.dtype} on {cfg.device}"
            + (f"; {source}" if source else "")
            + ")"
        )

    def _repr_html_(self) -> str:
        cells = {"label": self.label, **asdict(self.cfg)}
        cells["source"] = self.provenance.get("source", "not recorded")
        rows = "".join(
            f"<tr><th style='text-align:left'>{html.escape(k)}</th>"
            f"<td>{html.escape(str(v))}</td></tr>"
            for k, v in cells.items()
        )
        return f"<table><caption>GroupMLP</caption>{rows}</table>"


def check_weights(group: FiniteGroup, weights: Mapping[str, Tensor]) -> None:
    """Refuse weights that do not fit together.

    Raises:
        CosetCircuitsError: a matrix is missing, misshapen, not floating-point or not finite.
    """
    for name in ("W_E_left", "W_E_right", "W_in_left", "W_in_right", "W_U"):
        if name not in weights:
            raise CosetCircuitsError(
                f"The weights lack {name}; give embeddings with their input matrices (or the two "
                "pre-activation tables) and W_U."
            )
    for name, tensor in weights.items():
        if tensor.dtype not in _DTYPES:
            raise CosetCircuitsError(
                f"{name} holds {tensor.dtype}; give floating-point weights of 16, 32 or 64 bits."
            )
        if tensor.ndim != (1 if name.startswith("b_") else 2):
            raise CosetCircuitsError(
                f"{name} has shape {tuple(tensor.shape)}; a matrix (or, for a bias, a vector) is "
                "expected."
            )
        if not torch.isfinite(tensor).all():
            bad = int((~torch.isfinite(tensor)).sum())
            raise CosetCircuitsError(
                f"{name} holds {bad} values that are not finite (NaN or infinity); the network "
                "cannot be analysed."
            )
    d_mlp = weights["W_U"].shape[0]
    expected = {
        "W_E_left": (group.order, weights["W_in_left"].shape[0]),
        "W_E_right": (group.order, weights["W_in_right"].shape[0]),
        "W_in_left": (weights["W_E_left"].shape[1], d_mlp),
        "W_in_right": (weights["W_E_right"].shape[1], d_mlp),
        "W_U": (d_mlp, group.order),
        "b_in": (d_mlp,),
        "b_U": (group.order,),
    }
    for name, tensor in weights.items():
        if name not in expected:
            raise CosetCircuitsError(
                f"{name} is no weight of this network; its weights are {', '.join(expected)}."
            )
        if tuple(tensor.shape) != expected[name]:
            raise CosetCircuitsError(
                f"{name} has shape {tuple(tensor.shape)} where the other weights and the group "
                f"{group.name} of order {group.order} need {expected[name]}."
            )
    if d_mlp == 0:
        raise CosetCircuitsError("The network has no neurons; W_U must have at least one row.")
