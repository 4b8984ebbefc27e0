"""Inputs made by mutating valid ones: a sentence or the right thing, never a fault from inside.

Every entry that reads what a user writes gets its share of some hundred thousand inputs, drawn from
fixed seeds; `make test` draws a twentieth of them.
"""

import ast
import dataclasses
import json
import math
import re
import sys
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rare import rare
from typer.testing import CliRunner

import coset_circuits as cc
from coset_circuits import CosetCircuitsError, FiniteGroup, Thresholds, cli, thresholds
from coset_circuits.cli import options
from coset_circuits.groups import families, from_generators, group, permutations
from coset_circuits.groups import group as named_group
from coset_circuits.groups import names as group_names
from coset_circuits.groups.group import check_table
from coset_circuits.networks import SITES, mlp, planted_coset
from coset_circuits.training import recipes

pytestmark = pytest.mark.usefixtures("unchecked")

ALPHABET = [*list("SACDVQF0123456789x^*×()[]{},.-+ _eπ²٣\t\n\x00\x1b'\"\\=:/"), "9" * 30, "1e999"]


def mutated(rng, text, most=4):
    """A text with a few characters put in, taken out, replaced, doubled or exchanged."""
    parts = list(text)
    for _ in range(rng.integers(most + 1)):
        at, kind = int(rng.integers(len(parts) + 1)), rng.integers(5)
        new = ALPHABET[rng.integers(len(ALPHABET))]
        if kind == 0:
            parts.insert(at, new)
        elif kind == 1:
            parts[at : at + 1] = []
        elif kind == 2:
            parts[at : at + 1] = [new]
        elif kind == 3:
            parts[at:at] = parts[max(0, at - 3) : at]
        else:
            other = int(rng.integers(len(parts) + 1))
            parts[at:at], parts[other : other + 1] = parts[other : other + 1], []
    return "".join(parts)


def sentence(call, *given):
    """What a call gives, or None where it says one sentence; any other error is a fault."""
    try:
        return call(*given)
    except CosetCircuitsError as error:
        text = str(error)
        assert len(text) > 20 and text[-1] in ".)", text
        return None
    except Exception as error:
        raise AssertionError(f"{call} let {error!r} out on {given!r}") from error


# What each entry is tried on, and what an accepted input must have given.

NAMES = ["S4", "A4", "C12", "D5", "V4", "Q8", "Dic3", "F20", "AGL(1,5)", "PSL(2,3)", "S3xC2"]
NAMES += ["C2^4", "D_4", "S3 x S3", "S3*C2", "C2^2xC3"]


