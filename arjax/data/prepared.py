"""Prepared data sets on disk: their folders, and reading a split without TensorFlow."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from types import ModuleType
from typing import Any

from arjax.core.errors import UserError
from arjax.core.files import user_path
from arjax.data.metadata import check_metadata, damage_errors

FILE_FORMAT = "array_record"  # the format that can be read by row, and without TensorFlow
DEFAULT_DATA_DIR = "~/tensorflow_datasets"
SPLITS = ("train", "validation", "test")
# tensorflow-datasets swallows the import error of a missing dependency and lacks attributes later
_NEEDED = ("tensorflow_datasets", "array_record", "importlib_resources")


def import_tfds() -> ModuleType:
    """tensorflow-datasets, imported on first use; raises `UserError` naming the package that is missing."""
    for module in _NEEDED:
        if importlib.util.find_spec(module) is None:
            package = module.replace("tensorflow_datasets", "tensorflow-datasets")
            raise UserError(f"reading prepared data sets needs a package that is missing: pip install {package}")
    import tensorflow_datasets as tfds

    if not hasattr(tfds, "builder_from_directory"):
        raise UserError("tensorflow-datasets cannot import all that it needs: install it again with its dependencies")
    return tfds


def search_path(data_dir: str = "") -> list[Path]:
    """The folders that may hold prepared sets: `data_dir`, each of `TFDS_DATA_DIR`, then `~/tensorflow_datasets`.

    Raises:
      UserError: one of them is no path, or none is named and this user has no home folder.
    """
    folders = [data_dir, *os.environ.get("TFDS_DATA_DIR", "").split(os.pathsep)]
    given = [user_path(folder) for folder in folders if folder]
    try:
        return [*given, Path(DEFAULT_DATA_DIR).expanduser()]
    except RuntimeError as error:  # this user has no home folder
        if given:
            return given
        raise UserError(
            "this user has no home folder for data sets: set TFDS_DATA_DIR, or give config.dataset.data_dir"
        ) from error


def find_prepared(path: str, name: str, data_dir: str = "") -> Path:
    """The newest version of the set stored under `path` in the first folder that has one.

    Args:
      path: builder and config, such as `uci_binary/dna`.
      name: the name of the set for users, as for `scripts/prepare_data.py`.
      data_dir: searched first; "" for the usual folders alone.

    Raises:
      UserError: no folder has the set; the sentence has the command that gets it.
    """
    folders = search_path(data_dir)
    for folder in folders:
        versions = [(_version(p.parent.name), p.parent) for p in (folder / path).glob("*/features.json")]
        readable = [pair for pair in versions if pair[0]]
        if readable:
            return max(readable)[1]
    raise UserError(
        f"the data set {name!r} is not in {' or '.join(map(str, folders))}; get it with: {prepare_command(name)}"
    )


def prepare_command(name: str) -> str:
    """The command that gets a data set."""
    return f"python scripts/prepare_data.py {name}"


def _version(text: str) -> tuple[int, ...]:
    """`(1, 0, 0)` for "1.0.0", and `()` for a folder that is not a version."""
    parts = text.split(".")
    return tuple(map(int, parts)) if len(parts) == 3 and all(p.isdigit() for p in parts) else ()


def read_splits(
    path: str,
    name: str,
    data_dir: str = "",
    decoders: dict[str, Any] | None = None,
    features: tuple[str, ...] = ("x",),
) -> dict[str, list]:
    """All rows of all splits of a prepared set, as one dict of features per row.

    Args:
      path: builder and config, see `find_prepared`; likewise `name` and `data_dir`.
      name: the name of the set for users.
      data_dir: searched first.
      decoders: for `as_data_source`.
      features: the features that the rows must have.

    Raises:
      UserError: the set is missing, damaged, in a format that needs TensorFlow, or made by classes of other packages.
    """
    import_tfds()
    folder = find_prepared(path, name, data_dir)
    remedy = f"delete the folder and run: {prepare_command(name)}"
    try:
        info = check_metadata(folder)
    except ValueError as error:
        raise UserError(f"the data set in {folder} is damaged: {error}; {remedy}") from error
    file_format = info.get("fileFormat", "tfrecord")
    if file_format != FILE_FORMAT:
        raise UserError(f"only TensorFlow reads the {file_format} files in {folder}: {remedy}")
    try:
        rows = _read_rows(folder, decoders, remedy)
    except UserError:
        raise
    except damage_errors() as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"the data set in {folder} is damaged: {reason}; {remedy}") from error
    for needed in ("train", "test"):
        if not rows.get(needed):
            raise UserError(f"the data set in {folder} has no {needed} split: {remedy}")
    if lacking := [feature for feature in features if any(feature not in split[0] for split in rows.values())]:
        raise UserError(f"the data set in {folder} has no feature {lacking[0]!r}: {remedy}")
    return rows


def _read_rows(folder: Path, decoders: dict[str, Any] | None, remedy: str) -> dict[str, list]:
    builder = import_tfds().builder_from_directory(folder)
    if unknown := set(builder.info.splits) - set(SPLITS):
        raise UserError(f"the data set in {folder} has an unknown split {min(unknown)!r}: {remedy}")
    rows = {}
    for split, info in builder.info.splits.items():
        for file in info.filepaths:
            if not Path(file).is_file():
                raise UserError(f"the file {file} of a data set is missing: {remedy}")
        source = builder.as_data_source(split=split, decoders=decoders)
        rows[split] = list(source.__getitems__(range(len(source))))
    return rows
