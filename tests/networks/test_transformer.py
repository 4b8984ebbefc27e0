"""One-layer transformers: against a plain implementation, and the networks that were released."""

import json
import math

import numpy as np
import pytest
import torch
from rare import rare
from released import CLOCKS, PEERS, figures, needs_clocks, needs_peers
from safetensors import safe_open
from safetensors.torch import save_file

import coset_circuits as cc
from coset_circuits.errors import CosetCircuitsError
from coset_circuits.networks.transformer import HEADS, PATTERN, GroupTransformer


def random_weights(order, *, positions=3, d_model=7, heads=2, d_head=5, d_mlp=11):
    """Of a vocabulary of ``order`` elements and one token more, all biases included."""
    generator = torch.Generator().manual_seed(0)
    shapes = {
        "W_E": (order + 1, d_model),
        "W_pos": (positions, d_model),
        **{f"W_{name}": (heads, d_model, d_head) for name in "QKV"},
        "W_O": (heads, d_head, d_model),
        "W_in": (d_model, d_mlp),
        "W_out": (d_mlp, d_model),
        "W_unembed": (d_model, order),
        **{f"b_{name}": (heads, d_head) for name in "QKV"},
        "b_O": (d_model,),
        "b_in": (d_mlp,),
        "b_out": (d_model,),
        "b_unembed": (order,),
    }
    return {
        name: torch.randn(shape, generator=generator, dtype=torch.float64)
        for name, shape in shapes.items()
    }


def plain(w, tokens, attention=1.0):
    """A transformer that runs position by position and head by head, as textbooks write it.

    Returns the pre-activations and the logits at the last position.
    """
    x = w["W_E"][tokens] + w["W_pos"]
    last, added = x[:, -1], torch.zeros_like(x[:, -1])
    for h in range(len(w["W_Q"])):
        q = last @ w["W_Q"][h] + w["b_Q"][h]
        k, v = x @ w["W_K"][h] + w["b_K"][h], x @ w["W_V"][h] + w["b_V"][h]
        scores = torch.stack([(q * k[:, p]).sum(-1) for p in range(x.shape[1])], -1)
        weights = attention * torch.softmax(scores / math.sqrt(q.shape[-1]), -1) + 1 - attention
        added += sum(weights[:, p, None] * v[:, p] for p in range(x.shape[1])) @ w["W_O"][h]
    mid = last + added + w["b_O"]
    pre = mid @ w["W_in"] + w["b_in"]
    after = mid + pre.relu() @ w["W_out"] + w["b_out"]
    return pre, after @ w["W_unembed"] + w["b_unembed"]


@pytest.fixture
def group():
    return cc.group("S3")


@pytest.fixture
def network(group):
    return GroupTransformer(group, random_weights(6), tokens=(0, 0, 6))


