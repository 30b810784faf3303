"""The exact answers for a Gaussian mixture against Bayes' rule on a grid, torch.distributions and autograd.

For a smooth density that has died out at the grid's ends the trapezoid rule is exact to rounding, so "on a grid" means
to 1e-10 here, with nothing of the package's closed forms in it.

Sabotage of mixture.py that turned this file red: std for std^2 and back (samples, log_prob, noised, the posterior);
alpha_bar for its root and back; 1 - alpha_bar dropped or squared; means not scaled; weights for log weights; the
logarithms of 2 pi and of the variance without their d; distance unsquared or not halved; softmax over the batch; the
gain without its root; the spread between or within components dropped; in the covariance beta or sqrt(beta_tilde) for
beta_tilde, the squared weight unsquared or that of x_t; the score's sign, its root; t - 1 for t; uniform components.
"""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare, kstest, norm
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal
from torch.testing import assert_close

from ddpm_lesson import GaussianMixture, Schedule, q_sample

PREDICTORS = ("eps", "x0", "mean")
REGISTER = Schedule(0.05 * np.arange(1, 11))  # the register's short schedule, T = 10
SIGNS = GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], 0.0)  # data +-1

LINE = [0.2, 0.5, 0.3], [[-1.4], [0.3], [1.1]], [0.2, 0.5, 0.3]
PLANE = [0.3, 0.25, 0.45], [[-0.8, 0.5], [0.9, 1.0], [0.2, -1.1]], [0.35, 0.6, 0.25]
AT_LINE = torch.tensor([[-2.0], [-0.3], [0.0], [0.8], [2.5]], dtype=torch.float64)
AT_PLANE = torch.tensor([[-0.5, 0.4], [1.2, -0.3], [0.1, 2.0]], dtype=torch.float64)


def grid(d):
    """All points of a uniform grid over [-8, 8]^d, (N, d); its cell's volume cancels in every average below."""
    axis = torch.linspace(-8, 8, 2001 if d == 1 else 321, dtype=torch.float64)
    return torch.cartesian_prod(*[axis] * d).reshape(-1, d)


def law(weights, means, std, alpha_bar=1.0):
    """The mixture as torch.distributions has it, noised to level alpha_bar."""
    means, std = (torch.tensor(v, dtype=torch.float64) for v in (means, std))
    scale = (alpha_bar * std**2 + 1 - alpha_bar).sqrt()[:, None].expand(means.shape)
    return MixtureSameFamily(Categorical(torch.tensor(weights, dtype=torch.float64)),
                             Independent(Normal(alpha_bar**0.5 * means, scale), 1))


def bayes(prior_log_prob, points, shrink, var, xt):
    """Mean (B, d) and covariance (B, d, d) over the points of prior * N(xt; shrink * point, var), by summing."""
    log_post = prior_log_prob - (xt[:, None] - shrink * points).square().sum(-1) / (2 * var)  # (B, N)
    post = log_post.softmax(1)
    mean = post @ points
    spread = points - mean[:, None]
    return mean, torch.einsum("bn,bni,bnj->bij", post, spread, spread)


CASES = pytest.mark.parametrize("table, xt", [(LINE, AT_LINE), (PLANE, AT_PLANE)], ids=["1-D", "2-D"])
TIMES = pytest.mark.parametrize("t", [1, 2, 5, 8])


@CASES
def test_log_prob_is_that_of_torch_distributions(table, xt):
    assert_close(GaussianMixture(*table).log_prob(xt), law(*table).log_prob(xt), rtol=1e-10, atol=0)
    equal = GaussianMixture(table[0], table[1], 0.4)  # one std for all
    assert_close(equal.log_prob(xt), law(table[0], table[1], [0.4] * 3).log_prob(xt), rtol=1e-10, atol=0)


@pytest.mark.parametrize("table", [LINE, PLANE], ids=["1-D", "2-D"])
def test_the_density_has_mass_one(table):
    points = grid(len(table[1][0]))
    cell = (points[1, -1] - points[0, -1]) ** points.shape[1]
    assert_close((GaussianMixture(*table).log_prob(points).exp().sum() * cell).item(), 1.0, rtol=1e-10, atol=0)


