"""Fetching raw files from the public addresses of data sets."""

from __future__ import annotations

import http.client
import shutil
import tarfile
import urllib.error
import urllib.request
from pathlib import Path

from arjax.errors import UserError

_TIMEOUT_SECONDS = 60


def download(url: str, path: Path) -> None:
    """Stores what `url` answers in the file `path`, which appears only once it is complete.

    Raises:
      UserError: the address cannot be reached or stops in the middle, or the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as answer, partial.open("wb") as file:
            shutil.copyfileobj(answer, file)
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        partial.unlink(missing_ok=True)
        reason = getattr(error, "reason", None) or error
        raise UserError(f"cannot download {url} ({reason}): get the file by hand and pass --manual_dir") from error
    partial.replace(path)


def unpack(archive: Path, folder: Path) -> None:
    """Unpacks a .tar.gz archive into `folder`; raises `UserError` when it is damaged."""
    try:
        with tarfile.open(archive) as file:
            file.extractall(folder, filter="data")
    except (tarfile.TarError, EOFError, OSError) as error:
        raise UserError(f"{archive} is damaged ({error}): delete it and download it again") from error
