"""Pictures of densities of the plane."""

import numpy as np
import pytest

from arjax.core.errors import UserError
from arjax.reporting.densities import density_figure, plane_grid

EXTENT = (-1.0, 1.0, 0.0, 4.0)


def test_points_are_the_centres_of_cells_from_the_bottom_row_by_row():
    expected = [[-0.5, 1], [0.5, 1], [-0.5, 3], [0.5, 3]]
    np.testing.assert_allclose(plane_grid(EXTENT, 2), expected)


def test_a_row_has_one_scale_of_colours_and_the_extent_of_its_grid():
    pytest.importorskip("matplotlib")
    low, high = np.array([[0.0, 1.0], [0.0, 0.0]]), np.array([[0.0, 0.0], [4.0, 0.0]])
    axes = density_figure([[("data", low), ("flow", high)]], [EXTENT]).axes
    assert [axis.get_title() for axis in axes] == ["data", "flow"]
    images = [axis.images[0] for axis in axes]
    for image, density in zip(images, (low, high), strict=True):
        assert image.get_clim() == (0, 4) and image.origin == "lower" and tuple(image.get_extent()) == EXTENT
        np.testing.assert_array_equal(image.get_array(), density)


@pytest.mark.parametrize("rows", [[], [[]], [[("a", np.ones((2, 2)))], []]])
def test_rows_that_cannot_be_drawn(rows):
    with pytest.raises(UserError, match=r"^densities are drawn in rows of equally many panels"):
        density_figure(rows, [EXTENT] * len(rows))
