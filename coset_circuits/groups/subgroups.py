"""All subgroups of a finite group up to conjugacy, their cosets and names."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from functools import cache, cached_property
from itertools import permutations
from math import factorial, gcd, lcm, prod

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from coset_circuits.errors import CosetCircuitsError
from coset_circuits.groups.families import (
    alternating,
    dihedral,
    from_generators,
    symmetric,
)
from coset_circuits.groups.group import FiniteGroup
from coset_circuits.groups.irreps import letters


class Subgroup:
    """A subgroup H of a group. Those of ``group.subgroups`` know their conjugates.

    Two are equal when their groups' tables and their elements are.

    Attributes:
        group: the group it lies in.
        elements: its elements in rising order.
        name: the name of its conjugacy class, such as ``"S3xS2"``.
    """

    def __init__(self, group: FiniteGroup, elements: Iterable[int], name: str | None = None):
        self.group = group
        self.elements = tuple(sorted({int(h) for h in elements}))
        inside = all(0 <= h < group.order for h in self.elements)
        if not inside or not _is_closed(group, self.elements):
            raise CosetCircuitsError(
                f"{self.elements} is no subgroup of {group.name}; "
                "give the elements of a closed set, or use Subgroup.generated."
            )
        self.name = name if name is not None else _type_name(group, np.array(self.elements))
        self._class: SubgroupClass | None = None
        self._conjugator = group.identity

    @classmethod
    def generated(cls, group: FiniteGroup, elements: Iterable[int]) -> Subgroup:
        """The smallest subgroup that contains some elements."""
        return _known_or_new(group, group.closure(list(elements)))

    @classmethod
    def _trusted(cls, group: FiniteGroup, elements: np.ndarray, name: str) -> Subgroup:
        subgroup = cls.__new__(cls)
        subgroup.group, subgroup.name = group, name
        subgroup.elements = tuple(elements.tolist())
        subgroup._class, subgroup._conjugator = None, group.identity
        return subgroup

    @property
    def order(self) -> int:
        """The number of elements."""
        return len(self.elements)

    @property
    def index(self) -> int:
        """The number of cosets, [G:H]."""
        return self.group.order // self.order

    @property
    def is_trivial(self) -> bool:
        return self.order == 1

    @property
    def is_whole(self) -> bool:
        return self.order == self.group.order

    @property
    def is_normal(self) -> bool:
        return self.normaliser.is_whole

    @cached_property
    def array(self) -> np.ndarray:
        """The elements (NumPy)."""
        return np.array(self.elements, dtype=np.int64)

    @cached_property
    def generators(self) -> tuple[int, ...]:
        """A small generating set, found greedily from the elements of highest order."""
        return _greedy_generators(self.group, self.elements)

    @cached_property
    def right_cosets(self) -> Int[Tensor, " order"]:
        """The label of Hg for each g, numbered by first appearance."""
        return _numbered(self.group.array[self.array].min(axis=0))

    @cached_property
    def left_cosets(self) -> Int[Tensor, " order"]:
        """The label of gH for each g, numbered by first appearance."""
        return _numbered(self.group.array[:, self.array].min(axis=1))

    def conjugate(self, x: int) -> Subgroup:
        """x⁻¹Hx, the very object of ``group.subgroups`` where H is one of them."""
        if self._class is not None:
            position = self._class.positions[self.group.array[self._conjugator, x]]
            return self._class.conjugates[position]
        table = self.group.array
        moved = table[table[self.group.inverse_array[x], self.array], x]
        return _known_or_new(self.group, np.sort(moved))

    def contains(self, other: Subgroup) -> bool:
        """Whether every element of the other subgroup is one of H."""
        return set(other.elements) <= set(self.elements)

    @cached_property
    def normaliser(self) -> Subgroup:
        """The largest subgroup in which H is normal."""
        return _known_or_new(self.group, np.flatnonzero(_normalising(self.group, self.array)))

    @cached_property
    def core(self) -> Subgroup:
        """The intersection of H's conjugates: the kernel of the action on its cosets."""
        inside = np.isin(_conjugates(self.group, self.array), self.array).all(axis=0)
        return _known_or_new(self.group, self.array[inside])

    def as_group(self) -> FiniteGroup:
        """The subgroup by itself: its element i is our ``elements[i]``."""
        place = np.full(self.group.order, -1)
        place[self.array] = np.arange(self.order)
        table = place[self.group.array[np.ix_(self.array, self.array)]]
        images = self.group.permutations
        labels = [self.group.labels[h] for h in self.elements]
        return FiniteGroup(table, self.name, labels, None if images is None else images[self.array])

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Subgroup)
            and self.elements == other.elements
            and (self.group is other.group or self.group == other.group)
        )

    def __hash__(self) -> int:
        return hash(self.elements)

    def __repr__(self) -> str:
        made_by = ", ".join(self.group.labels[g] for g in self.generators) or "e"
        return f"Subgroup({self.name} of {self.group.name}: order {self.order}, ⟨{made_by}⟩)"