@pytest.mark.parametrize("attention", [1.0, 0.3, 0.0])
def test_logits_are_those_of_a_plain_transformer(group, attention):
    weights, pairs = random_weights(6), group.pairs()
    network = GroupTransformer(group, weights, tokens=(0, 0, 6), attention=attention)
    logits, cache = network.run_with_cache(pairs)
    tokens = torch.cat([pairs, torch.full((36, 1), 6)], 1)
    pre, expected = plain(weights, tokens, attention)
    torch.testing.assert_close(cache["hook_pre"], pre, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(logits, expected, rtol=1e-11, atol=1e-11)


def test_two_positions_answer_at_the_second(group):
    weights = random_weights(6, positions=2)
    network = GroupTransformer(group, weights, tokens=(0, 0, None))
    _, expected = plain(weights, group.pairs())
    torch.testing.assert_close(network(group.pairs()), expected, rtol=1e-11, atol=1e-11)


def test_tables_are_main_effects_and_the_share_is_that_of_a_two_way_analysis(group, network):
    _, cache = network.run_with_cache(group.pairs())
    pre = cache["hook_pre"].reshape(6, 6, -1)
    mean = pre.mean((0, 1))
    left, right = pre.mean(1), pre.mean(0) - mean
    torch.testing.assert_close(network.left_table, left, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(network.right_table, right, rtol=1e-11, atol=1e-11)
    additive = left[:, None] + right
    share = additive.var((0, 1), correction=0).sum() / pre.var((0, 1), correction=0).sum()
    assert network.additive_share == pytest.approx(float(share), abs=1e-11)
    assert 0.05 < network.additive_share < 0.95


@pytest.mark.parametrize("positions", [3, 2])
def test_a_file_of_ours_holds_a_transformer_whole(tmp_path, group, positions):
    tokens = (0, 0, 6 if positions == 3 else None)
    network = GroupTransformer(
        group, random_weights(6, positions=positions), tokens=tokens, attention=0.3, label="mine"
    )
    cc.networks.save(network, tmp_path / "n.safetensors")
    read = cc.load(tmp_path / "n.safetensors")
    assert isinstance(read, GroupTransformer)
    assert (read.tokens, read.attention, read.label) == (tokens, 0.3, "mine")
    assert torch.equal(read(group.pairs()), network(group.pairs()))
    assert read.fingerprint() == network.fingerprint()


@needs_peers
@needs_clocks
@pytest.mark.parametrize("path", [PEERS / "A5_T_seed1", CLOCKS / "model_2k4ohj6bhd.pt"])
def test_a_file_of_ours_holds_a_released_transformer(tmp_path, path):
    network = cc.load(path)
    cc.networks.save(network, tmp_path / "n.safetensors")
    read = cc.load(tmp_path / "n.safetensors")
    assert isinstance(read, GroupTransformer)
    assert (read.tokens, read.attention) == (network.tokens, network.attention)
    assert read.fingerprint() == network.fingerprint()


def test_a_surrogate_of_a_transformer_is_read_as_it_was_saved(tmp_path, network):
    tables = network.left_table, network.right_table, network.W_U
    surrogate = network.with_tables(*tables, label="s")
    cc.networks.save(surrogate, tmp_path / "n.safetensors")
    assert cc.load(tmp_path / "n.safetensors").fingerprint() == surrogate.fingerprint()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"tokens": [0, 0]}, r"tokens are \[0, 0\]"),
        ({"tokens": [0, 0, 60]}, "too few for 6 elements"),
        ({"attention": 2}, "attention is 2; expected is a number from 0 to 1"),
        ({"architecture": "rnn"}, "architecture 'rnn', which this version cannot read"),
        ({"architecture": "mlp"}, "is not a weight of this network"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(tmp_path, network, change, sentence):
    path = cc.networks.save(network, tmp_path / "n.safetensors", card=False)
    with safe_open(path, "pt") as file:
        description = json.loads(file.metadata()["coset_circuits"]) | change
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(tensors, path, {"coset_circuits": json.dumps(description)})
    with pytest.raises(CosetCircuitsError, match=sentence):
        cc.load(path)


def test_main_effects_follow_changes_through_data(network):
    before = network.left_table.clone()
    network.W_in.data.mul_(2)
    network.b_in.data.mul_(2)
    torch.testing.assert_close(network.left_table, 2 * before)


def test_main_effects_follow_the_weights(network):
    before = network.left_table.clone()
    with torch.no_grad():
        network.W_in.mul_(2)
        network.b_in.mul_(2)
    torch.testing.assert_close(network.left_table, 2 * before)


def test_the_skip_path_is_shared_with_surrogates_and_never_stale(group, network):
    """Runs without gradients share what surrogates do not change; nothing else may notice."""
    pairs = group.pairs()
    tables = network.left_table, network.right_table, network.W_U
    surrogate = network.with_tables(*tables, label="additive")
    with torch.no_grad():
        first, alone = network(pairs), surrogate(pairs)
        residuals = network._residual
        network._residual = surrogate._residual = None
        assert torch.equal(network(pairs), first)
        assert torch.equal(surrogate(pairs), alone)
        network._residual = surrogate._residual = residuals
        # What a user does to a cached value stays with the user.
        _, cache = network.run_with_cache(pairs)
        cache["hook_skip"].mul_(0)
        network.run_with_hooks(pairs, fwd_hooks=[("hook_skip", lambda value, hook: value.mul_(0))])
        assert torch.equal(network(pairs), first)
        doubled = [(PATTERN, lambda value, hook: 2 * value)]
        assert not torch.allclose(network.run_with_hooks(pairs, fwd_hooks=doubled), first)
        assert torch.equal(network(pairs), first)
        network.W_unembed.data.mul_(2)
        changed = network(pairs)
        assert not torch.allclose(changed, first)
        assert torch.equal(surrogate(pairs), alone)
    assert changed.equal(network(pairs).detach())
    assert torch.equal(network.unhooked()(pairs), changed)


def test_what_is_shared_has_a_bound(group, network, monkeypatch):
    monkeypatch.setattr("coset_circuits.networks.transformer._MEMO", 100)
    pairs = group.pairs()
    with torch.no_grad():
        parts = [network(part) for part in pairs.split(3)]
        assert sum(x.numel() for path in network._shared.paths.values() for x in path) <= 100
        torch.testing.assert_close(torch.cat(parts), network(pairs))
        assert torch.equal(torch.cat([network(part) for part in pairs.split(3)]), torch.cat(parts))


def test_every_site_is_cached_and_can_be_changed(group, network):
    pairs = group.pairs()[:10]
    logits, cache = network.run_with_cache(pairs)
    assert set(cache.keys()) == set(network.sites)
    assert cache[PATTERN].shape == (10, 2, 3)
    assert cache[HEADS].shape == (10, 2, 7)
    torch.testing.assert_close(cache[PATTERN].sum(-1), torch.ones(10, 2, dtype=torch.float64))
    for site in network.sites:
        changed = network.run_with_hooks(pairs, fwd_hooks=[(site, lambda value, hook: value / 2)])
        assert not torch.allclose(changed, logits), site
    # The skip path is everything that the neurons do not write.
    rest = logits - cache["hook_post"] @ network.W_U
    torch.testing.assert_close(cache["hook_skip"], rest, rtol=1e-10, atol=1e-10)


def test_a_surrogate_is_additive_and_keeps_the_skip_path(group, network):
    pairs = group.pairs()
    tables = network.left_table, network.right_table, network.W_U
    surrogate = network.with_tables(*tables, label="additive")
    _, cache = network.run_with_cache(pairs)
    pre = tables[0][pairs[:, 0]] + tables[1][pairs[:, 1]]
    expected = pre.relu() @ network.W_U + cache["hook_skip"]
    torch.testing.assert_close(surrogate(pairs), expected, rtol=1e-11, atol=1e-11)
    assert surrogate.additive_share == 1
    with pytest.raises(CosetCircuitsError, match=r"silent at blocks\.0\.attn\.hook_pattern"):
        surrogate.run_with_hooks(pairs, fwd_hooks=[(PATTERN, lambda value, hook: value)])


def test_reordering_renames_and_changes_nothing_else(group, network):
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    renamed, pairs = network.reordered(order, group), group.pairs()
    expected = network(order[pairs])[:, order]
    torch.testing.assert_close(renamed(pairs), expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"W_in": None}, "lack W_in"),
        ({"W_out": torch.zeros(3, 7)}, r"W_out has shape \(3, 7\)"),
        ({"W_pos": torch.zeros(2, 7)}, r"W_pos has shape \(2, 7\)"),
        ({"W_E": torch.full((7, 7), torch.nan)}, "W_E holds values that are not finite"),
        ({"W_E": torch.zeros(5, 7)}, "W_E has 5 tokens, too few"),
    ],
)
@pytest.mark.usefixtures("unchecked")
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
        ({"blocks.0.mlp.W_in": "weights"}, "must hold matrices"),
        ({"blocks.0.mlp.W_in": torch.zeros(6)}, "must hold matrices"),
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


