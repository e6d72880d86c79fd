"""Chains by the names of their parts."""

from __future__ import annotations

from typing import Any

from arjax.conditionals import make_conditional
from arjax.core.spec import ContextSpec, EventSpec
from arjax.models.discrete_chain import DiscreteChain
from arjax.models.gaussian_chain import GaussianChain, noisy_values, num_predicted
from arjax.models.kinds import Assembly, Choice, Small, make_kind, model_kind
from arjax.networks.denoisers import DENOISERS, Denoiser, make_denoiser


def make_gaussian_chain(event: EventSpec, network: str = "unet", **options: Any) -> GaussianChain:
    """A Gaussian chain from names: `options` are those of the kind `gaussian_chain` and of the denoiser, and `context`
    and `dtype`; `UserError` for what does not fit.
    """
    return make_kind("gaussian_chain", event, network, **options)


def make_discrete_chain(event: EventSpec, network: str = "transformer", **options: Any) -> DiscreteChain:
    """A discrete chain from names, as `make_gaussian_chain`; the denoiser may be a network of any order."""
    return make_kind("discrete_chain", event, network, **options)


def _denoiser(assembly: Assembly, event: EventSpec, num_features: int) -> Denoiser:
    options = assembly.network()
    name = options.pop("network")
    return make_denoiser(name, event, assembly.context, num_features, assembly.dtype, **options)


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
    event = assembly.event
    denoiser = _denoiser(assembly, noisy_values(event), num_predicted(event, prediction))
    numbers = train_steps, score_steps, sample_steps, eta
    return GaussianChain(event, denoiser, num_steps, schedule, prediction, *numbers)


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
    family = make_conditional(conditional, assembly.event)
    denoiser = _denoiser(assembly, assembly.event, family.num_params)
    return DiscreteChain(denoiser, family, num_steps, process, schedule, train_steps, score_steps, sample_steps)
