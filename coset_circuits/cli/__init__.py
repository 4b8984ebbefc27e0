"""The command ``coset-circuits``, one file per command; ``main`` is its entry point."""

from coset_circuits.cli.app import app, main

__all__ = ["app", "main"]
