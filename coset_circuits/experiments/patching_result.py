"""The result of a sweep of patches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from torch import Tensor

from coset_circuits.errors import CosetCircuitsError
from coset_circuits.experiments.neuron_sets import ALL
from coset_circuits.experiments.splice import DIFFERENCE
from coset_circuits.findings import Finding, Findings
from coset_circuits.findings.finding import from_table
from coset_circuits.findings.intervals import ratio_interval


@dataclass(frozen=True, repr=False)
class Patching(Findings):
    """A sweep of patches, one cell per patch, with random neuron sets of equal size as control.

    Methods that take a ``metric`` use the logit difference by default, or the sweep's first metric
    if that was not measured.

    Attributes:
        network: the network; ``method`` is the sweep, ``measured_on`` the number of pairs.
        corrupt, direction: see :class:`~coset_circuits.experiments.patching.Sweep`.
        axes: the columns of ``cells`` that name a patch.
        cells: one row per patch: its axes and its number of ``neurons``.
        metrics: some of :data:`~coset_circuits.experiments.splice.METRICS`. The own answer is
            always the clean pair's, the other answer the corrupted pair's.
        values: each metric after each patch, a mean over the pairs of each left element.
        base, source: the same for the run that is patched and the run patched from, unpatched.
        controls: each metric, a mean over all pairs, for random neuron sets of equal size; NaN for
            a whole site, of which there is no other set of equal size.
        attributed: attribution patching's estimate of the change of the logit difference.
    """

    network: str
    method: str
    measured_on: str
    corrupt: str
    direction: str
    axes: tuple[str, ...]
    cells: pd.DataFrame
    metrics: tuple[str, ...]
    values: Float[Tensor, "metrics cells blocks"]
    base: Float[Tensor, "metrics blocks"]
    source: Float[Tensor, "metrics blocks"]
    controls: Float[Tensor, "metrics cells draws"]
    attributed: Float[Tensor, "cells"] | None
    seed: int

    @property
    def title(self) -> str:
        return (
            f"{self.method} of {self.network}, {self.corrupt} corrupted, {self.direction}, "
            f"{self.measured_on}, seed {self.seed}"
        )

    def recovery(self, metric: str | None = None) -> Float[Tensor, "cells"]:
        """(patched − base) / (source − base), of means over all pairs.

        This is how far a patch moves the patched run towards the source run: 0 is not at all, 1 all
        the way. It is a ratio of means, because single pairs whose two runs hardly differ would
        dominate a mean of ratios.
        """
        m = self._metric(metric)
        return self._share(self.values[m].mean(1), m)

    def interval(
        self, metric: str | None = None
    ) -> tuple[Float[Tensor, "cells"], Float[Tensor, "cells"]]:
        """95% bootstrap interval of the recovery, over left elements (pairs that share one are not
        independent). It is the uncertainty of the figure for *this* network, not for others.
        """
        m = self._metric(metric)
        whole = (self.source[m] - self.base[m]).expand_as(self.values[m])
        return ratio_interval(self.values[m] - self.base[m], whole, self.seed)

    def to_dataframe(self, metric: str | None = None) -> pd.DataFrame:
        """One row per patch: every metric, then the recovery of one with interval and control.

        ``control`` is the mean recovery of random neuron sets of equal size (and with as many
        negligible neurons). ``control_low`` and ``control_high`` are the smallest and largest of
        the draws. ``attributed`` is the recovery estimated by attribution patching.

        Raises:
            CosetCircuitsError: the metric was not measured.
        """
        m = self._metric(metric)
        frame = self.cells.copy()
        for name, values in zip(self.metrics, self.values.mean(2), strict=True):
            frame[name] = values.numpy()
        frame["recovery"] = self.recovery(metric).numpy()
        frame["low"], frame["high"] = (bound.numpy() for bound in self.interval(metric))
        if self.controls.shape[2]:
            drawn = self._share(self.controls[m], m)
            frame["control"] = drawn.mean(1).numpy()
            frame["control_low"] = drawn.amin(1).numpy()
            frame["control_high"] = drawn.amax(1).numpy()
        if self.attributed is not None and self.metrics[m] == DIFFERENCE:
            whole = (self.source[m] - self.base[m]).mean()
            frame["attributed"] = (self.attributed / whole).numpy()
        return frame

    def findings(self) -> Iterator[Finding]:
        """The recovery of every patch, with its interval and its random neuron sets."""
        yield from from_table(
            self.to_dataframe(),
            self.method.replace(" ", "_"),
            at=self.axes,
            units={"recovery": "fraction"},
            control={"recovery": "control"} if self.controls.shape[2] else None,
            interval={"recovery": ("low", "high")},
            source=f"{self.metrics[self._metric()]} over {self.measured_on}",
        )

    def table(self, metric: str | None = None) -> pd.DataFrame:
        """The recovery: one row per neuron set, one column per site (or path)."""
        frame = self.cells.assign(recovery=self.recovery(metric).numpy())
        frame["column"] = frame[[*self.axes[:-1]]].agg(" · ".join, axis=1)
        wide = frame.pivot(index="neuron_set", columns="column", values="recovery")
        wide = wide.loc[frame["neuron_set"].unique(), frame["column"].unique()]
        return wide.rename_axis(index=None, columns=None)

    def attribution_error(self) -> pd.DataFrame:
        """The error of attribution patching compared with the actual patches, site by site.

        Over the neuron sets (not the whole site): ``correlation`` of the two recoveries (NaN if one
        does not vary), the worst error, and the largest recovery for comparison.

        Raises:
            CosetCircuitsError: the sweep has no attribution to compare.
        """
        if self.attributed is None:
            raise CosetCircuitsError(
                f"This {self.method} has no attribution; take it from "
                "activation_patching with the metric logit_difference."
            )
        frame = self.to_dataframe(DIFFERENCE)
        rows = []
        for site, part in frame[frame["neuron_set"] != ALL].groupby("site", sort=False):
            exact, approximate = (np.asarray(part[x]) for x in ("recovery", "attributed"))
            varies = min(np.ptp(exact), np.ptp(approximate)) > 1e-12
            rows.append(
                {
                    "site": site,
                    "neuron_sets": len(part),
                    "correlation": np.corrcoef(exact, approximate)[0, 1] if varies else np.nan,
                    "worst_error": float(np.abs(exact - approximate).max()),
                    "largest_recovery": float(np.abs(exact).max()),
                    "sum_exact": float(exact.sum()),
                    "sum_attributed": float(approximate.sum()),
                }
            )
        return pd.DataFrame(rows)

    def to_transformer_lens(self) -> Any:
        """The sweep as TransformerLens's ``PatchingResult``; its examples are our left elements.

        It brings ``effect``, ``stderr``, ``bootstrap_ci`` and ``permutation_pvalue``.

        Raises:
            CosetCircuitsError: TransformerLens is older than 4.2, which brought that class.
        """
        try:
            from transformer_lens.patching import PatchingResult
        except ImportError as error:
            raise CosetCircuitsError(
                f"TransformerLens {version('transformer-lens')} has no PatchingResult, 4.2 brought "
                "it. Run: pip install 'transformer-lens>=4.2,<5'."
            ) from error
        return PatchingResult(
            values=self.values,
            axis_names=[],
            index_df=self.cells,
            metric_names=list(self.metrics),
            reduced=False,
            baseline=self.base,
            has_metric_axis=True,
        )

    def _metric(self, metric: str | None = None) -> int:
        if metric is None:
            metric = DIFFERENCE if DIFFERENCE in self.metrics else self.metrics[0]
        if metric not in self.metrics:
            raise CosetCircuitsError(
                f"{metric!r} was not measured; this sweep has {', '.join(self.metrics)}."
            )
        return self.metrics.index(metric)

    def _share(self, values: Tensor, m: int) -> Tensor:
        base, source = self.base[m].mean(), self.source[m].mean()
        return (values - base) / (source - base)
