"""The figures: what is drawn is what was given, and a second call updates in place.

Tried and seen to fail: images transposed, the density without exp, set_data left out, one shared colour.
"""

import matplotlib
import numpy as np
import pytest
import torch

from ddpm_lesson import GaussianMixture, linear_schedule, plots

matplotlib.use("agg")
import matplotlib.pyplot as plt  # noqa: E402

MIXTURE = GaussianMixture([0.3, 0.7], [[-1.5], [0.6]], 0.25)


@pytest.fixture
def ax():
    with plt.style.context("ddpm_lesson.lesson"):
        fig, ax = plt.subplots()
        yield ax
        plt.close(fig)


def test_images_lie_in_a_table_with_a_gap_and_their_names_at_their_centres(ax):
    images = torch.arange(2 * 3 * 4 * 5.0).reshape(2, 3, 1, 4, 5)
    drawn = plots.draw_images(images, ax, rows=["a", "b"], columns=["x", "y", "z"])
    table = torch.tensor(np.ma.filled(drawn.get_array(), float("nan")))
    assert table.shape == (2 * 5 - 1, 3 * 6 - 1)
    torch.testing.assert_close(table[5:9, 12:17], images[1, 2, 0])
    assert table[4].isnan().all() and table[:, 5].isnan().all()
    assert list(ax.get_xticks()) == [2, 8, 14] and list(ax.get_yticks()) == [1.5, 6.5]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["x", "y", "z"]


def test_one_row_of_images_needs_no_row_axis(ax):
    images = torch.rand(3, 1, 4, 4)
    table = np.ma.filled(plots.draw_images(images, ax).get_array())
    torch.testing.assert_close(torch.tensor(table[:, :4]), images[0, 0])


def test_a_drawn_density_encloses_area_one_and_peaks_where_the_mixture_does(ax):
    line = plots.draw_density(MIXTURE, ax)
    x, p = (torch.tensor(v) for v in line.get_data())
    assert float(torch.trapezoid(p, x)) == pytest.approx(1, abs=1e-6)
    assert float(x[p.argmax()]) == pytest.approx(0.6, abs=0.02)


def test_the_forward_map_shows_each_column_by_its_own_peak(ax):
    schedule = linear_schedule(20, rescale=False)
    drawn = plots.draw_forward(MIXTURE, schedule, ax, paths=torch.zeros(21, 2))
    p = torch.tensor(np.ma.filled(drawn.get_array()))
    assert p.shape == (161, 21) and (p.max(0).values == 1).all()
    assert len(ax.lines) == 2 and drawn.get_extent() == [0, 20, -4, 4]


@pytest.mark.parametrize("draw, first, second", [
    (plots.draw_images, (torch.zeros(2, 1, 3, 3),), (torch.ones(2, 1, 3, 3),)),
    (plots.draw_density, (MIXTURE,), (MIXTURE.noised(5, linear_schedule(10)),)),
    (plots.draw_forward, (MIXTURE, linear_schedule(10)), (MIXTURE, linear_schedule(10, beta_T=0.5))),
])
def test_given_its_artists_a_figure_is_updated_in_place(ax, draw, first, second):
    def data(artist):
        return np.array(artist.get_array() if hasattr(artist, "get_array") else artist.get_ydata())

    artists = draw(*first, ax)
    before, children = data(artists), len(ax.get_children())
    assert draw(*second, ax, artists=artists) is artists
    assert (data(artists) != before).any() and len(ax.get_children()) == children


def test_roles_are_told_apart_by_colour_and_in_greyscale():
    def lightness(colour):
        r, g, b = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
        return 0.2126 * r + 0.7152 * g + 0.0722 * b

    assert len(set(plots.COLORS.values())) == len(plots.COLORS) == len(plots.LINES)
    greys = sorted((lightness(c), str(plots.LINES[role])) for role, c in plots.COLORS.items())
    for (a, line_a), (b, line_b) in zip(greys, greys[1:], strict=False):
        assert b - a > 0.05 or line_a != line_b
