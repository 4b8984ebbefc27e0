"""Fig. 3: an F20 neuron's left pre-activations concentrate on its cosets."""

from coset_circuits.reproduction.forming import Wanted, artifact

ARTIFACT = artifact(
    "fig3",
    "An F20 neuron forming",
    "Stander et al., Fig. 3 and Section 6.1 (neuron 115 of seed 11)",
    Wanted("F20", 6, ("left",), (5.23, 2.96), (9.06, "< 1e-5")),
)
