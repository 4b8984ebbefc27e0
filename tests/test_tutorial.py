"""The tutorial notebook runs from top to bottom, and what it shows is what its code computes."""

import base64
import json
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[1] / "docs" / "tutorial.ipynb"
CELLS = json.loads(NOTEBOOK.read_text())["cells"]
CODE = [cell for cell in CELLS if cell["cell_type"] == "code"]


def stored_text(cell: dict) -> str:
    return "".join(
        "".join(output["text"]) for output in cell["outputs"] if output["output_type"] == "stream"
    )


def stored_pictures(cell: dict) -> list[bytes]:
    found = (output.get("data", {}).get("image/png") for output in cell["outputs"])
    return [base64.b64decode(picture) for picture in found if picture]


@pytest.mark.slow
def test_cells_give_what_is_stored(tmp_path, monkeypatch, capsys):
    plt = pytest.importorskip("matplotlib.pyplot")
    monkeypatch.chdir(tmp_path)
    plt.switch_backend("agg")
    namespace: dict = {}
    for number, cell in enumerate(CODE, start=1):
        capsys.readouterr()
        exec(compile("".join(cell["source"]), f"cell {number}", "exec"), namespace)
        printed, figures = capsys.readouterr().out, len(plt.get_fignums())
        plt.close("all")
        assert figures == len(stored_pictures(cell)), f"cell {number}"
        # Digits may differ between machines; what kind of thing is said may not.
        assert words(printed) == words(stored_text(cell)), f"cell {number}"
    assert set(namespace["comparison"].verdict.refuted) == {"bilinear"}
    assert namespace["negative"].verdict.explained_by == ()
    assert (tmp_path / "report" / "report.html").stat().st_size > 10_000


def words(text: str) -> list[str]:
    return [word for word in text.split() if not any(c.isdigit() for c in word)]


def test_pictures_are_small_and_cells_were_run_in_order():
    assert [cell["execution_count"] for cell in CODE] == list(range(1, len(CODE) + 1))
    pictures = [picture for cell in CODE for picture in stored_pictures(cell)]
    assert len(pictures) >= 5
    for picture in pictures:
        assert picture.startswith(b"\x89PNG") and len(picture) < 100_000


def test_pictures_have_a_text_alternative():
    for cell in CODE:
        assert bool(stored_pictures(cell)) == bool(cell["metadata"].get("alt"))


def test_links_lead_somewhere():
    text = "".join("".join(cell["source"]) for cell in CELLS if cell["cell_type"] == "markdown")
    links = [part.split(")")[0] for part in text.split("](")[1:]]
    assert links
    for target in links:
        assert (NOTEBOOK.parent / target).exists(), target
