"""Finite groups as arrays, their subgroups and their irreps; independent of networks."""

from coset_circuits.groups.characters import (
    CharacterTable,
    character_table,
    fixed_dimension,
    multiplicity,
    restriction,
    spectrum,
)
from coset_circuits.groups.decomposition import numerical_irreps
from coset_circuits.groups.equivariance import Orbit, average_over, orbit, translate
from coset_circuits.groups.families import (
    affine,
    alternating,
    cyclic,
    dicyclic,
    dihedral,
    direct_product,
    frobenius,
    from_generators,
    linear,
    psl2,
    quaternion,
    semidihedral,
    semidirect_product,
    symmetric,
    wreath_product,
)
from coset_circuits.groups.fourier import (
    decompose,
    fourier_basis,
    inverse,
    power,
    project,
    transform,
)
from coset_circuits.groups.group import FiniteGroup, build_with
from coset_circuits.groups.irreps import Irrep, RealBlock, real_blocks
from coset_circuits.groups.lattice import SubgroupLattice
from coset_circuits.groups.names import group
from coset_circuits.groups.recognition import (
    Recognised,
    as_named,
    groups_of_order,
    isomorphism,
    recognise,
)
from coset_circuits.groups.repair import repaired, voters
from coset_circuits.groups.subgroups import (
    Subgroup,
    SubgroupClass,
    double_cosets,
    subgroup_classes,
)

build_with(
    irreps=numerical_irreps,
    real_blocks=real_blocks,
    subgroup_classes=subgroup_classes,
    as_named=as_named,
)

__all__ = [
    "CharacterTable",
    "FiniteGroup",
    "Irrep",
    "Orbit",
    "RealBlock",
    "Recognised",
    "Subgroup",
    "SubgroupClass",
    "SubgroupLattice",
    "affine",
    "alternating",
    "average_over",
    "character_table",
    "cyclic",
    "decompose",
    "dicyclic",
    "dihedral",
    "direct_product",
    "double_cosets",
    "fixed_dimension",
    "fourier_basis",
    "frobenius",
    "from_generators",
    "group",
    "groups_of_order",
    "inverse",
    "isomorphism",
    "linear",
    "multiplicity",
    "orbit",
    "power",
    "project",
    "psl2",
    "quaternion",
    "recognise",
    "repaired",
    "restriction",
    "semidihedral",
    "semidirect_product",
    "spectrum",
    "symmetric",
    "transform",
    "translate",
    "voters",
    "wreath_product",
]
