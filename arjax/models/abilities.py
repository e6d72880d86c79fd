"""`require` of `arjax.core.abilities` with the classes whose methods an ability stands for."""

from __future__ import annotations

from typing import Any, Literal, overload

from arjax.core import abilities
from arjax.models.autoregressive import AutoregressiveModel
from arjax.models.base import Model
from arjax.models.chains import Chain
from arjax.models.latent import LatentModel
from arjax.models.tokens import TokensModel


@overload
def require(
    model: Model, ability: Literal["conditionals", "queries", "guesses", "length"], needed_by: str
) -> AutoregressiveModel: ...


@overload
def require(model: Model, ability: Literal["latents"], needed_by: str) -> LatentModel: ...


@overload
def require(model: Model, ability: Literal["noise_levels"], needed_by: str) -> Chain: ...


@overload
def require(model: Model, ability: Literal["tokens"], needed_by: str) -> TokensModel: ...


@overload
def require(model: Model, ability: str, needed_by: str) -> Model: ...


def require(model: Model, ability: str, needed_by: str) -> Any:
    """The model itself, which a type checker then knows by the methods of the ability.

    A kind of models of another package that names an ability has these methods of the class, whatever it extends. The
    arguments and the refusal are those of `arjax.core.abilities.require`.
    """
    return abilities.require(model, ability, needed_by)
