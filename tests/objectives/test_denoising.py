"""The objective of chains: its loss, the numbers it reports, and the models it refuses."""

import jax
import numpy as np
import pytest
from refusals import each_refused

from arjax.core.batch import Batch
from arjax.core.spec import EventSpec
from arjax.models import make_model
from arjax.objectives import Step, make_objective
from arjax.testing.examples import random_like

EVENT = EventSpec((4,), kind="levels", num_levels=3)
SMALL = {"width": 8, "num_layers": 1, "num_heads": 1}
KEY = jax.random.key(3)
X = np.random.default_rng(0).integers(0, 3, (6, 4)).astype(np.int32)


@pytest.fixture(scope="module")
def model():
    steps = {"num_steps": 7, "schedule": "cosine", "train_steps": 2}
    return make_model(EVENT, "denoising_transformer", kind="gaussian_chain", **steps, **SMALL)


@jax.jit
def losses(model, params, batch):
    both = [make_objective(f"denoising(weighting={w!r})") for w in ("bound", "simple")]
    return [objective.loss(model, params, objective.init(model, KEY), batch, Step(KEY)) for objective in both]


def test_both_losses_and_their_reports(model):
    """The bound is that of `score`, the simple loss the error of the noise; each reports the nats of the bound."""
    params = random_like(model.param_shapes)
    bound, simple = losses(model, params, Batch(X))
    score, error_B = jax.jit(lambda p: model.estimate(p, Batch(X), key=KEY, num=2, train=True))(params)
    np.testing.assert_allclose(bound.value, -score.log_prob.sum() / X.size, rtol=1e-5)
    np.testing.assert_allclose(simple.value, error_B.sum() / X.size, rtol=1e-5)
    assert abs(float(simple.value - bound.value)) > 0.1
    for loss in (bound, simple):
        np.testing.assert_allclose(loss.metrics.nll, -score.log_prob.sum(), rtol=1e-5)
    parts = {name: float(mean.value) for name, mean in bound.metrics.means.items()}
    assert set(parts) == {"prior", "diffusion", "reconstruction"}
    np.testing.assert_allclose(sum(parts.values()), bound.value, rtol=1e-5)
    np.testing.assert_allclose(simple.metrics.means["simple"].value, simple.value)


def test_the_terms_of_a_masked_loss_add_up_to_it():
    chain = make_model(EVENT, "block_transformer", kind="block_diffusion", partition="blocks(size=2)", **SMALL)
    objective, batch = make_objective("denoising"), Batch(X, mask=np.resize(np.float32([1, 1, 0, 0]), X.shape))
    params = random_like(chain.param_shapes)
    loss = jax.jit(lambda p: objective.loss(chain, p, objective.init(chain, KEY), batch, Step(KEY)))(params)
    np.testing.assert_allclose(sum(mean.value for mean in loss.metrics.means.values()), loss.value, rtol=1e-5)


@pytest.mark.slow
def test_the_noise_has_the_error_of_ho(model):
    """A network that says 0 has |noise|^2, which is 1 per dimension."""
    zero = jax.tree.map(np.zeros_like, random_like(model.param_shapes))
    x = np.zeros((4000, 4), np.int32)
    np.testing.assert_allclose(losses(model, zero, Batch(x))[1].value, 1, atol=0.03)


def check(objective, event=EVENT, network="denoising_transformer", **options):
    make_objective(objective).check(make_model(event, network, **options))


SIMPLE = "denoising(weighting='simple')"
test_refusals = each_refused(
    (lambda: check("denoising", EventSpec((3,)), "made"), "needs a chain of noise levels, not AutoregressiveModel"),
    (lambda: check(SIMPLE, kind="discrete_chain", **SMALL), "and this chain has none"),
    (lambda: check(SIMPLE, kind="gaussian_chain", schedule="learned", **SMALL), "learned noise schedule"),
)
