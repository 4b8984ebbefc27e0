"""The rule of the verdict, clause by clause, on outcomes made up for the purpose."""

import dataclasses
import math
import re

import pytest
import torch

from coset_circuits import INTERVENTIONS, Thresholds
from coset_circuits.algorithms import SEEN_LOGITS, DullNull, RawWeights, Roles
from coset_circuits.comparison.fidelity import Fidelity
from coset_circuits.comparison.verdict import Evidence, Verdict, decide, rule
from coset_circuits.experiments import Candidate, Outcome, Row
from coset_circuits.experiments.predictions import separated
from coset_circuits.experiments.rows import errors, log_loss, prediction_error, used_up

T = Thresholds()
IDS = ("base", "abs", "scale_left_2")
POINT = Fidelity(0.05, (0.05, 0.05), (0.05,), (), 0.1, 0.3, 1000, 3)
DELTAS = (*T.relative_errors, *POINT.deltas)


def evidence(rows, candidates, *, pairs=1000, every=1000):
    predicted = {c.name: prediction_error(rows, c.key, T) for c in candidates}
    separations = separated(rows, candidates, predicted, T)
    return Evidence("it", rows, candidates, predicted, separations, POINT, {}, pairs, every, T)


def lengths(bits):
    """The same at every δ, or half of it at the finest and twice at the coarsest."""
    if not isinstance(bits, tuple):
        return dict.fromkeys(DELTAS, bits)
    return dict.fromkeys(DELTAS, bits[0]) | {POINT.delta / 2: bits[1], POINT.delta * 2: bits[2]}


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
        return Candidate(name, kind, circuit, lengths(bits), of)

    return make


@pytest.fixture
def judge(null, raw, candidate):
    """The verdict on candidates whose losses over the rows are given; accuracies are 1.

    A hypothesis that is given no relabelled control gets one that predicts nothing and is long.
    """

    def run(observed, predictions, candidates, *, controlled=True, **more):
        controlled_already = {c.of for c in candidates}
        for name in [c.name for c in candidates if c.kind == "hypothesis"]:
            if controlled and name not in controlled_already:
                candidates = [*candidates, candidate(f"{name} elsewhere", "control", 1100.0, name)]
                predictions = {**predictions, f"{name} elsewhere": (1.0, 1.0, 1.0)}
        nulls = [
            Candidate("dull null", "null", null, lengths(1000.0)),
            Candidate("raw weights", "null", raw, lengths(1200.0)),
        ]
        candidates = [*candidates, *nulls]
        predictions = {**predictions, "dull null": observed, "raw weights": observed}
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
        found = evidence(used_up(rows, candidates, frozenset()), candidates, **more)
        return decide(found), found.predicted, found.separations

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
    assert prediction_error(rows, "a", T).logit_r2 == pytest.approx(0.7)
    assert math.isnan(prediction_error(rows[1:2], "a", T).logit_r2)


def test_what_is_silent_on_most_rows_cannot_explain(candidate, judge):
    assert T.spoken == 0.5
    for losses, explained_by in (((1e-6, None, None), ()), ((1e-6, None, 1e-5), ("a",))):
        verdict, _, _ = judge(GOOD, {"a": losses}, [candidate("a")])
        assert verdict.explained_by == explained_by
    # Two of three rows.
    verdict, _, _ = judge(GOOD, {"a": (1e-6, None, None)}, [candidate("a")])
    assert verdict.fails["a"] == "it is silent on 2 of 3 interventions"


def test_rows_that_a_fit_has_used_are_no_evidence(candidate, judge):
    _, predicted, separations = judge(
        GOOD,
        {"a": (1e0, 1e-12, 1e-5), "b": GOOD},
        [candidate("a", used=True), candidate("b")],
    )
    assert predicted["a"].rows == 2 and predicted["a"].median_log_loss == 0
    assert separations["base"] == ()


def test_a_candidate_without_rows_cannot_explain(candidate, judge):
    verdict, predicted, _ = judge(GOOD, {"a": (None, None, None)}, [candidate("a")])
    assert predicted["a"].rows == 0 and math.isnan(predicted["a"].median_log_loss)
    assert verdict.explained_by == () and "a" in verdict.fails


