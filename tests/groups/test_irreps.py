"""Representations against Schur's relations, known character tables and degree formulas."""

from math import factorial, prod, sqrt

import numpy as np
import pytest
import torch

from coset_circuits.errors import CosetCircuitsError
from coset_circuits.groups import FiniteGroup, Irrep, decomposition, group
from coset_circuits.groups.permutations import cycle_notation


def quaternion():
    """Q8 as ±1, ±i, ±j, ±k, multiplied as complex 2 × 2 matrices."""
    i = np.array([[1j, 0], [0, -1j]])
    j = np.array([[0, 1], [-1, 0]])
    units = [s * m for m in (np.eye(2), i, j, i @ j) for s in (1, -1)]
    table = [
        [next(c for c, u in enumerate(units) if np.allclose(a @ b, u)) for b in units]
        for a in units
    ]
    return FiniteGroup.from_table(table, "a table")


def shuffled(name):
    """A copy that nothing is known of but its table."""
    g = group(name)
    copy = g.relabelled(np.random.default_rng(2).permutation(g.order))
    return FiniteGroup.from_table(copy.array)


NAMES = [
    *("S1", "S2", "S3", "S4", "S5", "A1", "A2", "A3", "A4", "A5", "A6", "C1", "C2", "C7", "C8"),
    *(f"D{n}" for n in range(1, 10)),
    *(f"Dic{n}" for n in range(1, 7)),
    *("C113", "D59", "Q8", "Q16", "V4", "C2^4", "F20", "F21", "F42", "F55", "AGL(1,2)"),
    *("PSL(2,4)", "PSL(2,7)", "S3xS3", "C3xQ8", "Q8xQ8", "A4xC2", "F21xDic3"),
]

GROUPS = {
    **{name: group(name) for name in NAMES},
    "Q8 from matrices": quaternion(),
    **{f"{n} shuffled": shuffled(n) for n in ("C7", "D6", "A4", "S4", "A5", "S5", "Dic3", "F21")},
    "S5 relabelled": group("S5").relabelled(np.random.default_rng(3).permutation(120)),
    "A4 relabelled": group("A4").relabelled(np.random.default_rng(3).permutation(12)),
}

each_group = pytest.mark.parametrize("g", GROUPS.values(), ids=GROUPS.keys())


def residual(g, matrices):
    worst = 0.0
    for a in range(g.order):
        worst = max(worst, float((matrices[a] @ matrices - matrices[g.table[a]]).abs().max()))
    return worst


@each_group
def test_irreps_are_unitary_homomorphisms(g):
    for rho in g.irreps:
        assert rho.matrices.shape == (g.order, rho.dimension, rho.dimension)
        assert rho.matrices.is_complex() == (rho.type != "real")
        assert residual(g, rho.matrices) < 1e-10
        gram = rho.matrices @ rho.matrices.mH
        assert torch.allclose(gram, torch.eye(rho.dimension, dtype=gram.dtype), atol=1e-10)


@each_group
def test_real_blocks_are_orthogonal_homomorphisms(g):
    for block in g.real_blocks:
        assert block.matrices.dtype == torch.float64
        assert residual(g, block.matrices) < 1e-10
        gram = block.matrices @ block.matrices.mT
        assert torch.allclose(gram, torch.eye(block.dimension, dtype=gram.dtype), atol=1e-10)
        traces = torch.einsum("gii->g", block.matrices)
        assert torch.allclose(traces, block.character, atol=1e-10)


@each_group
def test_degrees_fill_the_group_algebra(g):
    assert sum(rho.dimension**2 for rho in g.irreps) == g.order
    assert len(g.irreps) == len(g.conjugacy_classes)
    assert sum(b.dimension**2 / b.dim_end for b in g.real_blocks) == g.order
    assert sum(b.parameters for b in g.real_blocks) == g.order


@each_group
def test_characters_are_orthonormal_and_traces(g):
    characters = torch.stack([rho.character.to(torch.complex128) for rho in g.irreps])
    gram = characters @ characters.mH / g.order
    assert torch.allclose(gram, torch.eye(len(g.irreps), dtype=gram.dtype), atol=1e-10)
    for rho in g.irreps:
        traces = torch.einsum("gii->g", rho.matrices)
        assert torch.allclose(traces, rho.character.to(traces.dtype), atol=1e-9)


