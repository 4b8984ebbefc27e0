"""Formation is the FVU, at each checkpoint, on the cells that a neuron ends with."""

import pytest
import torch

import coset_circuits as cc
from coset_circuits.algorithms.coset import coset_fvu
from coset_circuits.evidence.formation import formation
from coset_circuits.networks import planted_coset, save
from coset_circuits.thresholds import DEFAULT


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


def test_it_is_the_fvu_on_the_final_cosets(run):
    network = cc.load(run).double()
    circuit = cc.CosetAlgorithm().fit(network)
    found = formation(network, [circuit], DEFAULT)
    assert found is not None and (found.algorithm, found.steps) == ("coset", (10, 100))
    labels = circuit.classes("hook_left_pre")[0].left
    then = cc.load(run / "checkpoints" / "step-000010.safetensors").left_table.detach()
    for j in (0, 7, network.cfg.d_mlp - 1):
        expected = coset_fvu(then[:, [j]], labels[:, j])
        assert found.fvu_left[0, j] == pytest.approx(float(expected), rel=1e-6)
    assert found.fvu_left[0].min() > 0.01 and found.fvu_left[1].max() < 1e-10
    assert found.fvu_right.max() < 1e-10


def test_cells_that_leave_no_freedom_tell_nothing(run):
    network = cc.load(run).double()
    irreps = cc.IrrepAlgorithm().fit(network)
    # (3,1) of S4 is faithful: its cells are single elements, and every network fits them.
    assert formation(network, [irreps], DEFAULT) is None
    both = formation(network, [irreps, cc.CosetAlgorithm().fit(network)], DEFAULT)
    assert both is not None and both.algorithm == "coset"


def test_without_checkpoints_there_is_none(run, coset_network):
    circuit = cc.CosetAlgorithm().fit(coset_network)
    assert formation(coset_network, [circuit], DEFAULT) is None
    # Checkpoints of a network of another width are of another run.
    coset_network = coset_network.unhooked()
    coset_network.provenance["path"] = str(run)
    assert formation(coset_network, [circuit], DEFAULT) is None


def test_the_path_stays_out_of_saved_files(run, tmp_path):
    network = cc.load(run)
    assert network.provenance["path"] == str(run)
    again = save(network, tmp_path / "other" / "network.safetensors")
    assert str(run) not in again.with_suffix(".json").read_text()
    assert cc.load(again).provenance["path"] == str(again)
