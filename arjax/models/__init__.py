"""Models: joints built from networks and conditionals, and from other models."""

from arjax.models.autoregressive import AutoregressiveModel
from arjax.models.base import Model
from arjax.models.block_diffusion import BlockDiffusion
from arjax.models.cascade import CascadeModel
from arjax.models.discrete_chain import DiscreteChain
from arjax.models.flow import FlowModel
from arjax.models.gaussian_chain import GaussianChain
from arjax.models.gaussian_mixture import GaussianMixtureModel
from arjax.models.heads import DiffusionHead, EnergyHead, FlowMatchingHead  # register conditionals
from arjax.models.kinds import KINDS, Example, ModelChoice, Recipe, make, make_model, recipe_of
from arjax.models.latent import LatentModel
from arjax.models.mixture import MixtureModel
from arjax.models.nested import Nested  # registers a conditional
from arjax.models.tokens import TokensModel

__all__ = [
    "KINDS",
    "AutoregressiveModel",
    "BlockDiffusion",
    "CascadeModel",
    "DiffusionHead",
    "DiscreteChain",
    "EnergyHead",
    "Example",
    "FlowMatchingHead",
    "FlowModel",
    "GaussianChain",
    "GaussianMixtureModel",
    "LatentModel",
    "MixtureModel",
    "Model",
    "ModelChoice",
    "Nested",
    "Recipe",
    "TokensModel",
    "make",
    "make_model",
    "recipe_of",
]
