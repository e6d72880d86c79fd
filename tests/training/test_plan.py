"""Programs of a run that are compiled and not run: they are those that the run itself would run."""

import dataclasses
import re

import jax
import numpy as np
import pytest
from jax.sharding import AbstractMesh
from loop_helpers import tiny_config

from arjax.config.build import build
from arjax.core.errors import UserError
from arjax.evaluation.sampling import draw_on_mesh
from arjax.parallel.sharding import make_mesh
from arjax.samplers.parallel import Parallel
from arjax.training.plan import _too_large, compile_program, draw_program, train_program
from arjax.training.setup import SampleOptions


def tiny_setup(**changes):
    return build(tiny_config(**changes), jax.devices()[:1])


def test_the_program_of_a_draw_computes_the_samples_of_the_run():
    setup = tiny_setup(sample__num=3, sample__temperature=0.7)
    params = jax.jit(setup.model.init)(jax.random.key(1))
    key, mesh = jax.random.key(2), make_mesh(devices=jax.devices()[:1])
    drawn = compile_program(draw_program(setup))(params, key)
    direct = draw_on_mesh(setup.model, params, key, 3, mesh, temperature=0.7)
    np.testing.assert_array_equal(drawn.x, direct.x)


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        ({"sampler": Parallel(schedule="optimal")}, "made of a trained model: .*sample.sampler=cached"),
        ({"sample": SampleOptions(length=300)}, "a program for each piece: .*sample.length=0"),
    ],
)
def test_draws_that_cannot_be_planned(other, sentence):
    with pytest.raises(UserError, match=sentence):
        draw_program(dataclasses.replace(tiny_setup(), **other))


@pytest.mark.parametrize(
    ("used", "sentence"),
    [
        (
            "Used 31.00G of 15.75G hbm",
            "needs 31.0 GiB of 15.8 on each v5e: try .*batch_size=32 or less, or .*remat=True .*, or more",
        ),
        (
            "the memory for HLO temporaries (31.00G) exceeds available HBM (15.75G)",
            "needs 31.0 GiB of 15.8 .*=32 or less",
        ),
        (
            "Used 40.00G of 15.75G hbm",
            "try config.train.batch_size=24 or less, or",
        ),  # 25 does not divide over four devices
        ("Used 400.0G of 15.75G hbm", "try config.network.remat=True where the network has it, or more devices on"),
        ("Used 2.00M of 0.10M hbm", "try more devices on config.mesh.fsdp$"),  # the parameters alone do not fit
    ],
)
def test_a_program_that_does_not_fit_is_told_what_would(used, sentence):
    program = train_program(tiny_setup(train__batch_size=64))
    program = program._replace(mesh=AbstractMesh((2, 2, 1), program.mesh.axis_names))
    assert re.search(sentence, _too_large(program, "v5e", used))
