"""Models: joints built from networks and conditionals, and from other models."""

from typing import Any

from arjax.core.renamed import renamed_names
from arjax.models.autoregressive import AutoregressiveModel
from arjax.models.base import Model
from arjax.models.block_diffusion import BlockDiffusion
from arjax.models.cascade import CascadeModel
from arjax.models.discrete_chain import DiscreteChain
from arjax.models.flow import FlowModel
from arjax.models.gaussian_chain import GaussianChain
from arjax.models.gaussian_mixture import GaussianMixtureModel
from arjax.models.heads import DiffusionHead, EnergyHead, FlowMatchingHead  # register conditionals
from arjax.models.kinds import KINDS, Blueprint, Example, ModelChoice, make_model
from arjax.models.latent import LatentModel
from arjax.models.mixture import MixtureModel
from arjax.models.nested import Nested  # registers a conditional
from arjax.models.tokens import TokensModel

__all__ = [
    "KINDS",
    "AutoregressiveModel",
    "BlockDiffusion",
    "Blueprint",
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
    "ModelChoice",
    "Nested",
    "TokensModel",
    "make_model",
]


def _of_kind(kind: str, network: str) -> tuple[str, Any]:
    """The new name and the function in place of the old maker of a kind, with its usual network."""

    def make(event: Any, network: str = network, *, base: Any = None, **options: Any) -> Any:
        parts = None if base is None else {"base": base}
        return make_model(event, network, kind=kind, parts=parts, **options)

    return f"make_model(event, network, kind={kind!r}, ...)", make


def _make_any_model(event: Any, choice: ModelChoice, *, examples: Any = None, **options: Any) -> Model:
    return make_model(event, choice, data=examples, **options)


__getattr__ = renamed_names(
    __name__,
    {
        "Choice": ("ModelChoice", ModelChoice),
        "MODEL_KINDS": ("KINDS", KINDS),
        "make_any_model": ("make_model(event, choice, ...)", _make_any_model),
        "make_block_diffusion": _of_kind("block_diffusion", "block_transformer"),
        "make_discrete_chain": _of_kind("discrete_chain", "transformer"),
        "make_flow": _of_kind("flow", ""),
        "make_gaussian_chain": _of_kind("gaussian_chain", "unet"),
    },
)
