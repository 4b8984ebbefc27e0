"""The trainer: what the seed fixes, what is trained on, and that a run can be taken up again."""

import json

import pytest
import torch

import coset_circuits as cc
from coset_circuits import CosetCircuitsError
from coset_circuits.networks import RECIPES, GroupMLP, Progress, split

SMALL = {"d_mlp": 12, "d_embed": 6, "fraction": 0.6}


def same_weights(one, two):
    left, right = one.state_dict(), two.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


def test_the_paper_recipe_is_table_2():
    recipe = RECIPES["paper"]
    assert (recipe.learning_rate, recipe.weight_decay, recipe.betas) == (1e-3, 1.0, (0.9, 0.98))
    assert (recipe.fraction, recipe.d_mlp, recipe.d_embed) == (0.4, 128, 256)
    assert recipe.max_steps == 250_000


@pytest.mark.parametrize("fraction", [0.4, 0.55, 1.0])
def test_a_split_is_a_partition_of_all_pairs(fraction):
    group = cc.group("S4")
    train, test = split(group, fraction, seed=3)
    assert len(train) == round(fraction * 576)
    rows = [tuple(row) for row in torch.cat([train, test]).tolist()]
    assert sorted(rows) == [tuple(row) for row in group.pairs().tolist()]


def test_a_split_follows_its_seed_alone():
    group = cc.group("S4")
    torch.manual_seed(1)
    one = split(group, 0.4, seed=3)[0]
    torch.manual_seed(2)
    assert torch.equal(one, split(group, 0.4, seed=3)[0])
    assert not torch.equal(one, split(group, 0.4, seed=4)[0])


def test_the_split_has_a_stream_apart_from_the_initialisations():
    """The same draws would tie which pairs are seen to what the weights begin as."""
    group = cc.group("S4")
    order = torch.randperm(576, generator=torch.Generator().manual_seed(3))
    shared = (split(group, 0.4, seed=3)[0] == group.pairs()[order[:230]]).all(1).double().mean()
    assert shared.item() < 0.05


def test_a_seed_fixes_the_network():
    one, same, other = (
        cc.train("S3", seed, recipe="fast", max_steps=60, **SMALL) for seed in (0, 0, 1)
    )
    assert same_weights(one, same)
    assert not same_weights(one, other)


def test_one_step_is_adamw_on_the_training_pairs():
    """Against torch's own optimiser and loss, in the same precision."""
    network = GroupMLP.initialised(cc.group("S3"), d_mlp=12, d_embed=6, seed=5)
    pairs, _ = split(network.group, 0.6, 5)
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=1e-2, weight_decay=1.0, betas=(0.9, 0.98)
    )
    for _ in range(3):
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(network(pairs), network.group.products(pairs))
        loss.backward()
        optimiser.step()
    trained = cc.train("S3", 5, recipe="fast", max_steps=3, **SMALL)
    for name, tensor in trained.state_dict().items():
        torch.testing.assert_close(tensor, network.state_dict()[name], rtol=1e-3, atol=1e-5)


def test_looks_report_careful_losses_of_train_and_all_pairs():
    seen = []
    network = cc.train("S3", 2, max_steps=100, every=40, report=seen.append, **SMALL)
    assert [look.step for look in seen] == [40, 80, 100]
    last, pairs = seen[-1], network.group.pairs()
    train, test = split(network.group, 0.6, 2)

    @torch.no_grad()
    def figures(pairs):
        logits, labels = network(pairs).double(), network.group.products(pairs)
        loss = torch.nn.functional.cross_entropy(logits, labels).item()
        return loss, (logits.argmax(1) == labels).double().mean().item()

    assert last.train_loss == pytest.approx(figures(train)[0], rel=1e-7)
    assert last.loss == pytest.approx(figures(pairs)[0], rel=1e-7)
    assert last.train_accuracy == figures(train)[1]
    assert last.test_accuracy == figures(test)[1]


@pytest.mark.parametrize(
    ("train_accuracy", "test_accuracy", "state"),
    [
        (0.5, 0.0, "starting"),
        (1.0, 0.02, "memorised"),
        (1.0, 0.5, "grokking"),
        (1.0, 1.0, "grokked"),
    ],
)
def test_states_are_named(train_accuracy, test_accuracy, state):
    look = Progress(
        step=1,
        train_loss=0.1,
        train_accuracy=train_accuracy,
        loss=0.1,
        test_accuracy=test_accuracy,
        seconds=1.0,
    )
    assert look.state == state


def test_the_card_says_how_it_was_trained(tmp_path):
    network = cc.train("S3", 2, max_steps=20, out=tmp_path, **SMALL)
    card = json.loads((tmp_path / "network.json").read_text())["provenance"]
    assert card["steps"] == 20 and card["seed"] == 2
    assert card["recipe"]["d_mlp"] == 12 and card["recipe"]["name"] == "fast"
    assert card["curve"][-1]["step"] == 20
    loaded = cc.load(tmp_path)
    assert same_weights(loaded, network)
    assert loaded.label == "S3-seed2" and loaded.seed == 2


class Killed(Exception):
    pass


def stop_at(step, error):
    def report(progress):
        if progress.step == step:
            raise error

    return report


