"""Homework 1, questions 6 and 7: one variance for all directions, where the Gaussian at hand has several."""

import numpy as np

from ..homework import Question
from .setup import BETA, alpha_bar, tensors


def _best_variance(t, beta, variances, average=lambda r: r.mean(1)):
    """The mean over the axes of Var(x_{t-1} | x_t), for data that have these variances along their axes."""
    bar = alpha_bar(beta)
    V = bar[:, None] * variances + 1 - bar[:, None]  # (T + 1, d): the variances of x_t
    return average(beta[t][:, None] * V[t - 1] / V[t])


def _variance(data=lambda e: e, **slip):
    return lambda _, t, beta, cov: _best_variance(t, beta, data(np.linalg.eigvalsh(cov)), **slip)


def _isotropic(cov, s=lambda e: e.mean(), kl=lambda e, s: np.log(s / e).mean() / 2 * len(e), shown=lambda s: s):
    """The best variance s, and KL(N(m, cov) || N(m, s I)) there; each argument is one slip."""
    e = np.linalg.eigvalsh(cov)
    return [shown(s(e)), kl(e, s(e))]


_COV = np.array([[2.0, 0.6, 0.0], [0.6, 1.0, -0.3], [0.0, -0.3, 0.5]])

QUESTIONS = {
    "hw1.q6": Question(
        6, "best_isotropic(cov)", lambda _, cov: _isotropic(cov),
        example={"cov": _COV},
        mistakes={
            "That is the best s for the other direction, KL(p || q). Here q is given and stands first.":
                lambda _, cov: _isotropic(cov, s=lambda e: 1 / (1 / e).mean(),
                                          kl=lambda e, s: (np.log(e / s) + s / e - 1).sum() / 2),
            "That s makes the determinants agree. Another one has a smaller divergence.": lambda _, cov: _isotropic(
                cov, s=lambda e: np.exp(np.log(e).mean()), kl=lambda e, s: (e / s - 1).sum() / 2),
            "s is right. The divergence misses its factor 1/2.": lambda _, cov: _isotropic(
                cov, kl=lambda e, s: np.log(s / e).sum()),
            "s is right. The logarithm of s counts once for every dimension.": lambda _, cov: _isotropic(
                cov, kl=lambda e, s: (np.log(s) - np.log(e).sum()) / 2),
            "s is right. The divergence is of the other direction.": lambda _, cov: _isotropic(
                cov, kl=lambda e, s: (np.log(e / s) + s / e - 1).sum() / 2),
            "The divergence is right. s is a variance.": lambda _, cov: _isotropic(cov, shown=np.sqrt),
            "That is the sum over the dimensions where s is their mean.": lambda _, cov: _isotropic(
                cov, s=lambda e: e.sum(), kl=lambda e, s: (np.log(s / e) + e / s - 1).sum() / 2),
        }, setup=tensors("cov"),
        hint="Write the divergence as a function of s alone, and set its derivative to 0."),
    "hw1.q7": Question(
        7, "best_variance(t, beta, cov)", _variance(),
        example={"t": np.array([1, 3, 6]), "beta": BETA,
                 "cov": _COV},
        mistakes={
            "That is the posterior's variance. It is best where x_0 is known, and here it is not.":
                _variance(data=lambda e: 0 * e),
            "That is best for data of variance 1 in every direction.": _variance(data=lambda e: 0 * e + 1),
            "The data have other variances along other directions. Their mean enters too early.":
                _variance(data=lambda e: 0 * e + e.mean()),
            "The diagonal alone is not enough: the entries are correlated.": lambda _, t, beta, cov: _best_variance(
                t, beta, np.diag(cov)),
            "The mean is over variances, not over standard deviations.":
                _variance(average=lambda r: (r**0.5).mean(1) ** 2),
            "That is a standard deviation. The question asks for the variance.":
                _variance(average=lambda r: r.mean(1) ** 0.5),
            "That is a sum over the directions. One number serves all of them.": _variance(
                average=lambda r: r.sum(1)),
        }, setup=tensors("t, beta, cov"),
        hint="Turn the axes until the covariance is diagonal. In each direction: the variance of x_{t-1}, given x_t?"),
}
