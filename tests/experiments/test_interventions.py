"""Each intervention against its formula, written out on a network small enough to see."""

import math

import pytest
import torch

import coset_circuits as cc
from coset_circuits import INTERVENTIONS, CosetAlgorithm, CosetCircuitsError, IrrepAlgorithm
from coset_circuits.experiments import intervention, standard_normal
from coset_circuits.networks import GroupMLP, SilentSiteError

IDS = [
    "base",
    "swap_tables",
    "swap_inputs",
    "sign_both",
    "sign_left",
    "sign_right",
    "abs",
    "double",
    "noise_0_0.1",
    "noise_0_1",
    "noise_1_1",
    "noise_-1_1",
    "noise_rel_0.5",
    "scale_left_2",
    "scale_both_2",
    "mean_left",
    "square",
    "identity",
]


@pytest.fixture(scope="module")
def network():
    """Three neurons on S3, every weight drawn, both biases."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    return GroupMLP.from_weights(
        cc.group("S3"),
        W_E_left=normal(6, 4),
        W_E_right=normal(6, 4),
        W_in_left=normal(4, 3),
        W_in_right=normal(4, 3),
        W_U=normal(3, 6),
        b_in=normal(3),
        b_U=normal(6),
    )


def relu(x):
    return x.clamp(min=0)


def tables(network):
    """L and R of every pair."""
    a, b = network.group.pairs().T
    left = network.W_E_left @ network.W_in_left + network.b_in
    return left[a], (network.W_E_right @ network.W_in_right)[b]


def by_hand(network, id, seed):
    L, R = tables(network)
    a, b = network.group.pairs().T
    noise = standard_normal(seed, network.group.pairs(), 6, 3)
    swapped = (
        (network.W_E_right @ network.W_in_left + network.b_in)[a],
        (network.W_E_left @ network.W_in_right)[b],
    )
    left = network.W_E_left @ network.W_in_left + network.b_in
    right = network.W_E_right @ network.W_in_right
    scale = (L + R).std(0, correction=0)
    post = {
        "base": lambda: relu(L + R),
        "swap_tables": lambda: relu(sum(swapped)),
        "swap_inputs": lambda: relu(left[b] + right[a]),
        "sign_both": lambda: relu(-L - R),
        "sign_left": lambda: relu(-L + R),
        "sign_right": lambda: relu(L - R),
        "abs": lambda: torch.maximum(L + R, -L - R),
        "double": lambda: 2 * relu(L + R),
        "noise_0_0.1": lambda: relu(L + R + 0.1 * noise),
        "noise_0_1": lambda: relu(L + R + noise),
        "noise_1_1": lambda: relu(L + R + 1 + noise),
        "noise_-1_1": lambda: relu(L + R - 1 + noise),
        "noise_rel_0.5": lambda: relu(L + R + 0.5 * scale * noise),
        "scale_left_2": lambda: relu(2 * L + R),
        "scale_both_2": lambda: relu(2 * L + 2 * R),
        "mean_left": lambda: relu(left.mean(0) + R),
        "square": lambda: (L + R) ** 2,
        "identity": lambda: L + R,
    }[id]()
    return post @ network.W_U + network.b_U


def test_ids_are_stable():
    """They are written to findings.json: a change breaks everybody's files."""
    assert list(INTERVENTIONS) == IDS
    assert all(row.id == id for id, row in INTERVENTIONS.items())


@pytest.mark.parametrize("id", IDS)
def test_an_intervention_is_its_formula(network, id):
    found = INTERVENTIONS[id].run(network, network.group.pairs(), seed=11)
    torch.testing.assert_close(found, by_hand(network, id, 11), rtol=1e-12, atol=1e-12)
    assert network.list_hooks() == {}


@pytest.mark.parametrize("id", IDS)
def test_an_intervention_does_not_depend_on_the_batch(network, id):
    pairs = network.group.pairs()
    whole = INTERVENTIONS[id].run(network, pairs, seed=3)
    parts = [INTERVENTIONS[id].run(network, part, seed=3) for part in pairs.split(5)]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=1e-12, atol=1e-12)
    order = torch.randperm(36, generator=torch.Generator().manual_seed(0))
    shuffled = INTERVENTIONS[id].run(network, pairs[order], seed=3)
    torch.testing.assert_close(shuffled, whole[order], rtol=1e-12, atol=1e-12)


