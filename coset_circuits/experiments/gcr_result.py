"""The GCR evidence of one network as a table, beside what the same figures are of nothing."""

from __future__ import annotations

import html
import math
from dataclasses import dataclass
from typing import Any

import pandas as pd

from coset_circuits.thresholds import Thresholds

NETWORK = "network"
RELABELLED = "relabelled group"
UNTRAINED = "untrained network"
CHANCE = "chance"
ANSWERS = "right answers"
"""What the figures are of: the first, and its controls."""

KEY_IRREPS = "key irreps"
ALL_IRREPS = "all but the trivial"
"""Rows for several irreps at once."""

TABLES: tuple[str, ...] = ("left", "right", "unembed")
HIDDEN: tuple[str, ...] = ("hidden_left", "hidden_right", "hidden_product")
SHARES = ("logits", *TABLES, *HIDDEN)
"""Fractions of variance explained (of the tables' squared norms, which are not centred)."""

_LOSSES = ("restricted_loss", "excluded_loss")


@dataclass(frozen=True)
class GCREvidence:
    """What speaks for group composition via representations, and how much of it nothing has too.

    Attributes:
        network, group, order, d_mlp: whose figures.
        key: the irreps whose logit similarity is above the threshold.
        accuracy, loss: over all pairs (mean cross-entropy in nats).
        train_pairs: how many pairs the network was trained on, over which the excluded loss is
            taken; None where that is not known and it is taken over all pairs.
        train_loss, test_loss: the network's own; None where they cannot be told apart.
        rows: the table; see :meth:`to_dataframe`.
        seed: of the relabelled group and of the untrained network.
    """

    network: str
    group: str
    order: int
    d_mlp: int
    key: tuple[str, ...]
    accuracy: float
    loss: float
    train_pairs: int | None
    train_loss: float | None
    test_loss: float | None
    rows: pd.DataFrame
    seed: int
    thresholds: Thresholds

    def to_dataframe(self) -> pd.DataFrame:
        """One row an irrep, then the key irreps and all but the trivial one; for each control too.

        Columns: ``of``, the network or a control; ``irrep``; ``is_key``; ``functions``, the
        dimension of the irrep's function space (d² for one of real type); ``similarity`` of the
        logits to χ_ρ(abc⁻¹), for several irreps that to the best sum of their characters;
        ``logits``, its square; shares of ``left`` and ``right`` (the embeddings as the neurons
        read them), of ``unembed`` and, by ρ(a), ρ(b) and ρ(ab), of the centred hidden layer;
        ``restricted_loss`` with only ρ(ab) left of it, over all pairs; ``excluded_loss`` with ρ(ab)
        taken away, over the training pairs.
        """
        return self.rows.copy()

    def summary(self) -> pd.DataFrame:
        """The key irreps together: one row for the network and one for each control."""
        chosen = self.rows.loc[self.rows["irrep"] == KEY_IRREPS]
        return chosen.drop(columns=["irrep", "is_key"]).reset_index(drop=True)

    def to_dict(self) -> dict[str, Any]:
        """Everything in JSON's own types; None for numbers that JSON has no word for."""
        known = {k: v for k, v in vars(self).items() if k not in ("rows", "thresholds", "key")}
        rows = [
            {k: None if _is_missing(v) else v for k, v in row.items()}
            for row in self.rows.to_dict("records")
        ]
        return {
            **known,
            "key": list(self.key),
            "rows": rows,
            "thresholds": self.thresholds.to_dict(),
        }

    @property
    def notes(self) -> tuple[str, ...]:
        """What the figures can and cannot say."""
        pairs = (
            "all pairs, the training pairs not being known"
            if self.train_pairs is None
            else f"the {self.train_pairs} training pairs"
        )
        return (
            f"The excluded loss is taken over {pairs}; the restricted loss over all.",
            f"{RELABELLED}: the same irreps of the group under random names (seed {self.seed}).",
            f"{CHANCE}: what random tables and activations have on average (similarity: root mean "
            "square); the losses with nothing left and with nothing taken away.",
            f"{ANSWERS}: one-hot logits of the product are similar to every irrep, so similarity "
            "shows that a network is right on some pairs, not how; a memorised one has it too.",
            "The restricted loss averages the hidden layer over all pairs of one product, which "
            "alone can mend wrong answers: read it beside the accuracy.",
            "Shares of the tables say that they lie on few irreps, which those of cosets do too.",
        )

    def __str__(self) -> str:
        shown = (self.rows["of"] == NETWORK) & (self.rows["irrep"] != KEY_IRREPS)
        key = ", ".join(self.key) or "none"
        return "\n".join(
            [
                self._title,
                "",
                f"Key irreps, logit similarity above {self.thresholds.similarity:g}: {key}",
                _text(self.summary()),
                "",
                "Each irrep of the network",
                _text(self.rows.loc[shown].drop(columns=["of", "is_key"])),
                "",
                *self.notes,
            ]
        )

    @property
    def _title(self) -> str:
        losses = f"loss {self.loss:.3g} nats"
        if self.train_loss is not None and self.test_loss is not None:
            losses += f" (training pairs {self.train_loss:.3g}, others {self.test_loss:.3g})"
        return (
            f"GCR evidence of {self.network} ({self.group} of order {self.order}, {self.d_mlp} "
            f"neurons): accuracy {self.accuracy:.4f}, {losses}"
        )

    def __repr__(self) -> str:
        own = self.summary().iloc[0]
        return (
            f"GCREvidence({self.network}: key irreps {', '.join(self.key) or 'none'}, logits "
            f"explained {own['logits']:.3f}, restricted loss {own['restricted_loss']:.3g}, "
            f"excluded {own['excluded_loss']:.3g})"
        )

    def _repr_html_(self) -> str:
        table = self.rows.to_html(index=False, float_format="{:.4g}".format, na_rep="–")
        notes = "".join(f"<li>{note}</li>" for note in self.notes)
        return f"<p>{html.escape(self._title)}</p>{table}<ul>{notes}</ul>"


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and not math.isfinite(value))


def _text(frame: pd.DataFrame) -> str:
    shares = dict.fromkeys(("similarity", *SHARES), "{:.4f}".format)
    losses = dict.fromkeys(_LOSSES, "{:.3g}".format)
    return frame.to_string(index=False, formatters={**shares, **losses}, na_rep="–")
