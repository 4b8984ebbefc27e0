"""Candidate places of the hidden layer in a torch module, to read and replace values at."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from coset_circuits.errors import CosetCircuitsError

Change = Callable[[Tensor], Tensor]
Arguments = Callable[[Tensor], Any]


@dataclass(frozen=True)
class Runner:
    """A copy of a module in evaluation mode, and how it is called with pairs.

    Attributes:
        module: the copy, so that hooks do not affect the original.
        arguments: a function from pairs (batch, 2) to the module's argument, a tuple of arguments
            or a dictionary.
        called: a description of the call.
        order: the number of elements; further outputs, such as for a token "=", are left out.
        tolerance: the relative difference allowed between two ways to compute the same value.
    """

    module: nn.Module
    arguments: Arguments
    called: str
    order: int
    tolerance: float

    def __call__(self, pairs: Tensor) -> Tensor:
        return self.outputs(pairs)[:, : self.order]

    def outputs(self, pairs: Tensor) -> Tensor:
        """All logits."""
        given = self.arguments(pairs)
        dtype = next((p.dtype for p in self.module.parameters()), torch.float64)

        def cast(value: Any) -> Any:
            return value.to(dtype) if _is_float(value) else value

        if isinstance(given, dict):
            return _logits(self.module(**{name: cast(value) for name, value in given.items()}))
        given = given if isinstance(given, tuple) else (given,)
        return _logits(self.module(*map(cast, given)))

    @property
    def device(self) -> torch.device:
        return next((p.device for p in self.module.parameters()), torch.device("cpu"))


def _logits(output: Any) -> Any:
    """The logits in an output: under their name, as in Hugging Face's models, or the first part."""
    if isinstance(output, Mapping):
        return output.get("logits", output)
    output = getattr(output, "logits", output)
    return output[0] if isinstance(output, (tuple, list)) and output else output


def conventions(order: int) -> dict[str, Arguments]:
    """The usual ways to pass pairs to a module, by description."""

    def one_hot(pairs: Tensor) -> Tensor:
        return F.one_hot(pairs, order).double()

    return {
        "model(pairs)": lambda pairs: pairs,
        "model(a, b)": lambda pairs: (pairs[:, 0], pairs[:, 1]),
        "model(pairs.T)": lambda pairs: pairs.T,
        "model((a, b))": lambda pairs: ((pairs[:, 0], pairs[:, 1]),),
        "model(pairs), elements of b numbered after those of a": lambda pairs: (
            pairs + torch.tensor([0, order], device=pairs.device)
        ),
        "model(one-hot a and b side by side)": lambda pairs: one_hot(pairs).flatten(1),
        "model(one-hot a, one-hot b)": lambda pairs: one_hot(pairs).unbind(1),
        "model(one-hot pairs)": one_hot,
    }


def runners(model: nn.Module, order: int | None, inputs: Arguments | None) -> list[Runner]:
    """Every way to call a copy of the module that gives a logit for each element.

    The copy is in float64 or, if no call works in float64, in the module's dtype.

    Raises:
        CosetCircuitsError: no way works, or the module cannot be copied.
    """
    failures: list[str] = []
    for dtype, tolerance in ((torch.float64, 1e-9), (None, 1e-4)):
        own = _copied(model)
        own = own if dtype is None else own.to(dtype=dtype)
        sizes = {n for p in own.parameters() for n in p.shape} if order is None else {order}
        found = []
        for size in sorted(sizes):
            ways = conventions(size) if inputs is None else {"model(inputs(pairs))": inputs}
            for called, arguments in ways.items():
                with _Rounding() as rounding:
                    runner = Runner(own, arguments, called, size, tolerance)
                    failure = _failure(runner, is_exact=order is None)
                runner = replace(runner, tolerance=1e-4) if rounding.seen else runner
                found += [] if failure else [runner]
                failures.append(f"{called}: {failure}")
        if found:
            return found
    size = "order × order" if order is None else f"{order} elements"
    raise CosetCircuitsError(
        f"{type(model).__name__} gives no logits of shape (batch, order) for pairs of {size} "
        f"({failures[0] if failures else 'it has no parameters'}). Tried were "
        f"{'inputs' if inputs else ', '.join(conventions(1))}; give inputs=, a function from pairs "
        "(batch, 2) to the module's argument, or to a tuple of its arguments, and group= if it has "
        "more outputs than elements."
        + (
            " Convert a TransformerBridge with cc.GroupTransformer.from_bridge."
            if hasattr(model, "W_pos")
            else ""
        )
    )


