"""The consistency form of the bound: its split, what each expectation runs over, and why the third term is no KL."""

import functools
import itertools
import math

import numpy as np
import pytest
import sympy as sp
import torch
from exact_chains import (
    IMAGES,
    POINTS,
    REGISTER,
    GaussianChain,
    TableChain,
    batch,
    close,
    every_chain,
    exact_terms,
    feed,
    grid,
    hermite,
    log_normal,
    tables,
)
from scipy import integrate, stats
from torch.distributions import Normal, kl_divergence

from ddpm_lesson import (
    GaussianMixture,
    Schedule,
    elbo_consistency,
    elbo_terms,
    kl_gaussian,
    linear_schedule,
    q_mean_var,
    q_step,
)

X0 = 0.7


def true_term(chain, x0, t):
    """E[log q(x_t | x_{t-1}) - log p(x_t | x_{t+1})] by moments of the joint law."""
    return chain.log_q(x0, t) - chain.log_p(x0, t + 1)


def printed_term(chain, x0, t):
    """E[KL(q(x_t | x_{t-1}) || p(x_t | x_{t+1}))] over q(x_{t-1}, x_{t+1} | x_0), as the slides print it.

    torch's KL at two values of the difference of the means: mean - sd and mean + sd of it, enough for a quadratic.
    """
    keep, slope = math.sqrt(1 - chain.beta[t]), chain.slope[t + 1]
    mean = (keep * chain.decay[t - 1] - slope * chain.decay[t + 1]) * x0 - chain.shift[t + 1]
    var = keep**2 * chain.cov[t - 1, t - 1] + slope**2 * chain.cov[t + 1, t + 1]
    sd = math.sqrt(var - 2 * keep * slope * chain.cov[t - 1, t + 1])
    q, p = (Normal(torch.as_tensor(m), v**0.5) for m, v in
            ((np.array([mean - sd, mean + sd]), chain.beta[t]), (np.zeros_like([mean, mean]), chain.var[t + 1])))
    return kl_divergence(q, p).mean(0).numpy()


# ---- the split ---------------------------------------------------------------------------------------------------


@pytest.mark.claim("elbo-split-consistency")
@every_chain
@pytest.mark.parametrize("x0", [POINTS, IMAGES], ids=["d1", "d3"])
def test_the_packages_terms_are_the_three_expectations_of_the_split(chain, x0, monkeypatch):
    """By closed-form moments, term by term; their sum is the bound of the unsplit chains."""
    terms = exact_terms(elbo_consistency, chain, x0, monkeypatch)
    close(terms.L_0, -chain.log_p(x0, 1).sum(1))
    close(terms.L_T, (chain.log_q(x0, chain.T) - chain.log_prior(x0)).sum(1))
    for t in range(1, chain.T):
        close(terms.L_t[t], true_term(chain, x0, t).sum(1))
    assert not terms.L_t[0].any() and not terms.L_t[chain.T].any()
    close(terms.total, chain.neg_elbo(x0).sum(1))


@pytest.mark.claim("elbo-split-consistency")
@every_chain
def test_every_row_of_the_split_agrees_at_random_states(chain):
    """Before any expectation: the unsplit ratio, the ends split off, and the re-indexed sum."""
    T, x = chain.T, np.random.default_rng(0).normal(0, 1.5, (chain.T + 1, 20))

    def q(t):  # log q(x_t | x_{t-1})
        return stats.norm.logpdf(x[t], (1 - chain.beta[t]) ** 0.5 * x[t - 1], chain.beta[t] ** 0.5)

    def p(t):  # log p(x_{t-1} | x_t)
        return stats.norm.logpdf(x[t - 1], chain.slope[t] * x[t] + chain.shift[t], chain.var[t] ** 0.5)

    prior = stats.norm.logpdf(x[T])
    mean, cov = chain.joint_p()
    joint_p = stats.multivariate_normal(mean, cov).logpdf(x.T)
    joint_q = [stats.multivariate_normal(chain.decay[1:] * row[0], chain.cov[1:, 1:]).logpdf(row[1:]) for row in x.T]
    ends = p(1) + prior - q(T) + sum(p(t) for t in range(2, T + 1)) - sum(q(t) for t in range(1, T))
    paired = p(1) + (prior - q(T)) + sum(p(t + 1) - q(t) for t in range(1, T))
    close(ends, joint_p - joint_q, 1e-9)
    close(paired, ends)


