"""Numbers that a config leaves out and that its results depend on: defaults of arguments, seeds and splits.

The defaults of options stand in docs/options.md, which tests/docs/test_options.py compares.
"""

import collections
import importlib
import inspect
import pkgutil

import pytest

PACKAGES = (
    *("conditionals", "factorization", "networks", "models", "samplers", "objectives", "evaluation", "training"),
    "data",
)
#: Arguments and options whose default depends on the function or class. All others with a default of one name have the
#: same one: nobody has to look up what `train`, `temperature` or `block_size` is when it is left out.
DIFFERENT = {
    *("batch_size", "learning_rate"),
    *("channels", "chunk_size", "components", "dilation_cycle", "direct", "dropout", "embedding_size"),
    *("factor", "first", "groups", "hidden_size", "high", "inits", "kernel_size", "length", "levels", "low"),
    *(
        "max_length",
        "memory",
        "mlp_ratio",
        "most",
        "noise",
        "num",
        "num_blocks",
        "num_examples",
        "num_filters",
        "num_layers",
    ),
    *("num_levels", "num_resnets", "num_steps", "order", "parts", "rate", "rotary_base", "samples", "size"),
    *("skip", "states", "steps", "steps_per_chunk", "stride", "unroll", "width", "window"),
}
#: Seeds, splits, codes and offsets of keys: data that are read again, runs that go on and draws with a stored key would
#: differ, silently, if one of them changed.
CONSTANTS = {
    "samplers.base": {"OWN_NUMBERS": 2_147_483_648},
    "samplers.rounds": {"NUM_ORDERS": 4},
    "evaluation.bounds": {"REPORTED": 2000},
    "evaluation.report": {"APART": 220_401_171},
    "data.base": {"USUAL_LEVELS": 256},
    "data.batches": {"LARGEST_SHUFFLE": 1_048_576, "_ROUNDS": 12, "_SPARE": 1},
    "data.images": {
        **{"_GRID": (28, 28), "_NUM_VALIDATION": 10_000, "_BINARIZE_SEED": 0, "_DIGITS_SEED": 0},
        **{"_DIGITS_SIZES": {"train": 1297, "validation": 200, "test": 300}},
    },
    "data.generated": {"SYMBOLS": 8, "BLANK": 0, "BEGIN": 9, "MARK": 2.0},
    "data.sound": {"SAMPLE_RATE": 8000, "_MU": 255, "_FULL_SCALE": 32_768.0},
    "data.text": {"PARTS": (0.8, 0.1, 0.1)},
    # Numbers of papers and of numerics that are no options, most of them too fine for the tolerances of other tests.
    "conditionals.categorical": {"LARGEST_CAP": 1000},
    "conditionals.discretized_logistic_mixture": {"_MOST_VALUES": 4096, "_NUM_POINTS": 128},
    "conditionals.location_scale_mixture": {"_MODE_STEPS": 60, "_FARTHEST": 1e18},
    "conditionals.mixture_of_products": {"_DRAWS": 16, "_SPREAD": 0.5, "_IMPOSSIBLE": -1e30},
    "conditionals.numerics": {"LEAST": 1e-30, "MOST": 1e20, "LARGEST_LOG_SCALE": 20},
    "conditionals.spline": {"LEAST_SIZE": 1e-3, "LEAST_DERIVATIVE": 1e-3, "_PIECES": 8, "_ROUNDS": 4},
    "factorization.data_orderings": {"LEVELS_OF_REALS": 8, "MOST_EXAMPLES": 20_000},
    "networks.attention.sparse_attention": {"UNSEEN": -1e30},
    "networks.attention.transformer_xl": {"FIRST_LOOP": 256},
    "networks.denoisers.unet": {"SMALL_GAIN": 0.1},
    "networks.dense.markov": {"MOST_ROWS": 16_777_216, "INITIAL": 0.5},
    "networks.image.gated_pixelcnn": {"GATE_GAIN": 2},
    "networks.image.lmconv": {"DILATION": 2},
    "networks.image.pixel_rnn": {"SHUT": -1e9, "CPU_STRIP": 4},
    "networks.layers.convolution": {"CACHED_BYTES": 3_145_728},
    "networks.layers.fused_attention": {
        **{"TPU_BLOCK": 128, "MOST_TPU_BLOCKS": 4, "MAX_GPU_HEAD": 128, "MIN_GPU": (8, 0)},
    },
    "networks.layers.local_context": {"LOCAL_WIDTH": 32},
    "networks.recurrent.linear.fused_chunks": {"BLOCK": 128, "FEATURES": 512, "TILE": 128, "LAST": 8, "MOST": 256},
    "networks.recurrent.linear.gated_linear_attention": {"ROOT": 16, "RANK": 16},
    "networks.recurrent.linear.mamba2": {"EXPAND": 2, "SMALLEST": 1e-8},
    "networks.recurrent.linear.mixer": {"STEPS": (1e-3, 0.1)},
    "networks.recurrent.linear.mlstm": {"LOG_ZERO": -1e30, "LEAST": 1e-6, "LOWEST": -1e10},
    "quantizers.residual": {"SMOOTHED": 0.5},
    "quantizers.scalar": {"MARGIN": 1e-3, "MOST_BITS": 20},
    "quantizers.vq": {"KEPT": 4, "ROUNDS": 10, "FEWEST": 1e-5},
}

