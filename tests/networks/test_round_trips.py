"""Every network that can be made is loaded as it was saved, or is not saved at all."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize, prune

import coset_circuits as cc
from coset_circuits import CosetCircuitsError, GroupMLP
from coset_circuits.networks import planted_coset

S3 = cc.group("S3")
PAIRS = S3.pairs()


def made(**changes):
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    weights = {"W_E_left": normal(6, 4), "W_E_right": normal(6, 4), "W_U": normal(8, 6)}
    weights |= {"W_in_left": normal(4, 8), "W_in_right": normal(4, 8)}
    return GroupMLP.from_weights(**{"group": S3, **weights, **changes})


class Doubled(nn.Module):
    def forward(self, weight):
        return 2 * weight


def pruned():
    network = made()
    prune.random_unstructured(network, "W_U", 0.5)
    return network


def parametrised():
    network = made()
    parametrize.register_parametrization(network, "W_in_left", Doubled())
    return network


def tied():
    network = made()
    network.W_E_right = network.W_E_left
    return network


@pytest.mark.parametrize(
    "make",
    [
        lambda: made(W_in_left=torch.eye(4, 8)),
        lambda: made(b_in=torch.ones(8), b_U=torch.arange(6.0)),
        lambda: made().half(),
        lambda: made().bfloat16(),
        lambda: made().double(),
        lambda: made(seed=3, provenance={"steps": np.int64(7), "from": np.float64(0.5)}),
        pruned,
        parametrised,
        tied,
    ],
)
def test_the_loaded_network_computes_the_same(make, tmp_path):
    network = make()
    loaded = cc.load(cc.save(network, tmp_path / "n.safetensors"))
    assert loaded.dtype == network.dtype
    assert torch.equal(loaded(PAIRS), network(PAIRS))
    assert torch.equal(network.unhooked()(PAIRS), network(PAIRS))


@pytest.mark.parametrize("kind", ["mlp", "transformer"])
@pytest.mark.parametrize("change", ["pruned", "parametrised"])
def test_changed_modules_are_what_they_compute(kind, change, tmp_path):
    network = cc.train("S3", 1, architecture=kind, d_mlp=8, max_steps=1)
    before = network.left_table
    name = "W_U" if kind == "mlp" else "W_in"
    if change == "pruned":
        prune.random_unstructured(network, name, 0.5)
    else:
        parametrize.register_parametrization(network, name, Doubled())
    for edit in (False, True):
        with torch.no_grad():
            held = dict(network.named_parameters())
            changed = [p for key, p in held.items() if name in key.split(".") or "_orig" in key]
            changed[0].mul_(1 + edit)
            expected = network(PAIRS)
        assert kind == "mlp" or not torch.equal(network.left_table, before)
        order = torch.tensor([1, 0, 3, 2, 5, 4])
        other = network.reordered(order, S3)
        assert torch.equal(other(torch.argsort(order)[PAIRS])[:, torch.argsort(order)], expected)
        loaded = cc.load(cc.save(network, tmp_path / "n.safetensors"))
        assert torch.equal(loaded(PAIRS), expected) and loaded.content() == network.content()
        assert network.untrained(3).d_mlp == 8


@pytest.mark.parametrize("claims", [None, ["even"]])
def test_a_surrogate_is_the_same_at_every_site(claims, tmp_path):
    network = planted_coset(S3, "C2")
    surrogate = cc.CosetAlgorithm().fit(network).surrogate(claims)
    loaded = cc.load(cc.save(surrogate, tmp_path / "surrogate.safetensors"))
    assert loaded.fingerprint() == surrogate.fingerprint()
    assert (surrogate.cancelled is not None) == (claims == ["even"])
    assert surrogate.silent and surrogate.reference_scale is not None
    with pytest.raises(CosetCircuitsError, match="silent"):
        loaded.add_hook("hook_left_embed", lambda value, hook: value)


def test_a_transformers_surrogate_too(tmp_path):
    network = cc.train("S3", architecture="transformer", d_mlp=8, d_model=8, max_steps=5)
    tables = network.left_table, network.right_table, network.W_U
    surrogate = network.with_tables(*(t.detach() for t in tables), label="tables")
    loaded = cc.load(cc.save(surrogate, tmp_path / "surrogate.safetensors"))
    assert loaded.fingerprint() == surrogate.fingerprint()


def test_labels_of_a_groups_own_table_are_kept(tmp_path):
    for name in ("mine", "S3"):
        group = cc.FiniteGroup.from_table(S3.table, name, labels=[*"abcdef"])
        loaded = cc.load(cc.save(made(group=group), tmp_path / "n.safetensors")).group
        assert (loaded, loaded.name, loaded.labels) == (group, name, tuple("abcdef"))


@pytest.mark.parametrize(
    ("network", "name", "sentence"),
    [
        (made(), "x.pt", r"ends in \.safetensors"),
        (made(), "x.json", r"ends in \.safetensors"),
        (made(act_fn=torch.tanh), "x.safetensors", "activation tanh, a Python function"),
        (made().to("meta"), "x.safetensors", "meta device"),
        (None, "x.safetensors", "None is a NoneType, which cannot be saved"),
    ],
)
def test_what_cannot_be_loaded_is_not_saved(network, name, sentence, tmp_path, unchecked):
    with pytest.raises(CosetCircuitsError, match=sentence):
        cc.save(network, tmp_path / name)
    assert list(tmp_path.iterdir()) == []
