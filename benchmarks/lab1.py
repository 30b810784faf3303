"""Lab 1 beside the public lab it follows: samples per second, and the distance to the exact floor against time.

    OMP_NUM_THREADS=1 python -m benchmarks.lab1 [--minutes 20] [--rounds 60] [--figure benchmarks/lab1.png]

One process on the CPU. All train in turn, a slice each per round, each on a clock of its own that stops meanwhile and
during evaluation, so a change of the machine's load hits all alike. Prints tables in Markdown and draws a figure.

The public lab is CS5242 2025, lecture 8, lab 1, at revision 91fc4b1 (github.com/xbresson/CS5242_2025). Its network and
its step are written out here from their description: one token per point; a head of its own weights for each of 4;
scores as the sum of a product of shape (B, n, n, 32); softmax over the queries; dropout 0.01 in five places; a layer
per block that is never used; 4,000 fixed signals; Adam at 3e-4, times 0.95 after two epochs without progress; gradient
clipped at 0.25; batches of 50. It samples in 149 steps and so ends at t = 1; at the end with dropout and gradients off,
but for the pictures during training with both on. Left out: those pictures and the printing within the loop (which
would slow it), the end at a rate below 1e-4 (never reached), and a `squeeze` that fails for a batch of one. Its signals
are min-maxed one by one, here all are TwoBumps(100). Its t = 0..149 is called 1..150.

Both are judged by the same number: the mean over t = 1..150 of the squared error per dimension of the predicted noise,
written as the floor, that of the exact denoiser on the same schedule, plus the squared distance to its answers. Theirs
is judged with dropout off, ours by its average `ema`. "Reached" means: at the first evaluation that shows it.
"""

import argparse
import os
import platform
import statistics
import time
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from accelerate import Accelerator
from torch import nn
from torch.optim.swa_utils import AveragedModel

from ddpm_lesson import TwoBumps, cosine_schedule, linear_schedule, plots, q_sample, sample
from ddpm_lesson.models import Transformer
from ddpm_lesson.train import train

DATA, LINEAR, COSINE = TwoBumps(100), linear_schedule(150), cosine_schedule(150)  # LINEAR is the public lab's
PUBLIC, SAME, OWN = "public lab", "ours, as many weights", "lesson, cosine schedule"
LESSON_50, LESSON = "lesson's network, batch 50", "lesson's network"


class PublicBlock(nn.Module):
    def __init__(self, width, heads, drop):
        super().__init__()
        self.before_attention, self.before_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.heads = nn.ModuleList(
            nn.ModuleDict({name: nn.Linear(width, width // heads) for name in "qkv"}) for _ in range(heads))
        self.out, self.drop = nn.Linear(width, width), nn.Dropout(drop)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.ReLU(), nn.Linear(4 * width, width))
        self.unused = nn.Linear(width, width)

    def attend(self, head, h):
        q, k, v = (head[name](h) for name in "qkv")  # (B, n, d) each
        scores = (q[:, :, None] * k[:, None]).sum(3) / q.shape[2] ** 0.5  # (B, n, n, d) -> (B, n, n)
        return self.drop(scores.softmax(1)) @ v  # over the queries: the weights of one output do not sum to 1

    def forward(self, h):
        a = self.before_attention(h)
        h = h + self.drop(self.out(torch.cat([self.attend(head, a) for head in self.heads], 2)))
        return self.drop(h + self.mlp(self.before_mlp(h)))  # drops from the sum, not from what is added


class PublicNetwork(nn.Module):
    """The public lab's denoiser (xt, t) -> eps_hat, (B, n), with t in 1..T."""

    def __init__(self, n=100, T=150, width=128, depth=4, heads=4, drop=0.01):
        super().__init__()
        self.value, self.place = nn.Linear(1, width), nn.Embedding(n, width)
        self.time = nn.Sequential(nn.Embedding(T, width), nn.ReLU(), nn.Linear(width, width))
        self.drop = nn.Dropout(drop)
        self.blocks = nn.ModuleList(PublicBlock(width, heads, drop) for _ in range(depth))
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 1))

    def forward(self, xt, t):
        h = self.drop(self.value(xt[:, :, None]) + self.place(torch.arange(xt.shape[1])))  # (B, n, width)
        c = self.drop(self.time(t - 1))[:, None]  # (B, 1, width)
        for block in self.blocks:
            h = block(h + c)
        return self.head(h).squeeze(2)  # (B, n)


def public_training(network, signals, schedule, batch=50, epochs=100):
    alpha_bar = schedule.alpha_bar.float()
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-4)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.95, patience=1)
    for _ in range(epochs):
        losses = []
        for rows in torch.randperm(len(signals)).split(batch):
            x0, t = signals[rows], torch.randint(1, schedule.T + 1, (batch,))
            noise, level = torch.randn_like(x0), alpha_bar[t][:, None]
            loss = nn.functional.mse_loss(network(level.sqrt() * x0 + (1 - level).sqrt() * noise, t), noise)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 0.25)
            optimizer.step()
            losses.append(loss.item())
            yield losses[-1]
        plateau.step(statistics.mean(losses))


