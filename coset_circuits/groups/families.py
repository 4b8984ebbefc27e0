"""Groups by family, from generators and as products."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
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
    check_order(f"S{degree}", _factorial(degree))
    images = as_images(list(permutations(range(degree))))
    return from_images(images, f"S{degree}", closed_forms.symmetric_irreps)


def alternating(degree: int) -> FiniteGroup:
    """A_n: the even permutations of n points in lexicographic one-line order."""
    check_order(f"A{degree}", (_factorial(degree) + 1) // 2)
    even = [p for p in permutations(range(degree)) if parity(p) == 0]
    return from_images(as_images(even), f"A{degree}", closed_forms.alternating_irreps)


def cyclic(order: int) -> FiniteGroup:
    """C_n: addition modulo n."""
    check_order(f"C{order}", order)
    grid = np.arange(order)
    table = (grid[:, None] + grid) % order
    return FiniteGroup(table, f"C{order}", irreps=closed_forms.cyclic_irreps)


def dihedral(sides: int) -> FiniteGroup:
    """D_n, the 2n symmetries of an n-gon: rotation r^i is element i, reflection r^i s is n + i.

    In coordinates (i, s)·(j, t) = (i + (−1)^s j, s + t).
    """
    check_order(f"D{sides}", 2 * sides)
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
    check_order(name, 4 * n)
    exponent, flip = np.tile(np.arange(2 * n), 2), np.repeat([0, 1], 2 * n)
    table = exponent[:, None] + (1 - 2 * flip)[:, None] * exponent + n * (flip[:, None] & flip)
    table = table % (2 * n) + 2 * n * (flip[:, None] ^ flip)
    labels = [f"a{i}" for i in range(2 * n)] + [f"a{i}x" for i in range(2 * n)]
    return FiniteGroup(table, name, labels, irreps=closed_forms.dicyclic_irreps)


def semidihedral(order: int) -> FiniteGroup:
    """The semidihedral group of order 16, 32, …: C_n:C_2 with n half the order, r ↦ r^(n/2 − 1)."""
    if order < 16 or order & (order - 1):
        raise CosetCircuitsError(
            f"No semidihedral group has order {order}; give 16, 32 or another power of 2."
        )
    check_order(f"SD{order}", order)
    half = order // 2
    turned = np.arange(half) * (half // 2 - 1) % half
    action = np.stack([np.arange(half), turned])
    return semidirect_product(cyclic(half), cyclic(2), action, f"SD{order}")


def affine(prime: int, degree: int | None = None) -> FiniteGroup:
    """The Frobenius group of the maps x ↦ mʲx + b modulo a prime p, with m of order ``degree``.

    Without a degree, m is the least primitive root and the group is all of AGL(1, p). The name
    gives the order, such as F20. The map x ↦ mʲx + b is element j·p + b.

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
    check_order(name, prime * degree)
    m = next(m for m in range(1, prime + 1) if _multiplicative_order(m, prime) == degree)
    points = np.arange(prime)
    images = np.concatenate(
        [(pow(m, j, prime) * points + points[:, None]) % prime for j in range(degree)]
    )
    irreps = partial(closed_forms.affine_irreps, prime=prime, multiplier=m)
    return from_images(images, name, irreps)


