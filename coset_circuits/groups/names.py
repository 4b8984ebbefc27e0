"""Names: parse a group's name, name a subgroup's isomorphism type, and make names unique."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from difflib import get_close_matches
from functools import cache, partial
from math import factorial, gcd, lcm, prod
from typing import NamedTuple
from unicodedata import normalize

import numpy as np

from coset_circuits.errors import CosetCircuitsError
from coset_circuits.groups import families
from coset_circuits.groups.actions import actions, kernel_order
from coset_circuits.groups.families import (
    direct_product,
    from_generators,
    semidirect_product,
    wreath_product,
)
from coset_circuits.groups.group import FiniteGroup
from coset_circuits.groups.irreps import letters
from coset_circuits.groups.subgroup_search import (
    conjugate_families,
    greedy_generators,
    orbits,
)

# For each element: its order, the size of its class and its number of square roots. The factors of
# a direct product determine all three.
Fingerprint = Counter[tuple[int, int, int]]


# --- from a text to a group -----------------------------------------------------------------


class _Family(NamedTuple):
    pattern: str
    name: str
    make: Callable[..., FiniteGroup]
    words: str


_FAMILIES = (
    _Family(r"S(\d+)|Sym(\d+)|Sym\((\d+)\)", "S{}", families.symmetric, "S5 (symmetric)"),
    _Family(r"A(\d+)|Alt(\d+)|Alt\((\d+)\)", "A{}", families.alternating, "A5 (alternating)"),
    _Family(
        r"[CZ](\d+)|Z/(\d+)Z?|(\d+)(?=\^)",
        "C{}",
        families.cyclic,
        "C113 (cyclic; also Z113 and Z/113)",
    ),
    _Family(r"D(?:ih)?(\d+)", "D{}", families.dihedral, "D59 (dihedral, of order 118)"),
    _Family(
        r"[VK]4",
        "V4",
        lambda: direct_product(families.cyclic(2), families.cyclic(2), name="V4"),
        "V4",
    ),
    _Family(r"Q(\d+)", "Q{}", families.quaternion, "Q8 (quaternion)"),
    _Family(r"[SQ]D(\d+)", "SD{}", families.semidihedral, "SD16 (semidihedral)"),
    _Family(r"Dic(\d+)", "Dic{}", families.dicyclic, "Dic3 (dicyclic, of order 12)"),
    _Family(r"F(\d+)", "F{}", families.frobenius, "F20 (Frobenius)"),
    _Family(r"AGL\(1,(\d+)\)", "AGL(1,{})", families.affine, "AGL(1,7) (affine)"),
    _Family(
        r"SL\((\d+),(\d+)\)",
        "SL({},{})",
        partial(families.linear, special=True),
        "SL(2,3)",
    ),
    _Family(r"GL\((\d+),(\d+)\)", "GL({},{})", families.linear, "GL(2,3)"),
    _Family(r"PSL\(2,(\d+)\)", "PSL(2,{})", families.psl2, "PSL(2,7)"),
)


def group(text: str | FiniteGroup) -> FiniteGroup:
    """The group with a given name: ``"S5"``, ``"Z/5"``, ``"SL(2,3)"``, ``"C2^4"``, ``"S3wrC2"``.

    A group is returned unchanged.

    Join the factors of a direct product with ``x``, ``×`` or ``*``; ``^`` repeats a factor, and
    ``"2^3"`` is C2^3.

    ``N:H`` is the semidirect product with a faithful action or, if none is faithful, a non-trivial
    one. If several such actions exist up to automorphisms of N and H, choose one: ``N:H#2`` takes
    the second of :func:`~coset_circuits.groups.actions.actions`.

    ``wr`` is the wreath product with a group of permutations; C_n and D_n permute the corners of a
    polygon.

    Case, blanks, subscripts and underscores are ignored. All spellings of a name return the same
    object, so its irreps and subgroups are computed only once.

    Raises:
        CosetCircuitsError: the name is not understood (the message suggests the nearest names and
            lists the accepted forms), the action is ambiguous, or the group is too large.
    """
    if isinstance(text, FiniteGroup):
        return text
    if not isinstance(text, str):
        raise CosetCircuitsError(
            f"The group is a {type(text).__name__}; give a name such as S4, or a group: "
            "cc.FiniteGroup.from_table(table)."
        )
    return _by_name(text)


@cache
def _by_name(text: str) -> FiniteGroup:
    parsed = _Reader(text).whole()
    return parsed.build() if parsed.name == text else _by_name(parsed.name)


def is_named(group_: FiniteGroup) -> bool:
    """Whether :func:`group` rebuilds this group, numbering included, from its name alone."""
    try:
        return group(group_.name) == group_
    except CosetCircuitsError:
        return False


def factors(text: str) -> list[str]:
    """The names of the direct factors in a name; the name itself if it is not a product."""
    return _Reader(text).whole().factors


class _Parsed(NamedTuple):
    """The standard spelling of a name, the names of its direct factors, and the group's builder."""

    name: str
    factors: list[str]
    build: Callable[[], FiniteGroup]


