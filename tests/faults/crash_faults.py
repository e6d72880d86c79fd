"""Faults of programs that are compiled anew or need too much memory, and of what a user sees of a run."""

from __future__ import annotations

from fault import Fault

COMPILED = "api/test_compilations.py::"

CRASH_FAULTS = (
    Fault(
        "a fresh jit for every draw",
        "evaluation/sampling.py",
        "@functools.lru_cache(maxsize=16)\ndef _split_over",
        "def _split_over",
        (COMPILED + "test_of_a_trained_model",),
    ),
    Fault(
        "networks that run operation by operation outside of jit",
        "core/programs.py",
        "(function if is_traced(args, kwargs) else compiled)(",
        "function(",
        (COMPILED + "test_of_models_and_functions_outside_of_jit",),
    ),
    Fault(
        "arrays that XLA never stores count as memory",
        "core/programs.py",
        "if equation.primitive.name in IN_MEMORY:",
        "if True:",
        ("cli/test_absurd_sizes.py::test_only_arrays_in_memory_count",),
    ),
    Fault(
        "runs of other lengths are taken to cost the same",
        "sweep/main.py",
        "if not key.startswith(SAME_COST)",
        "if False",
        ("sweep/test_grid.py::test_runs_like_a_finished_one_take_as_long",),
    ),
    Fault(
        "no bar in notebooks",
        "reporting/progress.py",
        'if type(stream).__module__.startswith("ipykernel."):',
        "if False:",
        ("reporting/test_progress.py::test_in_a_notebook_one_bar_is_drawn_anew_above_the_lines",),
    ),
    Fault(
        "bash gets whole words",
        "cli/completion.py",
        'return [text[start:] for text in found] if shell == "bash" else found',
        "return found",
        ("cli/test_completion.py::test_candidates",),
    ),
)
