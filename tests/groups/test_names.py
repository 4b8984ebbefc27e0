"""Names of subgroups against GAP's, and the proof that a name determines the type."""

import re
from collections import Counter

import numpy as np
import pytest

from coset_circuits.groups import FiniteGroup, Subgroup, direct_product, group
from coset_circuits.groups.names import atom_group, catalogue, isomorphism_type, type_name

# GAP's StructureDescription of each class of subgroups.
GAPS_TYPES = {
    "S6": """
        1, C2, C2, C2, C3, C3, C2 x C2, C2 x C2, C4, C2 x C2, C4, C2 x C2, C2 x C2, C5, S3, S3, C6,
        S3, S3, C6, C2 x C2 x C2, C2 x C2 x C2, D8, C4 x C2, D8, D8, D8, C3 x C3, D10, A4, A4, D12,
        D12, C2 x D8, (C3 x C3) : C2, C3 x S3, C3 x S3, C5 : C4, C2 x A4, C2 x A4, S4, S4, S4, S4,
        S3 x S3, S3 x S3, (C3 x C3) : C4, C2 x S4, C2 x S4, A5, A5, (S3 x S3) : C2, S5, S5, A6, S6
    """,
    "S7": """
        1, C2, C2, C2, C3, C3, C2 x C2, C2 x C2, C4, C2 x C2, C4, C2 x C2, C2 x C2, C5, S3, C6, S3,
        S3, C6, S3, C6, S3, C7, D8, C2 x C2 x C2, C2 x C2 x C2, D8, D8, D8, C4 x C2, C3 x C3, D10,
        D10, C10, C6 x C2, A4, A4, C6 x C2, D12, A4, C12, D12, D12, C3 : C4, D12, D12, D12, D14,
        C2 x D8, (C3 x C3) : C2, C3 x S3, C3 x S3, C5 : C4, D20, C5 : C4, C7 : C3, S4,
        C2 x C2 x S3, (C6 x C2) : C2, C2 x A4, C2 x C2 x S3, C2 x A4, S4, C3 x D8, (C6 x C2) : C2,
        C4 x S3, S4, S4, D24, S4, C3 x A4, S3 x S3, (C3 x C3) : C4, S3 x S3, C2 x (C5 : C4),
        C7 : C6, C2 x S4, C2 x S4, D8 x S3, A5, A5, A4 x S3, (C3 x A4) : C2, C3 x S4,
        (S3 x S3) : C2, S5, S5, C2 x A5, S5, S3 x S4, PSL, C2 x S5, A6, S6, A7, S7
    """,
}
# Where we use another name, and where an order alone says what a word means.
OURS = {
    "1": "C1",
    "C2xD8": "D8xC2",
    "C3xS3": "S3xC3",
    "C5:C4": "F20",
    "C2xA4": "A4xC2",
    "C2xS4": "S4xC2",
    "(S3xS3):C2": "S3wrS2",
    "C3:C4": "Dic3",
    "C7:C3": "F21",
    "C7:C6": "F42",
    "C2xC2xS3": "S3xC2xC2",
    "C3xD8": "D8xC3",
    "C4xS3": "S3xC4",
    "C3xA4": "A4xC3",
    "C2x(C5:C4)": "F20xC2",
    "(C3xA4):C2": "(A4xC3):C2",
    "C3xS4": "S4xC3",
    "C2xA5": "A5xC2",
    "S3xS4": "S4xS3",
    "PSL": "PSL(2,7)",
    "C2xS5": "S5xC2",
}
READABLE = [
    *["S4", "S5", "S6", "A4", "A5", "A6", "Q8", "Dic3", "F20", "F21", "F42", "PSL(2,7)"],
    *["S3xS3", "C2^4", "PSL(2,8)", "PSL(2,11)", *(f"D{n}" for n in range(4, 13))],
    *[pytest.param(name, marks=pytest.mark.slow) for name in ("A7", "S7")],
]

