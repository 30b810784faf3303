"""The homeworks' questions: right is right, mistakes are told apart, guesses fail, and each solution passes.

Right answers are compared with something else than the formula they come from: quadrature, a joint covariance, an
optimizer, a round trip, Monte Carlo with its error bar. Tried and seen to fail: a root left out of two_back, β̃_t in
best_variance, KL(p || q) in best_isotropic, the printed sign put right in hw1.q8, a mistake that is equal to another.
"""

import contextlib
import io
import re
from pathlib import Path

import jupytext
import matplotlib.pyplot as plt
import numpy as np
import pytest
import scipy.integrate
import scipy.optimize
import torch
from scipy.stats import norm
from sklearn.cluster import KMeans

from ddpm_lesson import (
    Schedule,
    TwoBumps,
    broken_runs,
    cosine_schedule,
    eps_from_x0,
    linear_schedule,
    p_step,
    posterior_mean_var,
    q_sample,
)
from ddpm_lesson.checks import agree, compare, values
from ddpm_lesson.data import digits
from ddpm_lesson.exercises import hw2_judges, hw3_judges
from ddpm_lesson.grading.inside import plain
from ddpm_lesson.homework import marked, numbers, questions
from notebooks.build import load
from notebooks.homework.build import student_copy

plt.switch_backend("agg")

FOLDER = Path(__file__).parents[1] / "notebooks/homework/src"
SOURCES = {path.stem[:3]: path for path in sorted(FOLDER.glob("hw*.py"))}
TABLE = {name: question for homework in SOURCES for name, question in questions(homework).items()}
AUTOMATIC = [name for name, question in TABLE.items() if question.call]
COMPARED = [name for name, question in TABLE.items() if question.right]


def cells(homework):
    return jupytext.reads(SOURCES[homework].read_text("utf-8"), {"extension": ".py", "format_name": "percent"}).cells


def tags(cell):
    return cell.metadata.get("tags", [])


@pytest.fixture(scope="session")
def hidden():
    """question -> the function that draws its hidden inputs."""
    names = {}
    for homework in SOURCES:
        for cell in cells(homework):
            if "hidden" in tags(cell):
                exec(cell.source, names)
    return {name: names.get(name.replace(".", "_"), lambda rng: {}) for name in AUTOMATIC}


def mine(name, key="public", student=""):
    return numbers(name[:3], key, student).get(name, {})


def right(name, n=None, **inputs):
    return TABLE[name].right(mine(name) if n is None else n, **inputs)


def draws(hidden, name, how_many=4, seed=0):
    rng = np.random.RandomState(seed)
    return [hidden[name](rng) for _ in range(how_many)]


# What holds for every question

def test_every_question_has_its_cell_its_heading_and_the_same_points():
    for homework, path in SOURCES.items():
        text, table = path.read_text("utf-8"), questions(homework)
        tagged = re.findall(rf'tags=\["exercise:({homework}\.q\d+)"\]', text)
        assert tagged == list(table)
        headings = re.findall(r"# ###? Question (\d+) · .*\((\d+) points?, (\d+) minutes\)", text)
        assert [(f"{homework}.q{k}", int(points)) for k, points, _ in headings] == [
            (name, question.points) for name, question in table.items()]
        total = sum(question.points for question in table.values())
        assert f"{total} points" in text
        for name, question in table.items():
            assert bool(question.call) + bool(question.rubric) == 1
            assert (f'check("{name}", ' in text) == bool(question.call)
            if question.rubric:  # its lines begin with points
                assert sum(map(int, re.findall(r"^(\d+) ", question.rubric, re.M))) == question.points