SIZES = {
    "S": math.factorial,
    "A": lambda n: max(1, math.factorial(n) // 2),
    "C": lambda n: n,
    "D": lambda n: 2 * n,
    "V": lambda n: n,
    "Q": lambda n: n,
    "Dic": lambda n: 4 * n,
    "F": lambda n: n,
    "AGL": lambda n: n * (n - 1),
    "PSL": lambda n: n * (n * n - 1) // math.gcd(2, n - 1),
}


def expected_order(text):
    """The order of a group by its name, read in another way than the library's.

    None for semidirect and wreath products, powers of a number and the like.
    """
    order = 1
    for part in re.split("[x×*]", "".join(text.split())):
        base, _, exponent = part.partition("^")
        plain = re.fullmatch(r"([A-Za-z]+)_?(?:\(\d+,)?(\d+)\)?", base)
        if plain is None or plain[1] not in SIZES or not (exponent or "1").isdecimal():
            return None
        letters, n = plain[1], int(plain[2])
        order *= SIZES[letters](n) ** int(exponent or 1)
    return order


def try_name(rng):
    text = mutated(rng, NAMES[rng.integers(len(NAMES))])
    found = sentence(named_group, text)
    if found is not None:
        assert expected_order(text) in (None, found.order), text
        check_table(found.array)


CYCLES = ["(1 2)(3 4)", "(1 2 3)", "e", "()", "(1,2,3)", "( 4 2 )"]
LISTS = [[1, 0, 2], [0, 1], [2, 0, 1, 3], [0.0, 1.0], ["1", "0"], [None], "12", 5, [1, [0]], [3, 1]]


def try_generators(rng):
    if rng.random() < 0.5:
        given = [
            mutated(rng, CYCLES[i]) for i in rng.integers(len(CYCLES), size=rng.integers(1, 3))
        ]
    else:
        given = [LISTS[i] for i in rng.integers(len(LISTS), size=rng.integers(1, 3))]
    found = sentence(permutations.as_images, given)
    if found is not None:
        assert (np.sort(found, axis=1) == np.arange(found.shape[1])).all(), given
        for row, one in zip(found, given, strict=True):
            if isinstance(one, str) and "(" in one:
                for cycle in re.findall(r"\(([^)]*)\)", one):
                    points = [int(n) - 1 for n in re.findall(r"\d+", cycle)]
                    assert all(
                        row[p] == points[(i + 1) % len(points)] for i, p in enumerate(points)
                    )


TABLES = [group(name).array for name in ("C2", "C3", "V4", "C4", "S3", "Q8")]
ODD_CELLS = [-1, 99, 2**40, 0.5, None, "0", True, [0], float("nan"), 2**80]


def is_group(table):
    """Brute force over the axioms."""
    n = len(table)
    if table.min() < 0 or table.max() >= n:
        return False
    associative = (table[table, :] == table[np.arange(n)[:, None, None], table[None]]).all()
    grid = np.arange(n)
    units = [e for e in grid if (table[e] == grid).all() and (table[:, e] == grid).all()]
    return bool(associative and units and all(units[0] in row for row in table))


def try_table(rng):
    table = TABLES[rng.integers(len(TABLES))].copy()
    n = len(table)
    for _ in range(rng.integers(3)):
        table[tuple(rng.integers(n, size=2))] = rng.integers(n)
    if rng.random() < 0.3:
        order = rng.permutation(n)
        table = (
            table[order] if rng.random() < 0.5 else np.argsort(order)[table[np.ix_(order, order)]]
        )
    given = table
    if rng.random() < 0.3:
        given = table.tolist()
        given[rng.integers(n)][rng.integers(n)] = ODD_CELLS[rng.integers(len(ODD_CELLS))]
    elif rng.random() < 0.2:
        given = [table[:, :-1], table[0], table[None], table[:0, :0], "table", None, 7, {}][
            rng.integers(8)
        ]
    elif rng.random() < 0.2:
        kinds = (torch.int32, torch.uint8, torch.bfloat16, torch.bool, torch.complex64)
        given = torch.from_numpy(table.copy()).to(kinds[rng.integers(len(kinds))])
    found = sentence(FiniteGroup.from_table, given)
    if found is not None:
        assert is_group(found.array), given
    elif given is table:
        assert not is_group(table), table


OPTIONS = [
    (options.number_of_pairs, ["auto", "all", "100", "1"]),
    (options.seed_numbers, ["7", "0-7", "1,5,9"]),
    (options.checkpoint_steps, ["log", "none", "0,500,1000"]),
    (
        lambda text: options.recipe_fields([text]),
        [
            "learning_rate=0.02",
            "betas=[0.9, 0.98]",
            "d_mlp=64",
            'architecture="transformer"',
            "d_model=8",
            "fraction=2",
            "stop_when_memorised=1",
            "act_fn=1",
        ],
    ),
    (options.hypotheses, ["coset,irrep", "irrep"]),
]


def try_option(rng):
    parse, valid = OPTIONS[rng.integers(len(OPTIONS))]
    found = sentence(parse, mutated(rng, valid[rng.integers(len(valid))]))
    if parse is OPTIONS[3][0] and found is not None:
        name = rng.choice(["fast", "paper", "none"])
        recipe = sentence(recipes.recipe_for, group("S3"), str(name), found)
        assert recipe is None or dataclasses.is_dataclass(recipe)
    elif isinstance(found, int):
        assert found > 0
    elif parse in (options.seed_numbers, options.checkpoint_steps) and found is not None:
        assert all(isinstance(n, int) and n >= 0 for n in found)


VALUES = [
    0,
    1,
    0.5,
    -1,
    2**70,
    float("nan"),
    float("inf"),
    "0.1",
    None,
    True,
    (),
    (0.3, 0.1),
    [0.1],
]
FIELDS = [field.name for field in dataclasses.fields(Thresholds)]


def try_threshold(rng):
    name, value = FIELDS[rng.integers(len(FIELDS))], VALUES[rng.integers(len(VALUES))]
    found = sentence(lambda: Thresholds(**{name: value}))
    if found is not None:
        values = value if isinstance(value, tuple) else (value,)
        assert all(0 <= v < math.inf for v in values) and len(values) > 0
        json.dumps(found.to_dict(), allow_nan=False)


NETWORK = planted_coset(group("S3"), "C2")
DTYPES = [torch.int64] * 6 + [torch.int32, torch.int8, torch.uint8, torch.bool, torch.float32]
DTYPES += [torch.complex64]


def try_pairs(rng):
    shape = [(4, 2), (2,), (0, 2), (3, 3), (1, 2, 2), (2, 2)][rng.integers(6)]
    low, high = [(0, 6), (-2, 9), (0, 6), (5, 7)][rng.integers(4)]
    pairs = torch.from_numpy(rng.integers(low, high, size=shape))
    given = pairs.to(DTYPES[rng.integers(len(DTYPES))])
    if rng.random() < 0.05:
        given = [[(0, 1)], None, "pairs", np.zeros((2, 2), int)][rng.integers(4)]
    logits = sentence(NETWORK, given)
    if logits is not None:
        assert logits.shape == (len(given), 6)
        assert logits.argmax(1).equal(group("S3").products(torch.as_tensor(given).long()))


def try_hook(rng):
    name = mutated(rng, SITES[rng.integers(len(SITES))], most=2)
    pairs, names = group("S3").pairs(), name if rng.random() < 0.5 else [name]
    seen = []
    if rng.random() < 0.5:
        found = sentence(lambda: NETWORK.run_with_cache(pairs, names_filter=names)[1])
        assert found is None or set(found) == {name}
    else:
        hook = (name, lambda value, hook: seen.append(hook.name))
        found = sentence(lambda: NETWORK.run_with_hooks(pairs, fwd_hooks=[hook]))
        assert found is None or seen == [name]
    assert (found is None) == (name not in SITES)
    assert not any(point.fwd_hooks for point in NETWORK.hook_dict.values())


ENTRIES = {
    "group names": (try_name, 24_000),
    "generators": (try_generators, 30_000),
    "options": (try_option, 30_000),
    "Cayley tables": (try_table, 10_000),
    "thresholds": (try_threshold, 4_000),
    "pairs": (try_pairs, 4_000),
    "hook names": (try_hook, 2_000),
}
LINES = 300


@pytest.fixture
def small_groups(monkeypatch):
    """Groups of more than 130 elements are refused, so that no input takes long."""
    monkeypatch.setattr(families, "LARGEST_ORDER", 130)


@rare  # The next two tests draw some thousands.
def test_a_hundred_thousand_inputs(small_groups, capsys, monkeypatch, tmp_path):
    counts, slowest = {}, 0.0
    for number, (name, (attempt, count)) in enumerate(ENTRIES.items()):
        rng = np.random.default_rng(number)
        for _ in range(count):
            begin = time.thread_time()
            attempt(rng)
            slowest = max(slowest, time.thread_time() - begin)
        counts[name] = count
    counts["command lines"] = run_command_lines(monkeypatch, tmp_path, LINES)
    with capsys.disabled():
        print(f"\n{sum(counts.values()):,} inputs: {counts}; slowest {slowest:.2f} s of processor")
    assert sum(counts.values()) > 100_000
    assert slowest < 5


def test_some_inputs_of_each_kind_take_nearly_every_branch_of_the_parsers(small_groups):
    taken, possible = branches()
    assert taken > 0.9 * possible


def test_some_command_lines(small_groups, monkeypatch, tmp_path):
    run_command_lines(monkeypatch, tmp_path, LINES // 5)


# Command lines, as a user gives them.

COMMANDS = [
    ["group", "S3", "--json"],
    ["compare", "nothing", "--pairs", "10", "--algorithms", "coset"],
    ["compare", "s5", "--order", "native", "--seed", "1", "--pairs", "0"],
    ["import", "missing.pt", "--order", "sympy"],
    ["train", "S3", "--seeds", "0-1", "--set", "d_mlp=4", "--checkpoints", "none"],
    ["selftest", "--groups", "C7", "--seeds", "1"],
    ["networks"],
    ["--version"],
]


def run_command_lines(monkeypatch, folder, count):
    """Commands with mutated words; nothing is trained, compared or written."""
    from coset_circuits import benchmark, comparison, networks, training

    def stopped(*args, **more):
        raise CosetCircuitsError("This is as far as a test goes.")

    monkeypatch.chdir(folder)
    monkeypatch.setattr(training, "train_many", stopped)
    monkeypatch.setattr(comparison, "compare", stopped)
    monkeypatch.setattr(benchmark, "selftest", stopped)
    monkeypatch.setattr(networks, "save", stopped)
    rng = np.random.default_rng(7)
    for _ in range(count):
        words = list(COMMANDS[rng.integers(len(COMMANDS))])
        for _ in range(rng.integers(1, 3)):
            at = int(rng.integers(len(words)))
            words[at] = mutated(rng, words[at], most=2).replace("\0", "")
        found = CliRunner().invoke(cli.app, words)
        assert found.exception is None or isinstance(
            found.exception, (SystemExit, CosetCircuitsError)
        ), (words, found.exception)
    return count


# Which way each ``if`` of the parsers went.

PARSERS = [
    (permutations, ("as_images", "_images", "_read_cycles")),
    (group_names, ("group", "_by_name", "whole")),
    (sys.modules["coset_circuits.groups.group"], ("check_table",)),
    (
        options,
        ("number_of_pairs", "seed_numbers", "checkpoint_steps", "recipe_fields", "hypotheses"),
    ),
    (mlp, ("check_pairs", "check_names")),
    (thresholds, ("__post_init__", "_is_size")),
    (recipes, ("recipe_for", "_check")),
]


def branches():
    """How many of the two ways of every ``if`` in the parsers some thousand inputs take."""
    steps = defaultdict(set)
    files = {module.__file__ for module, _ in PARSERS}

    def tracer(frame, event, argument):
        if frame.f_code.co_filename not in files:
            return None
        last = [frame.f_lineno]

        def line(frame, event, argument):
            if event in ("line", "return", "exception"):
                after = -1 if event == "return" else frame.f_lineno
                steps[frame.f_code.co_filename].add((last[0], after))
                last[0] = frame.f_lineno
            return line

        return line

    group_names._by_name.cache_clear()
    sys.settrace(tracer)
    try:
        for number, (attempt, count) in enumerate(ENTRIES.values()):
            rng = np.random.default_rng(100 + number)
            for _ in range(count // 20):
                attempt(rng)
    finally:
        sys.settrace(None)
    taken = possible = 0
    for module, names in PARSERS:
        for node in ast.walk(ast.parse(Path(module.__file__).read_text())):
            if isinstance(node, ast.FunctionDef) and node.name in names:
                for test in (n for n in ast.walk(node) if isinstance(n, ast.If)):
                    tested = range(test.test.lineno, test.test.end_lineno + 1)
                    body = test.body[0].lineno
                    after = {b for a, b in steps[module.__file__] if a in tested}
                    possible += 2
                    taken += (body in after) + bool(after - {body} - set(tested))
    return taken, possible


# Properties, by hypothesis.


@settings(max_examples=60, deadline=None)
@given(st.permutations(range(6)))
def test_cycles_of_any_permutation_are_read_back(images):
    text = permutations.cycle_notation(images)
    found = permutations.as_images([text])[0].tolist()
    assert found + list(range(len(found), 6)) == list(images)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["S3", "Q8", "D5", "A4"]), st.randoms(use_true_random=False))
def test_a_group_under_any_names_is_accepted_and_itself(name, random):
    base = group(name)
    order = list(range(base.order))
    random.shuffle(order)
    table = base.relabelled(np.array(order)).array
    found = FiniteGroup.from_table(table)
    assert sorted(found.element_orders) == sorted(base.element_orders)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=20))
