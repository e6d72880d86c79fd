"""Checkpoints come back bit for bit, whatever becomes of the newest; they are read while others come and go."""

import contextlib
import errno
import fcntl
import gc
import itertools
import json
import logging
import os
import shutil
import tempfile
import threading
import time
from pathlib import Path
from unittest.mock import Mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from loop_helpers import assert_same_bits, finish, run_python
from refusals import refusal

from arjax.core.errors import UserError
from arjax.core.files import locked
from arjax.training import checkpoint
from arjax.training.checkpoint import CheckpointStore
from arjax.training.setup import latest_store

TREE = {"params": {"kernel": jnp.arange(12.0).reshape(3, 4)}, "step": jnp.int32(3), "ema": {}}


def abstract(tree):
    """The shapes, types and places of the arrays."""
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=a.sharding), tree)


def plus(tree, n):
    return jax.tree.map(lambda a: a + n, tree)


@pytest.fixture
def store(tmp_path):
    """Two checkpoints: step 10 holds TREE + 10, step 20 holds TREE + 20."""
    store = CheckpointStore(tmp_path / "store", keep=2)
    for step in (10, 20):
        store.save(step, plus(TREE, step), {"value": step / 3})
    return store


def flip_bit(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def data_file(store, step):
    """The largest file: it holds the arrays."""
    return max(
        (p for p in (store.directory / str(step) / "state").rglob("*") if p.is_file()), key=lambda p: p.stat().st_size
    )


def test_newest_comes_back_bit_for_bit(store):
    step, tree, extra = store.restore(abstract(TREE))
    assert (step, extra) == (20, {"value": 20 / 3})
    assert_same_bits(tree, plus(TREE, 20))


def test_nothing_to_restore(tmp_path):
    assert CheckpointStore(tmp_path / "none").restore(abstract(TREE)) is None


def change(path, **entries):
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def add_empty_folder(store):
    (store.directory / "20").rename(store.directory / "partial-20")
    (store.directory / "99").mkdir()


def cut(path, num):
    path.write_bytes(path.read_bytes()[:num])


#: Of the arrays or of the manifest of a checkpoint.
DAMAGES = {
    "a flipped bit": lambda store: flip_bit(data_file(store, 20)),
    "no end": lambda store: cut(data_file(store, 20), -7),
    "no arrays": lambda store: data_file(store, 20).unlink(),
    "a flipped bit in the manifest": lambda store: flip_bit(manifest(store)),
    "half a manifest": lambda store: cut(manifest(store), 8),
    "another note": lambda store: change(manifest(store), extra={"value": 0.0}),
    "a manifest without its files": lambda store: forge(store, files=None),
    "a list of arrays": lambda store: forge(store, tree=[]),
    "forms that are none": lambda store: forge(store, tree={"step": {}}),
    "a manifest of nothing": lambda store: forge(store, extra=3),
    "a number for a manifest": lambda store: manifest(store).write_text("3"),
    "no manifest": lambda store: manifest(store).unlink(),
    "an empty folder": add_empty_folder,
}


def forge(store, **entries):
    """With a right checksum."""
    body = {name: value for name, value in json.loads(manifest(store).read_text()).items() if name != "checksum"}
    body |= entries
    manifest(store).write_text(json.dumps(body | {"checksum": checkpoint._digest(body)}))


def manifest(store):
    return store.directory / "20" / "manifest.json"


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_falls_back_to_the_newest_readable_and_says_so(store, damage, caplog):
    damage(store)
    with caplog.at_level(logging.WARNING, logger="absl"):
        step, tree, _ = store.restore(abstract(TREE))
    assert step == 10
    assert_same_bits(tree, plus(TREE, 10))
    damaged = store.steps()[-1]
    assert f"{store.directory}/{damaged} is damaged" in caplog.text


def test_saving_after_a_fallback_replaces_the_damaged_future(store):
    flip_bit(data_file(store, 20))
    store.save(15, plus(TREE, 15), {})
    assert store.steps() == [10, 15]
    store.save(20, plus(TREE, 21), {})
    step, tree, _ = store.restore(abstract(TREE))
    assert step == 20
    assert_same_bits(tree, plus(TREE, 21))


def test_all_damaged_is_an_error(store):
    for step in (10, 20):
        flip_bit(data_file(store, step))
    with pytest.raises(UserError, match=r"none of the checkpoints in .* is readable"):
        store.restore(abstract(TREE))


def test_checkpoint_of_another_model_is_named(store):
    other = {**TREE, "params": {"kernel": jnp.zeros((3, 5))}}
    said = refusal(store.restore, abstract(other))
    assert "another model or optimizer: params/kernel is float32[3, 4] there and float32[3, 5]" in said


def test_donated_arrays_may_be_overwritten_after_save(tmp_path):
    store = CheckpointStore(tmp_path, keep=1)
    bump = jax.jit(lambda tree: plus(tree, 1), donate_argnums=0)
    tree = jax.jit(lambda: {"x": jnp.zeros(1000)})()
    for step in range(1, 4):
        store.save(step, tree, {})
        tree = bump(tree)
    np.testing.assert_array_equal(store.restore(abstract(tree))[1]["x"], 2.0)


def test_disk_that_refuses_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    assert "cannot write the checkpoint" in refusal(CheckpointStore(tmp_path / "file" / "store").save, 1, TREE, {})


@pytest.mark.slow
def test_moves_from_eight_devices_to_one_and_back(tmp_path):
    code = """
import sys, jax, jax.numpy as jnp, numpy as np
from jax.sharding import NamedSharding, PartitionSpec as P
from arjax.training.checkpoint import CheckpointStore
from arjax.parallel.sharding import make_mesh
store, sharding = CheckpointStore({directory!r}), NamedSharding(make_mesh(*{mesh}), P("fsdp", "tensor"))
values = jnp.arange(64.0).reshape(8, 8)
if {first}:
    store.save(1, {{"x": jax.device_put(values, sharding)}}, {{}})
else:
    step, tree, _ = store.restore({{"x": jax.ShapeDtypeStruct((8, 8), jnp.float32, sharding=sharding)}})
    assert tree["x"].sharding == sharding and step == 1
    np.testing.assert_array_equal(tree["x"], values)
"""
    for i, mesh in enumerate([(2, 2, 2), (1, 1, 1), (1, 8, 1)]):
        script = code.format(directory=str(tmp_path), mesh=mesh, first=i == 0)
        finish(run_python(script, devices=int(np.prod(mesh))))


NAMES = ["a b", "a\\b", "lr[1e-3]", "a*b", "a?b", "50%", "%20", "a#b", "{b}", "ü中", "...", ".hidden", "a:b", "-x", "~"]


@pytest.fixture
def links(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("links")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.mark.parametrize(
    "name",
    [
        *NAMES[::4],
        *(pytest.param(n, marks=pytest.mark.slow) for n in NAMES if n not in NAMES[::4]),
        "line\nbreak",
        os.fsdecode(b"latin-\xe9"),
        "x/gs:/y",
    ],
)
def test_any_path_holds_checkpoints(tmp_path, links, name):
    folder = tmp_path / name / "store"
    for step in (1, 2):
        CheckpointStore(folder, keep=1).save(step, plus(TREE, step), {"value": step})
    step, tree, extra = CheckpointStore(folder).restore(abstract(TREE))
    assert (step, extra) == (2, {"value": 2})
    assert_same_bits(tree, plus(TREE, 2))
    assert [path.name for path in tmp_path.iterdir()] == [name.partition("/")[0]], "nothing is written elsewhere"
    assert [path.name for path in folder.iterdir()] == ["2"]
    assert not list(links.iterdir())


def test_a_pattern_does_not_read_what_it_matches(tmp_path):
    other, store = CheckpointStore(tmp_path / "axb"), CheckpointStore(tmp_path / "a*b")
    for n in range(3):
        other.save(5, plus(TREE, n), {})  # of a later generation than the one below
    (tmp_path / "axb" / "partial-5").mkdir()  # as if both runs were saving at this moment
    (tmp_path / "axb" / "5" / "state").rename(tmp_path / "axb" / "partial-5" / "state.orbax-checkpoint-tmp")
    (tmp_path / "a*b").mkdir()
    store.save(5, plus(TREE, 7), {})
    files = sorted(path.name for path in (tmp_path / "a*b" / "5" / "state" / "state").iterdir())
    assert_same_bits(store.restore(abstract(TREE))[1], plus(TREE, 7))
    CheckpointStore(tmp_path / "plain").save(5, plus(TREE, 7), {})
    assert files == sorted(path.name for path in (tmp_path / "plain" / "5" / "state" / "state").iterdir())


def test_a_moved_checkpoint_is_read_where_it_is_now(tmp_path):
    CheckpointStore(tmp_path / "lr[1]").save(1, TREE, {})
    (tmp_path / "lr[1]").rename(tmp_path / "lr[2]")
    assert_same_bits(CheckpointStore(tmp_path / "lr[2]").restore(abstract(TREE))[1], TREE)
    (tmp_path / "lr[2]").rename(tmp_path / "plain")
    assert_same_bits(CheckpointStore(tmp_path / "plain").restore(abstract(TREE))[1], TREE)


def test_without_a_plain_folder_for_temporary_files(tmp_path, monkeypatch):
    (tmp_path / "t[1]").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "t[1]"))
    assert "TMPDIR" in refusal(CheckpointStore(tmp_path / "lr[1]").save, 1, TREE, {})
    CheckpointStore(tmp_path / "plain").save(1, TREE, {})


def test_a_link_out_of_the_folder_of_a_run_is_not_followed(tmp_path):
    (tmp_path / "run").mkdir()
    latest_store(tmp_path / "other").save(1, TREE, {})
    for link in (tmp_path / "run" / "checkpoints", tmp_path / "run" / "checkpoints" / "latest"):
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(tmp_path / "other" / "checkpoints")
        assert "lies behind a link out of the folder of the run" in refusal(latest_store, tmp_path / "run")
        link.unlink()
    (tmp_path / "link").symlink_to(tmp_path / "other")
    assert latest_store(tmp_path / "link").steps() == [1], "the folder itself may be a link"


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
    assert "1 cannot be read: " in refusal(store.restore, abstract(TREE))


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


def test_a_disk_that_is_really_full(small_disk, caplog):
    store = CheckpointStore(small_disk / "store", keep=1)
    store.save(1, BIG, {})
    ballast = small_disk / "ballast"
    with contextlib.suppress(OSError):
        ballast.write_bytes(np.random.default_rng(0).bytes(2**20))
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