class SubgroupClass:
    """A conjugacy class of subgroups.

    Attributes:
        name: unique among the classes of the group.
        conjugates: the subgroups, the representative first.
        positions: for each x, where x⁻¹Hx stands among the conjugates, H the representative.
    """

    def __init__(self, name: str, conjugates: tuple[Subgroup, ...], positions: np.ndarray) -> None:
        self.name = name
        self.conjugates = conjugates
        self.positions = positions
        for place, subgroup in enumerate(conjugates):
            subgroup._class = self
            subgroup._conjugator = int(np.argmax(positions == place))

    @property
    def representative(self) -> Subgroup:
        """The first conjugate; of permutations, the one that moves the first points."""
        return self.conjugates[0]

    @property
    def order(self) -> int:
        """The order of each of the subgroups."""
        return self.representative.order

    @property
    def index(self) -> int:
        """The number of cosets of each of the subgroups."""
        return self.representative.index

    @property
    def count(self) -> int:
        """The number of conjugates."""
        return len(self.conjugates)

    def __repr__(self) -> str:
        return f"SubgroupClass({self.name}: order {self.order}, {self.count} conjugates)"


def subgroup_classes(group: FiniteGroup) -> tuple[SubgroupClass, ...]:
    """Every subgroup up to conjugacy, by rising order (cached as ``group.subgroup_classes``).

    Each class is extended by every cyclic subgroup of prime-power order until nothing new
    appears, which reaches perfect subgroups too.
    """
    families = [_conjugate_family(group, elements) for elements in _representatives(group)]
    families.sort(key=lambda family: (family[0].shape[1], _place(group, family[0][0])))
    names = _class_names(group, [members[0] for members, _ in families])
    return tuple(
        SubgroupClass(name, tuple(Subgroup._trusted(group, m, name) for m in members), positions)
        for name, (members, positions) in zip(names, families, strict=True)
    )


def double_cosets(left: Subgroup, right: Subgroup) -> Int[Tensor, " order"]:
    """The label of HgK for each g, numbered by first appearance; H is left and K right."""
    if left.group is not right.group and left.group != right.group:
        raise CosetCircuitsError(
            f"The subgroups lie in different groups, {left.group.name} and {right.group.name}; "
            "give two subgroups of one group."
        )
    right_of = left.right_cosets.numpy()
    return _numbered(right_of[left.group.array[:, right.array]].min(axis=1))


def _numbered(keys: np.ndarray) -> Int[Tensor, " order"]:
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    return torch.from_numpy(np.argsort(np.argsort(first))[inverse.reshape(-1)])


def _greedy_generators(group: FiniteGroup, elements: Iterable[int]) -> tuple[int, ...]:
    ranked = sorted(elements, key=lambda h: (-group.element_orders[h], h))
    generators: list[int] = []
    spanned = {group.identity}
    for h in ranked:
        if h not in spanned:
            generators.append(h)
            spanned = set(group.closure(generators).tolist())
        if len(spanned) >= len(ranked):
            break
    return tuple(generators)


