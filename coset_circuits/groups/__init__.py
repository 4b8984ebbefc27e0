"""Finite groups as arrays. Knows nothing of networks."""

from coset_circuits.groups.families import alternating, cyclic, dihedral, group, symmetric
from coset_circuits.groups.group import FiniteGroup

__all__ = ["FiniteGroup", "alternating", "cyclic", "dihedral", "group", "symmetric"]
