"""The rule of the verdict, clause by clause, on outcomes made up for the purpose."""

import dataclasses
import math
import re

import pytest
import torch

from coset_circuits import INTERVENTIONS, Thresholds
from coset_circuits.algorithms import SEEN_LOGITS, DullNull, RawWeights, Roles
from coset_circuits.comparison.verdict import decide, rule
from coset_circuits.experiments import Candidate, Outcome, Row
from coset_circuits.experiments.predictions import errors, log_loss, prediction_error, separated

T = Thresholds()
IDS = ("base", "abs", "scale_left_2")


def outcome(loss, accuracy=1.0, logit_r2=1.0):
    correct = (torch.arange(1000) < round(1000 * accuracy)).double()
    losses = torch.full((1000,), loss, dtype=torch.float64)
    return Outcome(losses, correct, same_answer=accuracy, logit_r2=logit_r2)


@pytest.fixture(scope="module")
def raw(untrained):
    return RawWeights().fit(untrained)


@pytest.fixture(scope="module")
def null(untrained):
    return DullNull().fit(untrained)


@pytest.fixture
def candidate(raw):
    def make(name, kind="hypothesis", bits=100.0, of=None, roles=("C2",) * 4, used=False):
        circuit = dataclasses.replace(
            raw,
            name=name,
            roles=Roles.of(roles, torch.zeros(len(roles), 3, dtype=torch.float64)),
            seen=frozenset({SEEN_LOGITS} if used else ()),
        )
        return Candidate(name, kind, circuit, dict.fromkeys(T.relative_errors, bits), of)

    return make


@pytest.fixture
def judge(null, candidate):
    """The verdict on candidates whose losses over the rows are given; accuracies are 1.

    A hypothesis that is given no relabelled control gets one that predicts nothing.
    """

    def run(observed, predictions, candidates, *, controlled=True):
        controlled_already = {c.of for c in candidates}
        for name in [c.name for c in candidates if c.kind == "hypothesis"]:
            if controlled and name not in controlled_already:
                candidates = [*candidates, candidate(f"{name} elsewhere", "control", of=name)]
                predictions = {**predictions, f"{name} elsewhere": (1.0, 1.0, 1.0)}
        dull = Candidate("dull null", "null", null, dict.fromkeys(T.relative_errors, 1000.0))
        candidates = [*candidates, dull]
        predictions = {**predictions, "dull null": observed}
        rows = [
            Row(
                INTERVENTIONS[id],
                {
                    "network": outcome(*_pair(observed[i])),
                    **{
                        n: None if p[i] is None else outcome(*_pair(p[i]))
                        for n, p in predictions.items()
                    },
                },
            )
            for i, id in enumerate(IDS)
        ]
        predicted = {c.name: prediction_error(rows, c, T) for c in candidates}
        separations = separated(rows, candidates, predicted, T)
        return decide(rows, candidates, predicted, separations, T), predicted, separations

    return run


def _pair(value):
    return value if isinstance(value, tuple) else (value, 1.0)


GOOD = (1e-6, 1e-12, 1e-5)


def test_errors_are_decades_and_fractions():
    row = Row(INTERVENTIONS["base"], {"network": outcome(1e-6), "x": outcome(1e-4, 0.9), "y": None})
    assert errors(row, "x", T) == pytest.approx((2.0, 0.1))
    assert errors(row, "y", T) is None
    assert log_loss(outcome(1e-30), T) == -16


def test_prediction_errors_are_medians_and_means_over_speaking_rows(candidate, judge):
    """Errors of 1, 3 and 0 decades; with one row silent, of 1 and 0."""
    losses = (1e-5, 1e-9, (1e-5, 0.7))
    _, predicted, _ = judge(GOOD, {"a": losses}, [candidate("a")])
    found = predicted["a"]
    assert found.rows == 3
    assert found.median_log_loss == pytest.approx(1)
    assert found.worst_log_loss == pytest.approx(3)
    assert found.mean_accuracy == pytest.approx(0.1)
    assert found.worst_accuracy == pytest.approx(0.3)
    _, predicted, _ = judge(GOOD, {"a": (1e-5, None, 1e-5)}, [candidate("a")])
    assert (predicted["a"].rows, predicted["a"].median_log_loss) == (2, pytest.approx(0.5))


