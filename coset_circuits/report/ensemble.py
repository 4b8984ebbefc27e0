"""The report on many networks: on a terminal, as a page, and in a folder."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from rich.console import Console
from rich.text import Text

from coset_circuits.comparison import Ensemble
from coset_circuits.comparison.across import Count, NetworkSummary, Stratum
from coset_circuits.networks.files import write_folder
from coset_circuits.report import html as h
from coset_circuits.report import hypotheses
from coset_circuits.report import sheets as s
from coset_circuits.report import tables as t
from coset_circuits.report.axes import guide, legend_above, log_scale, plain_number
from coset_circuits.report.brief import sentence
from coset_circuits.report.sheet import Sheet, as_html, print_sheet
from coset_circuits.report.style import COLOURS, INK, colour, inline, look, marker, svg
from coset_circuits.report.terminal import (
    fact_table,
    plainly,
    print_heading,
    print_note,
    print_rule,
)

MARKERS = {"control": "x", "null": "s"}
KINDS = {"control": "on a relabelled group", "null": "null: no group theory"}
MARKED = {s.EXPLAINS: "explains", s.REFUTED: "refuted"}


def save(ensemble: Ensemble, folder: str | os.PathLike[str]) -> Path:
    """Write report.html and findings.json; returns the folder.

    The page links to the networks' own reports in the same folder.

    Raises:
        CosetCircuitsError: the folder cannot be made or written.
    """
    return write_folder(Path(folder), lambda: _files(ensemble, Path(folder)))


def _files(ensemble: Ensemble, folder: Path) -> dict[str, str]:
    findings = json.dumps(ensemble.to_dict(), indent=1, allow_nan=False)
    reports = {n.report for n in ensemble if n.report and (folder / n.report).is_dir()}
    return {"findings.json": f"{findings}\n", "report.html": page(ensemble, frozenset(reports))}


def full_text(ensemble: Ensemble, width: int = 80) -> str:
    """The output of :func:`print_ensemble` without colour, no line longer than ``width``."""
    return plainly(lambda console: print_ensemble(ensemble, console), width)


def print_ensemble(ensemble: Ensemble, console: Console | None = None) -> None:
    """Print every network's verdict and figures, then the figures over networks."""
    console = console or Console(highlight=False)
    console.print(fact_table(facts(ensemble)))
    for sheet in s.per_network(ensemble):
        print_sheet(console, sheet)
    for text in s.claims(ensemble):
        print_note(console, text)
    for stratum in ensemble.strata:
        _print_stratum(console, stratum, ensemble)
    print_rule(console, ensemble.rule)


def facts(ensemble: Ensemble) -> list[tuple[str, str]]:
    """Facts about the networks: (name, value)."""
    kinds = "; ".join(f"{len(x.networks)} of {x.title}" for x in ensemble.strata)
    found = [("networks", f"{len(ensemble)}: {kinds}")]
    for i, (name, why) in enumerate(ensemble.skipped.items()):
        reason = why if why.startswith(name) else f"{name}: {why}"
        found.append(("" if i else "not analysed", reason))
    found.append(("seed", str(ensemble.seed)))
    if len(ensemble.strata) > 1:
        found.append(("averages", "only within one group, width and activation"))
    return [(name, t.clean(value)) for name, value in found]


def _print_stratum(console: Console, stratum: Stratum, ensemble: Ensemble) -> None:
    count = len(stratum.networks)
    print_heading(console, f"ACROSS {count} NETWORK{'S' * (count > 1)} OF {t.clean(stratum.title)}")
    console.print(Text(sentence(stratum, titled=False), style="bold", overflow="fold"))
    for sheet in _printed(stratum):
        print_sheet(console, sheet)
    console.print()
    for text in s.method(stratum, ensemble):
        print_note(console, text)


def _printed(stratum: Stratum) -> Iterator[Sheet]:
    """The printed tables; means of predictions are left to the files, as medians are robust."""
    for sheet in s.across(stratum):
        if not sheet.title.startswith("Interventions: mean"):
            yield sheet
    yield from s.on_request(stratum)
    yield from s.paired(stratum)


def page(ensemble: Ensemble, reports: frozenset[str] = frozenset()) -> str:
    """The whole page; ``reports`` are the folders of the networks' reports next to it."""
    sections, titles = [], {}
    for number, stratum in enumerate(ensemble.strata):
        sections.append(_across(stratum, ensemble, number))
        titles[f"across-{number}"] = stratum.title
    networks = h.section("The networks", *_networks(ensemble, reports), name="networks")
    sections += [networks, _skipped(ensemble), _circumstances(ensemble)]
    titles |= {"networks": "The networks", "skipped": "Not analysed", "how": "How it was decided"}
    title = f"Which algorithm explains these {len(ensemble)} networks?"
    return h.document(title, sections, h.contents(sections, titles))


def _networks(ensemble: Ensemble, reports: frozenset[str]) -> Iterator[str]:
    verdicts, *figures = s.per_network(ensemble)
    yield as_html(verdicts, reports, MARKED)
    yield h.details(
        "Prediction error and bits of every network",
        *(as_html(sheet) for sheet in figures),
        *(h.paragraph(text, "soft") for text in s.claims(ensemble)),
    )


def _across(stratum: Stratum, ensemble: Ensemble, number: int) -> str:
    """The sentence on one kind; for several networks also paired bits and the hypotheses."""
    count = len(stratum.networks)
    said = h.paragraph(sentence(stratum, titled=False), "verdict")
    found = []
    if count > 1:
        sheets = [
            *s.across(stratum),
            *s.on_request(stratum),
            *s.paired(stratum),
        ]
        found = [
            _ratio_figure(stratum, number),
            as_html(hypotheses.of_many(stratum, 1 - ensemble.thresholds.significance)),
            h.details("Prediction error against bits", _front_figure(stratum, number)),
            h.details(
                "Every figure over these networks, and paired comparisons",
                *map(h.paragraph, s.method(stratum, ensemble)),
                *(as_html(sheet, marks=MARKED) for sheet in sheets),
            ),
        ]
    title = h.escaped(f"{count} network{'s' * (count > 1)} of {stratum.title}")
    return h.section(title, said, *found, name=f"across-{number}")


