"""The training loop: from the parts of a run to `results.json`, through any number of interruptions."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from arjax.core.errors import UserError
from arjax.core.programs import bytes_of, within_memory
from arjax.core.scores import NO_LIKELIHOOD, score_name
from arjax.evaluation.likelihood import Evaluator
from arjax.evaluation.report import open_judge
from arjax.objectives import Companions
from arjax.parallel.distributed import from_process_0
from arjax.parallel.sharding import replicated, to_mesh
from arjax.reporting.plots import EXPOSURE, write_exposure
from arjax.reporting.reports import describe_scores, is_json_number, read_report
from arjax.reporting.writers import make_writers
from arjax.training.feed import HostFeed, ResidentFeed, as_traced
from arjax.training.history import History
from arjax.training.record import RunFolder
from arjax.training.reporter import Reporter, announce
from arjax.training.results import device_name, run_report, write_nats, write_results
from arjax.training.setup import Setup, best_store, latest_store, restore_params
from arjax.training.state import eval_params
from arjax.training.step import MetricSums, compile_chunk, from_named, named, zero_sums
from arjax.training.stopping import StopSignal, TrainingDiverged, is_due, next_pause


class Learner:
    """The train state of a run, or of members, with the operations to begin, advance, validate and keep it."""

    shape: tuple[int, ...] = ()  # of the members

    def __init__(self, setup: Setup, workdir: str | os.PathLike):
        self.setup, self.record, self._workdir = setup, setup.record, workdir
        self._best = best_store(workdir)
        self._best.steps()  # raises now where a file is in its place, and not after the first validation
        self.evaluator = Evaluator(setup.model, setup.scored, setup.scoring)

    @property
    def abstract_state(self) -> Any:
        return self.setup.abstract_state

    def begin(self, companions: Companions, state: Any | None) -> Any:
        init_key, self._key = self.setup.keys()
        self._companions = companions
        return self.setup.init_state(init_key) if state is None else state

    def compile(self, state: Any, step: int, steps_from: Callable[[int], int], threads: contextlib.ExitStack) -> None:
        """Prepares the feed and compiles the train program, once for the whole run. `steps_from` is that of `Feed`;
        `threads` ends the threads of the feed.
        """
        setup, train = self.setup, self.setup.train
        kind = ResidentFeed if train.data_on_device else HostFeed
        where = setup.dataset.splits["train"], setup.mesh
        feed = kind(*where, setup.seed, train.batch_size, train.steps_per_dispatch, steps_from)
        self._feed = threads.enter_context(feed)
        chunk = self._feed.chunk(step, 1)
        self._zeros = zero_sums(setup.spec, state, chunk, self._companions)
        arguments = (chunk, as_traced(1, setup.mesh), self._key, self._companions)
        self._program = compile_chunk(setup.spec, state, self.sums({}), *arguments)

    def sums(self, stored: Mapping[str, Any]) -> MetricSums:
        whole = replicated(self.setup.mesh)
        return jax.tree.map(lambda leaf: to_mesh(leaf, whole), from_named(self._zeros, stored))

    def advance(self, state: Any, sums: MetricSums, step: int, n: int) -> tuple[Any, MetricSums]:
        """Dispatches `n` train steps, at most `steps_per_dispatch`."""
        arguments = (as_traced(n, self.setup.mesh), self._key, self._companions)
        return self._program(state, sums, self._feed.chunk(step, n), *arguments)

    def validate(self, state: Any) -> tuple[np.ndarray, Mapping[str, Any]]:
        """Validation nats of the members with the averaged parameters, and the reported scores."""
        scores = self.evaluator(eval_params(state), "validation")
        return np.asarray(scores[score_name(self.setup.model.score_kind)], np.float64), scores

    def keep(self, state: Any, better: np.ndarray, step: int, values: np.ndarray, scores: Mapping[str, Any]) -> Any:
        """Keeps the parameters of the members that are better than before, with their scores; returns the state."""
        if better:
            numbers = {name: value for name, value in scores.items() if is_json_number(value)}
            self._best.save(step, eval_params(state), {"value": float(values), "scores": numbers})
        return state

    def reporter(self, step: int) -> Reporter:
        return Reporter(self._workdir, self.setup, step)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a call of `train` ended, after how many steps, with one sentence for the user."""

    status: str  # "finished" or "interrupted" (by SIGTERM or SIGINT; the state is saved)
    step: int
    message: str
    results: dict[str, Any] | None = None  # the contents of `results.json`, when finished
    setup: Setup | None = dataclasses.field(default=None, compare=False, repr=False)


