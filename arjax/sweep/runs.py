"""A run of a sweep, as a sweep file lists it, and its config."""

from __future__ import annotations

import dataclasses
import difflib
import json
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from arjax.core.errors import UserError, did_you_mean, refuse, say_once
from arjax.core.options import checked_arguments
from arjax.reporting.reports import FILE_NAME, is_json_number

#: Stands for the folder of the sweep in the config and in the overrides of a run.
WORKDIR = "{workdir}"


@checked_arguments(published=None)
@dataclasses.dataclass(frozen=True)
class Run:
    """A row of a sweep: an `arjax` job and the fields of its row in the results table.

    Attributes:
      name: folder of the run inside the sweep's workdir, such as `made-dna`.
      config: config file with its argument, such as `configs/uci_binary.py:dna`.
      overrides: config fields to set, such as `{"seed": 1, "model.ordering": "random(seed=3)"}`. Here and in `config`,
        `{workdir}` is the workdir of the sweep: `{"train.init_from": "{workdir}/teacher"}` reads another run.
      dataset, model, ordering: those of the row, in words; "" takes them from the results and the config of the run.
        Pictures show `model`: let it state every option that differs.
      metric: the number of `results.json` to report, such as `nll_nats` or `bits_per_dim`.
      published, published_mark: the number to compare with, nan for none, and its source or differences.
      listed: whether it has a row; False for a run that only a `Mean` or a `Mixture` reads.
      pilots: names of runs that end before this one begins: it takes the overrides of the best of them on validation in
        its metric, such as the learning rate, except for fields that it sets.
    """

    name: str
    config: str
    overrides: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    dataset: str = ""
    model: str = ""
    ordering: str = ""
    metric: str = "nll_nats"
    published: float = float("nan")
    published_mark: str = ""
    listed: bool = True
    pilots: Sequence[str] = ()

    def __post_init__(self):
        check_row(self.name, "run", self.published)
        for text in self.texts():
            for word in re.findall(r"{\s*[\w-]+\s*}", text):
                if word != WORKDIR and difflib.get_close_matches(word.lower(), [WORKDIR], cutoff=0.8):
                    raise UserError(f"run {self.name!r} has {word} in {text!r}, did you mean {WORKDIR}?")
        if not isinstance(self.pilots, tuple | list) or not all(isinstance(name, str) for name in self.pilots):
            raise UserError(f"the pilots of run {self.name!r} must be names of other runs, not {self.pilots!r}")

    def check(self, runs: Mapping[str, Run]) -> None:
        """Raises `UserError` unless all pilots are other `runs` of the sweep, without pilots of their own."""
        for name in self.pilots:
            has = f"run {self.name!r} has the pilot {name!r}, which"
            refuse(
                (name not in runs or name == self.name, f"{has} is no other run{did_you_mean(name, runs)}"),
                (name in runs and runs[name].pilots, f"{has} has pilots itself"),
            )

    def override_texts(self) -> list[tuple[str, str]]:
        return [(key, flag_text(value)) for key, value in self.overrides.items()]

    def texts(self) -> list[str]:
        return [self.config, *(text for _, text in self.override_texts())]

    def placed(self, workdir: str | os.PathLike) -> Run:
        overrides = {key: text.replace(WORKDIR, str(workdir)) for key, text in self.override_texts()}
        return dataclasses.replace(self, config=self.config.replace(WORKDIR, str(workdir)), overrides=overrides)

    def arguments(self, workdir: str | os.PathLike) -> list[str]:
        placed = self.placed(workdir)
        overrides = [f"--config.{key}={text}" for key, text in placed.override_texts()]
        return [f"--config={placed.config}", f"--workdir={Path(workdir) / self.name}", *overrides]

    def command(self) -> str:
        """The line that reproduces the row on any machine, in a folder `runs/`."""
        return shlex.join(["arjax", *self.arguments("runs")])


def finished_runs(rows: Sequence[Run], workdir: Path) -> list[Run]:
    """The runs of a sweep that have ended in its workdir, at least one."""
    finished = [row for row in rows if (workdir / row.name / FILE_NAME).is_file()]
    if not finished:
        raise UserError(f"{workdir} has no finished run of this sweep, such as {rows[0].name!r}")
    return finished


def flag_text(value: Any) -> str:
    """The value of a config field as on a command line."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def check_row(name: str, row: str, published: Any) -> None:
    """Raises `UserError` for a name that no folder of a sweep can have, or a published number that is none."""
    is_name = re.fullmatch(r"\w[\w.+=-]*(/\w[\w.+=-]*)*", name)
    refuse((not is_name, f"a {row} cannot be named {name!r}: use letters, digits and _ . + = - only"))
    no_number = f"the published number of {row} {name!r} must be a number, not {published!r}"
    refuse((not is_json_number(published), no_number))


def config_of(run: Run, workdir: str | os.PathLike) -> ConfigDict:
    """The config of a run of a sweep in `workdir`, checked, as `arjax` reads it from its command line."""
    from arjax.config.validate import validate

    return validate(_read_config(run, workdir)).config


def _read_config(run: Run, workdir: str | os.PathLike) -> ConfigDict:
    from arjax.config.files import apply_overrides, load_config_file

    run = run.placed(workdir)
    config = load_config_file(run.config)
    apply_overrides(config, run.override_texts())
    return config


def outdated(run: Run, workdir: Path) -> str:
    """Returns by which fields the results of a run, in its folder of `workdir`, differ from its present config; "" if
    by none, or if one of the configs cannot be read.
    """
    from arjax.config.files import other_results

    try:
        return other_results(_read_config(run, workdir), workdir / run.name, str(workdir))
    except UserError as error:
        say_once(f"the results of {run.name} stand, and cannot be compared with its config: {error}")
        return ""


def all_but_order_and_seed(config: Mapping[str, Any]) -> str:
    """The fields of a run's config without `model.ordering` and `seed`: runs that agree in them share one program."""
    model = {name: value for name, value in config["model"].items() if name != "ordering"}
    return json.dumps({**config, "model": model, "seed": 0}, sort_keys=True)
