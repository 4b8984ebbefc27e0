"""Certificates on a terminal and as a figure."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.axes import Axes
from rich.console import Console
from rich.text import Text

from coset_circuits.comparison import Comparison
from coset_circuits.experiments.certificate import CertificateExperiment, Certified
from coset_circuits.findings import Findings, FindingsBySubject
from coset_circuits.networks.model import GroupModel
from coset_circuits.report import tables as t
from coset_circuits.report.axes import guide, legend_above
from coset_circuits.report.style import FAINT, INK, colour
from coset_circuits.report.terminal import plain_table, print_note

COLUMNS = (
    "control: proved from truncated SVD of the same ranks, without group theory. most lost in: the "
    "step with most operations; the role whose neurons cause most of the uncertainty."
)


def certified(results: Mapping[str, Findings]) -> dict[str, Certified]:
    """The certificates among the optional experiments, by the keys of their hypotheses."""
    found = results.get(CertificateExperiment.id)
    parts = found.parts if isinstance(found, FindingsBySubject) else {}
    return {key: part for key, part in parts.items() if isinstance(part, Certified)}


def print_certificates(
    network: GroupModel, result: FindingsBySubject, console: Console | None = None
) -> None:
    """Print a line for each hypothesis, and a sentence on the best."""
    console = console or Console(highlight=False)
    parts = certified({CertificateExperiment.id: result})
    numbers = ("certified", "operations", "control", "seconds")
    table = plain_table(["hypothesis"], numbers, gap=2)
    table.add_column("most lost in", overflow="fold")
    for key, part in parts.items():
        proof = part.certificate
        table.add_row(
            Text(t.clean(key)),
            t.accuracy(proof.bound),
            f"{proof.flops / proof.brute_force_flops:.3f}",
            "–" if proof.control is None else t.accuracy(proof.control.bound),
            f"{proof.seconds:.1f}",
            f"{next(iter(proof.lost), '–')}; {part.uncertain}",
        )
    console.print(table)
    key, best = max(parts.items(), key=lambda item: _quality(item[1]))
    console.print(Text(sentence(network, key, best)))
    for note in (*best.notes, COLUMNS, *(f"{key}: {why}" for key, why in result.missing.items())):
        print_note(console, t.clean(note))


def _quality(part: Certified) -> tuple[float, int]:
    return part.certificate.bound, -part.certificate.flops


def sentence(network: GroupModel, key: str, part: Certified) -> str:
    """A sentence on the bound proved from one hypothesis, and on its control."""
    proof = part.certificate
    share = proof.flops / proof.brute_force_flops
    control = proof.control
    beside = ""
    if control is not None:
        beside = f"; {control.algorithm} proves {t.accuracy(control.bound)} within {part.budget:g}"
        if control.bound >= proof.bound and control.flops <= proof.flops:
            beside += ", so the hypothesis adds nothing"
    return (
        f"{key} proves that {network.label} is right on {t.accuracy(proof.bound)} of its "
        f"{network.group.order**2:,} pairs, with {share:.3f} of the operations of running "
        f"every pair{beside}."
    )


def certificate_curves(comparison: Comparison, ax: Axes) -> Axes:
    """The bound against operations for every hypothesis, its control, and brute force."""
    parts = certified(comparison.on_request)
    steps = [0.01 * k for k in range(101)]
    for k, (key, part) in enumerate(parts.items()):
        control = part.certificate.control
        if control is not None:
            ax.step(steps, control.curve, ":", where="post", color=colour(k), lw=1.2)
        ax.step(steps, part.certificate.curve, where="post", color=colour(k), lw=1.8, label=key)
    first = next(iter(parts.values()))
    ax.plot([], [], ":", color=INK, label="the same ranks by SVD")
    ax.plot(1, first.certificate.accuracy, "X", color=INK, ms=8, label="brute force", clip_on=False)
    ax.axvline(first.budget, color=INK, lw=0.8, alpha=FAINT)
    ax.set_xlabel("operations as a share of running every pair (line: the budget)")
    ax.set_ylabel("accuracy proved")
    ax.set_ylim(0, 1.03)
    guide(ax)
    legend_above(ax, 4)
    return ax


def certificate_alternative(comparison: Comparison) -> str:
    parts = certified(comparison.on_request)
    return " ".join(sentence(comparison.network, key, part) for key, part in parts.items())
