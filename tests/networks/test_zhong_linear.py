"""The linear networks of Zhong et al., against torch layers, and those that were released."""

import pytest
import torch
from released import CLOCKS, figures, needs_clocks
from torch import nn

import coset_circuits as cc
from coset_circuits.errors import CosetCircuitsError


class Linear(nn.Module):
    """Their models with one hidden layer, from the formulas of their code."""

    def __init__(self, kind, order=7, d_embed=6, d_mlp=10):
        super().__init__()
        self.kind = kind
        if kind == "X":
            self.embed1, self.embed2 = nn.Embedding(order, d_embed), nn.Embedding(order, d_embed)
        else:
            self.embed = nn.Embedding(order, d_embed)
        self.l1 = nn.Linear(2 * d_embed if kind == "D" else d_embed, d_mlp)
        self.unembed = nn.Embedding(order, d_mlp)

    def forward(self, pairs):
        a, b = pairs.T
        if self.kind == "X":
            x = self.embed1(a) + self.embed2(b)
        elif self.kind == "A":
            x = self.embed(a) + self.embed(b)
        else:
            x = torch.cat([self.embed(a), self.embed(b)], 1)
        return self.l1(x).relu() @ self.unembed.weight.T


@pytest.mark.parametrize("kind", ["A", "D", "X"])
def test_one_hidden_layer_is_read(tmp_path, kind):
    torch.manual_seed(0)
    theirs = Linear(kind).double()
    torch.save(theirs.state_dict(), tmp_path / "model_abc.pt")
    network = cc.load(tmp_path / "model_abc.pt", order="native")
    pairs = network.group.pairs()
    assert (network.group.name, network.label) == ("C7", "model_abc")
    torch.testing.assert_close(network(pairs), theirs(pairs), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("extra", "sentence"),
    [
        ({"l2.weight": torch.zeros(10, 10), "l2.bias": torch.zeros(10)}, "two hidden layers"),
        ({"l3.weight": torch.zeros(10, 10)}, "also holds l3.weight"),
        ({"l1.weight": torch.zeros(10, 5)}, "shape"),
        ({"embed.weight": torch.zeros(0, 6)}, "has 0 elements"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_other_layers_are_refused(tmp_path, extra, sentence):
    torch.save({**Linear("A").state_dict(), **extra}, tmp_path / "model_abc.pt")
    with pytest.raises(CosetCircuitsError, match=sentence):
        cc.load(tmp_path / "model_abc.pt", order="native")


@needs_clocks
def test_the_released_linear_network_is_right_everywhere():
    network = cc.load(CLOCKS / "model_7r4zst7evs.pt")
    assert figures(network)[0] == 1
    assert network.provenance["element_order"] == "C59, native"


@needs_clocks
def test_the_released_network_of_two_layers_is_refused():
    with pytest.raises(CosetCircuitsError, match=r"model_amw6ox6bzn\.pt .* two hidden layers"):
        cc.load(CLOCKS / "model_amw6ox6bzn.pt")
