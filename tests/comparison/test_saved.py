"""Comparisons are loaded as they were saved."""

import json

import pytest

import coset_circuits as cc
from coset_circuits import CosetCircuitsError
from coset_circuits.networks import planted_coset, planted_gcr


@pytest.fixture(scope="module")
def networks():
    return [planted_coset(cc.group("S3"), "C2"), planted_gcr(cc.group("C3"))]


def test_one_network_has_the_same_findings(networks, tmp_path):
    comparison = cc.compare(networks[0], ["coset"], out=tmp_path)
    for path in (tmp_path, tmp_path / "findings.json"):
        loaded = cc.load_comparison(path)
        assert loaded.to_dict() == json.loads(json.dumps(comparison.to_dict()))
    assert loaded.verdict == comparison.verdict


def test_several_networks_print_and_save_the_same(networks, tmp_path):
    ensemble = cc.compare([*networks, networks[0]], ["coset"], out=tmp_path / "reports")
    ensemble.save(tmp_path / "reports")
    loaded = cc.load_comparison(tmp_path / "reports")
    assert isinstance(loaded, cc.Ensemble) and len(loaded.skipped) == 1
    assert loaded.to_dict() == json.loads(json.dumps(ensemble.to_dict()))
    assert str(loaded) == str(ensemble)
    report = (tmp_path / "reports" / "report.html").read_text()
    loaded.save(tmp_path / "reports")
    assert (tmp_path / "reports" / "report.html").read_text() == report


@pytest.mark.parametrize("content", [None, "[]", "{", '{"schema": 1}', '{"networks": [1]}', "{}"])
def test_what_is_no_comparison_is_refused(content, tmp_path):
    if content is not None:
        (tmp_path / "findings.json").write_text(content)
    with pytest.raises(CosetCircuitsError, match=r"findings\.json|schema"):
        cc.load_comparison(tmp_path)
