"""Programs of a run that are compiled and not run: they are those that the run itself would run."""

import dataclasses

import jax
import numpy as np
import pytest
from loop_helpers import tiny_config

from arjax.config.build import build
from arjax.core.errors import UserError
from arjax.evaluation.likelihood import Evaluator
from arjax.evaluation.sampling import draw_on_mesh
from arjax.parallel.sharding import make_mesh
from arjax.samplers.parallel import Parallel
from arjax.training.plan import PROGRAMS, compile_program, draw_program
from arjax.training.setup import SampleOptions


def tiny_setup(**changes):
    return build(tiny_config(**changes), jax.devices()[:1])


def test_the_programs_of_a_plan_compute_the_scores_and_the_samples_of_the_run():
    setup = tiny_setup(sample__num=3, sample__temperature=0.7)
    assert PROGRAMS.keys() == {"train", "score", "draw"}
    params = jax.jit(setup.model.init)(jax.random.key(1))
    key, mesh = jax.random.key(2), make_mesh(devices=jax.devices()[:1])
    drawn = compile_program(PROGRAMS["draw"](setup))(params, key)
    direct = draw_on_mesh(setup.model, params, key, 3, mesh, temperature=0.7)
    np.testing.assert_array_equal(drawn.x, direct.x)
    program = PROGRAMS["score"](setup)
    rows = setup.dataset.splits["train"].__getitems__(np.arange(program.num))
    scale, _, batch, _ = program.inputs
    batch = rows.replace(weight=np.ones(batch.weight.shape, batch.weight.dtype))
    scored, _ = compile_program(program)(np.zeros(scale.shape, scale.dtype), params, batch, jax.random.key(0))
    evaluator = Evaluator(setup.model, setup.dataset, setup.scoring)
    np.testing.assert_allclose(scored["nll"], evaluator.rows(params, "train")["nll"][: program.num], rtol=1e-6)


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
