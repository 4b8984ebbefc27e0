"""Turn any torch module into a network: find its hidden layer and check it on all pairs."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from coset_circuits.errors import CosetCircuitsError, checked
from coset_circuits.groups import FiniteGroup
from coset_circuits.groups import group as named_group
from coset_circuits.networks.mlp import GroupMLP
from coset_circuits.networks.model import Activation, ActivationLike
from coset_circuits.networks.module_sites import (
    Arguments,
    CallSite,
    ModuleSite,
    Runner,
    calls,
    first_line,
    runners,
)
from coset_circuits.networks.numbering import group_of, in_readable_order

_NAMED = tuple(map(Activation.named, ("relu", "gelu", "silu", "square", "abs", "identity")))
_CHUNK = 20_000


class _MisfitError(CosetCircuitsError):
    """At the tried place the module is not ``act(left[a] + right[b]) @ W_U + b_U``.

    Attributes:
        size: how badly it misses that form, for ranking: in how many ways, whether the inputs
            interact before the activation, and by how much the logits differ.
    """

    def __init__(
        self, sentence: str, size: tuple[int, bool, float] = (9, True, float("inf"))
    ) -> None:
        super().__init__(sentence)
        self.size = size


@checked
@torch.no_grad()
def from_module(
    model: nn.Module,
    group: FiniteGroup | str | None = None,
    *,
    hidden: str | None = None,
    unembed: str | None = None,
    activation: ActivationLike | None = None,
    inputs: Arguments | None = None,
    label: str | None = None,
) -> GroupMLP:
    """Convert any torch module with one hidden layer between pairs and logits to a network.

    Embeddings may be one-hot, shared, concatenated or summed. Biases, tied weights and any
    activation are fine. A copy of the module runs on all pairs in evaluation mode; the module
    itself is not changed. The left and right tables are the main effects of the pre-activations.
    ``W_U`` and ``b_U`` are measured by feeding chosen pre-activations to the rest of the module.
    The network is accepted only if its logits equal the module's on all pairs, up to rounding. It
    uses float64 if the module runs in float64. ``provenance`` records how the module was called
    and where the hidden layer is.

    Args:
        model: a module that gives logits of shape (batch, order). It is called as
            ``model(pairs)``, as ``model(a, b)`` or with one-hot vectors, whichever works.
        group: the group whose elements the module numbers, or its name. Without it the module's
            answers must be a Cayley table, from which the group is recognised.
        hidden: name of the activation's submodule, or of the submodule that outputs the
            pre-activations. Without it every place in the module is tried.
        unembed: name of the submodule that takes the hidden activations; used as a check.
        activation: a name, function or module, if the activation is not a submodule. Without it
            the functions that the module calls and the named activations are tried.
        inputs: a function from pairs (batch, 2) to the module's argument, or to a tuple of its
            arguments.
        label: the network's name in tables; by default the class's name.

    Raises:
        CosetCircuitsError: the module cannot be called or copied, does not have this form (the
            message says what differs and by how much), or does not multiply in the group.

    Warns:
        UserWarning: the module is right only in another numbering of the group, which is then
            used, or in the other order of multiplication.
    """
    wanted = None if group is None else named_group(group)
    if not isinstance(model, nn.Module):
        raise CosetCircuitsError(
            f"The model is a {type(model).__name__}; give a torch.nn.Module, or weights to "
            "GroupMLP.from_weights."
        )
    with torch.random.fork_rng(devices=[]):
        order = None if wanted is None else wanted.order
        runner = _chosen(runners(model, order, inputs), wanted)
        outputs = _outputs(runner)
        found = _found(runner, hidden, unembed, activation)
        _check_pairs_alone(runner)
    name = type(runner.module).__name__
    source = f"{name} called as {runner.called}, hidden layer {found.place}"
    network = GroupMLP.made_of(
        wanted or group_of(found.answers, name),
        found.weights,
        act_fn=found.activation,
        label=label or name,
        provenance={"source": source, "largest_difference": found.difference, **outputs},
    )
    return cast(GroupMLP, in_readable_order(network, found.answers, wanted))


def _chosen(ways: list[Runner], wanted: FiniteGroup | None) -> Runner:
    """Choose how to call a module; if several ways work, the one whose answers are right most."""
    if len(ways) == 1:
        return ways[0]
    tables = []
    for runner in ways:
        answers = torch.cat([logits.argmax(1) for _, logits in _rows(runner)])
        tables.append(answers.view(runner.order, runner.order).cpu().numpy())
    scores = [_rightness(table, wanted) for table in tables]
    best = int(np.argmax(scores))
    if scores[best] < 0.5 and len({table.tobytes() for table in tables}) > 1:
        warnings.warn(
            f"{type(ways[0].module).__name__} can be called as "
            f"{' and as '.join(runner.called for runner in ways)}, with different answers, and is "
            f"hardly ever right. Using {ways[best].called}; give inputs= for another.",
            stacklevel=5,
        )
    return ways[best]


def _outputs(runner: Runner) -> dict[str, int]:
    """The number of a module's outputs, if there are more than elements.

    Raises:
        CosetCircuitsError: the module answers pairs with outputs that are not elements.
    """
    width = runner.outputs(torch.zeros(2, 2, dtype=torch.long, device=runner.device)).shape[1]
    if width == runner.order:
        return {}
    outputs = torch.cat([runner.outputs(pairs).argmax(1) for _, pairs in _pairs(runner)])
    wrong = float((outputs >= runner.order).double().mean())
    if wrong:
        raise CosetCircuitsError(
            f"{type(runner.module).__name__} has {width} outputs, and on {wrong:.1%} of the pairs "
            f"its largest logit is none of the first {runner.order}, the elements of the group "
            "that was given; give the group of all its outputs, or none."
        )
    return {"outputs": width}


def _check_pairs_alone(runner: Runner) -> None:
    """Refuse a module whose logits for a pair depend on the rest of the batch."""
    _, pairs = next(_pairs(runner))
    together, alone = runner(pairs), runner(pairs[:3])
    difference = float((together[:3] - alone).abs().max() / (together.std() or 1))
    if difference > runner.tolerance:
        raise CosetCircuitsError(
            f"{type(runner.module).__name__} gives a pair other logits if other pairs are in the "
            f"batch (they differ by {difference:.2g} of their standard deviation); make them "
            "independent of the batch, as batch norm with running statistics does."
        )


def _rightness(answers: np.ndarray, wanted: FiniteGroup | None) -> float:
    """The share of right answers; without a group, whether the answers are a Cayley table."""
    try:
        group = FiniteGroup.from_table(answers) if wanted is None else wanted
    except CosetCircuitsError:
        return 0
    return float((answers == group.array).mean())


def _rows(runner: Runner) -> Iterator[tuple[slice, Tensor]]:
    """The logits of all pairs, several left inputs at a time."""
    for part, pairs in _pairs(runner):
        yield part, runner(pairs)


def _pairs(runner: Runner) -> Iterator[tuple[slice, Tensor]]:
    step = max(1, _CHUNK // runner.order)
    right = torch.arange(runner.order, device=runner.device)
    for start in range(0, runner.order, step):
        left = right[start : start + step]
        yield slice(start, start + step), torch.cartesian_prod(left, right)


@dataclass(frozen=True)
class _Found:
    place: str
    activation: Activation
    weights: dict[str, Tensor]
    answers: np.ndarray
    difference: float


def _found(
    runner: Runner, hidden: str | None, unembed: str | None, activation: ActivationLike | None
) -> _Found:
    """The first place in a module at which it has the required form."""
    for name in (hidden, unembed):
        if name is not None and name not in dict(runner.module.named_modules()):
            parts = ", ".join(n for n, _ in runner.module.named_modules() if n)
            raise CosetCircuitsError(f"The module has no part {name!r}; its parts are {parts}.")
    misfits: list[_MisfitError] = []
    for place, site, choices in _places(runner, hidden, activation):
        try:
            return _Place(runner, place, site, unembed).fitted(choices)
        except _MisfitError as misfit:
            misfits.append(misfit)
    if not misfits:
        raise CosetCircuitsError(
            f"{type(runner.module).__name__} has no hidden layer that could be found: nothing of "
            "shape (batch, neurons) passes an activation; name the layer with hidden=, or give a "
            "transformer's weights to cc.GroupTransformer."
        )
    raise min(misfits, key=lambda misfit: misfit.size)


def _places(
    runner: Runner, hidden: str | None, activation: ActivationLike | None
) -> Iterator[tuple[str, ModuleSite | CallSite, tuple[Activation, ...]]]:
    """Candidate places for the hidden layer, each with its candidate activations."""
    given = None if activation is None else (Activation.of(activation),)
    named = [n for n, part in runner.module.named_modules() if n and not [*part.children()]]
    named = named if hidden is None else [hidden]
    inputs = [(n, ModuleSite(n, is_input=True), runner.module.get_submodule(n)) for n in named]
    called = [(f"{c.name}()", c, c.function) for c in calls(runner)] if hidden is None else []
    for name, site, applied in (*inputs, *called):
        function = _activation_of(applied)
        # A function that only scales is not an activation, although the rest may be linear.
        if function is not None and (hidden or not function.is_linear):
            yield name, site, given or (function,)
    if given:
        yield from ((name, site, given) for name, site, _ in (*inputs, *called))
    yield from ((name, ModuleSite(name, is_input=False), given or _NAMED) for name in named)


def _activation_of(function: ActivationLike) -> Activation | None:
    try:
        return Activation.of(function)
    except CosetCircuitsError:
        return None


class _Place:
    """A place in a module, tried as the pre-activations of its hidden layer."""

    def __init__(
        self, runner: Runner, name: str, site: ModuleSite | CallSite, unembed: str | None
    ) -> None:
        self.runner, self.name, self.site, self.unembed = runner, name, site, unembed
        self.kind = type(runner.module).__name__

    def run(self, pairs: Tensor, put: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Logits and pre-activations; ``put`` replaces the latter."""
        seen: list[Tensor] = []

        def change(pre: Tensor) -> Tensor:
            seen.append(pre.clone() if isinstance(pre, Tensor) else pre)
            return pre if put is None else put.clone()

        try:
            with self.site.hooked(self.runner.module, change):
                logits = self.runner(pairs)
        except Exception as error:
            raise _MisfitError(
                f"{self.kind} fails with other pre-activations at {self.name} "
                f"({first_line(error)})."
            ) from error
        if len(seen) != 1:
            raise _MisfitError(
                f"{self.kind} uses {self.name} {len(seen)} times for each pair; a hidden layer is "
                "used once."
            )
        pre = seen[0]
        if not (isinstance(pre, Tensor) and pre.ndim == 2 and len(pre) == len(pairs)):
            raise _MisfitError(
                f"At {self.name}, {self.kind} has {tuple(getattr(pre, 'shape', ()))} for "
                f"{len(pairs)} pairs; pre-activations have shape (batch, neurons)."
            )
        return logits, pre

    def fitted(self, choices: tuple[Activation, ...]) -> _Found:
        """The module's weights, with the first activation that reproduces its logits.

        Raises:
            _MisfitError: no activation reproduces them.
        """
        tables, answers, interaction, scale = self._tables()
        misfits = []
        for activation in self._agreeing(choices):
            weights = {**tables, **self._unembedding(activation, tables["left_table"].shape[1])}
            difference = self._difference(activation, weights, scale)
            if difference <= self.runner.tolerance:
                return _Found(self.name, activation, weights, answers, difference)
            misfits.append(self._misfit(activation, weights, interaction, scale, difference))
        raise min(misfits, key=lambda misfit: misfit.size)

    def _tables(self) -> tuple[dict[str, Tensor], np.ndarray, float, float]:
        """Main effects, answers, the interaction's share of variance and the logits' deviation."""
        left, answers, moments = [], [], torch.zeros(3, dtype=torch.float64)
        right, square = torch.zeros(()), torch.zeros(())
        for _, pairs in _pairs(self.runner):
            logits, pre = self.run(pairs)
            if not (logits.isfinite().all() and pre.isfinite().all()):
                raise CosetCircuitsError(
                    f"{self.kind} has logits or pre-activations (at {self.name}) that are NaN or "
                    "infinite; it cannot be analysed."
                )
            logits, grid = logits.double(), pre.double().unflatten(0, (-1, self.runner.order))
            left.append(grid.mean(1))
            right = right.to(grid) + grid.sum(0)
            square = square.to(grid) + grid.square().sum()
            answers.append(logits.argmax(1))
            sums = [logits.numel(), float(logits.sum()), float(logits.square().sum())]
            moments += torch.tensor(sums, dtype=torch.float64)
        lefts, right = torch.cat(left), right / self.runner.order
        mean = lefts.mean(0)
        # The grand mean is a bias; it is added to the left table.
        right = right - mean
        total = float(square / self.runner.order**2 - mean.square().sum())
        main = float((lefts - mean).square().mean(0).sum() + right.square().mean(0).sum())
        interaction = max(0.0, 1 - main / total) if total > 0 else 0.0
        count, plain, squared = moments.tolist()
        scale = max(squared / count - (plain / count) ** 2, 0) ** 0.5 or 1.0
        table = torch.cat(answers).view(self.runner.order, -1).cpu().numpy()
        return {"left_table": lefts, "right_table": right}, table, interaction, scale

    def _agreeing(self, choices: tuple[Activation, ...]) -> tuple[Activation, ...]:
        """The activations that map the pre-activations to the unembedding's input."""
        if self.unembed is None:
            return choices
        _, pairs = next(_pairs(self.runner))
        pre = self.run(pairs)[1]
        before = _Place(self.runner, self.unembed, ModuleSite(self.unembed, is_input=True), None)
        post = before.run(pairs)[1]
        if post.shape == pre.shape:
            sizes = [float((act.function(pre) - post).abs().max()) for act in choices]
            limit = self.runner.tolerance * float(post.abs().max())
            agreeing = [a for a, size in zip(choices, sizes, strict=True) if size <= limit]
            if agreeing:
                return tuple(agreeing)
        raise _MisfitError(
            f"The input of {self.unembed} is not {' or '.join(a.name for a in choices)} of the "
            f"pre-activations at {self.name} (shapes {tuple(post.shape)} and {tuple(pre.shape)}); "
            "give activation=, the function between them."
        )

    def _unembedding(self, activation: Activation, width: int) -> dict[str, Tensor]:
        """W_U and b_U, measured by replacing the pre-activations of one neuron at a time."""
        heights = torch.tensor([0.0, 1, -1, 2, -2, 10, -10], dtype=torch.float64)
        values = activation.function(heights)
        best = int((values - values[0]).abs().argmax())
        rows = torch.eye(width + 1, width, dtype=torch.float64, device=self.runner.device)
        dtype = next((p.dtype for p in self.runner.module.parameters()), torch.float64)
        pairs = torch.zeros(width + 1, 2, dtype=torch.long, device=self.runner.device)
        logits = self.run(pairs, (heights[best] * rows).to(dtype))[0].double()
        write = (logits[:-1] - logits[-1]) / (values[best] - values[0])
        bias = logits[-1] - values[0] * write.sum(0)
        found = {"W_U": write}
        if bias.abs().max() > 1e-12 * logits.abs().max():
            found["b_U"] = bias
        return found

    def _predicted(self, activation: Activation, weights: dict[str, Tensor], pre: Tensor) -> Tensor:
        return activation.function(pre) @ weights["W_U"] + weights.get("b_U", 0)

    def _difference(
        self, activation: Activation, weights: dict[str, Tensor], scale: float
    ) -> float:
        """The largest difference between the network's and the module's logits, over ``scale``."""
        largest = 0.0
        for part, logits in _rows(self.runner):
            pre = (weights["left_table"][part, None] + weights["right_table"]).flatten(0, 1)
            off = (self._predicted(activation, weights, pre) - logits).abs().max() / scale
            largest = max(largest, float(off.nan_to_num(torch.inf)))
            # The place fails already, and the other pairs of a large group take long.
            if largest > self.runner.tolerance:
                break
        return largest

    def _misfit(
        self,
        activation: Activation,
        weights: dict[str, Tensor],
        interaction: float,
        scale: float,
        difference: float,
    ) -> _MisfitError:
        """Measure how far the module is from the required form, and why."""
        _, pairs = next(_pairs(self.runner))
        logits, pre = self.run(pairs)
        if not torch.allclose(self.runner(pairs), logits):
            return _MisfitError(
                f"{self.kind} gives different logits each time, even in evaluation mode; make it "
                "deterministic.",
                (0, False, 0),
            )
        reasons = []
        if interaction > 1e-6:
            reasons.append(
                f"{interaction:.2%} of the variance of its pre-activations is an interaction of a "
                "and b, where a sum of a left and a right table has none"
            )
        # Different for each neuron, because gated paths may cancel over equal neurons.
        fixed = pre.abs().amax(0) * torch.linspace(0.1, 1, pre.shape[1]).to(pre)
        around = self.run(pairs, fixed.expand_as(pre))[0].std(0).square().mean().sqrt() / scale
        if around > self.runner.tolerance:
            reasons.append(
                "a and b reach its logits by a path around the hidden layer: with the "
                f"pre-activations fixed they still move by {float(around):.2g} of their standard "
                "deviation"
            )
        same = pairs * 0
        off = self.run(same, pre)[0] - self._predicted(activation, weights, pre.double())
        if off.abs().max() / scale > self.runner.tolerance:
            reasons.append(f"what follows is not {activation.name} and then a linear map")
        return _MisfitError(
            f"{self.kind} is not {activation.name}(left[a] + right[b]) @ W_U + b_U with the "
            f"pre-activations at {self.name}: logits differ by {difference:.2g} of their standard "
            f"deviation. Why: {'; '.join(reasons) or 'not known'}. If another layer is the hidden "
            "one, name it with hidden=, and the function after it with activation=.",
            # The logits themselves always fit a linear "activation" but for their interaction.
            (len(reasons) + 3 * activation.is_linear, interaction > 1e-6, difference),
        )
