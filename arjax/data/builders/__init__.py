"""Builders of our own sets for tensorflow-datasets; only preparing a set imports them.

The module of a set has its `FILES`, the names of raw files by config, any one of which is enough and the first of which
is downloaded; its `URL`, the public address of that `{file}` or of an archive that holds it; and its `SIZES`, the
published numbers of rows of train, validation and test.
"""

from __future__ import annotations

import sys
from typing import Any

import tensorflow_datasets as tfds


class OwnBuilder(tfds.core.GeneratorBasedBuilder):
    """A builder from raw files in `manual_dir`; a set defines its address and its citation."""

    VERSION = tfds.core.Version("1.0.0")
    HOMEPAGE = CITATION = ""

    def _described(self, **features: Any) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=sys.modules[type(self).__module__].__doc__,
            features=tfds.features.FeaturesDict(features),
            homepage=self.HOMEPAGE,
            citation=self.CITATION,
        )
