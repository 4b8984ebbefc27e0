"""Search for the fastest recipe that still gives clean circuits; every trial is reported.

    python tests/benchmarks/recipe_search.py S5 --seeds 0-4 --out search [--only NAME ...]

A network is *clean* when all pairs are right, their mean loss is below 1e-5, and at least 90% of
the neurons that are not negligible have less than 1e-3 of their variance left on both sides for a
subgroup of index at most 10. Each trial keeps its tables every hundred steps, so that a row says
when the network grokked and from when on it was clean, not only how it ended. A trial's row is
written to OUT/rows.jsonl when it ends; a second call goes on with what is missing.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

import coset_circuits as cc
from coset_circuits.cli.options import seed_numbers
from coset_circuits.networks import cross_entropy
from coset_circuits.training.recipes import RECIPES, recipe_for

LOSS, SHARE, FVU, INDEX = 1e-5, 0.9, 1e-3, 10


def trial(lr: float, **changes: Any) -> dict[str, Any]:
    return {"batch_size": None, "final_learning_rate": None, "learning_rate": lr, **changes}


def cooled(lr: float, batch: int | None, bound: float = 1e-3, share: float = 1.0, **changes: Any):
    """Cool from ``lr`` to 1e-3 once the loss is below ``bound``, for ``share`` as many steps."""
    settings = {"final_learning_rate": 1e-3, "loss_bound": bound, "clean_up": share, **changes}
    return trial(lr, batch_size=batch, **settings)


# What each trial changes of the recipe *fast*, by group.
TRIALS: dict[str, dict[str, dict[str, Any]]] = {
    "S5": {
        "lr .01": trial(0.01, loss_bound=1e-5),
        "lr .03": trial(0.03, loss_bound=1e-5),
        "lr .03, cooled": cooled(0.03, None),
        "lr .1, cooled": cooled(0.1, None),
        "lr .01, wd 3": trial(0.01, loss_bound=1e-5, weight_decay=3.0),
        "lr .03, batch 2880, cooled": cooled(0.03, 2880),
        "lr .03, batch 1440, cooled": cooled(0.03, 1440),
        "lr .03, batch 1440, cooled from 1e-2": cooled(0.03, 1440, 1e-2),
        "lr .03, batch 1440, cooled from 1e-5": cooled(0.03, 1440, 1e-5),
        "lr .03, batch 1440, cooled twice as long": cooled(0.03, 1440, share=2.0),
        "lr .03, batch 720, cooled": cooled(0.03, 720),
        "lr .03, batch 720, cooled from 0.1": cooled(0.03, 720, 0.1),
        "lr .02, batch 1440, cooled": cooled(0.02, 1440),
        "lr .01, batch 1440, cooled": cooled(0.01, 1440),
        "lr .05, batch 1440, cooled": cooled(0.05, 1440),
        "lr .03, batch 1440, cooled to 3e-4": cooled(0.03, 1440, final_learning_rate=3e-4),
        "lr .03, batch 1440, wd 2, cooled": cooled(0.03, 1440, weight_decay=2.0),
        "lr .03, batch 1440, wd .5, cooled": cooled(0.03, 1440, weight_decay=0.5),
    },
}


def clean_share(network: cc.GroupMLP) -> tuple[float, dict[str, int]]:
    """The share of the neurons that matter that are clean, and how many have each subgroup."""
    frame = cc.CosetAlgorithm(thresholds=cc.Thresholds(fvu=FVU)).fit(network).roles.to_dataframe()
    frame = frame[frame["role"] != "negligible"]
    index = {c.name: network.group.order // c.order for c in network.group.subgroup_classes}
    clean = frame["role"].map(index).fillna(np.inf) <= INDEX
    counts = {str(k): int(v) for k, v in frame["role"].value_counts().items()}
    return float(clean.mean()) if len(frame) else 0.0, counts


@torch.no_grad()
def measured(network: cc.GroupMLP) -> dict[str, Any]:
    """How many pairs are wrong, the mean loss over all in nats, and how clean the neurons are."""
    pairs = network.group.pairs()
    wrong, total = 0, 0.0
    for chunk in pairs.split(20_000):
        labels, logits = network.group.products(chunk), network(chunk)
        wrong += int((logits.argmax(1) != labels).sum())
        total += float(cross_entropy(logits, labels).sum())
    share, roles = clean_share(network)
    return {"wrong": wrong, "loss": total / len(pairs), "clean_share": share, "roles": roles}


def is_clean(row: dict[str, Any]) -> bool:
    return not row["wrong"] and row["loss"] < LOSS and row["clean_share"] >= SHARE


def row_of(folder: Path, trial: str, seed: int) -> dict[str, Any]:
    """When it grokked, from when on it was clean, and how it ended."""
    network = cc.load(folder)
    end = measured(network)
    clean_from = network.provenance["steps"] if is_clean(end) else None
    if clean_from is not None:
        for step, path in reversed(cc.training_checkpoints(folder).items()):
            if not is_clean(measured(cc.load(path))):
                break
            clean_from = step
    return {
        "trial": trial,
        "seed": seed,
        "grokked": _first_grokked(folder),
        "clean_from": clean_from,
        "steps": network.provenance["steps"],
        "seconds": network.provenance["seconds"],
        "clean": is_clean(end),
        **end,
    }


def _first_grokked(folder: Path) -> int | None:
    for step, path in cc.training_checkpoints(folder).items():
        if not measured(cc.load(path))["wrong"]:
            return step
    return None


def table(rows: list[dict[str, Any]]) -> str:
    """A line a trial, in Markdown: steps are medians over its seeds, of those that came so far."""

    def median(values: list[Any]) -> str:
        known = [v for v in values if v is not None]
        return f"{np.median(known):,.0f}" if known else "–"

    lines = [
        "| recipe | clean / seeds | grokked at | clean from | ends at | loss |",
        "|---|---|---|---|---|---|",
    ]
    for name in dict.fromkeys(row["trial"] for row in rows):
        of = [row for row in rows if row["trial"] == name and "failure" not in row]
        if of:
            losses = [row["loss"] for row in of]
            lines.append(
                f"| {name} | {sum(r['clean'] for r in of)} / {len(of)} "
                f"| {median([r['grokked'] for r in of])} | {median([r['clean_from'] for r in of])} "
                f"| {median([r['steps'] for r in of])} | {min(losses):.0e}–{max(losses):.0e} |"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("group", nargs="?", default="S5", choices=TRIALS)
    parser.add_argument("--seeds", default="0-4")
    parser.add_argument("--out", type=Path, default=Path("search"))
    parser.add_argument("--only", nargs="*", choices=[n for t in TRIALS.values() for n in t])
    parser.add_argument("--workers", type=int)
    parser.add_argument("--max-steps", type=int, default=RECIPES["fast"].max_steps)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    rows = given.out / "rows.jsonl"
    rows.touch()
    known = [json.loads(line) for line in rows.read_text().splitlines()]
    done = {(row["trial"], row["seed"]) for row in known}
    for number, (name, changes) in enumerate(TRIALS[given.group].items()):
        seeds = [seed for seed in seed_numbers(given.seeds) if (name, seed) not in done]
        if not seeds or (given.only and name not in given.only):
            continue
        recipe = recipe_for(
            cc.group(given.group), "fast", {"max_steps": given.max_steps, **changes}
        )
        outcomes = cc.train_many(
            given.group,
            seeds,
            out=given.out / f"trial-{number}",
            recipe=recipe,
            resume=True,
            workers=given.workers,
            checkpoints=range(0, recipe.max_steps + 1, 100),
        )
        for outcome in outcomes:
            if outcome.failure is None:
                row = row_of(outcome.folder, name, outcome.seed)
            else:
                row = {"trial": name, "seed": outcome.seed, "failure": outcome.failure}
            shutil.rmtree(outcome.folder)
            with rows.open("a") as file:
                file.write(json.dumps(row) + "\n")
            print(json.dumps(row), flush=True)
    print(table([json.loads(line) for line in rows.read_text().splitlines()]))


if __name__ == "__main__":
    main()