@pytest.mark.parametrize("name", COMPARED)
def test_no_mistake_passes_for_right_or_for_another_mistake(hidden, name):
    """On the example and on hidden draws, for many keys and students. NaN differs from everything."""
    question = TABLE[name]
    for k in range(200 if mine(name) else 40):
        n = mine(name, f"key {k}", f"student {k}" if k % 2 else "")
        for tries in ([question.example], draws(hidden, name, seed=k)):
            right = [values(question.right(n, **inputs)) for inputs in tries]
            assert all(np.isfinite(r).all() for r in right)
            with np.errstate(invalid="ignore", divide="ignore"):
                wrong = {message: [values(mistake(n, **inputs)) for inputs in tries]
                         for message, mistake in question.mistakes.items()}
            assert compare(right, right, wrong, question.tolerance, question.hint) == ""
            for message, given in wrong.items():
                told = compare(given, right, wrong, question.tolerance, question.hint)
                nan = any(np.isnan(g).any() for g in given)
                assert told == message or (nan and told == question.hint), (k, message, told)
            if not tries[0]:  # nothing hidden is drawn
                break


@pytest.mark.parametrize("name", COMPARED)
def test_a_guess_is_not_right(hidden, name):
    question, n = TABLE[name], mine(name)
    for tries in ([question.example], draws(hidden, name)):
        shape = values(question.right(n, **tries[0])).shape
        for guess in (0, 1, -1, 0.5, np.nan, np.inf):
            assert marked(question, n, tries, [np.full(shape, guess)] * len(tries))[0] == 0
        for guess in (np.zeros(0), np.ones((*shape, 2)), np.ones(shape + (1,) * len(shape))[..., None, None].repeat(2)):
            assert marked(question, n, tries, [guess] * len(tries))[0] == 0


@pytest.mark.parametrize("name", COMPARED)
def test_no_message_contains_the_answer(name):
    """Only small whole numbers stand in messages: no answer is one of them."""
    for text in (*TABLE[name].mistakes, TABLE[name].hint):
        assert not re.search(r"\d\.\d|\d{3}", text), text
        assert text and len(text) < 130


def test_drawn_numbers_are_in_sane_ranges_and_personal():
    seen = {homework: set() for homework in SOURCES}
    for k in range(1000):
        for homework in SOURCES:
            seen[homework].add(repr(drawn := numbers(homework, f"key {k}")))
            for name, n in drawn.items():
                assert set(n) and name in TABLE
                beta = n.get("beta", [0.0, 0.2])
                assert beta[0] == 0 and all(0.01 < b < 0.6 for b in beta[1:])
                if "alpha_bar_T" in n:
                    assert 0.001 < n["alpha_bar_T"] < 0.1 and 10 < n["T"] < 100 and 0.02 < right(name, n) < 0.9
                if name in ("hw1.q8", "hw1.q9", "hw1.q10"):
                    printed, true = right(name, n)
                    assert abs(printed - true) > 0.02 * abs(true) and max(abs(printed), abs(true)) < 10
    assert all(len(s) > 990 or not numbers(homework) for homework, s in seen.items())


# HW1 against other ways to the same numbers

def test_ve_jump_has_the_mean_and_variance_of_its_steps(hidden):
    for inputs in draws(hidden, "hw1.q1"):
        jump, zero = right("hw1.q1", **inputs), right("hw1.q1", **inputs | {"eps": 0 * inputs["eps"]})
        np.testing.assert_array_equal(zero, inputs["x"])
        for b, (s, t) in enumerate(zip(inputs["s"], inputs["t"], strict=True)):
            steps = [torch.distributions.Normal(0, (inputs["sigma"][i] ** 2 - inputs["sigma"][i - 1] ** 2) ** 0.5)
                     for i in range(s + 1, t + 1)]  # independent of each other
            std = sum(step.variance.item() for step in steps) ** 0.5
            np.testing.assert_allclose(jump[b] - zero[b], std * inputs["eps"][b], atol=1e-12)


def test_the_sigmoid_schedule_arrives():
    for k in range(20):
        n = mine("hw1.q2", f"key {k}")
        t = torch.arange(1, n["T"] + 1)
        beta = right("hw1.q2", n) * torch.sigmoid(12 * (t - 1).double() / (n["T"] - 1) - 6)
        assert Schedule(beta).alpha_bar[-1].item() == pytest.approx(n["alpha_bar_T"], rel=1e-9)


