"""The base class of every network and surrogate: a group, hook points, and pairs as input."""

from __future__ import annotations

import copy
import hashlib
import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any, ClassVar, TypeAlias, TypeVar
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
        name: its TransformerLens name.
        reads: the inputs that its value depends on: ``left``, ``right`` or both.
        per_neuron: whether it has one column per neuron.
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
                "or give a Python function."
            )
        return cls(name, _ACTIVATIONS[name])

    @classmethod
    def of(cls, given: ActivationLike) -> Activation:
        """Make an activation from its name, any function of tensors, or a ``torch.nn`` module.

        A function with the same values as a named activation gets that name. A module is copied
        and put in evaluation mode.

        Raises:
            CosetCircuitsError: the name is unknown, or the function is not elementwise.
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
        """Whether the name alone determines the function."""
        return _ACTIVATIONS.get(self.name) is self.function

    @property
    def is_linear(self) -> bool:
        """Whether it is linear, checked on a grid of numbers."""
        other = _GRID.flip(0) / 2
        whole = self.function(_GRID + other)
        return torch.allclose(whole, self.function(_GRID) + self.function(other))


ActivationLike: TypeAlias = str | Callable[[Tensor], Tensor] | Activation

_FAR = torch.logspace(1, 4, 31, dtype=torch.float64)
_GRID = torch.cat([-_FAR, torch.linspace(-6, 6, 241, dtype=torch.float64), _FAR])


def _values(function: Callable[[Tensor], Tensor], name: str) -> Tensor:
    """A function's values on a grid of numbers, checked to be elementwise."""
    try:
        with torch.no_grad():
            column, row = function(_GRID[:, None]), function(_GRID[None, 9:])
        alike = column.shape == (len(_GRID), 1) and row.shape == (1, len(_GRID) - 9)
        alike = alike and torch.allclose(column[9:, 0], row[0], rtol=1e-9, equal_nan=True)
    except Exception as error:
        # A user's function can raise any error.
        reason = (str(error).splitlines() or [type(error).__name__])[0][:160]
        raise CosetCircuitsError(
            f"The activation {name} cannot be applied to one number at a time ({reason}); give an "
            "elementwise function of a tensor."
        ) from error
    if not alike:
        raise CosetCircuitsError(
            f"The activation {name} mixes numbers or changes the shape; give an elementwise "
            "function of a tensor."
        )
    return column[:, 0].double()


def _odd_slope(function: Callable[[Tensor], Tensor]) -> float | None:
    """The slope of the odd half of a function, if that is linear; None if it is not."""
    with torch.no_grad():
        odd = (function(_GRID) - function(-_GRID)) / 2
    slope = odd[-1] / _GRID[-1]
    return float(slope) if torch.equal(odd, slope * _GRID) else None


class _Harmless:
    """Wraps a function: it works in any dtype, never changes its input, and is a private copy."""

    def __init__(self, given: Callable[[Tensor], Tensor]) -> None:
        self.function, self.held = given, None
        if isinstance(given, nn.Module):
            self.function = copy.deepcopy(given).eval().requires_grad_(False)
            self.held = next(self.function.parameters(), None)

    def __call__(self, x: Tensor) -> Tensor:
        # It may act in place.
        x = x.clone()
        if self.held is None:
            # A threshold returns truth values, and some functions round to float32.
            return self.function(x).to(x.dtype)
        return self.function(x.to(self.held.device, self.held.dtype)).to(x.device, x.dtype)

    def __deepcopy__(self, memo: Any) -> _Harmless:
        # A copy of the network has the same function, and may be compared with it.
        return self


class SilentHookPoint(HookPoint):
    """A site at which a hypothesis makes no prediction; adding a hook raises an error."""

    def __init__(self, hypothesis: str) -> None:
        super().__init__()
        self.hypothesis = hypothesis

    def add_hook(self, *args: Any, **kwargs: Any) -> None:
        raise SilentSiteError(
            f"The surrogate of {self.hypothesis} is silent at {self.name}: the hypothesis does "
            "not say what is computed there. Hook the network itself, or another site."
        )


PATIENCE = 60.0
"""Seconds that a thread waits until another thread has removed its hooks."""

_locks: WeakKeyDictionary[nn.Module, threading.RLock] = WeakKeyDictionary()


