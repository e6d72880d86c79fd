"""Files that a user may change: a run is opened with the contents that it was trained on, or not at all.

The training text determines the tokens of characters: with another text, the parameters would have another meaning.
"""

from __future__ import annotations

import os
from pathlib import Path

import jax

from arjax.core.errors import UserError
from arjax.core.files import read_json_object, write_json
from arjax.data import Dataset

FILE_NAME = "data.json"


def remember_data(dataset: Dataset, workdir: str | os.PathLike) -> None:
    """Writes the fingerprint of the files of a run that begins, where its data set has one.

    Raises:
      UserError: the disk refuses.
    """
    if dataset.fingerprint and jax.process_index() == 0:
        write_json(Path(workdir) / FILE_NAME, {"dataset": dataset.name, "fingerprint": dataset.fingerprint})


def has_fingerprint(workdir: str | os.PathLike) -> bool:
    """Whether the run in `workdir` has a fingerprint of its files, which may have moved since."""
    return (Path(workdir) / FILE_NAME).exists()


def check_data(dataset: Dataset, workdir: str | os.PathLike) -> None:
    """Raises `UserError` when the files of the data set are not those that the run in `workdir` was trained on."""
    known = read_json_object(Path(workdir) / FILE_NAME) or {}
    if known and known.get("fingerprint") != dataset.fingerprint:
        raise UserError(
            f"the files of the data set {dataset.name!r} have changed since the run in {workdir} was trained on them: "
            "give it those files again, or train in another --workdir"
        )
