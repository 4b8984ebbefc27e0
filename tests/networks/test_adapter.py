"""Modules written by hand, each as a network with the same logits, or refused with the reason.

The weights are a coset circuit's of S4, so what each module multiplies is known.
"""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import prune
from transformer_lens import HookedRootModule
from transformer_lens.hook_points import HookPoint

import coset_circuits as cc
from coset_circuits import CosetCircuitsError
from coset_circuits.networks import planted_coset

S4 = cc.group("S4")
ORDER, WIDTH = 24, 144


def tables():
    network = planted_coset(S4, "C2")
    return tuple(t.detach() for t in (network.left_table, network.right_table, network.W_U))


def filled(parameter, value):
    with torch.no_grad():
        parameter.copy_(value)


class Tables(nn.Module):
    """The circuit in raw parameters, called as the test says."""

    def __init__(self):
        super().__init__()
        self.left, self.right, self.write = map(nn.Parameter, tables())

    def pre(self, a, b):
        return self.left[a] + self.right[b]

    def forward(self, pairs):
        return torch.relu(self.pre(*pairs.T)) @ self.write


class OneHot(nn.Module):
    """One-hot inputs side by side, biases on both layers, dropout, training mode."""

    def __init__(self):
        super().__init__()
        left, right, write = tables()
        self.linear = nn.Linear(2 * ORDER, WIDTH)
        self.act = nn.ReLU(inplace=True)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(WIDTH, ORDER)
        filled(self.linear.weight, torch.cat([left, right]).T - 0.3)
        filled(self.linear.bias, torch.full((WIDTH,), 0.6))
        filled(self.head.weight, write.T)
        filled(self.head.bias, torch.arange(ORDER) / 1000)

    def forward(self, x):
        return self.head(self.drop(self.act(self.linear(x))))


class Concatenated(nn.Module):
    """Two arguments, two embeddings side by side, one linear layer, a function as activation."""

    def __init__(self):
        super().__init__()
        left, right, write = tables()
        self.left, self.right = nn.Embedding(ORDER, WIDTH), nn.Embedding(ORDER, WIDTH)
        self.mlp = nn.ModuleDict({"in": nn.Linear(2 * WIDTH, WIDTH, bias=False)})
        self.head = nn.Linear(WIDTH, ORDER, bias=False)
        filled(self.left.weight, left)
        filled(self.right.weight, right)
        filled(self.mlp["in"].weight, torch.eye(WIDTH).repeat(1, 2))
        filled(self.head.weight, write.T)

    def forward(self, a, b):
        return self.head(F.relu(self.mlp["in"](torch.cat([self.left(a), self.right(b)], 1))))


class Shared(nn.Module):
    """One embedding with 2·order rows, summed, batch-normalised, in float32."""

    def __init__(self):
        super().__init__()
        left, right, write = tables()
        self.embed = nn.Embedding(2 * ORDER, WIDTH)
        self.norm = nn.BatchNorm1d(WIDTH)
        self.head = nn.Linear(WIDTH, ORDER)
        filled(self.embed.weight, torch.cat([left, right]))
        filled(self.norm.running_var, torch.full((WIDTH,), 4.0))
        filled(self.norm.weight, torch.full((WIDTH,), 2.0))
        filled(self.head.weight, write.T)

    def forward(self, pairs):
        return self.head(torch.relu(self.norm(self.embed(pairs).sum(1))))


