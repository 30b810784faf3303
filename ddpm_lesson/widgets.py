"""The explorers of the lessons: sliders and layout only. What they draw is in plots, what they show is computed once.

Each function returns one widget. Noise is drawn before the sliders move, so a slider changes one thing; and always in
float64, so that it does not depend on a lesson's default dtype.
"""

import functools
import math

import ipywidgets as W
import torch

from . import plots
from .data import digits
from .explore import explore
from .forward import q_sample, q_step
from .mixture import GaussianMixture
from .posterior import posterior_mean_var, posterior_weights
from .sampling import p_sample_loop
from .schedule import Schedule, constant_schedule, cosine_schedule, linear_schedule, quadratic_schedule

WIDE = {"layout": {"width": "290px"}, "style": {"description_width": "70px"}}
POWERS = {"base": 10, "readout_format": ".1e", **WIDE}
MIXTURE = GaussianMixture(weights=[0.3, 0.7], means=[[-1.479], [0.634]], std=0.25)  # mean 0, variance 1


def _slider(name, value, low, high, step=1, **options):
    """An integer slider for integers, a float slider for floats, with room for its name."""
    kind = W.IntSlider if isinstance(value, int) else W.FloatSlider
    return kind(value=value, min=low, max=high, step=step, description=name, **WIDE, **options)


def _choice(name, options):
    """A slider over names. Not a Dropdown: Jupyter's own shortcuts take the arrow keys from it."""
    return W.SelectionSlider(options=options, description=name, **WIDE)


def _seeded(seed):
    return torch.Generator().manual_seed(seed)


def _noise(seed, *shape):
    return torch.randn(shape, generator=_seeded(seed), dtype=torch.float64)


def _at_t(t, schedule, image):
    """What every explorer with a schedule reads out: the signal at t, the signal and the distance to the prior at T."""
    nats, left = float(schedule.terminal_kl(image)[0]), float(schedule.alpha_bar[-1])
    text = (f"t = {t}: &nbsp; ᾱ_t = {float(schedule.alpha_bar[t]):.4f} &nbsp; SNR = {float(schedule.snr[t]):.3g} "
            f"&nbsp; | &nbsp; T = {schedule.T}: &nbsp; ᾱ_T = {left:.2e} &nbsp; "
            f"KL(q(x_T|x_0) ‖ N(0, I)) = {nats:.3g} nats for this image")
    if nats > 0.01 * image[0].numel():
        text += (f"<br><b>The prior is missed:</b> {left:.1%} of the signal's power is still in x_T. Sampling from "
                 "N(0, I) would start from the wrong law.")
    return text


def schedule_explorer(**options):
    """Lesson 03: the schedule's kind, T and ends; what each step adds and keeps; compare with a second schedule."""
    image, noise = digits()[0][1:2], _noise(7, 1, 1, 8, 8)
    kinds = {"cosine": cosine_schedule, "linear": linear_schedule, "quadratic": quadratic_schedule,
             "constant": constant_schedule}
    low = math.log10(0.02) - 1.3  # 13 steps below 0.02: a browser moves a value to its slider's next step
    controls = {
        "kind": _choice("schedule", tuple(kinds)),
        "versus": _choice("compare", ("nothing", *kinds)),
        "T": _slider("T, steps", 1000, 10, 1000),  # before t, whose range it sets: Reset goes in this order
        "t": _slider("t, step", 300, 1, 1000),
        "beta_1": W.FloatLogSlider(0.0001, min=-5, max=-1, description="β_1", **POWERS),
        "beta_T": W.FloatLogSlider(0.02, min=low, max=low + 2.9, description="β_T", **POWERS),
        "s": _slider("s, offset", 0.008, 0.0, 0.1, 0.001, readout_format=".3f"),
    }

    def follow(change):
        with controls["t"].hold_sync():  # range and value in one message
            controls["t"].max = change.new

    controls["T"].observe(follow, "value")

    def built(kind, T, beta_1, beta_T, s):
        ends = {"cosine": [s], "constant": [beta_T]}.get(kind, [beta_1, beta_T])
        return kinds[kind](T, *ends)

    def draw(axes, artists, kind, versus, t, **ends):
        pair = (built(kind, **ends), built(kind if versus == "nothing" else versus, **ends))
        return plots.draw_schedule(pair, t, axes, image, noise, MIXTURE, artists=artists)

    def notes(kind, versus, t, **ends):
        return _at_t(t, built(kind, **ends), image)

    return explore(draw, controls, size=(9, 4.6), panels=(2, 3), notes=notes, **options)


