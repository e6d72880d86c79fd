"""Diagrams of factorizations: every site and every dependency is in them."""

import runpy

import numpy as np
import pytest

from arjax.core.errors import UserError
from arjax.factorization import make_factorization
from arjax.reporting import diagrams
from arjax.reporting.figures import save_figure


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
