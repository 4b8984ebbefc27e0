"""The fidelity point: the coarsest quantisation at which a network still behaves like itself.

Description lengths are compared at this precision. A hypothesis plus its coded residual then
rebuilds the same network as the raw weights do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from statistics import median
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from coset_circuits.algorithms import Tables
from coset_circuits.experiments import INTERVENTIONS, NETWORK, Intervention
from coset_circuits.experiments.interventions import is_ours
from coset_circuits.experiments.measure import DistinctModels, Outcome, sampled
from coset_circuits.experiments.rows import Row, errors, evidence, measured_rows
from coset_circuits.experiments.threads import side_by_side
from coset_circuits.findings import without_nan
from coset_circuits.networks.model import GroupModel
from coset_circuits.progress import Progress, silent
from coset_circuits.thresholds import DEFAULT, Thresholds

PAIRS = 4_000
"""A larger number of pairs is sampled down to this one."""
FINEST = 1e-3
"""The finest quantisation tried, in standard deviations of each column."""
STEP = 3.0
"""The curve is evaluated at the cap and then at δ smaller by this ratio each time, …"""
RATIO = 1.05
"""… and refined where it crosses the threshold, to this relative precision."""
AROUND = 1.2
"""The search for later draws starts within this ratio of the first draw's point."""
_QUANTISED = "quantised"


@dataclass(frozen=True)
class FidelityPoint:
    """The behaviour of a network that was quantised to a relative error.

    Attributes:
        delta: the relative error, in standard deviations of each column of the tables.
        median_log_loss: median |Δlog10 loss| in decades over the interventions.
        accuracy: share of the sampled pairs answered correctly, without an intervention.
    """

    delta: float
    median_log_loss: float
    accuracy: float


@dataclass(frozen=True)
class Fidelity:
    """The largest quantisation at which a network still behaves like itself.

    Attributes:
        delta: the median over draws of the dither.
        interval: the smallest and largest value over the draws.
        draws: the value for each draw.
        curve: every evaluated point of all draws, sorted by δ.
        threshold: the largest median |Δlog10 loss|, in decades, that counts as the same behaviour.
        cap: the coarsest δ tried. If δ equals the cap, the true value may be larger.
        pairs: the number of pairs used.
        rows: the number of distinct interventions.
    """

    delta: float
    interval: tuple[float, float]
    draws: tuple[float, ...]
    curve: tuple[FidelityPoint, ...]
    threshold: float
    cap: float
    pairs: int
    rows: int

    @property
    def is_capped(self) -> bool:
        """Whether the network still behaves like itself at the coarsest δ tried."""
        return self.delta >= self.cap

    @property
    def deltas(self) -> tuple[float, ...]:
        """The δ at which lengths are compared: δ*, δ*/2, 2δ*, and the δ* of each draw.

        All are limited to the cap, because a coarser code leaves little of a small network.
        """
        around = (self.delta, self.delta / 2, min(2 * self.delta, self.cap), *self.draws)
        return tuple(dict.fromkeys(around))

    def length(self, bits: Mapping[float, float]) -> tuple[float, tuple[float, float]]:
        """Bits at δ*, with the smallest and largest over the draws."""
        found = [bits[delta] for delta in self.draws]
        return bits[self.delta], (min(found), max(found))

    def ratio(
        self, one: Mapping[float, float], two: Mapping[float, float]
    ) -> tuple[float, tuple[float, float]]:
        """Bits of the first over the second at δ*, with the range over :attr:`deltas`."""
        bits = {delta: (one[delta], two[delta]) for delta in self.deltas}
        ratios = {d: a / b if b else math.inf if a else 1.0 for d, (a, b) in bits.items()}
        return ratios[self.delta], (min(ratios.values()), max(ratios.values()))

    def to_dict(self) -> dict[str, Any]:
        """As it stands in findings.json."""
        return without_nan(asdict(self))

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> Fidelity:
        """What :meth:`to_dict` wrote."""
        read = {
            "interval": tuple(entry["interval"]),
            "draws": tuple(entry["draws"]),
            "curve": tuple(FidelityPoint(**point) for point in entry["curve"]),
        }
        return cls(**{**entry, **read})


def quantised(tables: Tables, delta: float, draw: int) -> Tables:
    """Quantise the tables to a relative error δ: uniform steps with subtractive dither.

    The error of every entry is uniform and independent of the table (Schuchman 1964). Its standard
    deviation is δ times that of the column. Constant columns stay exact. One draw uses the same
    dither, in units of a step, at every δ.
    """
    generator = torch.Generator().manual_seed(draw)

    def one(table: Float[Tensor, "order d_mlp"]) -> Float[Tensor, "order d_mlp"]:
        deviation = table.std(0, correction=0)
        # A column that is constant up to rounding has a deviation of pure rounding error.
        varies = deviation > 1e-12 * table.abs().amax(0)
        step = torch.where(varies, delta * deviation * math.sqrt(12), torch.ones_like(deviation))
        noise = torch.rand(table.shape, generator=generator, dtype=table.dtype) - 0.5
        return torch.where(varies, step * ((table / step + noise).round() - noise), table)

    left, right, unembed = (one(table) for table in tables)
    return Tables(left, right, unembed, tables.frame)


