"""Training against what is known without it, and its checkpoints against kill -9, damage and strangers.

Sabotage of train.py that turned this file red: t up to T - 1 only; the weight at t = 1 or 2, or its factor T; exchanged
targets; the cosine or the warm-up one step off, the rate not used; no clip, no zero_grad; ema without its ramp, with
another, never updated, in train mode; rows of a tensor in order; the same noise in every step, dropout without a seed,
the caller's generator moved; a restart without the generator's or the optimiser's state, or one step early; a loss or
only a gradient that is nan let through, all t's blamed; no check of the file's sums or settings, unsafe loading; a file
written in place, without fsync, or not after the last step; the caller's network patched; a bar in CI; in two
processes: everybody takes all rows, or the same rows, gradients not averaged, losses not gathered; in the killed
process: no generator restored. The file written in place is caught by the failing disk, not reliably by two kills.
"""

import math
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from kill_and_resume import run
from scipy.stats import chisquare
from torch.optim.swa_utils import AveragedModel
from torch.testing import assert_close

from ddpm_lesson import GaussianMixture, Schedule, cosine_schedule, elbo_terms, sample, simple_loss
from ddpm_lesson.train import Step, learning_rate, sample_losses, train

PREDICTORS, WEIGHTINGS = ("eps", "x0", "mean"), ("simple", "bound")
SHORT = Schedule([0.1, 0.3, 0.2, 0.4])
LONG = cosine_schedule(20)
SCRIPT = Path(__file__).with_name("kill_and_resume.py")


class Affine(torch.nn.Module):
    """a[t] * xt + b[t]: enough for Gaussian data, and no more. It keeps what it was shown."""

    def __init__(self, T=4, dropout=0.0, d=1):
        super().__init__()
        self.a, self.b = (torch.nn.Parameter(torch.full((T + 1, d), v)) for v in (0.3, -0.2))
        self.dropout, self.shown = torch.nn.Dropout(dropout), []

    def forward(self, xt, t):
        if self.training:
            self.shown.append((xt.detach().clone(), t, self.a.detach().clone(), self.b.detach().clone()))
        return self.dropout(self.a[t] * xt + self.b[t])


def normal(n, generator):
    return torch.randn(n, 1, generator=generator)


def start(data=normal, schedule=SHORT, network=None, **changed):
    """A short training, not yet iterated over, with its network and average."""
    network = network or Affine(schedule.T)
    ema = AveragedModel(network)
    return network, ema, train(network, ema, data, schedule, **{"steps": 12, "batch": 8, "lr": 0.05} | changed)


def finish(**arguments):
    network, ema, steps = start(**arguments)
    return network, ema, list(steps)


def same(one, other):
    """Equal to the last bit."""
    one, other = one.state_dict(), other.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# what is minimised


def truth(predicts, xt, x0, eps, t, schedule):
    """The target by Bayes' rule, precisions adding; at t = 1 the mean is x_0."""
    if predicts != "mean":
        return {"eps": eps, "x0": x0}[predicts]
    alpha, beta, prev = schedule.alpha[t], schedule.beta[t], schedule.alpha_bar[t - 1]
    precision = 1 / (1 - prev) + alpha / beta  # inf at t = 1
    mean = (prev.sqrt() / (1 - prev) * x0 + alpha.sqrt() / beta * xt) / precision
    return torch.where(t > 1, mean, x0)


