"""Resampling hooks on models of three kinds, against plain loops and the law of large numbers."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformer_lens import HookedRootModule
from transformer_lens.config import TransformerBridgeConfig
from transformer_lens.hook_points import HookPoint
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.model_bridge.sources import native  # noqa: F401
from transformer_lens.tools import analysis

import coset_circuits as cc
from coset_circuits.errors import CosetCircuitsError
from coset_circuits.experiments.resampling import (
    Cells,
    donors,
    mean_over,
    only,
    replace,
    resample,
    shuffle,
    uniform,
)


class TwoLayers(HookedRootModule):
    """A model that has nothing of a transformer: no cfg, no blocks, names of its own."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(3, 6), nn.Linear(6, 2)
        self.hook_hidden = HookPoint()
        self.setup()

    def forward(self, x):
        return self.second(self.hook_hidden(torch.relu(self.first(x))))


@pytest.fixture(scope="module")
def plain():
    torch.manual_seed(0)
    return TwoLayers().requires_grad_(False)


@pytest.fixture(scope="module")
def transformer():
    """Two layers of four heads, built in code: nothing is downloaded."""
    config = TransformerBridgeConfig(
        d_model=16,
        d_head=4,
        n_heads=4,
        n_layers=2,
        n_ctx=7,
        d_vocab=11,
        d_mlp=32,
        act_fn="gelu",
        architecture="TransformerLensNative",
        seed=0,
    )
    return TransformerBridge.boot_native(config).eval().requires_grad_(False)


TOKENS = torch.randint(11, (12, 7), generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(12) % 3


class At:
    name = "hook_here"


def numbers(*shape):
    """Every entry another number, so that where it came from can be read off."""
    return torch.arange(torch.Size(shape).numel()).double().reshape(shape)


# Donors.


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(-2, 3), min_size=1, max_size=12), st.integers(0, 2**31))
def test_donors_share_the_label_and_every_row_of_the_cell_can_be_one(labels, seed):
    many = donors(torch.tensor(labels)[:, None].expand(-1, 400), seed=seed)
    for row, label in enumerate(labels):
        same = {i for i, other in enumerate(labels) if other == label}
        # A cell of twelve misses a member in 400 draws with a chance of 12·(11/12)^400 < 1e-13.
        assert set(many[row].tolist()) == same


def test_donors_are_uniform_in_their_cell():
    labels = torch.tensor([0, 1, 0, 1, 0, 0, 1, 2])
    draws = donors(labels[:, None].expand(8, 4000))
    for row in range(8):
        members = (labels == labels[row]).nonzero()[:, 0]
        counts = torch.bincount(draws[row], minlength=8)[members].double()
        expected = 4000 / len(members)
        # χ² with at most 3 degrees of freedom is above 25 with a chance of 2e-5.
        assert ((counts - expected) ** 2 / expected).sum() < 25


def test_cells_by_a_plain_loop():
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(4, (9, 5), generator=generator)
    found = Cells.of(labels)
    for i in range(9):
        for j in range(5):
            same = [k for k in range(9) if labels[k, j] == labels[i, j]]
            first, size = int(found.first[i, j]), int(found.size[i, j])
            assert found.members[first : first + size, j].tolist() == same


def test_uniform_numbers_depend_on_their_keys_alone():
    whole = uniform(3, np.arange(50)[:, None], np.arange(20))
    assert np.array_equal(whole[7:9, 4:6], uniform(3, np.arange(7, 9)[:, None], np.arange(4, 6)))
    assert len(np.unique(whole)) == 1000
    assert whole.min() >= 0 and whole.max() < 1
    assert abs(whole.mean() - 0.5) < 5 * (1 / 12 / 1000) ** 0.5
    assert not np.isclose(whole, uniform(4, np.arange(50)[:, None], np.arange(20))).any()
    # Keys are not added up: (1, 2) is not (2, 1).
    assert uniform(0, 1, 2) != uniform(0, 2, 1)


