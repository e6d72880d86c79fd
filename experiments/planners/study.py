"""Rules that choose the next cell, in nats from the truth: trains what is missing, measures what is not in the table
yet, and writes the table of the page and the picture.

    python experiments/planners/study.py runs/planners [--seeds=0,1,2]

results.csv: for each seed and rule the nats above the entropy of 6 x 6 Sudoku grids, their kind, and the part of draws
that are grids. An interrupted study goes on.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import functools
import json
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

import arjax
from arjax.cli.command_line import Parser, tell_mistakes
from arjax.data.counted import Sudoku
from arjax.evaluation.bounds import k_step_scores
from arjax.evaluation.splits import Scoring
from arjax.factorization import make_orders, reorder
from arjax.models import AutoregressiveModel
from arjax.reporting import figures
from arjax.samplers import example_keys

sys.path.append(str(Path(__file__).resolve().parents[2] / "scripts"))
from measured import markdown_table, write_measured

HERE = Path(__file__).parent
#: Each with the words of the picture.
RULES = {
    "raster": "raster order",
    "learned": "learned order",
    "random": "random orders (bound)",
    "pool": "pool of 16 random orders",
    "entropy": "least entropy",
    "margin": "largest margin",
    "top1": "most probable value",
}
POOL, NUM, TOGETHER = 16, 2000, 250
SHOWN = ("rule", "kind", "nats above the entropy", "of each seed", "solved grids", "-log of these", "calls")
COLUMNS = ("seed", "rule", "kind", "nats", "above", "stderr", "draws", "solved", "solved_stderr", "calls", "seconds")


def in_order(model: AutoregressiveModel, order: Sequence[int]) -> AutoregressiveModel:
    """The same network in another order of the cells."""
    factorization = jax.tree.map(np.asarray, reorder(model.factorization, np.asarray(order)))
    return dataclasses.replace(model, factorization=factorization)


def models_of(model: AutoregressiveModel, rule: str, learned: Sequence[int]) -> tuple[list[AutoregressiveModel], str]:
    """The network in the orders of a rule, and the name that evaluation and sampler have for it. The pool has fixed
    random orders, the same for all seeds.
    """
    if rule == "pool":
        pool = make_orders(f"pool(num={POOL})", model.event.grid_shape).members(POOL)
        return [in_order(model, order.order) for order in pool], "order"
    if rule in ("raster", "learned"):
        return [in_order(model, learned) if rule == "learned" else model], "order"
    return [model], rule


def nats_of(run: Any, rule: str, learned: Sequence[int]) -> tuple[str, float, float]:
    """The kind of the score of a rule on test grids, its mean in nats and its standard error."""
    if rule == "pool":
        source = run.dataset.thinned(NUM).splits["test"]
        nats_N = -run.log_prob(np.asarray(source.__getitems__(np.arange(len(source))).x), orders=f"pool(num={POOL})")
        return "exact", nats_N.mean(), nats_N.std(ddof=1) / np.sqrt(len(nats_N))
    (model, *_), choose = models_of(run.model, rule, learned)
    options = {"steps": model.factorization.num_steps, "choose": choose, "examples": NUM, "scoring": Scoring(TOGETHER)}
    scores = k_step_scores(model, run.params, run.dataset, "test", **options)
    name = "k_step_bound" if rule == "random" else "k_step_nll"
    return scores.get("k_step_kind", "bound"), scores[f"{name}_nats"], scores[f"{name}_stderr"]


def draws_of(run: Any, rule: str, learned: Sequence[int]) -> tuple[np.ndarray, int]:
    """Draws of one cell in each round, and the calls of the network for each."""
    keys, (models, choose) = example_keys(jax.random.key(run.config.seed + 1), NUM), models_of(run.model, rule, learned)
    sampler = f"parallel(steps={run.model.factorization.num_steps},choose={choose!r})"
    parts = [model.draw(run.params, keys[k :: len(models)], sampler=sampler) for k, model in enumerate(models)]
    return np.concatenate([np.asarray(part.x) for part in parts]), int(parts[0].stats["network_calls"][0])


def measure(run: Any, rule: str, learned: Sequence[int]) -> dict[str, Any]:
    """The row of a rule."""
    start, truth = time.perf_counter(), Sudoku(run.model.event.num_levels)
    kind, nats, stderr = nats_of(run, rule, learned)
    x, calls = draws_of(run, rule, learned)
    solved = truth.contains(x).mean()
    row = {"seed": run.config.seed, "rule": rule, "kind": kind, "nats": nats, "above": nats - truth.entropy}
    row |= {"stderr": stderr, "draws": len(x), "solved": float(solved)}
    row |= {"solved_stderr": float(solved * (1 - solved) / len(x)) ** 0.5, "calls": calls}
    return row | {"seconds": round(time.perf_counter() - start, 1)}


def learned_order(folder: Path, config: str) -> list[int]:
    """The order that a policy learns for the network of a run; the network hardly moves meanwhile."""
    target = folder.with_name(f"{folder.name}-order")
    if not (target / "results.json").exists():
        arjax.fit(f"{config}{'' if config.endswith(':') else ','}start={folder}", target, {"seed": int(folder.name)})
    return json.loads((target / "results.json").read_text())["learned_order"]


def read(path: Path) -> list[dict[str, str]]:
    """The rows of the table; none where there is no table."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def add(path: Path, row: dict[str, Any]) -> None:
    """Adds a row to the table, numbers with six digits."""
    is_new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()})
    print(row, flush=True)