@pytest.mark.claim("elbo-split-consistency")
@tables
def test_the_split_of_tables(table):
    T = table.T
    ratios = [table.mean(np.log(table.p_step(1))),
              table.mean(np.log(table.prior / table.q_step(T)))]
    ratios += [table.mean(np.log(table.p_step(t + 1) / table.q_step(t))) for t in range(1, T)]
    close(sum(ratios), table.mean(np.log(table.joint() / table.latents())))


# ---- unused variables --------------------------------------------------------------------------------------------


@pytest.mark.claim("expectation-drops-unused-variables")
@pytest.mark.parametrize("subset", [(1,), (4,), (2, 3), (1, 2, 3), (2, 3, 4), (1, 3), (1, 4)])
def test_variables_that_f_ignores_integrate_to_1_in_a_table(subset):
    """The sum over all paths against the sum under q(x_S | x_0), made of products of the transition matrices."""
    table = TableChain(5, states=3, T=4)
    f = np.random.default_rng(6).normal(size=(3,) * len(subset))
    over_path = table.mean(f.reshape([3 if t in subset else 1 for t in range(5)]))
    law, now = np.eye(3), 0  # axes: x_0, then the members of S passed so far
    for t in subset:
        jump = functools.reduce(np.matmul, table.q[now + 1 : t + 1])
        law = law @ jump if now == 0 else law[..., None] * jump
        now = t
    close(over_path, (law * f).sum(tuple(range(1, len(subset) + 1))))


@pytest.mark.claim("expectation-drops-unused-variables")
@pytest.mark.parametrize("x0", [0.7, -1.5])
def test_variables_that_f_ignores_integrate_to_1_in_a_gaussian_chain(x0):
    """Gauss-Hermite over all three steps of the chain, against the marginal law of the variables that f reads."""
    schedule, (nodes, weights) = Schedule([0.2, 0.35, 0.1]), hermite(24)
    noise = torch.as_tensor(np.array(list(itertools.product(nodes, repeat=3))))  # (N, 3)
    weight = np.array(list(itertools.product(weights, repeat=3))).prod(1)
    x = [torch.full((len(noise),), x0, dtype=torch.float64)]
    for t in range(1, 4):
        x.append(q_step(x[-1], t, schedule, noise=noise[:, t - 1]))
    for t in range(1, 4):
        mean, var = q_mean_var(x[0][:1], t, schedule)
        law = stats.norm(mean.item(), var.item() ** 0.5)
        close(weight @ torch.sin(2 * x[t] + 1).numpy(), law.expect(lambda v: math.sin(2 * v + 1), epsabs=1e-12), 1e-9)
    mean, var = q_mean_var(x[0][:1], 2, schedule)  # S = {2, 3}: x_2 in one jump, then one step
    x2 = mean + var.sqrt() * torch.as_tensor(nodes)[:, None]
    x3 = q_step(x2.expand(24, 24), 3, schedule, noise=torch.as_tensor(nodes))
    close(weight @ torch.cos(x[2] - 2 * x[3]).numpy(), weights @ torch.cos(x2 - 2 * x3).numpy() @ weights, 1e-9)


@pytest.mark.claim("expectation-drops-unused-variables")
def test_the_sum_must_come_out_before_the_expectation_shrinks():
    """The log of the product depends on every latent: averaged over one pair it is not a number yet."""
    table = TableChain(7, states=3, T=4)
    terms = [np.log(table.p_step(t) / table.q_step(t)) for t in range(1, 5)]
    close(table.mean(sum(terms)), sum(table.mean(term) for term in terms))
    conditional = table.latents() / table.latents().sum((2, 3), keepdims=True)  # of x_2, x_3 given all the others
    left = (conditional * sum(terms)).sum((2, 3))  # a function of x_0, x_1, x_4
    assert np.ptp(left, axis=(1, 2)).min() > 0.5


# ---- the third term ----------------------------------------------------------------------------------------------


