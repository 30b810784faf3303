"""What the explorers draw, against Bayes' rule, sampling and the bound: the numbers behind the lines, not the pixels.

Tried and seen to fail: β̃ for 1 - ᾱ in the forward density, √ᾱ_t left out of the predictor's likelihood, an error of
ε without ᾱ/(1 - ᾱ), weights of the bound not applied, a dot read one step early, a guess of the step before.
"""

import re

import pytest
import torch
from torch.testing import assert_close

from ddpm_lesson import cosine_schedule, elbo_terms, linear_schedule, mean_from_x0, simple_loss, widgets
from ddpm_lesson.data import digits

HUNDRED = linear_schedule(100, rescale=True)


def drawn(explorer, **values):
    """The artists after the sliders have moved to these values."""
    for name, value in values.items():
        explorer.controls[name].value = value
    assert "Error" not in explorer.message.value
    return explorer._picture.artists


def data(line):
    return (torch.as_tensor(v, dtype=torch.float64) for v in line.get_data())


@pytest.mark.parametrize("t, x0, xt", [(2, 0.7, 1.2), (5, -1.0, 0.4), (10, 2.0, -0.5)])
def test_the_drawn_posterior_is_the_product_of_the_drawn_factors_over_the_evidence(t, x0, xt):
    artists = drawn(widgets.posterior_explorer(), t=t, x0=x0, xt=xt)
    (x, jump), (_, step), (_, evidence), (_, posterior) = (
        data(artists[role]) for role in ("data", "noised", "prior", "posterior"))
    assert_close(posterior, jump * step / evidence, rtol=1e-9, atol=1e-12)
    assert_close(torch.trapezoid(posterior, x), torch.tensor(1.0).double(), rtol=0, atol=1e-3)
    mean = torch.trapezoid(x * posterior, x)
    assert float(mean) == pytest.approx(float(artists["mean"].get_xdata()[0]), abs=1e-3)


@pytest.mark.parametrize("t, xt", [(5, -0.4), (30, -0.4), (60, 1.5)])
def test_the_drawn_x0_have_the_exact_mean_and_the_triangle_is_consistent(t, xt):
    artists = drawn(widgets.predictor_explorer(), t=t, xt=xt)
    x, p = data(artists["density"])
    point = torch.tensor([[xt]], dtype=torch.float64)
    exact = widgets.MIXTURE.posterior_mean(point, t, HUNDRED).item()  # a formula, no grid
    assert float((x * p).sum() / p.sum()) == pytest.approx(exact, abs=1e-3)
    assert float(artists["mean"].get_xdata()[0]) == pytest.approx(exact, abs=1e-9)
    x0_hat, eps_hat, mu_hat = (float(re.search(r"= (.+)", artists["text", name].get_text())[1])
                               for name in ("x0", "eps", "mean"))
    keep = float(HUNDRED.alpha_bar[t])
    assert keep**0.5 * x0_hat + (1 - keep) ** 0.5 * eps_hat == pytest.approx(xt, abs=2e-3)
    both = torch.tensor([[xt], [x0_hat]], dtype=torch.float64)
    assert mu_hat == pytest.approx(mean_from_x0(both[:1], both[1:], t, HUNDRED).item(), abs=2e-3)


def test_the_drawn_x0_follow_the_drawn_density():
    artists = drawn(widgets.predictor_explorer(), t=30, xt=-0.4)
    x, p = data(artists["density"])
    ticks, cdf = torch.as_tensor(artists["drawn"].get_xdata()).double().sort().values, (p / p.sum()).cumsum(0)
    uniform = cdf[torch.searchsorted(x, ticks)]
    steps = (torch.arange(len(ticks)) + 0.5) / len(ticks)
    assert float((uniform - steps).abs().max()) < 1.36 / len(ticks) ** 0.5  # Kolmogorov-Smirnov at 5 %


