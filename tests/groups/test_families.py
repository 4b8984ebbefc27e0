"""Families against their defining relations, isomorphisms between them, and what is refused."""

from math import gcd

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coset_circuits.errors import CosetCircuitsError
from coset_circuits.groups import (
    FiniteGroup,
    affine,
    cyclic,
    dicyclic,
    direct_product,
    from_generators,
    group,
    psl2,
    quaternion,
    semidirect_product,
)
from coset_circuits.groups.families import _finite_field


def power(g, a, n):
    result = g.identity
    for _ in range(n):
        result = g.array[result, a]
    return result


def isomorphic(left, right):
    """Whether some map of the generators extends to an isomorphism: a plain search."""
    if left.order != right.order:
        return False
    gens = left.generators
    orders = right.element_orders

    def extends(images):
        place = {left.identity: right.identity}
        frontier = [left.identity]
        while frontier:
            x = frontier.pop()
            for s, image in zip(gens, images, strict=True):
                y, there = left.array[x, s], right.array[place[x], image]
                if y not in place:
                    place[y] = there
                    frontier.append(y)
                elif place[y] != there:
                    return False
        return len(set(place.values())) == left.order

    def search(images):
        if len(images) == len(gens):
            return extends(images)
        wanted = left.element_orders[gens[len(images)]]
        return any(search([*images, int(b)]) for b in np.flatnonzero(orders == wanted))

    return search([])


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 8])
def test_dicyclic_relations(n):
    g = dicyclic(n)
    a, x = 1, 2 * n
    assert g.order == 4 * n
    assert g.element_orders[a] == 2 * n
    assert g.array[x, x] == power(g, a, n)
    assert g.array[g.array[x, a], g.inverse_array[x]] == g.inverse_array[a]
    assert (g.labels[a], g.labels[x]) == ("a1", "a0x")


def test_the_quaternion_group_is_the_units_of_hamilton():
    i = np.array([[1j, 0], [0, -1j]])
    j = np.array([[0, 1], [-1, 0]])
    units = [s * m for m in (np.eye(2), i, j, i @ j) for s in (1, -1)]
    table = [
        [next(c for c, u in enumerate(units) if np.allclose(a @ b, u)) for b in units]
        for a in units
    ]
    assert isomorphic(quaternion(), FiniteGroup.from_table(table))
    assert group("Q16").order == 16
    assert (group("Q16").element_orders == 2).sum() == 1


@pytest.mark.parametrize(("prime", "degree"), [(5, 4), (7, 3), (7, 6), (11, 5), (3, 2), (2, 1)])
def test_affine_groups_are_their_maps(prime, degree):
    g = affine(prime, degree)
    assert g.order == prime * degree
    assert g.name == f"F{prime * degree}"
    b, step = 1 % prime, prime  # x + 1 and x ↦ mx
    m = int(g.permutations[step % g.order][1])
    assert (g.permutations[b] == (np.arange(prime) + 1) % prime).all()
    if degree > 1:
        assert {pow(m, j, prime) for j in range(degree)} == {
            int(p[1] - p[0]) % prime for p in g.permutations
        }


def test_agl_is_frobenius_with_all_multiplications():
    assert group("AGL(1,5)") == group("F20")
    assert group("F21").order == 21


@pytest.mark.parametrize("q", [2, 3, 4, 5, 7, 8, 9, 11])
def test_psl2_has_its_order_and_moves_points_two_by_two(q):
    g = psl2(q)
    assert g.order == q * (q * q - 1) // gcd(2, q - 1)
    pairs = {(int(p[0]), int(p[1])) for p in g.permutations}
    assert len(pairs) == (q + 1) * q
    if q > 3:  # simple: no conjugacy class but that of the identity generates less
        for members in g.conjugacy_classes:
            assert len(g.closure(members.tolist())) in {1, g.order}


@pytest.mark.parametrize("q", [2, 3, 4, 5, 7, 8, 9, 16, 25, 27])
def test_finite_fields_satisfy_the_axioms(q):
    prime = next(p for p in (2, 3, 5, 7) if q % p == 0)
    add, times = _finite_field(q, prime)
    FiniteGroup.from_table(add)
    FiniteGroup.from_table(times[1:, 1:] - 1)
    a, b, c = np.meshgrid(*[np.arange(q)] * 3, sparse=True)
    assert (times[a, add[b, c]] == add[times[a, b], times[a, c]]).all()


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("PSL(2,4)", "A5"),
        ("PSL(2,5)", "A5"),
        ("PSL(2,3)", "A4"),
        ("PSL(2,2)", "S3"),
        ("F6", "S3"),
        ("D3", "S3"),
        ("V4", "D2"),
        ("Dic1", "C4"),
        ("D6", "S3xC2"),
        ("C6", "C2xC3"),
        ("F10", "D5"),
    ],
)
def test_known_isomorphisms(left, right):
    assert isomorphic(group(left), group(right))


@pytest.mark.parametrize(("left", "right"), [("Q8", "D4"), ("C4", "V4"), ("Dic3", "A4")])
def test_known_non_isomorphisms(left, right):
    assert not isomorphic(group(left), group(right))


@pytest.mark.parametrize("names", [("S3", "S3"), ("A4", "C5"), ("C2", "C3", "D4"), ("Q8",)])
def test_direct_products_multiply_place_by_place(names):
    factors = [group(name) for name in names]
    g = direct_product(*factors)
    orders = [f.order for f in factors]
    rng = np.random.default_rng(0)
    for _ in range(50):
        a, b = ([int(rng.integers(n)) for n in orders] for _ in range(2))
        expected = [f.array[x, y] for f, x, y in zip(factors, a, b, strict=True)]
        left, right = np.ravel_multi_index(a, orders), np.ravel_multi_index(b, orders)
        assert g.array[left, right] == np.ravel_multi_index(expected, orders)