def test_columns_have_donors_of_their_own_unless_they_share_a_group():
    labels = torch.zeros(40, 6, dtype=torch.int64)
    rows = donors(labels, seed=2)
    assert all(not torch.equal(rows[:, 0], rows[:, j]) for j in range(1, 6))
    shared = donors(labels, seed=2, groups=[[1, 4], [0, 5, 3]])
    assert torch.equal(shared[:, 1], shared[:, 4])
    assert torch.equal(shared[:, 0], shared[:, 5]) and torch.equal(shared[:, 0], shared[:, 3])
    assert not torch.equal(shared[:, 0], shared[:, 1])
    # A column that is in no group draws what it drew before.
    assert torch.equal(shared[:, 2], rows[:, 2])


def test_a_shared_donor_lies_in_the_cells_of_the_whole_group():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(3, (60, 4), generator=generator)
    rows = donors(labels, seed=1, groups=[[0, 2], [1, 3]])
    for members in ([0, 2], [1, 3]):
        for j in members:
            assert torch.equal(rows[:, j], rows[:, members[0]])
            assert torch.equal(labels[rows[:, j], j], labels[:, j])


# The hooks, on bare tensors.


def test_labels_by_example_move_whole_activations():
    activation = numbers(12, 5, 4)
    moved = resample(LABELS, seed=3)(activation, hook=At())
    assert torch.equal(moved, activation[donors(LABELS, seed=3)])


@pytest.mark.parametrize("shape", [(12, 1, 4), (12, 5, 1), (12, 5, 4)])
def test_an_axis_of_length_one_moves_as_a_whole(shape):
    """Decoding where each entry came from, in plain loops."""
    activation = numbers(12, 5, 4)
    labels = torch.randint(2, shape, generator=torch.Generator().manual_seed(0))
    moved = resample(labels, seed=1)(activation, hook=At()).long()
    source, position, unit = moved // 20, moved // 4 % 5, moved % 4
    for i in range(12):
        for p in range(5):
            for u in range(4):
                assert (position[i, p, u], unit[i, p, u]) == (p, u)
                own = (p if shape[1] > 1 else 0, u if shape[2] > 1 else 0)
                assert labels[(i, *own)] == labels[(int(source[i, p, u]), *own)]
    if shape[1] == 1:
        assert (source == source[:, :1]).all()
    if shape[2] == 1:
        assert (source == source[:, :, :1]).all()


def test_the_mean_over_a_class_is_what_resampling_expects():
    generator = torch.Generator().manual_seed(0)
    activation = torch.randn(12, 4, generator=generator, dtype=torch.float64)
    labels = torch.randint(3, (12, 4), generator=generator)
    mean = mean_over(labels)(activation, hook=At())
    for i in range(12):
        for j in range(4):
            same = labels[:, j] == labels[i, j]
            assert mean[i, j].item() == pytest.approx(activation[same, j].mean().item())
    draws = resample(labels.repeat(1, 3000))(activation.repeat(1, 3000), hook=At())
    # 3,000 draws of numbers of size 1 have a mean to 0.02 (one standard error).
    assert torch.allclose(draws.reshape(12, 3000, 4).mean(1), mean, atol=0.12)


def test_the_mean_over_labels_by_example():
    activation = numbers(12, 5)
    mean = mean_over(LABELS.tolist())(activation, hook=At())
    for i in range(12):
        torch.testing.assert_close(mean[i], activation[i % 3 :: 3].mean(0))


