"""Measurements against the definitions, whatever the chunk."""

import pytest
import torch

import coset_circuits as cc
from coset_circuits import INTERVENTIONS, IrrepAlgorithm, measure
from coset_circuits.networks import GroupMLP, cross_entropy


@pytest.fixture(scope="module")
def models(coset_network):
    bilinear = IrrepAlgorithm(variant="bilinear").fit(coset_network).surrogate()
    return {"network": coset_network, "bilinear": bilinear}


@pytest.mark.parametrize("id", ["base", "noise_0_1", "mean_left", "abs"])
def test_the_chunk_changes_nothing(models, id):
    pairs = models["network"].group.pairs()
    whole, parts = (
        measure(INTERVENTIONS[id], models, pairs, seed=2, chunk=chunk) for chunk in (10_000, 7)
    )
    assert whole.keys() == parts.keys() == models.keys()
    for name, one in whole.items():
        two = parts[name]
        if one is None or two is None:
            assert one is two
            continue
        torch.testing.assert_close(one.losses, two.losses, rtol=1e-9, atol=1e-14)
        assert torch.equal(one.correct, two.correct)
        assert one.same_answer == pytest.approx(two.same_answer, rel=1e-12)
        assert one.logit_r2 == pytest.approx(two.logit_r2, rel=1e-9)


@pytest.mark.parametrize("id", INTERVENTIONS)
def test_a_network_agrees_with_itself(untrained, id):
    pairs = untrained.group.pairs()
    found = measure(INTERVENTIONS[id], {"a": untrained, "b": untrained}, pairs)
    for outcome in found.values():
        assert outcome is not None
        assert outcome.same_answer == 1 and outcome.logit_r2 == 1


def test_an_outcome_by_hand(models):
    pairs = models["network"].group.pairs()
    found = measure(INTERVENTIONS["scale_left_2"], models, pairs)["bilinear"]
    assert found is not None
    observed, predicted = (INTERVENTIONS["scale_left_2"].run(m, pairs) for m in models.values())
    labels = models["network"].group.products(pairs)
    losses = cross_entropy(predicted, labels)
    torch.testing.assert_close(found.losses, losses.detach())
    assert found.loss == pytest.approx(losses.mean().item())
    assert found.median_loss == losses.median().item()
    assert found.accuracy == (predicted.argmax(1) == labels).double().mean().item()
    same = (predicted.argmax(1) == observed.argmax(1)).double().mean().item()
    assert found.same_answer == same
    centred = [x - x.mean(1, keepdim=True) for x in (observed, predicted)]
    r2 = 1 - (centred[1] - centred[0]).square().sum() / centred[0].square().sum()
    assert found.logit_r2 == pytest.approx(r2.item(), rel=1e-9)


def test_a_constant_added_to_the_logits_is_no_error(untrained):
    shifted = GroupMLP.from_weights(
        untrained.group,
        left_table=untrained.left_table,
        right_table=untrained.right_table,
        W_U=untrained.W_U,
        b_U=torch.full((24,), 3.0, dtype=torch.float64),
    )
    pairs = untrained.group.pairs()
    found = measure(INTERVENTIONS["base"], {"network": untrained, "shifted": shifted}, pairs)
    assert found["shifted"] is not None
    assert found["shifted"].logit_r2 == pytest.approx(1, abs=1e-12)


def test_labels_of_swapped_inputs_are_those_of_the_original_pairs(coset_network):
    group = coset_network.group
    pairs = group.pairs()
    found = measure(INTERVENTIONS["swap_inputs"], {"network": coset_network}, pairs)["network"]
    assert found is not None
    a, b = pairs.T
    assert torch.equal(found.correct, (group.table[a, b] == group.table[b, a]).double())


def test_a_silent_model_has_no_outcome(models):
    found = measure(INTERVENTIONS["abs"], models, models["network"].group.pairs())
    assert found["network"] is not None and found["bilinear"] is None


def test_nothing_is_measured_where_the_network_cannot_be_disturbed():
    """Embeddings of different widths: their tables cannot be swapped."""
    generator = torch.Generator().manual_seed(0)
    uneven = GroupMLP.from_weights(
        cc.group("S3"),
        W_E_left=torch.randn(6, 2, generator=generator),
        W_E_right=torch.randn(6, 3, generator=generator),
        W_in=torch.randn(5, 4, generator=generator),
        W_U=torch.randn(4, 6, generator=generator),
    )
    surrogate = cc.RawWeights().fit(uneven).surrogate()
    found = measure(
        INTERVENTIONS["swap_tables"], {"network": uneven, "raw": surrogate}, uneven.group.pairs()
    )
    assert found == {"network": None, "raw": None}


def hooked(site, change):
    return cc.Intervention("mine", "mine", lambda *_: [(site, lambda value, hook: change(value))])


@pytest.mark.parametrize(
    ("intervention", "sentence"),
    [
        (hooked("hook_pre", lambda pre: pre.mean(0)), r"shape \(6,\) where \(36, 6\)"),
        (hooked("hook_pre", lambda pre: pre.mean(0, True)), r"shape \(1, 6\) where \(36, 6\)"),
        (cc.Intervention("mine", "mine", inputs=lambda pairs: pairs[:5]), r"shape \(5, 6\) where"),
        (hooked("hook_post", lambda post: post * torch.nan), "mine makes logits of .* NaN or inf"),
        ("sign", "No intervention is called 'sign'"),
        (3, "3 is not an intervention"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_what_cannot_be_measured_is_a_sentence(intervention, sentence):
    network = GroupMLP.initialised("S3", d_mlp=8, d_embed=4)
    with pytest.raises(cc.CosetCircuitsError, match=sentence):
        measure(intervention, {"network": network}, network.group.pairs())
    with pytest.raises(cc.CosetCircuitsError, match=sentence):
        cc.compare(network, ["coset"], interventions=[intervention])


def test_wrong_models_and_no_pairs_are_a_sentence(untrained):
    network = GroupMLP.initialised("S3", d_mlp=8, d_embed=4)
    with pytest.raises(cc.CosetCircuitsError, match=r"has 6 elements and .* has"):
        measure("base", {"one": untrained, "two": network}, untrained.group.pairs())
    with pytest.raises(cc.CosetCircuitsError, match="There are no pairs"):
        measure("base", {"one": network}, network.group.pairs()[:0])


def test_autocast_would_change_figures_and_is_refused():
    """In bfloat16 the network's own logits move by a part in a hundred."""
    network = GroupMLP.initialised("S3", d_mlp=8, d_embed=4)
    pairs = network.group.pairs()
    logits = network(pairs)
    circuit = cc.CosetAlgorithm().fit(network)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (network(pairs) - logits).abs().max() > 1e-4 * logits.abs().max()
        for call in (
            lambda: measure("base", {"network": network}, pairs),
            lambda: cc.CosetAlgorithm().fit(network),
            lambda: cc.compare(network, ["coset"]),
            lambda: cc.scrub(circuit, samples=1),
        ):
            with pytest.raises(cc.CosetCircuitsError, match=r"torch\.autocast is on"):
                call()
        with torch.autocast("cpu", enabled=False):
            inside = measure("base", {"network": network}, pairs)["network"]
    outside = measure("base", {"network": network}, pairs)["network"]
    assert torch.equal(inside.losses, outside.losses)