#: Limits of reading, showing and sharing that messages and pages promise, and tolerances that numbers depend on.
LIMITS = {
    "core.arrays": {"_MOST_COMPARED": 262_144, "_ROUNDING": 1e-13},
    "core.files": {"MOST_JSON": 134_217_728, "_LEFT_SECONDS": 3600},
    "core.kept_programs": {"MOST": 1_073_741_824},
    "core.normal": {"_NARROW": 1e-3},
    "core.options": {
        **{"LARGEST": 10_000_000, "DEEPEST": 1000, "MOST_ORDERS": 10_000},
        **{"LARGEST_SEED": 4_294_967_295, "LARGEST_INT32": 2_147_483_647},
    },
    "core.programs": {"MOST_WHOLE": 5_726_623_061},
    "core.scores": {"_ENOUGH": 1e-4, "_MOST_STEPS": 100_000},
    "core.spec": {"MOST_LEVELS": 16_777_216},
    "core.values": {"_DEEPEST": 50},
    "data.array_files": {"MOST_MAPPED": 268_435_456, "_AROUND": 65_536, "LEAST_COMPARED": 100},
    "data.base": {"MOST_VALUES": 134_217_728},
    "data.columns": {"LARGEST": 1e100, "_FIRST_MERGED": 9_007_199_254_740_992},
    "data.derived": {"AT_ONCE": 512},
    "data.frames": {"_CHUNK": 10_000, "_FEW_ROWS": 100, "_FIRST_LINE": 1.0, "_BETWEEN_LINES": 5.0},
    "data.generated": {
        **{"FLOOR": 1e-4, "MOST_HISTORIES": 65_536, "ROUNDS": 20_000, "CHANGE": 1e-14, "MOST_SOLVED": 2048},
        **{"KEPT": 10, "POWER": 0.01, "SIGN": 1, "FIRST": 2, "MODULUS": 5, "_LEAST_NOISE": 0.01},
    },
    "data.images": {"_LEAST_SCALE": 16.0},
    "data.raw_sets": {"NUM_NOTES": 88, "COLUMNS_OF_WINES": 12, "SEED_OF_WINES": 0},
    "data.remarks": {"_MOST_EXAMPLES": 256, "_MOST_VALUES": 4_194_304, "_MOST_CHANNELS": 4, "_CORRELATED": 0.5},
    "data.sources": {"_PIECE": 4096},
    "data.standardised": {"SMALLEST": 1e-30, "_ROUNDING": 1e-14, "_FAR": 1e3},
    "coding.coder": {"BATCH": 128, "MOST_VALUES": 1_099_511_627_776, "PROBED": 3, "MOST_STREAMS": 65_536},
    "coding.container": {"MAGIC": b"arjax\0", "FORMAT": 2, "CHUNK": 65_536, "MOST_HEADER": 1_048_576},
    "coding.texts": {"LEAST_PER_STREAM": 512, "MOST_STREAMS": 16, "OVERLAP": 0.5, "OVERLAP_OF_STEPS": 0.25},
    "config.validate": {"DEEPEST_SECTION": 50},
    "interop.model_file": {"KEY": "arjax", "FORMAT": 1, "_SMALL": 1024, "_LARGE": 67_108_864},
    "page.contents": {"MOST_PARAMETERS": 10_000_000, "MOST_SITES": 1600, "MOST_LEVELS": 256},
    "page.page": {"LARGE": 2_000_000, "HEIGHT": 760},
    "parallel.accelerators": {"MOST_GPUS": 4096, "IN_MACHINE": 8, "_MOST_CHIPS": {"v4": 4096, "v5p": 8960}},
    "parallel.distributed": {"WAIT_SECONDS": 300, "MOST_PROCESSES": 1_000_000},
    "parallel.lost": {"EXIT_LOST": 6, "HEARTBEAT_SECONDS": 10},
}


def modules():
    for name in PACKAGES:
        package = importlib.import_module(f"arjax.{name}")
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
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
def test_stored_runs_and_data_keep_their_meaning(name):
    module = importlib.import_module(f"arjax.{name}")
    assert {constant: getattr(module, constant) for constant in CONSTANTS[name]} == CONSTANTS[name]


@pytest.mark.parametrize("name", LIMITS)
def test_limits_are_those_that_are_written_down(name):
    module = importlib.import_module(f"arjax.{name}")
    assert {constant: getattr(module, constant) for constant in LIMITS[name]} == LIMITS[name]


#: Sections of a config and options of a draw, by module and class.
SECTIONS = {
    "training.setup.TrainOptions": {
        **{"steps_per_dispatch": 16, "log_every": 100, "eval_every": 500, "checkpoint_every": 500, "patience": 0},
        **{"data_on_device": True, "init_from": "", "writers": ""},
    },
    "evaluation.report.Measures": {
        **{"batch_size": 128, "num_orders": 1, "steps": 0, "schedule": "uniform", "samples": 0, "exposure": 0},
        **{"judge": "", "examples": 0},
    },
    "training.setup.EvaluateOptions": {"samples": 0, "split": "test"},
    "training.state.StepSpec": {"ema_decay": 0.0, "accumulate": 1},
    "samplers.request.Request": {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "end": None, "length": 0},
}


@pytest.mark.parametrize("name", SECTIONS)
def test_what_is_left_out_of_a_section(name):
    module, _, section = name.rpartition(".")
    parameters = inspect.signature(getattr(importlib.import_module(f"arjax.{module}"), section)).parameters
    assert {option: parameters[option].default for option in SECTIONS[name]} == SECTIONS[name]


def test_a_run_that_diverges_ends_with_its_own_code():
    assert importlib.import_module("arjax.training.stopping").TrainingDiverged("text").exit_code == 3
