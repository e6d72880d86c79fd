"""Folders of samples: `samples/` of the run itself, and `samples-1/`, `samples-2/`, ... for all others."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from arjax.core.files import read_json_object, writing

NAME, OPTIONS = "samples", "options.json"


def read_options(folder: str | os.PathLike) -> dict[str, Any] | None:
    """The options of the samples of a folder; None where it holds none, or they were not written to the end."""
    return read_json_object(Path(folder) / OPTIONS)


@contextlib.contextmanager
def numbered_folder(workdir: str | os.PathLike) -> Iterator[Path]:
    """A new folder `samples-1`, `samples-2`, ...; removed again when the body fails.

    Raises:
      UserError: the disk refuses, before the body runs.
    """
    with contextlib.ExitStack() as undo:
        folder = _next_folder(Path(workdir))
        undo.callback(shutil.rmtree, folder, ignore_errors=True)
        yield folder
        undo.pop_all()


@contextlib.contextmanager
def own_folder(workdir: str | os.PathLike) -> Iterator[Path]:
    """A folder that becomes `samples` when the body has written it to the end; removed again when the body fails.

    Samples that were there before get the next number.

    Raises:
      UserError: the disk refuses.
    """
    final, partial = Path(workdir) / NAME, Path(workdir) / f"partial-{NAME}"
    with contextlib.ExitStack() as undo:
        with writing(partial):
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
        undo.callback(shutil.rmtree, partial, ignore_errors=True)
        yield partial
        with writing(final):
            if final.exists():
                final.rename(_next_folder(final.parent))
            partial.rename(final)


def _next_folder(workdir: Path) -> Path:
    """Makes the folder with the first number that is free; two processes never get the same one."""
    with writing(workdir / f"{NAME}-1"):
        for number in itertools.count(1):
            with contextlib.suppress(FileExistsError):
                folder = workdir / f"{NAME}-{number}"
                folder.mkdir()
                return folder
    raise AssertionError("numbers do not end")