def _is_closed(group: FiniteGroup, elements: tuple[int, ...]) -> bool:
    generators = _greedy_generators(group, elements)
    return tuple(group.closure(generators).tolist()) == elements


def _known_or_new(group: FiniteGroup, elements: np.ndarray) -> Subgroup:
    # Computing every subgroup only to look one up would cost minutes on a large group.
    wanted = tuple(elements.tolist())
    for known in vars(group).get("subgroup_classes", ()):
        if known.order == len(wanted):
            for subgroup in known.conjugates:
                if subgroup.elements == wanted:
                    return subgroup
    return Subgroup._trusted(group, elements, _type_name(group, elements))


# --- the search for all subgroups -----------------------------------------------------------


def _conjugates(group: FiniteGroup, elements: np.ndarray) -> np.ndarray:
    """x⁻¹hx, one row an x and one column an h."""
    table = group.array
    return table[table[np.ix_(group.inverse_array, elements)], np.arange(group.order)[:, None]]


def _normalising(group: FiniteGroup, elements: np.ndarray) -> np.ndarray:
    member = np.zeros(group.order, dtype=bool)
    member[elements] = True
    generators = np.array(_greedy_generators(group, elements.tolist()), dtype=np.int64)
    return np.all(member[_conjugates(group, generators)], axis=1)


def _representatives(group: FiniteGroup) -> list[np.ndarray]:
    seeds, seed_of = _prime_power_cyclic(group)
    found = [np.array([group.identity])]
    seen = {_key(group, found[0])}
    for elements in found:  # grows while it is walked
        generators = list(_greedy_generators(group, elements.tolist()))
        done = np.isin(seeds, elements)
        normaliser = np.flatnonzero(_normalising(group, elements))
        for number, seed in enumerate(seeds):
            if done[number]:
                continue
            # Seeds that the normaliser exchanges give conjugate extensions.
            table = group.array
            orbit = table[table[group.inverse_array[normaliser], seed], normaliser]
            done[seed_of[orbit]] = True
            larger = group.closure([*generators, int(seed)])
            if _key(group, larger) not in seen:
                found.append(larger)
                members, _ = _conjugate_family(group, larger)
                seen.update(_key(group, m) for m in members)
    return found


def _key(group: FiniteGroup, elements: np.ndarray) -> bytes:
    member = np.zeros(group.order, dtype=bool)
    member[elements] = True
    return np.packbits(member).tobytes()


def _prime_power_cyclic(group: FiniteGroup) -> tuple[np.ndarray, np.ndarray]:
    """One generator a cyclic subgroup of prime-power order, and each element's among them."""
    seeds: list[int] = []
    seed_of = np.full(group.order, -1)
    for g in range(group.order):
        order = int(group.element_orders[g])
        if seed_of[g] >= 0 or not _is_prime_power(order):
            continue
        power = g
        for exponent in range(1, order):
            if gcd(exponent, order) == 1:
                seed_of[power] = len(seeds)
            power = int(group.array[power, g])
        seeds.append(g)
    return np.array(seeds, dtype=np.int64), seed_of


def _is_prime_power(number: int) -> bool:
    prime = next((p for p in range(2, number + 1) if number % p == 0), None)
    if prime is None:
        return False
    while number % prime == 0:
        number //= prime
    return number == 1


