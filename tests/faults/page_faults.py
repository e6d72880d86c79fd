"""Faults of pages that are noticed without a browser and without node."""

from __future__ import annotations

from fault import faults_of

_program = faults_of(
    "page/program.py",
    "page/test_program.py::test_what_depends_on_weights_alone_is_computed_once_and_nothing_in_vain",
)

PAGE_FAULTS = (
    _program(
        "a page that computes what depends on weights alone in every step",
        "(once if fixed else steps).append(operation)",
        "steps.append(operation)",
    ),
    _program(
        "a page that computes results that nothing reads",
        "if any(number in needed for number, *_ in results):",
        "if results:",
    ),
    faults_of(
        "page/page.py", "page/test_page.py::test_a_page_asks_for_nothing_and_no_text_of_the_data_ends_its_scripts"
    )(
        "a page whose scripts a text of the data ends",
        '.replace("<", "\\\\u003c")',
        "",
    ),
    faults_of("page/page.py", "page/test_page.py::test_weights_are_exact_or_in_half_precision")(
        "weights too large for half precision are infinite in a page",
        "if not np.isfinite(rounded).all():",
        "if np.isnan(rounded).any():",
    ),
    faults_of("page/contents.py", "page/test_page.py::test_models_without_a_page_are_refused_in_a_sentence")(
        "a page of a model in bfloat16",
        'if model.network.dtype != "float32":',
        'if model.network.dtype == "float16":',
    ),
)
