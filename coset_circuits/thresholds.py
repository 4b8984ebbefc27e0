"""Every threshold of the library, in one place. They travel with each result and are printed."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from coset_circuits.errors import CosetCircuitsError


@dataclass(frozen=True)
class Thresholds:
    """What counts as explained, negligible, different or predicted."""

    fvu: float = 1e-2
    """A side of a neuron is explained when this fraction of its variance is left, or less."""
    interaction: float = 1e-2
    """Hypotheses about a left and a right table do not apply where more than this share of the
    pre-activations' variance is an interaction of the two inputs."""
    salience: float = 1e-3
    """A neuron is negligible below this share of the median salience of the others."""
    similarity: float = 0.005
    """Key irreps have a logit similarity above this (the choice of Chughtai et al.)."""
    rcond: float = 1e-2
    """Singular values below this share of the largest count as nothing, in decoding ρ(a) and in the
    span in which the linear half cancels."""
    joint_noise: float = 0.3
    """The unembedding's levels are fitted together as if each pre-activation had noise of this many
    of its standard deviations. From 0.03 to 1 the prediction error on grokked S5 networks changes
    by less than what separates the hypotheses."""
    order_accuracy: float = 0.15
    """No element order of a foreign checkpoint that explains less of its answers is accepted. Wrong
    orders reach 0.09 on a grokked A5 network; a memorised one scores its training share."""
    repair_votes: float = 16.0
    """A Cayley table with mistakes is found again where associativity gives an entry so many right
    votes: of random mistakes in tables of order 6 to 120, in 99.8% or more."""
    group_agreement: float = 7 / 9
    """The share of equal entries that Cayley tables of different groups cannot exceed (Ivanyos, Le
    Gall and Yoshida 2012)."""
    rival_share: float = 8 / 9
    """An element order is refused where another group explains more than this share of what it
    explains: halfway between 1 and 7/9, the most that is expected where mistakes are random."""
    separation_accuracy: float = 0.01
    """Two predictions differ when their accuracies differ by more than this, …"""
    separation_log_loss: float = 0.5
    """… or their log10 losses by more than this."""
    loss_floor: float = 1e-16
    """Smaller losses, in nats, count as this."""
    refutation_log_loss: float = 2.0
    """A hypothesis is refuted by a row that it misses by more than this many decades of loss, …"""
    refutation_accuracy: float = 0.5
    """… or by more than this accuracy, …"""
    rival_ratio: float = 0.25
    """… where a rival makes at most this share of that error and does not itself miss the row."""
    spoken: float = 0.5
    """A hypothesis that explains is silent on fewer than this share of the interventions, …"""
    coverage: float = 0.5
    """… explains at least this share of the neurons that matter, …"""
    prediction_log_loss: float = 1.0
    """… has a median log10-loss error of at most this, …"""
    prediction_accuracy: float = 0.1
    """… a mean accuracy error of at most this, …"""
    prediction_r2: float = 0.8
    """… accounts in the median for at least this share of the variance of the network's logits,
    pair by pair (loss and accuracy alone are predicted by any logits of the right size where the
    network is never right), … The best forms of cosets and irreps reach 0.91 to 1.00 on grokked S5,
    A5, D59 and C118 networks; memorised and untrained ones leave 0, and coset circuits whose
    outputs were permuted at most 0.6 of order 8 and 0.41 of order 24."""
    control_ratio: float = 0.5
    """… and at most this share of the same hypothesis's error on the relabelled group."""
    freedom: float = 0.05
    """A scrub is vacuous when it leaves the input less than this share of its entropy. Cosets of
    two elements leave 0.15 on S5, 0.11 on S6; a few sign neurons among faithful irreps 0.02 to
    0.05."""
    fidelity_log_loss: float = 0.1
    """A network with quantised tables still behaves like itself while its log10 losses under the
    interventions change, in the median, by at most this many decades."""
    fidelity_cap: float = 0.3
    """The coarsest quantisation that is tried, in standard deviations of each column: where the
    network behaves like itself up to here, there is no grokked behaviour that could be lost."""
    dither_draws: float = 3
    """How many random dithers the fidelity point is measured with."""
    as_short: float = 1.05
    """A hypothesis is longer than another where it needs more than this many times its bits. How
    choices are named moves lengths by some bits a neuron, which is up to 5% of them."""
    least_pairs: float = 100
    """A verdict needs this many pairs, or all that the group has."""
    relative_errors: tuple[float, ...] = (0.3, 0.1, 0.03)
    """Further precisions, in standard deviations, at which description lengths are given."""
    coding_error: float = 0.05
    """The precision at which a fit chooses structure by bits when it is given none."""
    significance: float = 0.05
    """Over networks, p-values up to this count after Holm's correction; intervals hold 1 − this."""
    equivalence_log_loss: float = 0.1
    """Prediction errors whose difference lies within ± this many decades are as good as equal.
    Other noise (another seed) moves the error on one network by up to 0.07."""
    equivalence_bits: float = 10.0
    """The same for bits per neuron: three levels at a relative error of 0.1."""
    no_difference: float = 1e-9
    """Smaller paired differences are rounding and count as none."""
    grokked_accuracy: float = 0.99
    """A network has learnt its group when it is right on this share of all pairs, or more. In the
    paper's figures the others are controls."""
    concentrations: tuple[float, ...] = (1, 0.5, 0.1, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8)
    """Where ablation by concentration cuts the neurons: the levels of Fig. 5 of Stander et al."""

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
