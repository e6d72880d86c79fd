"""Conditionals: distribution families of one value given its features."""

from arjax.conditionals.base import CONDITIONALS, USUAL, Conditional
from arjax.conditionals.bernoulli import Bernoulli
from arjax.conditionals.beta import Beta
from arjax.conditionals.categorical import Categorical
from arjax.conditionals.columns import Columns
from arjax.conditionals.discretized_logistic_mixture import DiscretizedLogisticMixture
from arjax.conditionals.gaussian import Gaussian
from arjax.conditionals.gaussian_mixture import GaussianMixture
from arjax.conditionals.joint import JointConditional
from arjax.conditionals.logistic_mixture import LogisticMixture
from arjax.conditionals.make import make_conditional
from arjax.conditionals.mixture_of_products import MixtureOfProducts
from arjax.conditionals.ordinal import Ordinal
from arjax.conditionals.spline import SplineNormal
from arjax.conditionals.student_t_mixture import StudentTMixture
from arjax.conditionals.temperature import check_temperature
from arjax.conditionals.transformed_normal import TransformedNormal
from arjax.conditionals.truncated import truncate

__all__ = [
    "CONDITIONALS",
    "USUAL",
    "Bernoulli",
    "Beta",
    "Categorical",
    "Columns",
    "Conditional",
    "DiscretizedLogisticMixture",
    "Gaussian",
    "GaussianMixture",
    "JointConditional",
    "LogisticMixture",
    "MixtureOfProducts",
    "Ordinal",
    "SplineNormal",
    "StudentTMixture",
    "TransformedNormal",
    "check_temperature",
    "make_conditional",
    "truncate",
]
