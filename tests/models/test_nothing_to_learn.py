"""Denoisers without parameters: their chains are initialised, scored and drawn from, and trained as any other."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import arjax
from arjax.conditionals import make_conditional
from arjax.core.spec import NO_CONTEXT, EventSpec
from arjax.factorization import make_factorization
from arjax.models import DiscreteChain
from arjax.models.block_diffusion import BlockDiffusion, BlockRounds
from arjax.models.discrete_chain import Absorbing
from arjax.networks.denoisers import Denoiser

EVENT = EventSpec((3,), (), "tokens", 3)


class Nothing(Denoiser):
    """All values are equally probable."""

    def __call__(self, x_t, factorization=None, context=None, *, train=False):
        return jnp.zeros((*x_t.shape, self.num_features))


@pytest.mark.slow
def test_a_chain_without_parameters_scores_draws_and_trains(tmp_path):
    head = make_conditional("", EVENT)
    denoiser = Nothing(EVENT, NO_CONTEXT, head.num_params, "float32")
    chain = DiscreteChain(denoiser, Absorbing(EVENT, 2, head))
    params = chain.init(jax.random.key(0))
    assert params == {"denoiser": {}} and chain.num_params == 0
    bound = chain.log_prob(params, np.tile([0, 1, 2], (1000, 1)), key=jax.random.key(1))
    assert np.mean(bound) == pytest.approx(-3 * np.log(3), rel=0.05)  # each site is revealed once, at log 3 nats
    assert chain.sample(params, jax.random.key(2), 4).shape == (4, 3)
    rows = np.random.default_rng(0).integers(0, 3, (20, 3))
    fitted = arjax.fit_arrays(chain, train=rows, validation=rows, steps=2, batch_size=4, quiet=True)
    assert fitted.params == {"denoiser": {}} and fitted.results["nll_nats"] > 0


def test_blocks_without_parameters_are_initialised():
    head, blocks = make_conditional("", EVENT), make_factorization((3,), "raster", "sizes(sizes=(1, 2))")
    denoiser = Nothing(EVENT, NO_CONTEXT, head.num_params, "float32")
    model = BlockDiffusion(denoiser, BlockRounds(EVENT, 1, head), factorization=blocks)
    params = model.init(jax.random.key(0))
    assert params == {"denoiser": {}} and model.num_params == 0
