"""What the predictor and the schedule change on the 8x8 digits, as a table in Markdown; lesson 10, section 7.

    OMP_NUM_THREADS=1 python -m benchmarks.digits_table [--steps 1000] [--seeds 2]

Lesson 10's network, batch, rate and split (1500 digits to train on, 297 held out), T = 1000. Errors are the squared
errors of the noise per pixel on held-out digits: over t = 1..T, which visits other noise levels on each schedule, and
at the t where ᾱ_t is nearest to 1/2, which can be compared. A guess of x_0 is turned into one of the noise. Samples:
400, in 50 strided steps, clipped. FD: in the judge's features, 400 samples against 400 digits; its floor: 400 digits
against 400 others; means of 20 draws. In the table: the mean over the seeds, and behind ± half their range.
"""
import argparse
import os

import torch
from torch.optim.swa_utils import AveragedModel

from ddpm_lesson import cosine_schedule, eps_from_x0, linear_schedule, q_sample, sample
from ddpm_lesson.data import digits
from ddpm_lesson.evaluate import frechet_distance, over_repeats, read_classes
from ddpm_lesson.models import UNet
from ddpm_lesson.models.classifier import train_classifier
from ddpm_lesson.train import train

seed = torch.Generator().manual_seed


def numbers(predicts, schedule, steps, s, images, known, new, judge):
    torch.manual_seed(s)
    ema = AveragedModel(network := UNet(widths=(32, 64)))
    for _ in train(network, ema, images[known], schedule, steps=steps, batch=64, lr=3e-3, decay=0.995,
                   predicts=predicts, seed=s):
        pass
    x0, ts, errors = images[new].repeat(10, 1, 1, 1), torch.arange(2970) % 1000 + 1, []
    with torch.no_grad():
        for t in (ts, torch.full_like(ts, (schedule.alpha_bar - 0.5).abs().argmin())):
            xt = q_sample(x0, t, schedule, noise=(noise := torch.randn(x0.shape, generator=seed(1))))
            guess = ema(xt, t) if predicts == "eps" else eps_from_x0(xt, ema(xt, t), t, schedule)
            errors.append((guess - noise).square().mean())
        drawn = sample(ema, schedule, (400, 1, 8, 8), steps=50, predicts=predicts, clip=1.0, generator=seed(s))
        real, fake, (_, sure) = judge.features(images), judge.features(drawn), read_classes(judge(drawn))
    score, floor = (over_repeats(frechet_distance, *x, n=400, repeats=20, generator=seed(2))[0]
                    for x in ((real, fake), (real,)))
    return torch.stack([*errors, (sure >= 0.9).double().mean(), score / floor])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=2)
    args, (images, labels), os.environ["CI"] = parser.parse_args(), digits(), "1"  # CI: no progress bars
    known, new = torch.randperm(1797, generator=seed(0)).split([1500, 297])
    judge = train_classifier(images[known], labels[known], epochs=15, batch=64, shift=0)
    print("| predicts | schedule | noise's error | at ᾱ_t = 1/2 | ≥ 90 % sure | FD / floor |\n|" + "---|" * 6)
    for predicts in ("eps", "x0"):
        for name, schedule in (("linear", linear_schedule(1000)), ("cosine", cosine_schedule(1000))):
            found = torch.stack([numbers(predicts, schedule, args.steps, s, images, known, new, judge)
                                 for s in range(args.seeds)])
            middle, spread = found.mean(0), (found.amax(0) - found.amin(0)) / 2
            cells = [f"{m:.3f} ± {r:.3f} |" for m, r in zip(middle, spread, strict=True)]
            print(f"| {predicts} | {name} |", *cells, flush=True)


if __name__ == "__main__":
    main()
