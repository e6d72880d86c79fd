"""The runs of a sweep, as a sweep file lists them, which of them read the folders of others, and what has changed since
they were trained.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import os
import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from arjax.core.errors import UserError, did_you_mean, refuse
from arjax.core.files import writable_folder
from arjax.core.options import checked_arguments
from arjax.reporting.reports import FILE_NAME, read_report
from arjax.training.record import changed_code, note_read, versions_read

#: Stands for the folder of the sweep in the config and in the overrides of a run; and what is named in it.
WORKDIR = "{workdir}"
_HERE = re.compile(re.escape(WORKDIR) + r"/+(\w[\w./+=-]*)")


@checked_arguments(published=None)
@dataclasses.dataclass(frozen=True)
class Run:
    """One row of a sweep: an `arjax` job and the fields of its row in the results table.

    Attributes:
      name: folder of the run inside the sweep's workdir, such as `made-dna`.
      config: config file with its argument, such as `configs/uci_binary.py:dna`.
      overrides: config fields to set, such as `{"seed": 1, "model.ordering": "random(seed=3)"}`. Here and in `config`
        `{workdir}` is the workdir of the sweep: `{"train.init_from": "{workdir}/teacher"}` reads another run.
      dataset, model, ordering: those of the row, in words; "" takes them from the results and the config of the run.
      metric: the number of `results.json` to report, such as `nll_nats` or `bits_per_dim`.
      published, published_mark: the number to compare with, nan for none, and its source or differences.
      listed: whether it has a row of its own; False for a run that only a `Mean` or a `Mixture` reads.
      pilots: names of other runs, which end before this one begins: it takes the overrides of the one that is best on
        validation in its metric, unless it sets the field, such as the learning rate.
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
        """The overrides as on a command line."""
        return [(key, flag_text(value)) for key, value in self.overrides.items()]

    def texts(self) -> list[str]:
        """The config with its argument, and the values of the overrides."""
        return [self.config, *(text for _, text in self.override_texts())]

    def placed(self, workdir: str | os.PathLike) -> Run:
        """The run with the workdir of its sweep in the place of `{workdir}`."""
        overrides = {key: text.replace(WORKDIR, str(workdir)) for key, text in self.override_texts()}
        return dataclasses.replace(self, config=self.config.replace(WORKDIR, str(workdir)), overrides=overrides)

    def arguments(self, workdir: str | os.PathLike) -> list[str]:
        """The arguments of `arjax` for this run of a sweep in `workdir`."""
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
    refuse(
        (
            not re.fullmatch(r"\w[\w.+=-]*(/\w[\w.+=-]*)*", name),
            f"a {row} cannot be named {name!r}: use letters, digits and _ . + = - only",
        ),
        (
            isinstance(published, bool) or not isinstance(published, int | float),
            f"the published number of {row} {name!r} must be a number, not {published!r}",
        ),
    )


def config_of(run: Run, workdir: str | os.PathLike) -> ConfigDict:
    """The config of a run of a sweep in `workdir`, checked, as `arjax` reads it from its command line."""
    from arjax.config.validate import validate

    config = _read_config(run, workdir)
    validate(config)
    return config


def _read_config(run: Run, workdir: str | os.PathLike) -> ConfigDict:
    from arjax.config.files import apply_overrides, load_config_file

    run = run.placed(workdir)
    config = load_config_file(run.config)
    apply_overrides(config, run.override_texts())
    return config


def is_outdated(run: Run, workdir: Path) -> bool:
    """Whether the config file of a finished run, in its folder of `workdir`, gives another config by now than the run
    was trained with. A run whose config cannot be read, here or there, is not.
    """
    from arjax.config.files import has_same_results

    try:
        return not has_same_results(_read_config(run, workdir), workdir / run.name, str(workdir))
    except UserError:
        return False


def all_but_order_and_seed(config: Mapping[str, Any]) -> str:
    """The fields of a run's config without `model.ordering` and `seed`: runs that agree in them share one program."""
    model = {name: value for name, value in config["model"].items() if name != "ordering"}
    return json.dumps({**config, "model": model, "seed": 0}, sort_keys=True)


def names_read(run: Run) -> set[str]:
    """What a run names in the workdir of its sweep, as `{workdir}/...`."""
    return {os.path.normpath(name) for text in run.texts() for name in _HERE.findall(text)}


def reads(runs: Sequence[Run]) -> dict[str, set[str]]:
    """By the name of each run, the names of the others that it reads: its pilots, and those of which its config's
    argument or a field, such as `train.init_from`, names the folder, a file in it, or a folder of several runs.
    """
    names, needs = {run.name for run in runs}, dict[str, set[str]]()
    for run in runs:
        places = [place for place in names_read(run) if not _is_in(run.name, place)]
        owners = {name for name in names for place in places if _is_in(place, name) or _is_in(name, place)}
        needs[run.name] = (owners | set(run.pilots) & names) - {run.name}
    return needs


def _is_in(path: str, folder: str) -> bool:
    return f"{path}/".startswith(f"{folder}/")