class Tied(nn.Module):
    """The unembedding is the embedding, by no module; an activation of several calls."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(ORDER, 16)
        self.up = nn.Linear(16, 32)
        self.down = nn.Linear(32, 16)

    def forward(self, a, b):
        hidden = self.up(self.embed(a) + self.embed(b))
        return self.down(hidden.tanh() + hidden.abs()) @ self.embed.weight.T


class Lens(HookedRootModule):
    """A TransformerLens model that names its hidden layer by hook points."""

    def __init__(self):
        super().__init__()
        self.left, self.right, self.write = map(nn.Parameter, tables())
        self.hook_pre, self.hook_post = HookPoint(), HookPoint()
        self.setup()

    def forward(self, pairs):
        pre = self.hook_pre(self.left[pairs[:, 0]] + self.right[pairs[:, 1]])
        return self.hook_post(pre * (pre > 0)) @ self.write


class SingleFloats(Tables):
    """Casts to float32 inside, as one-hot code often does; called as tuple."""

    def __init__(self):
        super().__init__()
        self.float()

    def forward(self, both):
        a, b = (F.one_hot(x, ORDER).float() for x in both)
        return F.relu(a @ self.left + b @ self.right) @ self.write


def one_hot(pairs):
    return F.one_hot(pairs, ORDER)


MODULES = {
    "raw": (Tables, {}, lambda m, p: m(p), "model(pairs)"),
    "one-hot": (
        OneHot,
        {},
        lambda m, p: m(one_hot(p).flatten(1).to(m.head.weight.dtype)),
        "model(one-hot a and b side by side)",
    ),
    "concatenated": (Concatenated, {}, lambda m, p: m(*p.T), "model(a, b)"),
    "shared": (
        Shared,
        {},
        lambda m, p: m(p + torch.tensor([0, ORDER])),
        "model(pairs), elements of b numbered after those of a",
    ),
    "tensorlens": (Lens, {"hidden": "hook_pre"}, lambda m, p: m(p), "model(pairs)"),
    "single": (SingleFloats, {}, lambda m, p: m(tuple(p.T)), "model(pairs.T)"),
}


def right_share(network):
    pairs = network.group.pairs()
    return (network(pairs).argmax(1) == network.group.products(pairs)).double().mean().item()


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("group", [None, S4, "S4"], ids=["none", "S4", "name"])
def test_a_module_becomes_the_network_with_its_logits(name, group):
    make, options, call, called = MODULES[name]
    model = make()
    network = cc.from_module(model, group, **options)
    with torch.no_grad():
        exact = copy.deepcopy(model).eval()
        exact = exact if name == "single" else exact.double()
        expected = call(exact, S4.pairs()).double()
    # Without a group, elements are renumbered by an isomorphism, which the provenance lists.
    labels = network.provenance.get("elements", list(S4.labels))
    ours = torch.tensor([network.group.labels.index(label) for label in labels])
    logits = network(ours[S4.pairs()])[:, ours]
    tolerance = 1e-4 if name == "single" else 1e-9
    torch.testing.assert_close(logits, expected, rtol=0, atol=tolerance * float(expected.std()))
    assert network.group == S4 and right_share(network) == 1
    assert network.provenance["source"].startswith(f"{make.__name__} called as {called},")
    assert network.cfg.act_fn == "relu" and network.dtype == torch.float64


def test_the_module_is_left_as_it_is():
    model = OneHot().train()
    model(torch.zeros(2, 48)).sum().backward()
    calls = []
    model.linear.register_forward_hook(lambda *_: calls.append(1))
    before = copy.deepcopy(model.state_dict())
    grads = {name: p.grad.clone() for name, p in model.named_parameters()}
    state = torch.get_rng_state()
    cc.from_module(model)
    assert model.training and model.drop.training
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())
    assert all(torch.equal(p.grad, grads[name]) for name, p in model.named_parameters())
    assert all(p.requires_grad and p.dtype == torch.float32 for p in model.parameters())
    assert len(model.linear._forward_hooks) == 1 and not model.act._forward_pre_hooks
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    "options",
    [
        {"hidden": "act"},
        {"hidden": "act", "unembed": "head"},
        {"hidden": "linear"},
        {"hidden": "linear", "unembed": "drop"},
        {"hidden": "linear", "activation": nn.ReLU()},
        {"unembed": "head", "activation": "relu"},
    ],
)
def test_the_hidden_layer_can_be_named(options):
    network = cc.from_module(OneHot(), S4, **options)
    place = options.get("hidden", "act")
    assert network.provenance["source"].split("hidden layer ")[1] == place
    assert right_share(network) == 1


@pytest.mark.parametrize("function", [torch.tanh, F.softplus, lambda x: F.leaky_relu(x, 0.3)])
def test_a_function_that_has_no_name_of_ours_is_read_off_the_call(function):
    model = nn.Sequential(nn.Linear(48, 32), nn.Linear(32, 24)).double()

    class Called(nn.Sequential):
        def forward(self, x):
            return self[1](function(self[0](x)))

    network = cc.from_module(Called(*model), S4)
    expected = model[1](function(model[0](one_hot(S4.pairs()).flatten(1).double())))
    torch.testing.assert_close(network(S4.pairs()), expected, rtol=1e-10, atol=1e-10)
    assert network.cfg.act_fn in ("tanh", "softplus", "leaky_relu")


class Swish(nn.Module):
    """Several calls, and a parameter."""

    def __init__(self):
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(1.7))

    def forward(self, x):
        return x * torch.sigmoid(self.slope * x)


@pytest.mark.parametrize("activation", [nn.PReLU(init=0.4), Swish(), nn.ELU(), nn.Mish()])
def test_an_activation_that_is_a_module_is_found(activation):
    model = nn.Sequential(nn.Linear(48, 32), activation, nn.Linear(32, 24)).double()
    network = cc.from_module(model, S4)
    expected = model(one_hot(S4.pairs()).flatten(1).double())
    torch.testing.assert_close(network(S4.pairs()), expected, rtol=1e-10, atol=1e-10)
    assert network.provenance["source"].endswith("hidden layer 1")
    assert network.cfg.act_fn == type(activation).__name__.lower()


def test_tied_weights_and_an_activation_of_several_calls():
    model = Tied()

    def activation(x):
        return x.tanh() + x.abs()

    pairs = S4.pairs()
    with pytest.raises(CosetCircuitsError, match="Tied is not"):
        cc.from_module(model, S4)
    with pytest.raises(CosetCircuitsError, match=r"The input of down is not relu or .*activation="):
        cc.from_module(model, S4, hidden="up", unembed="down")
    network = cc.from_module(model, S4, hidden="up", unembed="down", activation=activation)
    expected = model.double()(*pairs.T)
    torch.testing.assert_close(network(pairs), expected, rtol=1e-10, atol=1e-10)
    assert network.cfg.act_fn == "activation" and network.b_U is not None
    again = cc.from_module(model, S4, activation=activation)
    torch.testing.assert_close(again(pairs), expected, rtol=1e-10, atol=1e-10)


def test_two_ways_to_call_a_module_that_is_not_right_are_named():
    model = nn.Sequential(nn.Embedding(48, 4), nn.Flatten(), nn.Linear(8, 9), nn.ReLU())
    model.append(nn.Linear(9, ORDER))
    with pytest.warns(UserWarning, match=r"called as model\(pairs\) and as .*give inputs="):
        cc.from_module(model, S4)
    network = cc.from_module(model, S4, inputs=lambda pairs: pairs + torch.tensor([0, ORDER]))
    expected = model.double()(S4.pairs() + torch.tensor([0, ORDER]))
    torch.testing.assert_close(network(S4.pairs()), expected, rtol=1e-10, atol=1e-10)


def test_a_module_with_weights_that_are_not_finite_is_refused():
    model = OneHot()
    filled(model.head.bias, torch.full((ORDER,), torch.nan))
    with pytest.raises(CosetCircuitsError, match="NaN or infinite"):
        cc.from_module(model, S4)


def test_inputs_say_how_a_module_is_called():
    class Swapped(Tables):
        def forward(self, *, left, other):
            return super().forward(torch.stack([left, other], 1))

    with pytest.raises(CosetCircuitsError, match=r"gives no logits .*Tried were model\(pairs\)"):
        cc.from_module(Swapped(), S4)
    network = cc.from_module(
        Swapped(), S4, inputs=lambda pairs: {"left": pairs[:, 0], "other": pairs[:, 1]}
    )
    assert right_share(network) == 1
    assert "model(inputs(pairs))" in network.provenance["source"]


# What is no network of our form is refused, with what differs and how much.


class Around(Tables):
    def forward(self, pairs):
        return super().forward(pairs) + self.left[pairs[:, 0], :ORDER]


class Gated(Tables):
    def forward(self, pairs):
        return (self.pre(*pairs.T).relu() * self.left[pairs[:, 0]].sigmoid()) @ self.write


class Multiplied(Tables):
    def pre(self, a, b):
        return self.left[a] + self.right[b] + self.left[a] * self.right[b] / 10


class Deeper(Tables):
    def forward(self, pairs):
        return self.pre(*pairs.T).relu().square() @ self.write


class Random(Tables):
    def forward(self, pairs):
        return F.dropout(self.pre(*pairs.T).relu()) @ self.write


class Normalised(Tables):
    def forward(self, pairs):
        return F.layer_norm(super().forward(pairs), (ORDER,))


def interaction_share():
    left, right, _ = tables()
    pre = left[:, None] + right + left[:, None] * right / 10
    main = pre - pre.mean(0) - pre.mean(1, keepdim=True) + pre.mean((0, 1))
    return float(main.square().mean((0, 1)).sum() / pre.var((0, 1), correction=0).sum())


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (Around, "a path around the hidden layer"),
        (Gated, "a path around the hidden layer"),
        (Deeper, "what follows is not relu and then a linear map"),
        (Normalised, "what follows is not relu and then a linear map"),
        (Random, "Random gives different logits each time"),
        (Multiplied, f"{interaction_share():.2%} of the variance of its pre-activations"),
    ],
)
def test_what_cannot_be_represented_is_measured_and_refused(make, words):
    with pytest.raises(CosetCircuitsError) as caught:
        cc.from_module(make(), S4)
    assert words in str(caught.value), caught.value
    assert "\n" not in str(caught.value)


def test_how_much_moves_around_the_hidden_layer():
    """The mean over logits of what the direct path adds, over the logits' deviation."""
    left, _, _ = tables()
    model = Around()
    direct = left[:, :ORDER].repeat_interleave(ORDER, 0).std(0).square().mean().sqrt()
    share = float(direct / model(S4.pairs()).detach().std(correction=0))
    with pytest.raises(CosetCircuitsError, match=rf"still move by {share:.2g} of"):
        cc.from_module(model, S4)


