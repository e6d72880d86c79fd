"""Pictures of chains: every node, every arrow, every frame, and masks that are no values."""

import jax
import numpy as np

from arjax.api.pictures import model_pictures
from arjax.core.spec import ContextSpec
from arjax.data import make_dataset
from arjax.evaluation.splits import Scoring
from arjax.models import make_model
from arjax.reporting.diagrams import chain_figure
from arjax.reporting.plots import MASK_CHARACTER, MASK_RGB, path_figure, text_of_path
from arjax.testing.examples import random_like

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
