"""Networks, registered by name: importing this package imports every family in it, so adding one is adding one file."""

import importlib
import pkgutil

from arjax.networks.base import BUILDER_FIELDS, NETWORKS, Network, step_variables

__all__ = ["BUILDER_FIELDS", "NETWORKS", "Network", "step_variables"]

for _module in pkgutil.walk_packages(__path__, f"{__name__}."):
    importlib.import_module(_module.name)