def nonlinear(xt, t):
    return torch.tanh(1.5 * xt) - 0.1 * t.double()[:, None]


NONLINEAR = {"denoiser": nonlinear, "schedule": Schedule([0.3, 0.5]), "predicts": "mean", "sigma": "beta",
             "decoder_var": 0.4}


def nonlinear_grid(x0):
    """E_q of log p(x_0 | x_1), of the KL form's log ratio at x_T, of the third term, and of the whole, on a grid."""
    (x1, x2), area = grid(2)
    log_q1 = log_normal(x1, math.sqrt(0.7) * x0, 0.3)
    log_q2 = log_normal(x2, math.sqrt(0.5) * x1, 0.5)
    log_p0 = log_normal(x0, np.tanh(1.5 * x1) - 0.1, 0.4)
    log_p1 = log_normal(x1, np.tanh(1.5 * x2) - 0.2, 0.5)
    q, prior = np.exp(log_q1 + log_q2) * area, log_normal(x2, 0.0, 1.0)
    third, whole = log_q1 - log_p1, log_q1 + log_q2 - prior - log_p1 - log_p0
    return [(q * f).sum() for f in (-log_p0, log_q2 - prior, third, whole)]


@pytest.mark.claim("elbo-consistency-term")
@pytest.mark.parametrize("x0", [0.7, -1.3])
def test_the_three_terms_of_a_nonlinear_model_by_quadrature(x0, monkeypatch):
    """The package, fed Gauss-Hermite noise, against two-dimensional grids."""
    nodes, weights = hermite(90)
    feed(monkeypatch, np.repeat(nodes, 90), np.tile(nodes, 90))
    terms = elbo_consistency(x0=batch(x0, 8100), **NONLINEAR)
    weight = torch.as_tensor(np.outer(weights, weights).flatten())
    got = [weight @ term for term in (terms.L_0, terms.L_T, terms.L_t[1], terms.total)]
    close(got, nonlinear_grid(x0), 1e-8)


@pytest.mark.claim("elbo-consistency-term")
@every_chain
@pytest.mark.parametrize("x0", [POINTS, IMAGES], ids=["d1", "d3"])
def test_the_kl_version_exceeds_the_true_term_by_the_dropped_cross_term(chain, x0, monkeypatch):
    """The package's term, torch's KL averaged over the two neighbours, and d c sqrt(α_{t+1}) β_t / s."""
    terms, d = exact_terms(elbo_consistency, chain, x0, monkeypatch), x0.shape[1]
    for t in range(1, chain.T):
        excess = chain.slope[t + 1] * math.sqrt(1 - chain.beta[t + 1]) * chain.beta[t] / chain.var[t + 1]
        assert abs(excess) > 0.05
        close(printed_term(chain, x0, t).sum(1) - terms.L_t[t].numpy(), d * excess)


@pytest.mark.claim("elbo-consistency-term")
def test_the_dropped_cross_term_for_all_gaussian_kernels():
    """Symbolic: v, m are the variance and mean of x_{t-1} given x_0; x_t and x_{t+1} are made from it."""
    v, m, k, b, a, B, c, s = sp.symbols("v m k beta a B c s", positive=True)  # k = sqrt(α_t), a = sqrt(α_{t+1})
    e1, e2, e3 = sp.symbols("e1:4")  # independent standard normal noise
    x_prev = m + sp.sqrt(v) * e1
    xt = k * x_prev + sp.sqrt(b) * e2
    x_next = a * xt + sp.sqrt(B) * e3

    def mean(f):  # E e = 0, E e² = 1, independent: enough for a quadratic
        for e in (e1, e2, e3):
            f = sp.expand(f)
            f = f.coeff(e, 0) + f.coeff(e, 2)
        return f

    true = mean((xt - c * x_next) ** 2 / s - (xt - k * x_prev) ** 2 / b) / 2 + sp.log(s / b) / 2
    kl = (sp.log(s / b) + b / s - 1 + mean((k * x_prev - c * x_next) ** 2) / s) / 2
    assert sp.simplify(kl - true - c * a * b / s) == 0


