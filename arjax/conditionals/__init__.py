"""Conditionals: families of distributions of one value, given the features of its site.

Sites of one step are independent given the earlier steps: exact for steps of one site, an approximation for larger
blocks. A joint conditional (`joint = True`, `JointConditional`) scores the sites of a step together instead, by the
chain rule over the indices of the block; the argument `block_size` of its `for_event` is the size of a block. A family
whose parameters differ between sites (`columns`) is scored on a whole grid; `at(sites)` is the family of some sites.
"""

from arjax.conditionals.base import CONDITIONALS, Conditional, make_conditional
from arjax.conditionals.bernoulli import Bernoulli
from arjax.conditionals.categorical import Categorical
from arjax.conditionals.columns import Columns
from arjax.conditionals.discretized_logistic_mixture import DiscretizedLogisticMixture
from arjax.conditionals.gaussian import Gaussian, TransformedNormal
from arjax.conditionals.location_scale_mixture import GaussianMixture, LogisticMixture, StudentTMixture
from arjax.conditionals.mixture_of_products import MixtureOfProducts
from arjax.conditionals.ordinal import Ordinal
from arjax.conditionals.restricted import truncate
from arjax.conditionals.spline import SplineNormal

__all__ = [
    "CONDITIONALS",
    "Bernoulli",
    "Categorical",
    "Columns",
    "Conditional",
    "DiscretizedLogisticMixture",
    "Gaussian",
    "GaussianMixture",
    "LogisticMixture",
    "MixtureOfProducts",
    "Ordinal",
    "SplineNormal",
    "StudentTMixture",
    "TransformedNormal",
    "make_conditional",
    "truncate",
]
