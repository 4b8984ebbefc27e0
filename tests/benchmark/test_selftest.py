"""The known-answer benchmark, small: what was put there is found, and nothing where nothing was."""

import dataclasses
import json
import math
import sys

import pytest
import torch

import coset_circuits as cc
from coset_circuits import CosetCircuitsError, compare, measure
from coset_circuits.algorithms import UNEXPLAINED
from coset_circuits.benchmark import known_cases, selftest
from coset_circuits.benchmark.known_answers import (
    NOTHING,
    NULLS,
    irreps_suffice,
    numbers_saved,
    usable_classes,
)
from coset_circuits.experiments import INTERVENTIONS
from coset_circuits.networks import planted_coset, planted_gcr
from coset_circuits.networks.spoilt import joined, noisy, relabelled

module = sys.modules["coset_circuits.benchmark.selftest"]
CASES = {case.name: case for case in known_cases(["S4"])}
CLEAN = [case.name for case in CASES.values() if case.noise is None]


@pytest.mark.parametrize("name", [name for name in CLEAN if "of C2 " not in name])
def test_the_right_thing_is_said_of(name):
    case = CASES[name]
    verdict = compare(case.make(3), case.covers, seed=3).verdict
    assert case.is_right(verdict.explained_by), verdict.sentence


def test_every_usable_class_has_a_case():
    """The classes of S4, S5, A5 and D4 without an element common to all conjugates."""
    counts = {"D4": 2, "S4": 6, "A5": 7, "S5": 16}
    for name, count in counts.items():
        classes = usable_classes(cc.group(name))
        assert len(classes) == count
        told = [case.name for case in known_cases([name])]
        assert all(f"{name}: cosets of {c.name}" in told for c in classes)