def _product_parsed(name: str, factors: list[str]) -> _Parsed:
    return _Parsed(name, factors, lambda: direct_product(*map(group, factors), name=name))


class _Reader:
    """Reads a name from left to right."""

    def __init__(self, text: str) -> None:
        raised = re.sub("[⁰¹²³⁴⁵⁶⁷⁸⁹]+", r"^\g<0>", text)
        plain = re.sub(r"\s", "", normalize("NFKC", raised))
        plain = re.sub(r"_\{?([0-9]+)\}?", r"\1", plain)
        plain = re.sub(r"(?i)L([0-9])\(([0-9]+)\)", r"L(\1,\2)", plain)  # PSL2(7)
        self.text = text
        self.rest = self.word = re.sub("[×*]", "x", plain).replace("⋊", ":").replace("≀", "wr")

    def whole(self) -> _Parsed:
        parsed = self._expression(depth=0)
        if self.rest:
            raise self._not_understood()
        return parsed

    def _take(self, pattern: str) -> re.Match[str] | None:
        match = re.match(pattern, self.rest, re.IGNORECASE)
        if match:
            self.rest = self.rest[match.end() :]
        return match

    def _expression(self, depth: int) -> _Parsed:
        parts, sign = [self._power(depth)], ""
        while match := self._take("x|:|wr"):
            if sign and (sign, match[0].lower()) != ("x", "x"):
                raise CosetCircuitsError(
                    f"{self.text!r} can be read in two ways; add brackets, as in (C3xC3):C4."
                )
            sign = match[0].lower()
            parts.append(self._power(depth))
        names = [_bracketed(part.name, _SIGNS[sign]) for part in parts]
        if sign == "x":
            return _product_parsed("x".join(names), [f for part in parts for f in part.factors])
        if sign == ":":
            chosen = self._take("#([0-9]{1,4})")
            number = int(chosen[1]) if chosen else 0
            name = ":".join(names) + (f"#{number}" if chosen else "")
            normal, acting = (part.name for part in parts)
            return _Parsed(name, [name], lambda: _semidirect(normal, acting, number, name))
        if sign == "wr":
            name = "wr".join(names)
            base, top = (part.name for part in parts)
            return _Parsed(name, [name], lambda: _wreath(base, top, name))
        return parts[0]

    def _power(self, depth: int) -> _Parsed:
        self.word = self.rest
        if depth < 9 and self._take(r"\("):
            base = self._expression(depth + 1)
            if not self._take(r"\)"):
                raise self._not_understood()
        else:
            base = self._family()
        exponent = self._take(r"\^([0-9]+)")
        if not exponent:
            return base
        # Two digits at most: with leading zeros a longer one could stand for billions of factors.
        if len(exponent[1]) > 2 or not 1 <= int(exponent[1]) <= 32:
            raise self._not_understood()
        count = int(exponent[1])
        name = f"{_bracketed(base.name, _SIGNS['^'])}^{count}" if count > 1 else base.name
        return _product_parsed(name, base.factors * count) if count > 1 else base

    def _family(self) -> _Parsed:
        matches = [(re.match(f.pattern, self.rest, re.IGNORECASE), f) for f in _FAMILIES]
        match, family = max(matches, key=lambda pair: pair[0].end() if pair[0] else -1)
        numbers = [n for n in match.groups() if n] if match else []
        if not match or any(len(n) > 5 or not int(n) for n in numbers):
            raise self._not_understood()
        self.rest = self.rest[match.end() :]
        values = [int(n) for n in numbers]
        name = family.name.format(*values)
        return _Parsed(name, [name], lambda: family.make(*values))

    def _not_understood(self) -> CosetCircuitsError:
        word = re.match(r"[^\W\d]+\([^()]*\)|[^x:^()#]*", self.word)
        near = _nearest(word[0]) if word else []
        hint = f" (nearest: {', '.join(near)})" if near else ""
        return CosetCircuitsError(
            f"No group is called {self.text!r}{hint}; understood are "
            + ", ".join(family.words for family in _FAMILIES)
            + ", direct products of these such as S3xS3 or C2^4, semidirect ones such as C5:C4 and "
            f"wreath products such as S3wrC2, of up to {families.LARGEST_ORDER:,} elements. Any "
            "other group can be given by its Cayley table with FiniteGroup.from_table or by "
            "permutations with from_generators."
        )


