"""Which rows a step gets, read ahead or kept on the device, and a split that a device cannot hold."""

import dataclasses
import threading

import jax
import numpy as np
import pytest
from loop_helpers import assert_a_stop_changes_no_bit, assert_same_bits, finish, run_python, tiny_config
from refusals import refusal

from arjax.config.build import build
from arjax.core import programs
from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.core.spec import ContextSpec, EventSpec
from arjax.data import from_arrays, make_dataset
from arjax.data.batches import THREAD
from arjax.data.sources import read_all
from arjax.data.windows import RandomWindows
from arjax.evaluation.likelihood import Evaluator
from arjax.evaluation.splits import Scoring
from arjax.parallel.sharding import make_mesh
from arjax.training import feed as feeds
from arjax.training.feed import HostFeed, ResidentFeed, compact_form
from arjax.training.loop import train


class Plain:
    """A source with nothing but the contract; `reads` has the thread and the number of rows of each reading."""

    def __init__(self, source, damaged=()):
        self.source, self.damaged, self.reads = source, damaged, []

    def __len__(self):
        return len(self.source)

    def __getitems__(self, indices):
        self.reads.append((threading.current_thread().name, len(indices)))
        if len(self.reads) - 1 in self.damaged:
            raise UserError("a row is damaged")
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


#: Any rows with masks and contexts; the others are slow.
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in ("labels", "plain"))) for n in SOURCES]
)
def test_both_feeds_give_the_same_rows_however_steps_are_grouped(name):
    source, seen, batch_of = SOURCES[name](), {}, jax.jit(lambda c, k: c.batch(k))
    for kind in (ResidentFeed, HostFeed):
        feed = kind(source, make_mesh(), seed=3, batch_size=6, max_steps=4)
        for groups in ((4, 3), (1, 2, 4)):
            batches, step = [], 0
            for n in groups:
                chunk = feed.chunk(step, n)
                batches += [batch_of(chunk, k) for k in range(n)]
                step += n
            seen[kind, groups] = batches
    first, *others = seen.values()
    for batches in others:
        for expected, batch in zip(first, batches, strict=True):
            assert jax.tree.structure(expected) == jax.tree.structure(batch)
            for left, right in zip(jax.tree.leaves(expected), jax.tree.leaves(batch), strict=True):
                assert left.dtype == right.dtype
                np.testing.assert_array_equal(left, right)
    rows = read_all(source)
    assert jax.tree.map(lambda a: a.dtype, first[0]) == jax.tree.map(lambda a: a.dtype, rows)


def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith(THREAD)]


def test_the_chunks_of_a_run_are_read_ahead_and_no_others():
    source, plan = Plain(masked()), {0: 4, 4: 1, 5: 4, 9: 2, 11: 0}
    options = {"seed": 0, "batch_size": 2, "max_steps": 4}
    with HostFeed(source, make_mesh(), steps_from=plan.get, **options) as feed:
        chunks = [feed.chunk(0, 1)]  # for the compiler
        assert [rows for _, rows in source.reads] == [2] and not threads()
        chunks += [feed.chunk(step, n) for step, n in plan.items() if n]
        assert [rows for _, rows in source.reads[1:]] == [8, 2, 8, 4], "each once, and nothing after the last step"
        assert all(name.startswith(THREAD) for name, _ in source.reads[1:])
        chunks += [feed.chunk(4, 1), feed.chunk(0, 3)]  # going back is slower, but right
    assert not threads()
    alone = HostFeed(masked(), make_mesh(), 0, 2, 4)
    for chunk, (step, n) in zip(chunks, [(0, 1), (0, 4), (4, 1), (5, 4), (9, 2), (4, 1), (0, 3)], strict=True):
        assert_same_bits(chunk, alone._read(step, n))


def test_what_goes_wrong_in_reading_ahead_is_told_when_its_turn_comes():
    with HostFeed(Plain(masked(), [1]), make_mesh(), 0, 2, 4, lambda step: 4) as feed:
        feed.chunk(0, 4)
        for _ in range(2):  # asked for again, it is read again
            assert "a row is damaged" in refusal(feed.chunk, 4, 4)
            feed._source.damaged = [2]
        assert feed.chunk(4, 4) is not None
    assert not threads()


def test_evaluation_reads_ahead_and_tells_what_goes_wrong():
    setup = build(tiny_config())
    params = jax.jit(setup.model.init)(jax.random.key(0))

    def score(source):
        dataset = dataclasses.replace(setup.dataset, splits={"test": source})
        return Evaluator(setup.model, dataset, Scoring(104, setup.mesh))(params, "test")

    source = Plain(setup.dataset.splits["test"])
    assert score(source) == score(setup.dataset.splits["test"])
    assert [rows for _, rows in source.reads] == [104] * 3
    assert all(name.startswith(THREAD) for name, _ in source.reads)
    assert "a row is damaged" in refusal(score, Plain(source.source, [2]))
    assert not threads()


