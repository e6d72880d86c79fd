"""Abilities of models: what some kinds of models can do and others cannot, and the one sentence for a lack of it."""

from __future__ import annotations

from typing import TypeVar

from arjax.core.errors import UserError

AnyModel = TypeVar("AnyModel")

#: The abilities that this project asks for, with the words of the refusal; {} is the class of the model.
ABILITIES = {
    # `features`, `head`, `log_prob_per_site`, `conditionals`, `network`, `conditional`, `factorization`
    "conditionals": "the conditionals of an autoregressive model, which {} has not",
    # `conditional_log_prob`: of any set of sites given any other, by a `key` where the kind of the model is not exact
    "queries": "the conditionals of any sites given others, which {} has not",
    # `model.guess`: one most probable value for each site
    "guesses": "one most probable value for each site, which {} has not",
    # draws of any length, see `arjax.models.longer`; it has conditionals, too
    "length": "a model of the kind autoregressive, which {} is not",
    # `weights`, `latent_event`, `discrete_latents_of_parts`
    "latents": "a model with latents, of the kind latent, which {} is not",
    # `encoded`, `log_prior`, `log_likelihood`, `prior`, `quantizer`
    "tokens": "a tokenizer with a prior, of the kind tokens, which {} is not",
    # `estimate`, `train_steps`, `HAS_ERROR`
    "noise_levels": "a chain of noise levels, which {} is not",
}


def require(model: AnyModel, ability: str, needed_by: str) -> AnyModel:
    """The model itself; raises `UserError` where it lacks the ability, one of `ABILITIES` or of another package.

    `needed_by` is the subject of the sentence, such as "config.sample.length" or "the objective 'elbo'".
    """
    if ability not in getattr(model, "abilities", ()):
        if ability not in ABILITIES:
            raise UserError(f"{needed_by} needs the ability {ability!r}, which {type(model).__name__} has not")
        raise UserError(f"{needed_by} needs {ABILITIES[ability].format(type(model).__name__)}")
    return model
