"""A step of training against the plain way, each pair embedded: ratios within one run.

One thread, processor time. The floor of a step is three products of 2·batch·d_mlp·order operations:
0.53 GFLOP on S5's full batch of 5,760 pairs, 18 GFLOP on S6's 16,384.
"""

import time

import pytest
import torch

import coset_circuits as cc
from coset_circuits.networks import GroupTransformer
from coset_circuits.training.recipes import recipe_for
from coset_circuits.training.run import Lockstep
from coset_circuits.training.state import Run

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def seconds(step, count):
    """The quickest of ``count`` steps: other work on the machine only adds."""
    times = []
    for _ in range(count):
        begun = time.process_time()
        step()
        times.append(time.process_time() - begun)
    return min(times)


def plain(run, examples):
    """As the papers' code does it: both embeddings of each pair, one matrix, autograd, AdamW."""
    left, right, products = examples
    network = cc.GroupMLP.initialised(
        run.network.group, d_mlp=run.recipe.d_mlp, d_embed=run.recipe.d_embed, seed=run.seed
    )
    optimiser = torch.optim.AdamW(
        network.parameters(),
        lr=run.recipe.learning_rate,
        weight_decay=run.recipe.weight_decay,
        betas=run.recipe.betas,
    )

    def step():
        embedded = torch.cat([network.W_E_left[left], network.W_E_right[right]], 1)
        matrix = torch.cat([network.W_in_left, network.W_in_right], 0)
        logits = (embedded @ matrix).relu() @ network.W_U
        # In float64, because torch's float32 gradient is wrong at the losses of a grokked network.
        torch.nn.functional.cross_entropy(logits.double(), products).backward()
        optimiser.step()
        optimiser.zero_grad()

    return dict(network.named_parameters()), step


def plain_transformer(run, examples):
    """As TransformerLens runs it: every token of every pair, autograd, AdamW."""
    left, right, products = examples
    start = GroupTransformer.initialised(run.network.group, d_mlp=run.recipe.d_mlp, seed=run.seed)
    w = {name: p.detach().clone().requires_grad_() for name, p in start.named_parameters()}
    optimiser = torch.optim.AdamW(
        w.values(),
        lr=run.recipe.learning_rate,
        weight_decay=run.recipe.weight_decay,
        betas=run.recipe.betas,
    )
    last = torch.full_like(left, run.network.group.order)
    tokens = torch.stack([left, right, last], 1)

    def step():
        x = w["W_E"][tokens] + w["W_pos"]
        q, k, v = (torch.einsum("bpd,hdk->bhpk", x, w[f"W_{name}"]) for name in "QKV")
        z = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + torch.einsum("bhpk,hkd->bpd", z, w["W_O"])
        x = x + (x @ w["W_in"]).relu() @ w["W_out"]
        logits = (x @ w["W_unembed"])[:, -1]
        torch.nn.functional.cross_entropy(logits.double(), products).backward()
        optimiser.step()
        optimiser.zero_grad()

    return w, step


def test_a_step_of_a_transformer_beats_running_every_token():
    """The plain model does 6·3·(4·128·128 + 2·128·512) operations a pair, and attention beside."""
    group = cc.group("S5")
    run = Run.start(group, recipe_for(group, "fast", {"architecture": "transformer"}), 0)
    lockstep = Lockstep([run])
    ours = seconds(lockstep.advance, 8)
    left, right, products = lockstep._batch[0]
    theirs = seconds(plain_transformer(run, (left, right, products))[1], 4)
    print(
        f"\nS5, transformer, {len(left)} pairs a step: ours {1e3 * ours:.1f} ms, plain "
        f"{1e3 * theirs:.1f} ms, ratio {theirs / ours:.2f}"
    )
    assert theirs > 1.2 * ours


@pytest.mark.parametrize(
    ("name", "recipe", "count"), [("S5", "paper", 15), ("S5", "fast", 30), ("S6", "fast", 3)]
)
def test_a_step_beats_embedding_every_pair(name, recipe, count):
    group = cc.group(name)
    run = Run.start(group, recipe_for(group, recipe), 0)
    lockstep = Lockstep([run])
    ours = seconds(lockstep.advance, count)
    left, right, products = lockstep._batch[0]
    theirs = seconds(plain(run, (left, right, products))[1], count)
    work = 6 * len(left) * run.recipe.d_mlp * group.order
    print(
        f"\n{name}, {recipe}, {len(left)} pairs a step: ours {1e3 * ours:.1f} ms "
        f"({work / ours / 1e9:.0f} GFLOP/s), plain {1e3 * theirs:.1f} ms, "
        f"ratio {theirs / ours:.2f}"
    )
    assert theirs > 1.2 * ours


@pytest.mark.parametrize(
    ("plainly", "changes", "atol"),
    [
        (plain, {"d_mlp": 32, "d_embed": 16}, 1e-5),
        (plain_transformer, {"architecture": "transformer", "d_mlp": 32}, 1e-4),
    ],
)
def test_the_plain_way_is_the_same_network(plainly, changes, atol):
    """Ten steps of both from one start end at the same weights."""
    group = cc.group("S4")
    run = Run.start(group, recipe_for(group, "fast", changes), 0)
    lockstep = Lockstep([run])
    weights, step = plainly(run, lockstep._batch[0])
    for _ in range(10):
        step()
        lockstep.advance()
    for name, weight in weights.items():
        torch.testing.assert_close(
            getattr(run.network, name), weight, rtol=1e-3, atol=atol, msg=name
        )
