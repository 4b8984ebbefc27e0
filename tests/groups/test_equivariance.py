"""The action of G×G on functions, coset means as projections, orbits and stabilisers."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from coset_circuits.errors import CosetCircuitsError
from coset_circuits.groups import FiniteGroup, Subgroup, group
from coset_circuits.groups.equivariance import average_over, orbit, translate

SYMMETRIC_3 = FiniteGroup.from_table(group("S3").array, "a table")
GROUPS = [*(group(name) for name in ("S4", "A5", "A4", "C7", "C12", "D6")), SYMMETRIC_3]

groups = st.sampled_from(GROUPS)
seeds = st.integers(0, 2**32 - 1)
precisions = st.sampled_from([(torch.float32, 2e-5), (torch.float64, 1e-12)])


def noise(g, *shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(g.order, *shape)))


def elements(g):
    return st.integers(0, g.order - 1)


def subgroups(g):
    return st.sampled_from(g.subgroups)


@settings(deadline=None)
@given(groups, st.data())
def test_translation_is_read_off_the_table(g, data):
    a, b, x = (data.draw(elements(g)) for _ in range(3))
    f = noise(g, 2)
    inverse = g.inverse_array[a]
    assert torch.equal(translate(g, f, left=a, right=b)[x], f[g.array[g.array[inverse, x], b]])
    assert torch.equal(translate(g, f, left=a)[x], f[g.array[inverse, x]])
    assert torch.equal(translate(g, f, right=b)[x], f[g.array[x, b]])
    assert torch.equal(translate(g, f), f)


@settings(deadline=None)
@given(groups, st.data())
def test_translation_is_an_action_of_pairs(g, data):
    """(a, b)·((c, d)·f) = (ac, bd)·f."""
    a, b, c, d = (data.draw(elements(g)) for _ in range(4))
    f = noise(g, 2)
    twice = translate(g, translate(g, f, left=c, right=d), left=a, right=b)
    assert torch.equal(twice, translate(g, f, left=int(g.array[a, c]), right=int(g.array[b, d])))
    assert torch.equal(translate(g, f, left=g.identity, right=g.identity), f)


@settings(deadline=None)
@given(groups, st.data())
def test_translation_of_coset_labels_renames_cosets(g, data):
    """Labels may be moved too: moved by K on the right, the left cosets gK stay as they are."""
    subgroup = data.draw(subgroups(g))
    h = data.draw(st.sampled_from(subgroup.elements))
    left, right = subgroup.left_cosets, subgroup.right_cosets
    assert torch.equal(translate(g, left, right=h), left)
    assert torch.equal(translate(g, right, left=h), right)


def test_translation_refuses_what_is_no_element():
    g = group("S3")
    for element in (6, -1):
        for side in ("left", "right"):
            with pytest.raises(CosetCircuitsError, match=rf"no element {element}; give .* 0\.\.5"):
                translate(g, noise(g, 1), **{side: element})
    with pytest.raises(CosetCircuitsError, match="5 rows but S3 has 6 elements"):
        translate(g, torch.zeros(5, 2), left=1)


def by_hand(g, f, left, right):
    """The mean of f(hgk) over all h and k, one product at a time."""
    products = [g.array[g.array[h], k] for h in left for k in right]
    return torch.stack([f[torch.from_numpy(p)] for p in products]).mean(0)


@settings(deadline=None)
@given(groups, st.data(), seeds, precisions)
def test_averages_are_brute_force_means(g, data, seed, precision):
    dtype, close = precision
    H, K = data.draw(subgroups(g)), data.draw(subgroups(g))
    f = noise(g, 2, seed=seed).to(dtype)
    trivial = [g.identity]
    for given_, left, right in (
        ({"left": H}, H.elements, trivial),
        ({"right": K}, trivial, K.elements),
        ({"left": H, "right": K}, H.elements, K.elements),
    ):
        mean = average_over(g, f, **given_)
        assert mean.dtype == dtype
        assert torch.allclose(mean, by_hand(g, f, left, right), atol=close)


@settings(deadline=None)
@given(groups, st.data(), seeds)
def test_averaging_is_an_orthogonal_projection(g, data, seed):
    H, K = data.draw(subgroups(g)), data.draw(subgroups(g))
    f, other = noise(g, 3, seed=seed), noise(g, 3, seed=seed + 1)
    mean = average_over(g, f, left=H, right=K)
    assert torch.allclose(average_over(g, mean, left=H, right=K), mean, atol=1e-12)
    swapped = (f * average_over(g, other, left=H, right=K)).sum(0)
    assert torch.allclose((mean * other).sum(0), swapped, atol=1e-10)
    in_turn = average_over(g, average_over(g, f, right=K), left=H)
    assert torch.allclose(in_turn, mean, atol=1e-12)


@settings(deadline=None)
@given(groups, st.data())
def test_averages_are_exactly_invariant(g, data):
    H, K = data.draw(subgroups(g)), data.draw(subgroups(g))
    h, k = data.draw(st.sampled_from(H.elements)), data.draw(st.sampled_from(K.elements))
    mean = average_over(g, noise(g, 2), left=H, right=K)
    assert torch.equal(translate(g, mean, left=h, right=k), mean)


def test_averages_keep_trailing_axes_complex_numbers_and_gradients():
    g = group("S4")
    H = g.subgroup_classes[3].representative
    f = noise(g, 2, 3)
    mean = average_over(g, f, left=H)
    assert torch.allclose(mean[:, 1, 2], average_over(g, f[:, 1, 2], left=H), atol=1e-12)
    f.requires_grad_()
    average_over(g, f, left=H)[0].sum().backward()
    assert f.grad is not None
    assert torch.allclose(f.grad.sum(0), torch.ones(2, 3, dtype=torch.float64))


def test_complex_functions_have_complex_means(unchecked):
    g = group("S4")
    H = g.subgroup_classes[3].representative
    f = torch.complex(noise(g, 2), noise(g, 2, seed=1))
    mean = average_over(g, f, left=H)
    assert torch.allclose(mean.imag, average_over(g, f.imag, left=H))
    assert torch.allclose(mean.real, average_over(g, f.real, left=H))


def test_averaging_refuses_what_it_cannot_average(unchecked):
    g, foreign = group("S4"), group("D6").subgroups[1]
    f = noise(g, 1)
    with pytest.raises(CosetCircuitsError, match=r"No subgroup was given .* left=H"):
        average_over(g, f)
    for side in ("left", "right"):
        with pytest.raises(CosetCircuitsError, match="is in D6, but the functions are on S4"):
            average_over(g, f, **{side: foreign})
    with pytest.raises(CosetCircuitsError, match=r"torch.int64, .*functions.double\(\)"):
        average_over(g, f.long(), left=g.subgroups[1])
    with pytest.raises(CosetCircuitsError, match="23 rows but S4 has 24"):
        average_over(g, f[1:], left=g.subgroups[1])


def irreps(g):
    return st.sampled_from([*g.irreps, *g.real_blocks])


@settings(deadline=None)
@given(groups, st.data(), seeds)
def test_orbits_obey_the_orbit_stabiliser_theorem(g, data, seed):
    """Of the vectors that H fixes: ρ(g)v is its point, equal points are left cosets, sizes fit."""
    irrep, H = data.draw(irreps(g)), data.draw(subgroups(g))
    matrices = irrep.matrices
    rng = np.random.default_rng(seed)
    drawn = torch.from_numpy(rng.normal(size=matrices.shape[1])).to(matrices.dtype)
    v = matrices[list(H.elements)].mean(0) @ drawn
    assume(v.norm() > 1e-6)
    found = orbit(g, irrep, v)
    assert torch.allclose(found.points[found.labels], matrices @ v, atol=1e-9)
    assert len(found.points) * found.stabiliser.order == g.order
    assert found.stabiliser.contains(H)
    assert torch.equal(found.labels, found.stabiliser.left_cosets)
    gaps = (found.points[:, None] - found.points).abs().square().sum(2).sqrt()
    assert (gaps + torch.eye(len(gaps)) * v.norm()).min() > 1e-6 * v.norm()


@settings(deadline=None)
@given(groups, st.data(), seeds)
def test_a_point_moved_by_x_has_the_conjugate_stabiliser(g, data, seed):
    """Stab(ρ(x⁻¹)v) = x⁻¹ Stab(v) x."""
    irrep, x = data.draw(irreps(g)), data.draw(elements(g))
    H = data.draw(subgroups(g))
    drawn = torch.from_numpy(np.random.default_rng(seed).normal(size=irrep.matrices.shape[1]))
    v = irrep.matrices[list(H.elements)].mean(0) @ drawn.to(irrep.matrices.dtype)
    moved = irrep.matrices[g.inverse_array[x]] @ v
    assume(v.norm() > 1e-6)
    stabiliser = orbit(g, irrep, v).stabiliser
    assert orbit(g, irrep, moved).stabiliser == stabiliser.conjugate(x)


def test_orbits_of_s4_on_the_corners_of_a_tetrahedron():
    """In (3,1), the axis of a stabiliser S3 goes to 4 corners, an edge's middle to 6."""
    g = group("S4")
    block = next(b for b in g.real_blocks if b.name == "(3,1)")
    classes = {c.name: c.representative for c in g.subgroup_classes}
    drawn = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    for name, points in (("S3", 4), ("C2xC2", 6)):
        H = classes.get(name) or classes["S2xS2"]
        found = orbit(g, block, block.matrices[list(H.elements)].mean(0) @ drawn)
        assert len(found.points) == points
        assert found.stabiliser is H
    assert len(orbit(g, block, drawn).points) == 24


