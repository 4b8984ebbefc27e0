"""In what order other people's code lists a group's elements, and which way it multiplies.

A foreign checkpoint does not say. But a network that has learnt anything betrays it: under the
right order its answers are right far more often than chance, even if it only memorised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from coset_circuits.errors import CosetCircuitsError
from coset_circuits.groups import FiniteGroup, recognise
from coset_circuits.groups import group as named_group
from coset_circuits.groups.permutations import parity
from coset_circuits.thresholds import DEFAULT


@dataclass(frozen=True)
class ElementOrder:
    """A candidate: their element i is our element ``elements[i]``."""

    name: str
    group: FiniteGroup
    elements: np.ndarray

    def accuracy(self, answers: np.ndarray) -> float:
        """Share of pairs that ``answers[i, j]``, in their numbering, gets right."""
        products = self.group.array[np.ix_(self.elements, self.elements)]
        return float((self.elements[answers] == products).mean())


def group_names(order: int) -> list[str]:
    """The named groups of an order: those a checkpoint without a description may be about."""
    names = [f"C{order}"]
    if order % 2 == 0 and order > 2:
        names.append(f"D{order // 2}")
    factorial = 1
    for n in range(2, 8):
        factorial *= n
        names += [f"S{n}"] * (factorial == order) + [f"A{n}"] * (factorial // 2 == order)
    return names


def candidates(group: FiniteGroup) -> Iterator[ElementOrder]:
    """Every known way to list a group's elements and to multiply them."""
    if group.permutations is None:
        yield ElementOrder("native", group, np.arange(group.order))
        return
    index = {tuple(p): i for i, p in enumerate(group.permutations.tolist())}
    for name, listing in _LISTINGS.items():
        elements = np.array([index[p] for p in listing(group)])
        yield ElementOrder(name, group, elements)
        # Where they apply the left permutation first, inversion turns their product into ours.
        yield ElementOrder(f"{name}-opposite", group, group.inverse_array[elements])


def _lexicographic(group: FiniteGroup) -> list[tuple[int, ...]]:
    return sorted(map(tuple, group.permutations.tolist()))  # type: ignore[union-attr]


def _parity(group: FiniteGroup) -> list[tuple[int, ...]]:
    return sorted(_lexicographic(group), key=lambda p: (parity(p), p))


def _sympy(group: FiniteGroup) -> list[tuple[int, ...]]:
    """SymPy's ``generate()``, from the generators that Chughtai et al. gave it."""
    from sympy.combinatorics import Permutation, PermutationGroup
    from sympy.combinatorics.named_groups import AlternatingGroup, SymmetricGroup

    degree = group.permutations.shape[1]  # type: ignore[union-attr]
    if group.name == "A5":
        listed = PermutationGroup(Permutation(0, 1, 2, 3, 4), Permutation(1, 2)(3, 4))
    else:
        listed = (SymmetricGroup if group.name.startswith("S") else AlternatingGroup)(degree)
    return [tuple(p) for p in listed.generate(af=True)]  # type: ignore[arg-type]


_LISTINGS: dict[str, Callable[[FiniteGroup], list[tuple[int, ...]]]] = {
    "sympy": _sympy,
    "parity": _parity,
    "lexicographic": _lexicographic,
}


def detect(answers: np.ndarray, names: list[str], wanted: str | None = None) -> ElementOrder:
    """The element order under which a network's answers are right most often.

    Answers that are the Cayley table of a group say all by themselves: under an order that explains
    only some of them the network would be misread, so the table is recognised instead.

    Args:
        answers: ``answers[i, j]`` is the network's best guess for the pair (i, j), all in the
            checkpoint's own numbering.
        names: the groups to consider.
        wanted: the order's name, where the user says it; its group is still found by accuracy.

    Raises:
        CosetCircuitsError: none fits better than chance, or ``wanted`` is not known.
    """
    found = [order for name in names for order in candidates(named_group(name))]
    known = sorted({order.name for order in found})
    if wanted is not None:
        found = [order for order in found if order.name == wanted]
        if not found:
            raise CosetCircuitsError(
                f"No element order of {' or '.join(names)} is called {wanted!r}; known are "
                f"{', '.join(known)}."
            )
    scores = [order.accuracy(answers) for order in found]
    best = int(np.argmax(scores))
    if wanted is None and scores[best] < 1 and (own := _own_group(answers, names)) is not None:
        return own
    chance = 1 / len(answers)
    if wanted is None and scores[best] < max(DEFAULT.order_accuracy, 2 * chance):
        raise CosetCircuitsError(
            f"Under none of the known element orders of {' or '.join(names)} is the network right "
            f"on more than {max(scores):.1%} of all pairs (chance is {chance:.1%}); give the "
            f"order by hand with --order, one of {', '.join(known)}."
        )
    return found[best]


def _own_group(answers: np.ndarray, names: list[str]) -> ElementOrder | None:
    """What a table of answers that is a Cayley table says; None where it is none."""
    try:
        known = recognise(answers, names[0])
    except CosetCircuitsError:
        return None
    return ElementOrder("read off its answers", known.group, known.elements)
