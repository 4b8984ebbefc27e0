"""Repair a Cayley table that contains mistakes.

Associativity determines every entry in many ways. If u = xy and v = yb then u·b = x·v, so any three
of these four products determine the fourth. The entries vote on each other until nothing changes.
No list of groups or numberings is needed.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

from coset_circuits.errors import CosetCircuitsError
from coset_circuits.groups.group import check_table

LARGEST_REPAIRED = 1024
"""The largest order that is repaired; beyond it a vote takes minutes."""
_STEPS = 12
# The number of votes computed in one step, for each of the four ways; about a second's work.
_BALLOTS = 1.3e8


def voters(order: int) -> int:
    """The votes that each of the four ways casts on an entry; 0 if the order is too large."""
    if order > LARGEST_REPAIRED:
        return 0
    return int(min(order, max(8, _BALLOTS // order**2)))


def repaired(answers: Int[np.ndarray, "order order"]) -> Int[np.ndarray, "order order"] | None:
    """The Cayley table closest to a table with some wrong entries, by majority vote.

    If a share p of the entries is right and the others are random, an entry gets
    4·:func:`voters`·p³ right votes. About 16 are enough to recover the table exactly: p = 0.8 at
    order 8, 0.55 at order 24 and 0.33 at order 120.

    Args:
        answers: ``answers[a, b]`` is the proposed value of a·b, in any numbering.

    Returns:
        The repaired table, or None if the vote does not end in a group's Cayley table. A table
        without mistakes is returned unchanged. The caller must check how many of the answers the
        result explains.
    """
    table = answers
    rng = np.random.default_rng(0)
    for _ in range(_STEPS):
        try:
            return check_table(table)
        except CosetCircuitsError:
            before = table
        if voters(len(answers)):
            table = _voted(before, rng)
        if (table == before).all():
            return None
    return None


def _voted(
    table: Int[np.ndarray, "order order"], rng: np.random.Generator
) -> Int[np.ndarray, "order order"]:
    """Replace each entry a·b by the majority of its votes."""
    n = len(table)
    every, number = np.arange(n), voters(n)
    places = np.indices((n, n))
    # The b, and the a, for which the table has a·b = c; −1 if there is none.
    right, left = np.full((n, n), -1), np.full((n, n), -1)
    right[places[0], table] = places[1]
    left[places[1], table] = places[0]
    result = np.empty_like(table)
    for a in range(n):
        y = every if number == n else rng.choice(n, number, replace=False)
        x, c = left[y, a][:, None], right[y]
        votes = np.concatenate(
            [
                np.where(x >= 0, table[x, table[y]], -1),  # a = xy: a·b = x·(y·b)
                np.where(c >= 0, table[table[a, y][:, None], c], -1),  # b = yc: (a·y)·c
                left[y[:, None], table[a, table[:, y].T]],  # (a·b)·y = a·(b·y)
                right[y[:, None], table[table[y, a]]],  # y·(a·b) = (y·a)·b
            ]
        )
        ballots = (every * n + votes)[votes >= 0]
        counts = 2 * np.bincount(ballots, minlength=n * n).reshape(n, n)
        counts[every, table[a]] += 1  # the entry itself breaks ties
        result[a] = counts.argmax(1)
    return result
