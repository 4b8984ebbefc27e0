"""report.html: one page that needs nothing else, for wide and narrow, light and dark, and paper."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape

from coset_circuits.evidence import Comparison
from coset_circuits.report import tables as t
from coset_circuits.report.figures import MAX_NAMED, PLATES, STRAY, STRAY_ACCURACY
from coset_circuits.report.style import inline

CSS = """
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#555e68;--page:#ffffff;--line:#d5dae0;
--tint:#f3f5f8;--good:#00664a;--bad:#a83c00;--open:#7a5200;--mark:#0a5c96}
@media (prefers-color-scheme:dark){:root{--ink:#e6e8eb;--soft:#a3acb6;--page:#15181c;
--line:#363c44;--tint:#1e2228;--good:#4fd1a5;--bad:#ff9a62;--open:#f0c060;--mark:#7cc4ff}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--page);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
main{max-width:76rem;margin:0 auto;padding:1.5rem clamp(1rem,4vw,2.5rem) 4rem}
h1{font-size:clamp(1.4rem,4vw,2rem);line-height:1.2;margin:.5rem 0 1rem;overflow-wrap:anywhere}
h2{font-size:1.25rem;line-height:1.3;margin:3rem 0 .75rem;padding-top:.75rem;
border-top:1px solid var(--line)}
h3{font-size:1rem;margin:1.75rem 0 .5rem}
p,li,figcaption,dl{max-width:46rem;overflow-wrap:break-word}
p{margin:.6rem 0}
.soft,figcaption,caption,small{color:var(--soft)}
caption b{color:var(--ink)}
small,figcaption,caption{font-size:.875rem}
code{font:.9em/1.4 ui-monospace,"DejaVu Sans Mono",Menlo,Consolas,monospace;overflow-wrap:anywhere}
.verdict{list-style:none;margin:0 0 1rem;padding:.75rem 1rem;background:var(--tint);
border-left:.3rem solid var(--mark);max-width:none}
.verdict li{font-weight:600}
.supported{color:var(--good)}.refuted{color:var(--bad)}.open{color:var(--open)}
.scroll{overflow-x:auto;margin:.75rem 0;max-width:100%}
.scroll:focus-visible,a:focus-visible,summary:focus-visible{outline:2px solid var(--mark);
outline-offset:2px}
figure{margin:1rem 0}
figure svg{display:block;min-width:var(--least)}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,30rem),1fr));gap:0 2rem}
.pair>*{min-width:0}
table{border-collapse:collapse;font-size:.875rem;line-height:1.35;
font-variant-numeric:tabular-nums}
caption{text-align:left;padding:0 0 .5rem;max-width:min(46rem,calc(100vw - 2.5rem))}
th,td{padding:.35rem .6rem;text-align:right;vertical-align:top;border-bottom:1px solid var(--line);
white-space:nowrap}
thead th{vertical-align:bottom;background:var(--tint);font-weight:600;white-space:normal;
max-width:7rem}
th.name{text-align:left;font-weight:400}
thead th.name{font-weight:600}
td.text{text-align:left;white-space:normal;min-width:15rem}
td .loss{color:var(--soft);display:block}
td.silent{color:var(--soft);font-style:italic}
th small,td small{display:block}
td small{white-space:normal}
td.control{min-width:9rem}
tr.hypothesis th{font-weight:600}
th small{font-weight:400}
.whole{white-space:nowrap}
dl.facts{display:grid;grid-template-columns:max-content minmax(0,1fr);gap:.3rem 1.25rem;margin:0}
dl.facts dt{color:var(--soft)}
dl.facts dd{margin:0;overflow-wrap:anywhere}
dl.notes dt{font-weight:600;margin-top:.5rem}
dl.notes dd{margin:0}
a{color:var(--mark)}
pre{background:var(--tint);padding:.75rem 1rem;overflow-x:auto;margin:.5rem 0;white-space:pre-wrap}
@media (max-width:34rem){dl.facts{grid-template-columns:1fr;gap:0}
dl.facts dd{margin-bottom:.5rem}th,td{padding:.3rem .45rem}
th.name{white-space:normal;min-width:6.5rem;max-width:7.5rem}
tbody th.name{position:sticky;left:0;background:var(--page);overflow-wrap:anywhere}
thead th.name:first-child{position:sticky;left:0}}
@media print{:root{color-scheme:light;--ink:#000;--soft:#444;--page:#fff;--line:#bbb;--tint:#f3f3f3;
--good:#00664a;--bad:#a83c00;--open:#7a5200;--mark:#000}
body{font-size:10pt}main{max-width:none;padding:0}.scroll{overflow:visible}
table{font-size:7.5pt}th,td{padding:.15rem .3rem}figure svg{min-width:0}
figure,tr{break-inside:avoid}h2,h3{break-after:avoid}}
"""


def page(comparison: Comparison, drawn: Mapping[str, str]) -> str:
    """The whole page.

    Args:
        comparison: what is reported.
        drawn: the SVG text of each figure in :data:`PLATES`.
    """
    lines = t.interventions(comparison)
    sections = (
        _verdict(comparison),
        _front(comparison, drawn),
        section("The network", facts(t.network_facts(comparison))),
        _roles(comparison, drawn),
        _interventions(comparison, lines, drawn),
        _predictions(comparison),
        _claims(comparison),
        _not_applicable(comparison),
        _circumstances(comparison),
    )
    return document(f"Which algorithm explains {comparison.network.label}?", sections)


def document(title: str, sections: Iterable[str]) -> str:
    """A page from its title, as text, and its sections, HTML already; empty ones are left out."""
    heading = escaped(title)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{heading}</title>\n<style>{CSS}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{heading}</h1>\n"
        + "\n".join(s for s in sections if s)
        + "\n</main>\n</body>\n</html>\n"
    )


def escaped(value: str) -> str:
    return escape(t.clean(value))


def broken(value: str) -> str:
    """Text that may break after the signs inside a name, but not inside a quantity."""
    text = re.sub(r"([-+,_])(?=\S)", r"\1<wbr>", escaped(value))
    return re.sub(r"\|[^|]+\||δ = \S+", r'<span class="whole">\g<0></span>', text)


def section(title: str, *content: str) -> str:
    return f"<section>\n<h2>{title}</h2>\n" + "\n".join(c for c in content if c) + "\n</section>"


def paragraph(text: str, style: str = "") -> str:
    return f'<p class="{style}">{escaped(text)}</p>' if style else f"<p>{escaped(text)}</p>"


def scroll(label: str, content: str) -> str:
    """A box that scrolls sideways by itself, by keyboard too."""
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escaped(label)}">\n'
        f"{content}\n</div>"
    )


def table(label: str, caption: str, head: Sequence[str], rows: Iterable[str]) -> str:
    """A table from its heading cells and whole rows, all HTML already."""
    return scroll(
        label,
        f"<table>\n<caption>{caption}</caption>\n<thead><tr>{''.join(head)}</tr></thead>\n"
        "<tbody>\n" + "\n".join(rows) + "\n</tbody>\n</table>",
    )


def column(title: str, *, name: bool = False) -> str:
    kind = ' class="name"' if name else ""
    return f'<th scope="col"{kind}>{broken(title)}</th>'


def row(name: str, cells: Iterable[str], style: str = "") -> str:
    kind = f' class="{style}"' if style else ""
    return f'<tr{kind}><th scope="row" class="name">{name}</th>{"".join(cells)}</tr>'


def cell(text: str) -> str:
    return f"<td>{escaped(text)}</td>"


def facts(facts: Iterable[tuple[str, str]]) -> str:
    items = "".join(f"<dt>{escaped(k)}</dt><dd>{escaped(v)}</dd>\n" for k, v in facts)
    return f'<dl class="facts">\n{items}</dl>'


def _figure(comparison: Comparison, drawn: Mapping[str, str], name: str, caption: str) -> str:
    plate = PLATES[name]
    picture = inline(drawn[name], escaped(f"{plate.title}. {plate.alternative(comparison)}"))
    return (
        f"<figure>\n{scroll(f'Figure: {plate.title}', picture)}\n"
        f"<figcaption>{escaped(caption)}</figcaption>\n</figure>"
    )


def _verdict(comparison: Comparison) -> str:
    parts = t.verdict_parts(comparison)
    items = [f'<li class="{kind}">{escaped(text)}</li>' for kind, text in parts]
    sentences = "\n".join(paragraph(s) for s in comparison.verdict.sentences)
    headline = f'<ul class="verdict">{"".join(items)}</ul>'
    return f'<section aria-label="Verdict">\n{headline}\n{sentences}\n</section>'


def _front(comparison: Comparison, drawn: Mapping[str, str]) -> str:
    deltas = comparison.thresholds.relative_errors
    caption = (
        "Colours: a hypothesis and its relabelled control share one. Thin lines: description "
        f"length from δ = {max(deltas):g} to {min(deltas):g}. The vertical axis is linear below "
        "the dotted line, so that no error at all can be shown."
    )
    return section(
        "The front: prediction error against description length",
        paragraph(t.FRONT_NOTE),
        _figure(comparison, drawn, "front", caption),
    )


def _roles(comparison: Comparison, drawn: Mapping[str, str]) -> str:
    parts = [
        _figure(comparison, drawn, "roles", "Neurons by role; hypotheses that share a fit once.")
    ]
    head = [
        column("role", name=True),
        *map(
            column,
            (
                "neurons",
                "FVU left",
                "FVU right",
                "FVU unembedding",
                "explained left",
                "explained right",
            ),
        ),
    ]
    for family in t.role_families(comparison):
        names = escaped(", ".join(family.names))
        caption = f"<b>{names}</b>: covers {family.coverage:.0%} of the neurons that matter."
        rows = [
            row(
                escaped(line.role),
                [
                    cell(str(line.neurons)),
                    *(cell(t.loss(v)) for v in (line.fvu_left, line.fvu_right, line.fvu_unembed)),
                    *(cell(t.accuracy(1 - v)) for v in (line.fvu_left, line.fvu_right)),
                ],
            )
            for line in family.lines
        ]
        parts.append(table(f"Roles under {', '.join(family.names)}", caption, head, rows))
    parts.append(
        paragraph(
            "FVU: median over neurons of the fraction of variance unexplained; explained: 1 − FVU. "
            "Negligible neurons hardly touch the logits; unexplained ones carry the mean of their "
            "tables in the surrogate.",
            "soft",
        )
    )
    return section("What the neurons do", *parts)


def _interventions(
    comparison: Comparison, lines: Sequence[t.InterventionLine], drawn: Mapping[str, str]
) -> str:
    names = [c.name for c in comparison.hypotheses]
    notes = "\n".join(paragraph(note, "soft") for note in t.footnotes(comparison))
    return section(
        "Interventions: observed and predicted",
        paragraph(
            f"Pairs: {t.pairs_text(comparison)}. The control is the network's own value under "
            "another intervention with the same dull effect, or an exact value. A row separates "
            "hypotheses when their predictions differ by more than their own errors."
        ),
        _observed_table(lines, names),
        notes,
        "<h3>What these rows can and cannot tell</h3>",
        _cautions(lines),
        '<div class="pair">',
        _figure(
            comparison,
            drawn,
            "observed_predicted_loss",
            f"Loss. Named: predictions more than {STRAY:g} decade off the diagonal, of "
            f"more than {MAX_NAMED} the worst.",
        ),
        _figure(
            comparison,
            drawn,
            "observed_predicted_accuracy",
            f"Accuracy. Named: predictions more than {STRAY_ACCURACY:g} off the diagonal, of "
            f"more than {MAX_NAMED} the worst.",
        ),
        "</div>",
        "<h3>The same hypotheses fitted to a relabelled group</h3>",
        _relabelled_table(lines, names),
        "<h3>Errors by intervention</h3>",
        _figure(
            comparison,
            drawn,
            "errors_by_intervention",
            "Differences of log10 mean loss between each surrogate and the network; losses below "
            f"{comparison.thresholds.loss_floor:g} count as that.",
        ),
    )


def _observed_table(lines: Sequence[t.InterventionLine], names: Sequence[str]) -> str:
    head = [
        column("intervention", name=True),
        column("observed"),
        *map(column, names),
        column("matched control"),
        column("separates", name=True),
    ]
    rows = [
        row(
            _line_name(line),
            [
                _reading(line.observed),
                *(_reading(line.predictions[name], name in line.used) for name in names),
                _control(line.control),
                f'<td class="text">{escape(t.separation_text(line.separates, names))}</td>',
            ],
        )
        for line in lines
    ]
    return table(
        "Interventions, observed and predicted",
        "Observed, predicted by each hypothesis, and controlled: accuracy above mean loss (nats).",
        head,
        rows,
    )


def _relabelled_table(lines: Sequence[t.InterventionLine], names: Sequence[str]) -> str:
    shown = [name for name in names if lines and name in lines[0].relabelled]
    if not shown:
        return paragraph("There is no relabelled-group control for this network.")
    head = [column("intervention", name=True), column("observed"), *map(column, shown)]
    rows = [
        row(
            _line_name(line),
            [_reading(line.observed), *(_reading(line.relabelled[name]) for name in shown)],
        )
        for line in lines
    ]
    caption = (
        "Each hypothesis looks for its structure after the elements were renamed at random; the "
        "network and the labels are untouched. Where these predict as well, the prediction is no "
        "evidence for the group structure."
    )
    return table("Predictions on a relabelled group", caption, head, rows)


def _line_name(line: t.InterventionLine) -> str:
    return f"{line.number}. {escaped(line.title)}<small><code>{broken(line.id)}</code></small>"


def _reading(reading: t.Reading | None, used: bool = False) -> str:
    if reading is None:
        return f'<td class="silent">{t.SILENT}</td>'
    note = "<small>used to fit</small>" if used else ""
    return (
        f"<td>{t.accuracy(reading.accuracy)}"
        f'<span class="loss">{t.loss(reading.loss)}</span>{note}</td>'
    )


def _control(control: t.ControlReading | None) -> str:
    if control is None:
        return f"<td>{t.MISSING}</td>"
    second = "" if control.loss is None else f'<span class="loss">{t.loss(control.loss)}</span>'
    note = f"<small>{escaped(control.title)}</small>"
    return f'<td class="control">{t.accuracy(control.accuracy)}{second}{note}</td>'


def _cautions(lines: Sequence[t.InterventionLine]) -> str:
    items = "".join(
        f"<dt>{escaped('; '.join(line.title for line in rows))}</dt><dd>{escaped(text)}</dd>\n"
        for rows, text in t.cautions(lines)
    )
    return f'<dl class="notes">\n{items}</dl>'


def _predictions(comparison: Comparison) -> str:
    deltas = comparison.thresholds.relative_errors
    titles = (
        "median |Δlog10 loss|",
        "worst |Δlog10 loss|",
        "mean |Δaccuracy|",
        "worst |Δaccuracy|",
        "same answer",
        "logit R²",
        "rows",
    )
    bits = [column(f"bits at δ = {delta:g}") for delta in deltas]
    head = [column("candidate", name=True), *bits, *map(column, titles)]
    rows = [
        row(
            f"{broken(line.name)}<small>{line.kind}</small>",
            [*(cell(t.whole(line.bits[delta])) for delta in deltas), *_error_cells(line)],
            line.kind,
        )
        for line in t.front(comparison)
    ]
    caption = (
        "Bits per neuron that give both tables and the unembedding to a relative error δ; errors "
        "in decades of loss and shares of pairs, over the rows on which a candidate is not silent; "
        "same answer and logit R² compare input by input (medians over rows)."
    )
    return section("Prediction summary", table("Prediction summary", escape(caption), head, rows))


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


def _claims(comparison: Comparison) -> str:
    claims, found = t.attributions(comparison)
    if not found:
        return ""
    head = [column("hypothesis", name=True), *(column(f"{claim} alone") for claim in claims)]
    rows = [
        row(
            broken(name),
            (cell(t.decades(values[c]) if c in values else "not claimed") for c in claims),
        )
        for name, values in found
    ]
    caption = (
        "Median |Δlog10 loss| in decades when one claim alone replaces its part of the network and "
        "the rest stays the network's own: which claim brings the error in."
    )
    return section("Claims apart", table("Errors of single claims", escape(caption), head, rows))


def _not_applicable(comparison: Comparison) -> str:
    if not comparison.not_applicable:
        return ""
    return section(
        "Hypotheses that do not apply",
        facts(t.not_applicable(comparison)),
    )


def _circumstances(comparison: Comparison) -> str:
    rows = [
        row(f"<code>{broken(k)}</code>", [cell(v)])
        for k, v in t.threshold_values(comparison.thresholds)
    ]
    head = [column("threshold", name=True), column("value")]
    return section(
        "How this was decided, and how to repeat it",
        "<h3>Rule</h3>",
        paragraph(comparison.verdict.rule),
        "<h3>Thresholds</h3>",
        table("Thresholds", "They travel with every result.", head, rows),
        "<h3>Circumstances</h3>",
        facts(t.circumstances(comparison)),
        "<h3>Again, in Python</h3>",
        f"<pre><code>{escaped(t.repeat_line(comparison))}</code></pre>",
    )
