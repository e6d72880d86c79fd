"""Conditionals: families of distributions of one value, given the features of its site.

Sites of one step are independent given the earlier steps: exact for steps of one site, an approximation for larger
blocks. A joint conditional (`joint = True`, `JointConditional`) scores the sites of a step together instead, by the
chain rule over the indices of the block; the argument `block_size` of its `for_event` is the size of a block. A family
whose parameters differ between sites (`columns`) is scored on a whole grid; `at(sites)` is the family of some sites.
"""

from arjax.conditionals import (  # noqa: F401  (they register themselves)
    categorical,
    columns,
    discretized_logistic_mixture,
    gaussian,
    location_scale_mixture,
    mixture_of_products,
    spline,
)
from arjax.conditionals.base import CONDITIONALS, Conditional, make_conditional

__all__ = ["CONDITIONALS", "Conditional", "make_conditional"]