@pytest.mark.parametrize("suffix", [".pt", ".safetensors", ".npz"])
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod."])
def test_wrappers_and_kinds_of_file_change_nothing(tmp_path, suffix, wrapper, prefix):
    content = {prefix + name: value for name, value in adds_modulo_5([3, 0, 4, 2, 1]).items()}
    path = tmp_path / f"model{suffix}"
    if suffix == ".pt":
        torch.save({wrapper: content, "epoch": 3} if wrapper else content, path)
    elif suffix == ".safetensors":
        save_file(content, path)
    else:
        np.savez(path, **{name: value.numpy() for name, value in content.items()})
    network = cc.load(path)
    assert isinstance(network, GroupTransformer)
    assert network.group.name == "C5" and figures(network)[0] == 1


def test_a_transformer_goes_through_a_comparison(tmp_path):
    torch.save(adds_modulo_5(range(5)), tmp_path / "model.pt")
    comparison = cc.compare(cc.load(tmp_path), pairs=25)
    assert "one-layer transformer" in str(comparison)
    folder = comparison.save(tmp_path / "report")
    facts = json.loads((folder / "findings.json").read_text())["network"]
    assert facts["kind"] == "transformer"
    assert facts["additive_share"] == pytest.approx(1)


def run_of_stander(folder, *, config=None, model=None, order=6, act_fn="relu"):
    """A run of sn-grok: HookedTransformer's names, and the settings it was made with.

    Their = is token order + 1; token ``order`` is never used.
    """
    weights = random_weights(order + 1)
    names = {"W_E": "embed.W_E", "W_pos": "pos_embed.W_pos", "W_unembed": "unembed.W_U"}
    names |= {"b_unembed": "unembed.b_U"}
    names |= {k: f"blocks.0.mlp.{k}" for k in ("W_in", "b_in", "W_out", "b_out")}
    weights["W_unembed"] = weights["W_unembed"][:, :order].clone()
    weights["b_unembed"] = weights["b_unembed"][:order].clone()
    content = {names.get(k, f"blocks.0.attn.{k}"): v for k, v in weights.items()}
    content |= {
        "blocks.0.attn.mask": torch.tril(torch.ones(3, 3)).bool(),
        "blocks.0.attn.IGNORE": torch.tensor(-math.inf),
    }
    settings = {"d_model": 7, "d_head": 5, "n_heads": 2, "d_mlp": 11, "n_ctx": 3, "n_layers": 1}
    settings |= {"d_vocab": order + 2, "d_vocab_out": order, "act_fn": act_fn}
    settings |= {"normalization_type": None, **(config or {})}
    run = {"model": content | (model or {}), "config": settings, "checkpoints": []}
    run["model"] = {k: v for k, v in run["model"].items() if v is not None}
    torch.save(run, folder / "full_run.pth")
    return weights


