"""Arrays in .npz files, which other programs may have written or damaged."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from arjax.core.errors import UserError
from arjax.core.files import reading, replacing


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes a compressed .npz file; raises `UserError` when the disk refuses, and leaves an earlier file as it was."""
    with replacing(path) as replacement, replacement.open("wb") as file:
        np.savez_compressed(file, **arrays)


def keep_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Puts arrays into an .npz file beside those that it has, in place of those of their names; returns all of them.

    Raises:
      UserError: the file is damaged, or the disk refuses.
    """
    kept = read_arrays(path) if path.exists() else {}
    write_arrays(path, kept | dict(arrays))
    return kept | dict(arrays)


def read_arrays(path: Path, keys: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """The arrays of an .npz file; `keys`: those to read, None for all.

    Raises:
      UserError: there is no such file, it is damaged, it lacks one of the arrays, or one of them is of Python objects.
    """
    try:
        with reading(path), zipfile.ZipFile(path):  # np.load takes a file that is no zip archive for a pickle
            file = np.load(path)
        with reading(path), file:
            wanted = file.files if keys is None else keys
            if missing := [key for key in wanted if key not in file]:
                raise UserError(f"{path} has no array {missing[0]!r}")
            return {key: file[key] for key in wanted}
    except UserError:
        raise
    # the archive, its compression, its end, an array's header, an encrypted or unknown form of the archive
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError) as error:
        raise UserError(f"{path} is not an .npz file of numbers, or damaged: {error}") from error
