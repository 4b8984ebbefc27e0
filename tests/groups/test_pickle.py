"""Groups go through pickle and copy, whatever was computed of them, and come back equal."""

import copy
import pickle

import numpy as np
import pytest
import torch

import coset_circuits as cc

MADE = {
    "S4": lambda: cc.group("S4"),
    "product": lambda: cc.group("S3xC2"),
    "affine": lambda: cc.group("F20"),
    "table": lambda: cc.FiniteGroup.from_table(cc.group("Q8").array, name="mine"),
    "relabelled": lambda: cc.group("S3").relabelled(np.array([3, 1, 2, 0, 4, 5])),
}


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("through", [lambda g: pickle.loads(pickle.dumps(g)), copy.deepcopy])
def test_a_round_trip_changes_nothing(name, through):
    group = MADE[name]()
    assert len(group.irreps) and len(group.subgroups) and len(group.real_blocks)
    again = through(group)
    assert again == group and again.name == group.name and again.labels == group.labels
    assert [rho.name for rho in again.irreps] == [rho.name for rho in group.irreps]
    for one, two in zip(again.irreps, group.irreps, strict=True):
        assert torch.equal(one.matrices, two.matrices)
    assert [h.name for h in again.subgroups] == [h.name for h in group.subgroups]
    assert all(one == two for one, two in zip(again.subgroups, group.subgroups, strict=True))
