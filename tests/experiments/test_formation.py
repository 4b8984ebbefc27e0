"""Formation is the FVU, at each checkpoint, on the cells that a neuron ends with."""

import json

import numpy as np
import pytest
import torch

import coset_circuits as cc
from coset_circuits.algorithms.coset import coset_fvu
from coset_circuits.experiments import Bench, Candidate
from coset_circuits.experiments.formation import Formation, FormationExperiment
from coset_circuits.networks import planted_coset, save


@pytest.fixture
def run(tmp_path):
    """The folder of a run whose neurons were half noise at step 10."""
    network = planted_coset(cc.group("S4"), "S3").float()
    save(network, tmp_path / "network.safetensors")
    save(network, tmp_path / "checkpoints" / "step-000100.safetensors", card=False)
    noise = torch.randn(network.W_E_left.shape, generator=torch.Generator().manual_seed(0))
    network.W_E_left.data += noise
    save(network, tmp_path / "checkpoints" / "step-000010.safetensors", card=False)
    return tmp_path


def formed(network, *circuits):
    candidates = tuple(Candidate(c.name, "hypothesis", c, {}) for c in circuits)
    return FormationExperiment().run(Bench(network, candidates))


def test_it_is_the_fvu_on_the_final_cosets(run):
    network = cc.load(run).double()
    circuit = cc.CosetAlgorithm().fit(network)
    found = formed(network, circuit)
    assert found is not None and (found.algorithm, found.steps) == ("coset", (10, 100))
    labels = circuit.classes("hook_left_pre")[0].left
    then = cc.load(run / "checkpoints" / "step-000010.safetensors").left_table.detach()
    for j in (0, 7, network.cfg.d_mlp - 1):
        expected = coset_fvu(then[:, [j]], labels[:, j])
        assert found.fvu_left[0, j] == pytest.approx(float(expected), rel=1e-6)
    assert found.fvu_left[0].min() > 0.01 and found.fvu_left[1].max() < 1e-10
    assert found.fvu_right.max() < 1e-10


def test_a_neuron_is_formed_when_it_stays_within_the_bound():
    nan = float("nan")
    left = [[0.5, 0.001, 0.5, 0.5, nan], [0.002, 0.5, 0.003, 0.5, nan], [0.001, 0.002, 0.1, 0, nan]]
    right = torch.zeros(3, 5, dtype=torch.float64)
    right[:, 4] = nan
    found = Formation("coset", (1, 10, 100), torch.tensor(left, dtype=torch.float64), right, 0.01)
    assert found.formed(0.01) == [10, 100, None, 100, None]
    low, middle, high = found.quartiles("left")
    # At step 10 the explained neurons have 0.002, 0.003, 0.5 and 0.5.
    assert middle[1] == pytest.approx((0.003 + 0.5) / 2) and high[1] == 0.5
    assert low[1] == pytest.approx(0.002 + 0.75 * 0.001)
    assert (found.quartiles("right") == 0).all()


def test_it_is_in_the_findings(run):
    found = cc.compare(run, [cc.CosetAlgorithm()]).to_dict()["formation"]
    width = cc.load(run).cfg.d_mlp
    assert (found["algorithm"], found["unit"], found["steps"]) == ("coset", "fraction", [10, 100])
    # The noise is in every left table, and gone at the end.
    assert found["formed"] == [100] * width
    assert [len(side) for side in (found["fvu_left"], found["fvu_right"])] == [width, width]
    medians = np.median(np.array(found["fvu_left"]), axis=0)
    assert found["quartiles_left"][1] == pytest.approx(medians.tolist())
    assert max(found["quartiles_right"][2]) < 1e-10
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_without_checkpoints_the_findings_say_so(coset_network):
    assert cc.compare(coset_network, [cc.CosetAlgorithm()]).to_dict()["formation"] is None


def test_cells_that_leave_no_freedom_tell_nothing(run):
    network = cc.load(run).double()
    irreps = cc.IrrepAlgorithm().fit(network)
    # (3,1) of S4 is faithful: its cells are single elements, and every network fits them.
    assert formed(network, irreps) is None
    both = formed(network, irreps, cc.CosetAlgorithm().fit(network))
    assert both is not None and both.algorithm == "coset"


def test_without_checkpoints_there_is_none(run, coset_network):
    circuit = cc.CosetAlgorithm().fit(coset_network)
    assert formed(coset_network, circuit) is None
    # Checkpoints of a network of another width are of another run.
    coset_network = coset_network.unhooked()
    coset_network.provenance["path"] = str(run)
    assert formed(coset_network, circuit) is None


def test_the_path_stays_out_of_saved_files(run, tmp_path):
    network = cc.load(run)
    assert network.provenance["path"] == str(run)
    again = save(network, tmp_path / "other" / "network.safetensors")
    assert str(run) not in again.with_suffix(".json").read_text()
    assert cc.load(again).provenance["path"] == str(again)