@pytest.mark.parametrize(
    ("error", "stop"),
    # Ctrl-C saves the state where it is; a kill leaves that of every tenth look.
    [(KeyboardInterrupt, 130), (KeyboardInterrupt, 10), (Killed, 130), (Killed, 50)],
)
def test_a_run_taken_up_again_ends_in_the_same_network(tmp_path, error, stop):
    settings = {**SMALL, "max_steps": 200, "every": 10}
    whole = cc.train("S3", 4, **settings)
    with pytest.raises(error):
        cc.train("S3", 4, out=tmp_path, report=stop_at(stop, error), **settings)
    assert not (tmp_path / "network.safetensors").exists()
    steps = []
    resumed = cc.train(
        "S3", 4, out=tmp_path, resume=True, report=lambda p: steps.append(p.step), **settings
    )
    assert same_weights(resumed, whole)
    begun = {(KeyboardInterrupt, 130): 130, (KeyboardInterrupt, 10): 10, (Killed, 130): 100}
    assert steps[0] == begun.get((error, stop), 0) + 10
    looks = [[p["step"], p["loss"]] for p in whole.provenance["curve"]]
    assert [[p["step"], p["loss"]] for p in resumed.provenance["curve"]] == looks


def test_a_state_of_another_recipe_seed_or_width_is_refused(tmp_path):
    settings = {**SMALL, "max_steps": 40, "every": 10}
    with pytest.raises(KeyboardInterrupt):
        cc.train("S3", 4, out=tmp_path, report=stop_at(20, KeyboardInterrupt), **settings)
    for seed, changes in ((5, {}), (4, {"learning_rate": 0.1}), (4, {"d_mlp": 13})):
        with pytest.raises(CosetCircuitsError, match="belongs to another group, recipe or seed"):
            cc.train("S3", seed, out=tmp_path, resume=True, **{**settings, **changes})
    # C6 has as many elements: its weights would fit.
    for group in ("C6", "C5"):
        with pytest.raises(CosetCircuitsError, match="belongs to another group, recipe or seed"):
            cc.train(group, 4, out=tmp_path, resume=True, **settings)


def test_an_interruption_before_the_first_step_leaves_nothing_to_trip_over(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "zero_grad", stop_at_once)
        with pytest.raises(KeyboardInterrupt):
            cc.train("S3", 4, out=tmp_path, max_steps=20, **SMALL)
    resumed = cc.train("S3", 4, out=tmp_path, resume=True, max_steps=20, **SMALL)
    assert same_weights(resumed, cc.train("S3", 4, max_steps=20, **SMALL))


def stop_at_once(*_):
    raise KeyboardInterrupt


def test_resuming_without_a_folder_is_refused():
    with pytest.raises(CosetCircuitsError, match=r"Nothing to resume: give out="):
        cc.train("S3", 0, resume=True, max_steps=10, **SMALL)


def test_a_damaged_state_is_refused(tmp_path):
    state = tmp_path / "checkpoints" / "state.safetensors"
    state.parent.mkdir()
    state.write_bytes(b"no state at all")
    with pytest.raises(CosetCircuitsError, match=r"state.safetensors cannot be read"):
        cc.train("S3", 0, out=tmp_path, resume=True, max_steps=10, **SMALL)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"recipe": "slow"}, "No recipe is called 'slow'; choose one of fast, paper, memorise"),
        ({"depth": 2}, r"A recipe has no field depth; its fields are name, learning_rate"),
        ({"fraction": 0.0}, "training fraction is 0.0"),
        ({"fraction": 1.5}, "training fraction is 1.5"),
        ({"act_fn": "tanh"}, "'tanh' is not known"),
    ],
)
def test_settings_that_make_no_run_are_refused(arguments, sentence):
    with pytest.raises(CosetCircuitsError, match=sentence):
        cc.train("S3", 0, max_steps=10, **arguments)


def test_the_memorise_recipe_stops_before_anything_generalises():
    network = cc.train("S4", 0, recipe="memorise", d_mlp=64, d_embed=32)
    pairs = network.group.pairs()
    with torch.no_grad():
        right = network(pairs).argmax(1) == network.group.products(pairs)
    train, _ = split(network.group, 0.4, 0)
    with torch.no_grad():
        on_train = network(train).argmax(1) == network.group.products(train)
    assert on_train.all()
    # Chance is 1/24 on the other 60%.
    assert right.double().mean().item() < 0.4 + 0.6 * 0.15
    assert network.provenance["steps"] < 5_000


def test_a_small_group_is_grokked_in_seconds():
    """S4 from 80% of its pairs: first the training pairs are right, then all are."""
    states = []
    network = cc.train(
        "S4",
        0,
        d_mlp=64,
        d_embed=32,
        fraction=0.8,
        loss_bound=1e-2,
        max_steps=6_000,
        report=lambda look: states.append(look.state),
    )
    first = [states.index(state) for state in ("memorised", "grokking", "grokked")]
    assert first == sorted(first)
    pairs = network.group.pairs()
    with torch.no_grad():
        assert (network(pairs).argmax(1) == network.group.products(pairs)).all()
    last = network.provenance["curve"][-1]
    assert last["loss"] < 1e-2
    # Half as many steps again as the bound was first met at.
    assert network.provenance["steps"] < 6_000