def test_two_back_by_quadrature(hidden):
    for inputs in [TABLE["hw1.q3"].example, *draws(hidden, "hw1.q3", 2)]:
        alpha_bar = np.cumprod(1 - inputs["beta"])
        mean, var = right("hw1.q3", **inputs)
        for b, t in enumerate(inputs["t"]):
            if t == 2:
                assert mean[b] == pytest.approx(inputs["x0"][b]) and var[b] == 0
                continue
            x = np.linspace(-12, 12, 8001)  # x_{t-2}; x_{t-1} is integrated out on a grid, step by step
            one = norm.pdf(x[::20, None], np.sqrt(1 - inputs["beta"][t - 1]) * x, inputs["beta"][t - 1] ** 0.5)
            two = norm.pdf(inputs["xt"][b], np.sqrt(1 - inputs["beta"][t]) * x[::20], inputs["beta"][t] ** 0.5)
            p = (two @ one) * norm.pdf(x, np.sqrt(alpha_bar[t - 2]) * inputs["x0"][b], (1 - alpha_bar[t - 2]) ** 0.5)
            p /= scipy.integrate.trapezoid(p, x)
            m = scipy.integrate.trapezoid(x * p, x)
            assert mean[b] == pytest.approx(m, abs=1e-6)
            assert var[b] == pytest.approx(scipy.integrate.trapezoid((x - m) ** 2 * p, x), rel=1e-5)


def test_v_goes_there_and_back(hidden):
    rng = np.random.RandomState(0)
    for inputs in draws(hidden, "hw1.q4"):
        a, x0, eps = inputs["alpha_bar_t"], rng.normal(size=(5, 3)), rng.normal(size=(5, 3))
        xt, v = np.sqrt(a) * x0 + np.sqrt(1 - a) * eps, np.sqrt(a) * eps - np.sqrt(1 - a) * x0
        np.testing.assert_allclose(right("hw1.q4", xt=xt, v=v, alpha_bar_t=a), [x0, eps], atol=1e-12)
    for inputs in draws(hidden, "hw1.q5"):
        schedule, t, x0 = Schedule(inputs["beta"][1:]), torch.as_tensor(inputs["t"]), torch.randn(5).double()
        a, xt = schedule.alpha_bar[t], torch.as_tensor(inputs["xt"])
        v = a.sqrt() * (xt - a.sqrt() * x0) / (1 - a).sqrt() - (1 - a).sqrt() * x0
        mean = right("hw1.q5", **inputs | {"v": v.numpy()})
        np.testing.assert_allclose(mean, posterior_mean_var(xt, x0, t, schedule)[0], atol=1e-12)


def test_best_isotropic_by_an_optimizer(hidden):
    for inputs in [TABLE["hw1.q6"].example, *draws(hidden, "hw1.q6", 5)]:
        q, d = torch.distributions.MultivariateNormal(zero := torch.zeros(d := len(inputs["cov"])).double(),
                                                      torch.as_tensor(inputs["cov"])), d
        def kl(log_s, q=q, zero=zero, d=d):
            p = torch.distributions.MultivariateNormal(zero, np.exp(log_s) * torch.eye(d).double())
            return torch.distributions.kl_divergence(q, p).item()
        best = scipy.optimize.minimize_scalar(kl, bounds=(-5, 5), method="bounded", options={"xatol": 1e-9})
        s, divergence = right("hw1.q6", **inputs)
        assert s == pytest.approx(np.exp(best.x), rel=1e-5) and divergence == pytest.approx(best.fun, rel=1e-8)


