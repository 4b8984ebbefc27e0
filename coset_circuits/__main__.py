"""``python -m coset_circuits`` is the command ``coset-circuits``."""

from coset_circuits.cli import main

main()
