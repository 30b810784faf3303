"""The verified math of denoising diffusion (DDPM): tables are read at the lecture's own t = 1..T."""

__version__ = "0.1.0"

from .elbo import ElboTerms, bits_per_dim, elbo_consistency, elbo_terms
from .forward import q_mean_var, q_sample, q_step, ve_sample, ve_to_vp, vp_to_ve
from .gaussians import kl_full, kl_gaussian
from .losses import loss_weight, simple_loss
from .mixture import GaussianMixture
from .posterior import posterior_mean_var
from .predictors import eps_from_mean, eps_from_x0, mean_from_eps, mean_from_x0, x0_from_eps, x0_from_mean
from .sampling import p_sample_loop, p_step, sample
from .schedule import Schedule, constant_schedule, cosine_schedule, linear_schedule, quadratic_schedule
from .two_bumps import TwoBumps

__all__ = [
    "ElboTerms", "GaussianMixture", "Schedule", "TwoBumps", "bits_per_dim", "constant_schedule", "cosine_schedule",
    "elbo_consistency", "elbo_terms", "eps_from_mean", "eps_from_x0", "kl_full", "kl_gaussian", "linear_schedule",
    "loss_weight", "mean_from_eps", "mean_from_x0", "p_sample_loop", "p_step", "posterior_mean_var", "q_mean_var",
    "q_sample", "q_step", "quadratic_schedule", "sample", "simple_loss", "ve_sample", "ve_to_vp", "vp_to_ve",
    "x0_from_eps", "x0_from_mean",
]
