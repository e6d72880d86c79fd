"""Data sets, registered by name: importing this package imports all its modules; a new data set is a new file."""

import importlib
import pkgutil

from arjax.data.base import DATASETS, Dataset, Truth, from_arrays, make_dataset
from arjax.data.sources import Source

__all__ = ["DATASETS", "Dataset", "Source", "Truth", "from_arrays", "make_dataset"]

for _module in pkgutil.iter_modules(__path__):
    if not _module.ispkg:  # the builders import tensorflow-datasets, and only preparing needs them
        importlib.import_module(f"{__name__}.{_module.name}")
