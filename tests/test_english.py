"""The worst words stay out of what a reader meets: pages, docstrings, messages, scripts."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main

from coset_circuits import cli

ROOT = Path(__file__).parents[1]

BANNED = {
    "nought": r"\bnought\b",
    "mend": r"\bmend(s|ed|ing)?\b",
    "told": r"\btold\b",
    "lies in": r"\blies in\b",
    "is no X": r"(?<!\bthere )\b(is|are|was|were) no (?!longer\b|more\b|less\b|such\b|other\b)",
    "beside nothing's": r"\bbeside nothing\b",
    "of which both are true": r"\bof which both are true\b",
    "where it is so": r"\bwhere it is so\b",
}


def texts(path: Path) -> Iterator[str]:
    """What a reader sees of a file: all of a page, the strings and comments of code."""
    source = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        yield re.sub(r"^```.*?^```", "", source, flags=re.DOTALL | re.MULTILINE)
    elif path.suffix == ".ipynb":
        cells = json.loads(source)["cells"]
        yield from ("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    else:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def found(path: Path) -> list[str]:
    return [
        f"{name}: …{match[0]}…"
        for text in texts(path)
        for name, pattern in BANNED.items()
        for match in re.finditer(rf".{{0,30}}{pattern}.{{0,30}}", " ".join(text.split()), re.I)
    ]


FILES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/*.md", "docs/*.ipynb", "coset_circuits/**/*.py", "hooks/*.py")
    for path in ROOT.glob(pattern)
)


def test_there_are_files():
    assert {"README.md", "docs/command.md", "coset_circuits/cli/compare.py"} <= set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_the_worst_words_stay_out(name):
    assert found(ROOT / name) == []


def banned(text: str) -> bool:
    return any(re.search(pattern, text, re.I) for pattern in BANNED.values())


@pytest.mark.parametrize(
    "text", ["It is no evidence.", "as was told", "it lies in a coset", "mended", "are no networks"]
)
def test_the_patterns_find_what_they_should(text):
    assert banned(text)


@pytest.mark.parametrize(
    "text", ["There is no evidence.", "It is no longer there.", "is no more than 3", "amended"]
)
def test_the_patterns_leave_plain_english_alone(text):
    assert not banned(text)


def helps() -> Iterator[str]:
    """The help of every command and option."""
    for command in typer.main.get_group(cli.app).commands.values():
        yield command.help or ""
        yield from (getattr(option, "help", None) or "" for option in command.params)


def test_no_help_text_begins_with_of():
    assert len([*helps()]) > 30
    assert [text for text in helps() if re.match(r"of\b", text, re.I)] == []
