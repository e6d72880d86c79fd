"""The sections of every config: dataclasses whose fields are the options of a run, each with its default and range.
`train`, `sample`, `evaluate` and `optimizer` are declared where they are used, in `arjax.training`.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from arjax.core.options import opt, seed_option
from arjax.evaluation.inpainting import HALVES
from arjax.evaluation.suggestions import SuggestOptions
from arjax.models.kinds import DTYPES
from arjax.training.optimizer import OptimizerOptions
from arjax.training.setup import EvaluateOptions, SampleOptions, TrainOptions


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """The fields outside of all sections."""

    seed: int = seed_option()
    plugins: tuple[str, ...] = opt((), about="packages and modules that register components")
    dtype: str = opt("float32", choices=DTYPES, about="compute type of the network; parameters are float32")
    objective: str = opt("teacher_forcing", about="a call string")


@dataclasses.dataclass(frozen=True)
class InpaintOptions:
    """Completions of images."""

    hidden: str = opt("bottom", choices=tuple(HALVES), about="the half that is completed")
    visible: str = opt("rest", choices=("rest", "nothing"), about="what the model sees")
    num: int = opt(8, about="images")
    completions: int = opt(6, about="completions of each image")


@dataclasses.dataclass(frozen=True)
class MeshOptions:
    """The devices."""

    data: int = opt(-1, least=-1, about="-1: all devices that the other axes leave")
    fsdp: int = 1
    tensor: int = 1
    rules: tuple[Any, ...] = opt((), about="(): the default sharding rules")


#: The sections of a config by name; those of data set, model, network and parts depend on their components.
SECTIONS: dict[str, type] = {
    "optimizer": OptimizerOptions,
    "train": TrainOptions,
    "evaluate": EvaluateOptions,
    "sample": SampleOptions,
    "inpaint": InpaintOptions,
    "suggest": SuggestOptions,
    "mesh": MeshOptions,
}