@pytest.mark.parametrize("bare", [False, True])
def test_a_transformer_of_stander_et_al_is_read(tmp_path, bare):
    """Also one without biases: a HookedTransformer has them, a file need not."""
    biases = [f"blocks.0.attn.b_{k}" for k in "QKVO"] if bare else []
    weights = run_of_stander(tmp_path, model=dict.fromkeys(biases))
    if bare:
        weights |= {k: torch.zeros_like(weights[k]) for k in ("b_Q", "b_K", "b_V", "b_O")}
    network = cc.load(tmp_path, order="D3, native")
    pairs = network.group.pairs()
    _, expected = plain(weights, torch.cat([pairs, torch.full((36, 1), 7)], 1))
    torch.testing.assert_close(network(pairs), expected, rtol=1e-11, atol=1e-11)
    assert network.cfg.d_vocab == 8


def test_the_activation_of_a_transformer_of_stander_et_al_is_used(tmp_path):
    run_of_stander(tmp_path, act_fn="gelu")
    network = cc.load(tmp_path, order="D3, native")
    _, cache = network.run_with_cache(network.group.pairs())
    expected = torch.nn.functional.gelu(cache["hook_pre"])
    torch.testing.assert_close(cache["hook_post"], expected)


@pytest.mark.parametrize(
    ("config", "model", "sentence"),
    [
        (
            {"normalization_type": "LNPre"},
            {},
            "normalization_type = LNPre, .* must be None: only one-layer",
        ),
        ({"attn_only": True}, {}, "attn_only = True, .* must be False: only one-layer"),
        ({"n_layers": 2}, {}, "n_layers = 2"),
        ({"n_layers": torch.ones(2)}, {}, "n_layers = tensor"),
        ({"act_fn": "gelu_new"}, {}, "activation 'gelu_new' is not known"),
        ({"attn_scale": 1.0}, {}, "attn_scale = 1.0; only attention scores divided by √5"),
        ({"positional_embedding_type": "rotary"}, {}, "positional_embedding_type = rotary"),
        ({"rotary_dim": 4}, {}, "the setting rotary_dim = 4, which may change"),
        ({}, {"blocks.0.ln1.w": torch.ones(7)}, "also holds blocks.0.ln1.w"),
        ({}, {"embed.W_E": torch.zeros(9, 7)}, "has 9 tokens and 6 outputs"),
        ({}, {"blocks.0.mlp.W_in": None}, "lack W_in"),
        ({}, {"blocks.0.attn.W_O": None}, "lack W_O"),
    ],
)
def test_what_changes_a_transformer_of_stander_et_al_is_refused(tmp_path, config, model, sentence):
    run_of_stander(tmp_path, config=config, model=model)
    with pytest.raises(CosetCircuitsError, match=sentence):
        cc.load(tmp_path, order="D3, native")


