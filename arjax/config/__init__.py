"""Configs: their fields, the files that make them, their checks, and the construction of a run from them."""

from arjax.config.base import (
    apply_smoke,
    base_config,
    dataset_config,
    model_config,
    network_config,
    optimizer_config,
    parse_arg,
    part,
    pick,
    small_network_config,
)

__all__ = ["apply_smoke", "base_config", "dataset_config", "model_config", "network_config", "optimizer_config"]
__all__ += ["parse_arg", "part", "pick", "small_network_config"]