def test_the_points_of_a_rho_set_add_up_to_nothing():
    """Σ_b b is fixed by the whole group (HYPOTHESES.md §3), so 0 in a non-trivial irrep."""
    g = group("A5")
    for block in g.real_blocks[1:]:
        v = torch.arange(1.0, block.dimension + 1)
        assert orbit(g, block, v).points.sum(0).norm() < 1e-9
    assert orbit(g, g.real_blocks[0], torch.ones(1)).points.tolist() == [[1.0]]


def test_the_zero_vector_stays_where_it_is():
    g = group("D6")
    found = orbit(g, g.irreps[-1], torch.zeros(2))
    assert found.points.tolist() == [[0.0, 0.0]]
    assert found.stabiliser.is_whole


def test_single_precision_keeps_the_stabiliser():
    g = group("S4")
    block = next(b for b in g.real_blocks if b.name == "(3,1)")
    H = next(c.representative for c in g.subgroup_classes if c.name == "S3")
    v = (block.matrices[list(H.elements)].mean(0) @ torch.ones(3, dtype=torch.float64)).float()
    assert orbit(g, block, v).stabiliser is H


def test_a_complex_vector_of_a_real_block_is_two_real_ones():
    """What fixes u + iw fixes u and w."""
    g = group("S4")
    block = next(b for b in g.real_blocks if b.name == "(3,1)")
    C2 = next(h for h in g.subgroups if h.order == 2)
    fixed = block.matrices[list(C2.elements)].mean(0)
    u, w = fixed @ noise(g)[:3], fixed @ noise(g, seed=1)[:3]
    found = orbit(g, block, torch.complex(u, w))
    assert torch.allclose(found.points[found.labels].imag, block.matrices @ w)
    shared = set(orbit(g, block, u).stabiliser.elements) & set(
        orbit(g, block, w).stabiliser.elements
    )
    assert set(found.stabiliser.elements) == shared


