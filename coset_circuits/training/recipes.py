"""Training recipes as data. Which circuits form depends on the recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from coset_circuits.errors import CosetCircuitsError
from coset_circuits.groups import FiniteGroup
from coset_circuits.networks.model import Activation
from coset_circuits.training.architectures import ARCHITECTURES


@dataclass(frozen=True)
class Recipe:
    """How a network is trained. It is saved with the network, since circuits depend on it."""

    name: str
    learning_rate: float
    weight_decay: float = 1.0
    betas: tuple[float, float] = (0.9, 0.98)
    fraction: float = 0.4
    """The share of all pairs that the network is trained on."""
    batch_size: int | None = None
    """Pairs per step; None for all training pairs, as in the papers."""
    architecture: str = "mlp"
    """``mlp`` or ``transformer``. Sizes that the architecture does not have are None."""
    d_mlp: int = 128
    d_embed: int | None = 256
    d_model: int | None = None
    n_heads: int | None = None
    d_head: int | None = None
    act_fn: str = "relu"
    max_steps: int = 250_000
    loss_bound: float = 1e-5
    """Training is good enough when all pairs are right with a mean loss below this, in nats."""
    clean_up: float = 0.5
    """Training then goes on for this share of the steps so far, so that circuits clean up, …"""
    final_learning_rate: float | None = None
    """… while the learning rate falls exponentially to this value, if given."""
    stop_when_memorised: bool = False
    """Stop as soon as the training pairs alone meet the bound; this makes a negative control."""
    every: int = 100
    """Steps between measurements of the loss on all pairs; training ends at a measurement."""
    about: str = ""
    """A note for the network's card: what the recipe is good for, and what not."""


RECIPES = {
    "fast": Recipe(
        "fast",
        learning_rate=3e-2,
        batch_size=1_440,
        max_steps=40_000,
        loss_bound=1e-3,
        clean_up=1.0,
        final_learning_rate=1e-3,
        about="Thirty times the papers' learning rate, in mini-batches, then cooled. Which "
        "circuits form, and how often, depends on the recipe: figures meant to match a paper need "
        "the recipe paper.",
    ),
    "paper": Recipe(
        "paper",
        learning_rate=1e-3,
        loss_bound=0.0,
        about="Table 2 of Stander et al. 2024: full batch, to the last step.",
    ),
    "memorise": Recipe(
        "memorise",
        learning_rate=1e-3,
        weight_decay=0.0,
        max_steps=5_000,
        loss_bound=0.01,
        stop_when_memorised=True,
        about="A negative control: no weight decay, stopped before anything generalises.",
    ),
}
"""Recipes by name: *paper* is Stander et al.'s Table 2, *fast* stops by itself, *memorise* never
grokks."""

_TRANSFORMER = {"d_mlp": 512, "d_embed": None, "d_model": 128, "n_heads": 4, "d_head": 32}
FOR_ARCHITECTURE: dict[tuple[str, str], dict[str, Any]] = {
    ("paper", "transformer"): {
        **_TRANSFORMER,
        "fraction": 0.6,
        "max_steps": 50_000,
        "about": "The transformers of Chughtai et al. 2023: full batch, to the last step.",
    },
    ("fast", "transformer"): {
        **_TRANSFORMER,
        "fraction": 0.6,
        "learning_rate": 1e-2,
        "about": "Ten times the paper's learning rate, in mini-batches, then cooled. Which "
        "circuits form depends on the recipe: figures meant to match a paper need the recipe "
        "paper.",
    },
    ("memorise", "transformer"): _TRANSFORMER,
}
"""Changes to a recipe for an architecture, by recipe and architecture."""

_S6 = {"d_mlp": 256, "d_embed": 512}
FOR_GROUP: dict[tuple[str, str, str], dict[str, Any]] = {
    ("paper", "mlp", "S6"): {**_S6, "max_steps": 50_000},
    ("fast", "mlp", "S6"): {**_S6, "batch_size": 16_384, "every": 50},
}
"""Changes to a recipe for a group, by recipe, architecture and group."""


