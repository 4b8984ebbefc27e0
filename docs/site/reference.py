"""The reference: every public name of every part, read from its ``__all__``, documented once."""

import ast
import re
from pathlib import Path
from typing import Any

import griffe

ROOT = Path(__file__).parents[2]
MODULES = griffe.load("coset_circuits", search_paths=[ROOT]).modules_collection
PAGES = sorted((ROOT / "docs" / "reference").glob("*.md"))
ROLE = re.compile(r":(?:attr|class|data|func|meth|mod):`~?([^`]+)`")
SHARED = re.compile(r"^( +)((?:\w+, )+\w+): (.*(?:\n\1 +.*)*)", re.MULTILINE)


class AsMarkdown(griffe.Extension):
    """What the docstrings write and mkdocstrings does not read.

    Of ``:func:`name``` the name stays; ``a, b: text`` becomes a line for each of the two.
    """

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring:
            obj.docstring.value = SHARED.sub(_apart, ROLE.sub(r"`\1`", obj.docstring.value))


def _apart(shared: re.Match[str]) -> str:
    indent, names, text = shared.groups()
    return "\n".join(f"{indent}{name}: {text}" for name in names.split(", "))


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """A page of the reference ends with what its part of the package offers."""
    folder, _, name = page.file.src_uri.rpartition("/")
    if folder != "reference":
        return markdown
    if name == "index.md":
        return "\n\n".join([markdown, *_package()])
    part = f"coset_circuits.{name.removesuffix('.md')}"
    blocks = [f"::: {home}" for home in homes(part).values()]
    return "\n\n".join([markdown, MODULES[part].docstring.value, *blocks])


def _package() -> list[str]:
    """Every name of the package itself, and in full those that no part has."""
    parts = [f"coset_circuits.{page.stem}" for page in PAGES if page.stem != "index"]
    elsewhere = {home for part in parts for home in homes(part).values()}
    found = homes("coset_circuits")
    rows = [f"| [`{name}`][{home}] | {_sentence(home)} |" for name, home in found.items()]
    rest = [f"::: {home}" for home in found.values() if home not in elsewhere]
    return ["\n".join(["| `cc.` | |", "|---|---|", *rows]), *rest]


def homes(module: str) -> dict[str, str]:
    """Where each name of ``__all__`` is defined.

    Read from the imports: a function with the name of its module hides behind it otherwise.
    """
    body = ast.parse(_file(module).read_text()).body
    lines = [line for node in body for line in (node.body if isinstance(node, ast.If) else [node])]
    found, names = {}, []
    for line in lines:
        if isinstance(line, ast.ImportFrom):
            found |= {alias.name: line.module for alias in line.names}
        elif isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) == "__all__":
            names = ast.literal_eval(line.value)
    return {name: _follow(found.get(name), name) or f"{module}.{name}" for name in names}


def _follow(module: str | None, name: str) -> str | None:
    """Packages only pass names on; files define them."""
    if module is None:
        return None
    return homes(module)[name] if _file(module).name == "__init__.py" else f"{module}.{name}"


def _file(module: str) -> Path:
    path = ROOT / module.replace(".", "/")
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _sentence(path: str) -> str:
    """The first line of what is written about a name."""
    docstring = MODULES[path].docstring
    return ROLE.sub(r"`\1`", docstring.value.splitlines()[0]) if docstring else ""