def forward_explorer(**options):
    """Lesson 02: an image and a mixture at any t; walked there step by step, or in one jump."""
    schedule, image = linear_schedule(100, rescale=True), digits()[0][:1]
    points = MIXTURE.sample(400, generator=_seeded(0))
    x0 = torch.cat([image.reshape(1, -1), points.T], 1).double()  # one row: image and points

    @functools.cache
    def states(seed, way):
        generator, noise, rows = _seeded(seed), _noise(seed, *x0.shape), [x0]  # a jump has one noise for all t
        for t in range(1, schedule.T + 1):
            rows.append(q_step(rows[-1], t, schedule, generator=generator) if way == "chain" else
                        q_sample(x0, t, schedule, noise=noise))
        return torch.cat(rows)

    def draw(axes, artists, t, seed, way):
        rows = states(seed, way)
        images = rows[:, : image.numel()].reshape(-1, *image.shape[1:])
        return plots.draw_forward_at(t, axes, images, rows[:, image.numel() :], MIXTURE, schedule, artists=artists)

    controls = {"t": _slider("t, step", 20, 0, 100), "seed": _slider("noise seed", 0, 0, 20),
                "way": _choice("way", ("chain", "jump"))}
    return explore(draw, controls, size=(9, 2.9), panels=(1, 3),
                   notes=lambda t, **_: _at_t(t, schedule, image), **options)


def posterior_explorer(**options):
    """Lesson 05: Bayes' rule for x_{t-1} given x_t and x_0; the weights of the mean; β̃ against β."""
    toy = Schedule([0.05 * s for s in range(1, 11)])
    controls = {"t": _slider("t, step", 5, 1, 10), "x0": _slider("x_0", 0.7, -2.0, 2.0, 0.1),
                "xt": _slider("x_t", 1.2, -2.0, 2.0, 0.1)}

    def draw(axes, artists, **values):
        return plots.draw_posterior_at(axes=axes, schedule=toy, artists=artists, **values)

    def notes(t, x0, xt):
        mean, var = posterior_mean_var(torch.tensor([xt]).double(), torch.tensor([x0]).double(), t, toy)
        w_xt, w_x0 = posterior_weights(t, toy)
        point = " At t = 1 the posterior is the point x_0." if t == 1 else ""
        return (f"μ̃ = {w_xt:.3f} · x_t + {w_x0:.3f} · x_0 = {mean.item():.3f} (the weights sum to {w_xt + w_x0:.3f}) "
                f"&nbsp; β̃ = {float(var):.4f} &nbsp; β = {toy.beta[t]:.4f}.{point}")

    return explore(draw, controls, size=(9, 3.2), panels=(1, 3), ratios=(2, 1, 1), notes=notes, **options)


def predictor_explorer(**options):
    """Lesson 06: what x_t says about x_0; the mean of all that explain it; each predictor from each."""
    schedule, uniforms = linear_schedule(100, rescale=True), torch.rand(40, generator=_seeded(6), dtype=torch.float64)
    controls = {"t": _slider("t, step", 30, 1, 100), "xt": _slider("x_t", -0.4, -3.0, 3.0, 0.05)}

    def draw(axes, artists, t, xt):
        return plots.draw_predictor_at(t, xt, axes, MIXTURE, schedule, uniforms, artists=artists)

    def notes(t, xt):
        x0_hat = MIXTURE.posterior_mean(torch.tensor([[xt]], dtype=torch.float64), t, schedule).item()
        keep = float(schedule.alpha_bar[t])
        return (f"x_t = √ᾱ_t · x̂_0 + √(1 - ᾱ_t) · ε̂: &nbsp; {xt:.2f} = {keep**0.5:.3f} · {x0_hat:.3f} + "
                f"{(1 - keep) ** 0.5:.3f} · {(xt - keep**0.5 * x0_hat) / (1 - keep) ** 0.5:.3f}")

    return explore(draw, controls, size=(9, 3.2), panels=(1, 3), notes=notes, **options)


