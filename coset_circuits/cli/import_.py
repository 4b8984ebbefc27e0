"""``coset-circuits import``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from coset_circuits.cli.options import Json, Order
from coset_circuits.cli.running import conclude, network_facts, progress_bar


def import_(
    file: Annotated[str, typer.Argument(help="A checkpoint of another project: file or folder.")],
    out: Annotated[
        Path | None, typer.Option(help="File to write (default: NAME.safetensors).")
    ] = None,
    order: Order = None,
    as_json: Json = False,
) -> None:
    """Convert another project's checkpoint to our format, measuring its conventions."""
    from coset_circuits.findings.storage import file_name
    from coset_circuits.networks import load, save

    with progress_bar("finding the element order", hidden=as_json):
        network = load(file, order=order)
    target = Path(f"{file_name(network.label)}.safetensors") if out is None else out
    written = save(network, target)
    element_order = network.provenance.get("element_order")
    conclude(
        lambda: network_facts(network) | {"element_order": element_order, "file": str(written)},
        lambda: print(
            f"{network!r}\nElement order: {element_order or 'ours already'}. Wrote {written}"
        ),
        as_json=as_json,
    )
