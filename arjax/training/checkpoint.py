"""Checkpoints on disk: Orbax writes the arrays, and a manifest with checksums, written last, marks them as complete.

A step is written to `partial-STEP`, sealed by its manifest and then renamed to `STEP`: a kill at any moment leaves a
whole checkpoint, or a `partial-` folder that is never read. Every file is hashed, as Orbax does not notice flipped
bytes. A checkpoint that another process is reading is not removed; a reader that comes too late takes the newer one.

    DIR/100/state/...       arrays, by Orbax
    DIR/100/manifest.json   {"files": {name: sha256}, "tree": {path: shape}, "extra": {...}, "checksum": sha256}
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
from absl import logging
from orbax.checkpoint import v1 as ocp

from arjax.core.errors import UserError
from arjax.core.files import locked
from arjax.parallel.distributed import from_process_0, on_any_process
from arjax.parallel.sharding import different_forms, forms_of

MANIFEST = "manifest.json"
STATE = "state"
#: Orbax and TensorStore read other characters as patterns, separators or addresses.
_PLAIN = re.compile(r"[\w/.,=+ -]*")
#: TensorStore's errors begin with a status, `RESOURCE_EXHAUSTED: ...`, and name the operating system's error.
_DETAILS = re.compile(r" \[(source locations|tensorstore_spec|\w+=).*")
_STATUS, _SYSTEM_ERROR = re.compile(r"[A-Z_]+: "), re.compile(r"os_error_code='(\d+)'|OS error (\d+)")
PARTIAL = "partial-"


class CheckpointStore:
    """The `keep` newest checkpoints of a run, in one folder. All processes of a run make the same calls."""

    def __init__(self, directory: str | os.PathLike, keep: int = 2):
        self.directory, self._keep = Path(directory).absolute(), keep

    def steps(self) -> list[int]:
        """The steps there are folders for, ascending, readable or not."""
        try:
            return sorted(int(path.name) for path in self.directory.iterdir() if path.is_dir() and path.name.isdigit())
        except FileNotFoundError:
            return []
        except OSError as error:
            raise UserError(f"{self.directory} is no folder of checkpoints: {error.strerror}") from error

    def save(self, step: int, tree: Any, extra: dict[str, Any]) -> None:
        """Writes a checkpoint of a pytree of (global) arrays, and of `extra`, anything JSON can hold. Returns when it
        is on disk: the arrays may be donated afterwards. Folders of this step and of later ones, which are trained
        again, are removed.
        """
        partial = self.directory / f"{PARTIAL}{step}"
        self._on_process_0(step, lambda: self._make_room(step))
        with self._refusals(step), plain_path(self.directory) as directory:
            with without_tracebacks():
                ocp.save(directory / partial.name / STATE, tree)
            self._on_process_0(step, lambda: self._seal(step, forms_of(tree), extra))

    def restore(self, abstract_tree: Any) -> tuple[int, Any, dict[str, Any]] | None:
        """Returns the newest readable checkpoint as (step, tree, extra), or None if there is none at all.

        A damaged checkpoint gives a warning with its name, and the one before it is tried. `abstract_tree` is a pytree
        of `jax.ShapeDtypeStruct` with the shardings of the restored arrays, on any mesh. None: no arrays are read.
        """
        while True:
            with contextlib.ExitStack() as locks:
                seen, newest, reason = self._fingerprint(), self._find(locks), ""
                if newest is not None:
                    step, manifest = newest
                    reason, tree = self._load(step, manifest["tree"], abstract_tree)
                    if not reason:
                        return step, tree, manifest["extra"]
                # A folder that changes while it is listed may show neither the old checkpoint nor the new one.
                if from_process_0(seen != self._fingerprint()):
                    continue
                if newest is None:
                    return None
                raise UserError(f"the checkpoint {self.directory / str(step)} cannot be read: {reason}")

    def newest(self) -> tuple[int, dict[str, Any]] | None:
        """Returns step and `extra` of the checkpoint that `restore` would take; raises as that does."""
        newest = self.restore(None)
        return newest and (newest[0], newest[2])

    def _load(self, step: int, stored: dict[str, str], abstract_tree: Any) -> tuple[str, Any]:
        """The reason why some process cannot read the arrays ("" when all can), and the arrays."""
        reason, tree = "", None
        if abstract_tree is None:
            return reason, tree
        if different := different_forms(stored, forms_of(abstract_tree)):
            path = self.directory / str(step)
            raise UserError(f"the checkpoint {path} is of another model or optimizer: {different}")
        with plain_path(self.directory) as directory:
            try:
                with without_tracebacks():
                    tree = ocp.load(directory / str(step) / STATE, abstract_tree)
            except (OSError, ValueError) as error:  # Orbax and TensorStore raise one or the other for a missing file
                reason = refusal(error) or str(error).splitlines()[0]
            failed = on_any_process(bool(reason))
        return (reason or "by another process") if failed else "", tree

    def _find(self, locks: contextlib.ExitStack) -> tuple[int, dict[str, Any]] | None:
        """Step and manifest of the newest readable checkpoint, locked until `locks` are closed; or None."""
        # Process 0 searches for all: the processes must not go on from different steps.
        newest = from_process_0(self._newest_readable(locks) if jax.process_index() == 0 else None)
        if newest is None or newest[0] >= 0:
            return newest
        remedy = "put back a copy of one, or train again in another workdir"
        raise UserError(f"none of the checkpoints in {self.directory} is readable: {remedy}")

    def _newest_readable(self, locks: contextlib.ExitStack) -> tuple[int, dict[str, Any]] | None:
        """Step and manifest of the newest checkpoint that is whole, -1 if none is; warns of those that are not."""
        while True:
            seen, damages, whole = self._fingerprint(), {}, None
            steps = self.steps()
            for step in reversed(steps):
                path = self.directory / str(step)
                with contextlib.ExitStack() as lock:
                    # waits for a removal to end: then the folder is gone, not incomplete
                    lock.enter_context(locked(path, exclusive=False))
                    damage, manifest = inspect(path)
                    if not damage:
                        whole = step, manifest
                        locks.push(lock.pop_all())
                        break
                damages[path] = damage
            if not damages or seen == self._fingerprint():
                break
            locks.close()  # a run has replaced them meanwhile: none is damaged, and there are newer ones
        for path, damage in damages.items():
            logging.warning("the checkpoint %s is damaged (%s); trying the one before it", path, damage)
        return whole or ((-1, {}) if steps else None)

    def _fingerprint(self) -> dict[int, tuple[int, int]]:
        newest = {}
        for step in self.steps():
            with contextlib.suppress(FileNotFoundError):
                status = os.stat(self.directory / str(step))
                newest[step] = (status.st_ino, status.st_mtime_ns)
        return newest

    def _make_room(self, step: int) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        for path in self.directory.glob(f"{PARTIAL}*"):
            shutil.rmtree(path)
        for later in (s for s in self.steps() if s >= step):
            _remove(self.directory / str(later))

    def _seal(self, step: int, tree: dict[str, str], extra: dict[str, Any]) -> None:
        """Makes a checkpoint of a partial folder, and removes the oldest ones that are not being read."""
        partial = self.directory / f"{PARTIAL}{step}"
        write_manifest(partial, tree, extra)
        partial.rename(self.directory / str(step))
        descriptor = os.open(self.directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)  # else a power cut could undo the renaming
        finally:
            os.close(descriptor)
        for old in self.steps()[: -self._keep]:
            path = self.directory / str(old)
            with locked(path, exclusive=True) as free:
                if free:  # else a later save removes it
                    _remove(path)

    def _on_process_0(self, step: int, call: Callable[[], None]) -> None:
        """Calls a function on process 0; its `UserError` is raised on all, which wait for one another here."""
        problem = ""
        if jax.process_index() == 0:
            try:
                with self._refusals(step):
                    call()
            except UserError as error:
                problem = str(error)
        if problem := from_process_0(problem):
            raise UserError(problem)

    @contextlib.contextmanager
    def _refusals(self, step: int) -> Any:
        """Turns an error of the disk into a `UserError`, and removes the partial checkpoint: it takes space."""
        try:
            yield
        except (OSError, ValueError) as error:
            reason = refusal(error)
            if reason is None:
                raise
            if jax.process_index() == 0:
                shutil.rmtree(self.directory / f"{PARTIAL}{step}", ignore_errors=True)
            raise UserError(f"cannot write the checkpoint {self.directory / str(step)}: {reason}") from error


def _remove(path: Path) -> None:
    """Removes a checkpoint; it is renamed first, so that a kill in between leaves no incomplete one."""
    doomed = path.with_name(f"{PARTIAL}removed-{path.name}")
    shutil.rmtree(doomed, ignore_errors=True)
    path.rename(doomed)
    shutil.rmtree(doomed)


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
        # The checksum is no proof of who wrote it.
        entries = [manifest[name] for name in ("files", "tree", "extra")]
        if not all(isinstance(each, dict) for each in entries) or {str} < {str, *map(type, entries[1].values())}:
            return f"{MANIFEST} is not readable", {}
        hashes = _hashes(folder)
    except FileNotFoundError:
        return f"it has no {MANIFEST}", {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return f"{MANIFEST} is not readable", {}
    for name, digest in manifest["files"].items():
        if hashes.get(name) != digest:
            return f"{name} {'was changed' if name in hashes else 'is missing'}", {}
    return "", manifest


def _hashes(folder: Path) -> dict[str, str]:
    hashes = {}
    for path in sorted(filter(Path.is_file, (folder / STATE).rglob("*"))):
        with path.open("rb") as file:
            hashes[str(path.relative_to(folder))] = hashlib.file_digest(file, "sha256").hexdigest()
    return hashes


def _digest(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


@contextlib.contextmanager
def plain_path(folder: Path) -> Iterator[Path]:
    """Yields a path to a folder without the special characters of Orbax and TensorStore, through a link if necessary:
    Orbax reads `lr[1e-3]` as the pattern `lr1`, and TensorStore reads a backslash as a slash. All processes call this
    together, get the same path, as Orbax demands, and wait for one another at its end.
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
    """Returns why the disk refused, such as "No space left on device"; None for an error that is not of a disk."""
    if isinstance(error, TimeoutError) and error.errno is None:
        return (
            f"Orbax has waited too long ({error}), by the clock of this machine: the disk is slow, or the clock was "
            "set forward meanwhile; the same command resumes from the checkpoint before"
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
    """Silences the traceback of an error that Orbax logs once per thread before it raises the error."""
    logger = logging.get_absl_logger()

    def has_none(record: Any) -> bool:
        return not record.exc_info

    logger.addFilter(has_none)
    try:
        yield
    finally:
        logger.removeFilter(has_none)