@CASES
@TIMES
def test_noised_is_the_law_of_x_t(table, xt, t, chain):
    alpha_bar = math.prod(1 - b for b in chain.beta[1 : t + 1].tolist())
    expected = law(*table, alpha_bar).log_prob(xt)
    assert_close(GaussianMixture(*table).noised(t, chain).log_prob(xt), expected, rtol=1e-10, atol=0)


def test_noised_at_0_is_the_data_itself(chain):
    data = GaussianMixture(*PLANE)
    clean = data.noised(0, chain)
    for name in ("weights", "means", "std"):
        assert_close(getattr(clean, name), getattr(data, name), rtol=1e-14, atol=0)


def test_noised_at_a_later_t_is_the_noised_again(chain):
    """From 3 on, steps 4..8 alone take the law of x_3 to that of x_8."""
    rest = Schedule(chain.beta[4:])
    once, twice = (GaussianMixture(*PLANE).noised(8, chain), GaussianMixture(*PLANE).noised(3, chain).noised(5, rest))
    assert_close(once.means, twice.means, rtol=1e-10, atol=0)
    assert_close(once.std, twice.std, rtol=1e-10, atol=0)


@CASES
@TIMES
def test_posterior_mean_is_bayes_rule_on_a_grid(table, xt, t, chain):
    points, alpha_bar = grid(xt.shape[1]), chain.alpha[1 : t + 1].prod()
    mean, _ = bayes(law(*table).log_prob(points), points, alpha_bar.sqrt(), 1 - alpha_bar, xt)
    assert_close(GaussianMixture(*table).posterior_mean(xt, t, chain), mean, rtol=1e-10, atol=1e-12)


@CASES
@TIMES
def test_reverse_moments_are_bayes_rule_on_a_grid(table, xt, t, chain):
    """The reverse kernel is the law of x_{t-1} times one forward step; x_0 does not appear at all."""
    points, alpha_bar = grid(xt.shape[1]), chain.alpha[1:t].prod()
    expected = bayes(law(*table, alpha_bar).log_prob(points), points, chain.alpha[t].sqrt(), chain.beta[t], xt)
    assert_close(GaussianMixture(*table).reverse_moments(xt, t, chain), expected, rtol=1e-10, atol=1e-12)


