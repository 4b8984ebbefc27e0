"""The trainer: what the seed fixes, what is trained on, and that a run can be taken up again."""

import json
from dataclasses import replace

import pytest
import torch

import coset_circuits as cc
from coset_circuits import CosetCircuitsError
from coset_circuits.networks import GroupMLP
from coset_circuits.training import RECIPES, TrainingFailed, TrainingState, recipe_for, split
from coset_circuits.training.run import Lockstep
from coset_circuits.training.state import Run

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
    trained = cc.train("S3", 5, learning_rate=1e-2, max_steps=3, **SMALL)
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
    look = TrainingState(
        step=1,
        train_loss=0.1,
        train_accuracy=train_accuracy,
        loss=0.1,
        test_accuracy=test_accuracy,
        seconds=1.0,
        pairs=36,
        last_step=5,
    )
    assert look.state == state
    assert look.rate == 1 and look.seconds_left == 4


def test_the_card_says_how_it_was_trained(tmp_path):
    network = cc.train("S3", 2, max_steps=20, out=tmp_path, **SMALL)
    card = json.loads((tmp_path / "network.json").read_text())["provenance"]
    assert card["steps"] == 20 and card["seed"] == 2
    assert card["recipe"]["d_mlp"] == 12 and card["recipe"]["name"] == "fast"
    assert card["curve"][-1]["step"] == 20
    loaded = cc.load(tmp_path)
    assert same_weights(loaded, network)
    assert loaded.label == "S3-seed2" and loaded.seed == 2


def test_resuming_without_a_folder_is_refused():
    with pytest.raises(CosetCircuitsError, match=r"Nothing to resume: give out="):
        cc.train("S3", 0, resume=True, max_steps=10, **SMALL)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"recipe": "slow"}, "No recipe is called 'slow'; choose one of fast, paper, memorise"),
        (
            {"architecture": "rnn"},
            "No architecture is called 'rnn'; choose one of mlp, transformer",
        ),
        (
            {"architecture": "transformer", "d_embed": 8},
            "d_embed is 8, but the architecture transformer has no d_embed; its sizes are d_mlp",
        ),
        ({"d_model": 8}, "d_model is 8, but the architecture mlp has no d_model"),
        ({"architecture": "transformer", "n_heads": 0}, "n_heads is 0; give a whole number"),
        ({"depth": 2}, r"A recipe has no field depth; its fields are name, learning_rate"),
        ({"fraction": 0.0}, "training fraction is 0.0"),
        ({"fraction": 1.5}, "training fraction is 1.5"),
        ({"act_fn": "tanh"}, "'tanh' is not known"),
        ({"d_mlp": 0}, "d_mlp is 0; give a whole number from 1 up"),
        ({"d_mlp": 12.5}, "d_mlp is 12.5; give a whole number"),
        ({"every": "10"}, "every is '10'; give a whole number"),
        ({"learning_rate": "quick"}, "learning_rate is 'quick'; give a number above 0"),
        ({"loss_bound": float("nan")}, "loss_bound is nan; give a number, 0 or more"),
        ({"stop_when_memorised": 1}, "stop_when_memorised is 1; give true or false"),
        ({"betas": 0.9}, "betas are 0.9; give two numbers"),
        ({"act_fn": 3}, "act_fn is 3; give a name"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"every": 0}, "every is 0"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0; give a number above 0"),
        ({"weight_decay": -1.0}, "weight_decay is -1.0; give a number, 0 or more"),
        ({"betas": (0.9, 1.0)}, "betas are"),
    ],
)
def test_settings_that_make_no_run_are_refused(arguments, sentence):
    with pytest.raises(CosetCircuitsError, match=sentence):
        cc.train("S3", 0, max_steps=10, **arguments)


def test_the_paper_recipe_for_transformers_is_that_of_the_released_ones():
    """cfg.json of Chughtai et al., and the shapes in their files."""
    recipe = recipe_for(cc.group("S5"), "paper", {"architecture": "transformer"})
    assert (recipe.learning_rate, recipe.weight_decay, recipe.betas) == (1e-3, 1.0, (0.9, 0.98))
    assert (recipe.fraction, recipe.max_steps, recipe.batch_size) == (0.6, 50_000, None)
    assert (recipe.d_mlp, recipe.d_model, recipe.n_heads, recipe.d_head) == (512, 128, 4, 32)