@contextmanager
def _alone(model: GroupModel) -> Iterator[None]:
    """Lock the model: hooks are its state, so another thread's hooks would act on this run."""
    # One step of the interpreter, so two threads get the same one, and a Ctrl-C holds nothing up.
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


def check_precision(model: GroupModel) -> None:
    """Check that torch does not round values to less than the model's dtype.

    Raises:
        CosetCircuitsError: autocast is on.
    """
    device = model.device.type
    if device != "meta" and torch.is_autocast_enabled(device):
        raise CosetCircuitsError(
            f"torch.autocast is on and would round what {model.label} computes; call this outside "
            f"it, or inside torch.autocast({device!r}, enabled=False)."
        )


def check_network(given: Any) -> None:
    """Check that the argument is a network and that all its weights are finite.

    Raises:
        CosetCircuitsError: it is not a network, a weight is NaN or infinite, or autocast is on.
    """
    if not isinstance(given, GroupModel):
        raise CosetCircuitsError(
            f"{brief(given)} is not a network; load one with cc.load(...), or convert a torch "
            "module with cc.from_module(module)."
        )
    check_precision(given)
    for name, weight in given.named_parameters():
        # A weight made in inference mode says that it needs a gradient, which isfinite refuses.
        if weight.is_meta or not torch.isfinite(weight.detach()).all():
            bad = "only" if weight.is_meta else int((~torch.isfinite(weight)).sum())
            raise CosetCircuitsError(
                f"{name} holds {bad} values that are not finite (NaN or infinity); the network "
                "cannot be analysed."
            )


def uncompiled(model: Any) -> Any:
    """The model inside a ``torch.compile`` wrapper, or the model itself."""
    return getattr(model, "_orig_mod", model)


class SilentSiteError(CosetCircuitsError):
    """A hook was put on a site where the hypothesis makes no prediction."""


Model = TypeVar("Model", bound="GroupModel")

_HIDDEN = re.compile(r"_orig$|_mask$|^parametrizations\.")
"""Tensors from which pruning and parametrisations compute a weight."""
_ON_THE_WAY_IN: dict[str, Callable[[Any], Any]] = {
    "group": named_group,
    "label": partial(text, "label"),
    "seed": lambda given: None if given is None else whole_seed(given),
    "provenance": partial(plain, "provenance"),
}
"""Conversions that apply when an attribute is set, so that saving cannot fail later."""