def nats(predicts, error, t, schedule):
    """The KL (at t = 1 the decoder's -log p, with variance β_1) that an error of the prediction costs."""
    beta, bar, prev = schedule.beta[t], schedule.alpha_bar[t], schedule.alpha_bar[t - 1]
    x0_error = {"x0": error, "eps": error * ((1 - bar) / bar).sqrt(), "mean": None}[predicts]
    mean_error = error if x0_error is None else torch.where(t > 1, prev.sqrt() * beta / (1 - bar), 1.0) * x0_error
    return mean_error**2 / (2 * torch.where(t > 1, (1 - prev) / (1 - bar) * beta, beta))


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("predicts", PREDICTORS)
def test_the_loss_that_is_reported(predicts, weighting, chain):
    """From what the network was shown and its weights at that time: all samples are x_0 = 0.7, so eps can be told."""
    data = torch.full((5, 1), 0.7)
    network, _, steps = finish(data=data, schedule=chain, predicts=predicts, weighting=weighting)
    assert [step for step, _, _ in steps] == list(range(1, 13)) and all(isinstance(step, Step) for step in steps)
    for (xt, t, a, b), (_, loss, _) in zip(network.shown, steps, strict=True):
        t, x0 = t[:, None], torch.tensor(0.7).double()
        eps = (xt.double() - chain.alpha_bar[t].sqrt() * x0) / (1 - chain.alpha_bar[t]).sqrt()
        error = (a[t[:, 0]] * xt + b[t[:, 0]]).double() - truth(predicts, xt.double(), x0, eps, t, chain)
        each = error**2 if weighting == "simple" else chain.T * nats(predicts, error, t, chain)
        assert loss == pytest.approx(each.mean().item(), rel=1e-4)


