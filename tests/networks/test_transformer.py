"""One-layer transformers: against a plain implementation, and the networks that were released."""

import json

import pytest
import torch
from released import PEERS, figures, needs_peers

import coset_circuits as cc
from coset_circuits.errors import CosetCircuitsError
from coset_circuits.networks.transformer import GroupTransformer


def test_weights_that_do_not_fit_are_refused(group, change, sentence):
    weights = {k: v for k, v in {**random_weights(6), **change}.items() if v is not None}
    with pytest.raises(CosetCircuitsError, match=sentence):
        GroupTransformer(group, weights, tokens=(0, 0, 6))


def adds_modulo_5(elements):
    """A file of a transformer that adds modulo 5, its elements in the order that is given.

    Attention is even over a, b and =, so the residual stream has a third of each element, and one
    neuron for every {a, b} fires where both are there.
    """
    neurons = [(a, b) for a in range(5) for b in range(a, 5)]
    W_E, W_in = torch.zeros(6, 6), torch.zeros(6, len(neurons))
    W_E[:5, :5] = torch.eye(5)[elements]
    W_out = torch.zeros(len(neurons), 6)
    for k, (a, b) in enumerate(neurons):
        W_in[[a, b], k] = 3
        # The neuron of {a, a} outvotes those of {a, b}, which fire on (a, a) too.
        W_out[k, (a + b) % 5] = 200 if a == b else 50
    W_unembed = torch.zeros(6, 5)
    W_unembed[:5] = torch.eye(5)[:, elements]
    return {
        "x_embed": W_E.clone(),
        "y_embed": W_E.clone(),
        "embed.W_E": W_E,
        "pos_embed.W_pos": torch.zeros(3, 6),
        "blocks.0.attn.W_Q": torch.zeros(1, 6, 6),
        "blocks.0.attn.W_K": torch.zeros(1, 6, 6),
        "blocks.0.attn.W_V": torch.eye(6)[None],
        "blocks.0.attn.W_O": torch.eye(6)[None],
        "blocks.0.attn.mask": torch.tril(torch.ones(3, 3)),
        "blocks.0.attn.IGNORE": torch.tensor(-1e5),
        "blocks.0.mlp.W_in": W_in,
        "blocks.0.mlp.b_in": torch.full((15,), -1.5),
        "blocks.0.mlp.W_out": W_out,
        "unembed.W_U": W_unembed,
    }


@pytest.mark.parametrize("elements", [[0, 1, 2, 3, 4], [3, 0, 4, 2, 1]])
def test_a_file_is_read_whatever_the_order_of_its_elements(tmp_path, elements):
    folder = tmp_path / "C5_T"
    folder.mkdir()
    torch.save(adds_modulo_5(elements), folder / "model.pt")
    network = cc.load(folder)
    assert (network.group.name, network.label) == ("C5", "C5_T")
    assert figures(network)[0] == 1
    assert isinstance(network, GroupTransformer)
    assert network.additive_share == pytest.approx(1)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"blocks.1.attn.W_Q": torch.zeros(1, 6, 6)}, r"also holds blocks.1.attn.W_Q"),
        ({"blocks.0.ln1.w": torch.zeros(6)}, "also holds blocks.0.ln1.w"),
        ({"x_embed": torch.zeros(6, 6)}, "x_embed that differs from embed.W_E"),
        ({"blocks.0.attn.mask": torch.zeros(3, 3)}, "mask that hides a token"),
        ({"blocks.0.mlp.W_in": "weights"}, "something else than matrices"),
        ({"blocks.0.mlp.W_in": torch.zeros(6)}, "something else than matrices"),
        ({"unembed.W_U": None}, "without unembed.W_U"),
        ({"blocks.0.attn.W_V": None}, "lack W_V"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_a_file_that_holds_more_or_less_is_refused(tmp_path, change, sentence):
    content = {k: v for k, v in {**adds_modulo_5(range(5)), **change}.items() if v is not None}
    torch.save(content, tmp_path / "model.pt")
    with pytest.raises(CosetCircuitsError, match=sentence):
        cc.load(tmp_path)


def test_a_transformer_goes_through_a_comparison(tmp_path):
    torch.save(adds_modulo_5(range(5)), tmp_path / "model.pt")
    comparison = cc.compare(cc.load(tmp_path), pairs=25)
    assert "one-layer transformer" in str(comparison)
    folder = comparison.save(tmp_path / "report")
    facts = json.loads((folder / "findings.json").read_text())["network"]
    assert facts["kind"] == "transformer"
    assert facts["additive_share"] == pytest.approx(1)


@needs_peers
@pytest.mark.parametrize(
    "name",
    [
        "S5_T_seed1",
        "A5_T_seed1",
        "D59_T_seed1",
        "C113_T_seed1",
        "C118_T_seed1",
        pytest.param("S6_T_seed1", marks=pytest.mark.slow),
    ],
)
def test_released_transformers_have_the_losses_released_with_them(name):
    """``all_loss`` of their summary_metrics.json; of S6 it is eight times the mean over pairs."""
    released = json.loads((PEERS / name / "summary_metrics.json").read_text())["all_loss"]
    network = cc.load(PEERS / name)
    assert network.group.name == name.partition("_")[0]
    factor = 8 if network.group.name == "S6" else 1
    assert factor * figures(network)[1] == pytest.approx(released, rel=1e-5)


@needs_peers
@pytest.mark.parametrize(
    ("name", "share"), [("S5_T_seed1", 1), ("A5_T_seed1", 1), ("C113_T_seed1", 0.96)]
)
def test_attention_only_routes_but_in_cyclic_groups(name, share):
    network = cc.load(PEERS / name).double()
    assert network.additive_share == pytest.approx(share, abs=1e-3 if share == 1 else 0.02)
