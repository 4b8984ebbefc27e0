"""The pictures of docs/concepts.md are what their script draws, and show what the page says."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest

import coset_circuits as cc
from coset_circuits.report.style import look, svg

DOCS = Path(__file__).parents[1] / "docs"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("pictures", DOCS / "site" / "pictures.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def words(drawn):
    """What is written in a picture; digits may differ between machines."""
    return [text for text in re.findall(r">([^<>\n]+)<", drawn) if not re.search(r"\d", text)]


def test_pictures_are_what_the_script_draws(script):
    page = (DOCS / "concepts.md").read_text()
    with look():
        drawn = {name: svg(figure, name) for name, figure in script.pictures()}
    assert [*drawn] == re.findall(r"\]\(figures/([\w-]+)\.svg\)", page)
    for name, text in drawn.items():
        assert words(text) == words((DOCS / "figures" / f"{name}.svg").read_text()), name


def test_the_neuron_is_silent_where_the_product_is_in_x_and_lowers_its_logits(script):
    network = cc.load("s4")
    neuron = script.cleanest(cc.CosetAlgorithm().fit(network), "S3")
    inside = neuron.shared[network.group.array]
    assert np.abs(neuron.pre[inside]).max() < 0.1 * np.abs(neuron.pre[~inside]).min()
    assert neuron.unembed[neuron.shared].max() < 0 < neuron.unembed[~neuron.shared].min()


def test_a_coset_of_the_first_picture_is_a_fact_about_3():
    group = cc.group("S3")
    H = group.subgroups[1]
    assert {group.labels[h] for h in H.elements} == {"e", "(1 2)"}
    sent = {"e": "3", "(1 2)": "3", "(2 3)": "2", "(1 3 2)": "2", "(1 3)": "1", "(1 2 3)": "1"}
    for labels, of in ((H.left_cosets, range(6)), (H.right_cosets, group.inverses)):
        fact = [sent[group.labels[g]] for g in of]
        cells = {(fact[g], int(labels[g])) for g in range(6)}
        assert len(cells) == len(set(fact)) == 3