def test_what_predicts_covers_and_is_short_explains(candidate, judge):
    verdict, _, _ = judge(GOOD, {"a": GOOD}, [candidate("a")])
    assert verdict.explained_by == ("a",) and verdict.equal == () and verdict.fails == {}
    # 1200 / 100 bits, beside 1200 / 1000 and 1200 / 1100.
    assert verdict.sentence == (
        "A explains it: it describes it 12.0 times shorter than its weights at equal fidelity "
        "(no group theory 1.2, renamed group 1.1) and alone predicts 3 interventions to 0.00 "
        "decades."
    )


@pytest.mark.parametrize(
    ("losses", "changes", "control", "reason"),
    [
        ((1e-3, 1e-9, 1e-2), {}, 1.0, r"median \|Δlog10 loss\| is 3.00"),
        (tuple((x, 0.8) for x in GOOD), {}, 1.0, r"mean \|Δaccuracy\| is 0.20"),
        (GOOD, {"roles": ("C2", "unexplained", "unexplained", "negligible")}, 1.0, "covers 33%"),
        (GOOD, {"bits": 1050.0}, 1.0, "not shorter than the null dull null .1050 and 1000 bits"),
        (
            GOOD,
            {"bits": (900.0, 900.0, 1050.0)},
            1.0,
            "it is open whether it is shorter than the null dull null .900 and 1000 bits per "
            r"neuron, ratio 0.90 \[0.90, 1.05\]",
        ),
        ((1e-5, 1e-12, 1e-4), {}, 1e-5, "its error is more than 0.5 of the 1.00"),
    ],
)
def test_each_clause_alone_denies_an_explanation(
    candidate, judge, losses, changes, control, reason
):
    relabelled = tuple(control for _ in IDS) if control == 1.0 else (1e-5, 1e-12, 1e-4)
    verdict, _, _ = judge(
        GOOD,
        {"a": losses, "a, relabelled": relabelled},
        [candidate("a", **changes), candidate("a, relabelled", "control", 1100.0, of="a")],
    )
    assert verdict.explained_by == () and verdict.refuted == ()
    assert set(verdict.fails) == {"a"}
    text = verdict.fails["a"]
    assert len(text.split("; ")) == 1
    assert re.search(reason, text)
    assert "Nothing explains it" in verdict.sentence
    assert any(text in sentence for sentence in verdict.details)


def test_what_is_as_long_as_its_relabelled_control_cannot_explain(candidate, judge):
    control = candidate("c", "control", 100.0, of="a")
    verdict, _, _ = judge(GOOD, {"a": GOOD, "c": (1.0, 1.0, 1.0)}, [candidate("a"), control])
    assert verdict.fails["a"].startswith("it is not shorter than the same on a relabelled group")


def test_what_predicts_losses_but_not_the_logits_cannot_explain(candidate, null, raw):
    """Logits of the right size have the right loss; whether they are the network's is R²."""
    candidates = [
        candidate("a"),
        candidate("a elsewhere", "control", 1100.0, of="a"),
        Candidate("dull null", "null", null, lengths(1000.0)),
        Candidate("raw weights", "null", raw, lengths(1200.0)),
    ]
    for r2, explained_by in ((0.81, ("a",)), (0.79, ()), (math.nan, ())):
        rows = [
            Row(
                INTERVENTIONS[id],
                {
                    "network": outcome(loss),
                    "a": outcome(loss, logit_r2=r2),
                    "a elsewhere": outcome(1.0, logit_r2=0.0),
                    "dull null": outcome(loss),
                    "raw weights": outcome(loss),
                },
            )
            for id, loss in zip(IDS, GOOD, strict=True)
        ]
        verdict = decide(evidence(rows, candidates))
        assert verdict.explained_by == explained_by
        assert explained_by or "of the logits' variance" in verdict.fails["a"]


