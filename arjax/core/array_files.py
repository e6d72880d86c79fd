"""Arrays in .npz files from other programs, which may be damaged."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from arjax.core.errors import UserError
from arjax.core.files import reading


def read_arrays(path: Path, keys: Sequence[str]) -> dict[str, np.ndarray]:
    """The arrays of an .npz file, those of Python objects excepted.

    Raises:
      UserError: there is no such file, it is damaged, or it lacks one of the arrays.
    """
    try:
        with reading(path), zipfile.ZipFile(path):  # np.load takes a file that is no zip archive for a pickle
            file = np.load(path)
        with reading(path), file:
            if missing := [key for key in keys if key not in file]:
                raise UserError(f"{path} has no array {missing[0]!r}")
            return {key: file[key] for key in keys}
    except UserError:
        raise
    # the archive, its compression, its end, an array's header, an encrypted or unknown form of the archive
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError) as error:
        raise UserError(f"{path} is not an .npz file of numbers, or damaged: {error}") from error
