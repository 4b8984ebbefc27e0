"""Texts and the groups they name, names of subgroups against GAP's, and what a name proves."""

import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coset_circuits.errors import CosetCircuitsError
from coset_circuits.groups import (
    FiniteGroup,
    Subgroup,
    direct_product,
    from_generators,
    group,
    wreath_product,
)
from coset_circuits.groups.actions import actions, automorphisms, homomorphisms
from coset_circuits.groups.names import catalogue, group_of_type, isomorphism_type, type_name

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
    product = direct_product(group_of_type("SD16"), group("Q8"))
    assert isomorphism_type(product, np.arange(128)) == "G128"
    assert isomorphism_type(product, np.arange(0, 128, 8)) == "SD16"


@pytest.mark.parametrize("name", ["SD16", "SL(2,3)", "GL(2,3)", "S3wrS2", "(A4xC3):C2"])
def test_other_atoms_are_what_they_say(name):
    g = group_of_type(name)
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


# --- from a text to a group -----------------------------------------------------------------

SPELLINGS = {
    "S4": "s4 S_4 S₄ S_{4} Sym(4) Sym4 (S4) S4^1 𝑆₄",
    "C5": "c5 Z5 Z_5 Z/5 Z/5Z ℤ/5ℤ ℤ₅",
    "C5xC5": "Z5xZ5 C5×C5 Z/5*Z/5Z (C5)x(C5)",
    "C2^3": "2^3 2³ Z2^3 C₂³",
    "D5": "Dih5 dih_5 D_5",
    "V4": "K4 v4",
    "SL(2,3)": "sl(2,3) SL2(3) SL₂(3)",
    "PSL(2,7)": "PSL2(7) psl(2,7)",
    "C5:C4": "Z5:Z4 C5⋊C4",
    "S3wrC2": "s3WRz2 S₃≀C₂",
    "(C3xC3):C4": "(Z3*Z3):C4",
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_all_spellings_give_the_same_object(name):
    for text in (name, *SPELLINGS[name].split(), " ".join(name)):
        assert group(text) is group(name), text


# Each in GAP's words; W is the wreath product with a transitive cyclic group.
IN_GAP = {
    "2^3": "ElementaryAbelianGroup(8)",
    "Z/5Z": "CyclicGroup(5)",
    "Z5xZ5": "ElementaryAbelianGroup(25)",
    "Dih5": "DihedralGroup(10)",
    "S₄": "SymmetricGroup(4)",
    "SL(2,3)": "SL(2,3)",
    "GL(2,3)": "GL(2,3)",
    "SL(2,4)": "SL(2,4)",
    "SL(2,5)": "SL(2,5)",
    "GL(2,4)": "GL(2,4)",
    "GL(3,2)": "GL(3,2)",
    "SD16": "SmallGroup(16,8)",
    "SD32": "SmallGroup(32,19)",
    "C5:C4": "SmallGroup(20,3)",
    "C7:C3": "SmallGroup(21,1)",
    "C3:C4": "DicyclicGroup(12)",
    "Q8:C3": "SL(2,3)",
    "C2^3:C7": "SmallGroup(56,11)",
    "S3wrC2": "WreathProduct(SymmetricGroup(3), SymmetricGroup(2))",
    "C2wrC3": "WreathProduct(CyclicGroup(2), CyclicGroup(IsPermGroup, 3))",
    "C2wrD4": "WreathProduct(CyclicGroup(IsPermGroup, 2), Group((1,2,3,4),(1,3)))",
    "C3wrA4": "WreathProduct(CyclicGroup(IsPermGroup, 3), AlternatingGroup(4))",
    "Q8wrC2": "WreathProduct(QuaternionGroup(IsPermGroup, 8), SymmetricGroup(2))",
    "C5x(C2wrS2)": "DirectProduct(CyclicGroup(5), DihedralGroup(8))",
}


@pytest.mark.parametrize("name", IN_GAP)
def test_groups_by_name_are_gaps(gap, name):
    g = group(name)
    images = [(g.array[:, s] + 1).tolist() for s in g.generators]
    same = f"(images -> IsomorphismGroups(Group(List(images, PermList)), {IN_GAP[name]}) <> fail)"
    classes = f"(x -> NrConjugacyClasses({IN_GAP[name]}))"
    assert len(g.conjugacy_classes) == gap.ask(classes, 0)
    assert gap.ask(same, images)
    assert np.array_equal(FiniteGroup.from_table(g.array).array, g.array)


@pytest.mark.parametrize(("degree", "q"), [(2, 2), (2, 3), (2, 4), (2, 5), (2, 7), (3, 2)])
def test_linear_groups_have_their_orders_and_classes(degree, q):
    """|GL(n, q)| = Π (qⁿ − qⁱ); q² − 1 classes of GL(2, q), q + 4 or q + 1 of SL(2, q)."""
    matrices = 1
    for i in range(degree):
        matrices *= q**degree - q**i
    general, special = group(f"GL({degree},{q})"), group(f"SL({degree},{q})")
    assert (general.order, special.order) == (matrices, matrices // (q - 1))
    if degree == 2:
        assert len(general.conjugacy_classes) == q * q - 1
        assert len(special.conjugacy_classes) == (q + 4 if q % 2 else q + 1)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        *[("C12", 4), ("C13", 12), ("C2^3", 168), ("C3^2", 48), ("S3", 6), ("S4", 24)],
        *[("D4", 8), ("Q8", 24), ("D5", 20), ("A4", 24), ("C1", 1), ("V4", 6)],
    ],
)
def test_automorphisms_are_counted(name, count):
    assert automorphisms(group(name)).order == count