def _skipped(ensemble: Ensemble) -> str:
    if not ensemble.skipped:
        return ""
    return h.section("Not analysed", h.facts(ensemble.skipped.items()), name="skipped")


def _circumstances(ensemble: Ensemble) -> str:
    thresholds = [
        h.row(f"<code>{h.broken(name)}</code>", [h.cell(value)])
        for name, value in t.threshold_values(ensemble.thresholds)
    ]
    head = [h.column("threshold", name=True), h.column("value")]
    versions = [*ensemble.versions.items(), ("seed", str(ensemble.seed))]
    return h.section(
        "How this was decided, and how to repeat it",
        "<h3>Rule for each network</h3>",
        h.points(t.rule(ensemble.rule)),
        h.details(
            "Thresholds", h.table("Thresholds", "Saved with every result.", head, thresholds)
        ),
        "<h3>Circumstances</h3>",
        h.facts(versions),
        name="how",
    )


def _ratio_figure(stratum: Stratum, number: int) -> str:
    ratios = stratum.count.leading_ratios
    if not ratios:
        return ""
    with look():
        figure = Figure(figsize=(7.5, 1.6 + 0.5 * len(ratios)), layout="constrained")
        paired_bits(stratum.networks, stratum.count, figure.subplots())
    title = "Bits of two hypotheses on the same networks"
    picture = inline(svg(figure, f"ratios-{number}"), h.escaped(stratum.count.sentence))
    caption = (
        "One mark per network: bits of the first hypothesis over bits of the second, at that "
        "network's fidelity point. Line and large mark: median over networks with its interval."
    )
    return f"<figure>\n{h.scroll(title, picture)}\n<figcaption>{caption}</figcaption>\n</figure>"


def paired_bits(networks: Sequence[NetworkSummary], count: Count, ax: Axes) -> Axes:
    """The ratio of bits of every two hypotheses, one marker a network."""
    ratios = count.leading_ratios
    for place, ratio in enumerate(ratios):
        pairs = [(n.bits(ratio.one), n.bits(ratio.two)) for n in networks]
        values = [one / two for one, two in pairs if one and two]
        ax.plot(values, [place] * len(values), "|", color=colour(place), ms=12, alpha=0.7)
        low, high = ratio.figure.interval or (ratio.figure.value, ratio.figure.value)
        ax.plot([low, high], [place, place], color=INK, lw=1.5)
        ax.plot(ratio.figure.value, place, "o", color=INK, ms=5)
    ax.axvline(1, color=INK, lw=0.8, ls=":")
    log_scale(ax, "x", plain_number, (1.0, 2.0, 3.0, 5.0, 7.0))
    ax.set_yticks(range(len(ratios)), [t.clean(f"{r.one} / {r.two}") for r in ratios])
    ax.set_ylim(len(ratios) - 0.4, -0.6)
    ax.set_xlabel("ratio of bits at equal fidelity")
    ax.set_ylabel("hypotheses")
    guide(ax)
    return ax


def _front_figure(stratum: Stratum, number: int) -> str:
    with look():
        figure = Figure(figsize=(7.5, 5.0), layout="constrained")
        front(stratum, figure.subplots())
    title = "Prediction error against description length, over networks"
    words = "One mark per network and candidate; the numbers are in the tables."
    picture = inline(svg(figure, f"front-{number}"), h.escaped(f"{title}. {words}"))
    caption = (
        "One mark per network and candidate; low and to the left is better. A hypothesis and its "
        "relabelled control share a colour. The vertical axis is linear below 0.01."
    )
    return f"<figure>\n{h.scroll(title, picture)}\n<figcaption>{caption}</figcaption>\n</figure>"


def front(stratum: Stratum, ax: Axes) -> Axes:
    """Prediction error against description length, one marker per network and candidate."""
    shades = {name: colour(i) for i, name in enumerate(stratum.hypotheses)}
    # When colours repeat, the marker shapes differ.
    marks = {n: marker(2 * (i // len(COLOURS))) for i, n in enumerate(stratum.hypotheses)}
    for network in stratum.networks:
        for name, circuit in network.circuits.items():
            error, bits = network.error(name), network.bits(name)
            if error is not None and bits is not None:
                shade = shades.get(circuit.of or name, INK)
                mark = marks.get(name, MARKERS.get(circuit.kind, "o"))
                ax.plot(max(bits, 1e-3), error, mark, color=shade, ms=6, alpha=0.75)
    log_scale(ax, "x", plain_number, (1.0, 2.0, 5.0))
    ax.set_yscale("symlog", linthresh=0.01, linscale=0.5)
    ax.set_yticks(ticks := [0, 0.01, 0.1, 1, 10], [f"{tick:g}" for tick in ticks])
    ax.set_ylim(bottom=-0.0015)
    guide(ax)
    ax.set_xlabel("bits per neuron at equal fidelity")
    ax.set_ylabel("median |Δlog10 loss| (decades)")
    handles = [
        Line2D([], [], ls="", marker=marks[name], color=shade, label=t.clean(name))
        for name, shade in shades.items()
    ]
    handles += [
        Line2D([], [], ls="", marker=mark, color=INK, alpha=0.75, label=KINDS[kind])
        for kind, mark in MARKERS.items()
    ]
    legend_above(ax, 3, handles=handles)
    return ax
