"""Table 3: correlations of two neurons' unembedding rows, by what the neurons share."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from coset_circuits.algorithms import Circuit
from coset_circuits.experiments.partitions import canonical, explained
from coset_circuits.reproduction import artifact as art
from coset_circuits.reproduction.study import Study

PAPER = {"same coset": (0.814, 0.445), "same class": (-0.002, 0.222), "any two": (-0.003, 0.163)}
"""Mean and standard deviation as printed in Table 3."""

SAME_PAIR = "same (H, K)"
SAME_COSET = "same (H, X)"
CLASS_NOT_PAIR = "same class, other (H, K)"
CLASS_NOT_COSET = "same class, other (H, X)"
ANY = "any two"
RANDOM = "random neuron sets"


def analyse(study: Study) -> dict[str, Any]:
    """For each way of pairing neurons: how many pairs, and the sums that give mean and s.d."""
    correlations = unembedding_correlations(study.circuit)
    upper = torch.triu(torch.ones_like(correlations, dtype=torch.bool), 1)
    sums = {}
    for name, mask in pairings(study.circuit, study.seed).items():
        values = correlations[mask & upper]
        sums[name] = [len(values), float(values.sum()), float(values.square().sum())]
    return sums


def unembedding_correlations(circuit: Circuit) -> Float[Tensor, "d_mlp d_mlp"]:
    """Pearson's, of every two neurons' unembedding rows over the outputs; 0 for a constant row."""
    rows = circuit.network.W_U.detach().double().cpu()
    centred = rows - rows.mean(1, keepdim=True)
    norms = centred.norm(dim=1, keepdim=True)
    unit = torch.where(norms > 0, centred / norms.clamp_min(1e-300), torch.zeros_like(centred))
    return unit @ unit.T


def pairings(circuit: Circuit, seed: int = 0) -> dict[str, Bool[Tensor, "d_mlp d_mlp"]]:
    """Which two neurons of a coset circuit are paired, in the paper's senses and in ours.

    Neurons without a subgroup are left out. (H, K): the left input is read on the right cosets of
    the same H, the right input on the left cosets of the same K. (H, X): also the shared coset
    X = Hx = xK is the same.
    """
    has_subgroup = torch.from_numpy(explained(circuit))
    both = has_subgroup[:, None] & has_subgroup[None, :]
    names = circuit.roles.names
    same_class = torch.tensor([[a == b for b in names] for a in names]) & both
    left, right = (
        _same_partition(getattr(circuit.classes(f"hook_{side}_pre")[0], side))
        for side in ("left", "right")
    )
    same_pair = left & right & both
    same_coset = torch.zeros_like(both)
    for members in circuit.classes("hook_post")[0].groups or ():
        index = torch.tensor(members)
        same_coset[index[:, None], index[None, :]] = True
    same_coset &= both
    moved = has_subgroup.nonzero()[:, 0]
    generator = torch.Generator().manual_seed(seed)
    order = torch.arange(len(has_subgroup))
    order[moved] = moved[torch.randperm(len(moved), generator=generator)]
    return {
        SAME_PAIR: same_pair,
        SAME_COSET: same_coset,
        CLASS_NOT_PAIR: same_class & ~same_pair,
        CLASS_NOT_COSET: same_class & ~same_coset,
        ANY: both,
        RANDOM: same_coset[order][:, order],
    }


def _same_partition(labels: Tensor) -> Bool[Tensor, "d_mlp d_mlp"]:
    """Which two columns are the same partition of the elements."""
    partition = torch.unique(canonical(labels), dim=1, return_inverse=True)[1]
    return partition[:, None] == partition[None, :]


def summarise(ours: art.Networks, controls: art.Networks) -> art.Part:
    """Means and standard deviations over all pairs of neurons of all networks."""
    names = (SAME_COSET, SAME_PAIR, CLASS_NOT_COSET, CLASS_NOT_PAIR, ANY, RANDOM)
    pooled = {name: _pooled(ours, name) for name in names}
    compared = {
        "same coset": (SAME_PAIR, SAME_COSET, "keyed by (H, X)"),
        "same class": (CLASS_NOT_PAIR, CLASS_NOT_COSET, "keyed by (H, X)"),
        "any two": (ANY, RANDOM, "random neuron sets, same sizes as (H, X)"),
    }
    lines = [
        art.Line(
            f"{title}: {statistic}",
            "number",
            PAPER[title][k],
            pooled[pairing][1 + k],
            pooled[control][1 + k],
            control_is,
        )
        for title, (pairing, control, control_is) in compared.items()
        for k, statistic in enumerate(("mean", "s.d."))
    ]
    table = art.Table(
        "Every pairing",
        art.columns(
            ("text", "neurons with"), ("count", "pairs"), ("number", "mean, s.d., not learnt")
        ),
        [[name, *pooled[name], _pooled(controls, name)[1]] for name in names],
        "Pairs of neurons within a network, pooled over the networks; not learnt: the mean in "
        "networks of this kind that have not learnt their group.",
    )
    return art.Part(lines, [table])


def _pooled(networks: art.Networks, name: str) -> tuple[float, float | None, float | None]:
    """Count, mean and standard deviation."""
    count, total, squares = (sum(n.findings[name][k] for n in networks) for k in range(3))
    if not count:
        return 0, None, None
    mean = total / count
    return count, mean, math.sqrt(max(0.0, squares / count - mean * mean))


ARTIFACT = art.Artifact(
    "table3",
    "Correlations of unembedding rows",
    "Stander et al., Table 3",
    summarise,
    analyse,
    notes=[
        "Ours is keyed as in the paper, by the two subgroups: H of the left input, K of the right. "
        "These do not fix the shared coset X = Hx = xK: if several x have one K (A5 and A4), "
        "neurons of one (H, K) with different X write in opposite directions. Keyed by X the "
        "correlation is near 1, with little spread left."
    ],
)