def test_the_shorter_of_two_explains(candidate, judge):
    """Whichever predicts better: fidelity is the same for both."""
    near, far = GOOD, (1e-6, 1e-12, 1e-4)
    for losses in (near, far):
        verdict, _, _ = judge(
            GOOD, {"a": losses, "b": near}, [candidate("b", bits=200.0), candidate("a")]
        )
        assert verdict.explained_by == ("a",) and verdict.fails == {}
        assert "b 6.0" in verdict.sentence
        assert "b needs 2.00 times the bits of a [2.00, 2.00]: settled" in " ".join(verdict.details)


def test_a_shorter_one_that_fails_is_named_with_its_reason(candidate, judge):
    verdict, _, _ = judge(
        GOOD, {"a": GOOD, "b": (1e-3, 1e-9, 1e-2)}, [candidate("a"), candidate("b", bits=50.0)]
    )
    assert verdict.explained_by == ("a",)
    assert verdict.sentence.endswith(
        "B is shorter but cannot explain it: its median |Δlog10 loss| is 3.00."
    )


def test_a_length_that_crosses_is_open(candidate, judge):
    """b is longer at δ* and at 2δ*, and shorter at δ*/2."""
    crossing = candidate("b", bits=(110.0, 90.0, 130.0))
    verdict, _, _ = judge(GOOD, {"a": GOOD, "b": GOOD}, [candidate("a"), crossing])
    assert verdict.explained_by == verdict.equal == ("a", "b")
    assert verdict.sentence == (
        "A and b explain it equally (100 and 110 bits per neuron): no experiment here separates "
        "them."
    )
    verdict, _, separations = judge(
        GOOD, {"a": GOOD, "b": (1e-6, 1e-12, 1e-4)}, [candidate("a"), crossing]
    )
    assert separations["scale_left_2"] == (("a", "b"),)
    assert verdict.explained_by == ("a", "b") and verdict.equal == ()
    assert "1 experiment separates b from a, and a is nearer in 1" in verdict.sentence


def test_a_longer_one_that_nothing_separates_is_not_equal(candidate, judge):
    verdict, _, _ = judge(
        GOOD, {"a": GOOD, "b": GOOD}, [candidate("a", bits=200.0), candidate("b")]
    )
    assert verdict.explained_by == ("b",) and verdict.equal == ()


def test_too_few_pairs_explain_nothing(candidate, judge):
    assert T.least_pairs == 100
    for pairs, every, enough in ((99, 1000, False), (100, 1000, True), (9, 9, True)):
        verdict, _, _ = judge(GOOD, {"a": GOOD}, [candidate("a")], pairs=pairs, every=every)
        assert (verdict.explained_by == ("a",)) == enough
        assert verdict.sentence.startswith("Too few pairs") != enough


def test_too_few_pairs_refute_nothing(candidate, judge):
    several = [candidate("a"), candidate("b")]
    for pairs, refuted in ((99, ()), (100, ("b",))):
        verdict, _, _ = judge(
            GOOD, {"a": GOOD, "b": (1e-6, 1e-12, 1e-1)}, several, pairs=pairs, every=1000
        )
        assert verdict.refuted == refuted and tuple(verdict.fails) == refuted


def test_without_a_relabelled_control_nothing_explains(candidate, judge):
    verdict, _, _ = judge(GOOD, {"a": GOOD}, [candidate("a")], controlled=False)
    assert verdict.explained_by == ()
    assert "no relabelling" in verdict.fails["a"]


def test_a_row_that_a_rival_predicts_refutes(candidate, judge):
    missed = (1e-6, 1e-12, 1e-1)
    verdict, _, separations = judge(
        GOOD, {"a": missed, "b": GOOD}, [candidate("a"), candidate("b", bits=200.0)]
    )
    assert separations["scale_left_2"] == (("a", "b"),)
    assert verdict.refuted == ("a",) and verdict.explained_by == ("b",)
    assert "left × 2" in verdict.fails["a"]


def test_a_row_that_nobody_predicts_refutes_nobody(candidate, judge):
    verdict, _, separations = judge(
        GOOD,
        {"a": (1e-6, 1e-12, 1e-1), "b": (1e-6, 1e-12, 1e0)},
        [candidate("a"), candidate("b")],
    )
    assert separations["scale_left_2"] == (("a", "b"),)
    assert verdict.refuted == ()


