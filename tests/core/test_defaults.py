"""Numbers that results of a config depend on without being named in it: defaults of arguments, and constants.

The defaults of options stand in docs/options.md, which tests/docs/test_options.py compares.
"""

from __future__ import annotations

import collections
import importlib
import inspect
import pkgutil

import numpy as np
import pytest

PACKAGES = (
    *("conditionals", "factorization", "networks", "models", "samplers", "objectives", "evaluation", "training"),
    "data",
)
#: Arguments and options whose default depends on the function or class. All others with a default of one name have the
#: same one: nobody has to look up what `train`, `temperature` or `block_size` is when it is left out.
DIFFERENT = {
    *("channels", "components", "dilation", "dilation_cycle", "direct", "dropout", "embedding_size"),
    *("factor", "first", "groups", "hidden_size", "kernel_size", "length", "levels", "max_length"),
    *("mlp_ratio", "most", "noise", "num", "num_blocks", "num_examples", "num_filters", "num_layers"),
    *("num_levels", "num_resnets", "num_steps", "order", "parts", "rate", "rotary_base", "samples", "size"),
    *("skip", "states", "steps", "steps_per_chunk", "stride", "unroll", "width", "window"),
}
#: Constants by module: results, stored files and what is refused depend on them.
CONSTANTS = {
    "conditionals.beta": {"EDGE": 1e-6, "LARGEST_LOG_SHAPE": 9.0},
    "conditionals.discretized_logistic_mixture": {"_MOST_VALUES": 4096, "_NUM_POINTS": 128},
    "conditionals.location_scale_mixture": {"LEAST_DOF": 2.0, "LARGEST_DOF": 1000.0, "_MODE_STEPS": 60},
    "conditionals.mixture_of_products": {"_DRAWS": 16, "_SPREAD": 0.5, "_IMPOSSIBLE": -1e30},
    "conditionals.scales": {"LARGEST_LOG_SCALE": 20.0},
    "conditionals.spline": {"LEAST_SIZE": 1e-3, "LEAST_DERIVATIVE": 1e-3, "MOST_BINS": 100},
    "conditionals.temperature": {"LEAST": 1e-30, "MOST": 1e20},
    "factorization.data_orderings": {"LEVELS_OF_REALS": 8, "MOST_EXAMPLES": 20_000},
    "networks.attention.sparse_attention": {"LOG_ZERO": -1e30},
    "networks.denoisers.unet": {"SMALL_GAIN": 0.1},
    "networks.dense.markov": {"MOST_ROWS": 16_777_216},
    "networks.image.diagonal_bilstm": {"SHUT": -1e9},
    "networks.image.gated_pixelcnn": {"GATE_GAIN": 2.0},
    "networks.layers.local_context": {"LOCAL_WIDTH": 32},
    "networks.recurrent.hidden_markov": {"INITIAL": 0.5},
    "models.autoregressive": {"MOST_DRAWN_SITES": 1024},
    "models.chains": {"DRAWN_EXAMPLES": 6, "DRAWN_FRAMES": 10},
    "models.flow": {"MARGIN": 0.05},
    "models.heads.base": {"MOST_NOISE": 1e3},
    "models.heads.flow_matching": {"TIME_SCALE": 0.01, "SHARPER": 2, "FINER": 0.1, "LEAST_TOLERANCE": 1e-7},
    "models.latent": {"RECONSTRUCTED": 10, "PAIRS": 8, "POINTS": 12, "SIDE": 20, "ACTIVE": 0.01},
    "models.longer": {"PIECE": 32, "OVERLAP": 0.25, "OVERLAP_OF_STEPS": 1 / 6},
    "models.noise_schedules": {"LEARNED_ENDS": (-13.3, 5.0), "UNITS": 64, "GOLDEN": 0.6180339887498949},
    "models.tokens": {"MOST_ENUMERATED": 262_144, "CHOICES": 16},
    "samplers.best": {"FIRST_CANDIDATE": 2_147_483_648},
    "samplers.drafts.counts": {"MOST_EXAMPLES": 50_000, "MOST_HISTORIES": 67_108_864},
    "samplers.parallel": {"USUAL": 16, "MEASURED": 256},
    "samplers.rounds": {"MOST_POINTS": 64, "NUM_ORDERS": 4, "TOGETHER": 32},
    "samplers.speculative": {"USUAL": 8},
    "objectives.order_agnostic": {"LEAST_HIDDEN": 0.7, "HIDDEN_STD": 0.25},
    "objectives.scheduled_sampling": {"_LOW": 1 / (1 + np.exp(6.0))},
    "evaluation.bounds": {"REPORTED": 2000},
    "evaluation.exposure": {"Z": 1.96, "ROUNDING": 1e-6},
    "evaluation.gaussian_mixtures": {
        "COMPONENTS": (1, 2, 3, 5, 8, 12, 20, 30),
        "REGULARISATIONS": (1e-5, 1e-4, 1e-3, 1e-2, 3e-2, 1e-1),
    },
    "evaluation.judges": {"PARTS": 40},
    "evaluation.mixtures": {"_ENOUGH": 1e-4, "_MOST_STEPS": 100_000},
    "evaluation.report": {"APART": 220_401_171, "ERROR_EXAMPLES": 64},
    "training.stopping": {"LARGEST": 2_147_483_647},
    "training.trial": {"STEPS_FOR": 3.0, "LONG_VALIDATION": 10.0},
    "data.array_files": {"MOST_MAPPED": 268_435_456},
    "data.base": {"MOST_VALUES": 134_217_728, "USUAL_LEVELS": 256},
    "data.digits": {"_SIZES": {"train": 1297, "validation": 200, "test": 300}, "_SPLIT_SEED": 0},
    "data.drawn": {"AT_ONCE": 512},
    "data.images": {"_GRID": (28, 28), "_NUM_VALIDATION": 10_000, "_BINARIZE_SEED": 0, "_LEAST_SCALE": 16.0},
    "data.known": {"FLOOR": 1e-4, "MOST_HISTORIES": 65_536, "ROUNDS": 20_000, "CHANGE": 1e-14},
    "data.memory": {"KEPT": 10, "SYMBOLS": 8, "BLANK": 0, "SIGN": 9, "MARK": 2.0},
    "data.own_text": {"PARTS": (0.8, 0.1, 0.1)},
    "data.permutation": {"LARGEST_SHUFFLE": 1_048_576, "_ROUNDS": 12, "_SPARE": 1},
    "data.plane": {"LEAST_NOISE": 0.01},
    "data.speech": {"NUM_LEVELS": 256, "SAMPLE_RATE": 8000, "_MU": 255, "_FULL_SCALE": 32_768.0},
    "data.table_columns": {"FIRST_MERGED": 9_007_199_254_740_992},
    "data.vectors": {"SMALLEST": 1e-30},
}


