"""Round trips, the two papers' formats in their own element orders, and files that are refused."""

import hashlib
import itertools
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from rare import rare
from released import PEERS, figures, needs_peers
from safetensors.torch import save_file
from sympy.combinatorics.named_groups import SymmetricGroup

import coset_circuits as cc
from coset_circuits import CosetCircuitsError, GroupMLP
from coset_circuits.networks import planted_coset
from coset_circuits.training import training_pairs


def accuracy(network):
    pairs = network.group.pairs()
    return (network(pairs).argmax(1) == network.group.products(pairs)).double().mean().item()


def pizza_c7():
    """A ReLU network of C7: phases of one frequency, logits ∝ |cos(w(a−b)/2)| cos(w(a+b−c))."""
    angle = 2 * torch.pi * torch.arange(7, dtype=torch.float64) / 7
    phases = 2 * torch.pi * torch.arange(9, dtype=torch.float64) / 9
    table = torch.cos(angle[:, None] + phases)
    write = 20 * torch.cos(angle + 2 * phases[:, None])
    return GroupMLP.from_weights(cc.group("C7"), left_table=table, right_table=table, W_U=write)


# Our own files.


def test_what_is_saved_is_loaded_bit_for_bit(tmp_path):
    network = GroupMLP.initialised(cc.group("D5"), d_mlp=7, d_embed=5, act_fn="gelu", seed=4)
    network.label = "mine"
    path = cc.save(network, tmp_path / "deep" / "er" / "network.safetensors")
    loaded = cc.load(path)
    assert loaded.state_dict().keys() == network.state_dict().keys()
    for name, tensor in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)
    assert loaded.cfg == network.cfg
    assert loaded.group == network.group and loaded.group.labels == network.group.labels
    assert loaded.label == "mine"
    assert loaded.provenance["source"] == "untrained, seed 4"


def test_biases_dtype_and_a_groups_own_table_are_kept(tmp_path):
    klein = cc.FiniteGroup.from_table([[a ^ b for b in range(4)] for a in range(4)], "mine")
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    network = GroupMLP.from_weights(
        klein,
        W_E_left=normal(4, 2),
        W_E_right=normal(4, 3),
        W_in=normal(5, 6),
        W_U=normal(6, 4),
        b_in=normal(6),
        b_U=normal(4),
    )
    loaded = cc.load(cc.save(network, tmp_path / "klein.safetensors"))
    assert loaded.group == klein and loaded.group.name == "mine"
    assert loaded.dtype == torch.float64
    assert torch.equal(loaded(klein.pairs()), network(klein.pairs()))


def test_a_named_groups_table_is_not_stored_and_another_of_that_name_is(tmp_path):
    other = cc.group("S3").relabelled(np.array([1, 0, 2, 3, 4, 5]))
    other.name = "S3"
    for group, stored in ((cc.group("S3"), False), (other, True)):
        network = GroupMLP.initialised(group, d_mlp=2, d_embed=2)
        path = cc.save(network, tmp_path / "network.safetensors")
        assert (b"group.table" in path.read_bytes()) == stored
        assert cc.load(path).group == group


def test_the_card_and_the_hash_are_the_files(tmp_path):
    network = GroupMLP.initialised(cc.group("S3"), d_mlp=2, d_embed=2)
    path = cc.save(network, tmp_path / "n.safetensors")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    card = json.loads((tmp_path / "n.json").read_text())
    assert card["sha256"] == cc.load(path).provenance["sha256"] == digest
    assert (card["group"], card["act_fn"]) == ("S3", "relu")
    assert card["provenance"]["source"] == "untrained, seed 0"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["n.json", "n.safetensors"]


def test_a_second_round_trip_gives_the_same_file(tmp_path):
    first = cc.save(GroupMLP.initialised(cc.group("S3"), d_mlp=2), tmp_path / "n.safetensors")
    second = cc.save(cc.load(first), tmp_path / "again" / "n.safetensors")
    third = cc.save(cc.load(second), tmp_path / "third" / "n.safetensors")
    assert third.read_bytes() == second.read_bytes()


