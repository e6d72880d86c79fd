"""Downloads of raw files from the public addresses of data sets, checked against the published checksums."""

from __future__ import annotations

import hashlib
import http.client
import shutil
import tarfile
import tempfile
import urllib.error
import urllib.parse
import urllib.request
import zlib
from pathlib import Path

from arjax.core.errors import UserError

_TIMEOUT_SECONDS = 60


def download(url: str, path: Path, checksum: str) -> None:
    """Downloads `url` to the file `path`, which appears only when it is complete and has the checksum.

    Args:
      url: an http or https address.
      path: of the file.
      checksum: see `has_checksum`.

    Raises:
      UserError: the address is of another kind, cannot be reached, stops in the middle or answers another file, or the
        file cannot be written.
    """
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise UserError(f"only http and https addresses are downloaded, not {url}")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as answer, partial.open("wb") as file:
            shutil.copyfileobj(answer, file)
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        partial.unlink(missing_ok=True)
        reason = getattr(error, "reason", None) or error
        raise UserError(f"cannot download {url} ({reason}): get the file by hand and pass --manual_dir") from error
    if not has_checksum(partial, checksum):
        partial.unlink()
        raise UserError(
            f"{url} answered another file than the published one (its {checksum.partition(':')[0]} is not "
            f"{checksum.partition(':')[2]}), which was thrown away: get the right one by hand and pass --manual_dir"
        )
    partial.replace(path)


def has_checksum(path: Path, checksum: str) -> bool:
    """Whether a file is the one of a checksum: `sha256:` and its SHA-256, or `git:` and its name as a blob of git."""
    kind, _, expected = checksum.partition(":")
    if kind not in ("sha256", "git"):
        raise ValueError(f"a checksum begins with sha256: or git:, not {checksum!r}")
    content = path.read_bytes()
    if kind == "sha256":
        return hashlib.sha256(content).hexdigest() == expected
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() == expected


def unpack(archive: Path, folder: Path) -> None:
    """Unpacks a .tar.gz archive into `folder`; its entries appear there only when all are complete.

    Raises:
      UserError: the archive is damaged.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix="unpacking") as place:
        try:
            with tarfile.open(archive) as file:
                file.extractall(place, filter="data")
        except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
            raise UserError(f"{archive} is damaged ({error}): delete it and download it again") from error
        for entry in Path(place).iterdir():
            if not (folder / entry.name).exists():
                entry.rename(folder / entry.name)
