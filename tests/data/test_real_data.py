"""The real sets, where `TFDS_DATA_DIR` (prepared sets) and `ARJAX_RAW_DATA` (folders of raw files) say they are."""

import os
from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat

from arjax.core.errors import UserError
from arjax.data import make_dataset
from arjax.data.prepare import prepare
from arjax.data.sources import read_all

RAW = {name: name for name in ("uci_binary", "poly_music", "wine_quality")}
RAW["spoken_digits"] = "free-spoken-digit-dataset-1.0.9"
FILES = {"jsb": "JSB_Chorales.mat", "nottingham": "Nottingham.mat"}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A function that prepares one of our own sets from its raw files; returns the folder of prepared sets."""
    if "ARJAX_RAW_DATA" not in os.environ:
        pytest.skip("ARJAX_RAW_DATA is not set")
    folder = str(tmp_path_factory.mktemp("prepared"))

    def get(name):
        prepare(name, str(Path(os.environ["ARJAX_RAW_DATA"]) / RAW[name.partition("/")[0]]), folder)
        return folder

    return get


@pytest.fixture
def stock():
    """Reads stock sets, skipping what is not there."""
    if "TFDS_DATA_DIR" not in os.environ:
        pytest.skip("TFDS_DATA_DIR is not set")

    def get(name, **options):
        try:
            return make_dataset(name, **options)
        except UserError as error:
            if "prepare_data.py" not in str(error):
                raise
            pytest.skip(str(error))

    return get


def sizes(dataset):
    return tuple(len(dataset.splits[split]) for split in ("train", "validation", "test"))


@pytest.mark.parametrize(
    ("name", "dims", "rows"),
    [
        ("dna", 180, (1400, 600, 1186)),
        pytest.param("mushrooms", 112, (2000, 500, 5624), marks=pytest.mark.slow),
        pytest.param("nips", 500, (400, 100, 1240), marks=pytest.mark.slow),
        pytest.param("adult", 123, (5000, 1414, 26147), marks=pytest.mark.slow),
        pytest.param("connect4", 126, (16000, 4000, 47557), marks=pytest.mark.slow),
        pytest.param("ocr_letters", 128, (32152, 10000, 10000), marks=pytest.mark.slow),
    ],
)
def test_uci_binary(prepared, name, dims, rows):
    dataset = make_dataset("uci_binary", set=name, data_dir=prepared(f"uci_binary/{name}"))
    assert dataset.event.grid_shape == (dims,) and sizes(dataset) == rows
    with np.load(Path(os.environ["ARJAX_RAW_DATA"]) / "uci_binary" / f"{name}.npz") as file:
        np.testing.assert_array_equal(read_all(dataset.splits["test"]).x.sum(0), file["test_data"].sum(0))


@pytest.mark.parametrize(
    ("name", "rows"), [("jsb", (229, 76, 77)), pytest.param("nottingham", (694, 173, 170), marks=pytest.mark.slow)]
)
def test_poly_music(prepared, name, rows):
    dataset = make_dataset("poly_music", set=name, data_dir=prepared(f"poly_music/{name}"))
    assert sizes(dataset) == rows
    file = loadmat(Path(os.environ["ARJAX_RAW_DATA"]) / "poly_music" / FILES[name])
    for split, key in (("train", "traindata"), ("validation", "validdata"), ("test", "testdata")):
        arrays = dataset.splits[split].arrays
        assert arrays.mask.sum() == sum(len(roll) for roll in file[key][0])
        assert arrays.x.sum() == sum(int(roll.sum()) for roll in file[key][0])
        assert arrays.mask[:, 0].all()


def test_cutting_music_drops_no_frame(prepared):
    folder = prepared("poly_music/jsb")
    pieces = make_dataset("poly_music", set="jsb", data_dir=folder)
    windows = make_dataset("poly_music", set="jsb", max_length=50, data_dir=folder)
    assert windows.event.grid_shape == (50,) and pieces.event.grid_shape[0] > 100
    for split in ("train", "validation", "test"):
        a, b = pieces.splits[split].arrays, windows.splits[split].arrays
        assert a.mask.sum() == b.mask.sum()
        np.testing.assert_array_equal(a.x[a.mask].sum(0), b.x[b.mask].sum(0))


@pytest.mark.slow
def test_spoken_digits(prepared):
    folder = prepared("spoken_digits")
    dataset = make_dataset("spoken_digits", length=0, context="label", data_dir=folder)
    assert sizes(dataset) == (2000, 250, 250) and dataset.event.grid_shape == (18262,)
    labels = read_all(dataset.splits["test"]).context["label"]
    np.testing.assert_array_equal(np.bincount(labels), 25)  # five speakers, five recordings
    total = sum(int(source.arrays.mask.sum()) for source in dataset.splits.values())
    windows = make_dataset("spoken_digits", length=512, data_dir=folder)
    assert total == sum(int(source.arrays.mask.sum()) for source in windows.splits.values()) == 8201580


def test_wine_quality(prepared):
    dataset = make_dataset("wine_quality", data_dir=prepared("wine_quality"))
    assert sizes(dataset) == (1279, 160, 160) and dataset.event.grid_shape == (12,)
    assert dataset.scale.shape == (12,) and (dataset.scale > 0).all()
    grades = read_all(dataset.splits["test"]).x[:, -1] * dataset.scale[-1]
    steps = (grades - grades.min()).round(3)
    np.testing.assert_allclose(steps, steps.round(), atol=1e-2)  # whole numbers again, up to the mean


@pytest.mark.slow  # tests/cli reads it every day
def test_binarized_mnist(stock):
    dataset = stock("binarized_mnist")
    assert sizes(dataset) == (50000, 10000, 10000)
    x = dataset.splits["test"].arrays.x
    assert x.shape == (10000, 28, 28) and set(np.unique(x)) == {0, 1}
    assert 0.1 < x.mean() < 0.15


@pytest.mark.slow
def test_mnist(stock):
    dataset = stock("mnist", binarize="dynamic", context="label")
    assert sizes(dataset) == (50000, 10000, 10000)
    assert np.bincount(dataset.splits["test"].arrays.context["label"])[:2].tolist() == [980, 1135]
    train = dataset.splits["train"].arrays
    # binary pixels follow the grey ones: equal means up to the noise of 39 million draws
    np.testing.assert_allclose(train.x.mean(), train.extra["intensity"].mean() / 255, atol=3e-4)


@pytest.mark.slow
def test_fashion_mnist(stock):
    dataset = stock("fashion_mnist", context="label")
    assert sizes(dataset) == (50000, 10000, 10000) and dataset.event.num_levels == 256
    np.testing.assert_array_equal(np.bincount(read_all(dataset.splits["test"]).context["label"]), 1000)


@pytest.mark.parametrize("stride", [0, 16])
def test_tiny_shakespeare(stock, stride):
    dataset = stock("tiny_shakespeare", eval_stride=stride)
    assert dataset.event.num_levels == 65
    assert len(dataset.splits["train"]) == 1003854 - 64 + 1
    for split in ("validation", "test"):
        assert read_all(dataset.splits[split]).mask.sum() == 55770
    first = dataset.decode(dataset.splits["train"].__getitems__(np.array([0])).x[0])
    assert first.startswith("First Citizen:\nBefore we proceed")