def test_agreement_is_the_median_over_rows_where_it_is_defined(candidate):
    """A network without its activation may have constant logits, whose variance is nought."""
    shares = (0.5, math.nan, 0.9)
    rows = [
        Row(INTERVENTIONS[id], {"network": outcome(1e-6), "a": outcome(1e-6, logit_r2=share)})
        for id, share in zip(IDS, shares, strict=True)
    ]
    assert prediction_error(rows, candidate("a"), T).logit_r2 == pytest.approx(0.7)
    assert math.isnan(prediction_error(rows[1:2], candidate("a"), T).logit_r2)


def test_silence_on_most_rows_denies_support(candidate, judge):
    assert T.spoken == 0.5
    for losses, supported in (((1e-6, None, None), ()), ((1e-6, None, 1e-5), ("a",))):
        verdict, _, _ = judge(GOOD, {"a": losses}, [candidate("a")])
        assert verdict.supported == supported
    # Two of three rows.
    verdict, _, _ = judge(GOOD, {"a": (1e-6, None, None)}, [candidate("a")])
    assert verdict.not_supported["a"] == "it is silent on 2 of 3 interventions"


def test_rows_that_a_fit_has_used_are_no_evidence(candidate, judge):
    _, predicted, separations = judge(
        GOOD,
        {"a": (1e0, 1e-12, 1e-5), "b": GOOD},
        [candidate("a", used=True), candidate("b")],
    )
    assert predicted["a"].rows == 2 and predicted["a"].median_log_loss == 0
    assert separations["base"] == ()


def test_a_candidate_without_rows_is_not_supported(candidate, judge):
    verdict, predicted, _ = judge(GOOD, {"a": (None, None, None)}, [candidate("a")])
    assert predicted["a"].rows == 0 and math.isnan(predicted["a"].median_log_loss)
    assert verdict.supported == () and "a" in verdict.not_supported


def test_what_predicts_covers_and_is_short_is_supported(candidate, judge):
    verdict, _, _ = judge(
        GOOD,
        {"a": GOOD, "a, relabelled": (1.0, 1.0, 1.0)},
        [candidate("a"), candidate("a, relabelled", "control", of="a")],
    )
    assert verdict.supported == ("a",)
    assert verdict.headline == "supported: a"


@pytest.mark.parametrize(
    ("losses", "changes", "control", "reason"),
    [
        ((1e-3, 1e-9, 1e-2), {}, 1.0, r"median \|Δlog10 loss\| is 3.00"),
        (tuple((x, 0.8) for x in GOOD), {}, 1.0, r"mean \|Δaccuracy\| is 0.20"),
        (GOOD, {"roles": ("C2", "unexplained", "unexplained", "negligible")}, 1.0, "covers 33%"),
        (GOOD, {"bits": 1000.0}, 1.0, "1000 bits per neuron are no fewer than the dull null's"),
        ((1e-5, 1e-12, 1e-4), {}, 1e-5, "its error is more than 0.5 of the 1.00"),
    ],
)
def test_each_clause_alone_denies_support(candidate, judge, losses, changes, control, reason):
    relabelled = tuple(control for _ in IDS) if control == 1.0 else (1e-5, 1e-12, 1e-4)
    verdict, _, _ = judge(
        GOOD,
        {"a": losses, "a, relabelled": relabelled},
        [candidate("a", **changes), candidate("a, relabelled", "control", of="a")],
    )
    assert verdict.supported == () and verdict.refuted == ()
    assert set(verdict.not_supported) == {"a"}
    text = verdict.not_supported["a"]
    assert len(text.split("; ")) == 1
    assert re.search(reason, text)
    assert any(text in sentence for sentence in verdict.sentences)


def test_what_predicts_losses_but_not_the_logits_is_not_supported(candidate, null):
    """Logits of the right size have the right loss; whether they are the network's is R²."""
    control = candidate("a elsewhere", "control", of="a")
    dull = Candidate("dull null", "null", null, dict.fromkeys(T.relative_errors, 1000.0))
    for r2, supported in ((0.81, ("a",)), (0.79, ()), (math.nan, ())):
        rows = [
            Row(
                INTERVENTIONS[id],
                {
                    "network": outcome(loss),
                    "a": outcome(loss, logit_r2=r2),
                    "a elsewhere": outcome(1.0, logit_r2=0.0),
                    "dull null": outcome(loss),
                },
            )
            for id, loss in zip(IDS, GOOD, strict=True)
        ]
        candidates = [candidate("a"), control, dull]
        predicted = {c.name: prediction_error(rows, c, T) for c in candidates}
        separations = separated(rows, candidates, predicted, T)
        verdict = decide(rows, candidates, predicted, separations, T)
        assert verdict.supported == supported
        assert supported or "of the logits' variance" in verdict.not_supported["a"]


