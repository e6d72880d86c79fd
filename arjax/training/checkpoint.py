"""Checkpoints on disk: Orbax writes the arrays, and a manifest with checksums, written last, says that they are whole.

A step is written to `partial-STEP`, sealed by its manifest and then renamed to `STEP`, so that a kill at any moment
leaves either a whole checkpoint or a `partial-` folder that nobody reads. Orbax itself restores flipped bytes without a
word, which is why every file is hashed.

    DIR/100/state/...       arrays, by Orbax
    DIR/100/manifest.json   {"files": {name: sha256}, "tree": {path: shape}, "extra": {...}, "checksum": sha256}
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import logging
from jax.experimental import multihost_utils
from orbax.checkpoint import v1 as ocp

from arjax.errors import UserError
from arjax.training.sharding import path_string

MANIFEST = "manifest.json"
PARTIAL = "partial-"
STATE = "state"


class CheckpointStore:
    """The newest checkpoints of a run, in one folder. All processes of a run make the same calls."""

    def __init__(self, directory: str | os.PathLike, keep: int = 2):
        """Keeps the `keep` newest checkpoints in `directory`, which is created by the first save."""
        if keep < 1:
            raise UserError(f"a checkpoint store must keep at least 1 checkpoint, not {keep}")
        self._directory, self._keep = Path(directory).absolute(), keep

    @property
    def directory(self) -> Path:
        """Where the checkpoints are."""
        return self._directory

    def steps(self) -> list[int]:
        """The steps there are folders for, ascending, readable or not."""
        if not self._directory.is_dir():
            return []
        return sorted(int(path.name) for path in self._directory.iterdir() if path.is_dir() and path.name.isdigit())

    def save(self, step: int, tree: Any, extra: dict[str, Any]) -> None:
        """Writes a checkpoint and returns when it is on disk, so that the arrays may be donated afterwards.

        Folders of this step and of later ones are removed first: they are of a future that is trained again.

        Args:
          step: steps done.
          tree: pytree of arrays, global ones when there are several processes.
          extra: anything JSON can hold.

        Raises:
          UserError: the disk refuses, as when it is full.
        """
        partial, final = self._directory / f"{PARTIAL}{step}", self._directory / str(step)
        try:
            if jax.process_index() == 0:
                self._directory.mkdir(parents=True, exist_ok=True)
                self._remove(list(self._directory.glob(f"{PARTIAL}*")))
                self._remove([self._directory / str(s) for s in self.steps() if s >= step])
            _wait_for_all(f"before-save-{step}")
            ocp.save(partial / STATE, tree)
            if jax.process_index() == 0:
                _write_manifest(partial, tree, extra)
                partial.rename(final)
                _sync(self._directory)
                self._remove([self._directory / str(s) for s in self.steps()[: -self._keep]])
        except OSError as error:
            raise UserError(f"cannot write the checkpoint {final}: {error.strerror or error}") from error
        _wait_for_all(f"after-save-{step}")

    def restore(self, abstract_tree: Any) -> tuple[int, Any, dict[str, Any]] | None:
        """The newest readable checkpoint as (step, tree, extra), or None when there is none at all.

        A damaged checkpoint is named in a warning, and the one before it is tried.

        Args:
          abstract_tree: pytree of `jax.ShapeDtypeStruct` with shardings: the arrays come back living there, whatever
            mesh they were saved from.

        Raises:
          UserError: there are checkpoints but none is readable, or the newest whole one holds a different tree.
        """
        # Process 0 looks for all: the processes must not end up at different steps.
        found = _from_process_0(self._newest_readable() if jax.process_index() == 0 else None)
        if found is None:
            return None
        step, manifest = found
        if step < 0:
            raise UserError(
                f"none of the checkpoints in {self._directory} is readable: put back a copy of one, or train again in "
                "another workdir"
            )
        path = self._directory / str(step)
        if difference := _first_difference(manifest["tree"], _describe(abstract_tree)):
            raise UserError(f"the checkpoint {path} is of another model or optimizer: {difference}")
        return step, ocp.load(path / STATE, abstract_tree), manifest["extra"]

    def _newest_readable(self) -> tuple[int, dict[str, Any]] | None:
        """Step and manifest of the newest checkpoint that is whole, -1 if none is; warns of those that are not."""
        steps = self.steps()
        for step in reversed(steps):
            path = self._directory / str(step)
            damage, manifest = _inspect(path)
            if not damage:
                return step, manifest
            logging.warning("the checkpoint %s is damaged (%s); trying the one before it", path, damage)
        return (-1, {}) if steps else None

    def _remove(self, paths: list[Path]) -> None:
        """Removes folders; each is renamed first, so that a kill in between leaves no half of a checkpoint."""
        for path in paths:
            doomed = path if path.name.startswith(PARTIAL) else path.with_name(f"{PARTIAL}removed-{path.name}")
            if doomed != path:
                shutil.rmtree(doomed, ignore_errors=True)
                path.rename(doomed)
            shutil.rmtree(doomed)


def _write_manifest(folder: Path, tree: Any, extra: dict[str, Any]) -> None:
    """Seals a folder: hashes of all its files, shapes of all arrays and `extra`, in one atomic write."""
    body = {"files": _hashes(folder), "tree": _describe(tree), "extra": extra}
    replacement = folder / "manifest.tmp"
    with replacement.open("w", encoding="utf-8") as file:
        json.dump(body | {"checksum": _digest(body)}, file)
        file.flush()
        os.fsync(file.fileno())
    replacement.replace(folder / MANIFEST)


def _inspect(folder: Path) -> tuple[str, dict[str, Any]]:
    """What is wrong with a checkpoint ("" when nothing is), and its manifest."""
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        checksum = manifest.pop("checksum")
        if checksum != _digest(manifest):
            return f"{MANIFEST} was changed", {}
        hashes = _hashes(folder)
    except FileNotFoundError:
        return f"it has no {MANIFEST}", {}
    except (OSError, ValueError, KeyError, AttributeError):
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


def _describe(tree: Any) -> dict[str, str]:
    """Type and shape of every array by its path, such as `float32[8, 4]`."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {path_string(path): f"{leaf.dtype}{list(leaf.shape)}" for path, leaf in leaves}


def _first_difference(stored: dict[str, str], wanted: dict[str, str]) -> str:
    for name in sorted(stored.keys() | wanted.keys()):
        was, now = (tree.get(name, "absent") for tree in (stored, wanted))
        if was != now:
            return f"{name} is {was} there and {now} here"
    return ""


def _from_process_0(value: Any) -> Any:
    """A JSON value of process 0, on all processes."""
    if jax.process_count() == 1:
        return value
    text = np.frombuffer(json.dumps(value).encode(), np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.int32(text.size)))
    padded = np.zeros(size, np.uint8)
    padded[: text.size] = text[:size]
    return json.loads(bytes(np.asarray(multihost_utils.broadcast_one_to_all(padded), np.uint8)))


def _wait_for_all(name: str) -> None:
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def _sync(folder: Path) -> None:
    """Makes a rename survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
