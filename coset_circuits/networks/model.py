"""The hooked shape that every network and surrogate has: a group, sites, and pairs as input."""

from __future__ import annotations

import copy
import hashlib
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any, TypeAlias, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from transformer_lens import HookedRootModule
from transformer_lens.hook_points import HookPoint

from coset_circuits.errors import CosetCircuitsError, brief, plain, text, whole_seed
from coset_circuits.groups import FiniteGroup
from coset_circuits.groups import group as named_group
from coset_circuits.networks.hook_state import HookState
from coset_circuits.thresholds import DEFAULT


@dataclass(frozen=True)
class Site:
    """A hook point of a model.

    Attributes:
        name: as TransformerLens has it.
        reads: the inputs that its value depends on, of ``left`` and ``right``.
        per_neuron: whether it holds one column a neuron.
    """

    name: str
    reads: tuple[str, ...]
    per_neuron: bool


_BOTH = ("left", "right")
STANDARD_SITES: Mapping[str, Site] = {
    site.name: site
    for site in (
        Site("hook_left_embed", ("left",), per_neuron=False),
        Site("hook_right_embed", ("right",), per_neuron=False),
        Site("hook_left_pre", ("left",), per_neuron=True),
        Site("hook_right_pre", ("right",), per_neuron=True),
        Site("hook_pre", _BOTH, per_neuron=True),
        Site("hook_post", _BOTH, per_neuron=True),
        Site("hook_logits", _BOTH, per_neuron=False),
    )
}
"""The sites that every network and surrogate has, in order of computation."""

SITES = tuple(STANDARD_SITES)
NEURON_SITES = tuple(site.name for site in STANDARD_SITES.values() if site.per_neuron)


def _same(x: Tensor) -> Tensor:
    return x


_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "silu": F.silu,
    "abs": torch.abs,
    "square": torch.square,
    "identity": _same,
}


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
                f"The activation {name!r} is not known; choose one of {', '.join(_ACTIVATIONS)}, "
                "or give a function in Python."
            )
        return cls(name, _ACTIVATIONS[name])

    @classmethod
    def of(cls, given: ActivationLike) -> Activation:
        """An activation from its name, any function of tensors, or a ``torch.nn`` module.

        A function with the values of a named one is that one; a module is copied, in evaluation
        mode.

        Raises:
            CosetCircuitsError: an unknown name, or not a function of each number by itself.
        """
        if isinstance(given, Activation):
            return given
        if isinstance(given, str):
            return cls.named(given)
        name = getattr(given, "__name__", type(given).__name__.lower())
        name = name if name.isidentifier() else "custom"
        function = _Harmless(given)
        values = _values(function, name)
        for known, own in _ACTIVATIONS.items():
            if torch.allclose(values, own(_GRID), rtol=1e-12, atol=1e-12):
                return cls(known, own)
        return cls(f"custom_{name}" if name in _ACTIVATIONS else name, function)

    @property
    def is_named(self) -> bool:
        """Whether its name alone tells what it computes."""
        return _ACTIVATIONS.get(self.name) is self.function

    @property
    def is_linear(self) -> bool:
        """Whether it adds up, as far as a grid of numbers tells."""
        other = _GRID.flip(0) / 2
        whole = self.function(_GRID + other)
        return torch.allclose(whole, self.function(_GRID) + self.function(other))


ActivationLike: TypeAlias = str | Callable[[Tensor], Tensor] | Activation

_FAR = torch.logspace(1, 4, 31, dtype=torch.float64)
_GRID = torch.cat([-_FAR, torch.linspace(-6, 6, 241, dtype=torch.float64), _FAR])


