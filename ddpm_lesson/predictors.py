"""Three things a network may predict (the mean, x_0, the noise) and the maps between them.

Each map is affine and invertible: given x_t, one of the three fixes the other two. The network's view comes first
in every signature (x_t), then what is known, then t and the schedule.
Lecture 000, "x_0 Predictor", "ε Predictor"; Ho et al. 2020, Section 3.2.
"""

from .inputs import ask, check_choice, check_pair
from .posterior import posterior_mean_var, posterior_weights

PREDICTORS = ("eps", "x0", "mean")


def mean_from_x0(xt, x0, t, schedule):
    """The posterior mean, shaped like x, from x_0.

    mu_tilde = weight_xt * xt + weight_x0 * x0, the weights of `posterior_mean_var`
    Ho et al. 2020, Eq. 7; lecture 000, "Variational Distribution", option 2.

    At t = 1 it is exactly x0.
    """
    return posterior_mean_var(xt, x0, t, schedule)[0]


def mean_from_eps(xt, eps, t, schedule):
    """The posterior mean, shaped like x, from the noise.

    mu_tilde = (xt - (1 - alpha_t) / (1 - alpha_bar_t).sqrt() * eps) / alpha_t.sqrt()
    Ho et al. 2020, Eq. 10-11; lecture 000, "Variational Distribution", option 3, with the outer factor corrected.

    The outer factor is 1/√α_t, which undoes one step; 1/√ᾱ_t would undo all t of them. At t = 1 it is x_0.
    """
    t, like = check_pair(t, schedule, xt=xt, eps=eps)
    alpha_t, alpha_bar_t = schedule.alpha[t], schedule.alpha_bar[t]
    return (xt - ((1 - alpha_t) / (1 - alpha_bar_t).sqrt()).to(like) * eps) / alpha_t.sqrt().to(like)


def x0_from_eps(xt, eps, t, schedule):
    """x_0, shaped like x, from the noise; with a network's eps_hat, its current guess x_{0|t}.

    x0 = (xt - (1 - alpha_bar_t).sqrt() * eps) / alpha_bar_t.sqrt()
    Ho et al. 2020, Eq. 15; lecture 000, "Reverse Process (Generation)".

    Rounding errors of eps grow by 1/√ᾱ_t, which is large near t = T.
    """
    t, like = check_pair(t, schedule, xt=xt, eps=eps)
    alpha_bar_t = schedule.alpha_bar[t]
    return (xt - (1 - alpha_bar_t).sqrt().to(like) * eps) / alpha_bar_t.sqrt().to(like)


def x0_from_mean(xt, mean, t, schedule):
    """x_0, shaped like x, from the posterior mean; the inverse of `mean_from_x0`.

    x0 = (mean - weight_xt * xt) / weight_x0
    Lecture 000, "x_0 Predictor", solved for x_0. At t = 1 it is exactly the mean.
    """
    t, like = check_pair(t, schedule, xt=xt, mean=mean)
    weight_xt, weight_x0 = posterior_weights(t, schedule)
    return (mean - weight_xt.to(like) * xt) / weight_x0.to(like)


def eps_from_x0(xt, x0, t, schedule):
    """The noise, shaped like x, that takes x_0 to x_t in one jump; the inverse of `x0_from_eps`.

    eps = (xt - alpha_bar_t.sqrt() * x0) / (1 - alpha_bar_t).sqrt()
    Lecture 000, "q(x_{t-1} | x_t, x_0) (5)".
    """
    t, like = check_pair(t, schedule, xt=xt, x0=x0)
    alpha_bar_t = schedule.alpha_bar[t]
    return (xt - alpha_bar_t.sqrt().to(like) * x0) / (1 - alpha_bar_t).sqrt().to(like)


def eps_from_mean(xt, mean, t, schedule):
    """The noise, shaped like x, from the posterior mean; the inverse of `mean_from_eps`.

    eps = (xt - alpha_t.sqrt() * mean) * (1 - alpha_bar_t).sqrt() / (1 - alpha_t)
    Ho et al. 2020, Eq. 11, solved for eps.
    """
    t, like = check_pair(t, schedule, xt=xt, mean=mean)
    alpha_t, alpha_bar_t = schedule.alpha[t], schedule.alpha_bar[t]
    return (xt - alpha_t.sqrt().to(like) * mean) * ((1 - alpha_bar_t).sqrt() / (1 - alpha_t)).to(like)


def predict_mean(denoiser, xt, t, schedule, predicts="eps"):
    """mu_hat: the posterior mean with the denoiser's prediction in place of the truth, shaped like xt."""
    prediction = ask(denoiser, xt, t)
    if check_choice("predicts", predicts, PREDICTORS) == "mean":
        return prediction
    return (mean_from_eps if predicts == "eps" else mean_from_x0)(xt, prediction, t, schedule)


def predict_x0(denoiser, xt, t, schedule, predicts="eps"):
    """x0_hat, the guess x_{0|t}, from whatever the denoiser predicts, shaped like xt."""
    prediction = ask(denoiser, xt, t)
    if check_choice("predicts", predicts, PREDICTORS) == "x0":
        return prediction
    return (x0_from_eps if predicts == "eps" else x0_from_mean)(xt, prediction, t, schedule)
