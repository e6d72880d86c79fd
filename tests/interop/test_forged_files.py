"""Model files with a right checksum and anything in them: one sentence, and nothing is allocated."""

from __future__ import annotations

import copy
import json
import re
import tracemalloc

import jax
import numpy as np
import pytest
from refusals import refusal
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

import arjax
from arjax.api.saving import save
from arjax.core.errors import UserError
from arjax.data import Dataset
from arjax.data.vocabulary import Vocabulary
from arjax.interop import model_file, tensors
from arjax.interop.model_file import KEY, SavedModel, _checksum, load_model, save_model
from arjax.models import ModelChoice, make_model

TEXT = arjax.EventSpec((4,), kind="tokens", num_levels=3)


def autoregressive(network, sizes=None, **options):
    return ModelChoice(options=options, network=network, network_options={"hidden_sizes": sizes} if sizes else {})


CHOICES = {
    "network": (TEXT, autoregressive("made", (5,), orders="rasters")),
    "weighted": (TEXT, autoregressive("made", (5,), orders="weighted(of=('raster', 'uniform'), weights=(3, 1))")),
    "nested": (TEXT, autoregressive("constant", partition="blocks(size=2)", conditional="nested(network='nade')")),
    "table": (arjax.EventSpec((2,), kind="real"), autoregressive("independent", conditional="gaussian")),
    "chain": (TEXT, ModelChoice("discrete_chain", {"num_steps": 2}, "deep_nade", {"hidden_sizes": (3,)})),
    "graph": (arjax.EventSpec((4,)), autoregressive("structured_made", (4,), graph="window(size=2)")),
    "flow": (arjax.EventSpec((2,)), ModelChoice("flow", {"num_blocks": 2}, "made", {"hidden_sizes": (3,)})),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Of each model the object in its metadata, and its tensors."""
    found = {}
    for name, (event, choice) in CHOICES.items():
        context = arjax.ContextSpec("label", 2) if name == "network" else arjax.ContextSpec()
        model = make_model(event, choice, context=context)
        more = {"vocabulary": Vocabulary(("a", "b", "<end>"), "char", 2)} if name == "network" else {}
        if name == "table":
            more = {"shift": np.zeros(2), "scale": np.ones(2)}
        params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), model.param_shapes)
        dataset = Dataset("some", event, context, {}, **more)
        path = tmp_path_factory.mktemp("files") / f"{name}.safetensors"
        save(path, model, params, dataset, None, {"num_orders": 1})
        with safe_open(path, framework="numpy") as file:
            content = json.loads(file.metadata()[KEY])
            del content["checksum"]
            found[name] = content, {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  it is no dict
    return found


@pytest.fixture
def forge(tmp_path):
    """A function that writes a file and reads it again."""

    def load(content, tensors):
        text = json.dumps(content | {"checksum": _checksum(content, tensors)})
        save_file({key: np.ascontiguousarray(array) for key, array in tensors.items()}, tmp_path / "f", {KEY: text})
        return arjax.load(tmp_path / "f")

    return load


def places(value, at=()):
    """Where there is something in a value of JSON."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        yield (*at, key)
        yield from places(part, (*at, key))


def at(content, place):
    for key in place:
        content = content[key]
    return content


WRONG = (None, "zzz", {"zzz": 1}, True, 10**30, [10**9])


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name != "nested")) for name in CHOICES]
)
def test_every_entry_is_checked(name, files, forge):
    """Missing, unknown or of another type: a sentence. Numbers of an option may be others, and so may some facts."""
    content, tensors = files[name]
    for place in places(content):
        value = at(content, place)
        for wrong in ("delete", *WRONG):
            changed = copy.deepcopy(content)
            parent = at(changed, place[:-1])
            if wrong == "delete":
                del parent[place[-1]]
            elif (wrong, type(wrong)) != (value, type(value)):
                parent[place[-1]] = wrong
            try:
                forge(changed, tensors)
            except UserError as error:
                assert "\n" not in str(error) and len(str(error)) < 900
            else:
                fine = wrong == "delete" or changed == content or place[0] in ("about", "version")
                assert fine or isinstance(value, bool | int | float), (place, wrong)


def test_no_file_asks_for_a_billion_orders(tmp_path):
    event = arjax.EventSpec((3,))
    model = make_model(event, autoregressive("deep_nade", (3,), orders="uniform"))
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), model.param_shapes)
    for num_orders in (4, 10**9):
        dataset = Dataset("some", event, arjax.ContextSpec(), {})
        save(tmp_path / "f", model, params, dataset, None, {"num_orders": num_orders})
        if num_orders == 4:
            assert arjax.load(tmp_path / "f").settings.measures.num_orders == 4
    with pytest.raises(UserError, match="this model is not scored under 1000000000 orders"):
        arjax.load(tmp_path / "f")


EXTRA = {"extra": np.zeros(2, np.float32)}


