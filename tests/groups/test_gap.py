"""GAP as an oracle: every subgroup up to conjugacy, every character and the families themselves.

GAP is told our very elements, so its classes, columns and subgroups are compared one by one.
"""

import re
from fractions import Fraction

import numpy as np
import pytest
import torch
from gap import InGap
from sympy.combinatorics import Permutation

from coset_circuits.groups import (
    FiniteGroup,
    character_table,
    double_cosets,
    fixed_dimension,
    group,
    restriction,
    spectrum,
)

LARGE = [pytest.param(name, marks=pytest.mark.slow) for name in ("A7", "S7")]
NAMES = [
    *["S1", "S2", "S3", "S4", "S5", "S6", "A3", "A4", "A5", "A6", "C1", "C12", "C13"],
    *[f"D{n}" for n in range(1, 13)],
    *["V4", "C2^4", "S3xS3", "Q8", "Q16", "Dic3", "Dic5", "Q8xC3", "D4xC4", "A4xS3"],
    *["F20", "F21", "F55", "AGL(1,7)", "PSL(2,7)", "PSL(2,8)", "PSL(2,9)", "PSL(2,11)"],
    *LARGE,
]
ATOMS = {
    r"S(\d+)": "SymmetricGroup({0})",
    r"A(\d+)": "AlternatingGroup({0})",
    r"C(\d+)": "CyclicGroup(IsPermGroup, {0})",
    r"V4": "AbelianGroup(IsPermGroup, [2, 2])",
    r"Q(\d+)": "QuaternionGroup(IsPermGroup, {0})",
    r"SD16": "Semidihedral16",
    r"Dic(\d+)": "DicyclicGroup(IsPermGroup, 4*{0})",
    r"F(\d+)": "Frobenius(Maximum(Factors({0})), {0}/Maximum(Factors({0})))",
    r"AGL\(1,(\d+)\)": "Frobenius({0}, {0} - 1)",
    r"PSL\(2,(\d+)\)": "PSL(2, {0})",
    r"([SG]L)\(2,(\d+)\)": "Action({0}(2, {1}), AsSSortedList(GF({1})^2))",
    r"S3wrS2": "WreathProduct(SymmetricGroup(3), SymmetricGroup(2))",
}
# D8 has 16 elements in one convention and 8 in another.
DIHEDRAL = ["DihedralGroup(IsPermGroup, 2*{0})", "DihedralGroup(IsPermGroup, Lcm(2, {0}))"]
# Of each a number in GAP's library: groups with large, complex and quaternionic irreps.
LIBRARY = {
    "extraspecial 2+": (32, 49),
    "extraspecial 2-": (32, 50),
    "binary octahedral": (48, 28),
    "GL(2,3)": (48, 29),
    "2^3:7": (56, 11),
    "3^2:Q8": (72, 41),
    "2^4:5": (80, 49),
    "SL(2,5)": (120, 5),
    "5^2:3": (75, 2),
    "Heisenberg modulo 5": (125, 3),
}
SIGNS = {"real": 1, "complex": 0, "quaternionic": -1}


def representatives(g):
    return [int(members[0]) for members in g.conjugacy_classes]


def prime_factors(number):
    return [p for p in range(2, number + 1) if number % p == 0 and all(p % q for q in range(2, p))]


def power(g, element, exponent):
    result = g.identity
    for _ in range(exponent):
        result = int(g.array[result, element])
    return result


def cyclotomic(entry):
    conductor, coefficients = entry
    return np.exp(2j * np.pi * np.arange(conductor) / conductor) @ coefficients


def shapes(name):
    """What a name such as ``D8x(C3:C4)`` says, for GAP, in both conventions."""
    return [_shape(name, {**ATOMS, r"D(\d+)": text}) for text in DIHEDRAL]


def _shape(name, atoms):
    parts = [""]
    depth = 0
    for sign in name:
        depth += (sign == "(") - (sign == ")")
        if depth == 0 and sign in "x:":
            parts += [sign, ""]
        else:
            parts[-1] += sign
    if len(parts) > 1:
        left, sign, right = "".join(parts[:-2]), parts[-2], parts[-1]
        return f"Shape('{sign}', {_shape(left, atoms)}, {_shape(right, atoms)})"
    if name.startswith("("):
        return _shape(name[1:-1], atoms)
    atom, _, times = name.partition("^")
    if times:
        return _shape("x".join([atom] * int(times)), atoms)
    matches = [(re.fullmatch(pattern, atom), text) for pattern, text in atoms.items()]
    found = [text.format(*match.groups()) for match, text in matches if match]
    assert len(found) == 1, f"these tests do not know how to make {atom} in GAP"
    return found[0]


