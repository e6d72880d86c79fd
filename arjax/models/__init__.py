"""Models: joints built from networks and conditionals, and from other models."""

from arjax.models import (  # noqa: F401  (they register themselves)
    block_diffusion,
    cascade,
    discrete_chain,
    flow,
    gaussian_chain,
    gaussian_mixture,
    heads,
    latent,
    mixture,
    nested,
    tokens,
)
from arjax.models.autoregressive import AutoregressiveModel
from arjax.models.base import Model
from arjax.models.kinds import KINDS, Example, ModelChoice, Recipe, make, make_model, recipe_of

__all__ = [
    "KINDS",
    "AutoregressiveModel",
    "Example",
    "Model",
    "ModelChoice",
    "Recipe",
    "make",
    "make_model",
    "recipe_of",
]
