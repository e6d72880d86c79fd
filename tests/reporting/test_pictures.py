"""Pictures, diagrams and sample files: what is drawn is what was given."""

import csv
import dataclasses
import json
import runpy
import shutil
import types
import wave
from unittest import mock

import jax
import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from refusals import refusal

from arjax.api import pictures
from arjax.api.pictures import model_pictures
from arjax.core.spec import ContextSpec, EventSpec
from arjax.data import from_arrays, make_dataset
from arjax.evaluation.splits import Scoring
from arjax.factorization import make_factorization
from arjax.models import make_model
from arjax.models.pictures import CodesInUse, EntropyAlongOrder, OrderGraph, Paths, Tiles, as_images
from arjax.reporting import diagrams, figures, plots
from arjax.reporting.figures import save_figure
from arjax.reporting.plots import MASK_CHARACTER, MASK_RGB, Z, exposure_figure, path_figure, text_of_path
from arjax.reporting.samples import write_samples, write_wave
from arjax.sweep.plots import Dot, _draw_dots, _limits
from arjax.testing.examples import random_like

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def as_users_see_them(monkeypatch):
    """Tests of whole runs draw small pictures."""
    monkeypatch.setitem(matplotlib.rcParams, "savefig.dpi", "figure")


def test_tiles_hold_the_images_with_gaps():
    images = RNG.random((3, 4, 5))
    sheet = plots.tile_images(images, columns=2)
    assert sheet.shape == (4 + 1 + 4, 5 + 1 + 5)
    np.testing.assert_allclose(sheet[:4, 6:], images[1], rtol=1e-6)
    np.testing.assert_allclose(sheet[5:, :5], images[2], rtol=1e-6)
    assert (sheet[4] == 1).all() and (sheet[5:, 6:] == 1).all()
    images = RNG.random((2, 4, 4, 3))  # in colour
    np.testing.assert_allclose(plots.tile_images(images, 2)[:, :4], images[0], rtol=1e-6)


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (9, 3), (32, 8), (10, 5), (7, 3), (64, 8), (2, 2)])
def test_rows_are_full_where_they_can_be(count, columns):
    assert plots._columns(count) == columns


def decode_png(path):
    from matplotlib.image import imread

    return imread(path)[..., :3]