@pytest.mark.claim("elbo-consistency-term")
@pytest.mark.parametrize("beta", [[0.3, 0.5], [0.1, 0.35, 0.2], [0.6, 0.05, 0.3, 0.2]])
def test_the_true_term_is_minus_a_mutual_information_for_the_exact_posterior(beta, monkeypatch):
    """A model that knows x_0: p(x_t | x_{t+1}) = q(x_t | x_{t+1}, x_0). For t = 1 the term is -I(x_1; x_2 | x_0) < 0.

    I from the correlation of x_1 and x_2 given x_0; one sign pattern pair per step averages the quadratic.
    """
    T, x0, chain = len(beta), 0.7, GaussianChain(beta, [0.0] * len(beta), [0.0] * len(beta))
    signs = np.array(list(itertools.product([1.0, -1.0], repeat=T)))
    feed(monkeypatch, *signs.T)
    term = elbo_consistency(lambda xt, t: torch.full_like(xt, x0), batch(x0, len(signs)),
                            Schedule(beta), predicts="x0", decoder_var=0.5).L_t[1].mean()
    correlation = chain.cov[1, 2] / math.sqrt(chain.cov[1, 1] * chain.cov[2, 2])
    close(term, 0.5 * math.log(1 - correlation**2))
    assert term < -0.01
    if beta == [0.3, 0.5]:
        assert f"{term:.5f}" == "-0.13118"


@pytest.mark.claim("elbo-consistency-term")
def test_the_kl_version_is_right_where_x_next_does_not_matter(monkeypatch):
    """c = 0: p(x_t | x_{t+1}) ignores x_{t+1}, and only then is the third term a KL."""
    chain = GaussianChain([0.3, 0.5, 0.2], [0.8, 0.0, 0.0], [0.1, -0.4, 0.3])
    terms = exact_terms(elbo_consistency, chain, POINTS, monkeypatch)
    for t in (1, 2):
        close(printed_term(chain, POINTS, t)[:, 0], terms.L_t[t])


def table_kl(table, t):
    """KL(q(x_t | x_{t-1}) || p(x_t | x_{t+1})), an array over the two neighbours."""
    return (table.q_step(t) * np.log(table.q_step(t) / table.p_step(t + 1))).sum(t, keepdims=True)


@pytest.mark.claim("elbo-consistency-term")
@tables
def test_of_two_three_term_sums_of_tables_only_the_true_one_is_the_bound(table):
    T = table.T
    bound = table.mean(np.log(table.latents() / table.joint()))
    ends = table.mean(-np.log(table.p_step(1)))
    ends += table.mean((table.q_step(T) * np.log(table.q_step(T) / table.prior)).sum(T, keepdims=True))
    true = [table.mean(np.log(table.q_step(t) / table.p_step(t + 1))) for t in range(1, T)]
    printed = [table.mean(table_kl(table, t)) for t in range(1, T)]
    close(ends + sum(true), bound)
    assert (abs(ends + sum(printed) - bound) > 0.003).all()


@pytest.mark.claim("elbo-consistency-term")
def test_the_kl_version_holds_for_tables_whose_next_state_forgets_the_present_one():
    """x_t independent of x_{t+1} given x_{t-1}: what the KL version silently assumes."""
    table = TableChain(8, states=3, T=3)
    table.q[2] = np.tile(table.q[2][:1], (3, 1))
    close(table.mean(np.log(table.q_step(1) / table.p_step(2))), table.mean(table_kl(table, 1)))


# ---- the prior term ----------------------------------------------------------------------------------------------

PRIOR_SCHEDULES = [Schedule([0.4]), Schedule([0.3, 0.5]), Schedule([0.1, 0.35, 0.2]), linear_schedule(8),
                   Schedule([0.05, 0.1, 0.2, 0.4, 0.6])]