def test_tensors_are_those_that_arjax_writes(files, forge):
    for name in ("network", "weighted", "table", "graph"):
        content, tensors = files[name]
        assert forge(content, tensors).model.num_params, name
        for key, array in tensors.items():
            kinds = {"float16", "float32", "float64", "int8", "int64"} - {str(array.dtype)}
            others = [array.astype(kind) for kind in sorted(kinds)]
            others += [array.ravel()[:-1], array[None]]
            others += [-array - 1, array + 1] if array.dtype == np.int32 else []
            others += [~array] if array.dtype == bool else []
            others += [] if key.endswith(("/pool", "/weights", "/parents")) else [None]  # which another model has not
            for other in others:
                changed = {k: v for k, v in tensors.items() if k != key} | ({} if other is None else {key: other})
                assert refusal(forge, content, changed), (name, key, other)
        assert re.search("'extra' belongs to no part|lack|hold", refusal(forge, content, tensors | EXTRA))
    content, tensors = files["network"]
    for name, array, sentence in (
        ("model/extra", EXTRA["extra"], "the tensor 'model/extra' belongs to no part of the model"),
        ("params/extra", EXTRA["extra"], "extra"),
        ("extra", EXTRA["extra"], "the tensor 'extra' belongs to no part of the model"),
    ):
        assert sentence in refusal(forge, content, tensors | {name: array})
    content, tensors = files["table"]
    for name, array, sentence in (
        ("shift", [0, np.nan], "the tensor 'shift' must hold finite numbers, and scale positive ones"),
        ("scale", [1, 0], "the tensor 'scale' must hold finite numbers, and scale positive ones"),
        ("scale", [1, -1], "the tensor 'scale' must hold finite"),
        ("scale", [1, np.inf], "the tensor 'scale' must hold finite"),
        ("scale", [1, 1, 1], r"shift and scale are two tensors float64[2] of real data, and 'scale' is none"),
    ):
        assert sentence in refusal(forge, content, tensors | {name: np.array(array, np.float64)})
    forge(content, tensors | {"shift": np.array([-1.0, 0.0])})


def test_types_and_sizes_of_a_network_are_compared_before_anything_is_made(files, forge):
    content, tensors = files["network"]
    for entry, value, sentence in (
        ("dtype", "int8", "dtype must be one of float32, bfloat16"),
        ("network", {"hidden_sizes": [10**9]}, "'hidden_sizes' is 1000000000, which is too large for the tensors"),
        ("network", {"hidden_sizes": [1000]}, "has the shape|lack|hold"),
        ("network", {"hidden_sizes": [5] * 2000}, "'hidden_sizes' is 2000, which is too large"),
        ("options", {"conditional": "categorical(soft_cap=1000000000)"}, "'soft_cap' is 1000000000, which is too"),
        ("event", {"grid_shape": [10**8]}, "too large|lists 4 sites"),
    ):
        changed = copy.deepcopy(content)
        changed["model"][entry] = changed["model"][entry] | value if isinstance(value, dict) else value
        tracemalloc.start()
        assert re.search(sentence, refusal(forge, changed, tensors)), value
        assert tracemalloc.get_traced_memory()[1] < 2**24, entry
        tracemalloc.stop()


def test_no_facts_about_a_model_are_read_without_a_report(files, tmp_path):
    """`load_model` gives the model of a file whatever its facts are."""
    content, tensors = files["network"]
    content = content | {"about": {}}
    text = json.dumps(content | {"checksum": _checksum(content, tensors)})
    save_file(tensors, tmp_path / "f", {KEY: text})
    assert load_model(tmp_path / "f").about == {}
    with pytest.raises(UserError, match="about lacks 'commit'"):
        arjax.load(tmp_path / "f")


def test_what_a_disk_or_a_memory_refuses_is_one_sentence(files, forge, tmp_path, monkeypatch):
    def fail(kind):
        def call(*arguments, **options):
            raise kind("no room")

        return call

    model = make_model(*CHOICES["table"])
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), model.param_shapes)
    path = save_model(tmp_path / "m", SavedModel(model, params, np.zeros(2), np.ones(2), {}))
    before = path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(tensors, "save_file", fail(SafetensorError))
        sentence = refusal(save_model, path, SavedModel(model, params, None, None, {}))
    assert sentence == f"cannot write {path}: no room" and path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["m"]
    assert "cannot write" in refusal(save_model, tmp_path / "none" / "m", SavedModel(model, params, None, None, {}))
    with monkeypatch.context() as patch:
        patch.setattr(model_file, "_saved", fail(MemoryError))
        assert (
            refusal(load_model, path) == f"{str(path)!r} describes a model that is too large for this machine: no room"
        )
    assert refusal(load_model, tmp_path / "none") == f"there is no file {str(tmp_path / 'none')!r}"
    content, arrays = files["table"]
    assert "was written by arjax 9.9, whose files this version" in refusal(
        forge, content | {"format": 2, "version": "9.9"}, arrays
    )
    save_file(arrays, tmp_path / "bare")
    assert "does not say which model its tensors belong to" in refusal(load_model, tmp_path / "bare")
