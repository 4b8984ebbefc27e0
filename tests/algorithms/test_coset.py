"""The coset hypothesis on networks whose cosets are known, and on what has none."""

import numpy as np
import pytest
import torch

import coset_circuits as cc
from coset_circuits import CosetAlgorithm, CosetCircuitsError, DoesNotApplyError, GroupMLP
from coset_circuits.algorithms import concentration, coset_fvu
from coset_circuits.experiments import relabelled_group
from coset_circuits.networks import planted_coset


def rewritten(network, left=None, right=None, unembed=None):
    """A network of the same tables but for those given."""
    return GroupMLP.from_weights(
        network.group,
        left_table=network.left_table if left is None else left,
        right_table=network.right_table if right is None else right,
        W_U=network.W_U if unembed is None else unembed,
        act_fn=network.cfg.act_fn,
    )


@pytest.mark.parametrize(
    ("name", "subgroup"), [("S3", "C2"), ("S4", "C2"), ("S4", "S3"), ("A4", "C3"), ("D5", "C2")]
)
def test_a_planted_circuit_is_found_exactly(name, subgroup):
    network = planted_coset(cc.group(name), subgroup, seed=3)
    circuit = CosetAlgorithm().fit(network)
    roles = circuit.roles
    assert set(roles.names) == {subgroup}
    for fvu in (roles.fvu_left, roles.fvu_right, roles.fvu_unembed):
        assert fvu.max() < 1e-20
    assert max(roles.notes["pairing_error"]) < 1e-20
    pairs = network.group.pairs()
    torch.testing.assert_close(circuit.surrogate()(pairs), network(pairs), rtol=0, atol=1e-11)


def test_the_conjugator_is_the_coset_that_is_written_on():
    """With R(b) = −L(x b⁻¹), the neuron writes on Hx, and its right side reads left cosets."""
    network = planted_coset(cc.group("S4"), "S3")
    group = network.group
    roles = CosetAlgorithm().fit(network).roles
    for j, conjugator in enumerate(roles.notes["conjugator"]):
        assert network.W_U[j, group.labels.index(conjugator)] != 0


def test_the_largest_subgroup_that_passes_is_taken():
    """The cosets of S3 are unions of cosets of its C3 and C2, which pass as well."""
    network = planted_coset(cc.group("S4"), "S3")
    group = network.group
    for small in ("C3", "C2"):
        found = next(c for c in group.subgroup_classes if c.name == small)
        labels = [h.right_cosets for h in found.conjugates]
        best = torch.stack([coset_fvu(network.left_table, cosets) for cosets in labels])
        assert best.min(0).values.max() < 1e-20
    assert set(CosetAlgorithm().fit(network).roles.names) == {"S3"}


def test_fvu_and_concentration_of_four_numbers():
    """C4 and H = {0, 2}: within 1 + 1, in all 5/4 a number; C = 2/(5/4), FVU = 4/5."""
    table = torch.tensor([[0.0], [1.0], [2.0], [3.0]], dtype=torch.float64)
    cosets = torch.tensor([0, 1, 0, 1])
    assert concentration(table, cosets).item() == pytest.approx(1.6)
    assert coset_fvu(table, cosets).item() == pytest.approx(0.8)


def test_a_neuron_of_s3_by_hand():
    """H = {e, (1 2)} with levels 1, 2, 4; elements in lexicographic one-line order."""
    group = cc.group("S3")
    labels = ["e", "(2 3)", "(1 2)", "(1 2 3)", "(1 3 2)", "(1 3)"]
    assert list(group.labels) == labels
    # H(2 3) = {(2 3), (1 2)(2 3) = (1 2 3)}; the rest is H(1 3).
    left = torch.tensor([1.0, 2.0, 1.0, 2.0, 4.0, 4.0], dtype=torch.float64)
    # x = (2 3): R(b) = −L((2 3) b⁻¹). For b = (1 2): (2 3)(1 2) = (1 3 2), so −4; and so on.
    right = -torch.tensor([2.0, 1.0, 4.0, 1.0, 4.0, 2.0], dtype=torch.float64)
    write = torch.tensor([0.0, -3.0, 0.0, -3.0, 0.0, 0.0], dtype=torch.float64)
    network = GroupMLP.from_weights(
        group, left_table=left[:, None], right_table=right[:, None], W_U=write[None]
    )
    circuit = CosetAlgorithm().fit(network)
    assert circuit.roles.names == ("C2",)
    assert circuit.roles.notes["conjugator"] == ["(2 3)"]
    assert circuit.roles.notes["pairing_error"][0] < 1e-20
    site = circuit.classes("hook_left_pre")[0]
    assert site.left is not None and site.left[:, 0].tolist() == [0, 1, 0, 1, 2, 2]
    # K = (2 3)H(2 3) = {e, (1 3)}: the left cosets are (2 3)K = {(2 3), (1 2 3)}, …
    site = circuit.classes("hook_right_pre")[0]
    assert site.right is not None and site.right[:, 0].tolist() == [0, 1, 2, 1, 2, 0]