# How many classes of elements have which order, size and number of square roots.
FINGERPRINTS = """(function(order)
  local of;
  of := function(group)
    local classes, squares;
    classes := ConjugacyClasses(group);
    squares := List(classes, c -> PositionProperty(classes, d -> Representative(c)^2 in d));
    return Collected(List([1..Length(classes)], i -> [Order(Representative(classes[i])),
      Size(classes[i]), Sum(Filtered([1..Length(classes)], j -> squares[j] = i),
      j -> Size(classes[j])) / Size(classes[i])]));
  end;
  return List([1..NumberSmallGroups(order)], i -> of(SmallGroup(order, i)));
end)"""


@pytest.mark.parametrize("name", READABLE)
def test_names_are_unique_and_say_the_type(name):
    names = [c.name for c in group(name).subgroup_classes]
    assert len(set(names)) == len(names)
    assert not [n for n in names if re.match(r"G[0-9]", n)]


@pytest.mark.parametrize("name", ["S6", pytest.param("S7", marks=pytest.mark.slow)])
def test_types_are_gaps(name):
    g = group(name)
    theirs = re.sub(r"\s", "", GAPS_TYPES[name]).split(",")
    expected = Counter(OURS.get(d, d) for d in theirs)
    found = Counter(type_name(g, c.representative.array) for c in g.subgroup_classes)
    assert found == expected


def test_the_whole_group_keeps_its_name():
    table = group("S3").array
    for g in (FiniteGroup.from_table(table, "mine"), FiniteGroup.from_table(table, "D3")):
        names = [c.name for c in g.subgroup_classes]
        assert names[-1] == g.name
        assert len(set(names)) == 4
        assert Subgroup.generated(g, range(6)).name == g.name
    for name in ("V4", "C2^4", "AGL(1,5)", "D4xC2", "PSL(2,5)"):
        assert group(name).subgroup_classes[-1].name == group(name).name


@pytest.mark.parametrize("name", ["D6", "S4", "S3xS3"])
def test_a_copys_names_are_the_originals(name):
    g = group(name)
    forward = np.random.default_rng(2).permutation(g.order)
    copy = g.relabelled(forward)
    alone = [Subgroup.generated(copy, forward[h.array].tolist()).name for h in g.subgroups]
    assert alone == [type_name(g, h.array) for h in g.subgroups]
    assert [h.name for h in copy.subgroups] == [h.name for h in g.subgroups]


def test_dihedral_groups_are_named_by_sides_among_themselves():
    def types(name):
        return {re.split("⟨| ", c.name)[0] for c in group(name).subgroup_classes}

    assert types("D12") == {"C1", "C2", "C3", "C4", "C6", "C12", "C2xC2", "D3", "D4", "D6", "D12"}
    assert types("D4xC2") == {"C1", "C2", "C4", "C2xC2", "C4xC2", "C2xC2xC2", "D4", "D4xC2"}
    assert types("C3xD4") >= {"D4", "C3xD4", "C12"}
    assert {"D8", "D10", "D12"} <= types("S6") | types("S5")
    assert types("Dic3") == {"C1", "C2", "C3", "C4", "C6", "Dic3"}
    assert "D8" in types("S4xC2")


@pytest.mark.parametrize(
    "names", [("S4", "C3"), ("Q8", "S3"), ("D5", "C4", "C2"), ("F21", "C3"), ("A4", "A4")]
)
def test_a_products_name_and_fingerprint_come_from_its_factors(names):
    larger = direct_product(*map(group, names), group("C2"), name="larger")
    product = np.arange(0, larger.order, 2)  # the last factor changes fastest
    found = type_name(larger, product).split("x")
    assert sorted(found) == sorted(names)


@pytest.mark.parametrize("order", [16, 24, 36, 48, 60, 72, 144, 168])
def test_the_catalogue_names_no_two_types_alike(order):
    known = list(catalogue(order))
    assert len({name for name, _ in known}) == len(known)
    assert len({frozenset(held.items()) for _, held in known}) == len(known)
    for name, held in known:
        assert held.total() == order, name


