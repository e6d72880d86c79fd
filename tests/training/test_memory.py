"""A split that a device cannot hold is refused in one sentence."""

import jax
import numpy as np
import pytest

from arjax.core import programs
from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.core.spec import EventSpec
from arjax.data import from_arrays
from arjax.data.windows import RandomWindows
from arjax.training import feed
from arjax.training.feed import compact_form


class Plain:
    """16 bytes per example."""

    def __len__(self):
        return 1000

    def __getitems__(self, indices):
        assert len(indices) == 1, "it is refused before it is read"
        return Batch(np.zeros((len(indices), 4), np.float32))


def test_the_size_is_that_of_the_compact_form(monkeypatch):
    pixels = from_arrays(EventSpec((4,)), train=np.zeros((1000, 4), np.uint8)).splits["train"]
    sources = {4000: pixels, 204: RandomWindows(np.zeros(51, np.int32), 50), 16000: Plain()}
    for size, source in sources.items():
        monkeypatch.setattr(feed, "free_bytes", lambda size=size: size - 1)
        with pytest.raises(UserError, match=r"the train split takes .* GB on a device, .* train\.data_on_device=false"):
            compact_form(source, feed.KEEP_ON_HOST)
    with pytest.raises(UserError, match="are free: take fewer examples"):
        compact_form(source)
    for free in (4000, None):
        monkeypatch.setattr(feed, "free_bytes", lambda free=free: free)
        assert compact_form(pixels)[0] is pixels.arrays


def test_rows_that_a_device_cannot_count_are_refused():
    with pytest.raises(UserError, match=r"3,000,000,000 examples, and a device counts up to 2\^31"):
        feed._check_fits(3_000_000_000, 1, "")


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
