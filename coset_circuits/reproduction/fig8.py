"""Fig. 8: an A4 neuron forms, both sides."""

from coset_circuits.reproduction.forming import Wanted, artifact

ARTIFACT = artifact(
    "fig8",
    "An A4 neuron forming",
    "Stander et al., Fig. 8",
    Wanted("A4", 10, ("left", "right")),
)