def test_the_command_on_a_transformers_card_names_its_architecture():
    settings = {"architecture": "transformer", "d_mlp": 12, "max_steps": 10}
    network = cc.train("S3", 2, **settings)
    assert network.label == "S3-transformer-seed2"
    assert network.provenance["command"] == (
        "coset-circuits train S3 --seeds 2 --recipe fast --architecture transformer "
        "--set d_mlp=12 --set max_steps=10"
    )


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
        1,
        d_mlp=64,
        d_embed=32,
        fraction=0.8,
        loss_bound=1e-2,
        clean_up=0.5,
        max_steps=6_000,
        report=lambda look: states.append(look.state),
    )
    first = [states.index(state) for state in ("memorised", "grokking", "grokked")]
    assert first == sorted(first)
    pairs = network.group.pairs()
    with torch.no_grad():
        assert (network(pairs).argmax(1) == network.group.products(pairs)).all()
    curve = network.provenance["curve"]
    assert curve[-1]["loss"] < 1e-2
    # Half as many steps again as the bound was first met at, to the next look.
    met = next(p["step"] for p in curve if p["test_accuracy"] == 1 and p["loss"] < 1e-2)
    assert network.provenance["steps"] == -(-met * 3 // 200) * 100


def test_the_learning_rate_falls_evenly_on_a_log_scale_in_the_clean_up():
    recipe = replace(RECIPES["fast"], learning_rate=1e-2, final_learning_rate=1e-4)
    run = Run.start(cc.group("S3"), replace(recipe, d_mlp=4, d_embed=2), 0)
    run.step = 30
    assert run.learning_rate == 1e-2
    run.good, run.end = 30, 50
    rates = []
    for run.step in (30, 40, 50):
        rates.append(run.learning_rate)
    assert rates == pytest.approx([1e-2, 1e-3, 1e-4])


@pytest.fixture
def lockstep():
    """S3 with batches of 5 of its 22 training pairs: four steps an epoch."""
    recipe = replace(RECIPES["fast"], fraction=0.6, batch_size=5, d_mlp=4, d_embed=2)
    return Lockstep([Run.start(cc.group("S3"), recipe, seed) for seed in (3, 8)])


def test_every_epoch_sees_an_example_at_most_once_in_an_order_of_its_own(lockstep):
    seen = []
    for _ in range(8):
        seen.append(lockstep._indices())
        for run in lockstep.runs:
            run.step += 1
    epochs = [torch.cat(seen[:4], 1), torch.cat(seen[4:], 1)]
    for epoch in epochs:
        assert epoch.shape == (2, 20)
        assert all(len(set(row)) == 20 and max(row) < 22 for row in epoch.tolist())
    assert not torch.equal(*epochs)
    assert not torch.equal(*epochs[0])


def test_a_batch_is_of_training_pairs_with_their_products(lockstep):
    group = cc.group("S3")
    lockstep.advance()
    for row, run in enumerate(lockstep.runs):
        train, _ = split(group, 0.6, run.seed)
        known = {tuple(pair) for pair in train.tolist()}
        for a, b, product in lockstep._batch[row].T.tolist():
            assert (a, b) in known and group.array[a, b] == product


def test_a_batch_of_everything_is_the_full_batch():
    settings = {**SMALL, "max_steps": 30}
    assert same_weights(cc.train("S3", 1, **settings), cc.train("S3", 1, batch_size=99, **settings))


def test_a_large_group_is_looked_at_in_a_sample_and_whole_at_the_end(monkeypatch):
    """As if S4 were large: looks at 60 pairs, the last one at all 576."""
    monkeypatch.setattr("coset_circuits.training.run.ALL_PAIRS", 100)
    monkeypatch.setattr("coset_circuits.training.run.SAMPLE", 30)
    looks = []
    network = cc.train("S4", 0, d_mlp=8, d_embed=4, max_steps=300, report=looks.append)
    assert [look.pairs for look in looks] == [60, 60, 576]
    pairs = network.group.pairs()
    with torch.no_grad():
        expected = cc.networks.cross_entropy(network(pairs), network.group.products(pairs)).mean()
    assert looks[-1].loss == pytest.approx(expected.item(), rel=1e-9)


def test_nothing_is_called_grokked_on_a_sample_alone(monkeypatch):
    monkeypatch.setattr("coset_circuits.training.run.ALL_PAIRS", 100)
    monkeypatch.setattr("coset_circuits.training.run.SAMPLE", 30)
    settings = {"d_mlp": 64, "d_embed": 32, "fraction": 0.8, "loss_bound": 1e-2}
    looks = []
    cc.train("S4", 1, max_steps=6_000, report=looks.append, **settings)
    ended = next(look for look in looks if look.last_step < 6_000)
    assert ended.pairs == 576


@pytest.mark.parametrize("device", ["nosuch", "cuda:99"])
def test_a_device_that_is_not_there_is_told(device):
    with pytest.raises(CosetCircuitsError, match=f"The device '{device}' cannot be used"):
        cc.train("S3", 0, device=device, max_steps=10, **SMALL)


def test_a_run_whose_weights_are_no_numbers_says_so():
    with pytest.raises(TrainingFailed, match=r"S3-seed0 stopped at step 10: its loss .* is nan"):
        cc.train("S3", 0, learning_rate=1e30, max_steps=50, every=10, **SMALL)


def test_a_run_far_above_chance_says_so():
    with pytest.raises(TrainingFailed, match=r"chance is 1.79. Try a lower learning rate"):
        cc.train("S3", 0, learning_rate=30.0, max_steps=50, every=10, **SMALL)