def test_the_longer_and_farther_off_is_dominated(candidate, judge):
    near, far = GOOD, (1e-6, 1e-12, 1e-4)
    for bits, dominated in ((200.0, {"b": "a"}), (50.0, {})):
        verdict, _, separations = judge(
            GOOD, {"a": near, "b": far}, [candidate("a"), candidate("b", bits=bits)]
        )
        assert separations["scale_left_2"] == (("a", "b"),)
        assert verdict.supported == ("a", "b") and verdict.dominated == dominated
        assert ("supported, but dominated: b" in verdict.headline) == bool(dominated)
        assert any("a dominates b" in s for s in verdict.sentences) == bool(dominated)
    # What no row separates dominates nothing.
    verdict, _, _ = judge(
        GOOD, {"a": GOOD, "b": GOOD}, [candidate("a"), candidate("b", bits=200.0)]
    )
    assert verdict.dominated == {}


def test_without_a_relabelled_control_nothing_is_supported(candidate, judge):
    verdict, _, _ = judge(GOOD, {"a": GOOD}, [candidate("a")], controlled=False)
    assert verdict.supported == ()
    assert "no relabelling" in verdict.not_supported["a"]
    assert judge(GOOD, {"a": GOOD}, [candidate("a")])[0].supported == ("a",)


def test_a_row_that_a_rival_predicts_refutes(candidate, judge):
    missed = (1e-6, 1e-12, 1e-1)
    verdict, _, separations = judge(
        GOOD, {"a": missed, "b": GOOD}, [candidate("a"), candidate("b")]
    )
    assert separations["scale_left_2"] == (("a", "b"),)
    assert verdict.refuted == ("a",) and verdict.supported == ("b",)
    assert "left × 2" in " ".join(verdict.sentences)


def test_a_row_that_nobody_predicts_refutes_nobody(candidate, judge):
    verdict, _, separations = judge(
        GOOD,
        {"a": (1e-6, 1e-12, 1e-1), "b": (1e-6, 1e-12, 1e0)},
        [candidate("a"), candidate("b")],
    )
    assert separations["scale_left_2"] == (("a", "b"),)
    assert verdict.refuted == ()


def test_two_that_no_row_separates_cannot_be_told_apart(candidate, judge):
    verdict, _, separations = judge(
        GOOD, {"a": GOOD, "b": GOOD}, [candidate("a", bits=200.0), candidate("b")]
    )
    assert all(pairs == () for pairs in separations.values())
    assert verdict.indistinguishable == ("a", "b")
    assert any("No row separates a from b; the shortest: b." in s for s in verdict.sentences)


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        # More than half a decade apart, both otherwise right.
        ((1e-6, 1e-12, 1e-4), ("scale_left_2",)),
        ((1e-6, 1e-12, 2e-5), ()),
        # Less than the threshold in loss, more than it in accuracy.
        ((1e-6, 1e-12, (1e-5, 0.9)), ("scale_left_2",)),
        ((1e-6, 1e-12, (1e-5, 0.995)), ()),
        # Two decades apart, but its own median error is three.
        ((1e-3, 1e-9, 1e-3), ()),
    ],
)
def test_a_separation_is_larger_than_the_threshold_and_both_errors(
    candidate, judge, losses, expected
):
    for names in (("a", "b"), ("b", "a")):
        _, _, separations = judge(
            GOOD, {"a": losses, "b": GOOD}, [candidate(name) for name in names]
        )
        assert tuple(id for id, pairs in separations.items() if pairs) == expected
        assert all(set(pair) == {"a", "b"} for pairs in separations.values() for pair in pairs)


def test_controls_and_nulls_are_neither_supported_nor_separated(candidate, judge):
    verdict, _, separations = judge(
        GOOD,
        {"a": GOOD, "a, relabelled": (1.0, 1.0, 1.0)},
        [candidate("a"), candidate("a, relabelled", "control", of="a")],
    )
    named = {*verdict.supported, *verdict.refuted, *verdict.not_supported}
    assert named == {"a"}
    assert all(pairs == () for pairs in separations.values())


def test_the_rule_states_its_thresholds():
    text = rule(dataclasses.replace(T, prediction_log_loss=0.123, coverage=0.77, rival_ratio=0.31))
    assert "0.123" in text and "77%" in text and "0.31" in text
