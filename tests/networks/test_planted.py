"""The networks planted from the definitions are what the definitions say."""

import pytest
import torch

import coset_circuits as cc
from coset_circuits import CosetAlgorithm, CosetCircuitsError, IrrepAlgorithm
from coset_circuits.experiments import INTERVENTIONS, measure
from coset_circuits.networks import cross_entropy, planted_coset, planted_gcr

COSET_CASES = [("S3", "C2"), ("S4", "C2"), ("S4", "S3"), ("D5", "C2"), ("A4", "C3"), ("S5", "F20")]
GCR_CASES = ["S3", "S4", "A4", "D5", "C7", "D4"]


def accuracy(network):
    pairs = network.group.pairs()
    return (network(pairs).argmax(1) == network.group.products(pairs)).double().mean().item()


@pytest.mark.parametrize(("name", "subgroup"), COSET_CASES)
def test_a_coset_circuit_is_right_on_every_pair(name, subgroup):
    assert accuracy(planted_coset(cc.group(name), subgroup)) == 1


@pytest.mark.parametrize(("name", "subgroup"), COSET_CASES[:-1])
def test_a_neuron_is_nought_exactly_where_the_product_lies_in_its_coset(name, subgroup):
    group = cc.group(name)
    network = planted_coset(group, subgroup, seed=1)
    _, cache = network.run_with_cache(group.pairs())
    nought = cache["hook_pre"].abs() < 1e-12
    in_coset = network.W_U.T[group.products(group.pairs())] != 0
    assert torch.equal(nought, in_coset)
    found = next(c for c in group.subgroup_classes if c.name == subgroup)
    assert network.cfg.d_mlp == 2 * found.count * found.index
    # Every row is written on one coset: |H| elements.
    assert ((network.W_U != 0).sum(1) == found.order).all()


def test_coset_logits_are_minus_the_distances_of_levels():
    group = cc.group("S3")
    network = planted_coset(group, "C2", seed=5, scale=2.0)
    logits = network(group.pairs())
    found = next(c for c in group.subgroup_classes if c.name == "C2")
    for row, (a, b) in enumerate(group.pairs().tolist()):
        for c in range(group.order):
            quotient = int(group.table[c, group.inverses[b]])
            # The neurons of one subgroup come together, the first of them with its levels.
            levels = [network.left_table[:, 2 * found.index * h] for h in range(found.count)]
            expected = -2 * sum(abs(level[a] - level[quotient]) for level in levels)
            assert logits[row, c].item() == pytest.approx(expected.item(), abs=1e-12)


def test_levels_are_distinct_and_follow_the_seed():
    group = cc.group("S4")
    one, same, other = (planted_coset(group, "S3", seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one.left_table, same.left_table)
    assert not torch.equal(one.left_table, other.left_table)
    for column in one.left_table.T:
        assert len(column.unique()) == 4
        assert column.std(correction=0).item() == pytest.approx(1)


@pytest.mark.parametrize(
    ("name", "subgroup", "sentence"),
    [
        ("S4", "C7", "S4 has no subgroup class 'C7'; its classes are .*C2.*S3"),
        ("S4", "A4", "A4 of S4 has 12 elements in all its conjugates"),
        ("S4", "V4", "V4 of S4 has 4 elements"),
        ("S4", "S4", "S4 of S4 has 24 elements"),
        ("S4", "D8", "D8 of S4 has 4 elements"),
        ("C6", "C2", "C2 of C6 has 2 elements"),
        ("S3", "C1", "C1 of S3 is trivial"),
    ],
)
def test_a_class_whose_cosets_single_out_nothing_is_refused(name, subgroup, sentence):
    with pytest.raises(CosetCircuitsError, match=sentence):
        planted_coset(cc.group(name), subgroup)


@pytest.mark.parametrize("name", GCR_CASES)
def test_gcr_logits_are_characters_of_the_quotient(name):
    group = cc.group(name)
    network = planted_gcr(group, seed=2, scale=3.0)
    wanted = network.label.removeprefix(f"planted-gcr-{name}-").split("+")
    character = sum(b.character for b in group.real_blocks if b.name in wanted)
    logits = network(group.pairs())
    products = group.products(group.pairs())
    quotients = group.table[products][:, group.inverses]
    torch.testing.assert_close(logits, 3 * character[quotients], rtol=0, atol=1e-9)
    assert accuracy(network) == 1


def test_gcr_blocks_can_be_chosen_and_add_up():
    group = cc.group("S4")
    both = planted_gcr(group, ["(2,2)", "(2,1,1)"])
    assert both.cfg.d_mlp == 2 * (2**3 + 3**3)
    quotients = group.table[group.products(group.pairs())][:, group.inverses]
    characters = {b.name: b.character for b in group.real_blocks}
    expected = 8 * (characters["(2,2)"] + characters["(2,1,1)"])[quotients]
    torch.testing.assert_close(both(group.pairs()), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "default"),
    [("S3", "(2,1)"), ("S4", "(3,1)"), ("S5", "(4,1)"), ("C7", "freq_1"), ("D5", "freq_1")],
)
def test_gcr_takes_the_smallest_faithful_block_by_default(name, default):
    assert planted_gcr(cc.group(name)).label == f"planted-gcr-{name}-{default}"