@pytest.mark.claim("consistency-prior-matching")
@pytest.mark.parametrize("schedule", PRIOR_SCHEDULES, ids=str)
@pytest.mark.parametrize("x0", [0.7, -1.3])
def test_the_prior_term_is_minus_the_mean_log_ratio(schedule, x0, monkeypatch):
    """The package's KL, averaged over x_{T-1}, against quadrature of the log ratio over x_{T-1} and x_T."""
    T, beta = schedule.T, schedule.beta.tolist()
    chain = GaussianChain(beta[1:], [0.0] * T, [0.0] * T)
    terms = exact_terms(elbo_consistency, chain, np.array([[x0]]), monkeypatch)

    def over_xT(x_prev):  # E[log q(x_T | x_{T-1}) - log p(x_T)] under x_T's own law given x_{T-1}
        law = stats.norm(math.sqrt(1 - beta[T]) * x_prev, math.sqrt(beta[T]))
        return integrate.quad(lambda x: law.pdf(x) * (law.logpdf(x) - stats.norm.logpdf(x)), law.mean() - 9 * law.std(),
                              law.mean() + 9 * law.std(), epsabs=1e-12)[0]

    if T == 1:
        want = over_xT(x0)
    else:
        nodes, weights = hermite(6)  # what is averaged is quadratic in x_{T-1}
        mean, var = chain.decay[T - 1] * x0, chain.cov[T - 1, T - 1]
        want = sum(w * over_xT(mean + math.sqrt(var) * z) for z, w in zip(nodes, weights, strict=True))
    close(terms.L_T, want, 1e-8)


@pytest.mark.claim("consistency-prior-matching")
@tables
def test_the_prior_step_is_valid_for_tables_too(table):
    ratio = np.log(table.q_step(table.T) / table.prior)
    kl = (table.q_step(table.T) * ratio).sum(table.T, keepdims=True)
    close(table.mean(ratio), table.mean(kl))
    assert (kl > 0).all()


# ---- how many latents an expectation needs -----------------------------------------------------------------------


@pytest.mark.claim("two-variable-expectation")
@pytest.mark.parametrize("form, reach", [(elbo_consistency, 1), (elbo_terms, 0)])
def test_which_latents_each_term_depends_on(form, reach, monkeypatch):
    """One latent of a fixed path is moved at a time: L_t[t] follows x_{t-1}, x_t, x_{t+1}, or x_t alone."""
    T, x0 = 5, 0.7
    schedule = Schedule([0.1, 0.35, 0.2, 0.3, 0.15])
    alpha, alpha_bar = schedule.alpha.numpy(), schedule.alpha_bar.numpy()

    def terms(path):
        start = alpha_bar**0.5 * x0 if form is elbo_terms else alpha**0.5 * np.roll(path, 1)
        var = 1 - alpha_bar if form is elbo_terms else 1 - alpha
        feed(monkeypatch, *((path[1:] - start[1:]) / var[1:] ** 0.5)[:, None])
        return form(lambda xt, t: torch.tanh(xt), batch(x0), schedule, sigma="beta").L_t[:, 0]

    path = np.array([x0, 0.3, -0.4, 0.8, 0.1, -0.6])
    rows = range(1, T) if form is elbo_consistency else range(2, T + 1)
    for moved in range(1, T + 1):
        changed = (terms(path) - terms(path + 0.5 * (np.arange(T + 1) == moved))).abs() > 1e-3
        assert [t for t in rows if changed[t]] == [t for t in rows if abs(t - moved) <= reach]


@pytest.mark.claim("two-variable-expectation")
@pytest.mark.parametrize("sigma", ["beta", "posterior"])
@pytest.mark.parametrize("data", [GaussianMixture([0.3, 0.7], [[-1.0], [1.0]], 0.3),
                                  GaussianMixture([1.0], [[0.5]], 0.6)])
def test_monte_carlo_of_both_forms_has_the_same_mean(data, sigma):
    """10,000 draws of each: the totals agree within 5 standard errors of their difference."""
    schedule, generator = Schedule(0.05 * np.arange(1, 11)), torch.Generator().manual_seed(9)
    x0 = batch(0.8, 10_000)
    one, two = (form(data.denoiser(schedule), x0, schedule, sigma=sigma, generator=generator).total
                for form in (elbo_terms, elbo_consistency))
    error = ((one.var() + two.var()) / len(x0)) ** 0.5
    assert 0 < error < 0.05
    assert abs(one.mean() - two.mean()) < 5 * error