def psl2(q: int) -> FiniteGroup:
    """PSL(2, q) as permutations of the q + 1 points of the projective line over F_q.

    Elements are in lexicographic one-line order. Point 0 is ∞; points 1, 2, … are 0, 1, ….

    Raises:
        CosetCircuitsError: q is not a prime power, or the group is too large.
    """
    prime = _characteristic(q, "PSL(2,q)")
    name = f"PSL(2,{q})"
    check_order(name, q * (q * q - 1) // gcd(2, q - 1))
    add, times = _finite_field(q, prime)
    zero, one = 0, 1
    minus = np.argmax(add == zero, axis=1)
    inverse = np.argmax(times == one, axis=1)
    root = _primitive_root(times)
    infinity = 0
    basis = [prime**k for k in range(len(np.base_repr(q - 1, prime)))]
    translations = [[infinity, *(1 + add[t]).tolist()] for t in basis]
    square = [infinity, *(1 + times[times[root, root]]).tolist()]
    turn = [1 + zero, infinity, *(1 + minus[inverse[1:]]).tolist()]
    return from_generators([*translations, square, turn], name)


def linear(degree: int, q: int, special: bool = False) -> FiniteGroup:
    """GL(n, q), or SL(n, q), as permutations of the vectors other than 0 in F_q^n.

    Vector (c₁, …, c_n) is point Σ c_i q^(n−i) − 1; elements are in lexicographic one-line order.

    Raises:
        CosetCircuitsError: q is not a prime power, or the group is too large.
    """
    kind = "SL" if special else "GL"
    if degree < 2:
        raise CosetCircuitsError(
            f"{kind}(1,q) is cyclic; write it as such, or give a degree from 2."
        )
    prime = _characteristic(q, f"{kind}(n,q)")
    name, degree = f"{kind}({degree},{q})", min(degree, 9)  # far beyond every limit but q = 1
    matrices = prod(q**degree - q**i for i in range(degree))
    check_order(name, matrices // (q - 1) if special else matrices)
    add, times = _finite_field(q, prime)
    places = q ** np.arange(degree)[::-1]
    vectors = np.arange(1, q**degree)[:, None] // places % q
    generators = []
    for i, j in permutations(range(degree), 2):
        for scalar in prime ** np.arange(round(np.log(q) / np.log(prime))):
            sheared = vectors.copy()
            sheared[:, i] = add[vectors[:, i], times[scalar, vectors[:, j]]]
            generators.append(sheared)
    if not special:
        scaled = vectors.copy()
        scaled[:, 0] = times[_primitive_root(times), vectors[:, 0]]
        generators.append(scaled)
    images = [(vectors @ places - 1).tolist() for vectors in generators]
    return from_generators([list(range(len(vectors))), *images], name)


def _characteristic(q: int, name: str) -> int:
    """The prime of which q is a power."""
    prime = next((p for p in range(2, q + 1) if q % p == 0), 0)
    if not prime or any(q % n == 0 and n % prime for n in range(2, q + 1)):
        raise CosetCircuitsError(f"{q} is not a prime power; {name} needs one, such as 7 or 8.")
    return prime


def _primitive_root(times: np.ndarray) -> int:
    return next(a for a in range(1, len(times)) if len(_powers(times, a)) == len(times) - 1)


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


def frobenius(order: int) -> FiniteGroup:
    """The Frobenius group of order p·d, where p is its largest prime and d divides p − 1."""
    prime = max((p for p in range(2, order + 1) if order % p == 0 and _is_prime(p)), default=0)
    if not prime or (prime - 1) % (order // prime) or order == prime:
        raise CosetCircuitsError(
            f"No Frobenius group F{order} is known; give p·d with p a prime and d a divisor of "
            "p − 1, such as F20, F21 or F42."
        )
    return affine(prime, order // prime)


# --- from parts -----------------------------------------------------------------------------


def from_generators(generators: Iterable[Sequence[int] | str], name: str = "group") -> FiniteGroup:
    """The group that permutations generate; elements are in lexicographic one-line order.

    Args:
        generators: permutations. Each is either the images of the points 0..n-1 in order, such as
            ``[1, 2, 0, 3]``, or disjoint cycles of the points 1..n as text, such as ``"(1 2 3)"``.
        name: the group's name.

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
    return from_images(as_images(sorted(known)), name)


def direct_product(*factors: FiniteGroup, name: str | None = None) -> FiniteGroup:
    """The direct product: tuples with one element of each factor, multiplied factor by factor.

    The last factor's element changes fastest: (a, b) is element a·order(B) + b. If every factor
    has permutations, the product has them too, on disjoint points.

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
    check_order(name, order)
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
        name: the group's name; by default built from the parts, such as ``"C7:C3"``.

    Raises:
        CosetCircuitsError: the action is not a homomorphism to the automorphisms of N, or the
            product is too large.
    """
    name = f"{normal.name}:{acting.name}" if name is None else name
    check_order(name, normal.order * acting.order)
    moved = np.array(action)
    if moved.shape != (acting.order, normal.order) or moved.dtype.kind not in "iu":
        raise CosetCircuitsError(
            f"The action of {acting.name} on {normal.name} has shape {moved.shape}; give integers, "
            f"{acting.order} rows, one for each acting element, of the {normal.order} images."
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


def wreath_product(
    base: FiniteGroup,
    top: FiniteGroup,
    action: np.ndarray | None = None,
    name: str | None = None,
) -> FiniteGroup:
    """The wreath product B wr T: T permutes copies of B, one for each point that T acts on.

    Elements are permutations in lexicographic one-line order. Each copy of B has a block of
    points: the points that B permutes or, if B has no permutations, B's elements.

    Args:
        base: B.
        top: T.
        action: ``action[t][i]`` is the point to which t moves point i; by default
            ``top.permutations``.
        name: the group's name; by default built from the parts, such as ``"S3wrS2"``.

    Raises:
        CosetCircuitsError: T does not act faithfully on points, or the product is too large.
    """
    name = f"{base.name}wr{top.name}" if name is None else name
    moved = top.permutations if action is None else np.asarray(action)
    if moved is None or len(np.unique(moved, axis=0)) < top.order:
        raise CosetCircuitsError(
            f"{top.name} does not act faithfully on a set of points, so {name} is not "
            "defined; give a group of permutations, such as S3, A4 or one of from_generators."
        )
    acting = base.array if base.permutations is None else base.permutations
    blocks, size = moved.shape[1], acting.shape[1]
    check_order(name, base.order ** min(blocks, 20) * top.order)
    points = np.arange(blocks * size).reshape(blocks, size)
    generators = [points, *(points[moved[t]] for t in top.generators)]
    for block in range(blocks):
        for b in base.generators:
            image = points.copy()
            image[block] = points[block][acting[b]]
            generators.append(image)
    return from_generators([image.ravel().tolist() for image in generators], name)


def from_images(
    images: np.ndarray,
    name: str,
    irreps: Callable[[FiniteGroup], tuple[Irrep, ...]] | None = None,
) -> FiniteGroup:
    """The group on the rows of permutations that are closed under composition, in their order."""
    base = _base(images)
    rng = np.random.default_rng(0)
    codes = np.zeros(len(images), dtype=np.int64)
    while len(np.unique(codes)) < len(images) or not codes.any():
        weights = rng.integers(2**62, size=len(base))
        codes = images[:, base] @ weights + 1
    rank = np.argsort(codes)
    ranked = codes[rank]
    table = np.empty((len(images), len(images)), dtype=np.int64)
    for a, image in enumerate(images):
        table[a] = rank[np.searchsorted(ranked, image[images[:, base]] @ weights + 1)]
    labels = [cycle_notation(image) for image in images.tolist()]
    return FiniteGroup(table, name, labels, images, irreps=irreps)


def _base(images: np.ndarray) -> list[int]:
    """Points whose images determine a permutation, as few as a greedy search finds."""
    base, cells = [], np.zeros(len(images), dtype=np.int64)
    for point, column in enumerate(images.T):
        finer = np.unique(cells * images.shape[1] + column, return_inverse=True)[1]
        if finer.max() > cells.max():
            base, cells = [*base, point], finer
    return base


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % n for n in range(2, isqrt(number) + 1))


def _multiplicative_order(m: int, prime: int) -> int:
    return next((j for j in range(1, prime) if pow(m, j, prime) == 1), 0)


def _factorial(degree: int) -> int:
    return factorial(min(degree, 20))  # far beyond every limit already


def check_order(name: str, order: int) -> None:
    if order > LARGEST_ORDER:
        elements, size = "more than a billion", "millions of terabytes"
        if order <= 10**9:
            elements, size = f"{order:,}", f"{8 * order**2 / 1e9:,.1f} GB"
        raise CosetCircuitsError(
            f"{name} has {elements} elements, so its Cayley table alone would take {size}; groups "
            f"can have up to {LARGEST_ORDER:,} elements. Choose a smaller group of the family."
        )
