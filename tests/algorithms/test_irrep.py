"""The irrep hypothesis against brute force over all triples, and its surrogates' silence."""

import pytest
import torch

import coset_circuits as cc
from coset_circuits import CosetCircuitsError, DoesNotApplyError, GroupMLP, IrrepAlgorithm
from coset_circuits.algorithms import logit_similarity
from coset_circuits.algorithms.algorithm import Tables
from coset_circuits.algorithms.blocks import block_shares
from coset_circuits.experiments import relabelled_group
from coset_circuits.networks import SilentSiteError, planted_coset, planted_gcr


def blocks_of(group):
    return list(group.real_blocks[1:])


@torch.no_grad()
def brute_force_similarity(network, block):
    """The cosine over all order³ entries, one by one."""
    group = network.group
    dot = energy = norm = 0.0
    for a in range(group.order):
        for b in range(group.order):
            logits = network(torch.tensor([[a, b]]))[0]
            centred = logits - logits.mean()
            for c in range(group.order):
                quotient = group.table[group.table[a, b], group.inverses[c]]
                character = float(block.matrices[quotient].trace())
                dot += float(centred[c]) * character
                energy += float(centred[c]) ** 2
                norm += character**2
    return dot / (energy * norm) ** 0.5


@pytest.mark.parametrize("make", ["gcr", "both", "coset", "untrained"])
def test_logit_similarity_is_the_cosine_over_all_triples(make):
    group = cc.group("S3")
    network = {
        "gcr": lambda: planted_gcr(group),
        "both": lambda: planted_gcr(group, ["(2,1)", "(1,1,1)"]),
        "coset": lambda: planted_coset(group, "C2"),
        "untrained": lambda: GroupMLP.initialised(group, d_mlp=8, d_embed=4).double(),
    }[make]()
    found = logit_similarity(network)[1:]
    expected = [brute_force_similarity(network, block) for block in blocks_of(group)]
    assert found.tolist() == pytest.approx(expected, abs=1e-12)
    if make == "gcr":
        names = [block.name for block in blocks_of(group)]
        assert found.tolist() == pytest.approx([float(n == "(2,1)") for n in names], abs=1e-12)
    if make == "both":
        # χ has norm² 1 for each irrep: two of equal weight share the cosine.
        assert found.tolist() == pytest.approx([0.5**0.5, 0.5**0.5])


def test_squared_similarities_never_add_up_to_more_than_one(untrained):
    found = logit_similarity(untrained)
    assert found.square().sum().item() <= 1


def test_shares_of_all_blocks_add_up_to_one(untrained, gcr_network):
    for network in (untrained, gcr_network):
        shares = block_shares(Tables.of(network), blocks_of(network.group))
        torch.testing.assert_close(shares.sum(1), torch.ones_like(shares[:, 0]))


def test_a_projected_neuron_is_its_irreps_part_and_its_mean(coset_network):
    """Against least squares on the matrix elements, no orthonormal basis needed."""
    circuit = IrrepAlgorithm(thresholds=cc.Thresholds(fvu=0.6)).fit(coset_network)
    surrogate, group = circuit.surrogate(), coset_network.group
    explained = [j for j, used in enumerate(circuit.roles.notes["irreps"]) if used]
    assert explained
    blocks = {block.name: block for block in blocks_of(group)}
    for j in explained[:10]:
        used = circuit.roles.notes["irreps"][j].split("+")
        columns = [torch.ones(24, 1, dtype=torch.float64)]
        columns += [blocks[name].matrices.reshape(24, -1) for name in used]
        design = torch.cat(columns, 1)
        for own, fitted, fvu in (
            (coset_network.left_table, surrogate.left_table, circuit.roles.fvu_left),
            (coset_network.right_table, surrogate.right_table, circuit.roles.fvu_right),
            (coset_network.W_U.T, surrogate.W_U.T, circuit.roles.fvu_unembed),
        ):
            target = own[:, j].detach()
            solution = design @ torch.linalg.lstsq(design, target, driver="gelsd").solution
            torch.testing.assert_close(fitted[:, j], solution, rtol=0, atol=1e-9)
            left = (target - solution).square().sum() / (target - target.mean()).square().sum()
            assert fvu[j].item() == pytest.approx(left.item(), abs=1e-9)


def test_too_many_functions_are_no_explanation(coset_network):
    """The cosets of C2 need (3,1), (2,2) and (2,1,1): 22 functions, more than half of 24."""
    strict = IrrepAlgorithm().fit(coset_network).roles
    assert set(strict.names) == {"unexplained"}
    assert set(strict.notes["irreps"]) == {""}


def test_single_allows_one_irrep_only():
    group = cc.group("S5")
    one, two = planted_gcr(group, ["(4,1)"]), planted_gcr(group, ["(4,1)", "(1,1,1,1,1)"])
    sign = group.real_blocks[[b.name for b in group.real_blocks].index("(1,1,1,1,1)")].character
    # A neuron in both: 17 functions of at most 60.
    both = GroupMLP.from_weights(
        group,
        left_table=one.left_table + 0.3 * sign[:, None],
        right_table=one.right_table,
        W_U=one.W_U,
        act_fn="square",
    )
    assert set(IrrepAlgorithm(single=True).fit(one).roles.names) == {"(4,1)"}
    assert set(IrrepAlgorithm(single=True).fit(both).roles.names) == {"unexplained"}
    roles = IrrepAlgorithm().fit(both).roles
    assert {frozenset(used.split("+")) for used in roles.notes["irreps"]} == {
        frozenset({"(4,1)", "(1,1,1,1,1)"})
    }
    assert set(IrrepAlgorithm(single=True).fit(two).roles.names) == {"(4,1)", "(1,1,1,1,1)"}
    assert IrrepAlgorithm(single=True).name == "irrep-projected-single"


