"""Lab 2's UNet beside diffusers' UNet2DModel: images per second, and the Fréchet distance after equal time.

    OMP_NUM_THREADS=1 python -m benchmarks.lab2 [--minutes 5] [--rounds 20] [--samples 1000] [--figure FILE]

One process, one device: a GPU where there is one, else the CPU. Both train in turn, a slice each per round, on clocks
of their own. Equal: the number of weights within 5 %, MNIST, cosine schedule of T = 1000, batch, AdamW with the same
rate, clipping, an average of the weights, precision. Peer: diffusers' UNet2DModel with attention at the coarsest
resolution, its DDPMScheduler and EMAModel, stepped as in its own training example. Left out: denoising-diffusion-
pytorch, which imports torchvision, of which this machine has no working build.

The Fréchet distance is in the features of the shipped classifier, against test images, beside its floor.
"""

import argparse
import os
import platform
import statistics
import time
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import diffusers
import matplotlib.pyplot as plt
import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel
from torch.optim.swa_utils import AveragedModel
from torch.utils.flop_counter import FlopCounterMode

from ddpm_lesson import cosine_schedule, plots, sample
from ddpm_lesson.data import mnist
from ddpm_lesson.evaluate import frechet_distance, over_repeats
from ddpm_lesson.labs import LABS
from ddpm_lesson.models import UNet, load_weights
from ddpm_lesson.train import train

OURS, PEER = "ddpm_lesson", "diffusers"
STEPS = 50  # of the samplers, out of T = 1000
RATE = 1e-3