@pytest.mark.parametrize("name", ["S4", "D5"])
def test_random_functions_have_the_null_of_their_index(name):
    """E[C] = [G:H]·(n − [G:H])/(n − 1), not 1 (HYPOTHESES.md §1)."""
    group, columns = cc.group(name), 4_000
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(group.order, columns, generator=generator, dtype=torch.float64)
    for found in group.subgroup_classes[:-1]:
        values = concentration(table, found.representative.right_cosets)
        null = found.index * (group.order - found.index) / (group.order - 1)
        margin = 5 * values.std().item() / columns**0.5 + 1e-12
        assert values.mean().item() == pytest.approx(null, abs=margin)


@pytest.mark.parametrize("name", ["C5", "C113"])
def test_a_group_of_prime_order_has_no_cosets_to_use(name):
    network = GroupMLP.initialised(cc.group(name), d_mlp=4, d_embed=4)
    with pytest.raises(
        DoesNotApplyError, match=f"{name} of order .* no proper non-trivial subgroup"
    ):
        CosetAlgorithm().fit(network)


def test_a_relabelled_group_explains_nothing(coset_network):
    for seed in range(3):
        other = relabelled_group(coset_network.group, seed)
        circuit = CosetAlgorithm().fit(coset_network, other)
        assert circuit.roles.coverage == 0
        # All neurons at their means: one answer to everything, right on 1 pair in 24.
        logits = circuit.surrogate()(coset_network.group.pairs())
        assert logits.std(0).max() < 1e-12


def test_an_untrained_network_is_not_explained(untrained):
    roles = CosetAlgorithm().fit(untrained).roles
    assert roles.coverage == 0
    assert set(roles.names) == {"unexplained"}


def test_a_structure_keeping_relabelling_explains_as_much(coset_network):
    """Conjugation by an element only renames the subgroups of a class."""
    group = coset_network.group
    inner = group.array[group.array[7], group.inverse_array[7]]
    circuit = CosetAlgorithm().fit(coset_network, group.relabelled(inner))
    assert set(circuit.roles.names) == {"C2"}
    pairs = group.pairs()
    torch.testing.assert_close(circuit.surrogate()(pairs), coset_network(pairs), rtol=0, atol=1e-11)


def test_network_and_elements_renamed_together_keep_their_roles(coset_network):
    group = coset_network.group
    inner = torch.from_numpy(group.array[group.array[7], group.inverse_array[7]])
    assert not torch.equal(inner, torch.arange(group.order))
    renamed = rewritten(
        coset_network,
        coset_network.left_table[inner],
        coset_network.right_table[inner],
        coset_network.W_U[:, inner],
    )
    pairs = group.pairs()
    assert (renamed(pairs).argmax(1) == group.products(pairs)).all()
    assert (
        CosetAlgorithm().fit(renamed).roles.names == CosetAlgorithm().fit(coset_network).roles.names
    )


def mixed(coset_network):
    """Coset neurons, some noisy, some random, one without effect."""
    generator = torch.Generator().manual_seed(0)
    columns = torch.arange(0, 144, 12)
    left, right = coset_network.left_table[:, columns], coset_network.right_table[:, columns]
    noise = torch.randn(left.shape, generator=generator, dtype=torch.float64)
    size = torch.tensor([0, 0, 0, 0.01, 0.03, 0.05, 0.2, 0.5, 1.0, 3.0, 10.0, 0])
    unembed = coset_network.W_U[columns].clone()
    unembed[-1] = 0
    return rewritten(coset_network, left + size * noise, right, unembed)


