"""Planted networks: built from a hypothesis's definition, so it is true by construction.

They are test oracles. The coset hypothesis must explain a planted coset circuit and not a planted
GCR; the irrep hypothesis the reverse. Try an explanation on both before using it on a trained
network.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from itertools import product
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from coset_circuits.errors import CosetCircuitsError, checked
from coset_circuits.groups import FiniteGroup, RealBlock, Subgroup, SubgroupClass
from coset_circuits.groups import group as named_group
from coset_circuits.networks.mlp import GroupMLP


@checked
def planted_coset(
    group: FiniteGroup | str,
    subgroup_class_name: str,
    *more: str,
    seed: int = 0,
    scale: float = 3.0,
    few: bool = False,
) -> GroupMLP:
    """Build a network that is a pure coset circuit (Stander et al., ICML 2024, section 5).

    Every conjugate H of the class has a level L_H on each of its right cosets. Every coset X = Hx
    has two ReLU neurons, ±(L_H(a) + R(b)) with R(b) = −L_H(x b⁻¹), which vanish exactly when
    ab ∈ X. Both write −scale on the elements of X, so ``logit(c) = −scale · Σ_H |L_H(a) −
    L_H(c b⁻¹)|``. Every H votes for the coset that contains the product, and only ab is in all.

    Args:
        group: the group to multiply in.
        subgroup_class_name: such as ``"S3"``; one of ``group.subgroup_classes``.
        more: further classes, whose subgroups vote as well.
        seed: random seed for the order of the levels, which are equally spaced with standard
            deviation 1.
        scale: the size of the unembedding.
        few: use only as many conjugates of a class as have the same intersection as all of them.

    Raises:
        CosetCircuitsError: there is no such class, or its subgroups have more than the identity in
            common, so that their cosets cannot single out a product.
    """
    group = named_group(group)
    classes = _subgroup_classes(group, (subgroup_class_name, *more))
    generator = torch.Generator().manual_seed(seed)
    lefts, rights, unembeds = [], [], []
    for subgroup in (h for found in classes for h in (_few(found) if few else found.conjugates)):
        cosets = subgroup.right_cosets
        level = _spaced_levels(subgroup.index, generator)[cosets]
        for coset in range(subgroup.index):
            x = int((cosets == coset).nonzero()[0])
            right = -level[group.table[x, group.inverses]]
            write = -scale * (cosets == coset).double()
            lefts += [level, -level]
            rights += [right, -right]
            unembeds += [write, write]
    names = "+".join(found.name for found in classes)
    return GroupMLP.from_weights(
        group,
        left_table=torch.stack(lefts, 1),
        right_table=torch.stack(rights, 1),
        W_U=torch.stack(unembeds),
        label=f"planted-coset-{group.name}-{names}",
        seed=seed,
        provenance={"source": f"planted: coset circuit of {names}, seed {seed}"},
    )


def planted_gcr(
    group: FiniteGroup,
    block_names: Iterable[str] | None = None,
    *,
    seed: int = 0,
    scale: float = 8.0,
    act_fn: Literal["square", "relu"] = "square",
) -> GroupMLP:
    """Build a network that is pure group composition via representations (GCR).

    The algorithm is Chughtai et al.'s (arXiv 2302.03025): ``logit(c) = scale · Σ_ρ χ_ρ(a b c⁻¹)``
    exactly. With the activation x², two neurons multiply: ((u+v)² − (u−v)²)/4 = uv. Here
    u = ρ(a)_ij and v = ρ(b)_jk, and the product is written on ρ(c)_ik. The sum over i, j, k is
    tr(ρ(a)ρ(b)ρ(c)ᵀ). Each ρ is in a random orthogonal basis, in which no matrix element of a
    dimension above 1 is constant on the cosets of a subgroup.

    ReLU neurons come as ±(u+v) and ±(u−v), and |u+v| − |u−v| replaces 4uv. By Schur's lemma its
    mean over all bases is a multiple of the trace. In a single basis this is only approximate; the
    tests list cases in which every pair is right. The tables are functions of the irreps in any
    case.

    Args:
        group: the group to multiply in.
        block_names: which of ``group.real_blocks``; by default the smallest faithful one, such as
            ``"(3,1)"`` of S4. If no single block is faithful, all but the trivial one are used.
        seed: random seed for the bases.
        scale: a factor on every character.
        act_fn: ``"square"`` multiplies exactly, ``"relu"`` approximately.

    Raises:
        CosetCircuitsError: there is no such block, or the blocks together are not faithful, so
            that several c have the same logit.
    """
    blocks = _blocks(group, block_names)
    generator = torch.Generator().manual_seed(seed)
    lefts, rights, unembeds = [], [], []
    for block in blocks:
        rho = _in_random_basis(block, generator)
        n = range(block.dimension)
        for i, j, k in ((i, j, k) for i in n for j in n for k in n):
            for sign, whole in product((1, -1), (1, -1) if act_fn == "relu" else (1,)):
                lefts.append(whole * rho[:, i, j])
                rights.append(whole * sign * rho[:, j, k])
                unembeds.append(sign * scale / 4 * rho[:, i, k])
    names = "+".join(block.name for block in blocks)
    return GroupMLP.from_weights(
        group,
        left_table=torch.stack(lefts, 1),
        right_table=torch.stack(rights, 1),
        W_U=torch.stack(unembeds),
        act_fn=act_fn,
        label=f"planted-gcr-{group.name}-{names}",
        seed=seed,
        provenance={"source": f"planted: GCR in {names}, seed {seed}"},
    )


def _subgroup_classes(group: FiniteGroup, names: Iterable[str]) -> list[SubgroupClass]:
    known = {c.name: c for c in group.subgroup_classes}
    wanted = list(dict.fromkeys(names))
    for name in wanted:
        if name not in known:
            raise CosetCircuitsError(
                f"{group.name} has no subgroup class {name!r}; its classes are {', '.join(known)}."
            )
    classes = [known[name] for name in wanted]
    trivial = next((c.name for c in classes if c.order == 1), None)
    common = _in_all([c.representative.core for c in classes])
    if trivial is not None or common > 1:
        name = trivial or " and ".join(wanted)
        reason = "is trivial" if trivial else f"has {common} elements in all its conjugates"
        raise CosetCircuitsError(
            f"The subgroup {name} of {group.name} {reason}, so its cosets make no circuit that "
            "tells all products apart; choose a non-trivial class whose conjugates have only the "
            "identity in common."
        )
    return classes


def _in_all(subgroups: Iterable[Subgroup]) -> int:
    """The number of elements that the subgroups have in common."""
    return len(reduce(np.intersect1d, [h.array for h in subgroups]))


def _few(found: SubgroupClass) -> list[Subgroup]:
    """Conjugates, each of which makes the intersection smaller, until it is the core."""
    chosen = [found.representative]
    for subgroup in found.conjugates:
        if _in_all([*chosen, subgroup]) < _in_all(chosen):
            chosen.append(subgroup)
    return chosen


def _spaced_levels(count: int, generator: torch.Generator) -> Float[Tensor, "cosets"]:
    levels = torch.randperm(count, generator=generator).double()
    return (levels - levels.mean()) / levels.std(correction=0)


def _blocks(group: FiniteGroup, names: Iterable[str] | None) -> list[RealBlock]:
    known = {block.name: block for block in group.real_blocks[1:]}
    if names is None:
        faithful = [block for block in known.values() if is_faithful([block])]
        smallest = sorted(faithful, key=lambda block: block.dimension)[:1]
        chosen = smallest or list(known.values())
    else:
        wanted = list(names)
        unknown = [name for name in wanted if name not in known]
        if unknown:
            raise CosetCircuitsError(
                f"{group.name} has no non-trivial real block {', '.join(map(repr, unknown))}; its "
                f"blocks are {', '.join(known)}."
            )
        chosen = [known[name] for name in dict.fromkeys(wanted)]
    if not chosen or not is_faithful(chosen):
        raise CosetCircuitsError(
            f"The blocks {', '.join(b.name for b in chosen) or '(none)'} of {group.name} are not "
            "faithful: some products have the same logits; add blocks."
        )
    return chosen


def is_faithful(blocks: list[RealBlock]) -> bool:
    """Whether only the identity acts trivially in all these irreps."""
    character = torch.stack([block.character for block in blocks]).sum(0)
    at_identity = sum(block.dimension for block in blocks)
    return int((character > at_identity - 1e-6).sum()) == 1


def _in_random_basis(
    block: RealBlock, generator: torch.Generator
) -> Float[Tensor, "order dimension dimension"]:
    d = block.dimension
    normal = torch.randn(d, d, generator=generator, dtype=torch.float64)
    Q = torch.linalg.qr(normal)[0]
    return Q @ block.matrices @ Q.T