def peer_network():
    """UNet2DModel of the same resolutions, one residual block each, widths chosen for our number of weights."""
    return diffusers.UNet2DModel(
        sample_size=28, in_channels=1, out_channels=1, layers_per_block=1, block_out_channels=(32, 64, 88),
        down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"), norm_num_groups=8, attention_head_dim=8,
        up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"))


def peer_training(network, ema, images, noising, batch, precision, device):
    """Steps of diffusers' example for unconditional training: AdamW, clipping at 1, EMA."""
    images, optimizer = images.to(device), torch.optim.AdamW(network.parameters(), lr=RATE)
    cast = torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()
    while True:
        x0 = images[torch.randint(len(images), (batch,), device=device)]
        noise, t = torch.randn_like(x0), torch.randint(len(noising), (batch,), device=device)
        with cast:
            eps_hat = network(noising.add_noise(x0, noise, t), t, return_dict=False)[0]
        loss = torch.nn.functional.mse_loss(eps_hat.float(), noise)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        ema.step(network.parameters())
        yield loss.item()


@torch.no_grad()
def peer_sample(network, noising, count, device):
    noising.set_timesteps(STEPS)
    x = torch.randn(count, 1, 28, 28, device=device)
    for t in noising.timesteps:
        x = noising.step(network(x, t, return_dict=False)[0], t, x, return_dict=False)[0]
    return x


class Clock:
    """Runs something a slice at a time and keeps how many images each slice made per second."""

    def __init__(self, device):
        self.device, self.seconds, self.images, self.rates = device, 0.0, 0, []

    def now(self):
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def run(self, work, batch, seconds):
        """Calls work(), which makes `batch` images, until these seconds have gone."""
        start, done = self.now(), 0
        while (spent := self.now() - start) < seconds or not done:
            work()
            done += batch
        spent = self.now() - start
        self.seconds, self.images = self.seconds + spent, self.images + done
        self.rates.append(done / spent)


def peak_flops(device, dtype, n=4096):
    """The most floating-point operations per second that a product of two n x n matrices reached here, of 10 tries."""
    a, clock, best = torch.randn(n, n, device=device, dtype=dtype), Clock(device), 0.0
    for _ in range(10):
        start = clock.now()
        a @ a
        best = max(best, 2 * n**3 / (clock.now() - start))
    return best


def row(name, rates, theirs):
    low, middle, high = statistics.quantiles(rates, n=4)
    return f"| {name} | {middle:.1f} ({low:.1f} to {high:.1f}) | {middle / statistics.median(theirs):.2f} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=5, help="of training for each")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--precision", choices=("no", "bf16"), default="no")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--figure", type=Path)
    args = parser.parse_args()
    os.environ["CI"] = "1"  # no progress bar
    torch.manual_seed(0)
    on_cpu, compiled = not torch.cuda.is_available(), args.compile
    backend = "inductor" if compiled else "no"
    accelerator = Accelerator(cpu=on_cpu, mixed_precision=args.precision, dynamo_backend=backend)
    device, (images, _), (real, _) = accelerator.device, mnist("train"), mnist("test")
    schedule, noising = cosine_schedule(1000), diffusers.DDPMScheduler(1000, beta_schedule="squaredcos_cap_v2")
    ours, theirs = UNet(**LABS["mnist"][1]).to(device), peer_network().to(device)
    for network in (ours, theirs):
        network.to(memory_format=torch.channels_last)
    ema, peer_ema = AveragedModel(ours), EMAModel(theirs.parameters(), decay=0.999, use_ema_warmup=True)
    stepped = torch.compile(theirs) if compiled else theirs
    training = {
        OURS: train(ours, ema, images, schedule, steps=10**6, warmup=100, batch=args.batch, lr=RATE,
                    accelerator=accelerator),
        PEER: peer_training(stepped, peer_ema, images, noising, args.batch, args.precision, device)}
    clocks, draws = ({name: Clock(device) for name in training} for _ in range(2))
    for name in training:
        for _ in range(5):  # before the clock runs: compilation, choice of algorithms
            next(training[name])
    for _ in range(args.rounds):
        for name in training:
            clocks[name].run(partial(next, training[name]), args.batch, 60 * args.minutes / args.rounds)
    peer_ema.copy_to(theirs.parameters())
    theirs.eval()
    made, part = {OURS: [], PEER: []}, args.samples // 10
    samplers = {
        OURS: lambda: made[OURS].append(sample(ema, schedule, (part, 1, 28, 28), steps=STEPS, clip=1.0, device=device)),
        PEER: lambda: made[PEER].append(peer_sample(theirs, noising, part, device))}
    for _ in range(10):
        for name in training:
            draws[name].run(samplers[name], part, 0)

    weights = {OURS: sum(p.numel() for p in ours.parameters()), PEER: sum(p.numel() for p in theirs.parameters())}
    assert abs(weights[PEER] / weights[OURS] - 1) < 0.05, weights
    print(f"{platform.machine() if on_cpu else torch.cuda.get_device_name()}, {torch.get_num_threads()} thread(s), "
          f"torch {torch.__version__}, diffusers {diffusers.__version__}; batch {args.batch}, precision "
          f"{args.precision}, {'' if compiled else 'not '}compiled; weights: {weights[OURS]:,} and {weights[PEER]:,}")
    for title, timed in (("training", clocks), (f"sampling, {STEPS} steps", draws)):
        print(f"\n| {title} | images/s: median (quartiles) | × {PEER} |\n|---|---|---|")
        for name in training:
            print(row(name, timed[name].rates, timed[PEER].rates))
    classifier = load_weights("mnist_classifier")

    def features(x):
        with torch.no_grad():
            return torch.cat([classifier.features(part) for part in x.split(500)])

    reals, generator, n = features(real), torch.Generator().manual_seed(0), 10 * part
    scores = {name: over_repeats(frechet_distance, reals, fakes, n=n, generator=generator) for name, fakes in (
        *((name, features(torch.cat(made[name]).cpu())) for name in training), ("floor", None))}
    print(f"\n| after {args.minutes:g} minutes each | images seen | Fréchet distance, {n:,} samples |\n|---|---|---|")
    for name, (mean, std) in scores.items():
        print(f"| {name} | {f'{clocks[name].images:,}' if name in clocks else '-'} | {mean:.2f} ± {std:.2f} |")
    with FlopCounterMode(display=False) as counter:
        x = torch.randn(args.batch, 1, 28, 28, device=device)
        ours(x, torch.ones(args.batch, dtype=torch.int64, device=device)).sum().backward()
    dtype = torch.bfloat16 if args.precision == "bf16" else torch.float32
    rate = counter.get_total_flops() / args.batch * statistics.median(clocks[OURS].rates)
    peak = peak_flops(device, dtype)
    print(f"\nOurs: {rate / 1e9:.1f} GFLOP/s in training, {rate / peak:.0%} of a matrix product's {peak / 1e9:.0f}.")
    if args.figure:
        plt.style.use("ddpm_lesson.lesson")
        fig, axes = plt.subplots(1, 2, figsize=(8, 3.4))
        for axis, timed, title in zip(axes, (clocks, draws), ("training", "sampling"), strict=True):
            axis.boxplot([timed[name].rates for name in training], tick_labels=list(training), widths=0.5,
                         medianprops={"color": plots.COLORS["model"]})
            ratio = statistics.median(timed[OURS].rates) / statistics.median(timed[PEER].rates)
            axis.set(title=f"{title}: {ratio:.1f} times the peer", ylabel="images/s", ylim=(0, None))
        fig.savefig(args.figure)


if __name__ == "__main__":
    main()
