"""Prepared data sets on disk: their folders, and reading a split without TensorFlow."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from arjax.core.errors import UserError
from arjax.core.files import user_path
from arjax.core.values import parse_json
from arjax.data.sources import SPLITS

FILE_FORMAT = "array_record"  # the format that can be read by row, and without TensorFlow
DEFAULT_DATA_DIR = "~/tensorflow_datasets"
FEATURES, INFO = "features.json", "dataset_info.json"
#: Modules of the accepted classes.
TRUSTED = "tensorflow_datasets."
#: Keys of names that are imported: those of current features (in both spellings), and of older ones.
_CLASS_KEYS = ("pythonClassName", "python_class_name", "type", "proto_cls")
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

    Raises `UserError` where one of them is no path, or none is named and this user has no home folder.
    """
    folders = [data_dir, *os.environ.get("TFDS_DATA_DIR", "").split(os.pathsep)]
    given = [user_path(folder) for folder in folders if folder]
    try:
        return [*given, Path(DEFAULT_DATA_DIR).expanduser()]
    except RuntimeError as error:  # this user has no home folder
        if given:
            return given
        remedy = "set TFDS_DATA_DIR, or give config.dataset.data_dir"
        raise UserError(f"this user has no home folder for data sets: {remedy}") from error


def find_prepared(path: str, name: str, data_dir: str = "") -> Path:
    """The newest version of the set stored under `path`, such as `uci_binary/dna`, in the first folder that has one.

    `data_dir` is searched first. Raises `UserError` where no folder has the set, with the command that gets it by its
    `name` for users.
    """
    folders = search_path(data_dir)
    for folder in folders:
        if newest := newest_version(folder / path):
            return newest
    where = " or ".join(map(str, folders))
    raise UserError(f"the data set {name!r} is not in {where}; get it with: {prepare_command(name)}")


def newest_version(folder: Path) -> Path | None:
    """The folder of the newest version of the set in a folder, if it holds one."""
    found = [file.parent for file in folder.glob(f"*/{FEATURES}")]
    versions = [each for each in found if re.fullmatch(r"\d+\.\d+\.\d+", each.name)]
    return max(versions, key=lambda version: tuple(map(int, version.name.split("."))), default=None)


def prepare_command(name: str) -> str:
    """The command that gets a data set."""
    return f"python scripts/prepare_data.py {name}"


def read_splits(
    path: str, name: str, data_dir: str, decoders: dict[str, Any] | None = None, features: tuple[str, ...] = ("x",)
) -> dict[str, list]:
    """All rows of all splits of a prepared set, as one dict of features per row, which must have the given ones.

    `path`, `name` and `data_dir` are those of `find_prepared`, and `decoders` those of `as_data_source`. Raises
    `UserError` for a set that is missing, damaged, in a format that needs TensorFlow, or of classes of other packages.
    """
    import_tfds()
    folder = find_prepared(path, name, data_dir)
    remedy = f"delete the folder and run: {prepare_command(name)}"
    try:
        _, info = (check_metadata(folder / name) for name in (FEATURES, INFO))
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


def check_metadata(path: Path) -> dict[str, Any]:
    """The object in a file of metadata, when it may be given to tensorflow-datasets.

    `features.json` names Python classes, and tensorflow-datasets imports the module of each: a foreign folder could run
    any module on the path. So only classes of tensorflow-datasets are accepted. Raises `ValueError` for those of other
    packages, and where there is no JSON of an object.
    """
    try:
        value = parse_json(path.read_text(encoding="utf-8"))
        names = list(_class_names(value))
    except FileNotFoundError as error:
        raise ValueError(f"there is no {path.name}") from error
    except ValueError as error:
        raise ValueError(f"{path.name} is not JSON") from error
    except OSError as error:
        raise ValueError(f"{path.name} cannot be read ({error.strerror})") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path.name} holds no object")
    for name in names:
        if not name.startswith(TRUSTED):
            raise ValueError(f"{path.name} names the class {name!r}, which does not belong to tensorflow-datasets")
    return value


def _class_names(value: Any) -> Iterator[str]:
    """The classes that are named anywhere in the value, also in JSON texts inside it."""
    if isinstance(value, list):
        for part in value:
            yield from _class_names(part)
    elif isinstance(value, dict):
        for key, part in value.items():
            if isinstance(part, str) and key in _CLASS_KEYS:
                yield part
            elif isinstance(part, str) and key == "json":
                yield from _class_names(parse_json(part))
            else:
                yield from _class_names(part)


def damage_errors() -> tuple[type[Exception], ...]:
    """The exceptions of tensorflow-datasets for metadata that contradict the records, or that it does not know."""
    from google.protobuf.json_format import ParseError

    of_values = (ValueError, TypeError, LookupError, AttributeError, AssertionError)
    return (ParseError, *of_values, ImportError, RuntimeError, OSError)