def modules():
    for name in PACKAGES:
        package = importlib.import_module(f"arjax.{name}")
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if ".builders" not in found.name:  # they need tensorflow-datasets
                yield importlib.import_module(found.name)


def callables(module):
    """The functions, classes and methods that a module defines."""
    for name, found in vars(module).items():
        if getattr(found, "__module__", "") == module.__name__ and callable(found):
            yield f"{module.__name__}.{name}", found
            for method, function in vars(found).items() if inspect.isclass(found) else ():
                function = getattr(function, "__func__", function)
                if inspect.isfunction(function) and (method == "__call__" or not method.startswith("__")):
                    yield f"{module.__name__}.{name}.{method}", function


def test_an_argument_of_one_name_has_one_default():
    found = collections.defaultdict(lambda: collections.defaultdict(list))
    for module in modules():
        for where, function in callables(module):
            try:
                parameters = inspect.signature(function).parameters.values()
            except (TypeError, ValueError):
                continue
            for p in parameters:
                if isinstance(p.default, bool | int | float):
                    found[p.name][repr(p.default)].append(where)
    differ = {name: dict(values) for name, values in found.items() if len(values) > 1}
    assert {name: values for name, values in differ.items() if name not in DIFFERENT} == {}


@pytest.mark.parametrize("name", CONSTANTS)
def test_constants_stay(name):
    """Whoever changes one here changes results, and says so in CHANGELOG.md."""
    module = importlib.import_module(f"arjax.{name}")
    assert {constant: getattr(module, constant) for constant in CONSTANTS[name]} == CONSTANTS[name]


#: Sections of a config and options of a draw, by module and class.
SECTIONS = {
    "training.setup.TrainOptions": {
        **{"steps_per_dispatch": 16, "log_every": 100, "eval_every": 500, "checkpoint_every": 500, "patience": 0},
        **{"data_on_device": True, "init_from": "", "writers": ()},
    },
    "evaluation.report.Measures": {
        **{"batch_size": 128, "num_orders": 1, "steps": 0, "schedule": "uniform", "samples": 0, "exposure": 0},
        **{"length": 0, "judge": "", "examples": 0},
    },
    "training.setup.EvaluateOptions": {"samples": 0, "split": "test"},
    "training.state.Recipe": {"ema_decay": 0.0, "accumulate": 1},
    "samplers.options.DrawOptions": {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "end": None},
}


@pytest.mark.parametrize("name", SECTIONS)
def test_what_is_left_out_of_a_section(name):
    module, _, section = name.rpartition(".")
    parameters = inspect.signature(getattr(importlib.import_module(f"arjax.{module}"), section)).parameters
    found = {
        name: parameter.default for name, parameter in parameters.items() if name in SECTIONS[f"{module}.{section}"]
    }
    assert found == SECTIONS[f"{module}.{section}"]


def test_a_run_that_diverges_ends_with_its_own_code():
    assert importlib.import_module("arjax.training.stopping").TrainingDiverged("text").exit_code == 3