def train(setup: Setup, workdir: str | os.PathLike) -> Outcome:
    """Trains to the end of the run in `workdir`, from its newest checkpoint, and scores the best parameters. `workdir`,
    a path or an open `RunFolder`, holds `checkpoints/`, `metrics.jsonl` and `results.json`. A loss that is not finite
    raises `TrainingDiverged`.
    """
    # 1. A mistake ends here, before anything compiles.
    if setup.evaluate.split not in setup.dataset.splits:
        name, split = setup.dataset.name, setup.evaluate.split
        raise UserError(f"data set {name!r} has no {split} split to evaluate at the end")
    open_judge(setup.model, setup.dataset, setup.evaluate, setup.open_run)
    with Training(Learner(setup, workdir), workdir) as run:
        # 2. Go on from the newest readable checkpoint, or start; train, unless only the best parameters were kept.
        if (ended := from_process_0(_kept_step(run))) is not None:
            run.step = ended
        else:
            run.advance()
            # 3. Interrupted: everything is saved, the same command resumes from here.
            if not run.is_finished():
                return Outcome("interrupted", run.step, run.stopped())
        # 4. Done: the parameters that were best on validation, on the test split.
        results = _results(run, setup)
        scores = describe_scores(results, bits=setup.model.event.has_bits)
        message = f"finished at step {run.step}; {results['split']}: {scores} ({results['kind']})"
        return Outcome("finished", run.step, message, results, setup)


def run_training(learner: Learner, workdir: str | os.PathLike) -> Training:
    """Trains as `train`, and scores nothing; SIGTERM and SIGINT save the state and raise `KeyboardInterrupt`."""
    with Training(learner, workdir) as run:
        run.advance()
    if not run.is_finished():
        raise KeyboardInterrupt(run.stopped())
    return run


class Training:
    """A learner, its state and its history; the methods are the steps of `train`. A context manager."""

    def __init__(self, learner: Learner, workdir: str | os.PathLike):
        setup, train = learner.setup, learner.setup.train
        for writer in make_writers(train.writers):
            writer.check()
        if train.patience and "validation" not in setup.dataset.splits:
            lacks = f"the data set {setup.dataset.name!r} has no validation split"
            raise UserError(f"a patience of {train.patience} counts validations, and {lacks}: leave patience at 0")
        self.learner, self.workdir, self.setup, self.train = learner, workdir, setup, train
        self.total, self.step = setup.total_steps, 0
        self.rate = jax.jit(setup.schedule)
        self.state: Any = None
        self.history = History.fresh(learner.shape)
        self.latest = latest_store(workdir)

    def __enter__(self) -> Training:
        self._open = contextlib.ExitStack()
        folder = self.workdir
        self.folder = folder if isinstance(folder, RunFolder) else self._open.enter_context(RunFolder(folder))
        self.stop = self._open.enter_context(StopSignal())
        return self

    def __exit__(self, *exception: Any) -> None:
        self._open.close()

    @functools.cached_property
    def reporter(self) -> Any:
        return self._open.enter_context(self.learner.reporter(self.step))

    def advance(self) -> None:
        """Goes on from the newest readable checkpoint, where there is one, until finished or asked to stop."""
        if self.latest.steps():
            self.learner.record.check(self.workdir, "train")
        restored = self.latest.restore(self.learner.abstract_state)
        if restored is not None:
            self.step, self.state, extra = restored
            self.history = History.from_json(extra)
        if not self.is_finished():
            if jax.process_index() == 0:
                self.learner.record.write(self.workdir, anew=restored is None)
            with within_memory(self._needs):
                self._fit()

    def _needs(self) -> str:
        state = self.setup.abstract_state
        params, whole = (bytes_of(tree) / 1e9 for tree in (state.params, state))
        return (
            f"this run needs more memory than its devices have: its parameters take {params:.2g} GB, with averages and "
            f"the state of the optimizer {whole:.2g} GB, and a train step more than that; make the network or "
            "train.batch_size smaller"
        )

    def stopped(self) -> str:
        return f"stopped at step {self.step} of {self.total}; the same command resumes from there"

    def is_finished(self) -> bool:
        """Whether all steps are done, or validation has not improved for too long."""
        return self.step >= self.total or bool(self.history.stopped(self.train.patience).all())

    def _fit(self) -> None:
        """Trains until the run is finished or asked to stop, and leaves everything saved."""
        with contextlib.ExitStack() as threads:
            self.reporter.start()
            if self.step:
                self.reporter.progress.message(f"resumes at step {self.step} of {self.total}")
            runs = self.setup.trained_companions()
            for name, trained in runs.items():
                self.history.check_companion(name, trained.step)
            companions = {name: trained.companion for name, trained in runs.items()}
            self.state = self.learner.begin(companions, self.state)
            self.reporter.progress.message("compiling ...")
            started = time.monotonic()
            self.began = started - self.history.train_seconds
            self.learner.compile(self.state, self.step, self._steps_from, threads)
            self.sums = self.learner.sums(self.history.sums)
            self.history.compile_seconds += time.monotonic() - started
            self.saved_step = self.step if self.latest.steps() else -1
            while not self.is_finished():
                pause, last = self._next_pause(self.step), self.step
                self._train_until(pause)
                if self.step > last:  # else stopped at once: the run before has done the work of this step
                    self._pause()
                if self.stop.requested(at_pause=self.step == pause):
                    break
            if self.saved_step != self.step:
                self._save()

    def _next_pause(self, step: int) -> int:
        train = self.train
        return next_pause(step, self.total, train.log_every, train.eval_every, train.checkpoint_every)

    def _steps_from(self, step: int) -> int:
        return min(self.train.steps_per_dispatch, self._next_pause(step) - step)

    def _train_until(self, pause: int) -> None:
        """Dispatches chunks up to the pause, at most two in flight: one runs while the host prepares the next."""
        started = time.monotonic()
        while self.step < pause and not self.stop.requested(at_pause=False):
            n, before = self._steps_from(self.step), self.sums
            self.state, self.sums = self.learner.advance(self.state, before, self.step, n)
            self.step += n
            jax.block_until_ready(before)
        jax.block_until_ready(self.sums)
        elapsed = time.monotonic() - started
        self.history.step_seconds += elapsed
        self.history.interval_seconds += elapsed

    def _pause(self) -> None:
        sums = jax.tree.map(np.asarray, self.sums)
        self._check_finite(sums.bad_step)
        self.folder.check()
        self.history.sums = {name: value.tolist() for name, value in named(sums).items()}
        if is_due(self.step, self.total, self.train.log_every):
            self._log(sums)
        if is_due(self.step, self.total, self.train.eval_every) and "validation" in self.setup.dataset.splits:
            self._validate()
        if is_due(self.step, self.total, self.train.checkpoint_every):
            self._save()

    def _check_finite(self, bad_step: np.ndarray) -> None:
        """Marks members with a loss that was not finite as lost, unless they had ended; ends the run when all are."""
        self.history.alive = self.history.alive & ((bad_step < 0) | self.history.stopped(self.train.patience))
        if not self.history.alive.any():
            where = "none was saved before"
            if good := self.latest.steps():
                where = f"the last good checkpoint is step {good[-1]} in {self.latest.directory}"
            raise TrainingDiverged(
                f"the loss was not finite at step {bad_step.max()}; {where}; "
                "a lower optimizer.learning_rate or a clip_norm may help"
            )

    def _log(self, sums: MetricSums) -> None:
        rate = float(self.rate(self.step - 1))
        self.reporter.train(self.step, sums, rate, max(self.history.interval_seconds, 1e-9))
        self.sums = self.learner.sums({})
        self.history.sums, self.history.interval_seconds = {}, 0.0

    def _validate(self) -> None:
        values, scores = self.learner.validate(self.state)
        self.folder.check()
        better = self.history.select(values, self.step, self.train.patience)
        self.reporter.validation(self.step, scores, self.history)
        self.state = self.learner.keep(self.state, better, self.step, values, scores)

    def _save(self) -> None:
        self.folder.check()
        self.history.train_seconds = time.monotonic() - self.began
        self.latest.save(self.step, self.state, self.history.to_json())
        self.saved_step = self.step