def test_shuffling_is_resampling_from_one_class():
    activation = numbers(12, 5, 4)
    moved = shuffle(seed=5)(activation, hook=At())
    assert torch.equal(moved, resample(torch.zeros(12).long(), seed=5)(activation, hook=At()))
    each = shuffle(seed=5, each_unit=True)(activation, hook=At())
    one_label = torch.zeros(12, 1, 4).long()
    assert torch.equal(each, resample(one_label, seed=5)(activation, hook=At()))
    assert not torch.equal(each[:, :, 0] // 20, each[:, :, 1] // 20)


def test_replaced_values_are_a_copy():
    values = torch.randn(5)
    put = replace(values)(numbers(12, 5).float(), hook=At())
    assert torch.equal(put, values.expand(12, 5))
    put += 1
    assert not torch.equal(put[0], values)


def test_only_some_units_change():
    activation = numbers(12, 5)
    moved = only([1, 3], resample(LABELS, seed=0))(activation, hook=At())
    whole = resample(LABELS, seed=0)(activation, hook=At())
    assert torch.equal(moved[:, [1, 3]], whole[:, [1, 3]])
    assert torch.equal(moved[:, [0, 2, 4]], activation[:, [0, 2, 4]])
    assert only([1], lambda activation, hook: None)(activation, hook=At()) is None


HOOKS = {
    "resample": resample(LABELS, seed=1),
    "shuffle": shuffle(seed=1),
    "mean_over": mean_over(LABELS),
    "replace": replace(torch.tensor(0.5)),
    "only": only([0, 2], shuffle(seed=1)),
}


@pytest.mark.parametrize("name", HOOKS)
def test_the_activation_is_not_written_to(name):
    activation = numbers(12, 5)
    before = activation.clone()
    new = HOOKS[name](activation, hook=At())
    assert torch.equal(activation, before)
    assert not torch.equal(new, before)
    assert new.data_ptr() != activation.data_ptr()


def test_gradients_flow_to_the_donors():
    activation = torch.randn(12, 5, requires_grad=True)
    rows = donors(LABELS, seed=3)
    resample(LABELS, seed=3)(activation, hook=At()).sum().backward()
    uses = torch.bincount(rows, minlength=12).float()
    assert torch.equal(activation.grad, uses[:, None].expand(12, 5))


# On models.


@pytest.mark.parametrize("name", HOOKS)
def test_on_a_plain_hooked_module(plain, name):
    x = torch.randn(12, 3, generator=torch.Generator().manual_seed(1))
    hidden = torch.relu(plain.first(x))
    logits = plain.run_with_hooks(x, fwd_hooks=[("hook_hidden", HOOKS[name])])
    assert torch.allclose(logits, plain.second(HOOKS[name](hidden, hook=At())), atol=1e-6)
    assert not torch.allclose(logits, plain(x), atol=1e-3)
    assert plain.list_hooks() == {}


@pytest.mark.parametrize(
    "labels",
    [
        LABELS,
        LABELS[:, None, None].expand(12, 7, 1),
        LABELS[:, None, None].expand(12, 1, 32),
        (TOKENS % 2)[:, :, None].expand(12, 7, 32),
    ],
    ids=["by example", "by position", "by unit", "by position and unit"],
)
def test_on_a_transformer_bridge(transformer, labels):
    """The same forward pass with the donors' activations put in by a plain gather."""
    site = "blocks.0.mlp.hook_post"
    _, cache = transformer.run_with_cache(TOKENS, names_filter=site)
    rows = donors(labels, seed=4)
    index = rows.reshape(12, 1, 1) if rows.ndim == 1 else rows
    wanted = cache[site].gather(0, index.expand(12, 7, 32))
    logits = transformer.run_with_hooks(TOKENS, fwd_hooks=[(site, resample(labels, seed=4))])
    by_hand = transformer.run_with_hooks(TOKENS, fwd_hooks=[(site, lambda x, hook: wanted)])
    assert torch.equal(logits, by_hand)
    assert not torch.allclose(logits, transformer(TOKENS), atol=1e-4)


def test_attention_patterns_by_head(transformer):
    """Labels with an axis for every one of the activation's: each head has its own donors."""
    site = "blocks.1.attn.hook_pattern"
    labels = LABELS[:, None, None, None].expand(12, 4, 1, 1)
    seen = {}

    def watched(pattern, hook):
        seen["before"], seen["after"] = pattern, resample(labels, seed=2)(pattern, hook=hook)
        return seen["after"]

    transformer.run_with_hooks(TOKENS, fwd_hooks=[(site, watched)])
    rows = donors(labels, seed=2)[:, :, 0, 0]
    for head in range(4):
        assert torch.equal(seen["after"][:, head], seen["before"][rows[:, head], head])


def test_resampling_what_is_constant_on_the_class_changes_nothing(transformer):
    """Examples with the same tokens have the same activations: swapping them is no change."""
    twins = TOKENS[LABELS]
    hooks = [("blocks.0.hook_mlp_out", resample(LABELS, seed=0))]
    torch.testing.assert_close(
        transformer.run_with_hooks(twins, fwd_hooks=hooks), transformer(twins)
    )


@pytest.mark.skipif(
    not hasattr(analysis, "collect_activations"), reason="TransformerLens 4.3 brought it"
)
def test_across_batches_with_transformerlenss_own_collection(plain):
    x = torch.randn(12, 3, generator=torch.Generator().manual_seed(1))
    plain.eval()
    collected = analysis.collect_activations(plain, "hook_hidden", x, plain, batch_size=5)
    moved = collected[donors(LABELS, seed=6)]
    parts = [
        plain.run_with_hooks(x[rows], fwd_hooks=[("hook_hidden", replace(moved[rows]))])
        for rows in torch.arange(12).split(5)
    ]
    whole = plain.run_with_hooks(x, fwd_hooks=[("hook_hidden", resample(LABELS, seed=6))])
    torch.testing.assert_close(torch.cat(parts), whole)


def test_on_a_network_and_on_a_surrogate(coset_network):
    """A left input is moved within right cosets, which the planted network cannot notice."""
    circuit = cc.CosetAlgorithm().fit(coset_network)
    pairs = coset_network.group.pairs()
    labels = circuit.classes("hook_left_pre")[0].left[pairs[:, 0]]
    for model in (coset_network, circuit.surrogate()):
        hooks = [("hook_left_pre", resample(labels, seed=0))]
        torch.testing.assert_close(model.run_with_hooks(pairs, fwd_hooks=hooks), model(pairs))


# Refusals.


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: resample(torch.zeros(4)), "float32 .* give integers"),
        (lambda: resample(torch.tensor(3)), r"shape \(\).* one an example"),
        (lambda: resample(["a", "b"]), "list and no tensor of integers"),
        (lambda: donors(LABELS, groups=[[0]]), "have 0 columns"),
        (lambda: donors(torch.zeros(4, 3).long(), groups=[[0, 3]]), r"columns \[0, 3\]; .* 3 col"),
        (lambda: donors(torch.zeros(4, 3).long(), groups=[[0, 1], [1]]), "one group at most"),
    ],
)
def test_labels_that_are_none_are_refused(make, words, unchecked):
    with pytest.raises(CosetCircuitsError, match=words):
        make()


@pytest.mark.parametrize(
    ("hook", "words"),
    [
        (resample(LABELS[:5]), r"shape \(5,\) do not fit .*\(12, 5, 4\) at hook_here; .*\(12,\)"),
        (resample(torch.zeros(12, 5).long()), "3 axes"),
        (resample(torch.zeros(12, 2, 4).long()), "each as long as the activation's or 1"),
        (resample(torch.zeros(1, 5, 4).long()), "do not fit"),
        (mean_over(LABELS[:5]), "do not fit"),
        (replace(torch.zeros(3)), r"Values of shape \(3,\) do not fit"),
        (only([4], shuffle()), "has units 0 to 3"),
        (only([-1], shuffle()), "run from -1"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_sites_name(hook, words):
    with pytest.raises(CosetCircuitsError, match=words) as caught:
        hook(numbers(12, 5, 4), hook=At())
    assert "hook_here" in str(caught.value)


@pytest.mark.parametrize("name", HOOKS)
def test_what_is_no_tensor_is_refused(name, unchecked):
    with pytest.raises(CosetCircuitsError, match="hook_here is tuple"):
        HOOKS[name]((torch.zeros(12, 5),), hook=At())
