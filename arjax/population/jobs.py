"""The populations of a study, as a study file lists them, and what is kept of each."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from arjax.cli.command_line import writable_folder
from arjax.config.files import apply_overrides, load_config_file, to_json
from arjax.config.validate import validate
from arjax.core.array_files import read_arrays
from arjax.core.errors import UserError
from arjax.core.files import read_json_object, replacing, write_json, writing
from arjax.core.integers import is_integer
from arjax.core.registry import did_you_mean
from arjax.core.user_files import load_list
from arjax.evaluation.likelihood import summarize
from arjax.evaluation.metrics import SCORES, check_metric
from arjax.population.ensemble import make_ensemble
from arjax.population.population import Population
from arjax.population.train import Scores, train_population
from arjax.reporting.reports import is_number
from arjax.training.results import device_name

FILE_NAME, ROWS_NAME, JOB_NAME = "population.json", "rows.npz", "job.json"


@dataclasses.dataclass(frozen=True)
class PopulationJob:
    """One population of a study: a config under several orders and seeds.

    Attributes:
      name: folder of the population inside the study's workdir.
      config: config file with its argument, such as `configs/uci_binary.py:dna`.
      orders: call strings of orderings.
      seeds: of parameters, batches and noise.
      overrides: config fields to set, such as `{"train.steps": 500}`.
      model: the model, in words; "" is the network's name.
      metric: the number to report, such as `nll_nats`.
      ensemble: whether to mix the members as well.
      published: the number to compare the ensemble with (nan: none), and `published_mark` where it comes from.
    """

    name: str
    config: str
    orders: tuple[str, ...]
    seeds: tuple[int, ...] = (0, 1, 2)
    overrides: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    model: str = ""
    metric: str = "nll_nats"
    ensemble: bool = False
    published: float = float("nan")
    published_mark: str = ""

    def __post_init__(self):
        if not isinstance(self.name, str) or not re.fullmatch(r"\w[\w.+=-]*", self.name):
            raise UserError(f"a population cannot be named {self.name!r}: use letters, digits and _ . + = - only")
        if not _all(self.orders, lambda order: isinstance(order, str)):
            raise UserError(f"population {self.name!r} needs orders, each a call string, not {self.orders!r}")
        if not _all(self.seeds, lambda seed: is_integer(seed) and seed >= 0):
            raise UserError(f"population {self.name!r} needs seeds, whole numbers from 0, not {self.seeds!r}")

    def resolved(self) -> ConfigDict:
        """The config with its overrides; raises `UserError` for a mistake in either."""
        config = load_config_file(self.config)
        apply_overrides(config, [(key, str(value)) for key, value in self.overrides.items()])
        validate(config)
        return config

    def description(self) -> dict[str, Any]:
        """What makes this population this one and no other, as JSON has it: all fields of the config among it."""
        return self._describe(self.resolved())

    def _describe(self, config: ConfigDict) -> dict[str, Any]:
        digest = hashlib.sha256(to_json(config).encode()).hexdigest()
        return {"config": digest, "orders": list(self.orders), "seeds": list(self.seeds)}


def _all(values: Any, fits: Any) -> bool:
    return isinstance(values, tuple | list) and len(values) > 0 and all(fits(value) for value in values)


def load_study(path: str) -> list[PopulationJob]:
    """The populations that `get_populations()` of a study file returns.

    Raises:
      UserError: a missing or failing file, something that is not a list of `PopulationJob`s, or a name used twice.
    """
    return load_list(path, "get_populations", PopulationJob, "study file", "populations")


def check_jobs(jobs: Sequence[PopulationJob]) -> None:
    """Checks all that can be known of the populations before any of them is trained.

    Raises:
      UserError: a mistake in a config, a metric that no population has, or an ensemble chosen and tested on one split.
    """
    for job in jobs:
        check_metric(job.metric, f"population {job.name!r}", SCORES)
        if job.resolved().evaluate.split == "validation" and job.ensemble:
            raise UserError(
                f"the ensemble of {job.name!r} is chosen on validation, so evaluate.split must be another one"
            )


def finished(job: PopulationJob, folder: Path) -> dict[str, Any] | None:
    """What was found out about exactly this population; None when it has not been trained to its end."""
    found = read_json_object(folder / FILE_NAME)
    if not found or found.get("job") != job.description() or not _is_whole(found, job):
        return None
    if job.ensemble and "ensemble" not in found:  # asked for later: the rows are there
        found["ensemble"] = _mixed(*_read_rows(folder / ROWS_NAME, (len(job.orders), len(job.seeds))))
        write_json(folder / FILE_NAME, found)
    return found


def _is_whole(found: Mapping[str, Any], job: PopulationJob) -> bool:
    """Whether all that the tables tell is there: else the file was edited by hand or damaged."""
    ensemble, results, grid = found.get("ensemble"), found.get("results"), (len(job.orders), len(job.seeds))
    texts = [found.get(name) for name in ("dataset", "split", "model", "device")]
    numbers = [found.get("seconds"), found.get("num_params")]
    if not isinstance(results, list) or not all(isinstance(row, list) for row in results):
        return False
    if (len(results), *{len(row) for row in results}) != grid:
        return False
    numbers += [each.get(job.metric) if isinstance(each, dict) else None for row in results for each in row]
    if "ensemble" in found:
        names = ("uniform", "uniform_stderr", "weighted", "weighted_stderr")
        numbers += [ensemble.get(name) if isinstance(ensemble, dict) else None for name in names]
    return all(isinstance(text, str) for text in texts) and all(map(is_number, numbers))


def _read_rows(path: Path, members: tuple[int, int]) -> list[np.ndarray]:
    """The nats of each validation example and of each test example under each member, [O, S, N]."""
    try:
        rows = list(read_arrays(path, ("validation", "test")).values())
    except UserError as error:
        raise UserError(f"{error}; delete {path.parent} to train the population again") from error
    for array in rows:
        if array.ndim != 3 or array.shape[:2] != members or not array.shape[2] or array.dtype.kind != "f":
            raise UserError(f"{path} holds no nats of this population; delete {path.parent} to train it again")
    return rows


def run_job(job: PopulationJob, folder: Path, say: Any = print) -> dict[str, Any]:
    """Trains the population and writes `population.json` and `rows.npz` (the nats of each example) into the folder.

    Until then its state is in the folder `training`; a population that was interrupted or killed goes on from there.
    """
    check_jobs([job])
    writable_folder(folder)  # a mistake ends here, before anything is trained
    config = job.resolved()
    description = job._describe(config)  # the file may be edited while the population is trained
    population = Population(config, job.orders, job.seeds)
    dataset, one = population.setup.dataset, np.ones(2)
    metrics = summarize(one, one, dataset.event, text=dataset.decode is not None)
    if job.metric not in metrics:
        raise UserError(f"population {job.name!r} reports no {job.metric!r}{did_you_mean(job.metric, metrics)}")
    with writing(folder):
        training = _training_folder(folder, description)
    scores = train_population(population, say, training)
    found = {
        "job": description,
        "dataset": dataset.name,
        "split": config.evaluate.split,
        "kind": population.setup.model.kind,
        "model": job.model or config.network.name,
        "way": population.way,
        "device": device_name(),
        **_plain(scores),
    }
    if job.ensemble:
        found["ensemble"] = _mixed(scores.validation_rows, scores.test_rows)
    with replacing(folder / ROWS_NAME) as replacement, replacement.open("wb") as file:
        np.savez_compressed(file, validation=scores.validation_rows, test=scores.test_rows)
    write_json(folder / FILE_NAME, found)
    with writing(folder):
        shutil.rmtree(training)
    return found


def _training_folder(folder: Path, description: dict[str, Any]) -> Path:
    """The folder of the train state; one of another config, of other orders or other seeds is removed."""
    training = folder / "training"
    if training.exists() and read_json_object(training / JOB_NAME) != description:
        shutil.rmtree(training)
    training.mkdir(parents=True, exist_ok=True)
    write_json(training / JOB_NAME, description)
    return training


def _plain(scores: Scores) -> dict[str, Any]:
    return {
        "validation_nll_nats": scores.validation.tolist(),
        "results": scores.results,
        "best_step": scores.best_step.tolist(),
        "seconds": scores.seconds,
        "num_params": scores.num_params,
    }


def _mixed(valid_OSN: np.ndarray, test_OSN: np.ndarray) -> dict[str, Any]:
    """The ensemble of all members, numbered order by order, seed by seed."""

    def members(rows_OSN: np.ndarray) -> np.ndarray:
        return rows_OSN.reshape(-1, rows_OSN.shape[-1])

    ensemble = dataclasses.asdict(make_ensemble(members(valid_OSN), members(test_OSN)))
    return {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in ensemble.items()}