def matched_characters(g, values):
    """GAP's characters on our elements, and which of its rows each of our irreps is."""
    theirs = np.array([[cyclotomic(entry) for entry in row] for row in values])[:, g.class_labels]
    ours = np.stack([rho.character.numpy() for rho in g.irreps])
    distances = np.abs(ours[:, None] - theirs).max(axis=2)
    rows = distances.argmin(axis=1)
    assert distances.min(axis=1).max() < 1e-9
    assert sorted(rows) == list(range(len(theirs)))
    return theirs, rows


def check_characters(gap, g):
    elements, exponents = representatives(g), prime_factors(g.order)
    there = InGap(g)
    facts = gap.ask(
        "CharacterFacts", there.generators, there.elements(elements), exponents, [], timeout=120
    )
    assert sorted(facts["columns"]) == list(range(1, len(facts["values"]) + 1))
    assert facts["sizes"] == [len(members) for members in g.conjugacy_classes]
    assert facts["orders"] == g.element_orders[elements].tolist()
    for exponent, classes in zip(exponents, facts["powers"], strict=True):
        assert classes == [1 + g.class_labels[power(g, x, exponent)] for x in elements]

    theirs, rows = matched_characters(g, facts["values"])
    assert np.abs(character_table(g).values.numpy() - theirs[rows][:, elements]).max() < 1e-9
    dimensions = np.real(theirs[rows, g.identity])
    assert [rho.dimension for rho in g.irreps] == [round(d) for d in dimensions]
    assert [SIGNS[rho.type] for rho in g.irreps] == [facts["indicators"][row] for row in rows]
    row_of = {rho.name: row for rho, row in zip(g.irreps, rows, strict=True)}
    for rho in g.irreps:
        difference = theirs[row_of[rho.conjugate]] - theirs[row_of[rho.name]].conj()
        assert np.abs(difference).max() < 1e-9


def check_subgroups(gap, g):
    there = InGap(g)
    chosen = [c.representative for c in g.subgroup_classes]
    facts = gap.ask(
        "SubgroupFacts",
        there.generators,
        [there.elements(h.generators) for h in chosen],
        [[] if h.is_whole else claims(h.name) for h in chosen],
        timeout=120,
    )
    assert sorted(facts["places"]) == list(range(1, len(facts["classes"]) + 1))
    theirs = [tuple(facts["classes"][place - 1]) for place in facts["places"]]
    assert [(c.order, c.count) for c in g.subgroup_classes] == theirs
    assert [h.core.order for h in chosen] == facts["cores"]
    assert [h.normaliser.order for h in chosen] == facts["normalisers"]
    untrue = [h.name for h, fits in zip(chosen, facts["fits"], strict=True) if not fits]
    assert not untrue


def claims(name):
    """What a subgroup's name says; it ends where what tells the name from others begins."""
    shape = re.split("[ ⟨]", name)[0]
    return [] if re.fullmatch(r"G\d+", shape) else shapes(shape)


@pytest.mark.parametrize("name", NAMES)
def test_the_family_is_gaps(gap, name):
    ours = f"Generated({InGap(group(name)).generators})"
    assert gap.ask("HasShape", ours, shapes(name)[0])


@pytest.mark.parametrize("name", NAMES)
def test_characters_are_gaps(gap, name):
    check_characters(gap, group(name))


@pytest.mark.parametrize("degree", range(2, 7))
def test_characters_of_symmetric_groups_have_gaps_partitions(gap, degree):
    g = group(f"S{degree}")
    assert g.permutations is not None
    cycles = [cycle_type(image) for image in g.permutations.tolist()]
    facts = gap.ask("SymmetricCharacters", degree)
    for partition, values in zip(facts["partitions"], facts["values"], strict=True):
        name = "(" + ",".join(map(str, partition)) + ")"
        rho = next(rho for rho in g.irreps if rho.name == name)
        by_cycles = dict(zip(map(tuple, facts["cycles"]), values, strict=True))
        expected = [by_cycles[c] for c in cycles]
        assert np.abs(rho.character.numpy() - expected).max() < 1e-9