def test_sample_grid_draws_white_and_black(tmp_path):
    figure = plots.sample_figure(np.full((4, 8, 8), 16), np.zeros((4, 8, 8)), max_value=16)
    figures.save_figure(figure, tmp_path / "a" / "grid.png")
    picture = decode_png(tmp_path / "a" / "grid.png")
    middle = picture[picture.shape[0] // 3]
    left, right = middle[: len(middle) // 2], middle[len(middle) // 2 :]
    assert left.min() == 0.0 and right.min() == 1.0  # real on the left is black, samples on the right are white
    many = plots.sample_figure(np.zeros((70, 8, 8)), np.zeros((80, 8, 8)))
    assert [axis.images[0].get_array().shape for axis in many.axes] == [(71, 71)] * 2  # 64 of each
    np.testing.assert_allclose(many.get_size_inches(), [2 * 3.6, 3.6 + 0.35])


def plain_figure():
    """As a kind of model of one's own may draw it: without a layout."""
    figure = Figure()
    figure.subplots(1, 2)[0].imshow(np.zeros((2, 3)))
    return figure


@pytest.mark.parametrize(
    "make", [plain_figure, lambda: plots.entropy_figure(np.arange(9.0), np.full(9, 0.1), over_grid=np.eye(4))]
)
def test_a_figure_is_drawn_once_as_matplotlib_would_cut_it(tmp_path, monkeypatch, make):
    make().savefig(tmp_path / "tight.png", bbox_inches="tight", pad_inches=0.06)
    figure = make()
    drawn = mock.Mock(wraps=figure.axes[0].draw)
    monkeypatch.setattr(figure.axes[0], "draw", drawn)
    layout = figure.get_layout_engine()
    figures.save_figure(figure, tmp_path / "saved.png")
    np.testing.assert_array_equal(decode_png(tmp_path / "saved.png"), decode_png(tmp_path / "tight.png"))
    assert drawn.call_count == 1 and figure.get_layout_engine() is layout


@pytest.mark.parametrize("over_grid", [None, RNG.random((8, 8))])
def test_entropy_curve(tmp_path, over_grid):
    path = tmp_path / "entropy.png"
    figure = plots.entropy_figure(RNG.random(64), np.full(64, 0.1), RNG.random(64), over_grid)
    names = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert names == ["± 1 std. error", "entropy of the conditional", "-log p of the data"]
    figures.save_figure(figure, path)
    picture = decode_png(path)
    assert np.ptp(picture) == 1.0
    assert (picture.shape[1] > 1200) == (over_grid is not None)  # the second panel makes it wider


def test_loss_curves_skip_what_was_not_finite(tmp_path):
    steps = np.arange(1, 10)
    train = steps, np.where(steps < 9, 3 / steps, np.nan)
    history = {"train/bits_per_dim": train, "validation/bits_per_dim": (np.array([9]), np.ones(1))}
    figures.save_figure(plots.loss_figure(history), tmp_path / "loss.png")
    assert np.ptp(decode_png(tmp_path / "loss.png")) == 1.0
    assert "no line with 'bits_per_dim'" in refusal(plots.loss_figure, {"other": train})


def test_missing_matplotlib_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(figures.importlib.util, "find_spec", lambda name: None)
    assert "pictures need matplotlib" in refusal(plots.sample_figure, np.zeros((1, 2, 2)))
    written = write_samples(tmp_path, np.zeros((1, 2, 2)), (2, 2))
    assert [path.name for path in written] == ["samples.npy"]


@pytest.mark.parametrize(
    ("shape", "grid", "expected"),
    [
        ((2, 4, 5), (4, 5), (2, 4, 5)),
        ((2, 4, 5, 3), (4, 5), (2, 4, 5, 3)),
        ((2, 4, 5, 1), (4, 5), (2, 4, 5)),
        ((2, 7, 88), (7,), (2, 88, 7)),
        ((2, 7), (7,), None),
        ((2, 3, 4, 5), (3, 4, 5), None),
    ],
)
def test_what_can_be_drawn(shape, grid, expected):
    x = np.zeros(shape)
    x[(0, 2, 0)[: x.ndim]] = 1  # of a piano roll a low note, at the bottom
    images = as_images(x, grid)
    assert (None if images is None else images.shape) == expected
    assert shape != (2, 7, 88) or images[0, -1, 2] == 1


def test_samples_are_written_in_every_form(tmp_path):
    x = RNG.integers(0, 2, (2, 6))
    written = write_samples(
        tmp_path, x, (6,), to_text=lambda s: "".join(map(str, s)), to_wave=lambda s: s / 2, sample_rate=8000
    )
    assert [p.name for p in written] == ["samples.npy", "samples.txt", "sample_00.wav", "sample_01.wav"]
    np.testing.assert_array_equal(np.load(written[0]), x)
    assert "".join(map(str, x[1])) in written[1].read_text()


def test_wave_holds_the_waveform(tmp_path):
    write_wave(tmp_path / "a.wav", np.array([0.0, 1.0, -1.0, 2.0]), 8000)
    with wave.open(str(tmp_path / "a.wav")) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (8000, 1, 2)
        assert np.frombuffer(file.readframes(4), "<i2").tolist() == [0, 32767, -32767, 32767]


def test_results_are_dots_sorted_beside_published_numbers(tmp_path):
    far = Dot("far behind", 900.0)
    some = [Dot("MADE", 80.0, 0.3, 83.6), Dot("NADE", 84.0), Dot("FVSBN", 85.0), Dot("RBM", 86.0), far]
    assert _limits(some, lower_is_better=True) == (80.0, 86.0)
    assert _limits([Dot("a", 1.0), Dot("b", 3.0, published=4.0)], lower_is_better=False) == (1.0, 4.0)
    axis = figures.new_figure(3, 3).subplots()
    _draw_dots(axis, [Dot("best", 80.0, 0.7), *[Dot("last", 81.0, 0.4)] * 3, far], lower_is_better=True)
    assert [text.get_text() for text in axis.get_yticklabels()][-1] == "best" and axis.texts[0].get_text() == "900 >"
    assert axis.get_xlim()[0] < 79.3 and 81.4 < axis.get_xlim()[1] < 83  # no bar is cut


@pytest.fixture
def drawn(tmp_path):

    def draw(*args, **kwargs):
        figure = diagrams.factorization_figure(*args, **kwargs)
        save_figure(figure, tmp_path / "picture.png")
        assert (tmp_path / "picture.png").stat().st_size > 1000
        return figure.axes

    return draw


def texts(axis) -> list[str]:
    return [text.get_text() for text in axis.texts if text.get_text()]


def test_few_sites_are_nodes_with_an_arrow_for_each_dependency(drawn):
    left, right = drawn(make_factorization((3,), "list(order=(2, 0, 1))"), names=["A", "B", "C"])
    assert sorted(texts(left)) == ["A", "B", "C"]
    assert len(left.texts) - 3 == 3  # arrows: C -> A, C -> B, A -> B
    assert [label.get_text() for label in right.get_xticklabels()] == ["C", "A", "B"]
    np.testing.assert_array_equal(right.images[0].get_array(), np.tri(3, k=-1, dtype=bool))
    window = np.eye(3, k=-1, dtype=bool)
    left, _ = drawn(make_factorization((3,)), window)
    assert len(left.texts) - 3 == 2
    left, _ = drawn(make_factorization((5,), "raster", "sizes(sizes=(1, 4))"))
    np.testing.assert_allclose([*left.get_xlim(), *left.get_ylim()], [-0.5, 1.5, -2.1, 2.1])  # around all nodes
    places = [text.get_position() for text in left.texts if text.get_text()]
    assert places == [(0, 0), *((1, y) for y in (1.5, 0.5, -0.5, -1.5))]  # the first one on top


def test_a_graph_is_drawn_by_its_longest_paths(drawn):
    """A before B and C, both before D: B and C stand below one another, and dark sites have white names."""
    left, _ = drawn(make_factorization((4,), graph="edges(arrows=((0, 1), (0, 2), (1, 3), (2, 3)))"))
    nodes = [text for text in left.texts if text.get_text()]
    assert [text.get_position() for text in nodes] == [(0, 0), (1, 0.5), (1, -0.5), (2, 0)]
    assert [text.get_color() for text in nodes] == ["white", "white", "black", "black"]


def test_many_sites_are_a_grid_with_their_steps(drawn):
    left, right = drawn(make_factorization((4, 4), "snake", "rows"))
    assert texts(left) == [str(row + 1) for row in range(4) for _ in range(4)]  # steps count from 1
    assert right.images[0].get_array().sum() == 16 * 6


@pytest.fixture
def main(repository):
    return runpy.run_path(str(repository / "scripts" / "draw_factorization.py"))["main"]


def test_the_script_draws_what_a_network_reads(main, tmp_path):
    out = tmp_path / "folder" / "picture.png"
    assert main(["--grid=6", "--network=local_transformer", "--ordering=reversed", f"--out={out}"]) == 0
    assert out.exists()


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--grid=3,x"], "--grid must name positive sizes, such as 8,8, not '3,x'"),
        (["--grid=3", "--names=A,B"], "--names gives 2 names, but there are 3 sites"),
        (["--grid=3", "--ordering=spirla"], "did you mean 'spiral'"),
    ],
)
def test_mistakes_are_told(main, tmp_path, flags, sentence):
    assert sentence in refusal(main, [*flags, f"--out={tmp_path / 'x.png'}"])