def public_sample(network, schedule, shape):
    x = torch.randn(shape)
    for t in range(schedule.T, 1, -1):  # ends at x_1, and adds noise there too
        beta, alpha_bar, sigma = schedule.beta[t].item(), schedule.alpha_bar[t].item(), schedule.sigma("posterior")[t]
        eps_hat = network(x, torch.full(shape[:1], t))
        x = (x - beta / (1 - alpha_bar) ** 0.5 * eps_hat) / (1 - beta) ** 0.5 + float(sigma) * torch.randn_like(x)
    return x


class Judge:
    """Points on a schedule, equally many at each t, with the exact denoiser's answers; its error is the floor."""

    def __init__(self, schedule, floor_repeats=40, repeats=5, seed=10):
        generator = torch.Generator().manual_seed(seed)
        t = torch.arange(1, schedule.T + 1).repeat(floor_repeats)
        x0 = DATA.sample(len(t), generator)
        noise = torch.randn(x0.shape, generator=generator)
        xt = q_sample(x0, t, schedule, noise=noise)
        exact = DATA.denoiser(schedule)(xt.double(), t).float()
        self.floor = (exact - noise).square().mean().item()
        self.points = [v[:repeats * schedule.T].split(50) for v in (xt, t, exact)]

    @torch.no_grad()
    def error(self, denoiser):
        squares = [(denoiser(xt, t) - exact).square().mean() for xt, t, exact in zip(*self.points, strict=True)]
        return self.floor + torch.stack(squares).mean().item()


class Contestant:
    """A network in training, an iterator with one item per step, and the clocks that run during next() alone."""

    def __init__(self, training, denoiser, judge, batch, steps, growth=1.1):
        self.training, self.denoiser, self.judge, self.batch, self.steps = training, denoiser, judge, batch, steps
        self.done, self.wall, self.cpu, self.look, self.growth = 0, 0.0, 0.0, 0.1, growth
        self.rates, self.curve = [], []  # per slice: samples per wall and per CPU second; (wall, CPU, error)

    def run(self, fraction, seconds, target=0.0):
        """Trains up to this fraction of its steps or of the seconds, or until its error is at most the target."""
        wall, cpu, done = self.wall, self.cpu, self.done
        while max(self.done / self.steps, self.wall / seconds) < fraction and not self.reached(target):
            start = time.perf_counter(), time.process_time()
            next(self.training)
            self.wall += time.perf_counter() - start[0]
            self.cpu += time.process_time() - start[1]
            self.done += 1
            if self.wall >= min(self.look, seconds) or self.done == self.steps:
                training = self.denoiser.training  # ours is an average, and always in eval mode
                self.curve.append((self.wall, self.cpu, self.judge.error(self.denoiser.eval())))
                self.denoiser.train(training)
                self.look = self.growth * self.wall
        if self.done > done:
            samples = self.batch * (self.done - done)
            self.rates.append((samples / (self.wall - wall), samples / (self.cpu - cpu)))

    def reached(self, error):
        """(wall, CPU) seconds at the first evaluation with at most this error, or None."""
        return next((point[:2] for point in self.curve if point[2] <= error), None)


def ours(judge, schedule, accelerator, batch=128, steps=5000, lr=4e-3, seed=0, growth=1.1, **size):
    torch.manual_seed(seed)
    network = Transformer(**size)
    ema = AveragedModel(network)
    training = train(network, ema, DATA.sample, schedule, steps=steps, batch=batch, lr=lr, seed=seed,
                     accelerator=accelerator)
    return Contestant(training, ema.eval(), judge, batch, steps, growth)


def medians(rates):
    """Medians of samples per wall and per CPU second, and a text with the quartiles of the first."""
    wall, cpu = zip(*rates, strict=True)
    low, middle, high = statistics.quantiles(wall, n=4)
    places = 0 if middle > 100 else 1 if middle > 10 else 2
    return middle, statistics.median(cpu), f"{middle:.{places}f} ({low:.{places}f} to {high:.{places}f})"


def sampling_rates(contestants, count=16, rounds=5):
    rates = {name: [] for name in (PUBLIC, SAME, LESSON)}
    for _ in range(rounds):
        for name in rates:
            denoiser = contestants[name].denoiser.eval()
            start = time.perf_counter(), time.process_time()
            with torch.no_grad():
                (public_sample if name == PUBLIC else sample)(denoiser, LINEAR, (count, 100))
            rates[name].append((count / (time.perf_counter() - start[0]), count / (time.process_time() - start[1])))
    return rates


