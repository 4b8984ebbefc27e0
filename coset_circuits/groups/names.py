"""Names of subgroups: the isomorphism type, and what tells classes of one type apart."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from functools import cache
from math import factorial, gcd, lcm, prod
from typing import NamedTuple

import numpy as np

from coset_circuits.groups.families import from_generators
from coset_circuits.groups.families import group as named_group
from coset_circuits.groups.group import FiniteGroup
from coset_circuits.groups.irreps import letters
from coset_circuits.groups.subgroup_search import (
    conjugate_families,
    greedy_generators,
    orbits,
)

# Of each element its order, the size of its class and how many square roots it has; all three
# are known for a direct product from its factors.
Fingerprint = Counter[tuple[int, int, int]]


# --- names of classes -----------------------------------------------------------------------


def class_names(group: FiniteGroup, representatives: list[np.ndarray]) -> list[str]:
    """A name for each class of subgroups, unique among them; the whole group keeps its own."""
    names = [type_name(group, elements) for elements in representatives]
    if group.permutations is not None:
        names = [
            _permutation_name(group, *pair) for pair in zip(representatives, names, strict=True)
        ]
    rivals = defaultdict(list)
    for number, name in enumerate(names):
        rivals[name].append(number)
    for name, numbers in rivals.items():
        if len(numbers) > 1:
            told_apart = _tell_apart(group, name, [representatives[i] for i in numbers])
            for number, new in zip(numbers, told_apart, strict=True):
                names[number] = new
    return _unique(names)


def _unique(names: list[str]) -> list[str]:
    total, so_far = Counter(names), Counter()
    unique = []
    for name in names:
        so_far[name] += 1
        unique.append(f"{name} {letters(so_far[name])}" if total[name] > 1 else name)
    return unique


def _tell_apart(group: FiniteGroup, name: str, rivals: list[np.ndarray]) -> list[str]:
    generated = [_generated_name(group, name, elements) for elements in rivals]
    if len(rivals[-1]) == group.order:
        return [*generated[:-1], name]
    if group.permutations is None:
        return generated
    if group.element_orders[rivals[0]].max() == len(rivals[0]):
        return [name, *generated[1:]]
    shapes = [_shape(group, name, elements) for elements in rivals]
    return [name] + [
        f"{name} {shape}" if shapes.count(shape) == 1 else long
        for shape, long in zip(shapes[1:], generated[1:], strict=True)
    ]


def _generated_name(group: FiniteGroup, name: str, elements: np.ndarray) -> str:
    generators = greedy_generators(group, elements)
    return f"{name}⟨{', '.join(group.labels[g] for g in generators)}⟩"


def _shape(group: FiniteGroup, name: str, elements: np.ndarray) -> str:
    assert group.permutations is not None
    sizes = [len(orbit) for orbit in orbits(group, elements)]
    if sizes == [group.permutations.shape[1]]:
        return "transitive"
    if name == "S3" and sizes == [3, 2]:
        return "twisted"
    return "on " + "+".join(map(str, sizes))


def _permutation_name(group: FiniteGroup, elements: np.ndarray, name: str) -> str:
    if len(elements) == group.order:
        return name
    sizes = [len(orbit) for orbit in orbits(group, elements)]
    if name == "C2xC2" and sizes == [4]:
        return "V4"
    is_young = prod(map(factorial, sizes)) == len(elements)
    if is_young and len(sizes) > 1 and sizes[0] > 2:
        return "x".join(f"S{size}" for size in sizes)
    return name


# --- isomorphism types ----------------------------------------------------------------------


def type_name(group: FiniteGroup, elements: np.ndarray) -> str:
    """What a subgroup is called by itself: its isomorphism type; the whole group's is its own name.

    Dihedral groups are named by order as in Stander et al., but by sides inside D_n and products
    with a D_n, whose elements are labelled ``r0``, ``r0s``, ….
    """
    while group.origin is not None:
        group, forward = group.origin
        elements = np.sort(np.argsort(forward)[elements])
    if len(elements) == group.order > 1:
        return group.name
    name = isomorphism_type(group, elements)
    is_dihedral = re.search(r"\br0\b", group.labels[group.identity])
    return _by_sides(name) if is_dihedral else name


def _by_sides(name: str) -> str:
    halved = re.sub(r"\bD([0-9]+)", lambda match: f"D{int(match[1]) // 2}", name)
    return re.sub(r"\bS3\b", "D3", halved)


_NAMES: dict[frozenset, str] = {}


def isomorphism_type(group: FiniteGroup, elements: np.ndarray) -> str:
    """The isomorphism type of a subgroup, such as ``"D8xC2"``.

    What a name proves. Abelian and dihedral groups are recognised by theorems. Other types are
    recognised by their fingerprint: how many elements have which order, class size and number of
    square roots. No two groups of one order below 64 share it, and up to order 1007 no other group
    has that of a name given here; orders of more than 4,000 groups were not compared, and there, as
    beyond 1007, no direct product is named, only what theorems determine: dicyclic, Frobenius and
    simple groups. ``N:Q`` stands for some semidirect product, which of them it leaves open;
    ``"G64"`` is any other group of order 64.
    """
    fingerprint = _fingerprint(group, elements)
    key = frozenset(fingerprint.items())
    if key not in _NAMES:
        _NAMES[key] = (
            _abelian_name(fingerprint)
            or _dihedral_name(fingerprint)
            or _catalogue_name(fingerprint)
            or _structure_name(group, elements)
            or f"G{len(elements)}"
        )
    return _NAMES[key]


def _fingerprint(group: FiniteGroup, elements: np.ndarray) -> Fingerprint:
    products = group.array[elements[:, None], elements]
    class_sizes = len(elements) // (products == products.T).sum(axis=1)
    roots = np.bincount(products.diagonal(), minlength=group.order)[elements]
    orders = group.element_orders[elements]
    return Counter(zip(orders.tolist(), class_sizes.tolist(), roots.tolist(), strict=True))


def _abelian_name(fingerprint: Fingerprint) -> str | None:
    if any(size > 1 for _, size, _ in fingerprint):
        return None
    types = _abelian_types(fingerprint.total())
    return next(name for name, known in types if known == fingerprint)


@cache
def _abelian_types(order: int) -> tuple[tuple[str, Fingerprint], ...]:
    return tuple(
        ("x".join(f"C{n}" for n in factors), _cyclic_product(factors))
        for factors in _invariant_factors(order)
    )


def _invariant_factors(order: int, divides: int = 0) -> Iterator[tuple[int, ...]]:
    """Those of the abelian groups of an order, each factor a multiple of the next."""
    if order == 1:
        yield (1,) if divides == 0 else ()
        return
    for first in range(order, 1, -1):
        if order % first == 0 and divides % first == 0:
            for rest in _invariant_factors(order // first, first):
                yield (first, *rest)


def _cyclic_product(factors: tuple[int, ...]) -> Fingerprint:
    result = _TRIVIAL
    for n in factors:
        roots = Counter(2 * i % n for i in range(n))
        result = _product(result, Counter((n // gcd(i, n), 1, roots[i]) for i in range(n)))
    return result


def _product(left: Fingerprint, right: Fingerprint) -> Fingerprint:
    result: Fingerprint = Counter()
    for (n, size, roots), count in left.items():
        for (m, other_size, other_roots), other_count in right.items():
            key = (lcm(n, m), size * other_size, roots * other_roots)
            result[key] += count * other_count
    return result


def _dihedral_name(fingerprint: Fingerprint) -> str | None:
    """A group with a cyclic subgroup of index 2 beside which every element is an involution."""
    order = fingerprint.total()
    rotations = order // 2
    involutions = sum(count for (n, _, _), count in fingerprint.items() if n == 2)
    has_rotation = any(n == rotations for n, _, _ in fingerprint)
    if order % 2 or not has_rotation or involutions != rotations + (rotations % 2 == 0):
        return None
    return "S3" if order == 6 else f"D{order}"


# --- the catalogue --------------------------------------------------------------------------

# Beyond these no direct product is named: GAP's library of small groups is incomplete, or holds
# too many groups of the order to compare them all.
_LARGEST_COMPARED = 1007
_NOT_COMPARED = {256, 384, 512, 576, 640, 768, 864, 896, 960}

# The one product that shares its fingerprint with another group of its order, up to there.
_AMBIGUOUS = {("SD16", "Q8")}

# Atoms that are no family's, as permutations.
_OTHER_ATOMS = {
    "SD16": (16, ["(1 2 3 4 5 6 7 8)", "(2 4)(3 7)(6 8)"]),
    "SL(2,3)": (24, ["(1 6 2 3)(4 7 8 5)", "(1 4 7)(2 8 5)"]),
    "GL(2,3)": (48, ["(1 6 2 3)(4 7 8 5)", "(1 4 7)(2 8 5)", "(3 6)(4 7)(5 8)"]),
    "S3wrS2": (72, ["(1 2 3)", "(1 2)", "(1 4)(2 5)(3 6)"]),
    "(A4xC3):C2": (72, ["(1 2)(3 4)", "(1 2 3)", "(5 6 7)", "(1 2)(5 6)"]),
}


def _catalogue_name(fingerprint: Fingerprint) -> str | None:
    """The name of a non-abelian atom, or of a product of atoms and an abelian group."""
    return next(
        (name for name, known in catalogue(fingerprint.total()) if known == fingerprint), None
    )


def catalogue(order: int) -> Iterator[tuple[str, Fingerprint]]:
    """The non-abelian groups of an order that the catalogue names, and their fingerprints."""
    atoms = _atoms(order)
    for name, size in atoms.items():
        if size == order:
            yield name, _atom(name)
    if order > _LARGEST_COMPARED or order in _NOT_COMPARED:
        return
    for factors, rest in _atom_products(order, tuple(atoms.items())):
        if rest > 1:
            for abelian, known in _abelian_types(rest):
                yield _product_name(*factors, abelian), _product_of(factors, known)
        elif len(factors) > 1 and factors not in _AMBIGUOUS:
            yield _product_name(*factors), _product_of(factors, _TRIVIAL)


def single_names(order: int) -> Iterator[str]:
    """Every abelian type of an order, and every non-abelian atom."""
    yield from (name for name, _ in _abelian_types(order))
    yield from (name for name, size in _atoms(order).items() if size == order)


def product_names(order: int) -> Iterator[str]:
    """Every product of non-abelian atoms and an abelian group that has an order."""
    for factors, rest in _atom_products(order, tuple(_atoms(order).items())):
        if rest > 1:
            for abelian, _ in _abelian_types(rest):
                yield _product_name(*factors, abelian)
        elif len(factors) > 1:
            yield _product_name(*factors)


_TRIVIAL: Fingerprint = Counter({(1, 1, 1): 1})


def _product_name(*factors: str) -> str:
    return "x".join(map(_bracketed, factors))


def _atom_products(
    order: int, atoms: Sequence[tuple[str, int]]
) -> Iterator[tuple[tuple[str, ...], int]]:
    """Choices of atoms, with repetition, whose orders divide an order, and what is left of it."""
    for place, (name, size) in enumerate(atoms):
        if order % size == 0:
            yield (name,), order // size
            for names, rest in _atom_products(order // size, atoms[place:]):
                yield (name, *names), rest


def _product_of(factors: tuple[str, ...], abelian: Fingerprint) -> Fingerprint:
    result = abelian
    for factor in factors:
        result = _product(result, _atom(factor))
    return result


@cache
def _atoms(order: int) -> dict[str, int]:
    """The directly indecomposable non-abelian types whose orders divide an order, largest first."""
    known = {f"S{n}": factorial(n) for n in range(3, 7)}
    known |= {f"A{n}": factorial(n) // 2 for n in range(4, 8)}
    known |= {"PSL(2,7)": 168, "PSL(2,8)": 504, "PSL(2,11)": 660, "PSL(2,13)": 1092}
    known["PSL(2,17)"] = 2448
    known |= {name: size for name, (size, _) in _OTHER_ATOMS.items()}
    divisors = [n for n in range(8, order + 1) if order % n == 0]
    for n in divisors:
        prime, turns = _largest_prime(n), n // _largest_prime(n)
        if 2 < turns < prime and (prime - 1) % turns == 0:
            known[f"F{n}"] = n
        if n % 8 == 0 or (n % 4 == 2 and n > 6):
            known[f"D{n}"] = n
        if n % 4 == 0:
            known[f"Q{n}" if n & (n - 1) == 0 else f"Dic{n // 4}"] = n
    dividing = {name: size for name, size in known.items() if order % size == 0}
    return dict(sorted(dividing.items(), key=lambda atom: (-atom[1], atom[0])))


def _largest_prime(number: int) -> int:
    largest, divisor = 1, 2
    while number > 1:
        if number % divisor:
            divisor += 1
        else:
            largest, number = divisor, number // divisor
    return largest


@cache
def _atom(name: str) -> Fingerprint:
    group = atom_group(name)
    return _fingerprint(group, np.arange(group.order))


def atom_group(name: str) -> FiniteGroup:
    """An atom of the catalogue as a group."""
    if name in _OTHER_ATOMS:
        return from_generators(_OTHER_ATOMS[name][1], name)
    dihedral = re.fullmatch(r"D([0-9]+)", name)
    return named_group(f"D{int(dihedral[1]) // 2}" if dihedral else name)


# --- semidirect products --------------------------------------------------------------------

_LARGEST_STRUCTURE = 63  # up to here the fingerprint determines the group


def _structure_name(group: FiniteGroup, elements: np.ndarray) -> str | None:
    """N:Q for a normal subgroup N and a complement Q, abelian ones where there are any."""
    if len(elements) > _LARGEST_STRUCTURE:
        return None
    inside = FiniteGroup(
        np.searchsorted(elements, group.array[elements[:, None], elements]), "inside"
    )
    families = [f.members for f in conjugate_families(inside)][1:-1]
    splittings = [
        _Splitting(
            isomorphism_type(inside, normal[0]),
            isomorphism_type(inside, complement[0]),
            len(complement) == 1,
            normal.shape[1],
        )
        for normal in families
        for complement in families
        if len(normal) == 1
        and normal.shape[1] * complement.shape[1] == inside.order
        and len(np.intersect1d(normal[0], complement[0])) == 1
    ]
    if not splittings:
        return None
    best = min(splittings, key=_preference)
    marks, sign = (":", "x") if best.is_direct else (":x", ":")
    return f"{_bracketed(best.normal, marks)}{sign}{_bracketed(best.complement, marks)}"


class _Splitting(NamedTuple):
    normal: str
    complement: str
    is_direct: bool
    order: int


def _preference(splitting: _Splitting) -> tuple:
    return (
        not splitting.is_direct,
        not _ABELIAN.fullmatch(splitting.complement),
        not _ABELIAN.fullmatch(splitting.normal),
        -splitting.normal.count("x"),
        -splitting.order,
        splitting,
    )


_ABELIAN = re.compile(r"C[0-9]+(xC[0-9]+)*")


def _bracketed(name: str, marks: str = ":") -> str:
    return f"({name})" if any(mark in name for mark in marks) else name