@pytest.mark.parametrize(
    ("model", "options", "sentence"),
    [
        (lambda pairs: pairs, {}, "The model is a function; give a torch.nn.Module"),
        (Tables(), {"group": S4.array}, "The group is a ndarray; give a name such as S4"),
        (Tables(), {"hidden": "mlp"}, "has no part 'mlp'"),
        (OneHot(), {"unembed": "tail"}, "has no part 'tail'; its parts are linear, act, drop, h"),
        (Tables(), {"group": "S5"}, "no logits .* pairs of 120 elements"),
        (Tables(), {"activation": "tanh"}, "'tanh' is not known"),
        (nn.Linear(3, 3), {}, "gives no logits"),
        (nn.Identity(), {}, "it has no parameters"),
        (OneHot(), {"hidden": "linear", "unembed": "linear"}, "The input of linear is not relu"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_wrong_arguments_are_refused(model, options, sentence):
    with pytest.raises(CosetCircuitsError, match=sentence):
        cc.from_module(model, **options)


# Which group, and in which order.


class Renumbered(Tables):
    """The circuit with its elements called by other numbers."""

    def __init__(self, numbers):
        super().__init__()
        self.register_buffer("numbers", torch.as_tensor(numbers))

    def forward(self, pairs):
        return super().forward(self.numbers[pairs])[:, self.numbers]


def test_the_answers_tell_the_group_in_any_numbering():
    numbers = np.random.default_rng(0).permutation(ORDER)
    model = Renumbered(numbers)
    network = cc.from_module(model)
    answers = model(S4.pairs()).argmax(1).view(ORDER, ORDER)
    names = network.provenance["elements"]
    index = {label: i for i, label in enumerate(network.group.labels)}
    ours = torch.tensor([index[name] for name in names])
    assert network.group == S4 and right_share(network) == 1
    assert torch.equal(ours[answers], network.group.table[ours[:, None], ours])


def test_a_group_in_another_numbering_is_used_with_a_warning():
    numbers = np.random.default_rng(0).permutation(ORDER)
    with pytest.warns(UserWarning, match="in the numbering of S4 that was given.*another"):
        network = cc.from_module(Renumbered(numbers), S4)
    assert right_share(network) == 1


def test_the_other_order_of_multiplication_is_read_off_or_hinted_at():
    class Opposite(Tables):
        def forward(self, pairs):
            return super().forward(pairs.flip(1))

    class Nearly(Opposite):
        """Takes 3 for 0 where it multiplies from the left: right in 23 of 24 pairs."""

        def __init__(self):
            super().__init__()
            filled(self.left[3], self.left[0].clone())

    assert right_share(cc.from_module(Opposite())) == 1
    # 5 conjugacy classes of 24 elements: those pairs commute.
    with pytest.warns(UserWarning, match="right on 20.8% of the pairs"):
        assert right_share(cc.from_module(Opposite(), "S4")) == 1
    with pytest.warns(UserWarning, match="on 95.8% as b·a.*inputs=lambda"):
        network = cc.from_module(Nearly(), S4)
    assert right_share(network) < 0.5


def test_without_a_group_a_module_that_is_not_right_everywhere_says_what_to_do():
    with pytest.raises(CosetCircuitsError, match=r"Tied was given without its group.*group=\"S4\""):
        cc.from_module(Tied(), hidden="up", activation=lambda x: x.tanh() + x.abs())


def test_a_table_under_a_known_name_has_its_names():
    numbers = np.random.default_rng(1).permutation(ORDER)
    back = np.argsort(numbers)
    table = back[S4.array[np.ix_(numbers, numbers)]]
    named, own = (cc.FiniteGroup.from_table(table, name=name) for name in ("S4", "mine"))
    network = cc.from_module(Renumbered(numbers), named)
    assert network.group is named and right_share(network) == 1
    assert cc.from_module(Renumbered(numbers), own).group is own


@pytest.mark.usefixtures("unchecked")
def test_a_module_that_is_compared_as_it_is_says_which_line_is_missing():
    for model in (OneHot(), nn.Sequential(nn.Linear(3, 3))):
        with pytest.raises(CosetCircuitsError, match=r"cc.compare\(cc.from_module\(model\)\)"):
            cc.compare(model)
        with pytest.raises(CosetCircuitsError, match=r"Network 1 is .*cc.from_module makes"):
            cc.compare([model])


def test_three_lines_from_a_module_to_a_verdict():
    network = cc.from_module(OneHot())
    comparison = cc.compare(network, [cc.CosetAlgorithm()], pairs=200)
    assert "OneHot" in str(comparison)
    assert comparison.verdict.explained_by == ("coset",)


class Wrapped(Tables):
    """A module that gives more than logits, as others' models do."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind

    def forward(self, pairs):
        logits = super().forward(pairs)
        if self.kind == "a token more":
            return F.pad(logits, (0, 1), value=-99.0)
        outputs = {"logits": logits, "loss": None}
        kinds = {"dict": outputs, "tuple": (logits, None), "object": SimpleNamespace(**outputs)}
        return kinds[self.kind]


@pytest.mark.parametrize("kind", ["dict", "tuple", "object", "a token more"])
def test_outputs_of_other_kinds(kind):
    model = Wrapped(kind)
    found = cc.from_module(model, "S4")
    assert (found.answers() == S4.array).all()
    torch.testing.assert_close(found(S4.pairs()), Tables()(S4.pairs()).double())
    assert found.provenance.get("outputs") == (25 if kind == "a token more" else None)


def test_a_wrong_group_is_not_believed():
    for group, sentence in (("C24", "multiplies in S4"), ("C23", "none of the first 23")):
        with pytest.raises(CosetCircuitsError, match=sentence):
            cc.from_module(Tables(), group)


def test_the_group_of_a_module_that_is_not_always_right():
    model = Tables()
    with torch.no_grad():
        model.left[0] -= 5
    found = cc.from_module(model)
    right = (found.answers() == S4.array).mean()
    assert found.group == S4 and 0.9 < right < 1


def test_a_module_without_values():
    with pytest.raises(CosetCircuitsError, match="meta device"):
        cc.from_module(Tables().to("meta"))


class Stored(Tables):
    """A module that keeps its hidden activations with their graph, as modules under study do."""

    def forward(self, pairs):
        self.hidden = torch.relu(self.pre(*pairs.T))
        return self.hidden @ self.write


def test_a_module_that_stores_an_activation_is_copied():
    model = Stored()
    model(S4.pairs()).sum().backward()
    kept = model.hidden
    torch.testing.assert_close(cc.from_module(model)(S4.pairs()), model(S4.pairs()).double())
    assert kept.grad_fn is not None and model.left.grad is not None


def test_a_pruned_module_is_read_with_its_masks():
    model = OneHot()
    prune.random_unstructured(model.head, "weight", 0.3)
    network = cc.from_module(model, S4)
    expected = model.double().eval()(one_hot(S4.pairs()).flatten(1).double())
    torch.testing.assert_close(network(S4.pairs()), expected, rtol=1e-9, atol=1e-9)


class Rounded(Tables):
    """Logits in float32 whatever the weights are, as many language models give them."""

    def forward(self, pairs):
        return super().forward(pairs).float()


def test_rounding_inside_a_module_is_allowed_for():
    network = cc.from_module(Rounded(), S4)
    torch.testing.assert_close(network(S4.pairs()), Tables().double()(S4.pairs()))
    assert 1e-9 < network.provenance["largest_difference"] < 1e-6


class Batched(Tables):
    """Batch norm without running statistics: a pair's logits depend on the others."""

    def pre(self, a, b):
        return F.batch_norm(super().pre(a, b), None, None, training=True)


class Arrays(Tables):
    def forward(self, pairs):
        return super().forward(pairs).numpy()


class Centred(Tables):
    """Layer norm before the activation, the only thing that does not fit."""

    def pre(self, a, b):
        return F.layer_norm(super().pre(a, b), (WIDTH,))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (Batched, "Batched gives a pair other logits if other pairs are in the batch"),
        (Arrays, r"model\(pairs\): 5 pairs give a ndarray"),
        (
            Centred,
            r"at relu\(\): .* Why: [\d.]+% of the variance of its pre-activations is an inter",
        ),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_the_reason_is_the_one_that_matters(make, sentence):
    with pytest.raises(CosetCircuitsError, match=sentence):
        cc.from_module(make(), S4)


@pytest.mark.parametrize("function", [lambda x: x > 0, lambda x: x.float().relu()])
def test_an_activation_may_return_another_dtype(function):
    generator = torch.Generator().manual_seed(0)
    left, right, write = (
        torch.randn(shape, generator=generator, dtype=torch.float64)
        for shape in ((6, 8), (6, 8), (8, 6))
    )
    network = cc.GroupMLP.from_weights(
        "S3", left_table=left, right_table=right, W_U=write, act_fn=function
    )
    a, b = network.group.pairs().T
    expected = function(left[a] + right[b]).double() @ write
    torch.testing.assert_close(network(network.group.pairs()), expected, rtol=1e-6, atol=1e-6)