class GroupModel(HookedRootModule):
    """The base class of networks and surrogates: a group, hook points, and pairs as input.

    A new architecture is a subclass. It defines the two tables, ``W_U``, ``forward`` and
    :meth:`with_tables`, and adds its hook points to ``sites``. Its hidden layer is
    ``hook_pre → activation → hook_post → W_U``.

    Attributes:
        group: the finite group that labels the inputs and outputs.
        label: the model's name in tables and messages.
        sites: every hook point that experiments may name, in order of computation.
        silent: the sites at which a surrogate's hypothesis makes no prediction.
        provenance: where the weights came from, as far as recorded. It describes the weights at
            the time it was set; :meth:`identity` describes the current weights.
    """

    sites: Mapping[str, Site] = STANDARD_SITES
    group: FiniteGroup
    label: str
    provenance: dict[str, Any]
    activation: Activation
    cancelled: Tensor | None
    weight_names: ClassVar[tuple[str, ...]] = ()
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
            # It describes the weights at this moment: see identity. Surrogates need no such record.
            known = value and not self.silent
            self._recorded = (self.label, self.content(torch.float32)) if known else None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        # torch.compile would reuse the hooks of the first call in every later call, so a compiled
        # network runs uncompiled.
        dynamo, run = sys.modules.get("torch._dynamo"), super().__call__
        with _alone(self):
            return run(*args, **kwargs) if dynamo is None else dynamo.disable(run)(*args, **kwargs)

    def setup(self) -> None:
        super().setup()
        # A silent site keeps its name (and refuses hooks) but is not cached.
        for site in self.silent:
            del self.hook_dict[site]

    def check_names(self, names: Iterable[Any]) -> None:
        """Check that hook names are sites; TransformerLens would ignore unknown ones in a filter.

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
                "pos_slice selects positions, but a group network has none, so it would cut the "
                "batch. Slice the cached tensors instead."
            )
        return super().run_with_cache(*args, **kwargs)

    @contextmanager
    def hooks(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        """TransformerLens's ``hooks``, made safe against Ctrl-C and against other threads.

        Otherwise a Ctrl-C while hooks are added or removed would leave hooks behind, or remove
        those of an outer context. Other threads that run the model wait until the hooks are off.
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
        """Convert pairs of elements to a tensor on the model's device, and check them.

        Raises:
            CosetCircuitsError: the pairs have the wrong type, shape or range.
        """
        if isinstance(pairs, (np.ndarray, list, tuple)):
            with suppress(TypeError, ValueError, RuntimeError):
                pairs = torch.as_tensor(np.array(pairs))
        # Torch does not index with shorter integers, or takes them for masks.
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
        """Apply the model's activation, or the function that an experiment replaces it with.

        ReLU is t/2 + |t|/2 (GELU and SiLU have the same odd half). A surrogate may claim that the
        linear half of its activations cancels in the logits. It then subtracts the odd half of any
        function within the ``cancelled`` span of its pre-activations. Noise from outside that span
        passes.
        """
        function = function or self.activation.function
        post = function(pre)
        if self.cancelled is None:
            return post
        slope = _odd_slope(function)
        if slope == 0:
            return post
        # Of a linear half the pre-activation itself is a multiple, which saves its computation.
        odd = pre if slope else (post - function(-pre)) / 2
        return torch.addmm(post, odd @ self.cancelled.T, self.cancelled, alpha=-(slope or 1.0))

    def cancel_linear_half(self, rcond: float = DEFAULT.rcond) -> None:
        """From now on, claim that the linear half cancels; see :meth:`activate`.

        The span is spanned by the rows of both tables. Singular values below ``rcond`` times the
        largest are left out.
        """
        rows = torch.cat([self.left_table, self.right_table]).detach()
        _, values, directions = torch.linalg.svd(rows, full_matrices=False)
        self.register_buffer("cancelled", directions[values > rcond * values[0]])

    def unhooked(self: Model) -> Model:
        """A copy without hooks, with its own weights; the group is shared.

        Experiments work on such copies. A user's hooks do not affect them, and a failed experiment
        does not affect the user's network.
        """
        memo: dict[int, Any] = {id(self.group): self.group}
        for module in self.modules():
            for name, held in vars(module).items():
                # A hook may hold something that cannot be copied, such as a tensor with its graph.
                if "hooks" in name or name == "ctx":
                    memo[id(held)] = type(held)()
        # torch.nn.utils.prune stores a computed tensor, which is not a weight and not copyable.
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
    def weights(self) -> dict[str, Tensor]:
        """The weights that it computes with: parametrisations and masks of pruning are applied."""
        held = {}
        for name in self.weight_names:
            mask = getattr(self, f"{name}_mask", None)
            pruned = None if mask is None else getattr(self, f"{name}_orig") * mask
            held[name] = getattr(self, name) if pruned is None else pruned
        return {name: weight for name, weight in held.items() if weight is not None}

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
        """A context in which :attr:`left_table` and :attr:`right_table` are computed only once.

        Do not change weights inside it.
        """
        return nullcontext()

    def single(self: Model) -> Model:
        """A copy in float32, without hooks; its weights do not change any more."""
        copy = self.unhooked().float().requires_grad_(False)
        copy.reference_scale = self.pre_scale.detach().float()
        return copy

    @property
    def cfg(self) -> Any:
        """The configuration, as TransformerLens users know it from ``model.cfg``."""
        raise NotImplementedError

    @property
    def before_tables(self) -> frozenset[str]:
        """The sites before the two tables, at which circuits of tables make no prediction."""
        names = list(self.sites)
        return frozenset(names[: names.index("hook_left_pre")])

    @property
    def additive_share(self) -> float:
        """The share of the pre-activations' variance over all pairs that the tables explain."""
        return 1.0

    @property
    def embeddings(self) -> tuple[Tensor, Tensor] | None:
        """The left and right embedding tables, one row per element; None without embeddings."""
        return None

    @property
    def has_one_embedding_space(self) -> bool:
        """Whether both inputs are embedded in one space and read by the same matrices."""
        return False

    @property
    def d_mlp(self) -> int:
        """The number of neurons."""
        return self.left_table.shape[1]

    @property
    def is_additive(self) -> bool:
        """Whether each neuron reads left table + right table and adds its own term to the logits.

        Experiments on such models replace neurons by rank-k updates. Other models are run with
        hooks.
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
        """The same architecture and activation with other tables, moved to this model's device.

        Table hypotheses make their surrogates with this.
        """
        raise NotImplementedError

    def reordered(self, elements: Int[Tensor, "order"], group: FiniteGroup) -> GroupModel:
        """The same network with its element ``elements[i]`` called i, as elements of a group."""
        raise NotImplementedError

    def untrained(self, seed: int) -> GroupModel:
        """A network of this architecture and size before any training: a control."""
        raise NotImplementedError

    def reset_parameters(self) -> None:
        """Redraw every weight in place: normal, scaled by 1/√fan-in; biases are 0.

        Like layers of ``torch.nn`` it uses torch's global generator, for tools that expect that,
        such as TransformerLens's ``interchange.reinitialized``. :meth:`untrained` makes a new
        network.
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
        """A key that is equal for two models that compute the same at every site, when rounded."""
        held = self.state_dict().items()
        tensors = {
            "activation": self.activation.function(_GRID),
            "group": self.group.table,
            **{name: tensor for name, tensor in held if not _HIDDEN.search(name)},
            **self.weights,
            "reference_scale": self.reference_scale,
        }
        known: dict[Any, str] = {}

        def digest(tensor: Tensor) -> str:
            # The weights are among the parameters, unless something computes them.
            place = tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype
            if place not in known:
                rounded = tensor.detach().cpu().to(precision) + 0
                known[place] = hashlib.sha256(rounded.contiguous().numpy().data).hexdigest()
            return known[place]

        weights = tuple((name, digest(t)) for name, t in sorted(tensors.items()) if t is not None)
        # torch makes a class of its own for a parametrised module.
        kind = type(self).__name__.removeprefix("Parametrized")
        return kind, tuple(sorted(self.silent)), weights

    def content(self, precision: torch.dtype = torch.float64) -> str:
        """The SHA-256 of the network's current weights and settings."""
        return hashlib.sha256(repr(self.fingerprint(precision)).encode()).hexdigest()

    def identity(self) -> tuple[str, dict[str, Any]]:
        """The label and provenance of the current weights.

        If the weights have changed since these were recorded, by more than float32 rounding, both
        say so. Facts about the earlier weights (file, hash, recipe, training curve) are left out.
        """
        known = plain("provenance", self.provenance)
        if self._recorded is None or self._recorded[1] == self.content(torch.float32):
            return self.label, known
        label = f"{self.label} (edited)" if self.label == self._recorded[0] else self.label
        source = f"{known.get('source', 'not recorded')}, edited since"
        kept = {k: known[k] for k in ("element_order", "elements") if k in known}
        return label, {"source": source, **kept}

    @torch.no_grad()
    def answers(self, chunk: int = 20_000) -> Int[np.ndarray, "order order"]:
        """The largest logit's element for every pair."""
        n = self.group.order
        answers = [self(part.to(self.device)).argmax(1) for part in self.group.pairs().split(chunk)]
        return torch.cat(answers).reshape(n, n).cpu().numpy()

    @property
    def is_unbiased(self) -> bool:
        """Whether pre-activations and logits have no biases, so that scaling passes through."""
        return False

    def facts(self) -> dict[str, Any]:
        """The architecture's part of the ``network`` entry of findings.json."""
        return {
            "kind": "module",
            "d_mlp": self.d_mlp,
            "act_fn": self.activation.name,
            "additive_share": self.additive_share,
        }

    @property
    def width_text(self) -> str:
        """A short description: neurons, activation and what else distinguishes architectures."""
        return f"{self.d_mlp} {self.activation.name} neurons"

    @property
    def pre_scale(self) -> Float[Tensor, "d_mlp"]:
        """Standard deviation of each pre-activation over all pairs.

        A surrogate has its network's values, so noise in these units disturbs both equally.
        """
        if self.reference_scale is not None:
            return self.reference_scale.to(self.device, self.dtype)
        variance = self.left_table.var(0, correction=0) + self.right_table.var(0, correction=0)
        return variance.sqrt()
