"""A run in its folder, finished or still training."""

from __future__ import annotations

import functools
import os
from typing import Any

from arjax.api.trained_model import Curve, Settings, TrainedModel, as_history
from arjax.config.build import build
from arjax.config.files import check_same_run, load_config_file, load_workdir_config
from arjax.config.validate import Checked, validate, validate_run
from arjax.core.errors import UserError
from arjax.core.files import locked, user_path
from arjax.core.options import checked_arguments
from arjax.core.plugins import trusting
from arjax.data import Dataset
from arjax.models import Model
from arjax.reporting.reports import FILE_NAME as REPORT
from arjax.reporting.reports import finished_report, read_report, scores_in_words
from arjax.reporting.writers import read_metrics
from arjax.training.record import CONFIG_NAME
from arjax.training.record import stored as stored_record
from arjax.training.results import entries_of_run
from arjax.training.setup import Setup, best_store, latest_store, restore_params


@checked_arguments()
def open_run(workdir: str | os.PathLike, config: str | os.PathLike = "", *, trust: bool = False) -> Run:
    """Returns the run in a folder, finished or still training.

    Args:
      config: the config file, as for `--config`, if it registers the data set or the network of the run.
      trust: whether to run the code that the run, or another run that it reads, names. Without it, only installed
        packages, code that this process has run already and folders in `$ARJAX_TRUST` are imported.
    """
    folder = user_path(workdir)
    if not (folder / CONFIG_NAME).exists() and stored_record(folder).fields:
        file = str(folder / "model.safetensors")
        raise UserError(f"{workdir} was made by arjax.fit_arrays: call that again, or arjax.load({file!r})")
    stored = load_workdir_config(folder)
    with trusting(trust):
        if not config:
            return Run(folder, validate_run(stored, str(workdir)), trust=trust)
        checked = validate(load_config_file(os.fspath(config)))
    check_same_run(checked.config, folder)
    return Run(folder, checked, trust=trust)


class Run(TrainedModel):
    """A run in its folder. Data set, model and parameters are made when they are first used. The parameters are those
    that were best on validation, and stay the same for the life of the object; open a run in training again for newer
    ones. `results`, `history` and `status` are read anew each time.
    """

    def __init__(
        self, workdir: str | os.PathLike, checked: Checked, setup: Setup | None = None, *, trust: bool = False
    ):
        """Reads nothing yet; `setup` is the result of `build(checked)`, `trust` is that of `open_run`."""
        self.workdir, self.config, self._checked, self._trust = user_path(workdir), checked.config, checked, trust
        if setup is not None:
            self.setup = setup

    @functools.cached_property
    def setup(self) -> Setup:
        with trusting(self._trust):
            return build(self._checked)

    @property
    def model(self) -> Model:
        return self.setup.model

    @property
    def dataset(self) -> Dataset:
        return self.setup.dataset

    @property
    def settings(self) -> Settings:
        setup, about = self.setup, {"config": self.config.to_dict()}
        return Settings(setup.mesh, setup.evaluate, self.config.seed, about, trust=self._trust)

    def _entries(self) -> dict[str, Any]:
        return entries_of_run(self.setup, self.workdir, self.best)

    @functools.cached_property
    def best(self) -> tuple[Any, int, dict[str, Any]]:
        """The parameters that were best on validation, their step, and the note of their checkpoint."""
        if self.status == "training" and not (best_store(self.workdir).steps() or latest_store(self.workdir).steps()):
            first = min(self.config.train.eval_every, self.config.train.checkpoint_every)
            none_yet = f"the run in {self.workdir} has no parameters yet"
            raise UserError(f"{none_yet}: it saves the first ones after {first} steps")
        return restore_params(self.setup, self.workdir)

    @property
    def params(self) -> Any:
        """The parameters that were best on validation; `UserError` when there are none yet."""
        return self.best[0]

    @property
    def best_step(self) -> int:
        """The step that the parameters are of."""
        return self.best[1]

    @property
    def results(self) -> dict[str, Any] | None:
        """The contents of `results.json`; None before the run is finished, `UserError` where the file is damaged."""
        return finished_report(self.workdir)

    @property
    def history(self) -> dict[str, Curve]:
        """The metrics so far by name, such as `train/bits_per_dim` and `validation/nll_nats`."""
        return as_history(read_metrics(self.workdir))

    @property
    def status(self) -> str:
        """`training` (on this machine), `finished`, `stopped`, or `damaged` if `results.json` is no report."""
        with locked(self.workdir, exclusive=False, wait=False) as free:  # always free where there are no locks
            if not free:
                return "training"
        if read_report(self.workdir) is not None:
            return "finished"
        return "damaged" if (self.workdir / REPORT).exists() else "stopped"

    def in_notebook(self) -> dict[str, Any]:
        """The files of the run: neither its data nor its parameters are read."""
        shown = {name: getattr(self, name) for name in ("status", "results", "history")}
        return {"workdir": str(self.workdir)} | shown | {"config": self.config.to_dict()}

    def __repr__(self) -> str:
        network, data = self.config.network.name or self.config.model.kind, self.config.dataset.name
        scores = scores_in_words(read_report(self.workdir))
        return f"Run({str(self.workdir)!r}: {network} on {data}; {self.status}{scores})"