def _values(function: Callable[[Tensor], Tensor], name: str) -> Tensor:
    """What a function makes of each number of a grid, whatever numbers stand beside it."""
    try:
        with torch.no_grad():
            column, row = function(_GRID[:, None]), function(_GRID[None, 9:])
        alike = column.shape == (len(_GRID), 1) and row.shape == (1, len(_GRID) - 9)
        alike = alike and torch.allclose(column[9:, 0], row[0], rtol=1e-9, equal_nan=True)
    except Exception as error:
        # Anyone's function can fail in any way.
        reason = (str(error).splitlines() or [type(error).__name__])[0][:160]
        raise CosetCircuitsError(
            f"The activation {name} cannot be applied to one number at a time ({reason}); give a "
            "function of a tensor that acts on each of its numbers alike."
        ) from error
    if not alike:
        raise CosetCircuitsError(
            f"The activation {name} mixes numbers or changes the shape; give a function of a "
            "tensor that acts on each of its numbers by itself."
        )
    return column[:, 0].double()


class _Harmless:
    """A function of any dtype that leaves what it is given as it is, and nobody else's."""

    def __init__(self, given: Callable[[Tensor], Tensor]) -> None:
        self.function, self.held = given, None
        if isinstance(given, nn.Module):
            self.function = copy.deepcopy(given).eval().requires_grad_(False)
            self.held = next(self.function.parameters(), None)

    def __call__(self, x: Tensor) -> Tensor:
        # It may act in place.
        x = x.clone()
        if self.held is None:
            return self.function(x)
        return self.function(x.to(self.held.device, self.held.dtype)).to(x.device, x.dtype)

    def __deepcopy__(self, memo: Any) -> _Harmless:
        # A copy of the network has the same function, and may be compared with it.
        return self


class SilentHookPoint(HookPoint):
    """A site at which a hypothesis says nothing: hooks are refused, with the reason."""

    def __init__(self, hypothesis: str) -> None:
        super().__init__()
        self.hypothesis = hypothesis

    def add_hook(self, *args: Any, **kwargs: Any) -> None:
        raise SilentSiteError(
            f"The surrogate of {self.hypothesis} is silent at {self.name}: the hypothesis does "
            "not say what is computed there. Hook the network itself, or another site."
        )


PATIENCE = 60.0
"""Seconds that a thread waits for another's hooks to come off."""

_locks: WeakKeyDictionary[nn.Module, threading.RLock] = WeakKeyDictionary()
_making = threading.Lock()


@contextmanager
def _alone(model: GroupModel) -> Iterator[None]:
    """Keep other threads out: hooks are state of the model, so theirs would act on this run."""
    with _making:
        lock = _locks.setdefault(model, threading.RLock())
    if not lock.acquire(timeout=PATIENCE):
        raise CosetCircuitsError(
            f"Another thread has had hooks on {model.label} for {PATIENCE:g} seconds, which would "
            "act on this run as well; give each thread a copy: network.unhooked()."
        )
    try:
        yield
    finally:
        lock.release()


def check_network(given: Any) -> None:
    """Refuse what is no network of ours, or holds a weight that is no number.

    Raises:
        CosetCircuitsError: it cannot be analysed.
    """
    if not isinstance(given, GroupModel):
        raise CosetCircuitsError(
            f"{brief(given)} is not a network; give cc.load(...), or make one of a module: "
            "cc.from_module(module)."
        )
    for name, weight in given.named_parameters():
        if weight.is_meta or not torch.isfinite(weight).all():
            bad = "only" if weight.is_meta else int((~torch.isfinite(weight)).sum())
            raise CosetCircuitsError(
                f"{name} holds {bad} values that are not finite (NaN or infinity); the network "
                "cannot be analysed."
            )


def uncompiled(model: Any) -> Any:
    """What ``torch.compile`` was given, or the model itself."""
    return getattr(model, "_orig_mod", model)


class SilentSiteError(CosetCircuitsError):
    """A hook was put on a site where the hypothesis makes no prediction."""


Model = TypeVar("Model", bound="GroupModel")

