"""The record that no number moves: small cases of every component against `golden.json`.

    ARJAX_WRITE_GOLDEN=1 pytest tests/test_golden.py -m ""

adds the cases of new components, and drops those of removed ones; with `all` in place of 1 it writes all numbers anew.

Numbers agree to 1e-5, as processors with other vector widths and other versions of jax round; where rounding is
amplified, an entry has its own `rtol` for a number, and says `why`.
"""

from __future__ import annotations

import json
import os
import pathlib

import golden_cases as golden
import numpy as np
import pytest

from arjax.core.errors import UserError

FILE = pathlib.Path(__file__).with_name("golden.json")
RECORD = json.loads(FILE.read_text()) if FILE.exists() else {}
WRITE = os.environ.get("ARJAX_WRITE_GOLDEN", "")
RTOL = 1e-5
#: Components of which the first case of each name is quick, but for a few; and one network for each way to compute.
#: `pytest -m "" tests/test_golden.py` compares all cases.
QUICK = ("ordering", "partition", "graph", "kind", "conditional")
SLOW = (
    *(
        f"conditional {name}"
        for name in ("diffusion", "energy", "flow_matching", "nested", "spline", "student_t_mixture")
    ),
    *("kind block_diffusion", "kind cascade"),
)
NETWORKS = ("causal_conv", "deep_nade", "gru", "made", "pixelcnn", "transformer")
ALSO_QUICK = (*(f"network {name}" for name in NETWORKS), "objective teacher_forcing")


def own_names(component: str) -> list[str]:
    """The names that the package registers: other tests and plugins register theirs."""
    registry = golden.COMPONENTS[component]
    return [name for name in golden.names(component) if registry._origins[name].module.startswith("arjax.")]


def of(title: str) -> tuple[str, str]:
    """The component and the name of a case."""
    return tuple(title.split(" ")[:2])


def write_missing() -> None:
    """Adds the cases that the record lacks, and drops those of components that are gone."""
    proposals = list(golden.OTHERS.items())
    for component in golden.COMPONENTS:
        names = own_names(component)
        for title in [title for title in RECORD if of(title)[0] == component and of(title)[1] not in names]:
            del RECORD[title]
        for name in names:
            proposals += golden.proposals(component, name)
    for title, case in proposals:
        if title not in RECORD:
            try:
                RECORD[title] = {"case": case, "values": plain(golden.measure(case, thorough=False)[0])}
            except UserError as refusal:
                print(f"{title}: {refusal}")
            write()


def write() -> None:
    """The record: a line for each case, and one for its numbers."""
    entries = []
    for title, entry in sorted(RECORD.items()):
        fields = [name for name in ("case", "values", "rtol", "why") if name in entry]
        lines = [f"{json.dumps(name)}: {json.dumps(entry[name])}" for name in fields]
        entries.append(f"{json.dumps(title)}: {{\n  " + ",\n  ".join(lines) + "\n}")
    part = FILE.with_suffix(".part")
    part.write_text("{\n" + ",\n".join(entries) + "\n}\n")
    part.replace(FILE)


def plain(values: dict) -> dict:
    """Arrays as lists, and floats with eight digits."""

    def short(value):
        if isinstance(value, list):
            return list(map(short, value))
        return float(f"{value:.8g}") if isinstance(value, float) else value

    return {name: short(np.asarray(value).tolist()) for name, value in values.items()}


if WRITE:
    write_missing()


def is_quick(title: str) -> bool:
    if title in ALSO_QUICK:
        return True
    component, name = of(title)
    first = next(other for other in RECORD if of(other) == (component, name))
    return component in QUICK and title == first and f"{component} {name}" not in SLOW


TITLES = [pytest.param(title, marks=() if is_quick(title) else pytest.mark.slow) for title in RECORD]


def compare(title: str, values: dict) -> None:
    entry = RECORD[title]
    for name, value in plain(values).items():
        expected, message = entry["values"][name], f"{title}: {name} has moved"
        if isinstance(value, str) or np.asarray(value).dtype.kind in "biu":
            assert value == expected, message
            continue
        rtol = entry.get("rtol", {}).get(name, RTOL)
        size = np.abs(np.asarray(expected, float)).max(initial=0.0)
        assert np.isfinite(size), f"{title}: {name} is no number to compare with"
        np.testing.assert_allclose(value, expected, rtol=rtol, atol=rtol * size, err_msg=message)


@pytest.mark.parametrize("title", TITLES)
def test_no_number_moves(title):
    values = golden.measure(RECORD[title]["case"], thorough=False)[0]
    if WRITE == "all":
        RECORD[title]["values"] |= plain(values)
        write()
    compare(title, values)


@pytest.mark.slow
@pytest.mark.parametrize("title", [title for title, entry in RECORD.items() if entry["case"]["measure"] == "model"])
def test_no_training_and_no_draw_moves(title):
    values = golden.measure(RECORD[title]["case"])[0]
    if WRITE:
        RECORD[title]["values"] = plain(values) | ({} if WRITE == "all" else RECORD[title]["values"])
        write()
    compare(title, values)


@pytest.mark.parametrize("component", golden.COMPONENTS)
def test_every_component_is_recorded(component):
    recorded = {name for of_case, name in map(of, RECORD) if of_case == component}
    assert recorded == set(own_names(component)), "see the first lines of this file"
