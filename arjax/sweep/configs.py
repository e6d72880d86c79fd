"""The config of a run of a sweep."""

from __future__ import annotations

from ml_collections import ConfigDict

from arjax.config.files import apply_overrides, load_config_file
from arjax.config.validate import validate
from arjax.sweep.runs import Run


def config_of(run: Run) -> ConfigDict:
    """The config of a run, checked, as `arjax` reads it from its command line; raises `UserError` for a mistake."""
    config = load_config_file(run.config)
    apply_overrides(config, run.override_texts())
    validate(config)
    return config