@pytest.mark.parametrize("predicts", PREDICTORS)
def test_bound_has_the_gradient_of_the_elbo(predicts, chain):
    """The mean over t = 1..T, with the noise that elbo_terms draws."""
    x0 = torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    slopes = torch.linspace(-0.3, 0.8, chain.T + 1, dtype=torch.float64).requires_grad_()

    def denoiser(xt, t):
        return slopes[t][:, None] * xt

    bound = elbo_terms(denoiser, x0, chain, predicts=predicts, generator=torch.Generator().manual_seed(1)).total / 3
    wanted, = torch.autograd.grad(bound.mean(), slopes)
    generator, losses = torch.Generator().manual_seed(1), []
    for t in range(1, chain.T + 1):
        noise = torch.randn(x0.shape, dtype=x0.dtype, generator=generator)
        losses.append(sample_losses(denoiser, x0, torch.full((6,), t), noise, chain, predicts, "bound").mean())
    given, = torch.autograd.grad(torch.stack(losses).mean(), slopes)
    assert_close(given, wanted, rtol=1e-10, atol=1e-12)
    if predicts != "mean":  # and the constant between them is the prior's and the decoder's normaliser alone
        rest = chain.terminal_kl(x0).mean() / 3 + (2 * math.pi * chain.beta[1]).log() / 2
        assert_close(bound.mean().detach(), (torch.stack(losses).mean() + rest).detach(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("predicts", PREDICTORS)
def test_simple_is_the_simple_loss(predicts, chain):
    x0, noise = torch.randn(2, 6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    t = torch.tensor([1, 8, 2, 3, 5, 4])
    losses = sample_losses(lambda xt, t: xt.sin(), x0, t, noise, chain, predicts)
    assert losses.shape == (6,)
    assert_close(losses.mean(), simple_loss(lambda xt, t: xt.sin(), x0, chain, t=t, noise=noise, predicts=predicts))


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("predicts", PREDICTORS)
def test_training_finds_the_best_denoiser(predicts, weighting):
    """Data N(0, 1) stay N(0, 1), so every best prediction is a correlation times x_t. Bands: 4 times the error seen."""
    network, ema, steps = finish(steps=400, batch=128, predicts=predicts, weighting=weighting)
    best = {"eps": (1 - SHORT.alpha_bar).sqrt(), "x0": SHORT.alpha_bar.sqrt(), "mean": SHORT.alpha.sqrt()}[predicts]
    assert_close(ema.module.a.detach()[1:, 0].double(), best[1:], rtol=0, atol=0.06)
    assert_close(ema.module.b.detach()[1:, 0].double(), torch.zeros(4).double(), rtol=0, atol=0.06)
    decayed = 0.3 * math.prod(1 - 0.01 * step.rate for step in steps)  # row 0 has no data: AdamW's weight decay alone
    assert network.a[0].item() == pytest.approx(decayed, rel=1e-4)


def test_t_is_uniform_and_noise_standard_normal():
    data = torch.zeros(1, 1)
    network, _, _ = finish(data=data, steps=40, batch=200)
    xt, t = (torch.cat(seen) for seen in list(zip(*network.shown, strict=True))[:2])
    assert t.dtype == torch.int64 and chisquare(torch.bincount(t, minlength=5)[1:].numpy()).pvalue > 1e-3
    noise = xt[:, 0] / (1 - SHORT.alpha_bar[t]).sqrt()
    assert abs(noise.mean()) < 4 / 8000**0.5 and abs(noise.var() - 1) < 4 * (2 / 8000) ** 0.5
    assert len(noise.unique()) > 7990  # no step and no sample sees another's


def test_every_sample_of_a_tensor_is_drawn_alike():
    network, _, _ = finish(data=torch.arange(10.0)[:, None] * 1000, steps=200, batch=7, lr=1e-6)
    seen = torch.cat([xt[:, 0] / SHORT.alpha_bar[t].sqrt() for xt, t, _, _ in network.shown])
    assert chisquare(torch.bincount((seen / 1000).round().long(), minlength=10).numpy()).pvalue > 1e-3


# how it is minimised


def test_learning_rate():
    rates = [learning_rate(step, 50, 0.2, 10) for step in range(1, 51)]
    assert rates[:10] == pytest.approx([0.02 * k for k in range(1, 11)])
    assert rates[10] == 0.2 and rates[30] == pytest.approx(0.1) and 0 < rates[-1] < 0.001
    assert all(a >= b for a, b in zip(rates[9:], rates[10:], strict=False))
    assert learning_rate(51, 50, 0.2, 10) == pytest.approx(0, abs=1e-17)  # the step after the last
    assert learning_rate(1, 50, 0.2, 0) == 0.2 and learning_rate(7, 7, 0.2, 7) == 0.2
    _, _, steps = finish(steps=50, lr=0.2, warmup=10)
    assert [rate for _, _, rate in steps] == rates
    assert [rate for _, _, rate in finish(steps=40)[2]] == [learning_rate(k, 40, 0.05, 2) for k in range(1, 41)]


@pytest.mark.parametrize("clip", [0.01, math.inf])
def test_steps_are_those_of_adamw_by_hand(clip):
    """Adam's formulas with gradients taken by hand. With eps 1e-8 in the denominator a clipped norm shows."""
    network, ema, steps = finish(steps=6, lr=0.05, clip=clip, network=Affine().double(), decay=0.25,
                                 data=torch.full((1, 1), 0.7, dtype=torch.float64))
    w = torch.stack([torch.full((5, 1), v, dtype=torch.float64) for v in (0.3, -0.2)])
    w[0], w[1] = torch.tensor(0.3), torch.tensor(-0.2)  # rounded to float32, as the network began
    m, v, average = torch.zeros_like(w), torch.zeros_like(w), None
    for k, ((xt, t, *seen), (_, _, rate)) in enumerate(zip(network.shown, steps, strict=True), 1):
        assert_close(torch.stack(seen), w, rtol=1e-9, atol=1e-12)
        bar = SHORT.alpha_bar[t][:, None]
        error = 2 * (w[0][t] * xt + w[1][t] - (xt - bar.sqrt() * 0.7) / (1 - bar).sqrt()) / len(xt)
        g = torch.stack([torch.zeros(5, 1).double().index_add(0, t, e) for e in (error * xt, error)])
        assert g.norm() > 0.01  # the clip acts in every step
        g = g * min(1, clip / (float(g.norm()) + 1e-6))  # torch's clip has this 1e-6
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        w = w * (1 - rate * 0.01) - rate * (m / (1 - 0.9**k)) / ((v / (1 - 0.999**k)).sqrt() + 1e-8)
        decay = min(0.25, k / (k + 10))
        average = w if average is None else decay * average + (1 - decay) * w
    assert_close(torch.stack([network.a, network.b]).detach(), w, rtol=1e-9, atol=1e-12)
    assert_close(torch.stack([ema.module.a, ema.module.b]), average, rtol=1e-9, atol=1e-12)


def test_the_gradient_is_clipped(monkeypatch):
    """AdamW forgives a scaled gradient, so it is looked at directly."""
    norms, step = [], torch.optim.AdamW.step
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self: norms.append(
        torch.stack([p.grad.norm() for p in self.param_groups[0]["params"]]).norm().item()) or step(self))
    finish(clip=0.05)
    finish(clip=math.inf)
    assert norms[:12] == pytest.approx([0.05] * 12, rel=1e-3) and max(norms[12:]) > 0.5


def test_ema_is_a_denoiser_at_every_step():
    network, ema, steps = start(network=Affine(dropout=0.5))
    for step in steps:
        assert network.training and not ema.training and not any(p.requires_grad for p in ema.parameters())
        if step.step == 5:
            x0 = sample(ema, SHORT, (3, 1), generator=torch.Generator().manual_seed(0))
            assert x0.shape == (3, 1) and x0.isfinite().all()


def test_a_trained_mixture_is_sampled():
    """End to end: a mixture's mean and spread come back. Its exact denoiser is nearly affine."""
    data = GaussianMixture([0.5, 0.5], [[0.8, -1.0], [1.2, -1.0]], 0.3)
    _, ema, _ = finish(data=data.sample, schedule=LONG, network=Affine(T=20, d=2), steps=500, batch=256)
    x0 = sample(ema, LONG, (4000, 2), generator=torch.Generator().manual_seed(1))
    assert_close(x0.mean(0), torch.tensor([1.0, -1.0]), rtol=0, atol=0.15)
    assert_close(x0.std(0), torch.tensor([0.36, 0.3]), rtol=0, atol=0.15)


# seeds


def test_the_seed_decides_everything_but_the_first_weights():
    """Also dropout; the global generator neither matters nor is moved."""
    curves, networks = [], []
    for seed in (0, 0, 1):
        torch.rand(3)
        before = torch.get_rng_state()
        network, _, steps = finish(seed=seed, network=Affine(dropout=0.3))
        assert torch.equal(before, torch.get_rng_state())
        curves.append([step.loss for step in steps])
        networks.append(network)
    assert curves[0] == curves[1] and same(networks[0], networks[1])
    assert not set(curves[0]) & set(curves[2])


def test_mixed_precision_is_the_accelerators():
    """bfloat16 in the products, float32 in weights and losses; the caller's network is left unmarked."""
    forget_accelerators()
    seen = []

    class Net(torch.nn.Linear):
        def forward(self, xt, t):
            y = super().forward(xt)
            seen.append(y.dtype)
            return y

    network = Net(3, 3)
    try:
        finish(data=torch.randn(9, 3), network=network, accelerator=Accelerator(cpu=True, mixed_precision="bf16"))
        assert set(seen) == {torch.bfloat16} and network.weight.dtype == torch.float32
        assert network(torch.zeros(1, 3), None).dtype == torch.float32
    finally:
        forget_accelerators()
    seen.clear()
    finish(data=torch.randn(9, 3), network=network)
    assert set(seen) == {torch.float32}


def forget_accelerators():
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(True)


def test_quiet_unless_in_a_terminal(capsys, monkeypatch):
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("SMOKE", raising=False)
    finish()
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    finish()
    assert "12/12" in capsys.readouterr().err
    for name in ("CI", "SMOKE"):
        with monkeypatch.context() as patch:
            patch.setenv(name, "1")
            finish()
        assert capsys.readouterr() == ("", "")


# checkpoints


@pytest.mark.parametrize("stop", [3, 7, 11])
def test_resuming_is_as_if_never_stopped(stop, tmp_path):
    """To the last bit: weights, average, losses and rates, with dropout, whatever the weights one starts from."""
    arguments = {"checkpoint": tmp_path / "a.pt", "save_every": 1}
    whole, whole_ema, steps = finish(network=Affine(dropout=0.3))
    _, _, first = start(network=Affine(dropout=0.3), **arguments)
    seen = [next(first) for _ in range(stop)]
    first.close()
    other = Affine(dropout=0.3)
    torch.nn.init.normal_(other.a)
    network, ema, rest = start(network=other, **arguments)
    seen += list(rest)
    assert seen == steps and same(network, whole) and same(ema, whole_ema)
    again, again_ema, nothing = finish(network=Affine(dropout=0.3), **arguments)
    assert nothing == [] and same(again, whole) and same(again_ema, whole_ema) and not again_ema.training
    assert os.listdir(tmp_path) == ["a.pt"]


def test_a_checkpoint_is_written_when_due(tmp_path):
    path, written = tmp_path / "a.pt", []
    for step in start(checkpoint=str(path), save_every=5)[2]:
        if path.exists():
            written.append((step.step, torch.load(path, weights_only=True)["step"]))
    assert written == [(k, 5) for k in range(5, 10)] + [(10, 10), (11, 10), (12, 12)]


@pytest.mark.parametrize("name", ["save", "fsync", "replace"])
def test_a_failure_while_writing_leaves_the_old_checkpoint(name, tmp_path, monkeypatch):
    """The three places where power or disk may fail. The next start clears away what was left half written."""
    path = tmp_path / "a.pt"
    _, _, steps = start(checkpoint=path, save_every=1)
    next(steps)
    old = path.read_bytes()

    def fail(*arguments):
        if name == "save":
            arguments[1].write(b"half a fi")
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(torch if name == "save" else os, name, fail)
        with pytest.raises(OSError, match="no space left"):
            next(steps)
    assert path.read_bytes() == old
    network, ema, _ = finish(checkpoint=path, save_every=1)
    whole, whole_ema, _ = finish()
    assert same(network, whole) and same(ema, whole_ema) and os.listdir(tmp_path) == ["a.pt"]


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """The bytes of a checkpoint at step 6 of 12, with its name."""
    path = tmp_path_factory.mktemp("good") / "a.pt"
    _, _, steps = start(checkpoint=path, save_every=6)
    while not path.exists():
        next(steps)
    return path.read_bytes()


def refused(path, message, **changed):
    """Refused at once, by name, with the file and the network as they were."""
    before, network = path.read_bytes(), changed.pop("network", None) or Affine(changed.get("schedule", SHORT).T)
    weights = {name: v.clone() for name, v in network.state_dict().items()}
    with pytest.raises(ValueError, match=message) as caught:
        start(checkpoint=path, network=network, **changed)
    assert str(path) in str(caught.value) and path.read_bytes() == before
    assert all(torch.equal(v, weights[name]) for name, v in network.state_dict().items())


@pytest.mark.parametrize("changed, message", [
    ({"schedule": Schedule([0.1, 0.3, 0.2])}, "another training: T is 4 there and 3 here"),
    ({"schedule": Schedule([0.1, 0.3, 0.2, 0.41])}, "beta is .* there and .* here"),
    ({"predicts": "x0"}, "predicts is eps there and x0 here"),
    ({"weighting": "bound"}, "weighting is simple there and bound here"),
    ({"steps": 13}, "steps is 12 there and 13 here"),
    ({"warmup": 3}, "warmup is 0 there and 3 here"),
    ({"batch": 16}, "batch is 8 there and 16 here"),
    ({"lr": 0.06}, "lr is 0.05 there and 0.06 here"),
    ({"clip": 2}, "clip is 1.0 there and 2.0 here"),
    ({"decay": 0.5}, "decay is 0.999 there and 0.5 here"),
    ({"seed": 1}, "seed is 0 there and 1 here"),
    ({"data": torch.ones(3, 1)}, r"data is a function there and \(3, 1\) torch.float32 .* here"),
    ({"network": Affine(d=2)}, r"network's a is \(5, 1\) torch.float32 there and \(5, 2\) torch.float32 here"),
    ({"network": torch.nn.Linear(1, 1)}, "network's a is .* there and None here"),
])
def test_a_checkpoint_of_other_settings_is_refused(changed, message, good, tmp_path):
    (tmp_path / "a.pt").write_bytes(good)
    refused(tmp_path / "a.pt", message, **changed)


def test_a_checkpoint_of_other_data_is_refused(tmp_path):
    data = torch.arange(6.0)[:, None]
    finish(data=data, checkpoint=tmp_path / "a.pt")
    refused(tmp_path / "a.pt", "data is .* there and .* here", data=data.flip(0))


@pytest.mark.parametrize("content", [b"", b"x", b"not a checkpoint" * 1000, None, "weights", "whole"])
def test_a_foreign_file_is_refused(content, tmp_path):
    path = tmp_path / "a.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:  # torch's own files, and one that only unsafe loading would read
        torch.save({None: torch.ones(3), "weights": Affine().state_dict(), "whole": Affine()}[content], path)
    refused(path, "is damaged, or not a checkpoint of train")


class Evil:
    def __reduce__(self):
        return os.mkdir, ("evil",)


def test_a_checkpoint_runs_no_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"settings": Evil()}, "a.pt")
    refused(tmp_path / "a.pt", "is damaged, or not a checkpoint of train")
    assert not Path("evil").exists()