def test_frames_in_rows_with_masks_in_their_colour():
    frames = np.zeros((2, 3, 4, 4))
    frames[1, 2] = 16
    masked = np.zeros(frames.shape, bool)
    masked[0, 0, 1, 2] = True
    figure = path_figure(frames, ["0", "1", "2"], masked, 16)
    (axis,) = figure.axes
    sheet = np.asarray(axis.images[0].get_array())
    np.testing.assert_allclose(sheet[1, 2], MASK_RGB, rtol=1e-6)
    assert (sheet[5:9, 10:14] == 1).all() and (sheet[5:9, :4] == 0).all()
    assert [label.get_text() for label in axis.get_xticklabels()] == ["0", "1", "2"]
    np.testing.assert_allclose(figure.get_size_inches(), [7.2, 7.2 * 9 / 14 + 0.55])
    places = axis.get_xticks()
    np.testing.assert_allclose(places, [1.5, 6.5, 11.5], atol=0.5)


def test_text_paths_have_a_line_for_each_frame():
    found = text_of_path([["░░", "a\n"], ["░░", "bc"]], ["0/2", "2/2"])
    assert found == "0/2  ░░\n2/2  a↵\n\n0/2  ░░\n2/2  bc\n"


SIZES = {"width": 8, "num_layers": 1, "num_heads": 2}


