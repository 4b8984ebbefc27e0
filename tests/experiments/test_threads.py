"""Calls side by side give what calls one after another give."""

import pytest
import torch

import coset_circuits as cc
from coset_circuits.experiments.threads import side_by_side


@pytest.fixture
def threads():
    """A way to set torch's number of threads, which is restored afterwards."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_every_thread_has_one_core_and_no_gradients(threads):
    threads(3)
    with side_by_side() as each:
        assert torch.get_num_threads() == 1
        states = list(each(lambda _: (torch.get_num_threads(), torch.is_grad_enabled()), range(9)))
    assert states == [(1, False)] * 9
    assert torch.get_num_threads() == 3


def test_one_thread_is_a_plain_map(threads):
    threads(1)
    with side_by_side() as each:
        assert each is map


def test_an_error_is_passed_on_and_the_number_of_threads_restored(threads):
    threads(2)
    with pytest.raises(ZeroDivisionError), side_by_side() as each:
        list(each(lambda x: 1 // x, [1, 0, 2]))
    assert torch.get_num_threads() == 2


def test_a_comparison_is_the_same_on_one_and_on_two_threads(threads):
    """To rounding: what is compared does not depend on what runs at the same time."""
    found = []
    for count in (1, 2):
        threads(count)
        found.append(cc.compare("s4"))
    one, two = found
    assert one.verdict.sentence == two.verdict.sentence
    assert one.fidelity.draws == two.fidelity.draws
    for mine, other in zip(one.rows, two.rows, strict=True):
        assert mine.equals == other.equals
        for key, outcome in mine.outcomes.items():
            assert (outcome is None) == (other.outcomes[key] is None)
            if outcome is not None:
                assert outcome.loss == pytest.approx(other.outcomes[key].loss, rel=1e-4, abs=1e-12)


def test_an_intervention_of_the_user_runs_alone(threads):
    """Its hooks may share something, such as torch's random numbers."""
    threads(2)
    seen = []

    def hooks(model, pairs, seed):
        seen.append(torch.get_num_threads())
        return []

    mine = cc.Intervention("mine", "nothing is changed", hooks)
    cc.compare("s4", ["coset"], interventions=["base", mine])
    assert seen and set(seen) == {2}