def test_every_truncated_file_is_refused(good, tmp_path):
    for n in np.linspace(1, len(good) - 1, 60).astype(int).tolist():
        (tmp_path / "a.pt").write_bytes(good[:n])
        refused(tmp_path / "a.pt", "is damaged, or not a checkpoint of train")


def test_a_flipped_bit_is_refused_or_harmless(good, tmp_path):
    """Torch alone would load most of these. Padding and dates may change; no number may."""
    path, found = tmp_path / "a.pt", 0
    (tmp_path / "b.pt").write_bytes(good)
    wanted, *_ = start(checkpoint=tmp_path / "b.pt")
    positions = random.Random(0).sample(range(len(good)), 150)
    for position in positions:
        damaged = bytearray(good)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        try:
            network, *_ = start(checkpoint=path)
            assert same(network, wanted)
        except ValueError as error:
            assert str(path) in str(error) and "damaged" in str(error)
            found += 1
    assert found > 100


# failures


class Breaks(Affine):
    """Not a number at t = 3 from the fourth step on; or only its gradient is."""

    def __init__(self, value=math.nan, in_gradient=False):
        super().__init__()
        self.value, self.in_gradient = value, in_gradient

    def forward(self, xt, t):
        y = super().forward(xt, t)
        if len(self.shown) < 4 or not self.training:
            return y
        if self.in_gradient:
            return y + (self.a[3] * 0).sqrt()  # value 0, slope inf * 0
        return y + torch.where(t == 3, self.value, 0.0)[:, None]


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e30])
def test_a_loss_that_is_not_finite_stops(value, tmp_path):
    network, ema, steps = start(network=Breaks(value), checkpoint=tmp_path / "a.pt", save_every=1, batch=30)
    with pytest.raises(FloatingPointError, match=r"step 4: the loss is (nan|inf) .* t = 3$"):
        list(steps)
    sound, sound_ema, healthy = start(batch=30)
    for _ in range(3):
        next(healthy)
    assert same(network, sound) and same(ema, sound_ema)
    assert torch.load(tmp_path / "a.pt", weights_only=True)["step"] == 3


