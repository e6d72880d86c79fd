"""Models: joints built from networks and conditionals, and from other models."""

from arjax.models.autoregressive import AutoregressiveModel
from arjax.models.base import Model
from arjax.models.block_diffusion import BlockDiffusion
from arjax.models.discrete_chain import DiscreteChain
from arjax.models.flow import FlowModel
from arjax.models.gaussian_chain import GaussianChain
from arjax.models.kinds import MODEL_KINDS, Choice, make_any_model
from arjax.models.latent import LatentModel
from arjax.models.make import make_model
from arjax.models.make_block_diffusion import make_block_diffusion
from arjax.models.make_chains import make_discrete_chain, make_gaussian_chain
from arjax.models.make_flow import make_flow
from arjax.models.make_latent import make_latent  # registers a kind
from arjax.models.mixture import MixtureModel
from arjax.models.nested import Nested  # registers a conditional

__all__ = [
    "MODEL_KINDS",
    "AutoregressiveModel",
    "BlockDiffusion",
    "Choice",
    "DiscreteChain",
    "FlowModel",
    "GaussianChain",
    "LatentModel",
    "MixtureModel",
    "Model",
    "Nested",
    "make_any_model",
    "make_block_diffusion",
    "make_discrete_chain",
    "make_flow",
    "make_gaussian_chain",
    "make_latent",
    "make_model",
]
