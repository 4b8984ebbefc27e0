"""TransformerLens's own controls on networks and surrogates of this library."""

import math

import pytest
import torch

import coset_circuits as cc
from coset_circuits.networks import planted_coset
from coset_circuits.networks.transformer import GroupTransformer

interchange = pytest.importorskip(
    "transformer_lens.tools.analysis.interchange",
    reason="TransformerLens is older than its interchange tools: pip install -U transformer-lens",
)


def biased():
    """Embeddings of two widths, and biases."""
    generator = torch.Generator().manual_seed(0)
    shapes = {"W_E_left": (24, 64), "W_in_left": (64, 80), "W_E_right": (24, 32)}
    shapes |= {"W_in_right": (32, 80), "W_U": (80, 24), "b_in": (80,), "b_U": (24,)}
    weights = {name: 7 + torch.randn(s, generator=generator) for name, s in shapes.items()}
    return cc.GroupMLP.from_weights(cc.group("S4"), **weights)


MODELS = {
    "network": biased,
    "transformer": lambda: GroupTransformer.initialised(cc.group("S3"), seed=1),
    "surrogate": lambda: cc.CosetAlgorithm().fit(planted_coset(cc.group("S3"), "C2")).surrogate(),
    "bilinear": lambda: (
        cc.ALGORITHMS["bilinear"][0].fit(planted_coset(cc.group("S3"), "C2")).surrogate()
    ),
}


@pytest.mark.parametrize("kind", MODELS)
def test_reinitialized_draws_every_weight_and_leaves_the_model_alone(kind):
    model = MODELS[kind]()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    fresh = interchange.reinitialized(model, seed=3)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    again = dict(interchange.reinitialized(model, seed=3).named_parameters())
    other = dict(interchange.reinitialized(model, seed=4).named_parameters())
    for name, parameter in fresh.named_parameters():
        assert torch.equal(parameter, again[name])
        if name.startswith("b"):
            assert not parameter.any()
        else:
            assert not torch.equal(parameter, other[name])
            assert not (parameter == before[name]).any()
    assert fresh(model.group.pairs()).isfinite().all()


def test_new_weights_have_the_size_of_first_weights():
    """Pre-activations of variance 1/2 + 1/2 from embeddings of length 1, each from its fan-in."""
    fresh = interchange.reinitialized(biased(), seed=0)
    for name, std in {
        "W_E_left": 1 / math.sqrt(64),
        "W_E_right": 1 / math.sqrt(32),
        "W_in_left": 1 / math.sqrt(2 * 64),
        "W_in_right": 1 / math.sqrt(2 * 32),
        "W_U": 1 / math.sqrt(80),
    }.items():
        assert fresh.get_parameter(name).std().item() == pytest.approx(std, rel=0.1)


def test_a_subspace_of_all_neurons_moves_the_whole_left_input():
    """DAS with as many dimensions as neurons: any basis exchanges the tables' rows exactly."""
    network = planted_coset(cc.group("S3"), "C2").float().eval()
    pairs = network.group.pairs()
    base, source = pairs, pairs.roll(7, 0)
    moved = torch.stack([source[:, 0], base[:, 1]], 1)
    targets = network.group.products(moved)
    result = interchange.fit_das(
        network, "hook_left_pre", base, source, targets, network, rank=network.d_mlp, epochs=2
    )
    expected = torch.nn.functional.cross_entropy(network(moved), targets).item()
    assert result.losses == pytest.approx([expected] * 2, rel=1e-3)
    assert all(parameter.requires_grad for parameter in network.parameters())
