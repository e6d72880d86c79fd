"""Pictures of densities of the plane."""

import numpy as np
import pytest

EXTENT = (-1.0, 1.0, 0.0, 4.0)


@pytest.fixture(scope="module")
def study(load_script):
    return load_script("experiments/continuous_density/draw_densities.py")


def test_points_are_the_centres_of_cells_from_the_bottom_row_by_row(study):
    expected = [[-0.5, 1], [0.5, 1], [-0.5, 3], [0.5, 3]]
    np.testing.assert_allclose(study.plane_grid(EXTENT, 2), expected)


def test_a_row_has_one_scale_of_colours_and_the_extent_of_its_grid(study):
    pytest.importorskip("matplotlib")
    low, high = np.array([[0.0, 1.0], [0.0, 0.0]]), np.array([[0.0, 0.0], [4.0, 0.0]])
    axes = study.density_figure([[("data", low), ("flow", high)]], [EXTENT]).axes
    assert [axis.get_title() for axis in axes] == ["data", "flow"]
    images = [axis.images[0] for axis in axes]
    for image, density in zip(images, (low, high), strict=True):
        assert image.get_clim() == (0, 4) and image.origin == "lower" and tuple(image.get_extent()) == EXTENT
        np.testing.assert_array_equal(image.get_array(), density)