def fidelity(
    network: GroupModel,
    interventions: Sequence[Intervention] = tuple(INTERVENTIONS.values()),
    *,
    pairs: Int[Tensor, "pairs 2"] | None = None,
    seed: int = 0,
    thresholds: Thresholds = DEFAULT,
    progress: Progress = silent,
) -> Fidelity:
    """Find a network's fidelity point.

    The network with additive pre-activations is quantised and compared with its unquantised
    version. For an MLP this is the network itself.

    Args:
        network: the network, in float64.
        pairs: the pairs to use, all of the group's by default. A large number is sampled.
    """
    pairs = network.group.pairs() if pairs is None else pairs
    bench = _Quantiser(network, interventions, sampled(pairs, PAIRS, seed), seed, thresholds)
    count = int(thresholds.dither_draws)
    draws: list[float] = []
    for number in range(count):
        progress(f"fidelity, draw {number + 1} of {count}", number, count)
        behaves = partial(bench.behaves, seed * count + number)
        draws.append(_crossing(behaves, thresholds.fidelity_cap, draws[0] if draws else None))
    return Fidelity(
        median(draws) if count % 2 else sorted(draws)[count // 2],
        (min(draws), max(draws)),
        tuple(draws),
        tuple(sorted(bench.points, key=lambda point: point.delta)),
        thresholds.fidelity_log_loss,
        thresholds.fidelity_cap,
        len(bench.pairs),
        len(bench.rows),
    )


def _crossing(behaves: Callable[[float], bool], cap: float, near: float | None) -> float:
    """The δ at which a network stops behaving like itself, at most the cap."""
    if near is not None:
        low, high = near / AROUND, min(near * AROUND, cap)
        if behaves(low) and not (above := behaves(high)):
            return _bisected(behaves, low, high)
        if behaves(low) and above and high == cap:
            return cap
    steps = range(math.ceil(math.log(cap / FINEST, STEP)), -1, -1)
    grid = [max(FINEST, cap / STEP**k) for k in steps]
    low = grid[0]
    for delta in grid:
        if not behaves(delta):
            return low if delta == low else _bisected(behaves, low, delta)
        low = delta
    return cap


def _bisected(behaves: Callable[[float], bool], low: float, high: float) -> float:
    while high / low > RATIO:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if behaves(middle) else (low, middle)
    return low


class _Quantiser:
    """Quantised versions of one network, with a cache of their measured behaviour."""

    def __init__(
        self,
        network: GroupModel,
        interventions: Sequence[Intervention],
        pairs: Int[Tensor, "pairs 2"],
        seed: int,
        thresholds: Thresholds,
    ) -> None:
        self.network, self.pairs, self.seed, self.thresholds = network, pairs, seed, thresholds
        self.tables = Tables.of(network)
        self.points: list[FidelityPoint] = []
        self._known: dict[tuple[int, float], float] = {}
        # Two rows are equal if both the network and a quantised version answer them alike.
        models = {NETWORK: self._model(self.tables), _QUANTISED: self._model(self._at(0.1, 0))}
        found = measured_rows(interventions, DistinctModels(models), pairs, network.group, seed)
        self.rows = list(evidence(list(found), NETWORK))

    def behaves(self, draw: int, delta: float) -> bool:
        """Whether the network quantised to δ still behaves like itself."""
        key = draw, delta
        if key not in self._known:
            self._known[key] = self._evaluated(draw, delta)
        return self._known[key] <= self.thresholds.fidelity_log_loss

    def _evaluated(self, draw: int, delta: float) -> float:
        models = DistinctModels({_QUANTISED: self._model(self._at(delta, draw))})

        def outcome(intervention: Intervention) -> Outcome | None:
            return models.measure(intervention, self.pairs, self.seed)[_QUANTISED]

        changes = [row.intervention for row in self.rows]
        with side_by_side(self.network.device, all(map(is_ours, changes))) as each:
            found = dict(
                zip((change.id for change in changes), each(outcome, changes), strict=True)
            )
        off = []
        for row in self.rows:
            both = {NETWORK: row.outcomes[NETWORK], _QUANTISED: found[row.intervention.id]}
            error = errors(Row(row.intervention, both), _QUANTISED, self.thresholds)
            off += [] if error is None else [error[0]]
        base = found.get("base") or outcome(INTERVENTIONS["base"])
        assert base is not None
        # No intervention applies, so nothing is lost.
        self.points.append(FidelityPoint(delta, median(off) if off else 0.0, base.accuracy))
        return self.points[-1].median_log_loss

    def _at(self, delta: float, draw: int) -> Tables:
        return quantised(self.tables, delta, draw)

    def _model(self, tables: Tables) -> GroupModel:
        model = self.network.with_tables(
            tables.left,
            tables.right,
            tables.unembed.T,
            label=f"{self.network.label}, quantised",
            silent=self.network.before_tables,
        )
        model.reference_scale = self.network.pre_scale.detach()
        return model