def test_best_variance_from_the_joint_covariance_and_its_limits(hidden):
    for inputs in [TABLE["hw1.q7"].example, *draws(hidden, "hw1.q7", 5)]:
        alpha_bar, cov, d = np.cumprod(1 - inputs["beta"]), inputs["cov"], len(inputs["cov"])
        for t, found in zip(inputs["t"], right("hw1.q7", **inputs), strict=True):
            before = alpha_bar[t - 1] * cov + (1 - alpha_bar[t - 1]) * np.eye(d)  # Cov(x_{t-1})
            after = (1 - inputs["beta"][t]) * before + inputs["beta"][t] * np.eye(d)  # Cov(x_t)
            cross = np.sqrt(1 - inputs["beta"][t]) * before
            left = before - cross @ np.linalg.solve(after, cross)  # Cov(x_{t-1} | x_t)
            # E log N(x; mean, s I) = -d/2 log(2 pi s) - tr(left) / (2 s)
            best = scipy.optimize.minimize_scalar(lambda u, left=left, d=d: d * u + np.trace(left) / np.exp(u),
                                                  bounds=(-12, 3), method="bounded", options={"xatol": 1e-9})
            assert found == pytest.approx(np.exp(best.x), rel=1e-5)
        schedule = Schedule(inputs["beta"][1:])
        one, point = (right("hw1.q7", **inputs | {"cov": c * np.eye(d)}) for c in (1, 0))
        np.testing.assert_allclose(one, inputs["beta"][inputs["t"]])
        np.testing.assert_allclose(point, schedule.beta_tilde[inputs["t"]], atol=1e-12)


@pytest.mark.erratum("000:620", "002:291", "004:569")
def test_the_misprints_numbers():
    for k in range(5):
        n = mine("hw1.q8", f"key {k}")
        t, beta, x0 = n["t"], np.array(n["beta"]), torch.tensor([n["x0"]]).double()
        schedule = Schedule(beta[1:])
        a, b = schedule.alpha_bar[t].item(), schedule.alpha_bar[t - 1].item()
        w_t, w_0 = (1 - beta[t]) ** 0.5 * (1 - b) / (1 - a) ** 0.5, b**0.5 * beta[t] / (1 - a) ** 0.5
        printed = w_t * a**0.5 * n["x0"] - w_0 * n["x0"]
        true = posterior_mean_var(a**0.5 * x0, x0, t, schedule)[0].item()
        assert agree(values(right("hw1.q8", n)), np.array([printed, true]), 1e-9)

        rng, draws = np.random.RandomState(k), 200_000
        n = mine("hw1.q9", f"key {k}")
        one, own = np.zeros(draws), np.zeros(draws)
        eps = rng.normal(size=draws)
        for b in n["beta"][1:]:  # the chain from x_0 = 0: the same ε in every step, or each its own
            one = (1 - b) ** 0.5 * one + b**0.5 * eps
            own = (1 - b) ** 0.5 * own + b**0.5 * rng.normal(size=draws)
        error = 5 * (2 / draws) ** 0.5  # of a variance, relative: five standard errors
        assert [one.var(), own.var()] == pytest.approx(right("hw1.q9", n), rel=error)

        n = mine("hw1.q10", f"key {k}")
        t, beta, alpha_bar = n["t"], n["beta"], np.cumprod(1 - np.array(n["beta"]))
        x = n["c"] ** 0.5 * rng.normal(size=draws)
        for b in beta[1:t]:
            x = (1 - b) ** 0.5 * x + b**0.5 * rng.normal(size=draws)
        x_prev, xt = x, (1 - beta[t]) ** 0.5 * x + beta[t] ** 0.5 * rng.normal(size=draws)
        V, V_prev = (alpha_bar[i] * n["c"] + 1 - alpha_bar[i] for i in (t, t - 1))
        mean = (xt - beta[t] / (1 - alpha_bar[t]) ** 0.5 * (1 - alpha_bar[t]) ** 0.5 * xt / V) / (1 - beta[t]) ** 0.5
        printed = mean + beta[t] * V_prev / V * rng.normal(size=draws)
        assert [printed.var(), x_prev.var()] == pytest.approx(right("hw1.q10", n), rel=error)
        corrected = mean + (beta[t] * V_prev / V) ** 0.5 * rng.normal(size=draws)
        assert corrected.var() == pytest.approx(x_prev.var(), rel=2 * error)


# HW2 against other ways to the same numbers

def toy(xt, t):
    """The network that the questions' setup makes."""
    return 0.4 * xt - 0.05 * t.to(xt).reshape(-1, *[1] * (xt.ndim - 1))


def tensors(inputs):
    return {name: torch.as_tensor(x) for name, x in inputs.items()}


