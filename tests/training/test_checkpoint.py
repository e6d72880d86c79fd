import json
import logging
import os
import tempfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from checkpoint_cases import TREE, abstract, plus
from loop_helpers import assert_same_bits, finish, run_python

from arjax.core.errors import UserError
from arjax.training.checkpoint import CheckpointStore
from arjax.training.setup import latest_store


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
    "no manifest": lambda store: manifest(store).unlink(),
    "an empty folder": add_empty_folder,
}


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
    with pytest.raises(
        UserError, match=r"another model or optimizer: params/kernel is float32\[3, 4\] there and float32\[3, 5\]"
    ):
        store.restore(abstract(other))


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
    with pytest.raises(UserError, match="cannot write the checkpoint"):
        CheckpointStore(tmp_path / "file" / "store").save(1, TREE, {})


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


NAMES = [
    "a b",
    "a\\b",
    *["lr[1e-3]", "a*b", "a?b", "50%", "%20", "a#b", "{b}", "ü中", "...", ".hidden", "a:b", "-x", "~"],
]


@pytest.fixture
def links(tmp_path_factory, monkeypatch):
    """The folder for temporary files."""
    folder = tmp_path_factory.mktemp("links")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.mark.parametrize("name", [*NAMES, "line\nbreak", os.fsdecode(b"latin-\xe9"), "x/gs:/y"])
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
    with pytest.raises(UserError, match="TMPDIR"):
        CheckpointStore(tmp_path / "lr[1]").save(1, TREE, {})
    CheckpointStore(tmp_path / "plain").save(1, TREE, {})


def test_a_link_out_of_the_folder_of_a_run_is_not_followed(tmp_path):
    """Checkpoints would be removed there."""
    (tmp_path / "run").mkdir()
    latest_store(tmp_path / "other").save(1, TREE, {})
    for link in (tmp_path / "run" / "checkpoints", tmp_path / "run" / "checkpoints" / "latest"):
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(tmp_path / "other" / "checkpoints")
        with pytest.raises(UserError, match="lies behind a link out of the folder of the run"):
            latest_store(tmp_path / "run")
        link.unlink()
    (tmp_path / "link").symlink_to(tmp_path / "other")
    assert latest_store(tmp_path / "link").steps() == [1], "the folder itself may be a link"
