"""Weights as people have them: the network against plain PyTorch, and what is refused or warned of.

Every network that is right comes from a coset circuit with known weights.
"""

import re

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import coset_circuits as cc
from coset_circuits import CosetCircuitsError, GroupMLP
from coset_circuits.networks import planted_coset
from coset_circuits.networks.model import Activation
from coset_circuits.networks.spoilt import noisy

S3 = cc.group("S3")
PAIRS = S3.pairs()


def normal(*shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(*shape, generator=generator, dtype=dtype)


def embedded(network, width):
    """Embeddings and one input matrix with the network's tables, for concatenated embeddings."""
    left, right = normal(network.group.order, width), normal(network.group.order, width, seed=1)
    halves = (torch.linalg.pinv(left) @ network.left_table, torch.linalg.pinv(right))
    return left, right, torch.cat([halves[0], halves[1] @ network.right_table]).detach()


def right_share(network):
    pairs = network.group.pairs()
    return (network(pairs).argmax(1) == network.group.products(pairs)).double().mean().item()


# Against plain PyTorch.


class Hand(nn.Module):
    """A network as one writes it by hand; weights are nn.Linear's, (out, in)."""

    def __init__(self, summed):
        super().__init__()
        self.summed = summed
        self.embed = nn.Embedding(6, 5)
        self.linear = nn.Linear(5 if summed else 10, 7)
        self.head = nn.Linear(7, 6)

    def forward(self, pairs):
        a, b = self.embed(pairs[:, 0]), self.embed(pairs[:, 1])
        return self.head(F.gelu(self.linear(a + b if self.summed else torch.cat([a, b], 1))))


@pytest.mark.parametrize("summed", [True, False])
def test_a_shared_embedding_summed_or_concatenated(summed):
    torch.manual_seed(0)
    hand = Hand(summed).double()
    network = GroupMLP.from_weights(
        S3,
        W_E=hand.embed.weight,
        W_in=hand.linear.weight.T,
        b_in=hand.linear.bias,
        W_U=hand.head.weight.T,
        b_U=hand.head.bias,
        act_fn="gelu",
    )
    torch.testing.assert_close(network(PAIRS), hand(PAIRS), rtol=1e-12, atol=1e-12)
    assert network.W_E_left.data_ptr() != network.W_E_right.data_ptr()


def test_numpy_arrays_are_weights_too():
    left, right, write = normal(6, 4), normal(6, 4, seed=1), normal(4, 6)
    arrays = {
        "left_table": left.numpy().astype(">f8"),
        "right_table": right.numpy()[:, ::-1],
        "W_U": np.asfortranarray(write.numpy()),
        "b_in": None,
    }
    network = GroupMLP.from_weights(S3, **arrays)
    pre = left[PAIRS[:, 0]] + right.flip(1)[PAIRS[:, 1]]
    torch.testing.assert_close(network(PAIRS), pre.clamp(min=0) @ write, rtol=1e-13, atol=1e-13)
    arrays["left_table"][:] = 0
    torch.testing.assert_close(network.left_table, left)


@pytest.mark.parametrize(
    ("dtype", "widest"),
    [
        (torch.float64, torch.float64),
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
    ],
)
def test_mixed_dtypes_are_cast_to_the_widest(dtype, widest):
    tables = {"left_table": normal(6, 4).float(), "right_table": normal(6, 4).float()}
    network = GroupMLP.from_weights(S3, **tables, W_U=normal(4, 6).to(dtype))
    assert {p.dtype for p in network.parameters()} == {widest}
    cast = network.provenance.get("cast", "")
    assert ("W_U" in cast, "left_table" in cast) == (widest != dtype, widest == torch.float64)
    assert network(PAIRS).dtype == widest


def test_weights_of_one_dtype_stay_as_they_are():
    for dtype in (torch.float16, torch.bfloat16):
        tables = {"left_table": normal(6, 4).to(dtype), "right_table": normal(6, 4).to(dtype)}
        network = GroupMLP.from_weights(S3, **tables, W_U=normal(4, 6).to(dtype))
        assert network.dtype == dtype and "cast" not in network.provenance


# Activations.


@pytest.mark.parametrize(
    ("given", "name"),
    [
        (nn.ReLU(inplace=True), "relu"),
        (nn.Hardtanh(-2, 2, inplace=True), "hardtanh"),
        (torch.relu, "relu"),
        (lambda x: x.clamp(min=0), "relu"),
        (nn.GELU(), "gelu"),
        (F.silu, "silu"),
        (lambda x: x**2, "square"),
        (nn.Identity(), "identity"),
        (torch.abs, "abs"),
        (nn.GELU(approximate="tanh"), "custom_gelu"),
        (nn.LeakyReLU(0.1), "leakyrelu"),
        (nn.ReLU6(), "relu6"),
        (torch.tanh, "tanh"),
        (lambda x: x**3, "custom"),
    ],
)
def test_an_activation_is_used_as_it_is_and_named_by_its_values(given, name):
    tables = {"left_table": normal(6, 4), "right_table": normal(6, 4, seed=1), "W_U": normal(4, 6)}
    network = GroupMLP.from_weights(S3, **tables, act_fn=given)
    assert network.cfg.act_fn == name
    pre = 9 * (tables["left_table"][PAIRS[:, 0]] + tables["right_table"][PAIRS[:, 1]])
    hooked = network.run_with_hooks(PAIRS, fwd_hooks=[("hook_pre", lambda x, hook: 9 * x)])
    kept = pre.clone()
    network.activation.function(pre)
    assert torch.equal(pre, kept)
    torch.testing.assert_close(hooked, given(pre.clone()) @ tables["W_U"], rtol=1e-9, atol=1e-9)


def test_a_namesake_of_a_known_activation_is_not_taken_for_it():
    def relu(x):
        return x.clamp(0, 1)

    assert Activation.of(relu).name == "custom_relu"


def test_a_learnt_activation_is_copied_and_takes_any_dtype():
    given = nn.PReLU(init=0.3)
    activation = Activation.of(given)
    x = normal(5)
    expected = torch.where(x > 0, x, 0.3 * x)
    with torch.no_grad():
        given.weight.zero_()
    torch.testing.assert_close(activation.function(x), expected, rtol=1e-6, atol=1e-6)
    assert activation.function(x).dtype == torch.float64 and given.training


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (nn.Softmax(dim=-1), "mixes numbers"),
        (lambda x: x - x.mean(), "mixes numbers"),
        (lambda x: x / x.norm(), "mixes numbers"),
        (lambda x: x.sum(), "mixes numbers"),
        (nn.LayerNorm(3), "cannot be applied to one number"),
        (nn.PReLU(5), "cannot be applied to one number"),
        (lambda x: None, "cannot be applied to one number"),
        ("tanhh", "'tanhh' is not known.*or give a Python function"),
        (3, "cannot be applied"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_what_acts_on_no_single_number_is_refused(given, sentence):
    with pytest.raises(CosetCircuitsError, match=sentence):
        Activation.of(given)


def test_networks_made_from_one_keep_its_activation(tmp_path):
    tables = {"left_table": normal(6, 4), "right_table": normal(6, 4, seed=1), "W_U": normal(4, 6)}
    network = GroupMLP.from_weights(S3, **tables, act_fn=torch.tanh)
    pre = tables["left_table"][PAIRS[:, 0]] + tables["right_table"][PAIRS[:, 1]]
    again = network.with_tables(*tables.values(), label="again")
    torch.testing.assert_close(again(PAIRS), pre.tanh() @ tables["W_U"])
    assert network.unhooked().fingerprint() == network.fingerprint()
    for made in (network.untrained(0), noisy(network, 0.1)):
        assert made.activation is network.activation
    with pytest.raises(CosetCircuitsError, match="activation tanh, a Python function"):
        cc.save(network, tmp_path / "n.safetensors")


# What does not fit.


@pytest.mark.parametrize(
    ("extra", "sentence"),
    [
        ({"left_table": normal(6, 4)}, "left_table and W_E_left and W_in_left were both given"),
        ({"W_in": normal(9, 5)}, "W_in and W_in_left and W_in_right"),
        ({"W_E": normal(6, 4)}, "W_E and W_E_left and W_E_right"),
        ({"W_E_left": normal(4, 6)}, r"W_E_left has shape \(4, 6\).*need \(6, 6\)"),
        ({"W_in_left": normal(5, 4)}, r"W_in_left has shape \(5, 4\).*\(4, 5\).*transpose"),
        ({"W_U": normal(6, 5)}, r"W_U has shape \(6, 5\).*need \(5, 6\).*transpose, .T"),
        ({"W_U": normal(9, 6)}, r"W_U has shape \(9, 6\).*need \(5, 6\)\."),
        ({"W_U": [[1.0]]}, r"W_U has shape \(1, 1\)"),
        ({"W_U": np.zeros((5, 6), dtype=int)}, "W_U holds torch.int64"),
        ({"W_U": np.zeros((5, 6), dtype=object)}, "W_U holds object"),
        ({"W_U": np.zeros((5, 6), dtype=np.longdouble)}, "W_U holds .*float128|longdouble"),
        ({"W_U": np.full((5, 6), np.nan)}, "W_U holds 30 values that are not finite"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_weights_that_contradict_each_other_are_refused(extra, sentence):
    weights = {"W_E_left": normal(6, 4), "W_E_right": normal(6, 3), "W_U": normal(5, 6)}
    weights |= {"W_in_left": normal(4, 5), "W_in_right": normal(3, 5)}
    with pytest.raises(CosetCircuitsError, match=sentence):
        GroupMLP.from_weights(S3, **{**weights, **extra})


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [
        ((5, 8), r"W_in has shape \(5, 8\).*8 rows for left and right side by side.*transpose"),
        ((5, 4), r"or 4 for their sum.*transpose"),
        ((7, 5), r"need 8 rows.*or 4 for their sum\.$"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_an_input_matrix_of_the_wrong_shape_is_itself_blamed(shape, sentence):
    with pytest.raises(CosetCircuitsError, match=sentence):
        GroupMLP.from_weights(S3, W_E=normal(6, 4), W_in=normal(*shape), W_U=normal(5, 6))


@pytest.mark.usefixtures("unchecked")
def test_names_in_messages_are_those_that_were_given():
    with pytest.raises(CosetCircuitsError, match="right_table has shape"):
        GroupMLP.from_weights(
            S3, left_table=normal(6, 4), right_table=normal(5, 4), W_U=normal(4, 6)
        )
    with pytest.raises(CosetCircuitsError, match=r"W_E has shape \(5, 4\)"):
        GroupMLP.from_weights(S3, W_E=normal(5, 4), W_in=normal(4, 5), W_U=normal(5, 6))
    with pytest.raises(CosetCircuitsError, match="W_in was given without embeddings"):
        GroupMLP.from_weights(S3, W_in=normal(4, 5), W_U=normal(5, 6))


# What fits and is wrong.


def warned(text):
    shares = [float(share) for share in re.findall(r"([\d.]+)%", text)]
    return shares[0], shares[1]


def test_a_square_input_matrix_that_was_not_transposed(coset_network):
    left, right, matrix = embedded(coset_network, 72)
    weights = {"W_E_left": left, "W_E_right": right, "W_U": coset_network.W_U}
    assert matrix.shape == (144, 144)
    assert right_share(GroupMLP.from_weights(coset_network.group, **weights, W_in=matrix)) == 1
    with pytest.warns(UserWarning, match="W_in transposed it would be right on 100.0%") as caught:
        wrong = GroupMLP.from_weights(coset_network.group, **weights, W_in=matrix.T, label="mine")
    text = str(caught[0].message)
    assert text.startswith("mine is right on") and "(out, in)" in text
    assert warned(text)[0] == pytest.approx(100 * right_share(wrong), abs=0.06)


def test_a_square_input_matrix_of_summed_embeddings_that_was_not_transposed():
    network = planted_coset(cc.group("S4"), "C2")
    group = network.group
    rotation = torch.linalg.qr(normal(144, 144))[0]
    weights = {
        "W_E_left": network.left_table @ rotation,
        "W_E_right": network.right_table @ rotation,
        "W_U": network.W_U,
    }
    with pytest.warns(UserWarning, match="W_in transposed it would be right on 100.0%"):
        GroupMLP.from_weights(group, **weights, W_in=rotation)
    assert right_share(GroupMLP.from_weights(group, **weights, W_in=rotation.T)) == 1


def test_the_other_order_of_multiplication(coset_network):
    """Left and right exchanged, a network answers b·a; S4 has 5 conjugacy classes."""
    with pytest.warns(UserWarning, match="b·a for a·b.*right on 100.0%") as caught:
        GroupMLP.from_weights(
            coset_network.group,
            left_table=coset_network.right_table,
            right_table=coset_network.left_table,
            W_U=coset_network.W_U,
        )
    assert warned(str(caught[0].message))[0] == pytest.approx(100 * 5 / 24, abs=0.06)


def test_nobody_is_warned_about_a_network_that_has_learnt_nothing():
    """Warnings are errors in these tests."""
    left, right = normal(6, 6), normal(6, 6, seed=1)
    GroupMLP.from_weights(S3, left_table=left, right_table=right, W_U=normal(6, 6))
