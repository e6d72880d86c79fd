import jax
import numpy as np
import pytest
from loop_helpers import finish, run_python

from arjax.core.spec import ContextSpec, EventSpec
from arjax.data import from_arrays, make_dataset
from arjax.data.windows import RandomWindows
from arjax.parallel.sharding import make_mesh
from arjax.training.feed import make_feed


class Plain:
    """A source with nothing but the contract."""

    def __init__(self, source):
        self.source = source

    def __len__(self):
        return len(self.source)

    def __getitems__(self, indices):
        return self.source.__getitems__(indices)


def masked():
    rng = np.random.default_rng(0)
    arrays = {
        "x": rng.integers(0, 2, (10, 4)),
        "mask": rng.integers(0, 2, (10, 4)),
        "context": rng.normal(size=(10, 3)),
    }
    return from_arrays(EventSpec((4,)), context=ContextSpec("vector", 3), train=arrays).splits["train"]


SOURCES = {
    "labels": lambda: make_dataset("digits", context="label").splits["train"],
    "masks": masked,
    "windows": lambda: RandomWindows(np.arange(50, dtype=np.int32), 7),
    "plain": lambda: Plain(masked()),
}


@pytest.mark.parametrize("name", SOURCES)
def test_both_feeds_give_the_same_rows_however_steps_are_grouped(name):
    source, seen = SOURCES[name](), {}
    for on_device in (True, False):
        feed = make_feed(source, make_mesh(), seed=3, batch_size=6, max_steps=4, on_device=on_device)
        for groups in ((4, 3), (1, 2, 4)):
            batches, step = [], 0
            for n in groups:
                chunk = feed.chunk(step, n)
                batches += [jax.jit(lambda c, k: c.batch(k))(chunk, k) for k in range(n)]
                step += n
            seen[on_device, groups] = batches
    first, *others = seen.values()
    for batches in others:
        for expected, batch in zip(first, batches, strict=True):
            assert jax.tree.structure(expected) == jax.tree.structure(batch)
            for left, right in zip(jax.tree.leaves(expected), jax.tree.leaves(batch), strict=True):
                assert left.dtype == right.dtype
                np.testing.assert_array_equal(left, right)
    rows = source.__getitems__(np.arange(len(source)))
    assert jax.tree.map(lambda a: a.dtype, first[0]) == jax.tree.map(lambda a: a.dtype, rows)


def test_chunks_have_one_shape():
    feed = make_feed(masked(), make_mesh(), seed=0, batch_size=6, max_steps=4, on_device=False)
    shapes = [jax.tree.map(lambda a: a.shape, feed.chunk(0, n)) for n in (1, 4)]
    assert shapes[0] == shapes[1]


def test_rows_are_split_over_devices():
    finish(
        run_python(
            """
import jax, numpy as np
from arjax.data import make_dataset
from arjax.training.feed import make_feed
from arjax.parallel.sharding import make_mesh
source = make_dataset("digits").splits["train"]
whole = None
for mesh in (make_mesh(4, 2, 1), make_mesh(2, 2, 2)):
    for on_device in (True, False):
        feed = make_feed(source, mesh, seed=3, batch_size=16, max_steps=2, on_device=on_device)
        x = jax.jit(lambda c: c.batch(1).x)(feed.chunk(5, 2))
        rows = 16 // (mesh.shape["data"] * mesh.shape["fsdp"])
        assert {s.data.shape for s in x.addressable_shards} == {(rows, 8, 8)}, x.sharding
        whole = np.asarray(x) if whole is None else whole
        np.testing.assert_array_equal(x, whole)
""",
            devices=8,
        )
    )
