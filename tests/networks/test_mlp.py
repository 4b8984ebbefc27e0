"""The network against its formula, and against what a TransformerLens user expects of it."""

import math

import pytest
import torch

import coset_circuits as cc
from coset_circuits import CosetCircuitsError, GroupMLP
from coset_circuits.networks import SITES

FORMULAS = {
    "relu": lambda x: torch.where(x > 0, x, torch.zeros_like(x)),
    "gelu": lambda x: x * (1 + torch.erf(x / math.sqrt(2))) / 2,
    "silu": lambda x: x / (1 + torch.exp(-x)),
    "abs": lambda x: (x * x).sqrt(),
    "square": lambda x: x * x,
    "identity": lambda x: x,
}


def random_weights(order=6, d_left=4, d_right=3, d_mlp=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = {
        "W_E_left": (order, d_left),
        "W_E_right": (order, d_right),
        "W_in_left": (d_left, d_mlp),
        "W_in_right": (d_right, d_mlp),
        "W_U": (d_mlp, order),
        "b_in": (d_mlp,),
        "b_U": (order,),
    }
    return {
        name: torch.randn(*shape, generator=generator, dtype=torch.float64)
        for name, shape in shapes.items()
    }


@pytest.fixture
def group():
    return cc.group("S3")


@pytest.fixture
def network(group):
    return GroupMLP.from_weights(group, **random_weights())


def by_hand(group, weights, activation):
    """The formula of DESIGN.md, pair by pair."""
    rows = []
    for a, b in group.pairs().tolist():
        pre = weights["W_E_left"][a] @ weights["W_in_left"]
        pre = pre + weights["W_E_right"][b] @ weights["W_in_right"] + weights.get("b_in", 0)
        rows.append(activation(pre) @ weights["W_U"] + weights.get("b_U", 0))
    return torch.stack(rows)


@pytest.mark.parametrize("without", [(), ("b_in",), ("b_U",), ("b_in", "b_U")])
@pytest.mark.parametrize("act_fn", FORMULAS)
def test_the_factorised_pass_is_the_formula_pair_by_pair(group, act_fn, without):
    weights = {k: v for k, v in random_weights().items() if k not in without}
    network = GroupMLP.from_weights(group, **weights, act_fn=act_fn)
    expected = by_hand(group, weights, FORMULAS[act_fn])
    torch.testing.assert_close(network(group.pairs()), expected, rtol=1e-12, atol=1e-12)


def test_hooked_embeddings_take_a_path_that_gives_the_same(group, network):
    seen = {}

    def look(value, hook):
        seen[hook.name] = value

    pairs = group.pairs()
    sides = ("hook_left_embed", "hook_right_embed")
    hooked = network.run_with_hooks(pairs, fwd_hooks=[(side, look) for side in sides])
    torch.testing.assert_close(hooked, network(pairs), rtol=1e-13, atol=1e-13)
    assert torch.equal(seen["hook_left_embed"], network.W_E_left[pairs[:, 0]])
    assert torch.equal(seen["hook_right_embed"], network.W_E_right[pairs[:, 1]])


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_doubled_embedding_is_the_network_of_doubled_embeddings(group, network, side):
    weights = random_weights()
    weights[f"W_E_{side}"] = 2 * weights[f"W_E_{side}"]
    hooked = network.run_with_hooks(
        group.pairs(), fwd_hooks=[(f"hook_{side}_embed", lambda embed, hook: 2 * embed)]
    )
    expected = GroupMLP.from_weights(group, **weights)(group.pairs())
    torch.testing.assert_close(hooked, expected, rtol=1e-12, atol=1e-12)


def test_the_cache_holds_every_site_in_order_of_computation(group, network):
    logits, cache = network.run_with_cache(group.pairs())
    a, b = group.pairs().T
    assert tuple(cache) == SITES
    assert torch.equal(cache["hook_left_embed"], network.W_E_left[a])
    assert torch.equal(cache["hook_right_embed"], network.W_E_right[b])
    torch.testing.assert_close(cache["hook_left_pre"], network.left_table[a])
    torch.testing.assert_close(cache["hook_right_pre"], network.right_table[b])
    assert torch.equal(cache["hook_pre"], cache["hook_left_pre"] + cache["hook_right_pre"])
    assert torch.equal(cache["hook_post"], cache["hook_pre"].clamp(min=0))
    assert torch.equal(cache["hook_logits"], logits)


def test_the_input_bias_belongs_to_the_left_side(group):
    weights = random_weights()
    network = GroupMLP.from_weights(group, **weights)
    _, cache = network.run_with_cache(group.pairs())
    zero = group.pairs()[:, 1] * 0
    right = (weights["W_E_right"] @ weights["W_in_right"])[group.pairs()[:, 1]]
    torch.testing.assert_close(cache["hook_right_pre"], right)
    left = (weights["W_E_left"] @ weights["W_in_left"])[group.pairs()[:, 0]]
    torch.testing.assert_close(cache["hook_left_pre"] - left, weights["b_in"][None][zero])


def test_a_hook_on_the_preactivation_changes_the_function(group, network):
    weights = random_weights()
    hooked = network.run_with_hooks(
        group.pairs(), fwd_hooks=[("hook_pre", lambda pre, hook: pre.abs())]
    )
    expected = by_hand(group, weights, torch.abs)
    torch.testing.assert_close(hooked, expected, rtol=1e-12, atol=1e-12)


def test_hooks_hold_in_their_context_and_no_longer(group, network):
    pairs = group.pairs()
    before = network(pairs)
    assert network.list_hooks() == {}
    with network.hooks(fwd_hooks=[("hook_logits", lambda logits, hook: -logits)]):
        assert list(network.list_hooks()) == ["hook_logits"]
        assert torch.equal(network(pairs), -before)
    assert network.list_hooks() == {}
    assert torch.equal(network(pairs), before)


@pytest.mark.parametrize(
    "run",
    [
        lambda n, p: n.run_with_hooks(p, fwd_hooks=[("hook_mid", lambda x, hook: x)]),
        lambda n, p: n.run_with_cache(p, names_filter="hook_mid"),
        lambda n, p: n.run_with_cache(p, names_filter=["hook_pre", "hook_mid"]),
        lambda n, p: n.add_hook("hook_mid", lambda x, hook: x),
        lambda n, p: n.add_caching_hooks(["hook_mid"]),
    ],
)
def test_an_unknown_site_is_refused_with_the_known_ones(group, network, run):
    with pytest.raises(CosetCircuitsError, match=r"'hook_mid' is not a site.*hook_pre, "):
        run(network, group.pairs())


def test_a_filter_caches_only_what_it_names(group, network):
    _, cache = network.run_with_cache(group.pairs(), names_filter=["hook_post"])
    assert list(cache) == ["hook_post"]


def test_cfg_follows_the_network(group):
    network = GroupMLP.initialised(group, d_mlp=8, d_embed=5, act_fn="gelu", seed=3)
    cfg = network.cfg
    assert (cfg.group, cfg.order, cfg.d_embed, cfg.d_mlp) == ("S3", 6, 5, 8)
    assert (cfg.act_fn, cfg.bias_in, cfg.bias_out, cfg.seed) == ("gelu", False, False, 3)
    assert (cfg.device, cfg.dtype) == ("cpu", "float32")
    assert network.double().cfg.dtype == "float64"
    assert GroupMLP.from_weights(group, **random_weights()).cfg.bias_in


def test_initial_weights_have_the_scale_of_their_fan_in():
    network = GroupMLP.initialised(cc.group("S5"), d_mlp=128, d_embed=256, seed=0)
    assert network.W_E_left.std().item() == pytest.approx(256**-0.5, rel=0.02)
    # The two halves of one matrix for both embeddings.
    assert network.W_in_right.std().item() == pytest.approx(512**-0.5, rel=0.02)
    assert network.W_U.std().item() == pytest.approx(128**-0.5, rel=0.02)


def test_one_matrix_for_both_embeddings_is_split(group, network):
    weights = random_weights()
    halves = [weights.pop("W_in_left"), weights.pop("W_in_right")]
    joined = GroupMLP.from_weights(group, **weights, W_in=torch.cat(halves))
    assert torch.equal(joined(group.pairs()), network(group.pairs()))


def test_tables_stand_for_embeddings(group, network):
    of_tables = GroupMLP.from_weights(
        group,
        left_table=network.left_table,
        right_table=network.right_table,
        W_U=network.W_U,
        b_U=network.b_U,
    )
    torch.testing.assert_close(of_tables(group.pairs()), network(group.pairs()))
    assert torch.equal(of_tables.left_table, network.left_table)


def test_given_weights_are_copied(group):
    weights = random_weights()
    network = GroupMLP.from_weights(group, **weights)
    before = network(group.pairs())
    for tensor in weights.values():
        tensor.zero_()
    assert torch.equal(network(group.pairs()), before)


def changed(**changes):
    return {k: v for k, v in {**random_weights(), **changes}.items() if v is not None}


@pytest.mark.parametrize(
    ("weights", "sentence"),
    [
        (changed(b_U=torch.full((6,), torch.nan)), "b_U holds 6 values that are not finite"),
        (changed(W_U=torch.full((5, 6), torch.inf)), "W_U holds 30 values that are not finite"),
        (changed(W_U=torch.zeros(5, 7)), r"W_U has shape \(5, 7\) where .* need \(5, 6\)"),
        (changed(W_E_left=torch.zeros(5, 4)), r"W_E_left has shape \(5, 4\).*need \(6, 4\)"),
        (changed(W_in_right=torch.zeros(9, 5)), r"need \(6, 9\)|need \(3, 5\)"),
        (changed(b_in=torch.zeros(4)), r"b_in has shape \(4,\).*need \(5,\)"),
        (changed(b_U=torch.zeros(6, 1)), "b_U has shape.*a vector"),
        (changed(W_E_right=torch.zeros(6, 3, dtype=torch.int64)), "W_E_right holds torch.int64"),
        (changed(W_in_left=None), "lack W_in_left"),
        (changed(W_E_right=None), "lack W_E_right"),
        (
            changed(W_in_left=torch.zeros(4, 0), W_in_right=torch.zeros(3, 0), b_in=torch.zeros(0))
            | {"W_U": torch.zeros(0, 6)},
            "no neurons",
        ),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_weights_that_do_not_fit_are_refused(group, weights, sentence):
    with pytest.raises(CosetCircuitsError, match=sentence):
        GroupMLP.from_weights(group, **weights)


def test_an_unknown_activation_is_refused_with_the_known_ones(group):
    with pytest.raises(CosetCircuitsError, match=r"'tanh' is not known.*relu, gelu, silu, abs"):
        GroupMLP.from_weights(group, **random_weights(), act_fn="tanh")


@pytest.mark.parametrize(
    ("pairs", "sentence"),
    [
        (torch.zeros(4, 2), "torch.float32; give a tensor of integer pairs"),
        (torch.zeros(4, 2, dtype=torch.bool), "torch.bool; give a tensor of integer pairs"),
        ([(0, 1), (2,)], "list; give a tensor of integer pairs"),
        (torch.zeros(4, dtype=torch.int64), r"shape \(4,\); give pairs"),
        (torch.zeros(4, 3, dtype=torch.int64), r"shape \(4, 3\); give pairs"),
        (torch.tensor([[0, 6]]), "elements 0 to 6; the elements of S3 are 0 to 5"),
        (torch.tensor([[-1, 2]]), "elements -1 to 2"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_what_is_no_batch_of_pairs_is_refused(network, pairs, sentence):
    with pytest.raises(CosetCircuitsError, match=sentence):
        network(pairs)


def test_an_empty_batch_has_no_logits(network):
    assert network(torch.zeros(0, 2, dtype=torch.int64)).shape == (0, 6)


def test_repr_says_what_it_is(group):
    network = GroupMLP.from_weights(group, **random_weights(), label="mine")
    assert repr(network) == (
        "GroupMLP(mine: S3 of order 6, 5 relu neurons, embedding 4, float64 on cpu; weights given "
        "in Python)"
    )


def test_html_escapes_what_it_shows(group):
    html = GroupMLP.from_weights(
        group,
        **random_weights(),
        label="<script>alert(1)</script>",
        provenance={"source": "<b>a & b</b>"},
    )._repr_html_()
    assert "<script>" not in html and "<b>" not in html
    assert "&lt;script&gt;" in html and "a &amp; b" in html


def test_pre_scale_is_the_deviation_over_all_pairs(group, network):
    _, cache = network.run_with_cache(group.pairs())
    expected = cache["hook_pre"].std(0, correction=0)
    torch.testing.assert_close(network.pre_scale, expected, rtol=1e-12, atol=0)


def test_a_cancelled_linear_half_is_gone(group):
    weights = random_weights(d_mlp=20)
    network = GroupMLP.from_weights(group, **weights, act_fn="identity")
    network.cancel_linear_half()
    logits = network(group.pairs())
    torch.testing.assert_close(logits, weights["b_U"].expand_as(logits), rtol=0, atol=1e-12)


def test_relu_without_its_linear_half_is_half_the_absolute_value(group):
    weights = random_weights(d_mlp=20)
    network = GroupMLP.from_weights(group, **weights)
    network.cancel_linear_half()
    expected = by_hand(group, weights, lambda pre: pre.abs() / 2)
    torch.testing.assert_close(network(group.pairs()), expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("act_fn", ["abs", "square"])
def test_an_even_activation_has_no_linear_half_to_cancel(group, act_fn):
    network = GroupMLP.from_weights(group, **random_weights(d_mlp=20), act_fn=act_fn)
    before = network(group.pairs())
    network.cancel_linear_half()
    assert torch.equal(network(group.pairs()), before)


def test_noise_from_outside_the_span_passes_the_cancelling(group):
    weights = random_weights(d_mlp=20)
    network = GroupMLP.from_weights(group, **weights, act_fn="identity")
    network.cancel_linear_half()
    rows = torch.cat([network.left_table, network.right_table]).detach()
    # The last rows of Vᵀ are orthogonal to all twelve table rows.
    outside = torch.linalg.svd(rows)[2][-1]
    noisy = network.run_with_hooks(
        group.pairs(), fwd_hooks=[("hook_pre", lambda pre, hook: pre + 5 * outside)]
    )
    expected = 5 * outside @ weights["W_U"] + weights["b_U"]
    torch.testing.assert_close(noisy, expected.expand_as(noisy), rtol=1e-10, atol=1e-10)