def test_what_shares_its_fingerprint_has_no_name():
    """SD16xQ8 and another group of order 128, GAP's 2111 and 2113."""
    product = direct_product(atom_group("SD16"), group("Q8"))
    assert isomorphism_type(product, np.arange(128)) == "G128"
    assert isomorphism_type(product, np.arange(0, 128, 8)) == "SD16"


@pytest.mark.parametrize("name", ["SD16", "SL(2,3)", "GL(2,3)", "S3wrS2", "(A4xC3):C2"])
def test_other_atoms_are_what_they_say(name):
    g = atom_group(name)
    center = sum(len(c) == 1 for c in g.conjugacy_classes)
    facts = {
        # order, centre, classes, elements of order 2
        "SD16": (16, 2, 7, 5),
        "SL(2,3)": (24, 2, 7, 1),
        "GL(2,3)": (48, 2, 8, 13),
        "S3wrS2": (72, 1, 9, 21),
        "(A4xC3):C2": (72, 1, 9, 21),
    }[name]
    involutions = int((g.element_orders == 2).sum())
    assert (g.order, center, len(g.conjugacy_classes), involutions) == facts


TABLES = (
    "(n -> List([1..NumberSmallGroups(n)], i -> MultiplicationTable(AsList(SmallGroup(n, i)))))"
)

# What GAP calls the factors of semidirect products.
FACTORS = {
    r"C(\d+)": "CyclicGroup({0})",
    r"D(\d+)": "DihedralGroup({0})",
    r"S(\d+)": "SymmetricGroup({0})",
    r"A(\d+)": "AlternatingGroup({0})",
    r"Q(\d+)": "QuaternionGroup({0})",
    r"Dic(\d+)": "DicyclicGroup(4*{0})",
    r"F21": "SmallGroup(21, 1)",
    r"SL\(2,3\)": "SL(2, 3)",
}


def at_top(name, sign):
    """The parts between signs that stand in no bracket."""
    parts, depth = [""], 0
    for letter in name:
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if letter == sign and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return [part[1:-1] if part[0] == "(" else part for part in parts]


def claim(name):
    """GAP's test of whether a group is what its name says."""
    for sign, condition in ((":", "true"), ("x", "IsNormal(g, q)")):
        parts = at_top(name, sign)
        if len(parts) > 1 and (sign == ":" or ":" in name):
            normal, complement = parts
            return (
                f"g -> ForAny(NormalSubgroups(g), n -> ({claim(normal)})(n) and "
                f"ForAny(ComplementClassesRepresentatives(g, n), "
                f"q -> {condition} and ({claim(complement)})(q)))"
            )
    texts = []
    for part in at_top(name, "x"):
        (found,) = (
            text.format(*match.groups())
            for pattern, text in FACTORS.items()
            if (match := re.fullmatch(pattern, part))
        )
        texts.append(found)
    return f"g -> IdGroup(g) = IdGroup(DirectProduct({', '.join(texts)}))"


@pytest.mark.slow
@pytest.mark.parametrize("order", [16, 18, 24, 27, 32, 36, 54, 56, 60])
def test_semidirect_names_are_true(gap, order):
    """In a group called N:Q there is a normal subgroup N with a complement Q."""
    for number, table in enumerate(gap.ask(TABLES, order), start=1):
        name = isomorphism_type(FiniteGroup(np.array(table) - 1, "g"), np.arange(order))
        if ":" in name:
            assert gap.ask(f"({claim(name)})", f"SmallGroup({order}, {number})"), name


@pytest.mark.slow
@pytest.mark.parametrize("order", [*range(8, 63, 2), 21, 27, 39, 64, 72, 96, 100])
def test_among_all_groups_of_an_order_only_the_named_has_the_fingerprint(gap, order):
    groups = Counter()
    for classes in gap.ask(FINGERPRINTS, order, timeout=300):
        groups[frozenset((tuple(entry), entry[1] * number) for entry, number in classes)] += 1
    for name, held in catalogue(order):
        assert groups[frozenset(held.items())] == 1, name
    if order < 64:
        assert set(groups.values()) == {1}
