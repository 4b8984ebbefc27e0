"""Python's and torch's own tools on what the library makes: pickle, copies, processes, modes."""

import copy
import io
import json
import multiprocessing
import pickle
import subprocess
import sys
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import coset_circuits as cc
from coset_circuits.groups import direct_product
from coset_circuits.networks import planted_coset


def through_pickle(value):
    return pickle.loads(pickle.dumps(value))


def through_torch(value):
    file = io.BytesIO()
    torch.save(value, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


THROUGH = (through_pickle, through_torch, copy.copy, copy.deepcopy)


class Softer(torch.nn.Module):
    def forward(self, x):
        return torch.nn.functional.softplus(x)


def answers(model):
    with torch.no_grad():
        return model(model.group.pairs())


def same_numbers(one, two):
    """Equal to the last bit, NaN included."""
    return one.shape == two.shape and torch.equal(one.nan_to_num(7e99), two.nan_to_num(7e99))


@pytest.fixture(scope="module")
def network():
    return planted_coset(cc.group("S3"), "C2")


@pytest.fixture(scope="module")
def comparison(network):
    return cc.compare(network, experiments=["scrub", "substitution"], progress=lambda *_: None)


@pytest.mark.parametrize("through", THROUGH)
def test_irreps_go_through(through):
    for group in (cc.group("S4"), cc.group("Q8"), direct_product(cc.group("C3"), cc.group("S3"))):
        for rho, again in zip(group.irreps, map(through, group.irreps), strict=True):
            assert torch.equal(rho.matrices, again.matrices)
            assert torch.equal(rho.character, again.character)
            assert (again.name, again.group) == (rho.name, group)


@pytest.mark.parametrize("act_fn", ["relu", "identity", "square", torch.sin, Softer()])
@pytest.mark.parametrize("through", THROUGH)
def test_networks_go_through(through, act_fn):
    network = cc.GroupMLP.initialised(cc.group("S3"), d_mlp=5, d_embed=4, act_fn=act_fn)
    again = through(network)
    assert torch.equal(answers(network), answers(again))
    assert again.content() == network.content()
    assert again.identity() == network.identity()


@pytest.mark.parametrize("through", THROUGH)
def test_a_transformer_goes_through(through):
    network = cc.train("S3", 1, architecture="transformer", d_mlp=8, max_steps=1)
    assert torch.equal(answers(through(network)), answers(network))


@pytest.mark.parametrize("key", cc.ALGORITHMS)
@pytest.mark.parametrize("through", THROUGH)
def test_algorithms_circuits_and_surrogates_go_through(through, key, network):
    goes_through(through, key, network)


@pytest.mark.slow
def test_algorithms_circuits_and_surrogates_go_through_a_process(network):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        for key in cc.ALGORITHMS:
            goes_through(lambda value: pool.apply(copy.copy, (value,)), key, network)


def goes_through(through, key, network):
    algorithm = cc.ALGORITHMS[key][0]
    assert through(algorithm) == algorithm
    circuit = algorithm.fit(network)
    again, surrogate = through(circuit), circuit.surrogate()
    assert again.roles.names == circuit.roles.names
    assert again.description_length() == circuit.description_length()
    for other in (again.surrogate(), through(surrogate)):
        assert same_numbers(answers(other), answers(surrogate))
    for row in cc.INTERVENTIONS.values():
        one, two = (
            cc.measure(row, {"it": c.surrogate()}, network.group.pairs()) for c in (circuit, again)
        )
        assert (one["it"] is None) == (two["it"] is None)
        if one["it"] is not None:
            assert same_numbers(one["it"].losses, two["it"].losses)


@pytest.mark.parametrize("id", cc.INTERVENTIONS)
def test_interventions_go_through_and_stay_equal(id):
    assert through_pickle(cc.INTERVENTIONS[id]) == cc.INTERVENTIONS[id]


@pytest.mark.parametrize("through", THROUGH)
def test_results_go_through(through, comparison, network):
    assert json.dumps(through(comparison).to_dict()) == json.dumps(comparison.to_dict())
    for result in comparison.results.values():
        again, first = ([f.to_dict() for f in r.findings()] for r in (through(result), result))
        assert json.dumps(again) == json.dumps(first)


def test_an_ensemble_goes_through(network):
    ensemble = cc.compare([network], ["coset"])
    assert json.dumps(through_pickle(ensemble).to_dict()) == json.dumps(ensemble.to_dict())


@pytest.mark.parametrize("how", ["standard input", "a script"])
def test_many_seeds_from_a_script_without_a_guard(how, tmp_path):
    code = (
        "import coset_circuits as cc\n"
        f"seeds = cc.train_many('S3', [0, 1], out={str(tmp_path)!r}, workers=2, d_mlp=8, "
        "max_steps=2)\nprint([seed.failure for seed in seeds])\n"
    )
    script = tmp_path / "script.py"
    script.write_text(code)
    where = [str(script)] if how == "a script" else ["-"]
    done = subprocess.run(
        [sys.executable, *where],
        input=code,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.stdout.strip() == "[None, None]" and "Traceback" not in done.stderr


def deterministic():
    class Mode:
        def __enter__(self):
            torch.use_deterministic_algorithms(True)

        def __exit__(self, *_):
            torch.use_deterministic_algorithms(False)

    return Mode()


def default_dtype():
    class Mode:
        def __enter__(self):
            torch.set_default_dtype(torch.float64)

        def __exit__(self, *_):
            torch.set_default_dtype(torch.float32)

    return Mode()


MODES = {
    "usual": nullcontext,
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "deterministic": deterministic,
    "float64 by default": default_dtype,
}


def everything(mode):
    """What seeds give: of training, comparing and each experiment."""
    with mode():
        made = {
            architecture: cc.train(
                "S3", 3, architecture=architecture, d_mlp=8, max_steps=30, batch_size=12
            )
            for architecture in ("mlp", "transformer")
        }
        found = {name: network.content() for name, network in made.items()}
        found["untrained"] = made["mlp"].untrained(4).content()
        network = planted_coset(cc.group("S3"), "C2", seed=2)
        comparison = cc.compare(network, ["coset", "irrep"], experiments=cc.EXPERIMENTS, seed=5)
        found["comparison"] = json.dumps(comparison.to_dict()["findings"])
        found["transformer compared"] = json.dumps(
            cc.compare(made["transformer"], ["coset"]).to_dict()["findings"]
        )
    return found


def test_a_network_made_in_inference_mode_is_used_outside_it():
    with torch.inference_mode():
        made = planted_coset(cc.group("S3"), "C2")
    same = planted_coset(cc.group("S3"), "C2")
    found, expected = (cc.compare(n, ["coset"]).to_dict()["findings"] for n in (made, same))
    assert json.dumps(found) == json.dumps(expected)
    turned = made.reordered(torch.tensor([1, 0, 2, 3, 4, 5]), made.group)
    assert torch.equal(turned.W_U[:, 1], same.W_U[:, 0])


@pytest.fixture(scope="module")
def usual():
    return everything(nullcontext)


@pytest.mark.parametrize("mode", list(MODES)[1:])
def test_no_mode_of_torch_changes_what_a_seed_gives(mode, usual):
    found = everything(MODES[mode])
    for name, value in usual.items():
        assert found[name] == value, name


def test_nobody_elses_random_numbers_are_drawn_and_no_setting_is_changed(usual):
    def state():
        return SimpleNamespace(
            torch=torch.get_rng_state().tolist(),
            numpy=repr(np.random.get_state()),
            threads=torch.get_num_threads(),
            dtype=torch.get_default_dtype(),
            grad=torch.is_grad_enabled(),
        )

    torch.manual_seed(11)
    before = state()
    assert everything(nullcontext) == usual
    assert state() == before
