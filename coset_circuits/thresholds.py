"""Every threshold of the library, in one place. Each result stores and prints them."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from coset_circuits.errors import CosetCircuitsError


@dataclass(frozen=True)
class Thresholds:
    """The cut-offs that decide what counts as explained, negligible, different or predicted."""

    fvu: float = 1e-2
    """One side (left or right input) of a neuron is explained when at most this fraction of its
    variance is unexplained."""
    interaction: float = 1e-2
    """Hypotheses that write a pre-activation as left table + right table do not apply when more
    than this share of the pre-activations' variance is an interaction of the two inputs."""
    salience: float = 1e-3
    """A neuron is negligible below this share of the median salience of the others."""
    similarity: float = 0.005
    """Key irreps have a logit similarity above this (the choice of Chughtai et al.)."""
    rcond: float = 1e-2
    """Singular values below this share of the largest count as zero, both in decoding ρ(a) and in
    the span in which the linear half cancels."""
    joint_noise: float = 0.3
    """The unembedding's levels are fitted jointly as if each pre-activation had noise of this size,
    in units of its standard deviation. Anywhere from 0.03 to 1, the prediction error on grokked S5
    networks changes by less than the gap between the hypotheses."""
    order_accuracy: float = 0.15
    """An element order for a foreign checkpoint must explain at least this share of the network's
    answers. On a grokked A5 network wrong orders reach 0.09. On a memorised network the right order
    scores the share of pairs that it was trained on."""
    repair_votes: float = 16.0
    """A Cayley table with mistakes can be repaired when associativity gives each entry at least
    this many right votes. With random mistakes in tables of order 6 to 120, at least 99.8% of the
    repairs succeed."""
    group_agreement: float = 7 / 9
    """The share of equal entries that Cayley tables of different groups cannot exceed (Ivanyos, Le
    Gall and Yoshida 2012)."""
    rival_share: float = 8 / 9
    """An element order is rejected when another group explains more than this share of what it
    explains. The value is halfway between 1 and 7/9, the most that random mistakes should give."""
    separation_accuracy: float = 0.01
    """Two predictions differ when their accuracies differ by more than this, …"""
    separation_log_loss: float = 0.5
    """… or their log10 losses by more than this."""
    loss_floor: float = 1e-16
    """Losses below this value, in nats, are raised to it before taking logarithms."""
    refutation_log_loss: float = 2.0
    """A row of results refutes a hypothesis that misses it by more than this many decades of
    loss, …"""
    refutation_accuracy: float = 0.5
    """… or by more than this accuracy, …"""
    rival_ratio: float = 0.25
    """… provided that a rival's error is at most this share of it and the rival does not miss the
    row itself."""
    spoken: float = 0.5
    """An explaining hypothesis makes no prediction for fewer than this share of the interventions,
    …"""
    coverage: float = 0.5
    """… explains at least this share of the neurons that matter, …"""
    prediction_log_loss: float = 1.0
    """… has a median log10-loss error of at most this, …"""
    prediction_accuracy: float = 0.1
    """… a mean accuracy error of at most this, …"""
    prediction_r2: float = 0.8
    """… explains at least this share of the variance of the network's logits over pairs (the
    median), … Loss and accuracy alone are not enough: when the network is never right, any logits
    of the right size predict them. The best forms of cosets and irreps reach 0.91 to 1.00 on
    grokked S5, A5, D59 and C118 networks. They reach 0 on memorised and untrained networks. On
    coset circuits with permuted outputs they reach at most 0.6 at order 8 and 0.41 at order 24."""
    control_ratio: float = 0.5
    """… and at most this share of the same hypothesis's error on the relabelled group."""
    freedom: float = 0.05
    """A scrub is vacuous when it resamples less than this share of the input's entropy. The share
    for cosets of two elements is 0.15 on S5 and 0.11 on S6. For a few sign neurons among faithful
    irreps it is 0.02 to 0.05."""
    fidelity_log_loss: float = 0.1
    """Quantising the tables preserves a network's behaviour while its log10 losses under the
    interventions change by at most this many decades (the median)."""
    fidelity_cap: float = 0.3
    """The coarsest quantisation that is tried, in standard deviations of each column. A network
    whose behaviour survives even this has no grokked behaviour to lose."""
    dither_draws: float = 3
    """The number of random dithers used to measure the fidelity point."""
    as_short: float = 1.05
    """A hypothesis is longer than another when it needs more than this many times as many bits.
    The encoding of choices is a convention that moves a length by a few bits a neuron, up to
    5%."""
    least_pairs: float = 100
    """A verdict needs this many pairs, or all pairs of a smaller group."""
    relative_errors: tuple[float, ...] = (0.3, 0.1, 0.03)
    """Further precisions, in standard deviations, at which description lengths are given."""
    coding_error: float = 0.05
    """The precision at which a fit chooses structure by bits when it is given none."""
    significance: float = 0.05
    """The significance level over networks, after Holm's correction; intervals cover 1 − this."""
    equivalence_log_loss: float = 0.1
    """Prediction errors within ± this many decades of each other are equivalent. Changing only the
    noise (another seed) moves the error on one network by up to 0.07."""
    equivalence_bits: float = 10.0
    """The same for bits per neuron: three levels at a relative error of 0.1."""
    no_difference: float = 1e-9
    """Paired differences smaller than this are rounding errors and count as zero."""
    grokked_accuracy: float = 0.99
    """A network has learnt its group when it is right on at least this share of all pairs. The
    paper's figures use the others as controls."""
    concentrations: tuple[float, ...] = (1, 0.5, 0.1, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8)
    """The concentration levels at which neurons are ablated, from Fig. 5 of Stander et al."""

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            listed = isinstance(getattr(type(self), name), tuple)
            values = value if isinstance(value, tuple) else (value,)
            if listed != isinstance(value, tuple) or not values or not all(map(_is_size, values)):
                what = "a tuple of numbers" if listed else "one number"
                raise CosetCircuitsError(
                    f"The threshold {name} is {value!r}; give {what}, finite and not below 0."
                )
        for name in ("relative_errors", "fidelity_cap", "coding_error"):
            value = getattr(self, name)
            if not all(0 < error < 1 for error in (value if type(value) is tuple else (value,))):
                raise CosetCircuitsError(
                    f"The threshold {name} is {value}; give numbers between 0 and 1."
                )
        if self.dither_draws < 1 or self.dither_draws != int(self.dither_draws):
            raise CosetCircuitsError(
                f"The threshold dither_draws is {self.dither_draws}; give a whole number from 1 up."
            )

    def to_dict(self) -> dict[str, float | list[float]]:
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}


def _is_size(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and value >= 0


DEFAULT = Thresholds()