def test_a_trained_transformer_of_stander_et_al_tells_its_group(tmp_path):
    """Addition modulo 5 with an unused token before =, in an order that nobody knows."""
    content = adds_modulo_5([3, 0, 4, 2, 1])
    content = {k: v for k, v in content.items() if not k.endswith("_embed") or "." in k}
    W_E = content["embed.W_E"]
    content["embed.W_E"] = torch.cat([W_E[:5], torch.full((1, 6), 9.0), W_E[5:]])
    run = {"model": content, "config": {"act_fn": "relu", "n_layers": 1, "d_vocab": 7}}
    torch.save(run, tmp_path / "full_run.pth")
    network = cc.load(tmp_path)
    assert network.group.name == "C5"
    assert figures(network)[0] == 1
    # Without the settings nobody says which of the two tokens is =.
    torch.save(content, tmp_path / "model.pt")
    with pytest.raises(CosetCircuitsError, match="has 7 tokens and 5 outputs"):
        cc.load(tmp_path / "model.pt")


def file_of_zhong(folder, weights, **changes):
    """Their names and shapes: every matrix but two is transposed."""
    content = {
        "embed.W_E": weights["W_E"].T,
        "pos_embed.W_pos": weights["W_pos"],
        "unembed.W_U": weights["W_unembed"],
        **{f"blocks.0.attn.{k}": weights[k].transpose(1, 2) for k in ("W_Q", "W_K", "W_V")},
        "blocks.0.attn.W_O": weights["W_O"].flatten(0, 1).T,
        "blocks.0.attn.mask": torch.tril(torch.ones(2, 2)),
        "blocks.0.mlp.W_in": weights["W_in"].T,
        "blocks.0.mlp.b_in": weights["b_in"],
        "blocks.0.mlp.W_out": weights["W_out"].T,
        "blocks.0.mlp.b_out": weights["b_out"],
    }
    config = {"C": 5, "attn_coeff": 0.3, "diff_vocab": False, "eqn_sign": False, "act_fn": "ReLU"}
    config = {k: v for k, v in {**config, **changes}.items() if v is not None}
    torch.save({k: v.contiguous() for k, v in content.items()}, folder / "model_abc.pt")
    (folder / "config_abc.json").write_text(json.dumps(config))
    return folder / "model_abc.pt"


