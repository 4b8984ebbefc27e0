"""Infer in which order a foreign checkpoint lists a group's elements, and which way it multiplies.

A foreign checkpoint does not record this, but its answers are a Cayley table with mistakes. They
are compared with the tables of common element orders, and with the result of repairing the answers
themselves. An explanation is accepted only if a better one would have been noticed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Int

from coset_circuits.errors import CosetCircuitsError
from coset_circuits.groups import (
    FiniteGroup,
    groups_of_order,
    isomorphism,
    recognise,
    repaired,
    voters,
)
from coset_circuits.groups import group as named_group
from coset_circuits.networks.listings import listings
from coset_circuits.thresholds import DEFAULT

READ_OFF = "read off its answers"
# Larger orders have hundreds of products, which take gigabytes to build.
_LARGEST_TRIED = 1024
_FEW_GROUPS = 128


@dataclass(frozen=True)
class ElementOrder:
    """A candidate order: the checkpoint's element i is the group's element ``elements[i]``."""

    name: str
    group: FiniteGroup
    elements: Int[np.ndarray, "order"]

    @cached_property
    def table(self) -> Int[np.ndarray, "order order"]:
        """The Cayley table in the checkpoint's numbering."""
        return np.argsort(self.elements)[self.group.array[np.ix_(self.elements, self.elements)]]

    def accuracy(self, answers: Int[np.ndarray, "order order"]) -> float:
        """The share of pairs for which ``answers[i, j]``, in the same numbering, is right."""
        return float((answers == self.table).mean())

    def __str__(self) -> str:
        return f"{self.group.name}, {self.name}"


