"""What the site's explorers compute in JavaScript is what the package computes, number by number and word by word.

Here node runs it, where there is one; tests/browser/test_book.py runs the same cases in a browser.
"""

import json
import math
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from ddpm_lesson import (
    Schedule,
    constant_schedule,
    cosine_schedule,
    linear_schedule,
    posterior_mean_var,
    q_sample,
    q_step,
    quadratic_schedule,
    widgets,
)
from ddpm_lesson.data import digits

SCRIPT = Path(__file__).parents[1] / "book" / "_static" / "explorer-math.js"
RUN = """calls => calls.map(([name, ...args]) => {
    try { return explorerMath[name](...args); } catch (error) { return `${error}`; } })"""
NUMBERS = "(key, value) => typeof value === 'number' && !Number.isFinite(value) ? `${value}` : value"
KINDS = {
    "cosine": lambda T, beta_1, beta_T, s: cosine_schedule(T, s),
    "linear": lambda T, beta_1, beta_T, s: linear_schedule(T, beta_1, beta_T),
    "quadratic": lambda T, beta_1, beta_T, s: quadratic_schedule(T, beta_1, beta_T),
    "constant": lambda T, beta_1, beta_T, s: constant_schedule(T, beta_T),
}
ENDS = [{"beta_1": b, "beta_T": c, "s": s} for b, c, s in
        ((1e-4, 0.02, 0.008), (1e-5, 1e-3, 0.0), (0.1, 10**-0.05, 0.1), (0.03, 0.002, 0.05))]
LENGTHS = (1, 2, 3, 10, 50, 101, 1000)
TOY = [0.05 * s for s in range(1, 11)]


