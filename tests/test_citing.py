"""What docs/citing.md gives of this software and its paper is what CITATION.cff says."""

import re
from pathlib import Path

import yaml

import coset_circuits as cc

ROOT = Path(__file__).parents[1]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text())
PAGE = (ROOT / "docs" / "citing.md").read_text()
ENTRIES = re.findall(r"^@\w+\{.*?^\}", PAGE, re.DOTALL | re.MULTILINE)


def fields(entry):
    """The fields of a BibTeX entry, without the braces that keep capitals."""
    found = re.findall(r"(\w+) += \{(.*?)\},\n", entry, re.DOTALL)
    return {name: " ".join(re.sub(r"[{}]", "", value).split()) for name, value in found}


def test_the_software():
    mine = fields(ENTRIES[0])
    (author,) = CITATION["authors"]
    assert mine == {
        "title": CITATION["title"],
        "author": author["name"],
        "version": CITATION["version"],
        "license": CITATION["license"],
    }
    assert mine["version"] == cc.__version__


def test_the_papers():
    papers = {entry["title"]: entry for entry in map(fields, ENTRIES[1:])}
    assert len(CITATION["references"]) >= 2
    for reference in CITATION["references"]:
        paper = papers[reference["title"]]
        authors = [f"{a['family-names']}, {a['given-names']}" for a in reference["authors"]]
        assert paper["author"] == " and ".join(authors)
        assert paper["year"] == str(reference["year"])
        assert paper.get("booktitle") == reference.get("collection-title")


def test_every_entry_is_whole():
    keys = [re.match(r"@\w+\{(\w+),", entry)[1] for entry in ENTRIES]
    assert len(set(keys)) == len(keys) == PAGE.count("\n@")
    for entry in ENTRIES:
        assert entry.count("{") == entry.count("}")
        assert {"title", "author"} <= set(fields(entry))