def check_read(waiting: Sequence[Run], runs: Sequence[Run], workdir: Path) -> None:
    """Raises `UserError` where a run that waits names a folder of the workdir that is no run and does not exist, or
    another run without `{workdir}`; where it cannot name this workdir; and where runs read each other in a circle.
    """
    _check_circle(waiting, reads(waiting))
    names = {run.name for run in runs}
    for run in waiting:
        _check_named(run, workdir)
        for place in sorted(names_read(run)):
            known = any(_is_in(place, name) or _is_in(name, place) for name in names)
            if not known and place[0] != "." and not os.path.exists(workdir / place):
                wrong = f"run {run.name!r} reads {WORKDIR}/{place}, which is no run of this sweep"
                raise UserError(f"{wrong}{did_you_mean(place, names, '')}")
        for path in re.findall(r"[\w./~+-]+/[\w.+-]+", " ".join(_HERE.sub("", text) for text in run.texts())):
            parts = path.split("/")
            ends = {"/".join(parts[first:]) for first in range(1, len(parts))} & names - {run.name}
            is_other = os.path.exists(path) and not os.path.realpath(path).startswith(f"{os.path.realpath(workdir)}/")
            if ends and not is_other:
                raise UserError(
                    f"run {run.name!r} reads {path}, and {min(ends)!r} is a run of this sweep: write "
                    f"{WORKDIR}/{min(ends)} in the sweep file"
                )


def _check_circle(runs: Sequence[Run], needs: Mapping[str, set[str]]) -> None:
    """Raises `UserError` where runs of the last stage need each other."""
    last = {run.name for stage in in_stages(runs, needs)[-1:] for run in stage}
    path = [min((name for name in last if needs[name] & last), default="")]
    while path[0] and path[-1] not in path[:-1]:
        path.append(min(needs[path[-1]] & last))
    if path[0]:
        circle = path[path.index(path[-1]) :]
        raise UserError(f"no run of a circle can begin: {', which reads '.join(map(repr, circle))}")


def _check_named(run: Run, workdir: Path) -> None:
    """Raises `UserError` where the run names the workdir in a text in which a character of it would end the path."""
    ends = {",": "a comma", "'": "a quotation mark", '"': "a quotation mark"}
    for text in run.texts():
        for character in ends.keys() & set(str(workdir)) if WORKDIR in text else ():
            if character in text or (character == "," and text is run.config):
                raise UserError(
                    f"run {run.name!r} names the workdir in {text!r}, where {ends[character]} ends it: choose another "
                    f"--workdir than {str(workdir)!r}"
                )


def with_those_read(names: Iterable[str], runs: Sequence[Run]) -> list[str]:
    """The names of runs, of those that they read, of those that these read, and so on."""
    needs, closure = reads(runs), list(dict.fromkeys(names))
    for name in closure:
        closure += sorted(needs[name] - set(closure))
    return closure


def in_stages(runs: Sequence[Run], needs: Mapping[str, set[str]]) -> list[list[Run]]:
    """The runs, those of a stage in their sequence. A run is in the stage after the last of the runs that it `needs`.

    Runs that need each other in a circle are in the last stage.
    """
    left, by_stage = list(runs), []
    while left:
        waiting = {run.name for run in left}
        ready = [run for run in left if not needs[run.name] & waiting] or left
        by_stage.append(ready)
        left = [run for run in left if run not in ready]
    return by_stage


def note_what_it_reads(run: Run, workdir: Path) -> None:
    """Notes the runs that a run reads as its training begins, or, beside the earlier ones, as it goes on.

    The record of the run lists them with their parameters: a run that is later trained further, or anew, would now give
    other initial parameters, or judge differently. Rows that exist stay, and the sweep prints a remark.
    """
    if read := _versions_read(run, workdir):
        folder = writable_folder(workdir / run.name)
        note_read(read, folder, anew=not any((folder / "checkpoints" / "latest").glob("*")))


def changed_read(run: Run, workdir: Path) -> list[str]:
    """Returns the runs that a run has read with other parameters than they have now."""
    noted = versions_read(workdir / run.name)
    return [name for name, now in _versions_read(run, workdir).items() if noted.get(name, [now]) != [now]]


def print_changes(runs: Sequence[Run], workdir: Path, *, code: bool = True, read: bool = True) -> None:
    """Prints the files of the user's own code, and the runs that others read, that have changed since finished runs
    were trained with them.
    """
    if code:
        sentence = "{} has changed since the training of {} began"
        _print_changes(runs, lambda run: changed_code(workdir / run.name), sentence)
    if read:
        sentence = "{} has been trained further, or anew, since it was read by {}"
        _print_changes(runs, lambda run: changed_read(run, workdir), sentence)


def _print_changes(runs: Sequence[Run], changed: Callable[[Run], list[str]], sentence: str) -> None:
    names_of: dict[str, list[str]] = {}
    for run in runs:
        try:
            for name in changed(run):
                names_of.setdefault(name, []).append(run.name)
        except UserError as error:
            print(f"    {error}", flush=True)
    for name, of_runs in names_of.items():
        folders, these = "folder" if len(of_runs) == 1 else "folders", ", ".join(of_runs)
        print(f"    {sentence.format(name, these)}: remove the {folders} of {these} to train again", flush=True)


def _versions_read(run: Run, workdir: Path) -> dict[str, str]:
    """By its name, a text that tells the best parameters of each finished run that a run names."""
    versions = {}
    for place in sorted(names_read(run) - {run.name}):
        for name in map(str, (Path(place), *Path(place).parents[:-1])):  # a file lies in the folder of its run
            if os.path.isdir(workdir / name) and (report := read_report(workdir / name)) is not None:
                scores = (value for entry, value in sorted(report.items()) if entry.startswith("validation_"))
                versions[name] = " ".join(map(str, [report["best_step"], *scores]))
    return versions