def group_names(order: int) -> list[str]:
    """The names of the groups of an order that belong to a family."""
    names = [f"C{order}"]
    if order % 2 == 0 and order > 2:
        names.append(f"D{order // 2}")
    factorial = 1
    for n in range(2, 8):
        factorial *= n
        names += [f"S{n}"] * (factorial == order) + [f"A{n}"] * (factorial // 2 == order)
    return names


def candidates(group: FiniteGroup) -> Iterator[ElementOrder]:
    """Every common way to list a group's elements, with both orders of multiplication."""
    for name, elements in listings(group).items():
        yield ElementOrder(name, group, elements)
        if not group.is_abelian:
            # If the checkpoint multiplies as b·a, inversion turns its product into a·b.
            yield ElementOrder(f"{name}-opposite", group, group.inverse_array[elements])


def detect(
    answers: Int[np.ndarray, "order order"],
    names: list[str] | None = None,
    wanted: str | None = None,
) -> ElementOrder:
    """Find the group and the element order that explain a network's answers.

    Common orders are tried first. The repaired table of the answers is used instead if it explains
    more of them. An explanation below :func:`least_share` is rejected, since a better one could
    have been missed. It is also rejected if another group explains the answers nearly as well.

    Args:
        answers: ``answers[i, j]`` is the network's answer for the pair (i, j), in the
            checkpoint's numbering.
        names: the possible groups, if the file names any.
        wanted: the order's name, or group and order such as ``"D30, interleaved"``, if the user
            gives one.

    Raises:
        CosetCircuitsError: no explanation is clearly right, or ``wanted`` is unknown.
    """
    listed: list[str] = [*(names or []), *group_names(len(answers))]
    families = list(dict.fromkeys(listed))
    if wanted is not None:
        return _asked(answers, names or families, wanted)
    groups = [named_group(name) for name in families]
    groups = [group for group in groups if group.order == len(answers)]
    least = least_share(len(answers))
    best, clear = (0.0, next(candidates(groups[0]))), []
    for scored in _explanations(answers, groups):
        best = max(best, scored, key=lambda scored: scored[0])
        clear += [scored] if scored[0] >= least else []
    share, order = best
    needed = least_share(len(answers), of_its_own=order.name == READ_OFF)
    if share < needed:
        raise CosetCircuitsError(
            f"No multiplication explains its answers. Tried were the known element orders of "
            f"{', '.join(families)} and other groups of that order, and the table that the answers "
            f"suggest. The best is {order}, right on {share:.1%} of all pairs (chance is "
            f"{1 / len(answers):.1%}; below {needed:.0%} a better one could have been missed). "
            f"{_advice(groups)}"
        )
    rival = next((scored for scored in clear if _contests(scored, best)), None)
    if rival is not None:
        raise CosetCircuitsError(
            f"Two multiplications explain its answers: {order} ({share:.1%} of all pairs) and "
            f"{rival[1]} ({rival[0]:.1%}). {_advice(groups)}"
        )
    return order


def other_reading(
    answers: Int[np.ndarray, "order order"], group: FiniteGroup, given: ElementOrder | None = None
) -> ElementOrder | None:
    """The numbering of a group that explains a network's answers where the given one does not.

    Args:
        group: the group that was given.
        given: the element order that was given; by default the group's own.

    Raises:
        CosetCircuitsError: the answers are those of another group.
    """
    share = float((answers == (group.array if given is None else given.table)).mean())
    if share >= least_share(len(answers)):
        return None
    own = _own(answers, group.name)
    if own is None or own[0] < max(2 * share, least_share(len(answers), of_its_own=True)):
        return None
    if isomorphism(own[1].group, group) is None:
        raise CosetCircuitsError(
            f"It multiplies in {own[1].group.name}: that explains {own[0]:.1%} of its answers, and "
            f"{given or group.name}, which was given, {share:.1%}. Give the right group, or let "
            "cc.load or cc.from_module find it."
        )
    return own[1]


def least_share(order: int, *, of_its_own: bool = False) -> float:
    """The least share of the answers that an element order has to explain.

    Let p = ∛(votes / 4m), with m = :func:`voters`. If a Cayley table explains a share p of the
    answers, repairing them recovers it, whatever its numbering; so a table that was missed explains
    less. A wrong group shares at most 7/9 of the entries of the right table (Ivanyos, Le Gall and
    Yoshida 2012), so it explains at most 7/9 of p.

    Args:
        of_its_own: return p itself, the share from which the repaired table is reliable.
    """
    number = voters(order)
    share = min(1.0, (DEFAULT.repair_votes / (4 * number)) ** (1 / 3)) if number else 1.0
    return share if of_its_own else max(DEFAULT.order_accuracy, DEFAULT.group_agreement * share)


_Scored = tuple[float, ElementOrder]


def _explanations(
    answers: Int[np.ndarray, "order order"], groups: list[FiniteGroup]
) -> Iterator[_Scored]:
    """The best order of each named group, and the table that the answers are repaired to.

    All other groups are tried too if there are few, or if the answers cannot be repaired.
    """
    families = [_best(answers, group) for group in groups]
    yield from families
    if any(share == 1 for share, _ in families):
        return
    own = _own(answers, groups[0].name)
    if len(answers) <= (_LARGEST_TRIED if own is None else _FEW_GROUPS):
        yield from (_best(answers, group) for group in groups_of_order(len(answers)))
    # The repaired table comes last: in a tie the first wins, which is the one with a name.
    if own is not None:
        yield own


def _contests(other: _Scored, best: _Scored) -> bool:
    """Whether another explanation is nearly as good as the best one."""
    if np.array_equal(other[1].table, best[1].table):
        return False
    is_near = other[0] > DEFAULT.rival_share * best[0]
    return is_near and isomorphism(other[1].group, best[1].group) is None


def _best(answers: Int[np.ndarray, "order order"], group: FiniteGroup) -> _Scored:
    """The order of a group's elements that explains most answers; the first in a tie."""
    return max(((o.accuracy(answers), o) for o in candidates(group)), key=lambda scored: scored[0])


def _own(answers: Int[np.ndarray, "order order"], name: str) -> _Scored | None:
    """The repaired table of the answers, with the name of its numbering if there is one."""
    table = repaired(answers)
    if table is None:
        return None
    known = recognise(table, name)
    for order in candidates(known.group):
        if (order.table == table).all():
            return order.accuracy(answers), order
    own = ElementOrder(READ_OFF, known.group, known.elements)
    return own.accuracy(answers), own


def _advice(groups: list[FiniteGroup]) -> str:
    names = [order.name for group in groups for order in candidates(group)]
    plain = dict.fromkeys(name for name in names if not name.endswith("-opposite"))
    both_ways = ", each also as NAME-opposite" if len(plain) < len(set(names)) else ""
    return (
        f"Give the group and the order by hand with --order, one of {', '.join(plain)}{both_ways}, "
        f'such as --order "{groups[-1].name}, {names[-1]}".'
    )


def _asked(answers: Int[np.ndarray, "order order"], names: list[str], wanted: str) -> ElementOrder:
    """The order that the user names; if its group is not named, the answers decide it."""
    group, _, name = wanted.rpartition(", ")
    groups = [named_group(n) for n in ([group] if group else names)]
    if any(g.order != len(answers) for g in groups):
        raise CosetCircuitsError(
            f"{', '.join(g.name for g in groups)} does not have {len(answers)} elements like the "
            "network; give another group or leave it out."
        )
    every = [order for g in groups for order in candidates(g)]
    asked = [order for order in every if order.name == name]
    if not asked:
        raise CosetCircuitsError(
            f"No element order of {' or '.join(g.name for g in groups)} is called {name!r}; known "
            f"are {', '.join(dict.fromkeys(order.name for order in every))}."
        )
    best = max(((order.accuracy(answers), order) for order in asked), key=lambda scored: scored[0])
    if len(asked) > 1 and best[0] < least_share(len(answers)):
        raise CosetCircuitsError(
            f"The order {name!r} exists for {', '.join(o.group.name for o in asked)}, and the "
            f'answers do not decide between them; give the group too, such as "{asked[0]}".'
        )
    if (other := other_reading(answers, best[1].group, best[1])) is not None:
        raise CosetCircuitsError(
            f"The order {best[1]} explains {best[0]:.1%} of its answers, and the order {other} "
            f"{other.accuracy(answers):.1%}; leave the order out."
        )
    return best[1]
