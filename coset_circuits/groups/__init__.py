"""Finite groups as arrays. Knows nothing of networks."""

from coset_circuits.groups.families import alternating, cyclic, dihedral, group, symmetric
from coset_circuits.groups.fourier import fourier_basis, inverse, power, project, transform
from coset_circuits.groups.group import FiniteGroup
from coset_circuits.groups.irreps import Irrep, RealBlock
from coset_circuits.groups.subgroups import Subgroup, SubgroupClass, double_cosets, spectrum

__all__ = [
    "FiniteGroup",
    "Irrep",
    "RealBlock",
    "Subgroup",
    "SubgroupClass",
    "alternating",
    "cyclic",
    "dihedral",
    "double_cosets",
    "fourier_basis",
    "group",
    "inverse",
    "power",
    "project",
    "spectrum",
    "symmetric",
    "transform",
]