@pytest.mark.parametrize("diff_vocab", [False, True])
@pytest.mark.parametrize("eqn_sign", [0, 1])
def test_a_file_of_zhong_et_al_is_read(tmp_path, diff_vocab, eqn_sign):
    tokens = 5 * (1 + diff_vocab) + eqn_sign
    weights = random_weights(tokens - 1, positions=2 + eqn_sign)
    weights |= {name: torch.zeros_like(weights[name]) for name in ("b_Q", "b_K", "b_V", "b_O")}
    weights["b_unembed"] = torch.zeros(tokens - 1, dtype=torch.float64)
    path = file_of_zhong(tmp_path, weights, diff_vocab=diff_vocab, eqn_sign=eqn_sign)
    if diff_vocab or eqn_sign:
        network = cc.load(path, order="native")
        pairs = network.group.pairs()
        read = [pairs[:, 0], pairs[:, 1] + 5 * diff_vocab]
        read += [torch.full((25,), tokens - 1)] if eqn_sign else []
        _, expected = plain(weights, torch.stack(read, 1), attention=0.3)
        torch.testing.assert_close(network(pairs), expected[:, :5], rtol=1e-11, atol=1e-11)
    else:
        with pytest.raises(CosetCircuitsError, match=r"W_unembed has shape \(7, 4\)"):
            cc.load(path, order="native")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"attn_coeff": None}, "lacks attn_coeff"),
        ({"attn_coeff": 2}, r"attn_coeff 2, not in \[0, 1\]"),
        ({"act_fn": "Tanh"}, "activation 'tanh' is not known"),
        ({"C": 50}, "cannot be used"),
    ],
)
def test_a_configuration_of_zhong_et_al_that_does_not_fit_is_refused(tmp_path, changes, sentence):
    with pytest.raises(CosetCircuitsError, match=sentence):
        cc.load(file_of_zhong(tmp_path, random_weights(5, positions=2), **changes), order="native")


def test_a_file_of_zhong_et_al_without_its_configuration_is_refused(tmp_path):
    path = file_of_zhong(tmp_path, random_weights(5, positions=2))
    (tmp_path / "config_abc.json").unlink()
    with pytest.raises(CosetCircuitsError, match=r"cannot be read without config_abc\.json"):
        cc.load(path)


@needs_clocks
@pytest.mark.parametrize(
    ("name", "accuracy", "share"),
    [
        ("p99zdpze5l", 1, 1),
        ("l8k1hzciux", 1, 0.970),
        ("2k4ohj6bhd", 1, 0.989),
        ("n9n7h3p965", 0.583, 1),
    ],
)
def test_released_clocks_and_pizzas_are_read(name, accuracy, share):
    """Computed elsewhere, with code that has nothing to do with ours."""
    network = cc.load(CLOCKS / f"model_{name}.pt")
    assert network.group.name == "C59"
    assert figures(network)[0] == pytest.approx(accuracy, abs=5e-4)
    assert network.additive_share == pytest.approx(share, abs=5e-4)


@needs_peers
@pytest.mark.parametrize(
    "name",
    [
        "S5_T_seed1",
        "A5_T_seed1",
        "D59_T_seed1",
        "C113_T_seed1",
        "C118_T_seed1",
        pytest.param("S6_T_seed1", marks=rare),
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


@pytest.mark.parametrize("algorithm", [cc.CosetAlgorithm(), cc.IrrepAlgorithm()])
def test_hypotheses_about_tables_do_not_apply_where_there_is_an_interaction(network, algorithm):
    with pytest.raises(cc.DoesNotApplyError, match="interaction of its two inputs") as error:
        algorithm.fit(network)
    interaction = 1 - network.additive_share
    assert str(error.value).startswith(f"{interaction:.1%} of the variance")
    additive = network.with_tables(
        network.left_table, network.right_table, network.W_U, label="additive"
    )
    (before, loss), (after, lost) = figures(network), figures(additive)
    assert f"accuracy goes from {before:.1%} to {after:.1%}" in str(error.value)
    assert f"loss from {loss:.2g} to {lost:.2g} nats" in str(error.value)
    cc.CosetAlgorithm(thresholds=cc.Thresholds(interaction=interaction)).fit(network)


@needs_clocks
def test_irreps_apply_to_a_pizza_and_not_to_a_clock():
    pizza = cc.load(CLOCKS / "model_p99zdpze5l.pt").double()
    circuit = cc.IrrepAlgorithm().fit(pizza)
    assert circuit.roles.coverage > 0.9
    with pytest.raises(cc.DoesNotApplyError, match=r"^3\.0% of the variance of model_l8k1hzciux"):
        cc.IrrepAlgorithm().fit(cc.load(CLOCKS / "model_l8k1hzciux.pt").double())