@pytest.mark.parametrize("predicts", ["eps", "x0", "mean"])
def test_the_drawn_error_is_the_exact_denoisers_loss(predicts):
    steps, error = data(drawn(widgets.loss_explorer(), predicts=predicts)["error"])
    generator = torch.Generator().manual_seed(0)
    x0, denoiser = widgets.MIXTURE.sample(40_000, generator).double(), widgets.MIXTURE.denoiser(HUNDRED, predicts)
    for t in (2, 10, 30):
        sampled = simple_loss(denoiser, x0, HUNDRED, t=t, predicts=predicts, generator=generator)
        assert float(error[steps == t]) == pytest.approx(float(sampled), rel=0.05)


@pytest.mark.parametrize("predicts", ["eps", "x0", "mean"])
def test_the_drawn_share_of_the_bound_is_that_of_its_terms(predicts):
    steps, share = data(drawn(widgets.loss_explorer(), predicts=predicts)["bound"])
    generator = torch.Generator().manual_seed(0)
    x0 = widgets.MIXTURE.sample(10_000, generator).double()
    L_t = elbo_terms(widgets.MIXTURE.denoiser(HUNDRED), x0, HUNDRED, generator=generator).L_t.mean(1)[2:]
    assert float((share - (L_t / L_t.sum()).cumsum(0)).abs().max()) < 0.02


def test_the_dots_of_the_schedule_stand_on_its_tables_at_t():
    artists = drawn(widgets.schedule_explorer(), versus="linear", t=217)
    tables = [lambda s: s.beta, lambda s: s.alpha_bar, lambda s: s.snr, lambda s: s.beta_tilde.sqrt()]
    for k, table in enumerate(tables):
        dot = [float(v[0]) for v in artists[k, 0].get_data()]
        assert dot == pytest.approx([217, float(table(cosine_schedule())[217])])
        for line, schedule in ((1, cosine_schedule()), (2, linear_schedule())):
            _, y = data(artists[k, line])
            assert_close(y, table(schedule)[1:])


@pytest.mark.parametrize("way", ["chain", "jump"])
def test_the_points_of_the_forward_explorer_follow_the_density_above_them(way):
    explorer = widgets.forward_explorer()
    for t in (0, 20, 100):
        x = torch.as_tensor(drawn(explorer, t=t, way=way)["points"].get_xdata())
        exact = widgets.MIXTURE.noised(t, HUNDRED)
        cdf = torch.special.ndtr((x.double().sort().values[:, None] - exact.means[:, 0]) / exact.std) @ exact.weights
        assert float((cdf - (torch.arange(400) + 0.5) / 400).abs().max()) < 1.63 / 20  # Kolmogorov-Smirnov at 1 %


def test_the_last_image_is_the_guess_of_the_step_before():
    """No noise is added at t = 1: x_0 is E[x_0 | x_1], which is the guess drawn at t = 1."""
    explorer = widgets.sampling_explorer()
    guess = drawn(explorer, steps=99)["guesses"].get_array().copy()
    last = drawn(explorer, steps=100)["states"].get_array()
    assert_close(torch.as_tensor(last.filled(0)), torch.as_tensor(guess.filled(0)))
    points = torch.as_tensor(drawn(explorer, steps=100)["points"].get_xdata())
    assert float((points < -0.4).double().mean()) == pytest.approx(0.3, abs=0.07)


def test_the_guess_is_the_average_of_all_digits_that_explain_the_state():
    artists = drawn(widgets.sampling_explorer(), steps=50)
    state, guess = (torch.as_tensor(artists[name].get_array().filled(0))[:8, :8].flatten().double()
                    for name in ("states", "guesses"))
    images, keep = digits()[0].flatten(1).double(), HUNDRED.alpha_bar[50]
    var = keep * 0.1**2 + 1 - keep  # of a pixel of x_t, given the digit
    weights = (-((state - keep.sqrt() * images) ** 2).sum(1) / (2 * var)).softmax(0)
    nearer = images + keep.sqrt() * 0.1**2 / var * (state - keep.sqrt() * images)  # E[x_0 | x_t, the digit]
    assert_close(guess, weights @ nearer, rtol=0, atol=1e-5)
