"""A run of a config from its start, or from its newest checkpoint, to its results: the command as a function."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from arjax.api.run import Run
from arjax.api.showing import show_run
from arjax.config.build import build
from arjax.config.files import FILE_NAME, check_same_run, load_config_file, other_results, save_config, set_fields
from arjax.config.validate import Checked, validate
from arjax.core.errors import UserError, say_once
from arjax.core.files import folder_to_write, only_run_in, path_text
from arjax.core.options import checked_arguments
from arjax.core.plugins import trusting
from arjax.models.draws import opened
from arjax.parallel.sharding import available_devices
from arjax.training.loop import Outcome, train
from arjax.training.record import FILE_NAME as RECORD
from arjax.training.record import RunFolder
from arjax.training.results import set_results_aside


@checked_arguments()
def fit(
    config: str | os.PathLike | ConfigDict,
    workdir: str | os.PathLike,
    overrides: Mapping[str, Any] | None = None,
    *,
    quiet: bool = False,
    trust: bool = False,
) -> Run:
    """Trains, scores and samples as the command `arjax` does, and returns the run.

        run = arjax.fit("configs/digits.py:network=wavenet", "runs/wavenet", {"train.steps": 500})

    An unfinished run of the same config in the folder goes on; a finished one is returned. An interrupt (the stop
    button of a notebook, Ctrl-C) saves the state first; the same call resumes from there, and `arjax.open_run(workdir)`
    has the parameters that were best so far.

    Args:
      config: `file.py` or `file.py:arg` as for `--config`, or a config.
      overrides: values of fields by their names, such as `{"optimizer.learning_rate": 3e-4}`.
      trust: as for `open_run`, for other runs that this one reads; the code of the config itself is always run.
    """
    with trusting(trust):
        checked = checked_config(config, overrides)
        with silence(quiet):
            outcome = train_in(checked, workdir)
    if outcome.status != "finished":
        raise KeyboardInterrupt(f"{stopped(outcome)}; the same call resumes from there")
    return Run(workdir, checked, outcome.setup, trust=trust)


def checked_config(config: str | os.PathLike | ConfigDict, overrides: Mapping[str, Any] | None) -> Checked:
    """The config of a file or of a call with other values of some fields, checked."""
    if isinstance(config, ConfigDict):
        config = config.copy_and_resolve_references().lock()
    else:
        config = load_config_file(path_text(config))
    set_fields(config, overrides or {})
    return validate(config)


def train_in(checked: Checked, workdir: str | os.PathLike) -> Outcome:
    """Trains in a folder, from its newest checkpoint, and shows the results: the mode `train` of the command."""
    available_devices()
    first = jax.process_index() == 0
    with folder_to_write(workdir) as folder, only_run_in(folder) if first else contextlib.nullcontext():
        return _train(checked, folder)


def _train(checked: Checked, workdir: Path) -> Outcome:
    config = checked.config
    is_new = not (workdir / FILE_NAME).exists()
    if not is_new:
        check_same_run(config, workdir, "train")
    with RunFolder(workdir) as folder:
        try:
            setup = build(checked)
            opened(setup.sampler, setup.model, setup.open_run)  # refused now, not at the end
            if not is_new:
                setup.record.check(workdir)
            if jax.process_index() == 0:
                if not is_new and other_results(config, workdir):
                    set_results_aside(workdir)
                save_config(config, workdir)
            outcome = train(setup, folder)
        except UserError:
            if is_new and folder.is_there() and not any((workdir / "checkpoints").glob("*/*")):
                # Nothing was trained: the corrected config may use this folder.
                for name in (FILE_NAME, RECORD):
                    (workdir / name).unlink(missing_ok=True)
            raise
        if jax.process_index() == 0:
            print(outcome.message)
        if outcome.status == "finished":
            folder.check()
            assert outcome.setup is not None, "a finished training has its parts"
            show_run(outcome.setup, config, workdir)
    return outcome


def stopped(outcome: Outcome) -> str:
    """`stopped at step 2 of 4`, of a training that was interrupted."""
    return outcome.message.partition(";")[0]


@contextlib.contextmanager
def silence(quiet: bool) -> Iterator[None]:
    """Drops the output of the body where `quiet` is set."""
    with contextlib.ExitStack() as dropped:
        if quiet:
            dropped.callback(say_once.cache_clear)  # nobody has read the remarks of the body
            dropped.enter_context(contextlib.redirect_stdout(io.StringIO()))
            dropped.enter_context(contextlib.redirect_stderr(io.StringIO()))
        yield
