"""Networks trained on tables of a known kind: the tables are what they should be, and multiply."""

import pytest
import torch

import coset_circuits as cc
from coset_circuits import CosetCircuitsError
from coset_circuits.benchmark import selftest, trained_cases
from coset_circuits.benchmark.known_answers import NOTHING, is_away_from_cosets
from coset_circuits.benchmark.trained import (
    coset_neurons,
    irrep_neurons,
    permuted_labels,
    rho_neurons,
    trained,
)

CASES = {case.name: case for case in trained_cases(["S4"])}


@pytest.fixture(scope="module")
def group():
    return cc.group("S4")


def subgroup_class(group, name):
    return next(c for c in group.subgroup_classes if c.name == name)


def irrep(group, name):
    return next(b for b in group.real_blocks if b.name == name)


def is_right_everywhere(network):
    pairs = network.group.pairs()
    return bool((network(pairs).argmax(1) == network.group.products(pairs)).all())


def test_networks_of_cosets_are_constant_on_them_and_paired(group):
    network = trained(group, [coset_neurons([subgroup_class(group, "C4")])], seed=0, d_mlp=128)
    assert is_right_everywhere(network)
    circuit = cc.CosetAlgorithm().fit(network)
    assert set(circuit.roles.names) <= {"C4", "D8", "negligible"}
    for fvu in (circuit.roles.fvu_left, circuit.roles.fvu_right):
        assert fvu.max() < 1e-12
    assert max(circuit.roles.notes["pairing_error"]) < 1e-12


def test_networks_of_irreps_lie_in_one_each_and_away_from_cosets(group):
    blocks = [irrep(group, "(3,1)"), irrep(group, "(2,1,1)")]
    network = trained(group, [irrep_neurons(blocks)], seed=1, d_mlp=128)
    assert is_right_everywhere(network) and is_away_from_cosets(network)
    for table in (network.left_table, network.right_table, network.W_U.T):
        shares = torch.stack([(b.basis.T @ table).square().sum(0) for b in blocks])
        torch.testing.assert_close(shares.amax(0), table.square().sum(0))


def test_networks_of_rho_sets_keep_the_formula(group):
    """L and R share a, and each table is a function aᵀρ(g)b of rank one."""
    block = irrep(group, "(2,1,1)")
    found = subgroup_class(group, "C4")
    network = trained(group, [rho_neurons(block, found.representative)], seed=0, d_mlp=128)
    assert is_right_everywhere(network)
    rho = block.matrices
    for table in (network.left_table, network.right_table, network.W_U.T):
        singular = torch.linalg.svdvals(torch.einsum("gm,gij->mij", table.detach(), rho))
        assert (singular[:, 1] < 1e-6 * singular[:, 0].clamp_min(1e-12)).all()
    left = torch.einsum("gm,gij->mij", network.left_table.detach(), rho)
    right = torch.einsum("gm,gij->mij", network.right_table.detach(), rho)
    both = torch.cat([left.transpose(1, 2), right], 2)
    assert (torch.linalg.svdvals(both)[:, 1] < 1e-5 * torch.linalg.svdvals(both)[:, 0]).all()


def test_permuted_labels_multiply_under_other_names(group):
    network = permuted_labels(group, 0, 128)
    pairs = group.pairs()
    answers = network(pairs).argmax(1).reshape(24, 24).numpy()
    assert not is_right_everywhere(network)
    assert cc.groups.recognise(answers).group == group


def test_too_few_neurons_are_refused(group, monkeypatch):
    monkeypatch.setattr("coset_circuits.benchmark.trained.STEPS", 5)
    with pytest.raises(CosetCircuitsError, match="more neurons"):
        trained(group, [irrep_neurons([irrep(group, "(3,1)")])], seed=0, d_mlp=2)


def test_every_kind_has_a_case_and_the_same_seed_the_same_network():
    kinds = [case.put for case in CASES.values()]
    assert kinds == ["coset", "coset", "irrep", "rho-set", "mixed", NOTHING]
    case = CASES["S4: trained, irreps in general position"]
    one, two = case.make(3), case.make(3)
    assert torch.equal(one.left_table, two.left_table)
    assert not torch.equal(one.left_table, case.make(4).left_table)


@pytest.mark.parametrize("groups", [[], ["C7"], ["X"]])
def test_groups_without_cases_are_refused(groups):
    with pytest.raises(CosetCircuitsError):
        trained_cases(groups)


def test_the_verdict_on_trained_networks(tmp_path):
    found = selftest(["S4"], seeds=1, trained=True, out=tmp_path)
    assert len(found.answers) == len(CASES)
    said = {answer.put: answer for answer in found.answers}
    for put in ("coset", "irrep", NOTHING):
        assert said[put].is_right, said[put]
