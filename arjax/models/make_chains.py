"""Chains by the names of their parts."""

from __future__ import annotations

from typing import Any

from arjax.conditionals import make_conditional
from arjax.core.spec import NO_CONTEXT, ContextSpec, EventSpec
from arjax.models.discrete_chain import DiscreteChain
from arjax.models.gaussian_chain import GaussianChain
from arjax.networks.denoisers import make_denoiser


def make_gaussian_chain(
    event: EventSpec,
    network: str = "unet",
    *,
    context: ContextSpec = NO_CONTEXT,
    dtype: str = "float32",
    num_steps: int = 1000,
    schedule: str = "linear",
    prediction: str = "noise",
    train_steps: int = 1,
    score_steps: int = 0,
    sample_steps: int = 0,
    eta: float = 1.0,
    **options: Any,
) -> GaussianChain:
    """A Gaussian chain by the name of its denoiser, whose options are `options`; `UserError` for what does not fit."""
    noisy = EventSpec(event.grid_shape, event.value_shape, "real")
    num_features = event.value_size * (event.num_levels if prediction == "levels" else 1)
    denoiser = make_denoiser(network, noisy, context, num_features, dtype, **options)
    numbers = train_steps, score_steps, sample_steps, eta
    return GaussianChain(event, denoiser, num_steps, schedule, prediction, *numbers)


def make_discrete_chain(
    event: EventSpec,
    network: str = "transformer",
    *,
    context: ContextSpec = NO_CONTEXT,
    conditional: str = "",
    dtype: str = "float32",
    num_steps: int = 1000,
    process: str = "absorbing",
    schedule: str = "linear",
    train_steps: int = 1,
    score_steps: int = 0,
    sample_steps: int = 0,
    **options: Any,
) -> DiscreteChain:
    """A discrete chain by the name of its denoiser, which may be an any-order network; `options` are those of the
    denoiser. `UserError` for what does not fit.
    """
    family = make_conditional(conditional, event)
    denoiser = make_denoiser(network, event, context, family.num_params, dtype, **options)
    return DiscreteChain(denoiser, family, num_steps, process, schedule, train_steps, score_steps, sample_steps)
