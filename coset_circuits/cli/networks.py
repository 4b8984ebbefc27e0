"""``coset-circuits networks``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from coset_circuits.cli.options import Json
from coset_circuits.cli.running import conclude

CARDS = Path(__file__).parents[1] / "networks" / "zoo"
"""The cards say what is listed, so that nobody waits for torch."""


def networks(as_json: Json = False) -> None:
    """List the networks that ship with the package."""
    facts = [_facts(path) for path in sorted(CARDS.glob("*.json"))]
    conclude(lambda: facts, lambda: _print(facts), as_json=as_json)


def _facts(path: Path) -> dict[str, Any]:
    card = json.loads(path.read_bytes())
    training = card["provenance"]
    return {
        "name": path.stem,
        "group": card["group"],
        "d_mlp": training["recipe"]["d_mlp"],
        "act_fn": card["act_fn"],
        **{key: training[key] for key in ("command", "steps", "seed")},
        "sha256": card["sha256"],
    }


def _print(facts: list[dict[str, Any]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    columns = ("network", "group", "neurons", "trained by: coset-circuits train")
    table = Table(*columns, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for each in facts:
        trained = each["command"].removeprefix("coset-circuits train ")
        table.add_row(each["name"], each["group"], str(each["d_mlp"]), trained)
    Console(highlight=False).print(table)
