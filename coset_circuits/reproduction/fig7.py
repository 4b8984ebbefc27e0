"""Fig. 7: an S3×S2 neuron forms, both sides."""

from coset_circuits.reproduction.forming import Wanted, artifact

ARTIFACT = artifact(
    "fig7",
    "An S3×S2 neuron forming",
    "Stander et al., Fig. 7",
    Wanted("S3xS2", 10, ("left", "right")),
)
