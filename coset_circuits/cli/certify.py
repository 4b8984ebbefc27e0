"""``coset-circuits certify``."""

from __future__ import annotations

from typing import Annotated

import typer

from coset_circuits.cli.options import Json, Order, hypotheses
from coset_circuits.cli.running import conclude, network_facts, progress_bar


def certify(
    network: Annotated[
        str, typer.Argument(help="A shipped name, a file or a checkpoint.", metavar="NETWORK")
    ] = "s5",
    algorithms: Annotated[
        str, typer.Option(help="Hypotheses to prove the bound from, separated by commas.")
    ] = "coset,rho-set,irrep,coset-irrep,mixed",
    budget: Annotated[
        float, typer.Option(help="Budget of operations, as a share of running every pair.")
    ] = 0.25,
    order: Order = None,
    as_json: Json = False,
) -> None:
    """Prove a lower bound on a network's accuracy over all pairs, from each hypothesis."""
    chosen = hypotheses(algorithms)
    from coset_circuits.experiments.certificate import certificates
    from coset_circuits.networks import load
    from coset_circuits.report.certificates import certified, print_certificates

    loaded = load(network, order=order)
    with progress_bar(hidden=as_json) as progress:
        result = certificates(loaded, chosen, budget, progress)
    conclude(
        lambda: {
            "network": network_facts(loaded),
            "certificates": [
                {**part.certificate.to_dict(), "algorithm": key}
                for key, part in certified({"certificate": result}).items()
            ],
        },
        lambda: print_certificates(loaded, result),
        as_json=as_json,
    )
