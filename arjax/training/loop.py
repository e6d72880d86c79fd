"""The training loop: from the parts of a run to `results.json`, through any number of interruptions."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import time
from typing import Any

import jax
import numpy as np

from arjax.core.errors import UserError
from arjax.evaluation.likelihood import Evaluator
from arjax.parallel.rows import to_mesh
from arjax.parallel.sharding import replicated
from arjax.reporting.reports import read_report
from arjax.training.durations import is_due, next_pause
from arjax.training.feed import as_traced, make_feed
from arjax.training.reporter import Reporter, announce
from arjax.training.results import cost_of_run, device_name, write_results
from arjax.training.run_folder import RunFolder
from arjax.training.setup import Setup, best_store, latest_store, restore_params
from arjax.training.state import eval_params
from arjax.training.step import compile_chunk, zero_sums
from arjax.training.stopping import StopSignal, TrainingDiverged

__all__ = ["Outcome", "TrainingDiverged", "train"]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a call of `train` ended.

    Attributes:
      status: "finished" or "interrupted" (by SIGTERM or SIGINT; the state is saved).
      step: steps done.
      message: one sentence for the user.
      results: what stands in `results.json`, or None when interrupted.
      setup: the parts of the run, for whatever comes after.
    """

    status: str
    step: int
    message: str
    results: dict[str, Any] | None = None
    setup: Setup | None = dataclasses.field(default=None, compare=False, repr=False)


@dataclasses.dataclass
class History:
    """What the loop remembers beside the train state; stored with every checkpoint, so a resumed run is the same.

    Attributes:
      best_value: lowest validation nats so far, None before the first finite one.
      bad_evals: evaluations since then.
      train_seconds: spent in the loop, over all attempts.
      compile_seconds: the part of it that compiled the train step.
      step_seconds: the part of it that ran train steps.
      interval_seconds: train time since the last log line.
      sums: sums over the steps since the last log line.
    """

    best_value: float | None = None
    bad_evals: int = 0
    train_seconds: float = 0.0
    compile_seconds: float = 0.0
    step_seconds: float = 0.0
    interval_seconds: float = 0.0
    sums: dict[str, float] = dataclasses.field(default_factory=dict)


def train(setup: Setup, workdir: str | os.PathLike) -> Outcome:
    """Trains to the end of the run in `workdir`, from wherever it stands, and scores what came out.

    Args:
      setup: the parts of the run, as `arjax.config.build.build(config)` makes them.
      workdir: holds `checkpoints/`, `metrics.jsonl` and `results.json`; created when missing.

    Raises:
      UserError: a split that the data set lacks, a workdir whose checkpoints cannot be read, a disk that refuses (when
        it is full, say), or a workdir that was deleted or moved meanwhile.
      TrainingDiverged: the loss was not finite; names the step and the last good checkpoint.
    """
    # 1. A mistake ends here, before anything compiles.
    run = Run(setup, workdir)
    with StopSignal() as stop, RunFolder(workdir) as run.folder:
        # 2. Go on from the newest readable checkpoint, or start.
        run.resume()
        # 3. Train: chunks of steps between pauses; at a pause: log, validate, save.
        if not run.is_finished():
            run.fit(stop)
        # 4. Interrupted: everything is saved, the same command goes on from here.
        if not run.is_finished():
            message = f"stopped at step {run.step} of {run.total}; the same command goes on from there"
            return Outcome("interrupted", run.step, message)
        # 5. Done: the parameters that were best on validation, on the test split.
        results = run.results()
        message = f"finished at step {run.step}; {results['split']}: {results['bits_per_dim']:.4f} bits/dim"
        return Outcome("finished", run.step, message, results, run.setup)


