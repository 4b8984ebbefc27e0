"""The network under study, and the hooked shape that it shares with every surrogate."""

from __future__ import annotations

import copy
import html
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from transformer_lens import HookedRootModule
from transformer_lens.hook_points import HookPoint

from coset_circuits.errors import CosetCircuitsError
from coset_circuits.groups import FiniteGroup
from coset_circuits.networks.hook_state import HookState
from coset_circuits.thresholds import DEFAULT

SITES = (
    "hook_left_embed",
    "hook_right_embed",
    "hook_left_pre",
    "hook_right_pre",
    "hook_pre",
    "hook_post",
    "hook_logits",
)
"""The hook points of every network and surrogate, in order of computation."""

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "silu": F.silu,
    "abs": torch.abs,
    "square": torch.square,
    "identity": lambda x: x,
}


_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@dataclass(frozen=True)
class Activation:
    """An activation function and its name."""

    name: str
    function: Callable[[Tensor], Tensor]

    @classmethod
    def named(cls, name: str) -> Activation:
        """One of relu, gelu, silu, abs, square, identity."""
        if name not in _ACTIVATIONS:
            raise CosetCircuitsError(
                f"The activation {name!r} is not known; choose one of {', '.join(_ACTIVATIONS)}."
            )
        return cls(name, _ACTIVATIONS[name])


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


class SilentHookPoint(HookPoint):
    """A site at which a hypothesis says nothing: hooks are refused with a sentence."""

    def __init__(self, hypothesis: str) -> None:
        super().__init__()
        self.hypothesis = hypothesis

    def add_hook(self, *args: Any, **kwargs: Any) -> None:
        raise SilentSiteError(
            f"The surrogate of {self.hypothesis} is silent at {self.name}: the hypothesis does "
            "not say what is computed there. Hook the network itself, or another site."
        )


class SilentSiteError(CosetCircuitsError):
    """A hook was put on a site where the hypothesis makes no prediction."""


Model = TypeVar("Model", bound="GroupModel")


