"""Notebooks as pages: their text, their code, and the output that is stored with it."""

import json
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files


def on_files(files: Files, *, config: Any) -> Files:
    """Beside each notebook, which stays to be downloaded, a page of it."""
    for file in [file for file in files if file.src_uri.endswith(".ipynb")]:
        path = Path(file.src_uri)
        content = as_markdown(json.loads(file.content_string), path.name)
        files.append(File.generated(config, path.with_suffix(".md").as_posix(), content=content))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """What links to a notebook in the repository leads to its page on the site."""
    return markdown.replace(".ipynb)", ".md)")


def as_markdown(notebook: dict[str, Any], name: str) -> str:
    """Stored output is not made anew: the tests run the cells and compare."""
    heading, *cells = notebook["cells"]
    link = f"*This page is a notebook: [{name}](<{name}>). Its output is as stored in it.*"
    return "\n\n".join(["".join(heading["source"]), link, *map(_cell, cells)])


def _cell(cell: dict[str, Any]) -> str:
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        return source
    outputs = [_output(output, cell["metadata"]) for output in cell["outputs"]]
    return "\n\n".join([_fenced("python", source), *outputs])


def _output(output: dict[str, Any], metadata: dict[str, Any]) -> str:
    if output["output_type"] == "stream":
        return _fenced("{.text .output}", "".join(output["text"]).rstrip("\n"))
    picture = "".join(output["data"]["image/png"]).replace("\n", "")
    return f"![{metadata['alt']}](data:image/png;base64,{picture})"


def _fenced(language: str, text: str) -> str:
    return f"```{language}\n{text}\n```"
