"""report.html of one network: verdict, findings, neurons, and how the verdict was reached."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from coset_circuits.comparison import Comparison
from coset_circuits.report import hypotheses
from coset_circuits.report import tables as t
from coset_circuits.report.figures import MAX_NAMED, PLATES, STRAY, STRAY_ACCURACY
from coset_circuits.report.findings import findings_table
from coset_circuits.report.html import (
    broken,
    cell,
    column,
    contents,
    details,
    document,
    escaped,
    facts,
    paragraph,
    points,
    row,
    scroll,
    section,
    table,
)
from coset_circuits.report.neurons import gallery
from coset_circuits.report.repeat import whole_comparison
from coset_circuits.report.sheet import as_html, of_findings
from coset_circuits.report.style import inline

CONTENTS = {
    "findings": "Interventions",
    "neurons-heading": "Neurons",
    "subgroups": "Subgroups",
    "training": "Training",
    "experiments": "Experiments",
    "details": "Details",
    "how": "How it was decided",
}


MARKS = {"explains": "explains", "refuted": "refuted"}
"""CSS classes of cells with these texts."""


def page(comparison: Comparison, drawn: Mapping[str, str]) -> str:
    """The whole page.

    Args:
        comparison: what is reported.
        drawn: the SVG text of each figure in :data:`PLATES` that applies.
    """
    sections = (
        _verdict(comparison, drawn),
        _findings(comparison),
        _neurons(comparison, drawn),
        _subgroups(comparison, drawn),
        _training(comparison, drawn),
        _on_request(comparison, drawn),
        _details(comparison, drawn),
        _circumstances(comparison),
    )
    return document(
        f"Which algorithm explains {comparison.network.label}?",
        sections,
        paragraph(_lead(comparison), "lead") + contents(sections, CONTENTS),
        gallery(comparison) if comparison.hypotheses else None,
    )


def _lead(comparison: Comparison) -> str:
    known = dict(t.network_facts(comparison))
    pairs = f"{comparison.network.group.order**2:,}"
    return (
        f"{known['group']}; {known['width']}. Accuracy {known['accuracy']}, loss {known['loss']}, "
        f"over all {pairs} pairs."
    )


def _figure(comparison: Comparison, drawn: Mapping[str, str], name: str, caption: str) -> str:
    plate = PLATES[name]
    picture = inline(drawn[name], escaped(f"{plate.title}. {plate.alternative(comparison)}"))
    return (
        f"<figure>\n{scroll(f'Figure: {plate.title}', picture)}\n"
        f"<figcaption>{escaped(caption)}</figcaption>\n</figure>"
    )


def _verdict(comparison: Comparison, drawn: Mapping[str, str]) -> str:
    why = "\n".join(paragraph(sentence) for sentence in t.details(comparison))
    caption = (
        f"{t.FRONT_NOTE} A hypothesis and its relabelled control share a colour. Thick lines: "
        "range of bits over the dithers. The vertical axis is linear below the dotted line."
    )
    return (
        '<section aria-label="Verdict">\n'
        f"{paragraph(t.sentence(comparison), 'verdict')}\n"
        f"{_figure(comparison, drawn, 'front', caption)}\n"
        f"{as_html(hypotheses.of_one(comparison), marks=MARKS)}\n"
        f"{_not_applicable(comparison)}\n{details('Why', why)}\n</section>"
    )


def _findings(comparison: Comparison) -> str:
    lines = t.interventions(comparison)
    notes = "\n".join(paragraph(note, "soft") for note in t.footnotes(comparison))
    return section(
        "Interventions",
        paragraph(
            f"Pairs: {t.pairs_text(comparison)}. The control is the network's value under another "
            "intervention of comparable size, or an exact value. A row separates two hypotheses "
            "if their predictions differ by more than their errors."
        ),
        findings_table(comparison, lines),
        notes,
        name="findings",
    )


def _neurons(comparison: Comparison, drawn: Mapping[str, str]) -> str:
    if not comparison.hypotheses:
        return ""
    return section(
        "What the neurons do",
        '<div class="beside">',
        _figure(comparison, drawn, "roles", "Neurons by role; hypotheses that agree share bars."),
        f"<div>{_key()}{_role_tables(comparison)}</div>",
        "</div>",
        "<h3>Every neuron</h3>",
        _gallery(),
        _enlarged(comparison),
        name="neurons-heading",
    )


def _filter(name: str, title: str, options: str = "") -> str:
    return f'<label>{title}<select id="filter-{name}">{options}</select></label>'


_SORTS = (
    '<option value="role">role</option><option value="number">number</option>'
    '<option value="residual">residual, largest first</option>'
)
_KEY = (
    "Each neuron has four pictures. ",
    ("left", "Left"),
    ": its pre-activation for every left input, sorted by right coset Hg of its subgroup. A coset "
    "neuron is a staircase with one step per coset. ",
    ("right", "Right"),
    ": the same for the right input, sorted by left coset gK of the conjugate K. Irreps: the share "
    "of the variance of left, right and unembedding in each irrep. ",
    ("unembed", "Unembedding"),
    ": its row, sorted by double coset HgK, with the shared coset tinted. Strokes are the means of "
    "cells. Without a subgroup, elements are sorted by the phase of the leading irrep, or as in "
    "the group.",
)


def _key() -> str:
    """The key to a card of the gallery, with its colours."""
    parts = [
        escaped(part)
        if isinstance(part, str)
        else f'<span class="swatch" style="background:var(--{part[0]})"></span>{part[1]}'
        for part in _KEY
    ]
    return f"<p>{''.join(parts)}</p>"


def _gallery() -> str:
    controls = (
        _filter("family", "Roles under"),
        _filter("role", "Role"),
        _filter("class", "Subgroup class"),
        _filter("irrep", "Leading irrep"),
        _filter("residual", "Residual (larger FVU)"),
        _filter("sort", "Sort by", _SORTS),
    )
    return f"""<noscript><p>Turn on scripts to see the drawings of the neurons.</p></noscript>