@CASES
@TIMES
def test_score_is_the_gradient_of_the_log_density(table, xt, t, chain):
    x = xt.clone().requires_grad_()
    expected, = torch.autograd.grad(law(*table, chain.alpha[1 : t + 1].prod()).log_prob(x).sum(), x)
    assert_close(GaussianMixture(*table).score(xt, t, chain), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("t", [1, 4, 8])
def test_one_component_is_the_kalman_filter(t, chain):
    """Prior N(m, s^2 I), observation sqrt(alpha_bar) x_0 + noise: precisions add."""
    s2, m, alpha_bar = 0.49, torch.tensor([0.5, -1.0], dtype=torch.float64), chain.alpha[1 : t + 1].prod()
    data = GaussianMixture([1.0], m[None], 0.7)
    var = 1 / (1 / s2 + alpha_bar / (1 - alpha_bar))
    mean = var * (m / s2 + alpha_bar.sqrt() * AT_PLANE / (1 - alpha_bar))
    assert_close(data.posterior_mean(AT_PLANE, t, chain), mean, rtol=1e-10, atol=0)
    prev = data.noised(t - 1, chain)
    precision = 1 / prev.std[0] ** 2 + chain.alpha[t] / chain.beta[t]
    mean, cov = data.reverse_moments(AT_PLANE, t, chain)
    expected = (prev.means[0] / prev.std[0] ** 2 + chain.alpha[t].sqrt() * AT_PLANE / chain.beta[t]) / precision
    assert_close(mean, expected, rtol=1e-10, atol=1e-13)
    assert_close(cov, (torch.eye(2).double() / precision).expand(3, 2, 2), rtol=1e-10, atol=1e-15)


# Data without a density: points


@pytest.mark.parametrize("t", range(1, 11))
def test_for_data_plus_minus_one_it_is_a_tanh(t):
    alpha_bar = np.prod(1 - 0.05 * np.arange(1, t + 1))
    expected = np.tanh(alpha_bar**0.5 / (1 - alpha_bar) * AT_LINE.numpy())
    assert_close(SIGNS.posterior_mean(AT_LINE, t, REGISTER).numpy(), expected, rtol=1e-10, atol=1e-14)


def test_register_values_for_data_plus_minus_one():
    _, cov = SIGNS.reverse_moments(torch.tensor([[0.0], [2.0]], dtype=torch.float64), 5, REGISTER)
    assert [f"{v:.4f}" for v in cov.flatten().tolist()] == ["0.2998", "0.1897"]
    eps = torch.linspace(-10, 10, 2001, dtype=torch.float64)
    left = []  # E |x_0 - E[x_0 | x_t]|^2, by symmetry at x_0 = 1
    for t in range(1, 11):
        xt = q_sample(torch.ones(2001, 1, dtype=torch.float64), t, REGISTER, noise=eps[:, None])
        error = (1 - SIGNS.posterior_mean(xt, t, REGISTER)[:, 0]) ** 2
        left.append(float((error * Normal(0.0, 1.0).log_prob(eps).exp()).sum() * 0.01))
    assert [round(v, 3) for v in left] == [0.000, 0.023, 0.153, 0.344, 0.529, 0.682, 0.798, 0.880, 0.934, 0.967]


@TIMES
def test_points_are_weighed_by_bayes_rule(t, chain):
    points = torch.tensor([[0.0, 1.0], [1.0, 0.0], [-1.0, -0.5], [0.3, 0.2]], dtype=torch.float64)
    weights, alpha_bar = torch.tensor([0.1, 0.4, 0.3, 0.2]).double(), chain.alpha[1 : t + 1].prod()
    data = GaussianMixture(weights, points, 0)
    mean, cov = bayes(weights.log(), points, alpha_bar.sqrt(), 1 - alpha_bar, AT_PLANE)
    assert_close(data.posterior_mean(AT_PLANE, t, chain), mean, rtol=1e-10, atol=1e-13)
    if t == 1:  # there the reverse kernel is the law of x_0 itself
        assert_close(data.reverse_moments(AT_PLANE, 1, chain), (mean, cov), rtol=1e-10, atol=1e-13)


def test_far_away_and_almost_without_noise_the_answer_is_the_nearest_point():
    """No overflow, no 0 / 0, however small the noise or large x_t."""
    schedule = Schedule([1e-9, 0.5])
    far = torch.tensor([[1e6], [-1e6], [0.9], [-0.2]], dtype=torch.float64)
    for t in (1, torch.tensor([1, 1, 1, 1]), torch.tensor([2, 2, 1, 1])):
        assert_close(SIGNS.posterior_mean(far, t, schedule), far.sign(), rtol=0, atol=0)
    mean, cov = SIGNS.reverse_moments(far, 1, schedule)
    assert torch.equal(mean, far.sign()) and not cov.any()
    wide = GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], 0.1).log_prob(far)
    assert_close(wide[0].item(), math.log(0.5) + norm.logpdf(1e6, 1, 0.1), rtol=1e-10, atol=0)


# The denoiser