def test_where_irreps_hold_the_cosets_by_brute_force():
    """The span of all indicators of a class's cosets, on each irrep, against the formula."""
    for name in ("S4", "A5", "D4"):
        group = cc.group(name)
        for found in usable_classes(group):
            labels = found.representative.right_cosets
            indicators = torch.nn.functional.one_hot(labels).double()
            held = [
                b
                for b in group.real_blocks[1:]
                if float((b.basis.T @ indicators).square().sum()) > 1e-9
            ]
            functions = sum(b.parameters for b in held)
            assert irreps_suffice(found) == (functions <= group.order // 2)


def test_free_numbers_that_cosets_save_by_hand():
    """Σ k(d − k): a reflection of D4 fixes a line in the plane; S3 one in the irrep (3,1) of S4; a
    transposition fixes a plane in (3,1) and a line each in (2,2) and (2,1,1)."""
    counts = {("D4", "C2⟨r0s⟩"): 1, ("S4", "S3"): 2, ("S4", "C2"): 2 + 1 + 2, ("S4", "A4"): 0}
    for (name, subgroup), count in counts.items():
        (found,) = [c for c in cc.group(name).subgroup_classes if c.name == subgroup]
        assert numbers_saved(found) == count


def test_irreps_are_true_of_a_mixture_that_saves_less_than_a_number():
    (case,) = [c for c in known_cases(["D4"]) if c.kind == "cosets and GCR"]
    assert (case.put, case.also) == ("irrep", {"coset-irrep", "mixed"})
    found = compare(case.make(1), case.covers, seed=1)
    bits = {c.key: c.bits[found.fidelity.delta] for c in found.candidates}
    assert bits["irrep"] - bits["mixed"] < math.log2(1 / found.fidelity.delta)
    assert case.is_right(found.verdict.explained_by)
    # Rank one in each irrep gives the coset neurons whole, which lie in several irreps.
    assert found.candidate("irrep").circuit.residual.max() < 1e-9


def test_right_answers():
    put = {name: CASES[name].put for name in CLEAN}
    assert put["S4: cosets of C3"] == put["S4: cosets of S3"] == "coset"
    assert CASES["S4: cosets of C3"].also == frozenset()
    assert CASES["S4: cosets of S3"].also == {"irrep", "rho-set"}
    assert put["S4: GCR, ReLU"] == "irrep"
    assert put["S4: cosets of C2 and GCR"] == "mixed"
    assert [put[name] for name in CLEAN[-4:]] == [NOTHING] * 4


def test_an_answer_is_right_that_names_what_was_put_there_and_nothing_false():
    of_s3, untrained = CASES["S4: cosets of S3"], CASES["S4: untrained"]
    for named in (("coset",), ("rho-set", "coset"), ("irrep", "coset")):
        assert of_s3.is_right(named)
    for named in ((), ("rho-set",), ("coset", "mixed")):
        assert not of_s3.is_right(named)
    assert untrained.is_right(()) and not untrained.is_right(("coset",))


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """A run on three cases, its folder, and how often a network was judged."""
    folder = tmp_path_factory.mktemp("selftest")
    chosen = [CASES["S4: cosets of S3"], CASES["S4: untrained"]]
    chosen.append(CASES["S4: cosets of S3, noise 0.5"])
    calls = []
    patch = pytest.MonkeyPatch()
    answer = module._answer
    patch.setattr(module, "known_cases", lambda groups: chosen)
    patch.setattr(module, "_answer", lambda *given: calls.append(given) or answer(*given))
    yield lambda **more: selftest(["S4"], out=folder, **more), folder, calls
    patch.undo()


def test_counts(few):
    run, folder, calls = few
    steps = []
    found = run(seeds=2, progress=lambda text, done, total: steps.append((done, total)))
    assert len(calls) == len(found.answers) == 6 and steps[-1] == (6, 6)
    confusion = found.confusion()
    assert confusion.loc[("coset circuit", "coset")].filter(like="coset").sum() == 2
    assert confusion.loc[("untrained", NOTHING), NOTHING] == 2
    assert confusion.to_numpy().sum() == 4
    nulls = found.false_positives().set_index("null")
    assert nulls.loc["all nulls", ["false positives", "networks"]].tolist() == [0, 2]
    # Wilson's interval of none of two.
    assert nulls.loc["untrained", "high"] == pytest.approx(1.96**2 / (2 + 1.96**2), abs=1e-3)
    power = found.power().set_index("noise")
    assert power.loc[0.0, "found"] == 2 and power.loc[0.5, "found"] == 0
    assert found.errors() == [] == found.failures()
    content = json.loads((found.save(folder) / "selftest.json").read_text())
    assert len(content["answers"]) == 6 and "The verdict is right" in str(found)
    # What is kept is not judged again; a damaged answer is.
    assert run(seeds=2).answers == found.answers and len(calls) == 6
    next((folder / "answers").glob("*.json")).write_text("{")
    assert run(seeds=2).answers == found.answers and len(calls) == 7
    assert len(run(seeds=3).answers) == 9 and len(calls) == 10


def test_a_stopped_run_goes_on(few, tmp_path):
    calls = few[2]

    def stop(text, done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        selftest(["S4"], seeds=1, out=tmp_path, progress=stop)
    before = len(calls)
    selftest(["S4"], seeds=1, out=tmp_path)
    assert len(calls) - before == 1


def test_a_third_registered_hypothesis_changes_no_answer(few, monkeypatch, tmp_path):
    """Of the known cases nobody knows whether it is true, so it is not run on them."""

    class Third(cc.IrrepAlgorithm):
        def fit(self, network, group=None):
            raise AssertionError("a hypothesis was run that no case speaks of")

    run, *_ = few
    before = run(seeds=1)
    monkeypatch.setitem(cc.ALGORITHMS, "third", (Third(),))
    after = selftest(["S4"], seeds=1, out=tmp_path)
    known = ("coset", "irrep", "rho-set", "coset-irrep", "mixed")
    assert after.answers == before.answers and after.hypotheses == known
    assert all(answer.is_right for answer in after.answers if answer.noise is None)
    assert [*after.confusion().columns][:6] == [*known, NOTHING]


def test_what_a_case_covers_is_what_is_run(few, monkeypatch):
    """Where only the truth of irreps is known, cosets are no answer."""
    case = dataclasses.replace(
        CASES["S4: cosets of S3"], covers=("irrep",), put="irrep", also=frozenset()
    )
    monkeypatch.setattr(module, "known_cases", lambda groups: [case])
    found = selftest(["S4"], seeds=1)
    (answer,) = found.answers
    assert (answer.said, answer.explained_by, answer.is_right) == ("irrep", ("irrep",), True)
    assert [*found.confusion().columns] == ["irrep", NOTHING]


def test_misjudged_networks_are_listed(few):
    run, *_ = few
    found = run(seeds=2)
    wrong = dataclasses.replace(found.answers[0], explained_by=(), is_right=False)
    false = dataclasses.replace(found.answers[1], explained_by=("irrep",), is_right=False)
    spoilt = dataclasses.replace(found, answers=(wrong, false, *found.answers[2:]))
    assert spoilt.failures() == [wrong, false]
    assert spoilt.false_positives().set_index("null").loc["all nulls", "false positives"] == 1
    assert "Wrong verdict on 2 networks without noise" in str(spoilt)


@pytest.mark.parametrize(
    ("groups", "seeds", "words"),
    [
        ([], 1, "No group"),
        (["S4"], 0, "The number of seeds is 0"),
        (["C7"], 1, "no coset circuit"),
        (["X"], 1, "'X'"),
    ],
)
def test_bad_input(groups, seeds, words, monkeypatch, unchecked):
    monkeypatch.setattr(module, "known_cases", known_cases)
    with pytest.raises(CosetCircuitsError, match=words):
        selftest(groups, seeds=seeds)


def test_nulls_are_named_by_kind():
    assert [CASES[name].kind for name in CLEAN[-4:]] == [*NULLS[:-1]]


# What the benchmark is made of.


@pytest.mark.parametrize("seed", [1, 3])
@pytest.mark.parametrize("name", ["S5: cosets of D10", "S5: cosets of A4"])
def test_irreps_are_true_of_a_circuit_that_is_said_to_be_theirs_too(name, seed):
    """Not of every seed's: there levels lie in fewer irreps than the unembedding."""
    (case,) = (case for case in known_cases(["S5"]) if case.name == name)
    fitted = cc.IrrepAlgorithm().fit(case.make(seed)).roles
    assert max(fitted.fvu_left.max(), fitted.fvu_right.max(), fitted.fvu_unembed.max()) < 1e-12
    plain = planted_coset(cc.group("S5"), name.split()[-1], seed=3, few=True)
    assert cc.IrrepAlgorithm().fit(plain).roles.fvu_unembed.max() > 0.01


def test_levels_are_drawn_until_the_label_is_true():
    """On the six cosets of the diagonal S3 in S3×S3 some twenty draws may be needed."""
    cases = [case for case in known_cases(["S3xS3"]) if case.kind == "coset circuit"]
    assert {len(case.also) for case in cases} == {0, 2}
    for case in cases:
        if case.also and case.noise is None:
            for seed in range(3):
                roles = cc.IrrepAlgorithm().fit(case.make(seed)).roles
                assert max(roles.fvu_left.max(), roles.fvu_unembed.max()) < 1e-12


def test_a_group_of_many_irreps_is_not_gone_through_set_by_set():
    """D59 has 30 besides the trivial one, and a thousand million sets of them."""
    (case,) = (c for c in known_cases(["D59"]) if c.kind == "coset circuit" and c.noise is None)
    assert case.put == "coset" and not case.also
    assert cc.CosetAlgorithm().fit(case.make(0)).roles.coverage == 1


def test_irreps_are_not_true_of_the_cosets_in_a_mixture():
    cases = {case.name: case for case in known_cases(["D4"])}
    mixture = cases["D4: cosets of C2⟨r0s⟩ and GCR"].make(0)
    circuit = cc.IrrepAlgorithm().fit(mixture)
    names = cc.CosetAlgorithm().fit(mixture).roles.names
    of_cosets = [j for j, name in enumerate(names) if name != UNEXPLAINED]
    assert 0 < len(of_cosets) < len(names)
    assert {circuit.roles.names[j] for j in of_cosets} == {UNEXPLAINED}


def test_exact_ties_are_shared_and_not_decided_by_rounding():
    """Equally spaced levels, doubled on one side, tie; the irreps' surrogate differs by 1e-15."""
    network = planted_coset(cc.group("S4"), "S3", seed=1)
    surrogate = cc.IrrepAlgorithm().fit(network).surrogate()
    pairs = network.group.pairs()
    models = {"network": network, "irreps": surrogate}
    found = measure(INTERVENTIONS["scale_left_2"], models, pairs)
    logits = INTERVENTIONS["scale_left_2"].run(network, pairs)
    best = logits >= logits.amax(1, keepdim=True) - 1e-9
    right = best.gather(1, network.group.products(pairs)[:, None])[:, 0] / best.sum(1)
    assert bool((best.sum(1) > 1).any())
    assert found["network"].accuracy == pytest.approx(right.mean().item())
    assert found["irreps"].accuracy == pytest.approx(found["network"].accuracy, abs=1e-12)
    assert found["irreps"].same_answer == 1


def test_constant_logits_are_right_by_chance():
    silent = relabelled(planted_coset(cc.group("S3"), "C2", scale=0.0), torch.arange(6))
    found = measure(INTERVENTIONS["base"], {"n": silent}, silent.group.pairs())["n"]
    assert found.accuracy == pytest.approx(1 / 6) and found.loss == pytest.approx(math.log(6))


def test_joined_networks_have_an_equal_say():
    group = cc.group("S4")
    parts = [planted_coset(group, "S3"), planted_gcr(group, act_fn="relu")]
    whole = joined(parts)
    logits = whole(group.pairs())
    left = logits - parts[0](group.pairs())
    spread = [(x - x.mean(1, keepdim=True)).std().item() for x in (parts[0](group.pairs()), left)]
    assert spread[0] == pytest.approx(spread[1])
    assert whole.cfg.d_mlp == sum(part.cfg.d_mlp for part in parts)
    with pytest.raises(CosetCircuitsError, match="differ in group or activation"):
        joined([parts[0], planted_gcr(group)])


def test_noise_is_as_large_as_asked():
    network = planted_coset(cc.group("S4"), "C2")
    disturbed = noisy(network, 0.3, seed=1)
    for one, other in (
        (network.left_table, disturbed.left_table),
        (network.W_U.T, disturbed.W_U.T),
    ):
        ratio = ((other - one).std(0) / one.std(0, correction=0)).mean()
        assert ratio.item() == pytest.approx(0.3, abs=0.02)


@pytest.mark.parametrize("name", ["D4", "S4", "A5"])
def test_gcr_with_relu_multiplies(name):
    group = cc.group(name)
    network = planted_gcr(group, act_fn="relu", scale=2.0)
    assert network(group.pairs()).argmax(1).equal(group.products(group.pairs()))


def test_few_conjugates_still_multiply():
    group = cc.group("S4")
    for found in usable_classes(group):
        all_of_them, few = (planted_coset(group, found.name, few=few) for few in (False, True))
        assert few.cfg.d_mlp <= all_of_them.cfg.d_mlp
        assert few(group.pairs()).argmax(1).equal(group.products(group.pairs()))