<form class="filters needs-js" aria-label="Which neurons are shown">
{"".join(controls)}
<button type="button" id="reset">Show all</button>
</form>
<p class="soft needs-js"><span id="gallery-count" role="status"></span>. Arrow keys move between
neurons, Enter enlarges one.</p>
<div id="gallery" role="group" aria-label="Neurons"></div>"""


def _enlarged(comparison: Comparison) -> str:
    panels = {
        "0": "Left pre-activation (no unit)",
        "1": "Right pre-activation (no unit)",
        "2": "Unembedding (logits per unit of activation)",
        "irreps": "Irreps: share of variance, each row from 0 to 1",
    }
    if comparison.formation is not None:
        panels["formation"] = (
            "Over training: log10 FVU outside the final cells (left; right dashed)"
        )
    pictures = "\n".join(
        f'<figure><figcaption>{title}</figcaption><canvas role="img" data-large="{name}"></canvas>'
        "</figure>"
        for name, title in panels.items()
    )
    head = [column("cell of", name=True), *map(column, ("elements", "size", "mean"))]
    return f"""<dialog id="enlarged" aria-labelledby="enlarged-title">
<header><h3 id="enlarged-title"></h3><span id="enlarged-place" class="soft"></span>
<button type="button" id="previous" aria-label="Previous neuron">←</button>
<button type="button" id="next" aria-label="Next neuron">→</button>
<button type="button" id="close">Close</button></header>
<p class="readout soft" id="readout" role="status"></p>
<div class="panels">{pictures}
<dl class="facts" id="enlarged-facts"></dl></div>
<details><summary>The means of all cells</summary>
<table><caption class="hidden">The means of all cells</caption>
<thead><tr>{"".join(head)}</tr></thead><tbody id="enlarged-levels"></tbody></table></details>
</dialog>"""


def _role_tables(comparison: Comparison) -> str:
    titles = ("neurons", "FVU left", "FVU right", "FVU unembedding")
    head = [column("role", name=True), *map(column, titles)]
    parts = []
    for family in t.role_families(comparison):
        covered = f"covers {family.coverage:.0%} of the neurons that matter."
        caption = f"<b>{escaped(family.title)}</b>: {covered}"
        rows = [
            row(
                escaped(line.role),
                [
                    cell(str(line.neurons)),
                    *(cell(t.loss(v)) for v in (line.fvu_left, line.fvu_right, line.fvu_unembed)),
                ],
            )
            for line in family.lines
        ]
        parts.append(table(f"Roles under {', '.join(family.names)}", caption, head, rows))
    note = paragraph(
        "FVU: fraction of variance unexplained, median over neurons. Negligible neurons hardly "
        "affect the logits. The surrogate replaces unexplained neurons' tables by their means.",
        "soft",
    )
    return details("Roles and residuals in tables", *parts, note)


def _subgroups(comparison: Comparison, drawn: Mapping[str, str]) -> str:
    if "lattice" not in drawn:
        return ""
    caption = (
        "Subgroups up to conjugacy; a line joins a class to its maximal subgroups. Filled: classes "
        "whose cosets are used by neurons. Point at a filled class to see its neurons."
    )
    return section(
        "The subgroups that neurons use",
        f'<div class="lattice">{_figure(comparison, drawn, "lattice", caption)}</div>',
        name="subgroups",
    )


def _training(comparison: Comparison, drawn: Mapping[str, str]) -> str:
    captions = {
        "training_loss": "Mean loss during training.",
        "training_accuracy": "Accuracy during training.",
        "structure_forming": "From the checkpoints of the run: share of the variance of each "
        "neuron's tables within its final cells. Line: median over neurons; shaded: middle half.",
    }
    figures = [
        _figure(comparison, drawn, name, caption)
        for name, caption in captions.items()
        if name in drawn
    ]
    if not figures:
        return ""
    return section("Training", '<div class="beside">', *figures, "</div>", name="training")


def _details(comparison: Comparison, drawn: Mapping[str, str]) -> str:
    """Further figures and tables, each closed at first."""
    strays = "predictions more than {} off the diagonal, at most the {} worst."
    curve = (
        "Each point is the description length of the raw weights over that of a candidate, both "
        "with their residuals coded to the same δ."
    )
    errors = (
        "Differences of log10 mean loss between each surrogate and the network; losses below "
        f"{comparison.thresholds.loss_floor:g} nats count as that."
    )
    return section(
        "Details",
        details(
            "Observed and predicted",
            '<div class="beside">',
            _figure(
                comparison,
                drawn,
                "observed_predicted_loss",
                f"Loss. Named: {strays.format(f'{STRAY:g} decade', MAX_NAMED)}",
            ),
            _figure(
                comparison,
                drawn,
                "observed_predicted_accuracy",
                f"Accuracy. Named: {strays.format(f'{STRAY_ACCURACY:g}', MAX_NAMED)}",
            ),
            "</div>",
        ),
        details(
            "Errors by intervention", _figure(comparison, drawn, "errors_by_intervention", errors)
        ),
        details("Prediction errors of every candidate", _predictions(comparison)),
        details(
            "Description lengths of every candidate",
            _lengths(comparison),
            _figure(comparison, drawn, "lengths", curve),
        ),
        _forms(comparison),
        name="details",
    )


def _predictions(comparison: Comparison) -> str:
    titles = (
        "median |Δlog10 loss|",
        "worst |Δlog10 loss|",
        "mean |Δaccuracy|",
        "worst |Δaccuracy|",
        "same answer",
        "logit R²",
        "rows",
    )
    head = [column("candidate", name=True), *map(column, titles)]
    rows = [row(_named(line), _error_cells(line), line.kind) for line in t.front(comparison)]
    caption = (
        "Errors in decades of loss and shares of pairs, over the rows that are evidence for a "
        "candidate. Same answer and logit R² compare input by input (medians over rows)."
    )
    return table("Prediction errors", escape(caption), head, rows)


def _lengths(comparison: Comparison) -> str:
    deltas = comparison.thresholds.relative_errors
    titles = ("bits at δ*", "times shorter", *(f"bits at δ = {delta:g}" for delta in deltas))
    head = [column("candidate", name=True), *map(column, titles)]
    rows = [
        row(
            _named(line),
            [
                cell(f"{t.whole(line.bits)} {_range(line.interval, '.0f')}"),
                cell(f"{line.compression:.1f} {_range(line.compression_interval, '.1f')}"),
                *(cell(t.whole(line.at[delta])) for delta in deltas),
            ],
            line.kind,
        )
        for line in t.front(comparison)
    ]
    caption = (
        "Bits per neuron that code both tables and the unembedding to a relative error δ. In "
        "brackets: range over the dithers (bits), and range from δ*/2 to 2δ* (times shorter than "
        "the raw weights)."
    )
    return table("Description lengths", escape(caption), head, rows)


def _named(line: t.FrontLine) -> str:
    return f"{broken(line.name)}<small>{line.kind}</small>"


def _range(interval: tuple[float, float], form: str) -> str:
    return f"[{interval[0]:{form}}, {interval[1]:{form}}]"


def _forms(comparison: Comparison) -> str:
    found = t.forms(comparison)
    if not found:
        return ""
    head = [column("hypothesis", name=True), *map(column, ("form", "bits", "error", ""))]
    rows = [
        row(broken(name), [cell(broken(f)), cell(b), cell(e), cell(c)])
        for name, f, b, e, c in found
    ]
    caption = (
        "Bits per neuron of each form, and its median |Δlog10 loss| in decades on the rows "
        f"{', '.join(sorted(comparison.bench.used))}. Claims are chosen on these rows, so they "
        "are not evidence."
    )
    inner = table("Forms of each hypothesis", escape(caption), head, rows)
    return details("How claims were chosen", inner)


def _error_cells(line: t.FrontLine) -> list[str]:
    error = line.error
    values = (
        error.median_log_loss,
        error.worst_log_loss,
        error.mean_accuracy,
        error.worst_accuracy,
        error.same_answer,
        error.logit_r2,
    )
    return [*(cell(t.decades(v)) for v in values), cell(str(error.rows))]


def _on_request(comparison: Comparison, drawn: Mapping[str, str]) -> str:
    """The tables and notes of the optional experiments."""
    parts = []
    for id, result in comparison.on_request.items():
        parts.append(f"<h3>{escaped(result.title)}</h3>")
        if id in drawn:
            parts.append(_figure(comparison, drawn, id, PLATES[id].alternative(comparison)))
        parts += [as_html(sheet) for sheet in of_findings(result)]
        parts += [paragraph(note, "soft") for note in result.notes]
    return section("Optional experiments", *parts, name="experiments") if parts else ""


def _not_applicable(comparison: Comparison) -> str:
    if not comparison.not_applicable:
        return ""
    return f"<h3>Hypotheses that do not apply</h3>\n{facts(t.not_applicable(comparison))}"


def _circumstances(comparison: Comparison) -> str:
    rows = [
        row(f"<code>{broken(k)}</code>", [cell(v)])
        for k, v in t.threshold_values(comparison.thresholds)
    ]
    head = [column("threshold", name=True), column("value")]
    return section(
        "How this was decided, and how to repeat it",
        "<h3>The network</h3>",
        facts(t.network_facts(comparison)),
        "<h3>Rule</h3>",
        points(t.rule(comparison.verdict.rule)),
        details("Thresholds", table("Thresholds", "Saved with every result.", head, rows)),
        "<h3>Circumstances</h3>",
        facts(t.circumstances(comparison)),
        "<h3>To repeat this in Python</h3>",
        f"<pre><code>{escaped(whole_comparison(comparison))}</code></pre>",
        name="how",
    )
