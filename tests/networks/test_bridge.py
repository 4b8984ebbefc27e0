"""GroupTransformers and TransformerLens's TransformerBridge: each made from the other."""

import pytest
import torch
from released import PEERS, needs_peers
from transformer_lens.config import TransformerBridgeConfig
from transformer_lens.model_bridge import TransformerBridge

import coset_circuits as cc
from coset_circuits.networks.model import Activation
from coset_circuits.networks.transformer import PATTERN, GroupTransformer

IS_4 = hasattr(TransformerBridge, "W_pos")
pytestmark = pytest.mark.skipif(not IS_4, reason="bridges are read from TransformerLens 4 on")

CONFIG = {
    "n_layers": 1,
    "n_heads": 2,
    "d_model": 8,
    "d_head": 4,
    "d_mlp": 12,
    "n_ctx": 3,
    "d_vocab": 7,
    "d_vocab_out": 6,
    "act_fn": "relu",
    "normalization_type": None,
    "seed": 1,
}


def native(**changes):
    """A bridge of TransformerLens's own making, none of whose parameters is zero."""
    config = TransformerBridgeConfig(**{**CONFIG, **changes})
    bridge = TransformerBridge.boot_native(config, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in bridge.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
            parameter.copy_(noise / 3)
    return bridge


def tokens_of(pairs, last):
    return torch.cat([pairs, torch.full((len(pairs), 1), last)], 1)


@pytest.mark.parametrize("act_fn", ["relu", "gelu", "silu"])
def test_a_bridge_is_read_with_its_function(act_fn):
    bridge, group = native(act_fn=act_fn), cc.group("S3")
    network = GroupTransformer.from_bridge(bridge, group)
    expected = bridge(tokens_of(group.pairs(), 6))[:, -1]
    torch.testing.assert_close(network(group.pairs()), expected, rtol=1e-12, atol=1e-12)
    assert network.b_in is not None and network.b_in.abs().max() > 0.01


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 0)])
def test_there_and_back(dtype, tolerance):
    group = cc.group("S3")
    network = GroupTransformer.from_bridge(native(), group).to(dtype)
    again = GroupTransformer.from_bridge(network.bridge(), group)
    assert again.dtype == dtype
    difference = (again(group.pairs()) - network(group.pairs())).abs().max()
    assert difference <= tolerance


def test_its_own_hooks_and_names_are_intact():
    """A hook on the bridge's own site does there what it does here."""
    group = cc.group("S3")
    network = GroupTransformer.from_bridge(native(), group)
    bridge, pairs = network.bridge(), group.pairs()
    tokens = network.token_rows(pairs)
    assert torch.equal(tokens, tokens_of(pairs, 6))
    with pytest.raises(cc.CosetCircuitsError, match="names elements 1 to 6"):
        network.token_rows(pairs + 1)
    _, theirs = bridge.run_with_cache(tokens)
    _, ours = network.run_with_cache(pairs)
    for site, own in {PATTERN: PATTERN, "blocks.0.mlp.hook_post": "hook_post"}.items():
        value = theirs[site][:, :, -1] if site == PATTERN else theirs[site][:, -1]
        torch.testing.assert_close(value, ours[own], rtol=1e-12, atol=1e-12)

    def halve(value, hook):
        return value / 2

    changed = bridge.run_with_hooks(tokens, fwd_hooks=[(PATTERN, halve)])[:, -1]
    expected = network.run_with_hooks(pairs, fwd_hooks=[(PATTERN, halve)])
    torch.testing.assert_close(changed, expected, rtol=1e-12, atol=1e-12)
    assert not torch.allclose(changed, network(pairs))


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"n_layers": 2}, "n_layers"),
        ({"normalization_type": "LN"}, "normalization_type"),
        ({"positional_embedding_type": "rotary"}, "rotary"),
        ({"gated_mlp": True}, "gated_mlp"),
        ({"attn_only": True}, "attn_only"),
        ({"output_logits_soft_cap": 5.0}, "output_logits_soft_cap"),
        ({"attn_scores_soft_cap": 5.0}, "attn_scores_soft_cap"),
        ({"act_fn": "solu"}, "act_fn"),
    ],
)
def test_what_is_no_such_transformer_is_refused_by_name(changes, word):
    with pytest.raises(cc.CosetCircuitsError, match=word):
        GroupTransformer.from_bridge(native(**changes), cc.group("S3"))


def test_a_bridge_that_computes_something_else_is_refused():
    bridge = native()
    bridge.add_hook("blocks.0.mlp.hook_post", lambda value, hook: value * 1.01)
    with pytest.raises(
        cc.CosetCircuitsError, match=r"logits of the TransformerBridge .* differ by"
    ):
        GroupTransformer.from_bridge(bridge, cc.group("S3"))