def test_noised_signals_and_their_loss(hidden):
    for inputs in [TABLE["hw2.q1"].example, *draws(hidden, "hw2.q1")]:
        x0, t, eps, alpha_bar = tensors(inputs).values()
        schedule = Schedule(1 - alpha_bar[1:] / alpha_bar[:-1])
        xt, v = (torch.as_tensor(x) for x in right("hw2.q1", **inputs))
        torch.testing.assert_close(xt, q_sample(x0, t, schedule, noise=eps))
        a = alpha_bar[t][:, None]
        for v_hat, wanted in ((v, None), (toy(xt, t), right("hw2.q4", **inputs))):
            x0_hat = a.sqrt() * xt - (1 - a).sqrt() * v_hat  # turned back
            eps_hat = eps_from_x0(xt, x0_hat, t, schedule)
            error = (eps_hat - eps).square().mean().item()
            assert error == pytest.approx(0, abs=1e-20) if wanted is None else error == pytest.approx(wanted)


def test_waves_repeat_after_their_periods(hidden):
    for inputs in [TABLE["hw2.q2"].example, *draws(hidden, "hw2.q2")]:
        found, k = right("hw2.q2", **inputs) - 2, inputs["width"] // 2
        periods = [4 * (inputs["slowest"] / 4) ** (i / (k - 1)) for i in range(k)]
        turning = np.array([[np.exp(2j * np.pi * t / p) for p in periods] for t in inputs["t"]])
        np.testing.assert_allclose(found, np.concatenate([turning.real, turning.imag], 1), atol=1e-9)


def test_attention_is_torchs_own(hidden):
    for inputs in [TABLE["hw2.q3"].example, *draws(hidden, "hw2.q3")]:
        q, k, v, bias = tensors(inputs).values()
        own = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        np.testing.assert_allclose(right("hw2.q3", **inputs), own, atol=1e-10)


def test_sample_v_is_the_packages_chain(hidden):
    for inputs in [TABLE["hw2.q5"].example, *draws(hidden, "hw2.q5")]:
        x, z, alpha_bar = tensors(inputs).values()
        schedule = Schedule(1 - alpha_bar[1:] / alpha_bar[:-1])
        def x0_hat(xt, t, alpha_bar=alpha_bar):
            a = alpha_bar[t][:, None]
            return a.sqrt() * xt - (1 - a).sqrt() * toy(xt, t)
        for t in range(schedule.T, 0, -1):
            x = p_step(x0_hat, x, t, schedule, predicts="x0", noise=z[t])
        np.testing.assert_allclose(right("hw2.q5", **inputs), x, atol=1e-10)


def test_the_floor_of_homework_2_is_the_exact_denoisers_error():
    data, schedule, generator = TwoBumps(hw2_judges.N), cosine_schedule(hw2_judges.T), torch.Generator().manual_seed(3)
    t = torch.arange(1, hw2_judges.T + 1).repeat_interleave(60)
    x0, eps = data.sample(len(t), generator).double(), torch.randn((len(t), data.n), generator=generator).double()
    guess = data.denoiser(schedule)(q_sample(x0, t, schedule, noise=eps), t)
    errors = (guess - eps).square().mean(1).unflatten(0, (-1, 60))
    std_error = (errors.var(1) / 60).sum().sqrt() / hw2_judges.T
    assert abs(errors.mean() - hw2_judges.FLOOR) < 4 * std_error < 0.1 * hw2_judges.FLOOR


def test_a_denoiser_earns_what_its_gap_says():
    inputs = TABLE["hw2.q6"].example
    xt, t = torch.as_tensor(inputs["xt"]).double(), torch.as_tensor(inputs["t"])
    exact = TwoBumps(32).denoiser(cosine_schedule(50))(xt, t)
    noise = torch.randn(exact.shape, generator=torch.Generator().manual_seed(0)).double()
    noise /= noise.square().mean().sqrt()
    for ratio, share in ((1.1, 1), (1.15, 1), (1.5, 0.5 / 0.85), (1.9, 0.1 / 0.85), (2, 0), (9, 0), (1, 0)):
        given = exact + ((ratio - 1) * hw2_judges.FLOOR) ** 0.5 * noise
        assert hw2_judges.over_floor({}, inputs, given.float().numpy())[0] == pytest.approx(share, abs=1e-3)
    for bad in (0, exact.numpy()[:, :-1], exact.numpy() * np.nan, exact.numpy().astype(int), [[1.0]], "x", None):
        assert hw2_judges.over_floor({}, inputs, bad)[0] == 0
    assert hw2_judges.over_floor({}, inputs, np.zeros(exact.shape))[0] == 0