def test_a_run_of_images_shows_the_reverse_process():
    dataset = make_dataset("digits", context="label")
    options = {"context": ContextSpec("label", 10), "partition": "rows", "num_steps": 1}
    model = make_model(dataset.event, "block_transformer", kind="block_diffusion", **options, **SIZES)
    drawn = dict(model_pictures(model, random_like(model.param_shapes), dataset, jax.random.key(0), Scoring(100)))
    assert list(drawn) == ["reverse_process.png"]
    sheet = np.asarray(drawn["reverse_process.png"].axes[0].images[0].get_array())
    masked = np.isclose(sheet, MASK_RGB).all(-1)
    assert masked[:8, :8].all() and not masked[:8, -8:].any()  # of the first example: noise, and data
    labels = [label.get_text() for label in drawn["reverse_process.png"].axes[0].get_xticklabels()]
    assert labels == [f"{n}/8" for n in range(9)]


def test_texts_show_their_masks(tmp_path):
    file = tmp_path / "words.txt"
    file.write_text("ab\nba\n" * 40)
    dataset = make_dataset("text", file=str(file), length=6, eval_stride=6, min_count=0)
    model = make_model(dataset.event, "denoising_transformer", kind="discrete_chain", num_steps=3, **SIZES)
    params, key = random_like(model.param_shapes), jax.random.key(0)
    written = dict(model_pictures(model, params, dataset, key, Scoring(100)))
    assert list(written) == ["reverse_process.txt"]
    paragraphs = written["reverse_process.txt"].split("\n\n")
    assert len(paragraphs) == 6
    lines = [line.split("  ", 1) for line in paragraphs[0].splitlines()]
    assert [label for label, _ in lines] == ["0/3", "1/3", "2/3", "3/3"]
    assert lines[0][1] == MASK_CHARACTER * 6 and MASK_CHARACTER not in lines[-1][1]


def curves(length, *names):
    found = {name: RNG.random(length) for name in names}
    return found | {f"{name}_stderr": 0.1 * RNG.random(length) for name in names}


def edges(band):
    """Lowest and highest value of a band at each place."""
    vertices = band.get_paths()[0].vertices
    return [(vertices[vertices[:, 0] == x, 1].min(), vertices[vertices[:, 0] == x, 1].max()) for x in range(1, 7)]


def test_errors_and_their_excess_have_bands_of_95_per_cent():
    given = curves(6, "forward_own", "forward_data", "excess")
    errors, excess = exposure_figure(given).axes
    assert [line.get_label() for line in errors.lines] == ["own prefixes", "prefixes of the data"]
    for axis, name in ((errors, "forward_own"), (excess, "excess")):
        line, band = axis.lines[0], axis.collections[0]
        assert line.get_xdata().tolist() == [1, 2, 3, 4, 5, 6]
        np.testing.assert_array_equal(line.get_ydata(), given[name])
        half = Z * given[f"{name}_stderr"]
        np.testing.assert_allclose(edges(band), np.stack([given[name] - half, given[name] + half], 1))


