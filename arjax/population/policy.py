"""Learning an order: training with the objective `learned_order`, and the most probable order afterwards."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import tempfile

import jax
import numpy as np
from ml_collections import ConfigDict

from arjax.config.build import build
from arjax.core.errors import UserError
from arjax.core.integers import is_integer
from arjax.objectives.learned_order import SCORES
from arjax.population.population import check_autoregressive
from arjax.reporting.writers import read_metrics
from arjax.training.loop import fit
from arjax.training.trainee import OneRun


@dataclasses.dataclass(frozen=True)
class PolicyResult:
    """The result of training a policy.

    Attributes:
      order: the most probable order, int64[D].
      scores: those of the sites under the policy, float32[D].
      nats: mean training nats over the orders drawn, in each tenth of the run.
      steps: train steps, each under `orders_per_step` orders.
    """

    order: np.ndarray
    scores: np.ndarray
    nats: tuple[float, ...]
    steps: int


def learn_order(
    config: ConfigDict,
    orders_per_step: int = 4,
    learning_rate: float = 0.05,
    seed: int | None = None,
    workdir: str | os.PathLike = "",
) -> PolicyResult:
    """Trains model and policy for the steps of the config, under so many orders in every step.

    Args:
      config: a whole config; the network must support any order. Its partition cuts the orders.
      orders_per_step: R, at least 2.
      learning_rate: of the scores (Adam); that of the model is in the config.
      seed: of parameters, batches and orders; None: that of the config.
      workdir: folder of the run, which goes on there when it was interrupted; "": nothing is kept.

    Raises:
      UserError: fewer than two orders per step, or a network that does not support all orders.
      KeyboardInterrupt: the run was interrupted; its state is saved.
    """
    if not is_integer(orders_per_step) or orders_per_step < 2:
        raise UserError(f"a policy needs at least 2 orders per step to compare, not {orders_per_step!r}")
    check_autoregressive(config)
    if config.model.graph:
        raise UserError("an order cannot be learned under a dependency graph: its edges follow the order")
    config = config.copy_and_resolve_references()
    config.seed = config.seed if seed is None else seed
    config.model.orders = "uniform"  # checks that the network supports all orders and reads the next site's position
    config.objective = f"learned_order(orders_per_step={orders_per_step}, learning_rate={float(learning_rate)})"
    config.mesh.update(data=-1, fsdp=1, tensor=1)
    setup = build(config, jax.devices()[:1])
    tenth = -(-setup.total_steps // 10)
    options = dataclasses.replace(setup.train, log_every=tenth, eval_every=setup.total_steps, patience=0)
    with contextlib.ExitStack() as stack:
        folder = workdir or stack.enter_context(tempfile.TemporaryDirectory())
        state = fit(OneRun(dataclasses.replace(setup, train=options), folder), folder).state
        lines = read_metrics(folder)
    scores = np.asarray(state.own.params[SCORES])
    nats = tuple(line["train/order_nats"] for line in lines if "train/order_nats" in line)
    return PolicyResult(np.argsort(-scores, kind="stable"), scores, nats, setup.total_steps)
