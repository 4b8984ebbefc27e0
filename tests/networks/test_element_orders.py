"""Which group and which order answers with mistakes are read under, and when they are refused."""

import itertools

import numpy as np
import pytest
import torch

import coset_circuits as cc
from coset_circuits.errors import CosetCircuitsError
from coset_circuits.networks.element_orders import READ_OFF, candidates, detect, least_share


def with_mistakes(table, share_right, seed=0):
    rng, n, damaged = np.random.default_rng(seed), len(table), table.copy()
    wrong = rng.permutation(n * n)[: round((1 - share_right) * n * n)]
    damaged.flat[wrong] = (damaged.flat[wrong] + rng.integers(1, n, len(wrong))) % n
    return damaged


def table_of(elements, product):
    """The Cayley table of whatever is listed, by looking every product up."""
    index = {element: i for i, element in enumerate(elements)}
    return np.array([[index[product(a, b)] for b in elements] for a in elements])


def after(p, q):
    return tuple(p[i] for i in q)


def before(p, q):
    return tuple(q[i] for i in p)


def heap(items):
    """Heap's algorithm as it is taught: recursive, exchanging the last place."""
    items = list(items)

    def generate(k):
        if k == 1:
            yield tuple(items)
            return
        yield from generate(k - 1)
        for i in range(k - 1):
            j = i if k % 2 == 0 else 0
            items[j], items[k - 1] = items[k - 1], items[j]
            yield from generate(k - 1)

    return list(generate(len(items)))


def by_parity(degree):
    def odd(p):
        return sum(p[i] > p[j] for i, j in itertools.combinations(range(degree), 2)) % 2

    return sorted(itertools.permutations(range(degree)), key=lambda p: (odd(p), p))


def in_dihedral(sides):
    return lambda a, b: ((a[0] + (-1) ** a[1] * b[0]) % sides, (a[1] + b[1]) % 2)


def reflection_first(sides):
    """(i, s) is sˢ·rⁱ: rotations move past a reflection with a sign."""
    return lambda a, b: (((-1) ** b[1] * a[0] + b[0]) % sides, (a[1] + b[1]) % 2)


def in_turn(sides):
    return list(itertools.product(range(sides), (0, 1)))


def in_halves(sides):
    return [(i, s) for s in (0, 1) for i in range(sides)]


def quaternions(a, b):
    """(i, s) is aⁱxˢ with a⁴ = 1, x² = a², xa = a⁻¹x."""
    return ((a[0] + (-1) ** a[1] * b[0] + 2 * a[1] * b[1]) % 4, (a[1] + b[1]) % 2)


def of_pairs(product):
    return lambda a, b: tuple(product(x, y) for x, y in zip(a, b, strict=True))


S3, S4 = list(itertools.permutations(range(3))), list(itertools.permutations(range(4)))
FOREIGN = {
    "S4, lexicographic": (S4, after),
    "S4, lexicographic-opposite": (S4, before),
    "S4, heap": (heap(range(4)), after),
    "S4, heap-opposite": (heap(range(4)), before),
    "S4, parity-opposite": (by_parity(4), before),
    "S4, colexicographic": (sorted(S4, key=lambda p: p[::-1]), after),
    "D30, native": (in_halves(30), in_dihedral(30)),
    "D30, interleaved": (in_turn(30), in_dihedral(30)),
    "D30, reflection-first": (in_halves(30), reflection_first(30)),
    "D30, interleaved-reflection-first": (in_turn(30), reflection_first(30)),
    "D60, interleaved": (in_turn(60), in_dihedral(60)),
    "Q8, interleaved": (in_turn(4), quaternions),
    "Q8, native": (in_halves(4), quaternions),
    "S3xS3, lexicographic": (list(itertools.product(S3, S3)), of_pairs(after)),
    "S3xS3, parity-opposite": (list(itertools.product(by_parity(3), by_parity(3))), None),
    "S3xS3xS3, parity-opposite": (list(itertools.product(*[by_parity(3)] * 3)), None),
}


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("share_right", [1, 0.91])
def test_foreign_orders_are_read_right_with_and_without_mistakes(name, share_right):
    elements, product = FOREIGN[name]
    truth = table_of(elements, product or of_pairs(before))
    known = detect(with_mistakes(truth, share_right))
    assert known.group.name == name.partition(",")[0]
    assert (known.table == truth).all()
    asked = detect(truth, wanted=name)
    assert (asked.table == truth).all() and str(asked) == name


@pytest.mark.parametrize("product", [after, before])
@pytest.mark.parametrize("share_right", [1, 0.91, 0.6])
def test_alternating_groups_in_the_order_of_a_python_set(product, share_right):
    """As sn-grok lists them: whatever order a set of tuples has."""
    every = itertools.permutations(range(5))
    elements = list({p for p in every if np.linalg.det(np.eye(5)[list(p)]) > 0})
    truth = table_of(elements, product)
    known = detect(with_mistakes(truth, share_right))
    assert (known.group.name, known.name) == ("A5", READ_OFF)
    assert (known.table == truth).all()


