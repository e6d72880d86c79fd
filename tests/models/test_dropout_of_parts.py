"""Dropout of each part of a model is on in its training, and in nothing else: by the traced programs."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from latent_cases import latent_model

from arjax.conditionals.categorical import Categorical
from arjax.core.batch import Batch
from arjax.core.spec import EventSpec
from arjax.models import ModelChoice, make_model
from arjax.models.base import dummy_batch

PAIRS = EventSpec((2,), (2,), "tokens", 3)
REAL = EventSpec((2,), kind="real")
SMALL = {"width": 4, "num_layers": 1, "num_heads": 1}


def made(rate):
    return ModelChoice(network="made", network_options={"hidden_sizes": (4,), "dropout": rate})


def nested(rate):
    return f"nested(hidden_sizes=(4,), features=3, dropout={rate})"


@dataclasses.dataclass(frozen=True)
class Noisy(Categorical):
    """A family with a parameter of its own and dropout of its features, which is no joint one."""

    rate: float = 0.0
    own: Any = None
    drops: Any = None

    def init(self, key):
        return jnp.ones(self.num_params)

    def bind(self, params, train=False, key=None):
        return dataclasses.replace(self, own=params, drops=key if train and self.rate else None)

    def log_prob(self, features, value):
        kept = 1.0 if self.drops is None else jax.random.bernoulli(self.drops, 1 - self.rate, features.shape)
        return super().log_prob(self.own * kept * features, value)


def noisy(model, rate):
    process = dataclasses.replace(model.process, conditional=Noisy(3, (2,), rate=rate))
    return dataclasses.replace(model, process=process)


def chain(event, kind="discrete_chain", **options):
    return make_model(event, "denoising_transformer", kind=kind, num_steps=2, **SMALL, **options)


def blocks(**options):
    return make_model(PAIRS, "block_transformer", kind="block_diffusion", **SMALL, **options)


#: Functions from a rate to a model with that dropout in one part.
MODELS = {
    "network": lambda rate: make_model(PAIRS, "made", hidden_sizes=(4,), dropout=rate),
    "conditional": lambda rate: make_model(PAIRS, "made", hidden_sizes=(4,), conditional=nested(rate)),
    "denoiser of a gaussian chain": lambda rate: chain(REAL, "gaussian_chain", dropout=rate),
    "denoiser of a discrete chain": lambda rate: chain(PAIRS, dropout=rate),
    "conditional of a discrete chain": lambda rate: noisy(chain(PAIRS), rate),
    "denoiser of block diffusion": lambda rate: blocks(dropout=rate),
    "conditional of block diffusion": lambda rate: noisy(blocks(), rate),
    "prior": lambda rate: latent_model(prior=made(rate)),
    "likelihood": lambda rate: latent_model(likelihood=made(rate)),
    "block of a flow": lambda rate: make_model(
        REAL, "made", kind="flow", num_blocks=1, hidden_sizes=(4,), dropout=rate
    ),
    "base of a flow": lambda rate: make_model(
        REAL, ModelChoice("flow", {"num_blocks": 1}, "made", {"hidden_sizes": (4,)}, parts={"base": made(rate)})
    ),
    "member of a mixture": lambda rate: make_model(
        REAL, ModelChoice("mixture", parts={"a": made(0.0), "b": made(rate)})
    ),
}


def program(model, train):
    batch, key = dummy_batch(model, 2), jax.eval_shape(jax.random.key, 0)

    def score(params, batch: Batch, key):
        return model.score(params, batch, key=key, train=train).log_prob

    return str(jax.make_jaxpr(score)(model.param_shapes, batch, key))


#: Parts of the same classes as parts that are fast.
LIKE_OTHERS = ("denoiser of a gaussian chain", "conditional of a discrete chain", "conditional of block diffusion")


@pytest.mark.parametrize("part", [pytest.param(p, marks=[pytest.mark.slow] * (p in LIKE_OTHERS)) for p in MODELS])
def test_dropout_of_a_part_is_on_in_training_alone(part):
    with_dropout, without = (MODELS[part](rate) for rate in (0.5, 0.0))
    assert program(with_dropout, train=True) != program(without, train=True)
    assert program(with_dropout, train=False) == program(without, train=False)