def test_only_noise_depends_on_the_seed(network):
    pairs = network.group.pairs()
    for id, row in INTERVENTIONS.items():
        same = torch.equal(row.run(network, pairs, seed=0), row.run(network, pairs, seed=1))
        assert same == (not id.startswith("noise"))


def test_every_control_is_a_row_or_an_exact_value():
    for row in INTERVENTIONS.values():
        assert row.control in {None, "commuting_pairs", *IDS} - {row.id}
    assert [id for id, row in INTERVENTIONS.items() if row.control is None] == ["base"]


def test_an_unknown_id_is_refused_with_the_known_ones():
    assert intervention("abs") is INTERVENTIONS["abs"]
    with pytest.raises(CosetCircuitsError, match="'flip'; choose from base, swap_tables, swap_inp"):
        intervention("flip")


def test_other_activations_are_doubled_as_they_are(network):
    gelu = GroupMLP.from_weights(
        network.group,
        left_table=network.left_table,
        right_table=network.right_table,
        W_U=network.W_U,
        act_fn="gelu",
    )
    pairs = network.group.pairs()
    torch.testing.assert_close(INTERVENTIONS["double"].run(gelu, pairs), 2 * gelu(pairs))
    expected = (gelu.left_table[pairs[:, 0]] + gelu.right_table[pairs[:, 1]]).abs() @ gelu.W_U
    torch.testing.assert_close(INTERVENTIONS["abs"].run(gelu, pairs), expected)


# The noise.


def test_noise_has_the_moments_of_a_standard_normal():
    group = cc.group("S5")
    draws = standard_normal(0, group.pairs(), 120, 16)
    count = draws.numel()
    assert count == 230_400
    assert abs(draws.mean().item()) < 4 / math.sqrt(count)
    assert draws.var().item() == pytest.approx(1, abs=4 * math.sqrt(2 / count))
    assert (draws**3).mean().item() == pytest.approx(0, abs=4 * math.sqrt(15 / count))
    assert (draws**4).mean().item() == pytest.approx(3, abs=4 * math.sqrt(96 / count))
    # Φ(x) is uniform: the Kolmogorov–Smirnov distance is below 1.63/√n in 99 of 100 samples.
    ordered = torch.special.ndtr(draws.flatten()).sort().values
    ranks = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    assert (ordered - ranks).abs().max().item() < 1.63 / math.sqrt(count)


def test_noise_is_independent_between_neurons_pairs_and_seeds():
    group = cc.group("S4")
    one, two = (standard_normal(seed, group.pairs(), 24, 128) for seed in (0, 1))
    bound = 4 / math.sqrt(one.numel())
    for left, right in (
        (one[:, 1:], one[:, :-1]),
        (one[1:], one[:-1]),
        (one[24:], one[:-24]),
        (one, two),
        (one[1:], two[:-1]),
    ):
        assert abs((left * right).mean().item()) < bound * 1.1


def test_noise_is_keyed_by_pair_and_neuron():
    group = cc.group("S4")
    pairs = group.pairs()
    whole = standard_normal(5, pairs, 24, 8)
    rows = torch.tensor([3, 500, 3, 77])
    assert torch.equal(standard_normal(5, pairs[rows], 24, 8), whole[rows])
    assert torch.equal(standard_normal(5, pairs, 24, 8), whole)
    assert not torch.equal(standard_normal(6, pairs, 24, 8), whole)
    assert torch.equal(standard_normal(-1, pairs, 24, 8), standard_normal(-1, pairs, 24, 8))


@pytest.mark.parametrize(
    ("id", "mean", "deviation"),
    [("noise_0_0.1", 0, 0.1), ("noise_0_1", 0, 1), ("noise_1_1", 1, 1), ("noise_-1_1", -1, 1)],
)
def test_the_second_parameter_is_a_standard_deviation(untrained, id, mean, deviation):
    pairs = untrained.group.pairs()
    _, cache = untrained.run_with_cache(pairs)
    with untrained.hooks(fwd_hooks=INTERVENTIONS[id].hooks(untrained, pairs, 0)):
        _, noisy = untrained.run_with_cache(pairs)
    # Hooks run in the order they were put on: the cache sees the noise.
    added = noisy["hook_pre"] - cache["hook_pre"]
    margin = 4 * deviation / math.sqrt(added.numel())
    assert added.mean().item() == pytest.approx(mean, abs=margin)
    assert added.std().item() == pytest.approx(deviation, rel=0.03)