class _Rounding(TorchFunctionMode):
    """Notices whether a module in float64 converts values to less, as in ``logits.float()``."""

    seen = False

    def __torch_function__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if args and _is_float(args[0]) and _is_float(result):
            self.seen |= result.element_size() < args[0].element_size()
        return result


def _copied(model: nn.Module) -> nn.Module:
    # A module wrapped by torch.compile does not call the hooks of its submodules.
    model = getattr(model, "_orig_mod", model)
    if any(value.is_meta for value in (*model.parameters(), *model.buffers())):
        raise CosetCircuitsError(
            f"{type(model).__name__} is on the meta device, which has no values; load its weights "
            "first."
        )
    # Computed tensors, such as a stored activation or what torch.nn.utils.prune makes of a weight,
    # cannot be copied with their graph.
    held = [value for part in model.modules() for value in vars(part).values()]
    memo = {id(t): t.detach().clone() for t in held if isinstance(t, Tensor) and not t.is_leaf}
    try:
        return copy.deepcopy(model, memo).eval().requires_grad_(False)
    except Exception as error:
        raise CosetCircuitsError(
            f"{type(model).__name__} cannot be copied ({first_line(error)}), and the original must "
            "not be changed; remove hooks and attributes that hold tensors with gradients, or load "
            "its state into a new module."
        ) from error


def _failure(runner: Runner, *, is_exact: bool) -> str:
    """Why a way to call a module fails; empty if it works."""
    last = runner.order - 1
    pairs = torch.tensor([[0, last], [last, 0], [last, last], [0, 0], [0, last]])
    try:
        logits = runner.outputs(pairs.to(runner.device))
    except Exception as error:
        return first_line(error)
    if not isinstance(logits, Tensor):
        return f"5 pairs give a {type(logits).__name__}"
    widths = range(runner.order, runner.order + 1 if is_exact else sys.maxsize)
    if logits.ndim == 2 and len(logits) == 5 and logits.shape[1] in widths:
        return ""
    return f"5 pairs give {tuple(logits.shape)}"


def first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:160]


@dataclass(frozen=True)
class ModuleSite:
    """The input or output of a submodule."""

    name: str
    is_input: bool

    @contextmanager
    def hooked(self, module: nn.Module, change: Change) -> Iterator[None]:
        part = module.get_submodule(self.name)
        if self.is_input:
            handle = part.register_forward_pre_hook(
                lambda _, given: (change(given[0]), *given[1:]) if given else None
            )
        else:
            handle = part.register_forward_hook(lambda *passed: change(passed[-1]))
        try:
            yield
        finally:
            handle.remove()


@dataclass(frozen=True)
class CallSite:
    """The input of the ``number``-th call to a shape-preserving function in a forward pass.

    Attributes:
        function: the function that was called, with its other arguments.
    """

    name: str
    number: int
    function: Change

    @contextmanager
    def hooked(self, module: nn.Module, change: Change) -> Iterator[None]:
        with _Calls(lambda number, value: change(value) if number == self.number else value):
            yield


class _Calls(TorchFunctionMode):
    """Counts calls of functions that take one matrix and return one of the same shape."""

    def __init__(self, change: Callable[[int, Tensor], Tensor]) -> None:
        super().__init__()
        self.change = change
        self.seen: list[CallSite] = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        others = [*args[1:], *kwargs.values()]
        if not (args and _is_matrix(args[0])) or any(isinstance(o, Tensor) for o in others):
            return func(*args, **kwargs)
        # Calls are repeated, and an in-place function would change the second call's input.
        result = func(args[0].clone(), *args[1:], **kwargs)
        if not (_is_matrix(result) and result.shape == args[0].shape):
            return func(*args, **kwargs)

        def function(x: Tensor) -> Tensor:
            return func(x, *args[1:], **kwargs)

        number = len(self.seen)
        function.__name__ = getattr(func, "__name__", "function").strip("_")
        self.seen.append(CallSite(function.__name__, number, function))
        changed = self.change(number, args[0])
        return result if changed is args[0] else func(changed.clone(), *args[1:], **kwargs)


def _is_float(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def _is_matrix(value: Any) -> bool:
    return _is_float(value) and value.ndim == 2


@torch.no_grad()
def calls(runner: Runner) -> list[CallSite]:
    """The function calls in a forward pass that may be the activation."""
    with _Calls(lambda number, value: value) as mode:
        runner(torch.zeros(7, 2, dtype=torch.long, device=runner.device))
    return mode.seen