class Run:
    """One run: its parts, its train state and its history. The methods are the steps of `train`."""

    def __init__(self, setup: Setup, workdir: str | os.PathLike):
        """`setup` holds the parts."""
        self.setup, self.train, self.schedule = setup, setup.train, setup.schedule
        self.workdir, self.split = workdir, setup.evaluate.split
        if self.split not in setup.dataset.splits:
            raise UserError(f"data set {setup.dataset.name!r} has no {self.split} split to evaluate at the end")
        self.total, self.step, self.state, self.history = setup.total_steps, 0, None, History()
        self.latest, self.best = latest_store(workdir), best_store(workdir)
        evaluate = setup.evaluate
        self.evaluator = Evaluator(
            setup.model, setup.dataset, evaluate.batch_size, setup.mesh, setup.seed, evaluate.num_orders
        )

    def resume(self) -> None:
        """Takes state and history from the newest readable checkpoint, where there is one."""
        self.best.steps()  # a file in its place ends here, and not after the first validation
        restored = self.latest.restore(self.setup.abstract_state)
        if restored is not None:
            self.step, self.state, extra = restored
            self.history = History(**extra)

    def is_finished(self) -> bool:
        """Whether all steps are done, or validation has not improved for too long."""
        patience = self.train.patience
        return self.step >= self.total or 0 < patience <= self.history.bad_evals

    def fit(self, stop: StopSignal) -> None:
        """Trains until the run is finished or `stop` is requested, and leaves everything saved."""
        with Reporter(self.workdir, self.total, self.step) as self.reporter, contextlib.ExitStack() as self.threads:
            if self.step:
                self.reporter.say(f"goes on at step {self.step} of {self.total}")
            self.reporter.say("compiling ...")
            init_key, self.key = self.setup.keys()
            if self.state is None:
                self.state = self.setup.init_state(init_key)
            started, before = time.monotonic(), self.history.train_seconds

            def clock() -> float:
                return before + time.monotonic() - started

            self._compile()
            while not self.is_finished():
                pause, last = self._next_pause(self.step), self.step
                self._train_until(pause, stop)
                if self.step > last:  # else stopped at once: what was due here has been done by the run before
                    self._pause(clock)
                if stop.requested(at_pause=self.step == pause):
                    break
            if self.saved_step != self.step:
                self._save(clock())

    def _compile(self) -> None:
        """Prepares the feed and compiles the train program, once for the whole run."""
        setup, train, started = self.setup, self.train, time.monotonic()
        feed = make_feed(
            setup.dataset.splits["train"],
            setup.mesh,
            seed=setup.seed,
            batch_size=train.batch_size,
            max_steps=train.steps_per_dispatch,
            on_device=train.data_on_device,
            steps_from=self._steps_from,
        )
        self.feed = self.threads.enter_context(feed)
        chunk = self.feed.chunk(self.step, 1)
        self.zeros = {name: np.asarray(value) for name, value in zero_sums(setup.recipe, self.state, chunk).items()}
        stored = self.history.sums or self.zeros
        self.sums = self._on_mesh({name: np.asarray(stored[name], zero.dtype) for name, zero in self.zeros.items()})
        n = as_traced(1, setup.mesh)
        self.program = compile_chunk(setup.recipe, self.state, self.sums, chunk, n, self.key)
        self.history.compile_seconds += time.monotonic() - started
        self.saved_step = self.step if self.latest.steps() else -1

    def _on_mesh(self, sums: dict[str, np.ndarray]) -> dict[str, jax.Array]:
        return {name: to_mesh(value, replicated(self.setup.mesh)) for name, value in sums.items()}

    def _next_pause(self, step: int) -> int:
        train = self.train
        return next_pause(step, self.total, train.log_every, train.eval_every, train.checkpoint_every)

    def _steps_from(self, step: int) -> int:
        """Steps of the chunk that begins at a step."""
        return min(self.train.steps_per_dispatch, self._next_pause(step) - step)

    def _train_until(self, pause: int, stop: StopSignal) -> None:
        """Dispatches chunks up to the pause. At most two are in flight: one runs while the host prepares the next."""
        started = time.monotonic()
        while self.step < pause and not stop.requested(at_pause=False):
            n = self._steps_from(self.step)
            chunk, before = self.feed.chunk(self.step, n), self.sums
            self.state, self.sums = self.program(self.state, before, chunk, as_traced(n, self.setup.mesh), self.key)
            self.step += n
            jax.block_until_ready(before)
        jax.block_until_ready(self.sums)
        elapsed = time.monotonic() - started
        self.history.step_seconds += elapsed
        self.history.interval_seconds += elapsed

    def _pause(self, clock: Any) -> None:
        """What is due after this step: log, validate with the averaged parameters, save."""
        sums = {name: float(value) for name, value in self.sums.items()}
        self._check_finite(int(sums["bad_step"]))
        self.folder.check()
        self.history.sums = sums
        if is_due(self.step, self.total, self.train.log_every):
            self._log(sums)
        if is_due(self.step, self.total, self.train.eval_every) and "validation" in self.setup.dataset.splits:
            self._validate()
        if is_due(self.step, self.total, self.train.checkpoint_every):
            self._save(clock())

    def _check_finite(self, bad_step: int) -> None:
        if bad_step >= 0:
            good = self.latest.steps()
            where = (
                f"the last good checkpoint is step {good[-1]} in {self.latest.directory}"
                if good
                else "none was saved before"
            )
            raise TrainingDiverged(
                f"the loss was not finite at step {bad_step}; {where}; "
                "a lower optimizer.learning_rate or a clip_norm may help"
            )

    def _log(self, sums: dict[str, float]) -> None:
        rate = float(self.schedule(self.step - 1))
        self.reporter.train(self.step, sums, rate, max(self.history.interval_seconds, 1e-9))
        self.sums = self._on_mesh(self.zeros)
        self.history.sums, self.history.interval_seconds = {}, 0.0

    def _validate(self) -> None:
        """Scores the validation split and keeps the parameters when they are the best so far."""
        params, history = eval_params(self.state), self.history
        scores = self.evaluator(params, "validation")
        self.folder.check()
        self.reporter.validation(self.step, scores)
        value = scores["nll_nats"]
        if math.isfinite(value) and (history.best_value is None or value < history.best_value):
            history.best_value, history.bad_evals = value, 0
            self.best.save(self.step, params, {"value": value})
        else:
            history.bad_evals += 1

    def _save(self, train_seconds: float) -> None:
        self.folder.check()
        self.history.train_seconds = train_seconds
        self.latest.save(self.step, self.state, dataclasses.asdict(self.history))
        self.saved_step = self.step

    def results(self) -> dict[str, Any]:
        """Scores the best parameters and writes `results.json`; a run whose results stand there just returns them."""
        split, found = self.split, read_report(self.workdir)
        if found is not None and (found["step"], found["split"]) == (self.step, split):
            return found
        if self.history.best_value is None and "validation" in self.setup.dataset.splits:
            raise TrainingDiverged(
                "no validation score of this run was finite, so there are no best parameters to test"
            )
        announce(f"scoring the {split} split ...")
        params, best_step, about = restore_params(self.setup, self.workdir)
        results = {"dataset": self.setup.dataset.name, "split": split} | self.evaluator(params, split)
        sites_per_step = self.train.batch_size * self.setup.model.event.num_sites
        results |= {
            "validation_nll_nats": about["value"] if about else None,
            "num_params": sum(leaf.size for leaf in jax.tree.leaves(params)),
            "step": self.step,
            "best_step": best_step,
            "seed": self.setup.seed,
            "device": device_name(),
        } | cost_of_run(dataclasses.asdict(self.history), self.step, sites_per_step)
        self.folder.check()
        write_results(self.workdir, results)
        return results
