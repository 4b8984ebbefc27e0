"""``coset-circuits networks``."""

from __future__ import annotations

from coset_circuits.cli.options import Json
from coset_circuits.cli.running import conclude, network_facts


def networks(as_json: Json = False) -> None:
    """List the networks that ship with the package."""
    from coset_circuits.networks import load, shipped
    from coset_circuits.report.terminal import print_networks

    loaded = [load(name) for name in shipped()]
    training = ("command", "steps", "seed", "sha256")
    conclude(
        lambda: [network_facts(n) | {key: n.provenance[key] for key in training} for n in loaded],
        lambda: print_networks(loaded),
        as_json=as_json,
    )
