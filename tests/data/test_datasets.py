import io

import jax
import numpy as np
import pytest

from arjax.core.batch import Batch
from arjax.core.errors import UserError
from arjax.core.spec import ContextSpec, EventSpec
from arjax.data import DATASETS, from_arrays, images, make_dataset, vectors
from arjax.data.images import dynamic_binarization
from arjax.data.sound import linear_encode, linear_waveform, mu_law_decode, mu_law_encode, waveform
from arjax.data.sources import read_all
from arjax.stages import make_stages

PREPARED = ["binarized_mnist", "fashion_mnist", "mnist", "poly_music", "spoken_digits", "tiny_shakespeare"]
PREPARED += ["uci_binary", "wine_quality"]


@pytest.fixture
def no_data(monkeypatch, tmp_path):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.mark.parametrize("name", PREPARED)
def test_a_missing_set_names_the_command_that_gets_it(name, no_data, tmp_path):
    with pytest.raises(UserError, match=rf"python scripts/prepare_data\.py {name}(/\w+)?$") as error:
        make_dataset(name)
    assert str(tmp_path / "elsewhere") in str(error.value)


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("digit", {}, "did you mean 'digits'"),
        ("uci_binary", {"set": "dna", "as_image": True}, "for the set ocr_letters: dna has no images"),
        ("poly_music", {"max_length": 1}, "at least 2 frames"),
        ("spoken_digits", {"length": 1}, "at least 2 samples"),
        ("spoken_digits", {"length": 0, "whole": True}, "whole=True needs length"),
        ("stage", {"number": 4}, "must be from 1 to 3, not 4"),
        ("stage", {"of": "digitz"}, "did you mean 'digits'"),
        ("stage", {"of": "hidden_markov", "stages": "haar"}, "are for levels and binary, not tokens"),
    ],
)
def test_wrong_options_are_told_in_one_sentence(name, options, sentence, no_data):
    with pytest.raises(UserError, match=sentence):
        make_dataset(name, **options)


def test_digits():
    dataset = make_dataset("digits", context="label")
    sizes = {split: len(source) for split, source in dataset.splits.items()}
    assert sizes == {"train": 1297, "validation": 200, "test": 300}
    assert dataset.event == EventSpec((8, 8), kind="levels", num_levels=17)
    assert dataset.context == ContextSpec("label", 10)
    batches = [read_all(source) for source in dataset.splits.values()]
    x = np.concatenate([batch.x for batch in batches])
    assert (x.min(), x.max(), x.dtype) == (0, 16, np.int32)
    labels = np.concatenate([batch.context["label"] for batch in batches])
    # rows and labels stay together, and no row is lost: sums over classes are those of the source
    from sklearn.datasets import load_digits

    pixels, target = load_digits(return_X_y=True)
    for digit in range(10):
        np.testing.assert_array_equal(x[labels == digit].sum(0).ravel(), pixels[target == digit].sum(0))
    assert read_all(make_dataset("digits").splits["test"]).context == {}


def test_batches_have_the_types_of_the_contract():
    arrays = {"x": np.ones((3, 4), np.uint8), "mask": np.ones((3, 4), bool), "context": np.array([0, 2, 1])}
    dataset = from_arrays(EventSpec((4,)), train=arrays, context=ContextSpec("label", 3))
    batch = dataset.splits["train"].__getitems__(np.array([2, 2, 0, 1]))
    found = jax.tree.map(lambda a: f"{a.dtype}{a.shape}", batch)
    assert found == Batch("int32(4, 4)", {"label": "int32(4,)"}, "float32(4, 4)")
    np.testing.assert_array_equal(batch.context["label"], [1, 1, 0, 2])


BINARY, REAL = EventSpec((2,)), EventSpec((2,), kind="real", num_levels=0)
X = np.zeros((3, 2), np.int32)