# Names with one of these characters need brackets next to an operator.
_SIGNS = {"": "", "x": ":w", ":": "x:w", "wr": "x:w", "^": "x:w^"}


def _nearest(word: str) -> list[str]:
    """Up to three names of groups that look like a word, with the word's own numbers first."""
    numbers = [n for n in re.findall("[0-9]+", word) if len(n) <= 5 and int(n)]
    last = {f.name: numbers[len(numbers) - f.name.count("{}") :] for f in _FAMILIES}
    names = [name.format(*n) for name, n in last.items() if len(n) == name.count("{}")]
    names += [name for f in _FAMILIES for name in re.split(r", | \(", f.words)[:1]]
    spelt = {name.lower(): name for name in reversed(names)}
    close = get_close_matches(word.lower(), spelt, n=len(spelt), cutoff=0.4)
    return [spelt[name] for name in close if _is_understood(spelt[name])][:3]


def _is_understood(name: str) -> bool:
    try:
        return group(name).order > 0
    except CosetCircuitsError:
        return False


def _semidirect(normal: str, acting: str, number: int, name: str) -> FiniteGroup:
    left, right = group(normal), group(acting)
    families.check_order(name, left.order * right.order)
    every = actions(left, right)
    faithful = [action for action in every if kernel_order(action) == 1]
    meant = every[number - 1 : number] if number else faithful or every
    if len(meant) == 1:
        return semidirect_product(left, right, meant[0], name)
    if not every:
        raise CosetCircuitsError(
            f"{acting} acts on {normal} only trivially; use the direct product "
            f"{normal}x{acting} instead."
        )
    plain = name.partition("#")[0]
    choices = [
        f"{plain}#{k} ({_described(left, right, action)})" for k, action in enumerate(every, 1)
    ]
    more = f" and {len(choices) - 9} more" if len(choices) > 9 else ""
    raise CosetCircuitsError(
        f"{acting} acts on {normal} in several ways; choose one: {', '.join(choices[:9])}{more}."
    )


def _described(normal: FiniteGroup, acting: FiniteGroup, action: np.ndarray) -> str:
    product = semidirect_product(normal, acting, action)
    kind = _by_sides(isomorphism_type(product, np.arange(product.order)))
    kernel = kernel_order(action)
    known = [] if kind.startswith("G") or ":" in kind else [kind]
    return ", ".join([*known, "faithful" if kernel == 1 else f"kernel of order {kernel}"])


