"""Claims that every hypothesis can make; each is an attribute of the algorithm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

CLAIM_NOTES: Mapping[str, str] = {
    "even": "+even: the hypothesis also claims that the linear half of the activation cancels in "
    "the logits (ReLU(t) = t/2 + |t|/2).",
    "joint": "+joint: the unembedding's levels, as many as before, are fitted together to the "
    "network's logits instead of neuron by neuron.",
}
"""A description of each further claim, for reports."""


def named_claims(algorithm: object) -> tuple[str, ...]:
    """The names of the further claims that an algorithm makes."""
    return tuple(claim for claim in CLAIM_NOTES if getattr(algorithm, claim))


def claims_suffix(claims: Sequence[str]) -> str:
    """The part of an algorithm's name for its claims, such as ``+even+joint``."""
    return "".join(f"+{claim}" for claim in claims)
