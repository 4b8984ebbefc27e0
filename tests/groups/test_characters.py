"""Character tables, restrictions by Frobenius reciprocity, and fixed spaces."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from coset_circuits.errors import CosetCircuitsError
from coset_circuits.groups import (
    character_table,
    fixed_dimension,
    group,
    multiplicity,
    restriction,
    spectrum,
)

NAMES = ["S4", "S5", "A4", "C7", "D6", "Q8", "Dic3", "F20", "F21", "S3xS3", "V4"]


@pytest.mark.parametrize("name", NAMES)
def test_rows_and_columns_are_orthogonal(name):
    table = character_table(group(name))
    values = table.values.to(torch.complex128)
    sizes = table.sizes.to(torch.complex128)
    order = float(sizes.real.sum())
    identity = torch.eye(len(sizes), dtype=torch.complex128)
    assert torch.allclose(values * sizes @ values.mH, order * identity, atol=1e-8)
    assert torch.allclose(values.mH @ values, torch.diag(order / sizes), atol=1e-8)


def test_the_table_of_s3_is_the_textbooks():
    frame = character_table(group("S3")).to_dataframe()
    assert frame.index.tolist() == ["(3)", "(1,1,1)", "(2,1)"]
    assert frame.columns.tolist() == [("e", 1), ("(2 3)", 3), ("(1 2 3)", 2)]
    assert np.allclose(frame.to_numpy(), [[1, 1, 1], [1, -1, 1], [2, 0, -1]])


def test_a_table_is_real_where_all_characters_are():
    assert not character_table(group("S4")).values.is_complex()
    assert not character_table(group("Q8")).values.is_complex()
    assert character_table(group("A4")).values.is_complex()


def test_the_branching_rule_of_symmetric_groups():
    """Restricting (3,1) from S4 to S3 takes one box away: (2,1) and (3)."""
    s4 = group("S4")
    s3 = next(c for c in s4.subgroup_classes if c.name == "S3").representative
    rho = next(r for r in s4.irreps if r.name == "(3,1)")
    found = restriction(rho, s3)
    dimensions = {r.name: r.dimension for r in s3.as_group().irreps}
    assert sorted(dimensions[n] for n, m in found.items() for _ in range(m)) == [1, 2]
    assert found[s3.as_group().irreps[0].name] == 1


@pytest.mark.parametrize("name", ["S4", "A4", "Q8", "F21", "D6"])
def test_restrictions_have_the_irreps_dimension(name):
    g = group(name)
    for c in g.subgroup_classes:
        small = {r.name: r.dimension for r in c.representative.as_group().irreps}
        for rho in g.irreps:
            found = restriction(rho, c.representative)
            assert sum(m * small[n] for n, m in found.items()) == rho.dimension


@pytest.mark.parametrize("name", ["S4", "A4", "Q8", "F21", "D6"])
def test_the_trivial_part_of_a_restriction_is_the_fixed_space(name):
    g = group(name)
    for c in g.subgroup_classes:
        h = c.representative
        for rho in g.irreps:
            trivial = h.as_group().irreps[0].name
            assert restriction(rho, h)[trivial] == fixed_dimension(rho, h)
            mean = rho.matrices[torch.from_numpy(h.array)].mean(0)  # the projector on V^H
            assert fixed_dimension(rho, h) == torch.linalg.matrix_rank(mean, atol=1e-8)


@pytest.mark.parametrize("name", NAMES)
def test_fixed_spaces_count_the_cosets(name):
    """The functions on G/H have dimension [G:H] = Σ d_ρ dim V_ρ^H."""
    g = group(name)
    for c in g.subgroup_classes:
        h = c.representative
        assert sum(r.dimension * fixed_dimension(r, h) for r in g.irreps) == h.index
        blocks = sum(
            Fraction(b.dimension * fixed_dimension(b, h), b.dim_end) for b in g.real_blocks
        )
        assert blocks == h.index


@pytest.mark.parametrize("name", ["S4", "A4", "C7", "Q8", "F21", "Dic3"])
def test_spectra_over_the_reals_join_conjugates(name):
    g = group(name)
    for c in g.subgroup_classes[:-1]:
        h = c.representative
        over_complex, over_reals = spectrum(h), spectrum(h, real=True)
        assert sum(over_complex.values()) == sum(over_reals.values()) == 1
        for block in g.real_blocks[1:]:
            parts = {block.irrep.name, block.irrep.conjugate}
            assert over_reals[block.name] == sum(over_complex[n] for n in parts)


@pytest.mark.parametrize("name", ["S4", "A4", "Q8", "F21"])
def test_spectra_are_the_energies_of_indicators(name):
    """Project the centred indicator of H on each block, which uses no character."""
    g = group(name)
    for c in g.subgroup_classes[:-1]:
        h = c.representative
        indicator = torch.zeros(g.order, 1, dtype=torch.float64)
        indicator[torch.from_numpy(h.array)] = 1
        indicator -= indicator.mean()
        for block in g.real_blocks[1:]:
            energy = (block.basis.T @ indicator).square().sum() / indicator.square().sum()
            assert float(energy) == pytest.approx(float(spectrum(h, real=True)[block.name]))


def test_multiplicities_of_the_regular_character_are_the_dimensions():
    g = group("F21")
    regular = torch.zeros(21, dtype=torch.float64)
    regular[g.identity] = 21
    assert [multiplicity(r, regular) for r in g.irreps] == [r.dimension for r in g.irreps]


def test_what_is_no_character_is_refused():
    rho = group("S4").irreps[1]
    with pytest.raises(CosetCircuitsError, match=r"would occur .* not a whole number"):
        multiplicity(group("S4").irreps[0], torch.full((24,), 0.5).double())
    with pytest.raises(CosetCircuitsError, match="6 values but S4 has 24 elements"):
        multiplicity(rho, torch.ones(6).double())


def test_a_subgroup_of_another_group_is_refused():
    other = group("S3").subgroups[1]
    for call in (restriction, fixed_dimension):
        with pytest.raises(CosetCircuitsError, match="irrep of S4 but C2 is a subgroup of S3"):
            call(group("S4").irreps[1], other)