def _wreath(base: str, top: str, name: str) -> FiniteGroup:
    acting, action = group(top), None
    if re.fullmatch("C[0-9]+", top):
        action = acting.array
    elif re.fullmatch("D[0-9]+", top):
        sides = acting.order // 2
        action = acting.array[:, :sides] % sides  # a corner is a coset of the reflection r0s
    return wreath_product(group(base), acting, action, name)


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
    """The isomorphism type of a subgroup, as a name; for the whole group, the group's name.

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
    return re.sub(r"\bS3\b", "D3", _halved(name))


def _halved(name: str) -> str:
    # A factor begins with no letter before it, or after x or wr.
    return re.sub(r"(?<![A-Za-qs-wyz])D([0-9]+)", lambda match: f"D{int(match[1]) // 2}", name)


_NAMES: dict[frozenset, str] = {}


def isomorphism_type(group: FiniteGroup, elements: np.ndarray) -> str:
    """The isomorphism type of a subgroup, such as ``"D8xC2"``.

    The name is never a guess. Abelian and dihedral groups are recognised by theorems. Other types
    are recognised by their fingerprint: how many elements have each order, class size and number
    of square roots. Groups of one order below 64 all have different fingerprints. Up to order
    1007, no other group shares the fingerprint of a type named here. Orders with more than 4,000
    groups were not compared. At those orders and beyond 1007 no direct product is named, only
    types that theorems determine: dicyclic, Frobenius and simple groups.

    ``N:Q`` means some semidirect product, without saying which; ``"G64"`` is any other group of
    order 64.
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
    """Invariant factors of every abelian group of an order; each is a multiple of the next."""
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
    """The name, if some cyclic subgroup of index 2 has only involutions outside it."""
    order = fingerprint.total()
    rotations = order // 2
    involutions = sum(count for (n, _, _), count in fingerprint.items() if n == 2)
    has_rotation = any(n == rotations for n, _, _ in fingerprint)
    if order % 2 or not has_rotation or involutions != rotations + (rotations % 2 == 0):
        return None
    return "S3" if order == 6 else f"D{order}"


# --- the catalogue --------------------------------------------------------------------------

# No direct product is named at orders beyond this or in this set, because GAP's library of small
# groups is incomplete there or has too many groups of the order to compare them all.
_LARGEST_COMPARED = 1007
_NOT_COMPARED = {256, 384, 512, 576, 640, 768, 864, 896, 960}

# Up to that order, the only product that shares its fingerprint with another group of its order.
_AMBIGUOUS = {("SD16", "Q8")}

# Atoms outside the families, as permutations.
_OTHER_ATOMS = {
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
    """Every product of non-abelian atoms and an abelian group, of a given order."""
    for factors, rest in _atom_products(order, tuple(_atoms(order).items())):
        if rest > 1:
            for abelian, _ in _abelian_types(rest):
                yield _product_name(*factors, abelian)
        elif len(factors) > 1:
            yield _product_name(*factors)


_TRIVIAL: Fingerprint = Counter({(1, 1, 1): 1})


def _product_name(*factors: str) -> str:
    return "x".join(_bracketed(factor, _SIGNS["x"]) for factor in factors)


def _atom_products(
    order: int, atoms: Sequence[tuple[str, int]]
) -> Iterator[tuple[tuple[str, ...], int]]:
    """Multisets of atoms whose orders' product divides an order, each with the quotient."""
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
    known |= {"PSL(2,17)": 2448, "SD16": 16, "SL(2,3)": 24, "GL(2,3)": 48, "S3wrS2": 72}
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
    group = group_of_type(name)
    return _fingerprint(group, np.arange(group.order))


def group_of_type(kind: str) -> FiniteGroup:
    """A group of a given isomorphism type, named as :func:`isomorphism_type` names it.

    Dihedral types are named by order (``D8``), although dihedral groups are named by sides
    (``D4``).

    Raises:
        CosetCircuitsError: the library does not build one.
    """
    if kind in _OTHER_ATOMS:
        return from_generators(_OTHER_ATOMS[kind][1], kind)
    return group(_halved(kind))


# --- semidirect products --------------------------------------------------------------------

_LARGEST_STRUCTURE = 63  # up to here the fingerprint determines the group


def _structure_name(group: FiniteGroup, elements: np.ndarray) -> str | None:
    """N:Q for a normal subgroup N and a complement Q; abelian ones are preferred."""
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