def test_a_broken_run_shows_its_slip():
    """What can be read off the pictures, in two ways: here, and in the solution."""
    for seed in (2, 5):
        gap, _ = broken_runs.pictures(broken_runs.run_a(seed))
        jumps = (gap[1:] / gap[:-1]).log()  # jumps[t - 1]: from t to t + 1
        seen = jumps[:15].argmin().item() + 2, jumps[20:].argmax().item() + 21
        assert hw2_judges.run_a({"seed": seed}, {}, (1, *seen)) == (1, "")
    for seed in range(8):
        gap, x = broken_runs.pictures(broken_runs.run_b(seed))
        assert gap.max() > 0.1
        left, right = sorted(KMeans(2, n_init=1, random_state=0).fit(x[:, None].numpy()).cluster_centers_[:, 0])
        s, m = np.linalg.solve([[-1.479, 1], [0.634, 1]], [left, right])
        assert hw2_judges.run_b({"seed": seed}, {}, [2, s, m]) == (1, "")


def test_a_diagnosis_is_not_guessed():
    for judge, slip in ((hw2_judges.run_a, broken_runs.slip_a), (hw2_judges.run_b, broken_runs.slip_b)):
        shares = []
        for seed in range(300):
            suspect, first, second = slip(seed)
            assert suspect == (1 if judge is hw2_judges.run_a else 2)
            assert judge({"seed": seed}, {}, (suspect, first, second))[0] == 1
            assert judge({"seed": seed}, {}, (suspect, first, second + 2))[0] == 0.75
            assert judge({"seed": seed}, {}, (3, first, second))[0] == 0
            shares.append(judge({"seed": seed}, {}, slip(seed + 1))[0])  # a neighbour's answer
        assert np.mean(np.array(shares) == 1) < 0.15
        for bad in (0, None, "1", (1, 2), (1, 2, 3, 4), (np.nan,) * 3, ("a", "b", "c")):
            assert judge({"seed": 1}, {}, bad)[0] == 0


# HW3 against other ways to the same numbers

def test_strided_with_all_times_and_eta_1_is_the_packages_chain(hidden):
    for inputs in draws(hidden, "hw3.q4"):
        alpha_bar, times = torch.as_tensor(inputs["alpha_bar"]), inputs["times"]
        visited = torch.tensor([0, *times[::-1]])  # a chain of its own, whose step i goes from visited[i]
        short = Schedule(1 - alpha_bar[visited][1:] / alpha_bar[visited][:-1])
        x = torch.as_tensor(inputs["xT"])
        for i, z in zip(range(len(times), 0, -1), torch.as_tensor(inputs["z"]), strict=True):
            x = p_step(lambda xt, i, visited=visited: toy(xt, visited[i]), x, i, short, noise=z)
        np.testing.assert_allclose(right("hw3.q4", **inputs | {"eta": 1.0}), x, atol=1e-10)
        still = right("hw3.q4", **inputs | {"eta": 0.0})
        np.testing.assert_array_equal(still, right("hw3.q4", **inputs | {"eta": 0.0, "z": 9 * inputs["z"]}))


