"""The table of findings: one row per intervention, which opens to control, method and Python."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from coset_circuits.comparison import Comparison
from coset_circuits.networks import SilentSiteError
from coset_circuits.report import html as h
from coset_circuits.report import tables as t
from coset_circuits.report.repeat import one_row

DEEPEST = 3.0
"""An error of this many decades or more has the darkest shade."""


def findings_table(comparison: Comparison, lines: Sequence[t.InterventionLine]) -> str:
    """The table of observed, control and predicted losses; opened rows show accuracies too."""
    names = [c.name for c in comparison.hypotheses]
    head = [
        h.column("intervention", name=True),
        h.column("observed"),
        h.column("matched control"),
        *(h.column(name, style="guess") for name in names),
        h.column("separates"),
    ]
    width = len(head)
    rows = [row for line in lines for row in _rows(comparison, line, names, width)]
    caption = (
        "<b>What was done, what happened, what was predicted.</b> Observed and control: accuracy "
        "(share of pairs) above mean loss (nats). Under each hypothesis: predicted mean loss above "
        f"its error in decades, shaded from 0 to {DEEPEST:g}, in brackets if the fit used this "
        "row. Separates: how many pairs of hypotheses differ here. Open a row for its control, its "
        "method and the Python that repeats it."
    )
    button = '<p class="needs-js"><button type="button" id="open-all" class="control-button">'
    return (
        f"{button}Open all rows</button></p>\n"
        + h.table("Findings", caption, head, rows, "findings")
    )  # fmt: skip


def _rows(
    comparison: Comparison, line: t.InterventionLine, names: Sequence[str], width: int
) -> Iterator[str]:
    more = f"more-{h.escaped(line.id)}"
    control = line.control
    cells = [
        _two(t.accuracy(line.observed.accuracy), t.loss(line.observed.loss)),
        h.cell(t.MISSING)
        if control is None
        else _two(t.accuracy(control.accuracy), t.loss(control.loss)),
        *(_guess(comparison, line, name) for name in names),
        h.cell(str(len(line.separates) or "no")),
    ]
    name = (
        f'<button type="button" aria-expanded="true" aria-controls="{more}">'
        f"{h.escaped(line.title)}</button>"
    )
    yield h.row(name, cells)
    yield (
        f'<tr class="more shown" id="{more}"><td colspan="{width}">'
        f"{_more(comparison, line, names)}</td></tr>"
    )


def _two(above: str, below: str) -> str:
    return f"<td>{above}<small>{below}</small></td>"


def _guess(comparison: Comparison, line: t.InterventionLine, name: str) -> str:
    guess = line.predictions[name]
    if guess is None:
        return f'<td class="guess silent">{t.SILENT}</td>'
    off = _off(comparison, line, guess)
    text = f"({t.decades(off)})" if name in line.used else t.decades(off)
    shade = 0.55 * min(1.0, off / DEEPEST)
    return (
        f'<td class="guess off" style="--shade:{shade:.2f}">{t.loss(guess.loss)}'
        f"<small>{text}</small></td>"
    )


def _off(comparison: Comparison, line: t.InterventionLine, guess: t.Reading) -> float:
    """|Δlog10 loss| in decades, floored as everywhere."""
    floor = comparison.thresholds.loss_floor
    return abs(math.log10(max(guess.loss, floor) / max(line.observed.loss, floor)))


def _more(comparison: Comparison, line: t.InterventionLine, names: Sequence[str]) -> str:
    facts = [("control", _control_text(line)), ("method", _method(comparison, line))]
    if line.caution:
        facts.append(("caution", line.caution))
    facts.append(("separates", t.separation_text(line.separates, names)))
    python = h.escaped(one_row(comparison, line.id))
    return (
        f"{h.facts(facts)}\n{_predicted(comparison, line, names)}\n"
        f"<p>To repeat this in Python:</p>\n<pre><code>{python}</code></pre>"
    )


def _control_text(line: t.InterventionLine) -> str:
    control = line.control
    if control is None:
        return "none for this row; each hypothesis has its relabelled group as control, below"
    loss = "" if control.loss is None else f", loss {t.loss(control.loss)}"
    return (
        f"{control.title} (an effect of comparable size without group theory): accuracy "
        f"{t.accuracy(control.accuracy)}{loss}"
    )


def _method(comparison: Comparison, line: t.InterventionLine) -> str:
    network = comparison.network
    intervention = next(r.intervention for r in comparison.rows if r.intervention.id == line.id)
    try:
        hooks = intervention.hooks(network, comparison.pairs[:1], comparison.seed)
    except SilentSiteError as refusal:
        return f"{intervention.id}: not done. {t.clean(str(refusal))}"
    sites = ", ".join(dict.fromkeys(str(site) for site, _ in hooks))
    done = f"TransformerLens hooks at {sites}" if sites else "no hooks"
    if intervention.inputs is not None:
        done += "; the input pairs are changed, but not their labels"
    return (
        f"{intervention.id}: {done}. Done alike on the network and every surrogate, over "
        f"{'a sample of ' if comparison.is_sampled else 'all '}{len(comparison.pairs):,} pairs, "
        f"seed {comparison.seed}, {network.dtype_name}; mean cross-entropy in nats."
    )


def _predicted(comparison: Comparison, line: t.InterventionLine, names: Sequence[str]) -> str:
    head = [
        h.column("hypothesis", name=True),
        *map(h.column, ("accuracy", "loss", "decades off", "relabelled: accuracy", "loss", "off")),
    ]
    rows = []
    for name in names:
        control = (
            _three(comparison, line, line.relabelled[name])
            if name in line.relabelled
            else [h.cell(t.MISSING)] * 3
        )
        own = _three(comparison, line, line.predictions[name])
        rows.append(h.row(h.broken(name), [*own, *control]))
    caption = (
        "Predictions of each hypothesis, and of the same hypothesis fitted after the group's "
        "elements were renamed at random. If that predicts as well, the row is not evidence for "
        "the group."
    )
    return h.table(f"Predictions: {line.title}", caption, head, rows)


def _three(comparison: Comparison, line: t.InterventionLine, guess: t.Reading | None) -> list[str]:
    if guess is None:
        return [f'<td class="silent">{t.SILENT}</td>', *[h.cell(t.MISSING)] * 2]
    off = _off(comparison, line, guess)
    return [h.cell(t.accuracy(guess.accuracy)), h.cell(t.loss(guess.loss)), h.cell(t.decades(off))]