@pytest.mark.parametrize(
    "name", ["S4", "A5", "A6", "Q8", "D6", "C8", "A4", "F21", "PSL(2,7)", "Q8xQ8", "S5 shuffled"]
)
def test_schur_orthogonality_of_matrix_elements(name):
    g = GROUPS[name]
    columns = [
        rho.matrices.reshape(g.order, -1).to(torch.complex128) * sqrt(rho.dimension / g.order)
        for rho in g.irreps
    ]
    functions = torch.cat(columns, dim=1)
    identity = torch.eye(g.order, dtype=torch.complex128)
    assert torch.allclose(functions.mH @ functions, identity, atol=1e-10)


@each_group
def test_types_are_the_frobenius_schur_indicators(g):
    squares = g.table.diagonal()
    for rho in g.irreps:
        indicator = rho.character[squares].mean()
        expected = {"real": 1, "complex": 0, "quaternionic": -1}[rho.type]
        assert abs(complex(indicator) - expected) < 1e-9


@each_group
def test_the_number_of_involutions_is_the_frobenius_schur_sum(g):
    """Σ ν(ρ) d_ρ counts the solutions of x² = e."""
    signs = {"real": 1, "complex": 0, "quaternionic": -1}
    roots = int((g.table.diagonal() == g.identity).sum())
    assert sum(signs[rho.type] * rho.dimension for rho in g.irreps) == roots


@each_group
def test_block_dimensions_of_the_commutant(g):
    """⟨χ, χ⟩ of a real irrep is the dimension of its commutant."""
    for block in g.real_blocks:
        assert float(block.character.square().mean()) == pytest.approx(block.dim_end, abs=1e-9)


@each_group
def test_the_trivial_irrep_comes_first_and_names_are_unique(g):
    assert torch.allclose(g.irreps[0].matrices, torch.ones(g.order, 1, 1, dtype=torch.float64))
    assert torch.allclose(g.real_blocks[0].matrices.flatten(), torch.ones(g.order).double())
    assert len({rho.name for rho in g.irreps}) == len(g.irreps)
    assert len({b.name for b in g.real_blocks}) == len(g.real_blocks)


def test_degrees_of_s5_and_s6():
    s5 = {rho.name: rho.dimension for rho in group("S5").irreps}
    assert s5 == {
        "(5)": 1,
        "(1,1,1,1,1)": 1,
        "(4,1)": 4,
        "(2,1,1,1)": 4,
        "(3,2)": 5,
        "(2,2,1)": 5,
        "(3,1,1)": 6,
    }
    assert [rho.dimension for rho in group("S6").irreps] == [1, 1, 5, 5, 5, 5, 9, 9, 10, 10, 16]


def test_degrees_of_s7_by_the_hook_length_formula():
    for rho in group("S7").irreps:
        shape = [int(n) for n in rho.name.strip("()").split(",")]
        columns = [sum(row > c for row in shape) for c in range(shape[0])]
        hooks = prod(
            shape[r] - c + columns[c] - r - 1 for r in range(len(shape)) for c in range(shape[r])
        )
        assert rho.dimension == factorial(7) // hooks


# James & Liebeck, Representations and Characters of Groups, ch. 19: classes by cycle type.
S5_CLASSES = ["e", "(1 2)", "(1 2 3)", "(1 2)(3 4)", "(1 2 3 4)", "(1 2 3)(4 5)", "(1 2 3 4 5)"]
S5_CHARACTERS = {
    "(5)": [1, 1, 1, 1, 1, 1, 1],
    "(1,1,1,1,1)": [1, -1, 1, 1, -1, -1, 1],
    "(4,1)": [4, 2, 1, 0, 0, -1, -1],
    "(2,1,1,1)": [4, -2, 1, 0, 0, 1, -1],
    "(3,1,1)": [6, 0, 0, -2, 0, 0, 1],
    "(3,2)": [5, 1, -1, 1, -1, 1, 0],
    "(2,2,1)": [5, -1, -1, 1, 1, -1, 0],
}


def test_character_table_of_s5():
    g = group("S5")
    columns = [g.labels.index(label) for label in S5_CLASSES]
    for rho in g.irreps:
        assert rho.character[columns].tolist() == pytest.approx(S5_CHARACTERS[rho.name], abs=1e-12)


def test_the_standard_representation_counts_fixed_points():
    for degree in (3, 4, 5, 6):
        g = group(f"S{degree}")
        assert g.permutations is not None
        fixed = (g.permutations == np.arange(degree)).sum(axis=1)
        standard = next(rho for rho in g.irreps if rho.name == f"({degree - 1},1)")
        assert np.allclose(standard.character.numpy(), fixed - 1, atol=1e-12)