def test_the_study_of_exposure_draws_and_lists_what_is_finished(load_script, run_script, tmp_path):
    names = ("forward_own", "forward_data")
    for i, regime in enumerate(("teacher_forcing", "rollout", "then_teacher_forcing", "then_oracle")):
        folder = tmp_path / f"lstm-gru-{regime}"
        folder.mkdir()
        np.savez(folder / "exposure.npz", excess=np.linspace(0, 20, 256), excess_stderr=np.ones(256))
        scores = {f"exposure_{name}_nats": 20.0 + i for name in names} | {"nll_nats": 500.0 + i}
        scores |= {f"exposure_{name}_stderr": 0.5 for name in names}
        (folder / "results.json").write_text(json.dumps(scores))
    page = tmp_path / "README.md"
    page.write_text("<!-- measured -->\n<!-- end measured -->\n")
    study = load_script("experiments/exposure_bias/draw.py")
    assert study.main([str(tmp_path), f"--out={tmp_path}"]) == 0
    assert (tmp_path / "exposure.png").stat().st_size > 1000
    rows = list(csv.reader((tmp_path / "excess.csv").read_text().splitlines()))
    first, second, control, last = rows[1:]
    assert first[:3] == ["LSTM of Shakespeare", "GRU", "teacher forcing"] and first[5:7] == ["", ""]
    assert second[3:7] == ["21.00 ± 0.98", "21.00 ± 0.98", "+1.00 ± 1.39", "+0.20 %"]
    assert second[-1] == "20.0 ± 2.0"
    beside = [*["23.00 ± 0.98"] * 2, "+1.00 ± 1.39", "+0.20 %"]
    assert control[5:7] == ["", ""] and last[2:7] == ["then rollout, oracle", *beside]
    assert page.read_text().count("LSTM of Shakespeare") == 1  # the page has a selection
    shutil.rmtree(tmp_path / "lstm-gru-then_oracle")
    assert study.main([str(tmp_path), f"--out={tmp_path}"]) == 0
    assert list(csv.reader((tmp_path / "excess.csv").read_text().splitlines())) == rows  # keeps its line
    kept = np.load(tmp_path / "curves.npz")["lstm-gru-then_oracle"]  # and its curve
    np.testing.assert_allclose(kept, [np.linspace(0, 20, 256), np.ones(256)], rtol=1e-6)
    done = run_script("experiments/exposure_bias/draw.py", tmp_path / "none")
    assert done.returncode == 2 and "has no finished run" in done.stderr


def shown(monkeypatch, picture, *, matplotlib=True, event=None, splits=("train", "test")):
    """What `model_pictures` makes of a picture of a model: drawn figures are what they are given."""
    monkeypatch.setattr(pictures, "pictures", lambda model, params, examples, key: [("name", picture)])
    monkeypatch.setattr(pictures, "has_matplotlib", lambda: matplotlib)
    monkeypatch.setattr(pictures, "check_matplotlib", lambda: None)
    monkeypatch.setattr(pictures, "codes_in_use", lambda model, params, dataset, split, scoring: (split, scoring))
    monkeypatch.setattr(pictures.plots, "codes_figure", lambda counts: ("codes", counts))
    monkeypatch.setattr(pictures.plots, "tiles_figure", lambda *given: ("tiles", *given))
    monkeypatch.setattr(pictures, "factorization_figure", lambda *given: ("graph", *given))
    monkeypatch.setattr(pictures, "require", lambda model, trait, needs: (model, trait))
    entropies = types.SimpleNamespace(entropy=1, entropy_stderr=2, nll=3, entropy_over_grid=np.zeros((2, 2)))
    monkeypatch.setattr(pictures, "step_entropy", lambda *given: asked.append(given) or entropies)
    monkeypatch.setattr(pictures.plots, "entropy_figure", lambda *given: ("entropy", *given[:3]))
    asked = []
    event = event or EventSpec((2, 2), kind="levels", num_levels=5)
    dataset = from_arrays(event, **{split: event.noise(RNG, 3) for split in splits})
    model = types.SimpleNamespace(event=event)
    return list(model_pictures(model, "params", dataset, "key", "scoring")), asked, dataset, model


def test_each_picture_of_a_model_has_its_figure(monkeypatch):
    x = np.arange(8).reshape(2, 2, 2)
    (name, (form, ((title, images),), columns, inches, top)), *_ = shown(monkeypatch, Tiles(x, 3, "two"))[0]
    assert (name, form, title, columns, inches, top) == ("name.png", "tiles", "two", 3, 6.4, 4)
    np.testing.assert_array_equal(images, x)
    assert shown(monkeypatch, CodesInUse())[0] == [("name.png", ("codes", ("test", "scoring")))]
    assert shown(monkeypatch, OrderGraph("order", "reads"))[0] == [("name.png", ("graph", "order", "reads"))]
    found, asked, dataset, model = shown(monkeypatch, EntropyAlongOrder())
    assert found == [("name.png", ("entropy", 1, 2, 3))]
    assert asked == [((model, "conditionals"), "params", dataset, "test", "scoring", 1000)]
    line = EventSpec((4,), kind="levels", num_levels=5)
    assert shown(monkeypatch, Tiles(x.reshape(2, 4), 3, "two"), event=line)[0] == []  # no images
    assert shown(monkeypatch, Paths(np.zeros((2, 3, 4), int), ("a", "b", "c")), event=line)[0] == []
    for picture in (CodesInUse(), Tiles(x, 3, "two"), EntropyAlongOrder(), OrderGraph("order", "reads")):
        assert shown(monkeypatch, picture, matplotlib=False)[0] == []


