"""The files of a checkpoint: the manifest that seals them, and paths that Orbax can work with."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from absl import logging

from arjax.core.errors import UserError
from arjax.parallel.processes import from_process_0

MANIFEST = "manifest.json"
STATE = "state"
#: Orbax and TensorStore take some of the other characters for patterns, separators or addresses.
_PLAIN = re.compile(r"[\w/.,=+ -]*")
#: TensorStore's errors begin with a status, `RESOURCE_EXHAUSTED: ...`, and name the operating system's error.
_DETAILS = re.compile(r" \[(source locations|tensorstore_spec|\w+=).*")
_STATUS, _SYSTEM_ERROR = re.compile(r"[A-Z_]+: "), re.compile(r"os_error_code='(\d+)'|OS error (\d+)")


def write_manifest(folder: Path, tree: dict[str, str], extra: dict[str, Any]) -> None:
    """Seals a folder: hashes of all its files, shapes of all arrays and `extra`, in one atomic write."""
    body = {"files": _hashes(folder), "tree": tree, "extra": extra}
    replacement = folder / "manifest.tmp"
    with replacement.open("w", encoding="utf-8") as file:
        json.dump(body | {"checksum": _digest(body)}, file)
        file.flush()
        os.fsync(file.fileno())
    replacement.replace(folder / MANIFEST)


def inspect(folder: Path) -> tuple[str, dict[str, Any]]:
    """The damage of a checkpoint ("" for a whole one), and its manifest."""
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        checksum = manifest.pop("checksum")
        if checksum != _digest(manifest):
            return f"{MANIFEST} was changed", {}
        hashes = _hashes(folder)
    except FileNotFoundError:
        return f"it has no {MANIFEST}", {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return f"{MANIFEST} is not readable", {}
    for name, digest in manifest["files"].items():
        if name not in hashes:
            return f"{name} is missing", {}
        if hashes[name] != digest:
            return f"{name} was changed", {}
    return "", manifest


def _hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file that Orbax wrote below `folder`."""
    hashes = {}
    for path in sorted(path for path in (folder / STATE).rglob("*") if path.is_file()):
        with path.open("rb") as file:
            hashes[str(path.relative_to(folder))] = hashlib.file_digest(file, "sha256").hexdigest()
    return hashes


def _digest(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def sync(folder: Path) -> None:
    """Makes a rename survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def plain_path(folder: Path) -> Iterator[Path]:
    """A path to a folder without the special characters of Orbax and TensorStore: a link where the folder has some.

    Orbax looks for files by patterns, so that `lr[1e-3]` means `lr1`; TensorStore takes a backslash for a slash. All
    processes get the same path, as Orbax demands; all of them call this together, and wait for one another at its end.

    Raises:
      UserError: a link is needed, and the folder for temporary files has such a path, too.
    """
    if _PLAIN.fullmatch(str(folder)):
        yield folder
        return
    links = Path(from_process_0(os.path.join(tempfile.gettempdir(), f"arjax-{secrets.token_hex(8)}")))
    if not _PLAIN.fullmatch(str(links)):
        raise UserError(
            f"for checkpoints in {folder}, the environment variable TMPDIR must name a folder with a path of letters "
            f"and digits only, not {links.parent}"
        )
    try:
        links.mkdir(mode=0o700, exist_ok=True)
        with contextlib.suppress(FileExistsError):  # another process of this machine has made it
            (links / "link").symlink_to(folder, target_is_directory=True)
        yield links / "link"
    finally:
        shutil.rmtree(links, ignore_errors=True)


def refusal(error: OSError | ValueError) -> str | None:
    """The reason why the disk refused, such as "No space left on device"; None for an error that is not of a disk.

    Orbax measures its limits of minutes by the clock of the machine: where that is set forward meanwhile, they are over
    at once. All times that arjax measures are those of a monotonic clock.
    """
    if isinstance(error, TimeoutError) and error.errno is None:
        return (
            f"Orbax has waited too long ({error}), by the clock of this machine: the disk is slow, or the clock was "
            "set forward meanwhile; the same command goes on from the checkpoint before"
        )
    if isinstance(error, OSError):
        return error.strerror or str(error)
    text = str(error)
    if not _STATUS.match(text):
        return None
    code = _SYSTEM_ERROR.search(text)
    return os.strerror(int(code[1] or code[2])) if code else _DETAILS.sub("", text.splitlines()[0])


@contextlib.contextmanager
def without_tracebacks() -> Iterator[None]:
    """Orbax logs the traceback of an error once per thread before it raises it; the error itself is enough."""
    logger = logging.get_absl_logger()

    def has_none(record: Any) -> bool:
        return not record.exc_info

    logger.addFilter(has_none)
    try:
        yield
    finally:
        logger.removeFilter(has_none)