def test_a_folder_stands_for_the_network_in_it_and_dtype_can_be_chosen(tmp_path):
    network = GroupMLP.initialised(cc.group("S3"), d_mlp=2, d_embed=2)
    cc.save(network, tmp_path / "network.safetensors")
    loaded = cc.load(tmp_path, dtype=torch.float64)
    assert loaded.cfg.dtype == "float64"
    assert torch.equal(loaded.W_U.float(), network.W_U)


@pytest.mark.parametrize("name", sorted(cc.shipped()))
def test_a_shipped_network_is_what_its_card_says(name):
    path = cc.shipped()[name]
    card = json.loads(path.with_suffix(".json").read_text())
    network = cc.load(name)
    assert card["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert network.label == name
    assert network.group.name == card["group"]


# Stander et al.: permutations sorted by parity, the left one applied first.


def parity_then_lexicographic(degree):
    def odd(p):
        return sum(p[i] > p[j] for i in range(degree) for j in range(i + 1, degree)) % 2

    return sorted(itertools.permutations(range(degree)), key=lambda p: (odd(p), p))


def ours_of(group, listing):
    """Their element i is our inverse of the i-th permutation: that exchanges the two products."""
    index = {tuple(p): i for i, p in enumerate(group.permutations.tolist())}
    elements = torch.tensor([int(group.inverses[index[tuple(p)]]) for p in listing])
    for i, j in ((1, 2), (5, 3), (7, 20)):
        left_then_right = tuple(listing[j][k] for k in listing[i])
        theirs = [tuple(p) for p in listing].index(left_then_right)
        assert int(group.table[elements[i], elements[j]]) == int(elements[theirs])
    return elements


def sn_grok_file(path, network, elements, config=None):
    model = {
        "lembed.weight": network.W_E_left[elements],
        "rembed.weight": network.W_E_right[elements],
        "linear.weight": torch.cat([network.W_in_left, network.W_in_right]).T,
        "unembed.weight": network.W_U.T[elements],
        "unembed.bias": torch.arange(24.0, dtype=torch.float64)[elements] / 100,
    }
    content = {
        "model": {k: v.detach().contiguous() for k, v in model.items()},
        "config": config or {"frac_train": 0.4, "group": "S4"},
        "checkpoints": [],
        "checkpoint_epochs": [0, 100],
    }
    torch.save(content, path)
    return path


@pytest.mark.parametrize(
    ("name", "listing"),
    [
        ("parity-opposite", parity_then_lexicographic(4)),
        ("lexicographic-opposite", list(itertools.permutations(range(4)))),
    ],
)
def test_a_run_of_stander_et_al_is_read_in_our_order(tmp_path, coset_network, name, listing):
    folder = tmp_path / "S4-run"
    folder.mkdir()
    elements = ours_of(coset_network.group, listing)
    sn_grok_file(folder / "full_run.pth", coset_network, elements)
    loaded = cc.load(folder)
    assert accuracy(loaded) == 1
    assert loaded.provenance["element_order"] == f"S4, {name}"
    assert loaded.label == "S4-run"
    pairs = coset_network.group.pairs()
    bias = torch.arange(24.0, dtype=torch.float64) / 100
    torch.testing.assert_close(loaded(pairs), coset_network(pairs) + bias, rtol=1e-12, atol=1e-12)


def test_tokens_that_are_no_elements_are_left_out(tmp_path):
    """As in their ``d60_mlp_0.toml``: reflections in turn, and more tokens than elements."""
    network = planted_coset(cc.group("D5"), "C2")
    elements = torch.arange(10).reshape(2, 5).T.flatten()
    never = torch.randn(7, network.W_E_left.shape[1], dtype=torch.float64) / 100
    model = {
        "lembed.weight": torch.cat([network.W_E_left[elements], never]),
        "rembed.weight": torch.cat([network.W_E_right[elements], never]),
        "linear.weight": torch.cat([network.W_in_left, network.W_in_right]).T,
        "unembed.weight": torch.cat([network.W_U.T[elements], torch.zeros(7, network.d_mlp)]),
        "unembed.bias": torch.cat([torch.zeros(10), torch.full((7,), -1e4)]).double(),
    }
    model = {name: value.detach().contiguous() for name, value in model.items()}
    torch.save({"model": model, "config": {"vocab_size": 17}}, tmp_path / "full_run.pth")
    loaded = cc.load(tmp_path)
    assert loaded.provenance["element_order"] == "D5, interleaved"
    assert loaded.provenance["vocabulary"] == 17
    pairs = network.group.pairs()
    torch.testing.assert_close(loaded(pairs), network(pairs), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("config", [{"act_fn": "gelu"}, {"model": {"act_fn": "GELU"}}])
def test_the_activation_of_a_run_is_used(tmp_path, coset_network, config):
    elements = ours_of(coset_network.group, parity_then_lexicographic(4))
    loaded = cc.load(sn_grok_file(tmp_path / "full_run.pth", coset_network, elements, config))
    assert loaded.cfg.act_fn == "gelu"
    pairs = coset_network.group.pairs()
    _, cache = coset_network.run_with_cache(pairs)
    expected = torch.nn.functional.gelu(cache["hook_pre"]) @ coset_network.W_U
    bias = torch.arange(24.0, dtype=torch.float64) / 100
    torch.testing.assert_close(loaded(pairs), expected + bias, rtol=1e-12, atol=1e-12)


def test_an_activation_that_is_not_known_is_refused(tmp_path, coset_network):
    elements = ours_of(coset_network.group, parity_then_lexicographic(4))
    path = sn_grok_file(tmp_path / "full_run.pth", coset_network, elements, {"act_fn": "mish"})
    with pytest.raises(CosetCircuitsError, match="activation 'mish' is not known"):
        cc.load(path)


def test_what_a_file_holds_is_never_left_out(tmp_path):
    """A bias that some of their networks add after the ReLU."""
    content = {"W_x": torch.zeros(6, 3), "W_y": torch.zeros(6, 3), "W": torch.zeros(6, 4)}
    content |= {"W_U": torch.zeros(4, 6), "b": torch.ones(4)}
    torch.save(content, tmp_path / "model.pt")
    with pytest.raises(CosetCircuitsError, match="also holds b, which its format does not have"):
        cc.load(tmp_path)


@pytest.mark.parametrize("wrapper", ["state_dict", "model_state_dict", "model", None])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_wrappers_that_change_nothing_are_taken_off(tmp_path, coset_network, wrapper, prefix):
    content = {prefix + name: value for name, value in gcr_content(coset_network).items()}
    if wrapper is not None:
        content = {wrapper: content, "epoch": 3}
    torch.save(content, tmp_path / "model.pt")
    loaded, pairs = cc.load(tmp_path), coset_network.group.pairs()
    assert accuracy(loaded) == 1
    torch.testing.assert_close(loaded(pairs), coset_network(pairs), rtol=1e-12, atol=1e-12)


def test_a_run_without_all_its_matrices_is_refused(tmp_path):
    torch.save({"model": {"lembed.weight": torch.zeros(6, 2)}}, tmp_path / "full_run.pth")
    with pytest.raises(CosetCircuitsError, match=r"lacks linear.weight, rembed.weight, unembed"):
        cc.load(tmp_path)


# Chughtai et al.: permutations in SymPy's order, p·q is p then q.


def gcr_content(network, elements=None):
    elements = torch.arange(network.group.order) if elements is None else elements
    content = {
        "W_x": network.W_E_left[elements],
        "W_y": network.W_E_right[elements],
        "W": torch.cat([network.W_in_left, network.W_in_right]),
        "W_U": network.W_U[:, elements],
    }
    return {k: v.detach().contiguous().clone() for k, v in content.items()}


def gcr_folder(path, content, group, parameter, seed=7):
    path.mkdir()
    torch.save(content, path / "model.pt")
    cfg = {"group": group, "group_parameter": parameter, "seed": seed, "frac_train": 0.4}
    (path / "cfg.json").write_text(json.dumps(cfg))
    return path


def sympy_s4():
    return [tuple(p.array_form) for p in SymmetricGroup(4).generate()]


@pytest.mark.parametrize("described", [True, False])
@pytest.mark.parametrize(
    ("make", "family", "parameter", "order"),
    [
        (lambda: planted_coset(cc.group("D5"), "C2"), "DihedralGroup", 5, "D5, native"),
        (pizza_c7, "CyclicGroup", 7, "C7, native"),
        (lambda: planted_coset(cc.group("S4"), "C2"), "SymmetricGroup", 4, "S4, sympy-opposite"),
    ],
)
def test_a_network_of_chughtai_et_al_is_read_in_our_order(
    tmp_path, make, family, parameter, order, described
):
    network = make()
    assert accuracy(network) == 1
    elements = ours_of(network.group, sympy_s4()) if order.startswith("S") else None
    folder = gcr_folder(tmp_path / "run", gcr_content(network, elements), family, parameter)
    if not described:
        (folder / "cfg.json").unlink()
    loaded = cc.load(folder / "model.pt")
    assert loaded.provenance["element_order"] == order
    assert loaded.group == network.group
    assert loaded.label == "run"
    assert loaded.seed == (7 if described else None)
    pairs = network.group.pairs()
    torch.testing.assert_close(loaded(pairs), network(pairs), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("described", ["D5", "C10"])
def test_an_order_without_a_name_is_read_off_the_answers(tmp_path, described):
    """Also where the description names another group. The training pairs follow the numbering."""
    network = planted_coset(cc.group("D5"), "C2")
    elements = torch.tensor([3, 9, 0, 7, 1, 2, 8, 4, 6, 5])
    family = {"D": "DihedralGroup", "C": "CyclicGroup"}[described[0]]
    content = gcr_content(network, elements)
    loaded = cc.load(gcr_folder(tmp_path / "run", content, family, int(described[1:])))
    assert loaded.provenance["element_order"] == "D5, read off its answers"
    assert accuracy(loaded) == 1
    trained = torch.cartesian_prod(torch.arange(10), torch.arange(10))
    trained = trained[torch.randperm(100, generator=torch.Generator().manual_seed(7))[:40]]
    theirs = network.W_E_left[elements][trained[:, 0]]
    torch.testing.assert_close(loaded.W_E_left[training_pairs(loaded)[:, 0]], theirs)


def test_a_network_that_is_never_right_needs_its_order_by_hand(tmp_path, untrained):
    folder = gcr_folder(tmp_path / "run", gcr_content(untrained), "SymmetricGroup", 4)
    with pytest.raises(
        CosetCircuitsError, match=r"chance is 4.2%.*--order, one of.*sympy.*also as NAME-oppos"
    ):
        cc.load(folder)
    loaded = cc.load(folder, order="sympy-opposite")
    assert loaded.provenance["element_order"] == "S4, sympy-opposite"
    elements = ours_of(untrained.group, sympy_s4())
    assert torch.equal(loaded.W_E_left[elements], untrained.W_E_left)
    assert torch.equal(loaded.W_U[:, elements], untrained.W_U)
    with pytest.raises(CosetCircuitsError, match=r"'alphabetic'; known are sympy, .*lexicographic"):
        cc.load(folder, order="alphabetic")


# Files that are refused.


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def truncated(path, content):
    path.write_bytes(content[: len(content) // 2])
    return path


def our_bytes(tmp_path):
    network = GroupMLP.initialised(cc.group("S3"), d_mlp=20, d_embed=20)
    return cc.save(network, tmp_path / "whole.safetensors").read_bytes()


def test_a_pickle_that_runs_code_is_refused_and_not_run(tmp_path):
    victim = tmp_path / "victim"
    (tmp_path / "model.pt").write_bytes(pickle.dumps({"W_x": Malicious(victim)}))
    torch.save({"W_x": Malicious(victim)}, tmp_path / "full_run.pth")
    for name in ("model.pt", "full_run.pth"):
        with pytest.raises(CosetCircuitsError, match="cannot be read as a checkpoint"):
            cc.load(tmp_path / name)
    assert not victim.exists()


def test_damaged_files_are_refused(tmp_path):
    torch.save({"W_x": torch.zeros(100, 100)}, tmp_path / "good.pt")
    cases = {
        "empty.pt": b"",
        "empty.safetensors": b"",
        "text.pt": b"Dear reader, this is no network.\n",
        "text.safetensors": b"Dear reader, this is no network.\n",
        "half.pt": (tmp_path / "good.pt").read_bytes()[:2000],
        "half.safetensors": our_bytes(tmp_path)[:2000],
        "header.safetensors": our_bytes(tmp_path)[:100],
    }
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CosetCircuitsError, match=r"cannot be read as") as caught:
            cc.load(tmp_path / name)
        assert name in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["s55", ""])
@pytest.mark.parametrize("read", [cc.load, cc.compare])
def test_an_unknown_name_lists_the_shipped_networks(name, read, tmp_path, monkeypatch):
    """An empty one is no name of the current folder."""
    monkeypatch.chdir(tmp_path)
    cc.save(cc.load("s4"), "network.safetensors")
    with pytest.raises(CosetCircuitsError, match=f"No network is called '{name}'") as caught:
        read(name)
    assert all(name in str(caught.value) for name in cc.shipped())


def test_a_folder_without_a_network_is_refused(tmp_path):
    with pytest.raises(CosetCircuitsError, match=r"holds no network.*network.safetensors, model"):
        cc.load(tmp_path)


FOREIGN = {
    "a list": [torch.zeros(3)],
    "a tensor": torch.zeros(3),
    "a model that is a tensor": {"model": torch.zeros(3)},
    "nothing": {},
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_checkpoint_of_something_else_is_refused(tmp_path, kind):
    torch.save(FOREIGN[kind], tmp_path / "model.pt")
    with pytest.raises(CosetCircuitsError, match="not a checkpoint of a known format"):
        cc.load(tmp_path)


def gcr_like(**changes):
    shapes = {"W_x": (6, 3), "W_y": (6, 3), "W": (6, 4), "W_U": (4, 6)}
    return {name: torch.zeros(shape) for name, shape in shapes.items()} | changes


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (gcr_like(W_x=torch.full((6, 3), torch.nan)), "W_E_left holds 18 values that are not fini"),
        (gcr_like(W_U=torch.zeros(4, 7)), r"W_U has shape \(4, 7\)"),
        (gcr_like(W_y=torch.zeros(5, 3)), r"W_E_right has shape \(5, 3\)"),
        (gcr_like(W=torch.zeros(5, 4)), r"has shape"),
        (gcr_like(W=torch.zeros(6)), "must hold matrices"),
        (gcr_like(W_x=[1, 2]), "must hold matrices"),
        (gcr_like(W_x=torch.tensor(1.0)), "must hold matrices"),
        (gcr_like(W_y=[1, 2]), "must hold matrices"),
        (gcr_like(W_U="weights"), "must hold matrices"),
        (gcr_like(W_U=torch.zeros(4, 6, dtype=torch.int64)), "W_U holds torch.int64"),
        (gcr_like(W_x=torch.zeros(0, 3)), "has 0 elements; groups of order 1 to 5040"),
        (gcr_like(W_x=torch.zeros(6000, 3)), "6000 elements; groups of order 1 to 5040"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_weights_that_disagree_are_refused(tmp_path, content, sentence):
    torch.save(content, tmp_path / "model.pt")
    with pytest.raises(CosetCircuitsError, match=sentence):
        cc.load(tmp_path)


@pytest.mark.usefixtures("unchecked")
def test_a_run_of_strange_values_is_refused(tmp_path):
    model = {
        "lembed.weight": torch.zeros(6, 2),
        "rembed.weight": torch.zeros(6, 2),
        "linear.weight": torch.zeros(3, 4),
        "unembed.weight": "weights",
    }
    torch.save({"model": model}, tmp_path / "full_run.pth")
    with pytest.raises(CosetCircuitsError, match="must hold matrices"):
        cc.load(tmp_path)


def test_a_description_that_is_no_json_is_refused(tmp_path):
    torch.save(gcr_like(), tmp_path / "model.pt")
    (tmp_path / "cfg.json").write_text("{")
    with pytest.raises(
        CosetCircuitsError, match=r"cfg.json, which says how the network was trained, is not JSON"
    ):
        cc.load(tmp_path)


def test_safetensors_of_others_are_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({"W_U": torch.zeros(4, 6), "W_E": torch.zeros(6, 3)}, path)
    with pytest.raises(CosetCircuitsError, match=r"model.safetensors.*The weights lack W_in_left"):
        cc.load(path)
    save_file({"weight": torch.zeros(4, 6)}, path)
    with pytest.raises(CosetCircuitsError, match=r"holds weight. .*GroupMLP.from_weights"):
        cc.load(path)


DESCRIPTION = {
    "schema": 1,
    "label": "x",
    "group": "S3",
    "act_fn": "relu",
    "seed": None,
    "provenance": {},
}


@pytest.mark.parametrize(
    ("changes", "tensors", "sentence"),
    [
        ({}, {"W_X": torch.zeros(2, 2)}, "W_X"),
        ({}, {"W_U": torch.full((2, 6), torch.nan)}, "W_U holds 12 values that are not finite"),
        ({}, {"W_U": torch.zeros(2, 5)}, r"W_U has shape \(2, 5\)"),
        ({}, {"group.table": torch.zeros(6, 6, dtype=torch.int64)}, "no identity"),
        ({"group": "M11"}, {}, "No group is called 'M11'"),
        ({"act_fn": "tanh"}, {}, "'tanh' is not known"),
        ({"group": None}, {}, "group"),
        ({"schema": 2}, {}, "not a network of schema 1"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_our_files_with_strange_content_are_refused(tmp_path, changes, tensors, sentence):
    network = GroupMLP.initialised(cc.group("S3"), d_mlp=2, d_embed=2)
    weights = {k: v.detach() for k, v in network.named_parameters()}
    about = {k: v for k, v in {**DESCRIPTION, **changes}.items() if v is not None or k == "seed"}
    path = tmp_path / "n.safetensors"
    save_file(weights | tensors, path, {"coset_circuits": json.dumps(about)})
    with pytest.raises(CosetCircuitsError, match=sentence):
        cc.load(path)


# The networks that Chughtai et al. released.


@needs_peers
@pytest.mark.parametrize(
    ("name", "accuracy", "loss", "order"),
    [
        ("S5_MLP_seed1", 1, 1.968044e-5, "S5, sympy-opposite"),
        ("D59_MLP_seed1", 1, 7.12178e-6, "D59, native"),
        ("S5_MLP_hidden_dim_32_seed1", 0.80507, 0.936752, "S5, sympy-opposite"),
        pytest.param("S6_MLP_seed1", 1, 4.23579e-5, "S6, sympy-opposite", marks=rare),
    ],
)
def test_released_networks_have_the_figures_computed_elsewhere(name, accuracy, loss, order):
    network = cc.load(PEERS / name)
    found = figures(network)
    assert network.provenance["element_order"] == order
    assert found[0] == pytest.approx(accuracy, rel=1e-5)
    assert found[1] == pytest.approx(loss, rel=1e-5)


@needs_peers
@pytest.mark.parametrize(
    "name", ["S5_MLP_seed1", "A5_MLP_seed1", "C113_MLP_seed1", "C118_MLP_seed1", "D61_MLP_seed1"]
)
def test_released_networks_have_the_losses_released_with_them(name):
    """``all_loss`` of their summary_metrics.json."""
    released = json.loads((PEERS / name / "summary_metrics.json").read_text())["all_loss"]
    assert figures(cc.load(PEERS / name))[1] == pytest.approx(released, rel=1e-5)


@needs_peers
def test_swapped_inputs_of_a_perfect_s5_network_leave_the_commuting_pairs():
    """7 conjugacy classes of 120 elements."""
    network = cc.load(PEERS / "S5_MLP_seed1")
    pairs = network.group.pairs()
    with torch.no_grad():
        answers = network(pairs.flip(-1)).argmax(1)
    right = int((answers == network.group.products(pairs)).sum())
    assert right * 120 == 7 * len(pairs)


def test_an_order_is_not_ignored_by_a_file_of_ours():
    with pytest.raises(CosetCircuitsError, match="leave it out"):
        cc.load("s4", order="lexicographic")