def test_products_of_permutations_act_side_by_side():
    g = group("S3xS3")
    assert g.permutations.shape == (36, 6)
    assert "(1 2)(4 5 6)" in g.labels
    a, b = 7, 22
    assert (g.permutations[a][g.permutations[b]] == g.permutations[g.array[a, b]]).all()
    assert group("C2^2").labels == ("(0, 0)", "(0, 1)", "(1, 0)", "(1, 1)")


def test_semidirect_products_are_the_families():
    flip = [[0, 1, 2, 3, 4], [0, 4, 3, 2, 1]]
    assert isomorphic(semidirect_product(cyclic(5), cyclic(2), flip), group("D5"))
    powers = [[pow(2, h, 7) * n % 7 for n in range(7)] for h in range(3)]
    g = semidirect_product(cyclic(7), cyclic(3), powers)
    assert g.name == "C7:C3"
    assert isomorphic(g, group("F21"))
    assert FiniteGroup.from_table(g.array) == g
    trivial = [list(range(4))] * 3
    assert semidirect_product(cyclic(4), cyclic(3), trivial) == direct_product(cyclic(3), cyclic(4))


@pytest.mark.parametrize(
    ("action", "sentence"),
    [
        ([[0, 1, 2]], r"shape \(1, 3\)"),
        ([[0, 1, 2], [0, 1, 1]], "does not permute"),
        ([[0, 1, 2], [1, 0, 2]], "Element 1 of C2 does not act on C3 by an automorphism"),
        ([[0, 2, 1], [0, 2, 1]], "not a homomorphism"),
        (np.array([[0.0, 1, 2], [0, 2, 1]]), "give integers"),
    ],
)
def test_actions_that_are_none_are_refused(action, sentence):
    with pytest.raises(CosetCircuitsError, match=sentence):
        semidirect_product(cyclic(3), cyclic(2), action)


@pytest.mark.parametrize(
    ("generators", "name"),
    [
        (["(1 2)", "(1 2 3 4 5)"], "S5"),
        ([[1, 2, 0], "(1 2 3)(4 5)"], "C6"),
        (["(1 2 3 4)", "(1 3)"], "D4"),
        (["(1 2)(3 4)", "(1 3)(2 4)"], "V4"),
        (["(1,2,3)"], "C3"),
        ([], "C1"),
        (["e"], "C1"),
    ],
)
def test_generators_give_the_group(generators, name):
    g = from_generators(generators, "mine")
    assert g.name == "mine"
    assert isomorphic(g, group(name))
    assert [tuple(p) for p in g.permutations] == sorted(tuple(p) for p in g.permutations)


def test_generated_s5_is_the_familys():
    assert from_generators(["(1 2)", "(1 2 3 4 5)"]) == group("S5")


@pytest.mark.parametrize(
    ("generator", "sentence"),
    [
        ([0, 0, 1], r"\[0, 0, 1\] is not a permutation"),
        ([1, 2, 3], r"is not a permutation; give the images of 0\.\.n-1"),
        ("(1 2)(2 3)", "not disjoint"),
        ("(0 1)", "a point is 0"),
        ("1 2 3", "not a product of cycles"),
        ("(1 2", "not a product of cycles"),
    ],
)
def test_what_is_no_permutation_is_refused(generator, sentence):
    with pytest.raises(CosetCircuitsError, match=sentence):
        from_generators([generator])


def test_generators_of_too_large_a_group_are_refused():
    with pytest.raises(CosetCircuitsError, match="more than 5,040 elements"):
        from_generators(["(1 2)", "(1 2 3 4 5 6 7 8 9 10 11 12)"])


@pytest.mark.parametrize("text", ["S_5", " S5 ", "C2 x S3", "C2×S3", "D_6", "AGL(1, 5)"])
def test_spellings(text):
    assert group(text).order in {120, 12, 20}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("S8", r"40,320 elements.*13\.0 GB.*5,040"),
        ("S99999", "more than a billion"),
        ("A8", "20,160 elements"),
        ("C5041", "5,041 elements"),
        ("S5xS5", "14,400 elements"),
        ("C2^13", "8,192 elements"),
        ("C2^33", "understood are"),
        ("C2^0", "understood are"),
        ("C0", "understood are"),
        ("C999999", "understood are"),
        ("", "understood are"),
        ("x", "understood are"),
        ("S5xx", "understood are"),
        ("C1" + "xC1" * 40, "at most 32"),
        ("Q12", "another power of 2"),
        ("Q4", "another power of 2"),
        ("F12", "p·d with p a prime"),
        ("F5", "p·d with p a prime"),
        ("AGL(1,6)", "6 is not a prime"),
        ("PSL(2,6)", "6 is not a prime power"),
        ("PSL(2,1)", "1 is not a prime power"),
        ("PSL(2,23)", "6,072 elements"),
    ],
)
def test_texts_that_name_no_group_are_answered(text, sentence):
    with pytest.raises(CosetCircuitsError, match=sentence):
        group(text)


@settings(max_examples=300, deadline=None)
@given(st.text("SACDQFVPGLix0123456789()^, ×", max_size=10))
def test_any_text_is_a_group_or_a_sentence(text):
    try:
        g = group(text)
    except CosetCircuitsError as error:
        assert str(error).endswith(".")
    else:
        assert 1 <= g.order <= 5040