def test_a_gradient_that_is_not_finite_stops(tmp_path):
    network, _, steps = start(network=Breaks(in_gradient=True), checkpoint=tmp_path / "a.pt", save_every=1, batch=50)
    with pytest.raises(FloatingPointError, match="step 4: the loss is [0-9.]+ and its gradient's norm nan, for t = 1"):
        list(steps)
    assert all(p.isfinite().all() for p in network.parameters())
    assert torch.load(tmp_path / "a.pt", weights_only=True)["step"] == 3


NETWORK = Affine()


@pytest.mark.parametrize("changed, message", [
    ({"network": lambda xt, t: xt}, "network must be a torch.nn.Module with weights to train, not function"),
    ({"network": torch.nn.Identity()}, "network must be a torch.nn.Module with weights to train, not Identity"),
    ({"ema": NETWORK}, r"ema must be .*AveragedModel\(network\)"),
    ({"ema": None}, r"ema must be .*AveragedModel\(network\), of this network, not None"),
    ({"ema": AveragedModel(Affine(d=2))}, r"ema must be .*AveragedModel\(network\), of this network"),
    ({"data": torch.zeros(0, 1)}, r"data must hold at least one sample, \(N, ...\), not shape \(0, 1\)"),
    ({"data": torch.tensor(1.0)}, r"data must hold at least one sample, .* not shape \(\)"),
    ({"data": torch.zeros(3, 1, dtype=torch.uint8)}, "data must be a floating-point .* scale integer images"),
    ({"data": torch.tensor([[math.nan]])}, "data must be finite"),
    ({"data": [1.0]}, "data must be a floating-point torch tensor, not list"),
    ({"schedule": 4}, "schedule must be a Schedule, not int 4"),
    ({"steps": 0}, "steps must be an int >= 1, not 0"),
    ({"steps": 2.0}, "steps must be an int >= 1, not float"),
    ({"batch": 0}, "batch must be an int >= 1, not 0"),
    ({"lr": -0.1}, "lr must be a number in 0..1, not -0.1"),
    ({"lr": math.nan}, "lr must be a number in 0..1, not nan"),
    ({"lr": "fast"}, "lr must be a number in 0..1, not 'fast'"),
    ({"lr": True}, "lr must be a number in 0..1, not True"),
    ({"warmup": 13}, r"warmup must lie in 0\.\.12, not 13"),
    ({"clip": -1}, r"clip must be a number in 0\.\.inf, not -1"),
    ({"clip": None}, r"clip must be a number in 0\.\.inf, not None"),
    ({"decay": 1.5}, "decay must be a number in 0..1, not 1.5"),
    ({"predicts": "v"}, "predicts must be one of 'eps', 'x0', 'mean', not 'v'"),
    ({"weighting": "snr"}, "weighting must be one of 'simple', 'bound', not 'snr'"),
    ({"seed": -1}, r"seed must lie in 0\.\..*, not -1"),
    ({"seed": None}, "seed must be an int >= 0, not NoneType"),
    ({"accelerator": "gpu"}, "accelerator must be an Accelerator of mixed_precision 'no' or 'bf16', not 'gpu'"),
    ({"checkpoint": 5}, "checkpoint must be a path in a folder that exists, not 5"),
    ({"checkpoint": "no/such/folder/a.pt"}, "checkpoint must be a path in a folder that exists, not 'no/such"),
    ({"save_every": 0}, "save_every must be an int >= 1, not 0"),
])
def test_wrong_arguments_are_refused_before_anything_starts(changed, message):
    arguments = {"network": NETWORK, "ema": AveragedModel(NETWORK), "data": normal, "schedule": SHORT, "steps": 12}
    before, weights = torch.get_rng_state(), NETWORK.a.detach().clone()
    with pytest.raises(ValueError, match=message):
        train(**arguments | changed)  # without a next()
    assert torch.equal(before, torch.get_rng_state()) and torch.equal(NETWORK.a, weights) and not NETWORK.shown


