"""Figures of patching and ablation show the figures of their tables."""

import matplotlib.figure
import numpy as np
import pytest

import coset_circuits as cc
from coset_circuits import CosetCircuitsError
from coset_circuits.experiments.ablation import ablation, ablation_by_threshold, minimality
from coset_circuits.experiments.patching import activation_patching
from coset_circuits.experiments.path_patching import path_patching
from coset_circuits.report.patching_figures import (
    attribution_scatter,
    heat_map,
    minimality_curve,
    threshold_curve,
)
from coset_circuits.report.style import look, svg


@pytest.fixture
def axes():
    with look():
        yield matplotlib.figure.Figure().add_subplot()


@pytest.fixture(scope="module")
def circuit(coset_network):
    return cc.CosetAlgorithm().fit(coset_network)


def test_a_heat_map_writes_every_recovery(untrained, axes):
    found = activation_patching(untrained, {"one": [0], "two": [1, 2]}, controls=0)
    assert heat_map(found, axes) is axes
    table = found.table().to_numpy()
    written = [text.get_text().replace("−", "-") for text in axes.texts]
    expected = [f"{x:.2f}" for x in table.ravel() if not np.isnan(x)]
    assert [float(x) for x in written] == [float(x) for x in expected]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["all", "one", "two"]
    assert [label.get_text() for label in axes.get_xticklabels()][2] == "left_pre"
    assert "logit difference" in axes.get_xlabel()


def test_of_many_neurons_only_shades_are_drawn(untrained, axes):
    heat_map(activation_patching(untrained, controls=0, metrics=("logit_difference",)), axes)
    assert not axes.texts
    # 32 neurons at four sites; beside all of them at once they would be too pale.
    assert len(axes.collections[0].get_paths()) == 32 * 4


def test_a_scatter_has_one_point_a_patch(untrained, axes):
    found = activation_patching(untrained, controls=0, metrics=("logit_difference",))
    attribution_scatter(found, axes)
    assert [len(line.get_xdata()) for line in axes.lines] == [32] * 4 + [2]
    post = axes.lines[3]
    assert np.allclose(post.get_xdata(), post.get_ydata(), atol=1e-12)


def test_the_threshold_curve_has_its_control(circuit, axes):
    found = ablation_by_threshold(circuit, controls=2)
    threshold_curve(found, axes)
    above, control_above, below, _ = axes.lines
    assert above.get_ydata().tolist() == [1] * 9
    assert below.get_ydata()[0] == pytest.approx(1 / 24)
    assert len(control_above.get_xdata()) == 9 and axes.get_xscale() == "log"


def test_the_minimality_curve_ends_with_all(circuit, axes):
    groups = {f"block {i}": list(range(48 * i, 48 * i + 48)) for i in range(3)}
    minimality_curve(minimality(circuit.network, groups, controls=1, pairs=48), axes)
    assert axes.lines[0].get_xdata().tolist() == [48, 96, 144]
    assert axes.lines[0].get_ydata()[-1] == 1


def test_a_figure_becomes_the_same_svg_twice(untrained):
    found = path_patching(untrained, {"one": [0]}, controls=0)

    def drawn():
        with look():
            figure = matplotlib.figure.Figure()
            heat_map(found, figure.add_subplot())
        return svg(figure, "paths")

    assert drawn() == drawn() and "left · odd · logits" in drawn()


def test_results_of_another_experiment_are_refused(untrained, axes):
    removed = ablation(untrained, {"g": [0]}, controls=0)
    with pytest.raises(CosetCircuitsError, match="has no thresholds to draw"):
        threshold_curve(removed, axes)
    with pytest.raises(CosetCircuitsError, match="has no steps to draw"):
        minimality_curve(removed, axes)
    paths = path_patching(untrained, {"g": [0]}, controls=0)
    with pytest.raises(CosetCircuitsError, match="path patching has no attribution"):
        attribution_scatter(paths, axes)
