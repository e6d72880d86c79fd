"""Latent-variable models from names."""

from __future__ import annotations

from arjax.core.errors import UserError
from arjax.core.spec import ContextSpec, EventSpec
from arjax.models.kinds import Assembly, Choice, Small, model_kind
from arjax.models.latent import DATA, LATENT, LatentModel, latent_context, with_part


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
    assembly.only("prior", "likelihood", "posterior")
    z = EventSpec(latents, (), values, num_levels or None)
    clash = {LATENT, DATA} & {name for name, _ in assembly.context.parts}
    if clash:
        raise UserError(
            f"a latent model adds parts to the context that are called z and x, and {min(clash)!r} is there"
        )
    prior = assembly.part("prior", z)
    likelihood = assembly.part("likelihood", context=with_part(assembly.context, LATENT, latent_context(z)))
    posterior = assembly.part("posterior", z, with_part(assembly.context, DATA, assembly.event))
    model = LatentModel(prior, likelihood, posterior, score_samples)
    model.check_parts()
    return model
