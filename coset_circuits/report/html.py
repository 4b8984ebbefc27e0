"""The pieces of a self-contained page, for any width, light and dark, and print."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib import resources
from typing import Any

from coset_circuits.report import tables as t


def _beside(name: str) -> str:
    return (resources.files("coset_circuits.report") / name).read_text(encoding="utf-8")


def document(title: str, sections: Iterable[str], lead: str = "", data: Any = None) -> str:
    """A page made from its title (text) and sections (HTML); empty sections are left out.

    ``data`` is the neuron data that the page's script draws. Whatever the page contains, a browser
    fetches nothing for it and runs no other script.
    """
    heading = escaped(title)
    script = _beside("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    allowed = f"script-src 'sha256-{digest}'"
    policy = f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; {allowed}"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<link rel="icon" href="data:,">\n'
        f"<title>{heading}</title>\n<style>\n{_beside('page.css')}</style>\n</head>\n<body>\n"
        f"<main>\n<h1>{heading}</h1>\n{lead}"
        + "\n".join(s for s in sections if s)
        + "\n</main>\n"
        + ("" if data is None else embedded("neuron-data", data))
        + f"<script>{script}</script>\n</body>\n</html>\n"
    )


def embedded(name: str, data: Any) -> str:
    """Data for a page's script; nothing in it can end the element or be read as HTML."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return f'<script type="application/json" id="{name}">{text}</script>\n'


def escaped(value: str) -> str:
    return escape(t.clean(value))


def broken(value: str) -> str:
    """Escaped text that may wrap after signs inside a name, but not inside a quantity."""
    text = re.sub(r"([-+,_])(?=\S)", r"\1<wbr>", escaped(value))
    return re.sub(r"\|[^|]+\||δ = \S+", r'<span class="whole">\g<0></span>', text)


def section(title: str, *content: str, name: str = "") -> str:
    """A section of the page; a ``name`` makes its heading a link target."""
    heading = f'<h2 id="{name}">{title}</h2>' if name else f"<h2>{title}</h2>"
    return f"<section>\n{heading}\n" + "\n".join(c for c in content if c) + "\n</section>"


def contents(sections: Iterable[str], titles: Mapping[str, str]) -> str:
    """Links to the sections that exist, by ``name`` and short title."""
    there = "".join(sections)
    links = "".join(
        f'<li><a href="#{name}">{escaped(title)}</a></li>'
        for name, title in titles.items()
        if f'<h2 id="{name}">' in there
    )
    return f'\n<nav aria-label="Contents"><ul>{links}</ul></nav>\n'


def paragraph(text: str, style: str = "") -> str:
    return f'<p class="{style}">{escaped(text)}</p>' if style else f"<p>{escaped(text)}</p>"


def points(texts: Iterable[str]) -> str:
    """A numbered list."""
    return f"<ol>{''.join(f'<li>{escaped(text)}</li>' for text in texts)}</ol>"


def details(summary: str, *content: str) -> str:
    """A block that a reader can open."""
    inner = "\n".join(content)
    return f"<details><summary>{escaped(summary)}</summary>\n{inner}\n</details>"


def scroll(label: str, content: str) -> str:
    """A box that scrolls sideways on its own, also by keyboard."""
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escaped(label)}">\n'
        f"{content}\n</div>"
    )


def table(
    label: str, caption: str, head: Sequence[str], rows: Iterable[str], style: str = ""
) -> str:
    """A table made from heading cells and whole rows, all of them HTML."""
    kind = f' class="{style}"' if style else ""
    return scroll(
        label,
        f"<table{kind}>\n<caption>{caption}</caption>\n<thead><tr>{''.join(head)}</tr></thead>\n"
        "<tbody>\n" + "\n".join(rows) + "\n</tbody>\n</table>",
    )


def column(title: str, *, name: bool = False, style: str = "") -> str:
    kind = f' class="{style}"' if style else ' class="name"' if name else ""
    return f'<th scope="col"{kind}>{broken(title)}</th>'


def row(name: str, cells: Iterable[str], style: str = "") -> str:
    kind = f' class="{style}"' if style else ""
    return f'<tr{kind}><th scope="row" class="name">{name}</th>{"".join(cells)}</tr>'


def cell(text: str, style: str = "") -> str:
    kind = f' class="{style}"' if style else ""
    return f"<td{kind}>{escaped(text)}</td>"


def facts(facts: Iterable[tuple[str, str]]) -> str:
    items = "".join(f"<dt>{escaped(k)}</dt><dd>{escaped(v)}</dd>\n" for k, v in facts)
    return f'<dl class="facts">\n{items}</dl>'
