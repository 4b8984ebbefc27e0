"""Tables, figures and the HTML page of a comparison."""

from coset_circuits.report.folder import save
from coset_circuits.report.terminal import plain_text, print_comparison

__all__ = ["plain_text", "print_comparison", "save"]