def test_a_group_without_a_faithful_irrep_takes_all_blocks():
    klein = cc.FiniteGroup.from_table([[a ^ b for b in range(4)] for a in range(4)], "C2xC2")
    network = planted_gcr(klein)
    assert network.cfg.d_mlp == 2 * 3
    assert accuracy(network) == 1


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["(5)"], r"S4 has no non-trivial real block '\(5\)'; its blocks are .*\(3,1\)"),
        (["(4)"], r"no non-trivial real block '\(4\)'"),
        (["(2,2)"], r"blocks \(2,2\) of S4 are not faithful"),
        (["(2,2)", "(1,1,1,1)"], "not faithful"),
        ([], r"\(none\)"),
    ],
)
def test_blocks_that_tell_no_products_apart_are_refused(names, sentence):
    with pytest.raises(CosetCircuitsError, match=sentence):
        planted_gcr(cc.group("S4"), names)


# Each hypothesis must explain its own network and not the other's.


def test_the_coset_hypothesis_explains_the_coset_circuit(coset_network):
    roles = CosetAlgorithm().fit(coset_network).roles
    assert set(roles.names) == {"C2"}
    assert roles.coverage == 1
    for fvu in (roles.fvu_left, roles.fvu_right, roles.fvu_unembed):
        assert fvu.max() < 1e-20


def test_the_irrep_hypothesis_does_not_explain_the_coset_circuit(coset_network):
    roles = IrrepAlgorithm().fit(coset_network).roles
    assert set(roles.names) == {"unexplained"}
    assert roles.coverage == 0


def test_the_irrep_hypothesis_explains_gcr(gcr_network):
    circuit = IrrepAlgorithm().fit(gcr_network)
    assert set(circuit.roles.names) == {"(3,1)"}
    torch.testing.assert_close(
        circuit.surrogate()(gcr_network.group.pairs()),
        gcr_network(gcr_network.group.pairs()),
        rtol=0,
        atol=1e-9,
    )


def test_the_bilinear_hypothesis_is_gcr(gcr_network):
    circuit = IrrepAlgorithm(variant="bilinear").fit(gcr_network)
    assert circuit.roles.coverage == 1
    models = {"network": gcr_network, "bilinear": circuit.surrogate()}
    outcome = measure(INTERVENTIONS["base"], models, gcr_network.group.pairs())["bilinear"]
    assert outcome is not None and outcome.logit_r2 == pytest.approx(1, abs=1e-12)


def test_the_coset_hypothesis_does_not_explain_gcr(gcr_network):
    assert CosetAlgorithm().fit(gcr_network).roles.coverage < 0.5


def test_losses_are_those_of_the_characters(gcr_network):
    """Classes of S4 with their characters in (3,1): 1·3, 6·1, 3·(−1), 8·0, 6·(−1)."""
    group = gcr_network.group
    logits = gcr_network(group.pairs())
    loss = cross_entropy(logits, group.products(group.pairs()))
    weights = torch.tensor([6.0, 3.0, 8.0, 6.0], dtype=torch.float64)
    gaps = 8 * torch.tensor([1.0 - 3, -1 - 3, 0 - 3, -1 - 3], dtype=torch.float64)
    expected = (weights * gaps.exp()).sum().log1p()
    torch.testing.assert_close(loss, expected.expand_as(loss), rtol=1e-9, atol=0)