_ON_THE_WAY_IN: dict[str, Callable[[Any], Any]] = {
    "group": named_group,
    "label": partial(text, "label"),
    "seed": lambda given: None if given is None else whole_seed(given),
    "provenance": partial(plain, "provenance"),
}
"""What attributes are made of what is given for them, so that nothing fails when they are saved."""


class GroupModel(HookedRootModule):
    """What network and surrogates have in common: a group, the sites, and pairs as input.

    A new architecture is a subclass: it gives the two tables, ``W_U``, ``forward`` and
    :meth:`with_tables`, and adds its own hook points to ``sites``. Its hidden layer is
    ``hook_pre → activation → hook_post → W_U``.

    Attributes:
        group: the finite group that labels the inputs and outputs.
        label: what tables and messages call the model.
        sites: every hook point that experiments may name, in order of computation.
        silent: the sites at which a surrogate's hypothesis says nothing.
        provenance: where the weights came from, as far as recorded. It speaks of the weights that
            the model had when it was set; :meth:`identity` says what holds now.
    """

    sites: Mapping[str, Site] = STANDARD_SITES
    group: FiniteGroup
    label: str
    provenance: dict[str, Any]
    activation: Activation
    cancelled: Tensor | None
    W_U: nn.Parameter
    b_U: nn.Parameter | None
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
        self.provenance = {}
        self.seed: int | None = None
        self.reference_scale: Tensor | None = None
        self.register_buffer("cancelled", None)
        self.register_parameter("b_U", None)
        for site in self.sites:
            point = SilentHookPoint(label) if site in self.silent else HookPoint()
            *path, name = site.split(".")
            holder: nn.Module = self
            for part in path:
                if not hasattr(holder, part):
                    holder.add_module(part, nn.Module())
                holder = getattr(holder, part)
            setattr(holder, name, point)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _ON_THE_WAY_IN:
            value = _ON_THE_WAY_IN[name](value)
        super().__setattr__(name, value)
        if name == "provenance":
            # It holds for the weights as they are at this moment: see identity.
            self._recorded = (self.label, self.content(torch.float32)) if value else None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        # torch.compile would take the hooks of its first call for those of every other: a
        # compiled network runs as it is.
        dynamo, run = sys.modules.get("torch._dynamo"), super().__call__
        with _alone(self):
            return run(*args, **kwargs) if dynamo is None else dynamo.disable(run)(*args, **kwargs)

    def setup(self) -> None:
        super().setup()
        # A silent site stays nameable (and refuses hooks) but is not a site to cache.
        for site in self.silent:
            del self.hook_dict[site]

    def check_names(self, names: Iterable[Any]) -> None:
        """Refuse a hook name that is not a site; TransformerLens would ignore it in a filter.

        Raises:
            CosetCircuitsError: a name is not one of ``sites``.
        """
        for name in names:
            if isinstance(name, str) and name not in self.sites:
                raise CosetCircuitsError(
                    f"{name!r} is not a site of this model; its sites are {', '.join(self.sites)}."
                )

    def add_hook(self, name: Any, *args: Any, **kwargs: Any) -> None:
        self.check_names([name])
        super().add_hook(name, *args, **kwargs)

    def _enable_hook(self, name: Any, hook: Callable, dir: Any) -> None:
        self.check_names([name])
        super()._enable_hook(name, hook, dir)

    def run_with_cache(self, *args: Any, pos_slice: Any = None, **kwargs: Any) -> Any:
        if pos_slice is not None:
            raise CosetCircuitsError(
                "pos_slice cuts positions, and a group network has none: it would cut the batch. "
                "Slice what is in the cache."
            )
        return super().run_with_cache(*args, **kwargs)

    @contextmanager
    def hooks(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        """TransformerLens's own; also safe from a Ctrl-C while it puts hooks on or takes them off.

        Without this, one that comes there leaves hooks behind, or takes those of an outer context.
        Other threads that would run the model wait until the hooks are off.
        """
        with _alone(self):
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

    def check_pairs(self, pairs: Int[Tensor, "batch 2"] | Any) -> Int[Tensor, "batch 2"]:
        """Pairs of elements on the model's device; arrays and lists of pairs are made tensors.

        Raises:
            CosetCircuitsError: wrong type, shape or range.
        """
        if isinstance(pairs, (np.ndarray, list, tuple)):
            with suppress(TypeError, ValueError, RuntimeError):
                pairs = torch.as_tensor(np.array(pairs))
        # Shorter integers are not indices to torch, or masks.
        if not isinstance(pairs, Tensor) or pairs.dtype not in (torch.int64, torch.int32):
            kind = pairs.dtype if isinstance(pairs, Tensor) else f"a {type(pairs).__name__}"
            raise CosetCircuitsError(
                f"The input is {kind}; give a tensor of integer pairs of elements, such as "
                "group.pairs() or torch.tensor([[0, 1]])."
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
        return pairs.to(self.device)

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
        twice_odd = post - function(-pre)
        return torch.addmm(post, twice_odd @ self.cancelled.T, self.cancelled, alpha=-0.5)

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
        # What torch.nn.utils.prune computes before a pass is no weight, and cannot be copied.
        pruned = [n.removesuffix("_orig") for n in self._parameters if n.endswith("_orig")]
        memo |= {id(vars(self)[name]): None for name in pruned}
        own = copy.deepcopy(self, memo)
        for name in pruned:
            weight = own.get_parameter(f"{name}_orig") * own.get_buffer(f"{name}_mask")
            for gone in (name, f"{name}_orig", f"{name}_mask"):
                delattr(own, gone)
            own.register_parameter(name, nn.Parameter(weight.detach()))
        own.context_level = 0
        return own

    @property
    def device(self) -> torch.device:
        return self.W_U.device

    @property
    def dtype(self) -> torch.dtype:
        return self.W_U.dtype

    @property
    def dtype_name(self) -> str:
        """Such as ``float64``."""
        return str(self.dtype).removeprefix("torch.")

    @property
    def left_table(self) -> Float[Tensor, "order d_mlp"]:
        """The left pre-activation of every neuron for every left input, input bias included."""
        raise NotImplementedError

    @property
    def right_table(self) -> Float[Tensor, "order d_mlp"]:
        """The right pre-activation of every neuron for every right input."""
        raise NotImplementedError

    def tables_held(self) -> AbstractContextManager[None]:
        """Within this, :attr:`left_table` and :attr:`right_table` are computed once.

        No weight may change meanwhile.
        """
        return nullcontext()

    @property
    def cfg(self) -> Any:
        """The configuration, as TransformerLens users know it from ``model.cfg``."""
        raise NotImplementedError

    @property
    def before_tables(self) -> frozenset[str]:
        """The sites in front of the two tables: circuits of tables say nothing about them."""
        names = list(self.sites)
        return frozenset(names[: names.index("hook_left_pre")])

    @property
    def additive_share(self) -> float:
        """The share of the pre-activations' variance, over all pairs, that the two tables make."""
        return 1.0

    @property
    def embeddings(self) -> tuple[Tensor, Tensor] | None:
        """The left and right embedding tables, one row an element; None where there are none."""
        return None

    @property
    def has_one_embedding_space(self) -> bool:
        """Whether both inputs are embedded as vectors of one space, read by the same matrices."""
        return False

    @property
    def d_mlp(self) -> int:
        """How many neurons there are."""
        return self.left_table.shape[1]

    @property
    def is_additive(self) -> bool:
        """Whether each neuron adds its own term to the logits and reads the sum of two tables.

        Experiments then replace neurons by rank-k updates; other models are run with hooks.
        """
        return False

    def with_tables(
        self,
        left: Float[Tensor, "order d_mlp"],
        right: Float[Tensor, "order d_mlp"],
        W_U: Float[Tensor, "d_mlp order"],
        *,
        label: str,
        silent: Iterable[str] = (),
        source: str = "",
    ) -> GroupModel:
        """The same architecture and activation with other tables, which are moved to its device.

        What table hypotheses make their surrogates with.
        """
        raise NotImplementedError

    def reordered(self, elements: Int[Tensor, "order"], group: FiniteGroup) -> GroupModel:
        """The same network with its element ``elements[i]`` called i, as elements of a group."""
        raise NotImplementedError

    def untrained(self, seed: int) -> GroupModel:
        """A network of this architecture and size before any training: a control."""
        raise NotImplementedError

    def reset_parameters(self) -> None:
        """Draw every weight again, in place: normal, scaled by 1/√fan-in; biases are 0.

        From torch's global generator, as layers of ``torch.nn`` do, for tools that expect it, such
        as TransformerLens's ``interchange.reinitialized``. :meth:`untrained` makes a new network.
        """
        for name, parameter in self.named_parameters(recurse=False):
            if name.startswith("b"):
                nn.init.zeros_(parameter)
                continue
            *rows, columns = parameter.shape
            # Left and right add up in a neuron, all heads in the residual stream.
            fan_in = {"W_in_left": 2 * rows[-1], "W_in_right": 2 * rows[-1], "W_O": prod(rows)}
            is_embedding = name.startswith(("W_E", "W_pos"))
            nn.init.normal_(
                parameter, std=(columns if is_embedding else fan_in.get(name, rows[-1])) ** -0.5
            )

    def fingerprint(self, precision: torch.dtype = torch.float64) -> tuple[Any, ...]:
        """Equal for two models that compute the same at every site, up to a precision."""
        tensors = {
            "activation": self.activation.function(_GRID),
            "group": self.group.table,
            **self.state_dict(),
            "reference_scale": self.reference_scale,
        }
        weights = tuple(
            (
                name,
                hashlib.sha256((t.detach().cpu().to(precision) + 0).numpy().tobytes()).hexdigest(),
            )
            for name, t in sorted(tensors.items())
            if t is not None
        )
        return type(self).__name__, tuple(sorted(self.silent)), weights

    def content(self, precision: torch.dtype = torch.float64) -> str:
        """A SHA-256 of all that the network computes, as it is now."""
        return hashlib.sha256(repr(self.fingerprint(precision)).encode()).hexdigest()

    def identity(self) -> tuple[str, dict[str, Any]]:
        """Label and provenance of the weights as they are now.

        Where they have changed since these were recorded, by more than float32 can hold, both say
        so, and what described the earlier weights (file, hash, recipe, training curve) is left out.
        """
        known = plain("provenance", self.provenance)
        if self._recorded is None or self._recorded[1] == self.content(torch.float32):
            return self.label, known
        label = f"{self.label} (edited)" if self.label == self._recorded[0] else self.label
        source = f"{known.get('source', 'not recorded')}, edited since"
        kept = {k: known[k] for k in ("element_order", "elements") if k in known}
        return label, {"source": source, **kept}

    @property
    def is_unbiased(self) -> bool:
        """Whether nothing is added to pre-activations and logits: scaling passes through."""
        return False

    def facts(self) -> dict[str, Any]:
        """The ``network`` entry of findings.json, as far as the architecture decides it."""
        return {
            "kind": "module",
            "d_mlp": self.d_mlp,
            "act_fn": self.activation.name,
            "additive_share": self.additive_share,
        }

    @property
    def width_text(self) -> str:
        """Neurons, activation and whatever else tells two architectures apart, in words."""
        return f"{self.d_mlp} {self.activation.name} neurons"

    @property
    def pre_scale(self) -> Float[Tensor, "d_mlp"]:
        """Standard deviation of each pre-activation over all pairs; a surrogate has its network's.

        Noise relative to it disturbs network and surrogate by the same amount.
        """
        if self.reference_scale is not None:
            return self.reference_scale.to(self.device, self.dtype)
        variance = self.left_table.var(0, correction=0) + self.right_table.var(0, correction=0)
        return variance.sqrt()
