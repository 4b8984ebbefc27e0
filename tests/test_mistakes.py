"""What people give by mistake: taken where it is clear what is meant, else one sentence at once."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import coset_circuits as cc
from coset_circuits import cli
from coset_circuits.networks import planted_coset

pytestmark = pytest.mark.usefixtures("unchecked")

S3 = cc.group("S3")
WEIGHTS = dict(planted_coset(S3, "C2").named_parameters())
TABLES = {
    "left_table": planted_coset(S3, "C2").left_table.detach(),
    "right_table": planted_coset(S3, "C2").right_table.detach(),
    "W_U": WEIGHTS["W_U"].detach(),
}


@pytest.fixture(scope="module")
def network():
    return planted_coset(S3, "C2")


@pytest.fixture(scope="module")
def circuit(network):
    return cc.CosetAlgorithm().fit(network)


@pytest.fixture(scope="module")
def usual(network):
    return cc.compare(network, [cc.CosetAlgorithm()]).to_dict()["findings"]


WRONG = {
    "None": None,
    "a number": 3,
    "minus one": -1,
    "a fraction": 2.5,
    "a huge number": 2**70,
    "a class": cc.CosetAlgorithm,
    "text": "no such thing",
    "empty text": "",
    "bytes": b"S3",
    "a list": [1, 2],
    "an empty list": [],
    "a dictionary": {"a": 1},
    "an array": np.zeros(3),
    "a tensor": torch.zeros(2, 2),
    "a module": torch.nn.Linear(2, 2),
    "a function": len,
    "an object": object(),
    "not a number": float("nan"),
    "a path too long": "x" * 300,
    "a path with a null": "a\0b",
}
TRANSFORMER = {
    name: torch.ones(shape)
    for name, shape in {
        **{"W_E": (7, 4), "W_pos": (3, 4), "W_O": (1, 2, 4), "W_in": (4, 5), "W_out": (5, 4)},
        **dict.fromkeys(("W_Q", "W_K", "W_V"), (1, 4, 2)),
        "W_unembed": (4, 6),
    }.items()
}


def transformer(**changes):
    given = {"group": S3, "weights": TRANSFORMER, "tokens": (0, 0, 6), **changes}
    return cc.GroupTransformer(**given)


CALLS = {
    "compare": lambda x, network, circuit, out: cc.compare(x, ["coset"]),
    "compare algorithms": lambda x, network, circuit, out: cc.compare(
        network, x if x is not None else [None]
    ),
    "compare one algorithm": lambda x, network, circuit, out: cc.compare(network, [x]),
    "compare interventions": lambda x, network, circuit, out: cc.compare(
        network, ["coset"], interventions=[x]
    ),
    "compare experiments": lambda x, network, circuit, out: cc.compare(
        network, ["coset"], experiments=[x]
    ),
    "compare thresholds": lambda x, network, circuit, out: cc.compare(
        network, ["coset"], thresholds=x
    ),
    "group": lambda x, network, circuit, out: cc.group(x),
    "from_table": lambda x, network, circuit, out: cc.FiniteGroup.from_table(x),
    "from_weights group": lambda x, network, circuit, out: cc.GroupMLP.from_weights(x, **TABLES),
    "from_weights W_U": lambda x, network, circuit, out: cc.GroupMLP.from_weights(
        S3, **{**TABLES, "W_U": x}
    ),
    "from_module": lambda x, network, circuit, out: cc.from_module(x),
    "load": lambda x, network, circuit, out: cc.load(x),
    "save": lambda x, network, circuit, out: cc.save(x, out / "x.safetensors"),
    "fit": lambda x, network, circuit, out: cc.CosetAlgorithm().fit(x),
    "irrep fit": lambda x, network, circuit, out: cc.IrrepAlgorithm().fit(x),
    "run": lambda x, network, circuit, out: network(x),
    "train group": lambda x, network, circuit, out: cc.train(x, max_steps=1),
    "train_many seeds": lambda x, network, circuit, out: cc.train_many(
        "S3", x, out=out / "runs", max_steps=1
    ),
    "reproduce": lambda x, network, circuit, out: cc.reproduce(x, network),
    "reproduce networks": lambda x, network, circuit, out: cc.reproduce("fig6", [x]),
    "reproduce seed": lambda x, network, circuit, out: cc.reproduce("table5", seed=x),
    "reproduce order": lambda x, network, circuit, out: cc.reproduce("fig6", network, order=x),
    "training_checkpoints": lambda x, network, circuit, out: cc.training_checkpoints(x),
    "load_comparison": lambda x, network, circuit, out: cc.load_comparison(x),
    "load device": lambda x, network, circuit, out: cc.load("s4", device=x),
    "load dtype": lambda x, network, circuit, out: cc.load("s4", dtype=x),
    "transformer group": lambda x, network, circuit, out: transformer(group=x),
    "transformer weights": lambda x, network, circuit, out: transformer(weights=x),
    "transformer W_in": lambda x, network, circuit, out: transformer(
        weights={**TRANSFORMER, "W_in": x}
    ),
    "transformer tokens": lambda x, network, circuit, out: transformer(tokens=x),
    "transformer token": lambda x, network, circuit, out: transformer(tokens=(0, x, 6)),
    "transformer activation": lambda x, network, circuit, out: transformer(activation=x),
    "transformer attention": lambda x, network, circuit, out: transformer(attention=x),
    "reordered": lambda x, network, circuit, out: network.reordered(x, S3),
    "relabelled": lambda x, network, circuit, out: S3.relabelled(x),
    "measure": lambda x, network, circuit, out: cc.measure(cc.INTERVENTIONS["base"], x, S3.pairs()),
    "compare workers": lambda x, network, circuit, out: cc.compare([network], ["coset"], workers=x),
    "train device": lambda x, network, circuit, out: cc.train("S3", device=x, max_steps=1),
    "train width": lambda x, network, circuit, out: cc.train("S3", d_mlp=x, max_steps=1),
    **{
        name: lambda x, network, circuit, out, name=name: getattr(cc, name)(x)
        for name in [
            "certify",
            "routing",
            "ablation",
            "activation_patching",
            "attribution_patching",
            "clock_pizza",
            "gcr_evidence",
            "interchange",
            "neuron_sets",
            "path_patching",
            "scrub",
            "substitution",
        ]
    },
}


@pytest.mark.parametrize("given", WRONG)
@pytest.mark.parametrize("call", CALLS)
def test_a_mistake_is_a_sentence(call, given, network, circuit, tmp_path):
    value = WRONG[given]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            CALLS[call](value, network, circuit, tmp_path)
        except cc.CosetCircuitsError as error:
            assert "\n" not in str(error) and len(str(error)) > 20
            return
    taken = {("compare algorithms", "a class"), ("compare one algorithm", "a class")}
    taken |= {("train_many seeds", "a list")}
    no_change = ("reproduce order", "load device", "load dtype", "transformer activation")
    taken |= {(call, "None") for call in no_change} | {("reproduce networks", "None")}
    taken |= {("compare workers", "None"), ("compare workers", "a huge number")}
    taken |= {(call, "a number") for call in ("train width", "compare workers", "reproduce seed")}
    assert (call, given) in taken


SEEDS = {
    "train": lambda seed, network, circuit: cc.train("S3", seed, d_mlp=4, max_steps=1),
    "initialised": lambda seed, network, circuit: cc.GroupMLP.initialised(S3, d_mlp=4, seed=seed),
    "from_weights": lambda seed, network, circuit: cc.GroupMLP.from_weights(
        S3, **TABLES, seed=seed
    ),
    "compare": lambda seed, network, circuit: cc.compare(network, ["coset"], seed=seed),
    "scrub": lambda seed, network, circuit: cc.scrub(circuit, seed=seed, samples=1, controls=()),
    "ablation": lambda seed, network, circuit: cc.ablation(network, seed=seed),
    "substitution": lambda seed, network, circuit: cc.substitution(circuit, seed=seed),
    "gcr": lambda seed, network, circuit: cc.gcr_evidence(network, seed=seed),
}


@pytest.mark.parametrize("call", SEEDS)
def test_seeds_have_one_range_everywhere(call, network, circuit):
    for seed in (-1, 2**32, 2**70, 1.5, "three", True):
        with pytest.raises(cc.CosetCircuitsError, match="The seed is"):
            SEEDS[call](seed, network, circuit)
    for seed in (np.int64(3), 2**32 - 1, torch.tensor(3)):
        SEEDS[call](seed, network, circuit)


def test_what_is_clear_is_taken(network, usual):
    for algorithms in (cc.CosetAlgorithm, cc.CosetAlgorithm(), [cc.CosetAlgorithm]):
        assert cc.compare(network, algorithms).to_dict()["findings"] == usual
    pairs = S3.pairs()
    for given in (pairs.tolist(), pairs.numpy(), pairs.int(), [tuple(p) for p in pairs.tolist()]):
        assert torch.equal(network(given), network(pairs))
        row = cc.INTERVENTIONS["base"]
        measured = cc.measure(row, {"it": network}, given)["it"]
        assert torch.equal(measured.losses, cc.measure(row, {"it": network}, pairs)["it"].losses)
    by_id = cc.compare(network, "coset", interventions=["base", "sign_left"])
    assert [row.intervention for row in by_id.rows] == [
        cc.INTERVENTIONS[id] for id in ("base", "sign_left")
    ]
    made = cc.GroupMLP.from_weights(S3, **TABLES)
    for change in (
        lambda w: w.numpy(),
        lambda w: w.tolist(),
        lambda w: w.to_sparse(),
        lambda w: w.numpy().astype(">f8"),
    ):
        given = {name: change(w) for name, w in TABLES.items()}
        assert cc.GroupMLP.from_weights("S3", **given).content() == made.content()


def test_weights_that_hold_no_numbers_are_refused():
    given = {name: weight.to("meta") for name, weight in TABLES.items()}
    with pytest.raises(cc.CosetCircuitsError, match="meta device"):
        cc.GroupMLP.from_weights(S3, **given)


def test_weights_of_mixed_dtype_are_one_dtype_however_they_come():
    mixed = {**WEIGHTS, "W_U": WEIGHTS["W_U"].detach().half()}
    for made in (cc.GroupMLP(S3, mixed), cc.GroupMLP.from_weights(S3, **mixed)):
        assert {p.dtype for p in made.parameters()} == {torch.float64}
        assert "W_U from float16" in made.provenance["cast"]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_goes_all_the_way(dtype, tmp_path):
    network = planted_coset(S3, "C2").to(dtype)
    double = cc.GroupMLP.from_weights(
        S3, **{name: weight.double() for name, weight in network.named_parameters()}
    )
    for given in (network, [network]):
        cc.compare(given, ["coset"])
    one, two = (cc.compare(n, ["coset"]).to_dict()["findings"] for n in (network, double))
    assert one == two
    assert torch.equal(cc.load(cc.save(network, tmp_path / "it.safetensors")).W_U, network.W_U)


def test_what_is_kept_can_be_written(tmp_path):
    about = {"folder": Path("runs"), "number": np.float64(2.5), "list": np.arange(2), 3: {4}}
    made = cc.GroupMLP.from_weights(
        cc.FiniteGroup.from_table(S3.table, name=7, labels=list(range(6))),
        **TABLES,
        label=7,
        seed=np.int64(3),
        provenance={"source": Path("here"), **about},
    )
    made.provenance["later"] = Path("there")
    assert made.label == "7" and made.group.name == "7" and type(made.seed) is int
    made.label = "two\nlines"
    cc.compare(made, ["coset"], seed=np.int64(1), pairs=np.int64(36)).save(tmp_path / "report")
    json.loads((tmp_path / "report" / "findings.json").read_text())
    again = cc.load(cc.save(made, tmp_path / "it.safetensors")).provenance
    assert again["folder"] == "runs" and again["number"] == 2.5 and again["list"] == [0, 1]
    assert again["later"] == "there" and again["3"] == [4]


def test_what_cannot_be_written_is_refused_before_any_work():
    with pytest.raises(cc.CosetCircuitsError, match="provenance holds a"):
        cc.GroupMLP.from_weights(S3, **TABLES, provenance={"what": object()})
    with pytest.raises(cc.CosetCircuitsError, match="label is a"):
        cc.GroupMLP.from_weights(S3, **TABLES, label=object())


@pytest.mark.parametrize("name", ("interchange", "neuron_sets", "scrub", "substitution"))
def test_a_network_is_not_a_circuit(name, network):
    with pytest.raises(cc.CosetCircuitsError, match="is not a circuit; fit a hypothesis first"):
        getattr(cc, name)(network)


@pytest.mark.parametrize("key", cc.ALGORITHMS)
def test_no_hypothesis_is_fitted_to_what_is_no_number(key):
    network = planted_coset(S3, "C2")
    network.W_U.data[0, 0] = float("nan")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for fit in (cc.ALGORITHMS[key][0].fit, cc.DullNull().fit, cc.gcr_evidence):
            with pytest.raises(cc.CosetCircuitsError, match="W_U holds 1 values that are not fin"):
                fit(network)


def test_nothing_is_silently_ignored(network):
    pairs = S3.pairs()
    W_in = torch.eye(18).double()
    for clash in (
        {"W_E": TABLES["left_table"], "W_in": W_in, "W_in_left": W_in},
        {**TABLES, "W_E_left": TABLES["left_table"]},
        {"W_E": TABLES["left_table"], "W_E_left": TABLES["left_table"], "W_in": W_in},
    ):
        with pytest.raises(cc.CosetCircuitsError, match="mean the same"):
            cc.GroupMLP.from_weights(S3, **{"W_U": TABLES["W_U"], **clash})
    with pytest.raises(cc.CosetCircuitsError, match="it would cut the batch"):
        network.run_with_cache(pairs, pos_slice=slice(0, 1))
    with pytest.raises(cc.CosetCircuitsError, match="order= says how a file"):
        cc.compare(network, ["coset"], order="natural")
    with pytest.raises(cc.CosetCircuitsError, match="is not a weight of this network"):
        cc.GroupMLP(S3, {**WEIGHTS, "W_out": WEIGHTS["W_U"]})
    with pytest.raises(cc.CosetCircuitsError, match="checkpoints and save_every need out="):
        cc.train("S3", max_steps=1, checkpoints=[0])


@pytest.mark.parametrize("field", ["group", "seeds", "save_every", "side_by_side"])
def test_only_fields_of_the_recipe_are_set(field, tmp_path):
    arguments = ["train", "S3", "--set", f"{field}=1", "--out", str(tmp_path)]
    done = CliRunner().invoke(cli.app, arguments)
    assert isinstance(done.exception, cc.CosetCircuitsError), done.exception
    assert f"no field {field}" in str(done.exception) and not [*tmp_path.iterdir()]


def test_an_order_with_a_network_is_refused_everywhere(network):
    for call in (
        lambda: cc.compare(network, ["coset"], order="S3, heap"),
        lambda: cc.compare([network], ["coset"], order="S3, heap"),
        lambda: cc.reproduce("fig6", network, order="S3, heap"),
    ):
        with pytest.raises(cc.CosetCircuitsError, match="order= says how a file"):
            call()


def test_two_networks_share_no_memory():
    """An edit of one must not be an edit of the other."""
    one = transformer()
    other = transformer(weights=dict(one.named_parameters()))
    one.W_in.data.zero_()
    assert other.W_in.abs().min() > 0
    arrays = {name: value.numpy() for name, value in TRANSFORMER.items()}
    assert transformer(weights=arrays).content() == other.content()
