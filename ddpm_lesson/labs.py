"""Lecture 004's second lab as a command: `python -m ddpm_lesson.train mnist`, or `digits`, which a laptop can do.

`accelerate launch -m ddpm_lesson.train mnist` is the same on several devices; `--help` lists what can be changed.
"""

import argparse
import csv
import time
from pathlib import Path

import torch
from accelerate import Accelerator
from matplotlib.image import imsave
from torch.optim.swa_utils import AveragedModel

from .data import digits, mnist
from .models import UNet, classifier, load_notes, load_weights, save_weights
from .models.weights import SHIPPED
from .predictors import PREDICTORS
from .sampling import sample
from .schedule import cosine_schedule, linear_schedule
from .train import train

SCHEDULES = {"cosine": cosine_schedule, "linear": linear_schedule}
LABS = {  # the images, the network's settings, and what the command does unless it is told otherwise
    "digits": (digits, dict(widths=(32, 64)), dict(steps=3000, batch=64, lr=2e-3)),
    "mnist": (mnist, dict(widths=(32, 64, 112)), dict(steps=10000, batch=128, lr=2e-3)),
}


def main(argv=None):
    """Trains a lab's network; its folder then holds the weights to sample with, pictures of samples and the losses."""
    args = _parser().parse_args(argv)
    if args.lab == "classifier":
        return classifier.main(Path(args.folder or SHIPPED) / "mnist_classifier.safetensors")
    images, settings, defaults = LABS[args.lab]
    kept = {name: default if getattr(args, name) is None else getattr(args, name) for name, default in defaults.items()}
    on_cpu = args.cpu or not (torch.cuda.is_available() or torch.backends.mps.is_available())
    accelerator = Accelerator(cpu=on_cpu, mixed_precision=args.precision or _precision(on_cpu),
                              dynamo_backend="inductor" if args.compile else "no")
    folder = Path(args.folder or f"runs/{args.lab}")
    folder.mkdir(parents=True, exist_ok=True)
    data, _ = images()  # (N, 1, H, W)
    torch.manual_seed(args.seed)
    network = UNet(**settings)
    if args.start:
        _start(network, args.start)
    if accelerator.device.type != "mps":  # whose convolutions have misread such weights
        network.to(memory_format=torch.channels_last)
    ema, schedule = AveragedModel(network), SCHEDULES[args.schedule](args.T)
    checkpoint, start, losses = folder / "checkpoint.pt", time.perf_counter(), []
    for step, loss, _ in train(network, ema, data, schedule, **kept, predicts=args.predicts, seed=args.seed,
                               accelerator=accelerator, checkpoint=checkpoint):
        losses.append(loss)
        if accelerator.is_main_process and (step % args.every == 0 or step == kept["steps"]):
            recent, seconds = losses[-args.every:], time.perf_counter() - start
            _report(folder / "losses.csv", step, sum(recent) / len(recent), seconds)
            _draw(folder / f"samples_{step:06d}.png", ema, schedule, args.predicts, data.shape[1:])
    if not losses:
        print(f"{kept['steps']} steps are done already; see {folder}")
    elif accelerator.is_main_process:
        kept |= {name: getattr(args, name) for name in ("seed", "T", "schedule", "predicts")}
        kept["precision"] = accelerator.mixed_precision
        kept |= {"start": args.start} if args.start else {}
        command = " ".join(["python -m ddpm_lesson.train", args.lab, *(f"--{name} {kept[name]}" for name in kept)])
        kept |= {"started_from": load_notes(args.start)} if args.start else {}
        save_weights(ema.module, folder / f"{args.lab}_unet.safetensors", settings, command=command, **kept,
                     images=len(data), parameters=sum(p.numel() for p in network.parameters()),
                     device=str(accelerator.device), processes=accelerator.num_processes,
                     seconds=round(seconds), loss=round(sum(recent) / len(recent), 5))
        print(f"{len(losses)} steps in {seconds:.0f} s, loss {sum(recent) / len(recent):.4f}; see {folder}")


def _parser():
    parser = argparse.ArgumentParser("python -m ddpm_lesson.train", description=main.__doc__)
    parser.add_argument("lab", choices=[*LABS, "classifier"], help="classifier: it judges the samples of mnist")
    parser.add_argument("--folder", help="for everything it writes; if it holds a checkpoint, training goes on from it")
    for name, kind in (("steps", int), ("batch", int), ("lr", float)):
        given = ", ".join(f"{defaults[name]} for {lab}" for lab, (_, _, defaults) in LABS.items())
        parser.add_argument(f"--{name}", type=kind, help=given)
    parser.add_argument("--start", help="train these weights further: a file, or the name of one that is shipped")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--T", type=int, default=1000)
    parser.add_argument("--schedule", choices=SCHEDULES, default="cosine")
    parser.add_argument("--predicts", choices=PREDICTORS, default="eps")
    parser.add_argument("--every", type=int, default=500, help="steps from one picture of samples to the next")
    parser.add_argument("--precision", choices=("no", "bf16"), help="bf16 where a GPU computes in it, else no")
    parser.add_argument("--compile", action="store_true", help="compile the network first: worth it on a GPU")
    parser.add_argument("--cpu", action="store_true", help="even where there is a GPU")
    return parser


def _start(network, source):
    try:
        network.load_state_dict(load_weights(source).state_dict())
    except RuntimeError as error:
        raise ValueError(f"start must hold the weights of this lab's network, and {source} does not: {error}") from None


def _precision(on_cpu):
    # Not torch.cuda.is_bf16_supported(): it says yes on a T4, which only imitates bf16. There float32 is the way.
    return "bf16" if not on_cpu and torch.cuda.is_available() and torch.cuda.get_device_capability() >= (8, 0) else "no"


def _report(path, step, loss, seconds):
    with open(path, "a", newline="") as file:
        csv.writer(file).writerow([step, f"{loss:.5f}", f"{seconds:.1f}"])


def _draw(path, ema, schedule, predicts, shape):
    """Writes 8 x 8 samples, of the same noise each time, from 50 of the T steps."""
    x = sample(ema, schedule, (64, *shape), steps=min(50, schedule.T), predicts=predicts, clip=1.0,
               generator=torch.Generator().manual_seed(0), device=next(ema.parameters()).device)
    table = x[:, 0].cpu().unflatten(0, (8, 8)).permute(0, 2, 1, 3).flatten(2).flatten(0, 1)  # (8 * H, 8 * W)
    imsave(path, table.numpy(), vmin=-1, vmax=1, cmap="gray")