def cycle_type(image):
    return tuple(sorted((len(c) for c in Permutation(image).full_cyclic_form), reverse=True))


@pytest.mark.parametrize("name", NAMES)
def test_subgroups_are_gaps(gap, name):
    check_subgroups(gap, group(name))


@pytest.mark.parametrize("order", range(1, 32))
def test_every_group_of_an_order_from_its_table(gap, order):
    for number in range(1, gap.ask("NumberSmallGroups", order) + 1):
        check_from_table(gap, order, number)


@pytest.mark.parametrize("order, number", LIBRARY.values(), ids=LIBRARY)
def test_a_group_from_its_table(gap, order, number):
    check_from_table(gap, order, number)


def check_from_table(gap, order, number):
    table = np.array(gap.ask("CayleyTable", order, number)) - 1
    g = FiniteGroup.from_table(table, f"SmallGroup({order},{number})")
    ours = f"Generated({InGap(g).generators})"
    assert gap.ask("AreIsomorphic", ours, f"SmallGroup({order}, {number})")
    check_characters(gap, g)
    check_subgroups(gap, g)


@pytest.mark.parametrize("name", ["S5", "A6", "PSL(2,7)"])
def test_a_relabelled_copy_is_gaps(gap, name):
    g = group(name)
    copy = g.relabelled(np.random.default_rng(7).permutation(g.order))
    check_characters(gap, copy)
    check_subgroups(gap, copy)


@pytest.mark.parametrize("name", ["S4", "S5", "S6", "A5", "PSL(2,7)", "Q8", "F21", *LARGE])
def test_fixed_dimensions_and_spectra_are_gaps(gap, name):
    g = group(name)
    there = InGap(g)
    chosen = [c.representative for c in g.subgroup_classes]
    facts = gap.ask(
        "CharacterFacts",
        there.generators,
        there.elements(representatives(g)),
        [],
        [there.elements(h.generators) for h in chosen],
        timeout=120,
    )
    _, rows = matched_characters(g, facts["values"])
    for h, dimensions in zip(chosen, facts["fixed"], strict=True):
        here = [dimensions[row] for row in rows]
        assert [fixed_dimension(rho, h) for rho in g.irreps] == here
        if not h.is_whole:
            assert spectrum(h) == {
                rho.name: Fraction(rho.dimension * dimension, h.index - 1)
                for rho, dimension in list(zip(g.irreps, here, strict=True))[1:]
            }


@pytest.mark.parametrize("name", ["S5", "F21", "PSL(2,7)", "S3xS3", "Q16"])
def test_restrictions_are_gaps(gap, name):
    g = group(name)
    there = InGap(g)
    for c in g.subgroup_classes[::3]:
        h = c.representative
        small = h.as_group()
        facts = gap.ask(
            "RestrictionFacts",
            there.generators,
            there.elements(representatives(g)),
            there.elements(h.generators),
            there.elements(h.elements[i] for i in representatives(small)),
        )
        _, rows = matched_characters(g, facts["values"])
        _, small_rows = matched_characters(small, facts["small_values"])
        for rho, row in zip(g.irreps, rows, strict=True):
            theirs = [facts["multiplicities"][row][r] for r in small_rows]
            assert list(restriction(rho, h).values()) == theirs


@pytest.mark.parametrize("name", ["S5", "F20", "PSL(2,7)", "D6"])
def test_double_cosets_are_gaps(gap, name):
    g = group(name)
    there = InGap(g)
    chosen = [c.representative for c in g.subgroup_classes][1:-1:3]
    for h in chosen:
        for k in chosen:
            labels = double_cosets(h, k)
            pairs = gap.ask(
                "DoubleCosetFacts",
                there.generators,
                there.elements(h.generators),
                there.elements(k.generators),
            )
            cells = {int(labels[there.index(images)]): size for images, size in pairs}
            assert len(cells) == len(pairs)
            assert cells == dict(enumerate(torch.bincount(labels).tolist()))