@pytest.mark.slow
def test_a_run_that_reads_ahead_ends_its_thread_and_goes_on_bit_for_bit(tmp_path, monkeypatch):
    config = tiny_config(train__data_on_device=False, train__log_every=12)
    assert_a_stop_changes_no_bit(lambda: build(config), tmp_path, monkeypatch, 4, HostFeed)
    assert not threads()


@pytest.mark.slow
def test_a_run_out_of_patience_ends_its_thread(tmp_path):
    changes = {"train__data_on_device": False, "train__log_every": 12, "train__patience": 1}
    patient = tiny_config(**changes, train__steps=90, optimizer__learning_rate=1e-12)
    assert train(build(patient), tmp_path).step < 90
    assert not threads()


@pytest.mark.slow
def test_rows_are_split_over_devices():
    code = """
import jax, numpy as np
from arjax.data import make_dataset
from arjax.training.feed import HostFeed, ResidentFeed
from arjax.parallel.sharding import make_mesh
source = make_dataset("digits").splits["train"]
whole = None
for mesh in (make_mesh(4, 2, 1), make_mesh(2, 2, 2)):
    for kind in (ResidentFeed, HostFeed):
        feed = kind(source, mesh, seed=3, batch_size=16, max_steps=2)
        x = jax.jit(lambda c: c.batch(1).x)(feed.chunk(5, 2))
        rows = 16 // (mesh.shape["data"] * mesh.shape["fsdp"])
        assert {s.data.shape for s in x.addressable_shards} == {(rows, 8, 8)}, x.sharding
        whole = np.asarray(x) if whole is None else whole
        np.testing.assert_array_equal(x, whole)
"""
    finish(run_python(code, devices=8))


class Sixteen:
    """16 bytes per example."""

    def __len__(self):
        return 1000

    def __getitems__(self, indices):
        assert len(indices) == 1, "it is refused before it is read"
        return Batch(np.zeros((len(indices), 4), np.float32))


def test_the_size_is_that_of_the_compact_form(monkeypatch):
    pixels = from_arrays(EventSpec((4,)), train=np.zeros((1000, 4), np.uint8)).splits["train"]
    sources = {4000: pixels, 204: RandomWindows(np.zeros(51, np.int32), 50), 16000: Sixteen()}
    for size, source in sources.items():
        monkeypatch.setattr(feeds, "free_bytes", lambda size=size: size - 1)
        with pytest.raises(UserError, match=r"the train split takes .* GB on a device, .* train\.data_on_device=false"):
            compact_form(source, feeds.KEEP_ON_HOST)
    assert "are free: take fewer examples" in refusal(compact_form, source)
    for free in (4000, None):
        monkeypatch.setattr(feeds, "free_bytes", lambda free=free: free)
        assert compact_form(pixels)[0] is pixels.arrays


def test_rows_that_a_device_cannot_count_are_refused():
    assert "3,000,000,000 examples, and a device counts up to 2^31" in refusal(feeds._check_fits, 3_000_000_000, 1, "")


class Device:
    def __init__(self, platform, stats):
        self.platform, self.memory_stats = platform, lambda: stats


def test_free_memory_is_that_of_the_device_or_its_part_of_the_host(monkeypatch, tmp_path):
    def free(*devices):
        monkeypatch.setattr(jax, "local_devices", lambda: list(devices))
        return programs.free_bytes()

    gpus = Device("gpu", {"bytes_limit": 100, "bytes_in_use": 30}), Device("gpu", {"bytes_limit": 90})
    assert free(*gpus) == 70 and free(Device("tpu", None)) is None
    cpu = Device("cpu", None)
    limit, meminfo = tmp_path / "memory.max", tmp_path / "meminfo"
    monkeypatch.setattr(programs, "_LIMITS", (limit,))
    monkeypatch.setattr(programs, "_MEMINFO", meminfo)
    assert free(cpu) > 10**8, "what the machine has"
    meminfo.write_text("MemTotal: 9 kB\nMemAvailable:  8 kB\n")
    assert free(cpu) == 8192 and free(cpu, cpu) == 4096
    for text, wanted in (("max\n", 8192), ("6000\n", 6000), ("9000", 8192)):
        limit.write_text(text)
        assert free(cpu) == wanted
