"""The forward posterior: where x_{t-1} was, if both x_t and x_0 are known."""

from .inputs import check_pair


def posterior_mean_var(xt, x0, t, schedule):
    """Mean and variance of q(x_{t-1} | x_t, x_0): mu_tilde shaped like x, beta_tilde_t broadcasting against it.

    mu_tilde = (alpha_t.sqrt() * (1 - alpha_bar_prev) * xt + alpha_bar_prev.sqrt() * beta_t * x0) / (1 - alpha_bar_t)
    beta_tilde_t = (1 - alpha_bar_prev) / (1 - alpha_bar_t) * beta_t
    Ho et al. 2020, Eq. 6-7; lecture 000, "q(x_{t-1} | x_t, x_0)".

    xt, x0: (B, ...), broadcast against each other; t: int or (B,) in 1..T. The two weights do not sum to 1.
    At t = 1 the mean is exactly x0 and the variance exactly 0.
    """
    t, like = check_pair(t, schedule, xt=xt, x0=x0)
    weight_xt, weight_x0 = posterior_weights(t, schedule)
    return weight_xt.to(like) * xt + weight_x0.to(like) * x0, schedule.beta_tilde[t].to(like)


def posterior_weights(t, schedule):
    """The weights of x_t and x_0 in mu_tilde, float64, read at t (an int or an index tensor)."""
    alpha_t, alpha_bar_t, alpha_bar_prev = schedule.alpha[t], schedule.alpha_bar[t], schedule.alpha_bar[t - 1]
    weight_xt = alpha_t.sqrt() * (1 - alpha_bar_prev) / (1 - alpha_bar_t)
    # 1 - alpha_t is β_t, rounded like 1 - alpha_bar_t: at t = 1 their ratio is 1 to the last bit.
    weight_x0 = alpha_bar_prev.sqrt() * (1 - alpha_t) / (1 - alpha_bar_t)
    return weight_xt, weight_x0
