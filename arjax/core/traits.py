"""Traits of models: abilities and needs of some models, as a set of words, and refusals of models without them."""

from __future__ import annotations

from typing import Any

from arjax.core.errors import UserError

#: Abilities, with the end of the sentence that refuses a model without them; {} is the class of the model.
ABILITIES = {
    # `features`, `head`, `log_prob_per_site`, `conditionals`, `network`, `conditional`, `factorization`
    "conditionals": "the conditionals of an autoregressive model, and {} has none",
    # `conditional_log_prob`: of any set of sites given any other, by a `key` unless the scores are exact
    "queries": "the conditionals of any sites given others, and {} has none",
    # `guess`: the most probable value of each site
    "guesses": "one most probable value for each site, and {} has none",
    # draws of any length, see `arjax.models.longer`, by a model with conditionals
    "length": "a model of the kind autoregressive, not {}",
    # `weights`, `latent_event`, `reparameterised`
    "latents": "a model with latents, of the kind latent, not {}",
    # `encoded`, `log_prior`, `log_likelihood`, `prior`, `quantizer`
    "tokens": "a tokenizer with a prior, of the kind tokens, not {}",
    # `estimate`, `train_steps`
    "noise_levels": "a chain of noise levels, not {}",
}
#: Traits that are not abilities; "biased" and "discrete_latents" are inherited from the parts of a model.
OTHERS = {
    "holes": "scores examples with missing values, as log p of the observed ones: see `arjax.core.arrays`",
    "training_loss": "training minimises another number than -log p",
    "noise_error": "a chain whose steps have an error of predicted noise",
    "biased": "the mean of exp(score) over draws may exceed p(x | c), so a mixture of such scores is no bound",
    "discrete_latents": "a score draws discrete latents, through which no gradient flows",
}
INHERITED = frozenset({"biased", "discrete_latents"})


def traits(*always: str, **some: bool) -> frozenset[str]:
    """Returns the traits that hold always, and those whose condition holds, such as `training_loss=True`."""
    return frozenset({*always, *(name for name, holds in some.items() if holds)})


def require(model: Any, ability: str, needed_by: str) -> Any:
    """Returns the model if it has the ability, such as one of `ABILITIES`; `needed_by` begins the refusal."""
    if ability not in getattr(model, "traits", ()):
        ending = ABILITIES.get(ability, f"the ability {ability!r}, and {{}} does not have it")
        raise UserError(f"{needed_by} needs {ending.format(type(model).__name__)}")
    return model
