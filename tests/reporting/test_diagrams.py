"""Diagrams of factorizations and chains, and pictures of exposure: each node, arrow, frame and curve."""

import json
import runpy
import shutil

import jax
import numpy as np
import pytest

from arjax.api.pictures import model_pictures
from arjax.core.errors import UserError
from arjax.core.spec import ContextSpec
from arjax.data import make_dataset
from arjax.evaluation.splits import Scoring
from arjax.factorization import make_factorization
from arjax.models import make_model
from arjax.reporting import diagrams
from arjax.reporting.diagrams import chain_figure
from arjax.reporting.figures import save_figure
from arjax.reporting.plots import MASK_CHARACTER, MASK_RGB, Z, exposure_figure, path_figure, text_of_path
from arjax.testing.examples import random_like


@pytest.fixture
def drawn(tmp_path):
    """Draws, and gives the axes with their texts and arrows."""

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
    with pytest.raises(UserError, match=sentence):
        main([*flags, f"--out={tmp_path / 'x.png'}"])


SIZES = {"width": 8, "num_layers": 1, "num_heads": 2}


def arrows(axis, dashed):
    patches = [text.arrow_patch for text in axis.texts if getattr(text, "arrow_patch", None) is not None]
    return sum((patch.get_linestyle() == "--") == dashed for patch in patches)


def words(axis):
    return [text.get_text() for text in axis.texts if text.get_text()]


def test_a_chain_has_learned_arrows_and_dashed_fixed_ones():
    (axis,) = chain_figure(3).axes
    assert words(axis) == ["$x_{T}$", "$x_{T-1}$", "$x_{1}$", "$x_{0}$"]
    assert (arrows(axis, False), arrows(axis, True)) == (3, 3)
    (axis,) = chain_figure(1000).axes
    assert words(axis) == ["$x_{T}$", "$x_{T-1}$", "...", "$x_{1}$", "$x_{0}$"]
    assert (arrows(axis, False), arrows(axis, True)) == (4, 4)


def test_blocks_read_the_clean_blocks_above():
    (axis,) = chain_figure(2, 2).axes
    assert words(axis) == [f"$x_{{{t}}}^{{({b})}}$" for b in (1, 2) for t in ("T", "1", "0")]
    assert (arrows(axis, False), arrows(axis, True)) == (4 + 2, 4)
    (axis,) = chain_figure(1, 64).axes
    assert words(axis) == ["$x_{1}^{(1)}$", "$x_{0}^{(1)}$", "...", "$x_{1}^{(64)}$", "$x_{0}^{(64)}$"]


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
    places = axis.get_xticks()
    np.testing.assert_allclose(places, [1.5, 6.5, 11.5], atol=0.5)


def test_text_paths_have_a_line_for_each_frame():
    found = text_of_path([["░░", "a\n"], ["░░", "bc"]], ["0/2", "2/2"])
    assert found == "0/2  ░░\n2/2  a↵\n\n0/2  ░░\n2/2  bc\n"


def test_a_run_of_images_has_both_pictures():
    dataset = make_dataset("digits", context="label")
    model = make_model(
        dataset.event,
        "block_transformer",
        kind="block_diffusion",
        context=ContextSpec("label", 10),
        partition="rows",
        num_steps=1,
        **SIZES,
    )
    pictures = dict(model_pictures(model, random_like(model.param_shapes), dataset, jax.random.key(0), Scoring(100)))
    assert list(pictures) == ["chain.png", "reverse_process.png"]
    sheet = np.asarray(pictures["reverse_process.png"].axes[0].images[0].get_array())
    masked = np.isclose(sheet, MASK_RGB).all(-1)
    assert masked[:8, :8].all() and not masked[:8, -8:].any()  # of the first example: noise, and data
    labels = [label.get_text() for label in pictures["reverse_process.png"].axes[0].get_xticklabels()]
    assert labels == [f"{n}/8" for n in range(9)]


def test_texts_show_their_masks(tmp_path):
    file = tmp_path / "words.txt"
    file.write_text("ab\nba\n" * 40)
    dataset = make_dataset("text", file=str(file), length=6, eval_stride=6, min_count=0)
    model = make_model(dataset.event, "denoising_transformer", kind="discrete_chain", num_steps=3, **SIZES)
    params, key = random_like(model.param_shapes), jax.random.key(0)
    pictures = dict(model_pictures(model, params, dataset, key, Scoring(100)))
    assert list(pictures) == ["chain.png", "reverse_process.txt"]
    paragraphs = pictures["reverse_process.txt"].split("\n\n")
    assert len(paragraphs) == 6
    lines = [line.split("  ", 1) for line in paragraphs[0].splitlines()]
    assert [label for label, _ in lines] == ["0/3", "1/3", "2/3", "3/3"]
    assert lines[0][1] == MASK_CHARACTER * 6 and MASK_CHARACTER not in lines[-1][1]


RNG = np.random.default_rng(0)


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
    page, measured_rows = tmp_path / "README.md", load_script("scripts/measured.py").measured_rows
    page.write_text("<!-- measured -->\n<!-- end measured -->\n")
    study = load_script("experiments/exposure_bias/draw.py")
    assert study.main([str(tmp_path), f"--out={tmp_path}"]) == 0
    for picture in ("exposure.png", "second_stage.png"):
        assert (tmp_path / picture).stat().st_size > 1000
    head = [cell.strip() for cell in page.read_text().splitlines()[1].strip("|").split("|")]
    first, second, control, last = measured_rows(page, head)
    assert first[:3] == ["LSTM of Shakespeare", "GRU", "teacher forcing"] and first[5:7] == ["", ""]
    assert second[3:7] == ["21.00 ± 0.98", "21.00 ± 0.98", "+1.00 ± 1.39", "+0.20 %"]
    assert second[-1] == "20.0 ± 2.0"
    beside = [*["23.00 ± 0.98"] * 2, "+1.00 ± 1.39", "+0.20 %"]
    assert control[5:7] == ["", ""] and last[2:7] == ["then rollout, oracle", *beside]
    shutil.rmtree(tmp_path / "lstm-gru-then_oracle")
    assert study.main([str(tmp_path), f"--out={tmp_path}"]) == 0
    assert measured_rows(page, head) == [first, second, control, last]  # keeps its line
    kept = np.load(tmp_path / "curves.npz")["lstm-gru-then_oracle"]  # and its curve
    np.testing.assert_allclose(kept, [np.linspace(0, 20, 256), np.ones(256)], rtol=1e-6)
    done = run_script("experiments/exposure_bias/draw.py", tmp_path / "none")
    assert done.returncode == 2 and "has no finished run" in done.stderr
