"""Data sets, registered by name: importing this package imports all its modules, so a new data set is a new file.

A data set is a function whose options are keyword arguments with defaults; it returns a `Dataset`: an event, a context,
and a source of rows for each split. A data set that is made of another run has an argument `open_run`, which is not an
option. The options `context` ("none" or "label") and `data_dir` mean the same in all data sets: arjax looks for
prepared sets in `data_dir`, then in each folder of `TFDS_DATA_DIR`, then in `~/tensorflow_datasets`.
"""

import importlib
import pkgutil

from arjax.data.base import DATASETS, Dataset, Truth, from_arrays, make_dataset
from arjax.data.sources import Source

__all__ = ["DATASETS", "Dataset", "Source", "Truth", "from_arrays", "make_dataset"]

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
