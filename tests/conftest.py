"""What every test shares: one CPU device, float32, and compiled programs kept between runs.

The settings are environment variables, so that the commands which tests start as subprocesses inherit them; those that
simulate several devices set their own.
"""

from __future__ import annotations

import itertools
import os
import pathlib

_ROOT = pathlib.Path(__file__).resolve().parent.parent

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["JAX_ENABLE_X64"] = "0"
os.environ["JAX_NUM_CPU_DEVICES"] = "1"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_ROOT / ".cache" / "jax"))
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

import jax
import numpy as np
import pytest

#: On Linux a process may have 65,530 memory maps, and each compiled program takes a few: thousands are too many.
_MOST_MAPS = 20_000
_FINISHED = itertools.count(1)
_MAPS = pathlib.Path("/proc/self/maps")


def pytest_runtest_logfinish():
    """Forgets compiled programs when a worker holds many; those it needs again come from the cache on disk."""
    if next(_FINISHED) % 50 == 0 and _MAPS.exists() and _MAPS.read_bytes().count(b"\n") > _MOST_MAPS:
        jax.clear_caches()


@pytest.fixture(autouse=True)
def own_random_numbers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch):
    """The generator of a module begins anew in every test, which then sees the same numbers whatever ran before it."""
    for name in ("rng", "RNG"):
        if isinstance(getattr(request.module, name, None), np.random.Generator):
            monkeypatch.setattr(request.module, name, np.random.default_rng(0))


@pytest.fixture
def key() -> jax.Array:
    """A fixed random key."""
    return jax.random.key(0)


@pytest.fixture(scope="module")
def quick_compilation():
    """Programs that run only a few times had better compile fast than run fast: half the time for many."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="session")
def repository() -> pathlib.Path:
    """The root of the checkout, where `configs/` and `scripts/` lie."""
    return _ROOT