def test_any_text_is_a_group_or_a_sentence(text):
    try:
        found = named_group(text)
    except CosetCircuitsError:
        return
    assert found.order <= families.LARGEST_ORDER


@settings(max_examples=30, deadline=None)
@given(st.lists(st.permutations(range(4)), min_size=1, max_size=3))
def test_generators_give_the_least_closed_set(generators):
    found = from_generators([list(g) for g in generators])
    elements = {tuple(p) for p in found.permutations.tolist()}
    assert {tuple(g) for g in generators} <= elements
    assert all(tuple(a[i] for i in b) in elements for a in elements for b in elements)
    assert 24 % len(elements) == 0


def test_what_fuzzing_found_stays_mended():
    cases = [
        (named_group, "C2^0320000000000"),
        (options.number_of_pairs, "9" * 5000),
        (
            lambda text: recipes.recipe_for(group("S3"), "fast", options.recipe_fields([text])),
            "d_mlp=[1]",
        ),
        (permutations.as_images, [[0.9, 1.2]]),
        (permutations.as_images, [["a"]]),
        (FiniteGroup.from_table, torch.zeros(2, 2, dtype=torch.bfloat16)),
        (NETWORK, torch.zeros(1, 2, dtype=torch.complex64)),
        (NETWORK, torch.zeros(1, 2, dtype=torch.uint8)),
        (lambda value: Thresholds(fvu=value), float("nan")),
        (lambda seed: cc.compare(NETWORK, seed=seed), -1),
    ]
    for call, given_ in cases:
        with pytest.raises(CosetCircuitsError):
            call(given_)