def recipe_for(
    group: FiniteGroup, recipe: Recipe | str, changes: Mapping[str, Any] | None = None
) -> Recipe:
    """The recipe with a given name, adapted to the architecture and the group.

    Your ``changes`` are applied last.

    Raises:
        CosetCircuitsError: the name or a field is unknown, or a value is not valid.
    """
    changes = dict(changes or {})
    if isinstance(recipe, str):
        if recipe not in RECIPES:
            raise CosetCircuitsError(
                f"No recipe is called {recipe!r}; choose one of {', '.join(RECIPES)}."
            )
        recipe = _named(recipe, group, changes.get("architecture", "mlp"))
    unknown = set(changes) - set(asdict(recipe))
    if unknown:
        raise CosetCircuitsError(
            f"A recipe has no field {', '.join(sorted(unknown))}; its fields are "
            f"{', '.join(asdict(recipe))}."
        )
    _check({**asdict(recipe), **changes})
    changed = replace(recipe, **changes)
    return replace(changed, betas=(changed.betas[0], changed.betas[1]))


def _named(name: str, group: FiniteGroup, architecture: Any) -> Recipe:
    if architecture not in ARCHITECTURES:
        raise CosetCircuitsError(
            f"No architecture is called {architecture!r}; choose one of {', '.join(ARCHITECTURES)}."
        )
    special = FOR_ARCHITECTURE.get((name, architecture), {})
    special = {**special, **FOR_GROUP.get((name, architecture, group.name), {})}
    return replace(RECIPES[name], architecture=architecture, **special)


_SIZES = tuple(dict.fromkeys(size for a in ARCHITECTURES.values() for size in a.sizes))
_WHOLE = (*_SIZES, "max_steps", "every", "batch_size")
_POSITIVE = ("learning_rate", "final_learning_rate")
_NOT_NEGATIVE = ("weight_decay", "loss_bound", "clean_up")
_MOST = 10**9
_MAY_LACK = ("batch_size", "final_learning_rate")


def _check(given: Mapping[str, Any]) -> None:
    architecture = given["architecture"]
    sizes = ARCHITECTURES[architecture].sizes
    for name in _SIZES:
        if name not in sizes and given[name] is not None:
            raise CosetCircuitsError(
                f"{name} is {given[name]!r}, but the architecture {architecture} has no {name}; "
                f"its sizes are {', '.join(sizes)}."
            )
    given = {k: v for k, v in given.items() if k not in _SIZES or k in sizes}
    given = {k: v for k, v in given.items() if not (v is None and k in _MAY_LACK)}
    for name in _WHOLE:
        value = given.get(name, 1)
        if type(value) is not int or not 1 <= value <= _MOST:
            raise CosetCircuitsError(
                f"{name} is {value!r}; give a whole number from 1 up to {_MOST:,}."
            )
    for name in _POSITIVE:
        if not (_is_number(value := given.get(name, 1)) and value > 0):
            raise CosetCircuitsError(f"{name} is {value!r}; give a number above 0.")
    for name in _NOT_NEGATIVE:
        if not (_is_number(value := given[name]) and value >= 0):
            raise CosetCircuitsError(f"{name} is {value!r}; give a number, 0 or more.")
    if not (_is_number(value := given["fraction"]) and 0 < value <= 1):
        raise CosetCircuitsError(
            f"The training fraction is {value!r}; give a number above 0 and up to 1."
        )
    betas = given["betas"]
    if not isinstance(betas, (tuple, list)) or not (
        len(betas) == 2 and all(_is_number(beta) and 0 <= beta < 1 for beta in betas)
    ):
        raise CosetCircuitsError(f"betas are {betas!r}; give two numbers from 0 to below 1.")
    if not isinstance(value := given["stop_when_memorised"], bool):
        raise CosetCircuitsError(f"stop_when_memorised is {value!r}; give true or false.")
    if not isinstance(value := given["act_fn"], str):
        raise CosetCircuitsError(f"act_fn is {value!r}; give a name, such as relu.")
    Activation.named(value)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300