def test_samples_are_drawn_beside_as_many_examples_of_the_last_split(monkeypatch):
    drawn, under = [], []
    monkeypatch.setattr(pictures.plots, "sample_figure", lambda *given, max_value: drawn.append((*given, max_value)))
    event, spec = EventSpec((2, 2), kind="levels", num_levels=5), ContextSpec("label", 3)
    x, label = {split: event.noise(RNG, 5) for split in ("train", "test")}, np.arange(5) % 3
    splits = {split: {"x": each, "context": label} for split, each in x.items()}
    dataset, model = from_arrays(event, context=spec, **splits), types.SimpleNamespace(event=event)

    def sample(num, **given):
        under.append(given.get("context"))
        return np.full((num, 2, 2), 4)

    for options in ({}, {"context": 1}):
        pictures.samples_picture(dataset, model, 3, sample, options)
    without = dataclasses.replace(dataset, splits={})
    pictures.samples_picture(without, model, 3, sample, {})
    ((name, labels),) = under[0].items()
    assert (name, np.asarray(labels).tolist()) == ("label", [0, 1, 2]) and under[1:] == [None, None]
    for (samples, beside, top), real in zip(drawn, (x["test"][:3], x["test"][:3], None), strict=True):
        assert (samples.shape, top) == ((3, 2, 2), 4) and (beside is None) == (real is None)
        assert real is None or np.array_equal(beside, real)
    text = types.SimpleNamespace(event=EventSpec((4,), kind="tokens", num_levels=5))
    assert "cannot be drawn as images: look at the arrays of `sample`" in refusal(
        pictures.samples_picture, dataset, text, 3, sample, {}
    )
    none = "the entropy of a step is a mean over examples, of which a saved model has none"
    assert refusal(pictures.entropy_picture, model, {}, without, "", Scoring(), 10) == none


def test_the_loss_is_shown_in_its_range_with_the_best_one_on_validation():
    """Without the first losses, where there are more than 20 values, and without those that are nan."""
    train, validation = (np.arange(4), np.array([4.0, np.nan, 3.0, 2.0])), (np.arange(2), np.array([2.5, 3.5]))
    history = {"train/bits_per_dim": train, "validation/bits_per_dim": validation}
    (axis,) = plots.loss_figure(history).axes
    np.testing.assert_allclose(axis.get_ylim(), (2 - 0.1 - 1e-3, 4 + 0.2 + 1e-3))
    lines = {line.get_label(): line.get_xydata().tolist() for line in axis.lines}
    whole = [[0, 4.0], [2, 3.0], [3, 2.0]]
    assert lines == {"train": whole, "validation": [[0, 2.5], [1, 3.5]], "best: 2.500": [[0, 2.5]]}
    assert (axis.get_xlabel(), axis.get_ylabel(), axis.get_title()) == ("step", "bits/dim", "Loss")
    many = np.linspace(100.0, 0.0, 21)
    (axis,) = plots.loss_figure({"train/nll_nats": (np.arange(21), many)}, "nll_nats").axes
    np.testing.assert_allclose(axis.get_ylim(), (-4.75 - 1e-3, 95 + 9.5 + 1e-3))
    (axis,) = plots.loss_figure({"train/nll_nats": (np.arange(20), many[:20])}, "nll_nats").axes
    np.testing.assert_allclose(axis.get_ylim(), (5 - 4.75 - 1e-3, 100 + 9.5 + 1e-3))
    wrong = "the metrics hold no line with 'loss' to draw"
    assert refusal(plots.loss_figure, history, "loss") == wrong
    nothing = {"validation/loss": (np.zeros(1), np.array([np.nan]))}
    assert refusal(plots.loss_figure, nothing, "loss") == wrong
