"""A Cayley table with random mistakes is found again, and noise is not taken for one."""

import numpy as np
import pytest

import coset_circuits as cc
from coset_circuits.groups import groups_of_order, isomorphism, repaired
from coset_circuits.groups.repair import voters


def renumbered(table, rng):
    forward = rng.permutation(len(table))
    result = np.empty_like(table)
    result[np.ix_(forward, forward)] = forward[table]
    return result


def with_mistakes(table, share_right, rng):
    n, damaged = len(table), table.copy()
    wrong = rng.permutation(n * n)[: round((1 - share_right) * n * n)]
    damaged.flat[wrong] = (damaged.flat[wrong] + rng.integers(1, n, len(wrong))) % n
    return damaged


@pytest.mark.parametrize("name", ["S3", "C8", "Q8", "D4", "D6", "S4", "D30", "C60", "S5"])
def test_a_table_is_found_again_from_sixteen_right_votes_an_entry(name):
    truth, rng = cc.group(name).array, np.random.default_rng(0)
    n = len(truth)
    share = (16 / (4 * n)) ** (1 / 3)
    for _ in range(3):
        table = renumbered(truth, rng)
        assert (repaired(with_mistakes(table, share, rng)) == table).all()


@pytest.mark.parametrize("order", [6, 8, 24])
def test_random_answers_are_no_groups_table(order):
    for seed in range(20):
        answers = np.random.default_rng(seed).integers(0, order, (order, order))
        table = repaired(answers)
        assert table is None or (table == answers).mean() < 0.5


def test_subtraction_is_explained_no_better_than_by_chance():
    every = np.arange(7)
    answers = (every[:, None] - every) % 7
    table = repaired(answers)
    assert table is None or (table == answers).mean() < 0.3


def test_a_whole_table_is_returned_and_large_ones_are_not_put_to_the_vote():
    table = renumbered(cc.group("A4").array, np.random.default_rng(1))
    assert (repaired(table) == table).all()
    assert voters(5040) == 0 and voters(120) == 120


@pytest.mark.parametrize("order", [8, 12, 24, 60])
def test_the_groups_of_an_order_differ_and_have_it(order):
    groups = list(groups_of_order(order))
    assert all(group.order == order for group in groups)
    assert not any(isomorphism(a, b) is not None for i, a in enumerate(groups) for b in groups[:i])


def test_all_five_groups_of_order_8_can_be_built():
    assert {g.name for g in groups_of_order(8)} == {"C8", "C4xC2", "C2xC2xC2", "D4", "Q8"}