def test_network_and_surrogates_meet_the_same_noise(coset_network):
    """A surrogate with the network's tables answers exactly alike under noise."""
    surrogate = CosetAlgorithm().fit(coset_network).surrogate()
    pairs = coset_network.group.pairs()
    for id in ("noise_0_1", "noise_rel_0.5"):
        torch.testing.assert_close(
            INTERVENTIONS[id].run(surrogate, pairs, 4),
            INTERVENTIONS[id].run(coset_network, pairs, 4),
            rtol=0,
            atol=1e-9,
        )


# What follows from the definitions.


def test_swapped_inputs_leave_the_commuting_pairs_right(coset_network):
    group = coset_network.group
    answers = INTERVENTIONS["swap_inputs"].run(coset_network, group.pairs()).argmax(1)
    right = answers == group.products(group.pairs())
    a, b = group.pairs().T
    assert torch.equal(right, group.table[a, b] == group.table[b, a])
    # 5 classes of 24 elements.
    assert right.double().mean().item() == pytest.approx(5 / 24)


def test_both_signs_are_nothing_to_a_coset_circuit(coset_network):
    """Its neurons come in pairs ±t, so that the sum is |t|."""
    pairs = coset_network.group.pairs()
    for id, factor in (("sign_both", 1), ("double", 2), ("abs", 2), ("scale_both_2", 2)):
        torch.testing.assert_close(
            INTERVENTIONS[id].run(coset_network, pairs), factor * coset_network(pairs)
        )


def test_one_sign_makes_a_gcr_answer_the_opposite(gcr_network):
    pairs = gcr_network.group.pairs()
    for id in ("sign_left", "sign_right"):
        found = INTERVENTIONS[id].run(gcr_network, pairs)
        torch.testing.assert_close(found, -gcr_network(pairs), rtol=0, atol=1e-9)


def test_even_surrogates_are_constant_without_an_activation(coset_network):
    pairs = coset_network.group.pairs()
    for algorithm in (CosetAlgorithm(even=True), IrrepAlgorithm(even=True)):
        surrogate = algorithm.fit(coset_network).surrogate()
        logits = INTERVENTIONS["identity"].run(surrogate, pairs)
        assert logits.std(0).max() < 1e-9 and logits.std(1).max() < 1e-9


def test_swapped_tables_are_silent_on_every_surrogate(coset_network):
    pairs = coset_network.group.pairs()
    for algorithm in (
        CosetAlgorithm(),
        IrrepAlgorithm(),
        IrrepAlgorithm(variant="bilinear"),
        cc.DullNull(),
        cc.RawWeights(),
    ):
        surrogate = algorithm.fit(coset_network).surrogate()
        with pytest.raises(SilentSiteError, match=f"{algorithm.name} is silent at hook_left_embed"):
            INTERVENTIONS["swap_tables"].run(surrogate, pairs)


def test_tables_of_different_widths_cannot_be_swapped(network):
    zeros = torch.zeros(6, 2, dtype=torch.float64)
    uneven = GroupMLP.from_weights(
        network.group,
        W_E_left=zeros,
        W_E_right=network.W_E_right,
        W_in_left=torch.zeros(2, 3, dtype=torch.float64),
        W_in_right=network.W_in_right,
        W_U=network.W_U,
    )
    with pytest.raises(SilentSiteError, match="widths 2 and 4"):
        INTERVENTIONS["swap_tables"].run(uneven, network.group.pairs())


def test_the_bilinear_surrogate_is_silent_where_a_neuron_is_disturbed(gcr_network):
    surrogate = IrrepAlgorithm(variant="bilinear").fit(gcr_network).surrogate()
    silent = []
    for id, row in INTERVENTIONS.items():
        try:
            row.run(surrogate, gcr_network.group.pairs())
        except SilentSiteError:
            silent.append(id)
    noises = [id for id in IDS if id.startswith("noise")]
    assert silent == ["swap_tables", "abs", "double", *noises, "square", "identity"]
