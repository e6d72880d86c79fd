import json
import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from checkpoint_cases import TREE, abstract, plus
from loop_helpers import assert_same_bits, finish, run_python

from arjax.core.errors import UserError
from arjax.training.checkpoint import CheckpointStore


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


def test_keeps_the_newest(store):
    store.save(30, TREE, {})
    assert store.steps() == [20, 30]
    assert sorted(path.name for path in store.directory.iterdir()) == ["20", "30"]


def damage_by_bit_flip(store):
    flip_bit(data_file(store, 20))


def damage_by_truncation(store):
    path = data_file(store, 20)
    path.write_bytes(path.read_bytes()[:-7])


def damage_by_loss(store):
    data_file(store, 20).unlink()


def damage_manifest(store):
    flip_bit(store.directory / "20" / "manifest.json")


def cut_manifest(store):
    (store.directory / "20" / "manifest.json").write_text('{"files"')


def edit_extra(store):
    path = store.directory / "20" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"extra": {"value": 0.0}}))


def lose_manifest(store):
    (store.directory / "20" / "manifest.json").unlink()


def add_empty_folder(store):
    (store.directory / "20").rename(store.directory / "partial-20")
    (store.directory / "99").mkdir()


DAMAGES = [
    damage_by_bit_flip,
    damage_by_truncation,
    damage_by_loss,
    damage_manifest,
    cut_manifest,
    edit_extra,
    lose_manifest,
    add_empty_folder,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_falls_back_to_the_newest_readable_and_says_so(store, damage, caplog):
    damage(store)
    with caplog.at_level(logging.WARNING, logger="absl"):
        step, tree, _ = store.restore(abstract(TREE))
    assert step == 10
    assert_same_bits(tree, plus(TREE, 10))
    damaged = store.steps()[-1]
    assert f"{store.directory}/{damaged} is damaged" in caplog.text


def test_saving_after_a_fallback_replaces_the_damaged_future(store):
    damage_by_bit_flip(store)
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