@pytest.mark.parametrize(("one", "other"), [("C4", "D4"), ("V4", "S3"), ("S3", "C6"), ("C1", "C2")])
def test_homomorphisms_are_all_maps_that_keep_products(one, other):
    source, target = group(one), group(other)
    tried = np.stack(np.meshgrid(*[np.arange(target.order)] * source.order, indexing="ij"), -1)
    tried = tried.reshape(-1, source.order)
    left, right = tried[:, :, None], tried[:, None, :]
    keeps = (tried[:, source.array] == target.array[left, right]).all((1, 2))
    assert sorted(map(tuple, homomorphisms(source, target))) == sorted(map(tuple, tried[keeps]))


# Which groups of an order have a normal N and a complement H that moves it.
SPLIT = """(function(order, normal, acting)
  return Filtered([1..NumberSmallGroups(order)], function(i)
    local g;
    g := SmallGroup(order, i);
    return ForAny(NormalSubgroups(g), n -> IdGroup(n) = IdGroup(normal) and
      ForAny(ComplementClassesRepresentatives(g, n), h -> IdGroup(h) = IdGroup(acting) and
        not IsTrivial(CommutatorSubgroup(n, h))));
  end);
end)"""


@pytest.mark.parametrize(
    ("normal", "acting"),
    [
        ("CyclicGroup(8)", "CyclicGroup(2)"),
        ("CyclicGroup(5)", "CyclicGroup(8)"),
        ("CyclicGroup(7)", "CyclicGroup(6)"),
        ("AbelianGroup([2,2])", "CyclicGroup(4)"),
        ("AbelianGroup([4,2])", "CyclicGroup(2)"),
        ("AbelianGroup([3,3])", "CyclicGroup(4)"),
        ("SymmetricGroup(3)", "CyclicGroup(2)"),
    ],
)
def test_the_choices_of_an_action_give_every_split_extension(gap, normal, acting):
    ours = [
        re.sub(r"AbelianGroup\(\[(\d),(\d)\]\)", r"(C\1xC\2)", text)
        .replace("CyclicGroup(", "C")
        .replace("SymmetricGroup(", "S")
        for text in (normal, acting)
    ]
    names = [re.sub(r"^([CS]\d)\)$", r"\1", name) for name in ours]
    count = len(actions(*map(group, names)))
    built = [group(f"{names[0]}:{names[1]}#{k + 1}") for k in range(count)]
    images = [[(g.array[:, s] + 1).tolist() for s in g.generators] for g in built]
    number = "(all -> Set(all, images -> IdGroup(Group(List(images, PermList)))[2]))"
    assert gap.ask(number, images) == gap.ask(SPLIT, built[0].order, normal, acting)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("C8:C2", r"several ways; choose one: C8:C2#1 \(SD16, faithful\), C8:C2#2 \(faithful\)"),
        ("C5:C8", r"C5:C8#1 \(kernel of order 2\), C5:C8#2 \(kernel of order 4\)"),
        ("C5:C4#9", r"C5:C4#1 \(F20, faithful\), C5:C4#2 \(Dic5, kernel of order 2\)"),
        ("C3:C5", "use the direct product C3xC5"),
        ("C3xC3:C4", "add brackets"),
        ("C7:C3:C2", "add brackets"),
        ("S3wrC2xC2", "add brackets"),
        ("C2^4:C2", "20,160 automorphisms"),
        ("C113:C113", "12,769 elements"),
        ("S3wrQ8", "does not act faithfully on a set of points"),
        ("S3wrD2", "does not act faithfully on a set of points"),
        ("S4wrS3", "82,944 elements"),
        ("SL(1,7)", "is cyclic"),
        ("GL(2,6)", "6 is not a prime power; GL"),
        ("GL(99,2)", "more than a billion"),
        ("SD12", "16, 32 or another power of 2"),
        ("G5", r"nearest: S5, D5, C5"),
        ("Dci12", r"nearest: Dic12"),
        ("S3xPLS(2,5)", r"nearest: PSL\(2,5\)"),
        ("(" * 12 + "S3" + ")" * 12, "No group is called"),
        ("(S3", "No group is called"),
    ],
)
def test_what_is_left_open_or_unknown_is_answered(text, sentence):
    with pytest.raises(CosetCircuitsError, match=sentence):
        group(text)


def test_wreath_products_of_groups_without_names():
    top = from_generators(["(1 2)(3 4)", "(1 3)(2 4)"], "mine")  # V4 on four points
    g = wreath_product(group("C2"), top)
    assert (g.name, g.order) == ("C2wrmine", 64)
    two = from_generators(["(1 2)"])
    swap = wreath_product(group("C3"), group("C2"), two.permutations)
    assert swap == group("C3wrC2")


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([*"x:^#()2", "wr", "s3", "Z/2", "C4", "Q8", "V4"]), max_size=7))
def test_any_combination_is_a_group_or_a_sentence(pieces):
    try:
        g = group("".join(pieces))
    except CosetCircuitsError as error:
        assert str(error).endswith(".")
    else:
        assert g.order <= 5040
        assert group(g.name) == g
