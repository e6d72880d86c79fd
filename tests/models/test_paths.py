"""Paths of draws: from noise to the example that the draw gives."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from arjax.core.errors import UserError
from arjax.core.spec import EventSpec
from arjax.models import make_model
from arjax.models.chains import draw_path, frame_places, frames_of
from arjax.testing.examples import random_like

EVENT = EventSpec((2, 2), kind="levels", num_levels=3)
SIZES = {"width": 8, "num_layers": 1, "num_heads": 2}
KEYS = jax.random.split(jax.random.key(0), 5)
MODELS = {
    "gaussian": lambda: make_model(EVENT, "denoising_transformer", kind="gaussian_chain", num_steps=6, **SIZES),
    "real": lambda: make_model(
        EventSpec((3,), kind="real"), "denoising_transformer", kind="gaussian_chain", num_steps=6, **SIZES
    ),
    "absorbing": lambda: make_model(EVENT, "denoising_transformer", kind="discrete_chain", num_steps=6, **SIZES),
    "uniform": lambda: make_model(
        EVENT, "denoising_transformer", kind="discrete_chain", num_steps=6, process="uniform", **SIZES
    ),
    "blocks": lambda: make_model(EVENT, "block_transformer", kind="block_diffusion", partition="rows", **SIZES),
}


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n != "blocks")) for n in MODELS])
def test_the_last_frame_is_the_draw(name):
    model = MODELS[name]()
    params = random_like(model.param_shapes)
    path = np.asarray(draw_path(model, params, KEYS, 4))
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


def test_frames_lie_at_equal_distances():
    assert frame_places(4, 6) == (0, 2, 4, 6)
    assert frame_places(9, 3) == (0, 1, 2, 3)
    assert frame_places(0, 6) == ()
    first, later = np.zeros((2, 3)), np.arange(1.0, 5)[:, None, None] * np.ones((4, 2, 3))
    assert frames_of(first, None, (0, 4)) is None and frames_of(first, later, ()) is None
    assert frames_of(first, later, (0, 2, 4))[0, :, 0].tolist() == [0, 2, 4]
    model = MODELS["gaussian"]()
    with pytest.raises(UserError, match="at least 2 frames"):
        draw_path(model, {}, KEYS, 1)
