"""The files of a member: the folder that `arjax` would have made of its order and seed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from arjax.config.files import save_config
from arjax.core.errors import UserError
from arjax.population.nats import write_nats
from arjax.population.population import Population
from arjax.population.train import Scores
from arjax.training.results import cost_of_run, device_name, validation_scores, write_results
from arjax.training.setup import best_store
from arjax.training.workdir import remember_data


def failure(scores: Scores, o: int, s: int) -> str:
    """Why a member has no results, where its run alone would have ended without: its loss was not finite; else ""."""
    if not scores.history.alive[o, s]:
        return "the loss was not finite; a lower optimizer.learning_rate or a clip_norm may help"
    if not np.isfinite(scores.validation[o, s]):
        return "no validation score of this run was finite, so there are no best parameters to test"
    return ""


def write_member(folder: Path, config: ConfigDict, population: Population, scores: Scores, o: int, s: int) -> None:
    """Writes `config.json`, the best parameters, `rows.npz` and, last, `results.json` of the member (o, s).

    `config` is that of the run, with its own order and seed.

    Raises:
      UserError: the member has no results, or the disk refuses.
    """
    if reason := failure(scores, o, s):
        raise UserError(reason)
    best_step = int(scores.best_step[o, s])
    params = jax.device_put(jax.tree.map(lambda leaf: leaf[o, s], scores.params), jax.devices()[0])
    save_config(config, folder)
    remember_data(population.setup.dataset, folder)
    best_store(folder).save(best_step, params, _about(scores, o, s))
    test_N, validation_N = scores.test_rows[o, s], scores.validation_rows[o, s]
    write_nats(folder, {"validation": validation_N, config.evaluate.split: test_N})
    write_results(folder, _report(population, scores, o, s))


def _about(scores: Scores, o: int, s: int) -> dict[str, Any]:
    """The note of the checkpoint of the best parameters."""
    return {"value": float(scores.validation[o, s]), "scores": scores.validation_results[o][s]}


def _report(population: Population, scores: Scores, o: int, s: int) -> dict[str, Any]:
    """The fields of `arjax.training.loop`; the seconds are the member's share, equal parts of those of all."""
    setup, config = population.setup, population.config
    results = {"dataset": setup.dataset.name, "split": config.evaluate.split, "kind": setup.model.kind}
    results["unit"] = setup.model.event.unit
    results |= scores.results[o][s]
    results |= validation_scores(_about(scores, o, s))
    step = _last_step(population, scores, o, s)
    share = 1 / scores.best_step.size
    history = scores.history
    seconds = {name: getattr(history, name) * share for name in ("train_seconds", "compile_seconds", "step_seconds")}
    results |= {
        "num_params": scores.num_params,
        "step": step,
        "best_step": int(scores.best_step[o, s]),
        "seed": population.seeds[s],
        "device": device_name(),
    }
    return results | cost_of_run(seconds, step, _sites_per_step(population)) | scores.reports[o][s]


def _sites_per_step(population: Population) -> int:
    return population.config.train.batch_size * population.setup.model.event.num_sites


def _last_step(population: Population, scores: Scores, o: int, s: int) -> int:
    """The step at which the run alone ends: with the last one, or out of patience."""
    train, total = population.config.train, population.setup.total_steps
    if not train.patience:
        return total
    return min(total, int(scores.best_step[o, s]) + train.patience * train.eval_every)