@pytest.mark.slow
@pytest.mark.parametrize("factor", [S4, heap(range(4))])
def test_the_product_of_two_copies_of_s4(factor):
    truth = table_of(list(itertools.product(factor, factor)), of_pairs(after))
    known = detect(truth)
    assert known.group.name == "S4xS4" and (known.table == truth).all()


@pytest.mark.parametrize(
    ("name", "believed"), [("Q8", "D4"), ("D30", "C60"), ("C60", "D30"), ("D18", "S3xS3")]
)
@pytest.mark.parametrize("share_right", [0.5, 0.7, 0.91, 1])
def test_a_wrong_group_is_never_read_whatever_the_file_says(name, believed, share_right):
    """In a numbering that nobody knows; with too many mistakes it is refused."""
    truth = cc.group(name).relabelled(np.random.default_rng(5).permutation(cc.group(name).order))
    answers = with_mistakes(truth.array, share_right)
    if share_right < least_share(truth.order, of_its_own=True):
        with pytest.raises(CosetCircuitsError, match="No multiplication explains its answers"):
            detect(answers, [believed])
    else:
        known = detect(answers, [believed])
        assert (known.table == truth.array).all()
        assert (known.group.name, known.name) == (name, READ_OFF)


def test_the_orders_that_shared_half_their_products_are_not_confused():
    """What the older rule read: D30 with reflections in turn as C60 (.52) or native (.29)."""
    interleaved = table_of(in_turn(30), in_dihedral(30))
    wrong = {str(o): o.accuracy(interleaved) for o in candidates(cc.group("C60"))}
    assert wrong["C60, native"] > 0.5
    for names in (["D30"], ["C60"], None):
        assert str(detect(with_mistakes(interleaved, 0.8), names)) == "D30, interleaved"


@pytest.mark.parametrize("order", [8, 24, 59, 60])
def test_noise_is_refused(order):
    answers = np.random.default_rng(0).integers(0, order, (order, order))
    with pytest.raises(CosetCircuitsError, match=r"No multiplication explains.*--order, one of"):
        detect(answers)


@pytest.mark.parametrize("share_right", [0.45, 0.5, 0.6])
def test_a_memorised_share_of_a_known_order_is_enough(share_right):
    truth = table_of(by_parity(4), before)
    assert str(detect(with_mistakes(truth, share_right))) == "S4, parity-opposite"


@pytest.mark.parametrize("name", ["Q8", "D4", "C8"])
def test_a_network_that_learnt_nine_pairs_in_ten_is_of_its_own_group(name):
    network = cc.train(name, seed=1, d_mlp=64, d_embed=32, fraction=0.9, max_steps=100)
    with torch.no_grad():
        answers = network(network.group.pairs()).argmax(1).reshape(8, 8).numpy()
    assert (answers == network.group.array).mean() > 0.85
    assert str(detect(answers)) == f"{name}, native"
    forward = np.random.default_rng(3).permutation(8)
    renamed = np.empty_like(answers)
    renamed[np.ix_(forward, forward)] = forward[answers]
    known = detect(renamed, ["D4"])
    assert known.group.name == name
    assert (known.table == network.group.relabelled(forward).array).all()


def test_answers_half_way_between_two_groups_are_refused():
    """D4 and Q8 differ in the 16 products of two reflections; of these half follow either."""
    dihedral, quaternion = cc.group("D4").array, cc.group("Q8").array
    differ = np.argwhere(dihedral != quaternion)
    assert len(differ) == 16
    answers = dihedral.copy()
    for a, b in differ[::2]:
        answers[a, b] = quaternion[a, b]
    with pytest.raises(CosetCircuitsError, match=r"Two multiplications.*\(87.5% .*\(87.5%"):
        detect(answers)


def test_another_structure_than_a_group_is_refused():
    every = np.arange(59)
    with pytest.raises(CosetCircuitsError, match="No multiplication explains its answers"):
        detect((every[:, None] - every) % 59)


def test_an_order_of_several_groups_needs_the_group():
    noise = np.random.default_rng(0).integers(0, 24, (24, 24))
    with pytest.raises(CosetCircuitsError, match=r'exists for C24, D12.*such as "C24, native"'):
        detect(noise, wanted="native")
    assert str(detect(noise, wanted="D12, native")) == "D12, native"
    with pytest.raises(CosetCircuitsError, match="S5 does not have 24 elements"):
        detect(noise, wanted="S5, sympy")


@pytest.mark.parametrize("name", ["S4", "A4", "D5", "Q8", "Dic3", "C6", "S3xC4", "C2^3", "F20"])
def test_every_known_order_lists_each_element_once(name):
    group = cc.group(name)
    for order in candidates(group):
        assert sorted(order.elements) == list(range(group.order))
        known = cc.FiniteGroup.from_table(order.table)
        assert known.order == group.order