def _kept_step(run: Training) -> int | None:
    """The last step of a finished run with its best parameters and no train state, as of a member; else None."""
    known = read_report(run.workdir)
    if known is None or run.latest.steps() or best_store(run.workdir).steps() != [known["best_step"]]:
        return None
    worse = -(-(known["step"] - known["best_step"]) // run.train.eval_every)  # validations behind the best one
    return known["step"] if known["step"] >= run.total or 0 < run.train.patience <= worse else None


def _results(run: Training, setup: Setup) -> dict[str, Any]:
    """Scores the best parameters and writes `results.json`; returns the results of an earlier call where they exist."""
    workdir, is_kept = run.workdir, run.state is None  # of a run that left no train state
    split, known = setup.evaluate.split, from_process_0(read_report(workdir))  # all score, or none
    if known is not None and (known["step"], known["split"]) == (run.step, split):
        return known
    if not is_kept and not np.isfinite(run.history.best_value) and "validation" in setup.dataset.splits:
        raise TrainingDiverged("no validation score of this run was finite, so there are no best parameters to test")
    announce(f"scoring the {split} split ...")
    best = restore_params(setup, workdir)
    scored = run_report(setup, workdir, best, "" if is_kept else device_name())
    run.folder.check()
    write_exposure(os.path.join(workdir, EXPOSURE), scored.curves)
    run.reporter.result(best[1], scored.scores)
    write_results(workdir, scored.scores)
    if setup.model.score_kind != NO_LIKELIHOOD:
        write_nats(workdir, {split: scored.nats})
    return scored.scores