def in_node(calls):
    """The answers of explorer-math.js to a list of [function, argument, ...], in node."""
    code = f"const explorerMath = require({json.dumps(str(SCRIPT))}); const calls = JSON.parse(require('fs')" \
           f".readFileSync(0)); process.stdout.write(JSON.stringify(({RUN})(calls), {NUMBERS}))"
    done = subprocess.run(["node", "-e", code], input=json.dumps(calls), capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def run():
    if shutil.which("node") is None:
        pytest.skip("no node here; the browser tests run the same cases")
    return in_node


def close(answer, wanted):
    """The numbers of an answer are those of a tensor or list, to 1e-6 and better."""
    wanted = torch.as_tensor(wanted, dtype=torch.float64).ravel().numpy()
    np.testing.assert_allclose(np.array(answer, dtype=float).ravel(), wanted, rtol=1e-9, atol=1e-12)


def made(kind, T, ends):
    """The package's schedule, or its refusal."""
    try:
        return KINDS[kind](T, **ends)
    except ValueError as error:
        return error


def check_tables(run):
    """Every table of every kind, at the shortest and longest T and the ends of the sliders; refusals included."""
    keys = [(kind, T, ends) for kind in KINDS for T in LENGTHS for ends in ENDS]
    answers = run([["schedule", kind, {"T": T, **ends}] for kind, T, ends in keys])
    refused = 0
    for key, answer in zip(keys, answers, strict=True):
        schedule = made(*key)
        if isinstance(schedule, ValueError):
            refused += 1
            assert isinstance(answer, str) and answer.split(": ")[1] in str(schedule), (key, answer)
            continue
        assert answer["T"] == schedule.T
        for name in ("beta", "alpha", "alpha_bar", "beta_tilde", "snr"):
            assert len(answer[name]) == schedule.T + 1
            close(answer[name], getattr(schedule, name))
    assert 0 < refused < len(keys) / 4


def check_values(run):
    """The distance to the prior, a step, the jump, the density and the posterior, at the ends of t and between."""
    images, rng = digits()[0][:2], np.random.default_rng(0)
    constants = run([["schedule", "linear", {"T": 100, "beta_1": 0.001, "beta_T": 0.2}], ["tables", TOY]])
    tables, toy_tables = constants
    schedule, toy = linear_schedule(100, rescale=True), Schedule(TOY)
    x0, noise, x = (rng.standard_normal(20) for _ in range(3))
    torch_x0, torch_noise = torch.tensor(x0)[None], torch.tensor(noise)[None]
    calls, wanted = [], []

    def compare(value, *call):
        calls.append(list(call))
        wanted.append(value)

    for image in images.double():
        compare(schedule.terminal_kl(image[None]), "terminalKl", tables, image.flatten().tolist())
    for t in (1, 2, 37, 100):
        compare(q_step(torch_x0, t, schedule, noise=torch_noise)[0], "step", x0.tolist(), t, tables, noise.tolist())
        compare(q_sample(torch_x0, t, schedule, noise=torch_noise)[0], "jump", x0.tolist(), t, tables, noise.tolist())
    for t in (0, 1, 2, 37, 100):
        density = widgets.MIXTURE.noised(t, schedule).log_prob(torch.tensor(x)[:, None]).exp()
        for k in range(5):
            compare(density[k], "density", x[k], t, tables)
    for t in range(1, 11):
        mean, var = posterior_mean_var(*torch.tensor([[1.2], [-0.7]], dtype=torch.float64), t, toy)
        compare([mean.item(), var.item()], "posterior", 1.2, -0.7, t, toy_tables)
    for call, answer, value in zip(calls, run(calls), wanted, strict=True):
        answer = [answer["mean"], answer["variance"]] if call[0] == "posterior" else answer
        close(answer, value)


def check_words(run):
    """What is read out below the picture, for positions of the sliders all over their ranges."""
    image = digits()[0][1:2]
    keys = [(kind, T, ends) for kind in KINDS for T in (10, 100, 330, 1000) for ends in ENDS[:2]]
    answers = run([["schedule", kind, {"T": T, **ends}] for kind, T, ends in keys])
    calls, wanted = [], []
    for (kind, T, ends), tables in zip(keys, answers, strict=True):
        for t in sorted({1, T // 3, T}):
            calls.append(["atT", t, tables | {"snr": [0, *tables["snr"][1:]]}, image.flatten().tolist()])
            wanted.append(widgets._at_t(t, made(kind, T, ends), image))
    toy, tables = widgets.posterior_explorer(), run([["tables", TOY]])[0]
    for t, x0, xt in ((1, 0.7, 1.2), (5, 0.7, 1.2), (10, -2.0, 2.0), (2, 0.1, -0.3)):
        for name, value in (("t", t), ("x0", x0), ("xt", xt)):
            toy.controls[name].value = value
        calls.append(["atPosterior", t, x0, xt, tables])
        wanted.append(toy.message.value)
    for call, answer, words in zip(calls, run(calls), wanted, strict=True):
        assert answer == words, call[:2]


def check_noise(run):
    """The noise is standard normal, the same for the same seed and another one for another seed."""
    first, again, other = run([["normals", 7, 50_000], ["normals", 7, 50_000], ["normals", 8, 50_000]])
    assert first == again and first[:5] != other[:5]
    assert kstest(first, "norm").pvalue > 0.01 and kstest(other, "norm").pvalue > 0.01
    assert abs(np.corrcoef(first[:-1], first[1:])[0, 1]) < 4 / math.sqrt(50_000)
    assert abs(np.corrcoef(first, other)[0, 1]) < 4 / math.sqrt(50_000)


def check_data(constants):
    """The images and the mixture that the page starts from are the package's."""
    np.testing.assert_array_equal(np.array(constants["DIGITS"]), digits()[0][:2].reshape(2, 64).numpy())
    mixture = widgets.MIXTURE
    close(constants["MIXTURE"]["weights"], mixture.weights)
    close(constants["MIXTURE"]["means"], mixture.means)
    close([constants["MIXTURE"]["std"]] * 2, mixture.std)


@pytest.mark.parametrize("check", [check_tables, check_values, check_words, check_noise], ids=lambda c: c.__name__)
def test_the_sites_mathematics_is_the_packages(check, run):
    check(run)


def test_the_site_starts_from_the_packages_data(run):
    code = f"process.stdout.write(JSON.stringify(require({json.dumps(str(SCRIPT))})))"
    check_data(json.loads(subprocess.check_output(["node", "-e", code], text=True)))
