"""Find a network's group and the numbering of its elements from its answers."""

from __future__ import annotations

import warnings
from contextlib import suppress

import numpy as np
import torch

from coset_circuits.errors import CosetCircuitsError
from coset_circuits.groups import FiniteGroup, isomorphism, recognise
from coset_circuits.networks.element_orders import detect, other_reading
from coset_circuits.networks.model import GroupModel


def group_of(answers: np.ndarray, name: str) -> FiniteGroup:
    """The group whose Cayley table is a module's answers, up to mistakes.

    Raises:
        CosetCircuitsError: the answers are not a Cayley table, even with mistakes.
    """
    try:
        return FiniteGroup.from_table(answers)
    except CosetCircuitsError as error:
        with suppress(CosetCircuitsError):
            return FiniteGroup.from_table(detect(answers).table)
        raise CosetCircuitsError(
            f"{name} was given without its group, and its answers are not a group's Cayley table. "
            f"{error} If it is not right on all pairs, give the group whose elements it numbers: "
            'group="S4", or group=cc.FiniteGroup.from_table(table).'
        ) from error


def in_readable_order(
    network: GroupModel, answers: np.ndarray, wanted: FiniteGroup | None
) -> GroupModel:
    """The network, renumbered to match the group that names its elements.

    Args:
        wanted: the group that the user gave; without one, the network's own is recognised.

    Raises:
        CosetCircuitsError: the answers are those of another group.

    Warns:
        UserWarning: the network is right only in another numbering of the group, which is then
            used, or in the other order of multiplication.
    """
    if wanted is None:
        known = recognise(network.group.array)
        return _renumbered(network, known.elements, known.group)
    score = float((answers == wanted.array).mean())
    other = other_reading(answers, wanted)
    images = None if other is None else isomorphism(FiniteGroup.from_table(other.table), wanted)
    if images is None:
        opposite = float((answers == wanted.array.T).mean())
        if score < 0.5 <= opposite and opposite > 2 * score:
            warnings.warn(
                f"{network.label} is right on {score:.1%} of the pairs as a·b and on "
                f"{opposite:.1%} as b·a, the other order of multiplication; give the group of "
                "table.T, or to cc.from_module inputs=lambda pairs: (pairs[:, 1], pairs[:, 0]).",
                stacklevel=5,
            )
        return network
    warnings.warn(
        f"{network.label} is right on {score:.1%} of the pairs in the numbering of {wanted.name} "
        f"that was given. Its answers are those of {wanted.name} in another numbering, "
        'which is used instead; provenance["elements"] lists it.',
        stacklevel=5,
    )
    return _renumbered(network, images, wanted)


def _renumbered(network: GroupModel, elements: np.ndarray, group: FiniteGroup) -> GroupModel:
    """The network with its element i called ``elements[i]``."""
    made = network.reordered(torch.from_numpy(np.argsort(elements)), group)
    made.provenance["element_order"] = f"{group.name}, read off its answers"
    made.provenance["elements"] = [group.labels[i] for i in elements]
    return made