@pytest.mark.parametrize("length", [1e-9, 1.0, 1e9])
def test_the_tolerance_is_a_share_of_the_vectors_length(length):
    g = group("C12")
    block = g.real_blocks[1]
    v = torch.tensor([length, 0.0])
    step = 2 * np.sin(np.pi / 12)  # of ‖v‖, from one corner of the 12-gon to the next
    assert len(orbit(g, block, v, tolerance=0.99 * step).points) == 12
    with pytest.raises(CosetCircuitsError, match=r"3 elements .* are not a subgroup.* tolerance"):
        orbit(g, block, v, tolerance=1.01 * step)
    assert orbit(g, block, v, tolerance=2.01).stabiliser.is_whole


def test_orbits_refuse_what_does_not_fit(unchecked):
    g = group("S4")
    block = g.real_blocks[-1]
    with pytest.raises(CosetCircuitsError, match=r"shape \(2,\), but .* acts on 3 coordinates"):
        orbit(g, block, torch.ones(2))
    with pytest.raises(CosetCircuitsError, match="not finite"):
        orbit(g, block, torch.tensor([1.0, float("nan"), 0.0]))
    with pytest.raises(CosetCircuitsError, match=r"is not an irrep of A5; give|not an irrep of A5"):
        orbit(group("A5"), block, torch.ones(3))
    same_order = group("D12")
    with pytest.raises(CosetCircuitsError, match="freq_1 is not an irrep of S4"):
        orbit(g, next(b for b in same_order.irreps if b.name == "freq_1"), torch.ones(2))


def test_the_stabiliser_is_one_of_the_groups_subgroups():
    g = group("D6")
    v = torch.tensor([1.0, 0.0])
    block = next(b for b in g.irreps if b.name == "freq_2")
    stabiliser = orbit(g, block, v).stabiliser
    assert isinstance(stabiliser, Subgroup)
    assert any(stabiliser is h for h in g.subgroups)
    # The rotations r⁰ and r³, and the two reflections whose axis v lies on.
    assert stabiliser.elements == (0, 3, 6, 9)
