"""Each notebook runs from top to bottom, and what it shows is what its code computes."""

import base64
import json
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
NOTEBOOKS = {
    path.stem: json.loads(path.read_text())["cells"] for path in sorted(DOCS.glob("*.ipynb"))
}
each_notebook = pytest.mark.parametrize("name", NOTEBOOKS)


def code(name: str) -> list[dict]:
    return [cell for cell in NOTEBOOKS[name] if cell["cell_type"] == "code"]


def stored_text(cell: dict) -> str:
    return "".join(
        "".join(output["text"]) for output in cell["outputs"] if output["output_type"] == "stream"
    )


def stored_pictures(cell: dict) -> list[bytes]:
    found = (output.get("data", {}).get("image/png") for output in cell["outputs"])
    return [base64.b64decode(picture) for picture in found if picture]


def check_tutorial(namespace: dict, folder: Path) -> None:
    assert set(namespace["comparison"].verdict.refuted) == {"bilinear"}
    assert namespace["negative"].verdict.explained_by == ()
    assert (folder / "report" / "report.html").stat().st_size > 10_000


def check_transformer(namespace: dict, folder: Path) -> None:
    """Attention at its mean changes no answer; the hidden layer at its mean leaves chance."""
    network, pairs = namespace["network"], namespace["pairs"]
    shares = []
    for site in ("blocks.0.attn.hook_pattern", "hook_post"):
        logits = network.run_with_hooks(pairs, fwd_hooks=[(site, namespace["to_mean"])])
        shares.append(float((logits.argmax(1) == namespace["answers"]).double().mean()))
    assert shares[0] == 1 and shares[1] < 0.02
    assert namespace["comparison"].verdict.explained_by == ("coset-irrep",)


@pytest.mark.slow
@each_notebook
def test_cells_give_what_is_stored(name, tmp_path, monkeypatch, capsys):
    plt = pytest.importorskip("matplotlib.pyplot")
    monkeypatch.chdir(tmp_path)
    plt.switch_backend("agg")
    namespace: dict = {}
    for number, cell in enumerate(code(name), start=1):
        capsys.readouterr()
        exec(compile("".join(cell["source"]), f"cell {number}", "exec"), namespace)
        printed, figures = capsys.readouterr().out, len(plt.get_fignums())
        plt.close("all")
        assert figures == len(stored_pictures(cell)), f"cell {number}"
        # Digits may differ between machines; what kind of thing is said may not.
        assert words(printed) == words(stored_text(cell)), f"cell {number}"
    {"tutorial": check_tutorial, "transformer": check_transformer}[name](namespace, tmp_path)


def words(text: str) -> list[str]:
    return [word for word in text.split() if not any(c.isdigit() for c in word)]


@each_notebook
def test_pictures_are_small_and_cells_were_run_in_order(name):
    cells = code(name)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    pictures = [picture for cell in cells for picture in stored_pictures(cell)]
    assert len(pictures) >= 3
    for picture in pictures:
        assert picture.startswith(b"\x89PNG") and len(picture) < 100_000


@each_notebook
def test_pictures_have_a_text_alternative(name):
    for cell in code(name):
        assert bool(stored_pictures(cell)) == bool(cell["metadata"].get("alt"))


@each_notebook
def test_links_lead_somewhere(name):
    cells = NOTEBOOKS[name]
    text = "".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    links = [part.split(")")[0] for part in text.split("](")[1:]]
    assert links
    for target in links:
        assert (DOCS / target).exists(), target