def draw(rows: Sequence[dict[str, str]], path: Path) -> None:
    """Nats above the entropy and solved grids: a dot for each seed."""
    names = [rule for rule in RULES if any(row["rule"] == rule for row in rows)]
    figure = figures.new_figure(7.2, 3.0)
    about = {"above": "nats above the entropy of 17.15", "solved": "solved grids, part of the draws"}
    for axis, (column, label) in zip(figures.row_of_axes(figure, 2), about.items(), strict=True):
        for row in rows:
            color = figures.SOFT if row["kind"] == "bound" and column == "above" else figures.ACCENT
            place, error = names.index(row["rule"]), float(row["stderr" if column == "above" else "solved_stderr"])
            axis.errorbar(float(row[column]), -place, xerr=error, fmt="o", color=color, markersize=4, linewidth=1)
        axis.set_yticks([-place for place in range(len(names))], [RULES[name] for name in names])
        if column == "solved":
            axis.set_yticklabels([])
        figures.label_axes(axis, label, "", "")
    figures.save_figure(figure, path)


def over_seeds(values: Sequence[float], digits: int) -> str:
    """The mean over the seeds, and its standard error where there are several."""
    error = f" ± {np.std(values, ddof=1) / len(values) ** 0.5:.{digits}f}" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{error}"


def lines(rows: Sequence[dict[str, str]]) -> list[list[str]]:
    """The lines of the page, one for each rule."""
    cells = []
    for rule, words in RULES.items():
        if mine := [row for row in rows if row["rule"] == rule]:
            above, solved = ([float(row[name]) for row in mine] for name in ("above", "solved"))
            each = ", ".join(f"{float(row['above']):.2f} ± {float(row['stderr']):.2f}" for row in mine)
            about = [words.removesuffix(" (bound)"), mine[0]["kind"], over_seeds(above, 2), each]
            missed = over_seeds([-math.log(part) for part in solved], 2) if min(solved) else ""
            cells.append([*about, over_seeds(solved, 3), missed, mine[0]["calls"]])
    return cells


def main(argv: Sequence[str]) -> int:
    """Reads the flags and goes through the seeds."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workdir", type=Path, help="folder of the runs")
    parser.add_argument("--seeds", default="0,1,2", help="with commas between them")
    parser.add_argument("--config", default=f"{HERE / 'config.py'}:", help="config of the network, with its arguments")
    parser.add_argument(
        "--results", type=Path, default=HERE / "results.csv", help="the table; the picture is beside it"
    )
    flags = parser.parse_args(argv)
    seeds, opened = flags.seeds.split(","), functools.cache(arjax.open_run)
    last = ("learned", "pool")  # these take longest
    pairs = [(seed, rule) for seed in seeds for rule in RULES if rule not in last]
    for seed, rule in [*pairs, *((seed, rule) for rule in last for seed in seeds)]:
        if any((row["seed"], row["rule"]) == (seed, rule) for row in read(flags.results)):
            continue
        folder = flags.workdir / seed
        if not (folder / "results.json").exists():
            arjax.fit(flags.config, folder, {"seed": int(seed)})
        order = learned_order(folder, flags.config) if rule == "learned" else ()
        add(flags.results, measure(opened(folder), rule, order))
        draw(read(flags.results), flags.results.with_suffix(".png"))
    if flags.results.parent == HERE:
        write_measured(HERE / "README.md", markdown_table(SHOWN, lines(read(flags.results)), SHOWN[2:]))
    return 0


if __name__ == "__main__":
    sys.exit(tell_mistakes("study", lambda: main(sys.argv[1:])))