class OtherVersion(torch.nn.Module):
    """What is common to a HookedTransformer and the bridges of all versions: cfg, names, logits."""

    def __init__(self, cfg, scale=1.0):
        super().__init__()
        generator = torch.Generator().manual_seed(3)

        def normal(*shape):
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        self.cfg, self.scale = cfg, scale
        self.W_E, self.W_pos = normal(7, 8), normal(3, 8)
        self.W_Q, self.W_K, self.W_V = (normal(1, 2, 8, 4) for _ in range(3))
        self.b_Q, self.b_K, self.b_V = (normal(1, 2, 4) for _ in range(3))
        self.W_O, self.b_O = normal(1, 2, 4, 8), normal(1, 8)
        self.W_in, self.b_in, self.W_out, self.b_out = (
            normal(1, *shape) for shape in ((8, 12), (12,), (12, 8), (8,))
        )
        self.W_U, self.b_U = normal(8, 6), normal(6)

    def forward(self, tokens, return_type="logits"):
        assert return_type == "logits"
        x = self.W_E[tokens] + self.W_pos
        q, k, v = (
            torch.einsum("bpd,hdk->bhpk", x, W[0]) + b[0][:, None]
            for W, b in zip(
                (self.W_Q, self.W_K, self.W_V), (self.b_Q, self.b_K, self.b_V), strict=True
            )
        )
        z = torch.nn.functional.scaled_dot_product_attention(
            q, k, v, is_causal=True, scale=self.scale / 2
        )
        x = x + torch.einsum("bhpk,hkd->bpd", z, self.W_O[0]) + self.b_O[0]
        x = x + (x @ self.W_in[0] + self.b_in[0]).relu() @ self.W_out[0] + self.b_out[0]
        return x @ self.W_U + self.b_U


def test_bridges_of_other_versions_and_hooked_transformers_are_read():
    """By their names and logits; one that computes something else is refused by its logits."""
    cfg, group = TransformerBridgeConfig(**CONFIG), cc.group("S3")
    model = OtherVersion(cfg)
    network = GroupTransformer.from_bridge(model, group)
    expected = model(tokens_of(group.pairs(), 6))[:, -1]
    torch.testing.assert_close(network(group.pairs()), expected, rtol=1e-10, atol=1e-10)
    with pytest.raises(
        cc.CosetCircuitsError, match=r"logits of the TransformerBridge .* differ by"
    ):
        GroupTransformer.from_bridge(OtherVersion(cfg, scale=2.0), group)


def test_what_can_be_no_bridge_says_so():
    network = GroupTransformer.from_bridge(native(), cc.group("S3"))
    weights = {name: p.detach() for name, p in network.named_parameters()}
    mixed = GroupTransformer(network.group, weights, tokens=(0, 0, 6), attention=0.5)
    with pytest.raises(cc.CosetCircuitsError, match="attention mixed with a constant"):
        mixed.bridge()
    tables = network.left_table, network.right_table, network.W_U
    with pytest.raises(cc.CosetCircuitsError, match="tables of its own"):
        network.with_tables(*tables, label="surrogate").bridge()
    biased = GroupTransformer(
        network.group, {**weights, "b_unembed": torch.ones(6).double()}, tokens=(0, 0, 6)
    )
    with pytest.raises(cc.CosetCircuitsError, match="no bias at the unembedding"):
        biased.bridge()
    network.activation = Activation.named("square")
    with pytest.raises(cc.CosetCircuitsError, match="no activation 'square'"):
        network.bridge()
    with pytest.raises(cc.CosetCircuitsError, match="A Linear was given"):
        GroupTransformer.from_bridge(torch.nn.Linear(2, 2))


@needs_peers
@pytest.mark.parametrize("name", ["S5_T_seed1", "C113_T_seed1"])
def test_a_released_transformer_tells_its_group_through_a_bridge(name):
    network = cc.load(PEERS / name).double()
    again = GroupTransformer.from_bridge(network.bridge())
    assert again.group.order == network.group.order
    pairs = again.group.pairs()
    with torch.no_grad():
        assert (again(pairs).argmax(1) == again.group.products(pairs)).all()
    assert again.group.name == network.group.name


def test_a_bridge_in_another_numbering_or_of_another_group():
    """The shipped transformer of S5 with its elements renumbered, where the product is known."""
    network = cc.load("s5_transformer")
    numbers = torch.randperm(120, generator=torch.Generator().manual_seed(0))
    bridge = network.reordered(numbers, network.group).bridge()
    with pytest.warns(UserWarning, match=r"right on 1\.0% .* numbering of S5 that was given"):
        read = GroupTransformer.from_bridge(bridge, "S5")
    assert (read.answers() == network.group.array).mean() == 1
    with pytest.raises(cc.CosetCircuitsError, match="multiplies in S5"):
        GroupTransformer.from_bridge(bridge, "D60")


def test_a_bridge_given_as_a_module_says_where_it_belongs():
    with pytest.raises(cc.CosetCircuitsError, match=r"with cc\.GroupTransformer\.from_bridge"):
        cc.from_module(native(), "S3")
