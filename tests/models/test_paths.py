"""Paths of draws: from noise to the example that the draw gives."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from built import built

from arjax.core.errors import UserError
from arjax.core.spec import EventSpec
from arjax.models.chains import frame_places

LEVELS, KEYS = EventSpec((2, 2), kind="levels", num_levels=3), jax.random.split(jax.random.key(0), 5)
MODELS = {
    "gaussian": (LEVELS, {"kind": "gaussian_chain", "prediction": "levels"}),
    "real": (EventSpec((3,), kind="real"), {"kind": "gaussian_chain"}),
    "absorbing": (LEVELS, {"kind": "discrete_chain"}),
    "uniform": (LEVELS, {"kind": "discrete_chain", "process": "uniform"}),
    "blocks": (LEVELS, {"kind": "block_diffusion", "partition": "rows", "network": "block_transformer"}),
}


def build(name):
    event, options = MODELS[name]
    steps = {} if name == "blocks" else {"num_steps": 6}
    sizes = {"width": 8, "num_layers": 1, "num_heads": 2}
    return built(event, **{"network": "denoising_transformer"} | options | steps | sizes)


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n != "blocks")) for n in MODELS])
def test_the_last_frame_is_the_draw(name):
    model, params = build(name)
    path = np.asarray(model.draw(params, KEYS, frames=4).stats["path"])
    assert path.shape == (5, 4, *model.event.shape)
    np.testing.assert_allclose(path[:, -1], model.draw(params, KEYS).x, rtol=1e-5 if name == "real" else 0)
    assert len(np.unique(path[:, 0].reshape(5, -1), axis=0)) == (1 if name in ("absorbing", "blocks") else 5)
    if name in ("absorbing", "blocks"):
        masked = path == 3
        assert masked[:, 0].all() and not masked[:, -1].any()
        kept = ~masked[:, :-1]
        np.testing.assert_array_equal(path[:, 1:][kept], path[:, :-1][kept])  # what is revealed stays
        assert (masked.sum((2, 3))[:, 1:3] < 4).any()
    if name == "blocks":
        assert not masked[:, 2, 0].any()  # after three of four rounds the first row is finished
        assert (masked[:, 2, 1].sum(-1) == 1).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_draws_visit_some_steps_and_count_them(name):
    """In each of two blocks, where a call puts each finished block into the cache, too."""
    model, params = build(name)
    steps, blocks = (2, 2) if name == "blocks" else (3, 1)
    visited = {"blocks": (1, 2), "gaussian": (1, 4, 6), "real": (1, 4, 6)}.get(name, (2, 4, 6))
    few, listed = (model.draw(params, KEYS, steps=each) for each in (steps, visited))
    np.testing.assert_array_equal(few.x, listed.x)
    assert few.x.dtype == model.event.dtype and len(np.unique(few.x)) > 1
    np.testing.assert_array_equal(few.stats["steps"], [steps * blocks] * 5)
    np.testing.assert_array_equal(few.stats["network_calls"], [steps * blocks + (blocks if blocks > 1 else 0)] * 5)
    every = model.draw(params, KEYS)
    assert (np.asarray(every.x) != few.x).any() or name == "blocks"
    if name in ("blocks", "absorbing"):  # all masked at once: the most probable values, the same for all
        coldest = np.asarray(model.draw(params, KEYS, steps=1, temperature=1e-9).x)
        assert (coldest == coldest[:1]).all()


def test_frames_lie_at_equal_distances():
    assert [frame_places(*each) for each in ((4, 6), (9, 3), (0, 6))] == [(0, 2, 4, 6), (0, 1, 2, 3), ()]
    model, params = build("gaussian")
    for wrong in (1, -1, 2.0):
        with pytest.raises(UserError, match="at least 2 frames"):
            model.draw(params, KEYS, frames=wrong)