def test_equal_rows_count_once_and_use_up_each_other(candidate, null, raw):
    """A miss of six decades on one row, shown three times, is one row in the median."""
    candidates = [candidate("a"), candidate("b", used=True)]
    good = {key: outcome(1e-6) for key in ("network", "a", "b")}
    missed = {"network": outcome(1e-12), "a": outcome(1e-6), "b": outcome(1e-6)}
    rows = [
        Row(INTERVENTIONS["base"], missed),
        Row(INTERVENTIONS["swap_inputs"], missed, equals="base"),
        Row(INTERVENTIONS["double"], missed, equals="base"),
        Row(INTERVENTIONS["scale_left_2"], good),
        Row(INTERVENTIONS["square"], good),
    ]
    rows = used_up(rows, candidates, frozenset())
    a, b = (prediction_error(rows, c.key, T) for c in candidates)
    assert (a.rows, a.median_log_loss, a.worst_log_loss) == (3, 0, pytest.approx(6))
    # Its fit has seen the base row, and so whatever equals it.
    assert (b.rows, b.worst_log_loss) == (2, 0)
    rows = used_up(rows, candidates, frozenset({"double"}))
    assert prediction_error(rows, candidates[0].key, T).rows == 2


def test_the_verdict_can_be_read_again(candidate, judge):
    verdict, _, _ = judge(GOOD, {"a": GOOD}, [candidate("a")])
    entry = verdict.to_dict()
    assert {"sentence", "explained_by", "equal", "refuted", "not_applicable", "rule"} <= set(entry)
    assert Verdict.from_dict(entry) == verdict


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


def test_controls_and_nulls_are_not_judged(candidate, judge):
    verdict, _, separations = judge(
        GOOD,
        {"a": GOOD, "a, relabelled": (1.0, 1.0, 1.0)},
        [candidate("a"), candidate("a, relabelled", "control", 1100.0, of="a")],
    )
    assert {*verdict.explained_by, *verdict.refuted, *verdict.fails} == {"a"}
    assert all(pairs == () for pairs in separations.values())


def test_the_rule_states_its_thresholds():
    text = rule(dataclasses.replace(T, prediction_log_loss=0.123, coverage=0.77, rival_ratio=0.31))
    assert "0.123" in text and "77%" in text and "0.31" in text
    starts = [line.partition(". ")[0] for line in text.splitlines()]
    assert starts == [str(number) for number in range(1, len(starts) + 1)]


@pytest.mark.parametrize(
    ("longer", "named"),
    [(104.0, ("a", "b")), (112.0, ("a",)), (1.04, ("a", "b"))],
)
def test_a_small_difference_in_length_is_none(candidate, judge, longer, named):
    """Below 5%, or below one free number a neuron: log2(1/δ) is 4.3 bits at δ = 0.05."""
    bits = 100.0 if longer > 50 else 1.0
    pair = [candidate("a", bits=bits), candidate("b", bits=longer)]
    verdict, _, _ = judge(GOOD, {"a": GOOD, "b": GOOD}, pair)
    assert verdict.explained_by == named


def test_a_hypothesis_that_contains_others_is_named_only_where_it_is_shorter(candidate, judge):
    @dataclasses.dataclass(frozen=True)
    class Wider:
        name: str = "w"
        contains = ("a", "b")

        def fit(self, network, group=None):
            raise AssertionError("it is fitted already")

    for bits, named in ((98.0, ("a",)), (80.0, ("w",))):
        wide = candidate("w", bits=bits)
        wide = dataclasses.replace(
            wide, circuit=dataclasses.replace(wide.circuit, algorithm=Wider())
        )
        pair = [candidate("a", bits=100.0), candidate("b", bits=150.0), wide]
        verdict, _, _ = judge(GOOD, {"a": GOOD, "b": GOOD, "w": GOOD}, pair)
        assert verdict.explained_by == named