def _conjugate_family(group: FiniteGroup, elements: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The conjugates, the representative first, and for each x the row of its x⁻¹Hx."""
    normaliser = np.flatnonzero(_normalising(group, elements))
    cosets = _numbered(group.array[normaliser].min(axis=0)).numpy()
    movers = np.unique(cosets, return_index=True)[1]
    table = group.array
    moved = table[table[np.ix_(group.inverse_array[movers], elements)], movers[:, None]]
    members = np.sort(moved, axis=1)
    ranking = sorted(range(len(members)), key=lambda i: _place(group, members[i]))
    positions = np.argsort(ranking)[cosets]
    # Positions are to be read from the first conjugate: x⁻¹Kx with K = y⁻¹Hy is (yx)⁻¹H(yx).
    mover = movers[ranking[0]]
    return members[ranking], positions[table[mover]]


def _place(group: FiniteGroup, elements: np.ndarray) -> tuple:
    """What subgroups of one order are sorted by: permutations of the first points come first."""
    orbits = _orbits(group, elements)
    moved = tuple(sorted(point for orbit in orbits for point in orbit))
    return moved, orbits, tuple(elements.tolist())


def _orbits(group: FiniteGroup, elements: np.ndarray) -> tuple[tuple[int, ...], ...]:
    """The orbits of two or more points, the largest first; none without permutations."""
    if group.permutations is None:
        return ()
    orbits = defaultdict(list)
    for point, least in enumerate(group.permutations[elements].min(axis=0).tolist()):
        orbits[least].append(point)
    return tuple(sorted((tuple(o) for o in orbits.values() if len(o) > 1), key=_by_size))


def _by_size(orbit: tuple[int, ...]) -> tuple:
    return -len(orbit), orbit


# --- names ----------------------------------------------------------------------------------

# Of each element its order, the size of its class and how many square roots it has; all three
# are known for a direct product from its factors.
_Fingerprint = Counter[tuple[int, int, int]]


def _class_names(group: FiniteGroup, representatives: list[np.ndarray]) -> list[str]:
    names = [_type_name(group, elements) for elements in representatives]
    if group.permutations is not None:
        names = [
            _permutation_name(group, *pair) for pair in zip(representatives, names, strict=True)
        ]
    clashes = defaultdict(list)
    for number, name in enumerate(names):
        clashes[name].append(number)
    for name, numbers in clashes.items():
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
    generators = _greedy_generators(group, elements.tolist())
    return f"{name}⟨{', '.join(group.labels[g] for g in generators)}⟩"


def _shape(group: FiniteGroup, name: str, elements: np.ndarray) -> str:
    assert group.permutations is not None
    sizes = [len(orbit) for orbit in _orbits(group, elements)]
    if sizes == [group.permutations.shape[1]]:
        return "transitive"
    if name == "S3" and sizes == [3, 2]:
        return "twisted"
    return "on " + "+".join(map(str, sizes))


def _permutation_name(group: FiniteGroup, elements: np.ndarray, name: str) -> str:
    sizes = [len(orbit) for orbit in _orbits(group, elements)]
    if name == "C2xC2" and sizes == [4]:
        return "V4"
    is_young = prod(map(factorial, sizes)) == len(elements)
    if is_young and len(sizes) > 1 and sizes[0] > 2:
        return "x".join(f"S{size}" for size in sizes)
    return name


def _type_name(group: FiniteGroup, elements: np.ndarray) -> str:
    """The isomorphism type, such as ``"D8xC2"``, or ``"G36"`` where it is none of the known."""
    family = re.fullmatch(r"([SACD])[0-9]+", group.name)
    order = len(elements)
    if family and order == group.order and order > 1:
        return group.name
    fingerprint = _fingerprint(group, elements)
    for factors in _abelian_types(order):
        if _cyclic_product(factors) == fingerprint:
            return "x".join(f"C{n}" for n in factors)
    if _is_dihedral(fingerprint):
        # Orders name dihedral groups as in Stander et al., but inside D_n its own convention does.
        if family and family[1] == "D":
            return f"D{order // 2}"
        return "S3" if order == 6 else f"D{order}"
    for name, known in _known_types(order):
        if known == fingerprint:
            return name
    return f"G{order}"


def _fingerprint(group: FiniteGroup, elements: np.ndarray) -> _Fingerprint:
    products = group.array[np.ix_(elements, elements)]
    class_sizes = len(elements) // (products == products.T).sum(axis=1)
    roots = np.bincount(products.diagonal(), minlength=group.order)[elements]
    orders = group.element_orders[elements]
    return Counter(zip(orders.tolist(), class_sizes.tolist(), roots.tolist(), strict=True))


def _is_dihedral(fingerprint: _Fingerprint) -> bool:
    order = fingerprint.total()
    rotations = order // 2
    involutions = sum(count for (n, _, _), count in fingerprint.items() if n == 2)
    has_rotation = any(n == rotations for n, _, _ in fingerprint)
    return order % 2 == 0 and has_rotation and involutions == rotations + (rotations % 2 == 0)


def _abelian_types(order: int, divides: int = 0) -> Iterator[tuple[int, ...]]:
    """The invariant factors of the abelian groups of an order, each a multiple of the next."""
    if order == 1:
        yield (1,) if divides == 0 else ()
        return
    for first in range(order, 1, -1):
        if order % first == 0 and divides % first == 0:
            for rest in _abelian_types(order // first, first):
                yield (first, *rest)


@cache
def _cyclic_product(factors: tuple[int, ...]) -> _Fingerprint:
    result: _Fingerprint = Counter({(1, 1, 1): 1})
    for n in factors:
        roots = Counter(2 * i % n for i in range(n))
        result = _product(result, Counter((n // gcd(i, n), 1, roots[i]) for i in range(n)))
    return result


def _product(left: _Fingerprint, right: _Fingerprint) -> _Fingerprint:
    result: _Fingerprint = Counter()
    for (n, size, roots), count in left.items():
        for (m, other_size, other_roots), other_count in right.items():
            key = (lcm(n, m), size * other_size, roots * other_roots)
            result[key] += count * other_count
    return result


@cache
def _known_types(order: int) -> tuple[tuple[str, _Fingerprint], ...]:
    """Names and fingerprints of the non-abelian groups of an order that have a name here."""
    atoms = [name for name, n in _ATOMS.items() if order % n == 0]
    known = [(name, _atom(name)) for name in atoms if _ATOMS[name] == order]
    for position, name in enumerate(atoms):
        rest = order // _ATOMS[name]
        for other in atoms[position:]:
            if _ATOMS[other] == rest:
                known.append((f"{name}x{other}", _product(_atom(name), _atom(other))))
        for factors in _abelian_types(rest) if rest > 1 else ():
            abelian = "x".join(f"C{n}" for n in factors)
            known.append((f"{name}x{abelian}", _product(_atom(name), _cyclic_product(factors))))
    return tuple(known)


_ATOMS = {
    "S6": 720,
    "A6": 360,
    "S5": 120,
    "S3wrS2": 72,
    "A5": 60,
    "F42": 42,
    "S4": 24,
    "F20": 20,
    "A4": 12,
    "D10": 10,
    "D8": 8,
    "Q8": 8,
    "S3": 6,
}


@cache
def _atom(name: str) -> _Fingerprint:
    group = _atom_group(name)
    return _fingerprint(group, np.arange(group.order))


def _atom_group(name: str) -> FiniteGroup:
    if name == "Q8":
        return FiniteGroup(_quaternion_table(), name)
    if name == "S3wrS2":
        halves = [{0, 1, 2}, {3, 4, 5}]
        wreath = [p for p in permutations(range(6)) if {p[0], p[1], p[2]} in halves]
        return from_generators(wreath, name)
    family, number = name[0], int(name[1:])
    if family == "F":
        prime = {20: 5, 42: 7}[number]
        points = range(prime)
        maps = [tuple((a * x + b) % prime for x in points) for a in points[1:] for b in points]
        return from_generators(maps, name)
    return {"S": symmetric, "A": alternating, "D": lambda n: dihedral(n // 2)}[family](number)


def _quaternion_table() -> np.ndarray:
    """Q8 as (k, s): i^k j^s is element 4s + k, with ji = i⁻¹j and j² = i²."""
    table = np.empty((8, 8), dtype=np.int64)
    for a in range(8):
        for b in range(8):
            power = a % 4 + (-1) ** (a // 4) * (b % 4) + 2 * (a // 4) * (b // 4)
            table[a, b] = power % 4 + 4 * ((a // 4 + b // 4) % 2)
    return table
