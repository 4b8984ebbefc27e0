"""Groups by name, ``group("S5")``, by family, from generators and as products."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import permutations
from math import factorial, gcd, isqrt, prod

import numpy as np

from coset_circuits.errors import CosetCircuitsError
from coset_circuits.groups import closed_forms
from coset_circuits.groups.group import FiniteGroup
from coset_circuits.groups.irreps import Irrep
from coset_circuits.groups.permutations import as_images, cycle_notation, parity

# S7's order. A Cayley table takes 8·order² bytes: 203 MB at this order, 13 GB at S8's.
LARGEST_ORDER = 5040


# --- families -------------------------------------------------------------------------------


def symmetric(degree: int) -> FiniteGroup:
    """S_n: all permutations of n points in lexicographic one-line order, ``(σ·τ)(i) = σ(τ(i))``."""
    _check_order(f"S{degree}", _factorial(degree))
    images = as_images(list(permutations(range(degree))))
    return _from_images(images, f"S{degree}", closed_forms.symmetric_irreps)


def alternating(degree: int) -> FiniteGroup:
    """A_n: the even permutations of n points in lexicographic one-line order."""
    _check_order(f"A{degree}", (_factorial(degree) + 1) // 2)
    even = [p for p in permutations(range(degree)) if parity(p) == 0]
    return _from_images(as_images(even), f"A{degree}", closed_forms.alternating_irreps)


def cyclic(order: int) -> FiniteGroup:
    """C_n: addition modulo n."""
    _check_order(f"C{order}", order)
    grid = np.arange(order)
    table = (grid[:, None] + grid) % order
    return FiniteGroup(table, f"C{order}", irreps=closed_forms.cyclic_irreps)


def dihedral(sides: int) -> FiniteGroup:
    """D_n, the 2n symmetries of an n-gon: rotation r^i is element i, reflection r^i s is n + i.

    In coordinates (i, s)·(j, t) = (i + (−1)^s j, s + t).
    """
    _check_order(f"D{sides}", 2 * sides)
    rotation = np.tile(np.arange(sides), 2)
    flip = np.repeat([0, 1], sides)
    sign = 1 - 2 * flip
    table = (rotation[:, None] + sign[:, None] * rotation) % sides
    table += sides * (flip[:, None] ^ flip)
    labels = [f"r{i}" for i in range(sides)] + [f"r{i}s" for i in range(sides)]
    return FiniteGroup(table, f"D{sides}", labels, irreps=closed_forms.dihedral_irreps)


def dicyclic(n: int) -> FiniteGroup:
    """Dic_n of order 4n, ⟨a, x | a²ⁿ = 1, x² = aⁿ, xax⁻¹ = a⁻¹⟩: aⁱ is element i, aⁱx is 2n + i.

    In coordinates (i, s)·(j, t) = (i + (−1)^s j + n·st, s + t).
    """
    return _dicyclic(n, f"Dic{n}")


def quaternion(order: int = 8) -> FiniteGroup:
    """The (generalised) quaternion group of order 8, 16, 32, …: the dicyclic group of its order."""
    if order < 8 or order & (order - 1):
        raise CosetCircuitsError(
            f"No quaternion group has order {order}; give 8, 16, 32 or another power of 2, or "
            "take the dicyclic group Dic_n of order 4n."
        )
    return _dicyclic(order // 4, f"Q{order}")


def _dicyclic(n: int, name: str) -> FiniteGroup:
    _check_order(name, 4 * n)
    exponent, flip = np.tile(np.arange(2 * n), 2), np.repeat([0, 1], 2 * n)
    table = exponent[:, None] + (1 - 2 * flip)[:, None] * exponent + n * (flip[:, None] & flip)
    table = table % (2 * n) + 2 * n * (flip[:, None] ^ flip)
    labels = [f"a{i}" for i in range(2 * n)] + [f"a{i}x" for i in range(2 * n)]
    return FiniteGroup(table, name, labels, irreps=closed_forms.dicyclic_irreps)


def affine(prime: int, degree: int | None = None) -> FiniteGroup:
    """The Frobenius group of the maps x ↦ mʲx + b modulo a prime p, with m of order ``degree``.

    Without a degree all of AGL(1, p), m the least primitive root. Named by order, such as F20;
    the map x ↦ mʲx + b is element j·p + b.

    Raises:
        CosetCircuitsError: p is not a prime, or the degree does not divide p − 1.
    """
    if not _is_prime(prime):
        raise CosetCircuitsError(
            f"{prime} is not a prime; affine groups are built on the integers modulo a prime p, "
            "such as AGL(1,5)."
        )
    degree = prime - 1 if degree is None else degree
    if degree < 1 or (prime - 1) % degree:
        raise CosetCircuitsError(
            f"No multiplication modulo {prime} has order {degree}; give a divisor of {prime - 1}."
        )
    name = f"F{prime * degree}"
    _check_order(name, prime * degree)
    m = next(m for m in range(1, prime + 1) if _multiplicative_order(m, prime) == degree)
    points = np.arange(prime)
    images = np.concatenate(
        [(pow(m, j, prime) * points + points[:, None]) % prime for j in range(degree)]
    )
    irreps = partial(closed_forms.affine_irreps, prime=prime, multiplier=m)
    return _from_images(images, name, irreps)


def psl2(q: int) -> FiniteGroup:
    """PSL(2, q) as permutations of the q + 1 points of the projective line over F_q.

    Elements are in lexicographic one-line order; point 0 is ∞, then follow 0, 1, ….

    Raises:
        CosetCircuitsError: q is not a prime power, or the group is too large.
    """
    prime = next((p for p in range(2, q + 1) if q % p == 0), 0)
    if not prime or any(q % n == 0 and n % prime for n in range(2, q + 1)):
        raise CosetCircuitsError(f"{q} is not a prime power; PSL(2,q) needs one, such as 7 or 8.")
    name = f"PSL(2,{q})"
    _check_order(name, q * (q * q - 1) // gcd(2, q - 1))
    add, times = _finite_field(q, prime)
    zero, one = 0, 1
    minus = np.argmax(add == zero, axis=1)
    inverse = np.argmax(times == one, axis=1)
    root = next(a for a in range(1, q) if len(_powers(times, a)) == q - 1)
    infinity = 0
    basis = [prime**k for k in range(len(np.base_repr(q - 1, prime)))]
    translations = [[infinity, *(1 + add[t]).tolist()] for t in basis]
    square = [infinity, *(1 + times[times[root, root]]).tolist()]
    turn = [1 + zero, infinity, *(1 + minus[inverse[1:]]).tolist()]
    return from_generators([*translations, square, turn], name)


def _finite_field(q: int, prime: int) -> tuple[np.ndarray, np.ndarray]:
    """Addition and multiplication of F_q, element Σ cᵢpⁱ the polynomial Σ cᵢxⁱ."""
    degree = round(np.log(q) / np.log(prime))
    digits = np.array([[n // prime**k % prime for k in range(degree)] for n in range(q)])
    weights = prime ** np.arange(degree)
    add = (digits[:, None] + digits) % prime @ weights
    for tail in digits:  # the modulus is x^degree − tail
        times = _multiplication(digits, tail, prime) @ weights
        if (np.sort(times[1:, 1:], axis=1) == np.arange(1, q)).all():
            return add, times
    raise AssertionError(f"no polynomial of degree {degree} is irreducible modulo {prime}")


def _multiplication(digits: np.ndarray, tail: np.ndarray, prime: int) -> np.ndarray:
    q, degree = digits.shape
    result = np.zeros((q, q, degree), dtype=np.int64)
    shifted = digits.copy()  # each element times x^k
    for k in range(degree):
        result += digits[:, None, k, None] * shifted
        carry = shifted[:, -1:]
        shifted = (np.pad(shifted, ((0, 0), (1, 0)))[:, :-1] + carry * tail) % prime
    return result % prime


def _powers(times: np.ndarray, a: int) -> set[int]:
    powers, power = set(), a
    while power not in powers:
        powers.add(power)
        power = int(times[power, a])
    return powers


# --- from parts -----------------------------------------------------------------------------


def from_generators(generators: Iterable[Sequence[int] | str], name: str = "group") -> FiniteGroup:
    """The group that permutations generate, in lexicographic one-line order.

    Args:
        generators: each the images of the points 0..n-1 in order, such as ``[1, 2, 0, 3]``, or
            disjoint cycles of the points 1..n as text, such as ``"(1 2 3)"``.
        name: what to call it.

    Raises:
        CosetCircuitsError: a generator is not a permutation, or the group has more than 5,040
            elements.
    """
    images = as_images(list(generators))
    degree = images.shape[1]
    known = {tuple(range(degree))}
    frontier = [np.arange(degree)]
    while frontier:
        grown = []
        for image in frontier:
            for product in images[:, image]:
                key = tuple(product.tolist())
                if key not in known:
                    known.add(key)
                    grown.append(product)
        if len(known) > LARGEST_ORDER:
            raise CosetCircuitsError(
                f"The generators of {name} give more than {LARGEST_ORDER:,} elements, whose Cayley "
                f"table would take over {8 * LARGEST_ORDER**2 / 1e9:.1f} GB; give generators of a "
                "smaller group."
            )
        frontier = grown
    return _from_images(as_images(sorted(known)), name)


def direct_product(*factors: FiniteGroup, name: str | None = None) -> FiniteGroup:
    """Tuples with one element of each factor, multiplied place by place.

    The last factor's element changes fastest: (a, b) is element a·order(B) + b. Permutations act
    side by side on disjoint points where every factor has them.

    Raises:
        CosetCircuitsError: no factor was given, or the product is too large.
    """
    if not factors:
        raise CosetCircuitsError("A direct product of no groups was asked for; give one or more.")
    if len(factors) > 32:
        raise CosetCircuitsError(
            f"A direct product of {len(factors)} groups was asked for; give at most 32."
        )
    name = "x".join(factor.name for factor in factors) if name is None else name
    order = prod(factor.order for factor in factors)
    _check_order(name, order)
    places = np.unravel_index(np.arange(order), [factor.order for factor in factors])
    table = np.zeros((order, order), dtype=np.int64)
    for factor, place in zip(factors, places, strict=True):
        table = table * factor.order + factor.array[np.ix_(place, place)]
    images = _side_by_side(factors, places)
    if images is not None:
        labels = [cycle_notation(image) for image in images.tolist()]
    else:
        parts = [np.array(f.labels)[i] for f, i in zip(factors, places, strict=True)]
        labels = [f"({', '.join(part)})" for part in zip(*parts, strict=True)]
    build = partial(closed_forms.product_irreps, factors=factors)
    return FiniteGroup(table, name, labels, images, irreps=build)


def _side_by_side(
    factors: Sequence[FiniteGroup], places: Sequence[np.ndarray]
) -> np.ndarray | None:
    columns, degree = [], 0
    for factor, place in zip(factors, places, strict=True):
        if factor.permutations is None:
            return None
        columns.append(degree + factor.permutations[place])
        degree += factor.permutations.shape[1]
    return np.concatenate(columns, axis=1)


def semidirect_product(
    normal: FiniteGroup,
    acting: FiniteGroup,
    action: np.ndarray | Sequence[Sequence[int]],
    name: str | None = None,
) -> FiniteGroup:
    """N ⋊ H: pairs (n, h), element h·order(N) + n, with (n, h)·(m, k) = (n·h(m), hk).

    Args:
        normal: N.
        acting: H.
        action: ``action[h][n]`` is h(n), an automorphism of N for each h.
        name: what to call it; by default such as ``"C7:C3"``.

    Raises:
        CosetCircuitsError: the action is not a homomorphism to the automorphisms of N, or the
            product is too large.
    """
    name = f"{normal.name}:{acting.name}" if name is None else name
    _check_order(name, normal.order * acting.order)
    moved = np.array(action)
    if moved.shape != (acting.order, normal.order) or moved.dtype.kind not in "iu":
        raise CosetCircuitsError(
            f"The action of {acting.name} on {normal.name} has shape {moved.shape}; give integers, "
            f"{acting.order} rows, one an acting element, of the {normal.order} images."
        )
    if (np.sort(moved, axis=1) != np.arange(normal.order)).any():
        raise CosetCircuitsError(
            f"The action of {acting.name} on {normal.name} does not permute its elements; each row "
            f"must hold 0..{normal.order - 1} once."
        )
    for h, images in enumerate(moved):
        if (images[normal.array] != normal.array[np.ix_(images, images)]).any():
            raise CosetCircuitsError(
                f"Element {h} of {acting.name} does not act on {normal.name} by an automorphism; "
                "h(nm) = h(n)h(m) must hold."
            )
    for h, images in enumerate(moved):
        failing = np.flatnonzero((images[moved] != moved[acting.array[h]]).any(axis=1))
        if len(failing):
            raise CosetCircuitsError(
                f"The action is not a homomorphism: {h} after {failing[0]} does not act as their "
                f"product in {acting.name}."
            )
    n, h = (
        np.tile(np.arange(normal.order), acting.order),
        np.repeat(np.arange(acting.order), normal.order),
    )
    table = normal.array[n[:, None], moved[h[:, None], n]]
    table += normal.order * acting.array[h[:, None], h]
    labels = [f"({a}, {b})" for b in acting.labels for a in normal.labels]
    return FiniteGroup(table, name, labels)


def _from_images(
    images: np.ndarray,
    name: str,
    irreps: Callable[[FiniteGroup], tuple[Irrep, ...]] | None = None,
) -> FiniteGroup:
    """The group on the rows of permutations that are closed under composition, in their order."""
    rng = np.random.default_rng(0)
    codes = np.zeros(len(images), dtype=np.int64)
    while len(np.unique(codes)) < len(images) or not codes.any():
        weights = rng.integers(2**62, size=images.shape[1])
        codes = images @ weights + 1
    rank = np.argsort(codes)
    ranked = codes[rank]
    table = np.empty((len(images), len(images)), dtype=np.int64)
    for a, image in enumerate(images):
        table[a] = rank[np.searchsorted(ranked, image[images] @ weights + 1)]
    labels = [cycle_notation(image) for image in images.tolist()]
    return FiniteGroup(table, name, labels, images, irreps=irreps)


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % n for n in range(2, isqrt(number) + 1))


def _multiplicative_order(m: int, prime: int) -> int:
    return next((j for j in range(1, prime) if pow(m, j, prime) == 1), 0)


def _factorial(degree: int) -> int:
    return factorial(min(degree, 20))  # far beyond every limit already


def _check_order(name: str, order: int) -> None:
    if order > LARGEST_ORDER:
        elements, size = f"{order:,}", f"{8 * order**2 / 1e9:,.1f} GB"
        if order > 10**9:
            elements, size = "more than a billion", "millions of terabytes"
        raise CosetCircuitsError(
            f"{name} has {elements} elements, so its Cayley table alone would take {size}; groups "
            f"of up to {LARGEST_ORDER:,} elements are made. Take a smaller one of the family."
        )


# --- by name --------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Family:
    pattern: str
    make: Callable[..., FiniteGroup]
    words: str


def _frobenius(order: int) -> FiniteGroup:
    prime = max((p for p in range(2, order + 1) if order % p == 0 and _is_prime(p)), default=0)
    if not prime or (prime - 1) % (order // prime) or order == prime:
        raise CosetCircuitsError(
            f"No Frobenius group F{order} is known; give p·d with p a prime and d a divisor of "
            "p − 1, such as F20, F21 or F42."
        )
    return affine(prime, order // prime)


_FAMILIES = (
    _Family(r"S_?(\d+)", symmetric, "S5 (symmetric)"),
    _Family(r"A_?(\d+)", alternating, "A5 (alternating)"),
    _Family(r"C_?(\d+)", cyclic, "C113 (cyclic)"),
    _Family(r"D_?(\d+)", dihedral, "D59 (dihedral, of order 118)"),
    _Family(r"V_?4", lambda: direct_product(cyclic(2), cyclic(2), name="V4"), "V4"),
    _Family(r"Q_?(\d+)", quaternion, "Q8 (quaternion)"),
    _Family(r"Dic_?(\d+)", dicyclic, "Dic3 (dicyclic, of order 12)"),
    _Family(r"F_?(\d+)", _frobenius, "F20 (Frobenius)"),
    _Family(r"AGL\(1,(\d+)\)", affine, "AGL(1,7) (affine)"),
    _Family(r"PSL\(2,(\d+)\)", psl2, "PSL(2,7)"),
)


@cache
def group(text: str) -> FiniteGroup:
    """The group that a text names: ``"S5"``, ``"D59"``, ``"Q8"``, ``"PSL(2,7)"``, ``"S3xS3"``.

    Factors of a direct product are joined with ``x``; ``"C2^4"`` stands for four of them. The same
    text gives the same object, so what was computed of it once is kept.

    Raises:
        CosetCircuitsError: the text is not understood (the sentence lists what is), or the group
            is too large.
    """
    factors = [
        factor
        for part in re.split(r"[x×*]", re.sub(r"\s", "", text))
        for factor in _powers_of(part, text)
    ]
    if len(factors) == 1:
        return _named(factors[0], text)
    return direct_product(*(group(factor) for factor in factors), name=re.sub(r"\s", "", text))


def _powers_of(part: str, text: str) -> list[str]:
    base, _, exponent = part.partition("^")
    # Two digits at most: with leading zeros a longer one could stand for billions of factors.
    if exponent and not (exponent.isdecimal() and len(exponent) < 3 and 1 <= int(exponent) <= 32):
        raise _not_understood(text)
    return [base] * int(exponent or 1)


def _named(word: str, text: str) -> FiniteGroup:
    for family in _FAMILIES:
        match = re.fullmatch(family.pattern, word)
        if match:
            numbers = [int(n) for n in match.groups() if len(n) <= 5]
            if len(numbers) == len(match.groups()) and 0 not in numbers:
                return family.make(*numbers)
    raise _not_understood(text)


def _not_understood(text: str) -> CosetCircuitsError:
    return CosetCircuitsError(
        f"No group is called {text!r}; understood are "
        + ", ".join(family.words for family in _FAMILIES)
        + ", and direct products of these such as S3xS3 or C2^4, of up to "
        f"{LARGEST_ORDER:,} elements. Any other group can be given by its Cayley table with "
        "FiniteGroup.from_table or by permutations with from_generators."
    )
