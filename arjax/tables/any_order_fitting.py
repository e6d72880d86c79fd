"""Trains networks for all orders of the columns of a table, a small one first, within some time or as planned."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from arjax.api.arrays import fit_arrays
from arjax.api.trained_model import Fitted
from arjax.core.traits import require
from arjax.data import from_arrays
from arjax.data.columns import MISSING
from arjax.models import Model, make_model
from arjax.tables.any_order import AnyOrderTable, Sites, codes_of, frequencies_of
from arjax.tables.engine import FitSettings

#: Train rows from which on larger networks are tried.
_MANY_ROWS = 5000
#: Steps of the first training, whatever the time is; a further training has at least so many times more.
LEAST_STEPS, _WORTH = 1000, 1.5
#: About the most epochs of a training.
_MOST_EPOCHS = 150


@dataclasses.dataclass(frozen=True)
class NetworkSize:
    """Sizes and regularisation of a network, and the steps of its training."""

    hidden_sizes: tuple[int, ...]
    dropout: float
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    steps: int = 0


def network_sizes(num_rows: int) -> list[NetworkSize]:
    """Returns the sizes that are tried for so many train rows, the first one for `LEAST_STEPS`, others for longer."""
    if num_rows >= _MANY_ROWS:
        return [NetworkSize((128, 128), 0.1), NetworkSize((512, 512), 0.1), NetworkSize((512, 512), 0.25)]
    small = NetworkSize((128, 128), 0.3)
    return [small, small, NetworkSize((128, 128), 0.5), NetworkSize((256, 256), 0.1)]


class NetworkSearch:
    """Trainings of networks for one table: `members`, the sizes and the results of each."""

    def __init__(self, training: FitSettings):
        self.members: list[tuple[NetworkSize, Any]] = []
        columns, cells, num = training.columns, training.cells, len(training.cells["train"])
        self._columns, self._seed = columns, training.seed
        codes = {split: codes_of(columns, cells_NC) for split, cells_NC in cells.items()}
        self._sites = Sites(tuple(column.num_codes for column in columns))
        self._x = {split: self._sites.values(codes_NC) for split, codes_NC in codes.items()}
        self._frequencies = frequencies_of([column.num_codes for column in columns], codes["train"])
        self._batch_size = int(np.clip(2 ** round(math.log2(max(num / 100, 1))), 32, 256))
        self._most_steps = int(_MOST_EPOCHS * num / self._batch_size + 1000)
        self._speeds: dict[tuple[int, ...], float] = {}  # steps a second
        self._overhead = 0.0  # seconds of a training beside its steps, in which it compiles

    def run(self, seconds: float) -> None:
        """Trains the first size for `LEAST_STEPS`, and others, or the first one again, as far as the time allows."""
        end = time.monotonic() + seconds
        first, *others = network_sizes(len(self._x["train"]))
        self.train(dataclasses.replace(first, steps=LEAST_STEPS))
        for i, size in enumerate(others):
            left = end - time.monotonic()
            self._train_within(size, left / (len(others) - i)) or self._train_within(size, left)
        if len(self.members) == 1:
            self._train_within(first, end - time.monotonic())

    def _train_within(self, size: NetworkSize, seconds: float) -> bool:
        """Trains for about so many seconds if these are worth it, and returns whether they are."""
        speed = self._speeds.get(size.hidden_sizes)
        if speed is None:  # as many operations a second as of the first size
            first, model = self.members[0]
            speed = self._speeds[first.hidden_sizes] * model.model.num_params / self._model(size).num_params
        steps = min(int(0.9 * (seconds - self._overhead) * speed), self._most_steps)
        is_worth = steps >= _WORTH * LEAST_STEPS
        if is_worth:
            self.train(dataclasses.replace(size, steps=steps))
        return is_worth

    def _model(self, size: NetworkSize) -> Any:
        sizes: dict[str, Any] = {"hidden_sizes": size.hidden_sizes, "dropout": size.dropout, "activation": "gelu"}
        return make_model(self._sites.event, "deep_nade", orders="uniform", **sizes)

    def train(self, size: NetworkSize) -> None:
        """Trains a network for the steps of a size, from the frequencies of all codes on."""
        began, model, every = time.monotonic(), self._model(size), max(50, size.steps // 20)
        start = Fitted(model, self._first_params(model), from_arrays(model.event, train=self._x["train"][:1]))
        options: dict[str, Any] = {"optimizer": "adamw", "schedule": "cosine", "clip_norm": 1.0, "ema_decay": 0.99}
        options |= {
            "learning_rate": size.learning_rate,
            "weight_decay": size.weight_decay,
            "batch_size": self._batch_size,
        }
        options |= self._x | {
            "steps": size.steps,
            "warmup_steps": min(200, size.steps // 10),
            "eval_every": every,
            "patience": 6,
        }
        fitted: Any = fit_arrays(model, init_from=start, seed=self._seed, name="table", **options)
        self.members.append((size, fitted))
        num_sites = self._batch_size * self._sites.event.num_sites
        self._speeds[size.hidden_sizes] = fitted.results["train_sites_per_second"] / num_sites
        in_steps = fitted.results["step"] / self._speeds[size.hidden_sizes]
        self._overhead = time.monotonic() - began - in_steps

    def _first_params(self, model: Model) -> Any:
        """Returns parameters under which each site has the frequencies of its values, whatever is known."""
        params = model.init(jax.random.key(self._seed))

        def placed(path: Any, leaf: jax.Array) -> Any:
            name = path[-1].key
            if name == "out_kernel":
                return np.zeros(leaf.shape, np.float32)
            return self._biases(leaf.shape) if name == "out_bias" else leaf

        return jax.tree_util.tree_map_with_path(placed, params)

    def _biases(self, shape: tuple[int, ...]) -> np.ndarray:
        """Returns the log of the frequency of each value of each site, or the log-odds of two values, float32[D, F]."""
        bias_DF = np.zeros(shape, np.float32)
        for d, (x_N, num) in enumerate(zip(self._x["train"].T, self._sites.levels, strict=True)):
            (p_V,) = frequencies_of([num], np.where(np.isnan(x_N), MISSING, np.nan_to_num(x_N)).astype(int)[:, None])
            log_p = np.log(p_V)
            bias_DF[d, : num if num > 2 else 1] = log_p if num > 2 else log_p[1] - log_p[0]
        return bias_DF

    def best(self) -> tuple[AnyOrderTable, dict[str, Any]]:
        """Returns the network that is best on validation, and facts about it."""
        size, fitted = min(self.members, key=lambda member: member[1].results["nll_nats"])
        model: Any = require(fitted.model, "conditionals", "a table")
        engine = AnyOrderTable(self._columns, model, fitted.params, self._sites, self._frequencies)
        facts = {"size": dataclasses.asdict(size), "num_params": fitted.model.num_params}
        facts |= {"best_step": fitted.results["best_step"], "steps": size.steps}
        return engine, facts | {"recipe": [dataclasses.asdict(member) for member, _ in self.members]}


def advice_about(facts: Mapping[str, Any]) -> str:
    """Returns a sentence about a network whose training was too short, "" about others."""
    steps = facts["steps"]
    if steps <= LEAST_STEPS:
        return f"the network had no more than {steps:,} train steps: give more minutes or steps"
    is_last = facts["best_step"] >= steps
    return f"the network was best at the last of {steps:,} steps: more minutes may make it better" if is_last else ""