def test_roles_follow_the_neurons_not_their_places_or_scales(coset_network):
    network = mixed(coset_network)
    roles = CosetAlgorithm().fit(network).roles
    assert roles.names[:5] == ("C2",) * 5
    assert roles.names[8:] == ("unexplained",) * 3 + ("negligible",)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    scale = torch.logspace(-1, 1, 12, dtype=torch.float64)
    moved = rewritten(
        network,
        (network.left_table * scale)[:, order],
        (network.right_table * scale)[:, order],
        (network.W_U / scale[:, None])[order],
    )
    pairs = network.group.pairs()
    torch.testing.assert_close(moved(pairs), network(pairs), rtol=1e-9, atol=1e-9)
    again = CosetAlgorithm().fit(moved).roles
    assert again.names == tuple(roles.names[i] for i in order)
    torch.testing.assert_close(again.fvu_left, roles.fvu_left[order], rtol=1e-9, atol=1e-20)


def test_a_role_needs_both_sides(coset_network):
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(24, 144, generator=generator, dtype=torch.float64)
    for changes in ({"left": noise}, {"right": noise}):
        assert CosetAlgorithm().fit(rewritten(coset_network, **changes)).roles.coverage == 0


def test_what_unexplained_neurons_carry_can_be_chosen(coset_network):
    network = mixed(coset_network)
    column = 9
    fits = {
        kind: CosetAlgorithm(unexplained=kind).fit(network).surrogate()
        for kind in ("mean", "project", "keep")
    }
    own = network.left_table[:, column]
    mean = fits["mean"].left_table[:, column]
    torch.testing.assert_close(mean, own.mean().expand(24))
    torch.testing.assert_close(fits["keep"].left_table[:, column], own)
    projected = fits["project"].left_table[:, column]
    assert 1 < len(projected.round(decimals=9).unique()) < 24
    assert CosetAlgorithm(unexplained="keep").name == "coset-keep"


def test_a_kept_neuron_is_as_long_as_its_raw_weights(coset_network):
    """Carrying a neuron's own tables is no explanation, so it may not be a short one."""
    kept = CosetAlgorithm(unexplained="keep").fit(mixed(coset_network))
    unexplained = torch.tensor([name == "unexplained" for name in kept.roles.names])
    assert unexplained.any()
    assert (kept.levels[unexplained] == 3 * 24).all()
    assert (kept.residual[unexplained] == 0).all()


def test_claims_replace_one_table_each(coset_network):
    network = mixed(coset_network)
    circuit = CosetAlgorithm().fit(network)
    full = circuit.surrogate()
    own = {"left": network.left_table, "right": network.right_table, "unembed": network.W_U}
    for claim in own:
        part = circuit.surrogate({claim})
        found = {"left": part.left_table, "right": part.right_table, "unembed": part.W_U}
        fitted = {"left": full.left_table, "right": full.right_table, "unembed": full.W_U}
        for name, table in found.items():
            torch.testing.assert_close(table, (fitted if name == claim else own)[name])
    pairs = network.group.pairs()
    torch.testing.assert_close(circuit.surrogate(set())(pairs), network(pairs))


def test_an_unknown_claim_is_refused(coset_network):
    circuit = CosetAlgorithm().fit(coset_network)
    with pytest.raises(
        CosetCircuitsError, match=r"coset does not claim odd; .* even, left, right, unembed"
    ):
        circuit.surrogate({"left", "odd"})


def test_classes_are_what_the_surrogates_tables_depend_on(coset_network):
    circuit = CosetAlgorithm().fit(coset_network)
    surrogate, group = circuit.surrogate(), coset_network.group
    left = circuit.classes("hook_left_pre")[0].left
    right = circuit.classes("hook_right_pre")[0].right
    product = circuit.classes("hook_post")[0].product
    assert left is not None and right is not None and product is not None
    for labels, table in (
        (left, surrogate.left_table),
        (right, surrogate.right_table),
        (product, surrogate.W_U.T),
    ):
        for j in range(144):
            assert coset_fvu(table[:, [j]], labels[:, j]).item() < 1e-20
    # C2 has 12 right cosets, 12 left cosets of a conjugate.
    assert (left.max(0).values == 11).all() and (right.max(0).values == 11).all()
    assert circuit.classes("hook_logits") == ()
    assert group.order == len(left)


def test_structure_bits_name_a_subgroup_and_a_conjugator(coset_network):
    circuit = CosetAlgorithm().fit(coset_network)
    # S4 has 30 subgroups, 28 of them proper and non-trivial; C2 has 12 cosets to choose x from.
    expected = np.log2(28) + np.log2(12)
    assert circuit.structure.tolist() == pytest.approx([expected] * 144)
    for j in range(144):
        product = circuit.classes("hook_post")[0].product
        assert product is not None
        assert circuit.levels[j] == 12 + len(product[:, j].unique())
