"""Checkpoints are read while a run replaces them, and a full disk loses none."""

import contextlib
import errno
import fcntl
import gc
import itertools
import logging
import os
import shutil
import subprocess
import threading
import time
from pathlib import Path
from unittest.mock import Mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from checkpoint_cases import TREE, abstract, plus
from loop_helpers import assert_same_bits

from arjax.core.errors import UserError
from arjax.core.files import locked
from arjax.training import checkpoint
from arjax.training.checkpoint import CheckpointStore

#: Reads and writes that are under way when a file vanishes or another one fails report, some time later, to an event
#: loop that Orbax has closed by then.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(scope="module", autouse=True)
def frozen():
    """What other tests left is not walked again and again."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def collected(frozen):
    """What was never awaited is collected here, and not in the middle of another test."""
    yield
    gc.collect()


@contextlib.contextmanager
def constant_saving(directory, keep, monkeypatch):
    """A thread that saves one step after the other, as another process would: step n holds TREE + n % 2.

    Orbax does not save and load at once in one process: the arrays are copied from checkpoints that were made before.
    """
    templates = CheckpointStore(directory / "templates", keep=2)
    for step in (0, 1):
        templates.save(step, plus(TREE, step), {})
    stop, store, steps = threading.Event(), CheckpointStore(directory / "run", keep), itertools.count(1)

    def copy(path, tree):
        shutil.copytree(templates.directory / str(int(tree["step"]) - 3) / "state", path)

    monkeypatch.setattr("arjax.training.checkpoint.ocp.save", copy)
    trees = [plus(TREE, 0), plus(TREE, 1)]

    def save():
        while not stop.is_set():
            step = next(steps)
            store.save(step, trees[step % 2], {"value": step})

    thread = threading.Thread(target=save)
    thread.start()
    while not store.steps():
        time.sleep(0.01)
    try:
        yield store.directory
        assert thread.is_alive()
    finally:
        stop.set()
        thread.join()


@pytest.mark.slow
@pytest.mark.parametrize("locks", [True, False])
def test_a_reader_gets_a_whole_checkpoint_while_others_come_and_go(tmp_path, monkeypatch, caplog, locks):
    if not locks:  # as on some network file systems
        monkeypatch.setattr(fcntl, "flock", Mock(side_effect=OSError(errno.ENOLCK, "No locks available")))
    with constant_saving(tmp_path, 1, monkeypatch) as folder, caplog.at_level(logging.WARNING, logger="absl"):
        for _ in range(40):
            step, tree, extra = CheckpointStore(folder, keep=1).restore(abstract(TREE))
            assert extra == {"value": step}
            assert_same_bits(tree, plus(TREE, step % 2))
            assert CheckpointStore(folder, keep=1).newest()[0] >= step
    assert "damaged" not in caplog.text


def test_what_somebody_reads_stays_until_the_next_save(tmp_path):
    store = CheckpointStore(tmp_path, keep=1)
    store.save(1, TREE, {})
    with locked(tmp_path / "1", exclusive=False):
        store.save(2, TREE, {})
        assert store.steps() == [1, 2]
    store.save(3, TREE, {})
    assert store.steps() == [3]


def test_a_whole_checkpoint_that_orbax_cannot_read_is_one_sentence(tmp_path):
    store = CheckpointStore(tmp_path)
    store.save(1, TREE, {})
    folder = tmp_path / "1"
    (folder / "state" / "state" / "manifest.ocdbt").unlink()
    checkpoint.write_manifest(folder, {"params/kernel": "float32[3, 4]", "step": "int32[]"}, {})
    with pytest.raises(UserError, match="1 cannot be read: "):
        store.restore(abstract(TREE))


BIG = {"x": jnp.zeros((64, 64))}
FULL = f"RESOURCE_EXHAUSTED: Failed writing: \"/d/1\": No space left on device [os_error_code='{errno.ENOSPC}']"


@pytest.mark.parametrize(
    "error", [ValueError(FULL), OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))], ids=["tensorstore", "python"]
)
@pytest.mark.parametrize("where", ["arrays", "manifest"])
def test_a_full_disk_is_one_sentence_and_loses_nothing(tmp_path, monkeypatch, error, where):
    store = CheckpointStore(tmp_path)
    store.save(1, TREE, {"value": 1})
    with monkeypatch.context() as patch:
        place = (checkpoint.ocp, "save") if where == "arrays" else (checkpoint.json, "dump")
        patch.setattr(*place, Mock(side_effect=error))
        with pytest.raises(UserError, match=r"cannot write the checkpoint .*2: No space left on device$"):
            store.save(2, plus(TREE, 1), {})
    assert [path.name for path in tmp_path.iterdir()] == ["1"], "what was half written takes no space"
    assert store.newest() == (1, {"value": 1})
    store.save(2, plus(TREE, 1), {})
    assert_same_bits(store.restore(abstract(TREE))[1], plus(TREE, 1))


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (TimeoutError("Overall save timeout exceeded."), r"by the clock of this machine: .* the clock was set forward"),
        (TimeoutError(errno.ETIMEDOUT, "Connection timed out"), r"2: Connection timed out$"),  # of a network disk
    ],
)
def test_a_clock_that_is_set_forward_is_said_and_loses_nothing(tmp_path, monkeypatch, error, sentence):
    store = CheckpointStore(tmp_path)
    store.save(1, TREE, {})
    monkeypatch.setattr(checkpoint.ocp, "save", Mock(side_effect=error))
    with pytest.raises(UserError, match=sentence):
        store.save(2, TREE, {})
    assert store.steps() == [1]


def test_errors_that_are_not_of_the_disk_stay_what_they_are(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint.ocp, "save", Mock(side_effect=ValueError("the shapes do not fit")))
    with pytest.raises(ValueError, match="the shapes do not fit"):
        CheckpointStore(tmp_path).save(1, TREE, {})


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a small file system can be mounted by root only")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_really_full(small_disk, caplog):
    store = CheckpointStore(small_disk / "store", keep=1)
    store.save(1, BIG, {})
    ballast = small_disk / "ballast"
    with contextlib.suppress(OSError):
        ballast.write_bytes(np.random.default_rng(0).bytes(2**18))
    random = {"x": jax.random.normal(jax.random.key(0), (200, 200))}
    with pytest.raises(UserError, match=r"cannot write the checkpoint .*2: No space left on device$"):
        store.save(2, random, {})
    assert "Traceback" not in caplog.text
    assert store.steps() == [1] and store.restore(abstract(BIG))[0] == 1
    ballast.unlink()
    store.save(2, random, {})
    assert Path(store.directory / "2").is_dir() and store.steps() == [2]


def test_a_folder_that_changes_while_it_is_listed_is_listed_again(tmp_path, monkeypatch):
    """A listing that shows neither the old checkpoint nor the new one is not taken for an empty folder."""
    store, finds = CheckpointStore(tmp_path), []
    store.save(1, TREE, {})
    find = CheckpointStore._find

    def blind_once(self, locks):
        finds.append(1)
        if len(finds) % 2:
            store.save(len(finds) + 1, TREE, {})
            return None
        return find(self, locks)

    monkeypatch.setattr(CheckpointStore, "_find", blind_once)
    assert store.restore(abstract(TREE))[0] == 2 and store.newest()[0] == 4 and len(finds) == 4
