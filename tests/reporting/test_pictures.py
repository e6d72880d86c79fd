"""Pictures and sample files: what is drawn is what was given."""

import wave
from unittest import mock

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

from arjax.core.errors import UserError
from arjax.models.pictures import as_images
from arjax.reporting import figures, plots
from arjax.reporting.samples import write_samples, write_wave
from arjax.sweep.plots import Dot, _draw_dots, _limits

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
    figures.save_figure(plots.entropy_figure(RNG.random(64), np.full(64, 0.1), RNG.random(64), over_grid), path)
    picture = decode_png(path)
    assert np.ptp(picture) == 1.0
    assert (picture.shape[1] > 1200) == (over_grid is not None)  # the second panel makes it wider


def test_loss_curves_skip_what_was_not_finite(tmp_path):
    steps = np.arange(1, 10)
    train = steps, np.where(steps < 9, 3 / steps, np.nan)
    history = {"train/bits_per_dim": train, "validation/bits_per_dim": (np.array([9]), np.ones(1))}
    figures.save_figure(plots.loss_figure(history), tmp_path / "loss.png")
    assert np.ptp(decode_png(tmp_path / "loss.png")) == 1.0
    with pytest.raises(UserError, match="no line with 'bits_per_dim'"):
        plots.loss_figure({"other": train})


def test_missing_matplotlib_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(figures.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pictures need matplotlib"):
        plots.sample_figure(np.zeros((1, 2, 2)))
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