class GroupModel(HookedRootModule):
    """What network and surrogates have in common: a group, the sites, and pairs as input."""

    group: FiniteGroup
    label: str
    activation: Activation
    cancelled: Tensor | None
    W_U: nn.Parameter
    hook_left_embed: HookPoint
    hook_right_embed: HookPoint
    hook_left_pre: HookPoint
    hook_right_pre: HookPoint
    hook_pre: HookPoint
    hook_post: HookPoint
    hook_logits: HookPoint

    def __init__(
        self, group: FiniteGroup, label: str, activation: Activation, silent: Iterable[str] = ()
    ) -> None:
        super().__init__()
        self.group = group
        self.label = label
        self.activation = activation
        self.silent = frozenset(silent)
        self.reference_scale: Tensor | None = None
        self.register_buffer("cancelled", None)
        for site in SITES:
            point = SilentHookPoint(label) if site in self.silent else HookPoint()
            setattr(self, site, point)

    def setup(self) -> None:
        super().setup()
        # A silent site stays nameable (and refuses hooks) but is no site to cache.
        for site in self.silent:
            del self.hook_dict[site]

    def check_names(self, names: Iterable[Any]) -> None:
        """Refuse a hook name that is no site; TransformerLens would ignore it in a filter.

        Raises:
            CosetCircuitsError: a name is not one of :data:`SITES`.
        """
        for name in names:
            if isinstance(name, str) and name not in SITES:
                raise CosetCircuitsError(
                    f"{name!r} is no site of this model; its sites are {', '.join(SITES)}."
                )

    def add_hook(self, name: Any, *args: Any, **kwargs: Any) -> None:
        self.check_names([name])
        super().add_hook(name, *args, **kwargs)

    def _enable_hook(self, name: Any, hook: Callable, dir: Any) -> None:
        self.check_names([name])
        super()._enable_hook(name, hook, dir)

    @contextmanager
    def hooks(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        """TransformerLens's own; also safe from a Ctrl-C while it puts hooks on or takes them off.

        Without this, one that comes there leaves hooks behind, or takes those of an outer context.
        """
        before = HookState.of(self)
        try:
            with super().hooks(*args, **kwargs) as hooked:
                yield hooked
        except KeyboardInterrupt:
            before.restore(self)
            raise

    def add_caching_hooks(self, names_filter: Any = None, *args: Any, **kwargs: Any) -> dict:
        self._check_filter(names_filter)
        return super().add_caching_hooks(names_filter, *args, **kwargs)

    def get_caching_hooks(self, names_filter: Any = None, *args: Any, **kwargs: Any) -> Any:
        self._check_filter(names_filter)
        return super().get_caching_hooks(names_filter, *args, **kwargs)

    def _check_filter(self, names_filter: Any) -> None:
        names = [names_filter] if isinstance(names_filter, str) else names_filter
        if isinstance(names, (list, tuple, set, frozenset)):
            self.check_names(names)
            for name in self.silent.intersection(names):
                self.mod_dict[name].add_hook()  # type: ignore[operator]

    def check_pairs(self, pairs: Int[Tensor, "batch 2"]) -> None:
        """Refuse anything but a batch of pairs of elements.

        Raises:
            CosetCircuitsError: wrong type, shape or range.
        """
        # Shorter integers are no indices to torch, or masks.
        if not isinstance(pairs, Tensor) or pairs.dtype not in (torch.int64, torch.int32):
            kind = getattr(pairs, "dtype", type(pairs).__name__)
            raise CosetCircuitsError(
                f"The input is {kind}; give integer pairs of elements, such as group.pairs()."
            )
        if pairs.ndim != 2 or pairs.shape[1] != 2:
            raise CosetCircuitsError(
                f"The input has shape {tuple(pairs.shape)}; give pairs of shape (batch, 2)."
            )
        if len(pairs) and not 0 <= int(pairs.min()) <= int(pairs.max()) < self.group.order:
            raise CosetCircuitsError(
                f"The input names elements {int(pairs.min())} to {int(pairs.max())}; the elements "
                f"of {self.group.name} are 0 to {self.group.order - 1}."
            )

    def activate(
        self,
        pre: Float[Tensor, "batch d_mlp"],
        function: Callable[[Tensor], Tensor] | None = None,
    ) -> Float[Tensor, "batch d_mlp"]:
        """The model's activation, or another function where an experiment puts it in its place.

        ReLU is t/2 + |t|/2 (GELU and SiLU have the same odd half). A surrogate that claims that
        the linear half of what it computes cancels in the logits takes the odd half off within
        the ``cancelled`` span of its pre-activations, whatever the function; noise from outside
        that span passes.
        """
        function = function or self.activation.function
        post = function(pre)
        if self.cancelled is None:
            return post
        odd = (post - function(-pre)) / 2
        return post - odd @ self.cancelled.T @ self.cancelled

    def cancel_linear_half(self, rcond: float = DEFAULT.rcond) -> None:
        """Claim from now on that the linear half cancels; see :meth:`activate`.

        The span is that of the rows of both tables, singular values below ``rcond`` left out.
        """
        rows = torch.cat([self.left_table, self.right_table]).detach()
        _, values, directions = torch.linalg.svd(rows, full_matrices=False)
        self.register_buffer("cancelled", directions[values > rcond * values[0]])

    def unhooked(self: Model) -> Model:
        """A copy with weights of its own and nobody's hooks; the group is shared.

        What experiments work on, so that neither a user's hook nor a fault reaches the other side.
        """
        memo: dict[int, Any] = {id(self.group): self.group}
        for module in self.modules():
            for name, held in vars(module).items():
                # A hook may hold what cannot be copied, such as a tensor with its graph.
                if "hooks" in name or name == "ctx":
                    memo[id(held)] = type(held)()
        own = copy.deepcopy(self, memo)
        own.context_level = 0
        return own

    @property
    def device(self) -> torch.device:
        return self.W_U.device

    @property
    def dtype(self) -> torch.dtype:
        return self.W_U.dtype

    @property
    def left_table(self) -> Float[Tensor, "order d_mlp"]:
        """The left pre-activation of every neuron for every left input, input bias included."""
        raise NotImplementedError

    @property
    def right_table(self) -> Float[Tensor, "order d_mlp"]:
        """The right pre-activation of every neuron for every right input."""
        raise NotImplementedError

    @property
    def pre_scale(self) -> Float[Tensor, "d_mlp"]:
        """Standard deviation of each pre-activation over all pairs; a surrogate has its network's.

        Noise relative to it disturbs network and surrogate by the same amount.
        """
        if self.reference_scale is not None:
            return self.reference_scale.to(self.device, self.dtype)
        variance = self.left_table.var(0, correction=0) + self.right_table.var(0, correction=0)
        return variance.sqrt()


class GroupMLP(GroupModel):
    """A one-hidden-layer network that multiplies two elements of a finite group.

    ``relu(W_E_left[a] @ W_in_left + W_E_right[b] @ W_in_right (+ b_in)) @ W_U (+ b_U)``, as a
    TransformerLens ``HookedRootModule``. Where no hook looks at the embeddings, the tables of left
    and right pre-activations are computed once for each element and gathered for each pair.

    Make one with :func:`coset_circuits.load`, :func:`coset_circuits.train` or
    :meth:`from_weights`.

    Attributes:
        group: the finite group that labels the inputs and outputs.
        provenance: where the weights came from, as far as known.
    """

    W_E_left: nn.Parameter
    W_E_right: nn.Parameter
    W_in_left: nn.Parameter
    W_in_right: nn.Parameter
    b_in: nn.Parameter | None
    b_U: nn.Parameter | None

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
        self.provenance: dict[str, Any] = dict(provenance or {})
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
            dtype=str(self.dtype).removeprefix("torch."),
            seed=self.seed,
        )

    @property
    def left_table(self) -> Float[Tensor, "order d_mlp"]:
        return self._left_pre(self.W_E_left)

    @property
    def right_table(self) -> Float[Tensor, "order d_mlp"]:
        return self.W_E_right @ self.W_in_right

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
