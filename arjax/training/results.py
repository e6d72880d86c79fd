"""The reports of a run: `results.json` about its test split, and those of later evaluations in `evaluations/`."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from arjax.core.files import own_folder, read_json_object, write_arrays, write_json, writing
from arjax.core.scores import SAMPLE_SCORE, score_name
from arjax.evaluation.report import Report, report
from arjax.objectives import ObjectiveState
from arjax.parallel.devices import usable_cores
from arjax.reporting.reports import FILE_NAME, NATS_FILE, read_report
from arjax.reporting.writers import FILE_NAME as METRICS
from arjax.reporting.writers import read_metrics
from arjax.training.record import note_written
from arjax.training.setup import Setup, latest_store

EVALUATIONS = "evaluations"
#: The entries about a training that depend on more than its best parameters.
OF_TRAINING = ("step", "seed", "device", "train_seconds", "compile_seconds", "train_sites_per_second")
#: The parameters of a run with the best validation, their step, and the note of their checkpoint.
BestParams = tuple[Any, int, Mapping[str, Any]]
#: Scores with equal values of these fields are equal.
_SCORES = (
    *("dataset", "split", "best_step", "num_orders", "num_examples", "nll_nats", "nll_stderr", SAMPLE_SCORE),
    *("k_steps", "k_step_bound_nats", "k_step_nll_nats", "k_step_choose"),
    *("importance_samples", "importance_bound_nats"),
    *("chain_bound_steps", "chain_bound_nats"),
    *("exposure_rollouts", "exposure_forward_own_nats", "greedy_error", "judge_own_nll_nats"),
)


def run_report(setup: Setup, workdir: str | os.PathLike, best: BestParams, device: str = "") -> Report:
    """All scores of the best parameters, and the entries about the training, on the device that is named."""
    where = setup.model, best[0], setup.dataset, setup.evaluate.split, setup.evaluate
    scored = report(*where, mesh=setup.mesh, seed=setup.seed, open_run=setup.open_run)
    return dataclasses.replace(scored, scores=scored.scores | entries_of_run(setup, workdir, best, device))


def entries_of_run(setup: Setup, workdir: str | os.PathLike, best: BestParams, device: str = "") -> dict[str, Any]:
    """The entries of `training_entries`, from the newest train state in a folder, or else from its report."""
    known, store, objective = read_report(workdir) or {}, latest_store(workdir), setup.spec.objective
    history: dict[str, Any] = {}
    step, objective_state = best[1], objective.init(setup.model, jax.random.key(0))
    if jax.tree.leaves(objective_state) and (restored := store.restore(setup.abstract_state)) is not None:
        step, state, history = restored
        objective_state = state.objective
    elif (newest := store.newest()) is not None:
        step, history = newest
    device = device or known.get("device", "")
    entries = training_entries(setup, best, step=step, history=history, objective_state=objective_state, device=device)
    if not history:
        entries |= {name: known[name] for name in (*OF_TRAINING, *objective.report(objective_state)) if name in known}
    return entries


def training_entries(
    setup: Setup,
    best: BestParams,
    *,
    step: int,
    history: Mapping[str, Any],
    objective_state: ObjectiveState,
    seed: int | None = None,
    device: str = "",
) -> dict[str, Any]:
    """Returns the entries that a training of `step` steps adds to the report of a split. `history` has the seconds of
    `History`, if known; `seed` and `device` are by default those of the setup and of this process.
    """
    params, best_step, note = best
    cost = {name: history[name] for name in ("train_seconds", "compile_seconds") if history}
    if history and history["step_seconds"] > 0:
        num_sites = step * (setup.train.batch_size * setup.model.event.num_sites)
        cost["train_sites_per_second"] = num_sites / history["step_seconds"]
    return {
        # There is no note before the first validation.
        **{f"validation_{name}": value for name, value in note.get("scores", {}).items()},
        f"validation_{score_name(setup.model.score_kind)}": note["value"] if note else None,
        "num_params": sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(params)),
        "step": step,
        "best_step": best_step,
        "seed": setup.seed if seed is None else seed,
        "device": device or device_name(),
        **cost,
        **setup.spec.objective.report(objective_state),
    }


def write_results(workdir: str | os.PathLike, results: Mapping[str, Any]) -> None:
    """Writes the report of a run, by the first process; an earlier one of other scores is kept in `evaluations/`."""
    if jax.process_index() == 0:
        earlier = read_report(workdir)
        if earlier is not None and not _same_scores(earlier, results):
            write_evaluation(workdir, earlier)
        note_written(workdir, {METRICS: read_metrics(workdir), FILE_NAME: results})
        write_json(Path(workdir) / FILE_NAME, results)


def set_results_aside(workdir: str | os.PathLike) -> None:
    """Moves the report of a run to `evaluations/`: the run has none until it is scored again."""
    earlier = read_report(workdir)
    if earlier is not None:
        write_evaluation(workdir, earlier)
        path = Path(workdir) / FILE_NAME
        with writing(path):
            path.unlink()


def write_nats(workdir: str | os.PathLike, nats: Mapping[str, np.ndarray]) -> None:
    """Writes the nats of each example, float[N] for each split, by the first process."""
    if jax.process_index() == 0:
        write_arrays(Path(workdir) / NATS_FILE, {split: nats_N.astype(np.float32) for split, nats_N in nats.items()})


def write_evaluation(workdir: str | os.PathLike, results: Mapping[str, Any]) -> Path:
    """Writes scores to `evaluations/`, as `test-step-900.json`, beside those of other scores; returns the file."""
    folder = own_folder(workdir, EVALUATIONS)
    orders = f"-{results['num_orders']}-orders" if results.get("num_orders", 1) > 1 else ""
    name, number = f"{results['split']}-step-{results['best_step']}{orders}", 1
    path = folder / f"{name}.json"
    while path.exists() and not _same_scores(read_json_object(path) or {}, results):
        number += 1
        path = folder / f"{name}-{number}.json"
    write_json(path, results)
    return path


def _same_scores(left: Mapping[str, Any], right: Mapping[str, Any]) -> bool:
    return all(left.get(name) == right.get(name) for name in _SCORES)


def device_name() -> str:
    """The devices of the run, such as `8 x NVIDIA H100` or `CPU, 2 cores`."""
    kind = jax.devices()[0].device_kind
    if kind != "cpu":
        return f"{jax.device_count()} x {kind}"
    cores = len(usable_cores())
    return f"CPU, {cores} core{'s' * (cores > 1)}"
