"""The Cayley table that a table with mistakes was meant to be.

Associativity says every entry many times over. Whether u = xy or v = yb is known, u·b = x·v holds,
so each of the four products is what the other three make it. Entries are put to the vote until
nothing changes; no list of groups or of numberings is needed.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

from coset_circuits.errors import CosetCircuitsError
from coset_circuits.groups.group import check_table

LARGEST_REPAIRED = 1024
"""Beyond this order a vote takes minutes."""
_STEPS = 12
# Entries that vote in one step, for each of the four ways; about a second's work.
_BALLOTS = 1.3e8


def voters(order: int) -> int:
    """How many triples of elements vote on an entry in each of the four ways; 0: none is held."""
    if order > LARGEST_REPAIRED:
        return 0
    return int(min(order, max(8, _BALLOTS // order**2)))


def repaired(answers: Int[np.ndarray, "order order"]) -> Int[np.ndarray, "order order"] | None:
    """A Cayley table that explains a table of which entries may be wrong.

    With a share p of the entries right and the others random, 4·:func:`voters`·p³ votes for an
    entry are right. From about 16 on the table is found exactly: at order 8 from p = 0.8, at 24
    from 0.55, at 120 from 0.33.

    Args:
        answers: ``answers[a, b]`` is what a·b is said to be, in any numbering.

    Returns:
        The table, or None where the vote ends with no group's table; the table itself where it is
        one. How much of the answers it explains is for the caller to judge.
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
    """Each entry a·b as most ways to compute it have it."""
    n = len(table)
    every, number = np.arange(n), voters(n)
    places = np.indices((n, n))
    # Which b gives a·b = c and which a does; −1 where none is said to.
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