def test_a_relabelled_group_explains_nothing(gcr_network):
    for seed in range(3):
        other = relabelled_group(gcr_network.group, seed)
        for variant in ("projected", "bilinear"):
            circuit = IrrepAlgorithm(variant=variant).fit(gcr_network, other)
            assert circuit.roles.coverage < 0.5
            pairs = gcr_network.group.pairs()
            answers = circuit.surrogate()(pairs).argmax(1)
            right = (answers == gcr_network.group.products(pairs)).double().mean().item()
            assert right < 0.25


def test_a_structure_keeping_relabelling_explains_as_much(gcr_network):
    group = gcr_network.group
    inner = group.array[group.array[7], group.inverse_array[7]]
    for variant in ("projected", "bilinear"):
        circuit = IrrepAlgorithm(variant=variant).fit(gcr_network, group.relabelled(inner))
        assert circuit.roles.coverage == 1
        torch.testing.assert_close(
            circuit.surrogate()(group.pairs()), gcr_network(group.pairs()), rtol=1e-2, atol=1e-6
        )


def test_an_untrained_network_is_not_explained(untrained):
    assert IrrepAlgorithm().fit(untrained).roles.coverage == 0


def test_the_trivial_group_has_no_irrep_to_use():
    network = GroupMLP.initialised(cc.group("C1"), d_mlp=2, d_embed=2)
    with pytest.raises(DoesNotApplyError, match="C1 has only the trivial irrep"):
        IrrepAlgorithm().fit(network)


def test_the_bilinear_surrogate_writes_characters(gcr_network):
    circuit = IrrepAlgorithm(variant="bilinear").fit(gcr_network)
    group = gcr_network.group
    quotients = group.table[group.products(group.pairs())][:, group.inverses]
    block = next(b for b in blocks_of(group) if b.name == "(3,1)")
    expected = circuit.coefficients[0] * block.character[quotients]
    torch.testing.assert_close(circuit.surrogate()(group.pairs()), expected)
    assert [b.name for b in circuit.key] == ["(3,1)"]
    # The temperature is chosen on a grid of 2^(1/40).
    assert circuit.coefficients.item() == pytest.approx(8, rel=0.02)


def test_one_side_scaled_scales_the_bilinear_logits(gcr_network):
    surrogate = IrrepAlgorithm(variant="bilinear").fit(gcr_network).surrogate()
    pairs = gcr_network.group.pairs()
    doubled = surrogate.run_with_hooks(pairs, fwd_hooks=[("hook_left_pre", lambda x, hook: 2 * x)])
    torch.testing.assert_close(doubled, 2 * surrogate(pairs))


@pytest.fixture(scope="module")
def bilinear(gcr_network):
    return IrrepAlgorithm(variant="bilinear").fit(gcr_network).surrogate()


SILENT = ["hook_left_embed", "hook_right_embed", "hook_pre", "hook_post"]


@pytest.mark.parametrize("site", SILENT)
def test_a_hook_on_a_silent_site_is_refused_with_a_sentence(bilinear, gcr_network, site):
    pairs = gcr_network.group.pairs()
    sentence = f"irrep-bilinear is silent at {site}: the hypothesis does not say"
    for run in (
        lambda: bilinear.run_with_hooks(pairs, fwd_hooks=[(site, lambda x, hook: x)]),
        lambda: bilinear.add_hook(site, lambda x, hook: x),
        lambda: bilinear.run_with_cache(pairs, names_filter=site),
        lambda: bilinear.run_with_cache(pairs, names_filter=["hook_logits", site]),
    ):
        with pytest.raises(SilentSiteError, match=sentence):
            run()
    assert bilinear.list_hooks() == {}


def test_the_cache_of_a_surrogate_leaves_silent_sites_out(bilinear, gcr_network):
    logits, cache = bilinear.run_with_cache(gcr_network.group.pairs())
    assert list(cache) == ["hook_left_pre", "hook_right_pre", "hook_logits"]
    assert torch.equal(cache["hook_logits"], logits)
    assert cache["hook_left_pre"].shape == (576, gcr_network.cfg.d_mlp)


def test_speaking_sites_are_listed_while_hooked(bilinear):
    with bilinear.hooks(fwd_hooks=[("hook_left_pre", lambda x, hook: x)]):
        assert list(bilinear.list_hooks()) == ["hook_left_pre"]


def test_the_bilinear_claim_cannot_be_split(gcr_network):
    circuit = IrrepAlgorithm(variant="bilinear").fit(gcr_network)
    with pytest.raises(CosetCircuitsError, match=r"claim, composition, .* but left was given"):
        circuit.surrogate({"left"})


def test_a_network_without_key_irreps_has_a_silent_constant_surrogate():
    """Logits that are the same for every pair have no similarity with any character."""
    group = cc.group("S3")
    zeros = torch.zeros(6, 4, dtype=torch.float64)
    network = GroupMLP.from_weights(
        group, left_table=zeros + 1, right_table=zeros, W_U=torch.ones(4, 6, dtype=torch.float64)
    )
    circuit = IrrepAlgorithm(variant="bilinear").fit(network)
    assert circuit.key == []
    assert (circuit.surrogate()(group.pairs()) == 0).all()
