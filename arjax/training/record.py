"""Is this the same run? The record of a run, and the one comparison of a run with the record in a folder.

`config.json` has the fields of a run. `record.json` has fingerprints of what they stand for: the user's files of data,
the orders of the model, the user's code and, in a sweep, the parameters of the runs that this one reads; and the fields
of runs without a config (`fit_arrays`, populations). A run with other data or orders is refused, as its parameters
would mean something else; changed code gives a remark, since most edits change no number. The fingerprints of results
and metrics are `written` when a run ends, and go when it is trained further.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import jax
import numpy as np

from arjax.core import files
from arjax.core.arrays import fingerprint_of_arrays
from arjax.core.errors import UserError, refuse, say_once
from arjax.core.values import as_tuples
from arjax.factorization import Factorization, Orders
from arjax.reporting.reports import RECORD as FILE_NAME

CONFIG_NAME = "config.json"
#: What the run in a folder is needed for: its parameters, further training, or its results.
Purpose = Literal["open", "train", "results"]
DURATIONS = ("train.steps", "train.examples", "train.epochs")
#: Beginnings of the fields that change neither parameters nor scores, but the output, the speed or the devices.
OUTPUT = (
    *("plugins", "dataset.data_dir", "train.steps_per_dispatch", "train.log_every", "train.eval_every"),
    *("train.checkpoint_every", "train.data_on_device", "train.writers", "evaluate.batch_size"),
    *("sample.", "inpaint.", "suggest.", "mesh."),
)
#: Beginnings of the fields that change the results of a run and not its training, and those of them that choose its
#: best parameters.
RESULTS, SELECTION = ("evaluate.", "train.patience"), ("evaluate.num_orders", "evaluate.examples")
#: Folders of other runs, and files of data whose contents the record knows.
RUNS = ("train.init_from", "dataset.run")
PATHS = tuple(f"dataset.{name}" for name in ("file", "path", "validation_path", "test_path", "validation", "test"))
#: Sections that say how a model is trained, and not which one.
TRAINING_SECTIONS = ("optimizer", "objective", "train")
#: Beginnings of fields, from those that tell two runs apart best; a sentence names three fields at most.
TELLING = ("dataset.name", "network.name", "objective", "model.", *DURATIONS, "seed", "network.", "dataset.", "")
MOST_NAMED = 3


@dataclasses.dataclass(frozen=True)
class Record:
    """The identity of a run: its options by name, {} where `config.json` has them, and fingerprints."""

    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    data: str = ""  # "" for data that no user can change
    orders: str = ""  # of the model; "" where there are none
    #: Of each file of the user's code, one for each version that has trained the run.
    code: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)

    def write(self, workdir: str | os.PathLike, *, anew: bool = True) -> None:
        """Writes the record as a training begins `anew`; a training that goes on adds the versions of its code."""
        noted = _read(workdir)
        code = _versions({} if anew else noted, "code", self.code)
        entries = {"data": self.data, "orders": self.orders, "code": code, "written": {}}
        files.write_json(Path(workdir) / FILE_NAME, noted | entries | ({"fields": self.fields} if self.fields else {}))

    def check(self, workdir: str | os.PathLike, purpose: Purpose = "open") -> None:
        """Raises `UserError` if `workdir` holds another run, as far as it is known; tells which code has changed."""
        then = stored(workdir)
        if self.fields:
            check_same_fields(self.fields, workdir, purpose)
        for file in changed_code(workdir, self.code):  # anyone may have written the record, with any files
            say_once(f"{file} has changed since the training of {os.fspath(workdir)} began")
        data = f"the data have changed since the run in {workdir} was trained on them: give it the former data again"
        order = f"the run in {workdir} was trained in another order than this version of arjax, this data or your code"
        refuse(
            (then.data and then.data != self.data, f"{data}, or train in another --workdir"),
            (then.orders and then.orders != self.orders, f"{order} gives its config: train again in another --workdir"),
        )


def stored(workdir: str | os.PathLike) -> Record:
    """Returns the record of the run in a folder; what is not known is empty."""
    noted = _read(workdir)
    fields = noted.get("fields") or files.read_json_object(Path(workdir) / CONFIG_NAME) or {}
    data, orders = (str(noted.get(name, "")) for name in ("data", "orders"))
    return Record(flat_fields(fields), data, orders, _versions(noted, "code"))


def _read(workdir: str | os.PathLike) -> dict[str, Any]:
    path = Path(workdir) / FILE_NAME
    noted = files.read_json_object(path)
    if noted is None and path.exists():
        raise UserError(f"{path} is damaged: put back a copy of it, or choose another --workdir")
    return noted or {}


def flat_fields(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns nested fields by dotted names, with tuples in the place of lists."""

    def flat(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
        for key, value in values.items():
            yield from flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [(f"{prefix}{key}", value)]

    return dict(flat(as_tuples(dict(values)), ""))


def check_same_fields(fields: Mapping[str, Any], workdir: str | os.PathLike, purpose: Purpose = "open") -> None:
    """Raises `UserError` when `workdir` holds a run with other fields; names up to three of them."""
    then = stored(workdir)
    different = differences(fields, then, purpose)
    remedy = "leave out what differs" if purpose == "open" else "choose another --workdir, or remove this one"
    has_config = (Path(workdir) / CONFIG_NAME).exists()
    if purpose == "train" and has_config and all(name.partition(".")[0] in TRAINING_SECTIONS for name in different):
        remedy = f"choose another --workdir, with --config.train.init_from={workdir} to begin with its parameters"
    if set(different) <= set(DURATIONS):
        remedy = "a run can be made longer, not shorter"
    if different:
        raise UserError(f"{workdir} holds another run: {in_words(different, fields, then)}; {remedy}")


def in_words(different: Sequence[str], fields: Mapping[str, Any], then: Record) -> str:
    """Returns up to three of the fields that differ, with their values."""
    longer = [name for name in DURATIONS if fields.get(name) != then.fields.get(name)]  # allowed alone, yet telling
    named = _most_telling({*different, *longer}, {**then.fields, **fields})
    words = ", ".join(
        f"{name} was {_value(then.fields, name)} there and is {_value(fields, name)} now" for name in named[:MOST_NAMED]
    )
    return words + (f", and {len(named) - MOST_NAMED} more differ" if len(named) > MOST_NAMED else "")


def _value(fields: Mapping[str, Any], name: str) -> str:
    return repr(fields[name]) if name in fields else "absent"


def differences(fields: Mapping[str, Any], then: Record, purpose: Purpose, root: str = "") -> list[str]:
    """Returns the names of the fields by which a run differs from a record, for a purpose. `root` is a folder that may
    have had another name then, as in the paths of runs that another one reads.
    """
    if not then.fields:
        return []
    names = [name for name in {**then.fields, **fields} if not _agrees(name, fields, then, purpose)]
    return [name for name in names if not (root and _renamed(then.fields.get(name), fields.get(name), root))]


def _agrees(name: str, fields: Mapping[str, Any], then: Record, purpose: Purpose) -> bool:
    is_in_both = name in fields and name in then.fields
    if (is_in_both and fields[name] == then.fields[name]) or name.startswith(OUTPUT):
        return True
    if name.startswith(RESULTS):
        return purpose == "open" or (purpose == "train" and name not in SELECTION)
    if not is_in_both:
        return False
    was, now = then.fields[name], fields[name]
    if name in DURATIONS:
        return purpose != "results" and now >= was > 0
    if name in RUNS and was and now:  # one folder, spelt in two ways
        return os.path.realpath(was) == os.path.realpath(now)
    if name in PATHS and then.data and isinstance(was, str) and isinstance(now, str) and bool(was) == bool(now):
        paths = [files.user_path(path) for path in map(fields.get, PATHS) if path and isinstance(path, str)]
        return purpose != "results" or files.fingerprint_of(map(files.digest_of, paths)) == then.data
    return False


def _renamed(then: Any, now: Any, root: str) -> bool:
    """Whether two values differ only in the name of one folder, which begins paths and is `root` now."""
    first, *rest = map(re.escape, re.split(rf"(?<![\w./~-]){re.escape(root)}(?=/)", str(now)))
    same = r"\1"
    return bool(rest) and re.fullmatch(f"{first}(.+){same.join(rest)}", str(then)) is not None


def _most_telling(names: set[str], values: Mapping[str, Any]) -> list[str]:
    """The names, most telling first; no options of a data set or a network whose name differs already."""
    named_sections = tuple(section for section in ("dataset.", "network.") if f"{section}name" in names)
    kept = [name for name in names if name.endswith(".name") or not name.startswith(named_sections)]

    def rank(name: str) -> tuple[int, bool, str]:
        place = next(i for i, start in enumerate(TELLING) if name.startswith(start))
        return place, type(values[name]) not in (int, tuple), name  # sizes come before other options

    return sorted(kept, key=rank)


def fingerprint_of_orders(model: Any) -> str:
    """Returns a fingerprint of the orders and graphs of a model and of its parts; "" where there are none."""

    def arrays_of(part: Any) -> list[Any]:
        if isinstance(part, Orders):
            return [*arrays_of(part.first), part.listed]
        if isinstance(part, Factorization):
            return [part.order, part.step, *([] if part.parents is None else [part.parents])]
        return []

    parts = jax.tree.leaves(model, is_leaf=lambda part: isinstance(part, Factorization | Orders))
    arrays = [np.asarray(array, np.int64) for part in parts for array in arrays_of(part)]
    return fingerprint_of_arrays(arrays) if arrays else ""


def versions_of(paths: Iterable[str]) -> dict[str, list[str]]:
    """Returns the fingerprint of each file, as its only version."""
    return {path: [files.fingerprint_of([files.digest_of(path)])] for path in paths}


def changed_code(workdir: str | os.PathLike, loaded: Collection[str] | None = None) -> list[str]:
    """Returns the existing files (of those `loaded`) that have changed since, or during, the training of the run."""
    code = {file: versions for file, versions in stored(workdir).code.items() if loaded is None or file in loaded}
    return [file for file, versions in code.items() if os.path.isfile(file) and versions_of([file])[file] != versions]


def note_written(workdir: str | os.PathLike, values: Mapping[str, Any]) -> None:
    """Notes the contents of files that a run writes at its end, before it does so: a kill leaves earlier ones."""
    noted = _read(workdir)
    versions = {name: [files.fingerprint_of_value(value)] for name, value in values.items()}
    files.write_json(Path(workdir) / FILE_NAME, noted | {"written": _versions(noted, "written", versions)})


def note_read(read: Mapping[str, str], workdir: str | os.PathLike, *, anew: bool) -> None:
    """Notes the versions of the parameters of other runs as a training begins `anew`, or goes on."""
    noted = _read(workdir)
    versions = _versions({} if anew else noted, "read", {run: [version] for run, version in read.items()})
    files.write_json(Path(workdir) / FILE_NAME, noted | {"read": versions})


def versions_read(workdir: str | os.PathLike) -> dict[str, list[str]]:
    """Returns what `note_read` has noted."""
    return _versions(_read(workdir), "read")


def _versions(
    noted: Mapping[str, Any], entry: str, now: Mapping[str, Sequence[str]] = MappingProxyType({})
) -> dict[str, list[str]]:
    """Returns the versions of each file or run that are noted, and those of `now` behind them."""
    known = noted.get(entry)
    known = known if isinstance(known, dict) else {}
    before = {name: versions for name, versions in known.items() if isinstance(versions, list)}
    return {
        name: [*(each for each in before.get(name, []) if each not in now.get(name, ())), *now.get(name, ())]
        for name in {**before, **now}
    }


class RunFolder(os.PathLike):
    """A folder, made when missing, and held open to identify it later. A context manager, and a path."""

    def __init__(self, path: str | os.PathLike):
        self._path = Path(path)
        with files.writing(self._path):
            self._path.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(self._path, os.O_RDONLY)

    def __fspath__(self) -> str:
        return str(self._path)

    __str__ = __fspath__

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *exception: object) -> None:
        os.close(self._descriptor)

    def is_there(self) -> bool:
        """Whether the path still leads to the folder that it led to at the start."""
        try:
            return os.path.samestat(os.stat(self._path), os.fstat(self._descriptor))
        except OSError:
            return False

    def check(self) -> None:
        """Refuses to write if the folder is gone: a deleted one would be made again, without its files."""
        if not self.is_there():
            raise UserError(
                f"the folder {self._path} was deleted, moved or replaced during the run, which ends here; where it was "
                "moved, give the new place as --workdir to go on from its last checkpoint"
            )