def test_the_transposed_partition_is_the_product_with_the_sign():
    g = group("S5")
    by_name = {rho.name: rho.character for rho in g.irreps}
    sign = by_name["(1,1,1,1,1)"]
    for name, other in [("(4,1)", "(2,1,1,1)"), ("(3,2)", "(2,2,1)"), ("(3,1,1)", "(3,1,1)")]:
        assert torch.allclose(by_name[name] * sign, by_name[other], atol=1e-12)


def test_a5_has_the_golden_ratio():
    g = group("A5")
    assert [rho.name for rho in g.irreps] == ["(5)", "(3,1,1)+", "(3,1,1)-", "(4,1)", "(3,2)"]
    five_cycle = g.labels.index("(1 2 3 4 5)")
    values = sorted(float(rho.character[five_cycle]) for rho in g.irreps[1:3])
    assert values == pytest.approx([(1 - sqrt(5)) / 2, (1 + sqrt(5)) / 2], abs=1e-12)


def test_alternating_irreps_are_restrictions_by_name():
    for degree in (3, 4, 5, 6):
        small, large = group(f"A{degree}"), group(f"S{degree}")
        where = [large.labels.index(cycle_notation(tuple(p))) for p in small.permutations.tolist()]
        whole = {rho.name: rho.character[where] for rho in large.irreps}
        parts = {}
        for rho in small.irreps:
            name = rho.name.rstrip("+-")
            parts[name] = parts.get(name, 0) + rho.character.to(torch.complex128)
        for name, character in parts.items():
            assert torch.allclose(character, whole[name].to(torch.complex128), atol=1e-9)


def test_a4_joins_its_complex_pair():
    g = group("A4")
    assert [(rho.name, rho.type) for rho in g.irreps] == [
        ("(4)", "real"),
        ("(2,2)+", "complex"),
        ("(2,2)-", "complex"),
        ("(3,1)", "real"),
    ]
    assert torch.allclose(g.irreps[1].character, g.irreps[2].character.conj(), atol=1e-10)
    assert [(b.name, b.dimension, b.dim_end) for b in g.real_blocks] == [
        ("(4)", 1, 1),
        ("(2,2)", 2, 2),
        ("(3,1)", 3, 1),
    ]


def test_cyclic_characters_are_roots_of_unity():
    g = group("C7")
    for k, rho in enumerate(g.irreps):
        expected = torch.exp(2j * torch.pi * k * torch.arange(7).double() / 7)
        assert rho.name == f"freq_{k}"
        assert torch.allclose(rho.character.to(torch.complex128), expected, atol=1e-12)
    assert [b.name for b in g.real_blocks] == ["freq_0", "freq_1", "freq_2", "freq_3"]


def test_even_cyclic_groups_have_an_alternating_block():
    block = group("C8").real_blocks[-1]
    assert (block.name, block.dimension) == ("freq_4", 1)
    assert block.character.tolist() == [1, -1] * 4