def draw(contestants, target, title, path):
    plt.style.use("ddpm_lesson.lesson")
    fig, axis = plt.subplots(figsize=(8, 4.2))
    axis.axhline(1, color="black", linewidth=1)
    axis.text(0.1, 1.02, "exact floor", fontsize=9, va="bottom")
    axis.axhline(target, color="0.6", linewidth=1)
    for name, role in {PUBLIC: "noised", SAME: "posterior", LESSON: "model", OWN: "data"}.items():
        curve = [(wall, error / contestants[name].judge.floor) for wall, _, error in contestants[name].curve]
        axis.plot(*zip(*curve, strict=True), color=plots.COLORS[role], **plots.LINES[role], label=name)
    ticks = (1, 1.2, 1.5, 2, 3, 5, 10, 20, 50)
    axis.set(xscale="log", yscale="log", title=title, xlabel="seconds of its own training",
             ylabel="ε-error / exact floor")
    axis.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.minorticks_off()
    axis.legend()
    fig.savefig(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=20, help="the public recipe's own time, and the most for ours")
    parser.add_argument("--rounds", type=int, default=60, help="slices of training for each")
    parser.add_argument("--figure", type=Path, help="file to draw to")
    args = parser.parse_args()
    os.environ["CI"] = "1"  # no progress bars: there would be several at once
    torch.manual_seed(0)
    seconds, accelerator, linear, cosine = 60 * args.minutes, Accelerator(cpu=True), Judge(LINEAR), Judge(COSINE)
    public = PublicNetwork()
    contestants = {
        PUBLIC: Contestant(public_training(public, DATA.sample(4000), LINEAR), public, linear, 50, 8000, growth=1.5),
        SAME: ours(linear, LINEAR, accelerator, 50, 400, 1e-3, growth=1.5, patch=1, width=128, depth=3, heads=4),
        LESSON_50: ours(linear, LINEAR, accelerator, 50, 1000),
        LESSON: ours(linear, LINEAR, accelerator),
        OWN: ours(cosine, COSINE, accelerator),
    }
    for r in range(1, args.rounds + 1):
        for contestant in contestants.values():
            contestant.run(r / args.rounds, seconds)

    print(f"{platform.machine()}, {os.cpu_count()} CPUs, {torch.get_num_threads()} thread(s), load "
          f"{os.getloadavg()[2]:.1f}, Python {platform.python_version()}, torch {torch.__version__}; "
          f"{args.minutes:g} minutes in {args.rounds} rounds")
    print("\n| training | batch | parameters | samples/s: median (quartiles) | × public | × public, CPU time |")
    print("|---|---|---|---|---|---|")
    theirs = medians(contestants[PUBLIC].rates)
    for name in (PUBLIC, SAME, LESSON_50, LESSON):
        c, (wall, cpu, text) = contestants[name], medians(contestants[name].rates)
        size = sum(p.numel() for p in c.denoiser.parameters())
        print(f"| {name} | {c.batch} | {size:,} | {text} | {wall / theirs[0]:.1f} | {cpu / theirs[1]:.1f} |")
    print("\n| sampling, 16 signals | samples/s: median (quartiles) | × public | × public, CPU time |")
    print("|---|---|---|---|")
    rates = sampling_rates(contestants)
    theirs = medians(rates[PUBLIC])
    for name, (wall, cpu, text) in ((name, medians(rates[name])) for name in rates):
        print(f"| {name} | {text} | {wall / theirs[0]:.0f} | {cpu / theirs[1]:.0f} |")

    best = min(contestants[PUBLIC].curve, key=lambda point: point[2])
    ratio = best[2] / linear.floor
    for seed in (1, 2):
        contestants[f"{LESSON}, seed {seed}"] = contestant = ours(linear, LINEAR, accelerator, seed=seed)
        contestant.run(1, seconds, best[2])
    print(f"\nThe public recipe's best: ε-error {best[2]:.4f}, {ratio:.2f} × its floor of {linear.floor:.5f}, after "
          f"{best[0]:.0f} s ({best[1]:.0f} s of CPU time). The cosine schedule's floor: {cosine.floor:.5f}.\n")
    print("| ε-error | steps | seconds (CPU) | at the end, × floor | that best after, s (CPU) | times sooner (CPU) |")
    print("|---|---|---|---|---|---|")
    for name, c in contestants.items():
        there, text = c.reached(ratio * c.judge.floor), "never | -"
        if there:
            text = f"{there[0]:.1f} ({there[1]:.1f}) | {best[0] / there[0]:.0f} ({best[1] / there[1]:.0f})"
        print(f"| {name} | {c.done} | {c.wall:.0f} ({c.cpu:.0f}) | {c.curve[-1][2] / c.judge.floor:.3f} | {text} |")
    if there := contestants[OWN].reached(best[2]):
        print(f"\nThat ε-error itself, not its ratio to the floor: on the cosine schedule after {there[0]:.1f} s.")
    if args.figure and (there := contestants[LESSON].reached(best[2])):
        title = f"{args.minutes:g} minutes of the public recipe are worth {there[0]:.1f} seconds of the lesson's"
        draw(contestants, ratio, title, args.figure)


if __name__ == "__main__":
    main()
