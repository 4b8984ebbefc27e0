"""The study: what the networks of a folder compute, question by question, as one page."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from coset_circuits.comparison import Ensemble, compare, load_comparison
from coset_circuits.comparison.across import NetworkSummary
from coset_circuits.comparison.many import unused_name
from coset_circuits.comparison.sources import Given, is_collection, sources
from coset_circuits.comparison.summary import Summary
from coset_circuits.errors import CosetCircuitsError, checked
from coset_circuits.findings.storage import ASKED, read_note
from coset_circuits.progress import Progress
from coset_circuits.reproduction import lengths, limits, neurons, twins
from coset_circuits.reproduction.asking import Answer, Asked, answered, table
from coset_circuits.reproduction.kinds import Members, Survey, by_kind
from coset_circuits.reproduction.page import Reproduction
from coset_circuits.reproduction.reproduce import command_line, hash_of, save_anew
from coset_circuits.thresholds import DEFAULT

EXPERIMENTS = ("unexplained", "coset_irreps", "clock_pizza", "certificate", "scrub")
"""The optional experiments of the study."""


@checked
def survey(
    networks: Given | Iterable[Given],
    *,
    out: str | os.PathLike[str],
    algorithms: Sequence[str] | None = None,
    experiments: Sequence[str] = EXPERIMENTS,
    pairs: int | None = None,
    seed: int = 0,
    order: str | None = None,
    workers: int | None = None,
    kept: bool = False,
    progress: Progress | None = None,
) -> Reproduction:
    """Compare networks and write what they compute as a page: study.md, study.html, study.json.

    Networks are summarised by kind: group, architecture, width and recipe. Those that have not
    learnt their group are kinds of their own.

    Args:
        networks: names, paths, folders of run folders and checkpoints, networks.
        out: a folder. It keeps the findings on each network, so a stopped call can be repeated and
            continues.
        algorithms, pairs, seed, order: see :func:`coset_circuits.compare`.
        experiments: optional experiments; ``scrub`` and ``certificate`` have columns too.
        workers: the number of processes that compare networks.
        kept: compare nothing; take the reports that the folder has, also those of older code.

    Raises:
        CosetCircuitsError: no network, or none that can be read.
    """
    folder = Path(out)
    several: Any = networks if is_collection(networks) else [networks]
    given = [networks] if isinstance(networks, (str, os.PathLike)) else [*several]

    def compared(name: str, given: Sequence[Given], more: Sequence[str] = ()) -> Ensemble:
        if kept:
            return _kept_reports(given, folder / name)
        return compare(
            given,
            algorithms,
            experiments=more,
            out=folder / name,
            pairs=pairs,
            seed=seed,
            order=order,
            workers=workers,
            progress=progress,
        )

    ensemble = compared("networks", given, experiments)
    kinds = by_kind(ensemble)
    study = Survey(kinds, lambda name, given: compared(f"training/{name}", given))
    answers = [answer for asked in QUESTIONS if (answer := answered(asked, study))]
    more = None if tuple(experiments) == EXPERIMENTS else experiments
    command = command_line("study", given, seed, order, experiments=more, algorithms=algorithms)
    command += " --kept" if kept else ""
    results = [[n.name, n.summary.to_dict()] for n in ensemble]
    made = Reproduction(
        tuple(section for section, _ in answers),
        (),
        ensemble.skipped,
        seed,
        ensemble.versions,
        command,
        hash_of(results, dict(ensemble.skipped), command),
        "study",
        tuple(_head(ensemble, kinds, [said[0] for _, said in answers if said])),
    )
    save_anew(made, folder)
    return made


def _kept_reports(given: Given | Iterable[Given], folder: Path) -> Ensemble:
    """What a folder's reports say of these networks; those without a report are skipped.

    A report is recognised by the hash of its network's weights.

    Raises:
        CosetCircuitsError: no network has a report.
    """
    notes = {path.parent: read_note(path) for path in sorted(folder.glob(f"*/{ASKED}"))}
    places = {note["network"]: place for place, note in notes.items() if note}
    found: list[NetworkSummary] = []
    skipped: dict[str, str] = {}
    for source in sources(given):
        try:
            content = source.content()
            if content not in places:
                skipped[source.called] = f"{folder} has no report on it yet."
                continue
            place = places.pop(content)
            summary = load_comparison(place)
            assert isinstance(summary, Summary)
        except CosetCircuitsError as error:
            skipped[source.called] = str(error)
            continue
        name = unused_name(summary.network["name"], content, [n.name for n in found])
        found.append(NetworkSummary(name, summary, source.called, place.name))
    if not found:
        raise CosetCircuitsError(
            f"{folder} has no report on any of these networks; leave out --kept to compare them."
        )
    first = found[0].summary
    return Ensemble(tuple(found), skipped, (), DEFAULT, first.seed, first.versions)


def _head(ensemble: Ensemble, kinds: Sequence[Members], sentences: Sequence[str]) -> Iterator[str]:
    """How the page begins: the answers in the order of the questions, and how to read them."""
    yield "# What do networks that multiply compute?"
    yield "\n".join(f"- {sentence}" for sentence in sentences)
    yield (
        f"{len(ensemble)} networks of {len(kinds)} kinds; a kind is a group, an architecture, a "
        "width and a recipe with its changes. Figures are medians over the networks of a kind, "
        "with 95% bootstrap intervals where there are enough of them. Lengths are compared at the "
        "fidelity point δ*, the coarsest error of the tables at which the network still behaves "
        "like itself. Sentences count the networks that were trained with a recipe here and have "
        "learnt their group; published networks and controls are in the tables."
    )


def results(study: Survey) -> Answer:
    """Every network with its verdict and lengths."""
    names, rows = study.hypotheses, []
    for members in study.kinds:
        for n in members.networks:
            explained = " + ".join(n.verdict.explained_by) or "nothing"
            figures = n.accuracy, n.loss, n.summary.fidelity.delta, *map(n.bits, names)
            rows.append([members.title, n.name, explained, *figures])
    yield table(
        "Every network",
        rows,
        "Bits per neuron of each hypothesis at δ*. Each network's own report is in networks/.",
        text="kind, network, explained by",
        fraction="accuracy",
        nats="loss",
        number=["δ*", *names],
    )


QUESTIONS = (
    Asked(
        "shortest",
        "Which explanation is shortest, and by how much?",
        "Description length at equal fidelity, verdicts counted, and ratios paired by network",
        lengths.shortest,
    ),
    Asked(
        "dependence",
        "Does it depend on recipe, width, group, architecture?",
        "One factor at a time, networks that have learnt their group",
        lengths.dependence,
    ),
    Asked(
        "training",
        "When over training does it become so?",
        "Checkpoints of every run, and comparisons of those of some runs",
        lengths.training,
    ),
    Asked(
        "ambiguous",
        "How many explanations hold, and what would split them?",
        "Verdicts, and the interventions that separate the explanations",
        limits.ambiguous,
    ),
    Asked(
        "rho-sets",
        "Do cosets and ρ-sets come apart?",
        "The experiment coset_irreps: the share of each coset neuron's tables in one irrep",
        neurons.rho_sets,
    ),
    Asked(
        "subgroups",
        "Do transformers and MLPs use the same subgroups?",
        "Roles of the coset hypothesis",
        neurons.subgroups,
    ),
    Asked(
        "twins",
        "Same characters, other subgroups: what is learnt?",
        "Dihedral and dicyclic groups of one order",
        twins.twins,
    ),
    Asked(
        "disagreements",
        "Where does description length disagree with prediction, scrubs and certificates?",
        "Networks that have learnt their group",
        limits.disagreements,
    ),
    Asked(
        "clocks",
        "What do Clock and Pizza measures say of cyclic groups?",
        "Measures of Zhong et al., arXiv 2306.17844",
        neurons.clocks,
    ),
    Asked(
        "worst",
        "What stays unexplained, and what is it?",
        "The experiment unexplained",
        neurons.worst,
    ),
    Asked("results", "The table of results", "Every network", results),
)
"""What the page asks, in its order."""