@pytest.mark.parametrize("data, message", [
    (lambda n, generator: torch.zeros(n - 1, 1), r"data must draw \(8, ...\) when asked for 8 samples, not \(7, 1\)"),
    (lambda n, generator: torch.tensor(0.0), r"data must draw \(8, ...\) when asked for 8 samples, not \(\)"),
    (lambda n, generator: torch.full((n, 1), math.inf), "what data draws must be finite"),
    (lambda n, generator: None, "what data draws must be a floating-point torch tensor, not NoneType"),
])
def test_a_function_that_draws_wrongly_is_refused(data, message):
    with pytest.raises(ValueError, match=message):
        finish(data=data)


# processes


def process(*arguments, program=()):
    quiet = {key: value for key, value in os.environ.items() if not key.startswith(("ACCELERATE_", "PYTEST_"))}
    env = quiet | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    if sys.platform != "linux":
        del env["GLOO_SOCKET_IFNAME"]
    return subprocess.Popen([sys.executable, *program, SCRIPT, *map(str, arguments)], env=env, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def in_one_go(folder, steps):
    """What run(folder, steps) gives in this process, with one thread like the others."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return run(folder, steps)[0]
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("kills, steps", [
    (2, 150),
    pytest.param(20, 1500, marks=pytest.mark.slow),
])
def test_kill_minus_9_at_any_moment(kills, steps, tmp_path):
    """A checkpoint is written at every step, so that many of the kills fall into the writing of one."""
    (tmp_path / "killed").mkdir()
    (tmp_path / "whole").mkdir()
    moments, alive = random.Random(), 0
    for _ in range(kills):
        child = process(tmp_path / "killed", steps)
        for _ in range(moments.randint(1, steps // (2 * kills))):
            assert child.stdout.readline().strip().isdigit()
        try:
            child.wait(moments.uniform(0, 0.01))
        except subprocess.TimeoutExpired:
            alive += 1
        child.kill()  # SIGKILL: no handler, no last word
        child.communicate()
    assert alive == kills  # none had come to its end
    child = process(tmp_path / "killed", steps)
    said, _ = child.communicate()
    assert child.returncode == 0, said
    assert int(said.split()[0]) > kills and int(said.split()[-1]) == steps  # it went on, and did not begin again
    killed = torch.load(tmp_path / "killed/process0.pt", weights_only=True)
    whole = in_one_go(tmp_path / "whole", steps)
    for name in ("weights", "ema"):
        assert killed[name].keys() == whole[name].keys()
        assert all(torch.equal(killed[name][key], whole[name][key]) for key in whole[name])
    assert killed["losses"] == whole["losses"][-len(killed["losses"]):]


def test_two_processes_train_like_one(tmp_path):
    """Each takes half of the same batches; gradients are averaged by gloo, over the loopback."""
    (tmp_path / "two").mkdir()
    (tmp_path / "one").mkdir()
    # What `accelerate launch` itself starts on several GPUs; on CPUs it would want MPI.
    child = process(tmp_path / "two", 30, program=["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"])
    said, _ = child.communicate()
    assert child.returncode == 0, said
    one = in_one_go(tmp_path / "one", 30)
    two = [torch.load(tmp_path / f"two/process{rank}.pt", weights_only=True) for rank in (0, 1)]
    assert one["rows"] == [16] and two[0]["rows"] == two[1]["rows"] == [8]
    assert two[0]["losses"] == two[1]["losses"] == pytest.approx(one["losses"], rel=1e-5)
    for name in ("weights", "ema"):
        assert_close(two[0][name], one[name], rtol=1e-5, atol=1e-7)
        assert all(torch.equal(two[0][name][key], two[1][name][key]) for key in one[name])
    saved = torch.load(tmp_path / "two/checkpoint.pt", weights_only=True)
    assert saved["step"] == 30 and all(torch.equal(saved["ema"][key], two[0]["ema"][key]) for key in saved["ema"])