@pytest.mark.parametrize(
    ("event", "train", "context", "sentence"),
    [
        (BINARY, X[:, :1], ContextSpec(), r"shape \(N, 2\)"),
        (BINARY, X[:0], ContextSpec(), r"there are no train examples: the array is empty, of shape \(0, 2\)"),
        (BINARY, (X, X[:, 0]), ContextSpec("label", 2), r"a pair of arrays: write a dict, {'x': ..., 'context': ...}"),
        (BINARY, X.astype(object), ContextSpec(), r"must be real numbers, not objects \(of dtype object\)"),
        (EventSpec((2,), kind="levels", num_levels=256), X + 0.5, ContextSpec(), r"np.round\(255 \* x\).astype\(int\)"),
        (BINARY, X + 2, ContextSpec(), "0 to 1"),
        (BINARY, X.astype(np.float32), ContextSpec(), "must be integers"),
        (REAL, np.full((3, 2), np.inf), ContextSpec(), "must be finite as float32, not inf$"),
        (REAL, np.full((3, 2), np.nan), ContextSpec(), "the train examples have no values: at each site one is miss"),
        (REAL, np.full((3, 2), 1e300), ContextSpec(), r"the train examples of real data must be finite .* not 1e\+300"),
        (REAL, np.full((3, 2), 1j), ContextSpec(), "the train examples must be real numbers, not complex128"),
        (REAL, np.full((3, 2), np.datetime64("2020-01-01")), ContextSpec(), "must be real numbers, not datetime64"),
        (REAL, [[1.0, 2.0], [3.0]], ContextSpec(), "must be one array of numbers, and its rows have different lengths"),
        (REAL, None, ContextSpec(), "a data set needs train examples, and train is None"),
        ((2,), X, ContextSpec(), r"an EventSpec such as .* belongs here, not \(2,\)"),
        (BINARY, X, "label", "a ContextSpec such as .* belongs here, not 'label'"),
        (BINARY, {"x": X, "mask": np.full((3, 2), np.nan)}, ContextSpec(), "train masks must be 0 or 1 everywhere"),
        (BINARY, {"x": X, "mask": np.full((3, 2), "a")}, ContextSpec(), "the train masks must be real numbers, not"),
        (BINARY, {"x": X, "mask": X - 1}, ContextSpec(), "the train masks must be 0 or 1 everywhere, not -1"),
        (BINARY, {"x": X, "weight": np.full(3, 0.5)}, ContextSpec(), "the train weights must be 0 or 1 everywhere"),
        (BINARY, {"x": X, "weight": X}, ContextSpec(), "the train weights must be one per example"),
        (BINARY, {"x": X, "context": X * np.nan}, ContextSpec("vector", 2), "the train contexts must be finite"),
        (BINARY, {"x": X, "context": X + 1j}, ContextSpec("vector", 2), "the train contexts must be real numbers"),
        (BINARY, {"x": X, "context": X - np.array([1, 0])}, ContextSpec("sequence", 4, 2), "a sequence is filled up"),
        (BINARY, {"mask": X}, ContextSpec(), "lack 'x'"),
        (BINARY, {"x": X, "masks": X}, ContextSpec(), "nothing reads the train array 'masks', did you mean 'mask'"),
        (BINARY, {"x": X, "owner": X[:, 0]}, ContextSpec(), r"'owner' \(there are: x, context, mask, weight\)"),
        (BINARY, {"x": X, "mask": X[:, :1]}, ContextSpec(), "grid shape"),
        (BINARY, {"x": X, "mask": X[:2]}, ContextSpec(), "3 examples"),
        (BINARY, {"x": X, "context": np.zeros(3, int)}, ContextSpec(), "have a 'context'"),
        (BINARY, X, ContextSpec("label", 2), "have no 'context'"),
        (BINARY, {"x": X, "context": np.array([0, 1, 2])}, ContextSpec("label", 2), "the train labels must be 0 to 1"),
        (BINARY, {"x": X, "context": np.zeros(3)}, ContextSpec("label", 2), "labels must be integers, not float64"),
        (BINARY, {"x": X, "context": np.zeros((3, 2))}, ContextSpec("vector", 3), r"of the shape \(3,\)"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(event, train, context, sentence):
    with pytest.raises(UserError, match=sentence):
        from_arrays(event, train=train, context=context)


def test_arrays_that_a_transform_reads_are_named():
    data = from_arrays(BINARY, train={"x": X, "brightness": X}, validation=X, extra=("brightness",))
    assert set(data.splits["train"].__getitems__([0]).extra) == {"brightness"}
    with pytest.raises(UserError, match="the validation array 'brightnes', did you mean 'brightness'"):
        from_arrays(BINARY, train=X, validation={"x": X, "brightnes": X}, extra=("brightness",))


@pytest.fixture
def grey(monkeypatch):
    """Puts 40 + 10 random pictures in the place of MNIST."""
    rng = np.random.default_rng(0)
    splits = {
        split: {"x": rng.integers(0, 256, (size, 28, 28), np.uint8), "context": np.arange(size) % 10}
        for split, size in (("train", 40), ("test", 10))
    }
    monkeypatch.setattr(images, "_read", lambda name, data_dir: splits)
    monkeypatch.setattr(images, "_NUM_VALIDATION", 8)
    return splits


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_static_and_dynamic_binarization_are_two_data_sets(grey, name):
    kinds = ("static", "static", "dynamic")
    static, again, dynamic = (make_dataset(name, binarize=kind, context="label") for kind in kinds)
    assert (static.name, dynamic.name) == (f"{name}_static", f"{name}_dynamic")
    assert static.transform is None and dynamic.transform is dynamic_binarization
    assert static.event == dynamic.event == EventSpec((28, 28))
    for split in ("train", "validation", "test"):  # the same fixed draw
        batch = read_all(static.splits[split])
        assert set(np.unique(batch.x)) == {0, 1} and set(batch.context) == {"label"} and not batch.extra
        for other in (again, dynamic):
            np.testing.assert_array_equal(read_all(other.splits[split]).x, batch.x)
    np.testing.assert_array_equal(read_all(dynamic.splits["train"]).extra["intensity"], grey["train"]["x"][:-8])
    assert not read_all(dynamic.splits["validation"]).extra


def test_levels_of_8_and_of_16_bits():
    audio = np.arange(-32768, 32768, 7).astype(np.int16)
    levels = mu_law_encode(audio)
    assert levels.min() == 0 and levels.max() == 255 and (np.diff(levels.astype(int)) >= 0).all()
    assert mu_law_encode(np.zeros(1, np.int16))[0] == 128
    everything = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(mu_law_encode(mu_law_decode(everything)), everything)
    error = np.abs(mu_law_decode(levels).astype(int) - audio)
    assert (error <= 0.025 * np.abs(audio.astype(int)) + 200).all()
    np.testing.assert_array_equal(waveform(levels) * 2**15, mu_law_decode(levels))
    audio = np.array([-32768, -1, 0, 32767], np.int16)
    levels = linear_encode(audio)
    assert levels.tolist() == [0, 32767, 32768, 65535]
    np.testing.assert_array_equal(linear_waveform(levels) * 2**15, audio)


def test_pictures_are_read_from_png_files(monkeypatch):
    image = pytest.importorskip("PIL.Image")
    pixels = np.random.default_rng(0).integers(0, 256, (3, 28, 28)).astype(np.uint8)
    files = []
    for each in pixels:
        image.fromarray(each).save(file := io.BytesIO(), "PNG")
        files.append(file.getvalue())
    rows, asked = {"train": {"image": files, "label": [3, 1, 2]}, "test": {"image": files[:1]}}, []
    monkeypatch.setattr(images, "read_splits", lambda *names, **options: asked.append((names, options)) or rows)
    found = images._read("mnist", "folder")
    assert asked == [(("mnist", "folder"), {"features": ("image",), "encoded": ("image",)})]
    np.testing.assert_array_equal(found["train"]["x"], pixels)
    assert found["train"]["context"].tolist() == [3, 1, 2] and found["test"].keys() == {"x"}
    monkeypatch.setattr(images.importlib.util, "find_spec", lambda name: None)
    for read, sentence in (
        (lambda: images._read("mnist", ""), "the images of 'mnist' are png files, .*: pip install pillow"),
        (lambda: make_dataset("digits"), "'digits' lies in a package that is missing: pip install scikit-learn"),
    ):
        with pytest.raises(UserError, match=sentence):
            read()


def test_letters_may_be_images(monkeypatch):
    bits = np.random.default_rng(0).integers(0, 2, (4, 128))
    monkeypatch.setattr(vectors, "read_splits", lambda name, data_dir: {"train": {"x": bits}, "test": {"x": bits[:2]}})
    dataset = make_dataset("uci_binary", set="ocr_letters", as_image=True)
    assert dataset.event == EventSpec((16, 8)) and dataset.name == "uci_binary/ocr_letters"
    np.testing.assert_array_equal(read_all(dataset.splits["train"]).x.reshape(4, 128), bits)


def test_orders_are_read_off_examples_of_which_every_site_counts():
    event, x = EventSpec((3,)), np.arange(12).reshape(4, 3) % 2
    mask = np.ones((4, 3))
    mask[1, 2] = 0
    np.testing.assert_array_equal(from_arrays(event, train=x).some_examples("train"), x)
    np.testing.assert_array_equal(from_arrays(event, train=x).some_examples("train", most=2), x[::2])
    masked = from_arrays(event, train={"x": x, "mask": mask})
    np.testing.assert_array_equal(masked.some_examples("train"), x[[0, 2, 3]])
    thin = from_arrays(event, train=x, test=x[:1]).thinned(2)
    assert [len(thin.splits[split]) for split in ("train", "test")] == [2, 1]
    assert thin.splits["train"].places.tolist() == [0, 2]
    np.testing.assert_array_equal(thin.splits["train"].__getitems__(np.arange(1, 2)).x, x[2:3])
    weighted = from_arrays(event, train={"x": x, "weight": [1, 0, 1, 1]})
    np.testing.assert_array_equal(weighted.some_examples("train"), x[[0, 2, 3]])
    for nothing in ({"mask": np.zeros((4, 3))}, {"weight": [0, 0, 0, 0]}):
        with pytest.raises(UserError, match="no order can be read off 'arrays'"):
            from_arrays(event, train={"x": x} | nothing).some_examples("train")


@pytest.mark.parametrize(
    ("context", "given"),
    [
        (ContextSpec("label", 2), np.array([True, False])),
        (ContextSpec("label", 2), np.array([1, 0], np.uint8)),
        (ContextSpec("vector", 2), np.full((2, 2), 2**40)),
        (ContextSpec("vector", 2), np.full((2, 2), True)),
    ],
)
def test_contexts_have_the_type_of_their_kind(context, given):
    dataset = from_arrays(EventSpec((2,)), train={"x": np.eye(2, dtype=int), "context": given}, context=context)
    found = read_all(dataset.splits["train"]).context[context.parts[0][0]]
    assert found.dtype == context.parts[0][1].dtype
    np.testing.assert_array_equal(found, given)


def test_a_stage_is_a_part_of_each_example_given_the_coarser_ones():
    whole = make_dataset("digits", context="label")
    for number, call in ((3, "haar"), (1, "digits(base=5)")):
        dataset = make_dataset("stage", of="digits(context='label')", stages=call, number=number)
        rows, of_whole = (each.splits["test"].__getitems__(np.arange(3)) for each in (dataset, whole))
        cut = make_stages(call, whole.event)

        @jax.jit
        def expected(x, cut=cut, number=number):
            parts = cut.split(x)
            return parts[number - 1], cut.context(number - 1, parts[: number - 1])

        part, coarser = expected(of_whole.x)
        np.testing.assert_array_equal(rows.x, part)
        np.testing.assert_array_equal(rows.context["label"], of_whole.context["label"])
        for name, value in coarser.items():
            np.testing.assert_array_equal(rows.context[name], value)
        assert dataset.event == cut.events[number - 1] and dataset.context.local == (("coarse",) if number > 1 else ())


def test_stages_of_examples_with_masks_and_gaps(scope):
    scope(DATASETS)
    x, mask = np.arange(32).reshape(2, 4, 4) % 9, np.arange(32).reshape(2, 4, 4) % 3 > 0
    event, real = EventSpec((4, 4), (), "levels", 9), EventSpec((4, 4), (), "real")
    DATASETS.register("masked")(lambda: from_arrays(event, train={"x": x, "mask": mask}))
    DATASETS.register("gaps")(lambda: from_arrays(real, train=np.where(mask, x, np.nan)))
    DATASETS.register("scaled")(
        lambda: from_arrays(real, train=np.random.default_rng(0).normal(size=(9, 4, 4)), standardise="sites")
    )
    dataset = make_dataset("stage", of="masked", stages="digits(base=3)", number=2)
    np.testing.assert_array_equal(read_all(dataset.splits["train"]).mask, mask)
    for of, stages, sentence in (
        ("masked", "haar", "they have no mask of single sites"),
        ("gaps", "digits", "the data set 'gaps' has missing values, which have no stages"),
        ("scaled", "digits", "the data set 'scaled' changes or rescales its examples: a stage is one of examples as"),
    ):
        with pytest.raises(UserError, match=sentence):
            make_dataset("stage", of=of, stages=stages)


def test_a_data_set_of_a_user_whose_file_is_missing(scope):
    scope(DATASETS)
    DATASETS.register("mine")(lambda file="none.npz": np.load(file))
    with pytest.raises(UserError, match=r"^cannot read the data set 'mine': No such file or directory: none\.npz$"):
        make_dataset("mine")
