"""Small latent models of four binary sites, whose networks have one hidden layer, and their terms in numpy."""

from __future__ import annotations

import jax
import numpy as np

from arjax.core.spec import NO_CONTEXT, EventSpec
from arjax.models import ModelChoice, make_model
from arjax.testing.examples import all_values

HIDDEN = ModelChoice(network="independent", network_options={"hidden_sizes": (5,)})
EVENT = EventSpec((2, 2))
X = all_values(EVENT)
KEY = jax.random.key(0)


PARTS = {"prior": ModelChoice(network="constant"), "likelihood": HIDDEN, "posterior": HIDDEN}


def latent_model(latents=(2,), values="real", event=EVENT, context=NO_CONTEXT, **parts):
    choice = ModelChoice("latent", {"latents": latents, "values": values}, parts=PARTS | parts)
    return make_model(event, choice, context=context)


def through(params, inputs):
    """The features of `independent` with one hidden layer, [B, outputs], in numpy."""
    site = params["site"]
    h = np.tanh(inputs @ np.asarray(site["hidden_0"]["kernel"]) + np.asarray(site["hidden_0"]["bias"]))
    return h @ np.asarray(site["readout"]["kernel"]) + np.asarray(site["readout"]["bias"])


def log_normal(z, mean, log_scale):
    return -0.5 * ((z - mean) / np.exp(log_scale)) ** 2 - log_scale - 0.5 * np.log(2 * np.pi)


def log_bernoulli(x, logit):
    return np.where(x > 0, -np.log1p(np.exp(-logit)), -np.log1p(np.exp(logit)))
