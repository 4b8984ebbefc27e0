"""Interventions through nnsight: the same hook functions at the same sites, as nnsight edits.

``NNsight(network)`` mirrors the network's modules, so every site keeps its name, such as
``model.hook_pre.output``. This module runs TransformerLens hooks on such a model. It needs the
optional extra ``nnsight`` and is imported by name only.

An nnsight value at a site is the value *before* any TransformerLens hook on that site; do not mix
the two on one site (:func:`with_hooks` refuses to).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens import HookedRootModule

from coset_circuits.errors import CosetCircuitsError
from coset_circuits.experiments.interventions import Hooks, Intervention
from coset_circuits.networks.model import GroupModel, SilentHookPoint

_SUPPORTED = "0.8."
_SERVED = frozenset({"input", "inputs", "output", "skip", "source"})


class NNsightMissingError(CosetCircuitsError, ImportError):
    """nnsight is not installed, or not in a version that this module was tested with."""


try:
    import nnsight  # type: ignore[reportMissingImports]
    from nnsight import Envoy, NNsight  # type: ignore[reportMissingImports]
except ImportError as error:
    raise NNsightMissingError(
        "nnsight is not installed; interventions through it need the optional extra: "
        "pip install 'coset-circuits[nnsight]'."
    ) from error

if not nnsight.__version__.startswith(_SUPPORTED):
    raise NNsightMissingError(
        f"nnsight {nnsight.__version__} is installed; this module works with {_SUPPORTED}x: "
        "pip install 'coset-circuits[nnsight]'."
    )


class SilentSite(Envoy):
    """A site at which a surrogate's hypothesis says nothing: it refuses with a sentence."""

    def __getattribute__(self, name: str) -> Any:
        if name in _SERVED:
            _refuse_if_silent(self._module)
        return super().__getattribute__(name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _SERVED:
            _refuse_if_silent(self._module)
        super().__setattr__(name, value)


def wrap(model: GroupModel) -> NNsight:
    """An nnsight model of a network or surrogate, with the same site names.

    For a network ``NNsight(network)`` is the same; on a surrogate this one also refuses the sites
    at which the hypothesis is silent.
    """
    return NNsight(model, envoys={SilentHookPoint: SilentSite})


def with_hooks(model: NNsight, fwd_hooks: Hooks) -> NNsight:
    """A copy of an nnsight model that applies these TransformerLens hooks in every trace.

    The copy shares modules and weights with the original, which does not change. Each site becomes
    one nnsight edit, so a trace may read the sites in any order that the model computes them in.
    Any ``HookedRootModule`` works. The hooks are those of ``run_with_hooks(fwd_hooks=...)``.

    Raises:
        CosetCircuitsError: the wrapped model has no hook points, or none with this name, or the
            site already has a TransformerLens hook.
        SilentSiteError: the model is a surrogate that makes no claim at a site touched here.
    """
    for name, functions in _by_site(_hooked(model), fwd_hooks).items():
        site = model.get(name)
        point = site._module
        _refuse_if_silent(point)
        if point.has_hooks():
            raise CosetCircuitsError(
                f"There is a TransformerLens hook at {name}, and nnsight sees a site before such "
                "hooks do; take it off (reset_hooks()) or work with one of the two."
            )
        editing: Any = model.edit()
        with editing as (_, edited):
            value = site.output
            for function in functions:
                changed = function(value, hook=point)
                value = value if changed is None else changed
            site.output = value
        model = edited
    return model


def run(
    model: NNsight, intervention: Intervention, pairs: Int[Tensor, "batch 2"], seed: int = 0
) -> Float[Tensor, "batch order"]:
    """The logits under an intervention, through nnsight: what ``intervention.run`` gives.

    Raises:
        CosetCircuitsError: see :func:`with_hooks`.
    """
    network = _hooked(model)
    if not isinstance(network, GroupModel):
        raise CosetCircuitsError(
            f"The nnsight model wraps a {type(network).__name__}; wrap a network or surrogate of "
            "this library, such as cc.load('s5')."
        )
    given = pairs if intervention.inputs is None else intervention.inputs(pairs)
    edited = with_hooks(model, intervention.hooks(network, given, seed))
    return cast(Tensor, edited.trace(given, trace=False))


@dataclass(frozen=True)
class NNsightIntervention(Intervention):
    """An intervention that reaches its sites through nnsight; see :func:`through_nnsight`."""

    def run(
        self, model: GroupModel, pairs: Int[Tensor, "batch 2"], seed: int = 0
    ) -> Float[Tensor, "batch order"]:
        before = {module: set(vars(module)) for module in model.modules()}
        try:
            return run(wrap(model), self, pairs, seed)
        finally:
            # nnsight replaces ``forward`` on every module that it wraps; here that is undone.
            for module, names in before.items():
                for name in vars(module).keys() - names:
                    del module.__dict__[name]


def through_nnsight(intervention: Intervention) -> NNsightIntervention:
    """The same intervention, so that :func:`measure` and the like run it through nnsight.

    It takes plain networks and surrogates, which are wrapped for the run and left as they were.
    """
    return NNsightIntervention(**vars(intervention))


def _refuse_if_silent(point: Any) -> None:
    if isinstance(point, SilentHookPoint):
        point.add_hook()


def _hooked(model: NNsight) -> HookedRootModule:
    module = getattr(model, "_module", None)
    if not isinstance(module, HookedRootModule):
        kind = type(model if module is None else module).__name__
        raise CosetCircuitsError(
            f"A {kind} was given; give an nnsight model of a network, such as "
            "wrap(network) or NNsight(network)."
        )
    return module


def _by_site(model: HookedRootModule, fwd_hooks: Hooks) -> dict[str, list[Any]]:
    """The hook functions of each site, in the order in which they were given."""
    found: dict[str, list[Any]] = {}
    for name, function in fwd_hooks:
        if isinstance(name, str) and not hasattr(model.mod_dict.get(name), "has_hooks"):
            raise CosetCircuitsError(
                f"{name!r} is not a site of this model; its sites are {', '.join(model.hook_dict)}."
            )
        for site in [name] if isinstance(name, str) else filter(name, model.hook_dict):
            found.setdefault(site, []).append(function)
    return found
