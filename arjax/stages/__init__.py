"""Stages: an example cut into parts from coarse to fine, of which each is modelled given the ones before it.

    stages = make_stages("digits(base=16)", EventSpec((28, 28), kind="levels", num_levels=256))

They are classes in a registry, written as call strings. The package knows events and arrays, no networks and no models.
"""

from arjax.stages.base import COARSE, STAGE, STAGES, Limits, Stages, make_stages
from arjax.stages.digits import Digits
from arjax.stages.scales import Averaged, Haar, Subsampled

__all__ = ["COARSE", "STAGE", "STAGES", "Averaged", "Digits", "Haar", "Limits", "Stages", "Subsampled", "make_stages"]
