"""Every Python block of README.md and docs/ runs, page by page, in an empty folder."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path) -> list[str]:
    """Each block behind as many empty lines as stand before it, for true line numbers.

    Tracebacks show them, and nnsight reads the source of its ``with`` blocks there.
    """
    text = page.read_text()
    found = re.finditer(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return ["\n" * text[: block.start(1)].count("\n") + block[1] for block in found]


@pytest.mark.slow
@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p)], ids=lambda p: p.name)
def test_examples_run(page, tmp_path, monkeypatch):
    for needed in re.findall(r"^<!-- needs: (\w+) -->$", page.read_text(), re.MULTILINE):
        pytest.importorskip(needed, reason=f"{page.name} needs {needed}, which is not installed")
    monkeypatch.chdir(tmp_path)
    namespace: dict = {}
    for block in blocks(page):
        exec(compile(block, str(page), "exec"), namespace)
    if page.name == "README.md":
        assert (tmp_path / "report" / "report.html").stat().st_size > 10_000


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target