@pytest.mark.parametrize("sides", range(3, 10))
def test_dihedral_irreps(sides):
    g = group(f"D{sides}")
    by_name = {rho.name: rho for rho in g.irreps}
    linear = {"trivial", "sign"} | ({"sign_r", "sign_rs"} if sides % 2 == 0 else set())
    planar = {f"freq_{k}" for k in range(1, (sides + 1) // 2)}
    assert set(by_name) == linear | planar
    assert by_name["sign"].character.tolist() == [1] * sides + [-1] * sides
    for k in range(1, (sides + 1) // 2):
        turns = 2 * np.cos(2 * np.pi * k * np.arange(sides) / sides)
        expected = [*turns, *[0] * sides]
        assert by_name[f"freq_{k}"].character.tolist() == pytest.approx(expected, abs=1e-12)


def test_q8_has_one_quaternionic_irrep():
    g = quaternion()
    assert [(rho.name, rho.dimension, rho.type) for rho in g.irreps] == [
        ("1a", 1, "real"),
        ("1b", 1, "real"),
        ("1c", 1, "real"),
        ("1d", 1, "real"),
        ("2a", 2, "quaternionic"),
    ]
    block = g.real_blocks[-1]
    assert (block.dimension, block.dim_end, block.parameters) == (4, 4, 4)
    assert block.character.tolist() == pytest.approx([4, -4, 0, 0, 0, 0, 0, 0], abs=1e-10)


def test_conjugate_partners_carry_a_star():
    names = [rho.name for rho in shuffled("C7").irreps]
    assert names == ["1a", "1b", "1b*", "1c", "1c*", "1d", "1d*"]
    assert [b.name for b in shuffled("C7").real_blocks] == ["1a", "1b", "1c", "1d"]


@pytest.mark.parametrize("name", ["S5", "A5", "D9"])
def test_relabelling_permutes_the_characters(name):
    g = group(name)
    forward = np.random.default_rng(5).permutation(g.order)
    copy = g.relabelled(forward)
    ours = {tuple(np.round(rho.character.numpy(), 6) + 0.0) for rho in g.irreps}
    theirs = {tuple(np.round(rho.character.numpy()[forward], 6) + 0.0) for rho in copy.irreps}
    assert ours == theirs


@pytest.mark.parametrize("name", ["S4", "A4", "C7", "F21", "D6"])
def test_a_relabelled_group_keeps_its_irreps_names(name):
    g = group(name)
    forward = np.random.default_rng(5).permutation(g.order)
    copy = g.relabelled(forward)
    for rho, carried in zip(g.irreps, copy.irreps, strict=True):
        assert (carried.name, carried.type, carried.conjugate) == (
            rho.name,
            rho.type,
            rho.conjugate,
        )
        assert torch.equal(carried.matrices[forward], rho.matrices)
        assert torch.equal(carried.character[forward], rho.character)


@each_group
def test_conjugates_are_conjugate(g):
    by_name = {rho.name: rho.character.to(torch.complex128) for rho in g.irreps}
    for rho in g.irreps:
        assert (rho.conjugate == rho.name) == (rho.type != "complex")
        assert torch.allclose(by_name[rho.conjugate], by_name[rho.name].conj(), atol=1e-9)


def test_affine_groups_have_one_large_irrep_that_counts_fixed_points():
    g = group("AGL(1,7)")
    fixed = (g.permutations == np.arange(7)).sum(axis=1)
    standard = g.irreps[-1]
    assert (standard.name, standard.dimension, standard.type) == ("ind_1", 6, "real")
    assert np.allclose(standard.character.numpy(), fixed - 1, atol=1e-12)


def test_products_multiply_characters():
    g, left, right = group("A4xQ8"), group("A4"), group("Q8")
    for rho in g.irreps:
        first, second = rho.name.split("⊗")
        one = next(r for r in left.irreps if r.name == first).character
        two = next(r for r in right.irreps if r.name == second).character
        expected = (one[:, None] * two).flatten().to(torch.complex128)
        assert torch.allclose(rho.character.to(torch.complex128), expected, atol=1e-9)


def test_two_quaternionic_factors_make_a_real_irrep():
    rho = next(r for r in group("Q8xQ8").irreps if r.name == "freq_1⊗freq_1")
    assert (rho.dimension, rho.type, rho.matrices.dtype) == (4, "real", torch.float64)


def test_what_is_no_representation_is_never_returned():
    g = group("S3")
    wrong = Irrep(g, "wrong", 2, "real", lambda: g.irreps[2].matrices.numpy() * 1.001)
    with pytest.raises(CosetCircuitsError, match="wrong of S3 did not converge"):
        _ = wrong.matrices
    other = Irrep(g, "swapped", 1, "real", lambda: np.ones((6, 1, 1)), np.array([1.0] * 5 + [-1]))
    with pytest.raises(CosetCircuitsError, match="did not converge"):
        _ = other.matrices


def test_characters_that_no_draw_separates_are_refused(monkeypatch):
    monkeypatch.setattr(decomposition, "SMALLEST_GAP", 2.0)
    with pytest.raises(CosetCircuitsError, match=r"did not converge: 20 random sums"):
        _ = shuffled("S4").irreps


def test_a_group_too_large_to_decompose_is_refused_with_the_cost(monkeypatch):
    monkeypatch.setattr(decomposition, "LARGEST_ORDER", 100)
    with pytest.raises(CosetCircuitsError, match=r"order 120; at most 100.*direct product"):
        _ = shuffled("S5").irreps
    assert len(group("S5").irreps) == 7  # closed forms need no decomposition


@pytest.mark.slow
def test_s6_relabelled_decomposes_numerically():
    g = shuffled("S6")
    assert [rho.dimension for rho in g.irreps] == [1, 1, 5, 5, 5, 5, 9, 9, 10, 10, 16]
    rho = g.irreps[-1]
    a, b = torch.randint(g.order, (2, 500), generator=torch.Generator().manual_seed(0))
    gap = rho.matrices[a] @ rho.matrices[b] - rho.matrices[g.table[a, b]]
    assert float(gap.abs().max()) < 1e-10
