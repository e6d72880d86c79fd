"""The folder of a run, which may be deleted, moved or replaced while the run goes on, and the fingerprints of its data
and of its orders.

A run is opened with the contents of the files that it was trained on, or not at all: the training text determines the
tokens of characters, so with another text the parameters would have another meaning. The same holds for an order: one
that is read off the data is computed anew when a run is opened.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from arjax.core.errors import UserError
from arjax.core.files import digest_of, fingerprint_of, read_json_object, user_path, write_json, writing
from arjax.data import Dataset
from arjax.factorization import Factorization, Orders

DATA_FILE = "data.json"
#: The fingerprint of the orders of a model, in the note of a checkpoint.
ORDERS = "orders"


class RunFolder(os.PathLike):
    """A folder, made when missing, and held open to identify it later. A context manager, and a path."""

    def __init__(self, path: str | os.PathLike):
        """Raises `UserError` when the folder cannot be made or opened."""
        self._path = Path(path)
        with writing(self._path):
            self._path.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(self._path, os.O_RDONLY)

    def __fspath__(self) -> str:
        return str(self._path)

    def __str__(self) -> str:
        return str(self._path)

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
        """Raises `UserError` unless the folder is there. To be called before anything is written: else a deleted folder
        would be made again, without its files.
        """
        if not self.is_there():
            raise UserError(
                f"the folder {self._path} was deleted, moved or replaced during the run, which ends here; where it was "
                "moved, give the new place as --workdir to go on from its last checkpoint"
            )


def remember_data(dataset: Dataset, workdir: str | os.PathLike) -> None:
    """Writes the fingerprint of the files of a run that begins, where its data set has one."""
    if dataset.fingerprint and jax.process_index() == 0:
        write_json(Path(workdir) / DATA_FILE, {"dataset": dataset.name, "fingerprint": dataset.fingerprint})


def has_fingerprint(workdir: str | os.PathLike) -> bool:
    """Whether the run in `workdir` has a fingerprint of its files, which may have moved since."""
    return (Path(workdir) / DATA_FILE).exists()


def has_files(workdir: str | os.PathLike, paths: Sequence[str]) -> bool:
    """Whether the run in `workdir` was trained on files with the contents of these; raises `UserError` where one cannot
    be read.
    """
    known = read_json_object(Path(workdir) / DATA_FILE) or {}
    return known.get("fingerprint") == fingerprint_of(digest_of(user_path(path)) for path in paths)


def check_data(dataset: Dataset, workdir: str | os.PathLike) -> None:
    """Raises `UserError` when the files of the data set are not those that the run in `workdir` was trained on."""
    known = read_json_object(Path(workdir) / DATA_FILE) or {}
    if known and known.get("fingerprint") != dataset.fingerprint:
        raise UserError(
            f"the files of the data set {dataset.name!r} have changed since the run in {workdir} was trained on them: "
            "give it those files again, or train in another --workdir"
        )


def order_note(model: Any) -> dict[str, str]:
    """What a checkpoint notes of the orders and graphs of a model and of its parts; {} where there are none."""
    parts = jax.tree.leaves(model, is_leaf=lambda part: isinstance(part, Factorization | Orders))
    arrays = [array for part in parts for array in _order_arrays(part)]
    digests = [hashlib.sha256(np.asarray(array, np.int64).tobytes()).digest() for array in arrays]
    return {ORDERS: fingerprint_of(digests)} if digests else {}


def _order_arrays(part: Any) -> list[Any]:
    if isinstance(part, Orders):
        return [*_order_arrays(part.first), part.listed]
    if isinstance(part, Factorization):
        return [part.order, part.step, *([] if part.parents is None else [part.parents])]
    return []


def check_orders(model: Any, note: Mapping[str, Any], workdir: str | os.PathLike) -> None:
    """Raises `UserError` unless the orders of the model are those with which a checkpoint in `workdir` was trained."""
    if note.get(ORDERS) != order_note(model).get(ORDERS):
        raise UserError(
            f"the run in {workdir} was trained in another order than this version of arjax, or this data, gives its "
            "config: train again in another --workdir"
        )
