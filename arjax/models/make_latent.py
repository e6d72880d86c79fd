"""Latent-variable models from names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax

from arjax.core.errors import UserError
from arjax.core.spec import ContextSpec, EventSpec
from arjax.models.autoregressive import AutoregressiveModel
from arjax.models.kinds import Assembly, Choice, Small, model_kind
from arjax.models.latent import DATA, LATENT, LatentModel


def check_reads(part: Any) -> None:
    """Raises `UserError` for one network that does not read its context: x, or z, would have no influence on it."""
    if isinstance(part, AutoregressiveModel) and not part.network.READS_CONTEXT:
        raise UserError("its network reads no context: take independent, or another that reads one")


def check_posterior(posterior: Any) -> None:
    """Raises `UserError` unless z can be drawn from q(z | x) at once, with gradients or with a probability."""
    if not isinstance(posterior, AutoregressiveModel):
        raise UserError("it is one network and one conditional, of the kind autoregressive")
    check_reads(posterior)
    if posterior.network.dependencies(posterior.factorization).any():
        raise UserError(
            "its sites are independent given x: take the network independent, or another that reads no site"
        )
    if posterior.conditional.joint or posterior.conditional.init(jax.random.key(0)) is not None:
        raise UserError("its conditional must draw each site by itself, such as gaussian or bernoulli")
    if posterior.event.kind == "real" and not posterior.conditional.REPARAMETERISED:
        raise UserError("its conditional must pass gradients through its draws, as gaussian does")


def _small(latents: tuple[int, ...], values: str) -> Choice:
    """Few latents, for the laws."""
    network = Choice(network="independent", network_options={"hidden_sizes": (6,)})
    parts = {"prior": Choice(network="made"), "likelihood": network, "posterior": network}
    return Choice("latent", {"latents": latents, "values": values}, parts=parts)


SMALL = {
    "real": Small(_small((3,), "real"), EventSpec((2, 2))),
    "binary": Small(_small((3,), "binary"), EventSpec((2, 2)), ContextSpec("label", 3)),
}


@model_kind("latent", networks=None, small=SMALL)
def make_latent(
    assembly: Assembly,
    *,
    latents: tuple[int, ...] = (50,),
    values: str = "real",
    num_levels: int = 0,
    score_samples: int = 1,
) -> LatentModel:
    """Latents z, never seen: the integral of p(z) p(x | z); parts prior, likelihood and posterior. A bound.

    `latents`: shape of z. `values`: real, binary, levels or tokens; the latter two have `num_levels`.
    `score_samples`: k of the scores, validation among them; as many as `iwae` has.
    """
    if score_samples < 1:
        raise UserError(f"score_samples of the kind 'latent' must be at least 1, not {score_samples}")
    assembly.only("prior", "likelihood", "posterior")
    z = EventSpec(latents, (), values, num_levels or None)
    clash = {LATENT, DATA} & {name for name, _ in assembly.context.parts}
    if clash:
        raise UserError(
            f"a latent model adds parts to the context that are called z and x, and {min(clash)!r} is there"
        )
    of_z = z if len(latents) > 1 else EventSpec((), latents, values, num_levels or None)
    prior = assembly.part("prior", z)
    likelihood = assembly.part("likelihood", context=_with(assembly.context, LATENT, of_z))
    posterior = assembly.part("posterior", z, _with(assembly.context, DATA, assembly.event))
    for name, part, check in (("likelihood", likelihood, check_reads), ("posterior", posterior, check_posterior)):
        try:
            check(part)
        except UserError as error:
            raise UserError(f"the {name} of the kind 'latent': {error}") from error
    return LatentModel(prior, likelihood, posterior, score_samples)


def _with(context: ContextSpec, name: str, part: EventSpec) -> ContextSpec:
    parts: Mapping[str, EventSpec] = dict(context.parts) | {name: part}
    return ContextSpec(**parts)
