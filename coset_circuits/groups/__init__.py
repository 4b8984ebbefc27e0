"""Finite groups as arrays. Knows nothing of networks."""

from coset_circuits.groups.families import (
    affine,
    alternating,
    cyclic,
    dicyclic,
    dihedral,
    direct_product,
    from_generators,
    group,
    psl2,
    quaternion,
    semidirect_product,
    symmetric,
)
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
    "affine",
    "alternating",
    "cyclic",
    "dicyclic",
    "dihedral",
    "direct_product",
    "double_cosets",
    "fourier_basis",
    "from_generators",
    "group",
    "inverse",
    "power",
    "project",
    "psl2",
    "quaternion",
    "semidirect_product",
    "spectrum",
    "symmetric",
    "transform",
]
