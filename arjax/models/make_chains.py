"""Chains by the names of their parts."""

from __future__ import annotations

from typing import Any

from arjax.conditionals import make_conditional
from arjax.core.spec import NO_CONTEXT, ContextSpec, EventSpec
from arjax.models.discrete_chain import DiscreteChain
from arjax.models.gaussian_chain import GaussianChain
from arjax.models.kinds import Assembly, Choice, Small, model_kind
from arjax.networks.denoisers import DENOISERS, make_denoiser


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


def _small(kind: str, **options: Any) -> Choice:
    """Few steps, for the laws."""
    sizes = {"width": 8, "num_layers": 1, "num_heads": 2}
    return Choice(kind, {"num_steps": 3, **options}, "transformer", sizes)


_GAUSSIAN = {
    "levels": Small(_small("gaussian_chain", prediction="levels", schedule="cosine"), EventSpec((2, 2))),
    "real": Small(_small("gaussian_chain", prediction="velocity", schedule="cosine"), EventSpec((3,), (), "real")),
}
_DISCRETE = {
    "absorbing": Small(_small("discrete_chain"), EventSpec((2, 2)), ContextSpec("label", 3)),
    "uniform": Small(_small("discrete_chain", process="uniform"), EventSpec((3,), (), "tokens", 3)),
}


@model_kind("gaussian_chain", networks=DENOISERS, small=_GAUSSIAN)
def _gaussian_chain(
    assembly: Assembly,
    *,
    num_steps: int = 1000,
    schedule: str = "linear",
    prediction: str = "noise",
    train_steps: int = 1,
    score_steps: int = 0,
    sample_steps: int = 0,
    eta: float = 1.0,
) -> GaussianChain:
    """Denoising diffusion: Gaussian noise in many steps, and learned conditionals back. A bound."""
    assembly.only()
    numbers = {"num_steps": num_steps, "train_steps": train_steps, "score_steps": score_steps}
    more = {"sample_steps": sample_steps, "eta": eta, "schedule": schedule, "prediction": prediction}
    own = {"context": assembly.context, "dtype": assembly.dtype}
    return make_gaussian_chain(assembly.event, **assembly.network(), **own, **numbers, **more)


@model_kind("discrete_chain", networks=DENOISERS, small=_DISCRETE)
def _discrete_chain(
    assembly: Assembly,
    *,
    conditional: str = "",
    num_steps: int = 1000,
    process: str = "absorbing",
    schedule: str = "linear",
    train_steps: int = 1,
    score_steps: int = 0,
    sample_steps: int = 0,
) -> DiscreteChain:
    """Discrete diffusion: values are masked or replaced in many steps, and learned conditionals restore them. A bound.

    `absorbing` is known as MDLM and MD4, and under one site in each step it is the order-agnostic model.
    """
    assembly.only()
    numbers = {"num_steps": num_steps, "train_steps": train_steps, "score_steps": score_steps}
    more = {"sample_steps": sample_steps, "schedule": schedule, "process": process, "conditional": conditional}
    own = {"context": assembly.context, "dtype": assembly.dtype}
    return make_discrete_chain(assembly.event, **assembly.network(), **own, **numbers, **more)