@pytest.mark.parametrize("t", [1, 5, 8, torch.tensor([1, 5, 8])])
def test_the_three_predictions_say_the_same_thing(t, chain):
    """eps: what is left of x_t when E[x_0 | x_t] is taken out. mean: that of the true reverse kernel."""
    data = GaussianMixture(*PLANE)
    index = torch.as_tensor(t).reshape(-1, 1)
    alpha_bar = torch.tensor(np.cumprod(1 - chain.beta.numpy()))[index]
    x0_hat = data.posterior_mean(AT_PLANE, t, chain)
    eps_hat = (AT_PLANE - alpha_bar**0.5 * x0_hat) / (1 - alpha_bar) ** 0.5
    assert_close(data.denoiser(chain)(AT_PLANE, t), eps_hat, rtol=1e-10, atol=1e-13)
    assert_close(data.denoiser(chain, "x0")(AT_PLANE, t), x0_hat, rtol=0, atol=0)
    mean, _ = data.reverse_moments(AT_PLANE, t, chain)
    assert_close(data.denoiser(chain, predicts="mean")(AT_PLANE, t), mean, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("t", [1, 3, 8])
def test_the_denoiser_is_the_minimiser(t, chain):
    """Spoiled by any function of x_t, its loss grows by exactly the mean square of what spoils it."""
    data, eps = GaussianMixture(*LINE), torch.linspace(-9, 9, 361, dtype=torch.float64)
    x0 = torch.linspace(-5, 5, 401, dtype=torch.float64)
    weight = torch.outer(law(*LINE).log_prob(x0[:, None]).exp() * 0.025, Normal(0.0, 1.0).log_prob(eps).exp() * 0.05)
    noise = eps.repeat(401)[:, None]
    xt = q_sample(x0.repeat_interleave(361)[:, None], t, chain, noise=noise)
    best = data.denoiser(chain)(xt, t)

    def loss(prediction, target=noise):
        return float(weight.flatten() @ (prediction - target)[:, 0] ** 2)

    assert_close(float(weight.sum()), 1.0, rtol=1e-10, atol=0)
    for spoil in (0.1 * xt, torch.full_like(xt, 0.3), (3 * xt).sin()):
        assert_close(loss(best + spoil) - loss(best), loss(spoil, 0.0), rtol=1e-8, atol=0)


# Samples


def test_samples_follow_the_density():
    x = GaussianMixture(*LINE).sample(20_000, torch.Generator().manual_seed(0))
    assert x.shape == (20_000, 1) and x.dtype == torch.get_default_dtype()
    weights, means, std = LINE

    def cdf(v):
        return sum(w * norm.cdf(v, m, s) for w, (m,), s in zip(weights, means, std, strict=True))

    assert kstest(x[:, 0].numpy(), cdf).pvalue > 1e-4


def test_samples_come_from_each_component_as_often_as_its_weight_says():
    """Far-apart components, so that each draw tells where it came from; moments within 5 standard errors."""
    weights, std, n = np.array([0.1, 0.6, 0.3]), np.array([0.5, 1.0, 2.0]), 20_000
    means = torch.tensor([[100.0, 0.0], [0.0, 100.0], [-100.0, -100.0]])
    x = GaussianMixture(weights, means, std).sample(n, torch.Generator().manual_seed(1))
    k = torch.cdist(x, means).argmin(1)
    assert chisquare(k.bincount().numpy(), n * weights).pvalue > 1e-4
    for i in range(3):
        z = (x[k == i] - means[i]) / std[i]
        assert z.mean(0).abs().max() < 5 / len(z) ** 0.5
        assert (z.T.cov() - torch.eye(2)).abs().max() < 5 * (2 / len(z)) ** 0.5


def test_points_are_sampled_exactly():
    assert SIGNS.sample(100, torch.Generator().manual_seed(2)).unique().tolist() == [-1.0, 1.0]


def test_a_seed_fixes_the_sample_and_the_global_generator_is_left_alone():
    before, data = torch.get_rng_state(), GaussianMixture(*PLANE)
    one, same, other = (data.sample(5, generator=torch.Generator().manual_seed(s)) for s in (3, 3, 4))
    assert torch.equal(one, same) and (one != other).all()
    assert torch.equal(before, torch.get_rng_state())


# Shapes, dtypes, devices, gradients


METHODS = ("posterior_mean", "score", "denoiser", "reverse_moments")


def results(method, xt, t, schedule, data):
    """The tensors that a method returns for (xt, t)."""
    if method == "denoiser":
        return tuple(data.denoiser(schedule, p)(xt, t) for p in PREDICTORS)
    found = getattr(data, method)(xt, t, schedule)
    return found if isinstance(found, tuple) else (found,)


@given(B=st.integers(1, 4), d=st.integers(1, 3), K=st.integers(1, 4), method=st.sampled_from(METHODS),
       dtype=st.sampled_from([torch.float64, torch.float32, torch.bfloat16]))
def test_any_shape_and_dtype_and_t_per_sample_is_t_row_by_row(B, d, K, method, dtype, chain):
    data = GaussianMixture([1 / K] * K, torch.linspace(-1, 2, K * d).reshape(K, d), 0.3)
    xt = torch.linspace(-2, 1, B * d, dtype=dtype).reshape(B, d)
    kept, t = xt.clone(), torch.tensor([1, 8, 3, 5])[:B]
    found = results(method, xt, t, chain, data)
    rows = [results(method, xt[i : i + 1].double(), int(t[i]), chain, data) for i in range(B)]
    assert torch.equal(xt, kept)
    for tensor, row in zip(found, zip(*rows, strict=True), strict=True):
        assert tensor.dtype == dtype and tensor.shape in ((B, d), (B, d, d))
        # Computed in float64 whatever x's dtype: the only loss is the last rounding.
        tolerance = 1e-10 if dtype == torch.float64 else torch.finfo(dtype).eps
        assert_close(tensor.double(), torch.cat(row), rtol=tolerance, atol=min(tolerance, 1e-6))


@pytest.mark.parametrize("t", [1, 8, torch.tensor([1, 3, 8])])
def test_on_the_meta_device(t, chain):
    data, xt = GaussianMixture(*PLANE), torch.zeros(3, 2, device="meta")
    for method in METHODS:
        for tensor in results(method, xt, t, chain, data):
            assert tensor.is_meta and tensor.dtype == torch.float32 and tensor.shape in ((3, 2), (3, 2, 2))
    assert data.log_prob(xt).is_meta and data.log_prob(xt).shape == (3,)


def test_gradients_flow_to_x_and_to_beta():
    beta = torch.tensor([0.1, 0.35, 0.2], dtype=torch.float64, requires_grad=True)
    xt, data, t = AT_PLANE.clone().requires_grad_(), GaussianMixture(*PLANE), torch.tensor([1, 2, 3])
    for method in METHODS:
        assert torch.autograd.gradcheck(lambda x, b, m=method: results(m, x, t, Schedule(b), data), (xt, beta))
    assert torch.autograd.gradcheck(data.log_prob, xt)


def test_an_empty_batch_is_an_empty_answer(chain):
    assert GaussianMixture(*PLANE).posterior_mean(torch.zeros(0, 2), 3, chain).shape == (0, 2)


# Wrong input


@pytest.mark.parametrize("changed, message", [
    ({"weights": [0.5, 0.4]}, r"weights must be 2 numbers > 0 that sum to 1, one per mean, not \[0.5, 0.4\]"),
    ({"weights": [0.5, 0.3, 0.2]}, "weights must be 2 numbers > 0 that sum to 1"),
    ({"weights": [1.0, 0.0]}, "weights must be 2 numbers > 0 that sum to 1"),
    ({"weights": [1.5, -0.5]}, "weights must be 2 numbers > 0 that sum to 1"),
    ({"weights": [math.nan, 0.5]}, r"weights must be finite numbers of shape \(K,\)"),
    ({"weights": 1.0}, r"weights must be finite numbers of shape \(K,\), not 1.0"),
    ({"weights": "ab"}, "weights must be numbers, not 'ab'"),
    ({"means": [-1.0, 1.0]}, r"means must be finite numbers of shape \(K, d\), not \[-1.0, 1.0\]"),
    ({"means": [[-1.0], [math.inf]]}, r"means must be finite numbers of shape \(K, d\)"),
    ({"means": [[-1.0], [1.0, 2.0]]}, "means must be numbers, not"),
    ({"means": torch.zeros(0, 2)}, r"means must be finite numbers of shape \(K, d\), not .*\(0, 2\)"),
    ({"std": -0.1}, "std must be a finite number >= 0, or 2 of them, one per mean, not -0.1"),
    ({"std": [0.1, 0.2, 0.3]}, r"std must be .*, not \[0.1, 0.2, 0.3\]"),
    ({"std": [[0.1], [0.2]]}, r"std must be .*, not \[\[0.1\], \[0.2\]\]"),
    ({"std": math.inf}, "std must be .*finite number.*, not inf"),
    ({"std": [0.1, math.nan]}, "std must be .*finite number.*, not .*nan"),
    ({"std": "a"}, "std must be .*'a'"),
])
def test_a_mixture_that_is_none_is_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        GaussianMixture(**({"weights": [0.5, 0.5], "means": [[-1.0], [1.0]], "std": 0.1} | changed))


@pytest.mark.parametrize("xt, t, message", [
    (torch.zeros(3), 1, r"xt must have shape \(B, 2\), not \(3,\)"),
    (torch.zeros(3, 1), 1, r"xt must have shape \(B, 2\), not \(3, 1\)"),
    (torch.zeros(3, 2, 1), 1, r"xt must have shape \(B, 2\), not \(3, 2, 1\)"),
    (torch.zeros(3, 2, dtype=torch.int64), 1, "xt must be a floating-point .* torch.int64"),
    (torch.full((3, 2), math.nan), 1, "xt must be finite"),
    ([[0.0, 0.0]], 1, "xt must be a floating-point torch tensor, not list"),
    (AT_PLANE, 0, "t must .*, not 0"),
    (AT_PLANE, 9, "t must .*, not 9"),
    (AT_PLANE, 1.0, "t must .*, not float 1.0"),
    (AT_PLANE, True, "t must .*, not bool True"),
    (AT_PLANE, torch.tensor([1, 2]), r"t must .* shape \(2,\)"),
    (AT_PLANE, torch.tensor([0, 1, 2]), r"t must lie in 1\.\.8, not 0"),
    (AT_PLANE, torch.tensor([1.0, 1.0, 2.0]), "t must .* torch.float32"),
])
@pytest.mark.parametrize("method", METHODS)
def test_wrong_questions_are_refused(method, xt, t, message, chain):
    with pytest.raises(ValueError, match=message):
        results(method, xt, t, chain, GaussianMixture(*PLANE))


def test_other_wrong_arguments_are_refused(chain):
    data, generator = GaussianMixture(*PLANE), torch.Generator().manual_seed(0)
    before = generator.get_state()
    for n in (0, -1, 2.0, True):
        with pytest.raises(ValueError, match="n must be an int >= 1, not .*" + str(n)):
            data.sample(n, generator)
    assert torch.equal(before, generator.get_state())
    with pytest.raises(ValueError, match="generator must be a torch.Generator, not int 0"):
        data.sample(3, 0)
    with pytest.raises(ValueError, match="predicts must be one of 'eps', 'x0', 'mean', not 'score'"):
        data.denoiser(chain, "score")
    with pytest.raises(ValueError, match="log_prob needs every std > 0"):
        GaussianMixture([0.5, 0.5], [[0.0], [1.0]], [0.0, 1.0]).log_prob(AT_LINE)
    with pytest.raises(ValueError, match=r"x must have shape \(B, 2\), not \(5, 1\)"):
        data.log_prob(AT_LINE)
    for t in (-1, 9, 1.0, True, torch.tensor([1, 2])):
        with pytest.raises(ValueError, match=r"t must .*shape \(2,\)" if torch.is_tensor(t) else f"t must .* {t}"):
            data.noised(t, chain)


def test_weights_that_sum_to_1_but_for_rounding_are_made_to_sum_to_1():
    mixture = GaussianMixture([0.5000004, 0.5], [[0.0], [1.0]], 1.0)
    assert float(mixture.weights.sum()) == pytest.approx(1, abs=1e-15)
    assert float(mixture.weights[0]) == pytest.approx(0.5000004 / 1.0000004, abs=1e-15)
    with pytest.raises(ValueError, match="weights"):
        GaussianMixture([0.500002, 0.5], [[0.0], [1.0]], 1.0)


def test_a_float32_x_gets_float32_answers():
    mixture, schedule = GaussianMixture([0.5, 0.5], [[0.0], [1.0]], 0.5), Schedule([0.1, 0.2])
    x = torch.zeros(3, 1)
    answers = [mixture.log_prob(x), mixture.score(x, 2, schedule), *mixture.reverse_moments(x, 2, schedule)]
    assert [answer.dtype for answer in answers] == [torch.float32] * 4
