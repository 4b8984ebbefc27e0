"""Whatever a hypothesis is called, it is only a hypothesis with an odd name."""

from dataclasses import dataclass, replace

import pytest

import coset_circuits as cc
from coset_circuits import CosetAlgorithm, DullNull, IrrepAlgorithm, RawWeights, compare
from coset_circuits.networks import planted_coset


@dataclass(frozen=True)
class Called:
    """Cosets under another name."""

    name: str

    def fit(self, network, group=None):
        return replace(CosetAlgorithm().fit(network, group), name=self.name, algorithm=self)


@pytest.fixture(scope="module")
def network():
    return planted_coset(cc.group("S3"), "C2")


@pytest.fixture(scope="module")
def plain(network):
    return compare(network, [Called("usual")])


ODD = ["network", "a|b", "dull null", "raw weights", "x, relabelled", "two\nlines", "<b>", "#", ""]


@pytest.mark.parametrize("name", ODD)
def test_an_odd_name_changes_no_figure(name, network, plain):
    odd = compare(network, [Called(name)])
    (hypothesis,) = odd.hypotheses
    assert hypothesis.kind == "hypothesis" and hypothesis.circuit.name == name
    assert [c.kind for c in odd.candidates] == [c.kind for c in plain.candidates]
    assert len({c.key for c in odd.candidates} | {"network"}) == len(odd.candidates) + 1
    assert odd.base.loss == plain.base.loss
    assert odd.predicted[hypothesis.key] == plain.predicted["usual"]
    assert bool(odd.verdict.explained_by) == bool(plain.verdict.explained_by)
    figures, usual = (
        [(f["experiment"], f["quantity"], f["value"]) for f in c.to_dict()["findings"]]
        for c in (odd, plain)
    )
    assert figures == usual
    assert str(odd)


def test_all_odd_names_at_once_have_keys_of_their_own(network, tmp_path):
    odd = compare(network, [Called(name) for name in ODD])
    assert len(odd.hypotheses) == len(ODD)
    assert len(odd.verdict.explained_by) in (0, len(ODD))
    assert len(odd.predicted) == len(odd.candidates) == 2 * len(ODD) + 3
    odd.save(tmp_path)
    assert [n.name for n in compare([network], [Called("network")])]


def test_nulls_can_be_hypotheses(network):
    found = compare(network, [CosetAlgorithm(), DullNull(), RawWeights()])
    assert len(found.candidates) == len(found.predicted) == 9
    assert [c.kind for c in found.candidates if c.circuit.name == "dull null"] == [
        "hypothesis",
        "control",
        "null",
    ]


def test_exactly_the_given_hypotheses_run(network):
    one = compare(network, [IrrepAlgorithm("bilinear")])
    assert [c.key for c in one.hypotheses] == ["irrep-bilinear"]
    two = compare(network, [CosetAlgorithm(), CosetAlgorithm(even=True)])
    assert [(c.key, c.claims) for c in two.hypotheses] == [
        ("coset", ()),
        ("coset+even", ("even",)),
    ]
    strict = cc.Thresholds(fvu=1e-3)
    alike = compare(network, [CosetAlgorithm(), CosetAlgorithm(thresholds=strict)])
    assert [c.key for c in alike.hypotheses] == ["coset", "coset #2"]