def test_held_out_loss_is_the_mean_error_of_the_noise_that_was_drawn():
    inputs = hw3_judges.example_noised()
    generator = torch.Generator().manual_seed(1)
    eps = torch.randn((600, 1, 8, 8), generator=generator).numpy()  # the example's own
    snr = linear_schedule(100, rescale=True).snr[torch.as_tensor(inputs["t"])].numpy()
    weight = np.minimum(snr, 5) / snr
    noise = np.random.RandomState(0).normal(size=eps.shape)
    for loss, share in ((0.05, 1), (0.056, 1), (0.088, 0.5), (0.12, 0), (0.5, 0), (0.01, 0)):
        given = eps + noise * (loss / (weight[:, None, None, None] * noise**2).mean()) ** 0.5
        assert hw3_judges.held_out_loss({}, inputs, given)[0] == pytest.approx(share, abs=0.01)
    for bad in (0, eps[:, :, 1:], eps * np.nan, "x", None, np.zeros(eps.shape)):
        assert hw3_judges.held_out_loss({}, inputs, bad)[0] == 0


def test_samples_are_told_from_noise_copies_and_a_single_class():
    (images, labels), start = digits(), hw3_judges.example_start()
    new, generator = images[1500:], torch.Generator().manual_seed(0)
    noisy = new + 0.25 * torch.randn(new.shape, generator=generator)  # what a trained network gives is of this kind
    def share(x):
        x = x[torch.arange(200) % len(x)]
        return hw3_judges.samples({}, start, x.numpy())
    for wrong in (torch.randn(200, 1, 8, 8, generator=generator), torch.zeros(200, 1, 8, 8), -torch.ones(200, 1, 8, 8),
                  images[:200], new.roll(3, 3), new + 0.6 * torch.randn(new.shape, generator=generator)):
        assert share(wrong)[0] < 0.2
    nearly = new + 0.08 * torch.randn(new.shape, generator=generator)
    assert share(nearly)[0] == 1
    assert share(nearly[labels[1500:] == 3])[0] == 0.5
    assert share(noisy)[0] < 0.8
    for bad in (0, None, "x", new.numpy(), np.full((200, 1, 8, 8), np.nan)):
        assert hw3_judges.samples({}, start, bad)[0] == 0


# The notebooks

def run(homework, monkeypatch, folder, sources=None):
    """What the notebook prints, and its names, run from top to bottom in an empty folder."""
    monkeypatch.chdir(folder)
    names, printed = {}, io.StringIO()
    codes = [cell.source for cell in cells(homework) if cell.cell_type == "code" and "hidden" not in tags(cell)]
    with contextlib.redirect_stdout(printed):
        for code in codes if sources is None else sources:
            exec(code, names)
    plt.close("all")
    return dict(re.findall(r"(hw\d\.q\d+): (.*)", printed.getvalue())), names


@pytest.mark.parametrize("homework", SOURCES)
def test_the_solution_is_right_here_and_for_hidden_inputs(homework, hidden, monkeypatch, tmp_path):
    """With training cut short; what a trained network earns, a slow test of test_grading.py asks the grader."""
    monkeypatch.setenv("SMOKE", "1")
    verdicts, names = run(homework, monkeypatch, tmp_path)
    assert list(verdicts) == [name for name in AUTOMATIC if name[:3] == homework]
    for name, verdict in verdicts.items():
        trained = name in ("hw2.q6", "hw3.q5", "hw3.q6")
        assert verdict.startswith("not yet. ") if trained else verdict == "right.", (name, verdict)
        if TABLE[name].right:
            tries, answers = draws(hidden, name, 5, seed=7), []
            for inputs in tries:  # as the grader asks
                scope = names | inputs
                exec(TABLE[name].setup, scope)
                answers.append(plain(eval(TABLE[name].call, scope)))
            assert marked(TABLE[name], mine(name), tries, answers) == (1, "")


@pytest.mark.parametrize("homework", SOURCES)
def test_a_student_copy_runs_to_its_end_and_answers_nothing(homework, monkeypatch, tmp_path):
    copy = student_copy(*load(SOURCES[homework]))
    text = "\n".join(cell.source for cell in copy.cells)
    assert "SOLUTION" not in text and "hidden" not in str([tags(cell) for cell in copy.cells])
    verdicts, _ = run(homework, monkeypatch, tmp_path, [c.source for c in copy.cells if c.cell_type == "code"])
    assert set(verdicts.values()) == {"not answered yet."}
    assert list(verdicts) == [name for name in AUTOMATIC if name[:3] == homework]
    assert not list(tmp_path.iterdir())