def loss_explorer(**options):
    """Lesson 07: what the bound weighs, per predictor and σ, and where bound and simple loss spend their effort."""
    schedule = linear_schedule(100, rescale=True)
    x = torch.linspace(-6, 6, 601, dtype=torch.float64)[:, None]
    x0_error = [0.0]  # at t: E Var(x_0 | x_t) = 1 - E[E[x_0 | x_t]²], as the mixture has mean 0 and variance 1
    for t in range(1, schedule.T + 1):
        p, mean = MIXTURE.noised(t, schedule).log_prob(x).exp(), MIXTURE.posterior_mean(x, t, schedule)[:, 0]
        x0_error.append(1 - float((p * mean**2).sum()) * float(x[1] - x[0]))
    x0_error = torch.tensor(x0_error, dtype=torch.float64)
    _, w_x0 = posterior_weights(torch.arange(1, schedule.T + 1), schedule)
    slope = {"eps": (schedule.alpha_bar / (1 - schedule.alpha_bar).clamp(min=1e-9)), "x0": torch.ones(schedule.T + 1),
             "mean": torch.cat([w_x0.new_zeros(1), w_x0]) ** 2}
    errors = {name: factor * x0_error for name, factor in slope.items()}
    controls = {"predicts": _choice("predicts", ("eps", "x0", "mean")), "sigma": _choice("σ", ("posterior", "beta"))}

    def draw(axes, artists, predicts, sigma):
        return plots.draw_loss(predicts, sigma, axes, schedule, errors, artists=artists)

    return explore(draw, controls, size=(9, 3), panels=(1, 3), **options)


def sampling_explorer(**options):
    """Lesson 08: a chain from noise to digits, x_t beside the guess x_{0|t}; play it or scrub."""
    schedule, images = linear_schedule(100, rescale=True), digits()[0].flatten(1)
    data = GaussianMixture([1 / len(images)] * len(images), images, std=0.1)
    chain = dict(p_sample_loop(data.denoiser(schedule), schedule, xT=_noise(8, 6, 64), generator=_seeded(9)))
    guesses = [data.posterior_mean(chain[max(t, 1)], max(t, 1), schedule) for t in range(schedule.T + 1)]
    table = (-1, 2, 3, 1, 8, 8)
    states = torch.stack([chain[t] for t in range(schedule.T + 1)]).reshape(table)
    guesses = torch.stack(guesses).reshape(table)
    line = dict(p_sample_loop(MIXTURE.denoiser(schedule), schedule, xT=_noise(8, 400, 1), generator=_seeded(9)))
    points = torch.stack([line[t][:, 0] for t in range(schedule.T + 1)])
    controls = {"steps": _slider("steps", 0, 0, 100),
                "play": W.Play(value=0, min=0, max=100, interval=120, description="play")}
    W.jslink((controls["play"], "value"), (controls["steps"], "value"))

    def draw(axes, artists, steps, play):
        t = schedule.T - steps
        return plots.draw_sampling_at(t, axes, states, guesses, points, MIXTURE, schedule, artists=artists)

    def notes(steps, play):
        t = schedule.T - steps
        return f"t = {t}: &nbsp; ᾱ_t = {float(schedule.alpha_bar[t]):.4f} &nbsp; Exact denoiser; 1,797 digits as data."

    return explore(draw, controls, size=(9, 3.2), panels=(1, 3), notes=notes, **options)