@pytest.mark.claim("two-variable-expectation")
@every_chain
def test_both_forms_have_the_same_exact_value_and_other_terms(chain, monkeypatch):
    one, two = (exact_terms(form, chain, POINTS, monkeypatch) for form in (elbo_terms, elbo_consistency))
    close(one.total, two.total)
    assert (abs(one.L_T - two.L_T) > 1e-3).all() and (abs(one.L_t[1:].sum(0) - two.L_t.sum(0)) > 1e-3).all()


# ---- errata ------------------------------------------------------------------------------------------------------


@pytest.mark.erratum("000:125")
@every_chain
def test_the_three_printed_terms_do_not_add_up_to_the_negative_elbo(chain, monkeypatch):
    terms = exact_terms(elbo_consistency, chain, POINTS, monkeypatch)
    negative_elbo = chain.neg_elbo(POINTS[:, 0])
    printed = terms.L_0.numpy() + terms.L_T.numpy()
    printed = printed + sum(printed_term(chain, POINTS, t)[:, 0] for t in range(1, chain.T))
    close(terms.total, negative_elbo)
    assert (abs(printed - negative_elbo) > 0.05).all()
    if chain is REGISTER:
        assert (f"{printed[0]:.4f}", f"{terms.total[0]:.4f}") == ("1.3867", "1.1321")


@pytest.mark.erratum("000:125")
def test_the_sum_of_the_three_printed_terms_by_quadrature():
    """The register's chain at x_0 = 0.7, brute force: the printed third term makes x_1 independent of x_2."""
    (x1, x2), area = grid(2)
    q1, q2 = np.exp(log_normal(x1, math.sqrt(0.7) * X0, 0.3)), np.exp(log_normal(x2, math.sqrt(0.5) * x1, 0.5))
    recon, p1 = log_normal(X0, 0.8 * x1, 0.3), log_normal(x1, 0.6 * x2, 0.5)
    ends = (q1 * q2 * (np.log(q2) - log_normal(x2, 0, 1) - recon)).sum() * area
    third = np.log(q1) - p1
    x2_alone = (q1 * q2).sum(0) * area**0.5
    printed, correct = ends + (q1 * x2_alone * third).sum() * area, ends + (q1 * q2 * third).sum() * area
    assert (f"{printed:.4f}", f"{correct:.4f}") == ("1.3867", "1.1321")
    close(correct, REGISTER.neg_elbo(X0), 1e-8)


@pytest.mark.erratum("000:152")
@every_chain
def test_line_45_does_not_follow_from_line_44(chain, monkeypatch):
    """(44), the expectation over three neighbours, is the ELBO minus its two other terms; (45) is not."""
    terms = exact_terms(elbo_consistency, chain, POINTS, monkeypatch)
    x0 = POINTS[:, 0]
    recon, prior = chain.log_p(x0, 1), chain.log_q(x0, chain.T) - chain.log_prior(x0)
    printed = -sum(printed_term(chain, POINTS, t)[:, 0] for t in range(1, chain.T))
    correct = -chain.neg_elbo(x0) - recon + prior
    close(-terms.L_t.sum(0), correct)
    assert (abs(printed - correct) > 0.05).all()
    if chain is REGISTER:
        assert (f"{printed[0]:.5f}", f"{correct[0]:.5f}", f"{correct[0] - printed[0]:.5f}") == (
            "-0.40311", "-0.14855", "0.25456")


@pytest.mark.erratum("000:152")
def test_the_inner_expectation_of_line_45_is_not_under_the_kls_own_law():
    """T = 2: x_1 given x_2 and x_0 is not N(sqrt(α_1) x_0, β_1); its mean moves with x_2 and its variance is less."""
    gain, offset, left = REGISTER.posterior(2, X0)
    (x1,), cell = grid(1, n=3001)
    for x2 in (-0.5, 1.5):
        joint = np.exp(log_normal(x1, math.sqrt(0.7) * X0, 0.3) + log_normal(x2, math.sqrt(0.5) * x1, 0.5))
        mean = (x1 * joint).sum() / joint.sum()
        close([mean, ((x1 - mean) ** 2 * joint).sum() / joint.sum()], [gain * x2 + offset, left])
        assert kl_gaussian(mean, left, math.sqrt(0.7) * X0, 0.3) > 0.03
